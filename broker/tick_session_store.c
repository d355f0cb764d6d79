// SPDX-License-Identifier: MIT
//  tick_session - see tick_session_store.h.

#include "broker/tick_session_store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/tick_statements.h"
#include "lib/alloc.h"
#include "lib/db_session.h"

static const char durable_sql[] =
    "select current_setting('fsync'), current_setting('full_page_writes')";

struct tally_tick_session {
    bool allow_unsafe;
    int64_t deadline_at_ms;
    tally_db_session_t *session;    // NULL once it is open
    PGconn *connection;             // from then on
    size_t sent, answered;          // of what sets it up
    char sqlstate[6];
    char *error;
};

static void
set_error(tally_tick_session_t *self, const char *sqlstate, const char *text)
{
    snprintf(self->sqlstate, sizeof self->sqlstate, "%s", sqlstate == NULL ? "" : sqlstate);
    free(self->error);
    self->error = tally_strdup(text);
    self->error[strcspn(self->error, "\n")] = '\0';
}

tally_tick_session_t *
tally_tick_session_start(const char *conninfo, const char *application, bool allow_unsafe,
                         int64_t now_ms)
{
    tally_tick_session_t *self = tally_alloc(sizeof *self);
    self->allow_unsafe = allow_unsafe;
    self->session = tally_db_session_start(conninfo, application, 0, now_ms);
    self->deadline_at_ms = tally_db_session_deadline_at_ms(self->session);
    self->error = tally_strdup("");
    return self;
}

void
tally_tick_session_destroy(tally_tick_session_t **self_p)
{
    tally_tick_session_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_db_session_destroy(&self->session);
    PQfinish(self->connection);
    free(self->error);
    free(self);
    *self_p = NULL;
}

//  A question, or a statement to prepare under its name.
static bool
send(tally_tick_session_t *self, const char *name, const char *sql)
{
    int sent = name == NULL ? PQsendQueryParams(self->connection, sql, 0, NULL, NULL, NULL, NULL, 0)
                            : PQsendPrepare(self->connection, name, sql, 0, NULL);
    self->sent++;
    return sent == 1;
}

static bool
send_each(tally_tick_session_t *self, const tally_statement_t *statements, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!send(self, statements[i].name, statements[i].sql)) {
            return false;
        }
    }
    return true;
}

//  In one pipeline; the answer to the first says whether the server is durable.
static bool
send_all(tally_tick_session_t *self)
{
    return PQsetnonblocking(self->connection, 1) == 0 && PQenterPipelineMode(self->connection) == 1
           && send(self, NULL, durable_sql) && send(self, NULL, tally_tick_session_sql)
           && send(self, "lock", tally_tick_guard_lock_sql)
           && send(self, "epoch", tally_tick_guard_epoch_sql)
           && send(self, "hold", tally_tick_hold_sql)
           && send_each(self, tally_tick_send_statements, tally_tick_send_statement_count)
           && send_each(self, tally_tick_lease_statements, tally_tick_lease_statement_count)
           && send_each(self, tally_tick_admin_statements, tally_tick_admin_statement_count)
           && PQpipelineSync(self->connection) == 1;
}

//  A server that loses what it confirmed when the power goes is refused.
static bool
is_durable(tally_tick_session_t *self, const PGresult *answer)
{
    bool durable = strcmp(PQgetvalue(answer, 0, 0), "on") == 0
                   && strcmp(PQgetvalue(answer, 0, 1), "on") == 0;
    if (!durable && !self->allow_unsafe) {
        set_error(
            self, "",
            "this server runs with fsync or full_page_writes off: a confirm would promise nothing");
        return false;
    }
    return true;
}

static tally_db_outcome_t
check(tally_tick_session_t *self, const PGresult *answer)
{
    ExecStatusType status = PQresultStatus(answer);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        set_error(self, PQresultErrorField(answer, PG_DIAG_SQLSTATE), PQresultErrorMessage(answer));
        return tally_db_classify(self->sqlstate);
    }
    bool good = self->answered++ > 0 || is_durable(self, answer);
    return good ? TALLY_DB_DONE : TALLY_DB_REJECT;
}

//  Takes what has arrived.  False: more is to come.
static bool
take_answers(tally_tick_session_t *self, tally_db_outcome_t *outcome)
{
    bool good = PQflush(self->connection) != -1;
    good = PQconsumeInput(self->connection) == 1 && good;
    while (good && PQisBusy(self->connection) == 0) {
        PGresult *answer = PQgetResult(self->connection);
        if (answer == NULL) {
            good = PQstatus(self->connection) == CONNECTION_OK;
            continue;    // the end of one statement's answers
        }
        bool last = PQresultStatus(answer) == PGRES_PIPELINE_SYNC;
        *outcome = last ? TALLY_DB_DONE : check(self, answer);
        PQclear(answer);
        if (last || *outcome != TALLY_DB_DONE) {
            assert(!last || self->answered == self->sent);
            return true;
        }
    }
    *outcome = TALLY_DB_RETRY;
    if (!good) {
        set_error(self, "", PQerrorMessage(self->connection));
    }
    return !good;
}

//  1: open, and what sets it up was sent; 0: not yet; -1: no.
static int
open_session(tally_tick_session_t *self, int64_t now_ms)
{
    int rc = tally_db_session_advance(self->session, now_ms);
    if (rc == -1) {
        set_error(self, "", tally_db_session_error(self->session));
    }
    if (rc == 1) {
        self->connection = tally_db_session_take(&self->session);
        if (!send_all(self)) {
            set_error(self, "", PQerrorMessage(self->connection));
            rc = -1;
        }
    }
    return rc;
}

bool
tally_tick_session_advance(tally_tick_session_t *self, int64_t now_ms, tally_db_outcome_t *outcome)
{
    *outcome = TALLY_DB_RETRY;
    int rc = self->session == NULL ? 1 : open_session(self, now_ms);
    if (rc == -1 || (rc == 1 && take_answers(self, outcome))) {
        return true;
    }
    if (now_ms >= self->deadline_at_ms) {
        set_error(self, "", "PostgreSQL did not answer in time");
        return true;
    }
    return false;
}

int
tally_tick_session_fd(const tally_tick_session_t *self)
{
    return self->session != NULL ? tally_db_session_fd(self->session) : PQsocket(self->connection);
}

bool
tally_tick_session_wants_write(const tally_tick_session_t *self)
{
    return self->session != NULL ? tally_db_session_wants_write(self->session)
                                 : PQflush(self->connection) == 1;
}

int64_t
tally_tick_session_deadline_at_ms(const tally_tick_session_t *self)
{
    return self->deadline_at_ms;
}

const char *
tally_tick_session_sqlstate(const tally_tick_session_t *self)
{
    return self->sqlstate;
}

const char *
tally_tick_session_error(const tally_tick_session_t *self)
{
    return self->error;
}

PGconn *
tally_tick_session_take(tally_tick_session_t **self_p)
{
    PGconn *connection = (*self_p)->connection;
    (*self_p)->connection = NULL;
    tally_tick_session_destroy(self_p);
    return connection;
}
