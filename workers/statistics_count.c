// SPDX-License-Identifier: MIT
//  statistics_count - see statistics_count.h.

#include "workers/statistics_count.h"

#include <stdlib.h>

#include "lib/alloc.h"

#define UNSORTED_MAX 256    // more only when as many are sorted

static int
compare(const void *a, const void *b)
{
    const tally_count_t *left = a, *right = b;
    if (left->label != NULL) {
        return strcmp(left->label, right->label);
    }
    return left->value < right->value ? -1 : left->value > right->value;
}

void
tally_counts_free(tally_counts_t *self)
{
    for (size_t i = 0; i < self->size; i++) {
        free(self->items[i].label);
    }
    free(self->items);
    *self = (tally_counts_t){0};
}

void
tally_counts_sort(tally_counts_t *self)
{
    if (self->sorted == self->size) {
        return;
    }
    qsort(self->items, self->size, sizeof *self->items, compare);
    size_t kept = 0;
    for (size_t i = 1; i < self->size; i++) {
        if (compare(&self->items[kept], &self->items[i]) == 0) {
            self->items[kept].count += self->items[i].count;
            free(self->items[i].label);
        } else {
            self->items[++kept] = self->items[i];
        }
    }
    self->sorted = self->size = kept + 1;
}

static void
add(tally_counts_t *self, const tally_count_t *added)
{
    tally_count_t *known = NULL;
    if (self->sorted > 0) {
        known = bsearch(added, self->items, self->sorted, sizeof *self->items, compare);
    }
    if (known != NULL) {
        known->count += added->count;
        return;
    }
    if (self->size == self->room) {
        self->room = self->room == 0 ? 8 : self->room * 2;
        self->items = tally_realloc_array(self->items, self->room, sizeof *self->items);
    }
    tally_count_t *item = &self->items[self->size++];
    *item = *added;
    item->label = added->label == NULL ? NULL : tally_strdup(added->label);
    if (self->size - self->sorted > UNSORTED_MAX + self->sorted) {
        tally_counts_sort(self);
    }
}

void
tally_counts_add_label(tally_counts_t *self, const char *label, uint64_t count)
{
    tally_count_t added = {.label = (char *)(uintptr_t)label, .count = count};    // copied
    add(self, &added);
}

void
tally_counts_add_value(tally_counts_t *self, double value, uint64_t count)
{
    tally_count_t added = {.value = value == 0 ? 0 : value, .count = count};    // no -0
    add(self, &added);
}

void
tally_counts_merge(tally_counts_t *self, const tally_counts_t *other)
{
    for (size_t i = 0; i < other->size; i++) {
        add(self, &other->items[i]);
    }
}
