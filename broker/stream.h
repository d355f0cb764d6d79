// SPDX-License-Identifier: MIT
//  stream - the waiting messages of one queue and tenant.
//
//  A message is in exactly one place: held by the window, delayed, behind its key, ready, or
//  leased.  It moves only by the functions here, which keep the counts.  Ready messages leave by
//  priority; a level that was passed over TALLY_PASSED_MAX times is served next, so none starves.
//  Streams are made and never go away. Nothing here looks at a clock or a plan.

#ifndef TALLY_STREAM_H
#define TALLY_STREAM_H

#include "broker/core.h"
#include "broker/list.h"
#include "broker/shelf.h"
#include "broker/tenant.h"
#include "broker/term.h"

typedef struct tally_queue tally_queue_t;

#define TALLY_PASSED_MAX 16
#define TALLY_STREAMS_MAX 1000000    // queue and tenant pairs in use

struct tally_stream {
    tally_queue_t *queue;
    tally_tenant_t *tenant;
    tally_shelf_t *shelf;
    tally_heap_t *windows;
    uint64_t number;    // queue << 32 | tenant

    tally_deque_t ready[TALLY_PRIORITY_LEVELS];
    uint8_t levels;    // bit per level that is not empty
    uint8_t passed[TALLY_PRIORITY_LEVELS];

    tally_deque_t held;
    int64_t held_since_ms;       // of the oldest held
    tally_heap_node_t window;    // when they are released
    uint32_t open;               // messages that keep the window open

    tally_list_t *home;    // where it waits for its turn, see tally_queue_place()
    tally_link_t at_home;
    int64_t deficit;             // see rota.h
    tally_member_t *reserved;    // who will get its suspects
    tally_term_t term;
    uint32_t leases;               // of it, not over
    tally_stream_stats_t stats;    // counts of now and since the start
};

tally_stream_t *tally_stream_new(tally_queue_t *queue, tally_tenant_t *tenant, tally_shelf_t *shelf,
                                 tally_heap_t *windows);
void tally_stream_destroy(tally_stream_t **self_p);

//  A message arrives, or is over: the counts of pending ones, here and of the tenant.  The end
//  frees its cold record and makes the next of its key ready.
void tally_stream_begin(tally_stream_t *self, const tally_entry_t *entry);
void tally_stream_end(tally_stream_t *self, tally_entry_t *entry);

//  A message that is due waits from since_ms on: for the window, behind its key, or ready.
void tally_stream_admit(tally_stream_t *self, const tally_entry_t *entry, int64_t since_ms);
//  It waits until due_ms.  A message that heads its key goes on to block it: order before speed.
void tally_stream_delay(tally_stream_t *self, tally_entry_t *entry, int64_t due_ms);
//  Its time has come; `cold` was taken out of the due heap.
void tally_stream_wake(tally_stream_t *self, tally_cold_t *cold, int64_t now_ms);
//  A message that was leased is ready again, before all others of its level.
void tally_stream_return(tally_stream_t *self, const tally_entry_t *entry);
//  It is leased (again, after a restart): its key is busy with it.
void tally_stream_claim(tally_stream_t *self, const tally_entry_t *entry);

//  The message that goes next, NULL when none is ready.  Borrowed until the stream changes.
const tally_entry_t *tally_stream_peek(tally_stream_t *self);
void tally_stream_pop(tally_stream_t *self, tally_entry_t *entry);    // that one
//  So many more, or fewer, are leased.
void tally_stream_lease(tally_stream_t *self, uint32_t messages);
void tally_stream_unlease(tally_stream_t *self, uint32_t messages);

//  Lets go what the window holds.
void tally_stream_release(tally_stream_t *self);
//  The queue's policy changed.
void tally_stream_adapt(tally_stream_t *self);

//  The cold record of an entry, NULL when it is plain.
static inline tally_cold_t *
tally_stream_cold(const tally_stream_t *self, const tally_entry_t *entry)
{
    return entry->cold == 0 ? NULL : tally_shelf_cold(self->shelf, entry->cold);
}

#endif
