// SPDX-License-Identifier: MIT
//  db - the blocking connection: connecting, statements, transactions and what their outcomes mean.
//
//  A connection that broke inside a transaction stays broken until tally_db_rollback, so that no later
//  statement of the caller can run on a new connection outside that transaction.  Do not add retries of whole
//  transactions here: only the caller knows whether its writes may be made again.

#include "lib/db.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"

#define CONNECT_MS_MAX 5000

//  A statement prepared on the present connection.
struct statement {
    const char *sql;            // the caller's constant: its address is the key
    uint64_t number;            // names it to PostgreSQL; never used twice
    bool doubtful;              // PostgreSQL forgot it, or its plan no longer fits: prepare again
    int type_count;
    Oid types[sizeof((tally_params_t *)0)->types / sizeof(Oid)];
};

struct tally_db {
    char *conninfo;
    char *application;
    int idle_limit_ms;          // 0: none
    PGconn *handle;             // NULL: not connected
    bool in_transaction;        // between begin and commit or rollback, whatever the connection says
    tally_db_outcome_t spoiled; // in a transaction: the first outcome that was not DONE
    bool local_only;            // a warning said that a commit may not have reached the standby
    PGresult *result;           // what the caller borrows
    struct statement *statements;
    size_t statement_count, statement_room;
    uint64_t last_number;
    char sqlstate[6];
    char *error;                // never NULL
};

//  ---- outcomes -----------------------------------------------------------------------------------------

//  States that a later try may find changed although their class says otherwise: the fault is the
//  installation's (rights, migrations), and must not bury messages.
static const char *const passing_states[] = {
    "25006", "25P02", "25P03", "26000", "42501", "42703", "42883", "42P01", "55006", "55P03",
};

//  Connection, authorisation, catalog and schema names, rollback, resources, operator, system, internal.
static const char *const passing_classes[] = {
    "08", "28", "3D", "3F", "40", "53", "57", "58", "F0", "XX",
};

tally_db_outcome_t
tally_db_classify(const char *sqlstate)
{
    if (sqlstate == NULL || sqlstate[0] == '\0') {
        return TALLY_DB_RETRY;      // libpq itself said so: nothing came from the server
    }
    if (strcmp(sqlstate, "00000") == 0) {
        return TALLY_DB_DONE;
    }
    for (size_t i = 0; i < sizeof passing_classes / sizeof passing_classes[0]; i++) {
        if (strncmp(sqlstate, passing_classes[i], 2) == 0) {
            return TALLY_DB_RETRY;
        }
    }
    for (size_t i = 0; i < sizeof passing_states / sizeof passing_states[0]; i++) {
        if (strcmp(sqlstate, passing_states[i]) == 0) {
            return TALLY_DB_RETRY;
        }
    }
    return TALLY_DB_REJECT;
}

static void
remember_error(tally_db_t *self, const char *sqlstate, const char *text)
{
    snprintf(self->sqlstate, sizeof self->sqlstate, "%s", sqlstate == NULL ? "" : sqlstate);
    free(self->error);
    self->error = tally_strdup(text == NULL ? "" : text);
    self->error[strcspn(self->error, "\n")] = '\0';     // libpq's own are several lines long
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
    return self->handle == NULL || PQstatus(self->handle) != CONNECTION_OK;
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

//  The function's name is not translated, the text may be.
static void
take_notice(void *context, const PGresult *notice)
{
    tally_db_t *self = context;
    const char *function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);
    const char *detail = PQresultErrorField(notice, PG_DIAG_MESSAGE_DETAIL);
    if ((function != NULL && strcmp(function, "SyncRepWaitForLSN") == 0)
        || (detail != NULL && strstr(detail, "not have been replicated") != NULL)) {
        self->local_only = true;
    }
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    tally_log_warn("PostgreSQL warned %s: %s", self->application, text == NULL ? "" : text);
}

//  ---- connecting ---------------------------------------------------------------------------------------

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
    assert(self->handle == NULL);       // a setting of the session, made when it starts
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
    self->statement_count = 0;
}

//  Waits until the socket can be read (or written), at most until the deadline.
static bool
wait_socket(const PGconn *handle, short events, int64_t deadline_at_ms)
{
    for (;;) {
        int64_t left_ms = deadline_at_ms - tally_clock_now_ms();
        if (left_ms <= 0) {
            return false;
        }
        struct pollfd item = {.fd = PQsocket(handle), .events = events};
        int rc = poll(&item, 1, (int)left_ms);
        if (rc > 0) {
            return true;
        }
        if (rc < 0 && errno != EINTR) {
            return false;
        }
    }
}

//  libpq's connect_timeout does not apply to PQconnectPoll, hence the deadline of our own.
static bool
finish_connecting(PGconn *handle, int64_t deadline_at_ms)
{
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        if (status == PGRES_POLLING_FAILED || PQstatus(handle) == CONNECTION_BAD) {
            return false;
        }
        short events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        if (!wait_socket(handle, events, deadline_at_ms)) {
            return false;
        }
        status = PQconnectPoll(handle);
    }
    return true;
}

//  Waits for the answer to a query that was sent, within the time for connecting.
static PGresult *
receive_in_time(PGconn *handle, int64_t deadline_at_ms)
{
    PGresult *last = NULL;
    for (;;) {
        while (PQisBusy(handle)) {
            if (!wait_socket(handle, POLLIN, deadline_at_ms) || !PQconsumeInput(handle)) {
                PQclear(last);
                return NULL;
            }
        }
        PGresult *next = PQgetResult(handle);
        if (next == NULL) {
            return last;
        }
        PQclear(last);
        last = next;
    }
}

