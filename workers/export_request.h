// SPDX-License-Identifier: MIT
//  export_request - what clients ask of exports, read out of JSON.  Trusts nothing; pure.

#ifndef TALLY_EXPORT_REQUEST_H
#define TALLY_EXPORT_REQUEST_H

#include "workers/json.h"

typedef enum { TALLY_ASKS_EXPORT, TALLY_ASKS_LIST, TALLY_ASKS_CANCEL } tally_export_verb_t;
typedef enum { TALLY_FORMAT_TABLE, TALLY_FORMAT_CSV, TALLY_FORMAT_NDJSON } tally_export_format_t;

typedef struct {
    tally_export_verb_t verb;
    tally_export_format_t format;    // export
    char *survey;                    // export
    char *out;                       // export to a file: directory; NULL: the worker's
    uint64_t id;                     // cancel
} tally_export_request_t;

//  {"do":"export","survey":S,"format":"table|csv|ndjson","out":DIR}, {"do":"ls"},
//  {"do":"cancel","export":ID}. 0, or -1 with the problem told and nothing to free.
int tally_export_request_read(tally_export_request_t *self, tally_bytes_t body,
                              tally_problem_t *problem) TALLY_MUST_CHECK;
void tally_export_request_free(tally_export_request_t *self);
const char *tally_export_format_name(tally_export_format_t format);

#endif
