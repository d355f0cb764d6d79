// SPDX-License-Identifier: MIT
//  database_state - the inside of the simulated database, for its own files only.

#ifndef SIM_DATABASE_STATE_H
#define SIM_DATABASE_STATE_H

#include "broker/table.h"
#include "tests/simulation/database.h"
#include "tests/simulation/planted.h"

#define SIM_SMALL_TENANT 1    // index of the one with small quotas

//  A transaction of the broker.
typedef struct {
    uint64_t number, epoch;
    const tally_plan_t *plan;
    int64_t sealed_ms;
    sim_commit_t outcome;    // what the broker hears
    bool happens;
    bool over;               // the database is done with it
    bool held_up;            // it came late once
    bool answered;           // the broker has heard of it
    tally_core_t *orphan;    // of a killed broker: owns the plan; owned
} sim_tick_t;

//  A transaction of a worker that is open.
typedef struct {
    uint64_t number;
    sim_sql_t sql;
    uint64_t *messages;        // owned
    uint32_t queue, tenant;    // of the lease
    int64_t ends_ms;
    bool undone;
} sim_open_t;

struct sim_database {
    sim_world_t *world;
    fake_store_t *store;
    uint64_t epoch, started, opened;
    int64_t ahead_ms, forward_ms, back_ms;
    int64_t away_until_ms;
    const tally_tick_result_t *result;
    TALLY_ARRAY(sim_tick_t) ticks;
    TALLY_ARRAY(sim_open_t) open;
    tally_table_t found;    // epoch << 32 | number
    tally_queue_row_t queues[SIM_QUEUES];
    tally_tenant_row_t tenants[SIM_TENANTS];
};

//  Ends one of the open transactions now; context: the database.
void sim_database_end_some(void *context);

#endif
