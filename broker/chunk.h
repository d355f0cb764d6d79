// SPDX-License-Identifier: MIT
//  chunk - bytes that arrived in one frame, shared by all messages that were in it.
//
//  Counted references, one thread.  A body in memory is a tally_bytes_t into a chunk plus one reference.

#ifndef TALLY_CHUNK_H
#define TALLY_CHUNK_H

#include "lib/bytes.h"

typedef struct {
    uint32_t references;
    uint32_t
        waiting;    // of them, bodies of waiting messages: the core's cache counts a chunk once
    size_t size;
    uint8_t data[];
} tally_chunk_t;

//  A copy of the bytes with one reference, the caller's.
tally_chunk_t *tally_chunk_new(tally_bytes_t bytes);
tally_chunk_t *tally_chunk_hold(tally_chunk_t *self);    // one more reference; returns self
void tally_chunk_drop(tally_chunk_t **self_p);           // NULL is allowed

#endif
