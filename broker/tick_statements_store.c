// SPDX-License-Identifier: MIT
//  tick_statements - see tick_statements.h.  Plans are forced to look rows up by primary key: the tables' statistics lag
//  behind by millions of rows, and a scan over dead ones would hold up every tick.

#include "broker/tick_statements.h"

#include "broker/row_decode.h"
#include "broker/tick_columns.h"

const char tally_tick_session_sql[] =
    "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_hashjoin = off; "
    "set enable_mergejoin = off; set enable_bitmapscan = off; set jit = off; set lock_timeout = '50ms'";
const char tally_tick_guard_lock_sql[] = "select pg_advisory_xact_lock_shared($1)";
const char tally_tick_guard_epoch_sql[] = "select tally.tick_begin($1, $2)";

static tally_bytes_t
uuid(const uint8_t *sender)
{
    return (tally_bytes_t){sender, TALLY_SENDER_BYTES};
}

//  ---- tenants ----------------------------------------------------------------------------------------------

static bool
tenants_wanted(const tally_plan_t *plan)
{
    return plan->tenants.count > 0;
}

static void
tenants_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    INT4(&plan->tenants, e->id);
    TEXT(&plan->tenants, tally_bytes_of(e->name));
}

static const char tenants_sql[] =
    "insert into tally.tenant (id, name) select * from unnest($1::integer[], $2::text[]) on conflict do nothing";

//  ---- messages ---------------------------------------------------------------------------------------------

//  Most messages have nothing but a body; those with options go by a statement of their own.
static bool
is_plain(const tally_plan_message_t *message)
{
    return message->dedupe.size == 0 && message->key.size == 0 && message->delay_ms == 0 && !message->is_blob
           && !message->releases && message->asker == NULL && message->priority == TALLY_PRIORITY_DEFAULT;
}

static bool
is_full(const tally_plan_message_t *message)
{
    return message->dedupe.size == 0 && !is_plain(message);
}

static bool
is_deduped(const tally_plan_message_t *message)
{
    return message->dedupe.size > 0;
}

static bool
is_blob(const tally_plan_message_t *message)
{
    return message->is_blob && message->dedupe.size == 0;
}

static size_t
count_of(const tally_plan_t *plan, bool (*is)(const tally_plan_message_t *message))
{
    size_t count = 0;
    for (size_t i = 0; i < plan->messages.count; i++) {
        count += is(&plan->messages.items[i]);
    }
    return count;
}

#define SOME(kind, type, is, expression)                                          \
    do {                                                                          \
        tally_pgarray_t *column = next(params, type, count_of(plan, is));         \
        for (size_t i = 0; i < plan->messages.count; i++) {                       \
            const tally_plan_message_t *e = &plan->messages.items[i];             \
            if (is(e)) {                                                          \
                tally_pgarray_##kind(column, expression);                         \
            }                                                                     \
        }                                                                         \
    } while (0)

static bool
plain_wanted(const tally_plan_t *plan)
{
    return count_of(plan, is_plain) > 0;
}

static void
plain_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    SOME(int4, TALLY_OID_INT4, is_plain, (int32_t)e->tenant);
    SOME(int8, TALLY_OID_INT8, is_plain, (int64_t)e->id);
    SOME(int4, TALLY_OID_INT4, is_plain, (int32_t)e->queue);
    SOME(bytes, TALLY_OID_BYTEA, is_plain, e->body);
}

static const char plain_sql[] =
    "insert into tally.message (tenant, id, queue, body) "
    "select * from unnest($1::integer[], $2::bigint[], $3::integer[], $4::bytea[])";

static tally_bytes_t
body_of_row(const tally_plan_message_t *message)
{
    return message->is_blob ? (tally_bytes_t){0} : message->body;
}

static void
put_optional(tally_pgarray_t *column, tally_bytes_t value)
{
    if (value.size == 0) {
        tally_pgarray_null(column);
    } else {
        tally_pgarray_bytes(column, value);
    }
}

static void
write_askers(tally_statement_params_t *params, const tally_plan_t *plan,
             bool (*is)(const tally_plan_message_t *message))
{
    size_t count = count_of(plan, is);
    tally_pgarray_t *senders = next(params, TALLY_OID_UUID, count);
    tally_pgarray_t *sequences = next(params, TALLY_OID_INT8, count);
    tally_pgarray_t *items = next(params, TALLY_OID_INT4, count);
    for (size_t i = 0; i < plan->messages.count; i++) {
        const tally_plan_message_t *e = &plan->messages.items[i];
        if (!is(e)) {
            continue;
        }
        if (e->asker == NULL) {
            tally_pgarray_null(senders);
            tally_pgarray_null(sequences);
            tally_pgarray_null(items);
        } else {
            tally_pgarray_bytes(senders, uuid(e->asker->sender));
            tally_pgarray_int8(sequences, (int64_t)e->asker->sequence);
            tally_pgarray_int4(items, e->asker->item);
        }
    }
}

