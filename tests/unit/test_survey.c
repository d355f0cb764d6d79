// SPDX-License-Identifier: MIT
//  Definitions and responses: what is taken, and what each refusal says.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/survey.h"

#define LUNCH                                                                                      \
    "{\"slug\":\"lunch\",\"title\":\"Lunch\",\"questions\":["                                      \
    "{\"id\":\"q1\",\"type\":\"choice\",\"text\":\"Good?\",\"choices\":[\"Yes\",\"No\"]},"         \
    "{\"id\":\"q2\",\"type\":\"multi\",\"choices\":[\"a\",\"b\",\"c\"]},"                          \
    "{\"id\":\"q3\",\"type\":\"range\",\"min\":1,\"max\":5.5},"                                    \
    "{\"id\":\"q4\",\"type\":\"text\"}]}"

struct fixture {
    tally_survey_t *survey;
    tally_survey_t *other;
    tally_response_t response;
    tally_problem_t problem;
    char *text;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->survey = tally_survey_parse(tally_bytes_of(LUNCH), &f->problem);
    *state = f;
    return f->survey == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_survey_destroy(&f->survey);
    tally_survey_destroy(&f->other);
    tally_response_free(&f->response);
    free(f->text);
    free(f);
    return 0;
}

//  ---- helpers -----------------------------------------------------------------------------------

static void
assert_says(const struct fixture *f, const char *words)
{
    if (strstr(f->problem.text, words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", f->problem.text, words);
    }
}

static void
definition_is_refused(struct fixture *f, const char *json, const char *words)
{
    f->other = tally_survey_parse(tally_bytes_of(json), &f->problem);
    if (f->other != NULL) {
        fail_msg("taken: %s", json);
    }
    assert_says(f, words);
}

//  The definition of a survey with these questions.
static void
questions_are_refused(struct fixture *f, const char *questions, const char *words)
{
    free(f->text);
    f->text = tally_format("{\"slug\":\"s\",\"title\":\"t\",\"questions\":%s}", questions);
    definition_is_refused(f, f->text, words);
}

static int
check(struct fixture *f, const char *json)
{
    tally_response_free(&f->response);
    if (tally_response_read(&f->response, tally_bytes_of(json), &f->problem) == -1) {
        return -1;
    }
    return tally_survey_check(f->survey, &f->response, &f->problem);
}

static int
check_answers(struct fixture *f, const char *answers)
{
    free(f->text);
    f->text = tally_format("{\"response_id\":\"r\",\"survey\":\"lunch\",\"answers\":%s}", answers);
    return check(f, f->text);
}

static void
answers_are_refused(struct fixture *f, const char *answers, const char *words)
{
    if (check_answers(f, answers) == 0) {
        fail_msg("taken: %s", answers);
    }
    assert_says(f, words);
}

static void
answers_fit(struct fixture *f, const char *answers)
{
    if (check_answers(f, answers) == -1) {
        fail_msg("%s: %s", answers, f->problem.text);
    }
}

//  `count` times a number between `before` and `after`, joined by commas, between `open` and `close`.
static char *
repeat(const char *open, const char *before, const char *after, size_t count, const char *close)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    fputs(open, out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "%s%zu%s%s", before, i, after, i + 1 < count ? "," : "");
    }
    fputs(close, out);
    fclose(out);
    return text;
}

//  ---- definitions -------------------------------------------------------------------------------

static void
definition_gives_questions_with_their_bounds(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(tally_survey_slug(f->survey), "lunch");
    assert_string_equal(tally_survey_title(f->survey), "Lunch");
    assert_int_equal(tally_survey_count(f->survey), 4);
    const tally_question_t *question = tally_survey_question(f->survey, 0);
    assert_string_equal(question->text, "Good?");
    assert_int_equal(question->choice_count, 2);
    assert_string_equal(question->choices[0], "Yes");
    assert_string_equal(question->sorted[0], "No");
    question = tally_survey_find(f->survey, "q3");
    assert_non_null(question);
    assert_true(question->min == 1 && question->max == 5.5);
    assert_null(tally_survey_find(f->survey, "q5"));
}

