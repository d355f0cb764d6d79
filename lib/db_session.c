// SPDX-License-Identifier: MIT
//  db_session - connecting in bounded time, the session's settings, classes of errors.

#include "lib/db_session.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"

struct tally_db_session {
    PGconn *handle;
    int idle_limit_ms;
    int64_t deadline_at_ms;
    PostgresPollingStatusType wants;
    bool is_connected;    // the session's settings are asked for
    bool is_set_up;       // and as they must be
    char *error;          // NULL while there is none
};

//  States that a later try may find changed although their class says otherwise: the fault is the
//  installation's (rights, migrations), and must not bury messages.
static const char *const passing_states[] = {
    "25006", "25P02", "25P03", "26000", "42501", "42703", "42883", "42P01", "55006", "55P03",
};

//  Connection, authorisation, catalog and schema names, rollback, resources, operator, system,
//  internal.
static const char *const passing_classes[] = {
    "08", "28", "3D", "3F", "40", "53", "57", "58", "F0", "XX",
};

tally_db_outcome_t
tally_db_classify(const char *sqlstate)
{
    if (sqlstate == NULL || sqlstate[0] == '\0') {
        return TALLY_DB_RETRY;    // libpq itself said so: nothing came from the server
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

bool
tally_db_session_notice(const char *application, const PGresult *notice)
{
    const char *function = PQresultErrorField(notice, PG_DIAG_SOURCE_FUNCTION);
    const char *detail = PQresultErrorField(notice, PG_DIAG_MESSAGE_DETAIL);
    const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    tally_log_warn("PostgreSQL warned %s: %s", application, text == NULL ? "" : text);
    //  The function's name is never translated, the text may be.
    return (function != NULL && strcmp(function, "SyncRepWaitForLSN") == 0)
           || (detail != NULL && strstr(detail, "not have been replicated") != NULL);
}

bool
tally_db_session_stale(const PGresult *result)
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

static void
log_notice(void *context, const PGresult *notice)
{
    tally_db_session_notice(context, notice);
}

//  lc_messages needs a right that workers may lack; nothing here depends on it, logs just read
//  better. remote_apply is kept because it promises more than on.
static const char *const session_sql =
    "select set_config('client_min_messages', 'warning', false),"
    " case when $1::integer > 0"
    "  then set_config('idle_in_transaction_session_timeout', $1::integer::text, false) end,"
    " case when has_parameter_privilege('lc_messages', 'set')"
    "  then set_config('lc_messages', 'C', false) end,"
    " set_config('synchronous_commit', case current_setting('synchronous_commit')"
    "  when 'remote_apply' then 'remote_apply' else 'on' end, false)";

//  What the caller's conninfo says wins over what stands before it here.
static PGconn *
start_connecting(const char *conninfo, const char *application)
{
    const char *const names[] = {
        "keepalives",       "keepalives_idle",  "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "dbname",
        "application_name", "client_encoding",  NULL,
    };
    const char *const values[] = {
        "1", "5", "2", "3", "10000", conninfo, application, "UTF8", NULL,
    };
    PGconn *handle = PQconnectStartParams(names, values, 1);
    if (handle == NULL) {
        abort();    // libpq's way to say that there is no memory
    }
    //  Details quote rows, and errors are logged.
    PQsetErrorVerbosity(handle, PQERRORS_TERSE);
    return handle;
}

tally_db_session_t *
tally_db_session_start(const char *conninfo, const char *application, int idle_limit_ms,
                       int64_t now_ms)
{
    tally_db_session_t *self = tally_alloc(sizeof *self);
    self->idle_limit_ms = idle_limit_ms;
    self->deadline_at_ms = now_ms + TALLY_DB_CONNECT_MS;
    self->handle = start_connecting(conninfo, application);
    self->wants = PGRES_POLLING_WRITING;
    PQsetNoticeReceiver(self->handle, log_notice, (void *)(uintptr_t)application);
    return self;
}

void
tally_db_session_destroy(tally_db_session_t **self_p)
{
    tally_db_session_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    PQfinish(self->handle);
    free(self->error);
    free(self);
    *self_p = NULL;
}

static int
fail(tally_db_session_t *self, const char *why)
{
    free(self->error);
    self->error = tally_strdup(why);
    self->error[strcspn(self->error, "\n")] = '\0';    // libpq's own are several lines long
    return -1;
}

//  Asks for the session's settings once the connection is there.
static int
begin_settings(tally_db_session_t *self)
{
    char limit[16];
    snprintf(limit, sizeof limit, "%d", self->idle_limit_ms);
    const char *values[] = {limit};
    if (!PQsendQueryParams(self->handle, session_sql, 1, NULL, values, NULL, NULL, 0)) {
        return fail(self, PQerrorMessage(self->handle));
    }
    self->is_connected = true;
    self->wants = PGRES_POLLING_READING;
    return 0;
}

//  PQconnectPoll takes a socket that is not ready for one that is, so it is looked at first.
static int
go_on_connecting(tally_db_session_t *self)
{
    while (PQstatus(self->handle) != CONNECTION_BAD) {
        short events = self->wants == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        struct pollfd item = {.fd = PQsocket(self->handle), .events = events};
        if (poll(&item, 1, 0) <= 0) {
            return 0;
        }
        self->wants = PQconnectPoll(self->handle);
        if (self->wants == PGRES_POLLING_OK) {
            return begin_settings(self);
        }
        if (self->wants == PGRES_POLLING_FAILED) {
            break;
        }
    }
    return fail(self, PQerrorMessage(self->handle));
}

//  Looks at the one setting that everything depends on.
static int
check_settings(tally_db_session_t *self, const PGresult *result)
{
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        return fail(self, PQresultErrorMessage(result));
    }
    const char *commit = PQgetvalue(result, 0, 3);
    if (strcmp(commit, "on") != 0 && strcmp(commit, "remote_apply") != 0) {
        return fail(self, "synchronous_commit cannot be set to on");
    }
    self->is_set_up = true;
    return 0;
}

static int
take_settings(tally_db_session_t *self)
{
    if (PQflush(self->handle) == -1 || PQconsumeInput(self->handle) == 0) {
        return fail(self, PQerrorMessage(self->handle));
    }
    while (!PQisBusy(self->handle)) {
        PGresult *result = PQgetResult(self->handle);
        if (result == NULL) {
            return self->is_set_up ? 1 : fail(self, "PostgreSQL gave no answer");
        }
        int rc = check_settings(self, result);
        PQclear(result);
        if (rc == -1) {
            return -1;
        }
    }
    return 0;
}

int
tally_db_session_advance(tally_db_session_t *self, int64_t now_ms)
{
    int rc = self->is_connected ? 0 : go_on_connecting(self);
    if (rc == 0 && self->is_connected) {
        rc = take_settings(self);
    }
    //  libpq's connect_timeout does not apply to PQconnectPoll, hence the deadline of our own.
    if (rc == 0 && now_ms >= self->deadline_at_ms) {
        rc = fail(self, self->is_connected ? "PostgreSQL did not answer in time"
                                           : "no connection in time");
    }
    return rc;
}

int
tally_db_session_fd(const tally_db_session_t *self)
{
    return PQsocket(self->handle);
}

bool
tally_db_session_wants_write(const tally_db_session_t *self)
{
    return self->wants == PGRES_POLLING_WRITING;
}

int64_t
tally_db_session_deadline_at_ms(const tally_db_session_t *self)
{
    return self->deadline_at_ms;
}

const char *
tally_db_session_error(const tally_db_session_t *self)
{
    return self->error == NULL ? "" : self->error;
}

PGconn *
tally_db_session_take(tally_db_session_t **self_p)
{
    PGconn *handle = (*self_p)->handle;
    (*self_p)->handle = NULL;
    tally_db_session_destroy(self_p);
    return handle;
}

static void
wait_for(const tally_db_session_t *self, int64_t now_ms)
{
    short events = tally_db_session_wants_write(self) ? POLLOUT : POLLIN;
    struct pollfd item = {.fd = tally_db_session_fd(self), .events = events};
    int64_t left_ms = self->deadline_at_ms - now_ms;
    (void)poll(&item, 1, left_ms > 0 ? (int)left_ms : 0);    // interrupted: looked at again
}

PGconn *
tally_db_session_open(const char *conninfo, const char *application, int idle_limit_ms,
                      char **error)
{
    int64_t now_ms = tally_clock_now_ms();
    tally_db_session_t *self = tally_db_session_start(conninfo, application, idle_limit_ms, now_ms);
    int rc = tally_db_session_advance(self, now_ms);
    while (rc == 0) {
        wait_for(self, now_ms);
        now_ms = tally_clock_now_ms();
        rc = tally_db_session_advance(self, now_ms);
    }
    PGconn *handle = NULL;
    if (rc == 1) {
        handle = tally_db_session_take(&self);
        *error = NULL;
    } else {
        *error = tally_strdup(tally_db_session_error(self));
    }
    tally_db_session_destroy(&self);
    return handle;
}
