// SPDX-License-Identifier: MIT
//  session - the connection of a client to a front: socket, hello, silence, endpoints in turn.
//
//  It knows when to give a connection up, and never what was said over it: sends are window's, who
//  decides is pump.  Never blocks except in tally_session_poll.  Time is an argument.

#ifndef TALLY_CLIENTS_SESSION_H
#define TALLY_CLIENTS_SESSION_H

#include "lib/keys.h"
#include "lib/wire.h"

#include <zmq.h>

typedef enum {
    TALLY_SESSION_CLOSED,
    TALLY_SESSION_GREETING,    // hello is out
    TALLY_SESSION_READY,
} tally_session_state_t;

typedef enum {
    TALLY_WELCOME_NONE,     // not an answer to our hello, or not a welcome (fault says what)
    TALLY_WELCOME_FRESH,    // this connection knows nothing of what we have outstanding
    TALLY_WELCOME_SAME,     // the answer to a probe: all is as it was
} tally_welcome_kind_t;

typedef struct tally_session tally_session_t;

//  NULL without resources (errno).  `endpoints` comma separated, copied.
tally_session_t *tally_session_new(const char *endpoints);
void tally_session_destroy(tally_session_t **self_p);

void tally_session_set_name(tally_session_t *self, tally_bytes_t name);
void tally_session_set_sender(tally_session_t *self, const uint8_t sender[TALLY_SENDER_BYTES]);
void tally_session_set_silence(tally_session_t *self, unsigned silence_ms);
//  Takes *keys_p (NULL: no CURVE); before the first open.  Each of the broker's keys is tried at each endpoint.
void tally_session_set_keys(tally_session_t *self, tally_keys_t **keys_p);
//  For another socket to the broker that we are connected to; NULL without CURVE.
const tally_socket_curve_t *
tally_session_curve(const tally_session_t *self, tally_socket_curve_t *curve);

//  Closes what is open, connects to the current endpoint and says hello.  -1: it is not an
//  endpoint.
int tally_session_open(tally_session_t *self, int64_t now_ms) TALLY_MUST_CHECK;
//  Gives this connection up; the next open takes the next endpoint.
void tally_session_give_up(tally_session_t *self);
//  True when the connection ended or could not be made.  Never of an only endpoint: there libzmq connects again.
bool tally_session_ended(tally_session_t *self);
//  Nobody is there: the next open takes the next endpoint, at once; when all were tried in vain, after a pause.
void tally_session_move_on(tally_session_t *self, int64_t now_ms);
//  Who is there cannot serve for now: the next open takes the next endpoint, in `delay_ms`.  False: there is no other.
bool tally_session_leave(tally_session_t *self, int64_t now_ms, int64_t delay_ms);
//  When a closed session is to be opened.
int64_t tally_session_open_at(const tally_session_t *self);
//  The front does not know us (any more): hello again over the same socket.
void tally_session_greet(tally_session_t *self, int64_t now_ms);
//  As above, in `delay_ms`: it refused the hello for now.
void tally_session_greet_later(tally_session_t *self, int64_t now_ms, int64_t delay_ms);
//  Asks for a sign of life: a hello that leaves the session ready.
void tally_session_probe(tally_session_t *self, int64_t now_ms);
bool tally_session_probing(const tally_session_t *self);

//  By reference: the frame stays the caller's.  -1: the socket takes no more.
int tally_session_send(tally_session_t *self, zmq_msg_t *frame) TALLY_MUST_CHECK;
//  0 with a frame in the initialised `frame`, -1 when there is none.  Multiparts are passed over.
int tally_session_receive(tally_session_t *self, zmq_msg_t *frame) TALLY_MUST_CHECK;
void tally_session_poll(tally_session_t *self, int64_t wait_ms);
//  libzmq's descriptor of the socket, edge-triggered (ZMQ_FD); -1 when there is no socket.
int tally_session_fd(const tally_session_t *self);

//  Something from the front came; or: from now on an answer is due.
void tally_session_heard(tally_session_t *self, int64_t now_ms);
void tally_session_expect(tally_session_t *self, int64_t now_ms);

tally_welcome_kind_t tally_session_welcome(tally_session_t *self, const tally_head_t *head,
                                           tally_cursor_t cursor, tally_fault_t *fault);
//  True when `request` is that of our last hello.
bool tally_session_greeted_by(const tally_session_t *self, uint64_t request);

//  When the silence has lasted too long, given that an answer is due.
int64_t tally_session_patience_ends(const tally_session_t *self);
//  When a refused hello is to be repeated; 0: none waits.
int64_t tally_session_greet_at(const tally_session_t *self);

tally_session_state_t tally_session_state(const tally_session_t *self);
const char *tally_session_endpoint(const tally_session_t *self);
const uint8_t *tally_session_sender(const tally_session_t *self);
unsigned tally_session_reconnects(const tally_session_t *self);
unsigned tally_session_silence_ms(const tally_session_t *self);

//  Of the last welcome; sizes are 0 and the texts NULL before the first.  lane and sink are not
//  kept.
const tally_welcome_t *tally_session_terms(const tally_session_t *self);
const char *tally_session_feed(const tally_session_t *self);

//  A number for a request that is not a send; never that of a send.
uint64_t tally_session_request(tally_session_t *self);

#endif
