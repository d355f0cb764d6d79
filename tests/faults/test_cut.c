// SPDX-License-Identifier: MIT
//  The broker's connection to PostgreSQL is cut after every byte of a tick, either way: what the store says of the
//  tick is what became of it, and it goes on.

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/recover_store.h"
#include "broker/tick_store.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tests/faults/proxy_child.h"
#include "tests/integration/pg.h"

#define EPOCH 5
#define PATIENCE_MS 10000
#define UP_STEP                                                                                    \
    9    // of what goes to PostgreSQL only this many bytes' steps: until the sync all are alike

struct fixture {
    char dir[64];
    tally_pg_t *pg;
    tally_proxy_child_t *proxy;
    tally_db_t *looker;
    tally_recover_store_t *reader;
    tally_tick_store_t *store;
    tally_plan_t *plan;
    uint64_t number;
    int done, not_done, unknown;
};

static char *
show(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->looker, sql, NULL, &rows), TALLY_DB_DONE);
    tally_bytes_t text = tally_rows_bytes(&rows, 0, 0);
    return tally_strndup(text.data, text.size);
}

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    snprintf(f->dir, sizeof f->dir, "/tmp/tally-cut-XXXXXX");
    if (mkdtemp(f->dir) == NULL) {
        return -1;
    }
    f->pg = tally_pg_new(NULL);
    const char *conninfo = tally_pg_fresh(f->pg);
    f->looker = tally_db_new(conninfo, "test-looker");
    f->reader = tally_recover_store_new(conninfo);
    f->plan = tally_plan_new();
    f->proxy = tally_proxy_child_start(1, NULL);
    char *where = show(f, "show unix_socket_directories");
    char *port = show(f, "show port");
    tally_proxy_child_tell(f->proxy, "link db ipc://%s/.s.PGSQL.%s ipc://%s/.s.PGSQL.%s", f->dir,
                           port, where, port);
    //  The later host wins.
    char *through = tally_format("%s host=%s", conninfo, f->dir);
    f->store = tally_tick_store_new(through, true);
    free(through);
    free(where);
    free(port);
    const char *sql = "update tally.broker set epoch = 5;"
                      "insert into tally.tenant (id, name) values (7, 'acme')";
    return tally_db_script(f->looker, sql) == TALLY_DB_DONE ? 0 : -1;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_tick_store_destroy(&f->store);
    tally_recover_store_destroy(&f->reader);
    tally_db_destroy(&f->looker);
    tally_plan_destroy(&f->plan);
    int rc = tally_proxy_child_stop(&f->proxy);
    tally_pg_destroy(&f->pg);
    rmdir(f->dir);
    free(f);
    return rc;
}

//  A tick that inserts one message; on whatever is left of the connection.
static tally_db_outcome_t
tick(struct fixture *f)
{
    f->plan->number = ++f->number;
    tally_plan_message_t *message = TALLY_PUSH(&f->plan->messages);
    *message = (tally_plan_message_t){.id = 1000 + f->number,
                                      .tenant = 7,
                                      .queue = 1,
                                      .priority = TALLY_PRIORITY_DEFAULT,
                                      .body = tally_bytes_of("body")};
    tally_tick_store_start(f->store, EPOCH, f->plan);
    tally_db_outcome_t outcome;
    const tally_tick_result_t *result;
    int64_t give_up_at_ms = tally_clock_now_ms() + PATIENCE_MS;
    while (!tally_tick_store_advance(f->store, &outcome, &result)) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        struct pollfd item = {.fd = tally_tick_store_fd(f->store),
                              .events = tally_tick_store_wants_write(f->store) ? POLLIN | POLLOUT
                                                                               : POLLIN};
        poll(&item, 1, 100);
    }
    tally_plan_clear(f->plan);
    return outcome;
}

//  What the broker would find; asked until the server has made up its mind.
static bool
is_recorded(struct fixture *f)
{
    bool found = false;
    tally_db_outcome_t outcome;
    int64_t give_up_at_ms = tally_clock_now_ms() + PATIENCE_MS;
    while ((outcome = tally_recover_store_find_tick(f->reader, EPOCH, f->number, &found))
           == TALLY_DB_RETRY) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
    }
    assert_int_equal(outcome, TALLY_DB_DONE);
    return found;
}

//  False when the tick was over before so many bytes had passed.
static bool
is_right_when_cut(struct fixture *f, const char *way, unsigned bytes)
{
    if (!tally_tick_store_connected(f->store)) {
        assert_int_equal(tally_tick_store_connect(f->store), TALLY_DB_DONE);
    }
    uint64_t cuts = tally_proxy_child_count(f->proxy, "db", "cuts");
    tally_proxy_child_tell(f->proxy, "cut db/open %s %u", way, bytes);
    tally_db_outcome_t outcome = tick(f);
    bool recorded = is_recorded(f);
    f->done += outcome == TALLY_DB_DONE;
    f->not_done += outcome == TALLY_DB_RETRY;
    f->unknown += outcome == TALLY_DB_UNKNOWN;
    if (outcome == TALLY_DB_REJECT || (outcome == TALLY_DB_DONE && !recorded)
        || (outcome == TALLY_DB_RETRY && recorded)) {
        fail_msg("cut %s after %u bytes: outcome %d, and the tick %s recorded", way, bytes,
                 (int)outcome, recorded ? "is" : "is not");
    }
    bool bitten = tally_proxy_child_count(f->proxy, "db", "cuts") > cuts;
    tally_proxy_child_tell(f->proxy, "heal db");
    if (bitten) {
        tally_tick_store_disconnect(f->store);
    }
    return bitten;
}

static void
cut_everywhere(struct fixture *f, const char *way, unsigned step)
{
    unsigned bytes = 0;
    while (is_right_when_cut(f, way, bytes)) {
        bytes += step;
    }
    assert_true(bytes > 100);
    assert_true(f->done > 0);
    assert_true(f->not_done + f->unknown > 0);
}

static void
what_was_cut_on_its_way_to_the_server_is_never_said_to_be_done(void **state)
{
    cut_everywhere(*state, "up", UP_STEP);
}

static void
answers_cut_after_every_byte_say_what_happened(void **state)
{
    struct fixture *f = *state;
    cut_everywhere(f, "down", 1);
    assert_true(f->unknown > 1);    // whatever is missing of the answer to the sync
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    tally_log_set_level(TALLY_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            what_was_cut_on_its_way_to_the_server_is_never_said_to_be_done, setup, teardown),
        cmocka_unit_test_setup_teardown(answers_cut_after_every_byte_say_what_happened, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
