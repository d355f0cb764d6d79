// SPDX-License-Identifier: MIT
//  The functions that other people's transactions call (tally.send, tally.settle,
//  tally.hold_term): every case of each against a real PostgreSQL, and the races between two
//  sessions step by step.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"
#include "lib/log.h"
#include "tests/integration/pg.h"

struct fixture {
    tally_db_t *worker;
    tally_db_t *rival;    // another worker, or the broker
    tally_db_t *looker;
    //  a statement that runs on a thread because it has to wait
    pthread_t thread;
    bool started;
    const char *sql;
    tally_db_outcome_t outcome;
};

//  Queue 101 drops blobs, 102 keeps them, 103 is exclusive.  Lease 500 holds messages 1 to 4 of
//  tenant 7: 1 is plain, 2 was asked for, 3 is a blob, 4 is a blob that was asked for.  Lease 600
//  holds message 6, a blob, in queue 102.
static const char *const scene_sql =
    "insert into tally.tenant (id, name) values (7, 'acme'), (8, 'other');"
    "insert into tally.queue (id, name, keep_blobs, exclusive) overriding system value values"
    " (101, 'plain', false, false), (102, 'keeping', true, false), (103, 'single', false, true);"
    "insert into tally.message (tenant, id, queue, is_blob, body, sender, sequence, item) values"
    " (7, 1, 101, false, 'one', null, null, null),"
    " (7, 2, 101, false, 'two', '00000000-0000-0000-0000-00000000000a', 11, 0),"
    " (7, 3, 101, true, '', null, null, null),"
    " (7, 4, 101, true, '', '00000000-0000-0000-0000-00000000000a', 11, 2),"
    " (7, 5, 101, false, 'free', null, null, null), (8, 1, 101, false, 'not ours', null, null, "
    "null),"
    " (7, 6, 102, true, '', null, null, null);"
    "insert into tally.blob (tenant, id, body) values (7, 3, 'three'), (7, 4, 'four'), (7, 6, "
    "'six');"
    "insert into tally.lease (id, tenant, queue, worker, deadline, messages) values"
    " (500, 7, 101, 1, now() + interval '1 minute', '{1,2,3,4}'),"
    " (600, 7, 102, 1, now() + interval '1 minute', '{6}');"
    "insert into tally.term (queue, tenant, epoch, worker, worker_name) values (103, 7, 3, 1, 'w');"
    "create table effect (what text)";

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *conninfo = tally_pg_fresh(tally_pg_shared());
    f->worker = tally_db_new(conninfo, "test-worker");
    f->rival = tally_db_new(conninfo, "test-rival");
    f->looker = tally_db_new(conninfo, "test-looker");
    *state = f;
    return tally_db_script(f->looker, scene_sql) == TALLY_DB_DONE ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_db_destroy(&f->worker);    // ends its transaction, so a thread that waits for it goes on
    if (f->started) {
        pthread_join(f->thread, NULL);
    }
    tally_db_destroy(&f->rival);
    tally_db_destroy(&f->looker);
    free(f);
    return 0;
}

static void
must(tally_db_outcome_t outcome)
{
    assert_int_equal(outcome, TALLY_DB_DONE);
}

//  Runs the statement in a transaction that also writes an effect, and commits when it did not
//  fail.
static tally_db_outcome_t
work(tally_db_t *db, const char *sql)
{
    must(tally_db_begin(db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(db, "insert into effect values ('work')", NULL, NULL));
    if (tally_db_run(db, sql, NULL, NULL) != TALLY_DB_DONE) {
        tally_db_rollback(db);
        return TALLY_DB_REJECT;
    }
    return tally_db_commit(db);
}

static void
assert_refused(struct fixture *f, const char *sql, const char *sqlstate)
{
    assert_int_equal(work(f->worker, sql), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->worker), sqlstate);
}

