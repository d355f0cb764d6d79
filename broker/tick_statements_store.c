// SPDX-License-Identifier: MIT
//  tick_statements - the statements of a tick about leases, terms, results and bodies; see tick_statements.h.
//
//  Plans are forced to look rows up by primary key: the tables' statistics lag behind by millions of rows, and a scan
//  over dead ones would hold up every tick.

#include "broker/tick_statements.h"

#include <assert.h>

#include "broker/row_decode.h"
#include "broker/tick_columns.h"

const char tally_tick_session_sql[] =
    "select set_config('plan_cache_mode', 'force_generic_plan', false),"
    " set_config('enable_seqscan', 'off', false), set_config('enable_hashjoin', 'off', false),"
    " set_config('enable_mergejoin', 'off', false),"
    " set_config('enable_bitmapscan', 'off', false), set_config('jit', 'off', false),"
    " set_config('lock_timeout', '50ms', false),"
    " set_config('default_transaction_isolation', 'read committed', false)";
const char tally_tick_guard_lock_sql[] = "select pg_advisory_xact_lock_shared($1)";
const char tally_tick_hold_sql[] = "select pg_try_advisory_lock_shared($1)";
//  No function around it: that alone would cost a third of a small tick's statements.
const char tally_tick_guard_epoch_sql[] =
    "insert into tally.tick (epoch, number) select case when (select b.epoch from tally.broker b) "
    "= $1 then $1 else tally.tick_refused($1) end, $2";

//  ---- leases that end ------------------------------------------------------------------------------------------

#define MESSAGE_PLACE(tenant, id)                                                                  \
    "left join lateral (select n.ctid as place from tally.message n where n.tenant = " tenant      \
    " and n.id = " id " offset 0) p on true"

static bool
settled_wanted(const tally_plan_t *plan)
{
    return plan->settled.count > 0;
}

static void
settled_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT8(&plan->settled, *e);
}

static void
settled_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        *TALLY_PUSH(&result->settled) = (uint64_t)tally_rows_int8(&rows, i, 0);
    }
}

//  Rows are found by their key in a fenced subquery (offset 0) and changed by their place (ctid), here and below: a
//  table that was empty when it was last vacuumed passes for one of a row, and any other join with it may be planned
//  as a scan of all that is pending.  Leases are locked before, so that places do not move.  All places of a tick are
//  one array: a join would begin a scan anew for each, a third of what the statement costs.  A lease itself goes by its
//  number: the row that was locked may be newer than the statement's snapshot, and is then not found by its place.
static const char settled_sql[] =
    "with claimed as materialized (select l.id, l.tenant, l.messages from tally.lease l "
    "where l.id = any ($1::bigint[]) for update skip locked), "
    "gone as (delete from tally.lease l where l.id = any (array(select c.id from claimed c))), "
    "over as (delete from tally.message m where m.ctid = any (array(select p.place from claimed c "
    "cross join lateral unnest(c.messages) i (id) " MESSAGE_PLACE("c.tenant",
                                                                  "i.id") "))) "
                                                                          "select id from claimed";

static bool
ends_wanted(const tally_plan_t *plan)
{
    return plan->ends.count > 0;
}

static void
ends_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT8(&plan->ends, e->lease);
    INT8(&plan->ends, e->message);
    INT4(&plan->ends, e->kind);
    BOOL(&plan->ends, e->keep_blob);
    INT4(&plan->ends, e->deliveries);
    INT4(&plan->ends, e->failures);
    INT4(&plan->ends, e->crashes);
    INT4(&plan->ends, e->batch_max);
    INT8(&plan->ends, e->delay_ms);
    TEXT(&plan->ends, e->text);
}

static void
ends_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_array_grow((void **)&result->ended, result->ended_count, &result->ended_room,
                         sizeof *result->ended);
        result->ended[result->ended_count++] = (struct tally_ended){
            (uint64_t)tally_rows_int8(&rows, i, 0), (uint64_t)tally_rows_int8(&rows, i, 1)};
    }
}

