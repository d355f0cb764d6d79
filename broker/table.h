// SPDX-License-Identifier: MIT
//  table - hash tables: by number, and by bytes from outside.
//
//  Numbers are ours (ids), so a multiplication mixes them.  Bytes come from peers, so they are
//  hashed by SipHash under a seed: nobody outside can choose colliding names.  Open addressing, at
//  most half full, nothing left behind by a removal.  A table owns its slots, never its values.
//  Iteration order must not decide anything.

#ifndef TALLY_TABLE_H
#define TALLY_TABLE_H

#include "lib/bytes.h"

typedef struct {
    uint64_t key;
    void *value;    // NULL: free
} tally_table_slot_t;

//  Zero-initialise.
typedef struct {
    tally_table_slot_t *slots;
    size_t count, room;    // room: a power of two, or 0
} tally_table_t;

void tally_table_free(tally_table_t *self);
void *tally_table_find(const tally_table_t *self, uint64_t key);    // NULL when not there
//  Asserts that it was not there.
void tally_table_put(tally_table_t *self, uint64_t key, void *value);
void *tally_table_take(tally_table_t *self, uint64_t key);    // removes; NULL when not there
void tally_table_clear(tally_table_t *self);                  // keeps the memory
//  Walks: *at starts at 0; NULL at the end.
void *tally_table_each(const tally_table_t *self, size_t *at);

#define TALLY_SEED_BYTES 16

//  By bytes: each value can tell its own.  `group` keeps equal bytes of different owners apart.
typedef struct {
    tally_table_t table;
    uint8_t seed[TALLY_SEED_BYTES];
    bool (*is)(const void *value, uint64_t group, tally_bytes_t bytes);
} tally_names_t;

void tally_names_init(tally_names_t *self, uint64_t seed,
                      bool (*is)(const void *value, uint64_t group, tally_bytes_t bytes));
void tally_names_free(tally_names_t *self);
void *tally_names_find(const tally_names_t *self, uint64_t group, tally_bytes_t bytes);
void tally_names_put(tally_names_t *self, uint64_t group, tally_bytes_t bytes, void *value);
void *tally_names_take(tally_names_t *self, uint64_t group, tally_bytes_t bytes);

#endif
