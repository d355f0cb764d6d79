// SPDX-License-Identifier: MIT
#include "workers/export_store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/failpoint.h"

static tally_export_answer_t
answer_of(const tally_db_t *db, tally_db_outcome_t outcome)
{
    switch (outcome) {
    case TALLY_DB_DONE:
        return TALLY_EXPORT_OK;
    case TALLY_DB_REJECT:
        return strcmp(tally_db_sqlstate(db), "TY001") == 0 ? TALLY_EXPORT_STALE
                                                           : TALLY_EXPORT_FAULT;
    case TALLY_DB_RETRY:
    case TALLY_DB_UNKNOWN:
        break;
    }
    return TALLY_EXPORT_AWAY;
}

//  Runs a statement and frees its parameters.
static tally_export_answer_t
run(tally_db_t *db, const char *sql, tally_params_t *params, tally_rows_t *rows)
{
    tally_db_outcome_t outcome = tally_db_run(db, sql, params, rows);
    tally_params_free(params);
    return answer_of(db, outcome);
}

//  As run() in a transaction, which it ends when the statement fails.
static tally_export_answer_t
run_inside(tally_db_t *db, const char *sql, tally_params_t *params, tally_rows_t *rows)
{
    tally_export_answer_t answer = run(db, sql, params, rows);
    if (answer != TALLY_EXPORT_OK) {
        tally_db_rollback(db);
    }
    return answer;
}

static void
add_text(tally_params_t *params, const char *text)
{
    if (text == NULL) {
        tally_params_null(params, 25);
    } else {
        tally_params_text(params, tally_bytes_of(text));
    }
}

//  $1 tenant, $2 id
static void
add_key(tally_params_t *params, const tally_export_key_t *key)
{
    add_text(params, key->tenant);
    tally_params_int8(params, (int64_t)key->id);
}

//  ---- before the first row ----------------------------------------------------------------------

tally_export_answer_t
tally_export_store_policy(tally_db_t *db, tally_export_policy_t *policy)
{
    tally_rows_t rows;
    tally_params_t params = {0};
    tally_export_answer_t answer =
        run(db, "select visibility_ms, failures_max from tally.queue where name = 'export'",
            &params, &rows);
    if (answer == TALLY_EXPORT_OK) {
        if (rows.rows == 0) {
            return TALLY_EXPORT_STALE;    // a lease of a queue that is gone
        }
        policy->visible_ms = tally_rows_int8(&rows, 0, 0);
        policy->failures_max = tally_rows_int8(&rows, 0, 1);
    }
    return answer;
}

tally_export_answer_t
tally_export_store_settled(tally_db_t *db, const tally_export_key_t *key, bool *settled)
{
    //  Ids grow in the order of acceptance.  One that was sent to be worked later is not waited
    //  for.
    static const char sql[] =
        "select not exists (select from tally.message m join tally.queue q on q.id = m.queue"
        "  where m.tenant = (select t.id from tally.tenant t where t.name = $1) and m.id < $2"
        "    and q.name in ('responses', 'survey')"
        "    and (m.due is null or m.due <= clock_timestamp() or m.deliveries > 0))";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK) {
        *settled = tally_rows_bool(&rows, 0, 0);
    }
    return answer;
}

tally_export_answer_t
tally_export_store_survey(tally_db_t *db, const tally_export_key_t *key, const char *survey,
                          int64_t *number)
{
    static const char sql[] =
        "select s.id from tally.survey s"
        " where s.tenant = (select t.id from tally.tenant t where t.name = $1) and s.slug = $2";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_text(&params, key->tenant);
    add_text(&params, survey);
    *number = 0;
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK && rows.rows == 1) {
        *number = tally_rows_int8(&rows, 0, 0);
    }
    return answer;
}

//  ---- the row -----------------------------------------------------------------------------------

//  Late or not: the lease's row, kept until the statement ends.
#define HELD "held as (select h.id from tally.hold_lease($3::bigint, $2::bigint) h (id))"

