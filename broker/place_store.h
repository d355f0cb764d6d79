// SPDX-License-Identifier: MIT
//  place_store - the place of the active broker: who has it, is free as soon as his process is gone.
//
//  A hint, never the truth: the truth is the epoch, which every tick checks.  The place is an advisory lock.  The
//  active broker holds it shared, on each of the connections that its loop uses: it stays taken when one of them is
//  lost, and is free when the process is gone.  Whoever wants it takes it exclusive, until it has the epoch; so of
//  two that start at once one gets through.

#ifndef TALLY_PLACE_STORE_H
#define TALLY_PLACE_STORE_H

#include "lib/db.h"

//  *taken false: somebody else has it, or takes it just now.
tally_db_outcome_t tally_place_store_seize(tally_db_t *db, bool *taken) TALLY_MUST_CHECK;
//  The same, and ends the sessions that hold it, unless the epoch is another one by now; *ended says how many.
tally_db_outcome_t
tally_place_store_usurp(tally_db_t *db, uint64_t epoch, bool *taken, int *ended) TALLY_MUST_CHECK;
//  From exclusive to shared: the epoch is ours.
tally_db_outcome_t tally_place_store_settle(tally_db_t *db) TALLY_MUST_CHECK;
//  Shared, on a connection that was made again.  Not to be had while another broker takes the place: the epoch will
//  tell.
tally_db_outcome_t tally_place_store_hold(tally_db_t *db) TALLY_MUST_CHECK;

//  Each broker that stands by: who it is, and since when in milliseconds.
typedef void tally_standby_fn(void *context, tally_bytes_t instance, int64_t since_ms);
tally_db_outcome_t
tally_place_store_standbys(tally_db_t *db, tally_standby_fn *fn, void *context) TALLY_MUST_CHECK;

//  ---- watching -------------------------------------------------------------------------------------------

//  The sessions of who has the place, at one moment.
typedef struct {
    int holders;    // 0: it is free
    bool busy;      // PostgreSQL works for one of them, or does not let us see
    int64_t
        moved_us;    // when one of them last spoke, by PostgreSQL's clock: to be compared with itself alone
    uint64_t epoch;        // the current one
    char instance[256];    // who took it
} tally_place_t;

//  The watch of a standby has a connection of its own and never blocks but in connecting.
typedef struct tally_watch tally_watch_t;

//  The standby is seen by others under its instance.
tally_watch_t *tally_watch_new(const char *conninfo, const char *instance);
void tally_watch_destroy(tally_watch_t **self_p);

tally_db_outcome_t tally_watch_connect(tally_watch_t *self) TALLY_MUST_CHECK;    // at most 5 s
bool tally_watch_connected(const tally_watch_t *self);
void tally_watch_disconnect(tally_watch_t *self);
int tally_watch_fd(const tally_watch_t *self);    // -1 when not connected
const char *tally_watch_error(const tally_watch_t *self);

//  Asks; one question at a time.
void tally_watch_ask(tally_watch_t *self);
//  1: *place is the answer; 0: it is still to come; -1: the connection is lost.
int tally_watch_take(tally_watch_t *self, tally_place_t *place) TALLY_MUST_CHECK;

#endif
