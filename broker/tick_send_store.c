// SPDX-License-Identifier: MIT
//  tick_send - the statements of a tick that take messages in: tenants, messages, dedupe keys, senders, the inbox.  See
//  tick_statements.h.

#include "broker/row_decode.h"
#include "broker/tick_columns.h"
#include "lib/planted.h"

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
    "insert into tally.tenant (id, name) select unnest($1::integer[]), unnest($2::text[]) on "
    "conflict do nothing";

//  ---- messages ---------------------------------------------------------------------------------------------

//  Most messages have nothing but a body, here or as a blob; those with options go by a statement of their own.
static bool
has_options(const tally_plan_message_t *message)
{
    return message->dedupe.size > 0 || message->key.size > 0 || message->delay_ms != 0
           || message->releases || message->asker != NULL
           || message->priority != TALLY_PRIORITY_DEFAULT;
}

static bool
is_plain(const tally_plan_message_t *message)
{
    return !has_options(message) && !message->is_blob;
}

static bool
is_claim(const tally_plan_message_t *message)
{
    return !has_options(message) && message->is_blob;
}

static bool
is_full(const tally_plan_message_t *message)
{
    return message->dedupe.size == 0 && has_options(message);
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

typedef bool is_fn(const tally_plan_message_t *message);

//  The next behind `message`, the first when that is NULL; NULL when there is none.
static const tally_plan_message_t *
next_of(const tally_plan_t *plan, is_fn *is, const tally_plan_message_t *message)
{
    const tally_plan_message_t *end = plan->messages.items + plan->messages.count;
    const tally_plan_message_t *at = message == NULL ? plan->messages.items : message + 1;
    while (at < end && !is(at)) {
        at++;
    }
    return at < end ? at : NULL;
}

static bool
any_of(const tally_plan_t *plan, is_fn *is)
{
    return next_of(plan, is, NULL) != NULL;
}

static bool
one_of(const tally_plan_t *plan, is_fn *is)
{
    const tally_plan_message_t *first = next_of(plan, is, NULL);
    return first != NULL && next_of(plan, is, first) == NULL;
}

//  Messages of one kind, from one place in the plan up to another.
typedef struct {
    is_fn *is;
    size_t from, to;
    size_t count;    // of that kind
} part_t;

static part_t
all_of(const tally_plan_t *plan, is_fn *is)
{
    part_t part = {is, 0, plan->messages.count, 0};
    for (size_t i = 0; i < plan->messages.count; i++) {
        part.count += is(&plan->messages.items[i]);
    }
    return part;
}

//  As many as make a statement; params->from goes on to those behind them.
static part_t
next_part(tally_statement_params_t *params, const tally_plan_t *plan, is_fn *is)
{
    part_t part = {is, params->from, plan->messages.count, 0};
    size_t bytes = 0;
    for (size_t i = part.from; i < plan->messages.count; i++) {
        if (!is(&plan->messages.items[i])) {
            continue;
        }
        if (bytes >= TALLY_PART_BYTES) {
            part.to = i;
            break;
        }
        bytes += plan->messages.items[i].body.size;
        part.count++;
    }
    params->from = part.to < plan->messages.count ? part.to : 0;
    return part;
}

//  Of each message `e` of `part`.
#define SOME(kind, type, part, expression)                                                         \
    do {                                                                                           \
        tally_pgarray_t *column = next(params, type, (part).count);                                \
        for (size_t i = (part).from; i < (part).to; i++) {                                         \
            const tally_plan_message_t *e = &plan->messages.items[i];                              \
            if ((part).is(e)) {                                                                    \
                tally_pgarray_##kind(column, expression);                                          \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static bool
plain_wanted(const tally_plan_t *plan)
{
    return any_of(plan, is_plain) && !one_of(plan, is_plain);
}

static void
plain_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    part_t part = next_part(params, plan, is_plain);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->tenant);
    SOME(int8, TALLY_OID_INT8, part, (int64_t)e->id);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->queue);
    SOME(bytes, TALLY_OID_BYTEA, part, e->body);
}

//  unnest stands in the select list wherever it can: behind FROM each array is first written to a store of its own.
static const char plain_sql[] = "insert into tally.message (tenant, id, queue, body) "
                                "select unnest($1::integer[]), unnest($2::bigint[]), "
                                "unnest($3::integer[]), unnest($4::bytea[])";

static bool
one_plain_wanted(const tally_plan_t *plan)
{
    return one_of(plan, is_plain);
}

static void
one_plain_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    const tally_plan_message_t *message = next_of(plan, is_plain, NULL);
    next_one(params, message->tenant);
    next_one(params, (int64_t)message->id);
    next_one(params, message->queue);
    next_bytes(params, message->body);
}

