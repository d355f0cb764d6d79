// SPDX-License-Identifier: MIT
//  The broker as a process among others that stop, hang, sit on locks and run out: it goes on serving, and what was
//  promised holds.  What it does with frames that are wrong is in test_hostile.c.

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/limits.h"
#include "tests/integration/broker_scene.h"

#define IDLE_LIMIT_MS 1000

static int64_t
look(broker_scene_t *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

static void
make_queue(broker_scene_t *f, const char *name, const char *visibility)
{
    tally_instance_must(f->instance, "queue", "put", name, "--visibility", visibility, NULL);
}

static void
stop(broker_scene_t *f, pid_t pid)
{
    assert_int_equal(kill(pid, SIGSTOP), 0);
    f->stopped = pid;
}

static void
go_on(broker_scene_t *f)
{
    assert_int_equal(kill(f->stopped, SIGCONT), 0);
    f->stopped = 0;
}

//  ---- PostgreSQL that does not answer -----------------------------------------------------------

//  Sends until it is said that PostgreSQL is away.
static void
hear_away(tally_stranger_t *peer, int timeout_ms)
{
    tally_heard_t heard = {0};
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    while (heard.code != TALLY_E_AWAY) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        tally_stranger_send(peer, "guards", "stranger", "x");
        (void)tally_stranger_hear(peer, 100, &heard);
    }
}

//  The postmaster takes connections, as its kernel does for it, and never answers.
static void
a_database_that_never_answers_leaves_the_broker_awake(void **state)
{
    broker_scene_t *f = *state;
    f->one = broker_scene_stranger(f);
    tally_stranger_hello(f->one);
    broker_scene_serves(f, BROKER_SCENE_MS);
    stop(f, tally_instance_pid(f->instance, "postgres"));
    assert_int_equal(look(f, "select pg_terminate_backend(pid)::int from pg_stat_activity"
                             " where application_name = 'tallyd-tick'"),
                     1);
    hear_away(f->one, BROKER_SCENE_MS);
    int64_t until_ms = tally_clock_now_ms() + 3000;
    while (tally_clock_now_ms() < until_ms) {
        tally_heard_t heard;
        uint64_t sequence = tally_stranger_send(f->one, "guards", "stranger", "x");
        do {
            assert_true(tally_stranger_hear(f->one, 1000, &heard));
        } while (heard.head.request != sequence);
        assert_int_equal(heard.code, TALLY_E_AWAY);
        poll(NULL, 0, 20);
    }
    go_on(f);
    broker_scene_serves(f, BROKER_SCENE_MS);
}

//  Its backend hangs; there is no telling whether it will commit, until it was looked up and cannot any more.
static void
a_tick_that_is_never_answered_is_looked_up_on_another_connection(void **state)
{
    broker_scene_t *f = *state;
    broker_scene_serves(f, BROKER_SCENE_MS);
    stop(f, (pid_t)look(f, "select pid from pg_stat_activity"
                           " where application_name = 'tallyd-tick'"));
    broker_scene_serves(f, TALLY_TICK_MS_MAX + 5000);
    go_on(f);
    broker_scene_serves(f, BROKER_SCENE_MS);
}

//  Its reader asks PostgreSQL every few seconds, and the session that is to answer hangs.
static void
a_broker_that_is_told_to_end_does_not_wait_for_postgresql(void **state)
{
    broker_scene_t *f = *state;
    broker_scene_serves(f, BROKER_SCENE_MS);
    pid_t broker = tally_instance_pid(f->instance, "tallyd");
    stop(f, (pid_t)look(f, "select pid from pg_stat_activity where application_name ="
                           " 'tallyd-reader' order by backend_start desc limit 1"));
    const tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                                 .version_min = TALLY_WIRE_VERSION,
                                 .version_max = TALLY_WIRE_VERSION,
                                 .sender = "who?",
                                 .name = tally_bytes_of("stranger")};
    f->one = broker_scene_stranger(f);
    tally_hello_write(&f->one->wire, 1, &hello);    // a sender that only PostgreSQL may know
    tally_stranger_say(f->one);
    broker_scene_serves(f, BROKER_SCENE_MS);
    assert_int_equal(tally_instance_signal(f->instance, "tallyd", SIGTERM), broker);
    tally_instance_await_another(f->instance, "tallyd", broker, 8000);
    go_on(f);
    broker_scene_serves(f, BROKER_SCENE_MS);
}

//  ---- statements that fail on data --------------------------------------------------------------

