// SPDX-License-Identifier: MIT
//  What the broker reads outside its ticks, and how it takes its place: schema, epoch, the fate of
//  a tick, everything at start, and single things.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "broker/recover_store.h"
#include "broker/tick_lock.h"
#include "lib/alloc.h"
#include "lib/log.h"
#include "tests/integration/pg.h"

struct fixture {
    tally_recover_store_t *store;
    tally_db_t *db;     // what others do
    char seen[4096];    // what the callbacks were given, in a line
    size_t seen_size;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *conninfo = tally_pg_fresh(tally_pg_shared());
    f->store = tally_recover_store_new(conninfo);
    f->db = tally_db_new(conninfo, "test-db");
    *state = f;
    return tally_recover_store_connect(f->store) == TALLY_DB_DONE ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_recover_store_destroy(&f->store);
    tally_db_destroy(&f->db);
    free(f);
    return 0;
}

static void
must(tally_db_outcome_t outcome)
{
    assert_int_equal(outcome, TALLY_DB_DONE);
}

static void TALLY_PRINTF(2, 3) see(struct fixture *f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(f->seen + f->seen_size, sizeof f->seen - f->seen_size, format, args);
    va_end(args);
    assert_true(size >= 0 && f->seen_size + (size_t)size < sizeof f->seen);
    f->seen_size += (size_t)size;
}

//  ---- schema and epoch ---------------------------------------------------------------------------

static void
schema_of_another_version_is_refused_with_what_to_do(void **state)
{
    struct fixture *f = *state;
    must(tally_recover_store_check_schema(f->store));
    must(
        tally_db_script(f->db, "insert into tally.migration (version, name) values (99, 'later')"));
    assert_int_equal(tally_recover_store_check_schema(f->store), TALLY_DB_REJECT);
    assert_non_null(strstr(tally_recover_store_error(f->store), "newer"));
    must(tally_db_script(f->db, "delete from tally.migration where version > 1"));
    assert_int_equal(tally_recover_store_check_schema(f->store), TALLY_DB_REJECT);
    assert_non_null(strstr(tally_recover_store_error(f->store), "tally db migrate"));
    must(tally_db_script(f->db, "drop schema tally cascade"));
    assert_int_equal(tally_recover_store_check_schema(f->store), TALLY_DB_REJECT);
    assert_non_null(strstr(tally_recover_store_error(f->store), "tally db migrate"));
}

static void
each_broker_takes_a_higher_epoch(void **state)
{
    struct fixture *f = *state;
    uint64_t first = 0, second = 0, now = 0;
    must(tally_recover_store_take_epoch(f->store, "one", &first));
    must(tally_recover_store_take_epoch(f->store, "two", &second));
    assert_int_equal(first, 1);
    assert_int_equal(second, 2);
    must(tally_recover_store_read_epoch(f->store, &now));
    assert_int_equal(now, 2);
    tally_rows_t rows;
    must(tally_db_run(f->db, "select from tally.broker where instance = 'two'", NULL, &rows));
    assert_int_equal(rows.rows, 1);
}

static void
lock_as_a_tick(struct fixture *f)
{
    tally_params_t lock = {0};
    tally_params_int8(&lock, TALLY_TICK_LOCK);
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    tally_db_outcome_t outcome = tally_db_run(f->db, "select pg_advisory_xact_lock_shared($1)",
                                              &lock, NULL);
    tally_params_free(&lock);
    must(outcome);
}

static void
session_of_a_broker_that_stopped_in_its_tick_is_ended(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(f->db, "create table written (what text)"));
    lock_as_a_tick(f);
    must(tally_db_run(f->db, "insert into written values ('late')", NULL, NULL));
    uint64_t epoch = 0;
    must(tally_recover_store_take_epoch(f->store, "new", &epoch));
    assert_int_equal(epoch, 1);
    assert_int_equal(tally_db_commit(f->db), TALLY_DB_RETRY);
    tally_rows_t rows;
    must(tally_db_run(f->db, "select from written", NULL, &rows));
    assert_int_equal(rows.rows, 0);
}

