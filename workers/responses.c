// SPDX-License-Identifier: MIT
//  responses - see responses.h.

#include "workers/responses.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "workers/bodies.h"
#include "workers/responses_store.h"
#include "workers/survey_desk.h"

//  What is known of a response after the first look.
struct outer {
    char *id, *survey;    // owned; NULL: unreadable, or not there
};

//  One lease of responses.  What concerns message i stands at index i.
struct judging {
    tally_worker_t *worker;
    tally_db_t *db;
    tally_catalog_t *catalog;
    const tally_work_t *work;
    tally_body_t *bodies;
    struct outer *outers;
    tally_response_t *responses;      // those kept parsed; root NULL: it is to be read again
    size_t kept_bytes;                // of their texts
    const tally_entry_t **entries;    // NULL: does not fit
    char **reasons;                   // why it is to be buried, or NULL
    //  the valid ones, packed
    size_t count;
    uint64_t *messages;
    const tally_entry_t **valid_entries;
    tally_bytes_t *valid_ids, *valid_bodies;
};

//  ---- reading -----------------------------------------------------------------------------------

static void
open_judging(struct judging *self)
{
    size_t count = self->work->count;
    self->bodies = tally_alloc_array(count, sizeof *self->bodies);
    self->outers = tally_alloc_array(count, sizeof *self->outers);
    self->responses = tally_alloc_array(count, sizeof *self->responses);
    self->entries = tally_alloc_array(count, sizeof *self->entries);
    self->reasons = tally_alloc_array(count, sizeof *self->reasons);
    self->messages = tally_alloc_array(count, sizeof *self->messages);
    self->valid_entries = tally_alloc_array(count, sizeof *self->valid_entries);
    self->valid_ids = tally_alloc_array(count, sizeof *self->valid_ids);
    self->valid_bodies = tally_alloc_array(count, sizeof *self->valid_bodies);
}

static void
close_judging(struct judging *self)
{
    for (size_t i = 0; i < self->work->count; i++) {
        tally_response_free(&self->responses[i]);
        free(self->outers[i].id);
        free(self->outers[i].survey);
        free(self->reasons[i]);
    }
    tally_bodies_free(self->bodies, self->work->count);
    free(self->bodies);
    free(self->outers);
    free(self->responses);
    free(self->entries);
    free(self->reasons);
    free(self->messages);
    free(self->valid_entries);
    free(self->valid_ids);
    free(self->valid_bodies);
}

//  A parsed text takes up to 70 times its size, so only as many stay parsed as TALLY_PARSED_BYTES_MAX allows: all that
//  an ordinary lease has.  The others are read once more when they are judged, one after the other.
static void
read_outer_form(struct judging *self, size_t i)
{
    tally_response_t response;
    tally_problem_t problem;
    tally_bytes_t text = self->bodies[i].bytes;
    if (tally_response_read(&response, text, &problem) == -1) {
        self->reasons[i] = tally_strdup(problem.text);
        return;
    }
    self->outers[i] = (struct outer){tally_strdup(response.id), tally_strdup(response.survey)};
    if (self->kept_bytes + text.size <= TALLY_PARSED_BYTES_MAX) {
        self->kept_bytes += text.size;
        self->responses[i] = response;
    } else {
        tally_response_free(&response);
    }
}

static void
read_outer_forms(struct judging *self)
{
    for (size_t i = 0; i < self->work->count; i++) {
        switch (self->bodies[i].state) {
        case TALLY_BODY_GONE:
            break;
        case TALLY_BODY_MISSING:
            self->reasons[i] = tally_strdup("its body is not stored");
            break;
        case TALLY_BODY_LARGE:
            self->reasons[i] = tally_format("a response has at most %d bytes",
                                            TALLY_RESPONSE_BYTES_MAX);
            break;
        case TALLY_BODY_HERE:
            read_outer_form(self, i);
            break;
        }
    }
}

//  ---- judging -----------------------------------------------------------------------------------

static tally_effect_t
look_up_surveys(struct judging *self)
{
    const char **slugs = tally_alloc_array(self->work->count, sizeof *slugs);
    size_t count = 0;
    for (size_t i = 0; i < self->work->count; i++) {
        const char *slug = self->outers[i].survey;
        for (size_t j = 0; j < count && slug != NULL; j++) {
            slug = strcmp(slugs[j], slug) == 0 ? NULL : slug;
        }
        if (slug != NULL) {
            slugs[count++] = slug;
        }
    }
    tally_effect_t effect = tally_catalog_look(self->catalog, self->db, self->work->tenant, slugs,
                                               count);
    free(slugs);
    return effect;
}

