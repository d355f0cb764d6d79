// SPDX-License-Identifier: MIT
//  accept - refuses connections before descriptors run out.
//
//  libzmq 4.3.4 aborts the process when an ipc listener gets EMFILE (ipc_listener.cpp:325), and spins when a tcp listener
//  does.  Its API has no bound for connections, so tallyd has an accept4() of its own, to which the dynamic linker binds
//  libzmq's calls: who comes when few descriptors are left is turned away, and what is left stays for lanes, PostgreSQL
//  and files.  Known peers notice nothing.  Do not look into connections here.

#ifndef TALLY_ACCEPT_H
#define TALLY_ACCEPT_H

#include <stdint.h>

//  Connections turned away since the start.  (Whoever calls this also has accept4() linked into the program.)
uint64_t tally_accept_refused(void);

#endif
