// SPDX-License-Identifier: MIT
//  statistics_role - the worker that counts: queues `statistics`, `statistics-read`, `statistics-map`.
//
//  `statistics` is exclusive: the broker elects one worker per tenant, which alone takes the tenant's pointers
//  (counting.h), refreshes (refresh.h) and recomputations (recompute.h), and proves its term in every
//  transaction.  `statistics-read` is answered, and blocks of `statistics-map` are worked out (recompute_map.h),
//  by any.

#ifndef TALLY_STATISTICS_ROLE_H
#define TALLY_STATISTICS_ROLE_H

#include "workers/runtime.h"

extern const tally_worker_role_t tally_statistics_role;

#endif
