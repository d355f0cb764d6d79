// SPDX-License-Identifier: MIT
//  runtime_link - a worker's connection to the broker: control socket, lane and sink.
//
//  Says hello to the fronts in turn until one answers, then knows by the broker's beats on the lane whether it
//  still stands.  Never blocks and never looks at a clock: the loop waits on its sockets and passes the time.
//  Leases and records mean nothing here.

#ifndef TALLY_RUNTIME_LINK_H
#define TALLY_RUNTIME_LINK_H

#include <zmq.h>

#include "lib/keys.h"
#include "lib/wire.h"

typedef struct tally_link tally_link_t;

typedef enum {
    TALLY_LINK_SAME,
    TALLY_LINK_WELCOMED,    // a new worker number, lane and sink
    TALLY_LINK_LOST,    // the broker is gone or took us for dead: what we held is no longer ours
} tally_link_event_t;

typedef enum {
    TALLY_LANE_NOTHING,
    TALLY_LANE_DELIVERY,
    TALLY_LANE_DRAIN,    // the operator wants us to finish and go
} tally_lane_event_t;

//  `fronts` comma separated; the hello's texts are borrowed for the life of the link.  NULL when there is no
//  front in the text or no socket could be made.  keys NULL: no CURVE; borrowed as well.
tally_link_t *
tally_link_new(const char *fronts, const tally_hello_t *hello, const tally_keys_t *keys);
void tally_link_destroy(tally_link_t **self_p);
//  Which of the broker's keys it is that we speak to now.
size_t tally_link_server(const tally_link_t *self);

//  Reads the next frame of the lane into `frame` (initialised; a delivery is left in it).  Beats and terms are
//  handled inside.
tally_lane_event_t tally_link_take(tally_link_t *self, zmq_msg_t *frame);
//  Reads the control socket, judges the silence, says hello again when it is time.  Call it after the lane was
//  read empty: beats that wait there are not silence.
tally_link_event_t tally_link_advance(tally_link_t *self, int64_t now_ms);
//  When advance has something to do at the latest.
int64_t tally_link_due_at_ms(const tally_link_t *self);
//  Fills up to TALLY_LINK_ITEMS_MAX items; returns how many.
#define TALLY_LINK_ITEMS_MAX 5
size_t tally_link_poll_items(const tally_link_t *self, zmq_pollitem_t *items);

bool tally_link_ready(const tally_link_t *self);
//  Of the last welcome: worker number, beats, sink.  Borrowed until the next advance.
const tally_welcome_t *tally_link_welcome(const tally_link_t *self);

//  Hands a frame of records to the sink.  -1 when it does not take it; the frame is the caller's either way.
int tally_link_sink(tally_link_t *self, tally_bytes_t frame) TALLY_MUST_CHECK;
//  Nothing may be sent or read afterwards.
void tally_link_goodbye(tally_link_t *self);

#endif
