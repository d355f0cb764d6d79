// SPDX-License-Identifier: MIT
//  recompute_begin - see recompute_begin.h.

#include "workers/recompute_begin.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "workers/pointer.h"

#define NUMBERS_PAGE 10000
#define BODIES_MAX 200    // messages to one statement
#define BODY_BYTES_MAX TALLY_BODY_INLINE_BYTES_MAX
#define EXTEND_MS 60000

struct scatter {
    tally_counter_t *counter;
    const tally_recompute_key_t *key;
    const tally_recompute_t *recompute;
    int64_t *pending;    // numbers that pointers name which are not counted yet
    size_t pending_count, pending_room;
    int64_t *block;    // the block that is being filled
    size_t block_count;
    tally_bytes_t bodies[BODIES_MAX];    // owned
    size_t body_count;
    int32_t blocks;
};

//  ---- messages ----------------------------------------------------------------------------------

static tally_effect_t
send_bodies(struct scatter *self)
{
    if (self->body_count == 0) {
        return TALLY_EFFECT_DONE;
    }
    tally_effect_t effect = tally_recompute_store_send(self->counter->db, self->key->tenant,
                                                       self->bodies, self->body_count);
    for (size_t i = 0; i < self->body_count; i++) {
        free((void *)(uintptr_t)self->bodies[i].data);
    }
    self->body_count = 0;
    return effect;
}

static tally_effect_t
add_body(struct scatter *self, char *text)
{
    self->bodies[self->body_count++] = tally_bytes_of(text);
    return self->body_count < BODIES_MAX ? TALLY_EFFECT_DONE : send_bodies(self);
}

static tally_effect_t
end_block(struct scatter *self)
{
    if (self->block_count == 0) {
        return TALLY_EFFECT_DONE;
    }
    size_t room = BODY_BYTES_MAX;
    char *text = tally_alloc(room);
    int length = snprintf(text, room,
                          "{\"do\":\"map\",\"recompute\":%llu,\"block\":%d,\"numbers\":[",
                          (unsigned long long)self->key->id, ++self->blocks);
    for (size_t i = 0; i < self->block_count; i++) {
        length += snprintf(text + length, room - (size_t)length, "%s%lld", i == 0 ? "" : ",",
                           (long long)self->block[i]);
    }
    length += snprintf(text + length, room - (size_t)length, "]}");
    assert((size_t)length < room);    // TALLY_RECOMPUTE_BLOCK_MAX is chosen so
    self->block_count = 0;
    return add_body(self, text);
}

tally_effect_t
tally_recompute_scatter_reduce(tally_counter_t *counter, const tally_recompute_key_t *key,
                               int32_t phase, int32_t blocks)
{
    struct scatter self = {.counter = counter, .key = key};
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (int32_t block = 1; block <= blocks && effect == TALLY_EFFECT_DONE; block++) {
        char
            *text = tally_format("{\"do\":\"reduce\",\"recompute\":%llu,\"phase\":%d,\"block\":%d}",
                                 (unsigned long long)key->id, phase, block);
        effect = add_body(&self, text);
    }
    tally_effect_t rest = send_bodies(&self);    // frees them as well
    return effect == TALLY_EFFECT_DONE ? rest : effect;
}

//  ---- which responses ---------------------------------------------------------------------------

static void
take_pointer(void *context, tally_bytes_t body)
{
    struct scatter *self = context;
    tally_problem_t problem;
    tally_pointer_t pointer;
    json_t *json = tally_json_parse(body, TALLY_BODY_INLINE_BYTES_MAX, &problem);
    //  What is no pointer will not be counted either.
    if (json != NULL && json_object_get(json, "do") == NULL
        && tally_pointer_read(&pointer, json, &problem) == 0) {
        while (self->pending_count + pointer.count > self->pending_room) {
            self->pending_room = self->pending_room == 0 ? 1024 : self->pending_room * 2;
            self->pending = tally_realloc_array(self->pending, self->pending_room,
                                                sizeof *self->pending);
        }
        memcpy(self->pending + self->pending_count, pointer.numbers,
               pointer.count * sizeof *pointer.numbers);
        self->pending_count += pointer.count;
        tally_pointer_free(&pointer);
    }
    json_decref(json);
}

