// SPDX-License-Identifier: MIT
//  floor - what PostgreSQL can do here: bare loops of one connection with the statements that the work needs, and no
//  broker.
//
//  A tick of the floor inserts messages, inserts their leases, and deletes the messages and leases of the tick before:
//  what a broker must write, in sets, in one transaction at a time.  While one is under way the next is made.

#ifndef TALLY_BENCH_FLOOR_H
#define TALLY_BENCH_FLOOR_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t messages, leases;    // of a tick
    size_t body_bytes;
    bool copies;    // bodies by binary COPY, which cannot stand in a pipeline; else as arrays
    double seconds;
} bench_floor_options_t;

typedef struct {
    double messages_per_s;
    double commit_ms;    // of a tick, mean
} bench_floor_t;

//  The bare statements.
void bench_floor_messages(const char *conninfo, const bench_floor_options_t *options,
                          bench_floor_t *result);
//  The broker's own statements by its own store, without the broker: what of the distance is the statements'.
void bench_floor_ticks(const char *conninfo, const bench_floor_options_t *options,
                       bench_floor_t *result);

//  Responses of `body_bytes`: stored raw as blobs, then as rows, and the blobs of the tick before deleted.
void bench_floor_responses(const char *conninfo, const bench_floor_options_t *options,
                           bench_floor_t *result);

//  The least broker that libzmq and libpq can make: one thread takes a message, inserts its row, commits, answers.
//  No tenants, no rights, no sequences, no fence, no feed.
typedef struct {
    size_t body_bytes;
    int rate;    // messages a second; 0: the next when the one before was confirmed
    bool
        settles;    // leased in the same transaction, pushed to a worker, deleted when that has settled it
    double seconds;
} bench_floor_broker_options_t;

typedef struct {
    double confirmed_per_s, confirm_p50_ms;
    double deliver_p50_ms;    // send to worker
} bench_floor_broker_t;

void bench_floor_broker(const char *conninfo, const bench_floor_broker_options_t *options,
                        bench_floor_broker_t *result);

#endif
