// SPDX-License-Identifier: MIT
//  fake_store_state - the inside of the fake store, for its own files only.

#ifndef FAKE_STORE_STATE_H
#define FAKE_STORE_STATE_H

#include "broker/table.h"
#include "tests/unit/fake_store.h"

typedef struct {
    tally_term_row_t row;
    bool locked;
} fake_term_t;

typedef struct {
    tally_sender_row_t row;
    int64_t *missing;
} fake_sender_t;

typedef struct {
    uint32_t tenant, queue;
    char key[TALLY_DEDUPE_BYTES_MAX + 1];
    int64_t until_ms;
} fake_dedupe_t;

typedef struct {
    uint32_t tenant, queue;
    char body[64], key[64];
} fake_inbox_t;

struct fake_store {
    TALLY_ARRAY(tally_queue_row_t) queues;
    TALLY_ARRAY(tally_tenant_row_t) tenants;
    TALLY_ARRAY(fake_term_t) terms;
    TALLY_ARRAY(fake_sender_t) senders;
    TALLY_ARRAY(fake_dedupe_t) dedupes;
    TALLY_ARRAY(fake_inbox_t) inbox;
    TALLY_ARRAY(fake_result_t *) results;
    tally_table_t messages, dead, leases;
    tally_table_t blobs;                 // message -> itself
    tally_table_t settled;               // message -> how often
    TALLY_ARRAY(tally_asker_t) asked;    // of messages that are settled or buried
    size_t settled_total;
    uint64_t tick;
    size_t ticks;
    int64_t now_ms, ahead_ms;
    tally_tick_result_t result;
    TALLY_ARRAY(void *) lent;    // memory that the result points into
    void (*meanwhile)(void *context);
    void *context;
};

void fake_store_clear_result(fake_store_t *self);
void *fake_store_copy(tally_bytes_t bytes);    // with a NUL behind it
void fake_store_set_text(char text[64], tally_bytes_t bytes);
void fake_store_free_message(fake_message_t *message);
void fake_store_free_lease(fake_lease_t *lease);
tally_tenant_row_t *fake_store_find_tenant(const fake_store_t *self, uint32_t id);
const tally_queue_row_t *fake_store_queue(const fake_store_t *self, uint32_t id);
fake_term_t *fake_store_find_term(const fake_store_t *self, uint32_t queue, uint32_t tenant);
//  The row as it would be selected now.
tally_message_row_t fake_store_row(const fake_message_t *message, int64_t now_ms);
void fake_store_let_others_work(fake_store_t *self);
//  What a transaction does to a message.
void fake_store_settle_message(fake_store_t *self, uint64_t id, bool keep_blob);
bool fake_store_shrink(fake_store_t *self, fake_lease_t *lease, uint64_t message);
void fake_store_add_result(fake_store_t *self, const tally_asker_t *asker, uint8_t outcome,
                           tally_bytes_t body);

#endif
