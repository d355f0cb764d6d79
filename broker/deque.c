// SPDX-License-Identifier: MIT
//  deque - see deque.h.

#include "broker/deque.h"

#include <stdlib.h>

#include "lib/alloc.h"

//  Blocks are not zeroed: an entry is written before it is read.
static tally_block_t *
new_block(void)
{
    return tally_realloc(NULL, sizeof(tally_block_t));
}

//  The first block, its entries to be filled from the middle: both ends have room.
static void
start(tally_deque_t *self)
{
    tally_block_t *block = new_block();
    block->next = block->prev = NULL;
    self->first = self->last = block;
    self->head = self->tail = TALLY_BLOCK_ENTRIES / 2;
}

void
tally_deque_push(tally_deque_t *self, const tally_entry_t *entry)
{
    if (self->first == NULL) {
        start(self);
    } else if (self->tail == TALLY_BLOCK_ENTRIES) {
        tally_block_t *block = new_block();
        block->next = NULL;
        block->prev = self->last;
        self->last->next = block;
        self->last = block;
        self->tail = 0;
    }
    self->last->entries[self->tail++] = *entry;
    self->count++;
}

void
tally_deque_push_front(tally_deque_t *self, const tally_entry_t *entry)
{
    if (self->first == NULL) {
        start(self);
    } else if (self->head == 0) {
        tally_block_t *block = new_block();
        block->prev = NULL;
        block->next = self->first;
        self->first->prev = block;
        self->first = block;
        self->head = TALLY_BLOCK_ENTRIES;
    }
    self->first->entries[--self->head] = *entry;
    self->count++;
}

void
tally_deque_pop(tally_deque_t *self, tally_entry_t *entry)
{
    assert(self->count > 0);
    *entry = self->first->entries[self->head++];
    self->count--;
    if (self->count == 0) {
        assert(self->first == self->last);
        free(self->first);
        *self = (tally_deque_t){0};
    } else if (self->head == TALLY_BLOCK_ENTRIES) {
        tally_block_t *next = self->first->next;
        free(self->first);
        next->prev = NULL;
        self->first = next;
        self->head = 0;
    }
}

const tally_entry_t *
tally_deque_each(const tally_deque_t *self, tally_deque_walk_t *walk)
{
    if (walk->block == NULL) {
        walk->block = self->first;
        walk->at = self->head;
    } else if (walk->at == TALLY_BLOCK_ENTRIES) {
        walk->block = walk->block->next;
        walk->at = 0;
    }
    if (walk->block == NULL || (walk->block == self->last && walk->at == self->tail)) {
        return NULL;
    }
    return &walk->block->entries[walk->at++];
}
