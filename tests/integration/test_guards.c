// SPDX-License-Identifier: MIT
//  The broker as a process among others that stop, hang, sit on locks and run out: it goes on serving, and what was
//  promised holds.  What it does with frames that are wrong is in test_hostile.c.

#include <czmq.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"
#include "lib/limits.h"
#include "tests/integration/instance.h"
#include "tests/integration/stranger.h"

#define ANSWER_MS 10000

struct fixture {
    tally_instance_t *instance;
    tally_client_t *good;
    tally_db_t *db;
    tally_stranger_t *one, *two;    // of the test's making
    pid_t stopped;                  // goes on in the end, 0: none
};

static int
set_up_all(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    tally_instance_must(f->instance, "up", "--workers", "heartbeat=1", NULL);
    f->good = tally_client_new(tally_instance_endpoint(f->instance));
    f->db = tally_db_new(tally_instance_conninfo(f->instance), "test");
    tally_instance_must(f->instance, "queue", "put", "guards", "--visibility", "500ms", NULL);
    return tally_db_connect(f->db) == TALLY_DB_DONE ? 0 : -1;
}

static int
tear_down_all(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->good);
    tally_db_destroy(&f->db);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->stopped != 0) {
        kill(f->stopped, SIGCONT);
        f->stopped = 0;
    }
    tally_stranger_destroy(&f->one);
    tally_stranger_destroy(&f->two);
    tally_db_rollback(f->db);
    return 0;
}

static tally_stranger_t *
stranger(struct fixture *f)
{
    return tally_stranger_new(tally_instance_endpoint(f->instance));
}

static int64_t
look(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

static void
good_client_is_served(struct fixture *f, int within_ms)
{
    const tally_message_t message = {.body = "good", .body_bytes = 4};
    tally_event_t event;
    int rc = tally_client_send_wait(f->good, "guards", "good", &message, 1, within_ms, &event);
    assert_int_equal(rc, 0);
    assert_int_equal(event.kind, TALLY_EVENT_CONFIRMED);
}

static void
stop(struct fixture *f, pid_t pid)
{
    assert_int_equal(kill(pid, SIGSTOP), 0);
    f->stopped = pid;
}

static void
go_on(struct fixture *f)
{
    assert_int_equal(kill(f->stopped, SIGCONT), 0);
    f->stopped = 0;
}

//  ---- PostgreSQL that does not answer ------------------------------------------------------------------------

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
    struct fixture *f = *state;
    f->one = stranger(f);
    tally_stranger_hello(f->one);
    good_client_is_served(f, ANSWER_MS);
    stop(f, tally_instance_pid(f->instance, "postgres"));
    assert_int_equal(look(f, "select pg_terminate_backend(pid)::int from pg_stat_activity"
                             " where application_name = 'tallyd-tick'"),
                     1);
    hear_away(f->one, ANSWER_MS);
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
    good_client_is_served(f, ANSWER_MS);
}

//  Its backend hangs; there is no telling whether it will commit, until it was looked up and cannot any more.
static void
a_tick_that_is_never_answered_is_looked_up_on_another_connection(void **state)
{
    struct fixture *f = *state;
    good_client_is_served(f, ANSWER_MS);
    stop(f, (pid_t)look(f, "select pid from pg_stat_activity"
                           " where application_name = 'tallyd-tick'"));
    good_client_is_served(f, TALLY_TICK_MS_MAX + 5000);
    go_on(f);
    good_client_is_served(f, ANSWER_MS);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    zsys_handler_set(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_database_that_never_answers_leaves_the_broker_awake, tear_down),
        cmocka_unit_test_teardown(a_tick_that_is_never_answered_is_looked_up_on_another_connection,
                                  tear_down),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
