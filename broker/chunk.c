// SPDX-License-Identifier: MIT
//  chunk - see chunk.h.

#include "broker/chunk.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

tally_chunk_t *
tally_chunk_new(tally_bytes_t bytes)
{
    tally_chunk_t *self = tally_alloc(sizeof *self + bytes.size);
    self->references = 1;
    self->size = bytes.size;
    if (bytes.size > 0) {
        memcpy(self->data, bytes.data, bytes.size);
    }
    return self;
}

tally_chunk_t *
tally_chunk_hold(tally_chunk_t *self)
{
    assert(self->references > 0);
    self->references++;
    return self;
}

void
tally_chunk_drop(tally_chunk_t **self_p)
{
    tally_chunk_t *self = *self_p;
    *self_p = NULL;
    if (self == NULL) {
        return;
    }
    assert(self->references > 0);
    self->references--;
    if (self->references == 0) {
        assert(self->waiting == 0);
        free(self);
    }
}
