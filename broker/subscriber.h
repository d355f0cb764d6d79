// SPDX-License-Identifier: MIT
//  subscriber - reads the frames of one connection to the feed, and finds out when it subscribes to too much.
//
//  libzmq keeps subscriptions in a tree, a node for each byte, without bounds, and does so in the thread of the feed.
//  A subscriber says nothing but subscriptions, what takes them back, and PINGs; so its frames are counted before
//  libzmq has them, encrypted or not, by their lengths: TALLY_SUBSCRIPTIONS_MAX of them, topics of
//  TALLY_TOPIC_BYTES_MAX, TALLY_SUBSCRIPTION_BYTES_MAX of topics, and TALLY_SUBSCRIBER_BEATS_MAX frames no longer than
//  a PING, which in nine hours are an honest subscriber's.  Nothing is given back, so this is for a connection's life.
//  Who has used it up connects again, as after any lost connection, and sees by `seq` what it missed.  No input or
//  output here.

#ifndef TALLY_SUBSCRIBER_H
#define TALLY_SUBSCRIBER_H

#include "lib/bytes.h"

typedef struct tally_subscriber tally_subscriber_t;

tally_subscriber_t *tally_subscriber_new(void);
void tally_subscriber_destroy(tally_subscriber_t **self_p);

//  What was received next, from the first byte of the connection on.  False when that is too much.
bool tally_subscriber_take(tally_subscriber_t *self, tally_bytes_t bytes);
//  Of its topics, so far.
size_t tally_subscriber_bytes(const tally_subscriber_t *self);

#endif
