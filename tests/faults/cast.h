// SPDX-License-Identifier: MIT
//  cast - the programs of one test: started with their words, started again when they end, gone with the room.
//
//  Between a crew, which knows nothing of what it runs, and tests that say which program plays what.  A program may end
//  with any code and kill itself; a signal that nobody sent is a finding of the crew.

#ifndef TALLY_TEST_CAST_H
#define TALLY_TEST_CAST_H

#include "tests/faults/crew.h"
#include "tests/faults/room.h"

typedef struct tally_cast tally_cast_t;

//  Programs are those in bin_dir.  NULL when there can be no room.
tally_cast_t *tally_cast_new(const char *bin_dir);
//  Kills whatever runs; with TALLY_TEST_KEEP in the environment the room stays, for its logs.  0, or -1 when something
//  is left.
int tally_cast_destroy(tally_cast_t **self_p);

const char *tally_cast_dir(const tally_cast_t *self);
tally_crew_t *tally_cast_crew(tally_cast_t *self);

//  Words up to NULL behind the program's name; logs to DIR/NAME.log.  Owned by the crew.
tally_process_t *tally_cast_start(tally_cast_t *self, const char *name, const char *program, ...)
    __attribute__((sentinel));
//  Runs it to its end: its status as wait() gives it, its output in DIR/out.  Nobody is started again meanwhile.
int tally_cast_run(tally_cast_t *self, int timeout_ms, const char *program, ...)
    __attribute__((sentinel));

//  Who ends is started again until the condition holds; false when the time is over.
bool tally_cast_until(tally_cast_t *self, bool (*condition)(void *argument), void *argument,
                      int timeout_ms) TALLY_MUST_CHECK;

bool tally_cast_is_stopped(const tally_process_t *process);    // by SIGSTOP, and so says the kernel

#endif
