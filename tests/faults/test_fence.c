// SPDX-License-Identifier: MIT
//  A broker stops at a point of its tick, another takes over, the first wakes up: it writes nothing any more, no number
//  is given out twice, and whoever sent has its confirm and its result.
//
//  A few points, by seed (TALLY_FAULTS_SEED); with TALLY_FAULTS_FULL all of them (make edges).

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"
#include "tests/faults/cast.h"
#include "tests/faults/chance.h"
#include "tests/faults/failpoints.h"
#include "tests/integration/pg.h"

#define START_MS 20000
#define TAKEOVER_MS 60000    // on the slowest machine
#define NUDGE_MS 3000
#define AWAKE_MS 1500    // what it has time for when it woke up
#define POINTS_BY_DEFAULT 6
#define OPEN_MAX 16    // sends and asks under way
#define EPOCH_SHIFT 40

//  The last three stop a standby in the middle of its taking over; the next one does it then.
static const tally_failpoint_t points[] = {
    TALLY_AT_FRONT_RECEIVED, TALLY_AT_SEND_TAKEN,    TALLY_AT_RECORDS_RECEIVED,
    TALLY_AT_RECORDS_TAKEN,  TALLY_AT_PLAN_SEALED,   TALLY_AT_TICK_BEGUN,
    TALLY_AT_TICK_SENDS,     TALLY_AT_TICK_LEASES,   TALLY_AT_TICK_SENT,
    TALLY_AT_TICK_COMMITTED, TALLY_AT_CONFIRM_FIRST, TALLY_AT_CONFIRMS_OUT,
    TALLY_AT_ANSWER_SEND,    TALLY_AT_LANE_SEND,     TALLY_AT_LANES_OUT,
    TALLY_AT_RESULTS_OUT,    TALLY_AT_TICK_TOLD,     TALLY_AT_PLACE_TAKEN,
    TALLY_AT_EPOCH_TAKEN,    TALLY_AT_LOADED,
};
#define POINTS (sizeof points / sizeof points[0])

struct fixture {
    tally_cast_t *cast;
    tally_pg_t *pg;
    tally_failpoints_t *page;
    tally_client_t *client;
    tally_db_t *db;
    tally_chance_t chance;
    tally_process_t *brokers[2];
    unsigned sent;    // messages of queue "fence", each with its number as its body
    uint64_t *ids;    // of the confirmed
    size_t id_count;
    uint64_t epoch_heard;    // of the last confirm with ids
};

//  ---- scene --------------------------------------------------------------------------------------

static void
start_broker(struct fixture *f, size_t number, const char *conninfo)
{
    static const char *const names[] = {"left", "right"};
    static const char *const kinds[] = {"front", "sink", "feed", "lane-%"};
    char *places[4];
    for (size_t i = 0; i < 4; i++) {
        places[i] = tally_format("ipc://%s/%s-%s", tally_cast_dir(f->cast), names[number],
                                 kinds[i]);
    }
    f->brokers[number] = tally_cast_start(f->cast, names[number], "tallyd", "--front", places[0],
                                          "--sink", places[1], "--feed", places[2], "--lanes",
                                          places[3], "--db", conninfo, "--allow-unsafe", "yes",
                                          NULL);
    for (size_t i = 0; i < 4; i++) {
        free(places[i]);
    }
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    const char *bin_dir = getenv("TALLY_FAILPOINT_BIN_DIR");
    const char *seed = getenv("TALLY_FAULTS_SEED");
    f->chance = tally_chance_of(seed == NULL ? 1 : strtoull(seed, NULL, 10), 7, 8, 9);
    f->pg = tally_pg_new(NULL);
    f->cast = tally_cast_new(bin_dir == NULL ? "build/faults/bin" : bin_dir);
    assert_non_null(f->cast);
    const char *dir = tally_cast_dir(f->cast);
    char *page = tally_format("%s/failpoints", dir);
    f->page = tally_failpoints_open(page);
    assert_non_null(f->page);
    setenv("TALLY_FAILPOINTS", page, 1);
    free(page);
    const char *conninfo = tally_pg_fresh(f->pg);
    f->db = tally_db_new(conninfo, "test");
    start_broker(f, 0, conninfo);
    start_broker(f, 1, conninfo);
    char *fronts = tally_format("ipc://%s/left-front,ipc://%s/right-front", dir, dir);
    tally_cast_start(f->cast, "responses-1", "tally-responses", "--front", fronts, "--db", conninfo,
                     "--name", "responses-1", NULL);
    f->client = tally_client_new(fronts);
    free(fronts);
    return tally_client_connect(f->client, START_MS) == 0
                   && tally_client_admin(f->client,
                                         "{\"op\":\"queue.put\",\"queue\":{\"name\":\"fence\"}}",
                                         START_MS)
                          != NULL
               ? 0
               : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    tally_db_destroy(&f->db);
    tally_failpoints_close(&f->page);
    int rc = tally_cast_destroy(&f->cast);
    tally_pg_destroy(&f->pg);
    free(f->ids);
    free(f);
    return rc;
}

