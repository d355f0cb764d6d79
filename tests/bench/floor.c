// SPDX-License-Identifier: MIT
//  floor - the bare statements; see floor.h.

#include "tests/bench/floor.h"

#include <endian.h>
#include <libpq-fe.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/pgarray.h"
#include "broker/tick_statements.h"
#include "lib/alloc.h"
#include "lib/clock.h"

#define TENANT 1
#define QUEUE 1
#define FIRST_ID (INT64_C(1) << 40)

//  Messages of one insert, as parameters.
typedef struct {
    tally_pgarray_t tenants, ids, queues, bodies;
} part_t;

//  One tick, as parameters.
typedef struct {
    part_t *parts;    // of about TALLY_PART_BYTES of bodies each, as the broker writes them
    size_t part_count;
    tally_pgarray_t ids;    // of all its messages
    tally_pgarray_t leases, first, last;
    tally_pgarray_t copied;    // instead of the parts
} tick_t;

struct floor {
    const bench_floor_options_t *options;
    PGconn *connection;
    tick_t ticks[2];
    int64_t next_id;
    uint8_t *body;
};

static void
succeed(struct floor *self, PGresult *result, ExecStatusType wanted)
{
    if (PQresultStatus(result) != wanted) {
        fail_msg("floor: %s", PQerrorMessage(self->connection));
    }
    PQclear(result);
}

static const struct {
    const char *name, *sql;
} statements[] = {
    {"insert", "insert into tally.message (tenant, id, queue, body) select unnest($1::integer[]), "
               "unnest($2::bigint[]), unnest($3::integer[]), unnest($4::bytea[])"},
    {"lease", "insert into tally.lease (id, tenant, queue, worker, deadline, messages) "
              "select u.id, 1, 1, 1, clock_timestamp() + interval '30 seconds', "
              "($2::bigint[])[u.f:u.t] "
              "from unnest($1::bigint[], $3::integer[], $4::integer[]) u (id, f, t)"},
    {"unlease", "delete from tally.lease where id = any ($1::bigint[])"},
    //  Each row by its key, whatever the planner thinks of a table that was just empty.
    {"settle", "delete from tally.message where ctid = any (array(select p.ctid "
               "from unnest($1::bigint[]) i (id) cross join lateral (select n.ctid "
               "from tally.message n where n.tenant = 1 and n.id = i.id offset 0) p))"},
    {"commit", "commit"},
};

static void
prepare(struct floor *self, const char *conninfo)
{
    self->connection = PQconnectdb(conninfo);
    if (PQstatus(self->connection) != CONNECTION_OK) {
        fail_msg("floor: %s", PQerrorMessage(self->connection));
    }
    succeed(self, PQexec(self->connection, "truncate tally.message, tally.lease"),
            PGRES_COMMAND_OK);
    succeed(self, PQexec(self->connection, tally_tick_session_sql), PGRES_TUPLES_OK);
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        succeed(self, PQprepare(self->connection, statements[i].name, statements[i].sql, 0, NULL),
                PGRES_COMMAND_OK);
    }
    self->body = tally_alloc(self->options->body_bytes);
    unsigned noise = 12345;
    for (size_t i = 0; i < self->options->body_bytes; i++) {
        noise = noise * 1103515245 + 12345;
        self->body[i] = (uint8_t)(noise >> 16);
    }
    self->next_id = FIRST_ID;
}

//  ---- making a tick ----------------------------------------------------------------------------------------

static void
append(tally_pgarray_t *out, const void *data, size_t size)
{
    if (out->size + size > out->room) {
        out->room = (out->size + size) * 2;
        out->data = tally_realloc(out->data, out->room);
    }
    memcpy(out->data + out->size, data, size);
    out->size += size;
}

static void
append_int4(tally_pgarray_t *out, int32_t value)
{
    uint32_t number = htobe32((uint32_t)value);
    append(out, &number, sizeof number);
}

