// SPDX-License-Identifier: MIT
//  instance: one command brings everything up, whatever dies comes back, one command takes everything down, and
//  what was confirmed is still there the next time.
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/db.h"
#include "tests/integration/instance.h"

#define BACK_MS 20000
#define WORKERS "responses=1,statistics=2,export=1,heartbeat=1"

static const char *const processes[] = {"postgres",     "tallyd",   "responses-1", "statistics-1",
                                        "statistics-2", "export-1", "heartbeat-1"};
#define PROCESS_COUNT (sizeof processes / sizeof processes[0])

static int
setup(void **state)
{
    tally_instance_t *instance = tally_instance_new();
    *state = instance;
    return tally_instance_run(instance, "up", "--workers", WORKERS, NULL)->code;
}

static int
setup_empty(void **state)
{
    *state = tally_instance_new();
    return 0;
}

static int
teardown(void **state)
{
    tally_instance_t *instance = *state;
    return tally_instance_destroy(&instance);
}

static size_t
count_workers(tally_instance_t *instance)
{
    json_t *status = tally_instance_json(instance, "status", "--json", NULL);
    size_t count = json_array_size(json_object_get(status, "workers"));
    json_decref(status);
    return count;
}

static bool
all_workers_are_back(void *argument)
{
    //  While the broker is away the command says so; that is "not yet".
    const tally_output_t *output = tally_instance_run(argument, "status", "--json", "--timeout",
                                                      "2s", NULL);
    json_t *status = output->code == 0 ? json_loads(output->out, 0, NULL) : NULL;
    size_t count = json_array_size(json_object_get(status, "workers"));
    json_decref(status);
    return count == PROCESS_COUNT - 2;
}

//  Rows of the one-column statement's number.
static int64_t
number(tally_instance_t *instance, const char *sql)
{
    tally_db_t *db = tally_db_new(tally_instance_conninfo(instance), "test");
    tally_rows_t rows;
    int64_t value = -1;
    if (tally_db_connect(db) == TALLY_DB_DONE && tally_db_run(db, sql, NULL, &rows) == TALLY_DB_DONE
        && rows.rows == 1) {
        value = tally_rows_int8(&rows, 0, 0);
    }
    tally_db_destroy(&db);
    return value;
}

static void
up_starts_every_process_and_says_what_is_next(void **state)
{
    tally_instance_t *instance = *state;
    const tally_output_t *output = tally_instance_must(instance, "up", "--workers", WORKERS, NULL);
    assert_non_null(strstr(output->out, "ready in"));
    assert_non_null(strstr(output->out, tally_instance_endpoint(instance)));
    assert_non_null(strstr(output->out, "next:"));
    for (size_t i = 0; i < PROCESS_COUNT; i++) {
        assert_true(tally_instance_pid(instance, processes[i]) > 0);
    }
    assert_int_equal(count_workers(instance), PROCESS_COUNT - 2);
}

static void
up_twice_leaves_what_is_up_alone(void **state)
{
    tally_instance_t *instance = *state;
    pid_t before = tally_instance_pid(instance, "tallyd");
    const tally_output_t *output = tally_instance_must(instance, "up", NULL);
    assert_non_null(strstr(output->out, "already up"));
    assert_int_equal(tally_instance_pid(instance, "tallyd"), before);
}

static void
two_ups_at_once_make_one_instance(void **state)
{
    tally_instance_t *instance = *state;
    pid_t first = tally_instance_spawn(instance, "first", "up", "--workers", WORKERS, NULL);
    pid_t second = tally_instance_spawn(instance, "second", "up", "--workers", WORKERS, NULL);
    assert_int_equal(tally_instance_join(instance, first, 120000), 0);
    assert_int_equal(tally_instance_join(instance, second, 120000), 0);
    assert_int_equal(count_workers(instance), PROCESS_COUNT - 2);
}

