// SPDX-License-Identifier: MIT
//  export_place - the directory that an export's file is written to.
//
//  A client names directories, the operator says which are allowed: those inside the worker's own,
//  or any when the operator chose so.  Inside, each step is opened by itself without following
//  symbolic links, and everything later goes through the opened directory, so that nobody can
//  exchange it between the check and the use.  Missing directories are made.

#ifndef TALLY_EXPORT_PLACE_H
#define TALLY_EXPORT_PLACE_H

#include "workers/json.h"

typedef enum {
    TALLY_PLACE_OPEN,
    TALLY_PLACE_REFUSED,    // not allowed, and will not be
    TALLY_PLACE_FAILED,     // the disk said no
} tally_place_outcome_t;

typedef struct {
    const char *base;    // the worker's own; NULL: files are refused
    bool any;            // absolute paths outside of it are allowed
} tally_place_rule_t;

typedef struct {
    int fd;
    char *path;    // for people: what was opened
} tally_place_t;

//  `wanted` NULL: the worker's own.  With an outcome other than OPEN the problem is told.
tally_place_outcome_t
tally_export_place_open(const tally_place_rule_t *rule, const char *wanted, tally_place_t *place,
                        tally_problem_t *problem) TALLY_MUST_CHECK;
//  Also fine for one that is zeroed.
void tally_export_place_close(tally_place_t *place);

#endif
