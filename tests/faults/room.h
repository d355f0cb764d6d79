// SPDX-License-Identifier: MIT
//  room - the directory of one run, and the guard that empties it when the run ends in whatever way.
//
//  The guard is a process of its own that waits for this one to end: then it kills every process that was started for
//  the directory, takes down what is mounted in it, and removes it unless the run asked to keep it.

#ifndef TALLY_FAULTS_ROOM_H
#define TALLY_FAULTS_ROOM_H

#include "lib/bytes.h"

typedef struct tally_room tally_room_t;

//  NULL when there can be no such directory (said on standard error).  As root, PostgreSQL's user can pass it.
tally_room_t *tally_room_new(void);
//  Sets the guard to work and waits for it.  0; -1 when something had to be killed or is left.
int tally_room_destroy(tally_room_t **self_p);

const char *tally_room_dir(const tally_room_t *self);
//  From here on the directory stays, also when we die.
void tally_room_keep(tally_room_t *self);
//  Writes what each process of the room is doing, as far as the kernel says, into DIR/`name`: for looking at a run that
//  stands still.
void tally_room_write_state(const tally_room_t *self, const char *name);
//  DIR/`name`; owned by the caller.
char *tally_room_file(const tally_room_t *self, const char *name);
//  Makes DIR/`name`, closed to others.  0 or -1.
int tally_room_make(const tally_room_t *self, const char *name) TALLY_MUST_CHECK;

#endif
