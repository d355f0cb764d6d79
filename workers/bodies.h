// SPDX-License-Identifier: MIT
//  bodies - the bodies of a lease, wherever they are: in the delivery or in the database.
//
//  Those stored as blobs are read in one query.  Larger ones than asked for are not read at all.

#ifndef TALLY_BODIES_H
#define TALLY_BODIES_H

#include "workers/effect.h"

typedef enum {
    TALLY_BODY_HERE,
    TALLY_BODY_GONE,       // nor is the message there any more: nothing is to be done
    TALLY_BODY_MISSING,    // the message is, its blob is not
    TALLY_BODY_LARGE,      // larger than asked for
} tally_body_state_t;

typedef struct {
    tally_body_state_t state;
    tally_bytes_t bytes;    // borrowed from the delivery, or from `owned`
    void *owned;
} tally_body_t;

//  Fills `bodies`, one for each message of the lease, to be freed when DONE.
tally_effect_t tally_bodies_read(tally_db_t *db, const tally_work_t *work, size_t bytes_max,
                                 tally_body_t *bodies) TALLY_MUST_CHECK;
void tally_bodies_free(tally_body_t *bodies, size_t count);

#endif