static tally_export_answer_t
insert_row(tally_db_t *db, const tally_export_key_t *key, const char *survey, const char *format,
           const char *target)
{
    static const char sql[] =
        "with " HELD
        " insert into tally.export (tenant, id, survey, format, target, state, requested_at,"
        "                           definition, until_number, rows_total)"
        //  The tenant's last number, found at once; the survey's own would have to be looked for.
        " select m.tenant, m.id, $4, $5, $6, 'running', m.created_at, s.definition,"
        "        coalesce((select max(r.number) from tally.response r where r.tenant = m.tenant), "
        "0),"
        "        (select count(*) from tally.response r where r.tenant = m.tenant and r.survey = "
        "s.id)"
        " from held, tally.message m join tally.survey s on s.tenant = m.tenant and s.slug = $4"
        " where m.tenant = (select t.id from tally.tenant t where t.name = $1) and m.id = $2"
        " on conflict (tenant, id) do nothing";
    tally_params_t params = {0};
    add_key(&params, key);
    tally_params_int8(&params, (int64_t)key->lease);
    add_text(&params, survey);
    add_text(&params, format);
    add_text(&params, target);
    return run(db, sql, &params, NULL);
}

//  A row that failed is from before an operator gave the message another chance; one without a
//  definition was made to tell why it could not begin.
static tally_export_answer_t
forget_row(tally_db_t *db, const tally_export_key_t *key)
{
    static const char sql[] =
        "with " HELD " delete from tally.export e using held"
        " where e.tenant = (select t.id from tally.tenant t where t.name = $1) and e.id = $2"
        "   and (e.state = 'failed' or (e.state = 'running' and e.definition is null))";
    tally_params_t params = {0};
    add_key(&params, key);
    tally_params_int8(&params, (int64_t)key->lease);
    return run(db, sql, &params, NULL);
}

//  *there: it is, and was begun.
static tally_export_answer_t
read_row(tally_db_t *db, const tally_export_key_t *key, tally_export_row_t *row,
         tally_wire_t *definition, bool *there)
{
    static const char sql[] =
        "select e.state, e.rows_done, e.rows_total, e.last_number, e.until_number, e.file_bytes,"
        "       e.part, e.definition"
        " from tally.export e"
        " where e.tenant = (select t.id from tally.tenant t where t.name = $1) and e.id = $2";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    tally_bytes_t state = rows.rows == 0 ? tally_bytes_of("failed") : tally_rows_bytes(&rows, 0, 0);
    if (tally_bytes_equal(state, tally_bytes_of("cancelled"))) {
        return TALLY_EXPORT_CANCELLED;
    }
    if (tally_bytes_equal(state, tally_bytes_of("done"))) {
        return TALLY_EXPORT_STALE;    // by another lease, whose settle made an end of this one
    }
    *there = tally_bytes_equal(state, tally_bytes_of("running")) && !tally_rows_null(&rows, 0, 7);
    if (!*there) {
        return TALLY_EXPORT_OK;
    }
    row->rows_done = tally_rows_int8(&rows, 0, 1);
    row->rows_total = tally_rows_int8(&rows, 0, 2);
    row->last_number = tally_rows_int8(&rows, 0, 3);
    row->until_number = tally_rows_int8(&rows, 0, 4);
    row->file_bytes = (uint64_t)tally_rows_int8(&rows, 0, 5);
    row->part = (uint64_t)tally_rows_int8(&rows, 0, 6);
    tally_wire_reset(definition);
    tally_wire_put_raw(definition, tally_rows_bytes(&rows, 0, 7));
    return TALLY_EXPORT_OK;
}

tally_export_answer_t
tally_export_store_open(tally_db_t *db, const tally_export_key_t *key, const char *survey,
                        const char *format, const char *target, tally_export_row_t *row,
                        tally_wire_t *definition)
{
    bool there = false;
    tally_export_answer_t answer = read_row(db, key, row, definition, &there);
    if (answer != TALLY_EXPORT_OK || there) {
        return answer;
    }
    answer = forget_row(db, key);
    if (answer == TALLY_EXPORT_OK) {
        answer = insert_row(db, key, survey, format, target);
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = read_row(db, key, row, definition, &there);
    }
    //  When nothing was inserted the lease is not ours.
    return answer == TALLY_EXPORT_OK && !there ? TALLY_EXPORT_STALE : answer;
}

