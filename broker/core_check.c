// SPDX-License-Identifier: MIT
//  core_check - every invariant that can be seen by looking.  For tests and the simulator: it walks
//  everything there is, and counts it again from scratch.

#include <stdlib.h>

#include "broker/core_state.h"
#include "lib/alloc.h"

//  What a stream, a tenant and the cache should say, counted again.
typedef struct {
    uint64_t ready, held, delayed, waiting, leased, messages, bytes;
    uint32_t open, leases;
} count_t;

typedef struct {
    const tally_core_t *core;
    count_t *streams;          // in the order of all_streams
    tally_table_t indexes;     // stream -> its index + 1
    tally_table_t messages;    // id -> seen
    tally_table_t chunks;      // address -> how many bodies of it wait
    tally_table_t keys;        // address -> heads << 32 | references
    size_t cached_bytes;
} check_t;

static count_t *
count_of(const check_t *check, const tally_stream_t *stream)
{
    uintptr_t index = (uintptr_t)tally_table_find(&check->indexes, stream->number);
    assert(index > 0);
    return &check->streams[index - 1];
}

static void
see_body(check_t *check, const tally_entry_t *entry)
{
    if (entry->chunk == NULL) {
        return;
    }
    uint64_t address = (uint64_t)(uintptr_t)entry->chunk;
    uintptr_t seen = (uintptr_t)tally_table_take(&check->chunks, address);
    check->cached_bytes += seen == 0 ? entry->chunk->size : 0;
    tally_table_put(&check->chunks, address, (void *)(seen + 1));
    assert(entry->offset + entry->bytes <= entry->chunk->size);
}

//  Every message passes here once, wherever it is; a second time asserts.
static void
see_message(check_t *check, const tally_stream_t *stream, const tally_entry_t *entry)
{
    assert(entry->id > 0);
    assert(entry->id < check->core->next_id);
    tally_table_put(&check->messages, entry->id, check);
    count_t *count = count_of(check, stream);
    count->messages++;
    count->bytes += entry->bytes;
    see_body(check, entry);
    const tally_cold_t *cold = tally_stream_cold(stream, entry);
    if (cold != NULL) {
        assert(cold->used);
        assert(cold->stream == stream);
        count->open += cold->opens;
    }
}

static void
check_deque(check_t *check, const tally_stream_t *stream, const tally_deque_t *deque, bool ready)
{
    size_t count = 0;
    tally_deque_walk_t walk = {0};
    const tally_entry_t *entry;
    while ((entry = tally_deque_each(deque, &walk)) != NULL) {
        count++;
        see_message(check, stream, entry);
        const tally_cold_t *cold = tally_stream_cold(stream, entry);
        assert(cold == NULL || cold->place == TALLY_COLD_ELSEWHERE);
        assert(cold == NULL || cold->key == NULL || cold->heads == ready);
    }
    assert(count == deque->count);
}

static void
check_deques(check_t *check, const tally_stream_t *stream)
{
    count_t *count = count_of(check, stream);
    for (unsigned level = 0; level < TALLY_PRIORITY_LEVELS; level++) {
        check_deque(check, stream, &stream->ready[level], true);
        assert((stream->levels >> level & 1) == (stream->ready[level].count > 0));
        count->ready += stream->ready[level].count;
    }
    check_deque(check, stream, &stream->held, false);
    count->held = stream->held.count;
    assert(tally_heap_holds(&stream->window) == (stream->held.count > 0));
}

//  ---- cold records and keys ---------------------------------------------------------------------

static void
see_key(check_t *check, const tally_cold_t *cold)
{
    if (cold->key != NULL) {
        uint64_t address = (uint64_t)(uintptr_t)cold->key;
        uintptr_t seen = (uintptr_t)tally_table_take(&check->keys, address);
        seen += ((uintptr_t)cold->heads << 32) + 1;
        tally_table_put(&check->keys, address, (void *)seen);
    }
}

static void
check_cold(check_t *check)
{
    const tally_shelf_t *shelf = &check->core->shelf;
    size_t used = 0;
    for (uint32_t number = 1; number <= shelf->made; number++) {
        const tally_cold_t *cold = tally_shelf_cold(shelf, number);
        assert(tally_heap_holds(&cold->due) == (cold->used && cold->place == TALLY_COLD_DELAYED));
        if (!cold->used) {
            continue;
        }
        used++;
        see_key(check, cold);
        if (cold->place != TALLY_COLD_ELSEWHERE) {
            assert(cold->entry.cold == number);
            see_message(check, cold->stream, &cold->entry);
            count_t *count = count_of(check, cold->stream);
            count->delayed += cold->place == TALLY_COLD_DELAYED;
            count->waiting += cold->place == TALLY_COLD_BEHIND;
        }
        assert(cold->place != TALLY_COLD_BEHIND || !cold->heads);
        assert(!cold->heads || cold->key != NULL);
    }
    assert(used == shelf->cold_count);
}

