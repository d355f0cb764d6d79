// SPDX-License-Identifier: MIT
//  quota - what a tenant may ask of the front: requests a second, connections at once.
//
//  Counted in memory, by the tenant's number.  A second's requests may come at once, then they come as they refill.
//  What may be pending or leased is the core's to count.  Time is an argument; nothing here refuses anybody.

#ifndef TALLY_QUOTA_H
#define TALLY_QUOTA_H

#include "lib/bytes.h"

typedef struct tally_quota tally_quota_t;

tally_quota_t *tally_quota_new(void);
void tally_quota_destroy(tally_quota_t **self_p);

//  Takes one of `per_second` (above 0) requests.  0, or so many milliseconds until there is one again.
uint32_t tally_quota_take(tally_quota_t *self, uint32_t tenant, int32_t per_second, int64_t now_ms);
//  Where the tenant's connections are counted; stays valid.
size_t *tally_quota_connections(tally_quota_t *self, uint32_t tenant);

#endif
