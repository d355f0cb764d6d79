// SPDX-License-Identifier: MIT
//  Several brokers on one database: whatever becomes of the active one, another one goes on, and the end is exactly
//  what it would have been.

#include <czmq.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"
#include "lib/endpoints.h"
#include "tests/integration/instance.h"
#include "tests/integration/survey_data.h"

#define BROKERS "3"
#define RESPONSES 12000
#define BACK_MS 30000
#define KILLS 20
#define ASKS 400

struct fixture {
    tally_instance_t *instance;
    survey_data_t data;
    tally_client_t *client;    // knows all fronts
    tally_db_t *db;
    unsigned asks;    // without a result yet
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    tally_instance_must(f->instance, "up", "--brokers", BROKERS, NULL);
    survey_data_generate(&f->data, tally_instance_dir(f->instance), "generated", RESPONSES, 29);
    f->client = tally_client_new(tally_instance_endpoint(f->instance));
    f->db = tally_db_new(tally_instance_conninfo(f->instance), "test-takeover");
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    tally_db_destroy(&f->db);
    survey_data_free(&f->data);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

static int64_t
ask_number(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_connect(f->db), TALLY_DB_DONE);
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

//  ---- who is active ------------------------------------------------------------------------------------------

typedef struct {
    pid_t pid;
    int64_t epoch;
    char front[160];
} active_t;

//  As it says itself.
static active_t
find_active(struct fixture *f)
{
    const char *text = tally_client_admin(f->client, "{\"op\":\"status\"}", BACK_MS);
    assert_non_null(text);
    json_t *status = json_loads(text, 0, NULL);
    json_t *broker = json_object_get(status, "broker");
    const char *instance = json_string_value(json_object_get(broker, "instance"));
    const char *front = json_string_value(
        json_object_get(json_object_get(broker, "endpoints"), "front"));
    assert_non_null(instance);
    assert_non_null(front);
    active_t active = {.pid = (pid_t)strtol(strrchr(instance, ':') + 1, NULL, 10),
                       .epoch = json_integer_value(json_object_get(broker, "epoch"))};
    snprintf(active.front, sizeof active.front, "%s", front);
    json_decref(status);
    return active;
}

static bool
others_stand_by(void *argument)
{
    return ask_number(argument, "select count(*) from pg_stat_activity where datname = "
                                "current_database() and application_name like 'tallyd-standby %'")
           == 2;
}

//  A takeover needs somebody who can.
static active_t
await_standbys(struct fixture *f)
{
    assert_true(tally_wait_until(others_stand_by, f, BACK_MS));
    return find_active(f);
}

struct change {
    struct fixture *f;
    int64_t epoch;    // the one before
};

static bool
epoch_has_changed(void *argument)
{
    const struct change *change = argument;
    return ask_number(change->f, "select epoch from tally.broker") > change->epoch;
}

static void
await_takeover(struct fixture *f, int64_t epoch)
{
    struct change change = {f, epoch};
    assert_true(tally_wait_until(epoch_has_changed, &change, BACK_MS));
}

//  ---- real data ------------------------------------------------------------------------------------------

struct progress {
    struct fixture *f;
    const char *tenant;
};

//  The submit is in its middle.
static bool
sent_enough(void *argument)
{
    const struct progress *p = argument;
    const char *text = tally_client_admin(p->f->client, "{\"op\":\"tenant.ls\"}", BACK_MS);
    assert_non_null(text);
    json_t *reply = json_loads(text, 0, NULL);
    bool enough = false;
    size_t i;
    json_t *tenant;
    json_array_foreach(json_object_get(reply, "tenants"), i, tenant) {
        if (strcmp(json_string_value(json_object_get(tenant, "name")), p->tenant) == 0) {
            enough = json_integer_value(json_object_get(tenant, "sent")) >= RESPONSES / 20;
        }
    }
    json_decref(reply);
    return enough;
}

static pid_t
start_submit(struct fixture *f, const char *tenant)
{
    tally_instance_must(f->instance, "survey", "put", f->data.definition, "-t", tenant, NULL);
    pid_t submit = tally_instance_spawn(f->instance, "submit", "submit", f->data.responses, "-t",
                                        tenant, NULL);
    struct progress progress = {f, tenant};
    assert_true(tally_wait_until(sent_enough, &progress, 60000));
    return submit;
}

//  Each response was counted, once.
static void
end_is_exact(struct fixture *f, pid_t submit, const char *tenant)
{
    assert_int_equal(tally_instance_join(f->instance, submit, 120000), 0);
    tally_instance_must(f->instance, "statistics", "refresh", "-t", tenant, "--wait", "--timeout",
                        "90s", NULL);
    json_t *shown = tally_instance_json(f->instance, "statistics", "show", "-t", tenant, "-s",
                                        f->data.slug, "--json", NULL);
    char *difference = survey_data_difference(f->data.expected, shown);
    json_decref(shown);
    if (difference != NULL) {
        print_error("%s: %s\n", tenant, difference);
        free(difference);
        fail();
    }
}

//  ---- scenes -------------------------------------------------------------------------------------------------

static void
exactly_one_of_those_started_at_once_is_active(void **state)
{
    struct fixture *f = *state;
    active_t active = await_standbys(f);
    assert_int_equal(active.epoch, 1);
    assert_int_equal(ask_number(f, "select count(*) from pg_stat_activity where datname = "
                                   "current_database() and application_name = 'tallyd-tick'"),
                     1);
    assert_int_equal(ask_number(f, "select epoch from tally.broker"), 1);
}

static void
status_shows_who_is_active_and_who_stands_by(void **state)
{
    struct fixture *f = *state;
    active_t active = await_standbys(f);
    size_t standbys = 0;
    int64_t deadline_at_ms = tally_clock_now_ms() + BACK_MS;
    while (standbys != 2 && tally_clock_now_ms() < deadline_at_ms) {
        json_t *status = tally_instance_json(f->instance, "status", "--json", NULL);
        json_t *broker = json_object_get(status, "broker");
        assert_int_equal(json_integer_value(json_object_get(broker, "epoch")), active.epoch);
        assert_true(json_integer_value(json_object_get(broker, "active_ms")) >= 0);
        standbys = json_array_size(json_object_get(broker, "standbys"));
        json_decref(status);
    }
    assert_int_equal(standbys, 2);
    const tally_output_t *output = tally_instance_must(f->instance, "status", NULL);
    char *pid = tally_format(":%d, tick", (int)active.pid);
    assert_non_null(strstr(output->out, pid));
    assert_non_null(strstr(output->out, "standby   "));
    free(pid);
}

static void
killed_broker_is_replaced_and_the_end_is_exact(void **state)
{
    struct fixture *f = *state;
    active_t before = await_standbys(f);
    pid_t submit = start_submit(f, "killed");
    assert_int_equal(kill(before.pid, SIGKILL), 0);
    await_takeover(f, before.epoch);
    end_is_exact(f, submit, "killed");
    assert_int_not_equal(find_active(f).pid, before.pid);
}

//  Two in a row, the second one before it has had time for anything.
static void
killed_successor_is_replaced_too(void **state)
{
    struct fixture *f = *state;
    active_t first = await_standbys(f);
    pid_t submit = start_submit(f, "successor");
    assert_int_equal(kill(first.pid, SIGKILL), 0);
    await_takeover(f, first.epoch);
    active_t second = find_active(f);
    assert_int_equal(kill(second.pid, SIGKILL), 0);
    await_takeover(f, second.epoch);
    end_is_exact(f, submit, "successor");
}

//  It knows one front only, and what it says while that one is stopped waits in there.
static void
send_into_the_stopped(tally_client_t *lone, unsigned count)
{
    const tally_message_t message = {.body = "late", .body_bytes = 4};
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(tally_client_send(lone, "late", "late", &message, 1, 1000, NULL), 0);
    }
}