static void
check_key(const check_t *check, const tally_key_t *key)
{
    const tally_shelf_t *shelf = &check->core->shelf;
    uint32_t waiting = 0;
    uint32_t last = 0;
    for (uint32_t number = key->first; number != 0;) {
        const tally_cold_t *cold = tally_shelf_cold(shelf, number);
        assert(cold->key == key);
        assert(cold->place == TALLY_COLD_BEHIND);
        waiting++;
        last = number;
        number = cold->next;
    }
    assert(last == key->last);
    assert(waiting == key->waiting);
    uintptr_t seen = (uintptr_t)tally_table_find(&check->keys, (uint64_t)(uintptr_t)key);
    assert((uint32_t)seen == key->references);
    assert(seen >> 32 == key->heads);
    assert(key->heads > 0 || waiting == 0);    // or nobody would ever wake them
}

//  ---- leases and workers ------------------------------------------------------------------------

static void
check_leased(check_t *check, const tally_lease_t *lease)
{
    uint32_t pending = 0;
    uint32_t open = 0;
    uint32_t held = 0;
    for (uint32_t i = 0; i < lease->size; i++) {
        const tally_leased_t *leased = &lease->messages[i];
        assert(i == 0 || lease->messages[i - 1].entry.id < leased->entry.id);
        assert(leased->entry.chunk == NULL);
        assert(!leased->still);
        if (leased->end == TALLY_END_OVER) {
            continue;
        }
        see_message(check, lease->stream, &leased->entry);
        const tally_cold_t *cold = tally_stream_cold(lease->stream, &leased->entry);
        assert(cold == NULL || cold->place == TALLY_COLD_ELSEWHERE);
        assert(cold == NULL || cold->key == NULL || cold->heads);
        pending++;
        open += leased->end == TALLY_END_OPEN || leased->end == TALLY_END_NOTED;
        held += leased->end == TALLY_END_OPEN;
    }
    assert(pending == lease->pending);
    assert(open == lease->open);
    assert(held == lease->held);
}

static void
check_leases(check_t *check)
{
    size_t at = 0;
    for (tally_lease_t *lease; (lease = tally_table_each(&check->core->leases, &at)) != NULL;) {
        check_leased(check, lease);
        count_t *count = count_of(check, lease->stream);
        count->leased += lease->pending;
        count->leases++;
        bool watched = lease->live && (lease->open > 0 || lease->retry_ms > 0);
        assert(tally_heap_holds(&lease->due) == watched);
        assert(lease->left == NULL);
        bool in_hand = lease->open > 0 || tally_link_in(&lease->touched)
                       || tally_link_in(&lease->ending) || lease->retry_ms > 0;
        assert(in_hand);    // or nothing would ever end it
        assert((lease->worker != NULL) == tally_link_in(&lease->of_worker));
    }
}

static void
check_worker(const tally_core_t *core, const tally_crew_worker_t *worker)
{
    uint64_t outstanding = 0;
    uint32_t at_work = 0;
    for (const tally_link_t *link = tally_list_first(&worker->leases); link != NULL;
         link = tally_list_next(&worker->leases, link)) {
        const tally_lease_t *lease = TALLY_OF(link, tally_lease_t, of_worker);
        assert(lease->worker == worker);
        outstanding += lease->held;
        at_work += lease->held > 0;
    }
    assert(at_work == worker->at_work);
    assert(!worker->joined || worker->has_room == tally_crew_has_room(worker));
    assert(outstanding == worker->outstanding);
    assert(!worker->joined || outstanding <= worker->allowed);
    assert(tally_heap_holds(&worker->silence) == (worker->joined || !core->loading));
    assert(!worker->isolated || worker->leases.count == 1);
    const tally_stream_t *stream = worker->reserved_for;
    assert(stream == NULL || stream->reserved->worker == worker);
    assert(tally_link_in(&worker->at_rest) == (stream != NULL && worker->leases.count == 0));
    for (uint8_t i = 0; i < worker->member_count; i++) {
        const tally_member_t *member = &worker->members[i];
        assert(tally_link_in(&member->hungry) == tally_member_hungry(member));
        assert(tally_heap_holds(&member->candidate) == !worker->draining);
    }
    for (const tally_link_t *link = tally_list_first(&worker->terms); link != NULL;
         link = tally_list_next(&worker->terms, link)) {
        const tally_stream_t *held = TALLY_OF(link, tally_stream_t, term.of_worker);
        assert(held->term.holder != NULL);
        assert(held->term.holder->worker == worker);
        assert(held->term.worker == worker->number);
    }
}

static void
check_crew(const tally_core_t *core)
{
    size_t at = 0;
    size_t joined = 0;
    for (tally_crew_worker_t *worker;
         (worker = tally_table_each(&core->crew.by_number, &at)) != NULL;) {
        check_worker(core, worker);
        joined += worker->joined;
        assert(!worker->joined || core->crew.joined.items[worker->index] == worker);
    }
    assert(joined == core->crew.joined.count);
}

