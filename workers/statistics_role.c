// SPDX-License-Identifier: MIT
//  statistics_role - see statistics_role.h.

#include "workers/statistics_role.h"

#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/counting.h"
#include "workers/recompute.h"
#include "workers/recompute_map.h"
#include "workers/refresh.h"
#include "workers/statistics_desk.h"

//  Refuses a message of the exclusive queue that is neither a pointer nor a request.
static void
refuse(tally_counter_t *self, const tally_delivered_t *item, const char *why)
{
    if ((item->options & TALLY_WANTS_RESULT) != 0) {
        tally_ask_answer(self->worker, self->work, item, tally_json_refusal("JSON", why));
    } else {
        tally_worker_bury(self->worker, self->work, item->id, why);
    }
}

static void
serve(tally_counter_t *self, const tally_delivered_t *item, const json_t *request)
{
    const char *word = json_string_value(json_object_get(request, "do"));
    if (word != NULL && strcmp(word, "refresh") == 0) {
        tally_refresh_work(self, item, request);
    } else if (word != NULL && strcmp(word, "recompute") == 0) {
        tally_recompute_work(self, item, request);
    } else {
        refuse(self, item, "\"do\" must be refresh or recompute");
    }
}

//  Reads what the messages of the exclusive queue are; pointers first, so that a refresh beside them finds them
//  counted.
static void
work_on_term(tally_counter_t *self)
{
    size_t count = self->work->count;
    json_t **requests = tally_alloc_array(count, sizeof *requests);
    bool *pointers = tally_alloc_array(count, sizeof *pointers);
    for (size_t i = 0; i < count; i++) {
        const tally_delivered_t *item = &self->work->items[i];
        tally_problem_t problem;
        if ((item->options & TALLY_AS_BLOB) != 0) {
            tally_problem_set(&problem, "a message to this queue carries its body inline");
        } else {
            requests[i] = tally_json_parse(item->body, TALLY_BODY_INLINE_BYTES_MAX, &problem);
        }
        if (requests[i] == NULL) {
            refuse(self, item, problem.text);
        }
        pointers[i] = requests[i] != NULL && json_object_get(requests[i], "do") == NULL;
    }
    bool ours = tally_counting_work(self, requests, pointers);
    for (size_t i = 0; i < count; i++) {
        if (ours && requests[i] != NULL && !pointers[i]
            && !tally_worker_interrupted(self->worker)) {
            serve(self, &self->work->items[i], requests[i]);
        }
        json_decref(requests[i]);
    }
    free(requests);
    free(pointers);
}

//  ---- role --------------------------------------------------------------------------------------

static int
start(tally_worker_t *worker, void **state)
{
    tally_counter_t *self = tally_alloc(sizeof *self);
    self->worker = worker;
    self->db = tally_worker_db(worker);    // from now on the runtime keeps it connected
    self->catalog = tally_catalog_new();
    self->patience = tally_alloc(sizeof *self->patience);
    *state = self;
    return 0;
}

static void
stop(tally_worker_t *worker, void **state)
{
    (void)worker;
    tally_counter_t *self = *state;
    tally_catalog_destroy(&self->catalog);
    free(self->patience);
    free(self);
    *state = NULL;
}

static void
work_on(tally_worker_t *worker, void *state, const tally_work_t *work)
{
    tally_counter_t *self = state;
    self->work = work;
    self->committed = false;
    if (strcmp(work->queue, "statistics-read") == 0) {
        tally_statistics_desk_work(self);
    } else if (strcmp(work->queue, "statistics-map") == 0) {
        tally_recompute_map_work(self);
    } else {
        work_on_term(self);
    }
    if (self->committed) {
        tally_worker_note(worker, work);
    }
    self->work = NULL;
}

const tally_worker_role_t tally_statistics_role = {
    .role = "statistics",
    .summary = "counts responses, one worker per tenant; recomputes in parallel",
    .queues = {"statistics", "statistics-read", "statistics-map"},
    .credit = 512,
    .start = start,
    .work = work_on,
    .stop = stop,
};
