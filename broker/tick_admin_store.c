// SPDX-License-Identifier: MIT
//  tick_admin_store - statements of a tick for what operators change, and for housekeeping.  Rare; otherwise as
//  tick_statements_store.c.

#include "broker/row_decode.h"
#include "broker/tick_columns.h"

static bool
queues_wanted(const tally_plan_t *plan)
{
    return plan->queues.count > 0;
}

static void
queues_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    TEXT(&plan->queues, tally_bytes_of(e->name));
    INT4(&plan->queues, e->visibility_ms);
    INT4(&plan->queues, e->failures_max);
    INT4(&plan->queues, e->crashes_max);
    INT4(&plan->queues, e->retry_ms);
    INT4(&plan->queues, e->retry_ms_max);
    INT4(&plan->queues, e->batch_max);
    INT8(&plan->queues, e->window_ms);
    INT4(&plan->queues, e->window_count);
    BOOL(&plan->queues, e->exclusive);
    BOOL(&plan->queues, e->keep_blobs);
    INT8(&plan->queues, e->result_kept_ms);
    INT8(&plan->queues, e->dedupe_kept_ms);
}

static void
queues_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_row_decode_queue(&rows, i, TALLY_PUSH(&result->queues));
    }
}

#define POLICY                                                                                     \
    "name, visibility_ms, failures_max, crashes_max, retry_ms, retry_ms_max, batch_max, "          \
    "window_ms, "                                                                                  \
    "window_count, exclusive, keep_blobs, result_kept_ms, dedupe_kept_ms"

//  distinct on: the last of two changes of one queue in a tick counts; ON CONFLICT would fail on the second.
static const char queues_sql[] =
    "insert into tally.queue as q (" POLICY ") "
    "select " POLICY
    " from (select distinct on (u.name) u.* from unnest($1::text[], $2::integer[], $3::integer[], "
    "$4::integer[], $5::integer[], $6::integer[], $7::integer[], $8::bigint[], $9::integer[], "
    "$10::boolean[], "
    "$11::boolean[], $12::bigint[], $13::bigint[]) with ordinality u (" POLICY ", position) "
    "order by u.name, u.position desc) u "
    "on conflict (name) do update set (visibility_ms, failures_max, crashes_max, retry_ms, "
    "retry_ms_max, batch_max, "
    "window_ms, window_count, exclusive, keep_blobs, result_kept_ms, dedupe_kept_ms) = "
    "(excluded.visibility_ms, excluded.failures_max, excluded.crashes_max, excluded.retry_ms, "
    "excluded.retry_ms_max, "
    "excluded.batch_max, excluded.window_ms, excluded.window_count, excluded.exclusive, "
    "excluded.keep_blobs, "
    "excluded.result_kept_ms, excluded.dedupe_kept_ms) returning " TALLY_QUEUE_COLUMNS;

static bool
tenant_limits_wanted(const tally_plan_t *plan)
{
    return plan->tenant_limits.count > 0;
}

static void
tenant_limits_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT4(&plan->tenant_limits, e->id);
    INT4(&plan->tenant_limits, e->weight);
    INT8(&plan->tenant_limits, e->messages_max);
    INT8(&plan->tenant_limits, e->bytes_max);
    INT8(&plan->tenant_limits, e->leased_max);
    INT4(&plan->tenant_limits, e->connections_max);
    INT4(&plan->tenant_limits, e->requests_max);
}

#define LIMITS "weight, messages_max, bytes_max, leased_max, connections_max, requests_max"

static const char tenant_limits_sql[] =
    "update tally.tenant t set (" LIMITS ") = (u.weight, u.messages_max, u.bytes_max, "
    "u.leased_max, u.connections_max, u.requests_max) from (select distinct on (u.id) u.* "
    "from unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], "
    "$6::integer[], $7::integer[]) with ordinality u (id, " LIMITS ", position) "
    "order by u.id, u.position desc) u where t.id = u.id";

