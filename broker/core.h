// SPDX-License-Identifier: MIT
//  core - the state machine of the broker: queues, leases, terms, senders, and the plan of each
//  tick.
//
//  Pure: no socket, no SQL, no clock, no thread, no random source but the seed it is given.  Time
//  comes in as now_ms (monotonic), the outcome of a transaction as a tally_tick_result_t.  The same
//  core runs in tallyd, in the unit tests and under the simulator.
//
//  Use: create, load what the database holds, then feed inputs in any order; tally_core_seal()
//  closes what was collected into a plan; when the plan's transaction is committed,
//  tally_core_commit() makes its effects real.  One plan may be out at a time; inputs go on
//  meanwhile and collect into the next.  There is no rollback: when a transaction did not happen,
//  or nobody knows, the core is thrown away, loaded again from the database and the inputs are fed
//  again (sends are idempotent by sequence, endings by lease).
//
//  What it guarantees: nothing is confirmed, delivered, answered or forgotten but through a
//  committed plan; a message is in exactly one place (held by the window, delayed, waiting behind
//  its key, ready, leased) from its insert to its end; outstanding messages of a worker never
//  exceed its credit; a stream of an exclusive queue is delivered only to the holder of its term,
//  under the epoch that was committed. Do not add I/O, clocks or randomness here.

#ifndef TALLY_CORE_H
#define TALLY_CORE_H

#include "broker/plan.h"

typedef struct tally_core tally_core_t;

typedef struct {
    uint64_t epoch;    // the broker's; ids are epoch << 40 | sequence
    uint64_t
        first_id;    // 0: start at epoch << 40; else go on above (the same epoch after a reload)
    size_t
        body_cache_bytes_max;    // bodies kept in memory for messages that wait; beyond, they are fetched again
    uint32_t shared_messages;    // of a tenant in a plan, by weight, when it has company
    uint64_t seed;               // for jitter
    uint64_t tick;               // number of the last tick of this epoch
} tally_core_options_t;

tally_core_t *tally_core_new(const tally_core_options_t *options);
void tally_core_destroy(tally_core_t **self_p);
uint64_t tally_core_next_id(const tally_core_t *self);    // for first_id of a successor
uint64_t tally_core_tick(const tally_core_t *self);

//  ---- loading: queues, tenants, terms, then leases, then messages in ascending id order, then workers ----------
void tally_core_load_queue(tally_core_t *self,
                           const tally_queue_row_t *row);    // also replaces a policy
void tally_core_load_tenant(tally_core_t *self, const tally_tenant_row_t *row);
void tally_core_load_term(tally_core_t *self, const tally_term_row_t *row);
void tally_core_load_lease(tally_core_t *self, const tally_lease_row_t *row, int64_t now_ms);
//  A message named by a loaded lease goes there; every other one to its stream.
void tally_core_load_message(tally_core_t *self, const tally_message_row_t *row, int64_t now_ms);
void tally_core_load_sender(tally_core_t *self,
                            const tally_sender_row_t *row);    // also at a hello; replaces
bool tally_core_knows_sender(const tally_core_t *self, const uint8_t sender[TALLY_SENDER_BYTES]);
int64_t tally_core_sender_last(const tally_core_t *self, const uint8_t sender[TALLY_SENDER_BYTES]);
//  A sender nobody is connected with and with nothing pending may be forgotten (the database keeps it).
void tally_core_forget_sender(tally_core_t *self, const uint8_t sender[TALLY_SENDER_BYTES]);
//  Ends loading.  Leases of workers that were not joined again by then go on until their deadline as long as the
//  worker's beats are heard under its old number: it is in the middle of its work and has not said hello to us
//  yet.  When none is heard for TALLY_ORPHANS_MS, then or later, they are returned, uncounted.
void tally_core_loaded(tally_core_t *self, int64_t now_ms);

//  ---- inputs ---------------------------------------------------------------------------------------------

typedef enum {
    TALLY_SEND_PLANNED = 1,    // its confirm comes out of a plan
    TALLY_SEND_PENDING,        // the same sequence is in a plan already; the confirm comes
    TALLY_SEND_REPEATED,       // accepted before: confirm it again at once
    TALLY_SEND_REFUSED,        // see fault and retry_after_ms; nothing happened
} tally_send_outcome_t;

