// SPDX-License-Identifier: MIT
//  recompute_map - see recompute_map.h.
//
//  A lease is worked out block by block and written in one transaction.  A block that cannot be worked out is
//  returned by itself.

#include "workers/recompute_map.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "workers/partial.h"
#include "workers/pointer.h"
#include "workers/recompute_store.h"

#define OUTPUT_BYTES_MAX (1024 * 1024 * 1024)    // of a partial: ours

//  A response read, waiting for its survey to be looked up.
struct read_response {
    char *slug, *body;    // owned
    size_t size;
};

//  One block: a message of the lease.
struct block {
    const tally_delivered_t *item;
    tally_recompute_key_t key;
    int32_t phase, number;
    int32_t size;        // reduce: partials to a block
    int64_t *numbers;    // map
    size_t count;
    struct read_response *read;    // map: of these numbers
    size_t read_count;
    bool wanted;    // its recomputation is in its phase
    bool wrong;     // it cannot be worked out, and the problem says why
    tally_problem_t problem;
    tally_partial_t *partial;
    char *output;    // printed
};

struct mapping {
    tally_counter_t *counter;
    struct block *blocks;
    size_t count;
};

static tally_effect_t
for_each_block(struct mapping *self, tally_effect_t (*step)(struct mapping *, struct block *))
{
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t i = 0; i < self->count && effect == TALLY_EFFECT_DONE; i++) {
        if (self->blocks[i].wanted && !self->blocks[i].wrong) {
            effect = step(self, &self->blocks[i]);
        }
    }
    return effect;
}

//  ---- is it wanted ------------------------------------------------------------------------------

static tally_effect_t
look_up_recomputations(struct mapping *self)
{
    tally_recompute_t now = {.exists = false};
    uint64_t known = 0;
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t i = 0; i < self->count && effect == TALLY_EFFECT_DONE; i++) {
        struct block *block = &self->blocks[i];
        if (block->key.id != known) {
            effect = tally_recompute_store_look(self->counter->db, &block->key, &now);
            known = block->key.id;
        }
        block->wanted = now.exists && now.phase == block->phase && block->number <= now.blocks;
        block->size = tally_recompute_reduce_block(&now);
    }
    return effect;
}

//  ---- map ---------------------------------------------------------------------------------------

static bool
take_response(void *context, int64_t number, int32_t survey, const char *slug, tally_bytes_t body)
{
    struct block *self = context;
    (void)number;
    (void)survey;
    self->read[self->read_count++] = (struct read_response){.slug = tally_strdup(slug),
                                                            .body = tally_strndup(body.data,
                                                                                  body.size),
                                                            .size = body.size};
    return true;
}

//  Responses that are gone meanwhile are not there to be counted.
static tally_effect_t
read_responses(struct mapping *self, struct block *block)
{
    tally_effect_t effect = TALLY_EFFECT_DONE;
    block->read = tally_alloc_array(block->count, sizeof *block->read);
    for (size_t at = 0; at < block->count && effect == TALLY_EFFECT_DONE;) {
        size_t count = block->count - at;
        count = count < TALLY_RESPONSES_READ_MAX ? count : TALLY_RESPONSES_READ_MAX;
        effect = tally_counting_store_read(self->counter->db, block->key.tenant,
                                           block->numbers + at, count, take_response, block);
        at += count;
    }
    return effect;
}

//  All surveys that the lease's responses answer, in one look.
static tally_effect_t
look_up_surveys(struct mapping *self)
{
    const char **slugs = NULL;
    size_t count = 0, room = 0;
    for (size_t i = 0; i < self->count; i++) {
        for (size_t j = 0; j < self->blocks[i].read_count; j++) {
            const char *slug = self->blocks[i].read[j].slug;
            for (size_t k = 0; k < count && slug != NULL; k++) {
                slug = strcmp(slugs[k], slug) == 0 ? NULL : slug;
            }
            if (slug != NULL && count == room) {
                room = room == 0 ? 16 : room * 2;
                slugs = tally_realloc_array(slugs, room, sizeof *slugs);
            }
            if (slug != NULL) {
                slugs[count++] = slug;
            }
        }
    }
    tally_effect_t effect = tally_catalog_look(self->counter->catalog, self->counter->db,
                                               self->counter->work->tenant, slugs, count);
    free(slugs);
    return effect;
}

