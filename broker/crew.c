// SPDX-License-Identifier: MIT
//  crew - see crew.h.

#include "broker/crew.h"

#include <stdlib.h>

#include "broker/queue.h"
#include "lib/alloc.h"

#define PACE_WEIGHT 8          // of what was known, against one more lease
#define PACE_US_FIRST 10000    // of a worker of which nothing is known: ten leases to begin with

void
tally_crew_init(tally_crew_t *self)
{
    *self = (tally_crew_t){0};
    tally_list_init(&self->rested);
}

void
tally_crew_free(tally_crew_t *self)
{
    size_t at = 0;
    for (void *worker; (worker = tally_table_each(&self->by_number, &at)) != NULL;) {
        free(worker);
    }
    tally_table_free(&self->by_number);
    tally_heap_free(&self->silence);
    free(self->joined.items);
}

//  What it could be leased changed.  The queue behind the one that it served last comes first.
static void
place_members(tally_crew_worker_t *worker)
{
    for (uint8_t i = 0; i < worker->member_count; i++) {
        tally_member_place(&worker->members[(worker->turn + i) % worker->member_count]);
    }
}

tally_crew_worker_t *
tally_crew_find(const tally_crew_t *self, uint64_t number)
{
    tally_crew_worker_t *worker = tally_table_find(&self->by_number, number);
    return worker != NULL && worker->joined ? worker : NULL;
}

tally_crew_worker_t *
tally_crew_expect(tally_crew_t *self, uint64_t number)
{
    tally_crew_worker_t *worker = tally_table_find(&self->by_number, number);
    if (worker == NULL) {
        worker = tally_alloc(sizeof *worker);
        worker->number = number;
        worker->rested = &self->rested;
        tally_list_init(&worker->leases);
        tally_list_init(&worker->terms);
        tally_table_put(&self->by_number, number, worker);
    }
    return worker;
}

tally_crew_worker_t *
tally_crew_join(tally_crew_t *self, uint64_t number, const tally_hello_t *hello,
                tally_queue_t *const *queues, uint8_t queue_count, int64_t now_ms)
{
    tally_crew_worker_t *worker = tally_crew_expect(self, number);
    assert(!worker->joined);
    assert(hello->name.size <= TALLY_NAME_BYTES_MAX);
    assert(queue_count <= TALLY_WORKER_QUEUES_MAX);
    memcpy(worker->name, hello->name.data, hello->name.size);
    worker->joined = true;
    worker->credit = hello->credit;
    worker->allowed = worker->outstanding > hello->credit ? worker->outstanding : hello->credit;
    worker->pace_us = PACE_US_FIRST;
    worker->has_room = tally_crew_has_room(worker);
    worker->index = self->joined.count;
    *TALLY_PUSH(&self->joined) = worker;
    worker->member_count = queue_count;
    for (uint8_t i = 0; i < queue_count; i++) {
        tally_member_t *member = &worker->members[i];
        member->worker = worker;
        member->queue = queues[i];
        tally_list_init(&member->rota);
        tally_list_append(&queues[i]->members, &member->of_queue);
    }
    tally_crew_beat(self, worker, now_ms);
    tally_crew_weigh(worker);
    place_members(worker);
    return worker;
}

void
tally_crew_beat(tally_crew_t *self, tally_crew_worker_t *worker, int64_t now_ms)
{
    worker->beat_ms = now_ms;
    tally_heap_put(&self->silence, &worker->silence,
                   now_ms + TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX, worker->number);
}

void
tally_crew_await(tally_crew_t *self, tally_crew_worker_t *worker, int64_t until_ms)
{
    assert(!worker->joined);
    tally_heap_put(&self->silence, &worker->silence, until_ms, worker->number);
}

tally_crew_worker_t *
tally_crew_find_awaited(const tally_crew_t *self, uint64_t number)
{
    tally_crew_worker_t *worker = tally_table_find(&self->by_number, number);
    return worker != NULL && !worker->joined ? worker : NULL;
}

//  Streams of which it has the term may want another holder.
static void
replace_terms(tally_crew_worker_t *worker)
{
    tally_link_t *next;
    for (tally_link_t *link = tally_list_first(&worker->terms); link != NULL; link = next) {
        next = tally_list_next(&worker->terms, link);
        tally_queue_place(TALLY_OF(link, tally_stream_t, term.of_worker));
    }
}

void
tally_crew_drain(tally_crew_worker_t *worker)
{
    worker->draining = true;
    tally_crew_weigh(worker);
    tally_crew_unreserve(worker);
    place_members(worker);
    replace_terms(worker);
}

void
tally_crew_remove(tally_crew_t *self, tally_crew_worker_t *worker)
{
    assert(worker->leases.count == 0);
    worker->draining = true;    // nothing may choose it while it is taken apart
    tally_crew_weigh(worker);
    tally_crew_unreserve(worker);
    for (tally_link_t *link; (link = tally_list_first(&worker->terms)) != NULL;) {
        tally_term_vacate(TALLY_OF(link, tally_stream_t, term.of_worker));
    }
    for (uint8_t i = 0; i < worker->member_count; i++) {
        tally_member_t *member = &worker->members[i];
        tally_member_place(member);
        assert(member->rota.count == 0);
        tally_list_remove(&member->queue->members, &member->of_queue);
    }
    if (worker->joined) {
        tally_crew_worker_t *last = self->joined.items[--self->joined.count];
        self->joined.items[worker->index] = last;
        last->index = worker->index;
    }
    tally_heap_remove(&self->silence, &worker->silence);
    void *taken = tally_table_take(&self->by_number, worker->number);
    assert(taken == worker);
    free(taken);
}

