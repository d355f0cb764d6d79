// SPDX-License-Identifier: MIT
//  runtime_private - the worker object, shared by runtime.c (the process) and runtime_records.c (what goes to
//  the sink).  Not for roles.

#ifndef TALLY_RUNTIME_PRIVATE_H
#define TALLY_RUNTIME_PRIVATE_H

#include <stdatomic.h>

#include "lib/config.h"
#include "workers/runtime.h"
#include "workers/runtime_beat.h"
#include "workers/runtime_link.h"

#define FORMER_MAX 8

//  A delivery as it came, waiting for its turn.
struct waiting {
    struct waiting *next;
    zmq_msg_t frame;
    int64_t taken_at_ms;
    size_t count;
};

struct tally_worker {
    const tally_worker_role_t *role;
    tally_config_t *config;
    void *role_state;
    char name[TALLY_NAME_BYTES_MAX + 1];
    tally_hello_t hello;
    tally_keys_t *keys;    // NULL: no CURVE
    tally_link_t *link;
    tally_beat_t *beat;
    uint64_t number;                // of the last welcome; 0: none yet
    uint64_t former[FORMER_MAX];    // under these we held leases, and hold none any more
    size_t former_count;
    atomic_uint outstanding;    // messages held; read by the beat's thread
    int signal_fd;
    unsigned stops;    // SIGTERM and SIGINT so far
    bool draining;     // the broker asked us to finish
    bool lost;         // the broker since the lease in hand came: it is not ours any more
    struct waiting *first, *last;    // leases not begun
    //  the database, when the role uses it
    tally_db_t *db;
    int db_session;    // that was tuned
    int64_t db_retry_at_ms;
    unsigned db_attempts;
    int64_t idle_at_ms;
    //  the lease in hand
    tally_work_t work;
    tally_delivered_t *items;    // TALLY_BATCH_MESSAGES_MAX
    bool working;
    int64_t looked_at_ms;    // when the sockets were last read during work
    //  collected for the sink
    tally_wire_t records;
    size_t record_count;
};

//  Reads signals, lane and control socket without waiting.
void tally_worker_look(tally_worker_t *self, int64_t now_ms);
//  Full jitter, doubling with each attempt.
int64_t tally_worker_jitter_ms(unsigned attempt);

#endif
