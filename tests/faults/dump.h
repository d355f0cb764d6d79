// SPDX-License-Identifier: MIT
//  dump - the effects of a run and, in the end, the rows of the database as one more history.
//
//  Effects are rows of faults.effect, which has no unique key: what was done twice shows as two rows.  A worker
//  inserts one for each message, in the transaction of its tally.settle:
//
//      insert into faults.effect (number, id, lease, epoch, process, tenant, queue, key) values ...
//
//  number, tenant, queue, key: as in the history; process: the worker's; id, lease, epoch: the broker's, 0 for
//  none.  `serial` fills itself in, in the order of insertion.
//
//  tally_dump_write() turns what is there when all is over into a history file of its own, so that a run can be
//  checked again without its database.

#ifndef TALLY_TEST_DUMP_H
#define TALLY_TEST_DUMP_H

#include "lib/db.h"

//  Makes the table faults.effect, open to every role.
tally_db_outcome_t tally_dump_create(tally_db_t *db) TALLY_MUST_CHECK;

//  Reads the names of queues, tenants and senders from the histories in `directory`, and writes
//  DIRECTORY/database.NUMBER.history.  Queues and tenants without a name in the run are left out.  -1: *why (the
//  caller's to free) says what went wrong, and there is no such file.
int tally_dump_write(const char *conninfo, const char *directory, char **why) TALLY_MUST_CHECK;

#endif
