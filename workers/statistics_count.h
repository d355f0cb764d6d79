// SPDX-License-Identifier: MIT
//  statistics_count - a histogram: how often each label, or each number, was given.
//
//  Pure counts, so adding and merging in any order ends in the same state.  Adding is cheap also when nearly
//  every number is new: what is not known yet waits unsorted and is folded in when it has become much.

#ifndef TALLY_STATISTICS_COUNT_H
#define TALLY_STATISTICS_COUNT_H

#include "lib/bytes.h"

typedef struct {
    char *label;    // owned; NULL in a histogram of numbers
    double value;
    uint64_t count;
} tally_count_t;

//  Zero-initialise; all of one histogram are labels, or all numbers.
typedef struct {
    tally_count_t *items;
    size_t sorted;    // of items, the first so many are in order and differ
    size_t size, room;
} tally_counts_t;

void tally_counts_free(tally_counts_t *self);
void tally_counts_add_label(tally_counts_t *self, const char *label, uint64_t count);
void tally_counts_add_value(tally_counts_t *self, double value, uint64_t count);
void tally_counts_merge(tally_counts_t *self, const tally_counts_t *other);
//  Puts all in order (labels by bytes, numbers by size), each once.
void tally_counts_sort(tally_counts_t *self);

#endif
