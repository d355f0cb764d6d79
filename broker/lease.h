// SPDX-License-Identifier: MIT
//  lease - messages that one worker holds, and what is to become of each.
//
//  A message of a lease is with the worker until a record or the deadline says how it ends; then
//  that end is wanted, is written by a plan, and once the plan's result says that the database did
//  it, the message is over.  Where the database did not (somebody held the row, or settled by SQL),
//  the end stays wanted or is over by SQL. Memory here is never ahead of the database: ending.c
//  moves messages, this file only keeps them.

#ifndef TALLY_LEASE_H
#define TALLY_LEASE_H

#include "broker/crew.h"
#include "broker/stream.h"

//  Beside tally_end_kind_t: how a leased message ends.
#define TALLY_END_OPEN 0     // not known yet: it is with the worker
#define TALLY_END_NOTED 4    // the worker says it settled it by SQL; to be looked at
#define TALLY_END_OVER 5

//  What an end needs beyond its kind.
typedef struct {
    tally_chunk_t *chunk;    // one reference; the bytes below are in it, or static
    tally_bytes_t text, body;
    int64_t delay_ms;
    int32_t failures, crashes, batch_max;
} tally_want_t;

typedef struct {
    tally_entry_t entry;    // without body
    tally_want_t *want;     // NULL: nothing
    uint8_t end;            // tally_end_kind_t or one of the above
    bool out;               // that end is in the plan that is out
    bool still;             // found in the lease's row, while a result is looked at
} tally_leased_t;

typedef struct {
    uint64_t id;
    tally_stream_t *stream;
    tally_crew_worker_t *worker;    // NULL: gone
    uint64_t worker_number;
    tally_link_t of_worker;
    tally_link_t touched;    // in the core's list: has ends that no plan has yet
    tally_link_t ending;     // in the list of the plan that is out
    bool live;               // committed: records may name it
    bool whole;              // that plan settles it as a whole
    bool claimed;            // and it happened
    bool skipped;            // and it did not, last time: look as well
    bool checked;            // that plan looks at its row
    bool alone;              // when its worker died it held nothing else
    bool crashes;            // when its deadline passes it crashed; else it is returned uncounted
    const tally_lease_row_t *left;    // what the look found, while a result is looked at
    int64_t began_ms;                 // when it was committed
    int64_t deadline_ms;
    int64_t retry_ms;    // when skipped ends go into a plan again; 0: none were skipped
    int64_t backoff_ms;
    tally_heap_node_t due;
    uint64_t extended_tick;    // the plan in which its extension is,
    size_t extended_at;        // and where
    uint32_t size;
    uint32_t pending;    // messages that are not over
    uint32_t open;       // of them, still with the worker (or noted)
    uint32_t held;       // of them, not noted: they count against its credit while it is there
    uint32_t hint;       // where the next lookup starts
    tally_leased_t messages[];    // ascending ids
} tally_lease_t;

//  `entries` need not be sorted; their bodies must be uncached.  worker NULL: gone already.
tally_lease_t *tally_lease_new(uint64_t id, tally_stream_t *stream, tally_crew_worker_t *worker,
                               const tally_entry_t *entries, size_t count);
//  Frees it and its wants; it must be in no list any more, but a worker's.
void tally_lease_destroy(tally_lease_t **self_p);
//  NULL when there is no such message in it, or it is over.
tally_leased_t *tally_lease_find(tally_lease_t *self, uint64_t message);
//  The worker gave up so many messages of it.
void tally_lease_give(tally_lease_t *self, uint32_t messages);
//  The worker is gone.
void tally_lease_orphan(tally_lease_t *self);

#endif
