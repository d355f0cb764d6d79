// SPDX-License-Identifier: MIT
//  refresh - {"do": "refresh"}: answers {"ok": true, "surveys": {slug: responses}} once all is counted.
//
//  All: every response confirmed before the request.  The way of a response has three legs, and the request is
//  given back for a moment until each has been gone by all of them: judged (no message in `responses` with a
//  smaller id), announced (their pointers have left the inbox), counted (their pointers have ended).  What comes
//  later than the request is not waited for, so a steady stream does not hold it up.

#ifndef TALLY_REFRESH_H
#define TALLY_REFRESH_H

#include "workers/counter.h"

void
tally_refresh_work(tally_counter_t *self, const tally_delivered_t *item, const json_t *request);

#endif
