// SPDX-License-Identifier: MIT
//  What became of a tick: each way in which PostgreSQL, the connection or a newer broker can interfere, and
//  that the store tells what is true and no more.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include "broker/recover_store.h"
#include "broker/tick_lock.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tests/integration/pg.h"
#include "tests/integration/tick_scene.h"

#define BULK_BYTES (20 * 1024 * 1024)    // more than sockets buffer

struct fixture {
    tick_scene_t scene;
    tally_recover_store_t *reader;
    uint8_t *bulk;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    int rc = tick_scene_open(&f->scene, NULL);
    f->reader = tally_recover_store_new(tally_pg_conninfo(tally_pg_shared()));
    return rc;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tick_scene_close(&f->scene);
    tally_recover_store_destroy(&f->reader);
    free(f->bulk);
    free(f);
    return 0;
}

static void
plan_message(struct fixture *f, uint64_t id, tally_bytes_t body)
{
    tally_plan_message_t *message = TALLY_PUSH(&f->scene.plan->messages);
    message->id = id;
    message->tenant = 7;
    message->queue = 1;
    message->priority = TALLY_PRIORITY_DEFAULT;
    message->body = body;
}

//  Messages that no socket's buffer can hold.
static void
plan_bulk(struct fixture *f, uint64_t first, size_t count)
{
    size_t size = BULK_BYTES / count;
    f->bulk = tally_realloc(f->bulk, size);
    memset(f->bulk, 'x', size);
    for (size_t i = 0; i < count; i++) {
        plan_message(f, first + i, (tally_bytes_t){f->bulk, size});
    }
}

//  The store is good for the next tick, on this connection or on a new one.
static void
assert_goes_on(struct fixture *f)
{
    plan_message(f, 1u << 20, tally_bytes_of("next"));
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    assert_int_equal(tick_scene_look(&f->scene,
                                     "select count(*) from tally.message where id = 1048576"),
                     1);
}

static const char *const count_sql = "select count(*) from tally.message where id = 1000";
static const char
    *const recorded_sql = "select count(*) from tally.tick where epoch = 5 and number = 1";

//  ---- done, or certainly not -----------------------------------------------------------------------------

static void
tick_leaves_its_record_even_when_it_wrote_nothing_else(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    assert_int_equal(tick_scene_look(&f->scene, recorded_sql), 1);
    plan_message(f, 1000, tally_bytes_of("body"));
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 1);
    assert_int_equal(tick_scene_look(&f->scene, "select count(*) from tally.tick"), 2);
}

static void
broker_of_another_epoch_cannot_write(void **state)
{
    struct fixture *f = *state;
    const uint64_t epochs[] = {TICK_SCENE_EPOCH - 1, TICK_SCENE_EPOCH + 1};
    for (size_t i = 0; i < 2; i++) {
        plan_message(f, 1000, tally_bytes_of("body"));
        assert_int_equal(tick_scene_tick(&f->scene, epochs[i]), TALLY_DB_REJECT);
        assert_string_equal(tally_tick_store_sqlstate(f->scene.store), "TY005");
    }
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 0);
    assert_int_equal(tick_scene_look(&f->scene, "select count(*) from tally.tick"), 0);
    assert_goes_on(f);
}

//  A takeover holds the lock from before it raises the epoch until it has committed.
static void
tick_beside_a_takeover_writes_nothing(void **state)
{
    struct fixture *f = *state;
    tally_params_t lock = {0};
    tally_params_int8(&lock, TALLY_TICK_LOCK);
    tick_scene_must(tally_db_begin(f->scene.looker, TALLY_DB_READ_COMMITTED));
    tally_db_outcome_t locked = tally_db_run(f->scene.looker, "select pg_advisory_xact_lock($1)",
                                             &lock, NULL);
    tally_params_free(&lock);
    tick_scene_must(locked);
    tick_scene_must(tally_db_run(f->scene.looker, "update tally.broker set epoch = 6", NULL, NULL));
    plan_message(f, 1000, tally_bytes_of("body"));
    assert_int_equal(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH),
                     TALLY_DB_RETRY);    // it does not wait for long either
    tick_scene_must(tally_db_commit(f->scene.looker));
    plan_message(f, 1000, tally_bytes_of("body"));
    assert_int_equal(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH), TALLY_DB_REJECT);
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 0);
}