//  $1 .. $12, the same for messages with and without a dedupe key.
static void
write_full(tally_statement_params_t *params, const tally_plan_t *plan,
           bool (*is)(const tally_plan_message_t *message))
{
    SOME(int4, TALLY_OID_INT4, is, (int32_t)e->tenant);
    SOME(int8, TALLY_OID_INT8, is, (int64_t)e->id);
    SOME(int4, TALLY_OID_INT4, is, (int32_t)e->queue);
    SOME(bytes, TALLY_OID_BYTEA, is, body_of_row(e));
    SOME(int4, TALLY_OID_INT4, is, e->priority);
    SOME(bool, TALLY_OID_BOOL, is, e->is_blob);
    SOME(bool, TALLY_OID_BOOL, is, e->releases);
    SOME(int8, TALLY_OID_INT8, is, e->delay_ms);
    tally_pgarray_t *keys = next(params, TALLY_OID_BYTEA, count_of(plan, is));
    for (size_t i = 0; i < plan->messages.count; i++) {
        if (is(&plan->messages.items[i])) {
            put_optional(keys, plan->messages.items[i].key);
        }
    }
    write_askers(params, plan, is);
}

static bool
full_wanted(const tally_plan_t *plan)
{
    return count_of(plan, is_full) > 0;
}

static void
full_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    write_full(params, plan, is_full);
}

#define FULL_COLUMNS "tenant, id, queue, body, priority, is_blob, releases, due, key, sender, sequence, item"
#define FULL_SELECT                                                                                      \
    "select u.tenant, u.id, u.queue, u.body, u.priority, u.is_blob, u.releases, "                        \
    "case when u.delay > 0 then clock_timestamp() + u.delay * interval '1 millisecond' end, "            \
    "u.key, u.sender, u.sequence, u.item "
#define FULL_UNNEST                                                                                      \
    "unnest($1::integer[], $2::bigint[], $3::integer[], $4::bytea[], $5::integer[], $6::boolean[], "     \
    "$7::boolean[], $8::bigint[], $9::bytea[], $10::uuid[], $11::bigint[], $12::integer[]"

static const char full_sql[] =
    "insert into tally.message (" FULL_COLUMNS ") " FULL_SELECT "from " FULL_UNNEST
    ") u (tenant, id, queue, body, priority, is_blob, releases, delay, key, sender, sequence, item)";

static bool
blobs_wanted(const tally_plan_t *plan)
{
    return count_of(plan, is_blob) > 0;
}

static void
blobs_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    SOME(int4, TALLY_OID_INT4, is_blob, (int32_t)e->tenant);
    SOME(int8, TALLY_OID_INT8, is_blob, (int64_t)e->id);
    SOME(bytes, TALLY_OID_BYTEA, is_blob, e->body);
}

static const char blobs_sql[] =
    "insert into tally.blob (tenant, id, body) select * from unnest($1::integer[], $2::bigint[], $3::bytea[])";

//  ---- messages with a dedupe key -----------------------------------------------------------------------------

static bool
deduped_wanted(const tally_plan_t *plan)
{
    return count_of(plan, is_deduped) > 0;
}

static void
deduped_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    write_full(params, plan, is_deduped);
    SOME(bytes, TALLY_OID_BYTEA, is_deduped, e->dedupe);
    SOME(int8, TALLY_OID_INT8, is_deduped, e->dedupe_kept_ms);
    tally_pgarray_t *blobs = next(params, TALLY_OID_BYTEA, count_of(plan, is_deduped));
    for (size_t i = 0; i < plan->messages.count; i++) {
        const tally_plan_message_t *message = &plan->messages.items[i];
        if (is_deduped(message) && message->is_blob) {
            tally_pgarray_bytes(blobs, message->body);
        } else if (is_deduped(message)) {
            tally_pgarray_null(blobs);
        }
    }
}

static void
deduped_read(tally_tick_result_t *result, const PGresult *answer)
{
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        *TALLY_PUSH(&result->deduped) = (uint64_t)tally_rows_int8(&rows, i, 0);
    }
}

