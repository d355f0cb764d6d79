// SPDX-License-Identifier: MIT
//  Statistics: exact counts, one form, and the same bits whatever the order.
//
//  TALLY_DATA_DIR names a directory of NAME.survey.json, NAME.responses.ndjson and NAME.expected.json; each
//  found there is counted and compared.  Unless it is set, ../shared/data is looked for.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/statistics.h"

#define SURVEY                                                                                     \
    "{\"slug\":\"s\",\"title\":\"S\",\"questions\":["                                              \
    "{\"id\":\"c\",\"type\":\"choice\",\"choices\":[\"B\",\"A\"]},"                                \
    "{\"id\":\"m\",\"type\":\"multi\",\"choices\":[\"x\",\"y\"]},"                                 \
    "{\"id\":\"r\",\"type\":\"range\",\"min\":-10,\"max\":1e6},"                                   \
    "{\"id\":\"t\",\"type\":\"text\"}]}"

#define NOBODY                                                                                     \
    "{\"survey\":\"s\",\"responses\":0,\"questions\":{"                                            \
    "\"c\":{\"type\":\"choice\",\"answered\":0,\"histogram\":{}},"                                 \
    "\"m\":{\"type\":\"multi\",\"answered\":0,\"histogram\":{}},"                                  \
    "\"r\":{\"type\":\"range\",\"answered\":0,\"sum\":0,\"min\":null,\"max\":null,"                \
    "\"histogram\":{},\"mean\":null,\"stddev\":null},"                                             \
    "\"t\":{\"type\":\"text\",\"answered\":0}}}"

struct fixture {
    tally_survey_t *survey;
    tally_statistics_t *statistics, *other;
    tally_problem_t problem;
    char *text;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->survey = tally_survey_parse(tally_bytes_of(SURVEY), &f->problem);
    f->statistics = tally_statistics_new(f->survey);
    srandom(1);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_survey_destroy(&f->survey);
    tally_statistics_destroy(&f->statistics);
    tally_statistics_destroy(&f->other);
    free(f->text);
    free(f);
    return 0;
}

//  ---- helpers -----------------------------------------------------------------------------------

static void
count_line(tally_statistics_t *statistics, const tally_survey_t *survey, const char *line)
{
    tally_problem_t problem;
    tally_response_t response;
    if (tally_response_read(&response, tally_bytes_of(line), &problem) == -1
        || tally_survey_check(survey, &response, &problem) == -1) {
        fail_msg("%s: %s", line, problem.text);
    }
    tally_statistics_add(statistics, survey, &response);
    tally_response_free(&response);
}

static void
count(struct fixture *f, tally_statistics_t *statistics, const char *answers)
{
    char *line = tally_format("{\"response_id\":\"r\",\"survey\":\"s\",\"answers\":%s}", answers);
    count_line(statistics, f->survey, line);
    free(line);
}

static char *
print(tally_statistics_t *statistics)
{
    json_t *json = tally_statistics_encode(statistics);
    char *text = tally_json_print(json);
    json_decref(json);
    return text;
}

static void
assert_prints(tally_statistics_t *statistics, const char *expected)
{
    char *text = print(statistics);
    assert_string_equal(text, expected);
    free(text);
}

static tally_statistics_t *
decode(const char *text)
{
    tally_problem_t problem;
    json_t *json = tally_json_parse_made(tally_bytes_of(text), strlen(text), &problem);
    assert_non_null(json);
    tally_statistics_t *statistics = tally_statistics_decode(json, &problem);
    json_decref(json);
    return statistics;
}

//  ---- counting ----------------------------------------------------------------------------------

static void
nobody_answered_is_zeros_and_nulls(void **state)
{
    struct fixture *f = *state;
    assert_prints(f->statistics, NOBODY);
}

