// SPDX-License-Identifier: MIT
//  keys - what a client or a worker needs to speak CURVE: its own key pair, and the broker's public key, or several.
//
//  Several, because a broker that changes its key has one or the other: peers try them in turn.  NULL stands for "no
//  CURVE" wherever keys are taken.

#ifndef TALLY_KEYS_H
#define TALLY_KEYS_H

#include "lib/socket.h"

typedef struct tally_keys tally_keys_t;

//  `key`: the file of our pair.  `servers`: files with the broker's public keys, comma separated.  Both NULL or empty:
//  *self_p is NULL, and so it will be without CURVE.  0, or -1 with *error, the caller's.
int tally_keys_new(tally_keys_t **self_p, const char *key, const char *servers,
                   char **error) TALLY_MUST_CHECK;
void tally_keys_destroy(tally_keys_t **self_p);    // zeroed

//  How many of the broker's keys there are to try; 1 for NULL.
size_t tally_keys_count(const tally_keys_t *self);
//  For sockets to the broker of that key; NULL for NULL.  Fills in *curve, which borrows from self.
const tally_socket_curve_t *
tally_keys_curve(const tally_keys_t *self, size_t server, tally_socket_curve_t *curve);

#endif
