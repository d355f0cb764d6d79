// SPDX-License-Identifier: MIT
//  histogram - counts of values, from which quantiles are read with a bounded relative error.
//
//  Log-linear: each power of two is cut into TALLY_HISTOGRAM_PARTS equal buckets, so a quantile is
//  never more than 1 / TALLY_HISTOGRAM_PARTS above the value that stands there, and values below
//  that are exact.  Adding is a few instructions and no allocation.  Histograms can be merged.  One
//  thread each.

#ifndef TALLY_HISTOGRAM_H
#define TALLY_HISTOGRAM_H

#include <stdint.h>

#define TALLY_HISTOGRAM_PARTS 64
#define TALLY_HISTOGRAM_VALUE_MAX (((uint64_t)1 << 40) - 1)    // larger ones count as this

typedef struct tally_histogram tally_histogram_t;

tally_histogram_t *tally_histogram_new(void);
void tally_histogram_destroy(tally_histogram_t **self_p);
void tally_histogram_add(tally_histogram_t *self, uint64_t value, uint64_t count);
void tally_histogram_merge(tally_histogram_t *self, const tally_histogram_t *other);
void tally_histogram_clear(tally_histogram_t *self);

uint64_t tally_histogram_count(const tally_histogram_t *self);
uint64_t tally_histogram_max(const tally_histogram_t *self);    // 0 when there is none
//  The value that `share` (0..1) of all are not above; 0 when there is none.
uint64_t tally_histogram_quantile(const tally_histogram_t *self, double share);

#endif
