// SPDX-License-Identifier: MIT
//  shelf - see shelf.h.

#include "broker/shelf.h"

#include <stdlib.h>

#include "lib/alloc.h"

static bool
is_key(const void *value, uint64_t group, tally_bytes_t bytes)
{
    const tally_key_t *key = value;
    return key->group == group && tally_bytes_equal(tally_key_bytes(key), bytes);
}

void
tally_shelf_init(tally_shelf_t *self, size_t cached_bytes_max, uint64_t seed)
{
    *self = (tally_shelf_t){.cached_bytes_max = cached_bytes_max};
    tally_names_init(&self->keys, seed, is_key);
}

void
tally_shelf_free(tally_shelf_t *self)
{
    for (uint32_t number = 1; number <= self->made; number++) {
        tally_cold_t *cold = tally_shelf_cold(self, number);
        if (cold->used && cold->place != TALLY_COLD_ELSEWHERE) {
            tally_chunk_t *chunk = tally_shelf_uncache(self, &cold->entry);
            tally_chunk_drop(&chunk);
        }
    }
    size_t at = 0;
    for (void *key; (key = tally_table_each(&self->keys.table, &at)) != NULL;) {
        free(key);
    }
    tally_names_free(&self->keys);
    for (size_t i = 0; i < self->blocks.count; i++) {
        free(self->blocks.items[i]);
    }
    free(self->blocks.items);
    tally_heap_free(&self->due);
}

//  ---- cold records ------------------------------------------------------------------------------

uint32_t
tally_shelf_make(tally_shelf_t *self, tally_stream_t *stream)
{
    uint32_t number = self->free;
    if (number != 0) {
        self->free = tally_shelf_cold(self, number)->next;
    } else {
        if (self->made % TALLY_COLD_BLOCK == 0) {
            *TALLY_PUSH(&self->blocks) = tally_alloc_array(TALLY_COLD_BLOCK, sizeof(tally_cold_t));
        }
        assert(self->made < UINT32_MAX);
        number = ++self->made;
    }
    *tally_shelf_cold(self, number) = (tally_cold_t){.stream = stream, .used = true};
    self->cold_count++;
    return number;
}

void
tally_shelf_unmake(tally_shelf_t *self, uint32_t *number)
{
    tally_cold_t *cold = tally_shelf_cold(self, *number);
    assert(cold->used);
    assert(cold->key == NULL);
    assert(!tally_heap_holds(&cold->due));
    cold->used = false;
    cold->next = self->free;
    self->free = *number;
    self->cold_count--;
    *number = 0;
}

//  ---- bodies ------------------------------------------------------------------------------------

void
tally_shelf_cache(tally_shelf_t *self, tally_entry_t *entry, tally_chunk_t *chunk,
                  tally_bytes_t body)
{
    assert(entry->chunk == NULL);
    if (body.size == 0) {
        return;
    }
    if (chunk->waiting == 0) {
        if (self->cached_bytes + chunk->size > self->cached_bytes_max) {
            return;
        }
        self->cached_bytes += chunk->size;
    }
    const uint8_t *at = body.data;
    assert(at >= chunk->data);
    assert(at + body.size <= chunk->data + chunk->size);
    chunk->waiting++;
    entry->chunk = tally_chunk_hold(chunk);
    entry->offset = (uint32_t)(at - chunk->data);
}

tally_chunk_t *
tally_shelf_uncache(tally_shelf_t *self, tally_entry_t *entry)
{
    tally_chunk_t *chunk = entry->chunk;
    entry->chunk = NULL;
    if (chunk == NULL) {
        return NULL;
    }
    assert(chunk->waiting > 0);
    chunk->waiting--;
    if (chunk->waiting == 0) {
        assert(self->cached_bytes >= chunk->size);
        self->cached_bytes -= chunk->size;
    }
    return chunk;
}

//  ---- keys --------------------------------------------------------------------------------------

tally_key_t *
tally_key_hold(tally_shelf_t *shelf, uint64_t group, tally_bytes_t bytes)
{
    assert(bytes.size > 0);
    assert(bytes.size <= TALLY_KEY_BYTES_MAX);
    tally_key_t *key = tally_names_find(&shelf->keys, group, bytes);
    if (key == NULL) {
        key = tally_alloc(sizeof *key + bytes.size);
        key->group = group;
        key->size = (uint8_t)bytes.size;
        memcpy(key->bytes, bytes.data, bytes.size);
        tally_names_put(&shelf->keys, group, bytes, key);
    }
    key->references++;
    return key;
}

void
tally_key_drop(tally_shelf_t *shelf, tally_key_t **key_p)
{
    tally_key_t *key = *key_p;
    *key_p = NULL;
    assert(key->references > 0);
    key->references--;
    if (key->references == 0) {
        assert(key->waiting == 0);
        assert(key->heads == 0);
        void *taken = tally_names_take(&shelf->keys, key->group, tally_key_bytes(key));
        assert(taken == key);
        free(taken);
    }
}

//  A record starts to wait behind the key.
static tally_cold_t *
put_behind(tally_shelf_t *shelf, tally_key_t *key, uint32_t number)
{
    tally_cold_t *cold = tally_shelf_cold(shelf, number);
    assert(cold->key == key);
    assert(cold->place == TALLY_COLD_ELSEWHERE);
    cold->place = TALLY_COLD_BEHIND;
    key->waiting++;
    return cold;
}

void
tally_key_push_front(tally_shelf_t *shelf, tally_key_t *key, uint32_t number)
{
    put_behind(shelf, key, number)->next = key->first;
    key->first = number;
    if (key->last == 0) {
        key->last = number;
    }
}

void
tally_key_push(tally_shelf_t *shelf, tally_key_t *key, uint32_t number)
{
    put_behind(shelf, key, number)->next = 0;
    if (key->last == 0) {
        key->first = number;
    } else {
        tally_shelf_cold(shelf, key->last)->next = number;
    }
    key->last = number;
}

uint32_t
tally_key_pop(tally_shelf_t *shelf, tally_key_t *key)
{
    uint32_t number = key->first;
    if (number == 0) {
        return 0;
    }
    tally_cold_t *cold = tally_shelf_cold(shelf, number);
    assert(cold->place == TALLY_COLD_BEHIND);
    cold->place = TALLY_COLD_ELSEWHERE;
    key->first = cold->next;
    if (key->first == 0) {
        key->last = 0;
    }
    cold->next = 0;
    key->waiting--;
    return number;
}