static void
whatever_is_killed_comes_back_by_itself(void **state)
{
    tally_instance_t *instance = *state;
    for (size_t i = 0; i < PROCESS_COUNT; i++) {
        pid_t before = tally_instance_signal(instance, processes[i], SIGKILL);
        tally_instance_await_another(instance, processes[i], before, BACK_MS);
        assert_true(tally_wait_until(all_workers_are_back, instance, BACK_MS));
    }
}

static void
postgres_stopped_at_once_comes_back_with_what_was_confirmed(void **state)
{
    tally_instance_t *instance = *state;
    tally_instance_must(instance, "queue", "put", "mail", NULL);
    tally_instance_must(instance, "send", "mail", "one", "two", "three", "-t", "acme", NULL);
    pid_t before = tally_instance_signal(instance, "postgres", SIGQUIT);
    tally_instance_await_another(instance, "postgres", before, BACK_MS);
    assert_true(tally_wait_until(all_workers_are_back, instance, BACK_MS));
    assert_int_equal(number(instance, "select count(*) from tally.messages where queue = 'mail'"),
                     3);
}

static void
down_stops_everything_and_up_finds_everything_again(void **state)
{
    tally_instance_t *instance = *state;
    tally_instance_must(instance, "queue", "put", "mail", NULL);
    tally_instance_must(instance, "send", "mail", "one", "two", "-t", "acme", NULL);

    tally_instance_must(instance, "down", NULL);
    assert_int_equal(tally_instance_supervisor(instance), 0);
    for (size_t i = 0; i < PROCESS_COUNT; i++) {
        assert_int_equal(tally_instance_pid(instance, processes[i]), 0);
    }
    assert_non_null(strstr(tally_instance_must(instance, "down", NULL)->out, "not up"));

    tally_instance_must(instance, "up", "--workers", WORKERS, NULL);
    assert_int_equal(number(instance, "select count(*) from tally.messages where queue = 'mail'"),
                     2);
}

static void
the_statistics_window_is_set_and_kept(void **state)
{
    tally_instance_t *instance = *state;
    tally_instance_must(instance, "up", "--workers", "heartbeat=1", "--statistics-window", "7",
                        NULL);
    assert_int_equal(number(instance,
                            "select window_ms from tally.queue where name = 'statistics'"),
                     7000);
    tally_instance_must(instance, "down", NULL);
    tally_instance_must(instance, "up", "--workers", "heartbeat=1", NULL);
    assert_int_equal(number(instance,
                            "select window_ms from tally.queue where name = 'statistics'"),
                     7000);
}

static bool
is_up_for_three_rounds(void *argument)
{
    json_t *status = tally_instance_json(argument, "status", "--json", NULL);
    json_t *uptime = json_object_get(json_object_get(status, "broker"), "uptime_ms");
    bool is_up = json_integer_value(uptime) > 3500;
    json_decref(status);
    return is_up;
}

static void
snapshots_are_made_while_somebody_follows(void **state)
{
    tally_instance_t *instance = *state;
    tally_instance_must(instance, "up", "--workers", "heartbeat=1", NULL);
    bool is_up = tally_wait_until(is_up_for_three_rounds, instance, BACK_MS);
    assert_true(is_up);
    json_t *snapshot = tally_instance_json(instance, "feed", "broker", "--count", "1", "--json",
                                           NULL);
    json_t *sequence = json_object_get(json_object_get(snapshot, "body"), "seq");
    //  The first of all, or the one after, when the round began before the subscription was heard.
    assert_in_range(json_integer_value(sequence), 1, 2);
    json_decref(snapshot);
}

struct family {
    tally_instance_t *instance;
    pid_t supervisor;
    pid_t members[PROCESS_COUNT];
};

static bool
supervisor_is_gone(void *argument)
{
    const struct family *family = argument;
    return tally_instance_supervisor(family->instance) != family->supervisor;
}

static bool
members_are_gone(void *argument)
{
    const struct family *family = argument;
    for (size_t i = 0; i < PROCESS_COUNT; i++) {
        if (tally_instance_owns(family->instance, family->members[i])) {
            return false;
        }
    }
    return true;
}

