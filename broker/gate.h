// SPDX-License-Identifier: MIT
//  gate - bounds what connections take of descriptors, memory and time, where libzmq has no bound.
//
//  libzmq 4.3.4 aborts the process when an ipc listener gets EMFILE (ipc_listener.cpp:325) and spins when a tcp
//  listener does; the frames of a multipart that never ends count for no high-water mark, nor do subscriptions; and
//  whoever connects may have a handshake computed, or be silent for TALLY_HANDSHAKE_MS. So tallyd has listen(),
//  accept4(), recv(), send() and close() of its own, to which the dynamic linker binds libzmq's calls.  Who comes when
//  few descriptors are left or too many strangers have failed is turned away (newcomers.h); a connection that brings a
//  name (greeting.h), that subscribes to too much (subscriber.h), or of which too much was received since a frame of it
//  was last taken, ends as by a reset.  Known peers notice nothing.  No look into what passes behind the greeting.

#ifndef TALLY_GATE_H
#define TALLY_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

//  From now on; until then they are the plain calls, as in tests that link this and do not speak ZeroMQ.
void tally_gate_start(void);

//  Listeners that this thread makes are for subscribers, or are not (which is how it begins).
void tally_gate_for_subscribers(bool yes);

//  A whole message was taken out of its socket: its connection is in order.
void tally_gate_taken(zmq_msg_t *message);

//  Connections that have not proved yet who they are.
size_t tally_gate_newcomers(void);
//  Connections to listeners for subscribers.
size_t tally_gate_subscribers(void);
//  Since the start: connections turned away, and ended.
uint64_t tally_gate_refused(void);
uint64_t tally_gate_ended(void);

#endif
