// SPDX-License-Identifier: MIT
//  partial - see partial.h.

#include "workers/partial.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"

struct tally_partial {
    tally_statistics_t **surveys;
    size_t count, room;
};

tally_partial_t *
tally_partial_new(void)
{
    return tally_alloc(sizeof(tally_partial_t));
}

void
tally_partial_destroy(tally_partial_t **self_p)
{
    assert(self_p != NULL);
    tally_partial_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        tally_statistics_destroy(&self->surveys[i]);
    }
    free(self->surveys);
    free(self);
    *self_p = NULL;
}

tally_statistics_t *
tally_partial_find(const tally_partial_t *self, const char *slug)
{
    for (size_t i = 0; i < self->count; i++) {
        if (strcmp(tally_statistics_survey(self->surveys[i]), slug) == 0) {
            return self->surveys[i];
        }
    }
    return NULL;
}

static tally_statistics_t *
append(tally_partial_t *self, tally_statistics_t *statistics)
{
    if (self->count == self->room) {
        self->room = self->room == 0 ? 8 : self->room * 2;
        self->surveys = tally_realloc_array(self->surveys, self->room, sizeof *self->surveys);
    }
    self->surveys[self->count++] = statistics;
    return statistics;
}

void
tally_partial_add(tally_partial_t *self, const tally_survey_t *survey,
                  const tally_response_t *response)
{
    tally_statistics_t *statistics = tally_partial_find(self, tally_survey_slug(survey));
    if (statistics == NULL) {
        statistics = append(self, tally_statistics_new(survey));
    }
    tally_statistics_add(statistics, survey, response);
}

int
tally_partial_merge(tally_partial_t *self, const json_t *json, tally_problem_t *problem)
{
    if (!json_is_array(json)) {
        return tally_problem_set(problem, "it is not a partial result");
    }
    for (size_t i = 0; i < json_array_size(json); i++) {
        tally_statistics_t *theirs = tally_statistics_decode(json_array_get(json, i), problem);
        if (theirs == NULL) {
            return -1;
        }
        tally_statistics_t *ours = tally_partial_find(self, tally_statistics_survey(theirs));
        if (ours == NULL) {
            append(self, theirs);
            continue;
        }
        int rc = tally_statistics_merge(ours, theirs, problem);
        tally_statistics_destroy(&theirs);
        if (rc == -1) {
            return -1;
        }
    }
    return 0;
}

json_t *
tally_partial_encode(const tally_partial_t *self)
{
    json_t *list = json_array();
    for (size_t i = 0; i < self->count; i++) {
        json_array_append_new(list, tally_statistics_encode(self->surveys[i]));
    }
    return list;
}

void
tally_partial_trace(const tally_partial_t *self, int64_t block, json_t *rows)
{
    for (size_t i = 0; i < self->count; i++) {
        tally_statistics_t *statistics = self->surveys[i];
        char id[48];
        snprintf(id, sizeof id, "%lld.%zu", (long long)block, i + 1);
        char *letters = tally_statistics_letters(statistics);
        json_t *row = json_object();
        json_object_set_new(row, "aggregation", json_string(id));
        json_object_set_new(row, "survey", json_string(tally_statistics_survey(statistics)));
        json_object_set_new(row, "responses",
                            json_integer((json_int_t)tally_statistics_responses(statistics)));
        json_object_set_new(row, "histogram", json_string(letters == NULL ? "" : letters));
        json_object_set_new(row, "mean", tally_statistics_first_mean(statistics));
        json_array_append_new(rows, row);
        free(letters);
    }
}
