// SPDX-License-Identifier: MIT
//  json - JSON that comes from outside, and sentences about what is wrong with it.
//
//  Parsing is lib/json's, which is strict.  Nothing of a text from outside is used before it went through here.
//  What a survey or a request means is not known here.

#ifndef TALLY_WORKERS_JSON_H
#define TALLY_WORKERS_JSON_H

#include "lib/json.h"
#include "lib/limits.h"

//  What is wrong and where, for whoever sent it.  Always valid UTF-8.
typedef struct {
    char text[TALLY_TEXT_BYTES_MAX + 1];
} tally_problem_t;

//  Returns -1, so that a check can end with `return tally_problem_set(...)`.  Too long is cut.
int tally_problem_set(tally_problem_t *problem, const char *format, ...) TALLY_PRINTF(2, 3);

//  A new reference, or NULL with the problem told: of a client's text, with every limit...
json_t *tally_json_parse(tally_bytes_t text, size_t bytes_max, tally_problem_t *problem);
//  ...and of what one of these workers has written, bounded by its size alone.
json_t *tally_json_parse_made(tally_bytes_t text, size_t bytes_max, tally_problem_t *problem);

//  The first key of `object` that is not among `known` (NULL-terminated), or NULL.
const char *tally_json_unknown_key(const json_t *object, const char *const *known);

//  Compact text; frees nothing of `value`.  The caller frees it with free().
char *tally_json_print(const json_t *value);

//  {"ok":false,"error":{"code":..., "text":...}}: what an ask gets that cannot be answered.
json_t *tally_json_refusal(const char *code, const char *text);

#endif