static void
definition_that_is_not_a_survey_is_refused(void **state)
{
    struct fixture *f = *state;
    definition_is_refused(f, "", "not JSON");
    definition_is_refused(f, "[]", "object");
    definition_is_refused(f, "{\"title\":\"t\"}", "slug is missing");
    definition_is_refused(f, "{\"slug\":1}", "slug is not a text");
    definition_is_refused(f, "{\"slug\":\"Lunch!\"}", "not a name");
    definition_is_refused(f, "{\"slug\":\"s\"}", "title is missing");
    definition_is_refused(f, "{\"slug\":\"s\",\"title\":\"\"}", "title has 0 bytes");
    definition_is_refused(f, "{\"slug\":\"s\",\"title\":\"t\"}", "questions must be a list");
    definition_is_refused(
        f, "{\"slug\":\"s\",\"slug\":\"t\"}",
        "DUPLICATE: this key stands twice in its object (line 1, column 13, byte 12)");
    definition_is_refused(f, "{\"slug\":\"s\",\"colour\":1}", "no \"colour\"");
    definition_is_refused(f, "{\"slug\":\"a\\u0000b\"}", "not JSON");
    definition_is_refused(f, "{\"slug\":\"s\"} x", "not JSON");
    definition_is_refused(f, "{\"slug\":\"\xff\"}", "not JSON");
}

static void
question_that_is_wrong_is_named(void **state)
{
    struct fixture *f = *state;
    questions_are_refused(f, "[]", "1 to 1000");
    questions_are_refused(f, "[1]", "question 1 is not an object");
    questions_are_refused(f, "[{}]", "question 1: its id is missing");
    questions_are_refused(f, "[{\"id\":\"\"}]", "question 1: its id has 0 bytes");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"date\"}]", "question \"a\": type must be");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"text\",\"choices\":[\"x\"]}]",
                          "a text question has no \"choices\"");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"text\",\"text\":1}]", "text must be");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"text\"},{\"id\":\"a\",\"type\":\"text\"}]",
                          "question \"a\" is there twice");
}

static void
choices_must_be_different_texts(void **state)
{
    struct fixture *f = *state;
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"choice\"}]", "choices must be a list");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"multi\",\"choices\":[]}]", "1 to 1000");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"choice\",\"choices\":[\"x\",2]}]",
                          "choice 2: it is not a text");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"choice\",\"choices\":[\"\"]}]",
                          "choice 1: it has 0 bytes");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"choice\",\"choices\":[\"x\",\"y\",\"x\"]}]",
                          "\"x\" is there twice");
}

static void
range_needs_numbers_in_order(void **state)
{
    struct fixture *f = *state;
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"range\",\"min\":1}]", "must be numbers");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"range\",\"min\":1,\"max\":\"2\"}]",
                          "must be numbers");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"range\",\"min\":2,\"max\":1}]",
                          "above max");
    questions_are_refused(f, "[{\"id\":\"a\",\"type\":\"range\",\"min\":0,\"max\":1e16}]",
                          "within");
}

static void
definition_is_taken_at_its_limits_and_not_beyond(void **state)
{
    struct fixture *f = *state;
    const char *before = "{\"id\":\"q";
    const char *after = "\",\"type\":\"text\"}";
    const char *open = "{\"slug\":\"s\",\"title\":\"t\",\"questions\":[";
    f->text = repeat(open, before, after, TALLY_SURVEY_QUESTIONS_MAX, "]}");
    f->other = tally_survey_parse(tally_bytes_of(f->text), &f->problem);
    assert_non_null(f->other);
    tally_survey_destroy(&f->other);
    free(f->text);
    f->text = repeat(open, before, after, TALLY_SURVEY_QUESTIONS_MAX + 1, "]}");
    definition_is_refused(f, f->text, "1 to 1000");

    open = "{\"slug\":\"s\",\"title\":\"t\",\"questions\":[{\"id\":\"a\",\"type\":\"choice\","
           "\"choices\":[";
    free(f->text);
    f->text = repeat(open, "\"", "\"", TALLY_SURVEY_CHOICES_MAX, "]}]}");
    f->other = tally_survey_parse(tally_bytes_of(f->text), &f->problem);
    assert_non_null(f->other);
    tally_survey_destroy(&f->other);
    free(f->text);
    f->text = repeat(open, "\"", "\"", TALLY_SURVEY_CHOICES_MAX + 1, "]}]}");
    definition_is_refused(f, f->text, "1 to 1000");
}

static void
text_that_is_too_long_is_refused_before_it_is_read(void **state)
{
    struct fixture *f = *state;
    f->text = tally_alloc(TALLY_SURVEY_BYTES_MAX + 2);
    memset(f->text, ' ', TALLY_SURVEY_BYTES_MAX + 1);
    definition_is_refused(f, f->text, "bytes long");
}

//  ---- changes -----------------------------------------------------------------------------------

