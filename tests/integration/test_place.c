// SPDX-License-Identifier: MIT
//  The place of the active broker: one has it, it is free when its process is gone, and a standby sees whether
//  who has it lives.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/place_store.h"
#include "broker/tick_store.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/pg.h"

#define ANSWER_MS 5000

struct fixture {
    tally_tick_store_t *ticks;    // of the active broker
    tally_db_t *loop;             // its other connection
    tally_db_t *other;            // of another broker, or of an operator
    tally_watch_t *watch;
    tally_plan_t *plan;
    char standbys[256];
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *conninfo = tally_pg_fresh(tally_pg_shared());
    f->ticks = tally_tick_store_new(conninfo, true);
    f->loop = tally_db_new(conninfo, "tallyd-reader");
    f->other = tally_db_new(conninfo, "test-other");
    f->watch = tally_watch_new(conninfo, "here:7");
    f->plan = tally_plan_new();
    *state = f;
    bool good = tally_db_connect(f->loop) == TALLY_DB_DONE
                && tally_db_connect(f->other) == TALLY_DB_DONE
                && tally_watch_connect(f->watch) == TALLY_DB_DONE
                && tally_tick_store_connect(f->ticks) == TALLY_DB_DONE;
    return good ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_tick_store_destroy(&f->ticks);
    tally_db_destroy(&f->loop);
    tally_db_destroy(&f->other);
    tally_watch_destroy(&f->watch);
    tally_plan_destroy(&f->plan);
    free(f);
    return 0;
}

static void
must(tally_db_outcome_t outcome)
{
    assert_int_equal(outcome, TALLY_DB_DONE);
}

static tally_place_t
look(struct fixture *f)
{
    tally_place_t place;
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    tally_watch_ask(f->watch);
    int rc;
    while ((rc = tally_watch_take(f->watch, &place)) == 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        struct pollfd item = {.fd = tally_watch_fd(f->watch), .events = POLLIN};
        poll(&item, 1, ANSWER_MS);
    }
    assert_int_equal(rc, 1);
    return place;
}

//  Until as many sessions hold the place.
static tally_place_t
await_holders(struct fixture *f, int holders)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    tally_place_t place = look(f);
    while (place.holders != holders) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        place = look(f);
    }
    return place;
}

static void
become_active(struct fixture *f)
{
    bool taken = false;
    must(tally_place_store_seize(f->loop, &taken));
    assert_true(taken);
    must(tally_place_store_settle(f->loop));
    tally_tick_store_hold(f->ticks);
    await_holders(f, 2);
}

static void
run(struct fixture *f, const char *sql)
{
    must(tally_db_run(f->other, sql, NULL, NULL));
}

#define END_SESSION(name)                                                                          \
    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = '" name \
    "' and datname = current_database()"

//  ---- who has it -----------------------------------------------------------------------------------------

static void
only_one_of_two_takes_a_free_place(void **state)
{
    struct fixture *f = *state;
    bool first = false, second = true;
    assert_int_equal(look(f).holders, 0);
    must(tally_place_store_seize(f->loop, &first));
    must(tally_place_store_seize(f->other, &second));
    assert_true(first);
    assert_false(second);
    must(tally_place_store_settle(f->loop));
    must(tally_place_store_seize(f->other, &second));
    assert_false(second);
    assert_int_equal(look(f).holders, 1);
}

static void
place_stays_taken_when_one_connection_is_lost(void **state)
{
    struct fixture *f = *state;
    become_active(f);
    run(f, END_SESSION("tallyd-tick"));
    assert_int_equal(look(f).holders, 1);
    bool taken = true;
    must(tally_place_store_seize(f->other, &taken));
    assert_false(taken);
    assert_false(tally_tick_store_rest(f->ticks));
    assert_false(tally_tick_store_connected(f->ticks));
    must(tally_tick_store_connect(f->ticks));
    tally_tick_store_hold(f->ticks);
    await_holders(f, 2);
}

static void
place_is_free_when_all_sessions_are_gone(void **state)
{
    struct fixture *f = *state;
    become_active(f);
    tally_tick_store_disconnect(f->ticks);
    tally_db_disconnect(f->loop);
    await_holders(f, 0);
    bool taken = false;
    must(tally_place_store_seize(f->other, &taken));
    assert_true(taken);
}

static void
usurper_ends_the_sessions_that_hold_the_place(void **state)
{
    struct fixture *f = *state;
    become_active(f);
    run(f, "update tally.broker set epoch = 8");
    bool taken = false;
    int ended = 0;
    must(tally_place_store_usurp(f->other, 8, &taken, &ended));
    assert_true(taken);
    assert_int_equal(ended, 2);
    assert_false(tally_tick_store_rest(f->ticks));
    assert_int_equal(look(f).holders, 1);
}

//  Two standbys found the same silence, and the other one was faster.
static void
usurper_leaves_a_newer_broker_alone(void **state)
{
    struct fixture *f = *state;
    become_active(f);
    run(f, "update tally.broker set epoch = 9");
    bool taken = true;
    int ended = 1;
    must(tally_place_store_usurp(f->other, 8, &taken, &ended));
    assert_false(taken);
    assert_int_equal(ended, 0);
    assert_int_equal(look(f).holders, 2);
}

static void
tick_session_that_was_refused_holds_the_place_with_a_later_beat(void **state)
{
    struct fixture *f = *state;
    bool taken = false;
    must(tally_place_store_seize(f->other, &taken));
    assert_true(taken);
    tally_tick_store_hold(f->ticks);
    must(tally_place_store_settle(f->other));
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    while (look(f).holders < 2) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        assert_true(tally_tick_store_rest(f->ticks));
        tally_tick_store_beat(f->ticks);
    }
}