//  ---- sums --------------------------------------------------------------------------------------

static void
check_stream(const tally_stream_t *stream, const count_t *count)
{
    assert(stream->stats.ready == count->ready);
    assert(stream->stats.held == count->held);
    assert(stream->stats.delayed == count->delayed);
    assert(stream->stats.waiting == count->waiting);
    assert(stream->stats.leased == count->leased);
    assert(stream->stats.bytes == count->bytes);
    assert(stream->open == count->open);
    assert(stream->leases == count->leases);
    assert(stream->reserved == NULL || stream->reserved->worker->reserved_for == stream);
    const tally_list_t *home = tally_queue_home((tally_stream_t *)stream);
    //  A tenant at its limit is found out when its stream's turn comes.
    assert(stream->home == home || (home == &stream->tenant->blocked && stream->home != NULL));
    assert((stream->home != NULL) == tally_link_in(&stream->at_home));
    assert((stream->term.holder != NULL) == tally_link_in(&stream->term.of_worker));
}

static void
check_queues(const check_t *check)
{
    for (size_t i = 0; i < check->core->queues.all.count; i++) {
        const tally_queue_t *queue = check->core->queues.all.items[i];
        uint64_t ready = 0;
        for (size_t j = 0; j < queue->streams.count; j++) {
            ready += queue->streams.items[j]->stats.ready;
        }
        assert(ready == queue->ready);
        assert(tally_link_in(&queue->at_work) == tally_queue_works(queue));
        tally_heap_check(&queue->candidates);
    }
}

static void
check_tenants(const check_t *check)
{
    for (size_t i = 0; i < check->core->tenants.all.count; i++) {
        const tally_tenant_t *tenant = check->core->tenants.all.items[i];
        uint64_t messages = 0;
        uint64_t bytes = 0;
        uint64_t leased = 0;
        for (size_t j = 0; j < tenant->streams.count; j++) {
            const count_t *count = count_of(check, tenant->streams.items[j]);
            messages += count->messages;
            bytes += count->bytes;
            leased += count->leased;
        }
        assert(messages == tenant->messages);
        assert(bytes == tenant->bytes);
        assert(leased == tenant->leased);
    }
}

//  Accepted, not decided yet; and how many sends of each sender are not confirmed.
static void
check_ticks(check_t *check)
{
    const tally_core_t *core = check->core;
    size_t unconfirmed = 0;
    for (int i = 0; i < 2; i++) {
        const tally_tick_t *tick = &core->ticks[i];
        bool over = tick == core->out && core->committed;
        for (size_t j = 0; j < tick->undecided.count && !over; j++) {
            see_message(check, tick->undecided.items[j].stream, &tick->undecided.items[j].entry);
        }
        unconfirmed += over ? 0 : tick->plan->confirms.count;
        assert(tick->senders.count == tick->plan->confirms.count);
    }
    size_t at = 0;
    tally_sender_t *sender;
    while ((sender = tally_table_each(&core->senders.by_id.table, &at)) != NULL) {
        assert(unconfirmed >= sender->unconfirmed);
        unconfirmed -= sender->unconfirmed;
    }
    assert(unconfirmed == 0);
}

static void
check_cache(const check_t *check)
{
    const tally_shelf_t *shelf = &check->core->shelf;
    assert(check->cached_bytes == shelf->cached_bytes);
    assert(shelf->cached_bytes <= shelf->cached_bytes_max);
}

static void
check_heaps(const tally_core_t *core)
{
    tally_heap_check(&core->deadlines);
    tally_heap_check(&core->windows);
    tally_heap_check(&core->retries);
    tally_heap_check(&core->crew.silence);
    tally_heap_check(&core->shelf.due);
}

void
tally_core_check(const tally_core_t *self)
{
    check_t check = {.core = self};
    check.streams = tally_alloc_array(self->all_streams.count, sizeof *check.streams);
    for (size_t i = 0; i < self->all_streams.count; i++) {
        tally_table_put(&check.indexes, self->all_streams.items[i]->number, (void *)(i + 1));
    }
    check_heaps(self);
    for (size_t i = 0; i < self->all_streams.count; i++) {
        check_deques(&check, self->all_streams.items[i]);
    }
    check_cold(&check);
    size_t at = 0;
    for (void *key; (key = tally_table_each(&self->shelf.keys.table, &at)) != NULL;) {
        check_key(&check, key);
    }
    check_leases(&check);
    check_crew(self);
    check_ticks(&check);
    for (size_t i = 0; i < self->all_streams.count; i++) {
        check_stream(self->all_streams.items[i], &check.streams[i]);
    }
    check_queues(&check);
    check_tenants(&check);
    check_cache(&check);
    free(check.streams);
    tally_table_free(&check.indexes);
    tally_table_free(&check.messages);
    tally_table_free(&check.chunks);
    tally_table_free(&check.keys);
}