typedef struct {
    tally_send_outcome_t outcome;
    tally_fault_t fault;
    uint32_t retry_after_ms;
} tally_send_answer_t;

//  `send` was decoded out of `chunk`; the core takes references of its own.  The sender must be known.
//  An unknown tenant is made (up to TALLY_TENANTS_MAX); an unknown queue is refused.  Ask tally_core_has_place before.
tally_send_answer_t
tally_core_send(tally_core_t *self, const uint8_t sender[TALLY_SENDER_BYTES], uint64_t sequence,
                const tally_send_t *send, tally_chunk_t *chunk, int64_t now_ms);
//  The plan being collected is as large as a plan should be.
bool tally_core_full(const tally_core_t *self);
//  Whether the plan takes this send: it fits, and its tenant has not had more than its share while others send; or
//  others filled the plan, and its tenant has little in it.  Else it should wait for the next one, and the
//  core remembers that its tenant has to.
bool tally_core_has_place(tally_core_t *self, tally_bytes_t tenant, size_t messages, size_t bytes,
                          int64_t now_ms);
//  Somebody sends besides whoever sends as much as it can.
bool tally_core_has_company(const tally_core_t *self, int64_t now_ms);

typedef enum {
    TALLY_EFFECT_STALE = 0,    // its lease is unknown or over: counted, no effect
    TALLY_EFFECT_TAKEN,
    TALLY_EFFECT_ENDS,    // taken, and it says how something ends that was open until then
} tally_effect_t;

//  One sink record.  Beat and publish are not for the core: the shell sees to them.
tally_effect_t tally_core_record(tally_core_t *self, const tally_record_t *record,
                                 tally_chunk_t *chunk, int64_t now_ms);
//  Not all of what records said is in the plan they went into: ends wait for a later one, or for a row that somebody
//  holds.  A record that ends something is an input of the plans to come as well while that is so, and has to be fed
//  again when one of those is lost.
bool tally_core_owes(const tally_core_t *self);    // of any records before the plan sealed last
bool tally_core_awaits(const tally_core_t *self, uint64_t lease);
bool tally_core_awaits_any(const tally_core_t *self, tally_records_t records);    // of their leases

//  number 0: a new worker, gets a number; else one that is connected across a reload.  NULL name is not allowed.
//  Returns its number, or 0 with *fault filled (unknown queue, too many).
uint64_t tally_core_worker_join(tally_core_t *self, uint64_t number, const tally_hello_t *hello,
                                tally_fault_t *fault, int64_t now_ms);
typedef enum {
    TALLY_GONE_DEAD = 1,    // lane closed or beats missed: leases end as crashed
    TALLY_GONE_GOODBYE,     // leases are returned, nothing counted
} tally_gone_t;
void tally_core_worker_gone(tally_core_t *self, uint64_t number, tally_gone_t how, int64_t now_ms);
bool
tally_core_worker_beat(tally_core_t *self, uint64_t number, int64_t now_ms);    // false: unknown
//  A worker says under its number that it holds nothing.  Of one that belongs to the broker before us this ends the
//  waiting: its leases are returned, nothing counted.
void tally_core_worker_rests(tally_core_t *self, uint64_t number, int64_t now_ms);
//  We did not listen for a while: nobody's silence up to now counts.
void tally_core_pardon(tally_core_t *self, int64_t now_ms);
//  No more leases for it; it gets a notice to drain; each of its terms moves when it holds no lease of that stream.
void tally_core_worker_drain(tally_core_t *self, uint64_t number, int64_t now_ms);

//  Admin.  Each takes effect through the plan; queue names and ranges were checked by the caller.
void tally_core_put_queue(tally_core_t *self, const tally_queue_row_t *row);
void tally_core_put_tenant(tally_core_t *self, const tally_tenant_row_t *row);    // id 0: new
void tally_core_release_window(tally_core_t *self, uint32_t queue, uint32_t tenant, int64_t now_ms);
void tally_core_retry_dead(tally_core_t *self, uint32_t tenant, uint64_t message);
void tally_core_drop_dead(tally_core_t *self, uint32_t tenant, uint64_t message);
void tally_core_look_in_inbox(tally_core_t *self);    // at the next tick (a note, or the slow poll)
void tally_core_housekeep(tally_core_t *self);

//  ---- ticks ----------------------------------------------------------------------------------------------

