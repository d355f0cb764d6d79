// SPDX-License-Identifier: MIT
//  tick_store - see tick_store.h.
//
//  A tick is one pipeline: the guard (lock, then epoch and the tick's own record), a statement for
//  each section of the plan, sync.  Nothing is waited for between them.  There is no BEGIN and no
//  COMMIT: what stands before a sync is one transaction that the sync commits, and each of both
//  would cost a small tick as much as a statement that writes.  A failed statement lets the server
//  skip the rest and roll all of it back at the sync.  What the commit itself has to say comes
//  before the answer to the sync: an error, a warning, or that the connection is lost.  After any
//  failure the connection is given up: a new one costs less than knowing what state the old one is
//  in.

#include "broker/tick_store.h"

#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/tick_lock.h"
#include "broker/tick_session_store.h"
#include "broker/tick_statements.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db_session.h"
#include "lib/failpoint.h"
#include "lib/log.h"
#include "lib/planted.h"

static const char application[] = "tallyd-tick";

struct tally_tick_store {
    char *conninfo;
    bool allow_unsafe;
    tally_tick_session_t *session;    // being made; NULL otherwise
    PGconn *connection;
    tally_statement_params_t params;
    bool busy;
    bool failed;        // a statement answered with an error; sqlstate and error say which
    bool committed;     // the sync was answered, and nothing spoke against it
    bool local_only;    // a warning said that the commit may not have reached the standby
    TALLY_ARRAY(const tally_statement_t *) sent;    // answers to come, in order; NULL: the guard's
    size_t answered, succeeded;                     // of those sent
    bool farewell;                   // PostgreSQL ended the session while it had nothing to do
    bool holds, hold_asked;          // the place
    size_t asides;                   // words between ticks whose sync is to come, before any tick's
    TALLY_ARRAY(PGresult *) kept;    // answers that `result` points into
    tally_tick_result_t result;
    char sqlstate[6];
    char *error;
};

static void
set_error(tally_tick_store_t *self, const char *sqlstate, const char *text)
{
    snprintf(self->sqlstate, sizeof self->sqlstate, "%s", sqlstate == NULL ? "" : sqlstate);
    free(self->error);
    self->error = tally_strdup(text);
    self->error[strcspn(self->error, "\n")] = '\0';
}

static void
clear_result(tally_tick_store_t *self)
{
    for (size_t i = 0; i < self->result.left.count; i++) {
        free((void *)(uintptr_t)self->result.left.items[i].messages);
    }
    self->result.deduped.count = 0;
    self->result.arrived.count = 0;
    self->result.settled.count = 0;
    self->result.ended_count = 0;
    self->result.left.count = 0;
    self->result.granted.count = 0;
    self->result.fetched_count = 0;
    self->result.queues.count = 0;
    self->result.retried.count = 0;
    self->result.dropped.count = 0;
    for (size_t i = 0; i < self->kept.count; i++) {
        PQclear(self->kept.items[i]);
    }
    self->kept.count = 0;
}

tally_tick_store_t *
tally_tick_store_new(const char *conninfo, bool allow_unsafe)
{
    tally_tick_store_t *self = tally_alloc(sizeof *self);
    self->conninfo = tally_strdup(conninfo);
    self->allow_unsafe = allow_unsafe;
    self->error = tally_strdup("");
    return self;
}

void
tally_tick_store_destroy(tally_tick_store_t **self_p)
{
    tally_tick_store_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_tick_store_disconnect(self);
    clear_result(self);
    free(self->result.deduped.items);
    free(self->result.arrived.items);
    free(self->result.settled.items);
    free(self->result.ended);
    free(self->result.left.items);
    free(self->result.granted.items);
    free(self->result.fetched);
    free(self->result.queues.items);
    free(self->result.retried.items);
    free(self->result.dropped.items);
    for (size_t i = 0; i < TALLY_STATEMENT_PARAMS_MAX; i++) {
        tally_pgarray_free(&self->params.values[i]);
    }
    free(self->sent.items);
    free(self->kept.items);
    free(self->conninfo);
    free(self->error);
    free(self);
    *self_p = NULL;
}

//  ---- connecting -----------------------------------------------------------------------------------------

static void
take_notice(void *context, const PGresult *notice)
{
    tally_tick_store_t *self = context;
    if (tally_db_session_notice(application, notice)) {
        self->local_only = true;
    }
    //  libpq treats a fatal error as a notice when no command waits for its answer.
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)) {
        self->farewell = true;
        set_error(self, PQresultErrorField(notice, PG_DIAG_SQLSTATE),
                  PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY));
    }
}