static void
assert_text(struct fixture *f, const char *sql, const char *expected)
{
    tally_rows_t rows;
    must(tally_db_run(f->looker, sql, NULL, &rows));
    assert_int_equal(rows.rows, 1);
    tally_bytes_t text = tally_rows_bytes(&rows, 0, 0);
    char *found = text.data == NULL ? tally_strdup("null") : tally_strndup(text.data, text.size);
    if (strcmp(found, expected) != 0) {
        print_error("%s\n  gave     %s\n  expected %s\n", sql, found, expected);
    }
    bool equal = strcmp(found, expected) == 0;
    free(found);
    assert_true(equal);
}

//  What is left, in a line: messages of tenant 7, blobs, what lease 500 holds, effects.
static void
assert_left(struct fixture *f, const char *messages, const char *blobs, const char *lease,
            int effects)
{
    assert_text(f,
                "select string_agg(id::text, ' ' order by id) from tally.message where tenant = 7",
                messages);
    assert_text(f, "select string_agg(id::text, ' ' order by id) from tally.blob", blobs);
    assert_text(f, "select (select messages::text from tally.lease where id = 500)", lease);
    char count[16];
    snprintf(count, sizeof count, "%d", effects);
    assert_text(f, "select count(*)::text from effect", count);
}

//  ---- settle ------------------------------------------------------------------------------------

static void
settle_of_a_whole_lease_ends_its_messages_with_the_workers_writes(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(500)"));
    assert_left(f, "5 6", "6", "null", 1);
    assert_text(f, "select count(*)::text from tally.message where tenant = 8", "1");
}

static void
settle_of_a_part_leaves_the_rest_under_the_lease(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(500, '{3,1}')"));
    assert_left(f, "2 4 5 6", "4 6", "{2,4}", 1);
    must(work(f->worker, "select tally.settle(500, '{4}')"));
    assert_left(f, "2 5 6", "6", "{2}", 2);
    must(work(f->worker, "select tally.settle(500)"));
    assert_left(f, "5 6", "6", "null", 3);
    assert_refused(f, "select tally.settle(500)", "TY001");
}

static void
settle_of_nothing_changes_nothing(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(500, '{}')"));
    assert_left(f, "1 2 3 4 5 6", "3 4 6", "{1,2,3,4}", 1);
}

static void
settle_keeps_blobs_where_the_queue_says_so(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(600)"));
    assert_left(f, "1 2 3 4 5", "3 4 6", "{1,2,3,4}", 1);
}

static const char *const results_sql =
    "select string_agg(format('%s:%s:%s:%s', sequence, item, outcome, convert_from(body, 'UTF8')), "
    "' '"
    " order by item) from tally.result where sender = '00000000-0000-0000-0000-00000000000a'"
    " and tenant = 7 and until > now() + interval '59 minutes'";

static void
settle_keeps_results_for_those_who_asked(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(500, '{4,1,2}', array['r4', 'r1', 'r2']::bytea[])"));
    assert_text(f, results_sql, "11:0:1:r2 11:2:1:r4");
}

static void
settle_without_results_still_answers_who_asked(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(500, '{2}')"));
    assert_text(f, results_sql, "11:0:1:");
    must(work(f->worker, "select tally.settle(500, '{4,3}', array[null]::bytea[])"));
    assert_text(f, results_sql, "11:0:1: 11:2:1:");
}

static void
settle_of_a_whole_lease_takes_results_in_its_order(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(500, null, array['a', 'b', 'c', 'd']::bytea[])"));
    assert_text(f, results_sql, "11:0:1:b 11:2:1:d");
}

static void
settle_refuses_a_result_that_is_too_large(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.settle(500, '{2}', array[decode(repeat('61', 16711680),"
                         " 'hex')])"));
    assert_refused(f,
                   "select tally.settle(500, '{4}', array[decode(repeat('61', 16711681), 'hex')])",
                   "TY004");
}

static void
settle_under_a_lease_that_is_over_takes_the_workers_writes_with_it(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "select tally.settle(499)", "TY001");
    assert_refused(f, "select tally.settle(null)", "TY001");
    must(tally_db_script(f->looker, "delete from tally.lease where id = 500"));
    assert_refused(f, "select tally.settle(500)", "TY001");
    assert_left(f, "1 2 3 4 5 6", "3 4 6", "null", 0);
}

