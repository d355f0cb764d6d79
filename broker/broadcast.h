// SPDX-License-Identifier: MIT
//  broadcast - the feed: PUB sockets on which everything is to be seen.
//
//  Two frames: topic, JSON text.  Each message carries "seq", counting up by one within its topic since the
//  broker started, and "epoch", so a subscriber knows what it missed; slow subscribers lose messages, never the
//  broker time.  Nothing lives on the feed alone.  Snapshots are published at most once a second, and while nobody is
//  connected to a feed they are not made.
//
//  PUB cannot keep a topic from a subscriber.  So with CURVE whoever does not see all tenants is told a feed of its
//  own: a socket for its set of tenants, whose handshake lets keys of that set in and no others, and on which goes
//  only what names one of these tenants in its member "tenant".

#ifndef TALLY_BROADCAST_H
#define TALLY_BROADCAST_H

#include <jansson.h>

#include "broker/door.h"
#include "lib/bytes.h"

typedef struct tally_broadcast tally_broadcast_t;

typedef struct {
    const char *endpoint, *advertise;    // of the whole feed; told instead, or NULL
    const char *feeds,
        *advertise_feeds;    // of the others: patterns, see place.h; NULL: there are none
    uint64_t epoch;
    tally_door_t *door;
} tally_broadcast_options_t;

//  NULL when the endpoint cannot be bound (the log says why).  What options name is borrowed.
tally_broadcast_t *tally_broadcast_new(const tally_broadcast_options_t *options);
void tally_broadcast_destroy(tally_broadcast_t **self_p);
const char *
tally_broadcast_endpoint(const tally_broadcast_t *self);    // of the whole feed, as bound
//  Of the feed that this one may follow, as it is told, opened when it is not there yet; "": there is none.
const char *tally_broadcast_endpoint_for(tally_broadcast_t *self, const tally_principal_t *who);

//  Publishes `object` under the topic ("queue.responses"); takes the reference.  Adds seq, epoch and at.
void tally_broadcast_publish(tally_broadcast_t *self, tally_bytes_t topic, json_t *object);

//  Ends all connections; those who may will connect again.  For when somebody lost its rights.
void tally_broadcast_restart(tally_broadcast_t *self);

#endif
