// SPDX-License-Identifier: MIT
//  database - PostgreSQL of a run: the model database behind a connection that fails.
//
//  Transactions are whole and one after another; what the broker hears of its commits, and when, is
//  another matter.  Workers' transactions take time and hold their rows meanwhile.  Its clock is
//  its own and jumps.  The rows themselves are the fake store's.

#ifndef SIM_DATABASE_H
#define SIM_DATABASE_H

#include "tests/simulation/world.h"
#include "tests/unit/fake_store.h"

#define SIM_QUEUES 6
#define SIM_TENANTS 4
#define SIM_IDLE_MS_MAX 1000    // a transaction that is idle for so long is ended by the server

enum {
    SIM_WORK = 1,    // queue ids, in the order in which they are made
    SIM_KEYED,
    SIM_WINDOWED,
    SIM_EXCLUSIVE,
    SIM_ASKED,
    SIM_FOLLOWING,    // fed by transactions
};

typedef enum { SIM_DONE = 1, SIM_RETRY, SIM_REJECT, SIM_UNKNOWN, SIM_REPLACED } sim_commit_t;

sim_database_t *sim_database_new(sim_world_t *world);
void sim_database_destroy(sim_database_t **self_p);
void sim_database_heal(sim_database_t *self);
fake_store_t *sim_database_store(const sim_database_t *self);
int64_t sim_database_now(const sim_database_t *self);            // by its own clock
int64_t sim_database_set_forward(const sim_database_t *self);    // sums of its jumps, both positive
int64_t sim_database_set_back(const sim_database_t *self);
void sim_database_jump(sim_database_t *self, int64_t ms);
const char *sim_database_busy(const sim_database_t *self);
const tally_queue_row_t *sim_database_queue(const sim_database_t *self, uint32_t id);
const tally_tenant_row_t *sim_database_tenant(const sim_database_t *self, uint32_t index);

//  ---- the broker's connections ------------------------------------------------------------------
//  Starts a tick; SIM_ANSWER comes with its number here.
uint64_t sim_database_start(sim_database_t *self, uint64_t epoch, const tally_plan_t *plan);
void sim_database_commit(sim_database_t *self, uint64_t tick);    // SIM_COMMIT
sim_commit_t sim_database_outcome(const sim_database_t *self, uint64_t tick);
const tally_tick_result_t *sim_database_result(const sim_database_t *self);
//  The broker was killed; what it had under way may still arrive.  Then the core that owns the plan
//  is taken, else it stays the caller's.
void sim_database_orphan(sim_database_t *self, tally_core_t **core_p);
bool sim_database_reachable(sim_database_t *self);
bool sim_database_settled_down(const sim_database_t *self);    // nothing of the broker under way
uint64_t sim_database_take_epoch(sim_database_t *self);
bool sim_database_found(const sim_database_t *self, uint64_t epoch, uint64_t number);
void sim_database_load(sim_database_t *self, tally_core_t *core);

//  ---- workers' transactions ---------------------------------------------------------------------

typedef struct {
    uint64_t lease;
    const uint64_t *messages;
    size_t count;
    uint64_t epoch;    // of the term; 0: none to prove
    uint32_t worker;
    uint64_t job;
    bool follows;    // sends a message in the same transaction
} sim_sql_t;

//  Begins one: settle and hold_term have been called, the rows are held.  Returns its number and
//  posts its end (SIM_SQL), or 0 when it was refused: TY001, TY002.
uint64_t sim_database_begin(sim_database_t *self, const sim_sql_t *sql);
void sim_database_end(sim_database_t *self, uint64_t number);          // SIM_SQL
void sim_database_roll_back(sim_database_t *self, uint32_t worker);    // all of a worker that died

#endif
