// SPDX-License-Identifier: MIT
//  world - one simulated run: its clock, its chance, its events and everybody in it.
//
//  One thread, one seed.  Nothing happens but by an event at a virtual time; every choice is drawn
//  from the run's own chance; so the same seed gives the same run, told by the hash of its trace.
//  First all faults may strike (safety is checked after each step), then they end and everything
//  has to drain (liveness).  A rule that is broken ends the process, see trace.h: nothing here
//  returns an error.  No real clock, no real chance, no address may decide anything.

#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "broker/chunk.h"
#include "broker/heap.h"
#include "tests/simulation/fault.h"
#include "tests/simulation/trace.h"

typedef struct sim_database sim_database_t;
typedef struct sim_ledger sim_ledger_t;
typedef struct sim_shell sim_shell_t;
typedef struct sim_client sim_client_t;
typedef struct sim_worker sim_worker_t;

typedef enum {
    SIM_TO_FRONT = 1,    // a frame on a route
    SIM_TO_SINK,
    SIM_TO_PEER,        // a frame for whoever has that route
    SIM_TO_LANE,        // a frame for the worker with that number
    SIM_LANE_OPEN,      // the broker sees that the worker with that number connected
    SIM_LANE_CLOSED,    // or that its connection is gone
    SIM_READ,           // the broker's second connection answers
    SIM_COMMIT,         // a tick's transaction ends in the database
    SIM_ANSWER,         // the broker hears of it
    SIM_SQL,            // a worker's transaction ends
    SIM_START,          // the broker's process starts
    SIM_CLIENT,         // a client's turn
    SIM_WORKER,         // a worker's turn
    SIM_JOB,            // a worker goes on with a lease
    SIM_NEMESIS,        // faults that strike out of the blue
} sim_event_kind_t;

typedef struct {
    tally_heap_node_t node;
    sim_event_kind_t kind;
    uint64_t to, number;     // what they mean depends on the kind
    tally_chunk_t *chunk;    // a frame; owned
} sim_event_t;

#define SIM_CLIENTS_MAX 5
#define SIM_WORKERS_MAX 5
#define SIM_LATEST_MS (3 * 3600 * 1000)    // the latest that a frame comes in

typedef struct {
    uint64_t seed;
    int64_t now_ms;
    int64_t heal_ms;       // when faults end
    int64_t drained_ms;    // when everything was over
    bool healing;
    uint64_t random;
    sim_trace_t trace;
    sim_faults_t faults;
    tally_heap_t events;
    uint64_t event_count;
    uint64_t routes;    // given out
    sim_database_t *database;
    sim_ledger_t *ledger;
    sim_shell_t *shell;
    sim_client_t *clients[SIM_CLIENTS_MAX];
    sim_worker_t *workers[SIM_WORKERS_MAX];
    size_t client_count, worker_count;
    const char *stuck;      // while draining: what is not over yet
    uint64_t late_count;    // frames that are under way for minutes or hours
} sim_world_t;

//  What a run was, for sums over many.
typedef struct {
    uint64_t hash;
    int64_t virtual_ms;
    uint64_t events, ticks, messages, leases, effects;
    uint64_t bites[SIM_FAULTS];
} sim_outcome_t;

//  Runs one seed to its end.  told: every event is printed as it happens.
void sim_world_run(uint64_t seed, bool told, sim_outcome_t *outcome);

//  ---- chance ------------------------------------------------------------------------------------
uint64_t sim_draw(sim_world_t *world, uint64_t below);                 // uniform in [0, below)
int64_t sim_between(sim_world_t *world, int64_t low, int64_t high);    // both may come out
bool sim_happens(sim_world_t *world, unsigned percent);
//  A fault that this run has strikes now; counted.
bool sim_strikes(sim_world_t *world, sim_fault_t fault);
//  Counts one that came about by itself.
void sim_bit(sim_world_t *world, sim_fault_t fault);

//  ---- events ------------------------------------------------------------------------------------
//  Takes a reference of the chunk, which may be NULL.
void sim_post(sim_world_t *world, sim_event_kind_t kind, int64_t at_ms, uint64_t to,
              uint64_t number, tally_chunk_t *chunk);
//  As sim_post, but not before the last that went this way: a connection keeps its order.
void sim_post_in_order(sim_world_t *world, sim_event_kind_t kind, int64_t *last_ms, uint64_t to,
                       uint64_t number, tally_chunk_t *chunk);
int64_t sim_latency(sim_world_t *world);

//  A route names its owner in the low byte: clients from 0, workers from SIM_CLIENTS_MAX.
uint64_t sim_new_route(sim_world_t *world, size_t owner);
static inline size_t
sim_route_owner(uint64_t route)
{
    return (size_t)(route & 0xff);
}

#define SIM_TRACE(world, ...) SIM_TRACE_AT(&(world)->trace, (world)->now_ms, __VA_ARGS__)

#endif
