// SPDX-License-Identifier: MIT
//  core_state - the inside of the core, for its own files only (core*.c, intake.c, leasing.c,
//  record.c, ending.c).
//
//  A plan has a companion, the tick: what the core does itself when that plan is committed.  Two of
//  them take turns: one collects while the other is out.

#ifndef TALLY_CORE_STATE_H
#define TALLY_CORE_STATE_H

#include "broker/lease.h"
#include "broker/queue.h"
#include "broker/sender.h"

//  A message that enters its stream once the database has judged: its own dedupe key, or that of an
//  earlier one of its key.
typedef struct {
    tally_stream_t *stream;
    tally_entry_t entry;
    bool deduped;         // has a dedupe key of its own
    size_t sent_at;       // in plan->sent_ids
    size_t confirm_at;    // in plan->confirms
    int64_t due_ms;       // 0: at once
} tally_undecided_t;

typedef struct {
    tally_plan_t *plan;
    TALLY_ARRAY(tally_sender_t *) senders;    // one per confirm
    TALLY_ARRAY(tally_undecided_t) undecided;
    TALLY_ARRAY(tally_lease_t *) leases;        // one per plan lease
    TALLY_ARRAY(tally_stream_t *) elections;    // one per plan term
    tally_list_t ending;                        // leases with ends in this plan
    tally_table_t fetched;                      // message -> index of its item + 1
    size_t fetched_bytes;
} tally_tick_t;

//  A message that goes back to the front of its stream.
typedef struct {
    tally_stream_t *stream;
    tally_entry_t entry;
} tally_returned_t;

struct tally_core {
    uint64_t epoch, next_id, tick_number;
    uint64_t random;
    int64_t soon_ms;             // what was collected should be sealed by then
    uint64_t seals;              // how often sealed; names the plan being collected
    uint32_t shared_messages;    // of a tenant in a plan, by weight, when it has company
    const tally_tenant_t *planned_tenant;    // of the last send that was planned
    int64_t planned_ms;                      // when that was
    int64_t company_until_ms;                // tenants that send are not alone: others send little

    tally_shelf_t shelf;
    tally_queues_t queues;
    tally_tenants_t tenants;
    tally_senders_t senders;
    tally_crew_t crew;
    tally_table_t streams;    // by queue << 32 | tenant
    TALLY_ARRAY(tally_stream_t *) all_streams;
    TALLY_ARRAY(tally_stream_t *) terms;    // streams that ever had one
    tally_table_t leases;
    tally_heap_t deadlines;    // of leases: deadline, or the next try of a skipped end
    tally_heap_t windows;      // of streams
    tally_heap_t retries;      // of elections
    tally_list_t work;         // queues with something to do
    tally_list_t touched;      // leases with ends that no plan has
    bool leaves_ends;          // the plan sealed last left some of them
    size_t skipped;            // leases whose ends were

    tally_tick_t ticks[2];
    tally_tick_t *collecting;
    tally_tick_t *out;    // NULL: none
    bool committed;       // the one that is out is, and only has to be published

    TALLY_ARRAY(tally_returned_t) returned;    // while a result is looked at
    bool look_in_inbox;
    size_t inbox_max;    // how far the next look reaches
    bool loading;
    tally_table_t loaded;    // while loading: message -> its lease
    TALLY_ARRAY(tally_lease_t *) loaded_leases;
    uint64_t refused, stale, strays;    // that no stream could be found for
};

//  The plan being collected.
static inline tally_plan_t *
tally_core_plan(const tally_core_t *self)
{
    return self->collecting->plan;
}

//  What was collected should be sealed by then.
static inline void
tally_core_hurry(tally_core_t *self, int64_t at_ms)
{
    if (at_ms < self->soon_ms) {
        self->soon_ms = at_ms;
    }
}

uint64_t tally_core_take_id(tally_core_t *self);
void tally_core_skip_id(tally_core_t *self, uint64_t id);
uint64_t tally_core_draw(tally_core_t *self, uint64_t max);    // uniform in [0, max]
tally_stream_t *tally_core_stream(tally_core_t *self, tally_queue_t *queue, tally_tenant_t *tenant);
//  Keeps the bytes of a chunk alive as long as the plan.
void tally_core_keep(tally_plan_t *plan, tally_chunk_t *chunk);

//  ---- core_crew.c -------------------------------------------------------------------------------
//  Workers that missed their beats are dead.
void tally_core_bury_silent(tally_core_t *self, int64_t now_ms);

//  ---- intake.c: messages come in ----------------------------------------------------------------
void tally_core_take_deduped(tally_tick_t *tick, const tally_tick_result_t *result, int64_t now_ms);
void tally_core_arrive(tally_core_t *self, const tally_message_row_t *row, int64_t now_ms);

//  ---- leasing.c: messages go to workers ---------------------------------------------------------
void tally_core_hand_out(tally_core_t *self);
void tally_core_start_leases(tally_core_t *self, tally_tick_t *tick,
                             const tally_tick_result_t *result, int64_t now_ms);

//  ---- record.c, ending.c: leases end ------------------------------------------------------------
void tally_core_touch(tally_core_t *self, tally_lease_t *lease, int64_t hurry_ms);
//  Its deadline or next try changed.
void tally_core_watch(tally_core_t *self, tally_lease_t *lease);
void tally_core_expire_leases(tally_core_t *self, int64_t now_ms);
void tally_core_write_ends(tally_core_t *self, int64_t now_ms);
//  Messages of the tenant that a plan takes, new or ending, when it has company.
uint64_t tally_core_share_of(const tally_core_t *self, const tally_tenant_t *tenant);
void tally_core_resolve_ends(tally_core_t *self, tally_tick_t *tick,
                             const tally_tick_result_t *result, int64_t now_ms);
//  A message that the database does not have: off the books without a word.
void tally_core_forget(tally_core_t *self, tally_lease_t *lease, uint64_t message);

#endif
