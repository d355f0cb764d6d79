// SPDX-License-Identifier: MIT
//  owner - the one thread that may use a thing.
//
//  A ZeroMQ socket that two threads use fails somewhere inside libzmq, later, and without saying why.  Who keeps a
//  socket says here which thread it is of, and asks wherever it is used; the answer costs nothing.

#ifndef TALLY_OWNER_H
#define TALLY_OWNER_H

#include <assert.h>
#include <pthread.h>

typedef struct {
    pthread_t thread;
} tally_owner_t;

//  The calling thread.
static inline tally_owner_t
tally_owner_here(void)
{
    return (tally_owner_t){pthread_self()};
}

static inline void
tally_owner_require(const tally_owner_t *self)
{
    assert(pthread_equal(self->thread, pthread_self()));
}

#endif
