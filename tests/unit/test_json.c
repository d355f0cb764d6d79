// SPDX-License-Identifier: MIT
//  test_json - json_cases.h, every limit at its value and one beyond, and where a fault is said to be.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/unit/json_cases.h"

#define CASE_COUNT (sizeof json_cases / sizeof json_cases[0])

struct fixture {
    char *text;
    json_t *value;
    tally_json_fault_t fault;
};

static int
setup(void **state)
{
    *state = tally_alloc(sizeof(struct fixture));
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    json_decref(f->value);
    free(f->text);
    free(f);
    return 0;
}

//  The text stands at the end of its block, so that a look beyond it is a look outside.
static void
load(struct fixture *f, const void *text, size_t size, tally_json_source_t source)
{
    json_decref(f->value);
    char *copy = tally_alloc(size);
    if (size > 0) {
        memcpy(copy, text, size);
    }
    f->value = tally_json_load((tally_bytes_t){copy, size}, TALLY_FRAME_BYTES_MAX, source,
                               &f->fault);
    free(copy);
    assert_int_equal(f->value == NULL, f->fault.code != TALLY_JSON_FINE);
}

static void
load_text(struct fixture *f, const char *text)
{
    load(f, text, strlen(text), TALLY_JSON_GIVEN);
}

//  `before`, `count` times `one` with `between` between them, `after`.  # is replaced by a number.
static void
load_repeated(struct fixture *f, const char *before, const char *one, size_t count,
              const char *between, const char *after, tally_json_source_t source)
{
    size_t size;
    free(f->text);
    FILE *out = open_memstream(&f->text, &size);
    assert_non_null(out);
    fputs(before, out);
    for (size_t i = 0; i < count; i++) {
        for (const char *at = one; *at != '\0'; at++) {
            fprintf(out, "%.*s", *at == '#' ? 0 : 1, at);
            if (*at == '#') {
                fprintf(out, "%zu", i);
            }
        }
        fputs(i + 1 < count ? between : "", out);
    }
    fputs(after, out);
    fclose(out);
    load(f, f->text, size, source);
}

static void
is_refused(const struct fixture *f, tally_json_code_t code, size_t offset)
{
    if (f->fault.code != code || f->fault.offset != offset) {
        fail_msg("%s at %zu, not %s at %zu", tally_json_code_name(f->fault.code), f->fault.offset,
                 tally_json_code_name(code), offset);
    }
}

//  ---- the table ---------------------------------------------------------------------------------

static void
every_case_is_taken_or_refused_as_it_says(void **state)
{
    struct fixture *f = *state;
    size_t failed = 0, counts[4] = {0};
    for (size_t i = 0; i < CASE_COUNT; i++) {
        const json_case_t *one = &json_cases[i];
        load(f, one->text, one->size, TALLY_JSON_GIVEN);
        counts[one->kind]++;
        if (f->fault.code != one->code || f->fault.offset != one->offset) {
            print_error("case %zu, %.*s: %s at %zu, not %s at %zu\n", i, (int)one->size, one->text,
                        tally_json_code_name(f->fault.code), f->fault.offset,
                        tally_json_code_name(one->code), one->offset);
            failed++;
        }
        assert_int_equal(one->kind == TAKEN, one->code == TALLY_JSON_FINE);
    }
    assert_int_equal(failed, 0);
    assert_true(counts[TAKEN] >= 60 && counts[WRONG] >= 150 && counts[OPEN] >= 50);
}

//  Whatever is taken is cut short at every byte: what is left is refused, or is a shorter number.
static void
no_part_of_a_case_reads_beyond_its_end(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        for (size_t size = 0; size < json_cases[i].size; size++) {
            load(f, json_cases[i].text, size, TALLY_JSON_GIVEN);
            assert_true(f->value != NULL || f->fault.offset <= size);
        }
    }
}

