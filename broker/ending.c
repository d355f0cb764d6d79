// SPDX-License-Identifier: MIT
//  ending - leases end: marks become sections of a plan, and the plan's result makes them real.
//
//  A lease whose messages all just settle goes as a whole, one number for the database.  Everything
//  else goes message by message, together with a look at what is left of the lease: what was not
//  done is either still in its row (somebody holds it; tried again) or was settled by SQL.

#include <stdlib.h>

#include "broker/core_state.h"
#include "broker/planted.h"

#define BACKOFF_MS 20
#define BACKOFF_MS_MAX 250
#define HELD_BACK_MAX 3    // plans

void
tally_core_touch(tally_core_t *self, tally_lease_t *lease, int64_t hurry_ms)
{
    if (!tally_link_in(&lease->touched)) {
        tally_list_append(&self->touched, &lease->touched);
    }
    tally_core_hurry(self, hurry_ms);
}

void
tally_core_watch(tally_core_t *self, tally_lease_t *lease)
{
    int64_t due_ms = lease->open > 0 ? lease->deadline_ms : INT64_MAX;
    if (lease->retry_ms > 0 && lease->retry_ms < due_ms) {
        due_ms = lease->retry_ms;
    }
    if (due_ms < INT64_MAX) {
        tally_heap_put(&self->deadlines, &lease->due, due_ms, lease->id);
    } else {
        tally_heap_remove(&self->deadlines, &lease->due);
    }
}

//  ---- into the plan -----------------------------------------------------------------------------

static bool
settles_plainly(const tally_stream_t *stream, const tally_leased_t *leased)
{
    if (leased->end == TALLY_END_OVER) {
        return true;
    }
    if (leased->end != TALLY_END_SETTLE) {
        return false;
    }
    const tally_cold_t *cold = tally_stream_cold(stream, &leased->entry);
    return cold == NULL || (!cold->asked && !cold->is_blob);
}

static bool
settles_as_whole(const tally_lease_t *lease)
{
    for (uint32_t i = 0; i < lease->size; i++) {
        if (!settles_plainly(lease->stream, &lease->messages[i])) {
            return false;
        }
    }
    return true;
}

static bool
is_wanted(const tally_leased_t *leased)
{
    return leased->end == TALLY_END_SETTLE || leased->end == TALLY_END_RETURN
           || leased->end == TALLY_END_BURY;
}

static void
write_result(tally_plan_t *plan, const tally_lease_t *lease, const tally_cold_t *cold,
             const tally_leased_t *leased)
{
    tally_plan_result_t *result = TALLY_PUSH(&plan->results);
    result->asker = cold->asker;
    result->tenant = lease->stream->tenant->row.id;
    result->message = leased->entry.id;
    result->kept_ms = lease->stream->queue->row.result_kept_ms;
    result->outcome = leased->end == TALLY_END_BURY ? TALLY_RESULT_BURIED : TALLY_RESULT_DONE;
    if (leased->want != NULL) {
        result->body = leased->end == TALLY_END_BURY ? leased->want->text : leased->want->body;
    }
}

static void
write_end(tally_plan_t *plan, const tally_lease_t *lease, tally_leased_t *leased)
{
    const tally_cold_t *cold = tally_stream_cold(lease->stream, &leased->entry);
    const tally_want_t *want = leased->want;
    tally_plan_end_t *end = TALLY_PUSH(&plan->ends);
    end->lease = lease->id;
    end->message = leased->entry.id;
    end->kind = leased->end;
    end->deliveries = cold == NULL ? 1 : cold->deliveries + 1;
    if (want != NULL) {
        end->failures = want->failures;
        end->crashes = want->crashes;
        end->batch_max = want->batch_max;
        end->delay_ms = want->delay_ms;
        end->text = want->text;
        if (want->chunk != NULL) {
            tally_core_keep(plan, want->chunk);
        }
    }
    if (cold != NULL) {
        end->keep_blob = cold->is_blob && lease->stream->queue->row.keep_blobs;
        if (cold->asked && leased->end != TALLY_END_RETURN) {
            write_result(plan, lease, cold, leased);
        }
    }
    leased->out = true;
}

