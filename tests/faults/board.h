// SPDX-License-Identifier: MIT
//  board - a page of counters that all processes of a run share, for progress and for waiting.
//
//  A file that is mapped, so counts survive whoever counted.  Never evidence: that is the histories'.  One writer
//  for each slot.

#ifndef TALLY_FAULTS_BOARD_H
#define TALLY_FAULTS_BOARD_H

#include <stdatomic.h>

#include "lib/bytes.h"

#define TALLY_BOARD_SLOTS 64

typedef struct {
    atomic_ullong confirmed;    // messages, by clients
    atomic_ullong refused;
    atomic_ullong settled;    // messages, by workers
    atomic_ullong stale;      // settles that the fence refused
    atomic_ullong unknown;    // commits without an answer
    atomic_ullong delivered;
    atomic_ullong open;    // of a client: sends and asks that are not over
    atomic_int busy;    // of a worker: the number of the queue of the lease in its hands; 0: none
    atomic_bool resting;    // a client that has nothing open and sends no more
} tally_slot_t;

typedef struct {
    atomic_bool quiet;    // clients send nothing new, and rest when all is over
    atomic_bool full;     // so much is pending that clients wait
    tally_slot_t slots[TALLY_BOARD_SLOTS];
} tally_board_t;

//  Maps the file, made and zeroed when it is not there.  NULL when that cannot be (said on standard error).
tally_board_t *tally_board_open(const char *path);
void tally_board_close(tally_board_t **self_p);

static inline void
tally_board_add(atomic_ullong *counter, unsigned long long by)
{
    atomic_fetch_add_explicit(counter, by, memory_order_relaxed);
}

#endif