tally_export_answer_t
tally_export_store_horizon(tally_db_t *db, const tally_export_key_t *key, int64_t after,
                           int64_t until, int64_t *horizon)
{
    static const char sql[] =
        "select coalesce(max(p.number) filter (where p.place = 50000), $3)"
        " from (select r.number, row_number() over (order by r.number) as place"
        "       from tally.response r"
        "       where r.tenant = (select t.id from tally.tenant t where t.name = $1)"
        "         and r.number > $2 and r.number <= $3 order by r.number limit 50000) p";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_text(&params, key->tenant);
    tally_params_int8(&params, after);
    tally_params_int8(&params, until);
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK) {
        *horizon = tally_rows_int8(&rows, 0, 0);
    }
    return answer;
}

tally_export_answer_t
tally_export_store_page(tally_db_t *db, const tally_export_key_t *key, int64_t survey,
                        int64_t after, int64_t until, tally_rows_t *rows)
{
    //  One short statement a page: no snapshot is held while an export runs.  At least one row,
    //  whatever its size.
    static const char sql[] =
        "select q.number, q.body from ("
        "  select p.number, p.body,"
        "         sum(octet_length(p.body)) over (order by p.number) - octet_length(p.body) as "
        "before"
        "  from (select r.number, r.body from tally.response r"
        "        where r.tenant = (select t.id from tally.tenant t where t.name = $1)"
        "          and r.survey = $2::int8::int4 and r.number > $3 and r.number <= $4"
        "        order by r.number limit 2000) p) q"
        " where q.before < 4194304 order by q.number";
    tally_params_t params = {0};
    add_text(&params, key->tenant);
    tally_params_int8(&params, survey);
    tally_params_int8(&params, after);
    tally_params_int8(&params, until);
    return run(db, sql, &params, rows);
}

tally_export_answer_t
tally_export_store_checkpoint(tally_db_t *db, const tally_export_key_t *key,
                              const tally_export_row_t *row)
{
    static const char sql[] =
        "with " HELD ", moved as ("
        "  update tally.export e set rows_done = $4, last_number = $5, file_bytes = $6, part = $7,"
        "         rows_total = greatest(e.rows_total, $4), error = null"
        "  from held"
        "  where e.tenant = (select t.id from tally.tenant t where t.name = $1) and e.id = $2"
        "    and e.state = 'running' returning e.id)"
        " select (select count(*) from held), (select count(*) from moved)";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    tally_params_int8(&params, (int64_t)key->lease);
    tally_params_int8(&params, row->rows_done);
    tally_params_int8(&params, row->last_number);
    tally_params_int8(&params, (int64_t)row->file_bytes);
    if (row->part == 0) {
        tally_params_null(&params, 20);
    } else {
        tally_params_int8(&params, (int64_t)row->part);
    }
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    if (tally_rows_int8(&rows, 0, 0) == 0) {
        return TALLY_EXPORT_STALE;
    }
    return tally_rows_int8(&rows, 0, 1) == 0 ? TALLY_EXPORT_CANCELLED : TALLY_EXPORT_OK;
}

//  ---- the end -----------------------------------------------------------------------------------

static tally_export_answer_t
settle(tally_db_t *db, const tally_export_key_t *key, const char *result)
{
    static const char sql[] = "select tally.settle($1, array[$2], array[$3])";
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)key->lease);
    tally_params_int8(&params, (int64_t)key->id);
    tally_params_bytea(&params, tally_bytes_of(result));
    return run_inside(db, sql, &params, NULL);
}

static tally_export_answer_t
begin(tally_db_t *db)
{
    tally_export_answer_t answer = answer_of(db, tally_db_begin(db, TALLY_DB_READ_COMMITTED));
    if (answer != TALLY_EXPORT_OK) {
        tally_db_rollback(db);
    }
    return answer;
}

//  One that fails before it ran has no row yet.
static tally_export_answer_t
write_failed(tally_db_t *db, const tally_export_key_t *key, const tally_export_outcome_t *outcome)
{
    static const char sql[] =
        "insert into tally.export as e (tenant, id, survey, format, target, state, error,"
        "                               requested_at, finished_at)"
        " select m.tenant, m.id, $3, $4, '', 'failed', $5, m.created_at, clock_timestamp()"
        " from tally.message m"
        " where m.tenant = (select t.id from tally.tenant t where t.name = $1) and m.id = $2"
        " on conflict (tenant, id) do update"
        " set state = 'failed', error = excluded.error, finished_at = excluded.finished_at"
        " where e.state in ('running', 'failed') returning e.id";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    add_text(&params, outcome->survey);
    add_text(&params, outcome->format);
    add_text(&params, outcome->error);
    tally_export_answer_t answer = run_inside(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK && rows.rows == 0) {
        tally_db_rollback(db);
        return TALLY_EXPORT_CANCELLED;
    }
    return answer;
}

