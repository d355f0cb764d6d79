// SPDX-License-Identifier: MIT
//  raw_curve - a peer that speaks ZMTP 3 with CURVE byte by byte, to say what libzmq would not let it say.
//
//  It proves its own key honestly, as CurveZMQ (RFC 26) wants it, and then claims whatever metadata the test gives it.

#ifndef TALLY_TEST_RAW_CURVE_H
#define TALLY_TEST_RAW_CURVE_H

#include <sys/types.h>

#include "lib/key_file.h"

typedef struct {
    int fd;    // -1: closed
    uint8_t own_transient[32], shared[32];
    uint64_t nonce;
    bool refused;    // the handshake went to its end, and the key was not let in
} raw_curve_t;

//  Through the handshake at a unix socket, with these properties: pairs of texts, NULL ends them.  Unless the first is
//  another Socket-Type it is a DEALER.
//  False when the server did not let it in.
bool raw_curve_open(raw_curve_t *self, const char *path, const tally_key_pair_t *key,
                    const char *server_key, const char *const *properties);
//  The same on a connection that is there, which it takes.
bool raw_curve_open_on(raw_curve_t *self, int fd, const tally_key_pair_t *key,
                       const char *server_key, const char *const *properties);
void raw_curve_close(raw_curve_t *self);

bool raw_curve_send(raw_curve_t *self, tally_bytes_t frame);
//  The next frame, up to `room` bytes; its size, -1 when none came in 5 s.
ssize_t raw_curve_receive(raw_curve_t *self, uint8_t *frame, size_t room);

#endif
