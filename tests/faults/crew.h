// SPDX-License-Identifier: MIT
//  crew - the processes of a run: started, signalled, buried, started again.
//
//  Each is a direct child with a log of its own; it dies with us.  One that ends is started again after a short
//  pause while it is wanted.  What ends without our having killed it is remembered by how it ended: an abort of
//  the broker is a finding.  Knows nothing of what it runs.

#ifndef TALLY_FAULTS_CREW_H
#define TALLY_FAULTS_CREW_H

#include <sys/types.h>

#include "lib/bytes.h"

typedef struct {
    char *name;
    //  In the forked child, in its directory, with its log as standard error: becomes the program.
    void (*exec)(void *argument);
    void *argument;     // borrowed
    char *directory;    // works in
    pid_t pid;          // 0: does not run
    bool wanted;        // is started again
    bool stopped;       // by SIGSTOP, ours
    bool killed;        // by us: this end is no finding
    bool may_fail;      // exit codes are no findings (PostgreSQL may be away when it starts)
    bool mortal;        // may kill itself
    unsigned starts;
    int64_t start_at_ms;      // when it is to be started again
    int64_t started_at_ms;    // the last time
    int64_t ended_at_ms;
} tally_process_t;

typedef struct tally_crew tally_crew_t;

//  Takes SIGCHLD, SIGINT and SIGTERM from this process.  Logs are DIR/NAME.log, appended.
tally_crew_t *tally_crew_new(const char *log_dir);
//  Kills whatever runs.
void tally_crew_destroy(tally_crew_t **self_p);

//  Owned by the crew; the pointer stays.
tally_process_t *tally_crew_add(tally_crew_t *self, const char *name, const char *directory,
                                void (*exec)(void *argument), void *argument);
//  Starts it now unless it runs; it is wanted from here on.
void tally_crew_start(tally_crew_t *self, tally_process_t *process);

//  SIGKILL, or SIGQUIT (PostgreSQL's immediate stop): ends it; it comes back `pause_ms` later.
void tally_crew_kill(tally_process_t *process, int signal_number, int64_t pause_ms);
void tally_crew_stop(tally_process_t *process);
void tally_crew_continue(tally_process_t *process);

//  Waits for something to happen, at most until `until_ms`, and does what is due.  False when a signal told us to
//  end.
bool tally_crew_turn(tally_crew_t *self, int64_t until_ms);
bool tally_crew_all_run(const tally_crew_t *self);

//  Ends by signal all that run, and waits; SIGKILL for who does not end.
void tally_crew_end(tally_crew_t *self, tally_process_t *process, int signal_number);

//  What ended by itself in a way it should not: "tallyd ended by signal 6"; "" when nothing did.
const char *tally_crew_findings(const tally_crew_t *self);

//  An `exec`: argument is a NULL-terminated argv, [0] the program's path.
void tally_crew_exec(void *argv);

#endif
