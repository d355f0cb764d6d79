// SPDX-License-Identifier: MIT
//  counting_store - stored responses and the statistics' state, for counting and for showing.
//
//  Nobody but the holder of the tenant's term writes a state, in a transaction that proves the term.  What is
//  written says which state it was worked out from, so a commit of our own whose answer was lost cannot be
//  overwritten: then it is CHANGED, and is read again.

#ifndef TALLY_COUNTING_STORE_H
#define TALLY_COUNTING_STORE_H

#include "workers/catalog.h"

#define TALLY_RESPONSES_READ_MAX 2000    // numbers of one read

//  Calls `take` for each response that there is, in the order of the numbers, with its survey and slug.  `take`
//  returns false to end it.
typedef bool tally_response_take_t(void *context, int64_t number, int32_t survey, const char *slug,
                                   tally_bytes_t body);
tally_effect_t
tally_counting_store_read(tally_db_t *db, const char *tenant, const int64_t *numbers, size_t count,
                          tally_response_take_t *take, void *context) TALLY_MUST_CHECK;

//  The state of a survey's statistics as it was read, and what is to become of it.
typedef struct {
    int32_t survey;
    bool exists;
    tally_wire_t state, since;    // as read; since is empty when no recomputation runs
    char state_hash[TALLY_HASH_BYTES + 1], since_hash[TALLY_HASH_BYTES + 1];
    int64_t recompute;                       // the running one's id, 0: none
    tally_bytes_t next_state, next_since;    // to be written; borrowed
} tally_state_t;

//  Fills the states of states[i].survey.  Freed by tally_states_free in any case.
tally_effect_t tally_counting_store_load(tally_db_t *db, const char *tenant, tally_state_t *states,
                                         size_t count) TALLY_MUST_CHECK;
void tally_states_free(tally_state_t *states, size_t count);

//  In a transaction, first of all: proves the term.  STALE when it is over.
tally_effect_t tally_counting_store_hold(tally_db_t *db, const tally_work_t *work) TALLY_MUST_CHECK;
//  In a transaction: writes the next states.
tally_effect_t
tally_counting_store_write(tally_db_t *db, const char *tenant, const tally_state_t *states,
                           size_t count) TALLY_MUST_CHECK;

//  Sets `object` to {slug: responses counted} for all surveys of the tenant.
tally_effect_t
tally_counting_store_list(tally_db_t *db, const char *tenant, json_t *object) TALLY_MUST_CHECK;

#endif
