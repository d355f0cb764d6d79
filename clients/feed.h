// SPDX-License-Identifier: MIT
//  feed - what the library itself needs of the feed beyond tally.h.

#ifndef TALLY_CLIENTS_FEED_H
#define TALLY_CLIENTS_FEED_H

#include "clients/tally.h"
#include "lib/socket.h"

//  curve NULL: without CURVE; copied, and used for every broker that is followed.
tally_feed_t *tally_feed_new_keyed(const char *endpoints, const tally_socket_curve_t *curve);

#endif
