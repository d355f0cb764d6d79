// SPDX-License-Identifier: MIT
//  queue - lists queues and sets their policies.

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include "lib/limits.h"

#include <stdio.h>
#include <string.h>

//  Policy fields that are flags of `queue put`: the flag, the field, and what it is.
typedef enum { POLICY_TIME, POLICY_COUNT, POLICY_SWITCH } policy_kind_t;

static const struct {
    const char *flag;
    const char *field;
    policy_kind_t kind;
} policies[] = {
    {"visibility", "visibility_ms", POLICY_TIME},   {"failures-max", "failures_max", POLICY_COUNT},
    {"crashes-max", "crashes_max", POLICY_COUNT},   {"retry", "retry_ms", POLICY_TIME},
    {"retry-max", "retry_ms_max", POLICY_TIME},     {"batch-max", "batch_max", POLICY_COUNT},
    {"window", "window_ms", POLICY_TIME},           {"window-count", "window_count", POLICY_COUNT},
    {"exclusive", "exclusive", POLICY_SWITCH},      {"keep-blobs", "keep_blobs", POLICY_SWITCH},
    {"result-kept", "result_kept_ms", POLICY_TIME}, {"dedupe-kept", "dedupe_kept_ms", POLICY_TIME},
};

static const tally_flag_t put_flags[] = {
    {"visibility", 0, "TIME", "a lease's deadline, 100ms to 12h"},
    {"failures-max", 0, "N", "failures until a message is buried"},
    {"crashes-max", 0, "N", "crashes alone in a lease until a message is buried"},
    {"retry", 0, "TIME", "first back-off; doubles"},
    {"retry-max", 0, "TIME", "longest back-off"},
    {"batch-max", 0, "N", "messages in one lease, 1 to 1000"},
    {"window", 0, "TIME", "hold back, release all that often; 0s: no window"},
    {"window-count", 0, "N", "release when so many are held; 0: by time alone"},
    {"exclusive", 0, "yes|no", "one worker per tenant, elected"},
    {"keep-blobs", 0, "yes|no", "blobs stay when their message is settled"},
    {"result-kept", 0, "TIME", "how long results of asks are kept"},
    {"dedupe-kept", 0, "TIME", "how long dedupe keys are remembered"},
    TALLY_FLAGS_END,
};

static void
print_queues(const json_t *queues)
{
    static const char *const headings[] = {"QUEUE",     ">READY", ">LEASED", ">HELD",
                                           ">DELAYED",  ">DEAD",  ">OLDEST", ">VISIBILITY",
                                           ">FAILURES", ">BATCH", ">WINDOW", "POLICY"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(queues, index, one) {
        bool is_exclusive = json_is_true(json_object_get(one, "exclusive"));
        bool keeps = json_is_true(json_object_get(one, "keep_blobs"));
        int64_t oldest_ms = tally_field_number(one, "oldest_ms");
        int64_t window_ms = tally_field_number(one, "window_ms");
        tally_grid_add(grid, tally_field_text(one, "name"));
        tally_grid_add_number(grid, tally_field_number(one, "ready")
                                        + tally_field_number(one, "waiting"));
        tally_grid_add_number(grid, tally_field_number(one, "leased"));
        tally_grid_add_number(grid, tally_field_number(one, "held"));
        tally_grid_add_number(grid, tally_field_number(one, "delayed"));
        tally_grid_add_number(grid, tally_field_number(one, "dead"));
        tally_grid_add_time(grid, oldest_ms > 0 ? oldest_ms : -1);
        tally_grid_add_time(grid, tally_field_number(one, "visibility_ms"));
        tally_grid_add_number(grid, tally_field_number(one, "failures_max"));
        tally_grid_add_number(grid, tally_field_number(one, "batch_max"));
        tally_grid_add_time(grid, window_ms > 0 ? window_ms : -1);
        tally_grid_add(grid, is_exclusive && keeps ? "exclusive keep-blobs"
                             : is_exclusive        ? "exclusive"
                             : keeps               ? "keep-blobs"
                                                   : "-");
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static int
run_ls(tally_call_t *call)
{
    json_t *reply;
    int code = tally_call_admin(call, json_pack("{s:s}", "op", "queue.ls"), &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(json_object_get(reply, "queues"));
    } else {
        print_queues(json_object_get(reply, "queues"));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

//  Adds what was given of one policy to the queue's object; -1 after saying what is wrong.
static int
add_policy(const tally_call_t *call, size_t index, json_t *queue)
{
    const char *flag = policies[index].flag;
    const char *text = tally_call_value(call, flag);
    int64_t number = 0;
    if (text == NULL) {
        return 0;
    }
    switch (policies[index].kind) {
    case POLICY_TIME:
        if (tally_call_duration(call, flag, TALLY_DELAY_MS_MAX, 0, &number) == -1) {
            return -1;
        }
        break;
    case POLICY_COUNT:
        if (tally_call_number(call, flag, 0, INT32_MAX, 0, &number) == -1) {
            return -1;
        }
        break;
    case POLICY_SWITCH:
        if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0) {
            tally_call_fail_usage(call, "--%s is yes or no, not \"%s\"", flag, text);
            return -1;
        }
        json_object_set_new(queue, policies[index].field, json_boolean(strcmp(text, "yes") == 0));
        return 0;
    }
    json_object_set_new(queue, policies[index].field, json_integer(number));
    return 0;
}

static int
run_put(tally_call_t *call)
{
    json_t *queue = json_pack("{s:s}", "name", tally_call_argument(call, 0));
    if (queue == NULL) {
        return tally_call_fail(call, TALLY_EXIT_DATA, "NAME: the name of the queue is not UTF-8");
    }
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        if (add_policy(call, i, queue) == -1) {
            json_decref(queue);
            return TALLY_EXIT_USAGE;
        }
    }
    json_t *reply;
    int code = tally_call_admin(call, json_pack("{s:s, s:o}", "op", "queue.put", "queue", queue),
                                &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(reply);
    } else {
        tally_call_say(call, "queue %s is set", tally_call_argument(call, 0));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

const tally_command_t tally_verb_queue_ls = {
    .name = "queue ls",
    .section = "LOOK",
    .arguments = "",
    .summary = "the queues, what is in them, their policies",
    .run = run_ls,
};

const tally_command_t tally_verb_queue_put = {
    .name = "queue put",
    .section = "ADMIN",
    .arguments = "QUEUE",
    .summary = "make a queue, or change its policy",
    .flags = put_flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_put,
    .examples = "  tally queue put mail --visibility 1m --failures-max 8\n"
                "  tally queue put invoices --exclusive yes --window 10m\n",
};
