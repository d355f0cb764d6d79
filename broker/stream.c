// SPDX-License-Identifier: MIT
//  stream - see stream.h.

#include "broker/stream.h"

#include <stdlib.h>

#include "broker/planted.h"
#include "broker/queue.h"
#include "lib/alloc.h"

tally_stream_t *
tally_stream_new(tally_queue_t *queue, tally_tenant_t *tenant, tally_shelf_t *shelf,
                 tally_heap_t *windows)
{
    tally_stream_t *self = tally_alloc(sizeof *self);
    self->queue = queue;
    self->tenant = tenant;
    self->shelf = shelf;
    self->windows = windows;
    self->number = (uint64_t)queue->row.id << 32 | tenant->row.id;
    *TALLY_PUSH(&queue->streams) = self;
    *TALLY_PUSH(&tenant->streams) = self;
    return self;
}

static void
destroy_deque(tally_stream_t *self, tally_deque_t *deque)
{
    while (deque->count > 0) {
        tally_entry_t entry;
        tally_deque_pop(deque, &entry);
        tally_chunk_t *chunk = tally_shelf_uncache(self->shelf, &entry);
        tally_chunk_drop(&chunk);
    }
}

void
tally_stream_destroy(tally_stream_t **self_p)
{
    tally_stream_t *self = *self_p;
    *self_p = NULL;
    if (self == NULL) {
        return;
    }
    for (int level = 0; level < TALLY_PRIORITY_LEVELS; level++) {
        destroy_deque(self, &self->ready[level]);
    }
    destroy_deque(self, &self->held);
    tally_term_free(&self->term);
    free(self);
}

//  ---- ready -------------------------------------------------------------------------------------

typedef enum { AT_END, AT_FRONT } end_t;

static void
make_ready(tally_stream_t *self, const tally_entry_t *entry, end_t end)
{
    tally_deque_t *deque = &self->ready[entry->priority];
    if (end == AT_FRONT) {
        tally_deque_push_front(deque, entry);
    } else {
        tally_deque_push(deque, entry);
    }
    self->levels |= (uint8_t)(1u << entry->priority);
    self->queue->ready++;
    self->stats.ready++;
    if (self->stats.ready == 1) {
        tally_queue_place(self);
    }
}

//  Which level is served next: the highest, unless a lower one was passed over too often.
static unsigned
next_level(const tally_stream_t *self)
{
    assert(self->levels != 0);
    unsigned top = 31u - (unsigned)__builtin_clz(self->levels);
    for (unsigned level = top; level-- > 0;) {
        if (self->passed[level] >= TALLY_PASSED_MAX) {
            return level;
        }
    }
    return top;
}

static void
take(tally_stream_t *self, unsigned level, tally_entry_t *entry)
{
    tally_deque_pop(&self->ready[level], entry);
    if (self->ready[level].count == 0) {
        self->levels &= (uint8_t) ~(1u << level);
        self->passed[level] = 0;
    }
    self->queue->ready--;
    self->stats.ready--;
    if (self->stats.ready == 0) {
        tally_queue_place(self);
    }
}

//  A level is served: the lower ones were passed over.
static void
age_levels(tally_stream_t *self, unsigned served)
{
    unsigned others = self->levels & ~(1u << served);
    for (unsigned level = 0; others >> level != 0; level++) {
        bool lower = (self->levels >> level) > 1;
        if ((others >> level & 1) != 0 && lower && self->passed[level] < TALLY_PASSED_MAX
            && !TALLY_PLANTED(STARVED)) {
            self->passed[level]++;
        }
    }
    self->passed[served] = 0;
}

//  ---- keys --------------------------------------------------------------------------------------

static void
wait_behind(tally_stream_t *self, tally_cold_t *cold, const tally_entry_t *entry, end_t end)
{
    assert(!cold->heads);
    cold->entry = *entry;
    if (end == AT_FRONT) {
        tally_key_push_front(self->shelf, cold->key, entry->cold);
    } else {
        tally_key_push(self->shelf, cold->key, entry->cold);
    }
    self->stats.waiting++;
}

