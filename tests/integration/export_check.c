// SPDX-License-Identifier: MIT
//  export_check - reads an export back and compares each value with what was sent.
//
//  Its reader of CSV shares nothing with the writer.  A difference fails the test with both sides
//  told.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/integration/export_scene.h"
#include "workers/export_name.h"
#include "workers/survey.h"

static void
differs(const char *where, const char *wanted, const char *got)
{
    fail_msg("%s: wanted %s, got %s", where, wanted, got);
}

static void
same(const char *where, const json_t *wanted, const json_t *got)
{
    if (wanted == NULL && got == NULL) {
        return;
    }
    bool numbers = json_is_number(wanted) && json_is_number(got);
    if (numbers ? json_number_value(wanted) == json_number_value(got)
                : json_equal((json_t *)(uintptr_t)wanted, (json_t *)(uintptr_t)got)) {
        return;
    }
    char *left = json_dumps(wanted, JSON_ENCODE_ANY);
    char *right = json_dumps(got, JSON_ENCODE_ANY);
    differs(where, left == NULL ? "nothing" : left, right == NULL ? "nothing" : right);
}

static tally_survey_t *
read_survey(export_scene_t *scene)
{
    char *sql = tally_format("select convert_from(definition, 'UTF8') from tally.survey"
                             " where tenant = 7 and slug = '%s'",
                             scene->survey);
    char *text = export_scene_value(scene, sql);
    tally_problem_t problem;
    tally_survey_t *survey = tally_survey_parse(tally_bytes_of(text), &problem);
    if (survey == NULL) {
        differs("definition", "a survey", problem.text);
    }
    free(text);
    free(sql);
    return survey;
}

//  ---- CSV ---------------------------------------------------------------------------------------

struct cell {
    char text[8192];
    bool quoted;
    bool last;    // of its line
};

static const char *
take_quoted(const char *at, const char *end, struct cell *cell, size_t *size)
{
    for (at++; at < end; at++) {
        if (*at == '"') {
            if (at + 1 == end || at[1] != '"') {
                return at + 1;
            }
            at++;
        }
        cell->text[(*size)++] = *at;
    }
    differs("csv", "a closing quote", "the end");
    return end;
}

//  The cell at `at`; the start of the next.
static const char *
take_cell(const char *at, const char *end, struct cell *cell)
{
    size_t size = 0;
    cell->quoted = at < end && *at == '"';
    if (cell->quoted) {
        at = take_quoted(at, end, cell, &size);
    } else {
        while (at < end && *at != ',' && *at != '\r' && *at != '\n') {
            if (*at == '"') {
                differs("csv", "no quote inside a plain cell", at);
            }
            cell->text[size++] = *at++;
        }
    }
    cell->text[size] = '\0';
    cell->last = at < end && *at == '\r';
    if (at < end && *at == ',') {
        return at + 1;
    }
    if (end - at < 2 || at[0] != '\r' || at[1] != '\n') {
        differs("csv", "a comma or CR LF behind a cell", at);
    }
    return at + 2;
}

//  What a cell says, as an answer to the question.  NULL: nothing.
static json_t *
answer_of(const tally_question_t *question, const struct cell *cell)
{
    if (cell->text[0] == '\0' && !cell->quoted) {
        return NULL;
    }
    if (question->type == TALLY_QUESTION_MULTI || question->type == TALLY_QUESTION_RANGE) {
        return json_loads(cell->text, JSON_DECODE_ANY, NULL);
    }
    return json_string(cell->text);
}

static void
check_csv(export_scene_t *scene, const tally_survey_t *survey)
{
    size_t size, columns = tally_survey_count(survey), lines = 0;
    char *text = export_scene_file(scene, "csv", &size);
    const char *at = text, *end = text + size;
    struct cell *cell = tally_alloc(sizeof *cell);
    for (size_t i = 0; i <= columns; i++) {
        at = take_cell(at, end, cell);
        const char *wanted = i == 0 ? "response_id" : tally_survey_question(survey, i - 1)->id;
        if (strcmp(cell->text, wanted) != 0 || cell->last != (i == columns)) {
            differs("csv header", wanted, cell->text);
        }
    }
    json_t *seen = json_object();
    for (; at < end; lines++) {
        at = take_cell(at, end, cell);
        char *id = tally_strdup(cell->text);
        const json_t *answers = json_object_get(json_object_get(scene->responses, id), "answers");
        if (answers == NULL || json_object_get(seen, id) != NULL) {
            differs("csv response", "each once", id);
        }
        json_object_set_new(seen, id, json_true());
        for (size_t i = 0; i < columns; i++) {
            const tally_question_t *question = tally_survey_question(survey, i);
            at = take_cell(at, end, cell);
            json_t *got = answer_of(question, cell);
            same(id, json_object_get(answers, question->id), got);
            json_decref(got);
        }
        if (!cell->last) {
            differs("csv line", "its end", cell->text);
        }
        free(id);
    }
    if (lines != json_object_size(scene->responses)) {
        differs("csv", "all responses", "another number");
    }
    json_decref(seen);
    free(cell);
    free(text);
}