//  ---- who lives ------------------------------------------------------------------------------------------

static void
beat_shows_that_the_holder_lives(void **state)
{
    struct fixture *f = *state;
    become_active(f);
    //  Whatever is still to be answered moves the session, too.
    tally_place_t before = look(f), again = look(f);
    while (again.moved_us != before.moved_us) {
        before = again;
        again = look(f);
    }
    for (int i = 0; i < 20; i++) {
        assert_int_equal(look(f).moved_us, before.moved_us);
        assert_false(look(f).busy);
    }
    assert_true(tally_tick_store_rest(f->ticks));
    tally_tick_store_beat(f->ticks);
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    while (look(f).moved_us == before.moved_us) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
    }
}

static void
holder_that_postgresql_works_for_is_busy(void **state)
{
    struct fixture *f = *state;
    become_active(f);
    assert_int_equal(PQsendQuery(tally_db_handle(f->loop), "select pg_sleep(60)"), 1);
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    while (!look(f).busy) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
    }
    run(f, END_SESSION("tallyd-reader"));
    assert_false(look(f).busy);
}

//  PostgreSQL has more to say than the sockets hold, and waits for the holder to read.
static void
holder_that_does_not_read_is_not_busy(void **state)
{
    struct fixture *f = *state;
    become_active(f);
    assert_int_equal(PQsendQuery(tally_db_handle(f->loop),
                                 "select repeat('x', 1000000) from generate_series(1, 100)"),
                     1);
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    int idle = 0;
    while (idle < 20) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        idle = look(f).busy ? 0 : idle + 1;
    }
    tally_rows_t rows;
    must(tally_db_run(f->other,
                      "select from pg_stat_activity where application_name = 'tallyd-reader' "
                      "and state = 'active' and wait_event = 'ClientWrite'",
                      NULL, &rows));
    assert_int_equal(rows.rows, 1);
}

static void
watcher_is_told_who_took_the_epoch(void **state)
{
    struct fixture *f = *state;
    run(f, "update tally.broker set epoch = 17, instance = 'my host:42'");
    tally_place_t place = look(f);
    assert_int_equal(place.epoch, 17);
    assert_string_equal(place.instance, "my host:42");
}

static void
watcher_sees_that_its_connection_is_lost(void **state)
{
    struct fixture *f = *state;
    look(f);
    run(f, END_SESSION("tallyd-standby here:7"));
    tally_place_t place;
    tally_watch_ask(f->watch);
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    int rc;
    while ((rc = tally_watch_take(f->watch, &place)) == 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
    }
    assert_int_equal(rc, -1);
}

static void
add_standby(void *context, tally_bytes_t instance, int64_t since_ms)
{
    struct fixture *f = context;
    assert_true(since_ms >= 0 && since_ms < 60000);
    size_t size = strlen(f->standbys);
    snprintf(f->standbys + size, sizeof f->standbys - size, "%.*s|", (int)instance.size,
             (const char *)instance.data);
}

static void
standbys_are_seen_by_their_instance(void **state)
{
    struct fixture *f = *state;
    tally_watch_t *second = tally_watch_new(tally_pg_conninfo(tally_pg_shared()), "there:8");
    must(tally_watch_connect(second));
    must(tally_place_store_standbys(f->other, add_standby, f));
    tally_watch_destroy(&second);
    assert_string_equal(f->standbys, "here:7|there:8|");
}

//  ---- between ticks --------------------------------------------------------------------------------------

static void
ticks_start_behind_words_that_are_not_answered(void **state)
{
    struct fixture *f = *state;
    run(f, "update tally.broker set epoch = 5");
    run(f, "insert into tally.tenant (id, name) values (7, 'acme')");
    for (int i = 0; i < 50; i++) {
        if (i % 2 == 0) {
            tally_tick_store_hold(f->ticks);
        }
        tally_tick_store_beat(f->ticks);
        tally_db_outcome_t outcome;
        const tally_tick_result_t *result;
        f->plan->number++;
        tally_plan_message_t *message = TALLY_PUSH(&f->plan->messages);
        message->id = (uint64_t)i + 1;
        message->tenant = 7;
        message->queue = 1;
        message->body = tally_bytes_of("x");
        tally_tick_store_start(f->ticks, 5, f->plan);
        while (!tally_tick_store_advance(f->ticks, &outcome, &result)) {
            struct pollfd item = {.fd = tally_tick_store_fd(f->ticks), .events = POLLIN};
            assert_int_not_equal(poll(&item, 1, ANSWER_MS), 0);
        }
        must(outcome);
        uint64_t number = f->plan->number;
        tally_plan_clear(f->plan);
        f->plan->number = number;
    }
    tally_rows_t rows;
    must(tally_db_run(f->other, "select from tally.message", NULL, &rows));
    assert_int_equal(rows.rows, 50);
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        SCENE(only_one_of_two_takes_a_free_place),
        SCENE(place_stays_taken_when_one_connection_is_lost),
        SCENE(place_is_free_when_all_sessions_are_gone),
        SCENE(usurper_ends_the_sessions_that_hold_the_place),
        SCENE(usurper_leaves_a_newer_broker_alone),
        SCENE(tick_session_that_was_refused_holds_the_place_with_a_later_beat),
        SCENE(beat_shows_that_the_holder_lives),
        SCENE(holder_that_postgresql_works_for_is_busy),
        SCENE(holder_that_does_not_read_is_not_busy),
        SCENE(watcher_is_told_who_took_the_epoch),
        SCENE(watcher_sees_that_its_connection_is_lost),
        SCENE(standbys_are_seen_by_their_instance),
        SCENE(ticks_start_behind_words_that_are_not_answered),
    };
    return cmocka_run_group_tests_name("place", tests, tally_pg_share, tally_pg_unshare);
}
