// SPDX-License-Identifier: MIT
//  runtime_beat - the thread that says "alive" while the main thread works.
//
//  Beats go to the sink of the present connection; they live in the broker's memory.  Pings go to the front, at
//  start and then every ping_ms: durable messages to queue `heartbeat` of tenant `tally`, from a sender of
//  their own, repeated until confirmed.  A ping's body is
//
//      {"name":..., "role":..., "pid":N, "host":..., "started_at":T, "at":T}       T: "2026-01-31T23:59:59.123Z"
//
//  The last one, of a worker that ends as it should, has "stopped":true.
//
//  A stopped process stops this thread with it, and is seen to be stopped.  Nothing else runs here.

#ifndef TALLY_RUNTIME_BEAT_H
#define TALLY_RUNTIME_BEAT_H

#include <stdatomic.h>
#include <stdint.h>

#include "lib/keys.h"

typedef struct tally_beat tally_beat_t;

typedef struct {
    const char *fronts;    // comma separated
    const char *name, *role;
    int64_t ping_ms;
    const atomic_uint *outstanding;    // messages held, for the beats
    const tally_keys_t *keys;          // NULL: no CURVE; borrowed
} tally_beat_options_t;

//  The texts are borrowed for the life of the thread.
tally_beat_t *tally_beat_new(const tally_beat_options_t *options);
void tally_beat_destroy(tally_beat_t **self_p);
//  Beat for this worker from now on, at the sink of the broker with that key (see keys.h); worker 0: for none.
void tally_beat_follow(tally_beat_t *self, uint64_t worker, const char *sink, uint16_t beat_ms,
                       size_t server);

#endif
