// SPDX-License-Identifier: MIT
//  tick_session - a connection for ticks in the making: session, checks, prepared statements; never blocks.
//
//  What comes out is in pipeline mode and not blocking, on a server that keeps what it confirms.  Used
//  by tick_store and by nobody else.

#ifndef TALLY_TICK_SESSION_STORE_H
#define TALLY_TICK_SESSION_STORE_H

#include "lib/db.h"

typedef struct tally_tick_session tally_tick_session_t;

//  `application` must live as long as the connection.
tally_tick_session_t *tally_tick_session_start(const char *conninfo, const char *application,
                                               bool allow_unsafe, int64_t now_ms);
void tally_tick_session_destroy(tally_tick_session_t **self_p);

//  True when the outcome is known: DONE, take it; RETRY: not now; REJECT: this server must not be
//  used.  Call it when the descriptor is ready, and at the deadline.
bool tally_tick_session_advance(tally_tick_session_t *self, int64_t now_ms,
                                tally_db_outcome_t *outcome) TALLY_MUST_CHECK;
int tally_tick_session_fd(const tally_tick_session_t *self);
bool tally_tick_session_wants_write(const tally_tick_session_t *self);
int64_t tally_tick_session_deadline_at_ms(const tally_tick_session_t *self);
const char *tally_tick_session_sqlstate(const tally_tick_session_t *self);
const char *tally_tick_session_error(const tally_tick_session_t *self);

PGconn *tally_tick_session_take(tally_tick_session_t **self_p);    // ends the session object

#endif
