// SPDX-License-Identifier: MIT
//  heap - see heap.h.

#include "broker/heap.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define ROOM_FIRST 16

static bool
comes_before(const tally_heap_slot_t *a, const tally_heap_slot_t *b)
{
    return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void
set_slot(tally_heap_t *self, size_t at, tally_heap_slot_t slot)
{
    self->slots[at] = slot;
    slot.node->place = (uint32_t)(at + 1);
}

static void
sift_up(tally_heap_t *self, size_t at, tally_heap_slot_t slot)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!comes_before(&slot, &self->slots[parent])) {
            break;
        }
        set_slot(self, at, self->slots[parent]);
        at = parent;
    }
    set_slot(self, at, slot);
}

static void
sift_down(tally_heap_t *self, size_t at, tally_heap_slot_t slot)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= self->count) {
            break;
        }
        if (child + 1 < self->count && comes_before(&self->slots[child + 1], &self->slots[child])) {
            child++;
        }
        if (!comes_before(&self->slots[child], &slot)) {
            break;
        }
        set_slot(self, at, self->slots[child]);
        at = child;
    }
    set_slot(self, at, slot);
}

//  Puts a slot where another one stood.
static void
replace(tally_heap_t *self, size_t at, tally_heap_slot_t slot)
{
    if (at > 0 && comes_before(&slot, &self->slots[(at - 1) / 2])) {
        sift_up(self, at, slot);
    } else {
        sift_down(self, at, slot);
    }
}

void
tally_heap_free(tally_heap_t *self)
{
    free(self->slots);
    *self = (tally_heap_t){0};
}

void
tally_heap_put(tally_heap_t *self, tally_heap_node_t *node, int64_t due, uint64_t order)
{
    tally_heap_slot_t slot = {due, order, node};
    if (node->place != 0) {
        assert(node->place <= self->count);
        assert(self->slots[node->place - 1].node == node);
        replace(self, node->place - 1, slot);
        return;
    }
    if (self->count == self->room) {
        self->room = self->room == 0 ? ROOM_FIRST : self->room * 2;
        self->slots = tally_realloc_array(self->slots, self->room, sizeof *self->slots);
    }
    assert(self->count < UINT32_MAX - 1);
    self->count++;
    sift_up(self, self->count - 1, slot);
}

void
tally_heap_remove(tally_heap_t *self, tally_heap_node_t *node)
{
    if (node->place == 0) {
        return;
    }
    size_t at = node->place - 1;
    assert(at < self->count);
    assert(self->slots[at].node == node);
    node->place = 0;
    self->count--;
    if (at < self->count) {
        replace(self, at, self->slots[self->count]);
    }
}

tally_heap_node_t *
tally_heap_first(const tally_heap_t *self)
{
    return self->count == 0 ? NULL : self->slots[0].node;
}

int64_t
tally_heap_due(const tally_heap_t *self)
{
    return self->count == 0 ? INT64_MAX : self->slots[0].due;
}

tally_heap_node_t *
tally_heap_take_due(tally_heap_t *self, int64_t now_ms)
{
    if (self->count == 0 || self->slots[0].due > now_ms) {
        return NULL;
    }
    tally_heap_node_t *node = self->slots[0].node;
    tally_heap_remove(self, node);
    return node;
}

void
tally_heap_check(const tally_heap_t *self)
{
    for (size_t i = 0; i < self->count; i++) {
        assert(self->slots[i].node->place == i + 1);
        assert(i == 0 || !comes_before(&self->slots[i], &self->slots[(i - 1) / 2]));
    }
}