static void
make_copied(struct floor *self, tick_t *tick)
{
    static const char signature[] = "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0";
    tick->copied.size = 0;
    append(&tick->copied, signature, 19);
    uint16_t fields = htobe16(4);
    for (size_t i = 0; i < self->options->messages; i++) {
        uint64_t id = htobe64((uint64_t)self->next_id + i);
        append(&tick->copied, &fields, sizeof fields);
        append_int4(&tick->copied, 4);
        append_int4(&tick->copied, TENANT);
        append_int4(&tick->copied, 8);
        append(&tick->copied, &id, sizeof id);
        append_int4(&tick->copied, 4);
        append_int4(&tick->copied, QUEUE);
        append_int4(&tick->copied, (int32_t)self->options->body_bytes);
        append(&tick->copied, self->body, self->options->body_bytes);
    }
    uint16_t end = 0xffff;
    append(&tick->copied, &end, sizeof end);
}

static void
make_part(struct floor *self, part_t *part, int64_t first_id, size_t count)
{
    tally_pgarray_start(&part->tenants, TALLY_OID_INT4, count);
    tally_pgarray_start(&part->ids, TALLY_OID_INT8, count);
    tally_pgarray_start(&part->queues, TALLY_OID_INT4, count);
    tally_pgarray_start(&part->bodies, TALLY_OID_BYTEA, count);
    for (size_t i = 0; i < count; i++) {
        tally_pgarray_int4(&part->tenants, TENANT);
        tally_pgarray_int8(&part->ids, first_id + (int64_t)i);
        tally_pgarray_int4(&part->queues, QUEUE);
        tally_pgarray_bytes(&part->bodies, (tally_bytes_t){self->body, self->options->body_bytes});
    }
}

static void
make_arrays(struct floor *self, tick_t *tick)
{
    size_t count = self->options->messages;
    size_t each = TALLY_PART_BYTES / (self->options->body_bytes + 1) + 1;
    if (tick->parts == NULL) {
        tick->part_count = (count + each - 1) / each;
        tick->parts = tally_alloc_array(tick->part_count, sizeof *tick->parts);
    }
    for (size_t i = 0; i < tick->part_count; i++) {
        size_t left = count - i * each;
        make_part(self, &tick->parts[i], self->next_id + (int64_t)(i * each),
                  left < each ? left : each);
    }
}

static void
make_tick(struct floor *self, tick_t *tick)
{
    size_t count = self->options->messages;
    size_t leases = self->options->leases;
    if (self->options->copies) {
        make_copied(self, tick);
    } else {
        make_arrays(self, tick);
    }
    tally_pgarray_start(&tick->ids, TALLY_OID_INT8, count);
    for (size_t i = 0; i < count; i++) {
        tally_pgarray_int8(&tick->ids, self->next_id++);
    }
    tally_pgarray_start(&tick->leases, TALLY_OID_INT8, leases);
    tally_pgarray_start(&tick->first, TALLY_OID_INT4, leases);
    tally_pgarray_start(&tick->last, TALLY_OID_INT4, leases);
    for (size_t i = 0; i < leases; i++) {
        tally_pgarray_int8(&tick->leases, self->next_id++);
        tally_pgarray_int4(&tick->first, (int32_t)(i * count / leases + 1));
        tally_pgarray_int4(&tick->last, (int32_t)((i + 1) * count / leases));
    }
}

//  ---- writing it -------------------------------------------------------------------------------------------

static void
send(struct floor *self, const char *name, const tally_pgarray_t *const *params, int count)
{
    const char *values[4];
    int lengths[4];
    int formats[4];
    for (int i = 0; i < count; i++) {
        values[i] = (const char *)params[i]->data;
        lengths[i] = (int)params[i]->size;
        formats[i] = 1;
    }
    if (PQsendQueryPrepared(self->connection, name, count, values, lengths, formats, 1) == 0) {
        fail_msg("floor: %s", PQerrorMessage(self->connection));
    }
}

