// SPDX-License-Identifier: MIT
//  core - see core.h; the facade: making one, and its ticks.

#include <stdlib.h>

#include "broker/core_state.h"
#include "broker/planted.h"
#include "lib/alloc.h"

#define SEQUENCE_BITS 40
#define INBOX_MAX_FIRST 64    // a look takes ids for so many rows; it grows while they come
#define INBOX_MAX 4096
#define WOKEN_MAX 65536    // delayed messages that one tick makes ready

static void
init_tick(tally_tick_t *tick)
{
    tick->plan = tally_plan_new();
    tally_list_init(&tick->ending);
}

tally_core_t *
tally_core_new(const tally_core_options_t *options)
{
    tally_core_t *self = tally_alloc(sizeof *self);
    self->epoch = options->epoch;
    self->next_id = options->first_id > 0 ? options->first_id : options->epoch << SEQUENCE_BITS | 1;
    self->tick_number = options->tick;
    self->random = options->seed;
    self->shared_messages = options->shared_messages;
    self->soon_ms = INT64_MAX;
    self->inbox_max = INBOX_MAX_FIRST;
    self->loading = true;
    tally_shelf_init(&self->shelf, options->body_cache_bytes_max, options->seed);
    tally_queues_init(&self->queues, options->seed);
    tally_tenants_init(&self->tenants, options->seed);
    tally_senders_init(&self->senders, options->seed);
    tally_crew_init(&self->crew);
    tally_list_init(&self->work);
    tally_list_init(&self->touched);
    init_tick(&self->ticks[0]);
    init_tick(&self->ticks[1]);
    self->collecting = &self->ticks[0];
    return self;
}

static void
free_tick(tally_core_t *self, tally_tick_t *tick)
{
    for (tally_link_t *link; (link = tally_list_first(&tick->ending)) != NULL;) {
        tally_list_remove(&tick->ending, link);
    }
    for (size_t i = 0; i < tick->undecided.count; i++) {
        tally_chunk_t *chunk = tally_shelf_uncache(&self->shelf, &tick->undecided.items[i].entry);
        tally_chunk_drop(&chunk);
    }
    free(tick->senders.items);
    free(tick->undecided.items);
    free(tick->leases.items);
    free(tick->elections.items);
    tally_table_free(&tick->fetched);
    tally_plan_destroy(&tick->plan);
}

void
tally_core_destroy(tally_core_t **self_p)
{
    tally_core_t *self = *self_p;
    *self_p = NULL;
    if (self == NULL) {
        return;
    }
    free_tick(self, &self->ticks[0]);
    free_tick(self, &self->ticks[1]);
    for (tally_link_t *link; (link = tally_list_first(&self->touched)) != NULL;) {
        tally_list_remove(&self->touched, link);
    }
    size_t at = 0;
    for (tally_lease_t *lease; (lease = tally_table_each(&self->leases, &at)) != NULL;) {
        tally_lease_destroy(&lease);
    }
    tally_table_free(&self->leases);
    for (size_t i = 0; i < self->all_streams.count; i++) {
        tally_stream_destroy(&self->all_streams.items[i]);
    }
    free(self->all_streams.items);
    free(self->terms.items);
    free(self->returned.items);
    free(self->loaded_leases.items);
    tally_table_free(&self->streams);
    tally_table_free(&self->loaded);
    tally_heap_free(&self->deadlines);
    tally_heap_free(&self->windows);
    tally_heap_free(&self->retries);
    tally_crew_free(&self->crew);
    tally_senders_free(&self->senders);
    tally_tenants_free(&self->tenants);
    tally_queues_free(&self->queues);
    tally_shelf_free(&self->shelf);
    free(self);
}

//  ---- what the files of the core share ----------------------------------------------------------

uint64_t
tally_core_take_id(tally_core_t *self)
{
    assert(self->next_id >> SEQUENCE_BITS == self->epoch);
    return self->next_id++;
}

//  Ids never repeat: go on above every one that was seen.
void
tally_core_skip_id(tally_core_t *self, uint64_t id)
{
    if (id >= self->next_id) {
        self->next_id = id + 1;
    }
}