static void
change(struct fixture *f, const char *json, const char *words)
{
    tally_survey_destroy(&f->other);
    f->other = tally_survey_parse(tally_bytes_of(json), &f->problem);
    assert_non_null(f->other);
    int rc = tally_survey_accepts(f->survey, f->other, &f->problem);
    assert_int_equal(rc, words == NULL ? 0 : -1);
    if (words != NULL) {
        assert_says(f, words);
    }
}

#define CHANGED(q1, q2, q3, q4)                                                                    \
    "{\"slug\":\"lunch\",\"title\":\"New\",\"questions\":[" q1 q2 q3 q4                            \
    "{\"id\":\"q9\",\"type\":\"text\"}]}"
#define Q1 "{\"id\":\"q1\",\"type\":\"choice\",\"choices\":[\"Maybe\",\"No\",\"Yes\"]},"
#define Q2 "{\"id\":\"q2\",\"type\":\"multi\",\"choices\":[\"c\",\"b\",\"a\"]},"
#define Q3 "{\"id\":\"q3\",\"type\":\"range\",\"min\":0,\"max\":6},"
#define Q4 "{\"id\":\"q4\",\"type\":\"text\",\"text\":\"new\"},"

static void
survey_may_grow(void **state)
{
    struct fixture *f = *state;
    change(f, CHANGED(Q4, Q3, Q2, Q1), NULL);
    change(f, LUNCH, NULL);
}

static void
survey_may_not_lose_what_was_answered(void **state)
{
    struct fixture *f = *state;
    change(f, CHANGED(Q1, Q2, Q3, ""), "\"q4\" has answers and cannot be taken away");
    change(f, CHANGED(Q1, Q2, "{\"id\":\"q3\",\"type\":\"text\"},", Q4), "type range");
    change(f, CHANGED("{\"id\":\"q1\",\"type\":\"choice\",\"choices\":[\"Yes\"]},", Q2, Q3, Q4),
           "choice \"No\" has answers");
    change(f, CHANGED(Q1, Q2, "{\"id\":\"q3\",\"type\":\"range\",\"min\":1,\"max\":5},", Q4),
           "widened");
}

//  ---- responses ---------------------------------------------------------------------------------

static void
response_that_fits_is_taken(void **state)
{
    struct fixture *f = *state;
    answers_fit(f, "{}");
    answers_fit(f, "{\"q1\":\"Yes\",\"q2\":[\"c\",\"a\"],\"q3\":1,\"q4\":\"\"}");
    answers_fit(f, "{\"q2\":[],\"q3\":5.5}");
    assert_string_equal(f->response.id, "r");
    assert_string_equal(f->response.survey, "lunch");
}

static void
response_without_its_outer_form_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[][2] = {
        {"", "not JSON"},
        {"7", "a response is an object"},
        {"[]", "object"},
        {"{}", "response_id is missing"},
        {"{\"response_id\":7}", "response_id is not a text"},
        {"{\"response_id\":\"\"}", "response_id has 0 bytes"},
        {"{\"response_id\":\"r\"}", "survey is missing"},
        {"{\"response_id\":\"r\",\"survey\":\"lunch\"}", "answers must be an object"},
        {"{\"response_id\":\"r\",\"survey\":\"lunch\",\"answers\":[]}",
         "answers must be an object"},
        {"{\"response_id\":\"r\",\"survey\":\"lunch\",\"answers\":{},\"x\":1}", "no \"x\""},
        {"{\"response_id\":\"r\",\"survey\":\"dinner\",\"answers\":{}}", "\"dinner\""},
        {"{\"response_id\":\"r\",\"response_id\":\"r\"}", "DUPLICATE"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(check(f, wrong[i][0]), -1);
        assert_says(f, wrong[i][1]);
    }
}

static void
response_id_may_have_200_bytes_and_not_201(void **state)
{
    struct fixture *f = *state;
    for (int bytes = 200; bytes <= 201; bytes++) {
        free(f->text);
        f->text = tally_format("{\"response_id\":\"%0*d\",\"survey\":\"lunch\",\"answers\":{}}",
                               bytes, 7);
        assert_int_equal(check(f, f->text), bytes == 200 ? 0 : -1);
    }
    assert_says(f, "response_id has 201 bytes");
}

