// SPDX-License-Identifier: MIT
#include "tests/faults/effect_store.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

static tally_db_outcome_t
run(tally_db_t *db, const char *sql, tally_params_t *params, tally_rows_t *rows)
{
    tally_db_outcome_t outcome = tally_db_run(db, sql, params, rows);
    tally_params_free(params);
    return outcome;
}

tally_db_outcome_t
tally_effects_hold_term(tally_db_t *db, const char *queue, const char *tenant, uint64_t epoch)
{
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(queue));
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int8(&params, (int64_t)epoch);
    return run(db, "select tally.hold_term($1, $2, $3)", &params, NULL);
}

//  One array a column.
typedef struct {
    int64_t *items;
    size_t count;
} column_t;

static void
add_column(tally_params_t *params, column_t *column, const tally_history_record_t *records,
           int64_t (*of)(const tally_history_record_t *record))
{
    for (size_t i = 0; i < column->count; i++) {
        column->items[i] = of(&records[i]);
    }
    tally_params_int8s(params, column->items, column->count);
}

static int64_t
number_of(const tally_history_record_t *record)
{
    return (int64_t)record->number;
}

static int64_t
id_of(const tally_history_record_t *record)
{
    return (int64_t)record->id;
}

static int64_t
key_of(const tally_history_record_t *record)
{
    return record->key;
}

tally_db_outcome_t
tally_effects_insert(tally_db_t *db, const tally_history_record_t *records, size_t count,
                     uint32_t process)
{
    static const char sql[] =
        "insert into faults.effect (number, id, lease, epoch, tenant, queue, key, process)"
        " select e.number, e.id, $4, $5, $6, $7, e.key, $8"
        " from unnest($1, $2, $3) with ordinality e (number, id, key, at) order by e.at";
    assert(count > 0);
    tally_params_t params = {0};
    column_t column = {tally_alloc_array(count, sizeof(int64_t)), count};
    add_column(&params, &column, records, number_of);
    add_column(&params, &column, records, id_of);
    add_column(&params, &column, records, key_of);
    free(column.items);
    tally_params_int8(&params, (int64_t)records[0].lease);
    tally_params_int8(&params, (int64_t)records[0].epoch);
    tally_params_int4(&params, records[0].tenant);
    tally_params_int4(&params, records[0].queue);
    tally_params_int4(&params, (int32_t)process);
    return run(db, sql, &params, NULL);
}

tally_db_outcome_t
tally_effects_send(tally_db_t *db, const char *queue, const char *tenant,
                   const tally_bytes_t *bodies, size_t count)
{
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(queue));
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_byteas(&params, bodies, count);
    return run(db, "select tally.send_bytes($1, $2, b.body) from unnest($3) b (body)", &params,
               NULL);
}

tally_db_outcome_t
tally_effects_settle(tally_db_t *db, uint64_t lease, const tally_history_record_t *records,
                     size_t count)
{
    tally_params_t params = {0};
    column_t column = {tally_alloc_array(count, sizeof(int64_t)), count};
    tally_bytes_t *results = tally_alloc_array(count, sizeof *results);
    for (size_t i = 0; i < count; i++) {
        results[i] = (tally_bytes_t){&records[i].number, sizeof records[i].number};
    }
    tally_params_int8(&params, (int64_t)lease);
    add_column(&params, &column, records, id_of);
    tally_params_byteas(&params, results, count);
    free(column.items);
    free(results);
    return run(db, "select tally.settle($1, $2, $3)", &params, NULL);
}

int64_t
tally_effects_pending(tally_db_t *db)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_connect(db);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_run(db,
                               "with pings as (select id from tally.queue where name = 'heartbeat')"
                               " select (select count(*) from tally.message"
                               "         where queue <> (select id from pings))"
                               " + (select count(*) from tally.inbox)"
                               " + (select count(*) from tally.lease)",
                               NULL, &rows);
    }
    if (outcome != TALLY_DB_DONE) {
        tally_db_rollback(db);    // drops what is broken
        return -1;
    }
    return tally_rows_int8(&rows, 0, 0);
}

pid_t
tally_effects_backend(tally_db_t *db, const char *application)
{
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_connect(db);
    if (outcome != TALLY_DB_DONE) {
        return 0;
    }
    tally_params_text(&params, tally_bytes_of(application));
    outcome = run(db,
                  "select pid from pg_stat_activity where application_name = $1"
                  " order by backend_start desc limit 1",
                  &params, &rows);
    if (outcome != TALLY_DB_DONE) {
        tally_db_rollback(db);
        return 0;
    }
    return rows.rows == 1 ? (pid_t)tally_rows_int8(&rows, 0, 0) : 0;
}