//  splitmix64: one number after the other from the seed.
uint64_t
tally_core_draw(tally_core_t *self, uint64_t max)
{
    uint64_t mixed = self->random += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    return max == UINT64_MAX ? mixed : mixed % (max + 1);
}

tally_stream_t *
tally_core_stream(tally_core_t *self, tally_queue_t *queue, tally_tenant_t *tenant)
{
    uint64_t number = (uint64_t)queue->row.id << 32 | tenant->row.id;
    tally_stream_t *stream = tally_table_find(&self->streams, number);
    if (stream == NULL) {
        stream = tally_stream_new(queue, tenant, &self->shelf, &self->windows);
        tally_table_put(&self->streams, number, stream);
        *TALLY_PUSH(&self->all_streams) = stream;
    }
    return stream;
}

void
tally_core_keep(tally_plan_t *plan, tally_chunk_t *chunk)
{
    if (plan->chunks.count == 0 || plan->chunks.items[plan->chunks.count - 1] != chunk) {
        *TALLY_PUSH(&plan->chunks) = tally_chunk_hold(chunk);
    }
}

uint64_t
tally_core_next_id(const tally_core_t *self)
{
    return self->next_id;
}

uint64_t
tally_core_tick(const tally_core_t *self)
{
    return self->tick_number;
}

//  ---- seal --------------------------------------------------------------------------------------

static void
let_time_pass(tally_core_t *self, int64_t now_ms)
{
    tally_core_bury_silent(self, now_ms);
    tally_core_expire_leases(self, now_ms);
    tally_heap_node_t *node;
    //  What is more stays due: the next tick is due at once.
    for (int woken = 0; woken < WOKEN_MAX; woken++) {
        node = tally_heap_take_due(&self->shelf.due, now_ms);
        if (node == NULL) {
            break;
        }
        tally_cold_t *cold = TALLY_OF(node, tally_cold_t, due);
        tally_stream_wake(cold->stream, cold, now_ms);
    }
    while ((node = tally_heap_take_due(&self->windows, now_ms)) != NULL) {
        tally_stream_release(TALLY_OF(node, tally_stream_t, window));
    }
    while ((node = tally_heap_take_due(&self->retries, now_ms)) != NULL) {
        tally_queue_place(TALLY_OF(node, tally_stream_t, term.retry));
    }
}

static void
write_senders(tally_core_t *self)
{
    tally_tick_t *tick = self->collecting;
    for (size_t i = 0; i < tick->senders.count; i++) {
        if (tick->senders.items[i]->touched) {
            tick->senders.items[i]->touched = false;
            tally_sender_write(tick->senders.items[i], tick->plan);
        }
    }
    tally_sender_link_rows(tick->plan);
}

static void
write_inbox(tally_core_t *self)
{
    if (!self->look_in_inbox) {
        return;
    }
    self->look_in_inbox = false;
    tally_plan_t *plan = tally_core_plan(self);
    plan->inbox_max = self->inbox_max;
    plan->inbox_id = tally_core_take_id(self);
    self->next_id += TALLY_PLANTED(INBOX_IDS) ? 0 : self->inbox_max - 1;
}

tally_plan_t *
tally_core_seal(tally_core_t *self, int64_t now_ms)
{
    assert(!self->loading);
    assert(self->out == NULL);
    tally_plan_t *plan = tally_core_plan(self);
    let_time_pass(self, now_ms);
    tally_core_write_ends(self, now_ms);
    tally_core_hand_out(self);
    write_senders(self);
    write_inbox(self);
    self->soon_ms = self->touched.count > 0 ? now_ms : INT64_MAX;
    if (tally_plan_empty(plan)) {
        return NULL;
    }
    if (!tally_plan_silent(plan)) {
        plan->number = ++self->tick_number;
    }
    self->seals++;
    self->out = self->collecting;
    self->committed = false;
    self->collecting = self->out == &self->ticks[0] ? &self->ticks[1] : &self->ticks[0];
    return plan;
}

//  ---- commit ------------------------------------------------------------------------------------

static void
confirm_senders(const tally_tick_t *tick)
{
    for (size_t i = 0; i < tick->senders.count; i++) {
        tally_sender_confirm(tick->senders.items[i], tick->plan->confirms.items[i].sequence);
    }
}

