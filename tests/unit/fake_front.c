// SPDX-License-Identifier: MIT
//  fake_front - see fake_front.h.

#include "tests/unit/fake_front.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define STEP_MS 10

//  True when the count was above 0, and then it is one less.
static bool
use(atomic_int *count)
{
    int now = atomic_load(count);
    return now > 0 && atomic_compare_exchange_strong(count, &now, now - 1);
}

static void
answer(fake_front_t *self, const tally_wire_t *wire)
{
    zmq_msg_t route;
    zmq_msg_init(&route);
    zmq_msg_copy(&route, self->peer);
    int rc = zmq_msg_send(&route, self->socket, ZMQ_SNDMORE);
    assert(rc != -1);
    rc = zmq_send(self->socket, wire->data, wire->size, 0);
    assert(rc != -1);
}

static void
refuse(fake_front_t *self, tally_wire_t *wire, uint64_t request, int code)
{
    int told_ms = atomic_load(&self->refuse_for_ms);
    uint32_t later_ms = told_ms == 0 ? 20 : (uint32_t)told_ms;
    tally_error_t error = {.code = (uint16_t)code,
                           .index = TALLY_NO_INDEX,
                           .retry_after_ms = code / 100 == 2 ? later_ms : 0,
                           .text = tally_bytes_of("as the test says")};
    tally_error_write(wire, request, &error);
    answer(self, wire);
}

static void
take_hello(fake_front_t *self, tally_wire_t *wire, const tally_head_t *head, tally_cursor_t cursor)
{
    tally_hello_t hello;
    tally_fault_t fault = tally_hello_read(cursor, &hello);
    assert(fault.code == 0);
    atomic_fetch_add(&self->hellos, 1);
    if (use(&self->refuse_hellos)) {
        refuse(self, wire, head->request, atomic_load(&self->refuse_code));
        return;
    }
    memcpy(self->sender, hello.sender, TALLY_SENDER_BYTES);
    self->greeted = true;
    tally_welcome_t welcome = {.version = 1,
                               .broker_epoch = atomic_load(&self->epoch),
                               .last_sequence = atomic_load(&self->last_sequence),
                               .body_inline_max = TALLY_BODY_INLINE_BYTES_MAX,
                               .blob_max = TALLY_BLOB_BYTES_MAX,
                               .frame_max = TALLY_FRAME_BYTES_MAX,
                               .batch_max = TALLY_BATCH_MESSAGES_MAX,
                               .send_window = TALLY_SEND_WINDOW,
                               .beat_ms = TALLY_BEAT_MS,
                               .beats_missed_max = TALLY_BEATS_MISSED_MAX,
                               .feed = tally_bytes_of("ipc:///tmp/feed")};
    memcpy(welcome.sender, hello.sender, TALLY_SENDER_BYTES);
    tally_welcome_write(wire, head->request, &welcome);
    answer(self, wire);
}

static void
give_results(fake_front_t *self, tally_wire_t *wire)
{
    int asked = atomic_exchange(&self->asked, 0);
    for (int i = 0; i < asked; i++) {
        char text[64];
        snprintf(text, sizeof text, "result of %llu", (unsigned long long)self->asks[i]);
        tally_result_t result = {.outcome = TALLY_RESULT_DONE, .body = tally_bytes_of(text)};
        tally_result_write(wire, self->asks[i], &result);
        answer(self, wire);
    }
}

static void
confirm(fake_front_t *self, tally_wire_t *wire, uint64_t sequence, const tally_send_t *send)
{
    uint64_t ids[TALLY_BATCH_MESSAGES_MAX];
    bool drop = atomic_load(&self->drop_duplicates);
    for (uint64_t i = 0; i < send->count; i++) {
        ids[i] = drop ? 0 : sequence * 10000 + i;
    }
    bool repeated = atomic_fetch_add(&self->stored[sequence], 1) > 0;
    if (repeated) {
        atomic_fetch_sub(&self->stored[sequence], 1);
    }
    tally_item_t item;
    tally_cursor_t items = send->items;
    tally_item_read(&items, &item);
    if ((item.options & TALLY_WANTS_RESULT) != 0 && !drop) {
        int index = atomic_fetch_add(&self->asked, 1);
        self->asks[index] = sequence;
    }
    if (use(&self->lose_confirms)) {
        return;
    }
    tally_confirm_write(wire, sequence, repeated ? NULL : ids, send->count, drop ? send->count : 0,
                        repeated);
    answer(self, wire);
}

