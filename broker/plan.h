// SPDX-License-Identifier: MIT
//  plan - what one tick will make true, and what is to be told once it is.
//
//  The core fills a plan, the store writes it as one transaction, the shell publishes it after
//  COMMIT is known good.  A plan is data: no behaviour, no connection, no socket.  All pointers
//  into bodies and texts stay valid until the plan is cleared, since the plan holds references to
//  the chunks they live in.
//
//  In the transaction the sections are written in the order in which they stand in tally_plan_t.

#ifndef TALLY_PLAN_H
#define TALLY_PLAN_H

#include "broker/chunk.h"
#include "broker/rows.h"
#include "lib/wire.h"

//  A growing array of a type; the element count and the pointer are public.
#define TALLY_ARRAY(type)                                                                          \
    struct {                                                                                       \
        type *items;                                                                               \
        size_t count;                                                                              \
        size_t room;                                                                               \
    }

//  A message to insert.  Without dedupe key: in one set-based insert.  With one (dedupe.size > 0),
//  in a second statement that inserts only where the key is new or its time is over, and returns
//  the ids it inserted. is_blob: the row's body is empty, the bytes go to tally.blob under the same
//  id.
typedef struct {
    uint64_t id;
    uint32_t tenant, queue;
    uint8_t priority;
    bool is_blob, releases;
    int64_t delay_ms;    // 0: due at once (column due null)
    tally_bytes_t body, key, dedupe;
    int64_t dedupe_kept_ms;
    const tally_asker_t *asker;    // NULL: nobody asked
} tally_plan_message_t;

//  A sender's state after this tick's sends.
typedef struct {
    uint8_t sender[TALLY_SENDER_BYTES];
    int64_t last;
    const int64_t *missing;    // ascending
    size_t missing_count;
} tally_plan_sender_t;

//  A lease to insert: message ids are plan->ids[first .. first + count - 1], tally.lease.messages.
typedef struct {
    uint64_t id;
    uint32_t tenant, queue;
    uint64_t worker;
    uint32_t visible_ms;
    size_t first, count;
    uint64_t epoch;    // of the term, for the delivery; not stored
} tally_plan_lease_t;

//  What becomes of one message of a lease that ends, wholly or in part.
typedef enum {
    TALLY_END_SETTLE = 1,    // delete message (and blob unless kept)
    //  message stays: write its counters, due, batch_max, history; past_window = true
    TALLY_END_RETURN = 2,
    TALLY_END_BURY = 3,    // move to dead_letter with reason and history
} tally_end_kind_t;

typedef struct {
    uint64_t lease;
    uint64_t message;
    uint8_t kind;                                        // tally_end_kind_t
    bool keep_blob;                                      // settle of a blob message
    int32_t deliveries, failures, crashes, batch_max;    // return, bury: the new values
    int64_t delay_ms;                                    // return: due after; 0: at once (due null)
    tally_bytes_t
        text;    // return, bury: appended to history ("" when nothing); bury: also the reason
} tally_plan_end_t;

//  A term to grant: epoch must be the stored one plus one (0 when there is no row).  The row may be
//  locked by a worker that stopped inside its transaction: then it is skipped, not granted, and the
//  core tries again later.
typedef struct {
    uint32_t queue, tenant;
    uint64_t epoch;
    uint64_t worker;
    const char *worker_name;
} tally_plan_term_t;

//  A result to keep for who asked, if the message is over by then: somebody may hold its lease, and
//  settle it.
typedef struct {
    tally_asker_t asker;
    uint32_t tenant;
    uint64_t message;
    uint8_t outcome;    // tally_outcome_t
    int64_t kept_ms;
    tally_bytes_t body;
} tally_plan_result_t;

//  A body that is not in memory, wanted for a lease of this plan.
typedef struct {
    uint32_t tenant;
    uint64_t message;
} tally_plan_fetch_t;

//  ---- for the shell, after COMMIT ---------------------------------------------------------------

typedef struct {
    uint8_t sender[TALLY_SENDER_BYTES];
    uint64_t sequence;
    size_t first, count;    // plan->sent_ids: zero where a dedupe key was known
    uint16_t duplicates;    // filled in at commit
} tally_plan_confirm_t;

//  One message of a delivery.  Of those in `fetches` the body is filled in at commit, out of the
//  tick's results.
typedef struct {
    uint64_t id;    // 0 after commit: its row is gone, leave it out
    uint8_t options;
    uint16_t deliveries, failures, crashes;
    tally_bytes_t key, body;
} tally_plan_item_t;

//  A notice for a worker's lane.
typedef struct {
    uint64_t worker;
    uint8_t kind;              // tally_notice_kind_t
    uint32_t queue, tenant;    // ids; 0 when the kind has none
    uint64_t epoch;
} tally_plan_notice_t;

//  A result to hand over at once; from_store: settled by SQL, the bytes are in tally.result.
typedef struct {
    tally_asker_t asker;
    uint8_t outcome;
    bool from_store;
    tally_bytes_t body;
} tally_plan_answer_t;

//  Something people want to see on the feed.
typedef enum {
    TALLY_EVENT_TERM = 1,    // granted
    TALLY_EVENT_BURIED,
    TALLY_EVENT_EXPIRED,    // lease
    TALLY_EVENT_WORKER_DEAD,
} tally_event_kind_t;

typedef struct {
    uint8_t kind;
    uint32_t queue, tenant;
    uint64_t worker, epoch, id;
} tally_plan_event_t;

