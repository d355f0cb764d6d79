// SPDX-License-Identifier: MIT
//  socket - the one way a ZeroMQ socket of Tally is bound or connected.
//
//  libzmq's defaults are no bounds: frames of any size, strangers kept for 30 s, peers that are cut off never missed.
//  So every option that matters is set here, explicitly, before the socket can be reached; a caller says only what
//  differs from socket to socket.  Endpoints are tcp, ipc and inproc; the other transports that Debian's libzmq was
//  built with are refused.  Monitors (inproc PAIRs of one process) are not made here.

#ifndef TALLY_SOCKET_H
#define TALLY_SOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/bytes.h"

//  Keys in Z85, 40 characters; borrowed during the call.
typedef struct {
    const char *public_key;    // ours, when connecting
    const char *secret_key;    // ours
    const char *server_key;    // connecting: the only server we speak to
    const char *domain;        // binding: what ZAP is asked under; without a handler nobody gets in
} tally_socket_curve_t;

typedef struct {
    int send_max;    // high-water mark a peer, in frames; 0: no bound, say why where you ask for it
    int receive_max;            // the same for what comes in
    int64_t frame_bytes_max;    // of what comes in; a peer that announces more is disconnected
    int linger_ms;              // how long a closed socket may go on sending
    bool once;                  // connecting: a connection that ends is not made again
    const tally_socket_curve_t *curve;    // NULL: no encryption, and nobody is known by a key
} tally_socket_options_t;

//  `socket` is libzmq's own (zsock_resolve() of a zsock_t), not yet bound or connected, and stays the caller's.
//  0, or -1 with errno.
int tally_socket_bind(void *socket, const char *endpoint,
                      const tally_socket_options_t *options) TALLY_MUST_CHECK;
int tally_socket_connect(void *socket, const char *endpoint,
                         const tally_socket_options_t *options) TALLY_MUST_CHECK;

//  Before a ROUTER is made (and after zsys_init, which seeds by the time): it numbers its peers from rand() on, and in
//  libzmq 4.3.4 a peer that claims a number not yet given ends the process when that number's turn comes.  Who brings a
//  name is kept out (broker/greeting.h), where that can be seen; nobody must know where the numbers begin either.
void tally_socket_hide_numbers(void);

#endif
