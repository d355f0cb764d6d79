// SPDX-License-Identifier: MIT
//  gate - bounds what connections take of descriptors and memory, where libzmq has no bound.
//
//  libzmq 4.3.4 aborts the process when an ipc listener gets EMFILE (ipc_listener.cpp:325) and spins
//  when a tcp listener does; and the frames of a multipart that never ends count for no high-water
//  mark.  So tallyd has accept4(), recv() and close() of its own, to which the dynamic linker binds
//  libzmq's calls.  Who comes when few descriptors are left is turned away; a connection that brings
//  a name (see greeting.h), or of which too much was received since a frame of it was last taken,
//  ends as by a reset.  Known peers notice nothing.  No look into what passes behind the greeting.

#ifndef TALLY_GATE_H
#define TALLY_GATE_H

#include <stdint.h>
#include <zmq.h>

//  From now on; until then they are the plain calls, as in tests that link this and do not speak ZeroMQ.
void tally_gate_start(void);

//  A whole message was taken out of its socket: its connection is in order.
void tally_gate_taken(zmq_msg_t *message);

//  Since the start: connections turned away, and ended.
uint64_t tally_gate_refused(void);
uint64_t tally_gate_ended(void);

#endif
