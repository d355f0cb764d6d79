// SPDX-License-Identifier: MIT
//  door_store - keys and the audit record, where the command administers the database itself.
//
//  What fails is said on standard error by the caller, with tally_db_error().

#ifndef TALLY_CMD_DOOR_STORE_H
#define TALLY_CMD_DOOR_STORE_H

#include "lib/db.h"

typedef struct {
    const char *name, *key, *role;
    const tally_bytes_t *tenants, *queues, *rights;
    size_t tenant_count, queue_count, right_count;
    int64_t days;    // until it ends; 0: it does not
} tally_new_principal_t;

tally_db_outcome_t
tally_door_store_add(tally_db_t *db, const tally_new_principal_t *principal) TALLY_MUST_CHECK;
//  *found false: there is no such name among those that live.
tally_db_outcome_t
tally_door_store_revoke(tally_db_t *db, const char *name, bool *found) TALLY_MUST_CHECK;
//  All, newest first, as a JSON array in one column of one row.
tally_db_outcome_t tally_door_store_list(tally_db_t *db, tally_rows_t *rows) TALLY_MUST_CHECK;
tally_db_outcome_t
tally_door_store_audits(tally_db_t *db, int64_t limit, tally_rows_t *rows) TALLY_MUST_CHECK;
//  Takes out what is older than so many days, some rows after the others, so that nobody waits for long; *pruned: how
//  many.
tally_db_outcome_t
tally_door_store_prune(tally_db_t *db, int64_t days, int64_t *pruned) TALLY_MUST_CHECK;

#endif
