// SPDX-License-Identifier: MIT
//  tick_store - writes one plan as one pipelined transaction, and says truthfully what became of it.
//
//  Never blocks: the shell watches tally_tick_store_fd() and calls tally_tick_store_advance() when it is ready.  At
//  most one tick is under way.  A tick is DONE only when every statement succeeded and the sync that commits them was
//  answered, without an error of the commit before it and with no transaction left open.  UNKNOWN when the connection
//  was lost after the sync went out (some of its bytes may have) and before its answer, or when the commit itself
//  failed; RETRY or REJECT when it certainly did not happen.  No knowledge of queues or sockets here.

#ifndef TALLY_TICK_STORE_H
#define TALLY_TICK_STORE_H

#include "broker/plan.h"
#include "lib/db.h"

typedef struct tally_tick_store tally_tick_store_t;

//  allow_unsafe: for tests, takes a server with fsync off.
tally_tick_store_t *tally_tick_store_new(const char *conninfo, bool allow_unsafe);
void tally_tick_store_destroy(tally_tick_store_t **self_p);

//  Starts to connect: the session, then synchronous_commit, fsync and full_page_writes are checked and the statements
//  prepared.  Goes on in tally_tick_store_opened(), which is true when the outcome is known, after
//  TALLY_DB_CONNECT_MS at the latest.  RETRY: not now; REJECT: this server must not be used, see error.
void tally_tick_store_open(tally_tick_store_t *self, int64_t now_ms);
bool tally_tick_store_opening(const tally_tick_store_t *self);
bool tally_tick_store_opened(tally_tick_store_t *self, int64_t now_ms,
                             tally_db_outcome_t *outcome) TALLY_MUST_CHECK;
//  The same, waiting: for the start, when there is nothing else to do.
tally_db_outcome_t tally_tick_store_connect(tally_tick_store_t *self) TALLY_MUST_CHECK;
bool tally_tick_store_connected(const tally_tick_store_t *self);
void tally_tick_store_disconnect(tally_tick_store_t *self);

int tally_tick_store_fd(const tally_tick_store_t *self);    // -1 when neither connected nor opening
bool tally_tick_store_wants_write(const tally_tick_store_t *self);    // watch for writing, too

//  ---- between ticks: words to PostgreSQL that no answer is waited for; a tick may start behind them ----
//  Shows whoever watches this session that the broker lives.  Nothing while the last such word is not answered.
void tally_tick_store_beat(tally_tick_store_t *self);
//  Holds the place of the active broker, see place_store.h; asked for once on each connection, when the epoch is
//  known to be ours.  What it does not get is asked for again by beat.
void tally_tick_store_hold(tally_tick_store_t *self);
//  The fd was readable, and no tick is under way.  False: the connection is lost, and given up.
bool tally_tick_store_rest(tally_tick_store_t *self) TALLY_MUST_CHECK;

//  Starts the transaction of `plan`, which must stay as it is until the outcome.  Must be connected and idle.
void tally_tick_store_start(tally_tick_store_t *self, uint64_t epoch, const tally_plan_t *plan);
bool tally_tick_store_busy(const tally_tick_store_t *self);
//  The answer is waited for no longer: disconnected, and what became of the tick is UNKNOWN.
void tally_tick_store_give_up(tally_tick_store_t *self);

//  Goes on as far as it can without blocking.  False: still under way.  True: *outcome is known; on
//  DONE *result is valid until the next start; the connection may be lost all the same.  On RETRY with
//  the connection still good the store is idle again; otherwise disconnected.
bool tally_tick_store_advance(tally_tick_store_t *self, tally_db_outcome_t *outcome,
                              const tally_tick_result_t **result);

const char *tally_tick_store_sqlstate(const tally_tick_store_t *self);
const char *tally_tick_store_error(const tally_tick_store_t *self);

#endif
