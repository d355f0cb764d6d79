// SPDX-License-Identifier: MIT
//  floor_broker - the least broker that libzmq and libpq can make; see floor.h.
//
//  Three threads stand for the three processes, each with a context and so an I/O thread of its own, as they have: what
//  wakes whom is the same.  The server takes one message, writes what must be written, waits, and tells.  What was
//  settled waits for the next message's transaction, as long as that comes soon: nothing costs less.

#include "tests/bench/floor.h"

#include <endian.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/histogram.h"

#define FRAME_BYTES_MAX 4096
#define ENDPOINT_BYTES 256
#define SETTLED_MAX 64
#define SETTLE_WAIT_MS 2
#define WARM_UP_US 500000

typedef struct {
    int64_t sent_us, id;
} head_t;

struct server {
    void *context, *front, *lane, *sink;
    PGconn *connection;
    bool leases;
    int64_t next_id;
    int64_t settled[SETTLED_MAX];    // not deleted yet
    size_t settled_count;
    size_t body_bytes;
    uint8_t body[FRAME_BYTES_MAX];
};

struct worker {
    void *context, *lane, *sink;
    tally_histogram_t *took_us;
    int64_t counts_from_us;
};

//  ---- PostgreSQL -------------------------------------------------------------------------------------------

static const struct {
    const char *name, *sql;
} statements[] = {
    {"insert", "insert into tally.message (tenant, id, queue, body) values (1, $1::bigint, 1, $2)"},
    {"lease", "insert into tally.lease (id, tenant, queue, worker, deadline, messages) values "
              "($1::bigint, 1, 1, 1, clock_timestamp() + interval '30 seconds', array[$1])"},
    {"settle", "delete from tally.message where tenant = 1 and id = $1::bigint"},
    {"unlease", "delete from tally.lease where id = $1::bigint"},
};

static void
connect_server(struct server *self, const char *conninfo)
{
    self->connection = PQconnectdb(conninfo);
    PGresult *result = PQexec(self->connection, "truncate tally.message, tally.lease");
    for (size_t i = 0;
         PQresultStatus(result) == PGRES_COMMAND_OK && i < sizeof statements / sizeof statements[0];
         i++) {
        PQclear(result);
        result = PQprepare(self->connection, statements[i].name, statements[i].sql, 0, NULL);
    }
    if (PQresultStatus(result) != PGRES_COMMAND_OK || PQenterPipelineMode(self->connection) == 0) {
        fail_msg("floor: %s", PQerrorMessage(self->connection));
    }
    PQclear(result);
}

static void
ask(struct server *self, const char *name, int64_t id, int params)
{
    uint64_t number = htobe64((uint64_t)id);
    const char *values[] = {(const char *)&number, (const char *)self->body};
    const int lengths[] = {sizeof number, (int)self->body_bytes};
    const int formats[] = {1, 1};
    int rc = PQsendQueryPrepared(self->connection, name, params, values, lengths, formats, 1);
    assert_int_equal(rc, 1);
}

//  Deletes what was settled, commits all that was asked.
static void
commit(struct server *self)
{
    for (size_t i = 0; i < self->settled_count; i++) {
        ask(self, "settle", self->settled[i], 1);
        ask(self, "unlease", self->settled[i], 1);
    }
    self->settled_count = 0;
    int rc = PQpipelineSync(self->connection);
    assert_int_equal(rc, 1);
    for (ExecStatusType status = PGRES_COMMAND_OK; status != PGRES_PIPELINE_SYNC;) {
        PGresult *result = PQgetResult(self->connection);
        status = result == NULL ? PGRES_COMMAND_OK : PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_PIPELINE_SYNC) {
            fail_msg("floor: %s", PQerrorMessage(self->connection));
        }
        PQclear(result);
    }
}

//  ---- the server -------------------------------------------------------------------------------------------

