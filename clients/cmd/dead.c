// SPDX-License-Identifier: MIT
//  dead - the buried messages of a tenant: look, retry, drop.

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT_MAX 1000

static const tally_flag_t ls_flags[] = {
    TALLY_FLAG_TENANT,
    {"queue", 0, "QUEUE", "of this queue alone"},
    {"limit", 0, "N", "so many, the newest; 100 without"},
    TALLY_FLAGS_END,
};

static const tally_flag_t show_flags[] = {TALLY_FLAG_TENANT, TALLY_FLAGS_END};

static const tally_flag_t change_flags[] = {
    TALLY_FLAG_TENANT,
    {"queue", 0, "QUEUE", "with --all: of this queue alone"},
    {"all", 0, NULL, "all of the tenant, or of --queue"},
    {"yes", 0, NULL, "really drop all"},
    TALLY_FLAGS_END,
};

static void
print_list(const json_t *list)
{
    static const char *const headings[] = {"MESSAGE",   "QUEUE",    "BURIED AT", ">DELIVERIES",
                                           ">FAILURES", ">CRASHES", ">BYTES",    "REASON"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(list, index, one) {
        tally_grid_add(grid, tally_field_text(one, "id"));
        tally_grid_add(grid, tally_field_text(one, "queue"));
        tally_grid_add(grid, tally_field_text(one, "buried_at"));
        tally_grid_add_number(grid, tally_field_number(one, "deliveries"));
        tally_grid_add_number(grid, tally_field_number(one, "failures"));
        tally_grid_add_number(grid, tally_field_number(one, "crashes"));
        tally_grid_add_number(grid, tally_field_number(one, "bytes"));
        tally_grid_add(grid, tally_field_text(one, "reason"));
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static int
run_ls(tally_call_t *call)
{
    int64_t limit;
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL || tally_call_number(call, "limit", 1, LIMIT_MAX, 100, &limit) == -1) {
        return TALLY_EXIT_USAGE;
    }
    json_t *reply;
    json_t *request = json_pack("{s:s, s:s, s:s*, s:I}", "op", "dead.ls", "tenant", tenant, "queue",
                                tally_call_value(call, "queue"), "limit", (json_int_t)limit);
    int code = tally_call_admin(call, request, &reply);
    if (code != 0) {
        return code;
    }
    const json_t *list = json_object_get(reply, "dead");
    if (tally_call_wants_json(call)) {
        tally_call_print_json(list);
    } else if (json_array_size(list) == 0) {
        tally_call_say(call, "no dead letters");
    } else {
        print_list(list);
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

//  One line of a text from outside.
static void
print_field(const char *name, const char *text)
{
    const char *const headings[] = {name, text};
    tally_grid_t *grid = tally_grid_new(headings, 1);
    tally_grid_add(grid, text);
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static void
print_one(const json_t *dead)
{
    const char *body = tally_field_text(dead, "body");
    printf("message    %s in %s, priority %" PRId64 "\n", tally_field_text(dead, "id"),
           tally_field_text(dead, "queue"), tally_field_number(dead, "priority"));
    printf("sent       %s\nburied     %s\n", tally_field_text(dead, "created_at"),
           tally_field_text(dead, "buried_at"));
    printf("counted    %" PRId64 " deliveries, %" PRId64 " failures, %" PRId64 " crashes\n\n",
           tally_field_number(dead, "deliveries"), tally_field_number(dead, "failures"),
           tally_field_number(dead, "crashes"));
    print_field("REASON", tally_field_text(dead, "reason"));
    size_t index;
    json_t *one;
    json_array_foreach(json_object_get(dead, "history"), index, one) {
        const char *text = json_string_value(one);
        print_field(index == 0 ? "\nHISTORY" : "", text != NULL ? text : "?");
    }
    print_field("\nBODY", *body != '\0' ? body : tally_field_text(dead, "body_hex"));
}

static int
run_show(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    json_t *reply;
    json_t *request = json_pack("{s:s, s:s, s:s}", "op", "dead.show", "tenant", tenant, "id",
                                tally_call_argument(call, 0));
    int code = tally_call_admin(call, request, &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(json_object_get(reply, "dead"));
    } else {
        print_one(json_object_get(reply, "dead"));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

//  The request for the ids of the arguments, or for all.
static json_t *
make_change(const tally_call_t *call, const char *op, const char *tenant)
{
    json_t *request = json_pack("{s:s, s:s, s:s*}", "op", op, "tenant", tenant, "queue",
                                tally_call_value(call, "queue"));
    if (tally_call_has(call, "all")) {
        json_object_set_new(request, "all", json_true());
        return request;
    }
    json_t *ids = json_array();
    for (size_t i = 0; i < tally_call_argument_count(call); i++) {
        json_array_append_new(ids, json_string(tally_call_argument(call, i)));
    }
    json_object_set_new(request, "ids", ids);
    return request;
}

//  The broker changes so many at a time and says when there are more.
static int
change(tally_call_t *call, const char *op, const char *done)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    if ((tally_call_argument_count(call) > 0) == tally_call_has(call, "all")) {
        return tally_call_fail_usage(call, "say which: message ids, or --all");
    }
    int64_t count = 0;
    bool more = true;
    while (more) {
        json_t *reply;
        int code = tally_call_admin(call, make_change(call, op, tenant), &reply);
        if (code != 0) {
            return code;
        }
        int64_t changed = tally_field_number(reply, "count");
        count += changed;
        more = tally_call_has(call, "all") && changed > 0
               && json_is_true(json_object_get(reply, "more"));
        json_decref(reply);
    }
    if (tally_call_wants_json(call)) {
        json_t *object = json_pack("{s:b, s:I}", "ok", 1, "count", (json_int_t)count);
        tally_call_print_json(object);
        json_decref(object);
    } else {
        tally_call_say(call, "%s %" PRId64 " message%s", done, count, count == 1 ? "" : "s");
    }
    return count > 0 || tally_call_has(call, "all") ? TALLY_EXIT_OK : TALLY_EXIT_NO;
}

static int
run_retry(tally_call_t *call)
{
    return change(call, "dead.retry", "retried");
}

static int
run_drop(tally_call_t *call)
{
    if (tally_call_has(call, "all") && !tally_call_has(call, "yes")) {
        return tally_call_fail_usage(
            call, "dropping all is for good; say --yes (tally dead ls shows them)");
    }
    return change(call, "dead.drop", "dropped");
}

const tally_command_t tally_verb_dead_ls = {
    .name = "dead ls",
    .section = "LOOK",
    .arguments = "",
    .summary = "the buried messages of a tenant",
    .flags = ls_flags,
    .run = run_ls,
};

const tally_command_t tally_verb_dead_show = {
    .name = "dead show",
    .section = "LOOK",
    .arguments = "MESSAGE",
    .summary = "one of them, with its history and body",
    .flags = show_flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_show,
};

const tally_command_t tally_verb_dead_retry = {
    .name = "dead retry",
    .section = "ADMIN",
    .arguments = "MESSAGE...",
    .summary = "put buried messages back into their queue",
    .flags = change_flags,
    .arguments_max = LIMIT_MAX,
    .run = run_retry,
    .examples = "  tally dead retry -t acme 7696581394533\n"
                "  tally dead retry -t acme --queue mail --all\n",
};

const tally_command_t tally_verb_dead_drop = {
    .name = "dead drop",
    .section = "ADMIN",
    .arguments = "MESSAGE...",
    .summary = "throw buried messages away for good",
    .flags = change_flags,
    .arguments_max = LIMIT_MAX,
    .run = run_drop,
};
