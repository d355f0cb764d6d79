// SPDX-License-Identifier: MIT
//  meter - where the time of the ticks goes: sums since the start, quantiles of the last minute.
//
//  A tick passes through phases; the shell tells each its nanoseconds.  What belongs to a tick is kept together until
//  the tick is committed and told, so that lost ones do not count.  A clock read per phase and a few additions, no
//  allocation: always on.  Times are given, never read here.

#ifndef TALLY_METER_H
#define TALLY_METER_H

#include <stdint.h>

typedef enum {
    TALLY_METER_COLLECT,     // ns: frames taken from the sockets, decoded, given to the core
    TALLY_METER_PLAN,        // ns: sealing, in which time passes and leases are made
    TALLY_METER_ENCODE,      // ns: the plan as statements, into libpq
    TALLY_METER_DATABASE,    // ns: waiting for PostgreSQL; the next plan is collected meanwhile
    TALLY_METER_PUBLISH,     // ns: made true in memory, and told
    TALLY_METER_MESSAGES,    // taken in by the tick
    TALLY_METER_LEASES,      // handed out by it
    TALLY_METER_SERIES,
} tally_meter_series_t;

typedef struct {
    uint64_t count, sum;       // since the start
    uint64_t p50, p99, max;    // of the last 30 to 60 s
} tally_meter_figures_t;

typedef struct tally_meter tally_meter_t;

tally_meter_t *tally_meter_new(int64_t now_ns);
void tally_meter_destroy(tally_meter_t **self_p);

//  Adds to what is being collected, for the next tick.
void tally_meter_collect(tally_meter_t *self, int64_t ns);
//  A plan was sealed: what was collected is its own.  Of one before that did not end well nothing is left.
void tally_meter_seal(tally_meter_t *self);
//  Adds to a figure of the sealed plan.
void tally_meter_add(tally_meter_t *self, tally_meter_series_t series, uint64_t value);
//  The sealed plan was committed and told: now it counts.
void tally_meter_finish(tally_meter_t *self, int64_t now_ns);

void tally_meter_read(const tally_meter_t *self, tally_meter_series_t series,
                      tally_meter_figures_t *figures);

#endif