//  ---- the others --------------------------------------------------------------------------------

static void
check_ndjson(export_scene_t *scene)
{
    size_t size;
    char *text = export_scene_file(scene, "ndjson", &size);
    json_t *seen = json_object();
    for (char *line = text; line < text + size;) {
        char *end = strchr(line, '\n');
        if (end == NULL) {
            differs("ndjson", "a line end", line);
        }
        json_t *response = json_loadb(line, (size_t)(end - line), JSON_REJECT_DUPLICATES, NULL);
        const char *id = json_string_value(json_object_get(response, "response_id"));
        if (id == NULL || json_object_get(seen, id) != NULL) {
            differs("ndjson", "each response once", line);
        }
        same(id, json_object_get(scene->responses, id), response);
        json_object_set_new(seen, id, json_true());
        json_decref(response);
        line = end + 1;
    }
    if (json_object_size(seen) != json_object_size(scene->responses)) {
        differs("ndjson", "all responses", "another number");
    }
    json_decref(seen);
    free(text);
}

static void
check_type(const PGresult *rows, int column, tally_question_type_t type)
{
    //  text, text[], numeric
    Oid wanted = type == TALLY_QUESTION_MULTI ? 1009 : type == TALLY_QUESTION_RANGE ? 1700 : 25;
    if (PQftype(rows, column) != wanted) {
        differs("type of a column", "another", PQfname(rows, column));
    }
}

//  A column's values as JSON: to_json of numeric, text and text[] is what was sent.
static void
check_column(export_scene_t *scene, const tally_question_t *question)
{
    char name[TALLY_IDENTIFIER_BYTES_MAX + 1];
    tally_export_column_name(name, question->id);
    PGconn *handle = tally_db_handle(scene->broker);
    char *column = PQescapeIdentifier(handle, name, strlen(name));
    char *sql = tally_format("select response_id, to_json(%s), %s from tally_export.\"acme/%s\"",
                             column, column, scene->survey);
    PGresult *rows = PQexec(handle, sql);
    if (PQntuples(rows) != (int)json_object_size(scene->responses)) {
        differs("table", "all responses", PQresultErrorMessage(rows));
    }
    check_type(rows, 2, question->type);
    for (int i = 0; i < PQntuples(rows); i++) {
        const char *id = PQgetvalue(rows, i, 0);
        const json_t *answers = json_object_get(json_object_get(scene->responses, id), "answers");
        json_t *got = PQgetisnull(rows, i, 1)
                          ? NULL
                          : json_loads(PQgetvalue(rows, i, 1), JSON_DECODE_ANY, NULL);
        same(id, json_object_get(answers, question->id), got);
        json_decref(got);
    }
    PQclear(rows);
    PQfreemem(column);
    free(sql);
}

static void
check_table(export_scene_t *scene, const tally_survey_t *survey)
{
    char *sql = tally_format("select count(distinct response_id) from tally_export.\"acme/%s\"",
                             scene->survey);
    char *count = export_scene_value(scene, sql);
    if (strtoul(count, NULL, 10) != json_object_size(scene->responses)) {
        differs("table", "each response once", count);
    }
    for (size_t i = 0; i < tally_survey_count(survey); i++) {
        check_column(scene, tally_survey_question(survey, i));
    }
    free(count);
    free(sql);
}

void
export_scene_check(export_scene_t *self, const char *format)
{
    tally_survey_t *survey = read_survey(self);
    if (strcmp(format, "csv") == 0) {
        check_csv(self, survey);
    } else if (strcmp(format, "ndjson") == 0) {
        check_ndjson(self);
    } else {
        check_table(self, survey);
    }
    tally_survey_destroy(&survey);
}
