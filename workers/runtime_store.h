// SPDX-License-Identifier: MIT
//  runtime_store - settings of a worker's database session that concern every role.

#ifndef TALLY_RUNTIME_STORE_H
#define TALLY_RUNTIME_STORE_H

#include "lib/db.h"

//  Workers read by key.  The tables they read grow and shrink by orders of magnitude between two looks of the
//  planner at them, so a plan made while a table was empty must not scan it later.  Repeats itself on a new
//  connection only; *session remembers which that was (0 at first).
tally_db_outcome_t tally_runtime_store_tune(tally_db_t *db, int *session) TALLY_MUST_CHECK;

#endif