//  ---- the fate of a tick -------------------------------------------------------------------------

static const char *const begin_sql = "insert into tally.tick (epoch, number) values (0, 7)";

static void
assert_found(struct fixture *f, uint64_t number, bool expected)
{
    bool found = !expected;
    must(tally_recover_store_find_tick(f->store, 0, number, &found));
    assert_int_equal(found, expected);
}

static void
tick_with_a_record_is_found(void **state)
{
    struct fixture *f = *state;
    must(tally_db_run(f->db, begin_sql, NULL, NULL));
    assert_found(f, 7, true);
    assert_found(f, 7, true);
}

//  Its statements may still be on their way: once it was said that it did not commit, it cannot.
static void
tick_that_was_not_found_can_never_commit(void **state)
{
    struct fixture *f = *state;
    assert_found(f, 7, false);
    assert_int_equal(tally_db_run(f->db, begin_sql, NULL, NULL), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->db), "23505");
    assert_found(f, 7, false);
    assert_found(f, 8, false);
}

static void
tick_that_is_not_over_is_neither_found_nor_not_found(void **state)
{
    struct fixture *f = *state;
    bool found = true;
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, begin_sql, NULL, NULL));
    assert_int_equal(tally_recover_store_find_tick(f->store, 0, 7, &found), TALLY_DB_RETRY);
    assert_false(found);
    must(tally_db_commit(f->db));
    assert_found(f, 7, true);

    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, "insert into tally.tick (epoch, number) values (0, 8)", NULL, NULL));
    assert_int_equal(tally_recover_store_find_tick(f->store, 0, 8, &found), TALLY_DB_RETRY);
    tally_db_rollback(f->db);
    assert_found(f, 8, false);
}

//  ---- everything at start ------------------------------------------------------------------------

static const char *const rows_sql =
    "delete from tally.queue; delete from tally.tenant;"
    "insert into tally.tenant (id, name, weight, messages_max, bytes_max, leased_max) values"
    " (8, 'other', 5, 6, 7, 8), (7, 'acme', 1, 2, 3, 4);"
    "insert into tally.queue (id, name, visibility_ms, failures_max, crashes_max, retry_ms, "
    "retry_ms_max,"
    " batch_max, window_ms, window_count, exclusive, keep_blobs, result_kept_ms, dedupe_kept_ms)"
    " overriding system value values (102, 'two', 101, 2, 3, 4, 5, 6, 7, 8, true, true, 9, 10),"
    " (101, 'one', 100, 1, 1, 1, 1, 1, 0, 0, false, false, 1, 1);"
    "insert into tally.term (queue, tenant, epoch, worker, worker_name) values (102, 7, 3, 4, 'w');"
    "insert into tally.lease (id, tenant, queue, worker, deadline, messages) values"
    " (501, 7, 101, 2, clock_timestamp() - interval '10 s', '{1}'),"
    " (500, 7, 101, 1, clock_timestamp() + interval '60 s', '{2,3}');"
    "insert into tally.message (tenant, id, queue, body) values (8, 1, 101, 'x'), (7, 3, 101, ''),"
    " (7, 1, 101, 'xyz');"
    "insert into tally.message (tenant, id, queue, priority, is_blob, releases, past_window, "
    "created_at, body,"
    " key, due, sender, sequence, item, deliveries, failures, crashes, batch_max) values"
    " (7, 2, 102, 3, true, true, true, clock_timestamp() - interval '5 s', '', 'k',"
    "  clock_timestamp() + interval '30 s', '00000000-0000-0000-0000-0000000000ff', 9, 2, 11, 12, "
    "13, 14)";

