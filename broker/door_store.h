// SPDX-License-Identifier: MIT
//  door_store - principals as PostgreSQL has them, and the audit record.
//
//  A blocking connection of its own, so that a revoked key is never waiting behind somebody's blob.  It reads
//  tally.principal, adds to tally.audit and tally.worker_key, and can change nothing of them.

#ifndef TALLY_DOOR_STORE_H
#define TALLY_DOOR_STORE_H

#include "broker/principal.h"
#include "lib/db.h"

typedef struct tally_door_store tally_door_store_t;

tally_door_store_t *tally_door_store_new(const char *conninfo);
void tally_door_store_destroy(tally_door_store_t **self_p);
const char *tally_door_store_error(const tally_door_store_t *self);

typedef struct {
    int64_t version;
    bool changed;    // else the rest is empty
    //  Those that are not revoked; dies_at_ms is from now.  Owned by whoever asked.
    tally_principal_t *principals;
    size_t count;
} tally_principal_list_t;

//  What is there when its version is not `known`.
tally_db_outcome_t tally_door_store_load(tally_door_store_t *self, int64_t known,
                                         tally_principal_list_t *list) TALLY_MUST_CHECK;
void tally_principal_list_free(tally_principal_list_t *list);

//  Whose key a worker's number is given to.
tally_db_outcome_t tally_door_store_add_worker(tally_door_store_t *self, uint64_t number,
                                               const char *key) TALLY_MUST_CHECK;
//  Those that hold leases; others are forgotten.
typedef void tally_worker_key_fn(void *context, uint64_t number, tally_bytes_t key);
tally_db_outcome_t tally_door_store_workers(tally_door_store_t *self, tally_worker_key_fn *fn,
                                            void *context) TALLY_MUST_CHECK;

//  Texts are UTF-8; `key` "" for none.
typedef struct {
    const char *who, *key, *action, *request;
} tally_audit_t;

tally_db_outcome_t tally_door_store_audit(tally_door_store_t *self, const tally_audit_t *audit,
                                          int64_t *id) TALLY_MUST_CHECK;
tally_db_outcome_t tally_door_store_audit_result(tally_door_store_t *self, int64_t id,
                                                 const char *result) TALLY_MUST_CHECK;

#endif
