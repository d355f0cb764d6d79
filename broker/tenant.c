// SPDX-License-Identifier: MIT
//  tenant - see tenant.h.

#include "broker/tenant.h"

#include <stdlib.h>

#include "broker/queue.h"
#include "lib/alloc.h"

static bool
is_tenant(const void *value, uint64_t group, tally_bytes_t bytes)
{
    const tally_tenant_t *tenant = value;
    (void)group;
    return tally_bytes_equal(tally_bytes_of(tenant->row.name), bytes);
}

void
tally_tenants_init(tally_tenants_t *self, uint64_t seed)
{
    *self = (tally_tenants_t){0};
    tally_names_init(&self->by_name, seed, is_tenant);
}

void
tally_tenants_free(tally_tenants_t *self)
{
    for (size_t i = 0; i < self->all.count; i++) {
        free(self->all.items[i]->streams.items);
        free(self->all.items[i]);
    }
    free(self->all.items);
    tally_names_free(&self->by_name);
    tally_table_free(&self->by_id);
}

tally_tenant_t *
tally_tenants_load(tally_tenants_t *self, const tally_tenant_row_t *row)
{
    assert(row->id > 0);
    assert(row->weight > 0);
    tally_tenant_t *tenant = tally_tenants_by_id(self, row->id);
    if (tenant == NULL) {
        tenant = tally_alloc(sizeof *tenant);
        tally_list_init(&tenant->blocked);
        tenant->row = *row;
        tally_table_put(&self->by_id, row->id, tenant);
        tally_names_put(&self->by_name, 0, tally_bytes_of(tenant->row.name), tenant);
        *TALLY_PUSH(&self->all) = tenant;
        if (row->id > self->id_last) {
            self->id_last = row->id;
        }
        return tenant;
    }
    tenant->row.weight = row->weight;
    tenant->row.messages_max = row->messages_max;
    tenant->row.bytes_max = row->bytes_max;
    tenant->row.leased_max = row->leased_max;
    tenant->row.connections_max = row->connections_max;
    tenant->row.requests_max = row->requests_max;
    for (size_t i = 0; i < tenant->streams.count; i++) {
        tally_queue_place(tenant->streams.items[i]);
    }
    return tenant;
}

tally_tenant_t *
tally_tenants_make(tally_tenants_t *self, tally_bytes_t name)
{
    assert(name.size <= TALLY_NAME_BYTES_MAX);
    tally_tenant_row_t row = {
        .id = self->id_last + 1,
        .weight = 1,
        .messages_max = TALLY_TENANT_MESSAGES_MAX,
        .bytes_max = TALLY_TENANT_BYTES_MAX,
        .leased_max = TALLY_TENANT_LEASED_MAX,
    };
    memcpy(row.name, name.data, name.size);
    return tally_tenants_load(self, &row);
}

tally_tenant_t *
tally_tenants_find(const tally_tenants_t *self, tally_bytes_t name)
{
    return tally_names_find(&self->by_name, 0, name);
}

tally_tenant_t *
tally_tenants_by_id(const tally_tenants_t *self, uint32_t id)
{
    return tally_table_find(&self->by_id, id);
}