//  When a tick should be sealed: a time <= now_ms means at once, INT64_MAX means nothing is to be
//  done.  Accounts for urgency (sends, and endings that free credit somebody waits for: at once;
//  endings alone: a few ms of company) and for every deadline (leases, beats, due times, windows,
//  back-offs of skipped endings and elections).
int64_t tally_core_next_ms(const tally_core_t *self, int64_t now_ms);

//  Expires what is past, elects, leases what is ready to who has credit, and closes the plan.  NULL
//  when there is nothing to write or tell.  Must not be called while a plan is out.  The plan is
//  the core's; it stays valid until tally_core_commit returned AND the shell called
//  tally_core_published.
tally_plan_t *tally_core_seal(tally_core_t *self, int64_t now_ms);
//  The plan's transaction is committed (result NULL: the plan was silent).  Completes the plan's
//  part for the shell (ids and duplicates of confirms, answers, notices, events; for leases whose
//  bodies were fetched, items[].body).
void tally_core_commit(tally_core_t *self, tally_plan_t *plan, const tally_tick_result_t *result,
                       int64_t now_ms);
void tally_core_published(tally_core_t *self, tally_plan_t **plan_p);

//  ---- looking ----------------------------------------------------------------------------------------------

typedef struct {
    uint64_t ready, held, delayed, waiting, leased;    // messages now; waiting: behind their key
    uint64_t bytes;                                    // pending
    int64_t oldest_ms;    // age of the oldest pending message, about; 0 when none
    uint64_t sent, delivered, settled, returned, expired, buried, duplicates, refused,
        stale;    // since the start
} tally_stream_stats_t;

size_t tally_core_queue_count(const tally_core_t *self);
//  Of those that are asked for and not committed.
size_t tally_core_queue_count_planned(const tally_core_t *self);
const tally_queue_row_t *tally_core_queue_at(const tally_core_t *self, size_t index);
const tally_queue_row_t *tally_core_queue_find(const tally_core_t *self, tally_bytes_t name);
const tally_queue_row_t *tally_core_queue_by_id(const tally_core_t *self, uint32_t id);
size_t tally_core_tenant_count(const tally_core_t *self);
const tally_tenant_row_t *tally_core_tenant_at(const tally_core_t *self, size_t index);
const tally_tenant_row_t *tally_core_tenant_find(const tally_core_t *self, tally_bytes_t name);
const tally_tenant_row_t *tally_core_tenant_by_id(const tally_core_t *self, uint32_t id);
//  Sums over the streams of a queue (tenant 0) or a tenant (queue 0) or one stream.
void tally_core_stats(const tally_core_t *self, uint32_t queue, uint32_t tenant, int64_t now_ms,
                      tally_stream_stats_t *stats);

typedef struct {
    uint64_t number;
    char name[TALLY_NAME_BYTES_MAX + 1];
    uint16_t credit;
    uint32_t outstanding;    // messages leased
    uint32_t leases, terms;
    int64_t beat_ms;    // since the last beat
    bool draining;
    uint8_t queue_count;
    uint32_t queues[TALLY_WORKER_QUEUES_MAX];
} tally_worker_info_t;

size_t tally_core_worker_count(const tally_core_t *self);
bool tally_core_worker_at(const tally_core_t *self, size_t index, int64_t now_ms,
                          tally_worker_info_t *info);
size_t tally_core_term_count(const tally_core_t *self);
bool tally_core_term_at(const tally_core_t *self, size_t index, tally_term_row_t *row);
size_t tally_core_memory_bytes(const tally_core_t *self);    // bodies cached now
//  What the pending messages themselves take: entries and cold records.
size_t tally_core_entry_bytes(const tally_core_t *self);
//  Rows that name a queue or tenant which was never loaded: left alone until the next start.
uint64_t tally_core_strays(const tally_core_t *self);
bool tally_core_lease_holds(const tally_core_t *self, uint64_t lease, uint64_t message,
                            uint32_t *tenant);
//  The worker that a lease is given to; 0 when there is no such lease.
uint64_t tally_core_lease_worker(const tally_core_t *self, uint64_t id);

//  Every invariant that can be checked by looking (counts add up, each message in one place, credit kept, heaps in
//  order).  Asserts; O(everything): for tests and the simulator.
void tally_core_check(const tally_core_t *self);

#endif
