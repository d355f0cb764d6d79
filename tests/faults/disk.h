// SPDX-License-Identifier: MIT
//  disk - a small file system of its own for PostgreSQL, which can be filled up.
//
//  An ext4 in a file, mounted at DIR/disk: only where this program may mount.  Otherwise there is none, and runs say
//  so.

#ifndef TALLY_FAULTS_DISK_H
#define TALLY_FAULTS_DISK_H

#include "lib/bytes.h"

typedef struct tally_disk tally_disk_t;

//  NULL when it cannot be here.
tally_disk_t *tally_disk_new(const char *dir);
//  Takes what fills it away; the room's guard unmounts it.
void tally_disk_destroy(tally_disk_t **self_p);

//  Not a byte is left; false when that did not work.
bool tally_disk_fill(tally_disk_t *self);
void tally_disk_clear(tally_disk_t *self);

#endif