static const char one_plain_sql[] = "insert into tally.message (tenant, id, queue, body) "
                                    "values ($1::bigint, $2::bigint, $3::bigint, $4::bytea)";

static bool
claims_wanted(const tally_plan_t *plan)
{
    return any_of(plan, is_claim);
}

static void
claims_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    part_t part = all_of(plan, is_claim);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->tenant);
    SOME(int8, TALLY_OID_INT8, part, (int64_t)e->id);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->queue);
}

static const char claims_sql[] =
    "insert into tally.message (tenant, id, queue, is_blob, body) "
    "select unnest($1::integer[]), unnest($2::bigint[]), unnest($3::integer[]), true, ''::bytea";

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
write_askers(tally_statement_params_t *params, const tally_plan_t *plan, part_t part)
{
    tally_pgarray_t *senders = next(params, TALLY_OID_UUID, part.count);
    tally_pgarray_t *sequences = next(params, TALLY_OID_INT8, part.count);
    tally_pgarray_t *items = next(params, TALLY_OID_INT4, part.count);
    for (size_t i = part.from; i < part.to; i++) {
        const tally_plan_message_t *e = &plan->messages.items[i];
        if (!part.is(e)) {
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
write_full(tally_statement_params_t *params, const tally_plan_t *plan, part_t part)
{
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->tenant);
    SOME(int8, TALLY_OID_INT8, part, (int64_t)e->id);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->queue);
    SOME(bytes, TALLY_OID_BYTEA, part, body_of_row(e));
    SOME(int4, TALLY_OID_INT4, part, e->priority);
    SOME(bool, TALLY_OID_BOOL, part, e->is_blob);
    SOME(bool, TALLY_OID_BOOL, part, e->releases);
    SOME(int8, TALLY_OID_INT8, part, e->delay_ms);
    tally_pgarray_t *keys = next(params, TALLY_OID_BYTEA, part.count);
    for (size_t i = part.from; i < part.to; i++) {
        if (part.is(&plan->messages.items[i])) {
            put_optional(keys, plan->messages.items[i].key);
        }
    }
    write_askers(params, plan, part);
}

static bool
full_wanted(const tally_plan_t *plan)
{
    return any_of(plan, is_full);
}

static void
full_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    write_full(params, plan, next_part(params, plan, is_full));
}

#define FULL_COLUMNS                                                                               \
    "tenant, id, queue, body, priority, is_blob, releases, due, key, sender, sequence, item"
#define FULL_SELECT                                                                                \
    "select u.tenant, u.id, u.queue, u.body, u.priority, u.is_blob, u.releases, "                  \
    "case when u.delay > 0 then clock_timestamp() + u.delay * interval '1 millisecond' end, "      \
    "u.key, u.sender, u.sequence, u.item "
#define FULL_UNNEST                                                                                \
    "select unnest($1::integer[]) as tenant, unnest($2::bigint[]) as id, unnest($3::integer[]) "   \
    "as queue, "                                                                                   \
    "unnest($4::bytea[]) as body, unnest($5::integer[]) as priority, unnest($6::boolean[]) as "    \
    "is_blob, "                                                                                    \
    "unnest($7::boolean[]) as releases, unnest($8::bigint[]) as delay, unnest($9::bytea[]) as "    \
    "key, "                                                                                        \
    "unnest($10::uuid[]) as sender, unnest($11::bigint[]) as sequence, unnest($12::integer[]) as " \
    "item"

static const char full_sql[] = "insert into tally.message (" FULL_COLUMNS ") " FULL_SELECT
                               "from (" FULL_UNNEST ") u";

static bool
blobs_wanted(const tally_plan_t *plan)
{
    return any_of(plan, is_blob);
}

static void
blobs_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    part_t part = next_part(params, plan, is_blob);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->tenant);
    SOME(int8, TALLY_OID_INT8, part, (int64_t)e->id);
    SOME(bytes, TALLY_OID_BYTEA, part, e->body);
}

static const char blobs_sql[] =
    "insert into tally.blob (tenant, id, body) "
    "select unnest($1::integer[]), unnest($2::bigint[]), unnest($3::bytea[])";

//  ---- messages with a dedupe key -----------------------------------------------------------------------------

static bool
deduped_wanted(const tally_plan_t *plan)
{
    return any_of(plan, is_deduped);
}

static void
keys_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    part_t part = all_of(plan, is_deduped);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->tenant);
    SOME(int4, TALLY_OID_INT4, part, (int32_t)e->queue);
    SOME(bytes, TALLY_OID_BYTEA, part, e->dedupe);
    SOME(int8, TALLY_OID_INT8, part, (int64_t)e->id);
    SOME(int8, TALLY_OID_INT8, part, e->dedupe_kept_ms);
}

