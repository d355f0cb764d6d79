// SPDX-License-Identifier: MIT
//  survey_desk - see survey_desk.h.

#include "workers/survey_desk.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/ask.h"
#include "workers/survey_store.h"

#define REQUEST_BYTES_MAX (TALLY_SURVEY_BYTES_MAX + 4096)
#define LIST_MAX 1000    // surveys in one answer

//  One request in hand.
struct desk {
    tally_worker_t *worker;
    tally_db_t *db;
    tally_catalog_t *catalog;
    const tally_work_t *work;
    const tally_delivered_t *item;
    const json_t *request;
    bool committed;    // something was settled by SQL
};

//  ---- put ---------------------------------------------------------------------------------------

//  What a put comes to, given what there is: a word for the answer, or NULL with the problem told.
static const char *
decide_change(const tally_survey_t *next, const char *old_text, size_t old_size, bool has_responses,
              tally_problem_t *problem)
{
    if (old_text == NULL) {
        return "created";
    }
    tally_survey_t *old = tally_survey_parse((tally_bytes_t){old_text, old_size}, problem);
    const char *change = "changed";
    if (old == NULL) {
        change = has_responses ? NULL : "changed";
    } else if (json_equal(tally_survey_definition(old), tally_survey_definition(next))) {
        change = "none";
    } else if (has_responses && tally_survey_accepts(old, next, problem) == -1) {
        change = NULL;
    }
    tally_survey_destroy(&old);
    return change;
}

//  In a transaction: makes the change and settles with the answer.
static tally_effect_t
write_survey(struct desk *self, const tally_survey_t *next, const char *text, const char *change)
{
    const char *tenant = self->work->tenant, *slug = tally_survey_slug(next);
    tally_effect_t effect = TALLY_EFFECT_DONE;
    if (strcmp(change, "created") == 0) {
        effect = tally_survey_store_insert(self->db, tenant, slug, tally_bytes_of(text));
    } else if (strcmp(change, "changed") == 0) {
        effect = tally_survey_store_update(self->db, tenant, slug, tally_bytes_of(text));
    }
    if (effect != TALLY_EFFECT_DONE) {
        return effect;
    }
    json_t *answer = tally_ask_ok();
    json_object_set_new(answer, "survey", json_string(slug));
    json_object_set_new(answer, "change", json_string(change));
    char *printed = tally_json_print(answer);
    effect = tally_effect_settle_result(self->db, self->work->id, self->item->id,
                                        tally_bytes_of(printed));
    free(printed);
    json_decref(answer);
    return effect;
}

//  One transaction.  *refused says that the survey does not take it, and why is in `problem`.
static tally_effect_t
try_put(struct desk *self, const tally_survey_t *next, const char *text, bool *refused,
        tally_problem_t *problem)
{
    char *old = NULL;
    size_t old_size = 0;
    bool has_responses = false;
    *refused = false;
    tally_effect_t effect = tally_effect_of(self->db,
                                            tally_db_begin(self->db, TALLY_DB_READ_COMMITTED));
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_survey_store_lock(self->db, self->work->tenant, tally_survey_slug(next),
                                         &old, &old_size, &has_responses);
    }
    if (effect == TALLY_EFFECT_DONE) {
        const char *change = decide_change(next, old, old_size, has_responses, problem);
        if (change == NULL) {
            *refused = true;
            tally_db_rollback(self->db);
            free(old);
            return TALLY_EFFECT_DONE;
        }
        effect = write_survey(self, next, text, change);
    }
    free(old);
    return tally_effect_end(self->db, effect);
}

//  The answer when nothing was changed, or NULL: then the message has been dealt with.
static json_t *
put(struct desk *self)
{
    static const char *const known[] = {"definition", NULL};
    json_t *refusal = tally_ask_check(self->request, known);
    if (refusal != NULL) {
        return refusal;
    }
    tally_problem_t problem;
    tally_survey_t *survey = tally_survey_read(json_object_get(self->request, "definition"),
                                               &problem);
    if (survey == NULL) {
        return tally_json_refusal("JSON", problem.text);
    }
    char *text = tally_json_print(tally_survey_definition(survey));
    bool refused = false;
    tally_effect_t effect;
    unsigned tries = 0;
    do {
        effect = try_put(self, survey, text, &refused, &problem);
    } while (tally_effect_try_again(self->db, effect, ++tries));
    if (effect == TALLY_EFFECT_DONE && refused) {
        refusal = tally_json_refusal("REFUSED", problem.text);
    } else if (effect == TALLY_EFFECT_DONE || (effect == TALLY_EFFECT_STALE && tries > 1)) {
        self->committed = true;    // now, or by a try whose answer was lost
    } else {
        tally_effect_give_back(self->worker, self->work, &self->item->id, 1, effect, "put");
    }
    free(text);
    tally_survey_destroy(&survey);
    return refusal;
}

