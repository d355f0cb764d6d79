// SPDX-License-Identifier: MIT
//  flood - peers that nobody knows and that mean harm, as many as a machine has: threads with plain sockets.
//
//  They come from addresses of their own (127.1.x.y), each of which the system gives ports enough.  Who is thrown out
//  comes again.  What they spend is this program's, on the same machine as the broker: a stranger far away would spend
//  its own.

#ifndef TALLY_BENCH_FLOOD_H
#define TALLY_BENCH_FLOOD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/key_file.h"

#define BENCH_FLOOD_SILENT 5000
#define BENCH_FLOOD_HANDSHAKES_PER_S 2000
#define BENCH_FLOOD_SUBSCRIPTIONS 1000000

typedef enum {
    BENCH_FLOOD_NONE,
    BENCH_FLOOD_SILENCE,       // connections that say nothing
    BENCH_FLOOD_HANDSHAKE,     // with keys that are not known
    BENCH_FLOOD_MULTIPART,     // frame after frame of a message that never ends
    BENCH_FLOOD_HEADER,        // a frame that says it is a gibibyte
    BENCH_FLOOD_SUBSCRIBER,    // to one topic after the other
} bench_flood_kind_t;

typedef struct {
    bench_flood_kind_t kind;
    const char *endpoint;      // tcp://127.0.0.1:PORT or ipc://PATH; of the feed for subscribers
    const char *server_key;    // of handshakes
} bench_flood_options_t;

typedef struct {
    uint64_t connected;    // connections that were made
    uint64_t ended;        // of them by the other side
    uint64_t said;         // handshakes refused in form, MiB, headers or subscriptions that left
} bench_flood_count_t;

typedef struct bench_flood bench_flood_t;

bench_flood_t *bench_flood_new(const bench_flood_options_t *options);
//  What came of it.
bench_flood_count_t bench_flood_destroy(bench_flood_t **self_p);

//  How many descriptors this process may have, as many as it is allowed; says so when that is too few.
void bench_flood_raise_limits(void);

#endif
