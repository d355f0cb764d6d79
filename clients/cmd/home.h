// SPDX-License-Identifier: MIT
//  home - the directory of an instance: what is where, and who is at home.
//
//      DIR/tally.conf   endpoints and database, written once, then the user's to edit
//      DIR/instance     where the sockets are, when DIR/run would be too long a path for them
//      DIR/run          sockets             DIR/pg        the private cluster
//      DIR/log, DIR/pid a file per process  DIR/exports   files made by exports
//      DIR/lock         held by the supervisor: its first byte while it lives, its second while all is ready
//
//  The locks are the kernel's: they end with the process that holds them, so nothing here can be stale.
//  What is wrong is said on standard error.

#ifndef TALLY_HOME_H
#define TALLY_HOME_H

#include <sys/types.h>

#include "lib/bytes.h"

//  All owned by the home.
typedef struct {
    char *dir;    // absolute
    char *run;    // the sockets' directory
    char *front, *sink, *feed, *lanes,
        *db;                   // from DIR/tally.conf; of several brokers lists, see lib/endpoints.h
    char *key, *server_key;    // files, from there as well; NULL: no keys
    bool private_db;           // db is the private cluster's
    int lock;                  // descriptor, -1 until needed
} tally_home_t;

//  Path of the instance's directory: `given` when it is not NULL, else TALLY_DIR, else $XDG_STATE_HOME/tally, else
//  ~/.local/state/tally; root's is /var/lib/tally.  Owned by the caller; NULL when there is no such place.
char *tally_home_path(const char *given);

//  The instance in `dir`; NULL when there is none.
tally_home_t *tally_home_open(const char *dir);
//  The same, made when there is none: with its own cluster, or with `db` when it is not NULL, and for so many brokers
//  (0: one).  An instance that is there must agree with what is given.
tally_home_t *tally_home_make(const char *dir, const char *db, size_t brokers);
//  How many brokers it has: one is active, the others stand by.
size_t tally_home_brokers(const tally_home_t *self);
void tally_home_destroy(tally_home_t **self_p);

//  DIR/`name`, owned by the caller.
char *tally_home_file(const tally_home_t *self, const char *name);

//  Who holds the instance: the supervisor's pid, 0 when nobody does, -1 when that cannot be known.
pid_t tally_home_holder(tally_home_t *self);
bool tally_home_ready(tally_home_t *self);
//  Takes it for this process (not inherited by fork).  False when another process has it.
bool tally_home_hold(tally_home_t *self) TALLY_MUST_CHECK;
void tally_home_set_ready(tally_home_t *self, bool ready);

#endif
