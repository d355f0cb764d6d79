// SPDX-License-Identifier: MIT
//  supervisor - keeps processes running until it is told to stop, and stops them in order.
//
//  A process that ends is started again: at once, and with a growing delay when it ends soon after its start.
//  Processes belong to a stage; stages are started by the caller and stopped from the last to the first, each
//  waited for.  Whoever dies with the supervisor must see to that itself (PR_SET_PDEATHSIG, which
//  tally_supervisor_exec sets).  It holds SIGCHLD and the signals that stop; one per process.
//  It knows nothing of what it runs.

#ifndef TALLY_SUPERVISOR_H
#define TALLY_SUPERVISOR_H

#include "lib/bytes.h"

typedef struct tally_supervisor tally_supervisor_t;

//  Takes SIGCHLD, SIGTERM, SIGINT and SIGHUP from this process.  Each process gets a file NAME.pid in `pid_dir` and
//  writes to NAME.log in `log_dir`.
tally_supervisor_t *tally_supervisor_new(const char *pid_dir, const char *log_dir);
//  Processes still running are left alone; stop them first.
void tally_supervisor_destroy(tally_supervisor_t **self_p);

//  `exec` runs in the forked child and returns only when it could not become the process; `argument` is borrowed.
//  Not started before its stage is.
void tally_supervisor_add(tally_supervisor_t *self, const char *name, int stage, int stop_signal,
                          void (*exec)(void *argument), void *argument);

//  An `exec`: argument is a NULL-terminated argv, [0] the program's path.
void tally_supervisor_exec(void *argv);

void tally_supervisor_start(tally_supervisor_t *self, int stage);

//  Waits for something to do, at most `timeout_ms` (-1: without limit), and does it.  False when a signal told us
//  to stop.
bool tally_supervisor_turn(tally_supervisor_t *self, int timeout_ms);

//  The name of a process that keeps ending right after its start, NULL when all is well; borrowed.
const char *tally_supervisor_failing(const tally_supervisor_t *self);

//  Stops all: each stage by its signal, and by SIGKILL what has not ended after `patience_ms`.
void tally_supervisor_stop(tally_supervisor_t *self, int patience_ms);

#endif
