// SPDX-License-Identifier: MIT
//  fuzz_survey - a survey's definition and a response, parted by a line that is a dash: read, judged, counted, written
//  as a line of CSV.  Without the dash the response is for a survey of our own.
//
//  covers: workers/survey.c workers/statistics.c workers/statistics_count.c workers/export_format.c workers/json.c

#include "tests/fuzz/fuzz.h"

#include <math.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/export_format.h"
#include "workers/statistics.h"

static const char lunch[] = "{\"slug\":\"lunch\",\"title\":\"Lunch\",\"questions\":["
                            "{\"id\":\"q1\",\"type\":\"choice\",\"choices\":[\"Yes\",\"No\"]},"
                            "{\"id\":\"q2\",\"type\":\"multi\",\"choices\":[\"a\",\"b\",\"c\"]},"
                            "{\"id\":\"q3\",\"type\":\"range\",\"min\":-1e15,\"max\":1e15},"
                            "{\"id\":\"q4\",\"type\":\"text\"}]}";

static void
check_problem(const tally_problem_t *problem)
{
    assert(memchr(problem->text, '\0', sizeof problem->text) != NULL);
    json_t *text = json_string(problem->text);    // NULL when it is not UTF-8
    assert(text != NULL);
    json_decref(text);
}

//  Counting it once and merging that into nothing is the same; and what is written can be read.
static void
count(const tally_survey_t *survey, const tally_response_t *response)
{
    tally_problem_t problem;
    tally_statistics_t *counted = tally_statistics_new(survey);
    tally_statistics_add(counted, survey, response);
    json_t *encoded = tally_statistics_encode(counted);
    char *text = tally_json_print(encoded);
    json_t *parsed = tally_json_parse_made(tally_bytes_of(text), SIZE_MAX, &problem);
    assert(parsed != NULL);
    tally_statistics_t *decoded = tally_statistics_decode(parsed, &problem);
    assert(decoded != NULL);
    tally_statistics_t *merged = tally_statistics_new(survey);
    assert(tally_statistics_merge(merged, decoded, &problem) == 0);
    json_t *again = tally_statistics_encode(merged);
    assert(json_equal(encoded, again) == 1);
    assert(tally_statistics_responses(merged) == 1);
    char *letters = tally_statistics_letters(merged);
    free(letters);
    json_t *mean = tally_statistics_first_mean(merged);
    assert(mean != NULL);
    json_decref(mean);
    json_decref(again);
    json_decref(parsed);
    json_decref(encoded);
    free(text);
    tally_statistics_destroy(&merged);
    tally_statistics_destroy(&decoded);
    tally_statistics_destroy(&counted);
}

static void
export_lines(const tally_survey_t *survey, tally_bytes_t body)
{
    tally_wire_t out = {0};
    tally_problem_t problem;
    size_t count = tally_survey_count(survey);
    tally_column_t *list = tally_alloc_array(count, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        list[i].question = tally_survey_question(survey, i)->id;
    }
    const tally_columns_t columns = {.columns = list, .count = count, .guard = true};
    tally_export_csv_header(&out, &columns);
    assert(tally_export_csv_line(&out, &columns, body, &problem) == 0);
    assert(out.size > 2 && out.data[out.size - 1] == '\n');
    tally_wire_reset(&out);
    tally_export_ndjson_line(&out, body);
    assert(memchr(out.data, '\n', out.size) == out.data + out.size - 1);
    json_t *value = tally_json_load((tally_bytes_t){out.data, out.size}, SIZE_MAX, TALLY_JSON_GIVEN,
                                    NULL);
    assert(value != NULL);
    json_decref(value);
    free(list);
    tally_wire_free(&out);
}

static void
judge(const tally_survey_t *survey, tally_bytes_t json)
{
    tally_problem_t problem;
    tally_response_t response;
    if (tally_response_read(&response, json, &problem) == -1) {
        check_problem(&problem);
        return;
    }
    if (tally_survey_check(survey, &response, &problem) == -1) {
        check_problem(&problem);
    } else {
        count(survey, &response);
        export_lines(survey, json);
    }
    tally_response_free(&response);
}

//  It fits itself, and every question of it is found.
static void
check_survey(const tally_survey_t *survey)
{
    tally_problem_t problem;
    assert(tally_survey_accepts(survey, survey, &problem) == 0);
    for (size_t i = 0; i < tally_survey_count(survey); i++) {
        const tally_question_t *question = tally_survey_question(survey, i);
        assert(tally_survey_find(survey, question->id) == question);
        assert(isfinite(question->min) && isfinite(question->max));
    }
}

//  The first line that is a dash alone; input.size when there is none.
static size_t
find_dash(tally_bytes_t input)
{
    const char *text = input.data;
    for (size_t i = 0; i + 2 < input.size; i++) {
        if (memcmp(text + i, "\n-\n", 3) == 0) {
            return i;
        }
    }
    return input.size;
}

void
fuzz_survey(tally_bytes_t input)
{
    tally_problem_t problem;
    size_t dash = find_dash(input);
    tally_bytes_t definition = tally_bytes_of(lunch), response = input;
    if (dash < input.size) {
        definition = (tally_bytes_t){input.data, dash};
        response = (tally_bytes_t){(const char *)input.data + dash + 3, input.size - dash - 3};
    }
    tally_survey_t *survey = tally_survey_parse(definition, &problem);
    if (survey == NULL) {
        assert(dash < input.size);
        check_problem(&problem);
        return;
    }
    check_survey(survey);
    judge(survey, response);
    tally_survey_destroy(&survey);
}