static void
settle_of_messages_that_the_lease_does_not_hold_is_refused_as_a_whole(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "select tally.settle(500, '{1,5}')", "TY001");     // nobody's
    assert_refused(f, "select tally.settle(500, '{1,6}')", "TY001");     // another lease's
    assert_refused(f, "select tally.settle(500, '{1,77}')", "TY001");    // not there
    assert_refused(f, "select tally.settle(500, '{1,1}')", "TY001");     // twice
    assert_refused(f, "select tally.settle(500, '{1,null}')", "TY001");
    assert_left(f, "1 2 3 4 5 6", "3 4 6", "{1,2,3,4}", 0);
    assert_text(f, results_sql, "null");
}

static void
settle_twice_in_one_transaction_is_refused(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.settle(500, '{1}')", NULL, NULL));
    assert_int_equal(tally_db_run(f->worker, "select tally.settle(500, '{1}')", NULL, NULL),
                     TALLY_DB_REJECT);
    tally_db_rollback(f->worker);
    assert_left(f, "1 2 3 4 5 6", "3 4 6", "{1,2,3,4}", 0);
}

static void
settle_that_is_rolled_back_did_not_happen(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.settle(500)", NULL, NULL));
    tally_db_rollback(f->worker);
    assert_left(f, "1 2 3 4 5 6", "3 4 6", "{1,2,3,4}", 0);
    must(work(f->worker, "select tally.settle(500)"));
}

//  ---- two sessions ------------------------------------------------------------------------------

static void *
run_rival(void *context)
{
    struct fixture *f = context;
    f->outcome = tally_db_run(f->rival, f->sql, NULL, NULL);
    return NULL;
}

//  Starts the statement in the rival's session and waits until it waits for a lock.
static void
let_rival_wait(struct fixture *f, const char *sql)
{
    f->sql = sql;
    must(tally_db_connect(f->rival));
    assert_int_equal(pthread_create(&f->thread, NULL, run_rival, f), 0);
    f->started = true;
    int64_t give_up_at_ms = tally_clock_now_ms() + 5000;
    for (;;) {
        tally_rows_t rows;
        must(tally_db_run(f->looker,
                          "select from pg_stat_activity where application_name = 'test-rival'"
                          " and wait_event_type = 'Lock'",
                          NULL, &rows));
        if (rows.rows == 1) {
            return;
        }
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        poll(NULL, 0, 2);
    }
}

static tally_db_outcome_t
hear_rival(struct fixture *f)
{
    pthread_join(f->thread, NULL);
    f->started = false;
    return f->outcome;
}

static void
of_two_settling_at_once_the_second_is_refused(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.settle(500)", NULL, NULL));
    let_rival_wait(f, "select tally.settle(500)");
    must(tally_db_commit(f->worker));
    assert_int_equal(hear_rival(f), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->rival), "TY001");
    assert_left(f, "5 6", "6", "null", 0);
}

static void
of_two_settling_at_once_the_second_wins_when_the_first_gives_up(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.settle(500)", NULL, NULL));
    let_rival_wait(f, "select tally.settle(500)");
    tally_db_rollback(f->worker);
    must(hear_rival(f));
    assert_left(f, "5 6", "6", "null", 0);
}

static void
of_two_settling_parts_at_once_both_win(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.settle(500, '{1,2}')", NULL, NULL));
    let_rival_wait(f, "select tally.settle(500, '{3,4}')");
    must(tally_db_commit(f->worker));
    must(hear_rival(f));
    assert_left(f, "5 6", "6", "null", 0);
}

static void
of_two_settling_the_same_part_at_once_one_wins(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.settle(500, '{1,2}')", NULL, NULL));
    let_rival_wait(f, "select tally.settle(500, '{2,3}')");
    must(tally_db_commit(f->worker));
    assert_int_equal(hear_rival(f), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->rival), "TY001");
    assert_left(f, "3 4 5 6", "3 4 6", "{3,4}", 0);
}

static const char
    *const expire_sql = "select id from tally.lease where id = 500 for update skip locked";

