// SPDX-License-Identifier: MIT
#include "workers/export_request.h"

#include <stdlib.h>

#include "lib/alloc.h"

static const char *const formats[] = {
    [TALLY_FORMAT_TABLE] = "table",
    [TALLY_FORMAT_CSV] = "csv",
    [TALLY_FORMAT_NDJSON] = "ndjson",
};

const char *
tally_export_format_name(tally_export_format_t format)
{
    return formats[format];
}

//  The member's text, or NULL when it is missing or no text.
static const char *
text_of(const json_t *request, const char *member)
{
    return json_string_value(json_object_get(request, member));
}

//  A misspelt word would otherwise be a wish that nobody heard.
static int
check_keys(const json_t *request, const char *const *known, tally_problem_t *problem)
{
    const char *unknown = tally_json_unknown_key(request, known);
    return unknown == NULL ? 0 : tally_problem_set(problem, "\"%s\" is not known here", unknown);
}

static int
read_export(tally_export_request_t *self, const json_t *request, tally_problem_t *problem)
{
    const char *survey = text_of(request, "survey");
    const char *format = text_of(request, "format");
    const json_t *out = json_object_get(request, "out");
    if (survey == NULL || survey[0] == '\0') {
        return tally_problem_set(problem, "\"survey\" must name a survey");
    }
    size_t at = 0;
    while (at < sizeof formats / sizeof formats[0]
           && (format == NULL || strcmp(format, formats[at]) != 0)) {
        at++;
    }
    if (at == sizeof formats / sizeof formats[0]) {
        return tally_problem_set(problem, "\"format\" must be table, csv or ndjson");
    }
    if (out != NULL && !json_is_string(out) && !json_is_null(out)) {
        return tally_problem_set(problem, "\"out\" must be a directory's path");
    }
    self->format = (tally_export_format_t)at;
    if (json_is_string(out) && self->format == TALLY_FORMAT_TABLE) {
        return tally_problem_set(
            problem, "\"out\" is for files; a table goes to the worker's target database");
    }
    self->survey = tally_strdup(survey);
    self->out = json_is_string(out) ? tally_strdup(json_string_value(out)) : NULL;
    return 0;
}

//  Ids are beyond what JSON numbers are safe for in some languages, so both forms are taken.
static int
read_id(tally_export_request_t *self, const json_t *id, tally_problem_t *problem)
{
    if (json_is_integer(id) && json_integer_value(id) > 0) {
        self->id = (uint64_t)json_integer_value(id);
        return 0;
    }
    const char *digits = json_string_value(id);
    if (digits != NULL && digits[0] != '\0' && strlen(digits) <= 18
        && strspn(digits, "0123456789") == strlen(digits)) {
        self->id = strtoull(digits, NULL, 10);
        return 0;
    }
    return tally_problem_set(problem, "\"export\" must be an export's id");
}

static int
read_request(tally_export_request_t *self, const json_t *request, tally_problem_t *problem)
{
    static const char *const of_export[] = {"do", "survey", "format", "out", NULL};
    static const char *const of_cancel[] = {"do", "export", NULL};
    static const char *const of_list[] = {"do", NULL};
    const char *verb = text_of(request, "do");
    if (verb != NULL && strcmp(verb, "export") == 0) {
        self->verb = TALLY_ASKS_EXPORT;
        return check_keys(request, of_export, problem) == -1 ? -1
                                                             : read_export(self, request, problem);
    }
    if (verb != NULL && strcmp(verb, "ls") == 0) {
        self->verb = TALLY_ASKS_LIST;
        return check_keys(request, of_list, problem);
    }
    if (verb != NULL && strcmp(verb, "cancel") == 0) {
        self->verb = TALLY_ASKS_CANCEL;
        return check_keys(request, of_cancel, problem) == -1
                   ? -1
                   : read_id(self, json_object_get(request, "export"), problem);
    }
    return tally_problem_set(problem, "\"do\" must be export, ls or cancel");
}

int
tally_export_request_read(tally_export_request_t *self, tally_bytes_t body,
                          tally_problem_t *problem)
{
    *self = (tally_export_request_t){.verb = TALLY_ASKS_EXPORT};
    json_t *request = tally_json_parse(body, TALLY_BODY_INLINE_BYTES_MAX, problem);
    if (request == NULL) {
        return -1;
    }
    int outcome = read_request(self, request, problem);
    json_decref(request);
    return outcome;
}

void
tally_export_request_free(tally_export_request_t *self)
{
    free(self->survey);
    free(self->out);
    *self = (tally_export_request_t){.verb = TALLY_ASKS_EXPORT};
}
