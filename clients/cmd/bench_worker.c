// SPDX-License-Identifier: MIT
//  bench_worker - a thread that takes leases from its lane, marks what is in them, and settles
//  them.
//
//  A worker by the book (schemas/wire.md, 6 and 7): hello, lane, sink, beats; when the broker falls
//  silent, takes it for dead or has another epoch, it forgets what it holds and says hello again.
//  It never works longer than a beat, so it beats from its own thread.  Several leases are settled
//  with one frame of records.

#include "clients/cmd/bench.h"

#include "lib/clock.h"
#include "lib/socket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

#define STEP_MS 100
#define HELLO_MS 1000
#define DELIVERIES_AT_ONCE 64

struct worker {
    tally_bench_t *bench;
    tally_bench_thread_t *thread;
    void *context;
    void *front, *lane, *sink;    // NULL when not connected
    uint64_t number;              // of this life
    uint64_t epoch;
    int64_t beat_ms, silence_ms;
    int64_t heard_at_ms, beat_at_ms;
    uint64_t hellos;
    tally_wire_t wire;
};

static void
close_socket(void **socket)
{
    if (*socket != NULL) {
        zmq_close(*socket);
        *socket = NULL;
    }
}

static void
disconnect(struct worker *w)
{
    close_socket(&w->lane);
    close_socket(&w->sink);
    close_socket(&w->front);
}

static void *
connect_socket(const struct worker *w, int type, const char *endpoint)
{
    void *socket = zmq_socket(w->context, type);
    if (socket == NULL) {
        return NULL;
    }
    const tally_socket_options_t options = {.send_max = TALLY_CREDIT_MAX + 16,
                                            .receive_max = TALLY_CREDIT_MAX + 16,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX + 1024,
                                            .once = type == ZMQ_PULL};
    if (tally_socket_connect(socket, endpoint, &options) == -1) {
        zmq_close(socket);
        return NULL;
    }
    return socket;
}

static bool
wait_for(void *socket, int64_t wait_ms)
{
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    return zmq_poll(&item, 1, wait_ms > 0 ? (long)wait_ms : 0) == 1;
}

//  ---- hello -------------------------------------------------------------------------------------

static void
say_hello(struct worker *w)
{
    char name[32];
    snprintf(name, sizeof name, "bench-worker-%u", w->thread->index);
    tally_hello_t hello = {
        .role = TALLY_ROLE_WORKER,
        .version_min = TALLY_WIRE_VERSION,
        .version_max = TALLY_WIRE_VERSION,
        .name = tally_bytes_of(name),
        .credit = (uint16_t)w->bench->credit,
        .queue_count = 1,
        .queues = {tally_bytes_of(TALLY_BENCH_QUEUE)},
    };
    tally_hello_write(&w->wire, ++w->hellos, &hello);
    (void)zmq_send(w->front, w->wire.data, w->wire.size, ZMQ_DONTWAIT);
}

static int
join(struct worker *w, const tally_welcome_t *welcome)
{
    char lane[TALLY_ENDPOINT_BYTES_MAX + 1];
    char sink[TALLY_ENDPOINT_BYTES_MAX + 1];
    snprintf(lane, sizeof lane, "%.*s", (int)welcome->lane.size, (const char *)welcome->lane.data);
    snprintf(sink, sizeof sink, "%.*s", (int)welcome->sink.size, (const char *)welcome->sink.data);
    w->lane = connect_socket(w, ZMQ_PULL, lane);
    w->sink = connect_socket(w, ZMQ_PUSH, sink);
    if (w->lane == NULL || w->sink == NULL) {
        return -1;
    }
    w->number = welcome->worker;
    w->epoch = welcome->broker_epoch;
    w->beat_ms = welcome->beat_ms;
    w->silence_ms = welcome->beat_ms * (welcome->beats_missed_max + 1);
    w->heard_at_ms = tally_clock_now_ms();
    w->beat_at_ms = 0;
    return 0;
}

//  0 when welcome, 1 when not now; -1 when the broker does not want us, which was said.
static int
read_welcome(struct worker *w)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    int result = 1;
    if (zmq_msg_recv(&frame, w->front, ZMQ_DONTWAIT) != -1) {
        tally_head_t head;
        tally_cursor_t cursor;
        tally_welcome_t welcome;
        tally_error_t error;
        tally_bytes_t bytes = {zmq_msg_data(&frame), zmq_msg_size(&frame)};
        tally_fault_t fault = tally_head_read(bytes, &head, &cursor);
        if (fault.code == 0 && head.verb == TALLY_WELCOME
            && tally_welcome_read(cursor, &welcome).code == 0) {
            result = join(w, &welcome) == 0 ? 0 : 1;
        } else if (fault.code == 0 && head.verb == TALLY_ERROR
                   && tally_error_read(cursor, &error).code == 0 && error.code / 100 == 1) {
            fprintf(stderr, "tally: bench worker: %s: %.*s\n", tally_code_name(error.code),
                    (int)error.text.size, (const char *)error.text.data);
            atomic_store(&w->bench->failed, true);
            result = -1;
        }
    }
    zmq_msg_close(&frame);
    return result;
}

static int
greet(struct worker *w)
{
    disconnect(w);
    w->front = connect_socket(w, ZMQ_DEALER, w->bench->endpoint);
    if (w->front == NULL) {
        fprintf(stderr, "tally: bench worker: could not connect to %s: %s\n", w->bench->endpoint,
                zmq_strerror(errno));
        atomic_store(&w->bench->failed, true);
        return -1;
    }
    say_hello(w);
    int result = wait_for(w->front, HELLO_MS) ? read_welcome(w) : 1;
    if (result == 1) {
        disconnect(w);
    }
    return result;
}