static void
answer_that_does_not_fit_is_refused_with_its_question(void **state)
{
    struct fixture *f = *state;
    answers_are_refused(f, "{\"q7\":\"Yes\"}", "no question \"q7\"");
    answers_are_refused(f, "{\"q1\":null}", "question \"q1\"");
    answers_are_refused(f, "{\"q1\":\"yes\"}", "\"yes\" is not one of its choices");
    answers_are_refused(f, "{\"q1\":[\"Yes\"]}", "question \"q1\"");
    answers_are_refused(f, "{\"q2\":\"a\"}", "list of different choices");
    answers_are_refused(f, "{\"q2\":[\"a\",\"a\"]}", "\"a\" is chosen twice");
    answers_are_refused(f, "{\"q2\":[\"d\"]}", "\"d\" is not one");
    answers_are_refused(f, "{\"q2\":[1]}", "question \"q2\"");
    answers_are_refused(f, "{\"q2\":[\"a\",\"b\",\"c\",\"a\"]}", "different");
    answers_are_refused(f, "{\"q2\":null}", "question \"q2\"");
    answers_are_refused(f, "{\"q3\":0.999}", "within 1 and 5.5");
    answers_are_refused(f, "{\"q3\":5.6}", "within 1 and 5.5");
    answers_are_refused(f, "{\"q3\":\"3\"}", "number");
    answers_are_refused(f, "{\"q3\":true}", "number");
    answers_are_refused(f, "{\"q3\":1e999}", "RANGE");
    answers_are_refused(f, "{\"q3\":5.50000000000000000001}", "NUMBER");
    answers_are_refused(f, "{\"q4\":4}", "question \"q4\"");
    answers_are_refused(f, "{\"q4\":\"a\",\"q4\":\"b\"}", "DUPLICATE");
    answers_are_refused(f, "{\"q4\":\"\\ud800\"}", "not JSON");
}

static void
nesting_is_refused_beyond_its_limit_without_being_read(void **state)
{
    struct fixture *f = *state;
    f->text = tally_alloc(100002);
    memset(f->text, '[', 100001);
    tally_problem_t problem;
    for (size_t depth = 31; depth <= 33; depth++) {
        char text[80] = {0};
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        json_t *value = tally_json_parse(tally_bytes_of(text), 1000, &problem);
        assert_int_equal(value != NULL, depth <= TALLY_JSON_DEPTH_MAX);
        json_decref(value);
    }
    json_t *value = tally_json_parse(tally_bytes_of(f->text), 1000000, &f->problem);
    assert_null(value);
    assert_says(f, "nested");
    answers_fit(f, "{\"q4\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ \\\" {{{\"}");
}

static void
problem_is_cut_to_whole_characters(void **state)
{
    struct fixture *f = *state;
    char *wide = repeat("", "", "\xe2\x82\xac", 600, "");    // three-byte characters
    for (size_t shift = 0; shift < 4; shift++) {
        tally_problem_set(&f->problem, "%.*s%s", (int)shift, "xxxx", wide);
        json_t *text = json_string(f->problem.text);
        assert_non_null(text);    // jansson takes only UTF-8
        json_decref(text);
    }
    free(wide);
}

//  Every prefix and every changed byte of a good text ends in a result.
static void
damaged_texts_get_a_result(void **state)
{
    struct fixture *f = *state;
    char text[sizeof LUNCH];
    for (size_t i = 0; i < sizeof text - 1; i++) {
        memcpy(text, LUNCH, sizeof text);
        tally_survey_t *survey = tally_survey_parse((tally_bytes_t){text, i}, &f->problem);
        assert_null(survey);
        for (int byte = 1; byte < 256; byte += 5) {
            text[i] = (char)byte;
            survey = tally_survey_parse((tally_bytes_t){text, sizeof text - 1}, &f->problem);
            tally_survey_destroy(&survey);
        }
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(definition_gives_questions_with_their_bounds),
        TEST(definition_that_is_not_a_survey_is_refused),
        TEST(question_that_is_wrong_is_named),
        TEST(choices_must_be_different_texts),
        TEST(range_needs_numbers_in_order),
        TEST(definition_is_taken_at_its_limits_and_not_beyond),
        TEST(text_that_is_too_long_is_refused_before_it_is_read),
        TEST(survey_may_grow),
        TEST(survey_may_not_lose_what_was_answered),
        TEST(response_that_fits_is_taken),
        TEST(response_without_its_outer_form_is_refused),
        TEST(response_id_may_have_200_bytes_and_not_201),
        TEST(answer_that_does_not_fit_is_refused_with_its_question),
        TEST(nesting_is_refused_beyond_its_limit_without_being_read),
        TEST(problem_is_cut_to_whole_characters),
        TEST(damaged_texts_get_a_result),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
