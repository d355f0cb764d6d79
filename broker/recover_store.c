// SPDX-License-Identifier: MIT
//  recover_store - see recover_store.h.

#include "broker/recover_store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/row_decode.h"
#include "broker/tick_lock.h"
#include "lib/alloc.h"
#include "lib/log.h"
#include "lib/migrations.h"

struct tally_recover_store {
    tally_db_t *db;
    char *error;         // of our own making; NULL: see the connection's
    int64_t *numbers;    // an array read last
};

tally_recover_store_t *
tally_recover_store_new(const char *conninfo)
{
    tally_recover_store_t *self = tally_alloc(sizeof *self);
    self->db = tally_db_new(conninfo, "tallyd-reader");
    return self;
}

void
tally_recover_store_destroy(tally_recover_store_t **self_p)
{
    tally_recover_store_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_db_destroy(&self->db);
    free(self->error);
    free(self->numbers);
    free(self);
    *self_p = NULL;
}

tally_db_outcome_t
tally_recover_store_connect(tally_recover_store_t *self)
{
    free(self->error);
    self->error = NULL;
    return tally_db_connect(self->db);
}

void
tally_recover_store_disconnect(tally_recover_store_t *self)
{
    tally_db_disconnect(self->db);
}

tally_db_t *
tally_recover_store_db(tally_recover_store_t *self)
{
    return self->db;
}

const char *
tally_recover_store_error(const tally_recover_store_t *self)
{
    return self->error != NULL ? self->error : tally_db_error(self->db);
}

//  One statement on a connection that is made when it is not there.  A connection that turns out to be dead is
//  made anew once: it may have died long ago, while nobody used it.  Only for what may be done twice.
static tally_db_outcome_t
run(tally_recover_store_t *self, const char *sql, const tally_params_t *params, tally_rows_t *rows)
{
    tally_db_outcome_t outcome = tally_recover_store_connect(self);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_run(self->db, sql, params, rows);
    }
    if ((outcome == TALLY_DB_RETRY || outcome == TALLY_DB_UNKNOWN)
        && !tally_db_connected(self->db)) {
        outcome = tally_db_connect(self->db);
        if (outcome == TALLY_DB_DONE) {
            outcome = tally_db_run(self->db, sql, params, rows);
        }
    }
    return outcome == TALLY_DB_UNKNOWN ? TALLY_DB_RETRY : outcome;
}

tally_db_outcome_t
tally_recover_store_check_schema(tally_recover_store_t *self)
{
    tally_db_outcome_t outcome = tally_recover_store_connect(self);
    if (outcome != TALLY_DB_DONE) {
        return outcome;
    }
    int version = tally_migrations_version(self->db, &self->error);
    int wanted = (int)tally_migration_count;
    if (version == wanted) {
        return TALLY_DB_DONE;
    }
    if (version >= 0) {
        self->error =
            version < wanted
                ? tally_format("the database's schema is version %d, this build needs %d; "
                               "run: tally db migrate",
                               version, wanted)
                : tally_format("the database's schema is version %d, this build knows only "
                               "%d; install a newer Tally",
                               version, wanted);
    }
    return TALLY_DB_REJECT;
}

//  ---- epoch and ticks ------------------------------------------------------------------------------------

//  Locks out every tick of an older broker, then raises the epoch.  In a transaction.
static tally_db_outcome_t
raise_epoch(tally_recover_store_t *self, const char *instance, uint64_t *epoch)
{
    static const char update[] =
        "update tally.broker set epoch = epoch + 1, instance = $1, started_at = now() "
        "returning epoch";
    tally_rows_t rows;
    tally_params_t params = {0};
    tally_params_int8(&params, TALLY_TICK_LOCK);
    tally_db_outcome_t outcome = tally_db_script(self->db, "set local lock_timeout = '3s'");
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_run(self->db, "select pg_advisory_xact_lock($1)", &params, NULL);
    }
    tally_params_free(&params);
    if (outcome == TALLY_DB_DONE) {
        tally_params_text(&params, tally_bytes_of(instance));
        outcome = tally_db_run(self->db, update, &params, &rows);
        tally_params_free(&params);
    }
    if (outcome == TALLY_DB_DONE) {
        assert(rows.rows == 1);
        *epoch = (uint64_t)tally_rows_int8(&rows, 0, 0);
        outcome = tally_db_commit(self->db);
    }
    return outcome;
}

