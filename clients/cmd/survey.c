// SPDX-License-Identifier: MIT
//  survey - puts and lists the surveys of a tenant.

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/file.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include "lib/json.h"

#include <inttypes.h>
#include <stdlib.h>

#define SURVEY_BYTES_MAX (1024 * 1024)

static const tally_flag_t flags[] = {TALLY_FLAG_TENANT, TALLY_FLAGS_END};

static int
run_put(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    const char *path = tally_call_argument(call, 0);
    size_t bytes;
    char *text = tally_file_read(path, SURVEY_BYTES_MAX, &bytes);
    if (text == NULL) {
        return tally_call_fail(call, TALLY_EXIT_DATA, "%s: %s", path, tally_file_why());
    }
    tally_json_fault_t fault;
    json_t *definition = tally_json_load((tally_bytes_t){text, bytes}, SURVEY_BYTES_MAX,
                                         TALLY_JSON_GIVEN, &fault);
    free(text);
    if (definition == NULL) {
        return tally_call_fail(call, TALLY_EXIT_DATA, "%s:%zu:%zu: JSON: %s: %s", path, fault.line,
                               fault.column, tally_json_code_name(fault.code), fault.text);
    }
    json_t *reply;
    int code = tally_call_ask(call, "survey", tenant,
                              json_pack("{s:s, s:o}", "do", "put", "definition", definition), 0,
                              tally_call_work_timeout_ms(call), &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(reply);
    } else {
        tally_call_say(call, "survey %s is set", tally_field_text(reply, "survey"));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

static void
print_surveys(const json_t *surveys)
{
    static const char *const headings[] = {"SURVEY", ">QUESTIONS", "PUT AT", "TITLE"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(surveys, index, one) {
        tally_grid_add(grid, tally_field_text(one, "slug"));
        tally_grid_add_number(grid, tally_field_number(one, "questions"));
        tally_grid_add(grid, tally_field_text(one, "put_at"));
        tally_grid_add(grid, tally_field_text(one, "title"));
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static int
run_ls(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    json_t *reply;
    int code = tally_call_ask(call, "survey", tenant, json_pack("{s:s}", "do", "ls"), 0,
                              tally_call_timeout_ms(call), &reply);
    if (code != 0) {
        return code;
    }
    const json_t *surveys = json_object_get(reply, "surveys");
    if (tally_call_wants_json(call)) {
        tally_call_print_json(surveys);
    } else if (json_array_size(surveys) == 0) {
        tally_call_say(call, "no surveys; put one: tally survey put FILE -t %s", tenant);
    } else {
        print_surveys(surveys);
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

const tally_command_t tally_verb_survey_put = {
    .name = "survey put",
    .section = "SURVEY",
    .arguments = "FILE",
    .summary = "make a survey of its definition, or change it",
    .flags = flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_put,
    .examples = "  tally survey put lunch.survey.json -t acme\n",
};

const tally_command_t tally_verb_survey_ls = {
    .name = "survey ls",
    .section = "SURVEY",
    .arguments = "",
    .summary = "the surveys of a tenant",
    .flags = flags,
    .run = run_ls,
};
