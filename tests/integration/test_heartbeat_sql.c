// SPDX-License-Identifier: MIT
//  The table of workers: pings move it forward alone, and each silence and return is handed out
//  once.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

#include "lib/alloc.h"
#include "tests/integration/pg.h"
#include "workers/heartbeat_store.h"

#define LEASE 500
#define SECOND 1000000LL

struct fixture {
    tally_db_t *db;
    tally_db_t *looker;
    int64_t now_us;
};

//  Messages 1 to 3 under one lease.
static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *conninfo = tally_pg_fresh(tally_pg_shared());
    f->db = tally_db_new(conninfo, "test-heartbeat");
    f->looker = tally_db_new(conninfo, "test-looker");
    f->now_us = (int64_t)time(NULL) * SECOND;
    *state = f;
    return tally_db_script(f->looker,
                           "insert into tally.message (tenant, id, queue, body)"
                           " select 1, n, q.id, '' from tally.queue q, generate_series(1, 3) n"
                           " where q.name = 'heartbeat';"
                           "insert into tally.lease (id, tenant, queue, worker, deadline, messages)"
                           " select 500, 1, q.id, 1, now(), '{1,2,3}' from tally.queue q"
                           " where q.name = 'heartbeat'")
                   == TALLY_DB_DONE
               ? 0
               : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_db_destroy(&f->db);
    tally_db_destroy(&f->looker);
    free(f);
    return 0;
}

static tally_ping_t
ping(const struct fixture *f, const char *name, int64_t seconds_ago, int32_t pid)
{
    tally_ping_t made = {.role = "export",
                         .host = "h",
                         .pid = pid,
                         .started_at_us = SECOND,
                         .at_us = f->now_us - seconds_ago * SECOND};
    snprintf(made.name, sizeof made.name, "%s", name);
    return made;
}

//  Stores one ping, settling the message.
static void
store(struct fixture *f, uint64_t message, tally_ping_t one)
{
    assert_int_equal(tally_heartbeat_store_pings(f->db, LEASE, &message, &one, 1), TALLY_DB_DONE);
}

static int64_t
number(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->looker, sql, NULL, &rows), TALLY_DB_DONE);
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

//  The names that one of the three calls hands out, as "a b ".
static void
assert_names(struct fixture *f, tally_db_outcome_t (*call)(tally_db_t *, int64_t, tally_rows_t *),
             int64_t ms, const char *wanted)
{
    tally_rows_t rows;
    char names[256] = "";
    assert_int_equal(call(f->db, ms, &rows), TALLY_DB_DONE);
    for (int i = 0; i < rows.rows; i++) {
        tally_bytes_t name = tally_rows_bytes(&rows, i, 0);
        strncat(names, name.data, name.size);
        strncat(names, " ", 2);
    }
    assert_string_equal(names, wanted);
}

static void
ping_makes_a_row_and_settles_its_message(void **state)
{
    struct fixture *f = *state;
    store(f, 1, ping(f, "w1", 10, 42));
    assert_int_equal(
        number(f, "select pid from tally.workers where name = 'w1' and not silent"
                  " and pinged_at between now() - interval '15 s' and now() - interval '9 s'"),
        42);
    assert_int_equal(number(f, "select count(*) from tally.message where tenant = 1"), 2);
}

static void
older_ping_does_not_set_a_worker_back(void **state)
{
    struct fixture *f = *state;
    store(f, 1, ping(f, "w1", 10, 2));
    store(f, 2, ping(f, "w1", 70, 1));
    assert_int_equal(number(f, "select pid from tally.worker"), 2);
    store(f, 3, ping(f, "w1", 5, 3));
    assert_int_equal(number(f, "select pid from tally.worker"), 3);
}

static void
several_pings_of_one_worker_in_a_batch_count_as_the_latest(void **state)
{
    struct fixture *f = *state;
    uint64_t ids[] = {1, 2, 3};
    tally_ping_t pings[] = {ping(f, "w1", 70, 1), ping(f, "w1", 10, 2), ping(f, "w2", 20, 3)};
    assert_int_equal(tally_heartbeat_store_pings(f->db, LEASE, ids, pings, 3), TALLY_DB_DONE);
    assert_int_equal(number(f, "select pid from tally.worker where name = 'w1'"), 2);
    assert_int_equal(number(f, "select count(*) from tally.worker"), 2);
    assert_int_equal(number(f, "select count(*) from tally.lease"), 0);
}

