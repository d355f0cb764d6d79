// SPDX-License-Identifier: MIT
//  ledger_state - the inside of the ledger, for its own files only.

#ifndef SIM_LEDGER_STATE_H
#define SIM_LEDGER_STATE_H

#include "broker/table.h"
#include "tests/simulation/database.h"
#include "tests/simulation/ledger.h"

typedef struct {
    uint32_t message;
    unsigned said;
    uint64_t taken;    // ledger->taken when the broker took a record that ends it; 0: none
    bool over;
} sim_leased_t;

typedef struct {
    uint64_t id, worker, epoch;
    uint32_t queue;
    size_t first, count, left;    // in ledger->leased
    int64_t leased_ms, visible_ms;
    bool published, extended, taken_back;
    bool orphaned;    // a broker started while its worker was not connected
} sim_lease_t;

typedef struct {
    uint64_t number;
    int64_t heard_ms, heard_before_ms;    // the last time, and the last at an earlier instant
    tally_gone_t gone;                    // 0: not
} sim_crew_t;

typedef struct {
    uint32_t queue, tenant_id;
    uint64_t epoch, worker;
} sim_grant_t;

typedef struct {
    uint32_t queue, tenant;
    uint8_t level;
    uint32_t passed;    // leases of higher levels while it waited
} sim_level_t;

struct sim_ledger {
    sim_world_t *world;
    TALLY_ARRAY(sim_message_t) messages;
    TALLY_ARRAY(sim_send_t) sends;
    TALLY_ARRAY(sim_lease_t *) leases;
    TALLY_ARRAY(sim_leased_t) leased;
    TALLY_ARRAY(sim_grant_t) grants;
    TALLY_ARRAY(uint32_t) keyed[SIM_QUEUES * SIM_TENANTS * (SIM_KEYS + 1)];
    tally_table_t by_id;                 // id -> message + 1
    tally_table_t by_lease;              // id -> lease
    tally_table_t crew;                  // number -> sim_crew_t
    uint32_t tenant_ids[SIM_TENANTS];    // learned; 0: not yet
    int64_t deduped_until_ms[SIM_QUEUES][SIM_TENANTS]
                            [SIM_DEDUPES + 1];    // by the database's clock
    uint32_t passed[SIM_QUEUES][SIM_TENANTS][TALLY_PRIORITY_LEVELS];
    uint64_t last_id;    // the highest that a committed tick used
    uint64_t taken;      // from 1; grows when what was taken up to now need not come true
    uint64_t settled, ticks, effects;
};

sim_lease_t *sim_ledger_lease(const sim_ledger_t *self, uint64_t id);
sim_leased_t *
sim_ledger_leased(const sim_ledger_t *self, const sim_lease_t *lease, uint64_t message);
//  A message of a lease is over or goes back: off the lease.
void sim_ledger_leave(sim_ledger_t *self, sim_lease_t *lease, sim_leased_t *leased);
//  Its worker died or let the deadline pass, as far as anybody outside can tell.
bool
sim_ledger_may_have_crashed(const sim_ledger_t *self, const sim_lease_t *lease, int64_t now_ms);
void sim_ledger_settle(sim_ledger_t *self, sim_lease_t *lease, sim_leased_t *leased, bool by_sql);

//  ---- ledger_order.c: in which order messages go to workers -------------------------------------
void sim_ledger_check_key(const sim_ledger_t *self, uint32_t message);
void sim_ledger_check_window(const sim_ledger_t *self, uint32_t message, int64_t sealed_ms);
void sim_ledger_check_priority(sim_ledger_t *self, uint32_t message);
void sim_ledger_check_quotas(const sim_ledger_t *self);

#endif