//  A tick takes milliseconds.  One that does not end belongs to a broker that was stopped in the middle of it, or waits
//  for a standby that is gone; its session would hold its lock, and keep everybody out, for as long as it likes.
static tally_db_outcome_t
end_stuck_ticks(tally_recover_store_t *self)
{
    static const char terminate[] =
        "select pg_terminate_backend(l.pid) from pg_locks l where l.locktype = 'advisory' and "
        "l.granted "
        "and l.mode = 'ShareLock' and l.objsubid = 1 and l.classid::bigint << 32 | l.objid::bigint "
        "= $1 "
        "and l.database = (select d.oid from pg_database d where d.datname = current_database())";
    tally_params_t params = {0};
    tally_params_int8(&params, TALLY_TICK_LOCK);
    tally_rows_t rows;
    tally_db_outcome_t outcome = run(self, terminate, &params, &rows);
    tally_params_free(&params);
    if (outcome == TALLY_DB_DONE && rows.rows > 0) {
        tally_log_warn(
            "ended sessions of an older broker: a tick of theirs did not end  sessions=%d",
            rows.rows);
    }
    return outcome;
}

static tally_db_outcome_t
try_take_epoch(tally_recover_store_t *self, const char *instance, uint64_t *epoch)
{
    tally_db_outcome_t outcome = tally_recover_store_connect(self);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_begin(self->db, TALLY_DB_READ_COMMITTED);
    }
    if (outcome == TALLY_DB_DONE) {
        outcome = raise_epoch(self, instance, epoch);
        if (outcome != TALLY_DB_DONE) {
            tally_db_rollback(self->db);
        }
    }
    //  Whether an unknown commit took an epoch does not matter: the next attempt takes a higher one.
    return outcome == TALLY_DB_UNKNOWN ? TALLY_DB_RETRY : outcome;
}

tally_db_outcome_t
tally_recover_store_take_epoch(tally_recover_store_t *self, const char *instance, uint64_t *epoch)
{
    tally_db_outcome_t outcome = try_take_epoch(self, instance, epoch);
    if (outcome == TALLY_DB_RETRY && strcmp(tally_db_sqlstate(self->db), "55P03") == 0) {
        outcome = end_stuck_ticks(self);
        if (outcome == TALLY_DB_DONE) {
            outcome = try_take_epoch(self, instance, epoch);
        }
    }
    return outcome;
}

static tally_db_outcome_t
read_number(tally_recover_store_t *self, const char *sql, const tally_params_t *params,
            uint64_t *number)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = run(self, sql, params, &rows);
    if (outcome == TALLY_DB_DONE) {
        *number = rows.rows == 0 ? 0 : (uint64_t)tally_rows_int8(&rows, 0, 0);
    }
    return outcome;
}

tally_db_outcome_t
tally_recover_store_read_epoch(tally_recover_store_t *self, uint64_t *epoch)
{
    return read_number(self, "select epoch from tally.broker", NULL, epoch);
}

//  Whoever comes first takes the number: the tick with its record, or we with a void one.  The insert waits for a
//  transaction that has the number and is not over; not for long, since the broker stands still meanwhile.
static tally_db_outcome_t
take_number(tally_recover_store_t *self, const tally_params_t *params)
{
    tally_db_outcome_t outcome = tally_recover_store_connect(self);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_begin(self->db, TALLY_DB_READ_COMMITTED);
    }
    if (outcome != TALLY_DB_DONE) {
        return outcome;
    }
    outcome = tally_db_script(self->db, "set local lock_timeout = '500ms'");
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_run(self->db,
                               "insert into tally.tick (epoch, number, void) values ($1, $2, true) "
                               "on conflict do nothing",
                               params, NULL);
    }
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_commit(self->db);
    } else {
        tally_db_rollback(self->db);
    }
    //  Unknown: the next attempt finds our own row, and that one says void.
    return outcome == TALLY_DB_UNKNOWN ? TALLY_DB_RETRY : outcome;
}

