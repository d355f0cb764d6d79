// SPDX-License-Identifier: MIT
//  pg - a private PostgreSQL for one test program: no TCP, a directory of its own, gone afterwards.
//
//  A keeper process owns the server and the directory.  It ends both when tally_pg_destroy() is
//  called and just the same when the test program dies in whatever way.  The empty cluster with
//  the schema applied is kept as a template in the build directory, named after the content of
//  schemas/sql, so a start takes a fraction of a second.  Whatever goes wrong here ends the test
//  program with a message: there is nothing to test without a server.
//
//  Environment: TALLY_BUILD_DIR (default "build"), TALLY_PG_BIN (where postgres and initdb are).

#ifndef TALLY_PG_H
#define TALLY_PG_H

#include "lib/bytes.h"

typedef struct tally_pg tally_pg_t;

//  settings: "name=value" each, NULL-terminated; may be NULL.  fsync is off unless they say
//  otherwise.
tally_pg_t *tally_pg_new(const char *const *settings);
void tally_pg_destroy(tally_pg_t **self_p);

//  One server for all tests of a program: cmocka_run_group_tests(tests, tally_pg_share, tally_pg_unshare).
int tally_pg_share(void **state);
int tally_pg_unshare(void **state);
tally_pg_t *tally_pg_shared(void);    // in between

//  A new database with the schema, and nothing in it.  Ends all sessions of the one before and
//  drops it.  Returns its conninfo, valid until the next call.
const char *tally_pg_fresh(tally_pg_t *self);
const char *tally_pg_conninfo(const tally_pg_t *self);

//  As a crash does it: every process of the server at once, nothing is written (immediate
//  shutdown).
void tally_pg_stop(tally_pg_t *self);
//  Starts it again and waits until it answers.
void tally_pg_start(tally_pg_t *self);

#endif