static void
answers_are_counted_by_type(void **state)
{
    struct fixture *f = *state;
    count(f, f->statistics, "{\"c\":\"B\",\"m\":[\"y\",\"x\"],\"r\":2,\"t\":\"words\"}");
    count(f, f->statistics, "{\"c\":\"B\",\"m\":[\"x\"],\"r\":4.5}");
    count(f, f->statistics, "{\"c\":\"A\",\"m\":[],\"r\":2.0}");
    count(f, f->statistics, "{}");
    assert_prints(f->statistics,
                  "{\"survey\":\"s\",\"responses\":4,\"questions\":{"
                  "\"c\":{\"type\":\"choice\",\"answered\":3,\"histogram\":{\"A\":1,\"B\":2}},"
                  "\"m\":{\"type\":\"multi\",\"answered\":3,\"histogram\":{\"x\":2,\"y\":1}},"
                  "\"r\":{\"type\":\"range\",\"answered\":3,\"sum\":8.5,\"min\":2,\"max\":4.5,"
                  "\"histogram\":{\"2\":2,\"4.5\":1},\"mean\":2.8333333333333335,"
                  "\"stddev\":1.1785113019775793},"
                  "\"t\":{\"type\":\"text\",\"answered\":1}}}");
}

static void
minus_zero_is_zero(void **state)
{
    struct fixture *f = *state;
    count(f, f->statistics, "{\"r\":-0.0}");
    count(f, f->statistics, "{\"r\":0}");
    json_t *json = tally_statistics_encode(f->statistics);
    json_t *histogram = json_object_get(json_object_get(json_object_get(json, "questions"), "r"),
                                        "histogram");
    assert_int_equal(json_object_size(histogram), 1);
    assert_int_equal(json_integer_value(json_object_get(histogram, "0")), 2);
    json_decref(json);
}

static void
equal_answers_have_no_deviation(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 1000; i++) {
        count(f, f->statistics, "{\"r\":0.1}");
    }
    json_t *json = tally_statistics_encode(f->statistics);
    json_t *range = json_object_get(json_object_get(json, "questions"), "r");
    assert_true(json_number_value(json_object_get(range, "mean")) == 0.1);
    assert_true(fabs(json_number_value(json_object_get(range, "stddev"))) < 1e-15);
    json_decref(json);
}

static void
state_survives_writing_and_reading(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3000; i++) {
        char answers[100];
        snprintf(answers, sizeof answers, "{\"r\":%.17g,\"c\":\"A\"}", (double)random() / 7919.0);
        count(f, f->statistics, answers);
    }
    f->text = print(f->statistics);
    f->other = decode(f->text);
    assert_non_null(f->other);
    assert_int_equal(tally_statistics_responses(f->other), 3000);
    assert_prints(f->other, f->text);
}

static void
what_is_not_statistics_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "{}",
        "[]",
        "{\"survey\":1,\"responses\":0,\"questions\":{}}",
        "{\"survey\":\"s\",\"responses\":-1,\"questions\":{}}",
        "{\"survey\":\"s\",\"responses\":1.5,\"questions\":{}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":[]}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":1}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"x\",\"answered\":1}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"text\"}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"choice\",\"answered\":"
        "1}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"range\",\"answered\":1,"
        "\"histogram\":{\"x\":1}}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"range\",\"answered\":1,"
        "\"histogram\":{\"inf\":1}}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"range\",\"answered\":1,"
        "\"histogram\":{\"1\":-1}}}}",
        //  Counts that contradict each other, or that sums would not hold.
        "{\"survey\":\"s\",\"responses\":9007199254740993,\"questions\":{}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"text\",\"answered\":2}}"
        "}",
        "{\"survey\":\"s\",\"responses\":2,\"questions\":{\"q\":{\"type\":\"multi\",\"answered\":1,"
        "\"histogram\":{\"a\":2}}}}",
        "{\"survey\":\"s\",\"responses\":2,\"questions\":{\"q\":{\"type\":\"choice\",\"answered\":"
        "2,"
        "\"histogram\":{\"a\":1}}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"range\",\"answered\":0,"
        "\"histogram\":{\"1\":1}}}}",
        //  Numbers that nobody wrote so here.
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"range\",\"answered\":1,"
        "\"histogram\":{\"0x10\":1}}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"range\",\"answered\":1,"
        "\"histogram\":{\"1.0\":1}}}}",
        "{\"survey\":\"s\",\"responses\":1,\"questions\":{\"q\":{\"type\":\"range\",\"answered\":1,"
        "\"histogram\":{\"1e300\":1}}}}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tally_statistics_t *statistics = decode(wrong[i]);
        if (statistics != NULL) {
            fail_msg("taken: %s", wrong[i]);
        }
    }
}

