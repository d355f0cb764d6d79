// SPDX-License-Identifier: MIT
//  peer - see peer.h.

#include "tests/bench/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zmq.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/wire.h"

#define WELCOME_MS_MAX 30000
#define HELLO_AGAIN_MS 200
#define LOOK_MS 20

typedef struct {
    void *front, *lane;
    uint64_t number;
} peer_t;

struct bench_crowd {
    void *context;
    void *sink;    // all workers' records go through one
    peer_t *peers;
    size_t workers, count;
    int64_t beat_at_ms, beat_ms;
    tally_wire_t wire;
};

static void *
connect_socket(void *context, int type, const char *endpoint)
{
    void *socket = zmq_socket(context, type);
    if (socket == NULL) {
        fail_msg("peers: %s", zmq_strerror(errno));
    }
    int none = 0;
    int again_ms = 5;
    int rc = zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof none);
    rc |= zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &again_ms, sizeof again_ms);
    assert_int_equal(rc, 0);
    if (zmq_connect(socket, endpoint) == -1) {
        fail_msg("peers: %s: %s", endpoint, zmq_strerror(errno));
    }
    return socket;
}

static void
close_peer(peer_t *peer)
{
    if (peer->lane != NULL) {
        zmq_close(peer->lane);
    }
    if (peer->front != NULL) {
        zmq_close(peer->front);
    }
    *peer = (peer_t){0};
}

static void
say_hello(peer_t *peer, tally_wire_t *wire, size_t index, const char *queue)
{
    char name[32];
    snprintf(name, sizeof name, "%s-%zu", queue != NULL ? "worker" : "client", index);
    tally_hello_t hello = {.role = queue != NULL ? TALLY_ROLE_WORKER : TALLY_ROLE_CLIENT,
                           .version_min = TALLY_WIRE_VERSION,
                           .version_max = TALLY_WIRE_VERSION,
                           .name = tally_bytes_of(name)};
    if (queue != NULL) {
        hello.credit = 1;
        hello.queue_count = 1;
        hello.queues[0] = tally_bytes_of(queue);
    }
    tally_hello_write(wire, 1, &hello);
    int rc = zmq_send(peer->front, wire->data, wire->size, ZMQ_DONTWAIT);
    assert_int_not_equal(rc, -1);
}

static bool
wait_for(void *socket, long timeout_ms)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, timeout_ms) == 1;
}

//  False when no welcome came in time.
static bool
take_welcome(bench_crowd_t *self, peer_t *peer, long timeout_ms)
{
    if (!wait_for(peer->front, timeout_ms)) {
        return false;
    }
    zmq_msg_t frame;
    tally_head_t head;
    tally_cursor_t cursor;
    tally_welcome_t welcome;
    zmq_msg_init(&frame);
    int rc = zmq_msg_recv(&frame, peer->front, ZMQ_DONTWAIT);
    tally_bytes_t bytes = {zmq_msg_data(&frame), zmq_msg_size(&frame)};
    bool welcomed = rc != -1 && tally_head_read(bytes, &head, &cursor).code == 0
                    && head.verb == TALLY_WELCOME && tally_welcome_read(cursor, &welcome).code == 0;
    if (welcomed && welcome.worker != 0) {
        char endpoint[TALLY_ENDPOINT_BYTES_MAX + 1];
        snprintf(endpoint, sizeof endpoint, "%.*s", (int)welcome.lane.size,
                 (const char *)welcome.lane.data);
        peer->lane = connect_socket(self->context, ZMQ_PULL, endpoint);
        peer->number = welcome.worker;
        self->beat_ms = welcome.beat_ms;
        if (self->sink == NULL) {
            snprintf(endpoint, sizeof endpoint, "%.*s", (int)welcome.sink.size,
                     (const char *)welcome.sink.data);
            self->sink = connect_socket(self->context, ZMQ_PUSH, endpoint);
        }
    }
    zmq_msg_close(&frame);
    return welcomed;
}

