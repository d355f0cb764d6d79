// SPDX-License-Identifier: MIT
//  caller - see caller.h.

#include "broker/caller.h"

#include <assert.h>
#include <sodium.h>

#include "broker/table.h"
#include "lib/alloc.h"

#define ASKS_MAX                                                                                   \
    10000    // results one caller may wait for; of older ones it hears when it asks again

typedef struct {
    tally_caller_t caller;    // first: a caller's address is its slot's
    size_t index;             // in `all`
} slot_t;

struct tally_callers {
    tally_table_t by_route;    // route + 1 -> slot
    tally_names_t by_sender;
    slot_t **all;
    size_t count, room;
};

static bool
sender_is(const void *value, uint64_t group, tally_bytes_t bytes)
{
    (void)group;
    return memcmp(((const slot_t *)value)->caller.sender, bytes.data, TALLY_SENDER_BYTES) == 0;
}

static tally_bytes_t
bytes_of_sender(const uint8_t *sender)
{
    return (tally_bytes_t){sender, TALLY_SENDER_BYTES};
}

tally_callers_t *
tally_callers_new(void)
{
    tally_callers_t *self = tally_alloc(sizeof *self);
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    tally_names_init(&self->by_sender, seed, sender_is);
    return self;
}

void
tally_callers_destroy(tally_callers_t **self_p)
{
    tally_callers_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    while (self->count > 0) {
        tally_callers_remove(self, self->all[self->count - 1]->caller.route);
    }
    tally_table_free(&self->by_route);
    tally_names_free(&self->by_sender);
    free(self->all);
    free(self);
    *self_p = NULL;
}

size_t
tally_callers_count(const tally_callers_t *self)
{
    return self->count;
}

static void
add(tally_callers_t *self, slot_t *slot)
{
    if (self->count == self->room) {
        self->room = self->room == 0 ? 64 : self->room * 2;
        self->all = tally_realloc_array(self->all, self->room, sizeof *self->all);
    }
    slot->index = self->count;
    self->all[self->count++] = slot;
}

tally_caller_t *
tally_callers_require(tally_callers_t *self, uint64_t route,
                      const uint8_t sender[TALLY_SENDER_BYTES], int64_t now_ms)
{
    tally_caller_t *before = tally_callers_find_sender(self, sender);
    if (before != NULL && before->route == route) {
        before->heard_ms = now_ms;
        return before;
    }
    slot_t *slot = tally_alloc(sizeof *slot);
    if (before != NULL) {    // the same sender by another way: it still waits for the same results
        slot->caller.asks = before->asks;
        slot->caller.ask_count = before->ask_count;
        slot->caller.ask_room = before->ask_room;
        before->asks = NULL;
        before->ask_count = 0;
        tally_callers_remove(self, before->route);
    }
    tally_callers_remove(self, route);
    slot->caller.route = route;
    slot->caller.heard_ms = now_ms;
    memcpy(slot->caller.sender, sender, TALLY_SENDER_BYTES);
    tally_table_put(&self->by_route, route + 1, slot);
    tally_names_put(&self->by_sender, 0, bytes_of_sender(sender), slot);
    add(self, slot);
    return &slot->caller;
}

tally_caller_t *
tally_callers_find(const tally_callers_t *self, uint64_t route)
{
    return tally_table_find(&self->by_route, route + 1);
}

tally_caller_t *
tally_callers_find_sender(const tally_callers_t *self, const uint8_t sender[TALLY_SENDER_BYTES])
{
    return tally_names_find(&self->by_sender, 0, bytes_of_sender(sender));
}

void
tally_callers_remove(tally_callers_t *self, uint64_t route)
{
    slot_t *slot = tally_table_take(&self->by_route, route + 1);
    if (slot == NULL) {
        return;
    }
    void *other = tally_names_take(&self->by_sender, 0, bytes_of_sender(slot->caller.sender));
    assert(other == slot);
    slot_t *last = self->all[--self->count];
    self->all[slot->index] = last;
    last->index = slot->index;
    if (slot->caller.counted != NULL) {
        --*slot->caller.counted;
    }
    free(slot->caller.asks);
    free(slot);
}

tally_caller_t *
tally_callers_surplus(const tally_callers_t *self)
{
    slot_t *oldest = NULL;
    for (size_t i = 0; self->count >= TALLY_CLIENTS_MAX && i < self->count; i++) {
        if (oldest == NULL || self->all[i]->caller.heard_ms < oldest->caller.heard_ms) {
            oldest = self->all[i];
        }
    }
    return oldest != NULL ? &oldest->caller : NULL;
}

tally_caller_t *
tally_callers_at(const tally_callers_t *self, size_t index)
{
    assert(index < self->count);
    return &self->all[index]->caller;
}

static bool
same(const tally_asker_t *a, const tally_asker_t *b)
{
    return a->sequence == b->sequence && a->item == b->item;
}

void
tally_caller_expect(tally_caller_t *self, const tally_asker_t *ask)
{
    for (size_t i = 0; i < self->ask_count; i++) {
        if (same(&self->asks[i], ask)) {
            return;
        }
    }
    if (self->ask_count >= ASKS_MAX) {
        return;
    }
    if (self->ask_count == self->ask_room) {
        self->ask_room = self->ask_room == 0 ? 4 : self->ask_room * 2;
        self->asks = tally_realloc_array(self->asks, self->ask_room, sizeof *self->asks);
    }
    self->asks[self->ask_count++] = *ask;
}

void
tally_caller_answered(tally_caller_t *self, const tally_asker_t *ask)
{
    for (size_t i = 0; i < self->ask_count; i++) {
        if (same(&self->asks[i], ask)) {
            self->asks[i] = self->asks[--self->ask_count];
            return;
        }
    }
}