//  distinct on: of two messages with one key in a tick the first wins; ON CONFLICT would fail on the second.
static const char deduped_sql[] =
    "with u as materialized (select * from " FULL_UNNEST ", $13::bytea[], $14::bigint[], $15::bytea[]) "
    "u (tenant, id, queue, body, priority, is_blob, releases, delay, key, sender, sequence, item, dedupe, kept, blob)), "
    "fresh as (insert into tally.dedupe as d (tenant, queue, key, message, until) "
    "select distinct on (u.tenant, u.queue, u.dedupe) u.tenant, u.queue, u.dedupe, u.id, "
    "clock_timestamp() + u.kept * interval '1 millisecond' from u order by u.tenant, u.queue, u.dedupe, u.id "
    "on conflict (tenant, queue, key) do update set message = excluded.message, until = excluded.until "
    "where d.until < clock_timestamp() returning message), "
    "taken as materialized (select u.* from u where u.id in (select message from fresh)), "
    "blobs as (insert into tally.blob (tenant, id, body) select tenant, id, blob from taken where is_blob) "
    "insert into tally.message (" FULL_COLUMNS ") " FULL_SELECT "from taken u returning id";

//  ---- senders ------------------------------------------------------------------------------------------------

static bool
senders_wanted(const tally_plan_t *plan)
{
    return plan->senders.count > 0;
}

static void
senders_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    COLUMN(bytes, TALLY_OID_UUID, &plan->senders, uuid(e->sender));
    INT8(&plan->senders, e->last);
    size_t total = 0;
    for (size_t i = 0; i < plan->senders.count; i++) {
        total += plan->senders.items[i].missing_count;
    }
    tally_pgarray_t *first = next(params, TALLY_OID_INT4, plan->senders.count);
    tally_pgarray_t *last = next(params, TALLY_OID_INT4, plan->senders.count);
    tally_pgarray_t *missing = next(params, TALLY_OID_INT8, total);
    int32_t at = 1;
    for (size_t i = 0; i < plan->senders.count; i++) {
        const tally_plan_sender_t *sender = &plan->senders.items[i];
        tally_pgarray_int4(first, at);
        at += (int32_t)sender->missing_count;
        tally_pgarray_int4(last, at - 1);
        for (size_t k = 0; k < sender->missing_count; k++) {
            tally_pgarray_int8(missing, sender->missing[k]);
        }
    }
}

static const char senders_sql[] =
    "insert into tally.sender (id, last, missing) "
    "select u.id, u.last, ($5::bigint[])[u.f:u.t] "
    "from unnest($1::uuid[], $2::bigint[], $3::integer[], $4::integer[]) u (id, last, f, t) "
    "on conflict (id) do update set last = excluded.last, missing = excluded.missing, seen_at = now()";

//  ---- inbox --------------------------------------------------------------------------------------------------

static bool
inbox_wanted(const tally_plan_t *plan)
{
    return plan->inbox_max > 0;
}

static void
inbox_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    next_one(params, (int64_t)plan->inbox_max);
    next_one(params, (int64_t)plan->inbox_id);
}

static void
read_messages(const PGresult *answer, void *array)
{
    TALLY_ARRAY(tally_message_row_t) *rows_out = array;
    const tally_rows_t rows = {answer, PQntuples(answer)};
    for (int i = 0; i < rows.rows; i++) {
        tally_row_decode_message(&rows, i, TALLY_PUSH(rows_out));
    }
}

static void
inbox_read(tally_tick_result_t *result, const PGresult *answer)
{
    read_messages(answer, &result->arrived);
}

static const char inbox_sql[] =
    "with taken as (delete from tally.inbox where id in "
    "(select id from tally.inbox order by id limit $1 for update skip locked) returning *), "
    "numbered as (select t.*, $2 + row_number() over (order by t.id) - 1 as number from taken t), "
    "stored as (insert into tally.message as m (tenant, id, queue, priority, releases, due, key, body) "
    "select tenant, number, queue, priority, releases, due, key, body from numbered "
    "returning " TALLY_MESSAGE_COLUMNS ") select * from stored order by id";

//  ---- leases that end ------------------------------------------------------------------------------------------

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

static const char settled_sql[] =
    "with claimed as materialized (select l.id, l.tenant, l.messages from tally.lease l "
    "where l.id = any ($1::bigint[]) for update skip locked), "
    "gone as (delete from tally.lease l using claimed c where l.id = c.id), "
    "over as (delete from tally.message m using (select c.tenant, unnest(c.messages) as id from claimed c) u "
    "where m.tenant = u.tenant and m.id = u.id) "
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
        tally_array_grow((void **)&result->ended, result->ended_count, &result->ended_room, sizeof *result->ended);
        result->ended[result->ended_count++] = (struct tally_ended){
            (uint64_t)tally_rows_int8(&rows, i, 0), (uint64_t)tally_rows_int8(&rows, i, 1)};
    }
}

