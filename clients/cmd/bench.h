// SPDX-License-Identifier: MIT
//  bench - what the threads of a bench share.
//
//  Producers and workers are peers like any others: producers use libtally, workers speak the
//  worker's protocol.  Every body names its run, its producer and its number, so that in the end
//  each confirmed number can be looked for. Nothing here is faster or less safe than what others
//  may do.

#ifndef TALLY_CMD_BENCH_H
#define TALLY_CMD_BENCH_H

#include "clients/cmd/marks.h"
#include "clients/tally.h"
#include "lib/histogram.h"
#include "lib/wire.h"

#include <pthread.h>
#include <stdatomic.h>

#define TALLY_BENCH_QUEUE "bench"
#define TALLY_BENCH_TENANT "bench"
#define TALLY_BENCH_THREADS_MAX 64
#define TALLY_BENCH_TENANTS_MAX 1000

//  The first bytes of a body, in the machine's order: it never leaves this process.
typedef struct {
    uint64_t run;
    uint64_t number;
    int64_t sent_at_us;    // monotonic; under a rate, when it should have been sent
    uint32_t producer;
    uint32_t zero;
} tally_bench_stamp_t;

typedef enum {
    TALLY_BENCH_WARM,
    TALLY_BENCH_STEADY,    // what is measured
    TALLY_BENCH_DRAIN,     // producers stop and wait for their confirms
    TALLY_BENCH_OVER,      // workers stop
} tally_bench_phase_t;

typedef struct {
    //  settings
    const char *endpoint;
    unsigned producers, workers, batch, window, credit, tenants;
    unsigned rate;    // messages per second, of all producers together; 0: as many as are confirmed
    size_t body_bytes;
    uint64_t run;    // random: messages of other runs are settled and not counted
    //  state
    _Atomic tally_bench_phase_t phase;
    atomic_bool failed;    // somebody could not go on, and has said why
    atomic_int_fast64_t steady_from_us, steady_until_us;    // sent within: its latency counts
    atomic_uint_fast64_t confirmed, settled, duplicated, foreign;
    tally_marks_t *confirmed_marks[TALLY_BENCH_THREADS_MAX];    // by producer
    tally_marks_t *settled_marks[TALLY_BENCH_THREADS_MAX];
} tally_bench_t;

typedef struct {
    tally_bench_t *bench;
    pthread_t thread;
    unsigned index;
    tally_histogram_t *latency_us;    // from sending to the confirm, or to the delivery
} tally_bench_thread_t;

//  Whether what was sent then counts for the latencies.
static inline bool
tally_bench_counts(const tally_bench_t *bench, int64_t sent_at_us)
{
    return sent_at_us >= atomic_load(&bench->steady_from_us)
           && sent_at_us < atomic_load(&bench->steady_until_us);
}

#define TALLY_BENCH_NAME_BYTES 16
//  The name of a tenant of this bench.
void
tally_bench_tenant(const tally_bench_t *bench, unsigned index, char name[TALLY_BENCH_NAME_BYTES]);

void *tally_bench_produce(void *thread);    // a tally_bench_thread_t
void *tally_bench_work(void *thread);

#endif
