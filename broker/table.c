// SPDX-License-Identifier: MIT
//  table - see table.h.

#include "broker/table.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define ROOM_FIRST 16

//  Where a key wants to be: Fibonacci hashing, the high bits are the well mixed ones.
static size_t
home_of(const tally_table_t *self, uint64_t key)
{
    return (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & (self->room - 1);
}

static void
insert(tally_table_t *self, uint64_t key, void *value)
{
    size_t at = home_of(self, key);
    while (self->slots[at].value != NULL) {
        at = (at + 1) & (self->room - 1);
    }
    self->slots[at] = (tally_table_slot_t){key, value};
}

static void
grow(tally_table_t *self)
{
    tally_table_slot_t *old = self->slots;
    size_t old_room = self->room;
    self->room = old_room == 0 ? ROOM_FIRST : old_room * 2;
    self->slots = tally_alloc_array(self->room, sizeof *self->slots);
    for (size_t i = 0; i < old_room; i++) {
        if (old[i].value != NULL) {
            insert(self, old[i].key, old[i].value);
        }
    }
    free(old);
}

//  Puts a value beside others of the same key, should there be some.
static void
add(tally_table_t *self, uint64_t key, void *value)
{
    assert(value != NULL);
    if (2 * (self->count + 1) > self->room) {
        grow(self);
    }
    insert(self, key, value);
    self->count++;
}

//  Frees a slot and moves up those behind it that would not be found any more.
static void
remove_at(tally_table_t *self, size_t at)
{
    size_t mask = self->room - 1;
    size_t next = at;
    for (;;) {
        next = (next + 1) & mask;
        if (self->slots[next].value == NULL) {
            break;
        }
        size_t home = home_of(self, self->slots[next].key);
        if (((next - home) & mask) >= ((next - at) & mask)) {
            self->slots[at] = self->slots[next];
            at = next;
        }
    }
    self->slots[at] = (tally_table_slot_t){0, NULL};
    self->count--;
}

//  The slot of a key, or of none (room).
static size_t
slot_of(const tally_table_t *self, uint64_t key)
{
    if (self->count == 0) {
        return self->room;
    }
    for (size_t at = home_of(self, key);; at = (at + 1) & (self->room - 1)) {
        if (self->slots[at].value == NULL) {
            return self->room;
        }
        if (self->slots[at].key == key) {
            return at;
        }
    }
}

void
tally_table_free(tally_table_t *self)
{
    free(self->slots);
    *self = (tally_table_t){0};
}

void *
tally_table_find(const tally_table_t *self, uint64_t key)
{
    size_t at = slot_of(self, key);
    return at == self->room ? NULL : self->slots[at].value;
}

void
tally_table_put(tally_table_t *self, uint64_t key, void *value)
{
    assert(slot_of(self, key) == self->room);
    add(self, key, value);
}

void *
tally_table_take(tally_table_t *self, uint64_t key)
{
    size_t at = slot_of(self, key);
    if (at == self->room) {
        return NULL;
    }
    void *value = self->slots[at].value;
    remove_at(self, at);
    return value;
}

void
tally_table_clear(tally_table_t *self)
{
    if (self->count > 0) {
        memset(self->slots, 0, self->room * sizeof *self->slots);
        self->count = 0;
    }
}

void *
tally_table_each(const tally_table_t *self, size_t *at)
{
    while (*at < self->room) {
        void *value = self->slots[(*at)++].value;
        if (value != NULL) {
            return value;
        }
    }
    return NULL;
}

//  ---- by bytes ----------------------------------------------------------------------------------

static uint64_t
hash(const tally_names_t *self, uint64_t group, tally_bytes_t bytes)
{
    uint8_t out[crypto_shorthash_BYTES];
    uint64_t number;
    static_assert(sizeof out == sizeof number, "SipHash-2-4 gives 64 bits");
    static_assert(TALLY_SEED_BYTES == crypto_shorthash_KEYBYTES, "and takes 128");
    const uint8_t none = 0;
    crypto_shorthash(out, bytes.size == 0 ? &none : bytes.data, bytes.size, self->seed);
    memcpy(&number, out, sizeof number);
    return number ^ (group * 0xd6e8feb86659fd93u);
}

static size_t
name_slot_of(const tally_names_t *self, uint64_t group, tally_bytes_t bytes)
{
    const tally_table_t *table = &self->table;
    if (table->count == 0) {
        return table->room;
    }
    uint64_t key = hash(self, group, bytes);
    for (size_t at = home_of(table, key);; at = (at + 1) & (table->room - 1)) {
        const tally_table_slot_t *slot = &table->slots[at];
        if (slot->value == NULL) {
            return table->room;
        }
        if (slot->key == key && self->is(slot->value, group, bytes)) {
            return at;
        }
    }
}

void
tally_names_init(tally_names_t *self, uint64_t seed,
                 bool (*is)(const void *value, uint64_t group, tally_bytes_t bytes))
{
    *self = (tally_names_t){.is = is};
    uint64_t other = ~seed * 0x9e3779b97f4a7c15u;
    memcpy(self->seed, &seed, sizeof seed);
    memcpy(self->seed + sizeof seed, &other, sizeof other);
}

void
tally_names_free(tally_names_t *self)
{
    tally_table_free(&self->table);
}

void *
tally_names_find(const tally_names_t *self, uint64_t group, tally_bytes_t bytes)
{
    size_t at = name_slot_of(self, group, bytes);
    return at == self->table.room ? NULL : self->table.slots[at].value;
}

void
tally_names_put(tally_names_t *self, uint64_t group, tally_bytes_t bytes, void *value)
{
    assert(tally_names_find(self, group, bytes) == NULL);
    add(&self->table, hash(self, group, bytes), value);
}

void *
tally_names_take(tally_names_t *self, uint64_t group, tally_bytes_t bytes)
{
    size_t at = name_slot_of(self, group, bytes);
    if (at == self->table.room) {
        return NULL;
    }
    void *value = self->table.slots[at].value;
    remove_at(&self->table, at);
    return value;
}
