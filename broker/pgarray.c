// SPDX-License-Identifier: MIT
//  pgarray - see pgarray.h.

#include "broker/pgarray.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

#include "lib/alloc.h"

static uint8_t *
reserve(tally_pgarray_t *self, size_t bytes)
{
    if (self->room - self->size < bytes) {
        size_t room = self->room == 0 ? 1024 : self->room * 2;
        while (room - self->size < bytes) {
            room *= 2;
        }
        self->data = tally_realloc(self->data, room);
        self->room = room;
    }
    uint8_t *at = self->data + self->size;
    self->size += bytes;
    return at;
}

static void
put4(uint8_t *at, uint32_t value)
{
    uint32_t big = htobe32(value);
    memcpy(at, &big, sizeof big);
}

static void
put8(uint8_t *at, uint64_t value)
{
    uint64_t big = htobe64(value);
    memcpy(at, &big, sizeof big);
}

void
tally_pgarray_free(tally_pgarray_t *self)
{
    free(self->data);
    *self = (tally_pgarray_t){0};
}

void
tally_pgarray_start(tally_pgarray_t *self, uint32_t type, size_t count)
{
    assert(count <= INT32_MAX);
    self->size = 0;
    uint8_t *at = reserve(self, count == 0 ? 12 : 20);
    put4(at, count == 0 ? 0 : 1);    // dimensions
    put4(at + 4, 1);                 // may have nulls
    put4(at + 8, type);
    if (count > 0) {
        put4(at + 12, (uint32_t)count);
        put4(at + 16, 1);    // lower bound
    }
}

void
tally_pgarray_int4(tally_pgarray_t *self, int32_t value)
{
    uint8_t *at = reserve(self, 8);
    put4(at, 4);
    put4(at + 4, (uint32_t)value);
}

void
tally_pgarray_int8(tally_pgarray_t *self, int64_t value)
{
    uint8_t *at = reserve(self, 12);
    put4(at, 8);
    put8(at + 4, (uint64_t)value);
}

void
tally_pgarray_bool(tally_pgarray_t *self, bool value)
{
    uint8_t *at = reserve(self, 5);
    put4(at, 1);
    at[4] = value;
}

void
tally_pgarray_bytes(tally_pgarray_t *self, tally_bytes_t value)
{
    assert(value.size <= INT32_MAX);
    uint8_t *at = reserve(self, 4 + value.size);
    put4(at, (uint32_t)value.size);
    if (value.size > 0) {
        memcpy(at + 4, value.data, value.size);
    }
}

void
tally_pgarray_null(tally_pgarray_t *self)
{
    put4(reserve(self, 4), UINT32_MAX);
}

void
tally_pgarray_one_int8(tally_pgarray_t *self, int64_t value)
{
    self->size = 0;
    put8(reserve(self, 8), (uint64_t)value);
}

void
tally_pgarray_one_bytes(tally_pgarray_t *self, tally_bytes_t value)
{
    self->size = 0;
    uint8_t *at = reserve(self, value.size == 0 ? 1 : value.size);    // none at all would be a null
    if (value.size > 0) {
        memcpy(at, value.data, value.size);
    }
    self->size = value.size;
}