//  ---- ls, get -----------------------------------------------------------------------------------

static json_t *
list(struct desk *self)
{
    static const char *const known[] = {"after", NULL};
    json_t *answer = tally_ask_check(self->request, known);
    if (answer != NULL) {
        return answer;
    }
    const char *after = "";
    if (json_object_get(self->request, "after") != NULL) {
        after = tally_ask_text(self->request, "after", &answer);
        if (after == NULL) {
            return answer;
        }
    }
    json_t *surveys = json_array();
    tally_effect_t effect = tally_survey_store_list(self->db, self->work->tenant, after,
                                                    LIST_MAX + 1, surveys);
    if (effect != TALLY_EFFECT_DONE) {
        json_decref(surveys);
        tally_effect_give_back(self->worker, self->work, &self->item->id, 1, effect, "ls");
        return NULL;
    }
    bool more = json_array_size(surveys) > LIST_MAX;
    if (more) {
        json_array_remove(surveys, LIST_MAX);
    }
    answer = tally_ask_ok();
    json_object_set_new(answer, "surveys", surveys);
    json_object_set_new(answer, "more", json_boolean(more));
    return answer;
}

static json_t *
get(struct desk *self)
{
    static const char *const known[] = {"survey", NULL};
    json_t *answer = tally_ask_check(self->request, known);
    if (answer != NULL) {
        return answer;
    }
    const char *slug = tally_ask_text(self->request, "survey", &answer);
    if (slug == NULL) {
        return answer;
    }
    tally_effect_t effect = tally_catalog_look(self->catalog, self->db, self->work->tenant, &slug,
                                               1);
    if (effect != TALLY_EFFECT_DONE) {
        tally_effect_give_back(self->worker, self->work, &self->item->id, 1, effect, "get");
        return NULL;
    }
    const tally_entry_t *entry = tally_catalog_find(self->catalog, self->work->tenant, slug);
    if (entry == NULL) {
        tally_problem_t problem;
        tally_problem_set(&problem, "there is no survey \"%.200s\"", slug);
        return tally_json_refusal("UNKNOWN", problem.text);
    }
    answer = tally_ask_ok();
    json_object_set(answer, "definition",
                    (json_t *)(uintptr_t)tally_survey_definition(entry->survey));
    return answer;
}

//  ---- the desk ----------------------------------------------------------------------------------

static json_t *
answer_request(struct desk *self)
{
    const char *word = json_string_value(json_object_get(self->request, "do"));
    if (strcmp(word, "put") == 0) {
        return put(self);
    }
    if (strcmp(word, "ls") == 0) {
        return list(self);
    }
    if (strcmp(word, "get") == 0) {
        return get(self);
    }
    return tally_json_refusal("OPTION", "\"do\" must be put, ls or get");
}

static void
serve(struct desk *self, const tally_body_t *body)
{
    if (body->state == TALLY_BODY_GONE) {
        return;
    }
    json_t *answer;
    json_t *request = tally_ask_read(body, REQUEST_BYTES_MAX, &answer);
    if (request != NULL) {
        self->request = request;
        answer = answer_request(self);
        json_decref(request);
    }
    if (answer != NULL) {
        tally_ask_answer(self->worker, self->work, self->item, answer);
    }
}

void
tally_survey_desk_work(tally_worker_t *worker, tally_catalog_t *catalog, const tally_work_t *work)
{
    struct desk self = {.worker = worker,
                        .db = tally_worker_db(worker),
                        .catalog = catalog,
                        .work = work};
    tally_body_t *bodies = tally_alloc_array(work->count, sizeof *bodies);
    tally_effect_t effect = tally_bodies_read(self.db, work, REQUEST_BYTES_MAX, bodies);
    if (effect != TALLY_EFFECT_DONE) {
        tally_effect_give_back(worker, work, NULL, 0, effect, "requests");
        free(bodies);
        return;
    }
    for (size_t i = 0; i < work->count && !tally_worker_interrupted(worker); i++) {
        self.item = &work->items[i];
        serve(&self, &bodies[i]);
    }
    if (self.committed) {
        tally_worker_note(worker, work);
    }
    tally_bodies_free(bodies, work->count);
    free(bodies);
}
