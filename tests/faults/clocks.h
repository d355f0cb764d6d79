// SPDX-License-Identifier: MIT
//  clocks - wall clocks that can be set, of one kind of process at a time; by Debian's libfaketime.
//
//  The monotonic clock stays what it is.  Processes look for a new setting about once a second.

#ifndef TALLY_FAULTS_CLOCKS_H
#define TALLY_FAULTS_CLOCKS_H

#include "lib/bytes.h"

typedef struct tally_clocks tally_clocks_t;

//  Settings are files in `directory`.  NULL when libfaketime is not installed.
tally_clocks_t *tally_clocks_new(const char *directory);
void tally_clocks_destroy(tally_clocks_t **self_p);

//  In a forked child, before it becomes the program: its clock is that of `kind`.  Nothing when self is NULL.
void tally_clocks_enter(const tally_clocks_t *self, const char *kind);

//  Sets the clock of that kind so many seconds ahead (or behind).
void tally_clocks_set(const tally_clocks_t *self, const char *kind, double ahead_s);

#endif
