// SPDX-License-Identifier: MIT
//  nemesis_state - what the files of the nemesis share; nobody else includes it.

#ifndef TALLY_FAULTS_NEMESIS_STATE_H
#define TALLY_FAULTS_NEMESIS_STATE_H

#include "tests/faults/chance.h"
#include "tests/faults/nemesis.h"

#define TALLY_ACTIVE_MAX 32

//  One fault, while it lasts.
typedef struct {
    tally_fault_kind_t kind;    // 0: free
    uint64_t id;
    int64_t began_ms, end_at_ms;
    tally_process_t *process;    // whom it hit; NULL: nobody in particular
    const tally_member_t *member;
    uint32_t number;    // of the life that was hit
    unsigned starts;    // of the process, when it was hit
    uint16_t tenant;    // of the term
    pid_t pid;          // of a backend
    tally_failpoint_t point;
    const tally_route_t *route;
    const char *counter;    // of the route: says whether it bit
    uint64_t before;        // what was counted when it struck
    const char *way;        // through the route
} tally_fault_t;

#define TALLY_PROFILES 6

//  How a kind goes.  `aim` chooses whom, false: nobody is there to be hit now.  `over`: it has ended by itself.
//  `heal` ends it when its time has come; NULL: it ends by itself.  `bit`: it did something; NULL: it always does.
typedef struct {
    bool (*aim)(tally_nemesis_t *self, tally_fault_t *fault);
    void (*strike)(tally_nemesis_t *self, tally_fault_t *fault);
    bool (*over)(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms);
    void (*heal)(tally_nemesis_t *self, tally_fault_t *fault);
    bool (*bit)(tally_nemesis_t *self, tally_fault_t *fault);
} tally_fault_way_t;

//  A kind: its way, and the seconds between two of it by profile; 0: not in it.
typedef struct {
    const char *name;
    tally_victim_t victim;
    double mean_s[TALLY_PROFILES];
    const tally_fault_way_t *way;
} tally_fault_entry_t;

struct tally_nemesis {
    tally_scene_t *scene;
    tally_lookout_t *lookout;
    tally_nemesis_options_t options;
    unsigned profile;
    tally_chance_t chance;
    bool resting;
    uint64_t last_id;
    int64_t next_at_ms[TALLY_FAULT_KINDS];    // INT64_MAX: never
    unsigned counts[TALLY_FAULT_KINDS], bites[TALLY_FAULT_KINDS];
    int64_t quiet_since_ms;    // nothing lasts; for those in turn
    double pg_ahead_s;         // PostgreSQL's clock, by now
    int64_t lasted_ms[TALLY_FAULT_KINDS];
    tally_fault_t active[TALLY_ACTIVE_MAX];
};

//  ---- nemesis_table.c ----
extern const tally_fault_entry_t tally_fault_entries[TALLY_FAULT_KINDS];

//  ---- nemesis_process.c: signals ----
extern const tally_fault_way_t tally_ways_broker_kill, tally_ways_broker_stop,
    tally_ways_worker_kill, tally_ways_worker_stop, tally_ways_term_kill, tally_ways_term_stop,
    tally_ways_client_kill, tally_ways_client_stop, tally_ways_pg_stop, tally_ways_pg_kill,
    tally_ways_pg_backend, tally_ways_pg_terminate;
//  The broker that is active, as far as we know.
tally_process_t *tally_nemesis_broker(const tally_nemesis_t *self);
bool tally_nemesis_at_once(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms);
//  It goes on until it is healed.
bool tally_nemesis_lasts(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms);

//  ---- nemesis_point.c: failpoints ----
extern const tally_fault_way_t tally_ways_point_kill, tally_ways_point_stop, tally_ways_point_delay,
    tally_ways_point_fail;

//  ---- nemesis_net.c: the proxy ----
extern const tally_fault_way_t tally_ways_net_cut, tally_ways_net_stall, tally_ways_net_swallow,
    tally_ways_net_reset, tally_ways_net_delay, tally_ways_net_throttle;

//  ---- nemesis_world.c: disk and clocks ----
extern const tally_fault_way_t tally_ways_disk_full, tally_ways_clock_pg, tally_ways_clock_broker,
    tally_ways_clock_worker;

#endif