static int64_t
number(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    return tally_rows_int8(&rows, 0, 0);
}

//  ---- traffic ------------------------------------------------------------------------------------

static void
hear(struct fixture *f, const tally_event_t *event)
{
    assert_int_not_equal(event->kind, TALLY_EVENT_REFUSED);
    if (event->kind == TALLY_EVENT_RESULT) {
        assert_int_equal(event->outcome, TALLY_OUTCOME_DONE);
    } else if (event->ids != NULL) {
        assert_int_equal(event->count, 1);
        f->ids = tally_realloc_array(f->ids, f->id_count + 1, sizeof *f->ids);
        f->ids[f->id_count++] = event->ids[0];
        f->epoch_heard = event->ids[0] >> EPOCH_SHIFT;
    }
}

//  A message or an ask, as many as may be under way, and what comes meanwhile.
static void
keep_busy(struct fixture *f)
{
    static const char ask[] = "{\"do\":\"ls\"}";
    while (tally_client_unconfirmed(f->client) + tally_client_unanswered(f->client) < OPEN_MAX) {
        char body[16];
        bool asks = f->sent % 3 == 0 && tally_chance_below(&f->chance, 2) == 0;
        tally_message_t message = {.body = ask,
                                   .body_bytes = sizeof ask - 1,
                                   .flags = TALLY_MESSAGE_ASK};
        if (!asks) {
            message = (tally_message_t){.body = body};
            message.body_bytes = (size_t)snprintf(body, sizeof body, "%u", f->sent);
        }
        if (tally_client_send(f->client, asks ? "survey" : "fence", "acme", &message, 1, 0, NULL)
            == -1) {
            break;    // nobody to send to for the moment
        }
        f->sent += !asks;
    }
    tally_event_t event;
    while (tally_client_next(f->client, 5, &event) == 0) {
        hear(f, &event);
    }
    tally_crew_turn(tally_cast_crew(f->cast), 0);
}

//  ---- stopping -----------------------------------------------------------------------------------

static tally_process_t *
stopped_broker(const struct fixture *f)
{
    for (size_t i = 0; i < 2; i++) {
        if (f->brokers[i]->pid != 0 && tally_cast_is_stopped(f->brokers[i])) {
            return f->brokers[i];
        }
    }
    return NULL;
}

//  Traffic until somebody stopped at the point.  To see a takeover the brokers are killed now and then, in turns.
static tally_process_t *
stop_at(struct fixture *f, tally_failpoint_t point)
{
    bool takeover = point >= TALLY_AT_PLACE_TAKEN;
    int64_t now_ms = tally_clock_now_ms();
    int64_t deadline_at_ms = now_ms + TAKEOVER_MS;
    int64_t nudge_at_ms = now_ms;
    unsigned turn = (unsigned)tally_chance_below(&f->chance, 2);
    assert_true(tally_failpoints_arm(f->page, point, TALLY_FAILPOINT_STOP,
                                     takeover ? 0 : tally_chance_below(&f->chance, 20), 0));
    tally_process_t *stopped = NULL;
    while ((stopped = stopped_broker(f)) == NULL) {
        now_ms = tally_clock_now_ms();
        if (now_ms >= deadline_at_ms) {
            fail_msg("nobody stopped at %s", tally_failpoints_name(point));
        }
        if (takeover && now_ms >= nudge_at_ms) {
            //  One of both is active; the other has time to stand by before its turn comes.
            tally_crew_kill(f->brokers[turn++ % 2], SIGKILL, 0);
            nudge_at_ms = now_ms + NUDGE_MS;
        }
        keep_busy(f);
    }
    return stopped;
}