static void
stopped_broker_that_wakes_up_neither_writes_nor_confirms(void **state)
{
    struct fixture *f = *state;
    active_t old = await_standbys(f);
    tally_instance_must(f->instance, "queue", "put", "late", NULL);
    pid_t submit = start_submit(f, "stopped");
    tally_client_t *lone = tally_client_new(old.front);
    tally_client_set_silence(lone, BACK_MS);
    assert_int_equal(tally_client_connect(lone, BACK_MS), 0);

    assert_int_equal(kill(old.pid, SIGSTOP), 0);
    int64_t stopped_at_ms = tally_clock_now_ms();
    send_into_the_stopped(lone, 100);
    await_takeover(f, old.epoch);
    int64_t replaced_ms = tally_clock_now_ms() - stopped_at_ms;
    char *last_tick = tally_format("select coalesce(max(number), 0) from tally.tick where epoch = "
                                   "%" PRId64,
                                   old.epoch);
    int64_t last = ask_number(f, last_tick);
    active_t next = find_active(f);
    assert_int_not_equal(next.pid, old.pid);

    assert_int_equal(kill(old.pid, SIGCONT), 0);
    end_is_exact(f, submit, "stopped");
    await_standbys(f);    // the old one has ended, and stands by
    assert_int_equal(kill(old.pid, 0), -1);
    tally_event_t event;
    while (tally_client_next(lone, 200, &event) == 0) {
        assert_int_not_equal(event.kind, TALLY_EVENT_CONFIRMED);
    }
    assert_int_equal(tally_client_unconfirmed(lone), 100);
    tally_client_destroy(&lone);
    assert_true(ask_number(f, last_tick) <= last);    // old records are swept away
    assert_int_equal(ask_number(f, "select count(*) from tally.message m join tally.queue q "
                                   "on q.id = m.queue where q.name = 'late'"),
                     0);
    free(last_tick);
    print_message("stopped, replaced after %" PRId64 " ms\n", replaced_ms);
}

