// SPDX-License-Identifier: MIT
//  planted - the defects of the simulated shell and database, where the real ones have their guards.
//
//  See broker/planted.h, which has those of the core.

#ifndef SIM_PLANTED_H
#define SIM_PLANTED_H

#include "broker/planted.h"

enum {
    PLANT_CONFIRM_EARLY = 101,     // a send is confirmed before its commit
    PLANT_TOKEN_REUSED = 102,      // after a lost answer ids start again where the lost core's had
    PLANT_LOST_IS_FAILED = 103,    // a lost answer is taken for a failure, the senders are refused
    PLANT_UNDELIVERED_KEPT = 104,    // leases that nobody was given run into their deadlines
    PLANT_NO_EPOCH_CHECK = 105,      // a tick of a killed broker is let in after its successor
    PLANT_NO_FENCE = 106,            // tally.settle does not look for the lease
    PLANT_NO_TERM_CHECK = 107,       // tally.hold_term does not compare epochs
    PLANT_TOLD_EARLY = 108,          // a tick is told before its commit
    PLANT_GIVEN_BACK_ONCE = 109,     // undelivered leases are given back, but not again
    PLANT_LOST_IS_DONE = 110,        // a lost answer is taken for a commit
    PLANT_OWED_FORGOTTEN = 111,      // records are fed again only with the plan that they went into
};

#endif
