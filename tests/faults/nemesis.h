// SPDX-License-Identifier: MIT
//  nemesis - breaks things, by seed: what, whom, when and for how long.
//
//  Each kind of fault is a line of a table with its own pace.  In the beginning each kind strikes once, spread over
//  the time given for it, so that also a short run has seen all of them; from then on by chance.  Several may be there
//  at once.  Every fault is recorded before it is done, and when it is over: healed, resumed, or started again.

#ifndef TALLY_FAULTS_NEMESIS_H
#define TALLY_FAULTS_NEMESIS_H

#include "tests/faults/lookout.h"
#include "tests/faults/scene.h"

//  Kinds, as histories number them.
typedef enum {
    TALLY_FAULT_BROKER_KILL = 1,
    TALLY_FAULT_BROKER_STOP,
    TALLY_FAULT_WORKER_KILL,
    TALLY_FAULT_WORKER_STOP,
    TALLY_FAULT_TERM_KILL,
    TALLY_FAULT_TERM_STOP,
    TALLY_FAULT_CLIENT_KILL,
    TALLY_FAULT_CLIENT_STOP,
    TALLY_FAULT_PG_STOP,         // immediate stop
    TALLY_FAULT_PG_KILL,         // kill -9 of the postmaster
    TALLY_FAULT_PG_BACKEND,      // kill -9 of one backend: all of them go
    TALLY_FAULT_PG_TERMINATE,    // one session ends
    TALLY_FAULT_POINT_KILL,      // at a named point of the broker or of a worker
    TALLY_FAULT_POINT_STOP,
    TALLY_FAULT_POINT_DELAY,
    TALLY_FAULT_POINT_FAIL,
    TALLY_FAULT_NET_CUT,        // after some bytes
    TALLY_FAULT_NET_STALL,      // nothing passes for a while
    TALLY_FAULT_NET_SWALLOW,    // nothing arrives, one way or both
    TALLY_FAULT_NET_RESET,
    TALLY_FAULT_NET_DELAY,
    TALLY_FAULT_NET_THROTTLE,
    TALLY_FAULT_DISK_FULL,
    TALLY_FAULT_CLOCK_PG,    // wall clocks jump
    TALLY_FAULT_CLOCK_BROKER,
    TALLY_FAULT_CLOCK_WORKER,
    TALLY_FAULT_KINDS
} tally_fault_kind_t;

typedef struct tally_nemesis tally_nemesis_t;

typedef struct {
    uint64_t seed;
    const char *profile;    // "mixed", "broker", "worker", "database", "network", "takeover"
    double pace;            // faults come that much more often; 1: as the profile says
    int64_t opening_ms;     // time in which each kind strikes for the first time
    //  Not 0: one at a time, in turn, each kind so often, so long after the one before is over.
    unsigned kills;
    int64_t between_ms;
} tally_nemesis_options_t;

//  Names its kinds in the scene's history.  NULL when there is no such profile.
tally_nemesis_t *tally_nemesis_new(tally_scene_t *scene, tally_lookout_t *lookout,
                                   const tally_nemesis_options_t *options);
void tally_nemesis_destroy(tally_nemesis_t **self_p);

void tally_nemesis_begin(tally_nemesis_t *self, int64_t now_ms);
//  Does what is due; the time of the next.
int64_t tally_nemesis_turn(tally_nemesis_t *self, int64_t now_ms);
//  No new ones; those that last end with the next turn.
void tally_nemesis_rest(tally_nemesis_t *self);
bool tally_nemesis_active(const tally_nemesis_t *self);

//  How often a kind struck, and how long it lasted together.
unsigned tally_nemesis_count(const tally_nemesis_t *self, tally_fault_kind_t kind);
//  Of them, those that did something: a cut that no byte reached did not.
unsigned tally_nemesis_bites(const tally_nemesis_t *self, tally_fault_kind_t kind);
int64_t tally_nemesis_lasted_ms(const tally_nemesis_t *self, tally_fault_kind_t kind);
//  Each kind struck as often as it should, when that was said.
bool tally_nemesis_done(const tally_nemesis_t *self);
//  Every kind of this run did something.
bool tally_nemesis_seen_all(const tally_nemesis_t *self);
//  Whether a kind is of this profile, and can be here.
bool tally_nemesis_uses(const tally_nemesis_t *self, tally_fault_kind_t kind);
//  It is of this profile, but what it needs is not to be had here.
bool tally_nemesis_lacks(const tally_nemesis_t *self, tally_fault_kind_t kind);
const char *tally_fault_name(tally_fault_kind_t kind);

#endif