void
tally_tick_store_open(tally_tick_store_t *self, int64_t now_ms)
{
    assert(self->connection == NULL && self->session == NULL);
    self->session = tally_tick_session_start(self->conninfo, application, self->allow_unsafe,
                                             now_ms);
}

bool
tally_tick_store_opening(const tally_tick_store_t *self)
{
    return self->session != NULL;
}

bool
tally_tick_store_opened(tally_tick_store_t *self, int64_t now_ms, tally_db_outcome_t *outcome)
{
    assert(self->session != NULL);
    if (!tally_tick_session_advance(self->session, now_ms, outcome)) {
        return false;
    }
    if (*outcome == TALLY_DB_DONE) {
        self->connection = tally_tick_session_take(&self->session);
        PQsetNoticeReceiver(self->connection, take_notice, self);
    } else {
        set_error(self, tally_tick_session_sqlstate(self->session),
                  tally_tick_session_error(self->session));
        tally_tick_session_destroy(&self->session);
    }
    return true;
}

tally_db_outcome_t
tally_tick_store_connect(tally_tick_store_t *self)
{
    tally_db_outcome_t outcome;
    int64_t now_ms = tally_clock_now_ms();
    tally_tick_store_open(self, now_ms);
    int64_t until_ms = tally_tick_session_deadline_at_ms(self->session);
    while (!tally_tick_store_opened(self, now_ms, &outcome)) {
        short events = tally_tick_store_wants_write(self) ? POLLIN | POLLOUT : POLLIN;
        struct pollfd item = {.fd = tally_tick_store_fd(self), .events = events};
        int64_t left_ms = until_ms - now_ms;
        (void)poll(&item, 1, left_ms > 0 ? (int)left_ms : 0);    // interrupted: looked at again
        now_ms = tally_clock_now_ms();
    }
    return outcome;
}

bool
tally_tick_store_connected(const tally_tick_store_t *self)
{
    return self->connection != NULL;
}

void
tally_tick_store_disconnect(tally_tick_store_t *self)
{
    if (self->connection != NULL) {
        PQfinish(self->connection);
        self->connection = NULL;
    }
    tally_tick_session_destroy(&self->session);
    self->busy = false;
    self->asides = 0;
    self->holds = false;
    self->hold_asked = false;
    self->farewell = false;
}

int
tally_tick_store_fd(const tally_tick_store_t *self)
{
    if (self->session != NULL) {
        return tally_tick_session_fd(self->session);
    }
    return self->connection != NULL ? PQsocket(self->connection) : -1;
}

bool
tally_tick_store_wants_write(const tally_tick_store_t *self)
{
    if (self->session != NULL) {
        return tally_tick_session_wants_write(self->session);
    }
    return self->busy && PQflush(self->connection) == 1;
}

bool
tally_tick_store_busy(const tally_tick_store_t *self)
{
    return self->busy;
}

const char *
tally_tick_store_sqlstate(const tally_tick_store_t *self)
{
    return self->sqlstate;
}

const char *
tally_tick_store_error(const tally_tick_store_t *self)
{
    return self->error;
}

//  ---- sending --------------------------------------------------------------------------------------------

//  Queues one prepared statement.  A failure here means a dead connection: advance() will see it.
static void
send(tally_tick_store_t *self, const char *name, const tally_statement_t *statement)
{
    const char *values[TALLY_STATEMENT_PARAMS_MAX];
    int lengths[TALLY_STATEMENT_PARAMS_MAX];
    int formats[TALLY_STATEMENT_PARAMS_MAX];
    for (int i = 0; i < self->params.count; i++) {
        assert(self->params.values[i].size <= INT32_MAX);
        values[i] = (const char *)self->params.values[i].data;
        lengths[i] = (int)self->params.values[i].size;
        formats[i] = 1;
    }
    if (PQsendQueryPrepared(self->connection, name, self->params.count, values, lengths, formats, 1)
        == 0) {
        set_error(self, "", PQerrorMessage(self->connection));
    }
    *TALLY_PUSH(&self->sent) = statement;
    self->params.count = 0;
}

static void
send_sections(tally_tick_store_t *self, const tally_plan_t *plan,
              const tally_statement_t *statements, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!statements[i].wanted(plan)) {
            continue;
        }
        self->params.from = 0;
        do {
            statements[i].write(&self->params, plan);
            send(self, statements[i].name, &statements[i]);
        } while (self->params.from > 0);
    }
}

