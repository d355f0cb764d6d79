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
} tally_fault_t;

//  How a kind goes.  `aim` chooses whom, false: nobody is there to be hit now.  `over`: it has ended by itself.
typedef struct {
    const char *name;
    tally_victim_t victim;
    double mean_s[4];    // time between two, by profile; 0: not in it
    bool (*aim)(tally_nemesis_t *self, tally_fault_t *fault);
    void (*strike)(tally_nemesis_t *self, tally_fault_t *fault);
    bool (*over)(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms);
    void (*heal)(tally_nemesis_t *self, tally_fault_t *fault);    // NULL: it heals by itself
} tally_fault_way_t;

struct tally_nemesis {
    tally_scene_t *scene;
    tally_watch_t *watch;
    tally_nemesis_options_t options;
    unsigned profile;
    tally_chance_t chance;
    bool resting;
    uint64_t last_id;
    int64_t next_at_ms[TALLY_FAULT_KINDS];    // INT64_MAX: never
    unsigned counts[TALLY_FAULT_KINDS];
    int64_t lasted_ms[TALLY_FAULT_KINDS];
    tally_fault_t active[TALLY_ACTIVE_MAX];
};

//  ---- nemesis_process.c ----
extern const tally_fault_way_t tally_fault_ways[TALLY_FAULT_KINDS];

#endif
