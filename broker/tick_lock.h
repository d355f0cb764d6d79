// SPDX-License-Identifier: MIT
//  tick_lock - the broker's advisory locks.

#ifndef TALLY_TICK_LOCK_H
#define TALLY_TICK_LOCK_H

//  Every tick takes it shared, for its transaction; the taking of an epoch takes it exclusive.
#define TALLY_TICK_LOCK                                                                            \
    0x74616c6c79LL    // "tally"; also written in schemas/sql where a function takes it

//  The place of the active broker, see place_store.h.  For as long as a session lasts.
#define TALLY_PLACE_LOCK 0x74616c6c7a6cLL

#endif
