// SPDX-License-Identifier: MIT
//  floor_responses - raw responses as blobs and responses as rows; see floor.h.

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
#include "tests/bench/floor.h"

enum { INSERT_BLOBS, INSERT_RESPONSES, DELETE_BLOBS, STATEMENTS };

static const char *const statements[STATEMENTS] = {
    "insert into tally.blob (tenant, id, body) "
    "select 1, unnest($1::bigint[]), unnest($2::bytea[])",
    "insert into tally.response (tenant, survey, number, response_id, body) "
    "select 1, 1, unnest($1::bigint[]), unnest($3::text[]), unnest($2::bytea[])",
    "delete from tally.blob where ctid = any (array(select p.ctid from unnest($1::bigint[]) i (id) "
    "cross join lateral (select n.ctid from tally.blob n where n.tenant = 1 and n.id = i.id "
    "offset 0) p))",
};

typedef struct {
    tally_pgarray_t ids, bodies, names;
} tick_t;

static void
make_tick(tick_t *tick, const bench_floor_options_t *options, const uint8_t *body, int64_t *next_id)
{
    tally_pgarray_start(&tick->ids, TALLY_OID_INT8, options->messages);
    tally_pgarray_start(&tick->bodies, TALLY_OID_BYTEA, options->messages);
    tally_pgarray_start(&tick->names, TALLY_OID_TEXT, options->messages);
    for (size_t i = 0; i < options->messages; i++) {
        char name[24];
        int64_t id = (*next_id)++;
        snprintf(name, sizeof name, "r%lld", (long long)id);
        tally_pgarray_int8(&tick->ids, id);
        tally_pgarray_bytes(&tick->bodies, (tally_bytes_t){body, options->body_bytes});
        tally_pgarray_bytes(&tick->names, tally_bytes_of(name));
    }
}

static void
send(PGconn *connection, const char *sql, const tick_t *tick, int count)
{
    const tally_pgarray_t *arrays[] = {&tick->ids, &tick->bodies, &tick->names};
    static const Oid types[] = {1016, 1001, 1009};    // arrays of bigint, bytea, text
    static const int formats[] = {1, 1, 1};
    const char *values[3];
    int lengths[3];
    for (int i = 0; i < 3; i++) {
        values[i] = (const char *)arrays[i]->data;
        lengths[i] = (int)arrays[i]->size;
    }
    if (PQsendQueryParams(connection, sql, count, types, values, lengths, formats, 1) == 0) {
        fail_msg("floor: %s", PQerrorMessage(connection));
    }
}

static void
write_tick(PGconn *connection, const tick_t *tick, const tick_t *before)
{
    send(connection, "begin", tick, 0);
    send(connection, statements[INSERT_BLOBS], tick, 2);
    send(connection, statements[INSERT_RESPONSES], tick, 3);
    if (before != NULL) {
        send(connection, statements[DELETE_BLOBS], before, 1);
    }
    send(connection, "commit", tick, 0);
    int rc = PQpipelineSync(connection);
    assert_int_equal(rc, 1);
    rc = PQflush(connection);
    assert_int_equal(rc, 0);
}

static void
take_answers(PGconn *connection)
{
    ExecStatusType status = PGRES_COMMAND_OK;
    while (status != PGRES_PIPELINE_SYNC) {
        PGresult *result = PQgetResult(connection);
        status = result == NULL ? PGRES_COMMAND_OK : PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_PIPELINE_SYNC) {
            fail_msg("floor: %s", PQerrorMessage(connection));
        }
        PQclear(result);
    }
}

static PGconn *
open_connection(const char *conninfo)
{
    PGconn *connection = PQconnectdb(conninfo);
    PGresult *emptied = PQexec(connection, "truncate tally.blob, tally.response");
    PGresult *set = PQexec(connection, tally_tick_session_sql);
    if (PQresultStatus(emptied) != PGRES_COMMAND_OK || PQresultStatus(set) != PGRES_TUPLES_OK
        || PQenterPipelineMode(connection) == 0) {
        fail_msg("floor: %s", PQerrorMessage(connection));
    }
    PQclear(emptied);
    PQclear(set);
    return connection;
}

void
bench_floor_responses(const char *conninfo, const bench_floor_options_t *options,
                      bench_floor_t *result)
{
    PGconn *connection = open_connection(conninfo);
    uint8_t *body = tally_alloc(options->body_bytes);
    tick_t ticks[2] = {0};
    int64_t next_id = 1;
    make_tick(&ticks[0], options, body, &next_id);
    int64_t started_us = tally_clock_now_us();
    int64_t until_us = started_us + (int64_t)(options->seconds * 1e6);
    int64_t now_us = started_us;
    size_t number = 0;
    for (; now_us < until_us; number++) {
        tick_t *next = &ticks[(number + 1) % 2];
        write_tick(connection, &ticks[number % 2], number > 0 ? next : NULL);
        make_tick(next, options, body, &next_id);
        take_answers(connection);
        now_us = tally_clock_now_us();
    }
    double seconds = (double)(now_us - started_us) / 1e6;
    *result = (bench_floor_t){.messages_per_s = (double)(number * options->messages) / seconds,
                              .commit_ms = seconds * 1000 / (double)number};
    PQfinish(connection);
    for (size_t i = 0; i < 2; i++) {
        tally_pgarray_free(&ticks[i].ids);
        tally_pgarray_free(&ticks[i].bodies);
        tally_pgarray_free(&ticks[i].names);
    }
    free(body);
}