static void
tick_that_breaks_a_constraint_is_rejected_as_a_whole(void **state)
{
    struct fixture *f = *state;
    plan_message(f, 1000, tally_bytes_of("body"));
    plan_message(f, 1001, tally_bytes_of("body"));
    plan_message(f, 1001, tally_bytes_of("the same id"));
    assert_int_equal(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH), TALLY_DB_REJECT);
    assert_string_equal(tally_tick_store_sqlstate(f->scene.store), "23505");
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 0);
    assert_int_equal(tick_scene_look(&f->scene, recorded_sql), 0);
    assert_goes_on(f);
}

static void
plan_fetch(struct fixture *f, uint64_t id)
{
    tally_plan_fetch_t *fetch = TALLY_PUSH(&f->scene.plan->fetches);
    fetch->tenant = 7;
    fetch->message = id;
}

//  As a migration under a running broker does it.  REJECT would make the broker look for a guilty input.
static void
statement_whose_result_changed_is_nobodys_fault(void **state)
{
    struct fixture *f = *state;
    plan_message(f, 1000, tally_bytes_of("body"));
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    plan_fetch(f, 1000);
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    tick_scene_must(
        tally_db_script(f->scene.looker,
                        "drop view tally.messages, tally.exports; alter table tally.message"
                        " alter body type text using convert_from(body, 'UTF8')"));
    plan_fetch(f, 1000);
    assert_int_equal(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH), TALLY_DB_RETRY);
    assert_false(tally_tick_store_connected(f->scene.store));
    tick_scene_must(tally_db_script(f->scene.looker,
                                    "alter table tally.message alter body type bytea"
                                    " using convert_to(body, 'UTF8')"));
    plan_fetch(f, 1000);
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    assert_int_equal(f->scene.result->fetched_count, 1);
    assert_goes_on(f);
}

static void
tick_never_waits_long_for_a_lock(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(tally_db_begin(f->scene.looker, TALLY_DB_READ_COMMITTED));
    tick_scene_must(tally_db_run(f->scene.looker, "lock table tally.message", NULL, NULL));
    plan_message(f, 1000, tally_bytes_of("body"));
    int64_t began_ms = tally_clock_now_ms();
    assert_int_equal(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH), TALLY_DB_RETRY);
    assert_true(tally_clock_now_ms() - began_ms < 2000);
    assert_string_equal(tally_tick_store_sqlstate(f->scene.store), "55P03");
    tally_db_rollback(f->scene.looker);
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 0);
    assert_goes_on(f);
}

static void
tick_larger_than_any_buffer_goes_through_while_answers_come_back(void **state)
{
    struct fixture *f = *state;
    plan_bulk(f, 1000, 16000);
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    plan_bulk(f, 100000, 400);
    for (uint64_t i = 0; i < 16000; i++) {
        tally_plan_fetch_t *fetch = TALLY_PUSH(&f->scene.plan->fetches);
        fetch->tenant = 7;
        fetch->message = 1000 + i;
    }
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    assert_int_equal(f->scene.result->fetched_count, 16000);
    assert_int_equal(f->scene.result->fetched[15999].body.size, BULK_BYTES / 16000);
    assert_int_equal(tick_scene_look(&f->scene, "select count(*) from tally.message"), 16400);
}