static int
add_response(const struct mapping *self, struct block *block, const struct read_response *read)
{
    const tally_entry_t *entry = tally_catalog_find(self->counter->catalog, block->key.tenant,
                                                    read->slug);
    tally_response_t response;
    if (entry == NULL) {
        return tally_problem_set(&block->problem, "survey \"%s\" cannot be read", read->slug);
    }
    tally_bytes_t body = {read->body, read->size};
    if (tally_response_read(&response, body, &block->problem) == -1) {
        return -1;
    }
    int rc = tally_survey_check(entry->survey, &response, &block->problem);
    if (rc == 0) {
        tally_partial_add(block->partial, entry->survey, &response);
    }
    tally_response_free(&response);
    return rc;
}

//  ---- reduce ------------------------------------------------------------------------------------

static bool
take_output(void *context, int32_t number, tally_bytes_t output)
{
    struct block *self = context;
    (void)number;
    json_t *json = tally_json_parse_made(output, OUTPUT_BYTES_MAX, &self->problem);
    if (json == NULL || tally_partial_merge(self->partial, json, &self->problem) == -1) {
        self->wrong = true;
    }
    json_decref(json);
    return !self->wrong;
}

static tally_effect_t
merge_outputs(struct mapping *self, struct block *block)
{
    int32_t last = (block->number - 1) * block->size, to = block->number * block->size;
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (int32_t next = last; last < to && effect == TALLY_EFFECT_DONE && !block->wrong;
         last = next) {
        effect = tally_recompute_store_outputs(self->counter->db, &block->key, block->phase - 1,
                                               last + 1, to, take_output, block, &next);
        if (next == 0) {
            break;
        }
    }
    return effect;
}

//  ---- the lease ---------------------------------------------------------------------------------

static tally_effect_t
read_input(struct mapping *self, struct block *block)
{
    return block->phase == 0 ? read_responses(self, block) : TALLY_EFFECT_DONE;
}

static tally_effect_t
work_out(struct mapping *self, struct block *block)
{
    tally_effect_t effect = TALLY_EFFECT_DONE;
    block->partial = tally_partial_new();
    if (block->phase > 0) {
        effect = merge_outputs(self, block);
    }
    for (size_t i = 0; i < block->read_count && !block->wrong; i++) {
        block->wrong = add_response(self, block, &block->read[i]) == -1;
    }
    if (effect == TALLY_EFFECT_DONE && !block->wrong) {
        json_t *json = tally_partial_encode(block->partial);
        block->output = tally_json_print(json);
        json_decref(json);
    }
    return effect;
}

//  Writes what was worked out and settles all but the wrong ones: nobody wants the others any more.
static tally_effect_t
write_outputs(struct mapping *self)
{
    tally_db_t *db = self->counter->db;
    tally_output_t *outputs = tally_alloc_array(self->count, sizeof *outputs);
    uint64_t *ids = tally_alloc_array(self->count, sizeof *ids);
    size_t output_count = 0, id_count = 0;
    for (size_t i = 0; i < self->count; i++) {
        const struct block *block = &self->blocks[i];
        if (block->output != NULL) {
            outputs[output_count++] = (tally_output_t){.id = block->key.id,
                                                       .phase = block->phase,
                                                       .block = block->number,
                                                       .output = tally_bytes_of(block->output)};
        }
        if (!block->wrong) {
            ids[id_count++] = block->item->id;
        }
    }
    tally_effect_t effect = TALLY_EFFECT_DONE;
    if (id_count > 0) {
        effect = tally_effect_of(db, tally_db_begin(db, TALLY_DB_READ_COMMITTED));
        if (effect == TALLY_EFFECT_DONE && output_count > 0) {
            effect = tally_recompute_store_put(db, self->counter->work->tenant, outputs,
                                               output_count);
        }
        if (effect == TALLY_EFFECT_DONE) {
            effect = tally_effect_settle(db, self->counter->work->id, ids, id_count);
        }
        effect = tally_effect_end(db, effect);
    }
    free(outputs);
    free(ids);
    return effect;
}

