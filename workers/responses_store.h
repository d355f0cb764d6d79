// SPDX-License-Identifier: MIT
//  responses_store - responses and what announces them, in one transaction.

#ifndef TALLY_RESPONSES_STORE_H
#define TALLY_RESPONSES_STORE_H

#include "workers/catalog.h"

#define TALLY_POINTER_BYTES_MAX (60 * 1024)    // of one pointer message's body

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

//  The body of a pointer message over `numbers`, as many of them as fit; *taken says how many.  For
//  statistics_pointer's reader: {"survey": id, "slug": slug, "responses": [number, ...]}, growing.
char *tally_pointer_print(int32_t survey, const char *slug, const int64_t *numbers, size_t count,
                          size_t *taken);

#endif
