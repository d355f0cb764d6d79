// SPDX-License-Identifier: MIT
//  status - the broker on one screen.

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"
#include "clients/cmd/worker.h"

#include <inttypes.h>

static void
print_broker(const json_t *status)
{
    const json_t *broker = json_object_get(status, "broker");
    const json_t *endpoints = json_object_get(broker, "endpoints");
    const json_t *ticks = json_object_get(status, "ticks");
    char uptime[32];
    tally_grid_format_time(uptime, sizeof uptime, tally_field_number(broker, "uptime_ms"));
    printf("broker    %s, epoch %" PRId64 ", up %s, tick %" PRId64
           ", commit mean %.1f ms, most %.1f ms\n",
           tally_field_text(broker, "state"), tally_field_number(broker, "epoch"), uptime,
           tally_field_number(broker, "tick"), tally_field_real(ticks, "commit_ms_mean"),
           tally_field_real(ticks, "commit_ms_max"));
    printf("front     %s\nfeed      %s\n\n", tally_field_text(endpoints, "front"),
           tally_field_text(endpoints, "feed"));
}

static void
print_streams(const char *what, const json_t *list)
{
    const char *const headings[] = {what,    ">READY",  ">LEASED", ">HELD",    ">DELAYED",
                                    ">DEAD", ">OLDEST", ">SENT",   ">SETTLED", ">REFUSED"};
    const size_t columns = sizeof headings / sizeof headings[0];
    tally_grid_t *grid = tally_grid_new(headings, columns);
    size_t index;
    json_t *one;
    json_array_foreach(list, index, one) {
        tally_grid_add(grid, tally_field_text(one, "name"));
        tally_grid_add_number(grid, tally_field_number(one, "ready")
                                        + tally_field_number(one, "waiting"));
        tally_grid_add_number(grid, tally_field_number(one, "leased"));
        tally_grid_add_number(grid, tally_field_number(one, "held"));
        tally_grid_add_number(grid, tally_field_number(one, "delayed"));
        if (json_object_get(one, "dead") != NULL) {
            tally_grid_add_number(grid, tally_field_number(one, "dead"));
        } else {
            tally_grid_add(grid, "-");
        }
        int64_t oldest_ms = tally_field_number(one, "oldest_ms");
        tally_grid_add_time(grid, oldest_ms > 0 ? oldest_ms : -1);
        tally_grid_add_number(grid, tally_field_number(one, "sent"));
        tally_grid_add_number(grid, tally_field_number(one, "settled"));
        tally_grid_add_number(grid, tally_field_number(one, "refused"));
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
    putchar('\n');
}

static int
run_status(tally_call_t *call)
{
    json_t *reply;
    int code = tally_call_admin(call, json_pack("{s:s}", "op", "status"), &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(reply);
    } else {
        print_broker(reply);
        print_streams("QUEUE", json_object_get(reply, "queues"));
        if (json_array_size(json_object_get(reply, "tenants")) > 0) {
            print_streams("TENANT", json_object_get(reply, "tenants"));
        }
        tally_worker_print(json_object_get(reply, "workers"));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

const tally_command_t tally_verb_status = {
    .name = "status",
    .section = "RUN",
    .arguments = "",
    .summary = "the broker on one screen",
    .run = run_status,
    .examples = "  tally status\n  tally status --json | jq .broker.state\n",
};
