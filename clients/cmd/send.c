// SPDX-License-Identifier: MIT
//  send - messages from the command line.

#include "clients/cmd/call.h"
#include "clients/cmd/verbs.h"

#include "lib/alloc.h"
#include "lib/limits.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const tally_flag_t flags[] = {
    TALLY_FLAG_TENANT,
    {"ordering-key", 'k', "KEY", "messages of one key are worked one at a time, in order"},
    {"due", 0, "TIME", "not before that long from now"},
    {"priority", 'p', "N", "0 lowest to 3 highest; 1 without"},
    {"dedupe", 0, "KEY", "taken once, however often and by whomever it is sent"},
    {"ask", 0, NULL, "wait for the result of each and print it"},
    {"blob", 0, NULL, "store the body beside the queue (bodies above 64 KiB always are)"},
    {"releases", 0, NULL, "open the window of the queue for this tenant"},
    TALLY_FLAGS_END,
};

//  Fills in what the flags say; -1 after saying what is wrong with them.
static int
read_options(const tally_call_t *call, tally_message_t *message)
{
    int64_t priority;
    int64_t delay_ms;
    if (tally_call_number(call, "priority", 0, TALLY_PRIORITY_LEVELS - 1, 0, &priority) == -1
        || tally_call_duration(call, "due", TALLY_DELAY_MS_MAX, 0, &delay_ms) == -1) {
        return -1;
    }
    const char *key = tally_call_value(call, "ordering-key");
    const char *dedupe = tally_call_value(call, "dedupe");
    *message = (tally_message_t){
        .key = key,
        .key_bytes = key != NULL ? strlen(key) : 0,
        .dedupe = dedupe,
        .dedupe_bytes = dedupe != NULL ? strlen(dedupe) : 0,
        .delay_ms = (uint64_t)delay_ms,
        .priority = (unsigned)priority,
    };
    message->flags |= tally_call_has(call, "priority") ? TALLY_MESSAGE_PRIORITY : 0;
    message->flags |= tally_call_has(call, "ask") ? TALLY_MESSAGE_ASK : 0;
    message->flags |= tally_call_has(call, "blob") ? TALLY_MESSAGE_BLOB : 0;
    message->flags |= tally_call_has(call, "releases") ? TALLY_MESSAGE_RELEASES : 0;
    return 0;
}

//  All of standard input, up to the size of a blob and one byte beyond.
static char *
read_stdin(size_t *bytes)
{
    size_t room = 64 * 1024;
    char *text = tally_alloc(room);
    *bytes = 0;
    while (*bytes <= TALLY_BLOB_BYTES_MAX) {
        if (*bytes == room) {
            room *= 2;
            text = tally_realloc(text, room);
        }
        ssize_t got = read(STDIN_FILENO, text + *bytes, room - *bytes);
        if (got <= 0) {
            break;
        }
        *bytes += (size_t)got;
    }
    return text;
}

static const char *
outcome_name(tally_event_outcome_t outcome)
{
    return outcome == TALLY_OUTCOME_DONE     ? "done"
           : outcome == TALLY_OUTCOME_BURIED ? "buried"
                                             : "dropped";
}

static void
print_result(const tally_call_t *call, const tally_event_t *event)
{
    if (!tally_call_wants_json(call)) {
        if (event->outcome != TALLY_OUTCOME_DONE) {
            tally_call_fail(call, 0, "%s: %.*s", outcome_name(event->outcome),
                            (int)event->body_bytes, (const char *)event->body);
            return;
        }
        fwrite(event->body, 1, event->body_bytes, stdout);
        putchar('\n');
        return;
    }
    json_t *body = json_stringn(event->body != NULL ? event->body : "", event->body_bytes);
    json_t *object = json_pack("{s:i, s:s, s:o*}", "index", event->index, "outcome",
                               outcome_name(event->outcome), "result", body);
    tally_call_print_json(object);
    json_decref(object);
}

