// SPDX-License-Identifier: MIT
//  db - one blocking connection to PostgreSQL with Tally's four outcomes.
//
//  For workers, the command line and tests.  The broker's tick speaks to libpq by itself (pipelined, never
//  blocking) but shares the outcomes and the session's settings.  PGresult leaves this file only as
//  tally_rows_t, whose values are borrowed until the next call on the same connection.

#ifndef TALLY_DB_H
#define TALLY_DB_H

#include <libpq-fe.h>

#include "lib/bytes.h"

//  Database calls have four outcomes, never two.
typedef enum {
    TALLY_DB_DONE = 0,
    //  not done, may work again: connection lost before commit, serialization, deadlock, disk full
    TALLY_DB_RETRY,
    //  not done, and would not be the next time: constraint, raised by a function (see sqlstate)
    TALLY_DB_REJECT,
    //  the connection was lost while COMMIT was under way: done or not, ask again by id (a
    //  statement outside begin .. commit is its own transaction: lost in it means the same)
    TALLY_DB_UNKNOWN,
} tally_db_outcome_t;

typedef struct tally_db tally_db_t;

//  A connection not yet made; conninfo is copied.  `application` names us in pg_stat_activity.
tally_db_t *tally_db_new(const char *conninfo, const char *application);
void tally_db_destroy(tally_db_t **self_p);

//  Settings of sessions that work under a lease: a transaction left idle this long is ended by PostgreSQL.
void tally_db_set_idle_limit_ms(tally_db_t *self, int limit_ms);

//  Connects when not connected (one attempt, 5 s); done already when it is.  RETRY when it cannot.
tally_db_outcome_t tally_db_connect(tally_db_t *self) TALLY_MUST_CHECK;
bool tally_db_connected(const tally_db_t *self);
void tally_db_disconnect(tally_db_t *self);

//  Parameters of one statement.  All binary, built by the calls below; zero-initialise, free when done.
typedef struct {
    int count;
    Oid types[16];
    const char *values[16];
    int lengths[16];
    int formats[16];
    void *owned[16];
} tally_params_t;

void tally_params_free(tally_params_t *params);    // and ready for the next statement
void tally_params_int4(tally_params_t *params, int32_t value);
void tally_params_int8(tally_params_t *params, int64_t value);
void tally_params_bool(tally_params_t *params, bool value);
void tally_params_text(tally_params_t *params, tally_bytes_t value);    // copied; UTF-8 without NUL
void tally_params_bytea(tally_params_t *params, tally_bytes_t value);    // borrowed
void tally_params_null(tally_params_t *params, Oid type);
void tally_params_int4s(tally_params_t *params, const int32_t *values,
                        size_t count);    // arrays: copied
void tally_params_int8s(tally_params_t *params, const int64_t *values, size_t count);
void tally_params_texts(tally_params_t *params, const tally_bytes_t *values,
                        size_t count);    // data NULL: null
void tally_params_byteas(tally_params_t *params, const tally_bytes_t *values,
                         size_t count);    // data NULL: null

typedef struct {
    const PGresult *result;    // binary format
    int rows;
} tally_rows_t;

int64_t
tally_rows_int8(const tally_rows_t *rows, int row, int column);    // int2, int4, int8; 0 when null
bool tally_rows_bool(const tally_rows_t *rows, int row, int column);
double tally_rows_float8(const tally_rows_t *rows, int row, int column);
tally_bytes_t tally_rows_bytes(const tally_rows_t *rows, int row,
                               int column);    // text, bytea...; data NULL when null
bool tally_rows_null(const tally_rows_t *rows, int row, int column);

//  Runs one statement with binary parameters and results.  Statements are prepared per connection the first
//  time they are seen (sql must be a string constant: its address is the key).  rows may be NULL.
//  Inside tally_db_begin .. tally_db_commit an outcome other than DONE means: call tally_db_rollback.
tally_db_outcome_t tally_db_run(tally_db_t *self, const char *sql, const tally_params_t *params,
                                tally_rows_t *rows) TALLY_MUST_CHECK;
//  Several statements without parameters or results (migrations), in the current transaction.
tally_db_outcome_t tally_db_script(tally_db_t *self, const char *sql) TALLY_MUST_CHECK;

//  Runs "copy (query) to stdout (format binary)" and hands over each row as it arrives: its `field_count` fields in
//  binary form, data NULL when null, borrowed during the call.  PostgreSQL goes on with the next rows meanwhile.
typedef void tally_db_row_fn(void *context, const tally_bytes_t *fields);
#define TALLY_DB_COPY_FIELDS_MAX 32
tally_db_outcome_t tally_db_copy(tally_db_t *self, const char *sql, size_t field_count,
                                 tally_db_row_fn *each, void *context) TALLY_MUST_CHECK;

typedef enum { TALLY_DB_READ_COMMITTED, TALLY_DB_REPEATABLE_READ } tally_db_isolation_t;

tally_db_outcome_t
tally_db_begin(tally_db_t *self, tally_db_isolation_t isolation) TALLY_MUST_CHECK;
//  DONE only when PostgreSQL answered with the tag COMMIT.
tally_db_outcome_t tally_db_commit(tally_db_t *self) TALLY_MUST_CHECK;
void tally_db_rollback(tally_db_t *self);    // also drops the connection when it is broken

//  Of the last outcome that was not DONE.  "" when there is none.
const char *tally_db_sqlstate(const tally_db_t *self);
const char *tally_db_error(const tally_db_t *self);
//  For what needs the raw connection; borrowed.
PGconn *tally_db_handle(tally_db_t *self);

//  Shared with the broker: classifies what libpq says.
tally_db_outcome_t tally_db_classify(const char *sqlstate);

#endif