static tally_export_answer_t
write_done(tally_db_t *db, const tally_export_key_t *key, const tally_export_outcome_t *outcome)
{
    static const char sql[] =
        "update tally.export e"
        " set state = 'done', rows_done = $3, rows_total = $3, last_number = e.until_number,"
        "     file_bytes = $4, part = null, definition = null, sha256 = $5, error = null,"
        "     finished_at = clock_timestamp()"
        " where e.tenant = (select t.id from tally.tenant t where t.name = $1) and e.id = $2"
        "   and e.state = 'running' returning e.id";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    tally_params_int8(&params, outcome->rows);
    tally_params_int8(&params, (int64_t)outcome->bytes);
    add_text(&params, outcome->sha256);
    tally_export_answer_t answer = run_inside(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK && rows.rows == 0) {
        tally_db_rollback(db);
        return TALLY_EXPORT_CANCELLED;
    }
    return answer;
}

tally_export_answer_t
tally_export_store_end(tally_db_t *db, const tally_export_key_t *key,
                       const tally_export_outcome_t *outcome)
{
    tally_export_answer_t answer = begin(db);
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    //  The row first: afterwards its message is gone.
    answer = outcome->error == NULL ? write_done(db, key, outcome) : write_failed(db, key, outcome);
    if (answer == TALLY_EXPORT_OK) {
        answer = settle(db, key, outcome->result);
    }
    return answer;
}

tally_export_answer_t
tally_export_store_end_cancelled(tally_db_t *db, const tally_export_key_t *key, const char *result)
{
    tally_export_answer_t answer = begin(db);
    return answer == TALLY_EXPORT_OK ? settle(db, key, result) : answer;
}

tally_export_answer_t
tally_export_store_commit(tally_db_t *db)
{
    TALLY_FAILPOINT(WORK_COMMIT);
    tally_export_answer_t answer = answer_of(db, tally_db_commit(db));
    TALLY_FAILPOINT(WORK_COMMITTED);
    if (answer != TALLY_EXPORT_OK) {
        tally_db_rollback(db);
    }
    return answer;
}

tally_export_answer_t
tally_export_store_is_done(tally_db_t *db, const tally_export_key_t *key, bool *done)
{
    static const char sql[] =
        "select exists (select from tally.export e where e.state = 'done' and e.id = $2"
        "  and e.tenant = (select t.id from tally.tenant t where t.name = $1))";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    *done = answer == TALLY_EXPORT_OK && tally_rows_bool(&rows, 0, 0);
    return answer;
}

tally_export_answer_t
tally_export_store_blame(tally_db_t *db, const tally_export_key_t *key,
                         const tally_export_outcome_t *outcome, bool last)
{
    static const char sql[] =
        "with " HELD
        " insert into tally.export as e (tenant, id, survey, format, target, state, error,"
        "                                requested_at, finished_at)"
        " select m.tenant, m.id, $4, $5, '', case when $7 then 'failed' else 'running' end, $6,"
        "        m.created_at, case when $7 then clock_timestamp() end"
        " from held, tally.message m"
        " where m.tenant = (select t.id from tally.tenant t where t.name = $1) and m.id = $2"
        " on conflict (tenant, id) do update"
        " set state = excluded.state, error = excluded.error, finished_at = excluded.finished_at"
        " where e.state = 'running'";
    assert(outcome->error != NULL);
    tally_params_t params = {0};
    add_key(&params, key);
    tally_params_int8(&params, (int64_t)key->lease);
    add_text(&params, outcome->survey);
    add_text(&params, outcome->format);
    add_text(&params, outcome->error);
    tally_params_bool(&params, last);
    return run(db, sql, &params, NULL);
}

//  ---- for people --------------------------------------------------------------------------------

