// SPDX-License-Identifier: MIT
//  tenant - who owns messages: quotas, what is used of them, and the register of all tenants.
//
//  A tenant is made by the first send that names it and never goes away.  What is used (messages,
//  bytes, leased) is counted by its streams; nothing else may change the counts.

#ifndef TALLY_TENANT_H
#define TALLY_TENANT_H

#include "broker/list.h"
#include "broker/plan.h"
#include "broker/table.h"

typedef struct tally_stream tally_stream_t;

//  As the table's defaults say.
#define TALLY_TENANT_MESSAGES_MAX 10000000
#define TALLY_TENANT_BYTES_MAX 17179869184
#define TALLY_TENANT_LEASED_MAX 1000000

typedef struct {
    tally_tenant_row_t row;
    uint64_t messages, bytes;    // pending: from the send to the end
    uint64_t leased;
    //  Messages in the plan that the core's `seals` named then, and what was owed for those before; at most a plan.
    uint64_t planned, planned_in;
    //  Plans, as seals + 1: the last for which was looked what ends in it, so many messages, and the last that left
    //  something of that to the next; and how many in a row did, before the first of these.
    uint64_t ended, ended_in, held_in;
    uint32_t held;
    int64_t pressed_until_ms;    // it had to wait for a place in a plan: it sends as much as it can
    TALLY_ARRAY(tally_stream_t *) streams;
    tally_list_t blocked;    // streams that could be leased but for leased_max
} tally_tenant_t;

typedef struct {
    tally_names_t by_name;
    tally_table_t by_id;
    TALLY_ARRAY(tally_tenant_t *) all;
    uint32_t id_last;
} tally_tenants_t;

void tally_tenants_init(tally_tenants_t *self, uint64_t seed);
void tally_tenants_free(tally_tenants_t *self);
//  Makes the tenant, or replaces its weight and quotas.
tally_tenant_t *tally_tenants_load(tally_tenants_t *self, const tally_tenant_row_t *row);
//  A new one, with the next id and the defaults.
tally_tenant_t *tally_tenants_make(tally_tenants_t *self, tally_bytes_t name);
tally_tenant_t *tally_tenants_find(const tally_tenants_t *self, tally_bytes_t name);
tally_tenant_t *tally_tenants_by_id(const tally_tenants_t *self, uint32_t id);

#endif