typedef struct {
    //  of the tick, with the broker's epoch; written first as the tick's own record
    uint64_t number;

    //  ---- written by the store, in this order ---------------------------------------------------
    TALLY_ARRAY(tally_tenant_row_t) tenants;    // new: insert (id, name) on conflict do nothing
    TALLY_ARRAY(tally_plan_message_t) messages;
    TALLY_ARRAY(tally_plan_sender_t) senders;    // upsert
    //  > 0: move up to so many rows of tally.inbox, oldest first (skip locked), into message, with
    //  ids inbox_id, inbox_id + 1, ... in their order; return the new rows
    size_t inbox_max;
    uint64_t inbox_id;
    //  leases that end with all their messages settled, as one set: claim the lease rows (for
    //  update skip locked), delete their messages and blobs; return the lease ids claimed
    TALLY_ARRAY(uint64_t) settled;
    //  other endings: only where the lease row could be claimed (skip locked) and still holds the
    //  message; shrinks the row, deletes it when empty; return (lease, message) done
    TALLY_ARRAY(tally_plan_end_t) ends;
    //  leases to look at (after ends): return (id, messages) of those that still exist; the core
    //  lists those of `ends` here as well
    TALLY_ARRAY(uint64_t) checks;
    TALLY_ARRAY(tally_plan_term_t) terms;    // return (queue, tenant) granted
    TALLY_ARRAY(tally_plan_result_t)
    results;    // where the message is over, on conflict do nothing
    TALLY_ARRAY(tally_plan_lease_t) leases;
    TALLY_ARRAY(uint64_t) ids;                  // of the leases
    TALLY_ARRAY(uint64_t) extended;             // leases whose deadline moves (skip locked) ...
    TALLY_ARRAY(uint32_t) extended_ms;          //   ... to so many ms from now; same length
    TALLY_ARRAY(tally_plan_fetch_t) fetches;    // return (message, body)
    TALLY_ARRAY(tally_queue_row_t) queues;      // upsert by name; return the stored rows
    TALLY_ARRAY(tally_tenant_row_t) tenant_limits;    // update weight and quotas by id
    //  dead letters back into message: counters and batch_max 0, history kept with 'retried by
    //  operator', past_window true, same id; return the message rows
    TALLY_ARRAY(tally_plan_fetch_t) retried;
    //  dead letters (and their blobs) to delete; return (tenant, id) deleted
    TALLY_ARRAY(tally_plan_fetch_t) dropped;
    //  delete results, dedupe keys past their time, senders unseen for 30 days, tick records older
    //  than 10 000 ticks of this epoch and of older epochs; a few thousand of each at most
    bool housekeep;

    //  ---- for the shell -------------------------------------------------------------------------
    TALLY_ARRAY(uint64_t) sent_ids;
    TALLY_ARRAY(tally_plan_confirm_t) confirms;
    TALLY_ARRAY(tally_plan_item_t) items;    // of the leases, same positions as ids
    TALLY_ARRAY(tally_plan_notice_t) notices;
    TALLY_ARRAY(tally_plan_answer_t) answers;
    TALLY_ARRAY(tally_plan_event_t) events;

    //  ---- keeps bodies and texts alive ----------------------------------------------------------
    TALLY_ARRAY(tally_chunk_t *) chunks;    // one reference each
    TALLY_ARRAY(int64_t) missing;           // what senders[].missing points into
    size_t body_bytes;                      // to bound a tick
} tally_plan_t;

//  What PostgreSQL answered; owned by the store, valid until its next tick starts.  The arrays are
//  in no particular order.
typedef struct {
    TALLY_ARRAY(uint64_t) deduped;    // ids of messages with a dedupe key that were inserted
    TALLY_ARRAY(tally_message_row_t) arrived;    // moved from the inbox, ascending ids
    TALLY_ARRAY(uint64_t) settled;               // leases claimed
    struct tally_ended {
        uint64_t lease, message;
    } * ended;
    size_t ended_count, ended_room;
    //  of `checks`: still there, with what they hold (ids: plain array in the row)
    TALLY_ARRAY(tally_lease_row_t) left;
    TALLY_ARRAY(tally_plan_fetch_t) granted;    // terms: tenant and, in message, the queue
    struct tally_fetched {
        uint64_t message;
        tally_bytes_t body;
    } * fetched;
    size_t fetched_count, fetched_room;
    TALLY_ARRAY(tally_queue_row_t) queues;
    TALLY_ARRAY(tally_message_row_t) retried;
    TALLY_ARRAY(tally_plan_fetch_t) dropped;
} tally_tick_result_t;

tally_plan_t *tally_plan_new(void);
void tally_plan_destroy(tally_plan_t **self_p);
//  Empties the plan, drops its references, keeps its memory.
void tally_plan_clear(tally_plan_t *self);
//  Nothing to write and nothing to tell.
bool tally_plan_empty(const tally_plan_t *self);
//  Only to be told, nothing to write: the shell need not trouble PostgreSQL.
bool tally_plan_silent(const tally_plan_t *self);

//  Appends a zeroed element and returns its address (valid until the next push).
#define TALLY_PUSH(array)                                                                          \
    (tally_array_grow((void **)&(array)->items, (array)->count, &(array)->room,                    \
                      sizeof *(array)->items),                                                     \
     &(array)->items[(array)->count++])
void tally_array_grow(void **items_p, size_t count, size_t *room,
                      size_t item_bytes);    // zeroes the new element

#endif