//  No statement of ours fails on data, so one is made to.  1 of 64 is bad; it is found by halving, so
//  the search costs at most two rejected ticks for each halving.
static void
an_input_that_postgresql_rejects_is_refused_alone(void **state)
{
    enum { SENDS = 64, BAD = 37, HALVINGS = 6 };
    broker_scene_t *f = *state;
    f->one = broker_scene_stranger(f);
    tally_stranger_hello(f->one);
    long before = broker_scene_number(f, "rejected");
    const char *const poison =
        "create function tally.test_poison() returns trigger language plpgsql as $$ begin"
        " if new.body = 'poison'::bytea then raise exception 'poison' using errcode = '22000';"
        " end if; return new; end $$;"
        "create trigger test_poison before insert on tally.message for each row"
        " execute function tally.test_poison()";
    assert_int_equal(tally_db_script(f->db, poison), TALLY_DB_DONE);
    for (int i = 0; i < SENDS; i++) {
        tally_stranger_send(f->one, "guards", "stranger", i == BAD ? "poison" : "good");
    }
    int confirmed = 0;
    int refused = 0;
    while (confirmed + refused < SENDS) {
        tally_heard_t heard;
        assert_true(tally_stranger_hear(f->one, BROKER_SCENE_MS, &heard));
        confirmed += heard.head.verb == TALLY_CONFIRM;
        if (heard.code == TALLY_E_AWAY) {    // came between: said again
            continue;
        }
        if (heard.head.verb == TALLY_ERROR) {
            assert_int_equal(heard.code, TALLY_E_INTERNAL);
            assert_int_equal(heard.head.request, BAD + 1);
            refused++;
        }
    }
    assert_int_equal(tally_db_script(f->db, "drop function tally.test_poison() cascade"),
                     TALLY_DB_DONE);
    assert_int_equal(confirmed, SENDS - 1);
    long rejected = broker_scene_number(f, "rejected") - before;
    assert_in_range(rejected, 1, 2 * HALVINGS + 1);
}

//  ---- lanes -------------------------------------------------------------------------------------

static uint64_t
must_lease(tally_stranger_t *worker, int timeout_ms)
{
    tally_delivery_t delivery;
    assert_true(tally_stranger_leased(worker, timeout_ms, &delivery, NULL));
    return delivery.lease;
}

//  PUSH would share the leases out between the two, and nobody could say who has which.
static void
a_second_peer_on_a_lane_ends_it_and_the_leases_go_elsewhere(void **state)
{
    broker_scene_t *f = *state;
    make_queue(f, "lanes", "1h");
    f->one = broker_scene_stranger(f);
    tally_stranger_join(f->one, "lanes", 1);
    broker_scene_send(f, "lanes", BROKER_SCENE_MS);
    uint64_t first = must_lease(f->one, BROKER_SCENE_MS);
    f->two = broker_scene_stranger(f);
    tally_stranger_join(f->two, "lanes", 1);
    zsock_t *intruder = zsock_new_pull(NULL);
    zsock_set_linger(intruder, 0);
    int rc = zsock_connect(intruder, "%s", f->one->lane_endpoint);
    tally_delivery_t delivery;
    bool leased = tally_stranger_leased(f->two, BROKER_SCENE_MS, &delivery, NULL);
    zsock_destroy(&intruder);
    assert_int_equal(rc, 0);
    assert_true(leased);
    assert_int_not_equal(delivery.lease, first);
    tally_stranger_record(f->one, TALLY_RECORD_SETTLE, first);    // stale: nothing ends by it
    tally_stranger_record(f->two, TALLY_RECORD_SETTLE, delivery.lease);
}

