// SPDX-License-Identifier: MIT
//  recompute - {"do": "recompute", "survey": slug, "block": B, "trace": bool}: statistics anew from all responses.
//
//  `survey` left out: all of the tenant.  The message itself drives it: given back uncounted, it comes again, to
//  whoever holds the term then, and each visit does what is due:
//
//      not begun       in one snapshot: the responses that are counted (stored, less those that a pending pointer
//                      names) become blocks, a message each; from then on what is counted also goes into `since`
//      a phase done    blocks of B partials become messages of the next phase
//      one partial     with `since` it becomes the state, in one transaction with the answer
//                      {"ok": true, "surveys": {slug: responses}, "trace": [{"phase", "rows": [...]}]}
//
//  A response is thus in the one partial or in `since`, never in both.  Two over the same surveys wait for each
//  other.  One whose blocks were buried is given up and answered so; the statistics stay as they were.

#ifndef TALLY_RECOMPUTE_H
#define TALLY_RECOMPUTE_H

#include "workers/counter.h"

void
tally_recompute_work(tally_counter_t *self, const tally_delivered_t *item, const json_t *request);

#endif
