// SPDX-License-Identifier: MIT
//  counting - see counting.h.

#include "workers/counting.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "workers/counting_store.h"
#include "workers/pointer.h"
#include "workers/statistics.h"

#define STATE_BYTES_MAX                                                                            \
    (1024 * 1024 * 1024)    // of a state: ours, so only as large as one value may be
#define EXTEND_MS 30000     // a lease with much to count asks for this when half is gone

//  One survey that pointers of the lease name.
struct tallied {
    const tally_entry_t *entry;
    tally_statistics_t *added;        // by this lease
    char *next_state, *next_since;    // printed; owned
};

struct counting {
    tally_counter_t *counter;
    struct tallied *surveys;
    tally_state_t *states;    // of the same surveys
    size_t survey_count;
    uint64_t *messages;    // pointers that were counted
    size_t message_count;
};

//  ---- reading one pointer -----------------------------------------------------------------------

struct reading {
    const tally_pointer_t *pointer;
    const tally_entry_t *entry;
    tally_statistics_t *statistics;
    size_t seen;
    bool wrong;
    tally_problem_t problem;
};

static bool
take_response(void *context, int64_t number, int32_t survey, const char *slug, tally_bytes_t body)
{
    struct reading *self = context;
    tally_response_t response;
    tally_problem_t problem;
    (void)slug;
    if (survey != self->entry->id) {
        tally_problem_set(&self->problem, "response %lld is of another survey", (long long)number);
        self->wrong = true;
        return false;
    }
    if (tally_response_read(&response, body, &problem) == -1) {
        tally_problem_set(&self->problem, "response %lld: %s", (long long)number, problem.text);
        self->wrong = true;
        return false;
    }
    if (tally_survey_check(self->entry->survey, &response, &problem) == -1) {
        tally_problem_set(&self->problem, "response %lld: %s", (long long)number, problem.text);
        self->wrong = true;
    } else {
        tally_statistics_add(self->statistics, self->entry->survey, &response);
        self->seen++;
    }
    tally_response_free(&response);
    return !self->wrong;
}

//  A lease that takes long is kept as long as the work goes on.
static void
keep_lease(const tally_counter_t *counter)
{
    if (counter->work->deadline_at_ms - tally_clock_now_ms() < EXTEND_MS / 2) {
        tally_worker_extend(counter->worker, counter->work, EXTEND_MS);
        tally_worker_flush(counter->worker);
    }
}

//  Reads and counts what one pointer names into self->statistics.
static tally_effect_t
read_pointed(struct reading *self, tally_counter_t *counter)
{
    const tally_pointer_t *pointer = self->pointer;
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t at = 0; at < pointer->count && effect == TALLY_EFFECT_DONE && !self->wrong;) {
        size_t count = pointer->count - at;
        count = count < TALLY_RESPONSES_READ_MAX ? count : TALLY_RESPONSES_READ_MAX;
        effect = tally_counting_store_read(counter->db, counter->work->tenant,
                                           pointer->numbers + at, count, take_response, self);
        at += count;
        keep_lease(counter);
    }
    if (effect == TALLY_EFFECT_DONE && !self->wrong && self->seen != pointer->count) {
        tally_problem_set(&self->problem, "%zu of its %zu responses are not stored",
                          pointer->count - self->seen, pointer->count);
        self->wrong = true;
    }
    return effect;
}

static struct tallied *
require_tallied(struct counting *self, const tally_entry_t *entry)
{
    for (size_t i = 0; i < self->survey_count; i++) {
        if (self->surveys[i].entry == entry) {
            return &self->surveys[i];
        }
    }
    struct tallied *added = &self->surveys[self->survey_count];
    self->states[self->survey_count++].survey = entry->id;
    *added = (struct tallied){.entry = entry, .added = tally_statistics_new(entry->survey)};
    return added;
}

static void
bury(const struct counting *self, uint64_t message, const char *why)
{
    //  Why may quote a response; it stands with the dead letter.
    tally_log_warn("buried a pointer  tenant=%s message=%llu", self->counter->work->tenant,
                   (unsigned long long)message);
    tally_worker_bury(self->counter->worker, self->counter->work, message, why);
}

