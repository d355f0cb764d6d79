// SPDX-License-Identifier: MIT
//  Every failpoint is reached and fires: tallyd and workers die at each of them while responses are submitted, fail at
//  each that can fail, and in the end the statistics are exact.

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/faults/cast.h"
#include "tests/faults/chance.h"
#include "tests/faults/failpoints.h"
#include "tests/integration/pg.h"
#include "tests/integration/survey_data.h"

#define RESPONSES 400
#define FIRES_MS 20000
#define REST_MS 60000
#define NUDGE_MS 150

static const char *const tenants[] = {"one", "two"};

struct fixture {
    tally_cast_t *cast;
    tally_pg_t *pg;
    tally_failpoints_t *points;
    tally_chance_t chance;
    survey_data_t data;
    char *front;
    tally_process_t *tallyd, *worker, *clients[4];
    size_t client_count;
};

//  A program of the suite that must end well.
#define must(f, ...)                                                                               \
    assert_int_equal(tally_cast_run((f)->cast, REST_MS, "tally", __VA_ARGS__, NULL), 0)

//  ---- scene --------------------------------------------------------------------------------------

static void
start_tallyd(struct fixture *f, const char *conninfo)
{
    const char *dir = tally_cast_dir(f->cast);
    char *places[3] = {tally_format("ipc://%s/sink", dir), tally_format("ipc://%s/feed", dir),
                       tally_format("ipc://%s/lane-%%", dir)};
    f->tallyd = tally_cast_start(f->cast, "tallyd", "tallyd", "--front", f->front, "--sink",
                                 places[0], "--feed", places[1], "--lanes", places[2], "--db",
                                 conninfo, "--allow-unsafe", "yes", NULL);
    for (size_t i = 0; i < 3; i++) {
        free(places[i]);
    }
}

static void
start_workers(struct fixture *f, const char *conninfo)
{
    static const char *const names[] = {"responses-1", "responses-2", "statistics-1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *program = tally_format("tally-%.*s", (int)strcspn(names[i], "-"), names[i]);
        tally_process_t *worker = tally_cast_start(f->cast, names[i], program, "--front", f->front,
                                                   "--db", conninfo, "--name", names[i], NULL);
        f->worker = i == 0 ? worker : f->worker;
        free(program);
    }
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    const char *bin_dir = getenv("TALLY_FAILPOINT_BIN_DIR");
    const char *seed = getenv("TALLY_FAULTS_SEED");
    f->chance = tally_chance_of(seed == NULL ? 1 : strtoull(seed, NULL, 10), 1, 2, 3);
    f->pg = tally_pg_new(NULL);
    f->cast = tally_cast_new(bin_dir == NULL ? "build/faults/bin" : bin_dir);
    assert_non_null(f->cast);
    char *page = tally_format("%s/failpoints", tally_cast_dir(f->cast));
    f->points = tally_failpoints_open(page);
    assert_non_null(f->points);
    f->front = tally_format("ipc://%s/front", tally_cast_dir(f->cast));
    setenv("TALLY_FAILPOINTS", page, 1);
    setenv("TALLY_BROKER", f->front, 1);
    free(page);
    survey_data_generate(&f->data, tally_cast_dir(f->cast), "generated", RESPONSES, 3);
    const char *conninfo = tally_pg_fresh(f->pg);
    start_tallyd(f, conninfo);
    start_workers(f, conninfo);
    for (size_t i = 0; i < 2; i++) {
        must(f, "survey", "put", f->data.definition, "-t", tenants[i]);
        f->clients[f->client_count++] = tally_cast_start(f->cast, tenants[i], "tally", "submit",
                                                         f->data.responses, "-t", tenants[i], NULL);
    }
    f->clients[f->client_count++] = tally_cast_start(f->cast, "asks", "tally", "survey", "ls", "-t",
                                                     "one", NULL);
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_failpoints_close(&f->points);
    survey_data_free(&f->data);
    int rc = tally_cast_destroy(&f->cast);
    tally_pg_destroy(&f->pg);
    free(f->front);
    free(f);
    return rc;
}

//  ---- reaching them ------------------------------------------------------------------------------

struct aim {
    struct fixture *f;
    tally_failpoint_t point;
    uint64_t fired;    // before
    int64_t nudge_at_ms;
};

//  What must happen for some points to be reached.
static void
nudge(struct fixture *f, tally_failpoint_t point)
{
    switch (point) {
    case TALLY_AT_WORKER_HELLO:
    case TALLY_AT_WORKER_WELCOMED:
    case TALLY_AT_WORKER_JOINED:
    case TALLY_AT_WORKER_GONE:
        tally_crew_kill(f->worker, SIGKILL, 0);
        break;
    case TALLY_AT_PLACE_TAKEN:
    case TALLY_AT_EPOCH_TAKEN:
    case TALLY_AT_LOADING:
    case TALLY_AT_LOADED:
        tally_crew_kill(f->tallyd, SIGKILL, 0);
        break;
    case TALLY_AT_TICK_LOST:
    case TALLY_AT_TICK_FOUND:
    case TALLY_AT_FED_AGAIN:
        tally_failpoints_arm(f->points, TALLY_AT_TICK_SENT, TALLY_FAILPOINT_ERROR, 0, 0);
        break;
    case TALLY_AT_TICK_VOID:
        tally_failpoints_arm(f->points, TALLY_AT_TICK_SENDS, TALLY_FAILPOINT_ERROR, 0, 0);
        break;
    default:
        break;
    }
}