static void
a_supervisor_that_is_killed_takes_all_with_it_and_up_starts_anew(void **state)
{
    tally_instance_t *instance = *state;
    struct family old = {.instance = instance, .supervisor = tally_instance_supervisor(instance)};
    for (size_t i = 0; i < PROCESS_COUNT; i++) {
        old.members[i] = tally_instance_pid(instance, processes[i]);
    }
    assert_false(members_are_gone(&old));
    assert_int_equal(kill(old.supervisor, SIGKILL), 0);
    //  A signal is not yet a death; until then `tally up` would find an instance that is up.
    assert_true(tally_wait_until(supervisor_is_gone, &old, BACK_MS));
    tally_instance_must(instance, "up", "--workers", WORKERS, NULL);
    assert_int_equal(count_workers(instance), PROCESS_COUNT - 2);
    assert_true(tally_wait_until(members_are_gone, &old, BACK_MS));
}

static bool
is_ready_in_foreground(void *argument)
{
    tally_instance_t *instance = argument;
    return tally_instance_supervisor(instance) > 0 && all_workers_are_back(instance);
}

static void
in_the_foreground_a_signal_stops_all_in_order(void **state)
{
    tally_instance_t *instance = *state;
    pid_t pid = tally_instance_spawn(instance, "up", "up", "--foreground", "--workers", WORKERS,
                                     NULL);
    assert_true(tally_wait_until(is_ready_in_foreground, instance, 60000));
    assert_int_equal(kill(pid, SIGINT), 0);
    assert_int_equal(tally_instance_join(instance, pid, 60000), 0);
    for (size_t i = 0; i < PROCESS_COUNT; i++) {
        assert_int_equal(tally_instance_pid(instance, processes[i]), 0);
    }
}

static void
usage_mistakes_are_named(void **state)
{
    tally_instance_t *instance = *state;
    assert_int_equal(tally_instance_run(instance, "up", "--workers", "statistic=2", NULL)->code,
                     64);
    assert_non_null(
        strstr(tally_instance_run(instance, "up", "--workers", "statistic=2", NULL)->err,
               "statistic"));
    assert_int_equal(tally_instance_run(instance, "up", "--workers", "statistics=x", NULL)->code,
                     64);
    assert_int_equal(tally_instance_run(instance, "up", "--statistics-window", "-1", NULL)->code,
                     64);
    assert_int_equal(tally_instance_run(instance, "down", NULL)->code, 69);
}

static void
the_schema_can_be_asked_for(void **state)
{
    tally_instance_t *instance = *state;
    json_t *status = tally_instance_json(instance, "db", "status", "--json", NULL);
    assert_int_equal(json_integer_value(json_object_get(status, "version")),
                     json_integer_value(json_object_get(status, "known")));
    json_decref(status);
    tally_instance_must(instance, "db", "migrate", NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_EMPTY(name) cmocka_unit_test_setup_teardown(name, setup_empty, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST_EMPTY(up_starts_every_process_and_says_what_is_next),
        TEST(up_twice_leaves_what_is_up_alone),
        TEST_EMPTY(two_ups_at_once_make_one_instance),
        TEST(whatever_is_killed_comes_back_by_itself),
        TEST(postgres_stopped_at_once_comes_back_with_what_was_confirmed),
        TEST(down_stops_everything_and_up_finds_everything_again),
        TEST_EMPTY(the_statistics_window_is_set_and_kept),
        TEST_EMPTY(snapshots_are_made_while_somebody_follows),
        TEST(a_supervisor_that_is_killed_takes_all_with_it_and_up_starts_anew),
        TEST_EMPTY(in_the_foreground_a_signal_stops_all_in_order),
        TEST_EMPTY(usage_mistakes_are_named),
        TEST(the_schema_can_be_asked_for),
    };
    return cmocka_run_group_tests_name("instance", tests, NULL, NULL);
}
