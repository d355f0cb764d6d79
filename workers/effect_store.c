// SPDX-License-Identifier: MIT
//  effect - settling in the caller's transaction; see effect.h.

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/effect.h"

tally_effect_t
tally_effect_settle(tally_db_t *db, uint64_t lease, const uint64_t *messages, size_t count)
{
    static const char sql[] = "select tally.settle($1, $2)";
    tally_params_t params = {0};
    int64_t *ids = tally_alloc_array(count, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int64_t)messages[i];
    }
    tally_params_int8(&params, (int64_t)lease);
    tally_params_int8s(&params, ids, count);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, NULL));
    tally_params_free(&params);
    free(ids);
    return effect;
}

tally_effect_t
tally_effect_settle_result(tally_db_t *db, uint64_t lease, uint64_t message, tally_bytes_t result)
{
    static const char sql[] = "select tally.settle($1, $2, $3)";
    tally_params_t params = {0};
    int64_t id = (int64_t)message;
    assert(result.data != NULL);
    tally_params_int8(&params, (int64_t)lease);
    tally_params_int8s(&params, &id, 1);
    tally_params_byteas(&params, &result, 1);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, NULL));
    tally_params_free(&params);
    return effect;
}
