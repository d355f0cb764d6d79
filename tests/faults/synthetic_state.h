// SPDX-License-Identifier: MIT
//  synthetic_state - what the parts of the generator share; of synthetic*.c alone.

#ifndef TALLY_TEST_SYNTHETIC_STATE_H
#define TALLY_TEST_SYNTHETIC_STATE_H

#include <time.h>

#include "tests/faults/synthetic.h"

#define MS INT64_C(1000000)
#define BATCH_MS 20    // all that happens to a batch happens within
#define BATCH 50       // messages
#define CLIENTS 4
#define WORKERS 4
#define TENANTS 3
#define QUEUES 3
#define FAILURES_MAX 5
#define CRASHES_MAX 10

enum { QUEUE_KEYED = 1, QUEUE_TERM = 2, QUEUE_PLAIN = 3 };
enum {
    FAULT_KILL_BROKER = 1,
    FAULT_KILL_WORKER,
    FAULT_KILL_HOLDER,
    FAULT_STOP_WORKER,
    FAULT_CLOCK
};

struct synthetic_client {
    tally_history_t *history;
    uint32_t process;
    uint64_t sequence, last_message;
};

struct synthetic_worker {
    tally_history_t *history;
    uint32_t process;
    uint64_t last_lease;
};

struct synthetic_term {
    uint64_t epoch;
    size_t slot;    // of its holder
};

struct synthetic_fault {
    unsigned kind;
    tally_victim_t victim;
    uint32_t process;
    uint16_t tenant;    // of a term holder's term
};

struct synthetic {
    const char *directory;
    tally_plant_t plant;
    int64_t start_ns, end_ns;
    uint64_t plant_from, kill_every;
    bool planted;
    tally_history_t *driver, *nemesis, *rows;
    struct synthetic_client clients[CLIENTS];
    struct synthetic_worker workers[WORKERS];
    struct synthetic_term terms[TENANTS + 1];
    uint32_t next_process, serial;
    uint64_t broker, last_id, spare_lease, last_lease, last_fault;
};

void synthetic_emit(tally_history_t *history, int64_t at_ns, tally_history_record_t record);
//  The broker's next number: of a message, a lease, or a worker's connection.
uint64_t synthetic_id(struct synthetic *self);
//  Another process in this place; ends the history of the one before.
void synthetic_start_worker(struct synthetic *self, size_t slot, int64_t at_ns);
void synthetic_fault(struct synthetic *self, struct synthetic_fault fault, int64_t began_ns,
                     int64_t ended_ns);
void synthetic_elect(struct synthetic *self, unsigned tenant, size_t slot, int64_t at_ns);
//  One batch, from its send to its end.
void synthetic_batch(struct synthetic *self, uint64_t number, int64_t at_ns);

#endif
