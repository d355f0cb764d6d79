// SPDX-License-Identifier: MIT
//  submit - sends responses, a line each, to the responses queue.
//
//  Lines are checked for what makes them a response at all; whether one fits its survey is the
//  responses worker's to say.  Sends are under way side by side; each is repeated until it is
//  confirmed, so a broker that restarts meanwhile costs time and nothing else.

#include "clients/cmd/call.h"
#include "clients/cmd/file.h"
#include "clients/cmd/grid.h"
#include "clients/cmd/verbs.h"

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/json.h"

#include <inttypes.h>
#include <stdlib.h>

#define QUEUE "responses"
#define LINE_BYTES_MAX (256 * 1024)
#define BATCH_MESSAGES 256
#define BATCH_BYTES (512 * 1024)
#define SENDS_UNDER_WAY 64
#define PROGRESS_MS 100
#define PATIENCE_MS 5000    // without a confirm; then the reason for waiting is told

static const tally_flag_t flags[] = {TALLY_FLAG_TENANT, TALLY_FLAGS_END};

struct submission {
    tally_call_t *call;
    tally_client_t *client;
    const char *tenant;
    const char *path;
    tally_lines_t *lines;
    char *text;    // bodies of the batch, one behind the other
    size_t text_bytes;
    size_t ends[BATCH_MESSAGES];    // where each body ends in text
    size_t count;
    size_t under_way;    // sends without their event
    uint64_t confirmed, refused;
    int64_t began_ms, shown_ms, heard_ms, told_ms;
};

static void
refuse_line(struct submission *s, const char *reason)
{
    s->refused++;
    tally_call_fail(s->call, 0, "%s:%" PRIu64 ": %s", s->path, tally_lines_number(s->lines),
                    reason);
}

//  Says that it is not a response, and returns false.
static bool
check_line(struct submission *s, tally_bytes_t line)
{
    tally_json_fault_t fault;
    json_t *response = tally_json_load(line, LINE_BYTES_MAX, TALLY_JSON_GIVEN, &fault);
    char *told = NULL;
    const char *reason = NULL;
    if (response == NULL) {
        reason = told = tally_json_fault_print(&fault);
    } else if (!json_is_object(response)) {
        reason = "not a JSON object";
    } else if (!json_is_string(json_object_get(response, "response_id"))) {
        reason = "\"response_id\" is missing or not a string";
    } else if (!json_is_string(json_object_get(response, "survey"))) {
        reason = "\"survey\" is missing or not a string";
    }
    if (reason != NULL) {
        refuse_line(s, reason);
    }
    json_decref(response);
    free(told);
    return reason == NULL;
}

//  ---- what is under way -------------------------------------------------------------------------

static void
clear_progress(const struct submission *s)
{
    if (s->shown_ms != 0) {
        fputs("\r\033[K", stderr);
    }
}

static void
show_progress(struct submission *s)
{
    int64_t now_ms = tally_clock_now_ms();
    if (!tally_call_wants_progress(s->call) || now_ms - s->shown_ms < PROGRESS_MS) {
        return;
    }
    s->shown_ms = now_ms;
    uint64_t total = tally_lines_bytes_total(s->lines);
    char share[16] = "";
    if (total > 0) {
        snprintf(share, sizeof share, "%3.0f %%  ",
                 100.0 * (double)tally_lines_bytes_read(s->lines) / (double)total);
    }
    double seconds = (double)(now_ms - s->began_ms) / 1000.0;
    fprintf(stderr, "\r\033[K%s%" PRIu64 " confirmed  %" PRIu64 " refused  %.0f/s%s", share,
            s->confirmed, s->refused, seconds > 0 ? (double)s->confirmed / seconds : 0.0,
            now_ms - s->heard_ms > PATIENCE_MS ? "  waiting for the broker" : "");
}

//  Off a terminal the wait is told once in a while, with its reason.
static void
tell_waiting(struct submission *s)
{
    int64_t now_ms = tally_clock_now_ms();
    if (tally_call_is_quiet(s->call) || tally_call_wants_progress(s->call)
        || now_ms - s->heard_ms < PATIENCE_MS || now_ms - s->told_ms < 2 * PATIENCE_MS) {
        return;
    }
    s->told_ms = now_ms;
    tally_call_fail(s->call, 0, "waiting for the broker: %s", tally_client_text(s->client));
}

//  After a call that had nothing for us: 0 when waiting goes on, or the exit code.
static int
go_on_waiting(struct submission *s)
{
    int code = tally_client_code(s->client);
    int limit_ms = tally_call_work_timeout_ms(s->call);
    bool may_pass = code == TALLY_CODE_TIMEOUT || code == TALLY_CODE_UNREACHABLE
                    || code == TALLY_CODE_BUSY || code == TALLY_CODE_AWAY;
    if (!may_pass || (limit_ms >= 0 && tally_clock_now_ms() - s->heard_ms > limit_ms)) {
        clear_progress(s);
        return tally_call_fail_client(s->call, s->client);
    }
    show_progress(s);
    tell_waiting(s);
    return 0;
}