//  ---- leases ------------------------------------------------------------------------------------

//  Looks at each message of a lease; its marks are set before the settle is sent.
static void
mark_delivery(struct worker *w, tally_delivery_t *delivery)
{
    tally_bench_t *bench = w->bench;
    int64_t now_us = tally_clock_now_us();
    uint64_t settled = 0;
    for (uint16_t i = 0; i < delivery->count; i++) {
        tally_delivered_t item;
        tally_delivered_read(&delivery->items, &item);
        tally_bench_stamp_t stamp = {0};
        if (item.body.size >= sizeof stamp) {
            memcpy(&stamp, item.body.data, sizeof stamp);
        }
        if (stamp.run != bench->run || stamp.producer >= bench->producers
            || stamp.number >= TALLY_MARKS_MAX) {
            atomic_fetch_add(&bench->foreign, 1);
            continue;
        }
        if (tally_marks_add(bench->settled_marks[stamp.producer], stamp.number)) {
            settled++;
        } else {
            atomic_fetch_add(&bench->duplicated, 1);
        }
        if (tally_bench_counts(bench, stamp.sent_at_us)) {
            tally_histogram_add(w->thread->latency_us, (uint64_t)(now_us - stamp.sent_at_us), 1);
        }
    }
    atomic_fetch_add(&bench->settled, settled);
}

//  False when this life is over: the broker says so.
static bool
take_notice(struct worker *w, tally_cursor_t cursor)
{
    tally_notice_t notice;
    if (tally_notice_read(cursor, &notice).code != 0) {
        return true;
    }
    return notice.kind != TALLY_NOTICE_GONE && notice.kind != TALLY_NOTICE_DRAIN
           && (notice.kind != TALLY_NOTICE_BEAT || notice.epoch == w->epoch);
}

//  Takes one frame of the lane; adds a settle to the records under way when it is a lease.
static bool
take_frame(struct worker *w, zmq_msg_t *frame, size_t *leases)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_delivery_t delivery;
    tally_bytes_t bytes = {zmq_msg_data(frame), zmq_msg_size(frame)};
    if (tally_head_read(bytes, &head, &cursor).code != 0) {
        return true;
    }
    if (head.verb == TALLY_NOTICE) {
        return take_notice(w, cursor);
    }
    if (head.verb == TALLY_DELIVERY && tally_delivery_read(cursor, &delivery).code == 0) {
        mark_delivery(w, &delivery);
        tally_record_t record = {.kind = TALLY_RECORD_SETTLE, .lease = delivery.lease};
        tally_records_add(&w->wire, &record, NULL);
        ++*leases;
    }
    return true;
}

//  Reads what the lane has and answers with one frame.  False when this life is over.
static bool
take_leases(struct worker *w)
{
    bool lives = true;
    size_t leases = 0;
    bool more = true;
    tally_records_start(&w->wire, w->number);
    for (size_t i = 0; lives && more && i < DELIVERIES_AT_ONCE; i++) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        more = zmq_msg_recv(&frame, w->lane, ZMQ_DONTWAIT) != -1;
        if (more) {
            w->heard_at_ms = tally_clock_now_ms();
            lives = take_frame(w, &frame, &leases);
        }
        zmq_msg_close(&frame);
    }
    if (leases > 0) {
        //  A sink that takes no more for this long means that the broker is gone; the leases will
        //  expire.
        lives = zmq_send(w->sink, w->wire.data, w->wire.size, ZMQ_DONTWAIT) != -1 && lives;
    }
    return lives;
}

static void
beat(struct worker *w, int64_t now_ms)
{
    if (now_ms < w->beat_at_ms) {
        return;
    }
    tally_record_t record = {.kind = TALLY_RECORD_BEAT};
    tally_records_start(&w->wire, w->number);
    tally_records_add(&w->wire, &record, NULL);
    (void)zmq_send(w->sink, w->wire.data, w->wire.size, ZMQ_DONTWAIT);
    w->beat_at_ms = now_ms + w->beat_ms;
}

static void
say_goodbye(struct worker *w)
{
    int linger_ms = STEP_MS;
    tally_wire_start(&w->wire, TALLY_GOODBYE, ++w->hellos);
    (void)zmq_send(w->front, w->wire.data, w->wire.size, ZMQ_DONTWAIT);
    zmq_setsockopt(w->front, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(w->sink, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
}

static void
work(struct worker *w)
{
    const tally_bench_t *bench = w->bench;
    while (atomic_load(&bench->phase) < TALLY_BENCH_OVER && !atomic_load(&bench->failed)) {
        if (w->lane == NULL) {
            if (greet(w) == -1) {
                return;
            }
            continue;
        }
        int64_t now_ms = tally_clock_now_ms();
        beat(w, now_ms);
        wait_for(w->lane, w->beat_at_ms - now_ms < STEP_MS ? w->beat_at_ms - now_ms : STEP_MS);
        if (!take_leases(w) || tally_clock_now_ms() - w->heard_at_ms > w->silence_ms) {
            disconnect(w);
        }
    }
    if (w->lane != NULL) {
        say_goodbye(w);
    }
}

void *
tally_bench_work(void *argument)
{
    tally_bench_thread_t *thread = argument;
    struct worker w = {.bench = thread->bench, .thread = thread, .context = zmq_ctx_new()};
    if (w.context == NULL) {
        fprintf(stderr, "tally: bench worker: no resources for a connection\n");
        atomic_store(&w.bench->failed, true);
        return NULL;
    }
    work(&w);
    disconnect(&w);
    while (zmq_ctx_term(w.context) == -1 && errno == EINTR) {
    }
    tally_wire_free(&w.wire);
    return NULL;
}
