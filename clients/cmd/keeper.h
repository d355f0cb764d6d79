// SPDX-License-Identifier: MIT
//  keeper - the process that brings one instance up, keeps it up, and takes it down in order.
//
//  PostgreSQL (when it is the instance's own), the schema, tallyd, then the workers; each step waits for what
//  it needs, not for time.  Whatever dies later is started again by itself.  Run by `tally up`: in the
//  foreground, or in a process of its own.  The caller holds the instance.

#ifndef TALLY_KEEPER_H
#define TALLY_KEEPER_H

#include "clients/cmd/cluster.h"
#include "clients/cmd/home.h"

#define TALLY_CREWS_MAX 16
#define TALLY_CREW_WORKERS_MAX 64

//  So many workers of a role.
typedef struct {
    char *role;
    int count;
} tally_crew_t;

//  Borrowed while the keeper runs.
typedef struct {
    tally_home_t *home;
    tally_cluster_t *cluster;    // NULL: the database is somebody else's
    const char *programs;        // directory of tallyd and tally-ROLE
    tally_crew_t crews[TALLY_CREWS_MAX];
    size_t crew_count;
    int64_t window_ms;                // of the queue statistics; -1: as it is
    void (*ready)(void *argument);    // called once all is up; may be NULL
    void *argument;
} tally_keeper_options_t;

//  Returns the exit code: 0 after being told to stop, otherwise what could not be brought up is said on standard
//  error and nothing is left running.
int tally_keeper_run(const tally_keeper_options_t *options) TALLY_MUST_CHECK;

#endif
