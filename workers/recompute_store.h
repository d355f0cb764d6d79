// SPDX-License-Identifier: MIT
//  recompute_store - recomputations: begin, phases, partial results, the switch.
//
//  Writes of the term holder prove the term in their transaction; those of map and reduce need none: a partial
//  row is written once, and only while its recomputation is in its phase.

#ifndef TALLY_RECOMPUTE_STORE_H
#define TALLY_RECOMPUTE_STORE_H

#include "workers/counting_store.h"

#define TALLY_RECOMPUTE_BLOCK_MIN 1
#define TALLY_RECOMPUTE_REDUCE_MIN                                                                 \
    2    // partials a block of a reduce phase; less would never come to one
#define TALLY_RECOMPUTE_BLOCK_MAX 3000    // as many numbers fit into a message
#define TALLY_RECOMPUTE_BLOCK_DEFAULT 1000

//  Which one: the id is that of the message that asked.
typedef struct {
    const char *tenant;
    uint64_t id;
} tally_recompute_key_t;

typedef struct {
    bool exists;
    int32_t survey;    // 0: all of the tenant
    int32_t block;     // responses or partials to a block
    int32_t phase;     // 0 map, then reduce 1, 2, ...
    int32_t blocks;    // of this phase; 0: there are no responses
    int32_t done;      // of them
} tally_recompute_t;

//  Partials to a block of a reduce phase.
static inline int32_t
tally_recompute_reduce_block(const tally_recompute_t *recompute)
{
    return recompute->block < TALLY_RECOMPUTE_REDUCE_MIN ? TALLY_RECOMPUTE_REDUCE_MIN
                                                         : recompute->block;
}

tally_effect_t tally_recompute_store_look(tally_db_t *db, const tally_recompute_key_t *key,
                                          tally_recompute_t *recompute) TALLY_MUST_CHECK;

//  Another one that runs over the same surveys; 0: none.  *orphan: its message is gone, nobody drives it.
tally_effect_t
tally_recompute_store_other(tally_db_t *db, const tally_recompute_key_t *key, int32_t survey,
                            uint64_t *other, bool *orphan) TALLY_MUST_CHECK;

//  In a transaction (repeatable read, term proved): the parts of the beginning.
//  CHANGED when it is there already.
tally_effect_t tally_recompute_store_insert(tally_db_t *db, const tally_recompute_key_t *key,
                                            const tally_recompute_t *recompute) TALLY_MUST_CHECK;
//  Bodies of messages to `statistics` that are not counted, page by page; *more is false behind the last.
typedef struct {
    int source;    // message, inbox, dead letter; start with zeros
    int64_t last;
} tally_page_t;
typedef void tally_body_take_t(void *context, tally_bytes_t body);
tally_effect_t
tally_recompute_store_pointers(tally_db_t *db, const char *tenant, tally_page_t *page,
                               tally_body_take_t *take, void *context, bool *more) TALLY_MUST_CHECK;
//  The next numbers of stored responses after `after`, at most `room`; *count 0 behind the last.
tally_effect_t
tally_recompute_store_numbers(tally_db_t *db, const char *tenant, int32_t survey, int64_t after,
                              int64_t *numbers, size_t room, size_t *count) TALLY_MUST_CHECK;
//  From now on what is counted for these surveys is counted in `since` as well.
tally_effect_t tally_recompute_store_watch(tally_db_t *db, const tally_recompute_key_t *key,
                                           int32_t survey) TALLY_MUST_CHECK;

//  In a transaction with the term proved.
tally_effect_t
tally_recompute_store_send(tally_db_t *db, const char *tenant, const tally_bytes_t *bodies,
                           size_t count) TALLY_MUST_CHECK;
//  To the phase with so many blocks, from the one before.  CHANGED when it is elsewhere already.
tally_effect_t
tally_recompute_store_step(tally_db_t *db, const tally_recompute_key_t *key, int32_t from,
                           int32_t to, int32_t blocks) TALLY_MUST_CHECK;

//  Is a block of the present phase neither done nor under way?  Then it was buried or dropped.
tally_effect_t tally_recompute_store_stalled(tally_db_t *db, const tally_recompute_key_t *key,
                                             bool *stalled) TALLY_MUST_CHECK;

//  Outputs of a phase's blocks `from` to `to`, in their order, as many as one page takes; *last is the last block
//  given, 0 when there was none.  `take` returns false to end it.
typedef bool tally_output_take_t(void *context, int32_t block, tally_bytes_t output);
tally_effect_t
tally_recompute_store_outputs(tally_db_t *db, const tally_recompute_key_t *key, int32_t phase,
                              int32_t from, int32_t to, tally_output_take_t *take, void *context,
                              int32_t *last) TALLY_MUST_CHECK;

//  In a transaction: writes outputs, each unless it is there or its recomputation is not in that phase.
typedef struct {
    uint64_t id;    // of the recomputation
    int32_t phase, block;
    tally_bytes_t output;
} tally_output_t;
tally_effect_t
tally_recompute_store_put(tally_db_t *db, const char *tenant, const tally_output_t *outputs,
                          size_t count) TALLY_MUST_CHECK;

//  A survey under recomputation and what was counted for it since.
typedef struct {
    int32_t survey;
    char *slug;    // owned, as are these
    char *since;
    char since_hash[TALLY_HASH_BYTES + 1];
    char *next_state;    // to be written
} tally_watched_t;

//  *watched is the caller's when DONE: tally_watched_free.
tally_effect_t
tally_recompute_store_watched(tally_db_t *db, const tally_recompute_key_t *key,
                              tally_watched_t **watched, size_t *count) TALLY_MUST_CHECK;
void tally_watched_free(tally_watched_t *watched, size_t count);
//  In a transaction with the term proved: next_state becomes the state.  CHANGED when since is not as read.
tally_effect_t
tally_recompute_store_switch(tally_db_t *db, const tally_recompute_key_t *key,
                             const tally_watched_t *watched, size_t count) TALLY_MUST_CHECK;
//  In a transaction with the term proved: as if it had never been.
tally_effect_t
tally_recompute_store_remove(tally_db_t *db, const tally_recompute_key_t *key) TALLY_MUST_CHECK;

//  The survey's id by its name, 0 when there is none.
tally_effect_t tally_recompute_store_survey(tally_db_t *db, const char *tenant, const char *slug,
                                            int32_t *survey) TALLY_MUST_CHECK;

#endif