//  Plain ones, those with a key and blobs in turns, in several parts each; every body is another.
static void
bodies_that_go_in_parts_arrive_each_once_and_whole(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 60, BYTES = 40000 };
    f->bulk = tally_alloc(COUNT * (BYTES + COUNT));
    for (size_t i = 0; i < COUNT; i++) {
        uint8_t *body = f->bulk + i * (BYTES + COUNT);
        memset(body, (int)i, BYTES + i);
        plan_message(f, 1000 + i, (tally_bytes_t){body, BYTES + i});
        f->scene.plan->messages.items[i].is_blob = i % 3 == 1;
        f->scene.plan->messages.items[i].key = tally_bytes_of(i % 3 == 2 ? "key" : "");
    }
    tick_scene_must(tick_scene_tick(&f->scene, TICK_SCENE_EPOCH));
    assert_int_equal(tick_scene_look(&f->scene, "select count(*) from tally.message"), COUNT);
    assert_int_equal(tick_scene_look(&f->scene, "select count(*) from tally.blob"), COUNT / 3);
    assert_int_equal(
        tick_scene_look(
            &f->scene,
            "select count(*) from tally.message m left join tally.blob b using (tenant, id) "
            "where is_blob = (id % 3 = 2) and (key is not null) = (id % 3 = 0) "
            "and case when is_blob then m.body = '' and b.body = decode(repeat("
            "lpad(to_hex(id - 1000), 2, '0'), (id - 1000 + 40000)::int), 'hex') else "
            "m.body = decode(repeat(lpad(to_hex(id - 1000), 2, '0'), "
            "(id - 1000 + 40000)::int), 'hex') end"),
        COUNT);
}

//  ---- servers that must not be used ----------------------------------------------------------------------

static void
server_that_forgets_on_power_loss_is_refused(void **state)
{
    struct fixture *f = *state;
    tally_tick_store_destroy(&f->scene.store);
    f->scene.store = tally_tick_store_new(tally_pg_conninfo(tally_pg_shared()), false);
    assert_int_equal(tally_tick_store_connect(f->scene.store), TALLY_DB_REJECT);
    assert_non_null(strstr(tally_tick_store_error(f->scene.store), "fsync"));
    assert_false(tally_tick_store_connected(f->scene.store));
    assert_int_equal(tally_tick_store_fd(f->scene.store), -1);
}

//  A server of its own, since fsync and full_page_writes are the whole server's.
static void
check_server_with(const char *setting, tally_db_outcome_t expected, const char *named)
{
    const char *const settings[] = {"fsync=on", setting, NULL};
    tally_pg_t *other = tally_pg_new(settings);
    tally_tick_store_t *store = tally_tick_store_new(tally_pg_fresh(other), false);
    tally_db_outcome_t outcome = tally_tick_store_connect(store);
    bool named_right = named == NULL || strstr(tally_tick_store_error(store), named) != NULL;
    tally_tick_store_destroy(&store);
    tally_pg_destroy(&other);
    assert_int_equal(outcome, expected);
    assert_true(named_right);
}

static void
server_that_tears_pages_is_refused(void **state)
{
    (void)state;
    check_server_with("full_page_writes=off", TALLY_DB_REJECT, "full_page_writes");
}

static void
server_that_keeps_its_promises_is_taken(void **state)
{
    (void)state;
    check_server_with("full_page_writes=on", TALLY_DB_DONE, NULL);
}

static void
server_that_is_away_means_retry(void **state)
{
    struct fixture *f = *state;
    tally_tick_store_destroy(&f->scene.store);
    f->scene.store = tally_tick_store_new("host=/nonexistent dbname=x", true);
    assert_int_equal(tally_tick_store_connect(f->scene.store), TALLY_DB_RETRY);
    assert_false(tally_tick_store_connected(f->scene.store));
    assert_true(strlen(tally_tick_store_error(f->scene.store)) > 0);
}

//  ---- lost connections -----------------------------------------------------------------------------------

static pid_t
find_backend(struct fixture *f)
{
    return (
        pid_t)tick_scene_look(&f->scene,
                              "select pid from pg_stat_activity where datname = current_database()"
                              " and pid <> pg_backend_pid() and backend_type = 'client backend'");
}

static void
connection_lost_before_commit_went_out_is_never_done(void **state)
{
    struct fixture *f = *state;
    pid_t backend = find_backend(f);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    plan_bulk(f, 1000, 400);
    tick_scene_start(&f->scene, TICK_SCENE_EPOCH);
    assert_false(tick_scene_go_on(&f->scene, 200));    // the socket is full, COMMIT behind it
    assert_int_equal(kill(backend, SIGTERM), 0);
    assert_int_equal(kill(backend, SIGCONT), 0);
    assert_true(tick_scene_go_on(&f->scene, 10000));
    assert_true(f->scene.outcome == TALLY_DB_RETRY || f->scene.outcome == TALLY_DB_UNKNOWN);
    assert_false(tally_tick_store_connected(f->scene.store));
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 0);
    assert_int_equal(tick_scene_look(&f->scene, recorded_sql), 0);
    assert_goes_on(f);
}

