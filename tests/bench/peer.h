// SPDX-License-Identifier: MIT
//  peer - connected workers and clients by the thousand, in one thread: raw sockets of one context.
//
//  They say hello, beat, and read their lanes; they work nothing.  Their own CPU is this program's, not the broker's.

#ifndef TALLY_BENCH_PEER_H
#define TALLY_BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bench_crowd bench_crowd_t;

//  Connects so many of each and waits until all are welcome; workers take `queue`.
bench_crowd_t *
bench_crowd_new(const char *endpoint, size_t workers, size_t clients, const char *queue);
void bench_crowd_destroy(bench_crowd_t **self_p);
//  Beats when it is time, reads what came; so for that long.
void bench_crowd_live(bench_crowd_t *self, int ms);

//  A worker that says hello until somebody welcomes it, and waits for a delivery: the time of day when it came, in
//  microseconds; 0 when none came in time.
int64_t bench_peer_first_delivery(const char *endpoint, const char *queue, int timeout_ms);

#endif
