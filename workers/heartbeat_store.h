// SPDX-License-Identifier: MIT
//  heartbeat_store - the table of workers: last pings, and who is silent.
//
//  A ping never sets a worker's time back, nor beyond the database's own clock, which is the one
//  that silence is measured by.  Each silence and each return is handed out once, to whichever
//  heartbeat worker asks first.

#ifndef TALLY_HEARTBEAT_STORE_H
#define TALLY_HEARTBEAT_STORE_H

#include "lib/db.h"
#include "workers/ping.h"

//  Stores the pings and settles their messages, in one transaction.  REJECT with TY001: the lease
//  is over.
tally_db_outcome_t
tally_heartbeat_store_pings(tally_db_t *db, uint64_t lease, const uint64_t *messages,
                            const tally_ping_t *pings, size_t count) TALLY_MUST_CHECK;

//  *flowing: some worker's ping of the last `within_ms` is stored, and none waits.  When none is,
//  it is not the workers that are silent.
tally_db_outcome_t
tally_heartbeat_store_flows(tally_db_t *db, int64_t within_ms, bool *flowing) TALLY_MUST_CHECK;

//  Marks who has been silent for longer and was not marked yet.  Rows: name, role, host, since (all
//  text).
tally_db_outcome_t tally_heartbeat_store_silent(tally_db_t *db, int64_t silent_ms,
                                                tally_rows_t *rows) TALLY_MUST_CHECK;
//  Clears the mark of who is no longer.  Rows: as above, since: of the ping that brought it back.
tally_db_outcome_t
tally_heartbeat_store_back(tally_db_t *db, int64_t silent_ms, tally_rows_t *rows) TALLY_MUST_CHECK;
//  Forgets who has been silent for a day.  Rows: name.
tally_db_outcome_t tally_heartbeat_store_forget(tally_db_t *db, int64_t silent_ms,
                                                tally_rows_t *rows) TALLY_MUST_CHECK;

#endif