static bool
has_fired(void *argument)
{
    struct aim *aim = argument;
    int64_t now_ms = tally_clock_now_ms();
    if (now_ms >= aim->nudge_at_ms) {
        nudge(aim->f, aim->point);
        aim->nudge_at_ms = now_ms + NUDGE_MS * 4;
    }
    return tally_failpoints_fired(aim->f->points, aim->point) > aim->fired;
}

static void
fire(struct fixture *f, tally_failpoint_t point, tally_failpoint_action_t action, uint32_t ms)
{
    struct aim aim = {f, point, tally_failpoints_fired(f->points, point), 0};
    uint32_t after = tally_chance_below(&f->chance, 3);
    //  What happens once in a start or a recovery is not waited for three times.
    bool rare = point >= TALLY_AT_WORKER_HELLO && point <= TALLY_AT_FED_AGAIN;
    assert_true(tally_failpoints_arm(f->points, point, action, rare ? 0 : after, ms));
    if (!tally_cast_until(f->cast, has_fired, &aim, FIRES_MS)) {
        fail_msg("%s was not reached", tally_failpoints_name(point));
    }
}

static bool
clients_have_ended(void *argument)
{
    const struct fixture *f = argument;
    for (size_t i = 0; i < f->client_count; i++) {
        if (f->clients[i]->pid != 0) {
            return false;
        }
    }
    return true;
}

//  Without faults the rest is done, and it is neither too little nor too much.
static void
statistics_are_exact(struct fixture *f)
{
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        tally_failpoints_disarm(f->points, point);
    }
    for (size_t i = 0; i < f->client_count; i++) {
        f->clients[i]->wanted = false;
    }
    assert_true(tally_cast_until(f->cast, clients_have_ended, f, REST_MS));
    for (size_t i = 0; i < sizeof tenants / sizeof tenants[0]; i++) {
        must(f, "submit", f->data.responses, "-t", tenants[i]);
        must(f, "statistics", "refresh", "-t", tenants[i], "--wait", "--timeout", "60s");
        must(f, "statistics", "show", "-t", tenants[i], "-s", f->data.slug, "--json");
        char *out = tally_format("%s/out", tally_cast_dir(f->cast));
        json_t *shown = json_load_file(out, 0, NULL);
        free(out);
        assert_non_null(shown);
        char *difference = survey_data_difference(f->data.expected, shown);
        json_decref(shown);
        if (difference != NULL) {
            fail_msg("tenant %s: %s", tenants[i], difference);
        }
    }
    for (size_t i = 0; i < f->client_count; i++) {
        tally_crew_start(tally_cast_crew(f->cast), f->clients[i]);
    }
    assert_string_equal(tally_crew_findings(tally_cast_crew(f->cast)), "");
}

//  ---- tests --------------------------------------------------------------------------------------

static void
every_point_is_reached_and_kills(void **state)
{
    struct fixture *f = *state;
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        fire(f, point, TALLY_FAILPOINT_KILL, 0);
    }
    statistics_are_exact(f);
}

static void
every_step_that_can_fail_may_fail(void **state)
{
    struct fixture *f = *state;
    for (tally_failpoint_t point = 0; point < TALLY_FAILPOINTS_COUNT; point++) {
        if (tally_failpoints_may_fail(point)) {
            fire(f, point, TALLY_FAILPOINT_ERROR, 0);
        } else {
            assert_false(tally_failpoints_arm(f->points, point, TALLY_FAILPOINT_ERROR, 0, 0));
        }
    }
    statistics_are_exact(f);
}

static bool
is_stopped(void *process)
{
    return tally_cast_is_stopped(process);
}

static void
who_stops_or_waits_goes_on_where_it_was(void **state)
{
    struct fixture *f = *state;
    unsigned starts = f->tallyd->starts;
    fire(f, TALLY_AT_TICK_COMMITTED, TALLY_FAILPOINT_STOP, 0);
    assert_true(tally_cast_until(f->cast, is_stopped, f->tallyd, FIRES_MS));
    tally_crew_continue(f->tallyd);
    fire(f, TALLY_AT_TICK_SENT, TALLY_FAILPOINT_DELAY, 300);
    statistics_are_exact(f);
    assert_int_equal(f->tallyd->starts, starts);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_point_is_reached_and_kills),
        cmocka_unit_test(every_step_that_can_fail_may_fail),
        cmocka_unit_test(who_stops_or_waits_goes_on_where_it_was),
    };
    return cmocka_run_group_tests_name("failpoint", tests, set_up, tear_down);
}
