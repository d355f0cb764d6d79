// SPDX-License-Identifier: MIT
//  record - what workers say of their leases, and what deadlines say for them.
//
//  Everything here only marks how messages are to end and frees the worker's credit; ending.c
//  writes the marks into plans and makes them real.  The first end of a message stands: later ones
//  are stale.

#include "broker/core_state.h"
#include "broker/planted.h"
#include "lib/alloc.h"

#define COMPANY_MS 2    // endings alone wait so long for others

static bool
is_open(const tally_leased_t *leased)
{
    return leased->end == TALLY_END_OPEN || leased->end == TALLY_END_NOTED;
}

//  Marks one message; the credit is counted, not given.
static void
mark(tally_lease_t *lease, tally_leased_t *leased, uint8_t end, uint32_t *given)
{
    assert(is_open(leased));
    if (leased->end == TALLY_END_OPEN || TALLY_PLANTED(CREDIT_TWICE)) {
        (*given)++;
    }
    if (end != TALLY_END_NOTED) {
        lease->open--;
    }
    leased->end = end;
}

//  ---- how messages come back --------------------------------------------------------------------

static tally_want_t *
new_want(const tally_stream_t *stream, const tally_leased_t *leased)
{
    const tally_cold_t *cold = tally_stream_cold(stream, &leased->entry);
    tally_want_t *want = tally_alloc(sizeof *want);
    if (cold != NULL) {
        want->failures = cold->failures;
        want->crashes = cold->crashes;
        want->batch_max = cold->batch_max;
    }
    return want;
}

//  Full jitter: anything up to a bound that doubles with each failure.
static int64_t
draw_backoff(tally_core_t *self, const tally_queue_row_t *policy, int32_t failures)
{
    int64_t bound = policy->retry_ms;
    for (int32_t i = 1; i < failures && bound < policy->retry_ms_max; i++) {
        bound *= 2;
    }
    if (bound > policy->retry_ms_max) {
        bound = policy->retry_ms_max;
    }
    int64_t delay_ms = (int64_t)tally_core_draw(self, (uint64_t)bound);
    return delay_ms > 0 ? delay_ms : 1;
}

//  A worker gives a message back.  Returns the end it takes.
static uint8_t
end_by_return(tally_core_t *self, tally_lease_t *lease, tally_leased_t *leased,
              const tally_record_t *record)
{
    const tally_queue_row_t *policy = &lease->stream->queue->row;
    tally_want_t *want = leased->want = new_want(lease->stream, leased);
    want->text = record->text;
    if ((record->flags & TALLY_RETURN_FAILED) != 0) {
        want->failures++;
        if (want->failures >= policy->failures_max) {
            if (want->text.size == 0) {
                want->text = tally_bytes_of("failed as often as the queue allows");
            }
            return TALLY_END_BURY;
        }
        want->delay_ms = draw_backoff(self, policy, want->failures);
    }
    if ((record->flags & TALLY_RETURN_DELAY) != 0) {
        want->delay_ms = record->delay_ms;
    }
    return TALLY_END_RETURN;
}

//  Its worker died or let the deadline pass, with `together` messages in the lease.
static uint8_t
end_by_crash(const tally_lease_t *lease, tally_leased_t *leased, uint32_t together)
{
    tally_want_t *want = leased->want = new_want(lease->stream, leased);
    want->crashes += TALLY_PLANTED(CRASH_UNCOUNTED) ? 0 : 1;
    want->batch_max = (int32_t)(TALLY_PLANTED(CRASH_TOGETHER) ? together : (together + 1) / 2);
    want->text = tally_bytes_of(lease->worker == NULL ? "worker died" : "deadline passed");
    //  Held with others, in this lease or not, it may be innocent: it has to do it again on its
    //  own.
    bool alone = together == 1
                 && (lease->worker == NULL ? lease->alone : lease->worker->leases.count == 1);
    return alone && want->crashes >= lease->stream->queue->row.crashes_max ? TALLY_END_BURY
                                                                           : TALLY_END_RETURN;
}

static uint8_t
end_by_record(tally_core_t *self, tally_lease_t *lease, tally_leased_t *leased,
              const tally_record_t *record)
{
    switch (record->kind) {
    case TALLY_RECORD_SETTLE:
        return TALLY_END_SETTLE;
    case TALLY_RECORD_RESULT:
        leased->want = new_want(lease->stream, leased);
        leased->want->body = record->body;
        tally_core_plan(self)->body_bytes += record->body.size;    // that plan will carry it
        return TALLY_END_SETTLE;
    case TALLY_RECORD_RETURN:
        return end_by_return(self, lease, leased, record);
    case TALLY_RECORD_BURY:
        leased->want = new_want(lease->stream, leased);
        leased->want->text = record->text.size > 0 ? record->text
                                                   : tally_bytes_of("buried by its worker");
        return TALLY_END_BURY;
    default:
        return TALLY_END_NOTED;
    }
}

//  ---- records -----------------------------------------------------------------------------------

//  The next message that a record names; NULL at the end, and for ids that the lease does not hold.
static tally_leased_t *
next_named(tally_lease_t *lease, const tally_record_t *record, tally_cursor_t *ids, uint32_t at)
{
    return record->count == 0 ? &lease->messages[at]
                              : tally_lease_find(lease, tally_cursor_u64(ids));
}

