// SPDX-License-Identifier: MIT
#include "tests/integration/stranger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/limits.h"

#define WELCOME_MS 10000

static zsock_t *
connect_to(int type, const char *endpoint)
{
    zsock_t *socket = zsock_new(type);
    assert_non_null(socket);
    zsock_set_linger(socket, 0);
    zsock_set_rcvhwm(socket, 0);
    zsock_set_sndhwm(socket, 0);
    assert_int_equal(zsock_connect(socket, "%s", endpoint), 0);
    return socket;
}

tally_stranger_t *
tally_stranger_new(const char *front)
{
    tally_stranger_t *self = tally_alloc(sizeof *self);
    zmq_msg_init(&self->frame);
    self->front = connect_to(ZMQ_DEALER, front);
    return self;
}

void
tally_stranger_destroy(tally_stranger_t **self_p)
{
    tally_stranger_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    zsock_destroy(&self->front);
    zsock_destroy(&self->lane);
    zsock_destroy(&self->sink);
    zmq_msg_close(&self->frame);
    tally_wire_free(&self->wire);
    free(self);
    *self_p = NULL;
}

void
tally_stranger_say(tally_stranger_t *self)
{
    int rc = zmq_send(zsock_resolve(self->front), self->wire.data, self->wire.size, 0);
    assert_int_not_equal(rc, -1);
}

//  The next frame of a socket, into self->frame.
static bool
receive(tally_stranger_t *self, zsock_t *socket, int64_t deadline_at_ms, tally_head_t *head,
        tally_cursor_t *cursor)
{
    int64_t left_ms = deadline_at_ms - tally_clock_now_ms();
    zmq_pollitem_t item = {.socket = zsock_resolve(socket), .events = ZMQ_POLLIN};
    if (zmq_poll(&item, 1, left_ms > 0 ? (long)left_ms : 0) != 1) {
        return false;
    }
    assert_int_not_equal(zmq_msg_recv(&self->frame, zsock_resolve(socket), 0), -1);
    tally_bytes_t bytes = {zmq_msg_data(&self->frame), zmq_msg_size(&self->frame)};
    tally_fault_t fault = tally_head_read(bytes, head, cursor);
    assert_int_equal(fault.code, 0);
    return true;
}

bool
tally_stranger_hear(tally_stranger_t *self, int timeout_ms, tally_heard_t *heard)
{
    tally_cursor_t cursor;
    *heard = (tally_heard_t){0};
    if (!receive(self, self->front, tally_clock_now_ms() + timeout_ms, &heard->head, &cursor)) {
        return false;
    }
    if (heard->head.verb == TALLY_ERROR) {
        tally_error_t error;
        tally_fault_t fault = tally_error_read(cursor, &error);
        assert_int_equal(fault.code, 0);
        heard->code = error.code;
    }
    return true;
}

static void
greet(tally_stranger_t *self, const tally_hello_t *hello, tally_welcome_t *welcome)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_hello_write(&self->wire, 1, hello);
    tally_stranger_say(self);
    assert_true(receive(self, self->front, tally_clock_now_ms() + WELCOME_MS, &head, &cursor));
    assert_int_equal(head.verb, TALLY_WELCOME);
    tally_fault_t fault = tally_welcome_read(cursor, welcome);
    assert_int_equal(fault.code, 0);
    self->sequence = welcome->last_sequence;
}

void
tally_stranger_hello(tally_stranger_t *self)
{
    tally_welcome_t welcome;
    const tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                                 .version_min = TALLY_WIRE_VERSION,
                                 .version_max = TALLY_WIRE_VERSION,
                                 .name = tally_bytes_of("stranger")};
    greet(self, &hello, &welcome);
}

void
tally_stranger_join(tally_stranger_t *self, const char *queue, uint16_t credit)
{
    tally_welcome_t welcome;
    const tally_hello_t hello = {.role = TALLY_ROLE_WORKER,
                                 .version_min = TALLY_WIRE_VERSION,
                                 .version_max = TALLY_WIRE_VERSION,
                                 .name = tally_bytes_of("stranger"),
                                 .credit = credit,
                                 .queue_count = 1,
                                 .queues = {tally_bytes_of(queue)}};
    greet(self, &hello, &welcome);
    self->worker = welcome.worker;
    snprintf(self->lane_endpoint, sizeof self->lane_endpoint, "%.*s", (int)welcome.lane.size,
             (const char *)welcome.lane.data);
    snprintf(self->sink_endpoint, sizeof self->sink_endpoint, "%.*s", (int)welcome.sink.size,
             (const char *)welcome.sink.data);
    self->sink = connect_to(ZMQ_PUSH, self->sink_endpoint);
    self->lane = connect_to(ZMQ_PULL, self->lane_endpoint);
}

uint64_t
tally_stranger_send(tally_stranger_t *self, const char *queue, const char *tenant, const char *body)
{
    const tally_item_t item = {.priority = TALLY_PRIORITY_DEFAULT, .body = tally_bytes_of(body)};
    tally_send_start(&self->wire, ++self->sequence, tally_bytes_of(queue), tally_bytes_of(tenant));
    tally_send_add(&self->wire, &item);
    tally_stranger_say(self);
    return self->sequence;
}

bool
tally_stranger_leased(tally_stranger_t *self, int timeout_ms, tally_delivery_t *delivery,
                      unsigned *beats)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    tally_head_t head;
    tally_cursor_t cursor;
    while (receive(self, self->lane, deadline_at_ms, &head, &cursor)) {
        if (head.verb == TALLY_DELIVERY) {
            tally_fault_t fault = tally_delivery_read(cursor, delivery);
            assert_int_equal(fault.code, 0);
            return true;
        }
        tally_notice_t notice;
        tally_fault_t fault = tally_notice_read(cursor, &notice);
        assert_int_equal(fault.code, 0);
        if (beats != NULL && notice.kind == TALLY_NOTICE_BEAT) {
            ++*beats;
        }
    }
    return false;
}

void
tally_stranger_record(tally_stranger_t *self, uint8_t kind, uint64_t lease)
{
    const tally_record_t record = {.kind = kind, .lease = lease};
    tally_records_start(&self->wire, self->worker);
    tally_records_add(&self->wire, &record, NULL);
    int rc = zmq_send(zsock_resolve(self->sink), self->wire.data, self->wire.size, 0);
    assert_int_not_equal(rc, -1);
}
