// SPDX-License-Identifier: MIT
//  shelf - what the streams of a core share: cold records, keys, due times and cached bodies.
//
//  A message that is more than id and body has a cold record: its key, counters, who asked.  While
//  such a message waits outside a deque (for its due time, behind its key), the record holds its
//  entry too.  Records are named by number, and stay where they are until given back.
//
//  Bodies stay in memory up to a budget.  What is counted is the frame they came in, once, as long
//  as one of its bodies waits: that is what memory really costs.

#ifndef TALLY_SHELF_H
#define TALLY_SHELF_H

#include "broker/deque.h"
#include "broker/heap.h"
#include "broker/plan.h"
#include "broker/table.h"

typedef struct tally_stream tally_stream_t;
typedef struct tally_key tally_key_t;

//  Where a message with a cold record is, when its entry is in the record.
typedef enum {
    TALLY_COLD_ELSEWHERE = 0,    // its entry is in a deque or a lease
    TALLY_COLD_DELAYED,          // in the due heap
    TALLY_COLD_BEHIND,           // waits behind its key
} tally_cold_place_t;

typedef struct {
    tally_entry_t entry;    // meaningless elsewhere
    tally_stream_t *stream;
    tally_key_t *key;    // NULL: none
    uint32_t next;       // behind its key, or free: the next one
    tally_heap_node_t due;
    int32_t deliveries, failures, crashes;    // deliveries that are over
    int32_t batch_max;                        // lease it with at most so many; 0: no limit
    tally_asker_t asker;                      // when asked
    uint8_t place;                            // tally_cold_place_t
    bool used;
    bool asked, is_blob, releases;
    bool heads;    // is the one of its key that may be worked
    bool opens;    // keeps the window open
} tally_cold_t;

#define TALLY_COLD_BLOCK 1024

typedef struct {
    TALLY_ARRAY(tally_cold_t *) blocks;    // of TALLY_COLD_BLOCK each
    uint32_t made;                         // records ever made; 0 is none
    uint32_t free;                         // the first free one
    size_t cold_count;
    tally_names_t keys;
    tally_heap_t due;    // of cold records
    size_t cached_bytes, cached_bytes_max;
} tally_shelf_t;

void tally_shelf_init(tally_shelf_t *self, size_t cached_bytes_max, uint64_t seed);
void tally_shelf_free(tally_shelf_t *self);    // records and keys still in use go too

//  A zeroed record.
uint32_t tally_shelf_make(tally_shelf_t *self, tally_stream_t *stream);
void tally_shelf_unmake(tally_shelf_t *self, uint32_t *cold);

//  `number` must not be 0.
static inline tally_cold_t *
tally_shelf_cold(const tally_shelf_t *self, uint32_t number)
{
    assert(number > 0);
    assert(number <= self->made);
    return &self->blocks.items[(number - 1) / TALLY_COLD_BLOCK][(number - 1) % TALLY_COLD_BLOCK];
}

//  Keeps the body in memory for an entry when the budget allows; else the entry is left without.
void tally_shelf_cache(tally_shelf_t *self, tally_entry_t *entry, tally_chunk_t *chunk,
                       tally_bytes_t body);
//  Ends that; the reference goes to the caller, NULL when there was none.
tally_chunk_t *tally_shelf_uncache(tally_shelf_t *self, tally_entry_t *entry);

//  ---- keys: messages of one key, in order, one at a time ----------------------------------------

struct tally_key {
    uint64_t group;          // tells streams apart
    uint32_t first, last;    // cold records that wait behind it
    uint32_t waiting;        // how many
    uint32_t references;     // cold records that name it
    uint32_t heads;          // messages being worked or about to be: 1, or 0
    uint32_t undecided;      // messages that the database has to judge before they enter
    uint8_t size;
    uint8_t bytes[];
};

//  Finds or makes a key, with one more reference.
tally_key_t *tally_key_hold(tally_shelf_t *shelf, uint64_t group, tally_bytes_t bytes);
void tally_key_drop(tally_shelf_t *shelf, tally_key_t **key_p);
void tally_key_push(tally_shelf_t *shelf, tally_key_t *key, uint32_t cold);
void tally_key_push_front(tally_shelf_t *shelf, tally_key_t *key, uint32_t cold);
uint32_t tally_key_pop(tally_shelf_t *shelf, tally_key_t *key);    // 0 when nobody waits

static inline tally_bytes_t
tally_key_bytes(const tally_key_t *key)
{
    return (tally_bytes_t){key->bytes, key->size};
}

#endif
