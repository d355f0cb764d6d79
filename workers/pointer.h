// SPDX-License-Identifier: MIT
//  pointer - what the responses worker tells the statistics worker: these responses are new.
//
//      {"survey": id, "slug": slug, "responses": [number, ...]}        numbers of tally.response, growing
//
//  It comes with the responses' own transaction, so each response is named by exactly one pointer.  A pointer is
//  counted wholly or not at all.

#ifndef TALLY_POINTER_H
#define TALLY_POINTER_H

#include "workers/json.h"

#define TALLY_POINTER_BYTES_MAX (60 * 1024)    // of the body; inline bodies end soon after

typedef struct {
    int32_t survey;
    char slug[TALLY_NAME_BYTES_MAX + 1];
    int64_t *numbers;    // owned
    size_t count;
} tally_pointer_t;

//  The body over as many of `numbers` as fit; *taken says how many.  The caller frees it.
char *tally_pointer_print(int32_t survey, const char *slug, const int64_t *numbers, size_t count,
                          size_t *taken);

//  0, or -1 with the problem told and nothing to free.
int tally_pointer_read(tally_pointer_t *pointer, const json_t *json,
                       tally_problem_t *problem) TALLY_MUST_CHECK;
void tally_pointer_free(tally_pointer_t *pointer);

//  A list of growing positive integers; NULL when it is not one.  For pointers and blocks.
int64_t *tally_numbers_read(const json_t *list, size_t *count);

#endif