//  Adds one pointer's responses to its survey, or buries it.
static tally_effect_t
count_pointer(struct counting *self, const tally_pointer_t *pointer, uint64_t message)
{
    struct reading reading = {.pointer = pointer};
    reading.entry = tally_catalog_find(self->counter->catalog, self->counter->work->tenant,
                                       pointer->slug);
    if (reading.entry == NULL || reading.entry->id != pointer->survey) {
        bury(self, message, "its survey is not there");
        return TALLY_EFFECT_DONE;
    }
    reading.statistics = tally_statistics_new(reading.entry->survey);
    tally_effect_t effect = read_pointed(&reading, self->counter);
    if (effect == TALLY_EFFECT_DONE && reading.wrong) {
        bury(self, message, reading.problem.text);
    } else if (effect == TALLY_EFFECT_DONE) {
        struct tallied *tallied = require_tallied(self, reading.entry);
        int rc = tally_statistics_merge(tallied->added, reading.statistics, &reading.problem);
        assert(rc == 0);    // both are of the same survey
        self->messages[self->message_count++] = message;
    }
    tally_statistics_destroy(&reading.statistics);
    return effect;
}

//  ---- the lease ---------------------------------------------------------------------------------

static tally_effect_t
look_up_surveys(tally_counter_t *counter, const tally_pointer_t *pointers, size_t count)
{
    const char **slugs = tally_alloc_array(count, sizeof *slugs);
    size_t distinct = 0;
    for (size_t i = 0; i < count; i++) {
        const char *slug = pointers[i].count == 0 ? NULL : pointers[i].slug;
        for (size_t j = 0; j < distinct && slug != NULL; j++) {
            slug = strcmp(slugs[j], slug) == 0 ? NULL : slug;
        }
        if (slug != NULL) {
            slugs[distinct++] = slug;
        }
    }
    tally_effect_t effect = tally_catalog_look(counter->catalog, counter->db, counter->work->tenant,
                                               slugs, distinct);
    free(slugs);
    return effect;
}

//  Reads all pointers (count 0: message i is none) and counts what they name.
static tally_effect_t
count_all(struct counting *self, const tally_pointer_t *pointers)
{
    const tally_work_t *work = self->counter->work;
    tally_effect_t effect = look_up_surveys(self->counter, pointers, work->count);
    for (size_t i = 0; i < work->count && effect == TALLY_EFFECT_DONE; i++) {
        if (tally_worker_interrupted(self->counter->worker)) {
            return TALLY_EFFECT_STALE;    // stopping, or no longer ours: the runtime gives it back
        }
        if (pointers[i].count > 0) {
            effect = count_pointer(self, &pointers[i], work->items[i].id);
        }
    }
    return effect;
}

//  What `stored` and what was added come to, printed; NULL with the reason logged when the state is unreadable.
static char *
add_to_state(const tally_wire_t *stored, const struct tallied *tallied)
{
    tally_problem_t problem;
    tally_statistics_t *sum = tally_statistics_new(tallied->entry->survey);
    tally_statistics_t *before = NULL;
    json_t *json = NULL;
    char *text = NULL;
    int rc = 0;
    if (stored->size > 0) {
        json = tally_json_parse_made((tally_bytes_t){stored->data, stored->size}, STATE_BYTES_MAX,
                                     &problem);
        before = json == NULL ? NULL : tally_statistics_decode(json, &problem);
        rc = before == NULL ? -1 : tally_statistics_merge(sum, before, &problem);
    }
    if (rc == 0) {
        rc = tally_statistics_merge(sum, tallied->added, &problem);
    }
    if (rc == 0) {
        json_t *encoded = tally_statistics_encode(sum);
        text = tally_json_print(encoded);
        json_decref(encoded);
    } else {
        tally_log_error("could not add to the statistics of survey \"%s\": %s",
                        tally_survey_slug(tallied->entry->survey), problem.text);
    }
    json_decref(json);
    tally_statistics_destroy(&before);
    tally_statistics_destroy(&sum);
    return text;
}

//  Works out the next states from those in the database.
static tally_effect_t
add_to_states(struct counting *self)
{
    tally_effect_t effect = tally_counting_store_load(self->counter->db,
                                                      self->counter->work->tenant, self->states,
                                                      self->survey_count);
    for (size_t i = 0; i < self->survey_count && effect == TALLY_EFFECT_DONE; i++) {
        struct tallied *tallied = &self->surveys[i];
        tally_state_t *state = &self->states[i];
        if (!state->exists) {
            tally_wire_reset(&state->state);
            state->recompute = 0;
        }
        free(tallied->next_state);
        free(tallied->next_since);
        tallied->next_since = NULL;
        tallied->next_state = add_to_state(&state->state, tallied);
        if (state->recompute != 0) {
            tallied->next_since = add_to_state(&state->since, tallied);
        }
        if (tallied->next_state == NULL || (state->recompute != 0 && tallied->next_since == NULL)) {
            return TALLY_EFFECT_REFUSED;
        }
        state->next_state = tally_bytes_of(tallied->next_state);
        state->next_since = (tally_bytes_t){NULL, 0};
        if (tallied->next_since != NULL) {
            state->next_since = tally_bytes_of(tallied->next_since);
        }
    }
    return effect;
}

