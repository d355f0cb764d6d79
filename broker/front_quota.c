// SPDX-License-Identifier: MIT
//  front_quota - a tenant's quotas at the front: connections at once, requests a second.
//
//  A send counts for the tenant that it names, everything else, connections too, for the tenant of the key; who is for
//  all tenants counts for none.  Refused with BUSY and when to come back, before anything is done.

#include "broker/broker.h"

#define IDLE_MS 60000    // a connection unheard for so long makes room for another of its tenant
#define CONNECTION_RETRY_MS 5000

static const tally_tenant_row_t *
home_of(const tally_broker_t *self, const tally_principal_t *who)
{
    if (who->tenants.all || who->tenants.count == 0) {
        return NULL;
    }
    return tally_core_tenant_find(self->core, tally_bytes_of(who->tenants.names[0]));
}

static tally_fault_t
take_request(tally_broker_t *self, const tally_tenant_row_t *tenant, uint32_t *retry_after_ms)
{
    tally_fault_t fault = {.index = TALLY_NO_INDEX};
    *retry_after_ms = 0;
    if (tenant != NULL && tenant->requests_max > 0) {
        *retry_after_ms = tally_quota_take(self->quota, tenant->id, tenant->requests_max,
                                           self->now_ms);
    }
    if (*retry_after_ms > 0) {
        fault.code = TALLY_E_BUSY;
        fault.text = "the tenant's quota of requests a second is used up";
    }
    return fault;
}

tally_fault_t
tally_front_take_send(tally_broker_t *self, const tally_send_t *send, uint32_t *retry_after_ms)
{
    return take_request(self, tally_core_tenant_find(self->core, send->tenant), retry_after_ms);
}

tally_fault_t
tally_front_take_request(tally_broker_t *self, const tally_principal_t *who,
                         uint32_t *retry_after_ms)
{
    return take_request(self, home_of(self, who), retry_after_ms);
}

//  The one of these connections that was not heard of for longest; NULL when all were, lately.
static const tally_caller_t *
find_idle(const tally_broker_t *self, const size_t *counted)
{
    const tally_caller_t *oldest = NULL;
    for (size_t i = 0; i < tally_callers_count(self->callers); i++) {
        const tally_caller_t *caller = tally_callers_at(self->callers, i);
        if (caller->counted == counted && self->now_ms - caller->heard_ms >= IDLE_MS
            && (oldest == NULL || caller->heard_ms < oldest->heard_ms)) {
            oldest = caller;
        }
    }
    return oldest;
}

static bool
is_counted(const tally_caller_t *caller, const size_t *counted)
{
    return caller != NULL && caller->counted == counted;
}

tally_fault_t
tally_front_take_connection(tally_broker_t *self, const tally_principal_t *who, uint64_t route,
                            const uint8_t *sender, uint32_t *retry_after_ms)
{
    tally_fault_t fault = {.index = TALLY_NO_INDEX};
    const tally_tenant_row_t *tenant = home_of(self, who);
    if (tenant == NULL || tenant->connections_max == 0) {
        return fault;
    }
    const size_t *counted = tally_quota_connections(self->quota, tenant->id);
    //  Who is there already, on this connection or another, takes no more room than before.
    if (*counted < (size_t)tenant->connections_max
        || is_counted(tally_callers_find(self->callers, route), counted)
        || is_counted(tally_callers_find_sender(self->callers, sender), counted)) {
        return fault;
    }
    const tally_caller_t *idle = find_idle(self, counted);
    if (idle != NULL) {    // it says hello again, should it be there still
        tally_core_forget_sender(self->core, idle->sender);
        tally_callers_remove(self->callers, idle->route);
        return fault;
    }
    *retry_after_ms = CONNECTION_RETRY_MS;
    fault.code = TALLY_E_BUSY;
    fault.text = "the tenant has as many connections as it may have";
    return fault;
}

void
tally_front_count_connection(tally_broker_t *self, const tally_principal_t *who,
                             tally_caller_t *caller)
{
    const tally_tenant_row_t *tenant = home_of(self, who);
    if (tenant != NULL && caller->counted == NULL) {
        caller->counted = tally_quota_connections(self->quota, tenant->id);
        ++*caller->counted;
    }
}
