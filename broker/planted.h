// SPDX-License-Identifier: MIT
//  planted - defects that are compiled in on purpose, one at a time, to show that the tests find them.
//
//  See lib/planted.h.  `make planted` builds each of them and lets the simulator look.  Those of the
//  core stand here; tests/simulation/planted.h has those of the shell and the database.

#ifndef TALLY_PLANTED_H
#define TALLY_PLANTED_H

#include "lib/planted.h"

enum {
    PLANT_SENDER_FORGOTTEN = 1,     // after a restart a sender's sequences are unknown
    PLANT_MISSING_FORGOTTEN = 2,    // after a restart refused sequences count as accepted
    PLANT_REFUSED_ACCEPTED = 3,     // a refused sequence counts as accepted
    PLANT_WINDOW_AGAIN = 4,         // a window that was released goes by the time of the one before
    PLANT_TERM_UNGRANTED = 5,    // a term is taken although the database passed the election over
    PLANT_STALE_ACCEPTED = 6,    // a record under a lease that is over ends messages of a later one
    PLANT_KEY_BEHIND = 7,        // a message that comes back goes behind the next of its key
    PLANT_CREDIT_TWICE = 8,      // a message that is noted and ended gives its credit twice
    PLANT_CRASH_UNCOUNTED = 9,         // crashes are not counted
    PLANT_CRASH_TOGETHER = 10,         // what crashed together comes back together
    PLANT_STARVED = 11,                // low priorities wait for ever
    PLANT_EARLY_AFTER_RESTART = 12,    // after a restart delayed messages are due
    PLANT_QUOTA_BEYOND = 13,           // a tenant may have one message more than its quota
    PLANT_TOKEN_AGAIN = 14,            // what expired is leased under a token that was used
    PLANT_NOTE_BELIEVED = 15,          // what a worker says it settled by SQL is believed
    PLANT_RESULT_ASTRAY = 16,          // results go to the first message of the send
    PLANT_INBOX_IDS = 17,              // a look into the inbox takes one id for all its rows
    PLANT_EPOCH_BEFORE = 18,           // deliveries carry the epoch before the current one
    PLANT_DUPLICATE_CONFIRMED = 19,    // a duplicate is confirmed like a new message
    PLANT_ASK_FORGOTTEN = 20,          // after a restart nobody has asked
    PLANT_KEY_OVERTAKEN = 21,    // what follows a message with a dedupe key does not wait for it
    PLANT_WINDOW_OPEN = 22,      // a window that was opened once stays open
    PLANT_HELD_BACK = 23,        // what a tenant with company ends beyond its share never ends
};

#endif
