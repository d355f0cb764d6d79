// SPDX-License-Identifier: MIT
//  db_session - how every session of Tally with PostgreSQL begins, and what its errors and
//  warnings mean.
//
//  Shared by lib/db.c and the broker's tick store.  A session that is returned has UTF-8, English
//  messages where the role may ask for them, keepalives, and a synchronous_commit that makes
//  COMMIT a promise.  No statements of a program here.

#ifndef TALLY_DB_SESSION_H
#define TALLY_DB_SESSION_H

#include "lib/db.h"

//  One attempt, at most 5 s, except that looking up a host name cannot be hurried.  NULL: *error
//  (to be freed) says why not.  idle_limit_ms 0: a transaction may be idle as long as the
//  server's own setting allows.  Warnings go to the log until the caller sets a receiver;
//  `application` must live as long.
PGconn *tally_db_session_open(const char *conninfo, const char *application, int idle_limit_ms,
                              char **error) TALLY_MUST_CHECK;

//  Logs a warning.  True when it says that a commit may not have reached the standby: COMMIT
//  succeeds then, but promises nothing.
bool tally_db_session_notice(const char *application, const PGresult *notice);

#endif