static void
clock_that_is_ahead_does_not_hide_silence(void **state)
{
    struct fixture *f = *state;
    store(f, 1, ping(f, "w1", -3600, 1));
    assert_int_equal(
        number(f, "select count(*) from tally.worker where pinged_at <= clock_timestamp()"), 1);
}

static void
late_heartbeat_worker_stores_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 1;
    tally_ping_t one = ping(f, "w1", 1, 1);
    assert_int_equal(tally_heartbeat_store_pings(f->db, LEASE + 1, &id, &one, 1), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->db), "TY001");
    assert_int_equal(number(f, "select count(*) from tally.worker"), 0);
}

static void
silence_is_told_once_and_the_return_once(void **state)
{
    struct fixture *f = *state;
    store(f, 1, ping(f, "w1", 200, 1));
    store(f, 2, ping(f, "w2", 100, 1));
    assert_names(f, tally_heartbeat_store_silent, 150000, "w1 ");
    assert_names(f, tally_heartbeat_store_silent, 150000, "");
    assert_names(f, tally_heartbeat_store_back, 150000, "");
    store(f, 3, ping(f, "w1", 1, 1));
    assert_names(f, tally_heartbeat_store_back, 150000, "w1 ");
    assert_names(f, tally_heartbeat_store_back, 150000, "");
    assert_names(f, tally_heartbeat_store_silent, 150000, "");
}

static void
worker_that_said_it_stops_is_not_missed(void **state)
{
    struct fixture *f = *state;
    tally_ping_t last = ping(f, "w1", 200, 1);
    last.stopped = true;
    store(f, 1, last);
    store(f, 2, ping(f, "w1", 260, 1));    // comes late, changes nothing
    assert_names(f, tally_heartbeat_store_silent, 150000, "");
    store(f, 3, ping(f, "w1", 160, 1));    // started again, and died
    assert_names(f, tally_heartbeat_store_silent, 150000, "w1 ");
}

static void
who_is_silent_for_a_day_is_forgotten(void **state)
{
    struct fixture *f = *state;
    store(f, 1, ping(f, "old", 86500, 1));
    store(f, 2, ping(f, "new", 86300, 1));
    assert_names(f, tally_heartbeat_store_forget, 86400000, "old ");
    assert_int_equal(number(f, "select count(*) from tally.worker"), 1);
}

static void
pings_flow_when_a_fresh_one_is_stored_and_none_waits(void **state)
{
    struct fixture *f = *state;
    bool flowing;
    store(f, 1, ping(f, "w1", 100, 1));
    assert_int_equal(tally_heartbeat_store_flows(f->db, 75000, &flowing), TALLY_DB_DONE);
    assert_false(flowing);
    store(f, 2, ping(f, "w1", 10, 1));
    assert_int_equal(tally_heartbeat_store_flows(f->db, 75000, &flowing), TALLY_DB_DONE);
    assert_true(flowing);
    assert_int_equal(
        tally_db_script(f->looker, "update tally.message set created_at = now() - interval '1 m'"),
        TALLY_DB_DONE);
    assert_int_equal(tally_heartbeat_store_flows(f->db, 75000, &flowing), TALLY_DB_DONE);
    assert_false(flowing);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(ping_makes_a_row_and_settles_its_message),
        TEST(older_ping_does_not_set_a_worker_back),
        TEST(several_pings_of_one_worker_in_a_batch_count_as_the_latest),
        TEST(clock_that_is_ahead_does_not_hide_silence),
        TEST(late_heartbeat_worker_stores_nothing),
        TEST(silence_is_told_once_and_the_return_once),
        TEST(worker_that_said_it_stops_is_not_missed),
        TEST(who_is_silent_for_a_day_is_forgotten),
        TEST(pings_flow_when_a_fresh_one_is_stored_and_none_waits),
    };
    return cmocka_run_group_tests(tests, tally_pg_share, tally_pg_unshare);
}
