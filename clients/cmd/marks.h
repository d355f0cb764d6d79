// SPDX-License-Identifier: MIT
//  marks - a set of numbers from 0 on, marked by several threads at once, in a bit each.
//
//  Memory grows with the highest number.  Marking never loses one and says who was first; reading
//  while others mark sees some of them.

#ifndef TALLY_CMD_MARKS_H
#define TALLY_CMD_MARKS_H

#include "lib/bytes.h"

#define TALLY_MARKS_MAX ((uint64_t)1 << 32)

typedef struct tally_marks tally_marks_t;

tally_marks_t *tally_marks_new(void);
void tally_marks_destroy(tally_marks_t **self_p);
//  False when the number (below TALLY_MARKS_MAX) was marked before.
bool tally_marks_add(tally_marks_t *self, uint64_t number);
//  How many of these are not among the others.
uint64_t tally_marks_missing(const tally_marks_t *self, const tally_marks_t *others);

#endif