static tally_effect_t
write_states(struct counting *self)
{
    const tally_counter_t *counter = self->counter;
    tally_db_t *db = counter->db;
    tally_effect_t effect = tally_effect_of(db, tally_db_begin(db, TALLY_DB_READ_COMMITTED));
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_counting_store_hold(db, counter->work);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_counting_store_write(db, counter->work->tenant, self->states,
                                            self->survey_count);
    }
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_effect_settle(db, counter->work->id, self->messages, self->message_count);
    }
    return tally_effect_end(db, effect);
}

//  Counted, or why not.
static tally_effect_t
store(struct counting *self)
{
    tally_effect_t effect;
    unsigned tries = 0;
    do {
        effect = add_to_states(self);
        if (effect == TALLY_EFFECT_DONE) {
            effect = write_states(self);
        }
    } while (tally_effect_try_again(self->counter->db, effect, ++tries));
    if (effect == TALLY_EFFECT_DONE) {
        for (size_t i = 0; i < self->survey_count; i++) {
            tally_counting_publish(self->counter, tally_survey_slug(self->surveys[i].entry->survey),
                                   tally_bytes_of(self->surveys[i].next_state));
        }
    }
    if (effect == TALLY_EFFECT_DONE || tries > 1) {
        self->counter->committed = true;    // or perhaps so: the broker looks
    }
    return effect;
}

void
tally_counting_publish(tally_counter_t *self, const char *slug, tally_bytes_t statistics)
{
    const char *tenant = self->work->tenant;
    char *topic = tally_format("statistics.%s.%s", tenant, slug);
    const char *text = statistics.data;
    assert(statistics.size > 2 && text[0] == '{');    // an object of ours, with members
    //  Too long for the feed: that there is something new must do.
    char *news = statistics.size <= TALLY_BODY_INLINE_BYTES_MAX
                     ? tally_format("{\"tenant\":\"%s\",%.*s", tenant, (int)statistics.size - 1,
                                    text + 1)
                     : tally_format("{\"tenant\":\"%s\",\"survey\":\"%s\"}", tenant, slug);
    tally_worker_publish(self->worker, topic, tally_bytes_of(news));
    free(news);
    free(topic);
}

static size_t
read_pointers(const struct counting *self, json_t *const *requests, const bool *is_pointer,
              tally_pointer_t *pointers)
{
    size_t found = 0;
    for (size_t i = 0; i < self->counter->work->count; i++) {
        tally_problem_t problem;
        if (!is_pointer[i]) {
            continue;
        }
        if (tally_pointer_read(&pointers[i], requests[i], &problem) == -1) {
            bury(self, self->counter->work->items[i].id, problem.text);
        } else {
            found++;
        }
    }
    return found;
}

//  The pointers that are neither buried nor settled go back.
static void
give_back(struct counting *self, const tally_pointer_t *pointers, tally_effect_t effect)
{
    const tally_work_t *work = self->counter->work;
    size_t count = 0;
    for (size_t i = 0; i < work->count; i++) {
        if (pointers[i].count > 0) {
            self->messages[count++] = work->items[i].id;
        }
    }
    tally_effect_give_back(self->counter->worker, work, self->messages, count, effect, "pointers");
}

bool
tally_counting_work(tally_counter_t *counter, json_t *const *requests, const bool *is_pointer)
{
    size_t count = counter->work->count;
    struct counting self = {.counter = counter};
    tally_pointer_t *pointers = tally_alloc_array(count, sizeof *pointers);
    self.surveys = tally_alloc_array(count, sizeof *self.surveys);
    self.states = tally_alloc_array(count, sizeof *self.states);
    self.messages = tally_alloc_array(count, sizeof *self.messages);
    tally_effect_t effect = TALLY_EFFECT_DONE;
    if (read_pointers(&self, requests, is_pointer, pointers) > 0) {
        effect = count_all(&self, pointers);
    }
    if (effect == TALLY_EFFECT_DONE && self.message_count > 0) {
        effect = store(&self);
    }
    if (effect != TALLY_EFFECT_DONE) {
        give_back(&self, pointers, effect);
    }
    for (size_t i = 0; i < count; i++) {
        tally_pointer_free(&pointers[i]);
    }
    for (size_t i = 0; i < self.survey_count; i++) {
        tally_statistics_destroy(&self.surveys[i].added);
        free(self.surveys[i].next_state);
        free(self.surveys[i].next_since);
    }
    tally_states_free(self.states, self.survey_count);
    free(self.surveys);
    free(self.states);
    free(self.messages);
    free(pointers);
    return effect != TALLY_EFFECT_STALE;
}
