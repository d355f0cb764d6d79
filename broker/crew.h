// SPDX-License-Identifier: MIT
//  crew - the connected workers: what they take, what they hold, when they were last heard.
//
//  Outstanding messages of a worker never exceed its credit: tally_crew_take() and _give() are the
//  only places that change the count.  Nor does it get more leases than it ends in TALLY_AHEAD_MS at
//  its own pace: what is ready stays here, where it can go to whoever is free first, and goes in
//  larger leases.  A worker that is not joined is only remembered because the
//  database has leases of it; it gets nothing.
//
//  Messages that crashed before are suspects.  A worker that holds some holds nothing else (it is
//  isolated), so that when it dies nobody else is suspected of it; to get there, a worker that is
//  busy is reserved: it takes nothing more until it rests.

#ifndef TALLY_CREW_H
#define TALLY_CREW_H

#include "broker/heap.h"
#include "broker/list.h"
#include "broker/plan.h"
#include "broker/table.h"

typedef struct tally_queue tally_queue_t;
typedef struct tally_stream tally_stream_t;
typedef struct tally_member tally_member_t;
typedef struct tally_crew tally_crew_t;

typedef struct tally_crew_worker tally_crew_worker_t;

//  A worker as one of those that take a queue.
struct tally_member {
    tally_crew_worker_t *worker;
    tally_queue_t *queue;
    tally_link_t of_queue;
    tally_link_t hungry;            // in the queue's list: could be leased something
    tally_heap_node_t candidate;    // in the queue's heap: could be elected
    tally_list_t rota;    // exclusive queue: streams it holds the terms of, with ready messages
};

struct tally_crew_worker {
    uint64_t number;
    char name[TALLY_NAME_BYTES_MAX + 1];
    bool joined, draining;
    uint16_t credit;
    uint32_t outstanding;    // messages leased and not given up by a record
    uint32_t allowed;        // for checking: credit, or what it held when it joined
    uint32_t at_work;        // leases that some of these are of
    int64_t pace_us;         // what it takes for a lease, about
    int64_t turned_ms;       // when it last ended one
    bool has_room;
    int64_t beat_ms;    // last heard
    tally_heap_node_t silence;
    tally_list_t leases;
    bool isolated;                   // holds one lease, of suspects
    tally_stream_t *reserved_for;    // whose suspects it will get when it rests
    tally_list_t *rested;            // the crew's list
    tally_link_t at_rest;
    tally_list_t terms;    // streams
    uint32_t electing;     // elections of it in a plan
    size_t index;          // in the crew's array
    uint8_t turn;          // the member that is served next when there is a choice
    uint8_t member_count;
    tally_member_t members[TALLY_WORKER_QUEUES_MAX];
};

struct tally_crew {
    tally_table_t by_number;
    TALLY_ARRAY(tally_crew_worker_t *) joined;
    tally_heap_t silence;    // by when each is taken for dead
    tally_list_t rested;     // reserved ones that hold nothing any more
};

void tally_crew_init(tally_crew_t *self);
void tally_crew_free(tally_crew_t *self);
//  Joined ones only.
tally_crew_worker_t *tally_crew_find(const tally_crew_t *self, uint64_t number);
//  Finds or makes one that is not joined (leases of it were loaded).
tally_crew_worker_t *tally_crew_expect(tally_crew_t *self, uint64_t number);
//  `queues` has hello->queue_count entries, without repetition.
tally_crew_worker_t *
tally_crew_join(tally_crew_t *self, uint64_t number, const tally_hello_t *hello,
                tally_queue_t *const *queues, uint8_t queue_count, int64_t now_ms);
void tally_crew_beat(tally_crew_t *self, tally_crew_worker_t *worker, int64_t now_ms);
//  One that is not joined is forgotten when it is not heard of until then.
void tally_crew_await(tally_crew_t *self, tally_crew_worker_t *worker, int64_t until_ms);
tally_crew_worker_t *tally_crew_find_awaited(const tally_crew_t *self, uint64_t number);
void tally_crew_drain(tally_crew_worker_t *worker);
//  Takes it off its queues and terms and frees it; it must hold no lease any more.
void tally_crew_remove(tally_crew_t *self, tally_crew_worker_t *worker);

//  It was its turn.
void tally_crew_serve(tally_member_t *member);
uint32_t tally_crew_free_credit(const tally_crew_worker_t *worker);
//  For one more lease: by credit, and by what it has in front of it.
bool tally_crew_has_room(const tally_crew_worker_t *worker);
void tally_crew_take(tally_crew_worker_t *worker, uint32_t messages);    // one lease
//  `over`: with these it has given up all of that lease.
void tally_crew_give(tally_crew_worker_t *worker, uint32_t messages, bool over);
//  It ended a lease, which it had since began_ms.
void tally_crew_pace(tally_crew_worker_t *worker, int64_t began_ms, int64_t now_ms);

//  Its next lease is to be of that stream's suspects: both wait until it rests.
void tally_crew_reserve(tally_member_t *member, tally_stream_t *stream);
void tally_crew_unreserve(tally_crew_worker_t *worker);
void tally_crew_isolate(tally_crew_worker_t *worker);
void tally_crew_rest(tally_crew_worker_t *worker);    // its last lease is over

//  Its terms or elections changed: it may be more or less wanted as a candidate.
void tally_crew_weigh(tally_crew_worker_t *worker);
//  NULL when it does not take the queue.
tally_member_t *tally_crew_member(tally_crew_worker_t *worker, const tally_queue_t *queue);
//  Puts a member into its queue's list of hungry ones, or out of it.
void tally_member_place(tally_member_t *member);
bool tally_member_hungry(const tally_member_t *member);    // where it belongs

#endif
