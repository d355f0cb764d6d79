// SPDX-License-Identifier: MIT
//  series - a growing array of elements of one size, and sorting it in linear time by a number.
//
//  For millions of small elements.  Zero-initialise with their size; elements are plain data.  Out of memory
//  aborts.  Pointers into it are valid until the next addition.

#ifndef TALLY_TEST_SERIES_H
#define TALLY_TEST_SERIES_H

#include "lib/bytes.h"

typedef struct {
    size_t size;    // of an element
    void *items;
    size_t count, room;
} tally_series_t;

void tally_series_free(tally_series_t *self);    // and empty again
//  Room for one more, zeroed.
void *tally_series_add(tally_series_t *self);
//  For that many more, so that they are added without growing.
void tally_series_reserve(tally_series_t *self, size_t more);

//  Sorts by the unsigned 64-bit number with which each element begins; equal ones stay in their order.  Takes as
//  much memory again while it works.
void tally_series_sort_by_number(tally_series_t *self);
//  As qsort.
void tally_series_sort(tally_series_t *self, int (*compare)(const void *, const void *));

#endif