tally_db_outcome_t
tally_recover_store_find_tick(tally_recover_store_t *self, uint64_t epoch, uint64_t number,
                              bool *found)
{
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)epoch);
    tally_params_int8(&params, (int64_t)number);
    tally_rows_t rows;
    *found = false;
    tally_db_outcome_t outcome = take_number(self, &params);
    if (outcome == TALLY_DB_DONE) {
        outcome = run(self, "select void from tally.tick where epoch = $1 and number = $2", &params,
                      &rows);
    }
    if (outcome == TALLY_DB_DONE) {
        assert(rows.rows == 1);
        *found = !tally_rows_bool(&rows, 0, 0);
    }
    tally_params_free(&params);
    return outcome;
}

//  ---- loading --------------------------------------------------------------------------------------------

static tally_db_outcome_t
load_queues(tally_recover_store_t *self, const tally_recover_sink_t *sink)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_run(self->db,
                                              "select " TALLY_QUEUE_COLUMNS
                                              " from tally.queue q order by q.id",
                                              NULL, &rows);
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        tally_queue_row_t queue;
        tally_row_decode_queue(&rows, i, &queue);
        sink->queue(sink->context, &queue);
    }
    return outcome;
}

static tally_db_outcome_t
load_tenants(tally_recover_store_t *self, const tally_recover_sink_t *sink)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_run(self->db,
                                              "select id, name, weight, messages_max, bytes_max, "
                                              "leased_max, connections_max, requests_max "
                                              "from tally.tenant order by id",
                                              NULL, &rows);
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        tally_tenant_row_t tenant = {.id = (uint32_t)tally_rows_int8(&rows, i, 0),
                                     .weight = (int32_t)tally_rows_int8(&rows, i, 2),
                                     .messages_max = tally_rows_int8(&rows, i, 3),
                                     .bytes_max = tally_rows_int8(&rows, i, 4),
                                     .leased_max = tally_rows_int8(&rows, i, 5),
                                     .connections_max = (int32_t)tally_rows_int8(&rows, i, 6),
                                     .requests_max = (int32_t)tally_rows_int8(&rows, i, 7)};
        tally_row_copy_name(tenant.name, sizeof tenant.name, tally_rows_bytes(&rows, i, 1));
        sink->tenant(sink->context, &tenant);
    }
    return outcome;
}

static tally_db_outcome_t
load_terms(tally_recover_store_t *self, const tally_recover_sink_t *sink)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_run(
        self->db, "select queue, tenant, epoch, worker, worker_name from tally.term", NULL, &rows);
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        tally_term_row_t term = {.queue = (uint32_t)tally_rows_int8(&rows, i, 0),
                                 .tenant = (uint32_t)tally_rows_int8(&rows, i, 1),
                                 .epoch = (uint64_t)tally_rows_int8(&rows, i, 2),
                                 .worker = (uint64_t)tally_rows_int8(&rows, i, 3)};
        tally_row_copy_name(term.worker_name, sizeof term.worker_name,
                            tally_rows_bytes(&rows, i, 4));
        sink->term(sink->context, &term);
    }
    return outcome;
}

static tally_db_outcome_t
load_leases(tally_recover_store_t *self, const tally_recover_sink_t *sink)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_run(self->db,
                                              "select " TALLY_LEASE_COLUMNS
                                              " from tally.lease l order by l.id",
                                              NULL, &rows);
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        tally_lease_row_t lease;
        tally_row_decode_lease(&rows, i, &lease);
        sink->lease(sink->context, &lease);
        free((void *)(uintptr_t)lease.messages);
    }
    return outcome;
}

static void
take_message(void *context, const tally_bytes_t *fields)
{
    const tally_recover_sink_t *sink = context;
    tally_message_row_t message;
    tally_row_decode_message(fields, &message);
    sink->message(sink->context, &message);
}

