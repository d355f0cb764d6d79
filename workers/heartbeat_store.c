// SPDX-License-Identifier: MIT
#include "workers/heartbeat_store.h"

#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/failpoint.h"

static tally_db_outcome_t
run(tally_db_t *db, const char *sql, tally_params_t *params, tally_rows_t *rows)
{
    tally_db_outcome_t outcome = tally_db_run(db, sql, params, rows);
    tally_params_free(params);
    return outcome;
}

//  One array a column.
static void
add_pings(tally_params_t *params, const tally_ping_t *pings, size_t count)
{
    tally_bytes_t *texts = tally_alloc_array(count, sizeof *texts);
    int64_t *numbers = tally_alloc_array(count, sizeof *numbers);
    for (size_t i = 0; i < count; i++) {
        texts[i] = tally_bytes_of(pings[i].name);
    }
    tally_params_texts(params, texts, count);
    for (size_t i = 0; i < count; i++) {
        texts[i] = tally_bytes_of(pings[i].role);
    }
    tally_params_texts(params, texts, count);
    for (size_t i = 0; i < count; i++) {
        texts[i] = tally_bytes_of(pings[i].host);
    }
    tally_params_texts(params, texts, count);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = pings[i].pid;
    }
    tally_params_int8s(params, numbers, count);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = pings[i].started_at_us;
    }
    tally_params_int8s(params, numbers, count);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = pings[i].at_us;
    }
    tally_params_int8s(params, numbers, count);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = pings[i].stopped ? 1 : 0;
    }
    tally_params_int8s(params, numbers, count);
    free(texts);
    free(numbers);
}

//  The latest of each worker; in the order of names, so that two heartbeat workers never wait for
//  each other.
static tally_db_outcome_t
write_pings(tally_db_t *db, const tally_ping_t *pings, size_t count)
{
    static const char sql[] =
        "insert into tally.worker as w (name, role, host, pid, started_at, pinged_at, stopped)"
        " select distinct on (p.name) p.name, p.role, p.host, p.pid::integer,"
        "        timestamptz 'epoch' + p.started_us * interval '1 microsecond',"
        "        least(timestamptz 'epoch' + p.at_us * interval '1 microsecond', "
        "clock_timestamp()),"
        "        p.stopped = 1"
        " from unnest($1, $2, $3, $4, $5, $6, $7)"
        "      p (name, role, host, pid, started_us, at_us, stopped)"
        " order by p.name, p.at_us desc, p.stopped desc"
        " on conflict (name) do update"
        " set role = excluded.role, host = excluded.host, pid = excluded.pid,"
        "     started_at = excluded.started_at, pinged_at = excluded.pinged_at,"
        "     stopped = excluded.stopped, silent = w.silent and not excluded.stopped"
        " where excluded.pinged_at > w.pinged_at";
    tally_params_t params = {0};
    add_pings(&params, pings, count);
    return run(db, sql, &params, NULL);
}

static tally_db_outcome_t
settle(tally_db_t *db, uint64_t lease, const uint64_t *messages, size_t count)
{
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)lease);
    tally_params_int8s(&params, (const int64_t *)messages, count);
    return run(db, "select tally.settle($1, $2)", &params, NULL);
}

tally_db_outcome_t
tally_heartbeat_store_pings(tally_db_t *db, uint64_t lease, const uint64_t *messages,
                            const tally_ping_t *pings, size_t count)
{
    tally_db_outcome_t outcome = tally_db_begin(db, TALLY_DB_READ_COMMITTED);
    if (outcome == TALLY_DB_DONE) {
        outcome = write_pings(db, pings, count);
    }
    if (outcome == TALLY_DB_DONE) {
        outcome = settle(db, lease, messages, count);
    }
    if (outcome == TALLY_DB_DONE) {
        TALLY_FAILPOINT(WORK_COMMIT);
        outcome = tally_db_commit(db);
        TALLY_FAILPOINT(WORK_COMMITTED);
    }
    if (outcome != TALLY_DB_DONE) {
        tally_db_rollback(db);
    }
    return outcome;
}

tally_db_outcome_t
tally_heartbeat_store_flows(tally_db_t *db, int64_t within_ms, bool *flowing)
{
    static const char sql[] =
        "select exists (select from tally.worker w"
        "               where w.pinged_at > clock_timestamp() - $1 * interval '1 millisecond')"
        "   and not exists (select from tally.message m join tally.queue q on q.id = m.queue"
        "                   where m.tenant = (select t.id from tally.tenant t where t.name = "
        "'tally')"
        "                     and q.name = 'heartbeat'"
        "                     and m.created_at < clock_timestamp() - interval '5 seconds')";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_int8(&params, within_ms);
    *flowing = false;
    tally_db_outcome_t outcome = run(db, sql, &params, &rows);
    if (outcome == TALLY_DB_DONE) {
        *flowing = tally_rows_bool(&rows, 0, 0);
    }
    return outcome;
}

#define WHO                                                                                        \
    " returning w.name, w.role, w.host,"                                                           \
    " to_char(w.pinged_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

static tally_db_outcome_t
run_with_limit(tally_db_t *db, const char *sql, int64_t silent_ms, tally_rows_t *rows)
{
    tally_params_t params = {0};
    tally_params_int8(&params, silent_ms);
    return run(db, sql, &params, rows);
}

tally_db_outcome_t
tally_heartbeat_store_silent(tally_db_t *db, int64_t silent_ms, tally_rows_t *rows)
{
    static const char sql[] =
        "update tally.worker w set silent = true where not w.silent and not w.stopped"
        " and w.pinged_at < clock_timestamp() - $1 * interval '1 millisecond'" WHO;
    return run_with_limit(db, sql, silent_ms, rows);
}

tally_db_outcome_t
tally_heartbeat_store_back(tally_db_t *db, int64_t silent_ms, tally_rows_t *rows)
{
    static const char sql[] =
        "update tally.worker w set silent = false where w.silent"
        " and w.pinged_at >= clock_timestamp() - $1 * interval '1 millisecond'" WHO;
    return run_with_limit(db, sql, silent_ms, rows);
}

tally_db_outcome_t
tally_heartbeat_store_forget(tally_db_t *db, int64_t silent_ms, tally_rows_t *rows)
{
    static const char sql[] =
        "delete from tally.worker w"
        " where w.pinged_at < clock_timestamp() - $1 * interval '1 millisecond' returning w.name";
    return run_with_limit(db, sql, silent_ms, rows);
}