static void
hear_settled(struct server *self)
{
    while (
        self->settled_count < SETTLED_MAX
        && zmq_recv(self->sink, &self->settled[self->settled_count], sizeof(int64_t), ZMQ_DONTWAIT)
               == sizeof(int64_t)) {
        self->settled_count++;
    }
}

//  False when the client has said that it was the last one.
static bool
take_message(struct server *self)
{
    uint8_t client[256];
    uint8_t frame[FRAME_BYTES_MAX];
    head_t head = {0};
    int client_bytes = zmq_recv(self->front, client, sizeof client, 0);
    int bytes = zmq_recv(self->front, frame, sizeof frame, 0);
    assert_true(client_bytes > 0 && bytes >= 0 && bytes <= (int)sizeof frame);
    bool last = bytes < (int)sizeof head;
    if (!last) {
        memcpy(&head, frame, sizeof head);
        head.id = self->next_id++;
        memcpy(self->body, frame + sizeof head, (size_t)bytes - sizeof head);
        self->body_bytes = (size_t)bytes - sizeof head;
        ask(self, "insert", head.id, 2);
        if (self->leases) {
            ask(self, "lease", head.id, 1);
        }
        commit(self);
        memcpy(frame, &head, sizeof head);
    }
    if (self->leases) {
        zmq_send(self->lane, frame, (size_t)bytes, 0);
    }
    zmq_send(self->front, client, (size_t)client_bytes, ZMQ_SNDMORE);
    zmq_send(self->front, &head, sizeof head, 0);
    return !last;
}

static void *
serve(void *argument)
{
    struct server *self = argument;
    zmq_pollitem_t items[] = {{self->front, 0, ZMQ_POLLIN, 0}, {self->sink, 0, ZMQ_POLLIN, 0}};
    int64_t settle_at_ms = 0;
    for (bool goes_on = true; goes_on;) {
        int64_t left_ms = settle_at_ms - tally_clock_now_ms();
        zmq_poll(items, 2, self->settled_count == 0 ? -1 : left_ms > 0 ? (long)left_ms : 0);
        if (self->settled_count == 0) {
            settle_at_ms = tally_clock_now_ms() + SETTLE_WAIT_MS;
        }
        hear_settled(self);
        if ((items[0].revents & ZMQ_POLLIN) != 0) {
            goes_on = take_message(self);
        } else if (self->settled_count > 0 && tally_clock_now_ms() >= settle_at_ms) {
            commit(self);
        }
    }
    return NULL;
}

static void *
work(void *argument)
{
    struct worker *self = argument;
    uint8_t frame[FRAME_BYTES_MAX];
    head_t head;
    while (zmq_recv(self->lane, frame, sizeof frame, 0) >= (int)sizeof head) {
        memcpy(&head, frame, sizeof head);
        if (head.sent_us >= self->counts_from_us) {
            tally_histogram_add(self->took_us, (uint64_t)(tally_clock_now_us() - head.sent_us), 1);
        }
        zmq_send(self->sink, &head.id, sizeof head.id, 0);
    }
    return NULL;
}

//  ---- the client -------------------------------------------------------------------------------------------

//  One after the other, or at a rate; latencies count from when a message should have left.
static void
send_messages(void *socket, const bench_floor_broker_options_t *options, int64_t counts_from_us,
              int64_t until_us, bench_floor_broker_t *result)
{
    uint8_t frame[FRAME_BYTES_MAX] = {0};
    size_t bytes = sizeof(head_t) + options->body_bytes;
    tally_histogram_t *took_us = tally_histogram_new();
    int64_t step_us = options->rate > 0 ? 1000000 / options->rate : 0;
    int64_t now_us = tally_clock_now_us();
    head_t head = {.sent_us = now_us};
    while (now_us < until_us) {
        head.sent_us = step_us > 0 ? head.sent_us + step_us : now_us;
        while (now_us < head.sent_us) {
            (void)ppoll(NULL, 0, &(struct timespec){.tv_nsec = (head.sent_us - now_us) * 1000},
                        NULL);
            now_us = tally_clock_now_us();
        }
        memcpy(frame, &head, sizeof head);
        zmq_send(socket, frame, bytes, 0);
        int rc = zmq_recv(socket, frame, sizeof frame, 0);
        assert_int_equal(rc, sizeof head);
        now_us = tally_clock_now_us();
        if (head.sent_us >= counts_from_us) {
            tally_histogram_add(took_us, (uint64_t)(now_us - head.sent_us), 1);
        }
    }
    result->confirmed_per_s = (double)tally_histogram_count(took_us) * 1e6
                              / (double)(now_us - counts_from_us);
    result->confirm_p50_ms = (double)tally_histogram_quantile(took_us, 0.5) / 1000;
    tally_histogram_destroy(&took_us);
    zmq_send(socket, frame, 0, 0);    // the last one
    int rc = zmq_recv(socket, frame, sizeof frame, 0);
    assert_int_equal(rc, sizeof head);
}

