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

#define TALLY_DB_CONNECT_MS 5000    // one attempt may take so long, the session's settings included

//  An attempt to connect that never blocks, except that looking up a host name cannot be hurried: conninfo may say
//  hostaddr.  Wait until the descriptor is ready (tally_db_session_wants_write: for writing) or the deadline is there,
//  then call advance; the descriptor may be another one after that.
typedef struct tally_db_session tally_db_session_t;

//  idle_limit_ms 0: a transaction may be idle as long as the server's own setting allows.  Warnings go to the log until
//  the caller sets a receiver; `application` must live as long.
tally_db_session_t *tally_db_session_start(const char *conninfo, const char *application,
                                           int idle_limit_ms, int64_t now_ms);
void tally_db_session_destroy(tally_db_session_t **self_p);
//  1: open, take it; 0: not yet; -1: no, see error.
int tally_db_session_advance(tally_db_session_t *self, int64_t now_ms) TALLY_MUST_CHECK;
int tally_db_session_fd(const tally_db_session_t *self);
bool tally_db_session_wants_write(const tally_db_session_t *self);
int64_t tally_db_session_deadline_at_ms(const tally_db_session_t *self);
const char *tally_db_session_error(const tally_db_session_t *self);    // "" while there is none
PGconn *tally_db_session_take(tally_db_session_t **self_p);            // ends the session object

//  The same, waiting.  NULL: *error (to be freed) says why not.
PGconn *tally_db_session_open(const char *conninfo, const char *application, int idle_limit_ms,
                              char **error) TALLY_MUST_CHECK;

//  True when it was the prepared statement that failed, not what it says: preparing it again helps.  Seen after a
//  failover, a pooler's reset or a migration under a running program.
bool tally_db_session_stale(const PGresult *result);

//  Logs a warning.  True when it says that a commit may not have reached the standby: COMMIT
//  succeeds then, but promises nothing.
bool tally_db_session_notice(const char *application, const PGresult *notice);

#endif
