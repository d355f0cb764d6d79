// SPDX-License-Identifier: MIT
//  watch - what the broker's feed says of itself: how much is pending, who holds terms.
//
//  A hint for the nemesis and for progress, up to a second old; never evidence.

#ifndef TALLY_FAULTS_WATCH_H
#define TALLY_FAULTS_WATCH_H

#include "lib/bytes.h"

typedef struct tally_watch tally_watch_t;

//  The feeds of seats 1 to `seats`: DIR/feed-N.
tally_watch_t *tally_watch_new(const char *dir, unsigned seats);
void tally_watch_destroy(tally_watch_t **self_p);

//  Takes what came; never waits.
void tally_watch_look(tally_watch_t *self);

//  Of all queues of the run.
uint64_t tally_watch_pending(const tally_watch_t *self);
//  The seat that was heard last; 0: none yet.
unsigned tally_watch_active(const tally_watch_t *self);
//  The name of a worker that holds a term, "" when none is known; borrowed until the next look.  *tenant: of which.
const char *tally_watch_holder(const tally_watch_t *self, uint16_t *tenant);

#endif
