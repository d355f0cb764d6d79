// SPDX-License-Identifier: MIT
//  export_store - exports in Tally's own database: the request's row, its checkpoints and its end.
//
//  Every write proves the lease in the statement or transaction that makes it, so a worker that is
//  late changes nothing.  What becomes of files and tables is not known here.

#ifndef TALLY_EXPORT_STORE_H
#define TALLY_EXPORT_STORE_H

#include "lib/db.h"
#include "lib/wire.h"

typedef enum {
    TALLY_EXPORT_OK = 0,
    TALLY_EXPORT_STALE,        // the lease is over: stop, touch nothing
    TALLY_EXPORT_CANCELLED,    // somebody wants it no more
    TALLY_EXPORT_AWAY,         // the database is; nothing was done, or nobody knows
    TALLY_EXPORT_FAULT,        // the database or the disk will not do it; a text says why
    TALLY_EXPORT_BLOCKED,      // somebody uses the table that is to be replaced: later
    TALLY_EXPORT_REFUSED,      // the request is wrong or not allowed, and will stay so
} tally_export_answer_t;

//  Which export, and under which lease.
typedef struct {
    const char *tenant;
    uint64_t id;    // of the message
    uint64_t lease;
} tally_export_key_t;

typedef struct {
    int64_t visible_ms;    // how long a lease of the queue lasts
    int64_t failures_max;
} tally_export_policy_t;

//  The row of a running export; checkpoint fields are all zero in a new one.
typedef struct {
    int64_t rows_done, rows_total;
    int64_t last_number, until_number;
    uint64_t file_bytes;
    uint64_t part;    // lease whose part of the file holds them; 0: there is none
} tally_export_row_t;

tally_export_answer_t
tally_export_store_policy(tally_db_t *db, tally_export_policy_t *policy) TALLY_MUST_CHECK;

//  Is all that the tenant had confirmed before the request stored?
tally_export_answer_t tally_export_store_settled(tally_db_t *db, const tally_export_key_t *key,
                                                 bool *settled) TALLY_MUST_CHECK;

//  *number is 0 when there is no such survey.
tally_export_answer_t
tally_export_store_survey(tally_db_t *db, const tally_export_key_t *key, const char *survey,
                          int64_t *number) TALLY_MUST_CHECK;

//  Makes the row when it is not there (or failed before), and reads it; `definition` becomes the
//  survey's when the export began.  CANCELLED: it says so.
tally_export_answer_t
tally_export_store_open(tally_db_t *db, const tally_export_key_t *key, const char *survey,
                        const char *format, const char *target, tally_export_row_t *row,
                        tally_wire_t *definition) TALLY_MUST_CHECK;

//  How far a page may look: a tenant's responses to other surveys stand in between, and a statement
//  that looks for ours must stay short.
tally_export_answer_t
tally_export_store_horizon(tally_db_t *db, const tally_export_key_t *key, int64_t after,
                           int64_t until, int64_t *horizon) TALLY_MUST_CHECK;

//  The next stored responses behind `after`, in order of their number (column 0, int8; column 1 the
//  body); bounded in rows and bytes.  No rows: there are none up to `until`.
tally_export_answer_t
tally_export_store_page(tally_db_t *db, const tally_export_key_t *key, int64_t survey,
                        int64_t after, int64_t until, tally_rows_t *rows) TALLY_MUST_CHECK;

//  Writes rows_done, last_number, file_bytes and part.
tally_export_answer_t tally_export_store_checkpoint(tally_db_t *db, const tally_export_key_t *key,
                                                    const tally_export_row_t *row) TALLY_MUST_CHECK;

//  How an export ended.
typedef struct {
    const char *survey, *format;    // for the row when there is none yet
    const char *error;              // NULL: it is done
    int64_t rows;
    uint64_t bytes;
    const char *sha256;    // NULL: not a file
    const char *result;    // for who asked
} tally_export_outcome_t;

//  Settles the message and writes the row as done or failed, in a transaction left open on OK: make
//  the file or table visible, then commit.  With another answer nothing is open.
tally_export_answer_t
tally_export_store_end(tally_db_t *db, const tally_export_key_t *key,
                       const tally_export_outcome_t *outcome) TALLY_MUST_CHECK;
//  The same for one that was cancelled: the row says so already.
tally_export_answer_t
tally_export_store_end_cancelled(tally_db_t *db, const tally_export_key_t *key,
                                 const char *result) TALLY_MUST_CHECK;
tally_export_answer_t tally_export_store_commit(tally_db_t *db) TALLY_MUST_CHECK;
//  For after a commit that nobody answered.
tally_export_answer_t tally_export_store_is_done(tally_db_t *db, const tally_export_key_t *key,
                                                 bool *done) TALLY_MUST_CHECK;

//  Writes why the last attempt failed, for people; `last`: there will be no other.  The message is
//  not touched.
tally_export_answer_t
tally_export_store_blame(tally_db_t *db, const tally_export_key_t *key,
                         const tally_export_outcome_t *outcome, bool last) TALLY_MUST_CHECK;

//  ---- for people
//  ----------------------------------------------------------------------------------

//  A JSON array of the tenant's newest exports; freed by the caller.
tally_export_answer_t
tally_export_store_list(tally_db_t *db, const char *tenant, char **json) TALLY_MUST_CHECK;

typedef struct {
    char state[16];    // now: "" when there is no such export
    bool changed;      // by this call
    char *news;        // the feed's JSON when it was; freed by the caller
} tally_export_cancel_t;

tally_export_answer_t tally_export_store_cancel(tally_db_t *db, const char *tenant, uint64_t id,
                                                tally_export_cancel_t *cancel) TALLY_MUST_CHECK;

#endif
