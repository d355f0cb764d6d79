// SPDX-License-Identifier: MIT
//  export - starts, follows, lists and cancels exports of responses.

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/json.h"

#include <inttypes.h>
#include <stdlib.h>

#define QUEUE "export"
#define LOOK_MS 100

static const tally_flag_t start_flags[] = {
    TALLY_FLAG_TENANT,
    {"format", 'f', "FORMAT", "table, csv or ndjson; csv without"},
    {"out", 'o', "DIR", "directory of the file, as the export worker sees it"},
    {"wait", 'w', NULL, "wait until it is done; shows progress on a terminal"},
    TALLY_FLAGS_END,
};

static const tally_flag_t tenant_flags[] = {TALLY_FLAG_TENANT, TALLY_FLAGS_END};

//  ---- start -------------------------------------------------------------------------------------

struct following {
    tally_call_t *call;
    tally_client_t *client;
    tally_feed_t *feed;    // NULL: progress is not shown
    char id[24];           // of the export: that of its message
};

static void
show_progress(struct following *f, const tally_publication_t *publication)
{
    tally_bytes_t text = {publication->json, publication->json_bytes};
    json_t *news = tally_json_load(text, TALLY_FRAME_BYTES_MAX, TALLY_JSON_MADE, NULL);
    if (strcmp(tally_field_text(news, "export"), f->id) == 0) {
        int64_t done = tally_field_number(news, "rows_done");
        int64_t total = tally_field_number(news, "rows_total");
        double share = total > 0 ? (double)done / (double)total : 0.0;
        fprintf(stderr, "\r\033[K%s  %3.0f %%  %" PRId64 " of %" PRId64 " rows",
                tally_field_text(news, "state"), 100.0 * share, done, total);
    }
    json_decref(news);
}

//  0 with the result's event, or the exit code.
static int
wait_for_result(struct following *f, tally_event_t *event)
{
    int limit_ms = tally_call_work_timeout_ms(f->call);
    int64_t began_ms = tally_clock_now_ms();
    for (;;) {
        if (tally_client_next(f->client, LOOK_MS, event) == 0) {
            if (event->kind == TALLY_EVENT_RESULT) {
                return 0;
            }
            continue;
        }
        int code = tally_client_code(f->client);
        bool is_over = limit_ms >= 0 && tally_clock_now_ms() - began_ms >= limit_ms;
        bool may_pass = code == TALLY_CODE_TIMEOUT || code == TALLY_CODE_UNREACHABLE
                        || code == TALLY_CODE_AWAY || code == TALLY_CODE_BUSY;
        if (is_over || !may_pass) {
            return tally_call_fail_client(f->call, f->client);
        }
        if (f->feed != NULL) {
            (void)tally_feed_follow(f->feed, tally_client_feed_endpoint(f->client));
        }
        tally_publication_t publication;
        while (f->feed != NULL && tally_feed_next(f->feed, 0, &publication) == 0) {
            show_progress(f, &publication);
        }
    }
}

static int
print_result(const struct following *f, const tally_event_t *event)
{
    if (event->outcome != TALLY_OUTCOME_DONE) {
        return tally_call_fail(f->call, TALLY_EXIT_NO, "export %s failed: %.*s", f->id,
                               (int)event->body_bytes, (const char *)event->body);
    }
    json_t *result = tally_json_load((tally_bytes_t){event->body, event->body_bytes},
                                     TALLY_FRAME_BYTES_MAX, TALLY_JSON_MADE, NULL);
    int code = TALLY_EXIT_OK;
    if (!json_is_true(json_object_get(result, "ok"))) {
        code = tally_call_fail_reply(f->call, result);
    } else if (tally_call_wants_json(f->call)) {
        tally_call_print_json(result);
    } else {
        printf("%s\n", tally_field_text(result, "target"));
        const char *sha256 = tally_field_text(result, "sha256");
        if (!tally_call_is_quiet(f->call)) {
            fprintf(stderr, "export %s done: %" PRId64 " rows, %" PRId64 " bytes%s%s\n", f->id,
                    tally_field_number(result, "rows"), tally_field_number(result, "bytes"),
                    *sha256 != '\0' ? ", sha256 " : "", sha256);
        }
    }
    json_decref(result);
    return code;
}

static int
follow(struct following *f, const char *tenant)
{
    tally_event_t event;
    int code = wait_for_result(f, &event);
    if (f->feed != NULL) {
        fputs("\r\033[K", stderr);
    }
    if (code == TALLY_EXIT_TRY_AGAIN) {
        fprintf(stderr, "    it goes on: tally export ls -t %s\n", tenant);
    }
    return code == 0 ? print_result(f, &event) : code;
}

//  The feed of this tenant's exports, when progress is to be drawn.
static tally_feed_t *
open_feed(const tally_call_t *call, tally_client_t *client, const char *tenant)
{
    if (!tally_call_wants_progress(call)) {
        return NULL;
    }
    tally_feed_t *feed = tally_client_open_feed(client);
    char *topic = tally_format("export.%s", tenant);
    if (feed != NULL && tally_feed_subscribe(feed, topic) == -1) {
        tally_feed_destroy(&feed);
    }
    free(topic);
    return feed;
}