static void
write_lease(tally_core_t *self, tally_lease_t *lease)
{
    tally_plan_t *plan = tally_core_plan(self);
    lease->whole = settles_as_whole(lease);
    lease->claimed = false;
    lease->checked = !lease->whole || lease->skipped;
    lease->left = NULL;
    if (lease->whole) {
        *TALLY_PUSH(&plan->settled) = lease->id;
    }
    for (uint32_t i = 0; i < lease->size && !lease->whole; i++) {
        if (is_wanted(&lease->messages[i])) {
            write_end(plan, lease, &lease->messages[i]);
        }
    }
    if (lease->checked) {
        *TALLY_PUSH(&plan->checks) = lease->id;
    }
    lease->retry_ms = 0;
    tally_core_watch(self, lease);
    tally_list_append(&self->collecting->ending, &lease->ending);
}

static size_t
count_ends(const tally_lease_t *lease)
{
    size_t count = 0;
    for (uint32_t i = 0; i < lease->size; i++) {
        count += is_wanted(&lease->messages[i]);
    }
    return count;
}

static void
turn_to_plan(tally_tenant_t *tenant, uint64_t number)
{
    if (tenant->ended_in != number) {
        tenant->ended_in = number;
        tenant->ended = 0;
        bool is_left = tenant->held_in > 0 && tenant->held_in + 1 == number;
        tenant->held = is_left ? tenant->held + 1 : 0;
    }
}

//  Of a tenant that has company, more than its share ends in a plan into which nobody sends, a lease at
//  a time: who came behind a long tick should not get into another.  But nothing waits for long: what so
//  many plans in a row have left ends in the next, all of it.
static bool
is_held_back(const tally_core_t *self, const tally_lease_t *lease, int64_t now_ms)
{
    if (!tally_core_has_company(self, now_ms)) {
        return false;
    }
    tally_tenant_t *tenant = lease->stream->tenant;
    uint64_t number = self->seals + 1;
    turn_to_plan(tenant, number);
    size_t count = count_ends(lease);
    bool exceeds = tenant->ended + count > tally_core_share_of(self, tenant);
    bool is_place = tally_core_plan(self)->messages.count == 0 && tenant->ended == 0;
    bool may = is_place || tenant->held >= HELD_BACK_MAX;
    if (exceeds && (!may || TALLY_PLANTED(HELD_BACK))) {
        tenant->held_in = number;
        return true;
    }
    tenant->ended += count;
    return false;
}

void
tally_core_write_ends(tally_core_t *self, int64_t now_ms)
{
    const tally_plan_t *plan = tally_core_plan(self);
    tally_link_t *link = tally_list_first(&self->touched);
    while (link != NULL && plan->ends.count < TALLY_PLAN_MESSAGES_MAX) {
        tally_lease_t *lease = TALLY_OF(link, tally_lease_t, touched);
        tally_link_t *next = tally_list_next(&self->touched, link);
        if (!is_held_back(self, lease, now_ms)) {
            tally_list_remove(&self->touched, link);
            write_lease(self, lease);
        }
        link = next;
    }
    self->leaves_ends = tally_list_first(&self->touched) != NULL;
}

//  ---- out of the result -------------------------------------------------------------------------

//  Tells who asked.  from_store: settled by SQL, the result is where the worker put it.
static void
answer(tally_plan_t *plan, const tally_cold_t *cold, const tally_leased_t *leased, bool from_store)
{
    tally_plan_answer_t *told = TALLY_PUSH(&plan->answers);
    told->asker = cold->asker;
    told->from_store = from_store;
    bool buried = leased->end == TALLY_END_BURY && !from_store;
    told->outcome = buried ? TALLY_RESULT_BURIED : TALLY_RESULT_DONE;
    if (!from_store && leased->want != NULL) {
        told->body = buried ? leased->want->text : leased->want->body;
    }
}

