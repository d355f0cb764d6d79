// SPDX-License-Identifier: MIT
//  patience - how long a message that must wait has waited so far.
//
//  A message that waits for others is given back uncounted and comes again; this remembers, between its
//  visits, how long to stay away next and what it has seen already.  Only memory: who forgets asks a little
//  more often, or begins its wait anew.

#ifndef TALLY_PATIENCE_H
#define TALLY_PATIENCE_H

#include <stdint.h>

typedef struct {
    uint64_t message;        // 0: free
    int64_t delay_ms;        // of the last visit
    int64_t looked_at_ms;    // for what is not looked at in every visit; 0: never
    int stage;               // the waiting one's own
    int64_t mark;
} tally_wait_t;

#define TALLY_PATIENCE_ROOM 64

//  Zero-initialise.
typedef struct {
    tally_wait_t waits[TALLY_PATIENCE_ROOM];
    unsigned next;    // to be forgotten when all are taken
} tally_patience_t;

//  Never NULL; a new one is zeroed but for its message.
tally_wait_t *tally_patience_require(tally_patience_t *self, uint64_t message);
void tally_patience_forget(tally_patience_t *self, uint64_t message);

//  The next delay: from `first_ms` on half as long again each time, up to `last_ms`.
int64_t tally_wait_longer(tally_wait_t *wait, int64_t first_ms, int64_t last_ms);

#endif
