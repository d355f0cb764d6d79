// SPDX-License-Identifier: MIT
//  term - who is the only worker of an exclusive queue for a tenant, and since when.
//
//  The epoch here is always the committed one.  Between its election and the commit that grants it
//  nobody is the holder for new leases; the one elected is only a name in the plan.

#ifndef TALLY_TERM_H
#define TALLY_TERM_H

#include "broker/heap.h"
#include "broker/list.h"
#include "broker/plan.h"

typedef struct tally_stream tally_stream_t;
typedef struct tally_member tally_member_t;
typedef struct tally_crew tally_crew_t;

//  Lives in the stream of that queue and tenant.
typedef struct {
    uint64_t epoch;     // committed; 0: there never was one
    uint64_t worker;    // to whom it was granted
    char *worker_name;
    tally_member_t *holder;    // that worker while it is connected and takes the queue; else NULL
    tally_link_t of_worker;
    bool vacated;        // its holder went away, the next one is wanted even without work
    bool electing;       // in a plan
    bool granted;        // by the result that is being committed
    uint64_t elected;    // whom the plan names
    char *elected_name;
    int64_t backoff_ms;    // after an election whose row was locked
    tally_heap_node_t retry;
} tally_term_t;

void tally_term_free(tally_term_t *self);
//  True when the stream should get a (new) holder.
bool tally_term_vacant(const tally_stream_t *stream);
//  Puts the election of `member` into the plan.
void tally_term_elect(tally_stream_t *stream, tally_member_t *member, tally_plan_t *plan);
//  The plan of that election is committed.  Notices and events go into the plan.  When not granted,
//  the stream waits in `retries`.
void tally_term_decide(tally_stream_t *stream, const tally_crew_t *crew, tally_heap_t *retries,
                       tally_plan_t *plan, int64_t now_ms);
//  As the database has it; nobody is connected yet.
void tally_term_load(tally_term_t *self, const tally_term_row_t *row);
void tally_term_hold(tally_stream_t *stream, tally_member_t *member);
void tally_term_vacate(tally_stream_t *stream);

#endif
