// SPDX-License-Identifier: MIT
//  survey_data - surveys to run the pipeline with, and what must come out of it.
//
//  A generated survey has a question of each type, and its expected statistics are counted here in the plainest way,
//  by code that shares nothing with the workers'.  Real surveys are read from the folder of TALLY_DATA_DIR (or
//  ../shared/data) when it is there.

#ifndef TALLY_SURVEY_DATA_H
#define TALLY_SURVEY_DATA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    char slug[65];
    char *definition;    // paths of files; owned
    char *responses;
    json_t *expected;
    size_t count;    // of responses
} survey_data_t;

//  Writes DIR/SLUG.survey.json and DIR/SLUG.responses.ndjson: `count` responses, the same for the same seed.
void survey_data_generate(survey_data_t *data, const char *dir, const char *slug, size_t count,
                          unsigned seed);
//  False when the folder of real data is not there, or has no such survey.
bool survey_data_read(survey_data_t *data, const char *slug);
void survey_data_free(survey_data_t *data);

//  NULL when `actual` says what `expected` does (numbers equal to 1e-9 relative, members in any order); else what
//  differs, to be freed.
char *survey_data_difference(const json_t *expected, const json_t *actual);

#endif
