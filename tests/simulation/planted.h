// SPDX-License-Identifier: MIT
//  planted - the numbers of the defects that `make planted` builds, those of the core among them.

#ifndef SIM_PLANTED_H
#define SIM_PLANTED_H

#include "broker/planted.h"

enum {
    //  in the core: see TALLY_PLANTED in broker/
    //  in the simulated shell and database: where the real ones have their guards
    PLANT_CONFIRM_EARLY = 101,    // a send is confirmed when it is planned
    PLANT_TOKEN_REUSED,           // after a lost answer ids start where the lost core had started
    PLANT_LOST_IS_FAILED,         // a lost answer is taken for a failure: senders are refused
    PLANT_UNDELIVERED_KEPT,       // leases that nobody was given run into their deadlines
    PLANT_NO_EPOCH_CHECK,         // a killed broker's transaction is let in after its successor
    PLANT_NO_FENCE,               // tally.settle does not look whether the lease is still there
    PLANT_NO_TERM_CHECK,          // tally.hold_term does not compare epochs
    PLANT_DELIVERED_EARLY,        // leases are handed out before their commit
};

#endif
