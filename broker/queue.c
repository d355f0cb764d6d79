// SPDX-License-Identifier: MIT
//  queue - see queue.h.

#include "broker/queue.h"

#include <stdlib.h>

#include "lib/alloc.h"

static bool
is_queue(const void *value, uint64_t group, tally_bytes_t bytes)
{
    const tally_queue_t *queue = value;
    (void)group;
    return tally_bytes_equal(tally_bytes_of(queue->row.name), bytes);
}

void
tally_queues_init(tally_queues_t *self, uint64_t seed)
{
    *self = (tally_queues_t){0};
    tally_names_init(&self->by_name, seed, is_queue);
}

void
tally_queues_free(tally_queues_t *self)
{
    for (size_t i = 0; i < self->all.count; i++) {
        tally_queue_t *queue = self->all.items[i];
        tally_heap_free(&queue->candidates);
        free(queue->streams.items);
        free(queue);
    }
    free(self->all.items);
    tally_names_free(&self->by_name);
    tally_table_free(&self->by_id);
}

static tally_queue_t *
make_queue(tally_queues_t *self, const tally_queue_row_t *row, tally_list_t *work)
{
    tally_queue_t *queue = tally_alloc(sizeof *queue);
    queue->row = *row;
    queue->work = work;
    tally_list_init(&queue->members);
    tally_list_init(&queue->hungry);
    tally_list_init(&queue->rota);
    tally_list_init(&queue->promised);
    tally_list_init(&queue->unelected);
    tally_table_put(&self->by_id, row->id, queue);
    tally_names_put(&self->by_name, 0, tally_bytes_of(queue->row.name), queue);
    *TALLY_PUSH(&self->all) = queue;
    return queue;
}

tally_queue_t *
tally_queues_load(tally_queues_t *self, const tally_queue_row_t *row, tally_list_t *work)
{
    assert(row->id > 0);
    assert(row->batch_max > 0);
    tally_queue_t *queue = tally_queues_by_id(self, row->id);
    if (queue == NULL) {
        return make_queue(self, row, work);
    }
    assert(strcmp(queue->row.name, row->name) == 0);
    queue->row = *row;
    for (size_t i = 0; i < queue->streams.count; i++) {
        tally_stream_adapt(queue->streams.items[i]);
    }
    for (tally_link_t *link = tally_list_first(&queue->members); link != NULL;
         link = tally_list_next(&queue->members, link)) {
        tally_member_place(TALLY_OF(link, tally_member_t, of_queue));
    }
    tally_queue_wake(queue);
    return queue;
}

tally_queue_t *
tally_queues_find(const tally_queues_t *self, tally_bytes_t name)
{
    return tally_names_find(&self->by_name, 0, name);
}

tally_queue_t *
tally_queues_by_id(const tally_queues_t *self, uint32_t id)
{
    return tally_table_find(&self->by_id, id);
}

//  ---- scheduling --------------------------------------------------------------------------------

tally_list_t *
tally_queue_home(tally_stream_t *stream)
{
    tally_queue_t *queue = stream->queue;
    assert(queue != NULL);
    if (stream->reserved != NULL) {
        return &queue->promised;
    }
    if (queue->row.exclusive && tally_term_vacant(stream)) {
        return &queue->unelected;
    }
    tally_member_t *holder = queue->row.exclusive ? stream->term.holder : NULL;
    if (stream->stats.ready == 0 || (queue->row.exclusive && holder == NULL)) {
        return NULL;
    }
    if (stream->tenant->leased >= (uint64_t)stream->tenant->row.leased_max) {
        return &stream->tenant->blocked;
    }
    return holder == NULL ? &queue->rota : &holder->rota;
}

void
tally_queue_place(tally_stream_t *stream)
{
    tally_list_t *home = tally_queue_home(stream);
    if (home == stream->home) {
        return;
    }
    if (stream->home != NULL) {
        tally_list_remove(stream->home, &stream->at_home);
    }
    stream->home = home;
    if (home != NULL) {
        tally_list_append(home, &stream->at_home);
    }
    if (stream->term.holder != NULL) {
        tally_member_place(stream->term.holder);
    }
    tally_queue_wake(stream->queue);
}

bool
tally_queue_works(const tally_queue_t *self)
{
    bool electable = self->unelected.count > 0 && self->candidates.count > 0;
    bool servable = self->hungry.count > 0 && (self->row.exclusive || self->rota.count > 0);
    return electable || servable;
}

void
tally_queue_wake(tally_queue_t *self)
{
    bool works = tally_queue_works(self);
    if (works && !tally_link_in(&self->at_work)) {
        tally_list_append(self->work, &self->at_work);
    } else if (!works && tally_link_in(&self->at_work)) {
        tally_list_remove(self->work, &self->at_work);
    }
}