static void
broker_that_is_told_to_end_hands_over(void **state)
{
    struct fixture *f = *state;
    active_t before = await_standbys(f);
    pid_t submit = start_submit(f, "told");
    int64_t told_at_ms = tally_clock_now_ms();
    assert_int_equal(kill(before.pid, SIGTERM), 0);
    await_takeover(f, before.epoch);
    int64_t took_ms = tally_clock_now_ms() - told_at_ms;
    end_is_exact(f, submit, "told");
    print_message("told to end, replaced after %" PRId64 " ms\n", took_ms);
}

static void
killed_standbys_are_missed_by_nobody(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"tallyd", "tallyd-2", "tallyd-3"};
    active_t active = await_standbys(f);
    pid_t submit = start_submit(f, "standbys");
    for (size_t i = 0; i < 3; i++) {
        pid_t pid = tally_instance_pid(f->instance, names[i]);
        if (pid != active.pid) {
            assert_int_equal(kill(pid, SIGKILL), 0);
        }
    }
    end_is_exact(f, submit, "standbys");
    assert_int_equal(await_standbys(f).epoch, active.epoch);
}

static void
all_killed_and_started_again_go_on(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"tallyd", "tallyd-2", "tallyd-3"};
    active_t active = await_standbys(f);
    pid_t submit = start_submit(f, "all");
    for (size_t i = 0; i < 3; i++) {
        tally_instance_signal(f->instance, names[i], SIGKILL);
    }
    await_takeover(f, active.epoch);
    end_is_exact(f, submit, "all");
}

