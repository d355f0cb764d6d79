// SPDX-License-Identifier: MIT
//  leasing - messages go to workers.
//
//  Queues with something to do take turns, a lease or a round of elections each.  Within a queue
//  its hungry workers take turns, and its tenants by rota.  What is planned here becomes a lease
//  when the plan is committed; until then records that name it are stale.

#include <stdlib.h>

#include "broker/core_state.h"
#include "broker/planted.h"
#include "broker/rota.h"

#define IDLE_LOOKED_AT_MAX 16    // members, to find one that holds nothing
#define ITEM_BYTES 32            // of a message in a delivery, beside key and body, about

//  A lease being put together.
typedef struct {
    tally_core_t *core;
    tally_stream_t *stream;
    tally_plan_t *plan;
    uint32_t messages_max;
    uint32_t count;
    bool suspects;    // of messages that crashed before, and only of such
    size_t bytes;
    bool plan_full;    // it could have been longer, but for the plan's bounds
    tally_entry_t entries[TALLY_BATCH_MESSAGES_MAX];
} packing_t;

static uint32_t
least(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

//  It was in a lease that crashed.
static bool
is_suspect(const tally_cold_t *cold)
{
    return cold != NULL && cold->batch_max > 0;
}

//  A message sent in the plan that is being collected: its body is there.
static const tally_plan_message_t *
find_planned(const tally_plan_t *plan, uint64_t id)
{
    size_t low = 0;
    size_t high = plan->messages.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (plan->messages.items[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < plan->messages.count && plan->messages.items[low].id == id;
    return found ? &plan->messages.items[low] : NULL;
}

//  Where the body of a message comes from.  False when it must be fetched.
static bool
body_at_hand(const packing_t *packing, const tally_entry_t *entry, const tally_cold_t *cold,
             tally_bytes_t *body)
{
    *body = (tally_bytes_t){0};
    if (entry->bytes == 0 || (cold != NULL && cold->is_blob)) {
        return true;
    }
    if (entry->chunk != NULL) {
        *body = (tally_bytes_t){entry->chunk->data + entry->offset, entry->bytes};
        return true;
    }
    const tally_plan_message_t *planned = find_planned(packing->plan, entry->id);
    if (planned != NULL) {
        *body = planned->body;
    }
    return planned != NULL;
}

static uint16_t
clamp_u16(int32_t value)
{
    return value > UINT16_MAX ? UINT16_MAX : (uint16_t)value;
}

static void
plan_item(packing_t *packing, const tally_entry_t *entry, const tally_cold_t *cold,
          tally_bytes_t body)
{
    tally_plan_item_t *item = TALLY_PUSH(&packing->plan->items);
    *TALLY_PUSH(&packing->plan->ids) = entry->id;
    item->id = entry->id;
    item->deliveries = 1;
    item->body = body;
    if (cold != NULL) {
        item->deliveries = clamp_u16(cold->deliveries + 1);
        item->failures = clamp_u16(cold->failures);
        item->crashes = clamp_u16(cold->crashes);
        item->options = (uint8_t)((cold->key != NULL ? TALLY_HAS_KEY : 0)
                                  | (cold->asked ? TALLY_WANTS_RESULT : 0)
                                  | (cold->is_blob ? TALLY_AS_BLOB : 0));
        item->key = cold->key != NULL ? tally_key_bytes(cold->key) : (tally_bytes_t){0};
    }
}

//  Asks PostgreSQL for a body; false when the plan has enough of that.
static bool
plan_fetch(packing_t *packing, const tally_entry_t *entry)
{
    tally_tick_t *tick = packing->core->collecting;
    if (tick->fetched_bytes > 0 && tick->fetched_bytes + entry->bytes > TALLY_PLAN_BYTES_MAX) {
        return false;
    }
    tick->fetched_bytes += entry->bytes;
    *TALLY_PUSH(&packing->plan->fetches) = (tally_plan_fetch_t){
        .tenant = packing->stream->tenant->row.id,
        .message = entry->id,
    };
    tally_table_put(&tick->fetched, entry->id, (void *)(uintptr_t)(packing->plan->items.count + 1));
    return true;
}

//  Adds the stream's next message; false when the lease must end before it.
static bool
pack_next(packing_t *packing)
{
    const tally_entry_t *next = tally_stream_peek(packing->stream);
    if (next == NULL || packing->count >= packing->messages_max) {
        return false;
    }
    const tally_cold_t *cold = tally_stream_cold(packing->stream, next);
    size_t bytes = ITEM_BYTES + (cold != NULL && cold->is_blob ? 0 : next->bytes);
    bool suspect = is_suspect(cold);
    if (packing->count > 0 && suspect != packing->suspects) {
        return false;
    }
    packing->suspects = suspect;
    if (suspect) {
        packing->messages_max = least(packing->messages_max, (uint64_t)cold->batch_max);
        if (packing->count >= packing->messages_max) {
            return false;
        }
    }
    bytes += cold != NULL && cold->key != NULL ? cold->key->size : 0;
    if (packing->count > 0 && packing->bytes + bytes > TALLY_DELIVERY_BYTES_MAX) {
        return false;
    }
    tally_bytes_t body;
    if (!body_at_hand(packing, next, cold, &body) && !plan_fetch(packing, next)) {
        packing->plan_full = true;
        return false;
    }
    plan_item(packing, next, cold, body);
    tally_entry_t *entry = &packing->entries[packing->count++];
    tally_stream_pop(packing->stream, entry);
    tally_chunk_t *chunk = tally_shelf_uncache(packing->stream->shelf, entry);
    if (chunk != NULL) {
        tally_core_keep(packing->plan, chunk);
        tally_chunk_drop(&chunk);
    }
    packing->bytes += bytes;
    return true;
}

//  How many messages one lease of this stream for this worker may have.
static uint32_t
lease_max(const tally_stream_t *stream, const tally_member_t *member, const tally_plan_t *plan)
{
    const tally_queue_t *queue = stream->queue;
    const tally_tenant_t *tenant = stream->tenant;
    uint32_t max = least(tally_crew_free_credit(member->worker), (uint64_t)queue->row.batch_max);
    max = least(max, TALLY_BATCH_MESSAGES_MAX);
    max = least(max, (uint64_t)tenant->row.leased_max - tenant->leased);
    if (!queue->row.exclusive) {
        max = least(max, queue->share);
    }
    return least(max, TALLY_PLAN_MESSAGES_MAX - plan->ids.count);
}

//  False when the plan takes no more.
static bool
lease_one(tally_core_t *self, tally_stream_t *stream, tally_member_t *member)
{
    tally_plan_t *plan = tally_core_plan(self);
    packing_t packing TALLY_BARE;
    packing.core = self;
    packing.stream = stream;
    packing.plan = plan;
    packing.messages_max = lease_max(stream, member, plan);
    packing.count = 0;
    packing.suspects = false;
    packing.bytes = 0;
    packing.plan_full = false;
    assert(packing.messages_max > 0);
    size_t first = plan->ids.count;
    while (pack_next(&packing)) {
    }
    if (packing.count == 0) {
        return !packing.plan_full;    // or all that was ready waits behind its key now
    }
    uint64_t id = tally_core_take_id(self);
    tally_lease_t *lease = tally_lease_new(id, stream, member->worker, packing.entries,
                                           packing.count);
    tally_table_put(&self->leases, id, lease);
    *TALLY_PUSH(&self->collecting->leases) = lease;
    *TALLY_PUSH(&plan->leases) = (tally_plan_lease_t){
        .id = id,
        .tenant = stream->tenant->row.id,
        .queue = stream->queue->row.id,
        .worker = member->worker->number,
        .visible_ms = (uint32_t)stream->queue->row.visibility_ms,
        .first = first,
        .count = packing.count,
        .epoch = stream->queue->row.exclusive ? stream->term.epoch - TALLY_PLANTED(EPOCH_BEFORE)
                                              : 0,
    };
    if (packing.suspects) {
        tally_crew_isolate(member->worker);
    }
    stream->stats.delivered += packing.count;
    tally_rota_charge(stream, packing.count);
    tally_queue_place(stream);    // the tenant's limit may be reached
    return !packing.plan_full;
}

//  What each hungry worker should get of what is ready, so that none sits idle while another has it
//  all.
static void
set_share(tally_core_t *self, tally_queue_t *queue)
{
    if (queue->share_tick == self->seals && queue->share > 0) {
        return;
    }
    queue->share_tick = self->seals;
    uint64_t share = (queue->ready + queue->hungry.count - 1) / queue->hungry.count;
    queue->share = least(share == 0 ? 1 : share, UINT32_MAX);
}

static bool
suspects_next(tally_stream_t *stream)
{
    const tally_entry_t *next = tally_stream_peek(stream);
    return next != NULL && is_suspect(tally_stream_cold(stream, next));
}

//  Among the first few hungry members the one whose worker holds least, and so rests soonest; of an exclusive queue
//  there is but the holder.
static tally_member_t *
find_idlest(const tally_queue_t *queue, tally_member_t *member)
{
    const tally_link_t *link = queue->row.exclusive ? NULL : tally_list_first(&queue->hungry);
    for (int looked = 0; link != NULL && looked < IDLE_LOOKED_AT_MAX; looked++) {
        tally_member_t *other = TALLY_OF(link, tally_member_t, hungry);
        if (other->worker->leases.count == 0) {
            return other;
        }
        if (other->worker->outstanding < member->worker->outstanding) {
            member = other;
        }
        link = tally_list_next(&queue->hungry, link);
    }
    return member;
}

//  One lease of a queue.  False when the plan takes no more.
static bool
serve(tally_core_t *self, tally_queue_t *queue)
{
    tally_link_t *link = tally_list_first(&queue->hungry);
    if (link == NULL) {
        return true;
    }
    tally_member_t *member = TALLY_OF(link, tally_member_t, hungry);
    tally_stream_t *stream = tally_rota_next(queue->row.exclusive ? &member->rota : &queue->rota);
    if (stream == NULL) {
        return true;
    }
    if (stream->tenant->leased >= (uint64_t)stream->tenant->row.leased_max) {
        tally_queue_place(stream);    // reached through another stream
        return true;
    }
    set_share(self, queue);
    tally_list_rotate(&queue->hungry);
    tally_crew_serve(member);
    if (member->worker->leases.count > 0 && suspects_next(stream)) {
        member = find_idlest(queue, member);
        if (member->worker->leases.count > 0) {
            tally_crew_reserve(member, stream);
            return true;
        }
    }
    return lease_one(self, stream, member);
}

//  Workers that were reserved hold nothing any more.  False when the plan takes no more.
static bool
serve_rested(tally_core_t *self)
{
    tally_link_t *link;
    while ((link = tally_list_first(&self->crew.rested)) != NULL
           && tally_core_plan(self)->ids.count < TALLY_PLAN_MESSAGES_MAX) {
        tally_crew_worker_t *worker = TALLY_OF(link, tally_crew_worker_t, at_rest);
        tally_stream_t *stream = worker->reserved_for;
        tally_member_t *member = stream->reserved;
        tally_crew_unreserve(worker);
        const tally_list_t *rota = stream->queue->row.exclusive ? &member->rota
                                                                : &stream->queue->rota;
        if (stream->home != rota || !tally_link_in(&member->hungry)) {
            continue;    // things have changed meanwhile
        }
        set_share(self, stream->queue);
        if (!lease_one(self, stream, member)) {
            return false;
        }
    }
    return true;
}

static void
elect(tally_core_t *self, tally_queue_t *queue)
{
    tally_plan_t *plan = tally_core_plan(self);
    while (queue->unelected.count > 0 && queue->candidates.count > 0
           && plan->terms.count < TALLY_PLAN_MESSAGES_MAX) {
        tally_stream_t *stream = TALLY_OF(tally_list_first(&queue->unelected), tally_stream_t,
                                          at_home);
        tally_heap_node_t *node = tally_heap_first(&queue->candidates);
        tally_term_elect(stream, TALLY_OF(node, tally_member_t, candidate), plan);
        *TALLY_PUSH(&self->collecting->elections) = stream;
    }
}

void
tally_core_hand_out(tally_core_t *self)
{
    if (!serve_rested(self)) {
        return;
    }
    tally_plan_t *plan = tally_core_plan(self);
    tally_link_t *link;
    while ((link = tally_list_first(&self->work)) != NULL
           && plan->ids.count < TALLY_PLAN_MESSAGES_MAX
           && plan->terms.count < TALLY_PLAN_MESSAGES_MAX) {
        tally_queue_t *queue = TALLY_OF(link, tally_queue_t, at_work);
        tally_list_rotate(&self->work);
        elect(self, queue);
        if (!serve(self, queue)) {
            return;
        }
    }
}

//  ---- after the commit --------------------------------------------------------------------------

//  Messages whose body was not found are not in the database any more: somebody took them out by
//  hand.
static void
forget_missing(tally_core_t *self, tally_tick_t *tick)
{
    for (size_t i = 0; i < tick->plan->leases.count && tick->fetched.count > 0; i++) {
        const tally_plan_lease_t *planned = &tick->plan->leases.items[i];
        tally_lease_t *lease = tick->leases.items[i];
        for (size_t at = planned->first; at < planned->first + planned->count; at++) {
            tally_plan_item_t *item = &tick->plan->items.items[at];
            if (tally_table_take(&tick->fetched, item->id) != NULL) {
                tally_core_forget(self, lease, item->id);
                item->id = 0;
            }
        }
    }
}

static void
fill_bodies(tally_tick_t *tick, const tally_tick_result_t *result)
{
    for (size_t i = 0; i < result->fetched_count; i++) {
        const struct tally_fetched *fetched = &result->fetched[i];
        size_t at = (size_t)(uintptr_t)tally_table_take(&tick->fetched, fetched->message);
        if (at > 0) {
            tick->plan->items.items[at - 1].body = fetched->body;
        }
    }
}

void
tally_core_start_leases(tally_core_t *self, tally_tick_t *tick, const tally_tick_result_t *result,
                        int64_t now_ms)
{
    if (tick->fetched.count > 0) {
        fill_bodies(tick, result);
    }
    for (size_t i = 0; i < tick->leases.count; i++) {
        tally_lease_t *lease = tick->leases.items[i];
        lease->live = true;
        lease->began_ms = now_ms;
        lease->deadline_ms = lease->worker == NULL
                                 ? now_ms
                                 : now_ms + lease->stream->queue->row.visibility_ms;
        tally_core_watch(self, lease);
    }
    if (tick->fetched.count > 0) {
        forget_missing(self, tick);
    }
}
