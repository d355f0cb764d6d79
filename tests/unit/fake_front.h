// SPDX-License-Identifier: MIT
//  fake_front - a broker's front in a thread: confirms, refuses, forgets and falls silent as a test
//  says.
//
//  It keeps what it stored over stop and start, as a broker keeps its database, and forgets who
//  said hello, as a broker does that was started again.

#ifndef TALLY_FAKE_FRONT_H
#define TALLY_FAKE_FRONT_H

#include "lib/wire.h"

#include <pthread.h>
#include <stdatomic.h>

#define FAKE_SEQUENCES_MAX 4096

typedef struct {
    char endpoint[128];
    pthread_t thread;
    bool runs;
    atomic_bool stop;
    //  What to do; counts go down with each frame they apply to.
    atomic_int swallow;          // sends that it does not see
    atomic_int lose_confirms;    // sends that it stores without an answer
    atomic_int refuse;           // sends answered with refuse_code
    atomic_int refuse_code;
    atomic_int refuse_for_ms;       // what a refusal for now says; 0: 20
    atomic_int refuse_hellos;       // hellos answered with refuse_code
    atomic_int forget;              // frames answered with STATE, as if it knew no one
    atomic_bool mute;               // takes nothing
    atomic_bool hold_results;       // keeps results back until cleared
    atomic_bool drop_duplicates;    // takes every message for a duplicate
    atomic_ullong epoch;
    atomic_ullong last_sequence;    // for the welcome
    //  What happened.
    atomic_int hellos;
    atomic_int sends;
    atomic_int received;                      // entries of order
    uint64_t order[FAKE_SEQUENCES_MAX];       // sequences as they came
    uint8_t sender[TALLY_SENDER_BYTES];       // of the last hello
    atomic_int stored[FAKE_SEQUENCES_MAX];    // times stored, by sequence
    atomic_int asked;                         // results owed
    uint64_t asks[FAKE_SEQUENCES_MAX];
    //  Of its thread alone.
    void *context, *socket;
    void *peer;    // zmq_msg_t
    bool greeted;
} fake_front_t;

//  `dir` is where its socket is made.
void fake_front_init(fake_front_t *self, const char *dir, const char *name);
void fake_front_start(fake_front_t *self);
void fake_front_stop(fake_front_t *self);

#endif