//  Takes an event when there is one within `timeout_ms`; 0, or the exit code.
static int
take_event(struct submission *s, int timeout_ms)
{
    tally_event_t event;
    if (tally_client_next(s->client, timeout_ms, &event) == -1) {
        return go_on_waiting(s);
    }
    s->heard_ms = tally_clock_now_ms();
    if (event.kind == TALLY_EVENT_REFUSED) {
        clear_progress(s);
        return tally_call_fail_client(s->call, s->client);
    }
    s->confirmed += event.count;
    s->under_way--;
    show_progress(s);
    return 0;
}

//  Sends the batch when there is one, as soon as there is room for it.
static int
send_batch(struct submission *s)
{
    if (s->count == 0) {
        return 0;
    }
    int code = 0;
    while (code == 0 && s->under_way >= SENDS_UNDER_WAY) {
        code = take_event(s, PROGRESS_MS);
    }
    tally_message_t messages[BATCH_MESSAGES];
    for (size_t i = 0; i < s->count; i++) {
        size_t begin = i == 0 ? 0 : s->ends[i - 1];
        messages[i] = (tally_message_t){.body = s->text + begin,
                                        .body_bytes = s->ends[i] - begin,
                                        .flags = TALLY_MESSAGE_BLOB};
    }
    while (code == 0
           && tally_client_send(s->client, QUEUE, s->tenant, messages, s->count, PROGRESS_MS, NULL)
                  == -1) {
        code = go_on_waiting(s);
    }
    s->under_way += code == 0 ? 1 : 0;
    s->count = 0;
    s->text_bytes = 0;
    return code;
}

//  ---- the file ----------------------------------------------------------------------------------

static int
add_line(struct submission *s, tally_bytes_t line)
{
    if (line.size == 0 || !check_line(s, line)) {
        return 0;
    }
    if (s->count == BATCH_MESSAGES || s->text_bytes + line.size > BATCH_BYTES) {
        int code = send_batch(s);
        if (code != 0) {
            return code;
        }
    }
    memcpy(s->text + s->text_bytes, line.data, line.size);
    s->text_bytes += line.size;
    s->ends[s->count++] = s->text_bytes;
    return 0;
}

static int
send_lines(struct submission *s)
{
    int code = 0;
    while (code == 0) {
        tally_bytes_t line;
        switch (tally_lines_next(s->lines, &line)) {
        case TALLY_LINE_WHOLE:
            code = add_line(s, line);
            break;
        case TALLY_LINE_TOO_LONG:
            refuse_line(s, "longer than a response may be (256 KiB)");
            break;
        case TALLY_LINE_FAILED:
            return tally_call_fail(s->call, TALLY_EXIT_DATA, "%s: %s", s->path, tally_file_why());
        case TALLY_LINE_END:
            code = send_batch(s);
            while (code == 0 && s->under_way > 0) {
                code = take_event(s, PROGRESS_MS);
            }
            return code;
        }
    }
    return code;
}

static int
finish(struct submission *s, int code)
{
    clear_progress(s);
    double seconds = (double)(tally_clock_now_ms() - s->began_ms) / 1000.0;
    double rate = seconds > 0 ? (double)s->confirmed / seconds : 0.0;
    if (tally_call_wants_json(s->call)) {
        json_t *object = json_pack("{s:b, s:I, s:I, s:f, s:f}", "ok", code == 0 && s->refused == 0,
                                   "confirmed", (json_int_t)s->confirmed, "refused",
                                   (json_int_t)s->refused, "seconds", seconds, "per_s", rate);
        tally_call_print_json(object);
        json_decref(object);
    } else {
        tally_call_say(s->call, "confirmed %" PRIu64 ", refused %" PRIu64 ", in %.2f s, %.0f/s",
                       s->confirmed, s->refused, seconds, rate);
    }
    return code == 0 && s->refused > 0 ? TALLY_EXIT_DATA : code;
}

static int
run_submit(tally_call_t *call)
{
    struct submission s = {.call = call,
                           .tenant = tally_call_tenant(call),
                           .path = tally_call_argument(call, 0)};
    if (s.tenant == NULL) {
        return TALLY_EXIT_USAGE;
    }
    s.lines = tally_lines_new(s.path, LINE_BYTES_MAX);
    if (s.lines == NULL) {
        return tally_call_fail(call, TALLY_EXIT_DATA, "%s: %s", s.path, tally_file_why());
    }
    int code = 0;
    s.client = tally_call_client(call, &code);
    if (s.client != NULL) {
        s.text = tally_alloc(BATCH_BYTES + LINE_BYTES_MAX);
        s.began_ms = tally_clock_now_ms();
        s.heard_ms = s.began_ms;
        code = finish(&s, send_lines(&s));
        free(s.text);
    }
    tally_lines_destroy(&s.lines);
    return code;
}

const tally_command_t tally_verb_submit = {
    .name = "submit",
    .section = "SURVEY",
    .arguments = "FILE",
    .summary = "send responses, a JSON object a line; - is standard input",
    .flags = flags,
    .arguments_min = 1,
    .arguments_max = 1,
    .run = run_submit,
    .examples = "  tally submit lunch.responses.ndjson -t acme\n"
                "  zcat old/*.gz | tally submit - -t acme --quiet --json\n",
};
