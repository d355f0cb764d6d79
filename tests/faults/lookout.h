// SPDX-License-Identifier: MIT
//  lookout - what the broker's feed says of itself: how much is pending, who holds terms.
//
//  A hint for the nemesis and for progress, up to a second old; never evidence.

#ifndef TALLY_FAULTS_LOOKOUT_H
#define TALLY_FAULTS_LOOKOUT_H

#include "lib/bytes.h"

typedef struct tally_lookout tally_lookout_t;

//  The feeds of seats 1 to `seats`: DIR/feed-N.
tally_lookout_t *tally_lookout_new(const char *dir, unsigned seats);
void tally_lookout_destroy(tally_lookout_t **self_p);

//  Takes what came; never waits.
void tally_lookout_look(tally_lookout_t *self);

//  Of all queues of the run.
uint64_t tally_lookout_pending(const tally_lookout_t *self);
//  The seat that was heard last; 0: none yet.
unsigned tally_lookout_active(const tally_lookout_t *self);
//  The name of a worker that holds a term, "" when none is known; borrowed until the next look.  *tenant: of which.
const char *tally_lookout_holder(const tally_lookout_t *self, uint16_t *tenant);

#endif
