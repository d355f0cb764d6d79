// SPDX-License-Identifier: MIT
//  rows - rows of the database as the core knows them: plain values, no libpq.  Times are milliseconds from now,
//  since the core has no wall clock.

#ifndef TALLY_ROWS_H
#define TALLY_ROWS_H

#include "lib/wire.h"

//  What is not there and what is not the asker's are told in the same words.
#define TALLY_TEXT_NO_QUEUE "no such queue; create it first, or look for a typing error"
#define TALLY_TEXT_NO_TENANT "no such tenant; \"tenant\" must name one that has sent something"

//  Who waits for a result: also the key of tally.result.
typedef struct {
    uint8_t sender[TALLY_SENDER_BYTES];
    uint64_t sequence;
    uint16_t item;    // index in the send
} tally_asker_t;

typedef struct {
    uint32_t id;
    char name[TALLY_NAME_BYTES_MAX + 1];
    int32_t weight;
    int64_t messages_max, bytes_max, leased_max;
    int32_t connections_max, requests_max;    // at the front, a second; 0: no limit
} tally_tenant_row_t;

typedef struct {
    uint32_t id;    // 0 in a plan: the database chooses
    char name[TALLY_NAME_BYTES_MAX + 1];
    int32_t visibility_ms, failures_max, crashes_max, retry_ms, retry_ms_max, batch_max;
    int64_t window_ms;
    int32_t window_count;
    bool exclusive, keep_blobs;
    int64_t result_kept_ms, dedupe_kept_ms;
} tally_queue_row_t;

#define TALLY_NEVER_DELAYED INT64_MIN

typedef struct {
    uint64_t id;
    uint32_t tenant, queue;
    uint8_t priority;
    bool is_blob, releases, past_window;
    int64_t due_ms;         // from now, <= 0: due; TALLY_NEVER_DELAYED
    int64_t age_ms;         // since it was created
    uint32_t body_bytes;    // of the blob: 0
    int32_t deliveries, failures, crashes, batch_max;
    tally_bytes_t key;    // borrowed during the call
    bool asked;
    tally_asker_t asker;    // when asked
} tally_message_row_t;

typedef struct {
    uint64_t id;
    uint32_t tenant, queue;
    uint64_t worker;
    int64_t left_ms;             // until its deadline, by PostgreSQL's clock; may be negative
    const uint64_t *messages;    // borrowed during the call
    size_t count;
} tally_lease_row_t;

typedef struct {
    uint32_t queue, tenant;
    uint64_t epoch, worker;
    char worker_name[TALLY_NAME_BYTES_MAX + 1];
} tally_term_row_t;

typedef struct {
    uint8_t id[TALLY_SENDER_BYTES];
    int64_t last;
    const int64_t *missing;    // ascending; borrowed during the call
    size_t missing_count;
} tally_sender_row_t;

#endif
