// SPDX-License-Identifier: MIT
//  core_admin - what operators ask for; all of it takes effect through the plan.

#include "broker/core_state.h"

void
tally_core_put_queue(tally_core_t *self, const tally_queue_row_t *row)
{
    *TALLY_PUSH(&tally_core_plan(self)->queues) = *row;
    tally_core_hurry(self, INT64_MIN);
}

void
tally_core_put_tenant(tally_core_t *self, const tally_tenant_row_t *row)
{
    tally_plan_t *plan = tally_core_plan(self);
    tally_tenant_row_t named = *row;
    if (named.id == 0) {
        tally_tenant_t *tenant = tally_tenants_find(&self->tenants, tally_bytes_of(named.name));
        if (tenant == NULL) {
            tenant = tally_tenants_make(&self->tenants, tally_bytes_of(named.name));
            *TALLY_PUSH(&plan->tenants) = tenant->row;
        }
        named.id = tenant->row.id;
    }
    tally_core_hurry(self, INT64_MIN);
    for (size_t i = 0; i < plan->tenant_limits.count; i++) {
        if (plan->tenant_limits.items[i].id == named.id) {
            plan->tenant_limits.items[i] = named;    // one statement writes a row once
            return;
        }
    }
    *TALLY_PUSH(&plan->tenant_limits) = named;
}

void
tally_core_release_window(tally_core_t *self, uint32_t queue, uint32_t tenant, int64_t now_ms)
{
    tally_stream_t *stream = tally_table_find(&self->streams, (uint64_t)queue << 32 | tenant);
    if (stream != NULL) {
        tally_stream_release(stream);
        tally_core_hurry(self, now_ms);
    }
}

void
tally_core_retry_dead(tally_core_t *self, uint32_t tenant, uint64_t message)
{
    *TALLY_PUSH(&tally_core_plan(self)->retried) = (tally_plan_fetch_t){tenant, message};
    tally_core_hurry(self, INT64_MIN);
}

void
tally_core_drop_dead(tally_core_t *self, uint32_t tenant, uint64_t message)
{
    *TALLY_PUSH(&tally_core_plan(self)->dropped) = (tally_plan_fetch_t){tenant, message};
    tally_core_hurry(self, INT64_MIN);
}

void
tally_core_look_in_inbox(tally_core_t *self)
{
    self->look_in_inbox = true;
    tally_core_hurry(self, INT64_MIN);
}

void
tally_core_housekeep(tally_core_t *self)
{
    tally_core_plan(self)->housekeep = true;
    tally_core_hurry(self, INT64_MIN);
}