//  Off the lease.
static void
leave(tally_lease_t *lease, tally_leased_t *leased)
{
    if (leased->end == TALLY_END_OPEN) {
        tally_lease_give(lease, 1);
    }
    if (leased->end == TALLY_END_OPEN || leased->end == TALLY_END_NOTED) {
        lease->open--;
    }
    leased->end = TALLY_END_OVER;
    leased->out = false;
    lease->pending--;
    tally_stream_unlease(lease->stream, 1);
}

//  It goes back: delayed, or to the front of its stream when all of this result are known.
static void
give_back(tally_core_t *self, tally_lease_t *lease, const tally_leased_t *leased, int64_t now_ms)
{
    tally_entry_t entry = leased->entry;
    if (entry.cold == 0) {
        entry.cold = tally_shelf_make(&self->shelf, lease->stream);
    }
    tally_cold_t *cold = tally_shelf_cold(&self->shelf, entry.cold);
    const tally_want_t *want = leased->want;
    cold->deliveries++;
    cold->failures = want->failures;
    cold->crashes = want->crashes;
    cold->batch_max = want->batch_max;
    entry.past_window = true;
    lease->stream->stats.returned++;
    if (want->delay_ms > 0) {
        tally_stream_delay(lease->stream, &entry, now_ms + want->delay_ms);
    } else {
        *TALLY_PUSH(&self->returned) = (tally_returned_t){.stream = lease->stream, .entry = entry};
    }
}

//  A message is over in the database; by_sql: a worker's own transaction did it.
static void
finish(tally_tick_t *tick, tally_lease_t *lease, tally_leased_t *leased, bool by_sql)
{
    tally_stream_t *stream = lease->stream;
    const tally_cold_t *cold = tally_stream_cold(stream, &leased->entry);
    bool buried = leased->end == TALLY_END_BURY && !by_sql;
    if (cold != NULL && cold->asked) {
        answer(tick->plan, cold, leased, by_sql);
    }
    if (buried) {
        stream->stats.buried++;
        *TALLY_PUSH(&tick->plan->events) = (tally_plan_event_t){
            .kind = TALLY_EVENT_BURIED,
            .queue = stream->queue->row.id,
            .tenant = stream->tenant->row.id,
            .worker = lease->worker_number,
            .id = leased->entry.id,
        };
    } else {
        stream->stats.settled++;
    }
    leave(lease, leased);
    tally_stream_end(stream, &leased->entry);
}

//  The database did what was wanted.
static void
done(tally_core_t *self, tally_tick_t *tick, tally_lease_t *lease, tally_leased_t *leased,
     int64_t now_ms)
{
    if (leased->end == TALLY_END_RETURN) {
        give_back(self, lease, leased, now_ms);
        leave(lease, leased);
    } else {
        finish(tick, lease, leased, false);
    }
}

static void
remove_lease(tally_core_t *self, tally_lease_t *lease)
{
    tally_stream_t *stream = lease->stream;
    if (tally_link_in(&lease->touched)) {
        tally_list_remove(&self->touched, &lease->touched);
    }
    tally_heap_remove(&self->deadlines, &lease->due);
    tally_table_take(&self->leases, lease->id);
    tally_lease_destroy(&lease);
    tally_queue_place(stream);    // its term may move now
}

//  What the result says of a lease beyond the ends that were done.
static void
resolve(tally_core_t *self, tally_tick_t *tick, tally_lease_t *lease, int64_t now_ms)
{
    if (lease->left != NULL) {
        for (size_t i = 0; i < lease->left->count; i++) {
            tally_leased_t *leased = tally_lease_find(lease, lease->left->messages[i]);
            if (leased != NULL) {
                leased->still = true;
            }
        }
    }
    bool skipped = lease->whole && !lease->claimed && (!lease->checked || lease->left != NULL);
    for (uint32_t i = 0; i < lease->size; i++) {
        tally_leased_t *leased = &lease->messages[i];
        if (leased->end == TALLY_END_OVER) {
            continue;
        }
        if (lease->whole && lease->claimed) {
            done(self, tick, lease, leased, now_ms);
        } else if (lease->checked
                   && (!leased->still
                       || (TALLY_PLANTED(NOTE_BELIEVED) && leased->end == TALLY_END_NOTED))) {
            finish(tick, lease, leased, true);
        } else {
            skipped = skipped || leased->out;
            leased->out = leased->still = false;
        }
    }
    lease->left = NULL;
    self->skipped += (size_t)skipped;
    self->skipped -= (size_t)lease->skipped;
    lease->skipped = skipped;
    if (skipped) {
        lease->backoff_ms = lease->backoff_ms == 0 ? BACKOFF_MS : lease->backoff_ms * 2;
        lease->backoff_ms = lease->backoff_ms > BACKOFF_MS_MAX ? BACKOFF_MS_MAX : lease->backoff_ms;
        lease->retry_ms = now_ms + lease->backoff_ms;
    } else {
        lease->backoff_ms = 0;
    }
    if (lease->pending == 0 && !skipped) {
        remove_lease(self, lease);
    } else {
        tally_core_watch(self, lease);
    }
}

