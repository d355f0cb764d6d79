// SPDX-License-Identifier: MIT
//  heap - what is due first, among elements that know their place.
//
//  A binary heap of nodes that live inside their elements; each node holds its index, so an element
//  moves or leaves in O(log n).  Equal times come out by `order`: the same inputs give the same
//  sequence.  The heap owns nothing but its slots, and looks at no clock.

#ifndef TALLY_HEAP_H
#define TALLY_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t place;    // index + 1; 0: in no heap
} tally_heap_node_t;

typedef struct {
    int64_t due;
    uint64_t order;
    tally_heap_node_t *node;
} tally_heap_slot_t;

//  Zero-initialise.
typedef struct {
    tally_heap_slot_t *slots;
    size_t count, room;
} tally_heap_t;

void tally_heap_free(tally_heap_t *self);
//  Inserts the node, or moves it when it is in already.
void tally_heap_put(tally_heap_t *self, tally_heap_node_t *node, int64_t due, uint64_t order);
//  Nothing happens when it is not in.
void tally_heap_remove(tally_heap_t *self, tally_heap_node_t *node);
tally_heap_node_t *tally_heap_first(const tally_heap_t *self);    // NULL when empty
int64_t tally_heap_due(const tally_heap_t *self);    // of the first; INT64_MAX when empty
//  Takes out the first when it is due at now_ms (the edge belongs to "due"), else NULL.
tally_heap_node_t *tally_heap_take_due(tally_heap_t *self, int64_t now_ms);
void tally_heap_check(const tally_heap_t *self);    // asserts order and places

static inline bool
tally_heap_holds(const tally_heap_node_t *node)
{
    return node->place != 0;
}

#endif
