// SPDX-License-Identifier: MIT
//  queue - a policy, the streams under it, the workers that take it, and who is served next.
//
//  tally_queue_place() is the one place that decides where a stream waits for its turn, and
//  tally_queue_wake() whether a queue has anything to do: all lists of the scheduler follow from
//  them, so a tick touches only what can move.

#ifndef TALLY_QUEUE_H
#define TALLY_QUEUE_H

#include "broker/crew.h"
#include "broker/stream.h"

struct tally_queue {
    tally_queue_row_t row;
    TALLY_ARRAY(tally_stream_t *) streams;
    uint64_t ready;    // messages, in all streams
    tally_list_t members;
    tally_list_t hungry;        // members that could be leased something
    tally_heap_t candidates;    // members by the terms they hold; not those that drain
    tally_list_t rota;    // streams with ready messages; of an exclusive queue see tally_member_t
    tally_list_t promised;     // streams whose suspects wait for a worker to rest
    tally_list_t unelected;    // exclusive: streams that want a holder
    tally_list_t *work;        // the core's list of queues with something to do
    tally_link_t at_work;
    uint64_t share_tick;    // when `share` was computed
    uint32_t share;         // of the ready messages for one worker
};

typedef struct {
    tally_names_t by_name;
    tally_table_t by_id;
    TALLY_ARRAY(tally_queue_t *) all;
} tally_queues_t;

void tally_queues_init(tally_queues_t *self, uint64_t seed);
void tally_queues_free(tally_queues_t *self);
//  Makes the queue, or replaces its policy.
tally_queue_t *
tally_queues_load(tally_queues_t *self, const tally_queue_row_t *row, tally_list_t *work);
tally_queue_t *tally_queues_find(const tally_queues_t *self, tally_bytes_t name);
tally_queue_t *tally_queues_by_id(const tally_queues_t *self, uint32_t id);

//  To be called whenever something that decides it has changed; cheap when nothing moves.
void tally_queue_place(tally_stream_t *stream);
void tally_queue_wake(tally_queue_t *self);
//  What they decide: the list in which a stream belongs (NULL: it has no turn to wait for), and
//  whether somebody could be elected or leased something.
tally_list_t *tally_queue_home(tally_stream_t *stream);
bool tally_queue_works(const tally_queue_t *self);

#endif