//  BEGIN and COPY in one round trip, outside of any pipeline.
static void
copy_messages(struct floor *self, const tick_t *tick)
{
    PGconn *connection = self->connection;
    int rc = PQsendQuery(connection, "begin; copy tally.message (tenant, id, queue, body) "
                                     "from stdin (format binary)");
    assert_int_equal(rc, 1);
    succeed(self, PQgetResult(connection), PGRES_COMMAND_OK);
    succeed(self, PQgetResult(connection), PGRES_COPY_IN);
    rc = PQputCopyData(connection, (const char *)tick->copied.data, (int)tick->copied.size);
    assert_int_equal(rc, 1);
    rc = PQputCopyEnd(connection, NULL);
    assert_int_equal(rc, 1);
    succeed(self, PQgetResult(connection), PGRES_COMMAND_OK);
    assert_null(PQgetResult(connection));
}

static void
send_tick(struct floor *self, const tick_t *tick, const tick_t *before)
{
    if (self->options->copies) {
        copy_messages(self, tick);
    }
    int rc = PQenterPipelineMode(self->connection);
    assert_int_equal(rc, 1);
    for (size_t i = 0; i < tick->part_count; i++) {
        const part_t *part = &tick->parts[i];
        send(self, "insert",
             (const tally_pgarray_t *[]){&part->tenants, &part->ids, &part->queues, &part->bodies},
             4);
    }
    if (before != NULL) {
        send(self, "unlease", (const tally_pgarray_t *[]){&before->leases}, 1);
        send(self, "settle", (const tally_pgarray_t *[]){&before->ids}, 1);
    }
    const tally_pgarray_t *leases[] = {&tick->leases, &tick->ids, &tick->first, &tick->last};
    send(self, "lease", leases, 4);
    if (self->options->copies) {
        send(self, "commit", NULL, 0);    // of its BEGIN; without one, the sync commits
    }
    rc = PQpipelineSync(self->connection);
    assert_int_equal(rc, 1);
    rc = PQflush(self->connection);
    assert_int_equal(rc, 0);
}

static void
take_answers(struct floor *self)
{
    for (;;) {
        PGresult *result = PQgetResult(self->connection);
        ExecStatusType status = result == NULL ? PGRES_COMMAND_OK : PQresultStatus(result);
        if (status == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            break;
        }
        if (status != PGRES_COMMAND_OK) {
            fail_msg("floor: %s", PQerrorMessage(self->connection));
        }
        PQclear(result);
    }
    int rc = PQexitPipelineMode(self->connection);
    assert_int_equal(rc, 1);
}

static void
free_tick(tick_t *tick)
{
    tally_pgarray_t *arrays[] = {&tick->ids, &tick->leases, &tick->first, &tick->last,
                                 &tick->copied};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        tally_pgarray_free(arrays[i]);
    }
    for (size_t i = 0; i < tick->part_count; i++) {
        tally_pgarray_free(&tick->parts[i].tenants);
        tally_pgarray_free(&tick->parts[i].ids);
        tally_pgarray_free(&tick->parts[i].queues);
        tally_pgarray_free(&tick->parts[i].bodies);
    }
    free(tick->parts);
}

void
bench_floor_messages(const char *conninfo, const bench_floor_options_t *options,
                     bench_floor_t *result)
{
    struct floor self = {.options = options};
    prepare(&self, conninfo);
    make_tick(&self, &self.ticks[0]);
    int64_t started_us = tally_clock_now_us();
    int64_t until_us = started_us + (int64_t)(options->seconds * 1e6);
    int64_t now_us = started_us;
    size_t number = 0;
    for (; now_us < until_us; number++) {
        send_tick(&self, &self.ticks[number % 2],
                  number > 0 ? &self.ticks[(number + 1) % 2] : NULL);
        //  What the tick before deleted is not needed any more: its parameters are in libpq.
        make_tick(&self, &self.ticks[(number + 1) % 2]);
        take_answers(&self);
        now_us = tally_clock_now_us();
    }
    double seconds = (double)(now_us - started_us) / 1e6;
    *result = (bench_floor_t){.messages_per_s = (double)(number * options->messages) / seconds,
                              .commit_ms = seconds * 1000 / (double)number};
    PQfinish(self.connection);
    free_tick(&self.ticks[0]);
    free_tick(&self.ticks[1]);
    free(self.body);
}
