// SPDX-License-Identifier: MIT
//  partial - what one block of a recomputation amounts to: the statistics of each survey in it.
//
//  Map fills one from a block of responses, reduce merges a block of them into one; surveys stand in the order
//  in which they first appeared.  The JSON form is a list of statistics.  Pure; which blocks there are is
//  recompute's to know.

#ifndef TALLY_PARTIAL_H
#define TALLY_PARTIAL_H

#include "workers/statistics.h"

typedef struct tally_partial tally_partial_t;

tally_partial_t *tally_partial_new(void);
void tally_partial_destroy(tally_partial_t **self_p);

//  Counts a response that was checked against `survey`.
void tally_partial_add(tally_partial_t *self, const tally_survey_t *survey,
                       const tally_response_t *response);
//  Appends what `json` (an encoded partial) says.  -1 with the problem told; self is then of no use.
int tally_partial_merge(tally_partial_t *self, const json_t *json,
                        tally_problem_t *problem) TALLY_MUST_CHECK;
//  A new reference.
json_t *tally_partial_encode(const tally_partial_t *self);

//  Borrowed; NULL when no response of that survey was in it.
tally_statistics_t *tally_partial_find(const tally_partial_t *self, const char *slug);

//  Appends a row per survey to `rows`: {"aggregation": "block.row", "survey", "responses", "histogram", "mean"}.
void tally_partial_trace(const tally_partial_t *self, int64_t block, json_t *rows);

#endif
