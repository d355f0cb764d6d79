// SPDX-License-Identifier: MIT
//  core_look - what the core tells of itself.  Nothing here changes anything.

#include <stdio.h>

#include "broker/core_state.h"

size_t
tally_core_queue_count(const tally_core_t *self)
{
    return self->queues.all.count;
}

//  New names may stand there twice; then there is a little less room for a moment.
static size_t
count_new_queues(const tally_core_t *self, const tally_tick_t *tick)
{
    size_t count = 0;
    for (size_t i = 0; tick != NULL && i < tick->plan->queues.count; i++) {
        const char *name = tick->plan->queues.items[i].name;
        count += tally_queues_find(&self->queues, tally_bytes_of(name)) == NULL;
    }
    return count;
}

size_t
tally_core_queue_count_planned(const tally_core_t *self)
{
    return count_new_queues(self, self->collecting) + count_new_queues(self, self->out);
}

const tally_queue_row_t *
tally_core_queue_at(const tally_core_t *self, size_t index)
{
    return index < self->queues.all.count ? &self->queues.all.items[index]->row : NULL;
}

const tally_queue_row_t *
tally_core_queue_find(const tally_core_t *self, tally_bytes_t name)
{
    const tally_queue_t *queue = tally_queues_find(&self->queues, name);
    return queue == NULL ? NULL : &queue->row;
}

const tally_queue_row_t *
tally_core_queue_by_id(const tally_core_t *self, uint32_t id)
{
    const tally_queue_t *queue = tally_queues_by_id(&self->queues, id);
    return queue == NULL ? NULL : &queue->row;
}

size_t
tally_core_tenant_count(const tally_core_t *self)
{
    return self->tenants.all.count;
}

const tally_tenant_row_t *
tally_core_tenant_at(const tally_core_t *self, size_t index)
{
    return index < self->tenants.all.count ? &self->tenants.all.items[index]->row : NULL;
}

const tally_tenant_row_t *
tally_core_tenant_find(const tally_core_t *self, tally_bytes_t name)
{
    const tally_tenant_t *tenant = tally_tenants_find(&self->tenants, name);
    return tenant == NULL ? NULL : &tenant->row;
}

const tally_tenant_row_t *
tally_core_tenant_by_id(const tally_core_t *self, uint32_t id)
{
    const tally_tenant_t *tenant = tally_tenants_by_id(&self->tenants, id);
    return tenant == NULL ? NULL : &tenant->row;
}

//  ---- counts ------------------------------------------------------------------------------------

static void
look_at_age(const tally_deque_t *deque, int64_t now_ms, int64_t *oldest_ms)
{
    if (deque->count > 0) {
        int64_t age_ms = now_ms - tally_entry_born_ms(tally_deque_peek(deque));
        *oldest_ms = age_ms > *oldest_ms ? age_ms : *oldest_ms;
    }
}

//  Of what waits for its turn or the window, at the fronts; what is leased or delayed is looked
//  after.
static int64_t
oldest_of(const tally_stream_t *stream, int64_t now_ms)
{
    int64_t oldest_ms = 0;
    for (int level = 0; level < TALLY_PRIORITY_LEVELS; level++) {
        look_at_age(&stream->ready[level], now_ms, &oldest_ms);
    }
    look_at_age(&stream->held, now_ms, &oldest_ms);
    return oldest_ms;
}

static void
add_stats(tally_stream_stats_t *sum, const tally_stream_t *stream, int64_t now_ms)
{
    const tally_stream_stats_t *one = &stream->stats;
    sum->ready += one->ready;
    sum->held += one->held;
    sum->delayed += one->delayed;
    sum->waiting += one->waiting;
    sum->leased += one->leased;
    sum->bytes += one->bytes;
    int64_t oldest_ms = oldest_of(stream, now_ms);
    sum->oldest_ms = oldest_ms > sum->oldest_ms ? oldest_ms : sum->oldest_ms;
    sum->sent += one->sent;
    sum->delivered += one->delivered;
    sum->settled += one->settled;
    sum->returned += one->returned;
    sum->expired += one->expired;
    sum->buried += one->buried;
    sum->duplicates += one->duplicates;
    sum->refused += one->refused;
    sum->stale += one->stale;
}

void
tally_core_stats(const tally_core_t *self, uint32_t queue_id, uint32_t tenant_id, int64_t now_ms,
                 tally_stream_stats_t *stats)
{
    *stats = (tally_stream_stats_t){0};
    const tally_queue_t *queue = tally_queues_by_id(&self->queues, queue_id);
    const tally_tenant_t *tenant = tally_tenants_by_id(&self->tenants, tenant_id);
    tally_stream_t **streams = self->all_streams.items;
    size_t count = self->all_streams.count;
    if (queue_id == 0 && tenant_id == 0) {
        stats->refused = self->refused;
        stats->stale = self->stale;
    } else if (queue_id != 0 && tenant_id != 0) {
        tally_stream_t *stream = tally_table_find(&self->streams,
                                                  (uint64_t)queue_id << 32 | tenant_id);
        if (stream != NULL) {
            add_stats(stats, stream, now_ms);
        }
        return;
    } else if (queue_id != 0) {
        streams = queue == NULL ? NULL : queue->streams.items;
        count = queue == NULL ? 0 : queue->streams.count;
    } else {
        streams = tenant == NULL ? NULL : tenant->streams.items;
        count = tenant == NULL ? 0 : tenant->streams.count;
    }
    for (size_t i = 0; i < count; i++) {
        add_stats(stats, streams[i], now_ms);
    }
}

size_t
tally_core_term_count(const tally_core_t *self)
{
    return self->terms.count;
}

bool
tally_core_term_at(const tally_core_t *self, size_t index, tally_term_row_t *row)
{
    if (index >= self->terms.count) {
        return false;
    }
    const tally_stream_t *stream = self->terms.items[index];
    *row = (tally_term_row_t){
        .queue = stream->queue->row.id,
        .tenant = stream->tenant->row.id,
        .epoch = stream->term.epoch,
        .worker = stream->term.worker,
    };
    snprintf(row->worker_name, sizeof row->worker_name, "%s", stream->term.worker_name);
    return true;
}

size_t
tally_core_entry_bytes(const tally_core_t *self)
{
    size_t messages = 0;
    for (size_t i = 0; i < self->tenants.all.count; i++) {
        messages += self->tenants.all.items[i]->messages;
    }
    return messages * sizeof(tally_entry_t)
           + self->shelf.blocks.count * TALLY_COLD_BLOCK * sizeof(tally_cold_t);
}

size_t
tally_core_memory_bytes(const tally_core_t *self)
{
    return self->shelf.cached_bytes;
}

uint64_t
tally_core_strays(const tally_core_t *self)
{
    return self->strays;
}

bool
tally_core_lease_holds(const tally_core_t *self, uint64_t id, uint64_t message, uint32_t *tenant)
{
    tally_lease_t *lease = tally_table_find(&self->leases, id);
    if (lease == NULL || !lease->live) {
        return false;
    }
    const tally_leased_t *leased = tally_lease_find(lease, message);
    *tenant = lease->stream->tenant->row.id;
    return leased != NULL && leased->end == TALLY_END_OPEN;
}

uint64_t
tally_core_lease_worker(const tally_core_t *self, uint64_t id)
{
    const tally_lease_t *lease = tally_table_find(&self->leases, id);
    return lease == NULL ? 0 : lease->worker_number;
}
