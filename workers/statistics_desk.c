// SPDX-License-Identifier: MIT
//  statistics_desk - see statistics_desk.h.

#include "workers/statistics_desk.h"

#include "workers/counting_store.h"
#include "workers/statistics.h"

#define STATE_BYTES_MAX (1024 * 1024 * 1024)    // ours

//  The statistics of a survey, in its present questions' order; NULL with the problem told.
static json_t *
read_statistics(const tally_entry_t *entry, const tally_state_t *state, tally_problem_t *problem)
{
    tally_statistics_t *shown = tally_statistics_new(entry->survey);
    json_t *result = NULL;
    int rc = 0;
    if (state->exists) {
        tally_bytes_t text = {state->state.data, state->state.size};
        json_t *json = tally_json_parse_made(text, STATE_BYTES_MAX, problem);
        tally_statistics_t *stored = json == NULL ? NULL : tally_statistics_decode(json, problem);
        rc = stored == NULL ? -1 : tally_statistics_merge(shown, stored, problem);
        tally_statistics_destroy(&stored);
        json_decref(json);
    }
    if (rc == 0) {
        result = tally_statistics_encode(shown);
    }
    tally_statistics_destroy(&shown);
    return result;
}

static void
give_back(tally_counter_t *self, const tally_delivered_t *item, tally_effect_t effect)
{
    tally_effect_give_back(self->worker, self->work, &item->id, 1, effect, "request");
}

static json_t *
show_survey(tally_counter_t *self, const tally_delivered_t *item, const char *slug)
{
    tally_problem_t problem;
    tally_effect_t effect = tally_catalog_look(self->catalog, self->db, self->work->tenant, &slug,
                                               1);
    const tally_entry_t *entry = NULL;
    tally_state_t state = {0};
    if (effect == TALLY_EFFECT_DONE) {
        entry = tally_catalog_find(self->catalog, self->work->tenant, slug);
        if (entry == NULL) {
            tally_problem_set(&problem, "there is no survey \"%.200s\"", slug);
            return tally_json_refusal("UNKNOWN", problem.text);
        }
        state.survey = entry->id;
        effect = tally_counting_store_load(self->db, self->work->tenant, &state, 1);
    }
    json_t *answer = NULL;
    if (effect == TALLY_EFFECT_DONE) {
        json_t *statistics = read_statistics(entry, &state, &problem);
        if (statistics == NULL) {
            answer = tally_json_refusal("INTERNAL", problem.text);
        } else {
            answer = tally_ask_ok();
            json_object_set_new(answer, "statistics", statistics);
        }
    } else {
        give_back(self, item, effect);
    }
    tally_states_free(&state, 1);
    return answer;
}

//  The answer, or NULL when the message was given back.
static json_t *
show(tally_counter_t *self, const tally_delivered_t *item, const json_t *request)
{
    static const char *const known[] = {"survey", NULL};
    json_t *refusal = tally_ask_check(request, known);
    if (refusal != NULL) {
        return refusal;
    }
    const char *slug = tally_ask_text(request, "survey", &refusal);
    return slug == NULL ? refusal : show_survey(self, item, slug);
}

static json_t *
list(tally_counter_t *self, const tally_delivered_t *item, const json_t *request)
{
    static const char *const known[] = {NULL};
    json_t *answer = tally_ask_check(request, known);
    if (answer != NULL) {
        return answer;
    }
    json_t *surveys = json_object();
    tally_effect_t effect = tally_counting_store_list(self->db, self->work->tenant, surveys);
    if (effect != TALLY_EFFECT_DONE) {
        json_decref(surveys);
        give_back(self, item, effect);
        return NULL;
    }
    answer = tally_ask_ok();
    json_object_set_new(answer, "surveys", surveys);
    return answer;
}

static void
serve(tally_counter_t *self, const tally_delivered_t *item, const tally_body_t *body)
{
    json_t *answer;
    json_t *request = tally_ask_read(body, TALLY_BODY_INLINE_BYTES_MAX, &answer);
    if (request != NULL) {
        const char *word = json_string_value(json_object_get(request, "do"));
        if (strcmp(word, "show") == 0) {
            answer = show(self, item, request);
        } else if (strcmp(word, "ls") == 0) {
            answer = list(self, item, request);
        } else {
            answer = tally_json_refusal("OPTION", "\"do\" must be show or ls");
        }
        json_decref(request);
    }
    if (answer != NULL) {
        tally_ask_answer(self->worker, self->work, item, answer);
    }
}

void
tally_statistics_desk_work(tally_counter_t *self)
{
    for (size_t i = 0; i < self->work->count && !tally_worker_interrupted(self->worker); i++) {
        const tally_delivered_t *item = &self->work->items[i];
        bool blob = (item->options & TALLY_AS_BLOB) != 0;
        tally_body_t body = {.state = blob ? TALLY_BODY_LARGE : TALLY_BODY_HERE,
                             .bytes = item->body};
        serve(self, item, &body);
    }
}
