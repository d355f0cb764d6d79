// SPDX-License-Identifier: MIT
//  statistics - refreshes, shows and recomputes the statistics of surveys.

#include "clients/cmd/bars.h"
#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include <inttypes.h>
#include <stdlib.h>

#define BLOCK_MAX 1000000
#define BLOCK_DEFAULT 1000

static const tally_flag_t refresh_flags[] = {
    TALLY_FLAG_TENANT,
    {"wait", 'w', NULL, "wait until it is done"},
    TALLY_FLAGS_END,
};

static const tally_flag_t show_flags[] = {
    TALLY_FLAG_TENANT,
    {"survey", 's', "SURVEY", "which"},
    TALLY_FLAGS_END,
};

static const tally_flag_t ls_flags[] = {TALLY_FLAG_TENANT, TALLY_FLAGS_END};

static const tally_flag_t recompute_flags[] = {
    TALLY_FLAG_TENANT,
    {"survey", 's', "SURVEY", "this one alone; all of the tenant without"},
    {"block", 0, "N", "responses, then partials, in a block; 1000 without"},
    {"trace", 0, NULL, "print each phase as a table"},
    {"wait", 'w', NULL, "wait until it is done"},
    TALLY_FLAGS_END,
};

static void
print_counts(const tally_call_t *call, const json_t *reply)
{
    json_t *surveys = json_object_get(reply, "surveys");
    static const char *const headings[] = {"SURVEY", ">RESPONSES"};
    tally_grid_t *grid = tally_grid_new(headings, 2);
    const char *name;
    json_t *count;
    json_object_foreach(surveys, name, count) {
        tally_grid_add(grid, name);
        tally_grid_add_number(grid, json_integer_value(count));
    }
    if (!tally_call_is_quiet(call) && json_object_size(surveys) > 0) {
        tally_grid_print(grid, stdout);
    } else {
        tally_call_say(call, "nothing to count");
    }
    tally_grid_destroy(&grid);
}

//  ---- the trace of a recomputation --------------------------------------------------------------

static void
print_phase(const json_t *phase)
{
    static const char *const headings[] = {"AGGREGATION", "SURVEY", ">RESPONSES", "HISTOGRAM",
                                           ">MEAN"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(phase, "rows"), index, row) {
        const json_t *mean = json_object_get(row, "mean");
        char text[32] = "-";
        if (json_is_number(mean)) {
            snprintf(text, sizeof text, "%.10g", json_number_value(mean));
        }
        tally_grid_add(grid, tally_field_text(row, "aggregation"));
        tally_grid_add(grid, tally_field_text(row, "survey"));
        tally_grid_add_number(grid, tally_field_number(row, "responses"));
        tally_grid_add(grid, tally_field_text(row, "histogram"));
        tally_grid_add(grid, text);
    }
    printf("%s\n", tally_field_text(phase, "phase"));
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
    putchar('\n');
}

static void
print_trace(const json_t *reply)
{
    size_t index;
    json_t *phase;
    json_array_foreach(json_object_get(reply, "trace"), index, phase) {
        print_phase(phase);
    }
}

//  ---- requests to the term's holder -------------------------------------------------------------

//  Sends without waiting for the work: confirmed is all that is promised.
static int
send_only(tally_call_t *call, const char *tenant, json_t *body)
{
    int code = 0;
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    tally_client_t *client = tally_call_client(call, &code);
    if (client != NULL) {
        tally_message_t message = {.body = text,
                                   .body_bytes = strlen(text),
                                   .flags = TALLY_MESSAGE_RELEASES};
        if (tally_client_send_wait(client, "statistics", tenant, &message, 1,
                                   tally_call_timeout_ms(call), NULL)
            == -1) {
            code = tally_call_fail_client(call, client);
        } else {
            tally_call_say(call, "asked for; --wait waits until it is done");
        }
    }
    free(text);
    return code;
}

