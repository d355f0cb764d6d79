// SPDX-License-Identifier: MIT
//  db_session - connecting in bounded time, the session's settings, classes of errors.

#include "lib/db_session.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"

#define CONNECT_MS_MAX 5000

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

static void
log_notice(void *context, const PGresult *notice)
{
    tally_db_session_notice(context, notice);
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

//  The answer to a query that was sent, within the time for connecting; else NULL.
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

//  Makes the session's settings and checks the one that everything depends on.  NULL, or what
//  went wrong.
static char *
set_up(PGconn *handle, int idle_limit_ms, int64_t deadline_at_ms)
{
    char limit[16];
    snprintf(limit, sizeof limit, "%d", idle_limit_ms);
    const char *values[] = {limit};
    if (!PQsendQueryParams(handle, session_sql, 1, NULL, values, NULL, NULL, 0)) {
        return tally_strdup(PQerrorMessage(handle));
    }
    PGresult *result = receive_in_time(handle, deadline_at_ms);
    if (result == NULL) {
        return tally_strdup("PostgreSQL did not answer in time");
    }
    char *error = NULL;
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        error = tally_strdup(PQresultErrorMessage(result));
    } else if (strcmp(PQgetvalue(result, 0, 3), "on") != 0
               && strcmp(PQgetvalue(result, 0, 3), "remote_apply") != 0) {
        error = tally_strdup("synchronous_commit cannot be set to on");
    }
    PQclear(result);
    return error;
}

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
    return handle;
}

PGconn *
tally_db_session_open(const char *conninfo, const char *application, int idle_limit_ms,
                      char **error)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + CONNECT_MS_MAX;
    PGconn *handle = start_connecting(conninfo, application);
    PQsetNoticeReceiver(handle, log_notice, (void *)(uintptr_t)application);
    if (finish_connecting(handle, deadline_at_ms)) {
        *error = set_up(handle, idle_limit_ms, deadline_at_ms);
    } else {
        bool late = PQstatus(handle) != CONNECTION_BAD;
        *error = tally_strdup(late ? "no connection in time" : PQerrorMessage(handle));
    }
    if (*error != NULL) {
        (*error)[strcspn(*error, "\n")] = '\0';    // libpq's own are several lines long
        PQfinish(handle);
        return NULL;
    }
    return handle;
}