static void
head_key(tally_cold_t *cold)
{
    if (cold->key != NULL && !cold->heads) {
        cold->heads = true;
        cold->key->heads++;
    }
}

//  Past the window: ready, or behind the one of its key that is worked.  One that was worked before goes on heading
//  its key, also when another of its key was loaded first: see tally_stream_peek().
static void
enter(tally_stream_t *self, const tally_entry_t *entry, end_t end)
{
    tally_cold_t *cold = tally_stream_cold(self, entry);
    if (cold != NULL && cold->key != NULL && !cold->heads) {
        if (cold->key->heads > 0 && cold->deliveries == 0) {
            wait_behind(self, cold, entry, AT_END);
            return;
        }
        head_key(cold);
    }
    make_ready(self, entry, end);
}

//  The one that headed its key does not any more.
static void
unhead_key(tally_stream_t *self, tally_cold_t *cold)
{
    tally_key_t *key = cold->key;
    cold->heads = false;
    assert(key->heads > 0);
    key->heads--;
    uint32_t number = key->heads == 0 ? tally_key_pop(self->shelf, key) : 0;
    if (number != 0) {
        tally_cold_t *next = tally_shelf_cold(self->shelf, number);
        self->stats.waiting--;
        head_key(next);
        make_ready(self, &next->entry, AT_END);
    }
}

const tally_entry_t *
tally_stream_peek(tally_stream_t *self)
{
    while (self->stats.ready > 0) {
        unsigned level = next_level(self);
        const tally_entry_t *entry = tally_deque_peek(&self->ready[level]);
        tally_cold_t *cold = tally_stream_cold(self, entry);
        if (cold == NULL || cold->key == NULL || cold->key->heads == 1 || cold->deliveries > 0) {
            return entry;
        }
        //  After a restart two of a key can think that they head it: one that was worked already,
        //  and one of lower number that became due later.  The latter waits.
        assert(cold->key->heads > 1);
        tally_entry_t taken;
        take(self, level, &taken);    // its level was not served
        cold->heads = false;
        cold->key->heads--;
        wait_behind(self, cold, &taken, AT_FRONT);
    }
    return NULL;
}

void
tally_stream_pop(tally_stream_t *self, tally_entry_t *entry)
{
    unsigned level = next_level(self);
    age_levels(self, level);
    take(self, level, entry);
}

void
tally_stream_return(tally_stream_t *self, const tally_entry_t *entry)
{
    tally_cold_t *cold = TALLY_PLANTED(KEY_BEHIND) ? tally_stream_cold(self, entry) : NULL;
    if (cold != NULL && cold->heads) {
        unhead_key(self, cold);
        if (cold->key->heads > 0) {
            wait_behind(self, cold, entry, AT_END);
            return;
        }
    }
    enter(self, entry, AT_FRONT);
}

void
tally_stream_claim(tally_stream_t *self, const tally_entry_t *entry)
{
    tally_cold_t *cold = tally_stream_cold(self, entry);
    if (cold != NULL) {
        head_key(cold);
    }
}

//  ---- window ------------------------------------------------------------------------------------

static void
watch_window(tally_stream_t *self)
{
    const tally_queue_row_t *policy = &self->queue->row;
    bool full = policy->window_count > 0 && self->held.count >= (size_t)policy->window_count;
    if (self->held.count == 0) {
        tally_heap_remove(self->windows, &self->window);
    } else if (policy->window_ms == 0 || full) {
        tally_stream_release(self);
    } else {
        tally_heap_put(self->windows, &self->window, self->held_since_ms + policy->window_ms,
                       self->number);
    }
}

void
tally_stream_release(tally_stream_t *self)
{
    tally_heap_remove(self->windows, &self->window);
    while (self->held.count > 0) {
        tally_entry_t entry;
        tally_deque_pop(&self->held, &entry);
        self->stats.held--;
        enter(self, &entry, AT_END);
    }
}

