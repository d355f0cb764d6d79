// SPDX-License-Identifier: MIT
//  shell_state - the inside of the simulated shell, for its own files only.

#ifndef SIM_SHELL_STATE_H
#define SIM_SHELL_STATE_H

#include "broker/caller.h"
#include "broker/core.h"
#include "tests/simulation/database.h"
#include "tests/simulation/ledger.h"
#include "tests/simulation/planted.h"
#include "tests/simulation/shell.h"

typedef enum { SIM_DOWN = 1, SIM_SERVING, SIM_BEING_AWAY } sim_shell_mode_t;

//  A frame that a plan may still need.
typedef struct {
    bool is_send;
    uint8_t sender[TALLY_SENDER_BYTES];
    tally_chunk_t *chunk;
    bool ends;    // records, one of which ended something
} sim_input_t;

typedef TALLY_ARRAY(sim_input_t) sim_inputs_t;

//  A frame in a socket.
typedef struct {
    uint64_t route;
    tally_chunk_t *chunk;
} sim_frame_t;

typedef TALLY_ARRAY(sim_frame_t) sim_frames_t;

//  A worker process that said hello.
typedef struct {
    uint64_t number, route;
    tally_hello_t hello;    // points into frame
    tally_chunk_t *frame;
    bool joined, doomed;
    int64_t since_ms;
    int64_t lane_ms;    // the last frame into its lane
} sim_peer_t;

//  What the second connection was asked.
typedef struct {
    uint64_t number;
    uint64_t route, request;
    uint8_t sender[TALLY_SENDER_BYTES];
    tally_chunk_t *frame;    // a hello; NULL: a result is looked for
    tally_asker_t asker;
    bool taken;    // the database was read, below is what it said
    bool found;
    int64_t last;
    int64_t *missing;
    size_t missing_count;
    uint8_t outcome;
    char body[64];
} sim_read_t;

struct sim_shell {
    sim_world_t *world;
    sim_shell_mode_t mode;
    uint64_t epoch;
    int64_t stopped_until_ms;
    tally_core_t *core;
    tally_plan_t *plan;    // under way; NULL: none
    uint64_t tick;         // its number at the database
    bool answered;         // the database has answered
    sim_inputs_t collecting, under_way, owed, again;
    size_t again_at, feed_again_max;
    sim_commit_t lost;
    int64_t reconnect_at_ms;
    int reconnect_attempt;
    tally_callers_t *callers;
    TALLY_ARRAY(sim_peer_t *) peers;
    uint64_t last_worker;
    sim_frames_t front, sink;
    size_t front_at, sink_at;
    TALLY_ARRAY(sim_read_t) reads;
    uint64_t read_count;
    int64_t read_ms;        // when the last one is answered
    int64_t listened_ms;    // when the sink was last seen empty
    int64_t retried_ms;     // when an operator last asked for a dead letter to be sent again
    int64_t beat_at_ms, inbox_at_ms, housekeep_at_ms;
    tally_wire_t wire;
    size_t tell_max;    // so many things are told before it is killed; SIZE_MAX: all
};

//  ---- shell.c -----------------------------------------------------------------------------------
sim_input_t *sim_shell_keep(sim_shell_t *self, const uint8_t *sender, tally_chunk_t *chunk);
void sim_shell_clear_inputs(sim_inputs_t *inputs, size_t from);

//  ---- shell_front.c -----------------------------------------------------------------------------
void sim_shell_take_frame(sim_shell_t *self, uint64_t route, tally_chunk_t *frame);
void sim_shell_take_send(sim_shell_t *self, const uint8_t *sender, tally_chunk_t *chunk);
//  self->wire to a route.
void sim_shell_reply(sim_shell_t *self, uint64_t route);
//  Writes a welcome; worker 0: for a client.
void sim_shell_welcome(sim_shell_t *self, uint64_t request, const uint8_t *sender, uint64_t worker);
void sim_shell_refuse(sim_shell_t *self, uint64_t route, uint64_t request, tally_fault_t fault,
                      uint32_t retry_after_ms);
void sim_shell_give_result(sim_shell_t *self, const tally_asker_t *asker, uint8_t outcome,
                           tally_bytes_t body);
void sim_shell_look_for_result(sim_shell_t *self, const tally_asker_t *asker);
void sim_shell_forget_reads(sim_shell_t *self);

//  ---- shell_peers.c -----------------------------------------------------------------------------
sim_peer_t *sim_shell_peer(const sim_shell_t *self, uint64_t number);
void sim_shell_hello(sim_shell_t *self, uint64_t route, uint64_t request, const uint8_t *sender,
                     tally_chunk_t *frame);
void sim_shell_goodbye(sim_shell_t *self, uint64_t route);
void sim_shell_rejoin(sim_shell_t *self);
void sim_shell_beat(sim_shell_t *self);
void sim_shell_sweep(sim_shell_t *self);
void sim_shell_free_peers(sim_shell_t *self);
//  self->wire into a lane; -1 when it takes no more.
int sim_shell_into_lane(sim_shell_t *self, sim_peer_t *peer);
void sim_shell_notice(sim_shell_t *self, sim_peer_t *peer, const tally_notice_t *notice);
void sim_shell_take_records(sim_shell_t *self, tally_chunk_t *frame);
bool sim_shell_awaits(const sim_shell_t *self, const tally_chunk_t *frame);
//  Leases that reached nobody.
void sim_shell_give_back(sim_shell_t *self, const tally_plan_lease_t *leases, size_t count);

//  ---- shell_publish.c ---------------------------------------------------------------------------
//  False when the process was killed on the way.
bool sim_shell_publish(sim_shell_t *self, tally_plan_t *plan);

//  ---- shell_recovery.c --------------------------------------------------------------------------
void sim_shell_load(sim_shell_t *self, uint64_t first_id, uint64_t tick);
void sim_shell_lost(sim_shell_t *self, sim_commit_t outcome);
void sim_shell_try(sim_shell_t *self);
bool sim_shell_feed(sim_shell_t *self);

#endif
