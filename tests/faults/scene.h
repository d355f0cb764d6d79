// SPDX-License-Identifier: MIT
//  scene - everything that runs in a run: PostgreSQL, tallyd, clients and workers, each a process of its own.
//
//  All of it lives in one room and is gone with it.  Processes work in a directory of sockets: DIR/run itself, or a
//  view of it of their own, so that something can stand between any two of them.  No ports.

#ifndef TALLY_FAULTS_SCENE_H
#define TALLY_FAULTS_SCENE_H

#include "clients/cmd/cluster.h"
#include "lib/db.h"
#include "tests/faults/board.h"
#include "tests/faults/clocks.h"
#include "tests/faults/crew.h"
#include "tests/faults/disk.h"
#include "tests/faults/failpoints.h"
#include "tests/faults/history.h"
#include "tests/faults/room.h"
#include "tests/faults/views.h"

#define TALLY_MEMBERS_MAX 48
#define TALLY_BROKERS_MAX 2

typedef struct {
    uint64_t seed;
    unsigned brokers;    // tallyds; all but one stand by
    unsigned clients, mains, looses, poisons;
    bool plain;    // nothing stands between any two, clocks are real, PostgreSQL has the whole disk
    int work_ms;            // that a lease takes beside its transaction
    bool shipped;           // queues, clients and all deadlines are as they are shipped
    double rate;            // messages a second of all clients together
    const char *bin_dir;    // of the programs under test
    const char *program;    // this one
} tally_scene_options_t;

typedef enum { TALLY_MEMBER_CLIENT = 1, TALLY_MEMBER_WORKER } tally_member_kind_t;

//  A client or a worker.
typedef struct {
    struct tally_scene *scene;
    tally_member_kind_t kind;
    const char *role;    // of a worker
    unsigned slot;       // on the board
    char *conninfo;      // of a worker
    tally_process_t *process;
} tally_member_t;

typedef struct {
    struct tally_scene *scene;
    unsigned seat;
    char *conninfo;
    tally_process_t *process;
} tally_tallyd_t;

typedef struct tally_scene {
    tally_scene_options_t options;
    tally_room_t *room;
    tally_crew_t *crew;
    tally_board_t *board;
    tally_history_t *history;    // the driver's
    tally_cluster_t *cluster;
    tally_db_t *db;    // the driver's own connection
    char *conninfo;
    char *run;               // the directory of sockets
    char *fronts;            // as clients and workers are told, relative to where they work
    tally_views_t *views;    // NULL: none
    tally_failpoints_t *failpoints;    // NULL: the programs have none
    tally_clocks_t *clocks;            // NULL: they cannot be moved here
    tally_disk_t *disk;                // NULL: it cannot be filled here
    tally_process_t *postgres;
    tally_tallyd_t tallyds[TALLY_BROKERS_MAX];
    tally_member_t members[TALLY_MEMBERS_MAX];
    size_t member_count;
} tally_scene_t;

//  Starts PostgreSQL and tallyd and makes queues; clients and workers are added but do not run.  NULL when it cannot
//  be (said on standard error).
tally_scene_t *tally_scene_new(const tally_scene_options_t *options);
//  0, or -1 when something was left over that should not have been.
int tally_scene_destroy(tally_scene_t **self_p);

//  In forked children: become the programs.
void tally_scene_exec_postgres(void *scene);
void tally_scene_exec_tallyd(void *tallyd);
void tally_scene_exec_client(void *member);
void tally_scene_exec_worker(void *member);

void tally_scene_start_members(tally_scene_t *self);
void tally_scene_phase(tally_scene_t *self, tally_phase_t phase);

//  The number that the histories know it by in its present life.
uint32_t tally_member_process(const tally_member_t *self);

typedef struct {
    uint64_t confirmed, refused, settled, stale, unknown, delivered, open;
    bool resting;    // all clients are
} tally_scene_sums_t;

tally_scene_sums_t tally_scene_sums(const tally_scene_t *self);

#endif