//  distinct on: of two messages with one key in a tick the first wins; ON CONFLICT would fail on the second.
static const char keys_sql[] =
    "insert into tally.dedupe as d (tenant, queue, key, message, until) "
    "select distinct on (u.tenant, u.queue, u.key) u.tenant, u.queue, u.key, u.id, "
    "clock_timestamp() + u.kept * interval '1 millisecond' "
    "from (select unnest($1::integer[]) as tenant, unnest($2::integer[]) as queue, "
    "unnest($3::bytea[]) as key, "
    "unnest($4::bigint[]) as id, unnest($5::bigint[]) as kept) u order by u.tenant, u.queue, "
    "u.key, u.id "
    "on conflict (tenant, queue, key) do update set message = excluded.message, until = "
    "excluded.until "
    "where d.until < clock_timestamp()";

static void
deduped_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    part_t part = all_of(plan, is_deduped);
    write_full(params, plan, part);
    SOME(bytes, TALLY_OID_BYTEA, part, e->dedupe);
    tally_pgarray_t *blobs = next(params, TALLY_OID_BYTEA, part.count);
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

//  Behind the statement that wrote the keys: those messages whose key is theirs.  One statement for both would have to
//  compare each message with each key.
static const char deduped_sql[] =
    "with taken as materialized (select u.* from (" FULL_UNNEST ", unnest($13::bytea[]) as dedupe, "
    "unnest($14::bytea[]) as blob) u join tally.dedupe d "
    "on d.tenant = u.tenant and d.queue = u.queue and d.key = u.dedupe and d.message = u.id), "
    "blobs as (insert into tally.blob (tenant, id, body) select tenant, id, blob from taken where "
    "is_blob) "
    "insert into tally.message (" FULL_COLUMNS ") " FULL_SELECT "from taken u returning id";

//  ---- senders ------------------------------------------------------------------------------------------------

static bool
is_one_sender(const tally_plan_t *plan)
{
    return plan->senders.count == 1 && plan->senders.items[0].missing_count == 0;
}

static bool
senders_wanted(const tally_plan_t *plan)
{
    return plan->senders.count > 0 && !is_one_sender(plan) && !TALLY_PLANTED(SENDER_UNWRITTEN);
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

#define SENDER_UPDATE                                                                              \
    "on conflict (id) do update set last = excluded.last, missing = excluded.missing, seen_at = "  \
    "now()"

static const char senders_sql[] = "insert into tally.sender (id, last, missing) "
                                  "select u.id, u.last, ($5::bigint[])[u.f:u.t] "
                                  "from unnest($1::uuid[], $2::bigint[], $3::integer[], "
                                  "$4::integer[]) u (id, last, f, t) " SENDER_UPDATE;

static bool
one_sender_wanted(const tally_plan_t *plan)
{
    return is_one_sender(plan) && !TALLY_PLANTED(SENDER_UNWRITTEN);
}

static void
one_sender_write(tally_statement_params_t *params, const tally_plan_t *plan)
{
    const tally_plan_sender_t *sender = &plan->senders.items[0];
    next_bytes(params, uuid(sender->sender));
    next_one(params, (int64_t)sender->last);
}

static const char one_sender_sql[] = "insert into tally.sender (id, last, missing) "
                                     "values ($1::uuid, $2::bigint, '{}') " SENDER_UPDATE;

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
        tally_row_decode_message_at(&rows, i, TALLY_PUSH(rows_out));
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
    "stored as (insert into tally.message as m (tenant, id, queue, priority, releases, due, key, "
    "body) "
    "select tenant, number, queue, priority, releases, due, key, body from numbered "
    "returning " TALLY_MESSAGE_COLUMNS ") select * from stored order by id";

//  ---- the table ----------------------------------------------------------------------------------------------

const tally_statement_t tally_tick_send_statements[] = {
    TALLY_STATEMENT(tenants, NULL),
    TALLY_STATEMENT(plain, NULL),
    TALLY_STATEMENT(one_plain, NULL),
    TALLY_STATEMENT(claims, NULL),
    TALLY_STATEMENT(full, NULL),
    TALLY_STATEMENT(blobs, NULL),
    {"keys", keys_sql, deduped_wanted, keys_write, NULL},
    TALLY_STATEMENT(deduped, deduped_read),
    TALLY_STATEMENT(senders, NULL),
    TALLY_STATEMENT(one_sender, NULL),
    TALLY_STATEMENT(inbox, inbox_read),
};
const size_t tally_tick_send_statement_count = sizeof tally_tick_send_statements
                                               / sizeof tally_tick_send_statements[0];