//  The high-water mark of a lane is the worker's credit and room for notices: whatever is sent to it has a place, and
//  the rest waits where others can have it.
static void
a_worker_that_does_not_read_gets_its_credit_and_no_more(void **state)
{
    enum { CREDIT = 3, SENT = 10 };
    broker_scene_t *f = *state;
    make_queue(f, "credit", "1h");
    f->one = broker_scene_stranger(f);
    tally_stranger_join(f->one, "credit", CREDIT);
    for (int i = 0; i < SENT; i++) {
        broker_scene_send(f, "credit", BROKER_SCENE_MS);
    }
    //  It beats, so that nobody takes it for dead, until more beats were sent to it than have room.
    int64_t until_ms = tally_clock_now_ms() + 3000;
    while (tally_clock_now_ms() < until_ms) {
        tally_stranger_record(f->one, TALLY_RECORD_BEAT, 0);
        poll(NULL, 0, 100);
    }
    assert_int_equal(look(f, "select sum(cardinality(l.messages))::bigint from tally.lease l"
                             " join tally.queue q on q.id = l.queue where q.name = 'credit'"),
                     CREDIT);
    f->two = broker_scene_stranger(f);
    tally_stranger_join(f->two, "credit", TALLY_CREDIT_MAX);
    size_t others = 0;
    tally_delivery_t delivery;
    while (others < SENT - CREDIT
           && tally_stranger_leased(f->two, BROKER_SCENE_MS, &delivery, NULL)) {
        others += delivery.count;
        tally_stranger_record(f->two, TALLY_RECORD_SETTLE, delivery.lease);
    }
    assert_int_equal(others, SENT - CREDIT);
    for (size_t own = 0; own < CREDIT; own += delivery.count) {
        assert_true(tally_stranger_leased(f->one, BROKER_SCENE_MS, &delivery, NULL));
        tally_stranger_record(f->one, TALLY_RECORD_SETTLE, delivery.lease);
    }
}

//  ---- a worker that sits in its transaction -----------------------------------------------------

//  It settled under the row lock of its lease and stopped.  Its deadline passes; nobody waits for it.
//  PostgreSQL ends its session after a second, and another worker gets the message.
static void
a_worker_idle_in_its_transaction_holds_nobody_up(void **state)
{
    broker_scene_t *f = *state;
    tally_db_t *worker_db = tally_db_new(tally_instance_conninfo(f->instance), "test-worker");
    tally_db_set_idle_limit_ms(worker_db, IDLE_LIMIT_MS);
    f->idle = worker_db;
    make_queue(f, "idle", "500ms");
    f->one = broker_scene_stranger(f);
    tally_stranger_join(f->one, "idle", 1);
    broker_scene_send(f, "idle", BROKER_SCENE_MS);
    uint64_t lease = must_lease(f->one, BROKER_SCENE_MS);
    char sql[80];
    snprintf(sql, sizeof sql, "select tally.settle(%llu, null)", (unsigned long long)lease);
    int64_t began_ms = tally_clock_now_ms();
    assert_int_equal(tally_db_begin(worker_db, TALLY_DB_READ_COMMITTED), TALLY_DB_DONE);
    assert_int_equal(tally_db_script(worker_db, sql), TALLY_DB_DONE);
    f->two = broker_scene_stranger(f);
    tally_stranger_join(f->two, "idle", 1);
    int64_t slowest_ms = 0;
    tally_delivery_t delivery = {0};
    bool leased = false;
    while (!leased && tally_clock_now_ms() - began_ms < BROKER_SCENE_MS) {
        int64_t sent_ms = tally_clock_now_ms();
        broker_scene_serves(f, BROKER_SCENE_MS);
        int64_t took_ms = tally_clock_now_ms() - sent_ms;
        slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
        tally_stranger_record(f->two, TALLY_RECORD_BEAT, 0);
        leased = tally_stranger_leased(f->two, 20, &delivery, NULL);
    }
    int64_t waited_ms = tally_clock_now_ms() - began_ms;
    assert_true(leased);
    assert_int_not_equal(delivery.lease, lease);
    print_message("redelivered after %lld ms, slowest send %lld ms\n", (long long)waited_ms,
                  (long long)slowest_ms);
    assert_true(waited_ms >= IDLE_LIMIT_MS);
    assert_true(slowest_ms < IDLE_LIMIT_MS);    // or a send had waited for the session's end
    assert_int_not_equal(tally_db_commit(worker_db), TALLY_DB_DONE);
    tally_stranger_record(f->two, TALLY_RECORD_SETTLE, delivery.lease);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    zsys_handler_set(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_database_that_never_answers_leaves_the_broker_awake,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_broker_that_is_told_to_end_does_not_wait_for_postgresql,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(an_input_that_postgresql_rejects_is_refused_alone,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_second_peer_on_a_lane_ends_it_and_the_leases_go_elsewhere,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_worker_idle_in_its_transaction_holds_nobody_up,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_worker_that_does_not_read_gets_its_credit_and_no_more,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_tick_that_is_never_answered_is_looked_up_on_another_connection,
                                  broker_scene_undo),
    };
    return cmocka_run_group_tests(tests, broker_scene_set_up, broker_scene_tear_down);
}