static void
take_send(fake_front_t *self, tally_wire_t *wire, const tally_head_t *head, tally_cursor_t cursor)
{
    tally_send_t send;
    tally_fault_t fault = tally_send_read(cursor, &send);
    assert(fault.code == 0);
    assert(head->request < FAKE_SEQUENCES_MAX);
    int at = atomic_load(&self->received);
    if (at < FAKE_SEQUENCES_MAX) {
        self->order[at] = head->request;
        atomic_store(&self->received, at + 1);
    }
    atomic_fetch_add(&self->sends, 1);
    if (use(&self->swallow)) {
        return;
    }
    if (use(&self->refuse)) {
        refuse(self, wire, head->request, atomic_load(&self->refuse_code));
        return;
    }
    confirm(self, wire, head->request, &send);
}

static void
take_frame(fake_front_t *self, tally_wire_t *wire, tally_bytes_t frame)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read(frame, &head, &cursor);
    assert(fault.code == 0);
    if (head.verb == TALLY_HELLO) {
        take_hello(self, wire, &head, cursor);
    } else if (!self->greeted || use(&self->forget)) {
        self->greeted = false;
        refuse(self, wire, head.request, TALLY_E_STATE);
    } else if (head.verb == TALLY_SEND) {
        take_send(self, wire, &head, cursor);
    } else if (head.verb == TALLY_ADMIN) {
        tally_bytes_t body = tally_cursor_rest(&cursor);
        tally_wire_start(wire, TALLY_REPLY, head.request);
        tally_wire_put_raw(wire, body);
        answer(self, wire);
    }
}

static void *
run(void *argument)
{
    fake_front_t *self = argument;
    tally_wire_t wire = {0};
    zmq_msg_t peer;
    zmq_msg_init(&peer);
    self->peer = &peer;
    while (!atomic_load(&self->stop)) {
        zmq_pollitem_t item = {.socket = self->socket, .events = ZMQ_POLLIN};
        zmq_poll(&item, 1, STEP_MS);
        if (!atomic_load(&self->hold_results) && self->greeted) {
            give_results(self, &wire);
        }
        if (atomic_load(&self->mute) || (item.revents & ZMQ_POLLIN) == 0) {
            continue;
        }
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&peer, self->socket, 0) != -1
            && zmq_msg_recv(&frame, self->socket, 0) != -1) {
            take_frame(self, &wire, (tally_bytes_t){zmq_msg_data(&frame), zmq_msg_size(&frame)});
        }
        zmq_msg_close(&frame);
    }
    zmq_msg_close(&peer);
    tally_wire_free(&wire);
    return NULL;
}

void
fake_front_init(fake_front_t *self, const char *dir, const char *name)
{
    snprintf(self->endpoint, sizeof self->endpoint, "ipc://%s/%s", dir, name);
    atomic_store(&self->epoch, 1);
}

void
fake_front_start(fake_front_t *self)
{
    assert(!self->runs);
    self->context = zmq_ctx_new();
    self->socket = zmq_socket(self->context, ZMQ_ROUTER);
    int linger = 0;
    zmq_setsockopt(self->socket, ZMQ_LINGER, &linger, sizeof linger);
    int rc = zmq_bind(self->socket, self->endpoint);
    assert(rc == 0);
    self->greeted = false;
    atomic_store(&self->stop, false);
    rc = pthread_create(&self->thread, NULL, run, self);
    assert(rc == 0);
    self->runs = true;
}

void
fake_front_stop(fake_front_t *self)
{
    if (!self->runs) {
        return;
    }
    atomic_store(&self->stop, true);
    pthread_join(self->thread, NULL);
    zmq_close(self->socket);
    zmq_ctx_term(self->context);
    self->runs = false;
}
