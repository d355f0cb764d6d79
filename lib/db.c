// SPDX-License-Identifier: MIT
//  db - the blocking connection: connecting, statements, transactions and what their outcomes mean.
//
//  A connection that broke inside a transaction stays broken until tally_db_rollback, so that no
//  later statement of the caller can run on a new connection outside that transaction.  Do not
//  add retries of whole transactions here: only the caller knows whether its writes may be made
//  again.

#include "lib/db.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/db_session.h"
#include "lib/planted.h"

//  A statement prepared on the present connection.
struct statement {
    const char *sql;    // the caller's constant: its address is the key
    uint64_t number;    // names it to PostgreSQL; never used twice
    bool doubtful;      // PostgreSQL forgot it, or its plan no longer fits: prepare again
    int type_count;
    Oid types[sizeof((tally_params_t *)0)->types / sizeof(Oid)];
};

struct tally_db {
    char *conninfo;
    char *application;
    int idle_limit_ms;             // 0: none
    PGconn *handle;                // NULL: not connected
    bool farewell;                 // PostgreSQL ended the session while it had nothing to do
    bool in_transaction;           // from begin to commit or rollback, broken or not
    tally_db_outcome_t spoiled;    // in a transaction: the first outcome that was not DONE
    bool local_only;               // a warning said that a commit may not have reached the standby
    PGresult *result;              // what the caller borrows
    struct statement *statements;
    size_t statement_count, statement_room;
    uint64_t last_number;
    char sqlstate[6];
    char *error;    // never NULL
};

//  ---- outcomes ----------------------------------------------------------------------------------

static void
remember_error(tally_db_t *self, const char *sqlstate, const char *text)
{
    snprintf(self->sqlstate, sizeof self->sqlstate, "%s", sqlstate == NULL ? "" : sqlstate);
    free(self->error);
    self->error = tally_strdup(text == NULL ? "" : text);
    self->error[strcspn(self->error, "\n")] = '\0';    // libpq's own are several lines long
}

static void
forget_error(tally_db_t *self)
{
    self->sqlstate[0] = '\0';
    self->error[0] = '\0';
}

//  Notes why a result was not what was wanted.  `result` is NULL when libpq could not even send.
static tally_db_outcome_t
blame(tally_db_t *self, const PGresult *result)
{
    const char *sqlstate = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    remember_error(self, sqlstate, text != NULL ? text : PQerrorMessage(self->handle));
    return tally_db_classify(sqlstate);
}

static bool
broken(const tally_db_t *self)
{
    return self->handle == NULL || self->farewell || PQstatus(self->handle) != CONNECTION_OK;
}

//  A session that PostgreSQL ended while nobody used it says so when looked at: better to see it
//  now than after a statement went out, when its fate would be unknown.
static void
notice_loss(tally_db_t *self)
{
    if (!broken(self) && PQconsumeInput(self->handle) == 1) {
        //  For their side effects: a farewell is read, see take_notice, then the end behind it.
        (void)PQisBusy(self->handle);
        (void)PQconsumeInput(self->handle);
    }
}

//  The last word on an outcome inside or outside of a transaction.
static tally_db_outcome_t
conclude(tally_db_t *self, tally_db_outcome_t outcome)
{
    if (self->in_transaction) {
        if (outcome != TALLY_DB_DONE && self->spoiled == TALLY_DB_DONE) {
            self->spoiled = outcome;
        }
        return outcome;
    }
    if (self->local_only && outcome == TALLY_DB_DONE) {
        remember_error(self, "01000", "committed here, but perhaps not on the standby");
        outcome = TALLY_DB_UNKNOWN;
    }
    if (broken(self)) {
        tally_db_disconnect(self);
    }
    return outcome;
}

static void
take_notice(void *context, const PGresult *notice)
{
    tally_db_t *self = context;
    if (tally_db_session_notice(self->application, notice)) {
        self->local_only = true;
    }
    //  libpq treats a fatal error as a notice when no command waits for its answer.
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)) {
        self->farewell = true;
    }
}

//  ---- connecting --------------------------------------------------------------------------------

tally_db_t *
tally_db_new(const char *conninfo, const char *application)
{
    assert(conninfo != NULL);
    assert(application != NULL);

    tally_db_t *self = tally_alloc(sizeof *self);
    self->conninfo = tally_strdup(conninfo);
    self->application = tally_strdup(application);
    self->error = tally_strdup("");
    return self;
}

