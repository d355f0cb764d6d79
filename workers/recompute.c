// SPDX-License-Identifier: MIT
//  recompute - see recompute.h.

#include "workers/recompute.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "workers/counting.h"
#include "workers/partial.h"
#include "workers/recompute_begin.h"

#define DELAY_MS_FIRST 20
#define DELAY_MS_LAST 200
#define STALL_LOOK_MS 5000      // a dear look, seldom needed
#define TRACE_ROWS_MAX 20000    // of all phases; what is beyond is cut, and said to be
#define OUTPUT_BYTES_MAX (1024 * 1024 * 1024)    // of a partial: ours

struct driver {
    tally_counter_t *counter;
    const tally_delivered_t *item;
    tally_recompute_key_t key;
    tally_wait_t *wait;
    const char *slug;    // asked for; NULL: all
    int32_t block;
    bool trace;
    tally_recompute_t now;    // as in the database
};

//  What a visit did.
typedef enum {
    VISIT_WENT_ON,    // look again
    VISIT_WAITS,      // given back until later
    VISIT_ENDED,      // answered, buried or no longer ours
} visit_t;

static visit_t
wait_more(struct driver *self, const char *why)
{
    int64_t delay_ms = tally_wait_longer(self->wait, DELAY_MS_FIRST, DELAY_MS_LAST);
    tally_worker_return(self->counter->worker, self->counter->work, &self->item->id, 1, false,
                        delay_ms, why);
    return VISIT_WAITS;
}

static visit_t
give_back(struct driver *self, tally_effect_t effect)
{
    tally_effect_give_back(self->counter->worker, self->counter->work, &self->item->id, 1, effect,
                           "recompute");
    return VISIT_ENDED;
}

static visit_t
answer(struct driver *self, json_t *text)
{
    tally_ask_answer(self->counter->worker, self->counter->work, self->item, text);
    tally_patience_forget(self->counter->patience, self->item->id);
    return VISIT_ENDED;
}

//  Begins a transaction that proves the term.
static tally_effect_t
begin_with_term(struct driver *self)
{
    tally_db_t *db = self->counter->db;
    tally_effect_t effect = tally_effect_of(db, tally_db_begin(db, TALLY_DB_READ_COMMITTED));
    return effect == TALLY_EFFECT_DONE ? tally_counting_store_hold(db, self->counter->work)
                                       : effect;
}

//  ---- not begun ---------------------------------------------------------------------------------

//  One whose message was dropped or buried: nobody would ever end it.
static tally_effect_t
remove_orphan(struct driver *self, uint64_t id)
{
    tally_recompute_key_t key = {.tenant = self->key.tenant, .id = id};
    tally_log_warn("gave up a recomputation: its request is gone  tenant=%s id=%llu", key.tenant,
                   (unsigned long long)id);
    tally_effect_t effect = begin_with_term(self);
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_remove(self->counter->db, &key);
    }
    return tally_effect_end(self->counter->db, effect);
}

static visit_t
start(struct driver *self)
{
    tally_db_t *db = self->counter->db;
    int32_t survey = 0;
    tally_effect_t effect = TALLY_EFFECT_DONE;
    if (self->slug != NULL) {
        effect = tally_recompute_store_survey(db, self->key.tenant, self->slug, &survey);
        if (effect == TALLY_EFFECT_DONE && survey == 0) {
            tally_problem_t problem;
            tally_problem_set(&problem, "there is no survey \"%.200s\"", self->slug);
            return answer(self, tally_json_refusal("UNKNOWN", problem.text));
        }
    }
    uint64_t other = 0;
    bool orphan = false;
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_other(db, &self->key, survey, &other, &orphan);
    }
    if (effect == TALLY_EFFECT_DONE && other != 0 && !orphan) {
        return wait_more(self, "another recomputation of these surveys is running");
    }
    if (effect == TALLY_EFFECT_DONE && other != 0) {
        effect = remove_orphan(self, other);
        return effect == TALLY_EFFECT_DONE ? VISIT_WENT_ON : give_back(self, effect);
    }
    if (effect == TALLY_EFFECT_DONE) {
        tally_recompute_t begun = {.survey = survey, .block = self->block};
        effect = tally_recompute_begin(self->counter, &self->key, &begun);
    }
    if (effect == TALLY_EFFECT_DONE || effect == TALLY_EFFECT_CHANGED) {
        self->counter->committed = true;    // there are messages to be taken from the inbox
        return VISIT_WENT_ON;
    }
    return give_back(self, effect);
}

