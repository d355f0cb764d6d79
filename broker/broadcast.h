// SPDX-License-Identifier: MIT
//  broadcast - the feed: the PUB socket on which everything is to be seen.
//
//  Two frames: topic, JSON text.  Each message carries "seq", counting up by one within its topic since the broker
//  started, and "epoch", so a subscriber knows what it missed; slow subscribers lose messages, never the broker time.
//  Nothing lives on the feed alone.  Snapshots are published whether somebody listens or not, at most once a second.

#ifndef TALLY_BROADCAST_H
#define TALLY_BROADCAST_H

#include <jansson.h>

#include "lib/bytes.h"

typedef struct tally_broadcast tally_broadcast_t;

//  NULL when the endpoint cannot be bound (the log says why).
tally_broadcast_t *tally_broadcast_new(const char *endpoint, uint64_t epoch);
void tally_broadcast_destroy(tally_broadcast_t **self_p);
const char *tally_broadcast_endpoint(const tally_broadcast_t *self);

//  Publishes `object` under the topic ("queue.responses"); takes the reference.  Adds seq, epoch and at.
void tally_broadcast_publish(tally_broadcast_t *self, tally_bytes_t topic, json_t *object);

#endif