//  Everything went out, nothing was read: nobody can know, and the record says that it was not done.
static void
connection_lost_with_commit_unread_is_unknown_and_has_no_record(void **state)
{
    struct fixture *f = *state;
    pid_t backend = find_backend(f);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    plan_message(f, 1000, tally_bytes_of("body"));
    tick_scene_start(&f->scene, TICK_SCENE_EPOCH);
    assert_false(tick_scene_go_on(&f->scene, 200));
    assert_int_equal(kill(backend, SIGKILL), 0);
    assert_true(tick_scene_go_on(&f->scene, 10000));
    assert_int_equal(f->scene.outcome, TALLY_DB_UNKNOWN);
    assert_false(tally_tick_store_connected(f->scene.store));
    tally_pg_stop(tally_pg_shared());    // the server restarts itself after that; make it orderly
    tally_pg_start(tally_pg_shared());
    assert_int_equal(tick_scene_look(&f->scene, recorded_sql), 0);
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 0);
    assert_goes_on(f);
}

//  The broker's end is gone, PostgreSQL has not read a byte of the tick yet: it will.
static void
tick_that_arrives_after_it_was_looked_for_cannot_commit(void **state)
{
    struct fixture *f = *state;
    bool found = true;
    pid_t backend = find_backend(f);
    assert_int_equal(kill(backend, SIGSTOP), 0);
    plan_message(f, 1000, tally_bytes_of("body"));
    tick_scene_start(&f->scene, TICK_SCENE_EPOCH);
    assert_false(tick_scene_go_on(&f->scene, 200));
    tally_tick_store_disconnect(f->scene.store);
    tally_plan_clear(f->scene.plan);
    tick_scene_must(tally_recover_store_find_tick(f->reader, TICK_SCENE_EPOCH, 1, &found));
    assert_false(found);
    assert_int_equal(kill(backend, SIGCONT), 0);
    int64_t give_up_at_ms = tally_clock_now_ms() + 5000;
    while (tick_scene_look(
               &f->scene,
               "select count(*) from pg_stat_activity where application_name = 'tallyd-tick'")
           > 0) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        poll(NULL, 0, 5);
    }
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 0);
    f->scene.plan->number = 1;
    assert_goes_on(f);
}

//  ---- commits that wait for a standby --------------------------------------------------------------------

//  Does a commit wait for the standby already?  One that does is cancelled.
static bool
commit_waits(struct fixture *f)
{
    char error[256];
    PGconn *handle = tally_db_handle(f->scene.looker);
    assert_int_equal(PQsendQuery(handle, "update tally.tenant set weight = 2"), 1);
    struct pollfd item = {.fd = PQsocket(handle), .events = POLLIN};
    bool waits = poll(&item, 1, 100) == 0;
    if (waits) {
        PGcancel *cancel = PQgetCancel(handle);
        assert_int_equal(PQcancel(cancel, error, sizeof error), 1);
        PQfreeCancel(cancel);
    }
    PGresult *result;
    while ((result = PQgetResult(handle)) != NULL) {
        PQclear(result);
    }
    return waits;
}

//  Lets a tick wait at its COMMIT, for a standby that does not exist, and runs `sql` meanwhile; without it, leaves the
//  tick there.
static void
disturb_commit(struct fixture *f, const char *sql)
{
    tick_scene_must(
        tally_db_script(f->scene.looker, "alter system set synchronous_standby_names = 'ghost'"));
    tick_scene_must(tally_db_run(f->scene.looker, "select pg_reload_conf()", NULL, NULL));
    int64_t give_up_at_ms = tally_clock_now_ms() + 5000;
    while (!commit_waits(f)) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
    }
    plan_message(f, 1000, tally_bytes_of("body"));
    tick_scene_start(&f->scene, TICK_SCENE_EPOCH);
    assert_false(tick_scene_go_on(&f->scene, 300));
    if (sql == NULL) {
        return;
    }
    assert_int_equal(tick_scene_look(&f->scene, sql), 1);
    bool known = tick_scene_go_on(&f->scene, 10000);
    tick_scene_must(
        tally_db_script(f->scene.looker, "alter system reset synchronous_standby_names"));
    tick_scene_must(tally_db_run(f->scene.looker, "select pg_reload_conf()", NULL, NULL));
    assert_true(known);
}