void
tally_db_destroy(tally_db_t **self_p)
{
    assert(self_p != NULL);
    tally_db_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_db_disconnect(self);
    PQclear(self->result);
    free(self->statements);
    free(self->conninfo);
    free(self->application);
    free(self->error);
    free(self);
    *self_p = NULL;
}

void
tally_db_set_idle_limit_ms(tally_db_t *self, int limit_ms)
{
    assert(limit_ms >= 0);
    assert(self->handle == NULL);    // a setting of the session, made when it starts
    self->idle_limit_ms = limit_ms;
}

bool
tally_db_connected(const tally_db_t *self)
{
    return !broken(self);
}

void
tally_db_disconnect(tally_db_t *self)
{
    PQfinish(self->handle);
    self->handle = NULL;
    self->farewell = false;
    self->statement_count = TALLY_PLANTED(DB_UNPREPARED) ? self->statement_count : 0;
}

tally_db_outcome_t
tally_db_connect(tally_db_t *self)
{
    if (!broken(self)) {
        return TALLY_DB_DONE;
    }
    assert(!self->in_transaction);
    tally_db_disconnect(self);
    forget_error(self);
    char *error;
    self->handle = tally_db_session_open(self->conninfo, self->application, self->idle_limit_ms,
                                         &error);
    if (self->handle == NULL) {
        remember_error(self, "", error);
        free(error);
        return TALLY_DB_RETRY;
    }
    PQsetNoticeReceiver(self->handle, take_notice, self);
    return TALLY_DB_DONE;
}

//  ---- statements --------------------------------------------------------------------------------

static struct statement *
require_statement(tally_db_t *self, const char *sql, const tally_params_t *params)
{
    for (size_t i = 0; i < self->statement_count; i++) {
        struct statement *known = &self->statements[i];
        if (known->sql == sql) {
            assert(known->type_count == params->count);
            assert(memcmp(known->types, params->types, sizeof(Oid) * (size_t)params->count) == 0);
            return known;
        }
    }
    if (self->statement_count == self->statement_room) {
        self->statement_room = self->statement_room == 0 ? 16 : self->statement_room * 2;
        self->statements = tally_realloc_array(self->statements, self->statement_room,
                                               sizeof *self->statements);
    }
    struct statement *added = &self->statements[self->statement_count++];
    *added = (struct statement){.sql = sql, .doubtful = true, .type_count = params->count};
    memcpy(added->types, params->types, sizeof(Oid) * (size_t)params->count);
    return added;
}

static void
name_statement(const struct statement *statement, char name[32])
{
    snprintf(name, 32, "tally_%" PRIu64, statement->number);
}

//  The number is new each time, so a statement that PostgreSQL may still know cannot be in the way.
static tally_db_outcome_t
prepare(tally_db_t *self, struct statement *statement)
{
    char name[32];
    statement->number = ++self->last_number;
    name_statement(statement, name);
    PGresult *result = PQprepare(self->handle, name, statement->sql, statement->type_count,
                                 statement->types);
    tally_db_outcome_t outcome = TALLY_DB_DONE;
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        outcome = blame(self, result);
    } else {
        statement->doubtful = false;
    }
    PQclear(result);
    return outcome;
}

