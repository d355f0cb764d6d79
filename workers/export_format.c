// SPDX-License-Identifier: MIT
#include "workers/export_format.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"

static void
put_text(tally_wire_t *out, const char *text)
{
    tally_wire_put_raw(out, tally_bytes_of(text));
}

//  ---- cells -------------------------------------------------------------------------------------

//  Beyond what RFC 4180 asks for: blanks at the ends, which some readers strip; a backslash first,
//  since a line of `\.` ends what PostgreSQL's COPY reads; and emptiness, since an empty cell means
//  no answer.
static bool
wants_quotes(tally_bytes_t text)
{
    const char *data = text.data;
    if (text.size == 0) {
        return true;
    }
    if (data[0] == ' ' || data[0] == '\t' || data[0] == '\\' || data[text.size - 1] == ' '
        || data[text.size - 1] == '\t') {
        return true;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (data[i] == '"' || data[i] == ',' || data[i] == '\r' || data[i] == '\n') {
            return true;
        }
    }
    return false;
}

static void
put_cell(tally_wire_t *out, tally_bytes_t text)
{
    if (!wants_quotes(text)) {
        tally_wire_put_raw(out, text);
        return;
    }
    const char *data = text.data;
    size_t from = 0;
    tally_wire_put_u8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (data[i] == '"') {
            tally_wire_put_raw(out, (tally_bytes_t){data + from, i + 1 - from});
            from = i;    // the quote itself once more, with what follows
        }
    }
    if (from < text.size) {
        tally_wire_put_raw(out, (tally_bytes_t){data + from, text.size - from});
    }
    tally_wire_put_u8(out, '"');
}

static bool
looks_like_formula(tally_bytes_t text)
{
    return text.size > 0 && memchr("=+-@\t\r", *(const char *)text.data, 6) != NULL;
}

static void
put_guarded_cell(tally_wire_t *out, tally_bytes_t text, bool guard)
{
    if (!guard || !looks_like_formula(text)) {
        put_cell(out, text);
        return;
    }
    char *guarded = tally_alloc(text.size + 1);
    guarded[0] = '\'';
    memcpy(guarded + 1, text.data, text.size);
    put_cell(out, (tally_bytes_t){guarded, text.size + 1});
    free(guarded);
}

//  The shortest decimal that reads back as the same number.
static void
put_number(tally_wire_t *out, const json_t *value)
{
    char text[40];
    if (json_is_integer(value)) {
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else {
        double number = json_real_value(value);
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, number);
            if (strtod(text, NULL) == number) {
                break;
            }
        }
    }
    put_text(out, text);
}

static char *
json_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL) {
        abort();    // a value that was parsed can be printed: out of memory
    }
    return text;
}

static tally_bytes_t
string_bytes(const json_t *value)
{
    return (tally_bytes_t){json_string_value(value), json_string_length(value)};
}

static void
put_csv_cell(tally_wire_t *out, const json_t *value, bool guard)
{
    if (value == NULL || json_is_null(value)) {
        return;
    }
    if (json_is_number(value)) {
        put_number(out, value);
    } else if (json_is_string(value)) {
        put_guarded_cell(out, string_bytes(value), guard);
    } else {
        char *text = json_text(value);
        put_cell(out, tally_bytes_of(text));
        free(text);
    }
}

//  ---- lines -------------------------------------------------------------------------------------

void
tally_export_csv_header(tally_wire_t *out, const tally_columns_t *columns)
{
    put_text(out, "response_id");
    for (size_t i = 0; i < columns->count; i++) {
        tally_wire_put_u8(out, ',');
        put_guarded_cell(out, tally_bytes_of(columns->columns[i].question), columns->guard);
    }
    put_text(out, "\r\n");
}

//  The response with its id and answers borrowed from it, or NULL.
static json_t *
load_response(tally_bytes_t body, const json_t **id, const json_t **answers,
              tally_problem_t *problem)
{
    json_error_t error;
    json_t *response = json_loadb(body.data, body.size, 0, &error);
    if (response == NULL) {
        tally_problem_set(problem, "a stored response is not JSON: %s", error.text);
        return NULL;
    }
    *id = json_object_get(response, "response_id");
    *answers = json_object_get(response, "answers");
    if (!json_is_string(*id) || !json_is_object(*answers)) {
        tally_problem_set(problem, "a stored response has no response_id or no answers");
        json_decref(response);
        return NULL;
    }
    return response;
}

int
tally_export_csv_line(tally_wire_t *out, const tally_columns_t *columns, tally_bytes_t body,
                      tally_problem_t *problem)
{
    const json_t *id, *answers;
    json_t *response = load_response(body, &id, &answers, problem);
    if (response == NULL) {
        return -1;
    }
    put_guarded_cell(out, string_bytes(id), columns->guard);
    for (size_t i = 0; i < columns->count; i++) {
        tally_wire_put_u8(out, ',');
        put_csv_cell(out, json_object_get(answers, columns->columns[i].question), columns->guard);
    }
    put_text(out, "\r\n");
    json_decref(response);
    return 0;
}

//  In a JSON text line ends stand between tokens alone, where a blank means the same.
void
tally_export_ndjson_line(tally_wire_t *out, tally_bytes_t body)
{
    const char *data = body.data;
    size_t from = 0, to = body.size;
    while (from < to && memchr(" \t\r\n", data[from], 4) != NULL) {
        from++;
    }
    while (to > from && memchr(" \t\r\n", data[to - 1], 4) != NULL) {
        to--;
    }
    size_t start = out->size;
    tally_wire_put_raw(out, (tally_bytes_t){data + from, to - from});
    for (size_t i = start; i < out->size; i++) {
        if (out->data[i] == '\n' || out->data[i] == '\r') {
            out->data[i] = ' ';
        }
    }
    tally_wire_put_u8(out, '\n');
}
