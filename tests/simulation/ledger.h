// SPDX-License-Identifier: MIT
//  ledger - what everybody tried and was told, and the rules that must hold between the two.
//
//  The ledger sees all: each send before it leaves its client, each transaction before and after
//  the database does it, each delivery, each record, each answer.  It knows nothing of how the
//  core works; what it requires is what the README promises, by the names I1 to I20.  Effects are
//  counted, never made unique, so that a double shows.  A broken rule ends the run.

#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include "broker/core.h"
#include "tests/simulation/world.h"

#define SIM_NOBODY UINT32_MAX
#define SIM_KEYS 4       // hot keys, 1 and up; 0: none
#define SIM_DEDUPES 6    // dedupe keys in use, 1 and up; 0: none
#define SIM_BODY_BYTES_MAX 512

typedef enum {
    SIM_ATTEMPTED = 1,
    SIM_STORED,
    SIM_SETTLED,
    SIM_BURIED,
    SIM_DUPLICATE,    // of its dedupe key
} sim_state_t;

typedef struct {
    uint32_t send;    // SIM_NOBODY: sent by SQL
    uint16_t item;
    uint32_t queue;     // id
    uint32_t tenant;    // index of its name
    uint8_t priority, key, dedupe;
    bool asked, is_blob, releases, poison, rejected;
    int64_t delay_ms;
    int64_t attempted_ms, stored_ms, over_ms, first_leased_ms;
    sim_state_t state;
    uint64_t id;
    uint64_t lease;    // that has it now; 0: none
    uint32_t stored, effects, results;
    int32_t leases, failures, crashes, batch_max;
    bool by_sql, retried;
} sim_message_t;

typedef enum { SIM_OPEN = 1, SIM_CONFIRMED, SIM_REFUSED } sim_fate_t;

typedef struct {
    uint32_t client;
    uint8_t sender[TALLY_SENDER_BYTES];
    uint64_t sequence;
    uint32_t first, count;    // messages
    uint32_t copies;          // frames that left
    sim_fate_t fate;
} sim_send_t;

//  What workers said of a message of a lease.
enum {
    SIM_SAID_SETTLE = 1,
    SIM_SAID_RETURN = 2,
    SIM_SAID_FAILED = 4,
    SIM_SAID_BURY = 8,
    SIM_SAID_NOTE = 16,    // settled by SQL, it says
};

sim_ledger_t *sim_ledger_new(sim_world_t *world);
void sim_ledger_destroy(sim_ledger_t **self_p);
void sim_ledger_count(const sim_ledger_t *self, sim_outcome_t *outcome);
uint64_t sim_ledger_settled(const sim_ledger_t *self);
//  At the very end, when everything is over.
void sim_ledger_final(sim_ledger_t *self);

//  ---- clients -----------------------------------------------------------------------------------
//  Starts a send without messages; then its messages are added, one after another.
uint32_t
sim_ledger_send(sim_ledger_t *self, uint32_t client, const uint8_t *sender, uint64_t sequence);
uint32_t sim_ledger_add(sim_ledger_t *self, const sim_message_t *message);
sim_send_t *sim_ledger_send_at(const sim_ledger_t *self, uint32_t send);
sim_message_t *sim_ledger_at(const sim_ledger_t *self, uint32_t message);
//  The body of a message; returns its size.
size_t sim_ledger_body(uint32_t message, char body[SIM_BODY_BYTES_MAX]);
//  The other way round; a body that nobody sent ends the run.
uint32_t sim_ledger_read_body(const sim_ledger_t *self, tally_bytes_t body);
//  The client was told so.
void sim_ledger_confirmed(sim_ledger_t *self, uint32_t send, const tally_confirm_t *confirm);
void sim_ledger_refused(sim_ledger_t *self, uint32_t send);
void sim_ledger_result(sim_ledger_t *self, uint32_t send, const tally_result_t *result);

//  ---- the broker --------------------------------------------------------------------------------
void sim_ledger_tells_confirm(sim_ledger_t *self, const uint8_t *sender, uint64_t sequence);
void sim_ledger_publishes(sim_ledger_t *self, const tally_plan_lease_t *lease);
void sim_ledger_tells_term(sim_ledger_t *self, uint32_t queue, uint32_t tenant, uint64_t epoch,
                           uint64_t worker);
//  Its messages were given back by the broker itself: nobody had got them.
void sim_ledger_took_back(sim_ledger_t *self, uint64_t lease);
//  The core took a record that ends something, as the first for its lease: then it does, and is no crash.
void sim_ledger_took(sim_ledger_t *self, const tally_record_t *record);
//  Unless the broker is killed, or has to feed again in parts, while deadlines pass.
void sim_ledger_may_forget(sim_ledger_t *self);
void sim_ledger_heard(sim_ledger_t *self, uint64_t worker);
void sim_ledger_gone(sim_ledger_t *self, uint64_t worker, tally_gone_t how);
//  A core was loaded, and the workers that are connected have joined it.
void sim_ledger_loaded(sim_ledger_t *self, const tally_core_t *core);

//  An operator sends one of the dead letters again.
void sim_ledger_retry_one(sim_ledger_t *self);

//  ---- workers -----------------------------------------------------------------------------------
void sim_ledger_delivered(sim_ledger_t *self, uint64_t worker, uint16_t credit,
                          const tally_delivery_t *delivery);
//  A record leaves a worker; count 0: the whole lease.
void sim_ledger_said(sim_ledger_t *self, uint64_t lease, const uint64_t *messages, size_t count,
                     unsigned what);
void sim_ledger_extended(sim_ledger_t *self, uint64_t lease);
//  The number of a message by its id, SIM_NOBODY when there is none.
uint32_t sim_ledger_find(const sim_ledger_t *self, uint64_t id);
bool sim_ledger_lease_over(const sim_ledger_t *self, uint64_t lease);
//  A lease id that was given out long ago, for those who want to do harm; 0: none.
uint64_t sim_ledger_old_lease(const sim_ledger_t *self, sim_world_t *world);

//  ---- the database ------------------------------------------------------------------------------
void sim_ledger_before(sim_ledger_t *self, const tally_plan_t *plan, int64_t sealed_ms);
void sim_ledger_after(sim_ledger_t *self, const tally_plan_t *plan,
                      const tally_tick_result_t *result, int64_t sealed_ms);
//  A worker's transaction: its effects and its settle, committed.  epoch 0: no term.
void sim_ledger_sql(sim_ledger_t *self, uint64_t lease, const uint64_t *messages, size_t count,
                    uint64_t epoch);

//  Tells the trace of every message that is not over.
void sim_ledger_tell_left(const sim_ledger_t *self);

#endif