tally_export_answer_t
tally_export_store_list(tally_db_t *db, const char *tenant, char **json)
{
#define AT(column)                                                                                 \
    "'" column "', to_char(e." column " at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
    static const char sql[] =
        "select coalesce(json_agg(json_build_object("
        "  'id', e.id::text, 'survey', e.survey, 'format', e.format, 'target', e.target,"
        "  'state', e.state, 'rows_done', e.rows_done, 'rows_total', e.rows_total, 'bytes', "
        "e.bytes,"
        "  'sha256', e.sha256, 'error', e.error, " AT("requested_at") ", " AT("started_at") ", " AT(
            "finished_at") ") order by e.id desc), '[]')::text"
                           " from (select * from tally.exports where tenant = $1 order by id desc "
                           "limit 1000) e";
#undef AT
    tally_params_t params = {0};
    tally_rows_t rows;
    add_text(&params, tenant);
    *json = NULL;
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK) {
        tally_bytes_t text = tally_rows_bytes(&rows, 0, 0);
        *json = tally_strndup(text.data, text.size);
    }
    return answer;
}

#define NEWS                                                                                       \
    "json_build_object('tenant', (select t.name from tally.tenant t where t.id = e.tenant), "      \
    "'export', e.id::text, 'survey', e.survey, 'format', e.format,"                                \
    " 'state', e.state, 'rows_done', e.rows_done, 'rows_total', e.rows_total)::text"

//  Runs one of the statements below; a row means that it cancelled.
static tally_export_answer_t
try_cancel(tally_db_t *db, const char *sql, const tally_export_key_t *key,
           tally_export_cancel_t *cancel)
{
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK && rows.rows == 1) {
        tally_bytes_t news = tally_rows_bytes(&rows, 0, 0);
        cancel->changed = true;
        cancel->news = tally_strndup(news.data, news.size);
        snprintf(cancel->state, sizeof cancel->state, "cancelled");
    }
    return answer;
}

static tally_export_answer_t
read_state(tally_db_t *db, const tally_export_key_t *key, tally_export_cancel_t *cancel)
{
    static const char sql[] =
        "select e.state from tally.exports e where e.tenant = $1 and e.id = $2";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_key(&params, key);
    tally_export_answer_t answer = run(db, sql, &params, &rows);
    if (answer == TALLY_EXPORT_OK && rows.rows == 1) {
        tally_bytes_t state = tally_rows_bytes(&rows, 0, 0);
        snprintf(cancel->state, sizeof cancel->state, "%.*s", (int)state.size,
                 (const char *)state.data);
    }
    return answer;
}

tally_export_answer_t
tally_export_store_cancel(tally_db_t *db, const char *tenant, uint64_t id,
                          tally_export_cancel_t *cancel)
{
    //  One that a worker has taken up sees it at its next checkpoint...
    static const char taken_up[] =
        "update tally.export e set state = 'cancelled', error = null, finished_at = "
        "clock_timestamp()"
        " where e.tenant = (select t.id from tally.tenant t where t.name = $1) and e.id = $2"
        "   and e.state in ('running', 'failed')"
        "   and exists (select from tally.message m where m.tenant = e.tenant and m.id = e.id)"
        " returning " NEWS;
    //  ... one that waits ends when its message comes.
    static const char waiting[] =
        "insert into tally.export as e (tenant, id, survey, format, target, state, requested_at,"
        "                               finished_at)"
        " select m.tenant, m.id, b.body ->> 'survey', b.body ->> 'format', '', 'cancelled',"
        "        m.created_at, clock_timestamp()"
        " from tally.message m, lateral (select tally.json_or_null(m.body) as body) b"
        " where m.tenant = (select t.id from tally.tenant t where t.name = $1) and m.id = $2"
        "   and m.queue = (select q.id from tally.queue q where q.name = 'export')"
        "   and b.body ->> 'format' in ('table', 'csv', 'ndjson') and b.body ->> 'survey' is not "
        "null"
        " on conflict (tenant, id) do nothing returning " NEWS;
    *cancel = (tally_export_cancel_t){.changed = false};
    tally_export_key_t key = {.tenant = tenant, .id = id};
    tally_export_answer_t answer = try_cancel(db, taken_up, &key, cancel);
    if (answer == TALLY_EXPORT_OK && !cancel->changed) {
        answer = try_cancel(db, waiting, &key, cancel);
    }
    //  Taken up just between the two.
    if (answer == TALLY_EXPORT_OK && !cancel->changed) {
        answer = try_cancel(db, taken_up, &key, cancel);
    }
    if (answer == TALLY_EXPORT_OK && !cancel->changed) {
        answer = read_state(db, &key, cancel);
    }
    return answer;
}