//  Until a message was confirmed under a newer epoch than any before; that epoch.
static uint64_t
await_takeover(struct fixture *f, tally_failpoint_t point)
{
    uint64_t before = f->epoch_heard;
    int64_t deadline_at_ms = tally_clock_now_ms() + TAKEOVER_MS;
    while (f->epoch_heard <= before) {
        if (tally_clock_now_ms() >= deadline_at_ms) {
            fail_msg("nobody took over from who stopped at %s", tally_failpoints_name(point));
        }
        keep_busy(f);
    }
    return f->epoch_heard;
}

//  Says of every tick of older epochs how far they came.
static int64_t
old_ticks(struct fixture *f, uint64_t epoch)
{
    char *sql = tally_format("select coalesce(max(epoch * 1000000000 + number), 0) from tally.tick "
                             "where epoch < %" PRIu64,
                             epoch);
    int64_t last = number(f, sql);
    free(sql);
    return last;
}

static void
is_fenced_when_stopped_at(struct fixture *f, tally_failpoint_t point)
{
    tally_process_t *old = stop_at(f, point);
    uint64_t epoch = await_takeover(f, point);
    int64_t last = old_ticks(f, epoch);
    unsigned starts = old->starts;
    kill(old->pid, SIGCONT);
    //  Who was active ends; who was about to be may also stand by again.
    bool must_end = point < TALLY_AT_PLACE_TAKEN;
    int64_t deadline_at_ms = tally_clock_now_ms() + (must_end ? TAKEOVER_MS : AWAKE_MS);
    while (old->starts == starts && tally_clock_now_ms() < deadline_at_ms) {
        keep_busy(f);
    }
    if (must_end && old->starts == starts) {
        fail_msg("who stopped at %s does not end", tally_failpoints_name(point));
    }
    assert_true(old_ticks(f, epoch) <= last);    // they may be swept away meanwhile
    assert_true(f->epoch_heard >= epoch);
}

static int
compare_ids(const void *a, const void *b)
{
    uint64_t first = *(const uint64_t *)a;
    uint64_t second = *(const uint64_t *)b;
    return (first > second) - (first < second);
}

static void
each_is_there_once(struct fixture *f)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + TAKEOVER_MS;
    while (tally_client_unconfirmed(f->client) + tally_client_unanswered(f->client) > 0) {
        tally_event_t event;
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        if (tally_client_next(f->client, 50, &event) == 0) {
            hear(f, &event);
        }
        tally_crew_turn(tally_cast_crew(f->cast), 0);
    }
    assert_int_equal(number(f, "select count(*) from tally.message m join tally.queue q on "
                               "q.id = m.queue where q.name = 'fence'"),
                     f->sent);
    assert_int_equal(number(f, "select count(distinct m.body) from tally.message m join "
                               "tally.queue q on q.id = m.queue where q.name = 'fence'"),
                     f->sent);
    qsort(f->ids, f->id_count, sizeof *f->ids, compare_ids);
    for (size_t i = 1; i < f->id_count; i++) {
        assert_int_not_equal(f->ids[i - 1], f->ids[i]);
    }
    assert_string_equal(tally_crew_findings(tally_cast_crew(f->cast)), "");
}

//  ---- tests --------------------------------------------------------------------------------------

static void
a_broker_that_stopped_anywhere_writes_nothing_when_it_wakes_up(void **state)
{
    struct fixture *f = *state;
    bool all = getenv("TALLY_FAULTS_FULL") != NULL;
    size_t count = all ? POINTS : POINTS_BY_DEFAULT;
    size_t first = all ? 0 : tally_chance_below(&f->chance, POINTS);
    for (size_t i = 0; i < count; i++) {
        //  7 and the number of points have no common divisor: far apart, and never the same twice.
        is_fenced_when_stopped_at(f, points[all ? i : (first + 7 * i) % POINTS]);
    }
    each_is_there_once(f);
    print_message("%u messages, %zu points\n", f->sent, count);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broker_that_stopped_anywhere_writes_nothing_when_it_wakes_up),
    };
    return cmocka_run_group_tests_name("fence", tests, set_up, tear_down);
}
