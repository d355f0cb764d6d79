// SPDX-License-Identifier: MIT
//  deque - waiting messages in order, a few cache lines each hundred, open at both ends.
//
//  A waiting message is an entry of 32 bytes; whatever not every message has (key, counters, who
//  asked...) is in a cold record (cold.h).  Entries stand in blocks, so millions cost little more
//  than their size and nothing is moved when the deque grows.  The deque does not own what its
//  entries point to.

#ifndef TALLY_DEQUE_H
#define TALLY_DEQUE_H

#include <assert.h>

#include "broker/chunk.h"

typedef struct {
    uint64_t id;
    tally_chunk_t *chunk;    // holds the body; NULL: not in memory, or there is none
    uint32_t offset;         // of the body in the chunk
    uint32_t bytes;          // of the body
    uint32_t cold;           // its cold record; 0: a plain message
    uint32_t priority : 2;
    uint32_t past_window : 1;    // does not wait for the window again
    uint32_t born : 29;          // when it was created, about: see tally_entry_born()
} tally_entry_t;

static_assert(sizeof(tally_entry_t) == 32, "a waiting message costs 32 bytes");

//  Seconds of the core's time, which may be negative (older than the machine's start), in 29 bits:
//  eight years.
#define TALLY_BORN_ZERO (1u << 28)
#define TALLY_BORN_MASK ((1u << 29) - 1)

static inline uint32_t
tally_entry_born(int64_t at_ms)
{
    return (uint32_t)(at_ms / 1000 + TALLY_BORN_ZERO) & TALLY_BORN_MASK;
}

static inline int64_t
tally_entry_born_ms(const tally_entry_t *entry)
{
    return ((int64_t)entry->born - TALLY_BORN_ZERO) * 1000;
}

#define TALLY_BLOCK_ENTRIES 62    // with its links, a block is 2 000 bytes

typedef struct tally_block {
    struct tally_block *next, *prev;
    tally_entry_t entries[TALLY_BLOCK_ENTRIES];
} tally_block_t;

//  Zero-initialise.  `head` is the index of the first entry in the first block, `tail` one behind
//  the last in the last.
typedef struct {
    tally_block_t *first, *last;
    uint32_t head, tail;
    size_t count;
} tally_deque_t;

void tally_deque_push(tally_deque_t *self, const tally_entry_t *entry);    // at the end
void tally_deque_push_front(tally_deque_t *self, const tally_entry_t *entry);
//  From the front; must not be empty.
void tally_deque_pop(tally_deque_t *self, tally_entry_t *entry);

//  Where a walk from the front is; zero-initialise.
typedef struct {
    const tally_block_t *block;
    uint32_t at;
} tally_deque_walk_t;

//  NULL at the end.
const tally_entry_t *tally_deque_each(const tally_deque_t *self, tally_deque_walk_t *walk);

//  The front; must not be empty.
static inline tally_entry_t *
tally_deque_peek(const tally_deque_t *self)
{
    assert(self->count > 0);
    return &self->first->entries[self->head];
}

#endif
