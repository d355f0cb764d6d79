// SPDX-License-Identifier: MIT
//  histogram - see histogram.h.

#include "lib/histogram.h"

#include "lib/alloc.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#define PARTS TALLY_HISTOGRAM_PARTS
#define PART_BITS 6
#define POWERS (40 - PART_BITS)    // above the first PARTS values, which have a bucket each
#define BUCKETS (PARTS + POWERS * PARTS)

_Static_assert(PARTS == 1 << PART_BITS, "buckets are found by shifting");

struct tally_histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[BUCKETS];
};

tally_histogram_t *
tally_histogram_new(void)
{
    return tally_alloc(sizeof(tally_histogram_t));
}

void
tally_histogram_destroy(tally_histogram_t **self_p)
{
    assert(self_p != NULL);
    free(*self_p);
    *self_p = NULL;
}

static unsigned
bucket_of(uint64_t value)
{
    if (value < PARTS) {
        return (unsigned)value;
    }
    unsigned power = 63 - (unsigned)__builtin_clzll(value) - PART_BITS;
    return PARTS + power * PARTS + (unsigned)(value >> power) - PARTS;
}

//  The largest value of a bucket.
static uint64_t
top_of(unsigned bucket)
{
    if (bucket < PARTS) {
        return bucket;
    }
    unsigned power = bucket / PARTS - 1;
    return ((uint64_t)(PARTS + bucket % PARTS + 1) << power) - 1;
}

void
tally_histogram_add(tally_histogram_t *self, uint64_t value, uint64_t count)
{
    value = value < TALLY_HISTOGRAM_VALUE_MAX ? value : TALLY_HISTOGRAM_VALUE_MAX;
    unsigned bucket = bucket_of(value);
    assert(bucket < BUCKETS);
    self->buckets[bucket] += count;
    self->count += count;
    self->max = count > 0 && value > self->max ? value : self->max;
}

void
tally_histogram_merge(tally_histogram_t *self, const tally_histogram_t *other)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        self->buckets[i] += other->buckets[i];
    }
    self->count += other->count;
    self->max = other->max > self->max ? other->max : self->max;
}

void
tally_histogram_clear(tally_histogram_t *self)
{
    *self = (tally_histogram_t){0};
}

uint64_t
tally_histogram_count(const tally_histogram_t *self)
{
    return self->count;
}

uint64_t
tally_histogram_max(const tally_histogram_t *self)
{
    return self->max;
}

uint64_t
tally_histogram_quantile(const tally_histogram_t *self, double share)
{
    assert(share >= 0.0);
    assert(share <= 1.0);
    if (self->count == 0) {
        return 0;
    }
    uint64_t wanted = (uint64_t)ceil(share * (double)self->count);
    wanted = wanted > 0 ? wanted : 1;
    uint64_t seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += self->buckets[i];
        if (seen >= wanted) {
            uint64_t top = top_of(i);
            return top < self->max ? top : self->max;
        }
    }
    return self->max;
}