static void
broker_passes_over_a_lease_that_is_being_settled(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.settle(500, '{1}')", NULL, NULL));
    must(tally_db_run(f->rival, expire_sql, NULL, &rows));
    assert_int_equal(rows.rows, 0);
    must(tally_db_commit(f->worker));
    must(tally_db_run(f->rival, expire_sql, NULL, &rows));
    assert_int_equal(rows.rows, 1);
}

//  ---- terms -------------------------------------------------------------------------------------

static void
term_that_is_current_is_held_and_any_other_is_refused(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.hold_term('single', 'acme', 3)"));
    assert_refused(f, "select tally.hold_term('single', 'acme', 2)", "TY002");
    assert_refused(f, "select tally.hold_term('single', 'acme', 4)", "TY002");
    assert_refused(f, "select tally.hold_term('single', 'acme', null)", "TY002");
    assert_refused(f, "select tally.hold_term('single', 'other', 3)", "TY002");
    assert_refused(f, "select tally.hold_term('plain', 'acme', 3)", "TY002");
    assert_refused(f, "select tally.hold_term('none', 'acme', 3)", "TY002");
    assert_refused(f, "select tally.hold_term('single', 'none', 3)", "TY002");
    assert_text(f, "select count(*)::text from effect", "1");
}

static const char *const elect_sql =
    "update tally.term t set epoch = epoch + 1 where (t.queue, t.tenant) in (select queue, tenant"
    " from tally.term where queue = 103 and tenant = 7 and epoch = 3 for update skip locked)"
    " returning epoch";

static void
term_that_is_held_in_a_transaction_is_not_granted_to_another(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.hold_term('single', 'acme', 3)", NULL, NULL));
    must(tally_db_run(f->rival, elect_sql, NULL, &rows));
    assert_int_equal(rows.rows, 0);
    must(tally_db_commit(f->worker));
    must(tally_db_run(f->rival, elect_sql, NULL, &rows));
    assert_int_equal(rows.rows, 1);
    assert_int_equal(tally_rows_int8(&rows, 0, 0), 4);
    assert_refused(f, "select tally.hold_term('single', 'acme', 3)", "TY002");
}

static void
term_granted_while_its_holder_waits_is_refused_to_it(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, elect_sql, NULL, NULL));
    let_rival_wait(f, "select tally.hold_term('single', 'acme', 3)");
    must(tally_db_commit(f->worker));
    assert_int_equal(hear_rival(f), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->rival), "TY002");
}

static void
term_is_held_by_two_transactions_of_its_holder_at_once(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.hold_term('single', 'acme', 3)", NULL, NULL));
    must(work(f->rival, "select tally.hold_term('single', 'acme', 3)"));
    must(tally_db_commit(f->worker));
}

//  ---- send --------------------------------------------------------------------------------------

static void
send_puts_a_message_into_the_inbox_with_the_callers_writes(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, "select tally.send('plain', 'acme', 'h\xc3\xa4llo', key => 'k',"
                         " delay => '1 hour', priority => 3, releases => true)"));
    must(work(f->worker, "select tally.send('plain', 'acme', '')"));
    must(work(f->worker, "select tally.send_bytes('keeping', 'other', '\\x00ff')"));
    assert_text(
        f,
        "select string_agg(format('%s/%s/%s/%s/%s/%s/%s', tenant, queue, priority, releases,"
        " round(extract(epoch from due - now()) / 3600), encode(key, 'escape'), body), ' '"
        " order by id) from tally.inbox",
        "7/101/3/t/1/k/\\x68c3a46c6c6f 7/101/1/f///\\x 8/102/1/f///\\x00ff");
}

static void
send_that_is_rolled_back_sent_nothing(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->worker, "select tally.send('plain', 'acme', 'x')", NULL, NULL));
    tally_db_rollback(f->worker);
    assert_text(f, "select count(*)::text from tally.inbox", "0");
}

static void
send_to_what_does_not_exist_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "select tally.send('none', 'acme', 'x')", "TY003");
    assert_refused(f, "select tally.send('plain', 'none', 'x')", "TY003");
    assert_refused(f, "select tally.send(null, 'acme', 'x')", "TY003");
    assert_refused(f, "select tally.send('plain', null, 'x')", "TY003");
    assert_text(f, "select count(*)::text from tally.inbox", "0");
}