//  ---- under way ---------------------------------------------------------------------------------

static visit_t
step_on(struct driver *self)
{
    tally_db_t *db = self->counter->db;
    int32_t block = tally_recompute_reduce_block(&self->now);
    int32_t blocks = (self->now.blocks + block - 1) / block;
    int32_t phase = self->now.phase + 1;
    tally_effect_t effect = begin_with_term(self);
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_step(db, &self->key, self->now.phase, phase, blocks);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_scatter_reduce(self->counter, &self->key, phase, blocks);
    }
    effect = tally_effect_end(db, effect);
    if (effect == TALLY_EFFECT_DONE || effect == TALLY_EFFECT_CHANGED) {
        self->counter->committed = true;
        return VISIT_WENT_ON;
    }
    return give_back(self, effect);
}

static visit_t
give_up(struct driver *self)
{
    tally_db_t *db = self->counter->db;
    tally_problem_t problem;
    tally_problem_set(&problem,
                      "%d of %d blocks of phase %d were buried or dropped; the statistics are as "
                      "they were",
                      self->now.blocks - self->now.done, self->now.blocks, self->now.phase);
    json_t *refusal = tally_json_refusal("FAILED", problem.text);
    char *text = tally_json_print(refusal);
    tally_effect_t effect = begin_with_term(self);
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_remove(db, &self->key);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_effect_settle_result(db, self->counter->work->id, self->item->id,
                                            tally_bytes_of(text));
    }
    effect = tally_effect_end(db, effect);
    free(text);
    json_decref(refusal);
    if (effect != TALLY_EFFECT_DONE) {
        return give_back(self, effect);
    }
    self->counter->committed = true;
    tally_patience_forget(self->counter->patience, self->item->id);
    return VISIT_ENDED;
}

static visit_t
wait_for_blocks(struct driver *self)
{
    int64_t now_ms = tally_clock_now_ms();
    if (self->wait->looked_at_ms == 0) {
        self->wait->looked_at_ms = now_ms;
    }
    if (now_ms - self->wait->looked_at_ms >= STALL_LOOK_MS) {
        bool stalled;
        self->wait->looked_at_ms = now_ms;
        tally_effect_t effect = tally_recompute_store_stalled(self->counter->db, &self->key,
                                                              &stalled);
        if (effect != TALLY_EFFECT_DONE) {
            return give_back(self, effect);
        }
        if (stalled) {
            return give_up(self);
        }
    }
    return wait_more(self, "blocks are being worked on");
}

//  ---- trace -------------------------------------------------------------------------------------

struct tracing {
    json_t *rows;    // of the phase in hand
    size_t room;     // rows that may still come
    bool cut;
    tally_problem_t problem;
    bool wrong;
};

//  A partial from its text; NULL with the problem told.
static tally_partial_t *
read_output(tally_bytes_t output, tally_problem_t *problem)
{
    json_t *json = tally_json_parse_made(output, OUTPUT_BYTES_MAX, problem);
    if (json == NULL) {
        return NULL;
    }
    tally_partial_t *partial = tally_partial_new();
    if (tally_partial_merge(partial, json, problem) == -1) {
        tally_partial_destroy(&partial);
    }
    json_decref(json);
    return partial;
}

static bool
trace_output(void *context, int32_t block, tally_bytes_t output)
{
    struct tracing *self = context;
    tally_partial_t *partial = read_output(output, &self->problem);
    if (partial == NULL) {
        self->wrong = true;
        return false;
    }
    tally_partial_trace(partial, block, self->rows);
    tally_partial_destroy(&partial);
    self->cut = json_array_size(self->rows) > self->room;
    return !self->cut;
}

static tally_effect_t
trace_phase(struct driver *self, struct tracing *tracing, int32_t phase)
{
    tally_effect_t effect;
    int32_t last = 0;
    do {
        effect = tally_recompute_store_outputs(self->counter->db, &self->key, phase, last + 1,
                                               INT32_MAX, trace_output, tracing, &last);
    } while (effect == TALLY_EFFECT_DONE && last > 0 && !tracing->cut && !tracing->wrong);
    while (json_array_size(tracing->rows) > tracing->room) {
        json_array_remove(tracing->rows, json_array_size(tracing->rows) - 1);
    }
    tracing->room -= json_array_size(tracing->rows);
    return tracing->wrong ? TALLY_EFFECT_REFUSED : effect;
}

