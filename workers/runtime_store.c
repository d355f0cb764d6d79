// SPDX-License-Identifier: MIT
//  runtime_store - see runtime_store.h.

#include "workers/runtime_store.h"

tally_db_outcome_t
tally_runtime_store_tune(tally_db_t *db, int *session)
{
    //  A scan that is needed (there is no index for it) is still made, but looks dear: hence no jit.
    static const char sql[] = "select set_config('enable_seqscan', 'off', false),"
                              " set_config('enable_hashjoin', 'off', false),"
                              " set_config('enable_mergejoin', 'off', false),"
                              " set_config('jit', 'off', false)";
    tally_db_outcome_t outcome = tally_db_connect(db);
    if (outcome != TALLY_DB_DONE || PQbackendPID(tally_db_handle(db)) == *session) {
        return outcome;
    }
    outcome = tally_db_run(db, sql, NULL, NULL);
    if (outcome == TALLY_DB_DONE) {
        *session = PQbackendPID(tally_db_handle(db));
    }
    return outcome;
}