static bool
succeeded(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

//  Runs it once; *stale says that preparing it again may help.
static tally_db_outcome_t
execute(tally_db_t *self, const char *sql, const tally_params_t *params, bool *stale)
{
    *stale = false;
    struct statement *statement = require_statement(self, sql, params);
    if (statement->doubtful) {
        tally_db_outcome_t outcome = prepare(self, statement);
        if (outcome != TALLY_DB_DONE) {
            return outcome;
        }
    }
    char name[32];
    name_statement(statement, name);
    PQclear(self->result);
    self->result = PQexecPrepared(self->handle, name, params->count, params->values,
                                  params->lengths, params->formats, 1);
    if (succeeded(self->result)) {
        return TALLY_DB_DONE;
    }
    tally_db_outcome_t outcome = blame(self, self->result);
    if (tally_db_session_stale(self->result)) {
        statement->doubtful = !TALLY_PLANTED(DB_UNPREPARED);
        *stale = true;
        return TALLY_DB_RETRY;
    }
    //  On its own the statement was a transaction: when the line broke after it went out, who
    //  knows.
    if (!self->in_transaction && broken(self)) {
        return TALLY_DB_UNKNOWN;
    }
    return outcome;
}

//  Ready for a statement: connected, or inside a transaction that is still whole.
static tally_db_outcome_t
ready(tally_db_t *self)
{
    if (!self->in_transaction) {
        self->local_only = false;
        notice_loss(self);
        return tally_db_connect(self);
    }
    if (self->spoiled != TALLY_DB_DONE) {
        return self->spoiled;    // and its error stays what tally_db_error tells
    }
    if (broken(self)) {
        remember_error(self, "", "the connection was lost");
        return TALLY_DB_RETRY;
    }
    return TALLY_DB_DONE;
}

tally_db_outcome_t
tally_db_run(tally_db_t *self, const char *sql, const tally_params_t *params, tally_rows_t *rows)
{
    static const tally_params_t none;
    if (rows != NULL) {
        *rows = (tally_rows_t){NULL, 0};
    }
    tally_db_outcome_t outcome = ready(self);
    if (outcome != TALLY_DB_DONE) {
        return conclude(self, outcome);
    }
    forget_error(self);
    bool stale;
    outcome = execute(self, sql, params == NULL ? &none : params, &stale);
    if (stale && !self->in_transaction) {
        forget_error(self);
        outcome = execute(self, sql, params == NULL ? &none : params, &stale);
    }
    outcome = conclude(self, outcome);
    if (outcome == TALLY_DB_DONE && rows != NULL) {
        *rows = (tally_rows_t){self->result, PQntuples(self->result)};
    }
    return outcome;
}

//  One command by the simple protocol.  DONE when every part of it succeeded.
static tally_db_outcome_t
command(tally_db_t *self, const char *sql)
{
    forget_error(self);
    PQclear(self->result);
    self->result = PQexec(self->handle, sql);
    return succeeded(self->result) ? TALLY_DB_DONE : blame(self, self->result);
}

tally_db_outcome_t
tally_db_script(tally_db_t *self, const char *sql)
{
    tally_db_outcome_t outcome = ready(self);
    if (outcome == TALLY_DB_DONE) {
        outcome = command(self, sql);
        if (outcome != TALLY_DB_DONE && !self->in_transaction && broken(self)) {
            outcome = TALLY_DB_UNKNOWN;
        }
    }
    return conclude(self, outcome);
}

//  ---- copy --------------------------------------------------------------------------------------

//  The header is a signature of 11 bytes, flags, and the length of an extension (which nobody has defined).
#define COPY_HEADER_BYTES 19
static const char copy_signature[11] = "PGCOPY\n\377\r\n";

static int32_t
read_int(const char **at, const char *end, size_t bytes)
{
    assert((size_t)(end - *at) >= bytes);    // PostgreSQL sends whole rows
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (unsigned char)(*at)[i];
    }
    *at += bytes;
    return bytes == 2 ? (int16_t)value : (int32_t)value;
}

//  The rows of one piece; the last has -1 fields.
static void
hand_over(const char *at, const char *end, size_t field_count, tally_db_row_fn *each, void *context)
{
    tally_bytes_t fields[TALLY_DB_COPY_FIELDS_MAX];
    while (at < end) {
        int32_t count = read_int(&at, end, 2);
        if (count == -1) {
            return;
        }
        assert((size_t)count == field_count);
        for (size_t i = 0; i < field_count; i++) {
            int32_t size = read_int(&at, end, 4);
            assert(size == -1 || end - at >= size);
            fields[i] = (tally_bytes_t){size == -1 ? NULL : at, size == -1 ? 0 : (size_t)size};
            at += fields[i].size;
        }
        each(context, fields);
    }
}

static tally_db_outcome_t
receive_copy(tally_db_t *self, size_t field_count, tally_db_row_fn *each, void *context)
{
    bool began = false;
    char *piece;
    int size;
    while ((size = PQgetCopyData(self->handle, &piece, 0)) > 0) {
        const char *at = piece;
        if (!began) {
            assert(size >= COPY_HEADER_BYTES);
            assert(memcmp(piece, copy_signature, sizeof copy_signature) == 0);
            at += COPY_HEADER_BYTES;
            began = true;
        }
        hand_over(at, piece + size, field_count, each, context);
        PQfreemem(piece);
    }
    PQclear(self->result);
    self->result = PQgetResult(self->handle);
    tally_db_outcome_t outcome = size == -1 && succeeded(self->result) ? TALLY_DB_DONE
                                                                       : blame(self, self->result);
    for (PGresult *more; (more = PQgetResult(self->handle)) != NULL;) {
        PQclear(more);
    }
    return outcome;
}