//  ---- all three --------------------------------------------------------------------------------------------

static void *
listen_at(void *context, int type, char *endpoint)
{
    size_t room = ENDPOINT_BYTES;
    void *socket = zmq_socket(context, type);
    if (zmq_bind(socket, "ipc://*") == -1
        || zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &room) == -1) {
        fail_msg("floor: %s", zmq_strerror(errno));
    }
    return socket;
}

static void *
connect_with(void *context, int type, const char *endpoint)
{
    void *socket = zmq_socket(context, type);
    int rc = zmq_connect(socket, endpoint);
    assert_int_equal(rc, 0);
    return socket;
}

void
bench_floor_broker(const char *conninfo, const bench_floor_broker_options_t *options,
                   bench_floor_broker_t *result)
{
    char front[ENDPOINT_BYTES], lane[ENDPOINT_BYTES], sink[ENDPOINT_BYTES];
    assert_true(sizeof(head_t) + options->body_bytes <= FRAME_BYTES_MAX);
    int64_t now_us = tally_clock_now_us();
    struct server server = {.context = zmq_ctx_new(),
                            .leases = options->settles,
                            .next_id = INT64_C(1) << 40};
    struct worker worker = {.context = zmq_ctx_new(),
                            .took_us = tally_histogram_new(),
                            .counts_from_us = now_us + WARM_UP_US};
    void *context = zmq_ctx_new();
    connect_server(&server, conninfo);
    server.front = listen_at(server.context, ZMQ_ROUTER, front);
    server.lane = listen_at(server.context, ZMQ_PUSH, lane);
    server.sink = listen_at(server.context, ZMQ_PULL, sink);
    worker.lane = connect_with(worker.context, ZMQ_PULL, lane);
    worker.sink = connect_with(worker.context, ZMQ_PUSH, sink);
    void *socket = connect_with(context, ZMQ_DEALER, front);
    pthread_t threads[2];
    int rc = pthread_create(&threads[0], NULL, serve, &server);
    assert_int_equal(rc, 0);
    if (options->settles) {
        rc = pthread_create(&threads[1], NULL, work, &worker);
        assert_int_equal(rc, 0);
    }
    *result = (bench_floor_broker_t){0};
    send_messages(socket, options, worker.counts_from_us,
                  worker.counts_from_us + (int64_t)(options->seconds * 1e6), result);
    pthread_join(threads[0], NULL);
    if (options->settles) {
        pthread_join(threads[1], NULL);
        result->deliver_p50_ms = (double)tally_histogram_quantile(worker.took_us, 0.5) / 1000;
    }
    tally_histogram_destroy(&worker.took_us);
    void *sockets[] = {socket, worker.lane, worker.sink, server.front, server.lane, server.sink};
    for (size_t i = 0; i < sizeof sockets / sizeof sockets[0]; i++) {
        zmq_setsockopt(sockets[i], ZMQ_LINGER, &(int){0}, sizeof(int));
        zmq_close(sockets[i]);
    }
    zmq_ctx_term(context);
    zmq_ctx_term(worker.context);
    zmq_ctx_term(server.context);
    PQfinish(server.connection);
}