//  Gives back the blocks that were to be written (wrong false), or those that cannot be worked out.
static void
return_blocks(const struct mapping *self, bool wrong, tally_effect_t effect)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct block *block = &self->blocks[i];
        if (block->wrong && wrong) {
            //  The reason may quote a response; it goes back with the message.
            tally_log_error("could not work out a block  tenant=%s recompute=%llu block=%d",
                            block->key.tenant, (unsigned long long)block->key.id, block->number);
            tally_worker_return(self->counter->worker, self->counter->work, &block->item->id, 1,
                                true, -1, block->problem.text);
        } else if (!block->wrong && !wrong) {
            tally_effect_give_back(self->counter->worker, self->counter->work, &block->item->id, 1,
                                   effect, "block");
        }
    }
}

static void
work_on_blocks(struct mapping *self)
{
    tally_effect_t effect = look_up_recomputations(self);
    if (effect == TALLY_EFFECT_DONE) {
        effect = for_each_block(self, read_input);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = look_up_surveys(self);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = for_each_block(self, work_out);
    }
    unsigned tries = 0;
    if (effect == TALLY_EFFECT_DONE) {
        do {
            effect = write_outputs(self);
        } while (tally_effect_try_again(self->counter->db, effect, ++tries));
    }
    if (effect == TALLY_EFFECT_DONE || tries > 1) {
        self->counter->committed = true;    // or perhaps so: the broker looks
    }
    return_blocks(self, true, effect);
    if (effect != TALLY_EFFECT_DONE) {
        return_blocks(self, false, effect);
    }
}

//  ---- messages ----------------------------------------------------------------------------------

//  0, or -1 when it is no block.
static int
read_block(struct block *self, const json_t *request)
{
    const char *word = json_string_value(json_object_get(request, "do"));
    json_int_t id = json_integer_value(json_object_get(request, "recompute"));
    json_int_t number = json_integer_value(json_object_get(request, "block"));
    json_int_t phase = json_integer_value(json_object_get(request, "phase"));
    if (word == NULL || id < 1 || number < 1 || number > INT32_MAX / TALLY_RECOMPUTE_BLOCK_MAX) {
        return -1;
    }
    self->key.id = (uint64_t)id;
    self->number = (int32_t)number;
    if (strcmp(word, "map") == 0) {
        self->numbers = tally_numbers_read(json_object_get(request, "numbers"), &self->count);
        return self->numbers == NULL || self->count > TALLY_RECOMPUTE_BLOCK_MAX ? -1 : 0;
    }
    self->phase = (int32_t)phase;
    return strcmp(word, "reduce") == 0 && phase >= 1 && phase <= 64 ? 0 : -1;
}

static void
free_block(struct block *self)
{
    for (size_t i = 0; i < self->read_count; i++) {
        free(self->read[i].slug);
        free(self->read[i].body);
    }
    free(self->read);
    free(self->numbers);
    free(self->output);
    tally_partial_destroy(&self->partial);
    *self = (struct block){0};
}

void
tally_recompute_map_work(tally_counter_t *counter)
{
    const tally_work_t *work = counter->work;
    struct mapping self = {.counter = counter};
    self.blocks = tally_alloc_array(work->count, sizeof *self.blocks);
    for (size_t i = 0; i < work->count; i++) {
        struct block *block = &self.blocks[self.count];
        tally_problem_t problem;
        *block = (struct block){.item = &work->items[i], .key = {.tenant = work->tenant}};
        json_t *request = tally_json_parse(work->items[i].body, TALLY_BODY_INLINE_BYTES_MAX,
                                           &problem);
        if (request == NULL || read_block(block, request) == -1) {
            tally_worker_bury(counter->worker, work, work->items[i].id,
                              "it is not a block of a recomputation");
            free_block(block);
        } else {
            self.count++;
        }
        json_decref(request);
    }
    if (self.count > 0) {
        work_on_blocks(&self);
    }
    for (size_t i = 0; i < self.count; i++) {
        free_block(&self.blocks[i]);
    }
    free(self.blocks);
}
