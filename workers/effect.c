// SPDX-License-Identifier: MIT
//  effect - see effect.h.

#include "workers/effect.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/failpoint.h"
#include "lib/log.h"

#define AWAY_DELAY_MS 200    // and as much again by chance

tally_effect_t
tally_effect_of(const tally_db_t *db, tally_db_outcome_t outcome)
{
    switch (outcome) {
    case TALLY_DB_DONE:
        return TALLY_EFFECT_DONE;
    case TALLY_DB_RETRY:
    case TALLY_DB_UNKNOWN:
        return TALLY_EFFECT_AGAIN;
    case TALLY_DB_REJECT:
        break;
    }
    const char *state = tally_db_sqlstate(db);
    bool stale = strcmp(state, "TY001") == 0 || strcmp(state, "TY002") == 0;
    return stale ? TALLY_EFFECT_STALE : TALLY_EFFECT_REFUSED;
}

tally_effect_t
tally_effect_end(tally_db_t *db, tally_effect_t effect)
{
    if (effect == TALLY_EFFECT_DONE) {
        TALLY_FAILPOINT(WORK_COMMIT);
        effect = tally_effect_of(db, tally_db_commit(db));
        TALLY_FAILPOINT(WORK_COMMITTED);
        return effect;
    }
    tally_db_rollback(db);
    return effect;
}

bool
tally_effect_try_again(const tally_db_t *db, tally_effect_t effect, unsigned tries_made)
{
    bool may = effect == TALLY_EFFECT_CHANGED
               || (effect == TALLY_EFFECT_AGAIN && (tries_made == 1 || tally_db_connected(db)));
    return may && tries_made < TALLY_EFFECT_TRIES;
}

void
tally_effect_give_back(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                       size_t count, tally_effect_t effect, const char *what)
{
    assert(effect != TALLY_EFFECT_DONE);
    const char *error = tally_db_error(tally_worker_db(worker));
    if (effect == TALLY_EFFECT_STALE) {
        tally_log_info("dropped %s: the lease or the term is over  lease=%llu", what,
                       (unsigned long long)work->id);
        return;
    }
    bool counted = effect == TALLY_EFFECT_REFUSED;
    int64_t delay_ms = counted ? -1 : AWAY_DELAY_MS + (int64_t)randombytes_uniform(AWAY_DELAY_MS);
    char *why = effect == TALLY_EFFECT_CHANGED
                    ? tally_format("%s: what it depends on kept changing", what)
                    : tally_format("%s: %s", what, *error == '\0' ? "the database is away" : error);
    tally_log_warn("returned messages: %s  queue=%s tenant=%s lease=%llu", why, work->queue,
                   work->tenant, (unsigned long long)work->id);
    tally_worker_return(worker, work, ids, count, counted, delay_ms, why);
    free(why);
}