//  jansson builds the value, so nothing that passed us may mean anything else to it.
static void
jansson_agrees_about_every_case_that_is_taken(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        if (json_cases[i].kind != TAKEN) {
            continue;
        }
        load(f, json_cases[i].text, json_cases[i].size, TALLY_JSON_GIVEN);
        char *printed = json_dumps(f->value, JSON_ENCODE_ANY);
        assert_non_null(printed);
        json_t *again = json_loads(printed, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        free(printed);
        bool is_equal = json_equal(f->value, again) == 1;
        json_decref(again);
        assert_true(is_equal);
    }
}

//  ---- limits ------------------------------------------------------------------------------------

static void
text_is_taken_up_to_its_size(void **state)
{
    struct fixture *f = *state;
    const tally_bytes_t text = {"[1,\n 2]", 7};
    f->value = tally_json_load(text, 7, TALLY_JSON_GIVEN, &f->fault);
    assert_non_null(f->value);
    json_decref(f->value);
    f->value = tally_json_load(text, 6, TALLY_JSON_GIVEN, &f->fault);
    assert_null(f->value);
    is_refused(f, TALLY_JSON_SIZE, 6);
    assert_int_equal(f->fault.line, 2);
    f->value = tally_json_load(text, 6, TALLY_JSON_GIVEN, NULL);
    assert_null(f->value);
}

