// SPDX-License-Identifier: MIT
//  send - encodes messages and puts them on their way.
//
//  A frame is encoded once, into memory that libzmq then shares with the window: whatever is
//  repeated is not copied. Everything is checked here, so that what the codec asserts holds.

#include "clients/pump.h"

#include "lib/alloc.h"

#include <assert.h>
#include <stdlib.h>

#define FIELDS_BYTES_MAX 32    // of one message, beside its texts
#define WORD_BITS 64

static tally_item_t
make_item(const tally_message_t *message)
{
    tally_item_t item = {
        .priority = (uint8_t)(message->priority < UINT8_MAX ? message->priority : UINT8_MAX),
        .delay_ms = message->delay_ms,
        .key = {message->key, message->key_bytes},
        .dedupe = {message->dedupe, message->dedupe_bytes},
        .body = {message->body, message->body_bytes},
    };
    unsigned options = 0;
    options |= message->key_bytes > 0 ? TALLY_HAS_KEY : 0;
    options |= message->dedupe_bytes > 0 ? TALLY_HAS_DEDUPE : 0;
    options |= message->delay_ms > 0 ? TALLY_HAS_DELAY : 0;
    options |= (message->flags & TALLY_MESSAGE_PRIORITY) != 0 ? TALLY_HAS_PRIORITY : 0;
    options |= (message->flags & TALLY_MESSAGE_ASK) != 0 ? TALLY_WANTS_RESULT : 0;
    options |= (message->flags & TALLY_MESSAGE_BLOB) != 0 ? TALLY_AS_BLOB : 0;
    options |= (message->flags & TALLY_MESSAGE_RELEASES) != 0 ? TALLY_RELEASES : 0;
    item.options = (uint8_t)options;
    return item;
}

static int
fail_message(tally_client_t *self, size_t index, const char *text, int code)
{
    tally_trouble_set(&self->failure, code, 0, "message %zu: %s", index, text);
    return -1;
}

//  Checks all messages against the codec's limits and the broker's; *bytes is room enough for the
//  frame.
static int
check_messages(tally_client_t *self, const tally_message_t *messages, size_t count, size_t *bytes)
{
    const tally_welcome_t *terms = tally_session_terms(self->session);
    if (count < 1 || count > TALLY_BATCH_MESSAGES_MAX || count > terms->batch_max) {
        tally_trouble_set(&self->failure, TALLY_CODE_LIMIT, 0,
                          "a send has 1 to %u messages, not %zu", terms->batch_max, count);
        return -1;
    }
    size_t total = TALLY_WIRE_HEAD_BYTES + 2 + 2 * (TALLY_NAME_BYTES_MAX + 1);
    for (size_t i = 0; i < count; i++) {
        tally_item_t item = make_item(&messages[i]);
        tally_fault_t fault = tally_item_check(&item);
        if (fault.code != 0) {
            return fail_message(self, i, fault.text, fault.code);
        }
        bool is_blob = (messages[i].flags & TALLY_MESSAGE_BLOB) != 0;
        if (item.body.size > (is_blob ? terms->blob_max : terms->body_inline_max)) {
            return fail_message(self, i, "the body is larger than this broker takes",
                                TALLY_CODE_LIMIT);
        }
        total += FIELDS_BYTES_MAX + item.key.size + item.dedupe.size + item.body.size;
    }
    if (total > TALLY_FRAME_BYTES_MAX || total > terms->frame_max) {
        tally_trouble_set(&self->failure, TALLY_CODE_LIMIT, 0, "%s",
                          "the messages are together larger than a frame; send them in parts");
        return -1;
    }
    *bytes = total;
    return 0;
}

static void
free_frame(void *data, void *hint)
{
    (void)hint;
    free(data);
}

//  The bits of the messages whose result is wanted, or NULL when none is.
static uint64_t *
find_asked(const tally_message_t *messages, size_t count)
{
    uint64_t *asked = NULL;
    for (size_t i = 0; i < count; i++) {
        if ((messages[i].flags & TALLY_MESSAGE_ASK) == 0) {
            continue;
        }
        if (asked == NULL) {
            asked = tally_alloc_array((count + WORD_BITS - 1) / WORD_BITS, sizeof *asked);
        }
        asked[i / WORD_BITS] |= (uint64_t)1 << (i % WORD_BITS);
    }
    return asked;
}

