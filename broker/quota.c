// SPDX-License-Identifier: MIT
//  quota - see quota.h.

#include "broker/quota.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/table.h"
#include "lib/alloc.h"

#define ONE 1000    // a request, in what refills: so much per second and millisecond

typedef struct {
    int64_t left;    // of ONE each
    int64_t at_ms;
    bool used;
    size_t connections;
} account_t;

struct tally_quota {
    tally_table_t accounts;    // by tenant; owned
};

tally_quota_t *
tally_quota_new(void)
{
    return tally_alloc(sizeof(tally_quota_t));
}

void
tally_quota_destroy(tally_quota_t **self_p)
{
    tally_quota_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    size_t at = 0;
    for (void *one = tally_table_each(&self->accounts, &at); one != NULL;
         one = tally_table_each(&self->accounts, &at)) {
        free(one);
    }
    tally_table_free(&self->accounts);
    free(self);
    *self_p = NULL;
}

static account_t *
require(tally_quota_t *self, uint32_t tenant)
{
    account_t *account = tally_table_find(&self->accounts, tenant);
    if (account == NULL) {
        account = tally_alloc(sizeof *account);
        tally_table_put(&self->accounts, tenant, account);
    }
    return account;
}

uint32_t
tally_quota_take(tally_quota_t *self, uint32_t tenant, int32_t per_second, int64_t now_ms)
{
    assert(per_second > 0);
    account_t *account = require(self, tenant);
    int64_t full = (int64_t)per_second * ONE;
    int64_t passed_ms = now_ms - account->at_ms;
    bool refilled = !account->used || passed_ms >= 1000 || account->left >= full;
    account->left = refilled ? full : account->left + passed_ms * per_second;
    account->left = account->left < full ? account->left : full;
    account->at_ms = now_ms;
    account->used = true;
    if (account->left >= ONE) {
        account->left -= ONE;
        return 0;
    }
    return (uint32_t)((ONE - account->left + per_second - 1) / per_second);
}

size_t *
tally_quota_connections(tally_quota_t *self, uint32_t tenant)
{
    return &require(self, tenant)->connections;
}