static void
nesting_is_taken_up_to_its_depth_whatever_it_is_of(void **state)
{
    struct fixture *f = *state;
    load_repeated(f, "", "[", TALLY_JSON_DEPTH_MAX, "", "]", TALLY_JSON_GIVEN);
    is_refused(f, TALLY_JSON_SYNTAX, TALLY_JSON_DEPTH_MAX + 1);
    load_repeated(f, "", "[", TALLY_JSON_DEPTH_MAX + 1, "", "]", TALLY_JSON_MADE);
    is_refused(f, TALLY_JSON_DEPTH, TALLY_JSON_DEPTH_MAX);
    load_repeated(f, "", "{\"a\":", TALLY_JSON_DEPTH_MAX, "", "1", TALLY_JSON_GIVEN);
    is_refused(f, TALLY_JSON_SYNTAX, 5 * TALLY_JSON_DEPTH_MAX + 1);
    load_repeated(f, "", "{\"a\":", TALLY_JSON_DEPTH_MAX + 1, "", "1", TALLY_JSON_GIVEN);
    is_refused(f, TALLY_JSON_DEPTH, 5 * TALLY_JSON_DEPTH_MAX);
    //  Beside each other, and in strings, brackets are no depth.
    load_repeated(f, "[", "[[]]", 1000, ",", "]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "[\"", "[", 1000, "", "\"]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
}

static void
hundred_thousand_brackets_are_refused_at_once(void **state)
{
    struct fixture *f = *state;
    load_repeated(f, "", "[", 100000, "", "", TALLY_JSON_GIVEN);
    int64_t least_us = INT64_MAX;
    for (int i = 0; i < 20; i++) {
        int64_t began_us = tally_clock_now_us();
        json_t *value = tally_json_load(tally_bytes_of(f->text), TALLY_FRAME_BYTES_MAX,
                                        TALLY_JSON_GIVEN, &f->fault);
        int64_t took_us = tally_clock_now_us() - began_us;
        assert_null(value);
        least_us = took_us < least_us ? took_us : least_us;
    }
    assert_true(least_us < 1000);
}

static void
object_is_taken_up_to_its_keys(void **state)
{
    struct fixture *f = *state;
    load_repeated(f, "{", "\"#\":0", TALLY_JSON_KEYS_MAX, ",", "}", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "{", "\"#\":0", TALLY_JSON_KEYS_MAX + 1, ",", "}", TALLY_JSON_GIVEN);
    assert_int_equal(f->fault.code, TALLY_JSON_KEYS);
    load_repeated(f, "{", "\"#\":0", TALLY_JSON_KEYS_MAX + 1, ",", "}", TALLY_JSON_MADE);
    assert_non_null(f->value);
    //  Each object has keys of its own.
    load_repeated(f, "[", "{\"a\":0,\"b\":#}", TALLY_JSON_KEYS_MAX, ",", "]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
}

static void
text_is_taken_up_to_its_values(void **state)
{
    struct fixture *f = *state;
    load_repeated(f, "[", "#", TALLY_JSON_VALUES_MAX - 1, ",", "]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "[", "#", TALLY_JSON_VALUES_MAX, ",", "]", TALLY_JSON_GIVEN);
    assert_int_equal(f->fault.code, TALLY_JSON_VALUES);
    load_repeated(f, "[", "#", TALLY_JSON_VALUES_MAX, ",", "]", TALLY_JSON_MADE);
    assert_non_null(f->value);
}

static void
string_is_taken_up_to_its_bytes_as_they_are_read(void **state)
{
    struct fixture *f = *state;
    load_repeated(f, "[0, \"", "x", TALLY_JSON_STRING_BYTES_MAX, "", "\"]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "[0, \"", "x", TALLY_JSON_STRING_BYTES_MAX + 1, "", "\"]", TALLY_JSON_GIVEN);
    is_refused(f, TALLY_JSON_STRING, 4);
    load_repeated(f, "[\"", "x", TALLY_JSON_STRING_BYTES_MAX + 1, "", "\"]", TALLY_JSON_MADE);
    assert_non_null(f->value);
    //  Six bytes that are one, and twelve that are four.
    load_repeated(f, "[\"", "\\u0041", TALLY_JSON_STRING_BYTES_MAX, "", "\"]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "[\"", "\\ud834\\udd1e", TALLY_JSON_STRING_BYTES_MAX / 4, "", "\"]",
                  TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    assert_int_equal(json_string_length(json_array_get(f->value, 0)), TALLY_JSON_STRING_BYTES_MAX);
    load_repeated(f, "[\"", "\\ud834\\udd1e", TALLY_JSON_STRING_BYTES_MAX / 4, "", "\\n\"]",
                  TALLY_JSON_GIVEN);
    is_refused(f, TALLY_JSON_STRING, 1);
}

static void
key_is_taken_up_to_its_bytes(void **state)
{
    struct fixture *f = *state;
    load_repeated(f, "{\"", "k", TALLY_JSON_KEY_BYTES_MAX, "", "\":0}", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "{\"", "k", TALLY_JSON_KEY_BYTES_MAX + 1, "", "\":0}", TALLY_JSON_GIVEN);
    is_refused(f, TALLY_JSON_STRING, 1);
    load_repeated(f, "{\"", "k", TALLY_JSON_KEY_BYTES_MAX + 1, "", "\":0}", TALLY_JSON_MADE);
    assert_non_null(f->value);
}

static void
number_is_taken_up_to_its_length_and_digits(void **state)
{
    struct fixture *f = *state;
    load_repeated(f, "[0.", "0", TALLY_JSON_NUMBER_BYTES_MAX - 2, "", "]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "[0.", "0", TALLY_JSON_NUMBER_BYTES_MAX - 1, "", "]", TALLY_JSON_MADE);
    is_refused(f, TALLY_JSON_NUMBER, 1);
    load_repeated(f, "[1.", "1", TALLY_JSON_DIGITS_MAX - 1, "", "]", TALLY_JSON_GIVEN);
    assert_non_null(f->value);
    load_repeated(f, "[1.", "1", TALLY_JSON_DIGITS_MAX, "", "]", TALLY_JSON_GIVEN);
    is_refused(f, TALLY_JSON_NUMBER, 1);
    load_repeated(f, "[1.", "1", TALLY_JSON_DIGITS_MAX, "", "]", TALLY_JSON_MADE);
    assert_non_null(f->value);
}

static void
number_is_taken_up_to_its_magnitude(void **state)
{
    struct fixture *f = *state;
    f->text = tally_format("[1e%d, 1e%d]", TALLY_JSON_MAGNITUDE_MIN, TALLY_JSON_MAGNITUDE_MAX);
    load_text(f, f->text);
    assert_non_null(f->value);
    free(f->text);
    f->text = tally_format("[1e%d]", TALLY_JSON_MAGNITUDE_MIN - 1);
    load_text(f, f->text);
    is_refused(f, TALLY_JSON_RANGE, 1);
    load(f, f->text, strlen(f->text), TALLY_JSON_MADE);
    assert_non_null(f->value);
    free(f->text);
    f->text = tally_format("[1e%d]", TALLY_JSON_MAGNITUDE_MAX + 1);
    load(f, f->text, strlen(f->text), TALLY_JSON_MADE);
    is_refused(f, TALLY_JSON_RANGE, 1);
}

//  ---- what numbers become -----------------------------------------------------------------------

static void
whole_numbers_keep_every_digit(void **state)
{
    struct fixture *f = *state;
    load_text(f, "[9223372036854775807, -9223372036854775808, 9007199254740993, -0]");
    assert_true(json_integer_value(json_array_get(f->value, 0)) == INT64_MAX);
    assert_true(json_integer_value(json_array_get(f->value, 1)) == INT64_MIN);
    assert_true(json_integer_value(json_array_get(f->value, 2)) == 9007199254740993);
    assert_true(json_is_integer(json_array_get(f->value, 3)));
    assert_int_equal(json_integer_value(json_array_get(f->value, 3)), 0);
}

static void
reals_keep_fifteen_digits_and_doubles_all(void **state)
{
    struct fixture *f = *state;
    load_text(f, "[0.123456789012345, 0.1, 1.7976931348623157e308, 5e0, 100.0e-2]");
    assert_true(json_real_value(json_array_get(f->value, 0)) == 0.123456789012345);
    assert_true(json_real_value(json_array_get(f->value, 1)) == 0.1);
    assert_true(json_real_value(json_array_get(f->value, 2)) == 1.7976931348623157e308);
    assert_true(json_real_value(json_array_get(f->value, 3)) == 5);
    assert_true(json_real_value(json_array_get(f->value, 4)) == 1);
}

//  ---- places ------------------------------------------------------------------------------------

static void
fault_has_its_line_and_column_in_characters(void **state)
{
    struct fixture *f = *state;
    load_text(f, "{\n \"gr\xc3\xbc\xc3\x9f\x65\": [1,\n\t\"\xf0\x9f\x8c\x80\", oops]}");
    is_refused(f, TALLY_JSON_SYNTAX, 27);
    assert_int_equal(f->fault.line, 3);
    assert_int_equal(f->fault.column, 7);
    free(f->text);
    f->text = tally_json_fault_print(&f->fault);
    assert_string_equal(f->text, "SYNTAX: a value is missing here (line 3, column 7, byte 27)");
}

static void
duplicate_key_is_found_where_it_begins_also_after_lines(void **state)
{
    struct fixture *f = *state;
    load_text(f, "{\"\xc3\xa4\": {\"\\u00e4\": 1},\n  \"x\": \"\\\"\",\n  \"\\u00E4\" : 2}");
    is_refused(f, TALLY_JSON_DUPLICATE, 37);
    assert_int_equal(f->fault.line, 3);
    assert_int_equal(f->fault.column, 3);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(every_case_is_taken_or_refused_as_it_says),
        TEST(no_part_of_a_case_reads_beyond_its_end),
        TEST(jansson_agrees_about_every_case_that_is_taken),
        TEST(text_is_taken_up_to_its_size),
        TEST(nesting_is_taken_up_to_its_depth_whatever_it_is_of),
        TEST(hundred_thousand_brackets_are_refused_at_once),
        TEST(object_is_taken_up_to_its_keys),
        TEST(text_is_taken_up_to_its_values),
        TEST(string_is_taken_up_to_its_bytes_as_they_are_read),
        TEST(key_is_taken_up_to_its_bytes),
        TEST(number_is_taken_up_to_its_length_and_digits),
        TEST(number_is_taken_up_to_its_magnitude),
        TEST(whole_numbers_keep_every_digit),
        TEST(reals_keep_fifteen_digits_and_doubles_all),
        TEST(fault_has_its_line_and_column_in_characters),
        TEST(duplicate_key_is_found_where_it_begins_also_after_lines),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
