// SPDX-License-Identifier: MIT
//  ping - one worker's sign of life, read out of a message.  Trusts nothing; pure.

#ifndef TALLY_PING_H
#define TALLY_PING_H

#include "workers/json.h"

#define TALLY_PING_TEXT_BYTES_MAX 255

typedef struct {
    char name[TALLY_NAME_BYTES_MAX + 1];
    char role[TALLY_NAME_BYTES_MAX + 1];
    char host[TALLY_PING_TEXT_BYTES_MAX + 1];
    int32_t pid;
    int64_t started_at_us, at_us;    // since 1970, by the worker's clock
    bool stopped;                    // the last one: it ends as it should
} tally_ping_t;

//  {"name":..., "role":..., "pid":N, "host":..., "started_at":T, "at":T, "stopped":true}; the
//  last may be missing.  Unknown members are passed over, since workers of a later version may say
//  more.  0, or -1 with the problem told.
int
tally_ping_read(tally_ping_t *ping, tally_bytes_t body, tally_problem_t *problem) TALLY_MUST_CHECK;

//  "2026-01-31T23:59:59.123Z", up to six digits behind the point or none.  -1 when it is not that.
int tally_ping_time(const char *text, int64_t *us) TALLY_MUST_CHECK;

#endif
