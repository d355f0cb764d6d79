// SPDX-License-Identifier: MIT
//  stranger - a peer of the broker written by hand, as right or as wrong as a test wants.
//
//  One DEALER at the front; as a worker also a lane and the sink.  Waits are bounded; what must not be fails the test.
//  Nothing is repeated, nothing answered by itself: that is the point.

#ifndef TALLY_TEST_STRANGER_H
#define TALLY_TEST_STRANGER_H

#include <czmq.h>

#include "lib/wire.h"

typedef struct {
    zsock_t *front, *lane, *sink;    // lane and sink of a worker, once it has joined
    char lane_endpoint[TALLY_ENDPOINT_BYTES_MAX + 1];
    char sink_endpoint[TALLY_ENDPOINT_BYTES_MAX + 1];
    uint64_t worker;      // its number
    uint64_t sequence;    // of the last send
    tally_wire_t wire;    // what is written next, by the test or here
    zmq_msg_t frame;      // heard last
} tally_stranger_t;

tally_stranger_t *tally_stranger_new(const char *front);
void tally_stranger_destroy(tally_stranger_t **self_p);

//  What is in self->wire.
void tally_stranger_say(tally_stranger_t *self);

typedef struct {
    tally_head_t head;
    int code;    // of an ERROR, else 0
} tally_heard_t;

//  The next answer of the front; false when there is none in time.
bool tally_stranger_hear(tally_stranger_t *self, int timeout_ms, tally_heard_t *heard);

//  Hello as a client; must be welcome.
void tally_stranger_hello(tally_stranger_t *self);
//  Hello as a worker of one queue, then lane and sink; must be welcome, and is there once its lane is connected.
void tally_stranger_join(tally_stranger_t *self, const char *queue, uint16_t credit);

//  Sends one message, hears nothing.  Returns its sequence.
uint64_t tally_stranger_send(tally_stranger_t *self, const char *queue, const char *tenant,
                             const char *body);

//  The next delivery on the lane, lent until the next call; false when none came in time.  Beats on the way are
//  counted in *beats (may be NULL).
bool tally_stranger_leased(tally_stranger_t *self, int timeout_ms, tally_delivery_t *delivery,
                           unsigned *beats);
//  A record without text for a whole lease (0: a beat).
void tally_stranger_record(tally_stranger_t *self, uint8_t kind, uint64_t lease);

#endif
