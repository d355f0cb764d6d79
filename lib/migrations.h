// SPDX-License-Identifier: MIT
//  migrations - schemas/sql as the build embedded it, oldest first; versions are 1, 2, 3...
//
//  Data only; who applies them is lib/schema.h's business.

#ifndef TALLY_MIGRATIONS_H
#define TALLY_MIGRATIONS_H

#include <stddef.h>

typedef struct {
    int version;
    const char *name;
    const char *sql;
} tally_migration_t;

extern const tally_migration_t tally_migrations[];
extern const size_t tally_migration_count;

#endif