static int
compare_returned(const void *a, const void *b)
{
    uint64_t left = ((const tally_returned_t *)a)->entry.id;
    uint64_t right = ((const tally_returned_t *)b)->entry.id;
    return (left < right) - (left > right);
}

//  To the front of their streams, in the order in which they were sent.
static void
return_to_front(tally_core_t *self)
{
    qsort(self->returned.items, self->returned.count, sizeof *self->returned.items,
          compare_returned);
    for (size_t i = 0; i < self->returned.count; i++) {
        tally_stream_return(self->returned.items[i].stream, &self->returned.items[i].entry);
    }
    self->returned.count = 0;
}

void
tally_core_resolve_ends(tally_core_t *self, tally_tick_t *tick, const tally_tick_result_t *result,
                        int64_t now_ms)
{
    if (tick->ending.count == 0) {
        return;
    }
    for (size_t i = 0; i < result->settled.count; i++) {
        tally_lease_t *lease = tally_table_find(&self->leases, result->settled.items[i]);
        assert(lease != NULL);
        assert(lease->whole);
        lease->claimed = true;
    }
    for (size_t i = 0; i < result->left.count; i++) {
        tally_lease_t *lease = tally_table_find(&self->leases, result->left.items[i].id);
        assert(lease != NULL);
        lease->left = &result->left.items[i];
    }
    for (size_t i = 0; i < result->ended_count; i++) {
        tally_lease_t *lease = tally_table_find(&self->leases, result->ended[i].lease);
        assert(lease != NULL);
        tally_leased_t *leased = tally_lease_find(lease, result->ended[i].message);
        assert(leased != NULL);
        assert(leased->out);
        done(self, tick, lease, leased, now_ms);
    }
    for (tally_link_t *link; (link = tally_list_first(&tick->ending)) != NULL;) {
        tally_list_remove(&tick->ending, link);
        resolve(self, tick, TALLY_OF(link, tally_lease_t, ending), now_ms);
    }
    if (self->returned.count > 0) {
        return_to_front(self);
    }
}

bool
tally_core_owes(const tally_core_t *self)
{
    return self->leaves_ends || self->skipped > 0;
}

bool
tally_core_awaits(const tally_core_t *self, uint64_t id)
{
    const tally_lease_t *lease = tally_table_find(&self->leases, id);
    for (uint32_t i = 0; lease != NULL && i < lease->size; i++) {
        if (is_wanted(&lease->messages[i])) {
            return true;
        }
    }
    return false;
}

bool
tally_core_awaits_any(const tally_core_t *self, tally_records_t records)
{
    for (uint16_t i = 0; i < records.count; i++) {
        tally_record_t record;
        tally_record_read(&records.records, &record);
        if (tally_core_awaits(self, record.lease)) {
            return true;
        }
    }
    return false;
}

void
tally_core_forget(tally_core_t *self, tally_lease_t *lease, uint64_t message)
{
    tally_leased_t *leased = tally_lease_find(lease, message);
    assert(leased != NULL);
    leave(lease, leased);
    tally_stream_end(lease->stream, &leased->entry);
    tally_core_watch(self, lease);
    if (lease->pending == 0) {
        tally_core_touch(self, lease, 0);    // its row is still there
    }
}
