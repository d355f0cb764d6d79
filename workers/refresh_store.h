// SPDX-License-Identifier: MIT
//  refresh_store - what of a tenant is not counted yet, seen in one snapshot.

#ifndef TALLY_REFRESH_STORE_H
#define TALLY_REFRESH_STORE_H

#include "workers/effect.h"

typedef struct {
    int64_t response_first;             // sent before the message, not judged yet; 0: there is none
    int64_t inbox_first, inbox_last;    // pointers not yet taken by the broker; 0: there is none
    int64_t message_last;               // the newest message of the tenant; 0: there is none
} tally_pending_t;

//  Responses are looked for from `from` on: who has looked before knows that there are none below.
tally_effect_t tally_refresh_store_look(tally_db_t *db, const char *tenant, uint64_t message,
                                        int64_t from, tally_pending_t *pending) TALLY_MUST_CHECK;
//  Is a pointer among the messages up to `last`?
tally_effect_t tally_refresh_store_pointers(tally_db_t *db, const char *tenant, int64_t last,
                                            bool *found) TALLY_MUST_CHECK;

#endif