static bool
retried_wanted(const tally_plan_t *plan)
{
    return plan->retried.count > 0;
}

static void
retried_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT4(&plan->retried, e->tenant);
    INT8(&plan->retried, e->message);
}

static void
retried_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_row_decode_message_at(&rows, i, TALLY_PUSH(&result->retried));
    }
}

static const char retried_sql[] =
    "with dug as (delete from tally.dead_letter d using unnest($1::integer[], $2::bigint[]) u "
    "(tenant, id) "
    "where d.tenant = u.tenant and d.id = u.id returning d.*) "
    "insert into tally.message as m (tenant, id, queue, priority, is_blob, past_window, "
    "created_at, body, key, sender, "
    "sequence, item, history) "
    "select tenant, id, queue, priority, is_blob, true, created_at, body, key, sender, sequence, "
    "item, "
    "history || 'retried by operator'::text from dug returning " TALLY_MESSAGE_COLUMNS;

static bool
dropped_wanted(const tally_plan_t *plan)
{
    return plan->dropped.count > 0;
}

static void
dropped_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT4(&plan->dropped, e->tenant);
    INT8(&plan->dropped, e->message);
}

static void
dropped_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_plan_fetch_t *dropped = TALLY_PUSH(&result->dropped);
        dropped->tenant = (uint32_t)tally_rows_int8(&rows, i, 0);
        dropped->message = (uint64_t)tally_rows_int8(&rows, i, 1);
    }
}

static const char dropped_sql[] =
    "with gone as (delete from tally.dead_letter d using unnest($1::integer[], $2::bigint[]) u "
    "(tenant, id) "
    "where d.tenant = u.tenant and d.id = u.id returning d.tenant, d.id), "
    "blobs as (delete from tally.blob b using gone g where b.tenant = g.tenant and b.id = g.id) "
    "select tenant, id from gone";

//  ---- housekeeping -------------------------------------------------------------------------------------------

static bool
housekeep_wanted(const tally_plan_t *plan)
{
    return plan->housekeep;
}

static void
housekeep_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    next_one(params, (int64_t)plan->number);
}

//  Of each kind the oldest few thousand, found by an index: no tick is held up, however much is kept.  Senders have no
//  index on when they were seen, since every tick writes that: some are looked at, from a random one on.  Ticks of this
//  epoch are kept for a while; far below there are only dead rows, which a snapshot held open elsewhere may pile up.
static const char housekeep_sql[] =
    "with results as (delete from tally.result where ctid = any (array("
    "select r.ctid from tally.result r where r.until < now() order by r.until limit 5000))), "
    "dedupes as (delete from tally.dedupe where ctid = any (array("
    "select d.ctid from tally.dedupe d where d.until < now() order by d.until limit 5000))), "
    "senders as (delete from tally.sender where ctid = any (array("
    "select s.ctid from (select ctid, seen_at from tally.sender where id >= (select "
    "gen_random_uuid()) "
    "order by id limit 1000) s where s.seen_at < now() - interval '30 days'))), "
    "older as (delete from tally.tick where ctid = any (array("
    "select t.ctid from tally.tick t where t.epoch < (select epoch from tally.broker) order by "
    "t.epoch limit 5000))) "
    "delete from tally.tick where ctid = any (array("
    "select t.ctid from tally.tick t where t.epoch = (select epoch from tally.broker) "
    "and t.number between $1::bigint - 200000 and $1::bigint - 10001 order by t.number limit "
    "5000))";

const tally_statement_t tally_tick_admin_statements[] = {
    TALLY_STATEMENT(queues, queues_read),   TALLY_STATEMENT(tenant_limits, NULL),
    TALLY_STATEMENT(retried, retried_read), TALLY_STATEMENT(dropped, dropped_read),
    TALLY_STATEMENT(housekeep, NULL),
};
const size_t tally_tick_admin_statement_count = sizeof tally_tick_admin_statements
                                                / sizeof tally_tick_admin_statements[0];
