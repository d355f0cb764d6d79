// SPDX-License-Identifier: MIT
//  Connections of tallyd are cut after byte k of an exchange, for many k and either way: whoever sent learns within
//  five seconds what became of it, nothing is lost, nothing is there twice.
//
//  TALLY_CUT_STEP is about the distance between two k: with 1 (make edges) it is every byte of a tick.

#include <setjmp.h>
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
#include "tests/faults/proxy_child.h"
#include "tests/integration/pg.h"

#define TRUTH_MS 5000
#define START_MS 20000
#define STEP 40
#define CUTS_IN_ROW 3    // so many positions that were not reached end the search

struct fixture {
    tally_cast_t *cast;
    tally_pg_t *pg;
    tally_proxy_child_t *proxy;
    tally_client_t *client;
    tally_db_t *db;
    tally_chance_t chance;
    char *front;    // of the client, behind the proxy
    unsigned step;
    unsigned sent;    // messages, each with its number as its body
    unsigned bitten;
    int64_t slowest_ms;
};

//  ---- scene --------------------------------------------------------------------------------------

static void
start_all(struct fixture *f, const char *conninfo)
{
    const char *dir = tally_cast_dir(f->cast);
    char *front = tally_format("ipc://%s/real-front", dir);
    char *sink = tally_format("ipc://%s/sink", dir);
    char *feed = tally_format("ipc://%s/feed", dir);
    char *lanes = tally_format("ipc://%s/lane-%%", dir);
    char *proxied = tally_format("%s host=%s", conninfo, dir);    // libpq takes the last host
    tally_cast_start(f->cast, "tallyd", "tallyd", "--front", front, "--sink", sink, "--feed", feed,
                     "--lanes", lanes, "--db", proxied, "--allow-unsafe", "yes", NULL);
    tally_cast_start(f->cast, "responses-1", "tally-responses", "--front", front, "--db", conninfo,
                     "--name", "responses-1", NULL);
    free(front);
    free(sink);
    free(feed);
    free(lanes);
    free(proxied);
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    const char *step = getenv("TALLY_CUT_STEP");
    const char *seed = getenv("TALLY_FAULTS_SEED");
    f->step = step == NULL ? STEP : (unsigned)strtoul(step, NULL, 10);
    f->chance = tally_chance_of(seed == NULL ? 1 : strtoull(seed, NULL, 10), 4, 5, 6);
    f->pg = tally_pg_new(NULL);
    const char *programs = getenv("TALLY_BIN_DIR");
    f->cast = tally_cast_new(programs == NULL ? "build/bin" : programs);
    assert_non_null(f->cast);
    const char *dir = tally_cast_dir(f->cast);
    const char *conninfo = tally_pg_fresh(f->pg);
    f->proxy = tally_proxy_child_start(1, NULL);
    f->front = tally_format("ipc://%s/front", dir);
    tally_proxy_child_tell(f->proxy, "link front %s ipc://%s/real-front", f->front, dir);
    const char *host = strstr(conninfo, "host=") + strlen("host=");
    tally_proxy_child_tell(f->proxy, "link db ipc://%s/.s.PGSQL.5432 ipc://%.*s/.s.PGSQL.5432", dir,
                           (int)strcspn(host, " "), host);
    f->db = tally_db_new(conninfo, "test");
    f->client = tally_client_new(f->front);
    start_all(f, conninfo);
    return tally_client_connect(f->client, START_MS) == 0
                   && tally_client_admin(f->client,
                                         "{\"op\":\"queue.put\",\"queue\":{\"name\":\"cut\"}}",
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
    int rc = tally_cast_destroy(&f->cast);
    rc = tally_proxy_child_stop(&f->proxy) == 0 ? rc : -1;
    tally_pg_destroy(&f->pg);
    free(f->front);
    free(f);
    return rc;
}

//  ---- exchanges ----------------------------------------------------------------------------------

static void
took(struct fixture *f, int64_t began_ms, const char *what)
{
    int64_t ms = tally_clock_now_ms() - began_ms;
    f->slowest_ms = ms > f->slowest_ms ? ms : f->slowest_ms;
    if (ms > TRUTH_MS) {
        fail_msg("%s took %lld ms", what, (long long)ms);
    }
}

//  One message, confirmed: one tick.
static void
send_one(struct fixture *f)
{
    char body[16];
    const tally_message_t message = {.body = body,
                                     .body_bytes = (size_t)snprintf(body, sizeof body, "%u",
                                                                    f->sent++)};
    int64_t began_ms = tally_clock_now_ms();
    uint64_t sequence;
    assert_int_equal(tally_client_send(f->client, "cut", "acme", &message, 1, TRUTH_MS, &sequence),
                     0);
    if (tally_client_wait(f->client, sequence, 4 * TRUTH_MS, NULL) == -1) {
        fail_msg("no truth: %s", tally_client_text(f->client));
    }
    took(f, began_ms, "a confirm");
}

//  An answer by a worker: inserted, leased, settled by SQL, its result handed over.
static void
ask_one(struct fixture *f)
{
    static const char body[] = "{\"do\":\"ls\"}";
    const tally_message_t message = {.body = body, .body_bytes = sizeof body - 1};
    tally_event_t event = {0};
    int64_t began_ms = tally_clock_now_ms();
    if (tally_client_ask(f->client, "survey", "acme", &message, 4 * TRUTH_MS, &event) == -1) {
        fail_msg("no result: %s", tally_client_text(f->client));
    }
    assert_int_equal(event.outcome, TALLY_OUTCOME_DONE);
    took(f, began_ms, "a result");
}

//  True when the cut bit.
static bool
cut(struct fixture *f, const char *where, const char *way, unsigned k,
    void (*exchange)(struct fixture *f))
{
    const char *link_end = strchr(where, '/');
    char *link = tally_strndup(where, (size_t)(link_end - where));
    uint64_t before = tally_proxy_child_count(f->proxy, link, "cuts");
    tally_proxy_child_tell(f->proxy, "cut %s %s %u", where, way, k);
    if (strcmp(link_end, "/new") == 0) {
        tally_proxy_child_tell(f->proxy, "reset %s/open", link);
    }
    exchange(f);
    bool bit = tally_proxy_child_count(f->proxy, link, "cuts") > before;
    tally_proxy_child_tell(f->proxy, "heal %s", link);
    free(link);
    f->bitten += bit;
    return bit;
}

//  From byte 0 until the exchange is over before the cut is reached.
static void
cut_everywhere(struct fixture *f, const char *where, const char *way, unsigned step,
               void (*exchange)(struct fixture *f))
{
    unsigned k = 0;
    unsigned missed = 0;
    unsigned bitten = f->bitten;
    while (missed < CUTS_IN_ROW) {
        missed = cut(f, where, way, k, exchange) ? 0 : missed + 1;
        k += step == 1 ? 1 : 1 + tally_chance_below(&f->chance, 2 * step - 1);
    }
    assert_true(f->bitten > bitten);
    print_message("%s %s: %u cuts up to byte %u, slowest %lld ms\n", where, way, f->bitten - bitten,
                  k, (long long)f->slowest_ms);
}

static int64_t
number(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    return tally_rows_int8(&rows, 0, 0);
}

static void
each_is_there_once(struct fixture *f)
{
    assert_int_equal(
        number(f, "select count(*) from tally.message m join tally.queue q on q.id = m.queue "
                  "where q.name = 'cut'"),
        f->sent);
    assert_int_equal(number(f, "select count(distinct m.body) from tally.message m join "
                               "tally.queue q on q.id = m.queue where q.name = 'cut'"),
                     f->sent);
    assert_string_equal(tally_crew_findings(tally_cast_crew(f->cast)), "");
}

//  ---- tests --------------------------------------------------------------------------------------

static void
a_tick_cut_on_its_way_to_postgresql_is_told_as_it_is(void **state)
{
    struct fixture *f = *state;
    cut_everywhere(f, "db/open", "up", f->step, send_one);
    each_is_there_once(f);
}

static void
a_tick_whose_answers_are_cut_is_told_as_it_is(void **state)
{
    struct fixture *f = *state;
    cut_everywhere(f, "db/open", "down", f->step / 3 + 1, send_one);
    each_is_there_once(f);
}

static void
an_ask_cut_anywhere_has_its_result(void **state)
{
    struct fixture *f = *state;
    cut_everywhere(f, "db/open", "up", 4 * f->step, ask_one);
    cut_everywhere(f, "db/open", "down", 2 * f->step, ask_one);
    each_is_there_once(f);
}

static void
a_connection_cut_while_it_is_made_is_made_again(void **state)
{
    struct fixture *f = *state;
    cut_everywhere(f, "db/new", "up", 40 * f->step, send_one);
    cut_everywhere(f, "db/new", "down", 15 * f->step, send_one);
    each_is_there_once(f);
}

static void
a_client_cut_anywhere_learns_the_truth(void **state)
{
    struct fixture *f = *state;
    cut_everywhere(f, "front/open", "up", f->step / 4 + 1, send_one);
    cut_everywhere(f, "front/open", "down", f->step / 4 + 1, send_one);
    cut_everywhere(f, "front/new", "up", f->step + 1, send_one);
    cut_everywhere(f, "front/new", "down", f->step + 1, send_one);
    each_is_there_once(f);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tick_cut_on_its_way_to_postgresql_is_told_as_it_is),
        cmocka_unit_test(a_tick_whose_answers_are_cut_is_told_as_it_is),
        cmocka_unit_test(an_ask_cut_anywhere_has_its_result),
        cmocka_unit_test(a_connection_cut_while_it_is_made_is_made_again),
        cmocka_unit_test(a_client_cut_anywhere_learns_the_truth),
    };
    return cmocka_run_group_tests_name("truth", tests, set_up, tear_down);
}
