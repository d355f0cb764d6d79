// SPDX-License-Identifier: MIT
//  tick_lock - the advisory lock that every tick takes shared and the taking of an epoch takes exclusive.

#ifndef TALLY_TICK_LOCK_H
#define TALLY_TICK_LOCK_H

#define TALLY_TICK_LOCK                                                                            \
    0x74616c6c79LL    // "tally"; also written in schemas/sql where a function takes it

#endif
