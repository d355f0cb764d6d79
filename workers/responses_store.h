// SPDX-License-Identifier: MIT
//  responses_store - responses and what announces them, in one transaction.

#ifndef TALLY_RESPONSES_STORE_H
#define TALLY_RESPONSES_STORE_H

#include "workers/catalog.h"

//  The valid responses of one lease, in the order of their messages.
typedef struct {
    const char *tenant;
    uint64_t lease;
    size_t count;
    const uint64_t *messages;
    const tally_entry_t *const *entries;    // of each its survey
    const tally_bytes_t *ids;
    const tally_bytes_t *bodies;
} tally_storing_t;

//  Stores them, announces the new ones, settles the messages.  CHANGED: a survey is not as it was read.
tally_effect_t
tally_responses_store(tally_db_t *db, const tally_storing_t *storing) TALLY_MUST_CHECK;

#endif