static void
see_queue(void *context, const tally_queue_row_t *row)
{
    see(context, "queue %u %s %d %d %d %d %d %d %d %d %d %d %d %d|", row->id, row->name,
        row->visibility_ms, row->failures_max, row->crashes_max, row->retry_ms, row->retry_ms_max,
        row->batch_max, (int)row->window_ms, row->window_count, row->exclusive, row->keep_blobs,
        (int)row->result_kept_ms, (int)row->dedupe_kept_ms);
}

static void
see_tenant(void *context, const tally_tenant_row_t *row)
{
    see(context, "tenant %u %s %d %d %d %d|", row->id, row->name, row->weight,
        (int)row->messages_max, (int)row->bytes_max, (int)row->leased_max);
}

static void
see_term(void *context, const tally_term_row_t *row)
{
    see(context, "term %u %u %d %d %s|", row->queue, row->tenant, (int)row->epoch, (int)row->worker,
        row->worker_name);
}

static void
see_lease(void *context, const tally_lease_row_t *row)
{
    see(context, "lease %d %u %u %d %.0fs", (int)row->id, row->tenant, row->queue, (int)row->worker,
        (double)row->left_ms / 1000.0);
    for (size_t i = 0; i < row->count; i++) {
        see(context, " %d", (int)row->messages[i]);
    }
    see(context, "|");
}

static void
see_message(void *context, const tally_message_row_t *row)
{
    see(context, "message %d %u %u %d %d%d%d %u %d %d %d %d", (int)row->id, row->tenant, row->queue,
        row->priority, row->is_blob, row->releases, row->past_window, row->body_bytes,
        row->deliveries, row->failures, row->crashes, row->batch_max);
    if (row->due_ms > 0) {
        assert_in_range(row->due_ms, 20000, 30000);
        assert_in_range(row->age_ms, 5000, 15000);
        see(context, " key %.*s", (int)row->key.size, (const char *)row->key.data);
    } else {
        assert_null(row->key.data);
        assert_in_range(row->age_ms, 0, 10000);
    }
    if (row->asked) {
        see(context, " asked %02x %d %d", row->asker.sender[15], (int)row->asker.sequence,
            row->asker.item);
    }
    see(context, "|");
}

static const char *const rows_seen =
    "queue 101 one 100 1 1 1 1 1 0 0 0 0 1 1|queue 102 two 101 2 3 4 5 6 7 8 1 1 9 10|"
    "tenant 7 acme 1 2 3 4|tenant 8 other 5 6 7 8|term 102 7 3 4 w|"
    "lease 500 7 101 1 60s 2 3|lease 501 7 101 2 -10s 1|"
    "message 1 7 101 1 000 3 0 0 0 0|message 2 7 102 3 111 0 11 12 13 14 key k asked ff 9 2|"
    "message 3 7 101 1 000 0 0 0 0 0|message 1 8 101 1 000 1 0 0 0 0|";

static void
everything_is_loaded_in_its_order_and_again(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(f->db, rows_sql));
    const tally_recover_sink_t sink = {f,        NULL,      see_queue,  see_tenant,
                                       see_term, see_lease, see_message};
    for (int i = 0; i < 2; i++) {
        f->seen_size = 0;
        must(tally_recover_store_load(f->store, &sink));
        assert_string_equal(f->seen, rows_seen);
    }
    const tally_recover_sink_t terms_only = {.context = f, .term = see_term};
    f->seen_size = 0;
    must(tally_recover_store_load(f->store, &terms_only));
    assert_string_equal(f->seen, "term 102 7 3 4 w|");
}

struct counted {
    uint64_t count, last;
};

static void
count_message(void *context, const tally_message_row_t *row)
{
    struct counted *counted = context;
    assert_true(row->id > counted->last);
    counted->last = row->id;
    counted->count++;
}

static void
more_messages_than_one_piece_are_loaded_once_each(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(f->db, "insert into tally.message (tenant, id, queue, body)"
                                " select 7, g, 1, 'x' from generate_series(1, 25000) g"));
    struct counted counted = {0};
    const tally_recover_sink_t sink = {.context = &counted, .message = count_message};
    must(tally_recover_store_load(f->store, &sink));
    assert_int_equal(counted.count, 25000);
}

