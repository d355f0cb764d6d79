// SPDX-License-Identifier: MIT
//  zap - asks the keyring for libzmq: may this key connect to that listener?
//
//  A thread of its own, bound to inproc://zeromq.zap.01 of this process before any listener is bound.  Only CURVE is
//  let in, only under a domain that the keyring knows, only keys it admits; anything else, a request that is not one
//  included, is refused.  The key itself, in Z85, becomes the User-Id of every message of the connection; no other
//  metadata is set, and none is to be trusted.  When the thread ends, its fd says so: the process must end as well,
//  although libzmq lets nobody in without it.

#ifndef TALLY_ZAP_H
#define TALLY_ZAP_H

#include "broker/keyring.h"

typedef struct tally_zap tally_zap_t;

//  NULL when the endpoint is taken.  The keyring is borrowed.
tally_zap_t *tally_zap_new(tally_keyring_t *keyring);
void tally_zap_destroy(tally_zap_t **self_p);

//  Ends the thread; for the test of what follows from that.
void tally_zap_stop(tally_zap_t *self);

int tally_zap_fd(const tally_zap_t *self);
//  False once the thread has ended; to be asked when the fd was readable.
bool tally_zap_lives(tally_zap_t *self);
//  Handshakes let in and refused since the start.
void tally_zap_count(const tally_zap_t *self, uint64_t *admitted, uint64_t *refused);

#endif