#define SEND(rest) "select tally.send('plain', 'acme', " rest ")"

static void
send_keeps_its_limits(void **state)
{
    struct fixture *f = *state;
    must(work(f->worker, SEND("repeat('x', 65536)")));
    assert_refused(f, SEND("repeat('x', 65537)"), "TY004");
    assert_refused(f, SEND("null"), "TY004");
    must(work(f->worker, SEND("'x', key => repeat('k', 200)")));
    assert_refused(f, SEND("'x', key => repeat('k', 201)"), "TY004");
    assert_refused(f, SEND("'x', key => ''"), "TY004");
    must(work(f->worker, SEND("'x', priority => 0")));
    must(work(f->worker, SEND("'x', priority => 3")));
    assert_refused(f, SEND("'x', priority => 4"), "TY004");
    assert_refused(f, SEND("'x', priority => -1"), "TY004");
    assert_refused(f, SEND("'x', priority => null"), "TY004");
    must(work(f->worker, SEND("'x', delay => '366 days'")));
    assert_refused(f, SEND("'x', delay => '366 days 1 second'"), "TY004");
    assert_refused(f, SEND("'x', delay => '-1 second'"), "TY004");
    assert_text(f, "select count(*)::text from tally.inbox", "5");
}

static void
strangers_may_call_nothing(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(f->looker, "drop role if exists stranger; create role stranger;"
                                    "grant usage on schema tally to stranger"));
    must(tally_db_script(f->worker, "set role stranger"));
    const char *const calls[] = {
        "select tally.send('plain', 'acme', 'x')",
        "select tally.send_bytes('plain', 'acme', 'x')",
        "select tally.settle(500)",
        "select tally.hold_term('single', 'acme', 3)",
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_int_equal(tally_db_run(f->worker, calls[i], NULL, NULL), TALLY_DB_RETRY);
        assert_string_equal(tally_db_sqlstate(f->worker), "42501");
    }
    must(tally_db_script(f->worker, "reset role"));
    must(tally_db_script(f->looker, "drop owned by stranger; drop role stranger"));
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
        SCENE(settle_of_a_whole_lease_ends_its_messages_with_the_workers_writes),
        SCENE(settle_of_a_part_leaves_the_rest_under_the_lease),
        SCENE(settle_of_nothing_changes_nothing),
        SCENE(settle_keeps_blobs_where_the_queue_says_so),
        SCENE(settle_keeps_results_for_those_who_asked),
        SCENE(settle_without_results_still_answers_who_asked),
        SCENE(settle_of_a_whole_lease_takes_results_in_its_order),
        SCENE(settle_refuses_a_result_that_is_too_large),
        SCENE(settle_under_a_lease_that_is_over_takes_the_workers_writes_with_it),
        SCENE(settle_of_messages_that_the_lease_does_not_hold_is_refused_as_a_whole),
        SCENE(settle_twice_in_one_transaction_is_refused),
        SCENE(settle_that_is_rolled_back_did_not_happen),
        SCENE(of_two_settling_at_once_the_second_is_refused),
        SCENE(of_two_settling_at_once_the_second_wins_when_the_first_gives_up),
        SCENE(of_two_settling_parts_at_once_both_win),
        SCENE(of_two_settling_the_same_part_at_once_one_wins),
        SCENE(broker_passes_over_a_lease_that_is_being_settled),
        SCENE(term_that_is_current_is_held_and_any_other_is_refused),
        SCENE(term_that_is_held_in_a_transaction_is_not_granted_to_another),
        SCENE(term_granted_while_its_holder_waits_is_refused_to_it),
        SCENE(term_is_held_by_two_transactions_of_its_holder_at_once),
        SCENE(send_puts_a_message_into_the_inbox_with_the_callers_writes),
        SCENE(send_that_is_rolled_back_sent_nothing),
        SCENE(send_to_what_does_not_exist_is_refused),
        SCENE(send_keeps_its_limits),
        SCENE(strangers_may_call_nothing),
    };
    return cmocka_run_group_tests_name("sql", tests, tally_pg_share, tally_pg_unshare);
}