//  ---- single things ------------------------------------------------------------------------------

static const uint8_t sender[TALLY_SENDER_BYTES] = {[15] = 0xff};
static const uint8_t nobody[TALLY_SENDER_BYTES] = {[15] = 0xfe};

static void
sender_is_found_with_what_it_missed(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(f->db, "insert into tally.sender (id, last, missing) values"
                                " ('00000000-0000-0000-0000-0000000000ff', 12, '{3,5}')"));
    bool found = false;
    tally_sender_row_t row;
    must(tally_recover_store_sender(f->store, sender, &found, &row));
    assert_true(found);
    assert_memory_equal(row.id, sender, sizeof sender);
    assert_int_equal(row.last, 12);
    assert_int_equal(row.missing_count, 2);
    assert_int_equal(row.missing[1], 5);
    must(tally_recover_store_sender(f->store, nobody, &found, &row));
    assert_false(found);
}

static void
result_and_blob_are_found_by_their_keys(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(
        f->db, "insert into tally.result (sender, sequence, item, tenant, outcome, body, until)"
               " values ('00000000-0000-0000-0000-0000000000ff', 9, 2, 7, 2, 'why', now());"
               "insert into tally.blob (tenant, id, body) values (7, 3, 'bytes')"));
    bool found = false;
    tally_asker_t asker = {{[15] = 0xff}, 9, 2};
    tally_result_t result;
    must(tally_recover_store_result(f->store, &asker, &found, &result));
    assert_true(found);
    assert_int_equal(result.index, 2);
    assert_int_equal(result.outcome, TALLY_RESULT_BURIED);
    assert_true(tally_bytes_equal(result.body, tally_bytes_of("why")));
    asker.item = 3;
    must(tally_recover_store_result(f->store, &asker, &found, &result));
    assert_false(found);

    tally_bytes_t body;
    must(tally_recover_store_blob(f->store, 7, 3, &found, &body));
    assert_true(found);
    assert_true(tally_bytes_equal(body, tally_bytes_of("bytes")));
    must(tally_recover_store_blob(f->store, 8, 3, &found, &body));
    assert_false(found);
}

static void
see_dead(void *context, const tally_dead_row_t *row)
{
    see(context, "%d/%u/%u/%d/%d/%.*s/%.*s/%.*s/%d.%d.%d/%.*s/%.*s|", (int)row->id, row->tenant,
        row->queue, row->priority, row->is_blob, (int)row->created_at.size,
        (const char *)row->created_at.data, (int)row->reason.size, (const char *)row->reason.data,
        (int)row->history.size, (const char *)row->history.data, row->deliveries, row->failures,
        row->crashes, (int)row->key.size, (const char *)row->key.data, (int)row->body.size,
        (const char *)row->body.data);
}

static void
see_count(void *context, uint32_t queue, uint64_t count)
{
    see(context, "%u=%d|", queue, (int)count);
}

