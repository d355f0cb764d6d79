// SPDX-License-Identifier: MIT
//  feed - the PUB socket on which everything is to be seen.
//
//  Two frames: topic, JSON text.  Each message carries "seq", counting up by one within its topic since the broker
//  started, and "epoch", so a subscriber knows what it missed; slow subscribers lose messages, never the broker time.
//  Nothing lives on the feed alone.  Snapshots are published whether somebody listens or not, at most once a second.

#ifndef TALLY_FEED_H
#define TALLY_FEED_H

#include <jansson.h>

#include "lib/bytes.h"

typedef struct tally_feed tally_feed_t;

//  NULL when the endpoint cannot be bound (the log says why).
tally_feed_t *tally_feed_new(const char *endpoint, uint64_t epoch);
void tally_feed_destroy(tally_feed_t **self_p);
const char *tally_feed_endpoint(const tally_feed_t *self);

//  Publishes `object` under the topic ("queue.responses"); takes the reference.  Adds seq, epoch and at.
void tally_feed_publish(tally_feed_t *self, tally_bytes_t topic, json_t *object);

#endif