//  Adds "trace" to the answer.
static tally_effect_t
add_trace(struct driver *self, json_t *reply)
{
    struct tracing tracing = {.room = TRACE_ROWS_MAX};
    tally_effect_t effect = TALLY_EFFECT_DONE;
    json_t *phases = json_array();
    for (int32_t phase = 0; phase <= self->now.phase && effect == TALLY_EFFECT_DONE && !tracing.cut;
         phase++) {
        char name[24];
        snprintf(name, sizeof name, phase == 0 ? "map" : "reduce %d", phase);
        tracing.rows = json_array();
        effect = trace_phase(self, &tracing, phase);
        json_array_append_new(phases, json_pack("{s:s, s:o}", "phase", name, "rows", tracing.rows));
    }
    json_object_set_new(reply, "trace", phases);
    if (tracing.cut) {
        json_object_set_new(reply, "trace_cut", json_true());
    }
    return effect;
}

//  ---- the end -----------------------------------------------------------------------------------

struct ending {
    tally_partial_t *whole;    // the one partial that is left
    tally_watched_t *watched;
    size_t count;
    json_t *reply;
    tally_problem_t problem;
};

static bool
take_whole(void *context, int32_t block, tally_bytes_t output)
{
    struct ending *self = context;
    (void)block;
    self->whole = read_output(output, &self->problem);
    return false;
}

//  What a survey comes to: the partial's statistics and what was counted since.
static int
join_survey(struct ending *self, tally_watched_t *watched, json_t *counts)
{
    tally_statistics_t *sum = tally_statistics_empty(watched->slug);
    const tally_statistics_t *base = tally_partial_find(self->whole, watched->slug);
    tally_statistics_t *since = NULL;
    json_t *json = tally_json_parse_made(tally_bytes_of(watched->since), OUTPUT_BYTES_MAX,
                                         &self->problem);
    int rc = -1;
    if (json != NULL) {
        since = tally_statistics_decode(json, &self->problem);
    }
    if (since != NULL) {
        rc = base == NULL ? 0 : tally_statistics_merge(sum, base, &self->problem);
    }
    if (rc == 0) {
        rc = tally_statistics_merge(sum, since, &self->problem);
    }
    if (rc == 0) {
        json_t *state = tally_statistics_encode(sum);
        free(watched->next_state);
        watched->next_state = tally_json_print(state);
        json_decref(state);
        json_object_set_new(counts, watched->slug,
                            json_integer((json_int_t)tally_statistics_responses(sum)));
    }
    json_decref(json);
    tally_statistics_destroy(&since);
    tally_statistics_destroy(&sum);
    return rc;
}

//  Reads all that the end needs, outside of any transaction.
static tally_effect_t
prepare_ending(struct driver *self, struct ending *ending)
{
    tally_db_t *db = self->counter->db;
    tally_effect_t effect = TALLY_EFFECT_DONE;
    if (self->now.blocks == 0) {
        ending->whole = tally_partial_new();
    } else {
        int32_t last;
        effect = tally_recompute_store_outputs(db, &self->key, self->now.phase, 1, 1, take_whole,
                                               ending, &last);
    }
    if (effect == TALLY_EFFECT_DONE && ending->whole == NULL) {
        return TALLY_EFFECT_REFUSED;
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_watched(db, &self->key, &ending->watched, &ending->count);
    }
    ending->reply = tally_ask_ok();
    json_t *counts = json_object();
    json_object_set_new(ending->reply, "surveys", counts);
    for (size_t i = 0; i < ending->count && effect == TALLY_EFFECT_DONE; i++) {
        if (join_survey(ending, &ending->watched[i], counts) == -1) {
            effect = TALLY_EFFECT_REFUSED;
        }
    }
    if (effect == TALLY_EFFECT_DONE && self->trace) {
        effect = add_trace(self, ending->reply);
    }
    return effect;
}

static void
free_ending(struct ending *ending)
{
    tally_partial_destroy(&ending->whole);
    tally_watched_free(ending->watched, ending->count);
    json_decref(ending->reply);
    *ending = (struct ending){0};
}

