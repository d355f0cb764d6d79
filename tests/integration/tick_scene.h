// SPDX-License-Identifier: MIT
//  tick_scene - a tick store on a new database of the program's shared server, a plan for it, and somebody who looks.

#ifndef TICK_SCENE_H
#define TICK_SCENE_H

#include "broker/tick_store.h"
#include "lib/db.h"

#define TICK_SCENE_EPOCH 5
#define TICK_SCENE_TENANT 7    // acme

typedef struct {
    tally_tick_store_t *store;
    tally_db_t *looker;
    tally_plan_t *plan;    // for the next tick; emptied when that has an outcome
    tally_db_outcome_t outcome;
    const tally_tick_result_t *result;    // of the last tick
} tick_scene_t;

//  Epoch and tenant are there, and what `sql` (or NULL) puts beside them.  0, or -1 as cmocka's fixtures want it.
int tick_scene_open(tick_scene_t *self, const char *sql);
void tick_scene_close(tick_scene_t *self);
void tick_scene_must(tally_db_outcome_t outcome);

void tick_scene_start(tick_scene_t *self, uint64_t epoch);
//  Goes on until the outcome is known (true), or until nothing moves for that long.
bool tick_scene_go_on(tick_scene_t *self, int still_ms);
//  Both, on a new connection when there is none.
tally_db_outcome_t tick_scene_tick(tick_scene_t *self, uint64_t epoch);
void tick_scene_commit(tick_scene_t *self);    // one that must be done

int64_t tick_scene_look(tick_scene_t *self, const char *sql);
//  One text; "null" when there is none.
void tick_scene_assert_text(tick_scene_t *self, const char *sql, const char *expected);

#endif