//  How many messages of it were marked.
static uint32_t
end_named(tally_core_t *self, tally_lease_t *lease, const tally_record_t *record,
          tally_chunk_t *chunk, int64_t now_ms)
{
    tally_cursor_t ids = record->ids;
    uint32_t count = record->count == 0 ? lease->size : record->count;
    uint32_t given = 0, marked = 0;
    for (uint32_t at = 0; at < count; at++) {
        tally_leased_t *leased = next_named(lease, record, &ids, at);
        if (leased == NULL || !is_open(leased)) {
            lease->stream->stats.stale += record->count == 0 ? 0 : 1;
            continue;
        }
        mark(lease, leased, end_by_record(self, lease, leased, record), &given);
        marked++;
        if (leased->want != NULL && chunk != NULL) {
            leased->want->chunk = tally_chunk_hold(chunk);
        }
    }
    tally_lease_give(lease, given);
    if (given > 0 && lease->held == 0 && lease->worker != NULL) {
        tally_crew_pace(lease->worker, lease->began_ms, now_ms);
    }
    return marked;
}

static void
extend(tally_core_t *self, tally_lease_t *lease, uint32_t asked_ms, int64_t now_ms)
{
    if (lease->worker == NULL || lease->open == 0) {
        lease->stream->stats.stale++;
        return;
    }
    uint32_t visible_ms = asked_ms < TALLY_VISIBILITY_MS_MAX ? asked_ms : TALLY_VISIBILITY_MS_MAX;
    if (visible_ms < TALLY_VISIBILITY_MS_MIN) {
        visible_ms = TALLY_VISIBILITY_MS_MIN;
    }
    lease->deadline_ms = now_ms + visible_ms;
    tally_core_watch(self, lease);
    tally_plan_t *plan = tally_core_plan(self);
    if (lease->extended_tick != self->seals + 1) {
        lease->extended_tick = self->seals + 1;
        lease->extended_at = plan->extended.count;
        *TALLY_PUSH(&plan->extended) = lease->id;
        *TALLY_PUSH(&plan->extended_ms) = visible_ms;
    }
    plan->extended_ms.items[lease->extended_at] = visible_ms;
    tally_core_hurry(self, now_ms + COMPANY_MS);
}

tally_effect_t
tally_core_record(tally_core_t *self, const tally_record_t *record, tally_chunk_t *chunk,
                  int64_t now_ms)
{
    tally_lease_t *lease = tally_table_find(&self->leases, record->lease);
    if (lease == NULL && TALLY_PLANTED(STALE_ACCEPTED)) {
        lease = tally_table_each(&self->leases, &(size_t){0});
    }
    if (lease == NULL || !lease->live) {
        self->stale++;
        return TALLY_EFFECT_STALE;
    }
    switch (record->kind) {
    case TALLY_RECORD_EXTEND:
        extend(self, lease, record->delay_ms, now_ms);
        return TALLY_EFFECT_TAKEN;
    case TALLY_RECORD_NOTE:
        self->look_in_inbox = true;
        break;
    case TALLY_RECORD_SETTLE:
    case TALLY_RECORD_RESULT:
    case TALLY_RECORD_RETURN:
    case TALLY_RECORD_BURY:
        break;
    default:
        return TALLY_EFFECT_STALE;    // not for a lease
    }
    uint32_t marked = end_named(self, lease, record, chunk, now_ms);
    tally_core_watch(self, lease);
    bool awaited = record->kind == TALLY_RECORD_RESULT;
    tally_core_touch(self, lease, awaited ? now_ms : now_ms + COMPANY_MS);
    return marked > 0 && record->kind != TALLY_RECORD_NOTE ? TALLY_EFFECT_ENDS : TALLY_EFFECT_TAKEN;
}

//  ---- deadlines ---------------------------------------------------------------------------------

static void
expire(tally_core_t *self, tally_lease_t *lease, int64_t now_ms)
{
    uint32_t together = lease->open;
    uint32_t given = 0;
    if (TALLY_PLANTED(TOKEN_AGAIN) && lease->id >> 40 == self->epoch) {
        self->next_id = lease->id;
    }
    tally_stream_stats_t *stats = &lease->stream->stats;
    for (uint32_t at = 0; at < lease->size; at++) {
        tally_leased_t *leased = &lease->messages[at];
        if (!is_open(leased)) {
            continue;
        }
        if (lease->crashes) {
            mark(lease, leased, end_by_crash(lease, leased, together), &given);
        } else {
            leased->want = new_want(lease->stream, leased);
            mark(lease, leased, TALLY_END_RETURN, &given);
        }
    }
    tally_lease_give(lease, given);
    if (lease->crashes) {
        stats->expired += together;
        *TALLY_PUSH(&tally_core_plan(self)->events) = (tally_plan_event_t){
            .kind = TALLY_EVENT_EXPIRED,
            .queue = lease->stream->queue->row.id,
            .tenant = lease->stream->tenant->row.id,
            .worker = lease->worker_number,
            .id = lease->id,
        };
    }
    tally_core_touch(self, lease, now_ms);
}

void
tally_core_expire_leases(tally_core_t *self, int64_t now_ms)
{
    tally_heap_node_t *node;
    while ((node = tally_heap_take_due(&self->deadlines, now_ms)) != NULL) {
        tally_lease_t *lease = TALLY_OF(node, tally_lease_t, due);
        if (lease->retry_ms > 0 && lease->retry_ms <= now_ms) {
            lease->retry_ms = 0;
            tally_core_touch(self, lease, now_ms);
        }
        if (lease->open > 0 && lease->deadline_ms <= now_ms) {
            expire(self, lease, now_ms);
        }
        tally_core_watch(self, lease);
    }
}