static tally_effect_t
switch_over(struct driver *self, const struct ending *ending)
{
    tally_db_t *db = self->counter->db;
    char *text = tally_json_print(ending->reply);
    if (strlen(text) > TALLY_BLOB_BYTES_MAX) {
        json_object_set_new(ending->reply, "trace", json_array());
        json_object_set_new(ending->reply, "trace_cut", json_true());
        free(text);
        text = tally_json_print(ending->reply);
    }
    tally_effect_t effect = begin_with_term(self);
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_switch(db, &self->key, ending->watched, ending->count);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_recompute_store_remove(db, &self->key);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_effect_settle_result(db, self->counter->work->id, self->item->id,
                                            tally_bytes_of(text));
    }
    free(text);
    return tally_effect_end(db, effect);
}

static visit_t
finish(struct driver *self)
{
    struct ending ending = {0};
    tally_effect_t effect;
    unsigned tries = 0;
    do {
        free_ending(&ending);
        effect = prepare_ending(self, &ending);
        if (effect == TALLY_EFFECT_DONE) {
            effect = switch_over(self, &ending);
        }
    } while (tally_effect_try_again(self->counter->db, effect, ++tries));
    visit_t visit = VISIT_ENDED;
    if (effect == TALLY_EFFECT_DONE) {
        for (size_t i = 0; i < ending.count; i++) {
            tally_counting_publish(self->counter, ending.watched[i].slug,
                                   tally_bytes_of(ending.watched[i].next_state));
        }
        tally_patience_forget(self->counter->patience, self->item->id);
    } else {
        if (effect == TALLY_EFFECT_REFUSED && ending.problem.text[0] != '\0') {
            tally_log_error("could not end a recomputation: %s", ending.problem.text);
        }
        visit = give_back(self, effect);
    }
    self->counter->committed = self->counter->committed || effect == TALLY_EFFECT_DONE || tries > 1;
    free_ending(&ending);
    return visit;
}

//  ---- the request -------------------------------------------------------------------------------

//  NULL, or the refusal.
static json_t *
read_request(struct driver *self, const json_t *request)
{
    static const char *const known[] = {"survey", "block", "trace", NULL};
    json_t *refusal = tally_ask_check(request, known);
    if (refusal != NULL) {
        return refusal;
    }
    if (json_object_get(request, "survey") != NULL) {
        self->slug = tally_ask_text(request, "survey", &refusal);
        if (self->slug == NULL) {
            return refusal;
        }
    }
    const json_t *block = json_object_get(request, "block");
    json_int_t size = block == NULL ? TALLY_RECOMPUTE_BLOCK_DEFAULT : json_integer_value(block);
    if (size < TALLY_RECOMPUTE_BLOCK_MIN || size > TALLY_RECOMPUTE_BLOCK_MAX) {
        tally_problem_t problem;
        tally_problem_set(&problem, "\"block\" must be a number from %d to %d",
                          TALLY_RECOMPUTE_BLOCK_MIN, TALLY_RECOMPUTE_BLOCK_MAX);
        return tally_json_refusal("OPTION", problem.text);
    }
    self->block = (int32_t)size;
    const json_t *trace = json_object_get(request, "trace");
    if (trace != NULL && !json_is_boolean(trace)) {
        return tally_json_refusal("OPTION", "\"trace\" must be true or false");
    }
    self->trace = json_is_true(trace);
    return NULL;
}

static visit_t
visit_once(struct driver *self)
{
    tally_effect_t effect = tally_recompute_store_look(self->counter->db, &self->key, &self->now);
    if (effect != TALLY_EFFECT_DONE) {
        return give_back(self, effect);
    }
    if (!self->now.exists) {
        return start(self);
    }
    if (self->now.done < self->now.blocks) {
        return wait_for_blocks(self);
    }
    return self->now.blocks > 1 ? step_on(self) : finish(self);
}

void
tally_recompute_work(tally_counter_t *counter, const tally_delivered_t *item, const json_t *request)
{
    struct driver self = {.counter = counter,
                          .item = item,
                          .key = {.tenant = counter->work->tenant, .id = item->id},
                          .wait = tally_patience_require(counter->patience, item->id)};
    json_t *refusal = read_request(&self, request);
    if (refusal != NULL) {
        answer(&self, refusal);
        return;
    }
    while (visit_once(&self) == VISIT_WENT_ON) {
        //  Each step that went on brought it nearer to its end or found it already there.
        if (tally_worker_interrupted(counter->worker)) {
            return;
        }
    }
}
