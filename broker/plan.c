// SPDX-License-Identifier: MIT
//  plan - see plan.h.

#include "broker/plan.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define ROOM_FIRST 16

void
tally_array_grow(void **items_p, size_t count, size_t *room, size_t item_bytes)
{
    assert(count <= *room);
    if (count == *room) {
        *room = *room == 0 ? ROOM_FIRST : *room * 2;
        *items_p = tally_realloc_array(*items_p, *room, item_bytes);
    }
    memset((char *)*items_p + count * item_bytes, 0, item_bytes);
}

tally_plan_t *
tally_plan_new(void)
{
    return tally_alloc(sizeof(tally_plan_t));
}

// clang-format off
//  Every array of a plan, so that none is forgotten in one place and not in another.
#define FOR_EACH_STORED(X, self)                                                                   \
    X((self)->tenants) X((self)->messages) X((self)->senders) X((self)->settled) X((self)->ends)   \
    X((self)->checks) X((self)->terms) X((self)->results) X((self)->leases) X((self)->ids)         \
    X((self)->extended) X((self)->extended_ms) X((self)->fetches) X((self)->queues)                \
    X((self)->tenant_limits) X((self)->retried) X((self)->dropped)
#define FOR_EACH_TOLD(X, self)                                                                     \
    X((self)->sent_ids) X((self)->confirms) X((self)->items) X((self)->notices)                    \
    X((self)->answers) X((self)->events)
// clang-format on

#define FREE(array) free((array).items);
#define CLEAR(array) (array).count = 0;
#define COUNT(array) count += (array).count;

void
tally_plan_destroy(tally_plan_t **self_p)
{
    tally_plan_t *self = *self_p;
    *self_p = NULL;
    if (self == NULL) {
        return;
    }
    tally_plan_clear(self);
    FOR_EACH_STORED(FREE, self)
    FOR_EACH_TOLD(FREE, self)
    FREE(self->chunks)
    FREE(self->missing)
    free(self);
}

void
tally_plan_clear(tally_plan_t *self)
{
    FOR_EACH_STORED(CLEAR, self)
    FOR_EACH_TOLD(CLEAR, self)
    CLEAR(self->missing)
    for (size_t i = 0; i < self->chunks.count; i++) {
        tally_chunk_drop(&self->chunks.items[i]);
    }
    CLEAR(self->chunks)
    self->number = 0;
    self->inbox_max = 0;
    self->inbox_id = 0;
    self->housekeep = false;
    self->body_bytes = 0;
}

bool
tally_plan_silent(const tally_plan_t *self)
{
    size_t count = 0;
    FOR_EACH_STORED(COUNT, self)
    return count == 0 && self->inbox_max == 0 && !self->housekeep;
}

bool
tally_plan_empty(const tally_plan_t *self)
{
    size_t count = 0;
    FOR_EACH_TOLD(COUNT, self)
    return count == 0 && tally_plan_silent(self);
}
