// SPDX-License-Identifier: MIT
//  series: growing by half, radix sort with those bytes of the number in which elements differ.

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/series.h"

#define DIGITS 65536    // 16 bits a pass

void
tally_series_free(tally_series_t *self)
{
    free(self->items);
    *self = (tally_series_t){.size = self->size};
}

void
tally_series_reserve(tally_series_t *self, size_t more)
{
    assert(self->size > 0);
    if (self->room - self->count < more) {
        self->room = self->count + more;
        self->items = tally_realloc_array(self->items, self->room, self->size);
    }
}

void *
tally_series_add(tally_series_t *self)
{
    if (self->count == self->room) {
        tally_series_reserve(self, self->room / 2 + 256);
    }
    void *item = (uint8_t *)self->items + self->count++ * self->size;
    memset(item, 0, self->size);
    return item;
}

static uint64_t
number_of(const uint8_t *item)
{
    uint64_t number;
    memcpy(&number, item, sizeof number);
    return number;
}

//  Inlined for the usual sizes: copying a constant number of bytes is a few instructions.
static inline __attribute__((always_inline)) void
scatter(const tally_series_t *self, uint8_t *to, size_t *starts, unsigned shift, size_t size)
{
    const uint8_t *from = self->items;
    for (size_t i = 0; i < self->count; i++) {
        const uint8_t *item = from + i * size;
        size_t digit = number_of(item) >> shift & (DIGITS - 1);
        memcpy(to + starts[digit]++ * size, item, size);
    }
}

static void
sort_by_digit(tally_series_t *self, void **spare, size_t *starts, unsigned shift)
{
    memset(starts, 0, DIGITS * sizeof *starts);
    const uint8_t *items = self->items;
    for (size_t i = 0; i < self->count; i++) {
        starts[number_of(items + i * self->size) >> shift & (DIGITS - 1)]++;
    }
    size_t sum = 0;
    for (size_t digit = 0; digit < DIGITS; digit++) {
        size_t count = starts[digit];
        starts[digit] = sum;
        sum += count;
    }
    if (self->size == 16) {
        scatter(self, *spare, starts, shift, 16);
    } else {
        scatter(self, *spare, starts, shift, self->size);
    }
    void *sorted = *spare;
    *spare = self->items;
    self->items = sorted;
}

void
tally_series_sort_by_number(tally_series_t *self)
{
    if (self->count < 2) {
        return;
    }
    const uint8_t *items = self->items;
    uint64_t first = number_of(items), differ = 0;
    for (size_t i = 1; i < self->count; i++) {
        differ |= number_of(items + i * self->size) ^ first;
    }
    void *spare = tally_alloc_array(self->count, self->size);
    size_t *starts = tally_alloc_array(DIGITS, sizeof *starts);
    self->room = self->count;
    for (unsigned shift = 0; shift < 64; shift += 16) {
        if ((differ >> shift & (DIGITS - 1)) != 0) {
            sort_by_digit(self, &spare, starts, shift);
        }
    }
    free(starts);
    free(spare);
}

void
tally_series_sort(tally_series_t *self, int (*compare)(const void *, const void *))
{
    if (self->count > 1) {
        qsort(self->items, self->count, self->size, compare);
    }
}