void
tally_stream_adapt(tally_stream_t *self)
{
    watch_window(self);
    tally_queue_place(self);
}

//  A message that releases others does so from its due time to its end.
static void
open_window(tally_stream_t *self, tally_cold_t *cold)
{
    if (cold != NULL && cold->releases && !cold->opens) {
        cold->opens = true;
        self->open++;
        tally_stream_release(self);
    }
}

void
tally_stream_admit(tally_stream_t *self, const tally_entry_t *entry, int64_t since_ms)
{
    open_window(self, tally_stream_cold(self, entry));
    if (self->queue->row.window_ms == 0 || self->open > 0 || entry->past_window) {
        enter(self, entry, AT_END);
        return;
    }
    if (self->held.count == 0 && !(TALLY_PLANTED(WINDOW_AGAIN) && self->held_since_ms > 0)) {
        self->held_since_ms = since_ms;
    }
    tally_deque_push(&self->held, entry);
    self->stats.held++;
    if (self->held.count == 1 || self->queue->row.window_count > 0) {
        watch_window(self);
    }
}

//  ---- arrival, delay, end -----------------------------------------------------------------------

void
tally_stream_begin(tally_stream_t *self, const tally_entry_t *entry)
{
    self->stats.bytes += entry->bytes;
    self->tenant->bytes += entry->bytes;
    self->tenant->messages++;
}

void
tally_stream_end(tally_stream_t *self, tally_entry_t *entry)
{
    assert(self->tenant->messages > 0);
    self->stats.bytes -= entry->bytes;
    self->tenant->bytes -= entry->bytes;
    self->tenant->messages--;
    if (entry->chunk != NULL) {
        tally_chunk_t *chunk = tally_shelf_uncache(self->shelf, entry);
        tally_chunk_drop(&chunk);
    }
    tally_cold_t *cold = tally_stream_cold(self, entry);
    if (cold == NULL) {
        return;
    }
    if (cold->heads) {
        unhead_key(self, cold);
    }
    if (cold->key != NULL) {
        tally_key_drop(self->shelf, &cold->key);
    }
    if (cold->opens && !TALLY_PLANTED(WINDOW_OPEN)) {
        self->open--;
    }
    tally_shelf_unmake(self->shelf, &entry->cold);
}

void
tally_stream_delay(tally_stream_t *self, tally_entry_t *entry, int64_t due_ms)
{
    if (entry->cold == 0) {
        entry->cold = tally_shelf_make(self->shelf, self);
    }
    tally_cold_t *cold = tally_shelf_cold(self->shelf, entry->cold);
    assert(cold->place == TALLY_COLD_ELSEWHERE);
    if (cold->deliveries > 0) {
        head_key(cold);
        open_window(self, cold);
    }
    cold->entry = *entry;
    cold->place = TALLY_COLD_DELAYED;
    self->stats.delayed++;
    tally_heap_put(&self->shelf->due, &cold->due, due_ms, entry->id);
}

void
tally_stream_wake(tally_stream_t *self, tally_cold_t *cold, int64_t now_ms)
{
    assert(cold->place == TALLY_COLD_DELAYED);
    cold->place = TALLY_COLD_ELSEWHERE;
    self->stats.delayed--;
    tally_stream_admit(self, &cold->entry, now_ms);
}

//  ---- leased ------------------------------------------------------------------------------------

void
tally_stream_lease(tally_stream_t *self, uint32_t messages)
{
    self->stats.leased += messages;
    self->tenant->leased += messages;
}

void
tally_stream_unlease(tally_stream_t *self, uint32_t messages)
{
    assert(self->stats.leased >= messages);
    assert(self->tenant->leased >= messages);
    tally_tenant_t *tenant = self->tenant;
    self->stats.leased -= messages;
    tenant->leased -= messages;
    while (tenant->blocked.count > 0 && tenant->leased < (uint64_t)tenant->row.leased_max) {
        tally_link_t *link = tally_list_first(&tenant->blocked);
        tally_queue_place(TALLY_OF(link, tally_stream_t, at_home));
    }
}