static int
send_messages(tally_client_t *self, const char *queue, const char *tenant,
              const tally_message_t *messages, size_t count, int64_t until_ms, uint64_t *sequence)
{
    if (!tally_name_valid(tally_bytes_of(queue))) {
        tally_pump_fail_name(self, "queue");
        return -1;
    }
    if (!tally_name_valid(tally_bytes_of(tenant))) {
        tally_pump_fail_name(self, "tenant");
        return -1;
    }
    size_t bytes;
    if (tally_pump_wait_ready(self, until_ms) == -1
        || check_messages(self, messages, count, &bytes) == -1) {
        return -1;
    }
    size_t sends = tally_session_terms(self->session)->send_window;
    sends = sends < self->sends_max ? sends : self->sends_max;
    if (self->arrivals >= TALLY_SEND_WINDOW || tally_window_full(self->window, sends, bytes)) {
        tally_trouble_set(&self->failure, TALLY_CODE_WINDOW, 0, "%s",
                          "too much is outstanding; take events first");
        return -1;
    }
    tally_wire_t wire = {.data = tally_realloc(NULL, bytes), .room = bytes};
    tally_send_start(&wire, tally_window_next(self->window), tally_bytes_of(queue),
                     tally_bytes_of(tenant));
    for (size_t i = 0; i < count; i++) {
        tally_item_t item = make_item(&messages[i]);
        tally_send_add(&wire, &item);
    }
    assert(wire.room == bytes);
    zmq_msg_t frame;
    int rc = zmq_msg_init_data(&frame, wire.data, wire.size, free_frame, NULL);
    assert(rc == 0);    // fails for want of memory alone
    *sequence = tally_pump_add(self, &frame, (uint16_t)count, find_asked(messages, count));
    return 0;
}

int
tally_client_send(tally_client_t *self, const char *queue, const char *tenant,
                  const tally_message_t *messages, size_t count, int timeout_ms, uint64_t *sequence)
{
    tally_pump_begin(self);
    uint64_t own;
    return send_messages(self, queue, tenant, messages, count, tally_pump_deadline(timeout_ms),
                         sequence != NULL ? sequence : &own);
}

int
tally_client_send_wait(tally_client_t *self, const char *queue, const char *tenant,
                       const tally_message_t *messages, size_t count, int timeout_ms,
                       tally_event_t *event)
{
    tally_pump_begin(self);
    int64_t until_ms = tally_pump_deadline(timeout_ms);
    uint64_t sequence;
    tally_event_t own;
    event = event != NULL ? event : &own;
    if (send_messages(self, queue, tenant, messages, count, until_ms, &sequence) == -1) {
        return -1;
    }
    if (tally_pump_wait_event(self, sequence, TALLY_CONFIRM, until_ms, event) == 0) {
        return 0;
    }
    if (self->lent == NULL) {
        tally_client_forget(self, sequence);
    }
    return -1;
}

int
tally_client_ask(tally_client_t *self, const char *queue, const char *tenant,
                 const tally_message_t *message, int timeout_ms, tally_event_t *event)
{
    assert(event != NULL);
    tally_pump_begin(self);
    int64_t until_ms = tally_pump_deadline(timeout_ms);
    uint64_t sequence;
    tally_message_t asking = *message;
    asking.flags |= TALLY_MESSAGE_ASK;
    if (send_messages(self, queue, tenant, &asking, 1, until_ms, &sequence) == -1) {
        return -1;
    }
    int rc = tally_pump_wait_event(self, sequence, TALLY_CONFIRM, until_ms, event);
    if (rc == 0 && event->duplicates > 0) {
        tally_trouble_set(
            &self->failure, TALLY_CODE_REFUSED, 0, "%s",
            "a message with this dedupe key was taken before; the result is its sender's");
        return -1;
    }
    if (rc == 0) {
        tally_pump_begin(self);
        rc = tally_pump_wait_event(self, sequence, TALLY_RESULT, until_ms, event);
    }
    if (rc == -1 && self->lent == NULL) {
        tally_client_forget(self, sequence);
    }
    return rc;
}
