// SPDX-License-Identifier: MIT
//  Lines of CSV and NDJSON: every value comes out as it went in, whatever it holds.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/export_format.h"

static const tally_column_t list[] = {
    {"q1", TALLY_COLUMN_TEXT},
    {"q2", TALLY_COLUMN_LIST},
    {"q3", TALLY_COLUMN_NUMBER},
};

struct fixture {
    tally_wire_t out;
    tally_columns_t columns;
    tally_problem_t problem;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->columns = (tally_columns_t){.columns = list, .count = 3};
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_wire_free(&f->out);
    free(f);
    return 0;
}

//  What was written since the last call.
static const char *
written(struct fixture *f)
{
    tally_wire_put_u8(&f->out, '\0');
    f->out.size = 0;    // the text stays until the next write
    return (const char *)f->out.data;
}

static const char *
csv(struct fixture *f, const char *body)
{
    assert_int_equal(tally_export_csv_line(&f->out, &f->columns, tally_bytes_of(body), &f->problem),
                     0);
    return written(f);
}

static void
header_names_the_id_and_the_questions(void **state)
{
    struct fixture *f = *state;
    tally_export_csv_header(&f->out, &f->columns);
    assert_string_equal(written(f), "response_id,q1,q2,q3\r\n");
}

static void
header_quotes_a_question_with_a_comma(void **state)
{
    struct fixture *f = *state;
    tally_column_t odd = {"a,\"b\"", TALLY_COLUMN_TEXT};
    tally_columns_t columns = {.columns = &odd, .count = 1};
    tally_export_csv_header(&f->out, &columns);
    assert_string_equal(written(f), "response_id,\"a,\"\"b\"\"\"\r\n");
}

static void
answers_stand_in_the_order_of_the_questions(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(csv(f, "{\"response_id\":\"r1\",\"survey\":\"s\",\"answers\":"
                               "{\"q3\":4,\"q2\":[\"a\",\"b\"],\"q1\":\"Yes\"}}"),
                        "r1,Yes,\"[\"\"a\"\",\"\"b\"\"]\",4\r\n");
}

static void
no_answer_is_empty_and_an_empty_text_is_quoted(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(csv(f, "{\"response_id\":\"r1\",\"answers\":{}}"), "r1,,,\r\n");
    assert_string_equal(csv(f, "{\"response_id\":\"r1\",\"answers\":{\"q1\":\"\",\"q2\":[]}}"),
                        "r1,\"\",[],\r\n");
}

static void
quotes_commas_and_line_ends_are_quoted(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(
        csv(f, "{\"response_id\":\"r\\\"1\",\"answers\":{\"q1\":\"a,b\\r\\nc\\\"d\\\"\"}}"),
        "\"r\"\"1\",\"a,b\r\nc\"\"d\"\"\",,\r\n");
    assert_string_equal(csv(f, "{\"response_id\":\"r\",\"answers\":{\"q1\":\"\\\"\\\"\"}}"),
                        "r,\"\"\"\"\"\",,\r\n");
}

static void
blanks_at_the_ends_are_kept_by_quotes(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(csv(f, "{\"response_id\":\"r\",\"answers\":{\"q1\":\" a\\t\"}}"),
                        "r,\" a\t\",,\r\n");
}

static void
unicode_goes_through_unchanged(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(csv(f, "{\"response_id\":\"r\",\"answers\":"
                               "{\"q1\":\"\\u00fc\\ud83d\\ude00\",\"q2\":[\"\xc3\x9f\"]}}"),
                        "r,\xc3\xbc\xf0\x9f\x98\x80,\"[\"\"\xc3\x9f\"\"]\",\r\n");
}

static void
numbers_read_back_as_the_same_number(void **state)
{
    struct fixture *f = *state;
    static const char *const pairs[][2] = {
        {"4", "4"},        {"-3", "-3"},
        {"4.5", "4.5"},    {"0.1", "0.1"},
        {"3.0", "3"},      {"0.30000000000000004", "0.30000000000000004"},
        {"1e-7", "1e-07"}, {"9007199254740993", "9007199254740993"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        char *body = tally_format("{\"response_id\":\"r\",\"answers\":{\"q3\":%s}}", pairs[i][0]);
        char *wanted = tally_format("r,,,%s\r\n", pairs[i][1]);
        assert_string_equal(csv(f, body), wanted);
        free(body);
        free(wanted);
    }
}

static void
guard_marks_formulas_but_no_numbers(void **state)
{
    struct fixture *f = *state;
    const char *body = "{\"response_id\":\"=1\",\"answers\":{\"q1\":\"@SUM(A1)\",\"q3\":-3}}";
    assert_string_equal(csv(f, body), "=1,@SUM(A1),,-3\r\n");
    f->columns.guard = true;
    assert_string_equal(csv(f, body), "'=1,'@SUM(A1),,-3\r\n");
}

static void
what_is_not_a_response_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const bodies[] = {"",
                                         "{",
                                         "[]",
                                         "{}",
                                         "{\"response_id\":\"r\"}",
                                         "{\"response_id\":1,\"answers\":{}}",
                                         "{\"response_id\":\"r\",\"answers\":[]}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        tally_bytes_t body = tally_bytes_of(bodies[i]);
        assert_int_equal(tally_export_csv_line(&f->out, &f->columns, body, &f->problem), -1);
    }
    assert_int_equal(f->out.size, 0);
}

static void
ndjson_is_the_response_as_it_was_sent_on_one_line(void **state)
{
    struct fixture *f = *state;
    const char *plain = "{\"response_id\":\"r\",\"survey\":\"s\",\"answers\":{\"q3\":4.50}}";
    tally_export_ndjson_line(&f->out, tally_bytes_of(plain));
    char *wanted = tally_format("%s\n", plain);
    assert_string_equal(written(f), wanted);
    free(wanted);
    tally_export_ndjson_line(&f->out, tally_bytes_of(" \r\n{\n  \"a\":\r\n\t\"b\\n\"}\n"));
    assert_string_equal(written(f), "{   \"a\":  \t\"b\\n\"}\n");
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(header_names_the_id_and_the_questions),
        TEST(header_quotes_a_question_with_a_comma),
        TEST(answers_stand_in_the_order_of_the_questions),
        TEST(no_answer_is_empty_and_an_empty_text_is_quoted),
        TEST(quotes_commas_and_line_ends_are_quoted),
        TEST(blanks_at_the_ends_are_kept_by_quotes),
        TEST(unicode_goes_through_unchanged),
        TEST(numbers_read_back_as_the_same_number),
        TEST(guard_marks_formulas_but_no_numbers),
        TEST(what_is_not_a_response_is_refused),
        TEST(ndjson_is_the_response_as_it_was_sent_on_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