static void
decide_terms(tally_core_t *self, tally_tick_t *tick, const tally_tick_result_t *result,
             int64_t now_ms)
{
    if (tick->elections.count == 0) {
        return;
    }
    for (size_t i = 0; i < result->granted.count; i++) {
        const tally_plan_fetch_t *granted = &result->granted.items[i];
        tally_stream_t *stream = tally_table_find(&self->streams,
                                                  granted->message << 32 | granted->tenant);
        assert(stream != NULL);
        assert(stream->term.electing);
        stream->term.granted = true;
    }
    for (size_t i = 0; i < tick->elections.count; i++) {
        tally_stream_t *stream = tick->elections.items[i];
        bool is_first = stream->term.worker_name == NULL;
        tally_term_decide(stream, &self->crew, &self->retries, tick->plan, now_ms);
        if (is_first && stream->term.worker_name != NULL) {
            *TALLY_PUSH(&self->terms) = stream;
        }
    }
}

static void
take_rows(tally_core_t *self, const tally_plan_t *plan, const tally_tick_result_t *result,
          int64_t now_ms)
{
    for (size_t i = 0; i < result->queues.count; i++) {
        tally_core_load_queue(self, &result->queues.items[i]);
    }
    for (size_t i = 0; i < plan->tenant_limits.count; i++) {
        tally_tenants_load(&self->tenants, &plan->tenant_limits.items[i]);
    }
    for (size_t i = 0; i < result->arrived.count; i++) {
        tally_core_arrive(self, &result->arrived.items[i], now_ms);
    }
    for (size_t i = 0; i < result->retried.count; i++) {
        tally_core_arrive(self, &result->retried.items[i], now_ms);
    }
    if (plan->inbox_max > 0 && result->arrived.count >= plan->inbox_max) {
        self->inbox_max = self->inbox_max * 4 < INBOX_MAX ? self->inbox_max * 4 : INBOX_MAX;
        tally_core_look_in_inbox(self);
    } else if (plan->inbox_max > 0) {
        self->inbox_max = INBOX_MAX_FIRST;
    }
}

void
tally_core_commit(tally_core_t *self, tally_plan_t *plan, const tally_tick_result_t *result,
                  int64_t now_ms)
{
    tally_tick_t *tick = self->out;
    assert(tick != NULL);
    assert(tick->plan == plan);
    assert(!self->committed);
    assert(result != NULL || tally_plan_silent(plan));
    self->committed = true;
    if (result == NULL) {
        return;
    }
    confirm_senders(tick);
    tally_core_take_deduped(tick, result, now_ms);
    tally_core_resolve_ends(self, tick, result, now_ms);
    decide_terms(self, tick, result, now_ms);
    tally_core_start_leases(self, tick, result, now_ms);
    take_rows(self, plan, result, now_ms);
}

void
tally_core_published(tally_core_t *self, tally_plan_t **plan_p)
{
    tally_tick_t *tick = self->out;
    assert(tick != NULL);
    assert(tick->plan == *plan_p);
    assert(self->committed);
    *plan_p = NULL;
    assert(tick->ending.count == 0);
    tally_plan_clear(tick->plan);
    tick->senders.count = 0;
    tick->undecided.count = 0;
    tick->leases.count = 0;
    tick->elections.count = 0;
    tally_table_clear(&tick->fetched);
    tick->fetched_bytes = 0;
    self->out = NULL;
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t
tally_core_next_ms(const tally_core_t *self, int64_t now_ms)
{
    if (self->work.count > 0 || self->crew.rested.count > 0) {
        return now_ms;    // somebody has credit for what is ready
    }
    int64_t next_ms = self->soon_ms;
    next_ms = earlier(next_ms, tally_heap_due(&self->crew.silence));
    next_ms = earlier(next_ms, tally_heap_due(&self->deadlines));
    next_ms = earlier(next_ms, tally_heap_due(&self->shelf.due));
    next_ms = earlier(next_ms, tally_heap_due(&self->windows));
    return earlier(next_ms, tally_heap_due(&self->retries));
}
