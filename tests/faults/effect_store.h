// SPDX-License-Identifier: MIT
//  effect_store - the transaction of a worker of the run: rows that count its effects, follow-up sends, the settle.
//
//  The table is that of dump.h, without a unique key, so that an effect that happened twice is there twice.

#ifndef TALLY_FAULTS_EFFECT_STORE_H
#define TALLY_FAULTS_EFFECT_STORE_H

#include <sys/types.h>

#include "lib/db.h"
#include "tests/faults/history.h"

//  All of these in the caller's transaction.
tally_db_outcome_t tally_effects_hold_term(tally_db_t *db, const char *queue, const char *tenant,
                                           uint64_t epoch) TALLY_MUST_CHECK;
//  `records` are TALLY_DID_SETTLE ones; process is the writer's.
tally_db_outcome_t tally_effects_insert(tally_db_t *db, const tally_history_record_t *records,
                                        size_t count, uint32_t process) TALLY_MUST_CHECK;
tally_db_outcome_t tally_effects_send(tally_db_t *db, const char *queue, const char *tenant,
                                      const tally_bytes_t *bodies, size_t count) TALLY_MUST_CHECK;
//  Ends the messages of the records, each with its number as the result.
tally_db_outcome_t
tally_effects_settle(tally_db_t *db, uint64_t lease, const tally_history_record_t *records,
                     size_t count) TALLY_MUST_CHECK;

//  Messages, inbox rows and leases that are there, but for the workers' pings, which nobody takes; -1 when that cannot
//  be known now.
int64_t tally_effects_pending(tally_db_t *db);
//  The pid of the backend of that application (a worker's name, or tallyd); 0: none, or unknown.
pid_t tally_effects_backend(tally_db_t *db, const char *application);

#endif
