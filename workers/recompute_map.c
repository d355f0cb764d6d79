// SPDX-License-Identifier: MIT
//  recompute_map - see recompute_map.h.

#include "workers/recompute_map.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "workers/partial.h"
#include "workers/pointer.h"
#include "workers/recompute_store.h"

#define OUTPUT_BYTES_MAX (1024 * 1024 * 1024)    // of a partial: ours

//  One block in hand.
struct mapping {
    tally_counter_t *counter;
    const tally_delivered_t *item;
    tally_recompute_key_t key;
    int32_t phase, block;
    int64_t *numbers;    // map
    size_t count;
    tally_partial_t *partial;
    tally_problem_t problem;    // why it cannot be worked out
    bool wrong;
};

//  ---- map ---------------------------------------------------------------------------------------

//  A response read, waiting for its survey to be looked up.
struct read_response {
    char *slug, *body;    // owned
    size_t size;
};

struct reading {
    struct read_response items[TALLY_RESPONSES_READ_MAX];
    const char *slugs[TALLY_RESPONSES_READ_MAX];
    size_t count;
};

static bool
take_response(void *context, int64_t number, int32_t survey, const char *slug, tally_bytes_t body)
{
    struct reading *self = context;
    (void)number;
    (void)survey;
    self->items[self->count++] = (struct read_response){.slug = tally_strdup(slug),
                                                        .body = tally_strndup(body.data, body.size),
                                                        .size = body.size};
    return true;
}

static void
add_response(struct mapping *self, const struct read_response *item)
{
    const tally_entry_t *entry = tally_catalog_find(self->counter->catalog,
                                                    self->counter->work->tenant, item->slug);
    tally_response_t response;
    if (entry == NULL) {
        tally_problem_set(&self->problem, "survey \"%s\" cannot be read", item->slug);
        self->wrong = true;
        return;
    }
    if (tally_response_read(&response, (tally_bytes_t){item->body, item->size}, &self->problem)
        == -1) {
        self->wrong = true;
        return;
    }
    if (tally_survey_check(entry->survey, &response, &self->problem) == -1) {
        self->wrong = true;
    } else {
        tally_partial_add(self->partial, entry->survey, &response);
    }
    tally_response_free(&response);
}

static tally_effect_t
look_up_surveys(struct mapping *self, struct reading *reading)
{
    size_t distinct = 0;
    for (size_t i = 0; i < reading->count; i++) {
        bool known = false;
        for (size_t j = 0; j < distinct && !known; j++) {
            known = strcmp(reading->slugs[j], reading->items[i].slug) == 0;
        }
        if (!known) {
            reading->slugs[distinct++] = reading->items[i].slug;
        }
    }
    return tally_catalog_look(self->counter->catalog, self->counter->db,
                              self->counter->work->tenant, reading->slugs, distinct);
}

//  Responses that are gone meanwhile are not there to be counted.
static tally_effect_t
map_block(struct mapping *self)
{
    struct reading *reading = tally_alloc(sizeof *reading);
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t at = 0; at < self->count && effect == TALLY_EFFECT_DONE && !self->wrong;) {
        size_t count = self->count - at;
        count = count < TALLY_RESPONSES_READ_MAX ? count : TALLY_RESPONSES_READ_MAX;
        reading->count = 0;
        effect = tally_counting_store_read(self->counter->db, self->counter->work->tenant,
                                           self->numbers + at, count, take_response, reading);
        if (effect == TALLY_EFFECT_DONE) {
            effect = look_up_surveys(self, reading);
        }
        for (size_t i = 0; i < reading->count; i++) {
            if (effect == TALLY_EFFECT_DONE && !self->wrong) {
                add_response(self, &reading->items[i]);
            }
            free(reading->items[i].slug);
            free(reading->items[i].body);
        }
        at += count;
    }
    free(reading);
    return effect;
}

//  ---- reduce ------------------------------------------------------------------------------------

static bool
take_output(void *context, int32_t block, tally_bytes_t output)
{
    struct mapping *self = context;
    (void)block;
    json_t *json = tally_json_parse(output, OUTPUT_BYTES_MAX, &self->problem);
    if (json == NULL || tally_partial_merge(self->partial, json, &self->problem) == -1) {
        self->wrong = true;
    }
    json_decref(json);
    return !self->wrong;
}