//  ---- merging -----------------------------------------------------------------------------------

//  A thousand responses, cut in parts of random size, counted in random order, merged in random order.
static void
merging_in_any_order_gives_the_same_bits(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 1000, PARTS = 17, ROUNDS = 10 };
    double values[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = (double)(random() % 1000000) / 1000.0 * (i % 3 == 0 ? 1e-3 : 1.0);
    }
    for (int round = 0; round < ROUNDS; round++) {
        tally_statistics_t *parts[PARTS];
        for (size_t i = 0; i < PARTS; i++) {
            parts[i] = tally_statistics_new(f->survey);
        }
        for (size_t left = COUNT; left > 0; left--) {
            size_t at = (size_t)random() % left;
            double value = values[at];
            values[at] = values[left - 1];
            values[left - 1] = value;
            char answers[100];
            snprintf(answers, sizeof answers, "{\"r\":%.17g,\"c\":\"%s\",\"m\":[\"%s\"]}", value,
                     value > 500 ? "A" : "B", value > 100 ? "x" : "y");
            count(f, parts[random() % PARTS], answers);
        }
        tally_statistics_t *sum = tally_statistics_empty("s");
        for (size_t left = PARTS; left > 0; left--) {
            size_t at = (size_t)random() % left;
            assert_int_equal(tally_statistics_merge(sum, parts[at], &f->problem), 0);
            tally_statistics_destroy(&parts[at]);
            parts[at] = parts[left - 1];
        }
        char *text = print(sum);
        tally_statistics_destroy(&sum);
        if (round == 0) {
            f->text = text;
        } else {
            assert_string_equal(text, f->text);
            free(text);
        }
    }
}

static void
merging_brings_questions_that_were_not_there(void **state)
{
    struct fixture *f = *state;
    f->other = tally_statistics_empty("s");
    assert_int_equal(tally_statistics_merge(f->other, f->statistics, &f->problem), 0);
    assert_prints(f->other, NOBODY);
}

static void
what_does_not_belong_together_is_not_merged(void **state)
{
    struct fixture *f = *state;
    f->other = tally_statistics_empty("another");
    assert_int_equal(tally_statistics_merge(f->statistics, f->other, &f->problem), -1);
    tally_statistics_destroy(&f->other);
    f->other = decode("{\"survey\":\"s\",\"responses\":1,\"questions\":{"
                      "\"t\":{\"type\":\"text\",\"answered\":1},"
                      "\"c\":{\"type\":\"text\",\"answered\":1}}}");
    assert_non_null(f->other);
    assert_int_equal(tally_statistics_merge(f->statistics, f->other, &f->problem), -1);
    assert_non_null(strstr(f->problem.text, "\"c\""));
    assert_prints(f->statistics, NOBODY);    // nothing of it came in
}

//  A sum that left 64 bits was written as a negative count, which nobody could read again.
static void
sum_of_responses_is_counted_up_to_its_limit_and_not_beyond(void **state)
{
    struct fixture *f = *state;
    f->other = decode("{\"survey\":\"s\",\"responses\":9007199254740992,\"questions\":{}}");
    assert_non_null(f->other);
    assert_int_equal(tally_statistics_merge(f->statistics, f->other, &f->problem), 0);
    assert_true(tally_statistics_responses(f->statistics) == 9007199254740992);
    tally_statistics_destroy(&f->other);
    f->other = decode("{\"survey\":\"s\",\"responses\":1,\"questions\":{}}");
    assert_non_null(f->other);
    assert_int_equal(tally_statistics_merge(f->statistics, f->other, &f->problem), -1);
    assert_true(tally_statistics_responses(f->statistics) == 9007199254740992);
}

