// SPDX-License-Identifier: MIT
//  lane - the PUSH socket through which the broker reaches one worker process.
//
//  Bound when a worker says hello, open when the first peer is through its handshake; closed for good when that
//  peer goes or a second one comes.  Strangers who connect and do not get through are nothing to it.  Its high-water
//  mark is the worker's credit, so what is under way in it is bounded by what the worker was promised.  What a dead
//  peer did not read is lost with the lane: the leases know.

#ifndef TALLY_LANE_H
#define TALLY_LANE_H

#include "lib/socket.h"
#include "lib/wire.h"

typedef struct tally_lane tally_lane_t;

//  `pattern` is an endpoint; a % in it becomes the worker's number ("ipc:///run/tally/lane-%"), a tcp one may end
//  in ":*".  `elsewhere` is where the peer reaches it, NULL for the same place: % as in the pattern, and a last ":*"
//  becomes the port that was bound.  NULL when it cannot be bound (the log says why).
//  curve NULL: no keys.
tally_lane_t *tally_lane_new(const char *pattern, const char *elsewhere, uint64_t worker,
                             uint16_t credit, const tally_socket_curve_t *curve);
void tally_lane_destroy(tally_lane_t **self_p);

uint64_t tally_lane_worker(const tally_lane_t *self);
const char *tally_lane_endpoint(const tally_lane_t *self);    // as the peer must connect to it
int tally_lane_fd(const tally_lane_t *self);                  // readable: call tally_lane_look

typedef enum { TALLY_LANE_WAITING = 1, TALLY_LANE_OPEN, TALLY_LANE_CLOSED } tally_lane_state_t;

//  Reads what happened to the connection; edge-triggered, so it must be called whenever the fd is readable.
tally_lane_state_t tally_lane_look(tally_lane_t *self);
tally_lane_state_t tally_lane_state(const tally_lane_t *self);

//  0, or -1 when the peer is gone or takes no more: nothing was sent then.
int tally_lane_send(tally_lane_t *self, tally_bytes_t frame) TALLY_MUST_CHECK;

#endif
