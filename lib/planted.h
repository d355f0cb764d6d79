// SPDX-License-Identifier: MIT
//  planted - defects that are compiled in on purpose, one at a time, to show that the tests find them.
//
//  A normal build has no TALLY_PLANT, so every TALLY_PLANTED() is the constant false and its code is not there.  These
//  are of code that the simulator does not run: sockets, SQL, connections, clients, workers; tests/faults/planted.sh
//  builds each and lets the fault harness look.  Those of the core are in broker/planted.h.

#ifndef TALLY_LIB_PLANTED_H
#define TALLY_LIB_PLANTED_H

#ifndef TALLY_PLANT
#define TALLY_PLANT 0
#endif

#define TALLY_PLANTED(name) (TALLY_PLANT == PLANT_##name)

//  Behind each: the profile in which it is looked for.
enum {
    PLANT_SILENCE_IS_DONE = 201,      // network: a tick without an answer to COMMIT counts as done
    PLANT_SILENCE_IS_UNDONE = 202,    // network: and as not done
    PLANT_SENDER_UNWRITTEN = 203,     // broker: what a sender has sent is not written down
    PLANT_CLIENT_FORGETS = 204,       // broker: what was unconfirmed is not sent again
    PLANT_DB_LOST_IS_DONE = 205,      // database: a worker's COMMIT without an answer is done
    PLANT_DB_UNPREPARED = 206,        // database: statements of the session before are used
    PLANT_EFFECT_BEFORE = 207,        // worker: effects are committed before the settle
};

#endif
