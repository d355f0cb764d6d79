// SPDX-License-Identifier: MIT
//  recompute_begin - the first transaction of a recomputation: which responses, in which blocks.

#ifndef TALLY_RECOMPUTE_BEGIN_H
#define TALLY_RECOMPUTE_BEGIN_H

#include "workers/counter.h"
#include "workers/recompute_store.h"

//  Fixes the responses, scatters them, begins to watch.  CHANGED: it had begun already.
tally_effect_t tally_recompute_begin(tally_counter_t *self, const tally_recompute_key_t *key,
                                     const tally_recompute_t *recompute) TALLY_MUST_CHECK;

//  In a transaction with the term proved: sends the messages of a reduce phase.
tally_effect_t
tally_recompute_scatter_reduce(tally_counter_t *self, const tally_recompute_key_t *key,
                               int32_t phase, int32_t blocks) TALLY_MUST_CHECK;

#endif