//  kind: tally_end_kind_t.  A lease keeps what was not ended, and goes when nothing is left.
//  What it holds is taken from the row as it was locked: the statement's snapshot may be older than a part that its
//  worker settled by SQL, and would bring that part back.  What is wanted and what is held are brought together by
//  grouping: joins by hash are switched off, and a comparison of each with each is slow in large leases.
static const char ends_sql[] =
    "with claimed as materialized (select l.id, l.tenant, l.messages from tally.lease l "
    "where l.id = any ($1::bigint[]) for update skip locked), "
    "parts as materialized (select lease, message, max(tenant) as tenant, max(kind) as kind, "
    "bool_or(keep) as keep, "
    "max(deliveries) as deliveries, max(failures) as failures, max(crashes) as crashes, "
    "max(batch_max) as batch_max, "
    "max(delay) as delay, max(note) as note from ("
    "select unnest($1::bigint[]) as lease, unnest($2::bigint[]) as message, null::integer as "
    "tenant, "
    "unnest($3::integer[]) as kind, unnest($4::boolean[]) as keep, unnest($5::integer[]) as "
    "deliveries, "
    "unnest($6::integer[]) as failures, unnest($7::integer[]) as crashes, unnest($8::integer[]) as "
    "batch_max, "
    "unnest($9::bigint[]) as delay, unnest($10::text[]) as note "
    "union all "
    "select c.id, unnest(c.messages), c.tenant, null, null, null, null, null, null, null, null "
    "from claimed c"
    ") x group by lease, message having count(tenant) > 0), "
    "acts as materialized (select a.*, p.place from parts a " MESSAGE_PLACE(
        "a.tenant",
        "a.message") " where a.kind is not null), "
                     "settled as (delete from tally.message m using acts a where a.kind = 1 and "
                     "m.ctid = a.place), "
                     "blobs as (delete from tally.blob b using acts a "
                     "where a.kind = 1 and not a.keep and b.tenant = a.tenant and b.id = "
                     "a.message), "
                     "returned as (update tally.message m set deliveries = a.deliveries, failures "
                     "= a.failures, "
                     "crashes = a.crashes, batch_max = a.batch_max, past_window = true, "
                     "due = case when a.delay > 0 then clock_timestamp() + a.delay * interval '1 "
                     "millisecond' end, "
                     "history = case when a.note = '' then m.history else m.history || a.note end "
                     "from acts a where a.kind = 2 and m.ctid = a.place), "
                     "buried as (delete from tally.message m using acts a where a.kind = 3 and "
                     "m.ctid = a.place "
                     "returning m.*, a.note, a.deliveries as last_deliveries, a.failures as "
                     "last_failures, "
                     "a.crashes as last_crashes), "
                     "letters as (insert into tally.dead_letter (tenant, id, queue, priority, "
                     "is_blob, created_at, "
                     "reason, history, "
                     "deliveries, failures, crashes, key, sender, sequence, item, body) "
                     "select tenant, id, queue, priority, is_blob, created_at, note, "
                     "coalesce(history, '{}') || "
                     "note, "
                     "last_deliveries, last_failures, last_crashes, key, sender, sequence, item, "
                     "body from buried), "
                     "rest as materialized (select lease as id, array_agg(message order by "
                     "message) filter (where "
                     "kind is null) "
                     "as messages from parts group by lease having count(kind) > 0), "
                     "gone as (delete from tally.lease l using rest r where l.id = r.id and "
                     "r.messages is null), "
                     "shrunk as (update tally.lease l set messages = r.messages from rest r "
                     "where l.id = r.id and r.messages is not null) "
                     "select lease, message from acts";

static bool
checks_wanted(const tally_plan_t *plan)
{
    return plan->checks.count > 0;
}

static void
checks_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT8(&plan->checks, *e);
}

static void
checks_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_row_decode_lease(&rows, i, TALLY_PUSH(&result->left));
    }
}

static const char checks_sql[] = "select " TALLY_LEASE_COLUMNS
                                 " from tally.lease l where l.id = any ($1::bigint[])";

//  ---- terms --------------------------------------------------------------------------------------------------

static bool
terms_wanted(const tally_plan_t *plan)
{
    return plan->terms.count > 0;
}

static void
new_terms_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT4(&plan->terms, e->queue);
    INT4(&plan->terms, e->tenant);
}

static const char new_terms_sql[] =
    "insert into tally.term (queue, tenant, epoch, worker, worker_name) "
    "select u.queue, u.tenant, 0, 0, '' from unnest($1::integer[], $2::integer[]) u (queue, "
    "tenant) "
    "on conflict do nothing";

static void
terms_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT4(&plan->terms, e->queue);
    INT4(&plan->terms, e->tenant);
    INT8(&plan->terms, e->epoch);
    INT8(&plan->terms, e->worker);
    TEXT(&plan->terms, tally_bytes_of(e->worker_name));
}

static void
terms_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_plan_fetch_t *granted = TALLY_PUSH(&result->granted);
        granted->message = (uint64_t)tally_rows_int8(&rows, i, 0);
        granted->tenant = (uint32_t)tally_rows_int8(&rows, i, 1);
    }
}

//  A row that a worker holds shared, in an open transaction under its term, is passed over: not granted.
static const char terms_sql[] =
    "with free as materialized (select t.queue, t.tenant, u.epoch, u.worker, u.name "
    "from unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::text[]) "
    "u (queue, tenant, epoch, worker, name) "
    "join tally.term t on t.queue = u.queue and t.tenant = u.tenant and t.epoch = u.epoch - 1 "
    "for update of t skip locked) "
    "update tally.term t set epoch = f.epoch, worker = f.worker, worker_name = f.name, "
    "elected_at = clock_timestamp() from free f where t.queue = f.queue and t.tenant = f.tenant "
    "returning t.queue, t.tenant";

//  ---- results --------------------------------------------------------------------------------------------------

static bool
results_wanted(const tally_plan_t *plan)
{
    return plan->results.count > 0;
}

