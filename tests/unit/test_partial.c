// SPDX-License-Identifier: MIT
//  Map and reduce by hand: eleven responses in blocks of three give the phases of the design, row by row.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/partial.h"

#define BLOCK 3

static const struct {
    const char *survey, *choice;
    int range;
} responses[] = {
    {"travel-feedback", "C", 3},      {"book-review", "D", 3},     {"product-wishlist", "A", 4},
    {"service-satisfaction", "E", 3}, {"travel-feedback", "D", 5}, {"travel-feedback", "C", 4},
    {"purchase-experience", "C", 2},  {"brand-rating", "B", 3},    {"book-review", "A", 3},
    {"travel-feedback", "E", 4},      {"book-review", "D", 3},
};
#define COUNT (sizeof responses / sizeof responses[0])

static tally_survey_t *
make_survey(const char *slug)
{
    tally_problem_t problem;
    char *text = tally_format("{\"slug\":\"%s\",\"title\":\"t\",\"questions\":["
                              "{\"id\":\"note\",\"type\":\"text\"},"
                              "{\"id\":\"grade\",\"type\":\"choice\","
                              "\"choices\":[\"E\",\"D\",\"C\",\"B\",\"A\"]},"
                              "{\"id\":\"rating\",\"type\":\"range\",\"min\":1,\"max\":5}]}",
                              slug);
    tally_survey_t *survey = tally_survey_parse(tally_bytes_of(text), &problem);
    assert_non_null(survey);
    free(text);
    return survey;
}

static void
add(tally_partial_t *partial, size_t i)
{
    tally_problem_t problem;
    tally_response_t response;
    tally_survey_t *survey = make_survey(responses[i].survey);
    char *text = tally_format("{\"response_id\":\"%zu\",\"survey\":\"%s\",\"answers\":"
                              "{\"rating\":%d,\"grade\":\"%s\"}}",
                              i + 1, responses[i].survey, responses[i].range, responses[i].choice);
    assert_int_equal(tally_response_read(&response, tally_bytes_of(text), &problem), 0);
    assert_int_equal(tally_survey_check(survey, &response, &problem), 0);
    tally_partial_add(partial, survey, &response);
    tally_response_free(&response);
    tally_survey_destroy(&survey);
    free(text);
}

//  The rows of one phase as text, "1.1 travel-feedback 1 C 3" each.
static char *
trace(const json_t *const *outputs, size_t count)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (size_t block = 0; block < count; block++) {
        tally_problem_t problem;
        tally_partial_t *partial = tally_partial_new();
        assert_int_equal(tally_partial_merge(partial, outputs[block], &problem), 0);
        json_t *rows = json_array();
        tally_partial_trace(partial, (int64_t)block + 1, rows);
        for (size_t i = 0; i < json_array_size(rows); i++) {
            const char *id, *survey, *histogram;
            json_int_t n;
            double mean;
            int rc = json_unpack(json_array_get(rows, i), "{s:s, s:s, s:I, s:s, s:F !}",
                                 "aggregation", &id, "survey", &survey, "responses", &n,
                                 "histogram", &histogram, "mean", &mean);
            assert_int_equal(rc, 0);
            fprintf(out, "%s %s %lld %s %g\n", id, survey, (long long)n, histogram, mean);
        }
        json_decref(rows);
        tally_partial_destroy(&partial);
    }
    fclose(out);
    return text;
}

static void
assert_phase(json_t *const *outputs, size_t count, const char *expected)
{
    char *text = trace((const json_t *const *)outputs, count);
    assert_string_equal(text, expected);
    free(text);
}

static size_t
map_all(json_t **outputs)
{
    size_t blocks = 0;
    for (size_t first = 0; first < COUNT; first += BLOCK) {
        tally_partial_t *partial = tally_partial_new();
        for (size_t i = first; i < first + BLOCK && i < COUNT; i++) {
            add(partial, i);
        }
        outputs[blocks++] = tally_partial_encode(partial);
        tally_partial_destroy(&partial);
    }
    return blocks;
}

static size_t
reduce_all(json_t **outputs, size_t count)
{
    size_t blocks = 0;
    for (size_t first = 0; first < count; first += BLOCK) {
        tally_problem_t problem;
        tally_partial_t *partial = tally_partial_new();
        for (size_t i = first; i < first + BLOCK && i < count; i++) {
            assert_int_equal(tally_partial_merge(partial, outputs[i], &problem), 0);
            json_decref(outputs[i]);
        }
        outputs[blocks++] = tally_partial_encode(partial);
        tally_partial_destroy(&partial);
    }
    return blocks;
}