//  kind: tally_end_kind_t.  A lease keeps what was not ended, and goes when nothing is left.
//  What it holds is taken from the row as it was locked: the statement's snapshot may be older than a part that its
//  worker settled by SQL, and would bring that part back.
static const char ends_sql[] =
    "with acts as materialized (select l.tenant, l.messages as held, u.* "
    "from unnest($1::bigint[], $2::bigint[], $3::integer[], $4::boolean[], $5::integer[], $6::integer[], "
    "$7::integer[], $8::integer[], $9::bigint[], $10::text[]) "
    "u (lease, message, kind, keep, deliveries, failures, crashes, batch_max, delay, note) "
    "join tally.lease l on l.id = u.lease and u.message = any (l.messages) for update of l skip locked), "
    "settled as (delete from tally.message m using acts a "
    "where a.kind = 1 and m.tenant = a.tenant and m.id = a.message), "
    "blobs as (delete from tally.blob b using acts a "
    "where a.kind = 1 and not a.keep and b.tenant = a.tenant and b.id = a.message), "
    "returned as (update tally.message m set deliveries = a.deliveries, failures = a.failures, "
    "crashes = a.crashes, batch_max = a.batch_max, past_window = true, "
    "due = case when a.delay > 0 then clock_timestamp() + a.delay * interval '1 millisecond' end, "
    "history = case when a.note = '' then m.history else m.history || a.note end "
    "from acts a where a.kind = 2 and m.tenant = a.tenant and m.id = a.message), "
    "buried as (delete from tally.message m using acts a "
    "where a.kind = 3 and m.tenant = a.tenant and m.id = a.message "
    "returning m.*, a.note, a.deliveries as last_deliveries, a.failures as last_failures, a.crashes as last_crashes), "
    "letters as (insert into tally.dead_letter (tenant, id, queue, priority, is_blob, created_at, reason, history, "
    "deliveries, failures, crashes, key, sender, sequence, item, body) "
    "select tenant, id, queue, priority, is_blob, created_at, note, coalesce(history, '{}') || note, "
    "last_deliveries, last_failures, last_crashes, key, sender, sequence, item, body from buried), "
    "rest as materialized (select lease as id, "
    "array(select unnest(min(held)) except select unnest(array_agg(message)) order by 1) as messages "
    "from acts group by lease), "
    "gone as (delete from tally.lease l using rest r where l.id = r.id and cardinality(r.messages) = 0), "
    "shrunk as (update tally.lease l set messages = r.messages from rest r "
    "where l.id = r.id and cardinality(r.messages) > 0) "
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

static const char checks_sql[] =
    "select " TALLY_LEASE_COLUMNS " from tally.lease l where l.id = any ($1::bigint[])";

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
    "select u.queue, u.tenant, 0, 0, '' from unnest($1::integer[], $2::integer[]) u (queue, tenant) "
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
}

static const char results_sql[] =
    "insert into tally.result (sender, sequence, item, tenant, outcome, body, until) "
    "select u.sender, u.sequence, u.item, u.tenant, u.outcome, u.body, clock_timestamp() + u.kept * interval '1 millisecond' "
    "from unnest($1::uuid[], $2::bigint[], $3::integer[], $4::integer[], $5::integer[], $6::bytea[], $7::bigint[]) "
    "u (sender, sequence, item, tenant, outcome, body, kept) on conflict do nothing";

//  ---- leases -----------------------------------------------------------------------------------------------------

static bool
leases_wanted(const tally_plan_t *plan)
{
    return plan->leases.count > 0;
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
    "select u.id, u.tenant, u.queue, u.worker, clock_timestamp() + u.visible * interval '1 millisecond', "
    "($8::bigint[])[u.f:u.t] "
    "from unnest($1::bigint[], $2::integer[], $3::integer[], $4::bigint[], $5::bigint[], $6::integer[], $7::integer[]) "
    "u (id, tenant, queue, worker, visible, f, t)";

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
    "with held as materialized (select l.id, u.ms from unnest($1::bigint[], $2::bigint[]) u (id, ms) "
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
    "join tally.message m on m.tenant = u.tenant and m.id = u.id";

//  ---- the table ----------------------------------------------------------------------------------------------

#define STATEMENT(section, read) {#section, section##_sql, section##_wanted, section##_write, read}

const tally_statement_t tally_tick_statements[] = {
    STATEMENT(tenants, NULL),
    STATEMENT(plain, NULL),
    STATEMENT(full, NULL),
    STATEMENT(blobs, NULL),
    STATEMENT(deduped, deduped_read),
    STATEMENT(senders, NULL),
    STATEMENT(inbox, inbox_read),
    STATEMENT(settled, settled_read),
    STATEMENT(ends, ends_read),
    STATEMENT(checks, checks_read),
    {"new_terms", new_terms_sql, terms_wanted, new_terms_write, NULL},
    STATEMENT(terms, terms_read),
    STATEMENT(results, NULL),
    STATEMENT(leases, NULL),
    STATEMENT(extended, NULL),
    STATEMENT(fetches, fetches_read),
};
const size_t tally_tick_statement_count = sizeof tally_tick_statements / sizeof tally_tick_statements[0];
