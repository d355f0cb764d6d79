// SPDX-License-Identifier: MIT
//  outlet - one PUB socket of the feed and its place, which it keeps when its connections are ended.
//
//  It has a thread of its own: libzmq walks through all topics of a PUB socket each time that a subscriber goes, so
//  many who come and go can hold its thread up for seconds.  Then what is sent waits, up to a bound, and more is lost,
//  as it is to a subscriber that does not keep up; the loop never waits for it.

#ifndef TALLY_OUTLET_H
#define TALLY_OUTLET_H

#include "lib/bytes.h"
#include "lib/socket.h"

typedef struct tally_outlet tally_outlet_t;

//  NULL when it cannot be bound (the log says why).  The secret key stays the caller's, and valid.
tally_outlet_t *tally_outlet_new(const char *endpoint, const tally_socket_curve_t *curve);
void tally_outlet_destroy(tally_outlet_t **self_p);
const char *tally_outlet_endpoint(const tally_outlet_t *self);    // as bound

void tally_outlet_send(tally_outlet_t *self, tally_bytes_t topic, tally_bytes_t text);

//  Ends every connection, soon, and binds its old place again.
void tally_outlet_restart(tally_outlet_t *self);

#endif
