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
    char active[32];
    tally_grid_format_time(active, sizeof active, tally_field_number(broker, "active_ms"));
    printf("broker    %s, epoch %" PRId64 ", active for %s as %s, tick %" PRId64 "\n",
           tally_field_text(broker, "state"), tally_field_number(broker, "epoch"), active,
           tally_field_text(broker, "instance"), tally_field_number(broker, "tick"));
    printf("front     %s\nfeed      %s\n", tally_field_text(endpoints, "front"),
           tally_field_text(endpoints, "feed"));
    size_t index;
    json_t *standby;
    json_array_foreach(json_object_get(broker, "standbys"), index, standby) {
        char since[32];
        tally_grid_format_time(since, sizeof since, tally_field_number(standby, "since_ms"));
        printf("standby   %s, for %s\n", tally_field_text(standby, "instance"), since);
    }
    printf("\n");
}

static void
add_ms(tally_grid_t *grid, double us)
{
    char text[32];
    snprintf(text, sizeof text, "%.2f", us / 1000.0);
    tally_grid_add(grid, text);
}

//  What a tick of the last minute took, phase by phase.
static void
print_ticks(const json_t *status)
{
    const json_t *ticks = json_object_get(status, "ticks");
    const json_t *messages = json_object_get(ticks, "messages_per_tick");
    const char *const headings[] = {"TICK", ">P50 MS", ">P99 MS", ">MOST MS"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    const char *name;
    json_t *phase;
    json_object_foreach(json_object_get(ticks, "phases"), name, phase) {
        tally_grid_add(grid, name);
        add_ms(grid, tally_field_real(phase, "p50_us"));
        add_ms(grid, tally_field_real(phase, "p99_us"));
        add_ms(grid, tally_field_real(phase, "max_us"));
    }
    tally_grid_add(grid, "messages");
    tally_grid_add_number(grid, tally_field_number(messages, "p50"));
    tally_grid_add_number(grid, tally_field_number(messages, "p99"));
    tally_grid_add_number(grid, tally_field_number(messages, "max"));
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
    putchar('\n');
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
        print_ticks(reply);
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