static int
start(struct following *f, const char *tenant, const char *text)
{
    bool waits = tally_call_has(f->call, "wait");
    tally_message_t message = {.body = text,
                               .body_bytes = strlen(text),
                               .flags = waits ? TALLY_MESSAGE_ASK : 0};
    tally_event_t event;
    if (tally_client_send_wait(f->client, QUEUE, tenant, &message, 1,
                               tally_call_timeout_ms(f->call), &event)
        == -1) {
        return tally_call_fail_client(f->call, f->client);
    }
    if (event.ids != NULL) {
        snprintf(f->id, sizeof f->id, "%" PRIu64, event.ids[0]);
    }
    if (waits) {
        return follow(f, tenant);
    }
    if (tally_call_wants_json(f->call)) {
        json_t *object = json_pack("{s:b, s:s, s:s}", "ok", 1, "export", f->id, "state", "queued");
        tally_call_print_json(object);
        json_decref(object);
    } else {
        tally_call_say(f->call, "export %s is queued; look: tally export ls -t %s", f->id, tenant);
    }
    return TALLY_EXIT_OK;
}

static int
run_start(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    const char *format = tally_call_value(call, "format");
    format = format != NULL ? format : "csv";
    if (strcmp(format, "table") != 0 && strcmp(format, "csv") != 0
        && strcmp(format, "ndjson") != 0) {
        return tally_call_fail_usage(call, "--format is table, csv or ndjson, not \"%s\"", format);
    }
    const char *out = tally_call_value(call, "out");
    char *dir = out != NULL ? realpath(out, NULL) : NULL;
    if (out != NULL && dir == NULL) {
        dir = tally_strdup(out);    // of another machine, perhaps: the worker says
    }
    json_t *body = json_pack("{s:s, s:s, s:s, s:s*}", "do", "export", "survey",
                             tally_call_argument(call, 0), "format", format, "out", dir);
    free(dir);
    if (body == NULL) {
        return tally_call_fail(call, TALLY_EXIT_DATA, "JSON: an argument is not UTF-8");
    }
    int code = 0;
    struct following f = {.call = call, .client = tally_call_client(call, &code)};
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (f.client != NULL) {
        f.feed = tally_call_has(call, "wait") ? open_feed(call, f.client, tenant) : NULL;
        code = start(&f, tenant, text);
        tally_feed_destroy(&f.feed);
    }
    free(text);
    return code;
}

//  ---- ls, cancel --------------------------------------------------------------------------------

static void
print_exports(const json_t *exports)
{
    static const char *const headings[] = {"EXPORT", "SURVEY", "FORMAT",       "STATE",
                                           ">ROWS",  ">OF",    "REQUESTED AT", "TARGET"};
    tally_grid_t *grid = tally_grid_new(headings, sizeof headings / sizeof headings[0]);
    size_t index;
    json_t *one;
    json_array_foreach(exports, index, one) {
        const char *error = tally_field_text(one, "error");
        tally_grid_add(grid, tally_field_text(one, "id"));
        tally_grid_add(grid, tally_field_text(one, "survey"));
        tally_grid_add(grid, tally_field_text(one, "format"));
        tally_grid_add(grid, tally_field_text(one, "state"));
        tally_grid_add_number(grid, tally_field_number(one, "rows_done"));
        if (json_is_integer(json_object_get(one, "rows_total"))) {
            tally_grid_add_number(grid, tally_field_number(one, "rows_total"));
        } else {
            tally_grid_add(grid, "-");
        }
        tally_grid_add(grid, tally_field_text(one, "requested_at"));
        tally_grid_add(grid, *error != '\0' ? error : tally_field_text(one, "target"));
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
    int code = tally_call_ask(call, "export-read", tenant, json_pack("{s:s}", "do", "ls"), 0,
                              tally_call_timeout_ms(call), &reply);
    if (code != 0) {
        return code;
    }
    const json_t *exports = json_object_get(reply, "exports");
    if (tally_call_wants_json(call)) {
        tally_call_print_json(exports);
    } else if (json_array_size(exports) == 0) {
        tally_call_say(call, "no exports");
    } else {
        print_exports(exports);
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

static int
run_cancel(tally_call_t *call)
{
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    json_t *body = json_pack("{s:s, s:s}", "do", "cancel", "export", tally_call_argument(call, 0));
    json_t *reply;
    int code = tally_call_ask(call, "export-read", tenant, body, 0, tally_call_timeout_ms(call),
                              &reply);
    if (code != 0) {
        return code;
    }
    if (tally_call_wants_json(call)) {
        tally_call_print_json(reply);
    } else {
        tally_call_say(call, "export %s is cancelled", tally_call_argument(call, 0));
    }
    json_decref(reply);
    return TALLY_EXIT_OK;
}

const tally_command_t tally_verb_export = {
    .name = "export",
    .section = "SURVEY",
    .arguments = "SURVEY",
    .summary = "write the responses of a survey to a file or a table",
    .flags = start_flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_start,
    .examples = "  tally export lunch -t acme --format ndjson --out . --wait\n"
                "  tally export lunch -t acme --format table --wait\n",
};

const tally_command_t tally_verb_export_ls = {
    .name = "export ls",
    .section = "SURVEY",
    .arguments = "",
    .summary = "the exports of a tenant, and how far they are",
    .flags = tenant_flags,
    .run = run_ls,
};

const tally_command_t tally_verb_export_cancel = {
    .name = "export cancel",
    .section = "SURVEY",
    .arguments = "EXPORT",
    .summary = "stop an export",
    .flags = tenant_flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_cancel,
};