static void
lost_connections_alone_make_no_takeover(void **state)
{
    struct fixture *f = *state;
    active_t active = await_standbys(f);
    pid_t submit = start_submit(f, "cut");
    for (int i = 0; i < 10; i++) {
        ask_number(f, "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                      "where datname = current_database() and application_name = 'tallyd-tick'");
        find_active(f);
    }
    end_is_exact(f, submit, "cut");
    assert_int_equal(find_active(f).epoch, active.epoch);
}

//  All lose it, and the one that was active comes first again, or another one: one of them does.
static void
postgresql_that_stops_at_once_ends_nothing(void **state)
{
    struct fixture *f = *state;
    await_standbys(f);
    pid_t submit = start_submit(f, "postgres");
    pid_t before = tally_instance_signal(f->instance, "postgres", SIGQUIT);
    tally_instance_await_another(f->instance, "postgres", before, BACK_MS);
    tally_db_disconnect(f->db);
    end_is_exact(f, submit, "postgres");
    await_standbys(f);
}

static void
broker_that_may_not_stand_by_says_so(void **state)
{
    struct fixture *f = *state;
    active_t active = await_standbys(f);
    const char *programs = getenv("TALLY_BIN_DIR");
    char *program = tally_format("%s/tallyd", programs == NULL ? "build/bin" : programs);
    char *conf = tally_format("%s/tally.conf", tally_instance_dir(f->instance));
    const char *const words[] = {"tallyd", "--config", conf, "--standby", "no", NULL};
    pid_t pid;
    int rc = posix_spawn(&pid, program, NULL, NULL, (char *const *)(uintptr_t)words, environ);
    free(program);
    free(conf);
    assert_int_equal(rc, 0);
    assert_int_equal(tally_instance_join(f->instance, pid, BACK_MS), 75);
    assert_int_equal(find_active(f).epoch, active.epoch);
}

static int
compare_ms(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

//  Sends asks until so many are without a result.
static void
fill_with_asks(struct fixture *f, const tally_message_t *ask, unsigned count)
{
    for (; f->asks < count; f->asks++) {
        assert_int_equal(tally_client_send(f->client, "survey", "asker", ask, 1, BACK_MS, NULL), 0);
    }
}

//  Results come in; true when all have.
static bool
drain_asks(struct fixture *f, unsigned leave)
{
    tally_event_t event;
    while (f->asks > leave) {
        if (tally_client_next(f->client, BACK_MS, &event) == -1) {
            return false;
        }
        if (event.kind == TALLY_EVENT_RESULT) {
            assert_int_equal(event.outcome, TALLY_OUTCOME_DONE);
            f->asks--;
        } else {
            assert_int_equal(event.kind, TALLY_EVENT_CONFIRMED);
        }
    }
    return true;
}

//  From kill -9 of the active broker until all that was asked before it has its result: sends that were not confirmed,
//  leases on their way, work in hand, results that nobody was told.
static void
work_goes_on_within_two_seconds_of_a_kill(void **state)
{
    struct fixture *f = *state;
    int64_t took_ms[KILLS];
    tally_instance_must(f->instance, "survey", "put", f->data.definition, "-t", "asker", NULL);
    const char list[] = "{\"do\":\"ls\"}";
    const tally_message_t ask = {.body = list,
                                 .body_bytes = sizeof list - 1,
                                 .flags = TALLY_MESSAGE_ASK};
    for (int i = 0; i < KILLS; i++) {
        active_t active = await_standbys(f);
        fill_with_asks(f, &ask, ASKS);
        assert_true(drain_asks(f, ASKS / 2));    // in full swing
        fill_with_asks(f, &ask, ASKS);
        int64_t killed_at_ms = tally_clock_now_ms();
        assert_int_equal(kill(active.pid, SIGKILL), 0);
        assert_true(drain_asks(f, 0));
        took_ms[i] = tally_clock_now_ms() - killed_at_ms;
        await_takeover(f, active.epoch);
    }
    qsort(took_ms, KILLS, sizeof took_ms[0], compare_ms);
    print_message("kill to the last result: p50 %" PRId64 " ms, most %" PRId64 " ms of %d kills\n",
                  took_ms[KILLS / 2], took_ms[KILLS - 1], KILLS);
    assert_true(took_ms[KILLS / 2] < 2000);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_one_of_those_started_at_once_is_active),
        cmocka_unit_test(status_shows_who_is_active_and_who_stands_by),
        cmocka_unit_test(killed_broker_is_replaced_and_the_end_is_exact),
        cmocka_unit_test(killed_successor_is_replaced_too),
        cmocka_unit_test(stopped_broker_that_wakes_up_neither_writes_nor_confirms),
        cmocka_unit_test(broker_that_is_told_to_end_hands_over),
        cmocka_unit_test(killed_standbys_are_missed_by_nobody),
        cmocka_unit_test(all_killed_and_started_again_go_on),
        cmocka_unit_test(lost_connections_alone_make_no_takeover),
        cmocka_unit_test(postgresql_that_stops_at_once_ends_nothing),
        cmocka_unit_test(broker_that_may_not_stand_by_says_so),
        cmocka_unit_test(work_goes_on_within_two_seconds_of_a_kill),
    };
    return cmocka_run_group_tests_name("takeover", tests, setup, teardown);
}
