// SPDX-License-Identifier: MIT
//  roles_store - the database's roles: who may do what by SQL.
//
//      tally_owner    owns everything, cannot log in; tally.settle and the other functions run as it
//      tally_broker   what tallyd does in its ticks; it reads principals and cannot make one
//      tally_worker   functions, the survey tables, and looking at what it was leased
//      tally_reader   surveys, responses, statistics and exports of the tenants that tally.reader names
//
//  They are groups: logins are made by the administrator and granted one of them.

#ifndef TALLY_CMD_ROLES_STORE_H
#define TALLY_CMD_ROLES_STORE_H

#include "lib/db.h"

//  Makes the roles, gives everything to its owner, takes all rights away and grants those of each role: one
//  transaction, to be repeated after each migration.  Needs a superuser.
tally_db_outcome_t tally_roles_store_apply(tally_db_t *db) TALLY_MUST_CHECK;

#endif