static void
results_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    COLUMN(bytes, TALLY_OID_UUID, &plan->results, uuid(e->asker.sender));
    INT8(&plan->results, e->asker.sequence);
    INT4(&plan->results, e->asker.item);
    INT4(&plan->results, e->tenant);
    INT4(&plan->results, e->outcome);
    BYTEA(&plan->results, e->body);
    INT8(&plan->results, e->kept_ms);
    INT8(&plan->results, e->message);
}

//  A message that is still there was not ended: somebody held its lease, and its result may be another.
static const char results_sql[] =
    "insert into tally.result (sender, sequence, item, tenant, outcome, body, until) "
    "select u.sender, u.sequence, u.item, u.tenant, u.outcome, u.body, "
    "clock_timestamp() + u.kept * interval '1 millisecond' "
    "from unnest($1::uuid[], $2::bigint[], $3::integer[], $4::integer[], $5::integer[], "
    "$6::bytea[], $7::bigint[], $8::bigint[]) "
    "u (sender, sequence, item, tenant, outcome, body, kept, message) "
    "where not exists (select from tally.message m where m.tenant = u.tenant and m.id = u.message "
    "offset 0) "
    "on conflict do nothing";

//  ---- leases -----------------------------------------------------------------------------------------------------

static bool
leases_wanted(const tally_plan_t *plan)
{
    return plan->leases.count > 1;
}

static void
leases_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT8(&plan->leases, e->id);
    INT4(&plan->leases, e->tenant);
    INT4(&plan->leases, e->queue);
    INT8(&plan->leases, e->worker);
    INT8(&plan->leases, e->visible_ms);
    INT4(&plan->leases, e->first + 1);
    INT4(&plan->leases, e->first + e->count);
    INT8(&plan->ids, *e);
}

static const char leases_sql[] =
    "insert into tally.lease (id, tenant, queue, worker, deadline, messages) "
    "select u.id, u.tenant, u.queue, u.worker, clock_timestamp() + u.visible * interval '1 "
    "millisecond', "
    "($8::bigint[])[u.f:u.t] "
    "from unnest($1::bigint[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], "
    "$6::integer[], $7::integer[]) "
    "u (id, tenant, queue, worker, visible, f, t)";

static bool
one_lease_wanted(const tally_plan_t *plan)
{
    return plan->leases.count == 1;
}

static void
one_lease_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    const tally_plan_lease_t *lease = &plan->leases.items[0];
    assert(lease->first == 0 && lease->count == plan->ids.count);
    next_one(params, (int64_t)lease->id);
    next_one(params, lease->tenant);
    next_one(params, lease->queue);
    next_one(params, (int64_t)lease->worker);
    next_one(params, lease->visible_ms);
    INT8(&plan->ids, *e);
}

static const char one_lease_sql[] =
    "insert into tally.lease (id, tenant, queue, worker, deadline, messages) "
    "values ($1::bigint, $2::bigint, $3::bigint, $4::bigint, "
    "clock_timestamp() + $5::bigint * interval '1 millisecond', $6::bigint[])";

static bool
extended_wanted(const tally_plan_t *plan)
{
    return plan->extended.count > 0;
}

static void
extended_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT8(&plan->extended, *e);
    INT8(&plan->extended_ms, *e);
}

static const char extended_sql[] =
    "with held as materialized (select l.id, u.ms from unnest($1::bigint[], $2::bigint[]) u (id, "
    "ms) "
    "join tally.lease l on l.id = u.id for update of l skip locked) "
    "update tally.lease l set deadline = clock_timestamp() + h.ms * interval '1 millisecond' "
    "from held h where l.id = h.id";

static bool
fetches_wanted(const tally_plan_t *plan)
{
    return plan->fetches.count > 0;
}

static void
fetches_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT4(&plan->fetches, e->tenant);
    INT8(&plan->fetches, e->message);
}

static void
fetches_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_array_grow((void **)&result->fetched, result->fetched_count, &result->fetched_room,
                         sizeof *result->fetched);
        result->fetched[result->fetched_count++] = (struct tally_fetched){
            (uint64_t)tally_rows_int8(&rows, i, 0), tally_rows_bytes(&rows, i, 1)};
    }
}

static const char fetches_sql[] =
    "select m.id, m.body from unnest($1::integer[], $2::bigint[]) u (tenant, id) "
    "cross join lateral (select n.id, n.body from tally.message n "
    "where n.tenant = u.tenant and n.id = u.id offset 0) m";

//  ---- the table ----------------------------------------------------------------------------------------------

const tally_statement_t tally_tick_lease_statements[] = {
    TALLY_STATEMENT(settled, settled_read),
    TALLY_STATEMENT(ends, ends_read),
    TALLY_STATEMENT(checks, checks_read),
    {"new_terms", new_terms_sql, terms_wanted, new_terms_write, NULL},
    TALLY_STATEMENT(terms, terms_read),
    TALLY_STATEMENT(results, NULL),
    TALLY_STATEMENT(leases, NULL),
    TALLY_STATEMENT(one_lease, NULL),
    TALLY_STATEMENT(extended, NULL),
    TALLY_STATEMENT(fetches, fetches_read),
};
const size_t tally_tick_lease_statement_count = sizeof tally_tick_lease_statements
                                                / sizeof tally_tick_lease_statements[0];
