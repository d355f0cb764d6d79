// SPDX-License-Identifier: MIT
//  lease - see lease.h.

#include "broker/lease.h"

#include <stdlib.h>

#include "lib/alloc.h"

static int
compare_ids(const void *a, const void *b)
{
    uint64_t left = ((const tally_leased_t *)a)->entry.id;
    uint64_t right = ((const tally_leased_t *)b)->entry.id;
    return (left > right) - (left < right);
}

tally_lease_t *
tally_lease_new(uint64_t id, tally_stream_t *stream, tally_crew_worker_t *worker,
                const tally_entry_t *entries, size_t count)
{
    assert(count <= TALLY_BATCH_MESSAGES_MAX);
    tally_lease_t *self = tally_alloc(sizeof *self + count * sizeof self->messages[0]);
    self->id = id;
    self->stream = stream;
    self->crashes = true;
    self->size = self->pending = self->open = self->held = (uint32_t)count;
    bool sorted = true;
    for (size_t i = 0; i < count; i++) {
        assert(entries[i].chunk == NULL);
        self->messages[i].entry = entries[i];
        sorted = sorted && (i == 0 || entries[i - 1].id < entries[i].id);
    }
    if (!sorted) {
        qsort(self->messages, count, sizeof self->messages[0], compare_ids);
    }
    if (worker != NULL) {
        self->worker = worker;
        self->worker_number = worker->number;
        tally_list_append(&worker->leases, &self->of_worker);
        tally_crew_take(worker, self->held);
    }
    stream->leases++;
    tally_stream_lease(stream, self->size);
    return self;
}

static void
leave_worker(tally_lease_t *self)
{
    tally_crew_worker_t *worker = self->worker;
    self->worker = NULL;
    tally_list_remove(&worker->leases, &self->of_worker);
    if (worker->leases.count == 0) {
        tally_crew_rest(worker);
    }
}

void
tally_lease_destroy(tally_lease_t **self_p)
{
    tally_lease_t *self = *self_p;
    *self_p = NULL;
    if (self == NULL) {
        return;
    }
    assert(!tally_link_in(&self->touched));
    assert(!tally_link_in(&self->ending));
    for (uint32_t i = 0; i < self->size; i++) {
        if (self->messages[i].want != NULL) {
            tally_chunk_drop(&self->messages[i].want->chunk);
            free(self->messages[i].want);
        }
    }
    if (self->worker != NULL) {
        leave_worker(self);
    }
    self->stream->leases--;
    free(self);
}

tally_leased_t *
tally_lease_find(tally_lease_t *self, uint64_t message)
{
    uint32_t at = self->hint;
    if (at >= self->size || self->messages[at].entry.id != message) {
        uint32_t low = 0;
        uint32_t high = self->size;
        while (low < high) {
            uint32_t middle = low + (high - low) / 2;
            if (self->messages[middle].entry.id < message) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        at = low;
    }
    if (at >= self->size || self->messages[at].entry.id != message) {
        return NULL;
    }
    self->hint = at + 1;
    return self->messages[at].end == TALLY_END_OVER ? NULL : &self->messages[at];
}

void
tally_lease_give(tally_lease_t *self, uint32_t messages)
{
    assert(self->held >= messages);
    self->held -= messages;
    if (self->worker != NULL) {
        tally_crew_give(self->worker, messages, self->held == 0);
    }
}

void
tally_lease_orphan(tally_lease_t *self)
{
    assert(self->worker != NULL);
    tally_crew_give(self->worker, self->held, true);
    leave_worker(self);
}