static void
dead_letters_are_listed_newest_first(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(
        f->db,
        "insert into tally.dead_letter (tenant, id, queue, priority, is_blob, created_at,"
        " buried_at, reason, history, deliveries, failures, crashes, key, body) values"
        " (7, 1, 101, 1, false, '2026-01-02 03:04:05.678Z', '2026-01-03Z', 'why', '{a,\"b\\\"\"}',"
        "  1, 2, 3, 'k', 'one'),"
        " (7, 2, 102, 2, true, '2026-01-02Z', '2026-01-04Z', 'no', '{}', 0, 0, 0, null, ''),"
        " (8, 3, 101, 1, false, now(), now(), '', '{}', 0, 0, 0, null, '');"
        "insert into tally.blob (tenant, id, body) values (7, 2, 'bytes')"));
    const char *one = "1/7/101/1/0/2026-01-02T03:04:05.678Z/why/[\"a\",\"b\\\"\"]/1.2.3/k/one|";
    const char *two = "2/7/102/2/1/2026-01-02T00:00:00.000Z/no/[]/0.0.0//bytes|";
    char *both = tally_format("%s%s", two, one);
    must(tally_recover_store_dead(f->store, 7, 0, 0, 10, see_dead, f));
    bool equal = strcmp(f->seen, both) == 0;
    free(both);
    assert_true(equal);
    f->seen_size = 0;
    must(tally_recover_store_dead(f->store, 7, 101, 0, 10, see_dead, f));
    assert_string_equal(f->seen, one);
    f->seen_size = 0;
    must(tally_recover_store_dead(f->store, 7, 0, 2, 10, see_dead, f));
    assert_string_equal(f->seen, two);
    f->seen_size = 0;
    must(tally_recover_store_dead(f->store, 7, 0, 0, 1, see_dead, f));
    assert_string_equal(f->seen, two);
    f->seen_size = 0;
    must(tally_recover_store_dead_counts(f->store, see_count, f));
    assert_true(strcmp(f->seen, "101=2|102=1|") == 0 || strcmp(f->seen, "102=1|101=2|") == 0);
}

static void
reading_goes_on_after_a_restart_of_the_server(void **state)
{
    struct fixture *f = *state;
    bool found = true;
    tally_sender_row_t row;
    must(tally_recover_store_sender(f->store, nobody, &found, &row));
    tally_pg_stop(tally_pg_shared());
    assert_int_equal(tally_recover_store_sender(f->store, nobody, &found, &row), TALLY_DB_RETRY);
    assert_true(strlen(tally_recover_store_error(f->store)) > 0);
    tally_pg_start(tally_pg_shared());
    must(tally_recover_store_sender(f->store, nobody, &found, &row));
    assert_false(found);
}

static void
who_holds_the_oldest_snapshot_is_known(void **state)
{
    struct fixture *f = *state;
    tally_snapshot_holder_t holder;
    must(tally_recover_store_oldest_snapshot(f->store, &holder));
    assert_int_equal(holder.pid, 0);
    must(tally_db_begin(f->db, TALLY_DB_REPEATABLE_READ));
    tally_rows_t rows;
    must(tally_db_run(f->db, "select pg_backend_pid() from pg_sleep(0.05)", NULL, &rows));
    int64_t pid = tally_rows_int8(&rows, 0, 0);
    must(tally_recover_store_oldest_snapshot(f->store, &holder));
    assert_int_equal(holder.pid, pid);
    assert_in_range(holder.age_ms, 50, 10000);
    assert_true(holder.application[0] != '\0');
    tally_db_rollback(f->db);
    must(tally_recover_store_oldest_snapshot(f->store, &holder));
    assert_int_equal(holder.pid, 0);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    tally_log_set_level(TALLY_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        SCENE(schema_of_another_version_is_refused_with_what_to_do),
        SCENE(each_broker_takes_a_higher_epoch),
        SCENE(session_of_a_broker_that_stopped_in_its_tick_is_ended),
        SCENE(tick_with_a_record_is_found),
        SCENE(tick_that_was_not_found_can_never_commit),
        SCENE(tick_that_is_not_over_is_neither_found_nor_not_found),
        SCENE(everything_is_loaded_in_its_order_and_again),
        SCENE(more_messages_than_one_piece_are_loaded_once_each),
        SCENE(sender_is_found_with_what_it_missed),
        SCENE(result_and_blob_are_found_by_their_keys),
        SCENE(dead_letters_are_listed_newest_first),
        SCENE(who_holds_the_oldest_snapshot_is_known),
        SCENE(reading_goes_on_after_a_restart_of_the_server),
    };
    return cmocka_run_group_tests_name("recover_store", tests, tally_pg_share, tally_pg_unshare);
}
