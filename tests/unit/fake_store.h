// SPDX-License-Identifier: MIT
//  fake_store - a database in memory that does with a plan what the real store does with
//  PostgreSQL.
//
//  Rows stay when a core is thrown away, so a core can be loaded again from them.  A transaction is
//  whole: fake_store_apply() does all of a plan, in the order of its sections, and says what a
//  PostgreSQL would say.  What other sessions do (locks, tally.settle, tally.send) is done by
//  functions of their own.  What no correct core may ask for (an id twice, a lease of a message
//  that is leased, a tick number again) asserts.  It looks at no clock: now_ms is the database's.

#ifndef FAKE_STORE_H
#define FAKE_STORE_H

#include "broker/core.h"

typedef struct fake_store fake_store_t;

typedef struct {
    tally_message_row_t row;       // key borrowed from the store; due_ms and age_ms unused
    int64_t created_ms, due_ms;    // by the store's clock; due_ms 0: at once
    uint8_t *body;
    uint32_t body_bytes;
    uint32_t history;    // texts that were appended
    char reason[64];     // the last of them
    uint64_t lease;      // 0: not leased
} fake_message_t;

typedef struct {
    uint64_t id;
    uint32_t tenant, queue;
    uint64_t worker;
    int64_t deadline_ms;
    uint64_t *messages;
    size_t count;
    bool locked;    // by somebody's open transaction
} fake_lease_t;

typedef struct {
    tally_asker_t asker;
    uint8_t outcome;
    char body[64];
} fake_result_t;

fake_store_t *fake_store_new(void);
void fake_store_destroy(fake_store_t **self_p);

//  Outside of any plan, as at installation.
uint32_t fake_store_put_queue(fake_store_t *self, const tally_queue_row_t *row);
void fake_store_put_tenant(fake_store_t *self, const tally_tenant_row_t *row);

//  One transaction.  The result is the store's, valid until the next call.
const tally_tick_result_t *
fake_store_apply(fake_store_t *self, const tally_plan_t *plan, int64_t now_ms);
//  Everything into a new core; the caller joins workers and ends the loading.
void fake_store_load(fake_store_t *self, tally_core_t *core, int64_t now_ms);
//  A sender's row; false when there is none.
bool fake_store_load_sender(const fake_store_t *self, tally_core_t *core,
                            const uint8_t sender[TALLY_SENDER_BYTES]);
const tally_sender_row_t *
fake_store_sender(const fake_store_t *self, const uint8_t sender[TALLY_SENDER_BYTES]);
uint64_t fake_store_last_tick(const fake_store_t *self);

//  Its clock is so much ahead of the core's (only loading sees both).
void fake_store_set_ahead(fake_store_t *self, int64_t ms);

//  ---- other sessions ----------------------------------------------------------------------------

//  A transaction that is open holds the row, or lets it go.
void fake_store_lock_lease(fake_store_t *self, uint64_t lease, bool locked);
void fake_store_lock_all_leases(fake_store_t *self, bool locked);
void fake_store_lock_term(fake_store_t *self, uint32_t queue, uint32_t tenant, bool locked);
//  tally.settle and commit; count 0: all that are left.  False for TY001, and nothing happened.
bool fake_store_settle(fake_store_t *self, uint64_t lease, const uint64_t *messages, size_t count);
//  tally.hold_term: false for TY002.
bool
fake_store_holds_term(const fake_store_t *self, uint32_t queue, uint32_t tenant, uint64_t epoch);
//  tally.send: into the inbox.  key may be "".
void fake_store_send(fake_store_t *self, uint32_t queue, uint32_t tenant, const char *body,
                     const char *key);
//  Somebody deletes a message by hand.
void fake_store_delete_message(fake_store_t *self, uint64_t message);
//  Called once inside the next transaction, after its endings and before its checks, or the next
//  load, after the leases and before the messages.  NULL: not any more.
void fake_store_meanwhile(fake_store_t *self, void (*meanwhile)(void *context), void *context);

//  ---- looking -----------------------------------------------------------------------------------

const fake_message_t *
fake_store_message(const fake_store_t *self, uint64_t id);    // NULL: not there
const fake_message_t *fake_store_dead(const fake_store_t *self, uint64_t id);
const fake_lease_t *fake_store_lease(const fake_store_t *self, uint64_t id);
const fake_result_t *fake_store_result(const fake_store_t *self, const tally_asker_t *asker);
const tally_term_row_t *fake_store_term(const fake_store_t *self, uint32_t queue, uint32_t tenant);
bool fake_store_has_blob(const fake_store_t *self, uint64_t message);
size_t fake_store_message_count(const fake_store_t *self);
size_t fake_store_dead_count(const fake_store_t *self);
size_t fake_store_lease_count(const fake_store_t *self);
size_t fake_store_inbox_count(const fake_store_t *self);
//  So often has the message ended by settling; more than once would be a bug.
size_t fake_store_settled_count(const fake_store_t *self, uint64_t message);
size_t fake_store_settled_total(const fake_store_t *self);
//  No older message of its key is left.
bool fake_store_oldest_of_key(const fake_store_t *self, const fake_message_t *message);
//  How many of `ids` were neither settled nor buried.
size_t fake_store_lost_count(const fake_store_t *self, const uint64_t *ids, size_t count);
//  Of those that asked and whose message ended, how many have no result.
size_t fake_store_unanswered_count(const fake_store_t *self);
size_t fake_store_ticks(const fake_store_t *self);

#endif