tally_db_outcome_t
tally_db_copy(tally_db_t *self, const char *sql, size_t field_count, tally_db_row_fn *each,
              void *context)
{
    assert(field_count <= TALLY_DB_COPY_FIELDS_MAX);
    tally_db_outcome_t outcome = ready(self);
    if (outcome != TALLY_DB_DONE) {
        return conclude(self, outcome);
    }
    forget_error(self);
    PQclear(self->result);
    self->result = PQexec(self->handle, sql);
    outcome = PQresultStatus(self->result) == PGRES_COPY_OUT
                  ? receive_copy(self, field_count, each, context)
                  : blame(self, self->result);
    return conclude(self, outcome);
}

//  ---- transactions ------------------------------------------------------------------------------

tally_db_outcome_t
tally_db_begin(tally_db_t *self, tally_db_isolation_t isolation)
{
    assert(!self->in_transaction);
    const char *sql = isolation == TALLY_DB_REPEATABLE_READ
                          ? "begin isolation level repeatable read"
                          : "begin isolation level read committed";
    self->local_only = false;
    notice_loss(self);
    //  A connection may still turn out to be dead; nothing was done yet, so one more try.
    for (int try = 0; try < 2; try++) {
        bool fresh = broken(self);
        tally_db_outcome_t outcome = tally_db_connect(self);
        if (outcome != TALLY_DB_DONE) {
            return outcome;
        }
        outcome = command(self, sql);
        if (outcome == TALLY_DB_DONE) {
            self->in_transaction = true;
            self->spoiled = TALLY_DB_DONE;
            return TALLY_DB_DONE;
        }
        if (!broken(self) || fresh) {
            return conclude(self, outcome);
        }
        tally_db_disconnect(self);
    }
    return TALLY_DB_RETRY;
}

tally_db_outcome_t
tally_db_commit(tally_db_t *self)
{
    assert(self->in_transaction);
    notice_loss(self);
    if (self->spoiled != TALLY_DB_DONE || broken(self)) {
        tally_db_outcome_t outcome = self->spoiled;
        if (outcome == TALLY_DB_DONE) {
            remember_error(self, "", "the connection was lost");
            outcome = TALLY_DB_RETRY;
        }
        tally_db_rollback(self);
        return outcome;
    }
    tally_db_outcome_t outcome = command(self, "commit");
    self->in_transaction = false;
    if (outcome == TALLY_DB_DONE && strcmp(PQcmdStatus(self->result), "COMMIT") != 0) {
        remember_error(self, "25P02", "PostgreSQL rolled the transaction back");
        return TALLY_DB_RETRY;
    }
    //  Only a session that was ended before it read our COMMIT is known to have done nothing.
    bool unread = self->farewell || strcmp(self->sqlstate, "25P03") == 0;
    if (outcome != TALLY_DB_DONE && broken(self) && !unread) {
        outcome = TALLY_PLANTED(DB_LOST_IS_DONE) ? TALLY_DB_DONE : TALLY_DB_UNKNOWN;
    }
    return conclude(self, outcome);
}

void
tally_db_rollback(tally_db_t *self)
{
    bool open = self->in_transaction;
    self->in_transaction = false;
    self->spoiled = TALLY_DB_DONE;
    if (broken(self)) {
        tally_db_disconnect(self);
        return;
    }
    if (!open) {
        return;
    }
    //  The error of what made the caller roll back stays readable.
    PGresult *result = PQexec(self->handle, "rollback");
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        tally_db_disconnect(self);
    }
    PQclear(result);
}

//  ---- looking -----------------------------------------------------------------------------------

const char *
tally_db_sqlstate(const tally_db_t *self)
{
    return self->sqlstate;
}

const char *
tally_db_error(const tally_db_t *self)
{
    return self->error;
}

PGconn *
tally_db_handle(tally_db_t *self)
{
    return self->handle;
}