//  ---- credit ------------------------------------------------------------------------------------

uint32_t
tally_crew_free_credit(const tally_crew_worker_t *worker)
{
    return worker->outstanding < worker->credit ? worker->credit - worker->outstanding : 0;
}

bool
tally_crew_has_room(const tally_crew_worker_t *worker)
{
    bool busy = worker->at_work >= TALLY_AHEAD_LEASES_MIN
                && worker->at_work * worker->pace_us >= TALLY_AHEAD_MS * 1000;
    return !busy && tally_crew_free_credit(worker) > 0;
}

//  What it has, or its pace, changed: when that makes room, or takes it, its queues hear of it.
static void
look_for_room(tally_crew_worker_t *worker)
{
    bool has_room = tally_crew_has_room(worker);
    if (worker->has_room != has_room) {
        worker->has_room = has_room;
        place_members(worker);
    }
}

void
tally_crew_serve(tally_member_t *member)
{
    tally_crew_worker_t *worker = member->worker;
    worker->turn = (uint8_t)((member - worker->members + 1) % worker->member_count);
}

void
tally_crew_take(tally_crew_worker_t *worker, uint32_t messages)
{
    worker->outstanding += messages;
    worker->at_work += messages > 0;
    look_for_room(worker);
}

void
tally_crew_give(tally_crew_worker_t *worker, uint32_t messages, bool over)
{
    assert(worker->outstanding >= messages);
    worker->outstanding -= messages;
    if (over && messages > 0) {
        assert(worker->at_work > 0);
        worker->at_work--;
    }
    look_for_room(worker);
}

//  A moving average.  It works on one lease after the other, so what it ended before does not count for this one.
void
tally_crew_pace(tally_crew_worker_t *worker, int64_t began_ms, int64_t now_ms)
{
    int64_t from_ms = began_ms > worker->turned_ms ? began_ms : worker->turned_ms;
    worker->turned_ms = now_ms;
    worker->pace_us += ((now_ms - from_ms) * 1000 - worker->pace_us) / PACE_WEIGHT;
    look_for_room(worker);
}

//  ---- suspects ----------------------------------------------------------------------------------

void
tally_crew_reserve(tally_member_t *member, tally_stream_t *stream)
{
    tally_crew_worker_t *worker = member->worker;
    assert(worker->reserved_for == NULL);
    assert(stream->reserved == NULL);
    assert(worker->leases.count > 0);
    worker->reserved_for = stream;
    stream->reserved = member;
    place_members(worker);
    tally_queue_place(stream);
}

void
tally_crew_unreserve(tally_crew_worker_t *worker)
{
    tally_stream_t *stream = worker->reserved_for;
    if (stream == NULL) {
        return;
    }
    worker->reserved_for = NULL;
    stream->reserved = NULL;
    if (tally_link_in(&worker->at_rest)) {
        tally_list_remove(worker->rested, &worker->at_rest);
    }
    tally_queue_place(stream);
    place_members(worker);
}

void
tally_crew_isolate(tally_crew_worker_t *worker)
{
    assert(worker->leases.count == 1);
    worker->isolated = true;
    place_members(worker);
}

void
tally_crew_rest(tally_crew_worker_t *worker)
{
    assert(worker->leases.count == 0);
    worker->isolated = false;
    if (worker->reserved_for != NULL) {
        tally_list_append(worker->rested, &worker->at_rest);
    }
    place_members(worker);
}

//  ---- members -----------------------------------------------------------------------------------

void
tally_crew_weigh(tally_crew_worker_t *worker)
{
    int64_t terms = (int64_t)worker->terms.count + worker->electing;
    for (uint8_t i = 0; i < worker->member_count; i++) {
        tally_member_t *member = &worker->members[i];
        if (worker->draining) {
            tally_heap_remove(&member->queue->candidates, &member->candidate);
        } else {
            tally_heap_put(&member->queue->candidates, &member->candidate, terms, worker->number);
        }
        tally_queue_wake(member->queue);
    }
}

tally_member_t *
tally_crew_member(tally_crew_worker_t *worker, const tally_queue_t *queue)
{
    for (uint8_t i = 0; i < worker->member_count; i++) {
        if (worker->members[i].queue == queue) {
            return &worker->members[i];
        }
    }
    return NULL;
}

//  Suspects were promised to somebody who is still busy, and here is one that holds nothing.
static void
take_promised(tally_member_t *member)
{
    tally_link_t *link = tally_list_first(&member->queue->promised);
    if (link != NULL && member->worker->leases.count == 0 && !member->queue->row.exclusive) {
        tally_crew_unreserve(TALLY_OF(link, tally_stream_t, at_home)->reserved->worker);
    }
}

bool
tally_member_hungry(const tally_member_t *member)
{
    const tally_crew_worker_t *worker = member->worker;
    bool takes_more = !worker->draining && !worker->isolated && worker->reserved_for == NULL;
    return takes_more && tally_crew_has_room(worker)
           && (!member->queue->row.exclusive || member->rota.count > 0);
}

void
tally_member_place(tally_member_t *member)
{
    tally_queue_t *queue = member->queue;
    bool hungry = tally_member_hungry(member);
    if (hungry && !tally_link_in(&member->hungry)) {
        tally_list_append(&queue->hungry, &member->hungry);
    } else if (!hungry && tally_link_in(&member->hungry)) {
        tally_list_remove(&queue->hungry, &member->hungry);
    }
    tally_queue_wake(queue);
    if (hungry) {
        take_promised(member);
    }
}