static bench_crowd_t *
make_crowd(size_t workers, size_t clients)
{
    bench_crowd_t *self = tally_alloc(sizeof *self);
    self->workers = workers;
    self->count = workers + clients;
    self->peers = tally_alloc_array(self->count, sizeof *self->peers);
    self->context = zmq_ctx_new();
    assert_non_null(self->context);
    int rc = zmq_ctx_set(self->context, ZMQ_MAX_SOCKETS, (int)(2 * self->count + 16));
    assert_int_equal(rc, 0);
    return self;
}

bench_crowd_t *
bench_crowd_new(const char *endpoint, size_t workers, size_t clients, const char *queue)
{
    bench_crowd_t *self = make_crowd(workers, clients);
    for (size_t i = 0; i < self->count; i++) {
        peer_t *peer = &self->peers[i];
        peer->front = connect_socket(self->context, ZMQ_DEALER, endpoint);
        say_hello(peer, &self->wire, i, i < workers ? queue : NULL);
        if (!take_welcome(self, peer, WELCOME_MS_MAX)) {
            fail_msg("peers: number %zu was not welcome", i);
        }
        bench_crowd_live(self, 0);
    }
    return self;
}

void
bench_crowd_destroy(bench_crowd_t **self_p)
{
    bench_crowd_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        close_peer(&self->peers[i]);
    }
    if (self->sink != NULL) {
        zmq_close(self->sink);
    }
    zmq_ctx_term(self->context);
    tally_wire_free(&self->wire);
    free(self->peers);
    free(self);
    *self_p = NULL;
}

static void
read_all(void *socket)
{
    zmq_msg_t frame;
    int rc = 0;
    while (rc != -1) {
        zmq_msg_init(&frame);
        rc = zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT);
        zmq_msg_close(&frame);
    }
}

static void
beat(bench_crowd_t *self)
{
    const tally_record_t record = {.kind = TALLY_RECORD_BEAT};
    for (size_t i = 0; i < self->workers && self->peers[i].lane != NULL; i++) {
        read_all(self->peers[i].lane);
        tally_records_start(&self->wire, self->peers[i].number);
        tally_records_add(&self->wire, &record, NULL);
        (void)zmq_send(self->sink, self->wire.data, self->wire.size, ZMQ_DONTWAIT);
    }
}

void
bench_crowd_live(bench_crowd_t *self, int ms)
{
    int64_t now_ms = tally_clock_now_ms();
    int64_t until_ms = now_ms + ms;
    do {
        if (self->sink != NULL && now_ms >= self->beat_at_ms) {
            beat(self);
            self->beat_at_ms = now_ms + self->beat_ms;
        }
        if (ms > 0) {
            zmq_poll(NULL, 0, LOOK_MS);
        }
        now_ms = tally_clock_now_ms();
    } while (now_ms < until_ms);
}

static int64_t
time_of_day_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);    // to be compared with PostgreSQL's on the same machine
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
bench_peer_first_delivery(const char *endpoint, const char *queue, int timeout_ms)
{
    bench_crowd_t *self = make_crowd(1, 0);
    peer_t *peer = self->peers;
    int64_t until_ms = tally_clock_now_ms() + timeout_ms;
    int64_t came_us = 0;
    bool is_welcome = false;
    while (!is_welcome && tally_clock_now_ms() < until_ms) {
        close_peer(peer);
        peer->front = connect_socket(self->context, ZMQ_DEALER, endpoint);
        say_hello(peer, &self->wire, 0, queue);
        is_welcome = take_welcome(self, peer, HELLO_AGAIN_MS);
    }
    while (is_welcome && came_us == 0 && tally_clock_now_ms() < until_ms) {
        bench_crowd_live(self, 0);
        zmq_msg_t frame;
        tally_head_t head;
        tally_cursor_t cursor;
        zmq_msg_init(&frame);
        if (wait_for(peer->lane, LOOK_MS) && zmq_msg_recv(&frame, peer->lane, ZMQ_DONTWAIT) != -1) {
            tally_bytes_t bytes = {zmq_msg_data(&frame), zmq_msg_size(&frame)};
            bool is_delivery = tally_head_read(bytes, &head, &cursor).code == 0
                               && head.verb == TALLY_DELIVERY;
            came_us = is_delivery ? time_of_day_us() : 0;
        }
        zmq_msg_close(&frame);
    }
    bench_crowd_destroy(&self);
    return came_us;
}