//  Whether it fits its survey, parsed once more if it was not kept.
static int
check(const struct judging *self, size_t i, const tally_entry_t *entry, tally_problem_t *problem)
{
    tally_response_t again = {0};
    const tally_response_t *response = &self->responses[i];
    if (response->root == NULL) {
        int rc = tally_response_read(&again, self->bodies[i].bytes, problem);
        assert(rc == 0);    // as before
        response = &again;
    }
    int rc = tally_survey_check(entry->survey, response, problem);
    tally_response_free(&again);
    return rc;
}

static void
judge(struct judging *self, size_t i)
{
    const char *slug = self->outers[i].survey;
    tally_problem_t problem;
    self->entries[i] = NULL;
    free(self->reasons[i]);
    self->reasons[i] = NULL;
    const tally_entry_t *entry = tally_catalog_find(self->catalog, self->work->tenant, slug);
    if (entry == NULL) {
        self->reasons[i] = tally_format("there is no survey \"%s\"", slug);
    } else if (check(self, i, entry, &problem) == -1) {
        self->reasons[i] = tally_strdup(problem.text);
    } else {
        self->entries[i] = entry;
    }
}

static void
pack_valid(struct judging *self)
{
    self->count = 0;
    for (size_t i = 0; i < self->work->count; i++) {
        if (self->outers[i].survey == NULL) {
            continue;
        }
        judge(self, i);
        if (self->entries[i] != NULL) {
            size_t at = self->count++;
            self->messages[at] = self->work->items[i].id;
            self->valid_entries[at] = self->entries[i];
            self->valid_ids[at] = tally_bytes_of(self->outers[i].id);
            self->valid_bodies[at] = self->bodies[i].bytes;
        }
    }
}

//  Judges by the surveys as they are now and stores what fits.  CHANGED: they changed meanwhile.
static tally_effect_t
judge_and_store(struct judging *self)
{
    tally_effect_t effect = look_up_surveys(self);
    if (effect != TALLY_EFFECT_DONE) {
        return effect;
    }
    pack_valid(self);
    if (self->count == 0) {
        return TALLY_EFFECT_DONE;
    }
    tally_storing_t storing = {.tenant = self->work->tenant,
                               .lease = self->work->id,
                               .count = self->count,
                               .messages = self->messages,
                               .entries = self->valid_entries,
                               .ids = self->valid_ids,
                               .bodies = self->valid_bodies};
    return tally_responses_store(self->db, &storing);
}

//  ---- ending ------------------------------------------------------------------------------------

static void
bury_invalid(struct judging *self)
{
    for (size_t i = 0; i < self->work->count; i++) {
        if (self->reasons[i] != NULL) {
            //  The reason may quote an answer; it stands with the dead letter.
            tally_log_info("buried a response  tenant=%s message=%llu", self->work->tenant,
                           (unsigned long long)self->work->items[i].id);
            tally_worker_bury(self->worker, self->work, self->work->items[i].id, self->reasons[i]);
        }
    }
}

static void
work_on_responses(tally_worker_t *worker, tally_catalog_t *catalog, const tally_work_t *work)
{
    struct judging self = {.worker = worker,
                           .db = tally_worker_db(worker),
                           .catalog = catalog,
                           .work = work};
    unsigned tries = 0;
    open_judging(&self);
    tally_effect_t effect = tally_bodies_read(self.db, work, TALLY_RESPONSE_BYTES_MAX, self.bodies);
    if (effect == TALLY_EFFECT_DONE) {
        read_outer_forms(&self);
        do {
            effect = judge_and_store(&self);
        } while (tally_effect_try_again(self.db, effect, ++tries));
    }
    if (effect == TALLY_EFFECT_STALE && tries > 1) {
        effect = TALLY_EFFECT_DONE;    // or a try did it whose answer was lost; the broker looks
    }
    if (effect == TALLY_EFFECT_DONE) {
        bury_invalid(&self);
        if (self.count > 0) {
            tally_worker_note(worker, work);
        }
    } else {
        tally_effect_give_back(worker, work, NULL, 0, effect, "responses");
    }
    close_judging(&self);
}

//  ---- role --------------------------------------------------------------------------------------

static int
start(tally_worker_t *worker, void **state)
{
    (void)tally_worker_db(worker);    // from now on the runtime keeps it connected
    *state = tally_catalog_new();
    return 0;
}

static void
stop(tally_worker_t *worker, void **state)
{
    (void)worker;
    tally_catalog_t *catalog = *state;
    tally_catalog_destroy(&catalog);
    *state = NULL;
}

static void
work_on(tally_worker_t *worker, void *state, const tally_work_t *work)
{
    if (strcmp(work->queue, "survey") == 0) {
        tally_survey_desk_work(worker, state, work);
    } else {
        work_on_responses(worker, state, work);
    }
}

const tally_worker_role_t tally_responses_role = {
    .role = "responses",
    .summary = "judges and stores responses, keeps the surveys",
    .queues = {"responses", "survey"},
    .credit = 1000,
    .start = start,
    .work = work_on,
    .stop = stop,
};
