// SPDX-License-Identifier: MIT
//  effect - what came of a transaction that was to end messages, and what becomes of the messages then.
//
//  The stores answer with this instead of a database outcome, because a lease that is over is neither a success
//  nor a failure of anybody.

#ifndef TALLY_EFFECT_H
#define TALLY_EFFECT_H

#include "workers/runtime.h"

typedef enum {
    TALLY_EFFECT_DONE,       // committed
    TALLY_EFFECT_STALE,      // lease or term is over: rolled back, nothing of it is ours any more
    TALLY_EFFECT_AGAIN,      // not done, or nobody knows: to be done again, the token decides
    TALLY_EFFECT_CHANGED,    // what it was based on is not so any more: read again, then again
    TALLY_EFFECT_REFUSED,    // would fail the next time as well
} tally_effect_t;

#define TALLY_EFFECT_TRIES 3    // in place, before the messages are given back

tally_effect_t tally_effect_of(const tally_db_t *db, tally_db_outcome_t outcome);

//  Ends a transaction: commits when all went well so far, else rolls back.
tally_effect_t tally_effect_end(tally_db_t *db, tally_effect_t effect) TALLY_MUST_CHECK;

//  In a transaction: ends messages of the lease, the one with a result for who asked.
tally_effect_t tally_effect_settle(tally_db_t *db, uint64_t lease, const uint64_t *messages,
                                   size_t count) TALLY_MUST_CHECK;
tally_effect_t tally_effect_settle_result(tally_db_t *db, uint64_t lease, uint64_t message,
                                          tally_bytes_t result) TALLY_MUST_CHECK;

//  True when another try in place makes sense.
bool tally_effect_try_again(const tally_db_t *db, tally_effect_t effect, unsigned tries_made);

//  Gives messages back that could not be ended: uncounted with a short delay, or counted with the database's
//  words when it refused.  Nothing when they are not ours any more.  `what` names the work in the reason.
void tally_effect_give_back(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                            size_t count, tally_effect_t effect, const char *what);

#endif