static void
many_different_numbers_are_counted_in_bearable_time(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100000; i++) {
        char answers[40];
        snprintf(answers, sizeof answers, "{\"r\":%d.5}", (i * 7919) % 100000);
        count(f, f->statistics, answers);
    }
    json_t *json = tally_statistics_encode(f->statistics);
    json_t *range = json_object_get(json_object_get(json, "questions"), "r");
    assert_int_equal(json_object_size(json_object_get(range, "histogram")), 100000);
    assert_true(json_number_value(json_object_get(range, "sum")) == 5000000000.0);
    json_decref(json);
}

//  ---- against the figures of others -------------------------------------------------------------

static void
assert_same(const json_t *actual, const json_t *expected, const char *where)
{
    if (json_is_number(expected) && json_is_number(actual)) {
        double wanted = json_number_value(expected), got = json_number_value(actual);
        if (fabs(got - wanted) > 1e-9 * fmax(fabs(wanted), 1e-300)) {
            fail_msg("%s: %.17g instead of %.17g", where, got, wanted);
        }
        return;
    }
    if (!json_is_object(expected)) {
        assert_true(json_equal(actual, expected));
        return;
    }
    if (json_object_size(actual) != json_object_size(expected)) {
        fail_msg("%s: %zu keys instead of %zu", where, json_object_size(actual),
                 json_object_size(expected));
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)expected, key, value) {
        if (json_object_get(actual, key) == NULL) {
            fail_msg("%s: \"%s\" is missing", where, key);
        }
        assert_same(json_object_get(actual, key), value, key);
    }
}

static json_t *
load(const char *directory, const char *name, const char *ending)
{
    char *path = tally_format("%s/%s.%s", directory, name, ending);
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (json == NULL) {
        fail_msg("%s: %s", path, error.text);
    }
    free(path);
    return json;
}

static void
compare_with_expected(const char *directory, const char *name)
{
    tally_problem_t problem;
    json_t *definition = load(directory, name, "survey.json");
    json_t *expected = load(directory, name, "expected.json");
    tally_survey_t *survey = tally_survey_read(definition, &problem);
    assert_non_null(survey);
    tally_statistics_t *statistics = tally_statistics_new(survey);
    char *path = tally_format("%s/%s.responses.ndjson", directory, name);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, in) > 0) {
        count_line(statistics, survey, line);
    }
    fclose(in);
    json_t *actual = tally_statistics_encode(statistics);
    assert_same(actual, expected, name);
    print_message("  %s: %lld responses as expected\n", name,
                  (long long)tally_statistics_responses(statistics));
    json_decref(actual);
    json_decref(expected);
    json_decref(definition);
    tally_statistics_destroy(&statistics);
    tally_survey_destroy(&survey);
    free(line);
    free(path);
}

static void
real_surveys_give_the_expected_figures(void **state)
{
    (void)state;
    const char *directory = getenv("TALLY_DATA_DIR");
    directory = directory == NULL ? "../shared/data" : directory;
    DIR *dir = opendir(directory);
    if (dir == NULL) {
        print_message("  skipped: no survey data; TALLY_DATA_DIR may name a directory of it\n");
        skip();
    }
    int found = 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char name[256];
        const char *ending = strstr(entry->d_name, ".expected.json");
        if (ending != NULL) {
            snprintf(name, sizeof name, "%.*s", (int)(ending - entry->d_name), entry->d_name);
            compare_with_expected(directory, name);
            found++;
        }
    }
    closedir(dir);
    assert_true(found > 0);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nobody_answered_is_zeros_and_nulls),
        TEST(answers_are_counted_by_type),
        TEST(minus_zero_is_zero),
        TEST(equal_answers_have_no_deviation),
        TEST(state_survives_writing_and_reading),
        TEST(what_is_not_statistics_is_refused),
        TEST(merging_in_any_order_gives_the_same_bits),
        TEST(merging_brings_questions_that_were_not_there),
        TEST(what_does_not_belong_together_is_not_merged),
        TEST(sum_of_responses_is_counted_up_to_its_limit_and_not_beyond),
        TEST(many_different_numbers_are_counted_in_bearable_time),
        TEST(real_surveys_give_the_expected_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