static int
compare_numbers(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

static tally_effect_t
collect_pending(struct scatter *self)
{
    tally_page_t page = {0};
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (bool more = true; more && effect == TALLY_EFFECT_DONE;) {
        effect = tally_recompute_store_pointers(self->counter->db, self->key->tenant, &page,
                                                take_pointer, self, &more);
    }
    if (self->pending_count > 0) {
        qsort(self->pending, self->pending_count, sizeof *self->pending, compare_numbers);
    }
    return effect;
}

static bool
is_pending(const struct scatter *self, int64_t number)
{
    return self->pending_count > 0
           && bsearch(&number, self->pending, self->pending_count, sizeof *self->pending,
                      compare_numbers)
                  != NULL;
}

static tally_effect_t
scatter_page(struct scatter *self, const int64_t *numbers, size_t count)
{
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t i = 0; i < count && effect == TALLY_EFFECT_DONE; i++) {
        if (is_pending(self, numbers[i])) {
            continue;
        }
        self->block[self->block_count++] = numbers[i];
        if (self->block_count == (size_t)self->recompute->block) {
            effect = end_block(self);
        }
    }
    return effect;
}

static tally_effect_t
scatter_all(struct scatter *self)
{
    int64_t *numbers = tally_alloc_array(NUMBERS_PAGE, sizeof *numbers);
    int64_t after = 0;
    tally_effect_t effect;
    size_t count;
    do {
        effect = tally_recompute_store_numbers(self->counter->db, self->key->tenant,
                                               self->recompute->survey, after, numbers,
                                               NUMBERS_PAGE, &count);
        if (effect == TALLY_EFFECT_DONE) {
            effect = scatter_page(self, numbers, count);
        }
        if (tally_worker_interrupted(self->counter->worker)) {
            effect = TALLY_EFFECT_STALE;
        }
        after = count == 0 ? after : numbers[count - 1];
    } while (count > 0 && effect == TALLY_EFFECT_DONE);
    free(numbers);
    if (effect == TALLY_EFFECT_DONE) {
        effect = end_block(self);
    }
    tally_effect_t rest = send_bodies(self);    // frees them as well
    return effect == TALLY_EFFECT_DONE ? rest : effect;
}

//  ---- the transaction ---------------------------------------------------------------------------

static tally_effect_t
write_beginning(struct scatter *self)
{
    tally_db_t *db = self->counter->db;
    const tally_recompute_t *recompute = self->recompute;
    tally_effect_t effect = tally_effect_of(db, tally_db_begin(db, TALLY_DB_REPEATABLE_READ));
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_counting_store_hold(db, self->counter->work);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_insert(db, self->key, recompute);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = collect_pending(self);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = scatter_all(self);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_step(db, self->key, 0, 0, self->blocks);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_watch(db, self->key, recompute->survey);
    }
    return tally_effect_end(db, effect);
}

tally_effect_t
tally_recompute_begin(tally_counter_t *counter, const tally_recompute_key_t *key,
                      const tally_recompute_t *recompute)
{
    assert(recompute->block >= TALLY_RECOMPUTE_BLOCK_MIN);
    assert(recompute->block <= TALLY_RECOMPUTE_BLOCK_MAX);
    struct scatter self = {.counter = counter, .key = key, .recompute = recompute};
    self.block = tally_alloc_array((size_t)recompute->block, sizeof *self.block);
    tally_worker_extend(counter->worker, counter->work, EXTEND_MS);
    tally_worker_flush(counter->worker);
    tally_effect_t effect = write_beginning(&self);
    free(self.block);
    free(self.pending);
    return effect;
}
