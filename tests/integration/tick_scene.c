// SPDX-License-Identifier: MIT
//  tick_scene - see tick_scene.h.

#include "tests/integration/tick_scene.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/pg.h"

#define PATIENCE_MS 20000

int
tick_scene_open(tick_scene_t *self, const char *sql)
{
    const char *conninfo = tally_pg_fresh(tally_pg_shared());
    self->store = tally_tick_store_new(conninfo, true);
    self->looker = tally_db_new(conninfo, "test-looker");
    self->plan = tally_plan_new();
    const char *own = "update tally.broker set epoch = 5;"
                      "insert into tally.tenant (id, name) values (7, 'acme')";
    bool ready = tally_db_script(self->looker, own) == TALLY_DB_DONE
                 && (sql == NULL || tally_db_script(self->looker, sql) == TALLY_DB_DONE)
                 && tally_tick_store_connect(self->store) == TALLY_DB_DONE;
    return ready ? 0 : -1;
}

void
tick_scene_close(tick_scene_t *self)
{
    tally_tick_store_destroy(&self->store);
    tally_db_destroy(&self->looker);
    tally_plan_destroy(&self->plan);
}

void
tick_scene_must(tally_db_outcome_t outcome)
{
    assert_int_equal(outcome, TALLY_DB_DONE);
}

//  ---- ticks --------------------------------------------------------------------------------------------------

void
tick_scene_start(tick_scene_t *self, uint64_t epoch)
{
    self->plan->number++;
    tally_tick_store_start(self->store, epoch, self->plan);
    assert_true(tally_tick_store_busy(self->store));
}

bool
tick_scene_go_on(tick_scene_t *self, int still_ms)
{
    int64_t give_up_at_ms = tally_clock_now_ms() + PATIENCE_MS;
    while (!tally_tick_store_advance(self->store, &self->outcome, &self->result)) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        short events = tally_tick_store_wants_write(self->store) ? POLLIN | POLLOUT : POLLIN;
        struct pollfd item = {.fd = tally_tick_store_fd(self->store), .events = events};
        if (poll(&item, 1, still_ms) == 0) {
            return false;
        }
    }
    uint64_t number = self->plan->number;
    tally_plan_clear(self->plan);
    self->plan->number = number;
    return true;
}

tally_db_outcome_t
tick_scene_tick(tick_scene_t *self, uint64_t epoch)
{
    if (!tally_tick_store_connected(self->store)) {
        tick_scene_must(tally_tick_store_connect(self->store));
    }
    tick_scene_start(self, epoch);
    bool known = tick_scene_go_on(self, PATIENCE_MS);
    assert_true(known);
    assert_false(tally_tick_store_busy(self->store));
    return self->outcome;
}

void
tick_scene_commit(tick_scene_t *self)
{
    if (tick_scene_tick(self, TICK_SCENE_EPOCH) != TALLY_DB_DONE) {
        fail_msg("tick: %s %s", tally_tick_store_sqlstate(self->store),
                 tally_tick_store_error(self->store));
    }
}

//  ---- looking ------------------------------------------------------------------------------------------------

int64_t
tick_scene_look(tick_scene_t *self, const char *sql)
{
    tally_rows_t rows;
    tick_scene_must(tally_db_run(self->looker, sql, NULL, &rows));
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

void
tick_scene_assert_text(tick_scene_t *self, const char *sql, const char *expected)
{
    tally_rows_t rows;
    tick_scene_must(tally_db_run(self->looker, sql, NULL, &rows));
    assert_int_equal(rows.rows, 1);
    tally_bytes_t text = tally_rows_bytes(&rows, 0, 0);
    char *found = text.data == NULL ? tally_strdup("null") : tally_strndup(text.data, text.size);
    bool equal = strcmp(found, expected) == 0;
    if (!equal) {
        print_error("%s\n  gave     %s\n  expected %s\n", sql, found, expected);
    }
    free(found);
    assert_true(equal);
}
