// SPDX-License-Identifier: MIT
//  outlet - one PUB socket of the feed and its place, which it keeps when its connections are ended.

#ifndef TALLY_OUTLET_H
#define TALLY_OUTLET_H

#include "lib/bytes.h"
#include "lib/socket.h"

typedef struct tally_outlet tally_outlet_t;

//  NULL when it cannot be bound (the log says why).
tally_outlet_t *tally_outlet_new(const char *endpoint, const tally_socket_curve_t *curve);
void tally_outlet_destroy(tally_outlet_t **self_p);
const char *tally_outlet_endpoint(const tally_outlet_t *self);    // as bound

void tally_outlet_send(tally_outlet_t *self, tally_bytes_t topic, tally_bytes_t text);

//  Ends every connection; nobody is heard of until it is open again.
void tally_outlet_close(tally_outlet_t *self);
//  Binds its old place when it is closed; libzmq may need a moment to give it up, so -1 means: again later.
int tally_outlet_reopen(tally_outlet_t *self, const tally_socket_curve_t *curve) TALLY_MUST_CHECK;

#endif