//  Copied, so that millions of rows stream through while PostgreSQL reads the next ones; ordered as the primary key is,
//  so that nothing is sorted and the first come at once.
static tally_db_outcome_t
load_messages(tally_recover_store_t *self, const tally_recover_sink_t *sink)
{
    return tally_db_copy(self->db,
                         "copy (select " TALLY_MESSAGE_COLUMNS " from tally.message m "
                         "order by m.tenant, m.id) to stdout (format binary)",
                         TALLY_MESSAGE_FIELDS, take_message, (void *)(uintptr_t)sink);
}

tally_db_outcome_t
tally_recover_store_load(tally_recover_store_t *self, const tally_recover_sink_t *sink)
{
    typedef tally_db_outcome_t step_fn(tally_recover_store_t *, const tally_recover_sink_t *);
    step_fn *const steps[] = {load_queues, load_tenants, load_terms, load_leases, load_messages};
    const bool wanted[] = {sink->queue != NULL, sink->tenant != NULL, sink->term != NULL,
                           sink->lease != NULL, sink->message != NULL};
    tally_db_outcome_t outcome = tally_recover_store_connect(self);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_begin(self->db, TALLY_DB_REPEATABLE_READ);
    }
    if (outcome == TALLY_DB_DONE && sink->began != NULL) {
        sink->began(sink->context);
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0] && outcome == TALLY_DB_DONE; i++) {
        if (wanted[i]) {
            outcome = steps[i](self, sink);
        }
    }
    tally_db_rollback(self->db);    // it only read
    return outcome;
}

//  ---- single things --------------------------------------------------------------------------------------

tally_db_outcome_t
tally_recover_store_sender(tally_recover_store_t *self, const uint8_t id[TALLY_SENDER_BYTES],
                           bool *found, tally_sender_row_t *row)
{
    tally_params_t params = {0};
    tally_params_bytea(&params, (tally_bytes_t){id, TALLY_SENDER_BYTES});
    tally_rows_t rows;
    tally_db_outcome_t outcome =
        run(self, "select last, missing from tally.sender where id = encode($1, 'hex')::uuid",
            &params, &rows);
    tally_params_free(&params);
    *found = outcome == TALLY_DB_DONE && rows.rows == 1;
    if (*found) {
        memcpy(row->id, id, TALLY_SENDER_BYTES);
        row->last = tally_rows_int8(&rows, 0, 0);
        row->missing_count = tally_row_decode_array(tally_rows_bytes(&rows, 0, 1), &self->numbers);
        row->missing = self->numbers;
    }
    return outcome;
}

tally_db_outcome_t
tally_recover_store_result(tally_recover_store_t *self, const tally_asker_t *asker, bool *found,
                           tally_result_t *result)
{
    tally_params_t params = {0};
    tally_params_bytea(&params, (tally_bytes_t){asker->sender, TALLY_SENDER_BYTES});
    tally_params_int8(&params, (int64_t)asker->sequence);
    tally_params_int4(&params, asker->item);
    tally_rows_t rows;
    tally_db_outcome_t outcome =
        run(self,
            "select outcome, body from tally.result "
            "where sender = encode($1, 'hex')::uuid and sequence = $2 and item = $3",
            &params, &rows);
    tally_params_free(&params);
    *found = outcome == TALLY_DB_DONE && rows.rows == 1;
    if (*found) {
        result->index = asker->item;
        result->outcome = (uint8_t)tally_rows_int8(&rows, 0, 0);
        result->body = tally_rows_bytes(&rows, 0, 1);
    }
    return outcome;
}

tally_db_outcome_t
tally_recover_store_blob(tally_recover_store_t *self, uint32_t tenant, uint64_t message,
                         bool *found, tally_bytes_t *body)
{
    tally_params_t params = {0};
    tally_params_int4(&params, (int32_t)tenant);
    tally_params_int8(&params, (int64_t)message);
    tally_rows_t rows;
    tally_db_outcome_t outcome = run(self,
                                     "select body from tally.blob where tenant = $1 and id = $2",
                                     &params, &rows);
    tally_params_free(&params);
    *found = outcome == TALLY_DB_DONE && rows.rows == 1;
    if (*found) {
        *body = tally_rows_bytes(&rows, 0, 0);
    }
    return outcome;
}