//  Ends an aside.  A failure means a dead connection: whoever reads next will see it.
static void
sync_aside(tally_tick_store_t *self)
{
    self->asides += PQpipelineSync(self->connection) == 1 ? 1 : 0;
}

static void
ask_to_hold(tally_tick_store_t *self)
{
    tally_pgarray_one_int8(&self->params.values[0], TALLY_PLACE_LOCK);
    self->params.count = 1;
    send(self, "hold", NULL);
    sync_aside(self);
    self->hold_asked = true;
}

void
tally_tick_store_beat(tally_tick_store_t *self)
{
    assert(self->connection != NULL && !self->busy);
    if (self->asides > 0) {
        return;
    }
    if (self->holds) {
        //  No statement, no transaction: the session's time stamp moves all the same.
        sync_aside(self);
    } else {
        ask_to_hold(self);    // somebody stood in the way
    }
}

void
tally_tick_store_hold(tally_tick_store_t *self)
{
    assert(self->connection != NULL && !self->busy);
    if (!self->hold_asked) {
        ask_to_hold(self);
    }
}

//  With what was queued on its way; an error loses the connection.
#define fail_at(self, point)                                                                       \
    TALLY_FAILPOINT_WITH(point, PQflush((self)->connection),                                       \
                         tally_failpoint_hang_up(PQsocket((self)->connection)))

void
tally_tick_store_start(tally_tick_store_t *self, uint64_t epoch, const tally_plan_t *plan)
{
    assert(self->connection != NULL && !self->busy);
    clear_result(self);
    self->busy = true;
    self->failed = false;
    self->committed = false;
    self->local_only = false;
    self->sqlstate[0] = '\0';
    self->error[0] = '\0';
    self->sent.count = 0;
    self->answered = 0;
    self->succeeded = 0;
    self->params.count = 0;

    tally_pgarray_one_int8(&self->params.values[0], TALLY_TICK_LOCK);
    self->params.count = 1;
    send(self, "lock", NULL);
    tally_pgarray_one_int8(&self->params.values[0], (int64_t)epoch);
    tally_pgarray_one_int8(&self->params.values[1], (int64_t)plan->number);
    self->params.count = 2;
    send(self, "epoch", NULL);
    fail_at(self, TICK_BEGUN);
    send_sections(self, plan, tally_tick_send_statements, tally_tick_send_statement_count);
    fail_at(self, TICK_SENDS);
    send_sections(self, plan, tally_tick_lease_statements, tally_tick_lease_statement_count);
    send_sections(self, plan, tally_tick_admin_statements, tally_tick_admin_statement_count);
    fail_at(self, TICK_LEASES);
    if (PQpipelineSync(self->connection) == 0) {
        set_error(self, "", PQerrorMessage(self->connection));
    }
    fail_at(self, TICK_SENT);
}

//  ---- answers --------------------------------------------------------------------------------------------

static void
take_error(tally_tick_store_t *self, const PGresult *answer)
{
    const char *sqlstate = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    bool at_commit = self->answered == self->sent.count;
    //  Without a code it is libpq that speaks: the connection is lost.  At the commit even the server's word does not
    //  say that it did not happen (a cancelled wait for a standby, a shutdown).  Both are left unknown.
    self->failed = self->failed || (sqlstate != NULL && !at_commit);
    if (self->sqlstate[0] == '\0') {
        //  No input's fault: the next connection has statements that fit.
        const char *stale = tally_db_session_stale(answer) ? "26000" : sqlstate;
        set_error(self, stale, PQresultErrorMessage(answer));
    }
}

static void
take_answer(tally_tick_store_t *self, PGresult *answer)
{
    const tally_statement_t *statement = self->answered < self->sent.count
                                             ? self->sent.items[self->answered]
                                             : NULL;
    switch (PQresultStatus(answer)) {
    case PGRES_TUPLES_OK:
        self->succeeded++;
        if (statement != NULL && statement->read != NULL) {
            statement->read(&self->result, answer);
            *TALLY_PUSH(&self->kept) = answer;
            return;
        }
        break;
    case PGRES_COMMAND_OK:
        self->succeeded++;
        break;
    case PGRES_PIPELINE_ABORTED:
        break;
    default:
        take_error(self, answer);
        break;
    }
    PQclear(answer);
}

