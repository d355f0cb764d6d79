// SPDX-License-Identifier: MIT
//  migrations - schemas/sql as the build embedded it, and how it gets into a database.
//
//  Versions are 1, 2, 3...; forward only.  Each migration is one transaction under one advisory lock, so any
//  number of programs may migrate at once, and one that dies leaves whole versions behind.  A database that is
//  newer than this build is refused, never touched.

#ifndef TALLY_MIGRATIONS_H
#define TALLY_MIGRATIONS_H

#include "lib/db.h"

typedef struct {
    int version;
    const char *name;
    const char *sql;
} tally_migration_t;

//  Oldest first.
extern const tally_migration_t tally_migrations[];
extern const size_t tally_migration_count;

//  The version of the database's schema, 0 when it has none; -1 with *error_p (owned by the caller) when it
//  cannot be read.
int tally_migrations_version(tally_db_t *db, char **error_p) TALLY_MUST_CHECK;

//  Applies what is missing.  0, or -1 with *error_p (owned by the caller).
int tally_migrate(tally_db_t *db, char **error_p) TALLY_MUST_CHECK;

#endif