static void
read_dead(const tally_rows_t *rows, int row, tally_dead_row_t *dead)
{
    *dead = (tally_dead_row_t){
        .id = (uint64_t)tally_rows_int8(rows, row, 0),
        .tenant = (uint32_t)tally_rows_int8(rows, row, 1),
        .queue = (uint32_t)tally_rows_int8(rows, row, 2),
        .priority = (uint8_t)tally_rows_int8(rows, row, 3),
        .is_blob = tally_rows_bool(rows, row, 4),
        .created_at = tally_rows_bytes(rows, row, 5),
        .buried_at = tally_rows_bytes(rows, row, 6),
        .reason = tally_rows_bytes(rows, row, 7),
        .history = tally_rows_bytes(rows, row, 8),
        .deliveries = (int32_t)tally_rows_int8(rows, row, 9),
        .failures = (int32_t)tally_rows_int8(rows, row, 10),
        .crashes = (int32_t)tally_rows_int8(rows, row, 11),
        .key = tally_rows_bytes(rows, row, 12),
        .body = tally_rows_bytes(rows, row, 13),
    };
}

tally_db_outcome_t
tally_recover_store_dead(tally_recover_store_t *self, uint32_t tenant, uint32_t queue, uint64_t id,
                         size_t limit, tally_dead_fn *fn, void *context)
{
    tally_params_t params = {0};
    tally_params_int4(&params, (int32_t)tenant);
    tally_params_int4(&params, (int32_t)queue);
    tally_params_int8(&params, (int64_t)id);
    tally_params_int8(&params, (int64_t)limit);
    tally_rows_t rows;
    tally_db_outcome_t outcome = run(
        self,
        "select d.id, d.tenant, d.queue, d.priority, d.is_blob, "
        "to_char(d.created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), "
        "to_char(d.buried_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), d.reason, "
        "to_json(d.history)::text, d.deliveries, d.failures, d.crashes, d.key, coalesce(b.body, "
        "d.body) "
        "from tally.dead_letter d left join tally.blob b on b.tenant = d.tenant and b.id = d.id "
        "where d.tenant = $1 and ($2 = 0 or d.queue = $2) and ($3 = 0 or d.id = $3) "
        "order by d.buried_at desc, d.id desc limit $4",
        &params, &rows);
    tally_params_free(&params);
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        tally_dead_row_t dead;
        read_dead(&rows, i, &dead);
        fn(context, &dead);
    }
    return outcome;
}

tally_db_outcome_t
tally_recover_store_dead_counts(tally_recover_store_t *self, tally_dead_count_fn *fn, void *context)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = run(self,
                                     "select queue, count(*) from tally.dead_letter group by queue",
                                     NULL, &rows);
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        fn(context, (uint32_t)tally_rows_int8(&rows, i, 0), (uint64_t)tally_rows_int8(&rows, i, 1));
    }
    return outcome;
}

tally_db_outcome_t
tally_recover_store_oldest_snapshot(tally_recover_store_t *self, tally_snapshot_holder_t *holder)
{
    static const char sql[] =
        "select a.pid, a.application_name::text,"
        " (extract(epoch from clock_timestamp() - a.xact_start) * 1000)::bigint"
        " from pg_stat_activity a where a.backend_xmin is not null and a.pid <> pg_backend_pid()"
        " and a.backend_type = 'client backend' and a.xact_start is not null"
        " order by a.xact_start limit 1";
    tally_rows_t rows;
    *holder = (tally_snapshot_holder_t){0};
    tally_db_outcome_t outcome = run(self, sql, NULL, &rows);
    if (outcome == TALLY_DB_DONE && rows.rows == 1) {
        tally_bytes_t application = tally_rows_bytes(&rows, 0, 1);
        holder->pid = (int32_t)tally_rows_int8(&rows, 0, 0);
        snprintf(holder->application, sizeof holder->application, "%.*s", (int)application.size,
                 (const char *)application.data);
        holder->age_ms = tally_rows_int8(&rows, 0, 2);
    }
    return outcome;
}