static tally_effect_t
reduce_block(struct mapping *self, int32_t block_size)
{
    int32_t last = (self->block - 1) * block_size, to = self->block * block_size;
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (int32_t next = last; last < to && effect == TALLY_EFFECT_DONE && !self->wrong;
         last = next) {
        effect = tally_recompute_store_outputs(self->counter->db, &self->key, self->phase - 1,
                                               last + 1, to, take_output, self, &next);
        if (next == 0) {
            break;
        }
    }
    return effect;
}

//  ---- one block ---------------------------------------------------------------------------------

static tally_effect_t
write_output(struct mapping *self, tally_bytes_t output)
{
    tally_db_t *db = self->counter->db;
    tally_effect_t effect = tally_effect_of(db, tally_db_begin(db, TALLY_DB_READ_COMMITTED));
    if (effect == TALLY_EFFECT_DONE && self->partial != NULL) {
        effect = tally_recompute_store_put(db, &self->key, self->phase, self->block, output);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_effect_settle(db, self->counter->work->id, &self->item->id, 1);
    }
    return tally_effect_end(db, effect);
}

//  Works the block out, unless nobody wants it any more: then there is no partial.
static tally_effect_t
work_out(struct mapping *self)
{
    tally_recompute_t now;
    tally_effect_t effect = tally_recompute_store_look(self->counter->db, &self->key, &now);
    if (effect != TALLY_EFFECT_DONE || !now.exists || now.phase != self->phase
        || self->block > now.blocks) {
        return effect;
    }
    self->partial = tally_partial_new();
    return self->phase == 0 ? map_block(self) : reduce_block(self, tally_recompute_reduce_block(&now));
}

static void
work_on_block(struct mapping *self)
{
    tally_counter_t *counter = self->counter;
    tally_effect_t effect = work_out(self);
    if (effect == TALLY_EFFECT_DONE && self->wrong) {
        tally_log_error("could not work out a block: %s  tenant=%s recompute=%llu block=%d",
                        self->problem.text, self->key.tenant, (unsigned long long)self->key.id,
                        self->block);
        tally_worker_return(counter->worker, counter->work, &self->item->id, 1, true, -1,
                            self->problem.text);
        return;
    }
    unsigned tries = 0;
    if (effect == TALLY_EFFECT_DONE) {
        json_t *json = self->partial == NULL ? json_array() : tally_partial_encode(self->partial);
        char *text = tally_json_print(json);
        do {
            effect = write_output(self, tally_bytes_of(text));
        } while (tally_effect_try_again(counter->db, effect, ++tries));
        free(text);
        json_decref(json);
    }
    if (effect == TALLY_EFFECT_DONE || tries > 1) {
        counter->committed = true;    // or perhaps so: the broker looks
    }
    if (effect != TALLY_EFFECT_DONE) {
        tally_effect_give_back(counter->worker, counter->work, &self->item->id, 1, effect, "block");
    }
}

//  0, or -1 when it is no block.
static int
read_block(struct mapping *self, const json_t *request)
{
    const char *word = json_string_value(json_object_get(request, "do"));
    json_int_t id = json_integer_value(json_object_get(request, "recompute"));
    json_int_t block = json_integer_value(json_object_get(request, "block"));
    json_int_t phase = json_integer_value(json_object_get(request, "phase"));
    if (word == NULL || id < 1 || block < 1 || block > INT32_MAX / TALLY_RECOMPUTE_BLOCK_MAX) {
        return -1;
    }
    self->key.id = (uint64_t)id;
    self->block = (int32_t)block;
    if (strcmp(word, "map") == 0) {
        self->numbers = tally_numbers_read(json_object_get(request, "numbers"), &self->count);
        return self->numbers == NULL ? -1 : 0;
    }
    self->phase = (int32_t)phase;
    return strcmp(word, "reduce") == 0 && phase >= 1 && phase <= 64 ? 0 : -1;
}

static void
work_on_message(tally_counter_t *counter, const tally_delivered_t *item)
{
    struct mapping self = {.counter = counter,
                           .item = item,
                           .key = {.tenant = counter->work->tenant}};
    tally_problem_t problem;
    json_t *request = tally_json_parse(item->body, TALLY_BODY_INLINE_BYTES_MAX, &problem);
    if (request == NULL || read_block(&self, request) == -1) {
        tally_worker_bury(counter->worker, counter->work, item->id,
                          "it is not a block of a recomputation");
    } else {
        work_on_block(&self);
    }
    json_decref(request);
    tally_partial_destroy(&self.partial);
    free(self.numbers);
}

void
tally_recompute_map_work(tally_counter_t *self)
{
    for (size_t i = 0; i < self->work->count && !tally_worker_interrupted(self->worker); i++) {
        work_on_message(self, &self->work->items[i]);
    }
}
