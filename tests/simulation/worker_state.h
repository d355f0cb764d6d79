// SPDX-License-Identifier: MIT
//  worker_state - the inside of a simulated worker, for its own files only.

#ifndef SIM_WORKER_STATE_H
#define SIM_WORKER_STATE_H

#include "tests/simulation/database.h"
#include "tests/simulation/ledger.h"
#include "tests/simulation/worker.h"

//  What it does with a lease, as drawn when it gets it.
typedef enum {
    SIM_DO_SETTLE = 1,    // all at once, by a record
    SIM_DO_PIECES,        // message by message, each its own way
    SIM_DO_SQL,           // in a transaction of its own
    SIM_DO_SQL_PART,      // some so, then the others
    SIM_DO_EXTEND,        // longer, then settle
    SIM_DO_NOTHING,       // it forgets it
} sim_doing_t;

typedef struct {
    uint64_t id;
    uint32_t message;
    bool done;    // the worker is finished with it
    bool in_sql;
} sim_item_t;

//  A lease it works on.
typedef struct {
    uint64_t number, lease, epoch;
    uint32_t queue;
    sim_doing_t doing;
    int64_t deadline_ms;
    uint64_t sql;         // its open transaction; 0: none
    sim_item_t *items;    // owned
    size_t count;
} sim_job_t;

struct sim_worker {
    sim_world_t *world;
    uint32_t index;
    uint64_t life;    // grows when it dies: events of the one before mean nothing
    uint64_t route;
    uint64_t number;    // of the broker's welcome; 0: none
    uint64_t lane;      // the number whose lane it is connected to; 0: none
    uint64_t broker_epoch;
    uint16_t credit;
    uint32_t hellos;
    uint8_t queues;    // bits by id
    bool retired, draining;
    bool sink_broken;    // its records do not arrive: it has to say hello again
    int64_t heard_ms, hello_ms, beat_ms, stopped_until_ms;
    int64_t to_ms, back_ms, sink_ms;
    uint64_t jobs;    // given out
    TALLY_ARRAY(sim_job_t) open;
    tally_wire_t wire;
};

//  ---- worker_record.c: how records leave --------------------------------------------------------
//  One record in a frame of its own, with all that can happen to it.
void sim_worker_say(sim_worker_t *self, const tally_record_t *record, const uint64_t *ids);
void sim_worker_beat(sim_worker_t *self);
void sim_worker_say_nonsense(sim_worker_t *self);

//  ---- worker_job.c: what it does with leases ----------------------------------------------------
void sim_worker_take(sim_worker_t *self, const tally_delivery_t *delivery);
void sim_worker_drop_jobs(sim_worker_t *self);
sim_job_t *sim_worker_find_job(sim_worker_t *self, uint64_t number);
void sim_worker_free_job(sim_worker_t *self, sim_job_t *job);

#endif
