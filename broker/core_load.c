// SPDX-License-Identifier: MIT
//  core_load - the core learns what the database holds: at start, and when policies change.

#include <stdlib.h>

#include "broker/core_state.h"

void
tally_core_load_queue(tally_core_t *self, const tally_queue_row_t *row)
{
    tally_queues_load(&self->queues, row, &self->work);
}

void
tally_core_load_tenant(tally_core_t *self, const tally_tenant_row_t *row)
{
    tally_tenants_load(&self->tenants, row);
}

//  The stream of a row; NULL when its queue or tenant is not known.
static tally_stream_t *
stream_of(tally_core_t *self, uint32_t queue_id, uint32_t tenant_id)
{
    tally_queue_t *queue = tally_queues_by_id(&self->queues, queue_id);
    tally_tenant_t *tenant = tally_tenants_by_id(&self->tenants, tenant_id);
    if (queue == NULL || tenant == NULL) {
        self->strays++;
        return NULL;
    }
    return tally_core_stream(self, queue, tenant);
}

void
tally_core_load_term(tally_core_t *self, const tally_term_row_t *row)
{
    assert(self->loading);
    tally_stream_t *stream = stream_of(self, row->queue, row->tenant);
    if (stream != NULL) {
        tally_term_load(&stream->term, row);
        *TALLY_PUSH(&self->terms) = stream;
    }
}

void
tally_core_load_lease(tally_core_t *self, const tally_lease_row_t *row, int64_t now_ms)
{
    assert(self->loading);
    tally_core_skip_id(self, row->id);
    tally_stream_t *stream = stream_of(self, row->queue, row->tenant);
    if (stream == NULL) {
        return;
    }
    //  What the messages are beyond their ids comes with their rows.
    assert(row->count <= TALLY_BATCH_MESSAGES_MAX);
    tally_entry_t entries[TALLY_BATCH_MESSAGES_MAX] TALLY_BARE;
    for (size_t i = 0; i < row->count; i++) {
        entries[i] = (tally_entry_t){.id = row->messages[i]};
    }
    tally_crew_worker_t *worker = tally_crew_expect(&self->crew, row->worker);
    tally_lease_t *lease = tally_lease_new(row->id, stream, worker, entries, row->count);
    tally_table_put(&self->leases, row->id, lease);
    for (size_t i = 0; i < row->count; i++) {
        tally_table_put(&self->loaded, row->messages[i], lease);
    }
    *TALLY_PUSH(&self->loaded_leases) = lease;
    lease->live = true;
    lease->began_ms = now_ms;
    lease->deadline_ms = now_ms + row->left_ms;
    tally_core_watch(self, lease);
}

void
tally_core_load_message(tally_core_t *self, const tally_message_row_t *row, int64_t now_ms)
{
    assert(self->loading);
    tally_core_skip_id(self, row->id);
    tally_core_arrive(self, row, now_ms);
}

void
tally_core_load_sender(tally_core_t *self, const tally_sender_row_t *row)
{
    tally_senders_load(&self->senders, row);
}

bool
tally_core_knows_sender(const tally_core_t *self, const uint8_t sender[TALLY_SENDER_BYTES])
{
    return tally_senders_find(&self->senders, sender) != NULL;
}

int64_t
tally_core_sender_last(const tally_core_t *self, const uint8_t sender[TALLY_SENDER_BYTES])
{
    const tally_sender_t *found = tally_senders_find(&self->senders, sender);
    return found == NULL ? 0 : found->last;
}

void
tally_core_forget_sender(tally_core_t *self, const uint8_t sender[TALLY_SENDER_BYTES])
{
    tally_senders_forget(&self->senders, sender);
}

//  A lease can be read before a worker's own transaction settles some of it, and the messages after
//  it.
static void
forget_settled(tally_core_t *self, tally_lease_t *lease)
{
    for (uint32_t i = 0; i < lease->size; i++) {
        const tally_entry_t *entry = &lease->messages[i].entry;
        if (tally_table_take(&self->loaded, entry->id) != NULL) {
            tally_stream_begin(lease->stream, entry);    // it never was counted as pending
            tally_core_forget(self, lease, entry->id);
        }
    }
    if (lease->pending == 0) {
        tally_core_touch(self, lease, INT64_MIN);    // nothing is left but its row
    }
}

//  Its worker belongs to the broker before us.  While its beats are heard it goes on until its
//  deadline; once they stop its messages are returned, and that is nobody's fault.
static void
keep(tally_core_t *self, tally_lease_t *lease, int64_t until_ms)
{
    if (!lease->worker->joined) {
        lease->crashes = false;
        tally_crew_await(&self->crew, lease->worker, until_ms);
    }
}

static void
find_holder(tally_core_t *self, tally_stream_t *stream)
{
    tally_crew_worker_t *worker = tally_crew_find(&self->crew, stream->term.worker);
    tally_member_t *member = worker == NULL ? NULL : tally_crew_member(worker, stream->queue);
    if (member != NULL) {
        tally_term_hold(stream, member);
    }
}

void
tally_core_loaded(tally_core_t *self, int64_t now_ms)
{
    assert(self->loading);
    for (size_t i = 0; i < self->loaded_leases.count; i++) {
        keep(self, self->loaded_leases.items[i], now_ms + TALLY_ORPHANS_MS);
        forget_settled(self, self->loaded_leases.items[i]);
    }
    assert(self->loaded.count == 0);
    tally_table_free(&self->loaded);
    free(self->loaded_leases.items);
    self->loaded_leases.items = NULL;
    self->loaded_leases.count = self->loaded_leases.room = 0;
    for (size_t i = 0; i < self->terms.count; i++) {
        find_holder(self, self->terms.items[i]);
    }
    self->loading = false;
}