static int
run_request(tally_call_t *call, const char *tenant, json_t *body)
{
    if (!tally_call_has(call, "wait") && !tally_call_has(call, "trace")) {
        return send_only(call, tenant, body);
    }
    json_t *reply;
    int code = tally_call_ask(call, "statistics", tenant, body, TALLY_MESSAGE_RELEASES,
                              tally_call_work_timeout_ms(call), &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(reply);
    } else {
        print_trace(reply);
        print_counts(call, reply);
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

static int
run_refresh(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    return run_request(call, tenant, json_pack("{s:s}", "do", "refresh"));
}

static int
run_recompute(tally_call_t *call)
{
    int64_t block;
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL
        || tally_call_number(call, "block", 1, BLOCK_MAX, BLOCK_DEFAULT, &block) == -1) {
        return TALLY_EXIT_USAGE;
    }
    json_t *body = json_pack("{s:s, s:s*, s:I, s:b}", "do", "recompute", "survey",
                             tally_call_value(call, "survey"), "block", (json_int_t)block, "trace",
                             tally_call_has(call, "trace"));
    return run_request(call, tenant, body);
}

//  ---- reading -----------------------------------------------------------------------------------

//  The survey's definition, or NULL: then the numbers stand alone.
static json_t *
read_definition(tally_call_t *call, const char *tenant, const char *survey)
{
    json_t *reply;
    json_t *body = json_pack("{s:s, s:s}", "do", "get", "survey", survey);
    if (tally_call_ask(call, "survey", tenant, body, 0, tally_call_timeout_ms(call), &reply) != 0) {
        return NULL;
    }
    json_t *definition = json_incref(json_object_get(reply, "definition"));
    json_decref(reply);
    return definition;
}

static int
run_show(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    const char *survey = tally_call_value(call, "survey");
    if (survey == NULL) {
        return tally_call_fail_usage(call, "say which: -s SURVEY (tally survey ls -t %s)", tenant);
    }
    json_t *reply;
    json_t *body = json_pack("{s:s, s:s}", "do", "show", "survey", survey);
    int code = tally_call_ask(call, "statistics-read", tenant, body, 0, tally_call_timeout_ms(call),
                              &reply);
    if (code != 0) {
        return code;
    }
    const json_t *statistics = json_object_get(reply, "statistics");
    if (!json_is_object(statistics)) {
        code = tally_call_fail(call, TALLY_EXIT_BUG, "ANSWER: there are no \"statistics\" in it");
    } else if (tally_call_wants_json(call)) {
        tally_call_print_json(statistics);
    } else {
        json_t *definition = read_definition(call, tenant, survey);
        tally_bars_print(stdout, statistics, definition, tally_call_wants_color(call, stdout));
        json_decref(definition);
    }
    json_decref(reply);
    return code;
}

static int
run_ls(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    json_t *reply;
    int code = tally_call_ask(call, "statistics-read", tenant, json_pack("{s:s}", "do", "ls"), 0,
                              tally_call_timeout_ms(call), &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(json_object_get(reply, "surveys"));
    } else {
        print_counts(call, reply);
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

const tally_command_t tally_verb_statistics_refresh = {
    .name = "statistics refresh",
    .section = "SURVEY",
    .arguments = "",
    .summary = "count what is pending now, not when the window opens",
    .flags = refresh_flags,
    .run = run_refresh,
    .examples = "  tally statistics refresh -t acme --wait\n",
};

const tally_command_t tally_verb_statistics_show = {
    .name = "statistics show",
    .section = "SURVEY",
    .arguments = "",
    .summary = "bars and means of a survey",
    .flags = show_flags,
    .run = run_show,
    .examples = "  tally statistics show -t acme -s lunch\n"
                "  tally statistics show -t acme -s lunch --json | jq .responses\n",
};

const tally_command_t tally_verb_statistics_ls = {
    .name = "statistics ls",
    .section = "SURVEY",
    .arguments = "",
    .summary = "the responses counted, by survey",
    .flags = ls_flags,
    .run = run_ls,
};

const tally_command_t tally_verb_statistics_recompute = {
    .name = "statistics recompute",
    .section = "SURVEY",
    .arguments = "",
    .summary = "count all again, in parallel (MapReduce)",
    .flags = recompute_flags,
    .run = run_recompute,
    .examples = "  tally statistics recompute -t acme --wait\n"
                "  tally statistics recompute -t acme --block 3 --trace\n",
};
