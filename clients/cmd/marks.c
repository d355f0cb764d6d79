// SPDX-License-Identifier: MIT
//  marks - see marks.h.

#include "clients/cmd/marks.h"

#include "lib/alloc.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#define WORD_BITS 64
#define CHUNK_WORDS 16384
#define CHUNK_BITS ((uint64_t)CHUNK_WORDS * WORD_BITS)
#define CHUNKS (TALLY_MARKS_MAX / CHUNK_BITS)

typedef _Atomic uint64_t word_t;

struct tally_marks {
    word_t *_Atomic chunks[CHUNKS];    // owned; NULL until one of it is marked
};

tally_marks_t *
tally_marks_new(void)
{
    return tally_alloc(sizeof(tally_marks_t));
}

void
tally_marks_destroy(tally_marks_t **self_p)
{
    assert(self_p != NULL);
    tally_marks_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < CHUNKS; i++) {
        free(atomic_load(&self->chunks[i]));
    }
    free(self);
    *self_p = NULL;
}

//  Of two threads that come first to a chunk, one gives its own back.
static word_t *
require_chunk(tally_marks_t *self, size_t index)
{
    word_t *chunk = atomic_load_explicit(&self->chunks[index], memory_order_acquire);
    if (chunk != NULL) {
        return chunk;
    }
    word_t *made = tally_alloc_array(CHUNK_WORDS, sizeof *made);
    if (atomic_compare_exchange_strong(&self->chunks[index], &chunk, made)) {
        return made;
    }
    free(made);
    return chunk;
}

bool
tally_marks_add(tally_marks_t *self, uint64_t number)
{
    assert(number < TALLY_MARKS_MAX);
    word_t *chunk = require_chunk(self, number / CHUNK_BITS);
    uint64_t bit = (uint64_t)1 << (number % WORD_BITS);
    word_t *word = &chunk[number % CHUNK_BITS / WORD_BITS];
    return (atomic_fetch_or_explicit(word, bit, memory_order_relaxed) & bit) == 0;
}

uint64_t
tally_marks_missing(const tally_marks_t *self, const tally_marks_t *others)
{
    uint64_t missing = 0;
    for (size_t i = 0; i < CHUNKS; i++) {
        const word_t *mine = atomic_load(&self->chunks[i]);
        const word_t *theirs = atomic_load(&others->chunks[i]);
        for (size_t k = 0; mine != NULL && k < CHUNK_WORDS; k++) {
            uint64_t there = theirs != NULL ? atomic_load(&theirs[k]) : 0;
            missing += (uint64_t)__builtin_popcountll(atomic_load(&mine[k]) & ~there);
        }
    }
    return missing;
}
