// SPDX-License-Identifier: MIT
//  worker - somebody who takes leases: settles, returns, buries, hangs, dies.
//
//  A good one keeps the rules of workers/runtime: beats from a thread of its own, drops what it
//  holds after silence, and settles by SQL or by records.  What it does with each lease is drawn,
//  and so is how its records get to the broker: once, twice, late, in another order or not at all.

#ifndef SIM_WORKER_H
#define SIM_WORKER_H

#include "tests/simulation/world.h"

sim_worker_t *sim_worker_new(sim_world_t *world, size_t index);
void sim_worker_destroy(sim_worker_t **self_p);
void sim_worker_turn(sim_worker_t *self, uint64_t life);
void sim_worker_frame(sim_worker_t *self, uint64_t route, tally_chunk_t *frame);    // of the front
void sim_worker_lane(sim_worker_t *self, uint64_t number, tally_chunk_t *frame);
void sim_worker_job(sim_worker_t *self, uint64_t job);
void sim_worker_sql_ended(sim_worker_t *self, uint64_t job, bool committed);
bool sim_worker_has_lane(const sim_worker_t *self, uint64_t number);
int64_t *sim_worker_back(sim_worker_t *self, uint64_t route);
int64_t sim_worker_stopped_until(const sim_worker_t *self);
uint64_t sim_worker_number(const sim_worker_t *self);    // 0: not connected

//  ---- faults ------------------------------------------------------------------------------------
void sim_worker_die(sim_worker_t *self);                 // SIGKILL; another starts in its place
void sim_worker_stop(sim_worker_t *self, int64_t ms);    // SIGSTOP
void sim_worker_leave(sim_worker_t *self);               // goodbye, whatever it holds
void sim_worker_lose_lane(sim_worker_t *self);
void sim_worker_heal(sim_worker_t *self);
//  The run is over: no more beats.
void sim_worker_retire(sim_worker_t *self);

#endif