static void
print_confirm(const tally_call_t *call, const tally_event_t *event)
{
    if (tally_call_wants_json(call)) {
        json_t *ids = json_array();
        for (size_t i = 0; event->ids != NULL && i < event->count; i++) {
            char text[24];
            snprintf(text, sizeof text, "%" PRIu64, event->ids[i]);
            json_array_append_new(ids, event->ids[i] != 0 ? json_string(text) : json_null());
        }
        json_t *object = json_pack("{s:b, s:i, s:i, s:o}", "ok", 1, "confirmed", event->count,
                                   "duplicates", event->duplicates, "ids", ids);
        tally_call_print_json(object);
        json_decref(object);
        return;
    }
    for (size_t i = 0; event->ids != NULL && i < event->count; i++) {
        if (event->ids[i] != 0) {
            tally_call_say(call, "confirmed, message %" PRIu64, event->ids[i]);
        } else {
            tally_call_say(call, "known by its dedupe key, not taken again");
        }
    }
    if (event->ids == NULL) {
        tally_call_say(call, "confirmed, %u message%s", event->count, event->count == 1 ? "" : "s");
    }
}

static int
wait_for_results(const tally_call_t *call, tally_client_t *client, size_t count)
{
    int code = TALLY_EXIT_OK;
    while (count > 0) {
        tally_event_t event;
        if (tally_client_next(client, tally_call_work_timeout_ms(call), &event) == -1) {
            return tally_call_fail_client(call, client);
        }
        if (event.kind == TALLY_EVENT_RESULT) {
            print_result(call, &event);
            code = event.outcome == TALLY_OUTCOME_DONE ? code : TALLY_EXIT_NO;
            count--;
        }
    }
    return code;
}

static int
send_all(tally_call_t *call, tally_client_t *client, tally_message_t *messages, size_t count,
         const char *tenant)
{
    uint64_t sequence;
    tally_event_t event;
    int timeout_ms = tally_call_timeout_ms(call);
    if (tally_client_send(client, tally_call_argument(call, 0), tenant, messages, count, timeout_ms,
                          &sequence)
            == -1
        || tally_client_wait(client, sequence, timeout_ms, &event) == -1) {
        return tally_call_fail_client(call, client);
    }
    bool asks = (messages[0].flags & TALLY_MESSAGE_ASK) != 0;
    if (!asks || tally_call_wants_json(call)) {
        print_confirm(call, &event);
    }
    return asks ? wait_for_results(call, client, count - event.duplicates) : TALLY_EXIT_OK;
}

static int
run_send(tally_call_t *call)
{
    tally_message_t model;
    const char *tenant = tally_call_tenant(call);
    if (tenant == NULL || read_options(call, &model) == -1) {
        return TALLY_EXIT_USAGE;
    }
    int code = 0;
    tally_client_t *client = tally_call_client(call, &code);
    if (client == NULL) {
        return code;
    }
    size_t count = tally_call_argument_count(call) - 1;
    char *input = NULL;
    tally_message_t *messages = tally_alloc_array(count, sizeof *messages);
    for (size_t i = 0; i < count; i++) {
        const char *body = tally_call_argument(call, i + 1);
        messages[i] = model;
        messages[i].body = body;
        messages[i].body_bytes = strlen(body);
        if (strcmp(body, "-") == 0 && input == NULL) {
            size_t bytes;
            input = read_stdin(&bytes);
            messages[i].body = input;
            messages[i].body_bytes = bytes;
        }
        if (messages[i].body_bytes > tally_client_body_inline_max(client)) {
            messages[i].flags |= TALLY_MESSAGE_BLOB;
        }
    }
    code = send_all(call, client, messages, count, tenant);
    free(messages);
    free(input);
    return code;
}

const tally_command_t tally_verb_send = {
    .name = "send",
    .section = "WORK",
    .arguments = "QUEUE BODY...",
    .summary = "send messages (all or none); - is standard input",
    .flags = flags,
    .arguments_min = 2,
    .arguments_max = 1 + TALLY_BATCH_MESSAGES_MAX,
    .run = run_send,
    .examples =
        "  tally send mail -t acme '{\"to\": \"a@example.org\"}'\n"
        "  tally send mail -t acme --due 5m --dedupe order-17 - < body.json\n"
        "  tally send statistics-read -t acme --ask '{\"do\": \"show\", \"survey\": \"lunch\"}'\n",
};
