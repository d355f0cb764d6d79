// SPDX-License-Identifier: MIT
//  worker - see worker.h; and the verb.

#include "clients/cmd/worker.h"

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
add_queues(tally_grid_t *grid, const json_t *queues)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    size_t index;
    json_t *one;
    json_array_foreach(queues, index, one) {
        const char *name = json_string_value(one);
        fprintf(out, "%s%s", index > 0 ? " " : "", name != NULL ? name : "?");
    }
    fclose(out);
    tally_grid_add(grid, text);
    free(text);
}

static void
add_terms(tally_grid_t *grid, const json_t *terms)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    size_t index;
    json_t *one;
    json_array_foreach(terms, index, one) {
        fprintf(out, "%s%s/%s:%" PRId64, index > 0 ? " " : "", tally_field_text(one, "queue"),
                tally_field_text(one, "tenant"), tally_field_number(one, "epoch"));
    }
    fclose(out);
    tally_grid_add(grid, bytes > 0 ? text : "-");
    free(text);
}

void
tally_worker_print(const json_t *workers)
{
    static const char *const headings[] =
        {"WORKER", ">CREDIT", ">HOLDS", ">BEAT", "STATE", "QUEUES", "TERMS (queue/tenant:epoch)"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(workers, index, one) {
        tally_grid_add(grid, tally_field_text(one, "name"));
        tally_grid_add_number(grid, tally_field_number(one, "credit"));
        tally_grid_add_number(grid, tally_field_number(one, "outstanding"));
        tally_grid_add_time(grid, tally_field_number(one, "beat_ms"));
        tally_grid_add(grid, json_is_true(json_object_get(one, "draining")) ? "draining" : "works");
        add_queues(grid, json_object_get(one, "queues"));
        add_terms(grid, json_object_get(one, "terms"));
    }
    tally_grid_print(grid, stdout);
    tally_grid_destroy(&grid);
}

static int
run_ls(tally_call_t *call)
{
    json_t *reply;
    int code = tally_call_admin(call, json_pack("{s:s}", "op", "worker.ls"), &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(json_object_get(reply, "workers"));
    } else {
        tally_worker_print(json_object_get(reply, "workers"));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

const tally_command_t tally_verb_worker_ls = {
    .name = "worker ls",
    .section = "LOOK",
    .arguments = "",
    .summary = "the connected workers and their terms",
    .run = run_ls,
};