static void
eleven_responses_give_the_phases_of_the_design(void **state)
{
    (void)state;
    json_t *outputs[COUNT];
    size_t count = map_all(outputs);
    assert_int_equal(count, 4);
    assert_phase(outputs, count,
                 "1.1 travel-feedback 1 C 3\n1.2 book-review 1 D 3\n1.3 product-wishlist 1 A 4\n"
                 "2.1 service-satisfaction 1 E 3\n2.2 travel-feedback 2 CD 4.5\n"
                 "3.1 purchase-experience 1 C 2\n3.2 brand-rating 1 B 3\n3.3 book-review 1 A 3\n"
                 "4.1 travel-feedback 1 E 4\n4.2 book-review 1 D 3\n");
    count = reduce_all(outputs, count);
    assert_int_equal(count, 2);
    assert_phase(outputs, count,
                 "1.1 travel-feedback 3 CCD 4\n1.2 book-review 2 AD 3\n1.3 product-wishlist 1 A 4\n"
                 "1.4 service-satisfaction 1 E 3\n1.5 purchase-experience 1 C 2\n"
                 "1.6 brand-rating 1 B 3\n2.1 travel-feedback 1 E 4\n2.2 book-review 1 D 3\n");
    count = reduce_all(outputs, count);
    assert_int_equal(count, 1);
    assert_phase(
        outputs, count,
        "1.1 travel-feedback 4 CCDE 4\n1.2 book-review 3 ADD 3\n1.3 product-wishlist 1 A 4\n"
        "1.4 service-satisfaction 1 E 3\n1.5 purchase-experience 1 C 2\n"
        "1.6 brand-rating 1 B 3\n");
    json_decref(outputs[0]);
}

//  What a row says of statistics that do not fit single letters, or have nothing to say.
static void
rows_name_labels_that_are_no_letters(void **state)
{
    (void)state;
    tally_problem_t problem;
    const char
        *text = "[{\"survey\":\"a\",\"responses\":3,\"questions\":{\"q\":{\"type\":\"choice\","
                "\"answered\":3,\"histogram\":{\"Yes\":2,\"No\":1}}}},"
                "{\"survey\":\"b\",\"responses\":0,\"questions\":{\"q\":{\"type\":\"range\","
                "\"answered\":0,\"histogram\":{}}}},"
                "{\"survey\":\"c\",\"responses\":101,\"questions\":{\"q\":{\"type\":\"choice\","
                "\"answered\":101,\"histogram\":{\"A\":101}}}}]";
    json_t *json = tally_json_parse(tally_bytes_of(text), 10000, &problem);
    tally_partial_t *partial = tally_partial_new();
    json_t *rows = json_array();
    assert_int_equal(tally_partial_merge(partial, json, &problem), 0);
    tally_partial_trace(partial, 7, rows);
    char *printed = tally_json_print(rows);
    assert_string_equal(printed, "[{\"aggregation\":\"7.1\",\"survey\":\"a\",\"responses\":3,"
                                 "\"histogram\":\"No:1, Yes:2\",\"mean\":null},"
                                 "{\"aggregation\":\"7.2\",\"survey\":\"b\",\"responses\":0,"
                                 "\"histogram\":\"\",\"mean\":null},"
                                 "{\"aggregation\":\"7.3\",\"survey\":\"c\",\"responses\":101,"
                                 "\"histogram\":\"A:101\",\"mean\":null}]");
    free(printed);
    json_decref(rows);
    json_decref(json);
    tally_partial_destroy(&partial);
}

static void
what_is_not_a_partial_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"{}", "[1]", "[{\"survey\":\"a\"}]"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tally_problem_t problem;
        json_t *json = tally_json_parse(tally_bytes_of(wrong[i]), 100, &problem);
        tally_partial_t *partial = tally_partial_new();
        int rc = tally_partial_merge(partial, json, &problem);
        tally_partial_destroy(&partial);
        json_decref(json);
        assert_int_equal(rc, -1);
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eleven_responses_give_the_phases_of_the_design),
        cmocka_unit_test(rows_name_labels_that_are_no_letters),
        cmocka_unit_test(what_is_not_a_partial_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
