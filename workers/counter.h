// SPDX-License-Identifier: MIT
//  counter - what the parts of the statistics worker share: the process's objects and the lease in hand.

#ifndef TALLY_COUNTER_H
#define TALLY_COUNTER_H

#include "workers/ask.h"
#include "workers/catalog.h"
#include "workers/patience.h"

typedef struct {
    tally_worker_t *worker;
    tally_db_t *db;
    tally_catalog_t *catalog;
    tally_patience_t *patience;
    const tally_work_t *work;
    bool committed;    // something of the lease was settled by SQL: to be noted at its end
} tally_counter_t;

#endif