static void
connection_lost_at_commit_is_unknown_and_has_a_record(void **state)
{
    struct fixture *f = *state;
    disturb_commit(f, "select pg_terminate_backend(pid)::int from pg_stat_activity"
                      " where datname = current_database() and wait_event = 'SyncRep'");
    assert_int_equal(f->scene.outcome, TALLY_DB_UNKNOWN);
    assert_false(tally_tick_store_connected(f->scene.store));
    assert_int_equal(tick_scene_look(&f->scene, recorded_sql), 1);
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 1);
    assert_goes_on(f);
}

static void
commit_that_may_not_have_reached_the_standby_is_unknown(void **state)
{
    struct fixture *f = *state;
    disturb_commit(f, "select pg_cancel_backend(pid)::int from pg_stat_activity"
                      " where datname = current_database() and wait_event = 'SyncRep'");
    assert_int_equal(f->scene.outcome, TALLY_DB_UNKNOWN);
    assert_int_equal(tick_scene_look(&f->scene, recorded_sql), 1);
    assert_goes_on(f);
}

//  The broker's end is gone while PostgreSQL commits: nobody may say that it did not happen.
static void
tick_that_is_still_committing_is_not_said_to_be_lost(void **state)
{
    struct fixture *f = *state;
    bool found = false;
    disturb_commit(f, NULL);
    tally_tick_store_disconnect(f->scene.store);
    tally_plan_clear(f->scene.plan);
    tally_db_outcome_t outcome = tally_recover_store_find_tick(f->reader, TICK_SCENE_EPOCH, 1,
                                                               &found);
    tick_scene_must(
        tally_db_script(f->scene.looker, "alter system reset synchronous_standby_names"));
    tick_scene_must(tally_db_run(f->scene.looker, "select pg_reload_conf()", NULL, NULL));
    assert_int_equal(outcome, TALLY_DB_RETRY);
    int64_t give_up_at_ms = tally_clock_now_ms() + 10000;
    while (outcome == TALLY_DB_RETRY) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        outcome = tally_recover_store_find_tick(f->reader, TICK_SCENE_EPOCH, 1, &found);
    }
    tick_scene_must(outcome);
    assert_true(found);
    assert_int_equal(tick_scene_look(&f->scene, count_sql), 1);
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
        SCENE(tick_leaves_its_record_even_when_it_wrote_nothing_else),
        SCENE(broker_of_another_epoch_cannot_write),
        SCENE(tick_beside_a_takeover_writes_nothing),
        SCENE(tick_that_breaks_a_constraint_is_rejected_as_a_whole),
        SCENE(statement_whose_result_changed_is_nobodys_fault),
        SCENE(tick_never_waits_long_for_a_lock),
        SCENE(tick_larger_than_any_buffer_goes_through_while_answers_come_back),
        SCENE(bodies_that_go_in_parts_arrive_each_once_and_whole),
        SCENE(server_that_forgets_on_power_loss_is_refused),
        cmocka_unit_test(server_that_tears_pages_is_refused),
        cmocka_unit_test(server_that_keeps_its_promises_is_taken),
        SCENE(server_that_is_away_means_retry),
        SCENE(connection_lost_before_commit_went_out_is_never_done),
        SCENE(connection_lost_with_commit_unread_is_unknown_and_has_no_record),
        SCENE(tick_that_arrives_after_it_was_looked_for_cannot_commit),
        SCENE(tick_that_is_still_committing_is_not_said_to_be_lost),
        SCENE(connection_lost_at_commit_is_unknown_and_has_a_record),
        SCENE(commit_that_may_not_have_reached_the_standby_is_unknown),
    };
    return cmocka_run_group_tests_name("tick_outcome", tests, tally_pg_share, tally_pg_unshare);
}