//  lc_messages needs a right that workers may lack; nothing here depends on it, logs just read better.
//  remote_apply is kept because it promises more than on.
static const char *const session_sql =
    "select set_config('client_min_messages', 'warning', false),"
    " set_config('idle_in_transaction_session_timeout', $1, false),"
    " case when has_parameter_privilege('lc_messages', 'set')"
    "  then set_config('lc_messages', 'C', false) end,"
    " set_config('synchronous_commit',"
    "  case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, false)";

//  Makes the session's settings and checks the one that everything depends on.
static tally_db_outcome_t
set_up_session(tally_db_t *self, int64_t deadline_at_ms)
{
    char limit[16];
    snprintf(limit, sizeof limit, "%d", self->idle_limit_ms);
    const char *values[] = {limit};
    if (!PQsendQueryParams(self->handle, session_sql, 1, NULL, values, NULL, NULL, 0)) {
        return blame(self, NULL);
    }
    PGresult *result = receive_in_time(self->handle, deadline_at_ms);
    if (result == NULL) {
        remember_error(self, "", "PostgreSQL did not answer in time");
        return TALLY_DB_RETRY;
    }
    tally_db_outcome_t outcome = TALLY_DB_DONE;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        outcome = blame(self, result);
    } else if (strcmp(PQgetvalue(result, 0, 3), "on") != 0
               && strcmp(PQgetvalue(result, 0, 3), "remote_apply") != 0) {
        remember_error(self, "", "synchronous_commit is not on");
        outcome = TALLY_DB_RETRY;
    }
    PQclear(result);
    return outcome;
}

//  What the caller's conninfo says wins over what stands before it here.
static PGconn *
start_connecting(const tally_db_t *self)
{
    const char *const names[] = {
        "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout",
        "dbname", "application_name", "client_encoding", NULL,
    };
    const char *const values[] = {
        "1", "5", "2", "3", "10000",
        self->conninfo, self->application, "UTF8", NULL,
    };
    return PQconnectStartParams(names, values, 1);
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
    int64_t deadline_at_ms = tally_clock_now_ms() + CONNECT_MS_MAX;

    self->handle = start_connecting(self);
    if (self->handle == NULL) {
        abort();        // libpq: out of memory
    }
    PQsetNoticeReceiver(self->handle, take_notice, self);
    if (!finish_connecting(self->handle, deadline_at_ms)) {
        bool late = PQstatus(self->handle) != CONNECTION_BAD;
        remember_error(self, "", late ? "no connection in time" : PQerrorMessage(self->handle));
        tally_db_disconnect(self);
        return TALLY_DB_RETRY;
    }
    if (set_up_session(self, deadline_at_ms) != TALLY_DB_DONE) {
        tally_db_disconnect(self);
        return TALLY_DB_RETRY;
    }
    return TALLY_DB_DONE;
}

//  ---- statements ---------------------------------------------------------------------------------------

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
    PGresult *result = PQprepare(self->handle, name, statement->sql, statement->type_count, statement->types);
    tally_db_outcome_t outcome = TALLY_DB_DONE;
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        outcome = blame(self, result);
    } else {
        statement->doubtful = false;
    }
    PQclear(result);
    return outcome;
}

//  Was it the prepared statement that failed, not what it says?  Both are seen after a failover, a pooler's
//  reset or a migration under a running worker.
static bool
statement_is_stale(const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
    if (sqlstate == NULL) {
        return false;
    }
    return strcmp(sqlstate, "26000") == 0
           || (strcmp(sqlstate, "0A000") == 0 && function != NULL
               && strcmp(function, "RevalidateCachedQuery") == 0);
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
    self->result = PQexecPrepared(self->handle, name, params->count, params->values, params->lengths,
                                  params->formats, 1);
    if (succeeded(self->result)) {
        return TALLY_DB_DONE;
    }
    tally_db_outcome_t outcome = blame(self, self->result);
    if (statement_is_stale(self->result)) {
        statement->doubtful = true;
        *stale = true;
        return TALLY_DB_RETRY;
    }
    //  On its own the statement was a transaction: when the line broke after it went out, who knows.
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
        return tally_db_connect(self);
    }
    if (self->spoiled != TALLY_DB_DONE) {
        return self->spoiled;       // and its error stays what tally_db_error tells
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

//  ---- transactions -------------------------------------------------------------------------------------

tally_db_outcome_t
tally_db_begin(tally_db_t *self, tally_db_isolation_t isolation)
{
    assert(!self->in_transaction);
    const char *sql = isolation == TALLY_DB_REPEATABLE_READ ? "begin isolation level repeatable read"
                                                            : "begin isolation level read committed";
    self->local_only = false;
    //  A connection that died while nobody used it shows only now; nothing was done yet, so one more try.
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
    if (self->spoiled != TALLY_DB_DONE || broken(self)) {
        tally_db_outcome_t outcome = self->spoiled != TALLY_DB_DONE ? self->spoiled : TALLY_DB_RETRY;
        tally_db_rollback(self);
        return outcome;
    }
    tally_db_outcome_t outcome = command(self, "commit");
    self->in_transaction = false;
    if (outcome == TALLY_DB_DONE && strcmp(PQcmdStatus(self->result), "COMMIT") != 0) {
        remember_error(self, "25P02", "PostgreSQL rolled the transaction back");
        return TALLY_DB_RETRY;
    }
    //  Only a session that had waited idle for too long is known to have done nothing.
    if (outcome != TALLY_DB_DONE && broken(self) && strcmp(self->sqlstate, "25P03") != 0) {
        outcome = TALLY_DB_UNKNOWN;
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

//  ---- looking ------------------------------------------------------------------------------------------

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
