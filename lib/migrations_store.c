// SPDX-License-Identifier: MIT
//  migrations_store - reads and moves the version of a database's schema.
#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "lib/migrations.h"

#define ATTEMPTS_MAX 5

static const char lock_sql[] = "select pg_advisory_xact_lock(7451001)";
static const char exists_sql[] = "select to_regclass('tally.migration') is not null";
static const char version_sql[] = "select coalesce(max(version), 0) from tally.migration";
static const char record_sql[] = "insert into tally.migration (version, name) values ($1, $2)";

//  In the current transaction, or outside one.
static tally_db_outcome_t
read_version(tally_db_t *db, int *version)
{
    tally_rows_t rows;
    *version = 0;
    tally_db_outcome_t outcome = tally_db_run(db, exists_sql, NULL, &rows);
    if (outcome != TALLY_DB_DONE || !tally_rows_bool(&rows, 0, 0)) {
        return outcome;
    }
    outcome = tally_db_run(db, version_sql, NULL, &rows);
    if (outcome == TALLY_DB_DONE) {
        *version = (int)tally_rows_int8(&rows, 0, 0);
    }
    return outcome;
}

static tally_db_outcome_t
apply(tally_db_t *db, const tally_migration_t *migration)
{
    tally_db_outcome_t outcome = tally_db_script(db, migration->sql);
    if (outcome != TALLY_DB_DONE) {
        return outcome;
    }
    tally_params_t params = {0};
    tally_params_int4(&params, migration->version);
    tally_params_text(&params, tally_bytes_of(migration->name));
    outcome = tally_db_run(db, record_sql, &params, NULL);
    tally_params_free(&params);
    return outcome;
}

//  One transaction: the next migration, if there is one.  *version is the database's before it.
static tally_db_outcome_t
step(tally_db_t *db, int *version)
{
    tally_db_outcome_t outcome = tally_db_connect(db);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_begin(db, TALLY_DB_READ_COMMITTED);
    }
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_run(db, lock_sql, NULL, NULL);
    }
    if (outcome == TALLY_DB_DONE) {
        outcome = read_version(db, version);
    }
    if (outcome == TALLY_DB_DONE && *version < (int)tally_migration_count) {
        outcome = apply(db, &tally_migrations[*version]);
    }
    return outcome == TALLY_DB_DONE ? tally_db_commit(db) : outcome;
}

static int
fail(tally_db_t *db, char **error_p)
{
    *error_p = tally_format("%s", tally_db_error(db));
    return -1;
}

int
tally_migrations_version(tally_db_t *db, char **error_p)
{
    int version = 0;
    *error_p = NULL;
    if (tally_db_connect(db) != TALLY_DB_DONE || read_version(db, &version) != TALLY_DB_DONE) {
        return fail(db, error_p);
    }
    return version;
}

int
tally_migrate(tally_db_t *db, char **error_p)
{
    int attempts = 0;
    *error_p = NULL;
    for (;;) {
        int version = 0;
        tally_db_outcome_t outcome = step(db, &version);
        if (outcome == TALLY_DB_DONE) {
            attempts = 0;
            if (version == (int)tally_migration_count) {
                return 0;
            }
            if (version > (int)tally_migration_count) {
                *error_p = tally_format(
                    "the database's schema is version %d, this build knows %zu; use a newer build",
                    version, tally_migration_count);
                return -1;
            }
            tally_log_info("migrated database  version=%d name=%s", version + 1,
                           tally_migrations[version].name);
            continue;
        }
        //  UNKNOWN needs no more than RETRY here: the next step reads what became of it.
        if (outcome == TALLY_DB_REJECT || ++attempts == ATTEMPTS_MAX) {
            int rc = fail(db, error_p);
            tally_db_rollback(db);
            return rc;
        }
        tally_db_rollback(db);
    }
}