//  The server answers the sync when its transaction has ended, whichever way.  It was committed when each statement
//  succeeded, the commit had nothing to say against it, and no transaction is open that others could have begun.
static void
take_sync(tally_tick_store_t *self)
{
    self->committed = self->succeeded == self->sent.count && self->sqlstate[0] == '\0'
                      && self->error[0] == '\0'
                      && PQtransactionStatus(self->connection) == PQTRANS_IDLE;
}

static tally_db_outcome_t
conclude(tally_tick_store_t *self, bool lost)
{
    if (self->committed && !self->local_only) {
        self->busy = false;
        if (lost) {
            tally_tick_store_disconnect(self);
        }
        return TALLY_DB_DONE;
    }
    if (lost && !self->failed && TALLY_PLANTED(SILENCE_IS_DONE)) {
        tally_tick_store_disconnect(self);
        return TALLY_DB_DONE;
    }
    tally_db_outcome_t outcome = TALLY_PLANTED(SILENCE_IS_UNDONE) ? TALLY_DB_RETRY
                                                                  : TALLY_DB_UNKNOWN;
    if (self->failed && !self->local_only) {
        outcome = tally_db_classify(self->sqlstate);
    }
    if (self->error[0] == '\0') {
        set_error(self, "", lost ? "the connection was lost" : "the sync did not commit");
    }
    tally_tick_store_disconnect(self);
    return outcome;
}

//  Passes over what has arrived of the asides.  1: that was all, 0: more is to come, -1: the connection is lost.
static int
pass_asides(tally_tick_store_t *self)
{
    while (self->asides > 0 && PQisBusy(self->connection) == 0) {
        PGresult *answer = PQgetResult(self->connection);
        ExecStatusType status = PQresultStatus(answer);
        if (status == PGRES_TUPLES_OK) {
            self->holds = PQgetvalue(answer, 0, 0)[0] != 0;    // only hold() asks something
        }
        self->asides -= status == PGRES_PIPELINE_SYNC ? 1 : 0;
        PQclear(answer);
        if (PQstatus(self->connection) == CONNECTION_BAD) {
            return -1;
        }
    }
    return self->asides == 0 ? 1 : 0;
}

//  Takes what has arrived.  1: the sync is there, 0: more is to come, -1: the connection is lost.
static int
take_answers(tally_tick_store_t *self)
{
    int rc = pass_asides(self);
    if (rc != 1) {
        return rc;
    }
    while (PQisBusy(self->connection) == 0) {
        PGresult *answer = PQgetResult(self->connection);
        if (answer == NULL) {
            if (PQstatus(self->connection) == CONNECTION_BAD) {
                return -1;
            }
            if (self->answered++ >= self->sent.count) {
                return -1;    // more ends than statements: the commit's error, or libpq gave up
            }
            continue;
        }
        if (PQresultStatus(answer) == PGRES_PIPELINE_SYNC) {
            take_sync(self);
            PQclear(answer);
            return 1;
        }
        take_answer(self, answer);
        if (PQstatus(self->connection) == CONNECTION_BAD) {
            return -1;
        }
    }
    return 0;
}

bool
tally_tick_store_rest(tally_tick_store_t *self)
{
    assert(self->connection != NULL && !self->busy);
    bool good = PQconsumeInput(self->connection) == 1 && pass_asides(self) != -1;
    if (good && self->asides == 0) {
        (void)PQisBusy(self->connection);    // reads a farewell, see take_notice
    }
    if (good && !self->farewell && PQstatus(self->connection) == CONNECTION_OK) {
        return true;
    }
    if (!self->farewell) {
        set_error(self, "", PQerrorMessage(self->connection));
    }
    tally_tick_store_disconnect(self);
    return false;
}

bool
tally_tick_store_advance(tally_tick_store_t *self, tally_db_outcome_t *outcome,
                         const tally_tick_result_t **result)
{
    assert(self->busy);
    bool good = PQflush(self->connection) != -1;
    good = PQconsumeInput(self->connection) == 1 && good;
    int rc = take_answers(self);    // also what arrived before the connection was lost
    if (rc == 0 && good) {
        return false;
    }
    *outcome = conclude(self, rc != 1);
    *result = &self->result;
    return true;
}

void
tally_tick_store_give_up(tally_tick_store_t *self)
{
    assert(self->busy);
    set_error(self, "", "PostgreSQL did not answer in time");
    tally_tick_store_disconnect(self);
}
