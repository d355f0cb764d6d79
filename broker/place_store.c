// SPDX-License-Identifier: MIT
//  place_store - see place_store.h.
//
//  No standby waits for the lock in PostgreSQL: a statement that waits holds a snapshot, and one that waits for weeks
//  would keep vacuum from all that died in them.  It looks, often.

#include "broker/place_store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/tick_lock.h"
#include "lib/alloc.h"
#include "lib/db_session.h"

//  The holders in pg_locks, whatever their mode; $1 is the lock's key.
#define HOLDERS                                                                                    \
    "pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1 "                   \
    "and l.classid::bigint << 32 | l.objid::bigint = $1 "                                          \
    "and l.database = (select d.oid from pg_database d where d.datname = current_database()) "     \
    "and l.pid <> pg_backend_pid()"

#define STANDBY_APPLICATION "tallyd-standby "

static tally_db_outcome_t
run_with_key(tally_db_t *db, const char *sql, tally_rows_t *rows)
{
    tally_params_t params = {0};
    tally_params_int8(&params, TALLY_PLACE_LOCK);
    tally_db_outcome_t outcome = tally_db_run(db, sql, &params, rows);
    tally_params_free(&params);
    //  Nothing here changes more than the session itself.
    return outcome == TALLY_DB_UNKNOWN ? TALLY_DB_RETRY : outcome;
}

tally_db_outcome_t
tally_place_store_seize(tally_db_t *db, bool *taken)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = run_with_key(db, "select pg_try_advisory_lock($1)", &rows);
    *taken = outcome == TALLY_DB_DONE && tally_rows_bool(&rows, 0, 0);
    return outcome;
}

//  Waits for the lock, as long as a session may take to end.
static tally_db_outcome_t
wait_for_place(tally_db_t *db)
{
    tally_db_outcome_t outcome = tally_db_begin(db, TALLY_DB_READ_COMMITTED);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_db_script(db, "set local lock_timeout = '1s'");
    }
    if (outcome == TALLY_DB_DONE) {
        outcome = run_with_key(db, "select pg_advisory_lock($1)", NULL);
    }
    if (outcome != TALLY_DB_DONE) {
        tally_db_rollback(db);
        return outcome;
    }
    return tally_db_commit(db);    // the lock is the session's: it stays
}

tally_db_outcome_t
tally_place_store_usurp(tally_db_t *db, uint64_t epoch, bool *taken, int *ended)
{
    static const char sql[] = "select pg_terminate_backend(h.pid) "
                              "from (select distinct l.pid from " HOLDERS ") h "
                              "where (select b.epoch from tally.broker b) = $2";
    tally_params_t params = {0};
    tally_params_int8(&params, TALLY_PLACE_LOCK);
    tally_params_int8(&params, (int64_t)epoch);
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_run(db, sql, &params, &rows);
    tally_params_free(&params);
    *taken = false;
    *ended = outcome == TALLY_DB_DONE ? rows.rows : 0;
    if (outcome == TALLY_DB_DONE && rows.rows > 0) {
        outcome = wait_for_place(db);
        *taken = outcome == TALLY_DB_DONE;
        if (outcome == TALLY_DB_RETRY && strcmp(tally_db_sqlstate(db), "55P03") == 0) {
            outcome = TALLY_DB_DONE;    // another standby was faster, or a session cannot end
        }
    }
    return outcome == TALLY_DB_UNKNOWN ? TALLY_DB_RETRY : outcome;
}

tally_db_outcome_t
tally_place_store_settle(tally_db_t *db)
{
    //  A session's own locks are no obstacle to it: at no time is the place free.
    tally_db_outcome_t outcome = run_with_key(db, "select pg_advisory_lock_shared($1)", NULL);
    if (outcome == TALLY_DB_DONE) {
        outcome = run_with_key(db, "select pg_advisory_unlock($1)", NULL);
    }
    return outcome;
}

tally_db_outcome_t
tally_place_store_hold(tally_db_t *db)
{
    //  Taken twice by the same session it is held as well as once.
    return run_with_key(db, "select pg_try_advisory_lock_shared($1)", NULL);
}

tally_db_outcome_t
tally_place_store_standbys(tally_db_t *db, tally_standby_fn *fn, void *context)
{
    static const char sql[] =
        "select substr(a.application_name, $1), "
        "(extract(epoch from clock_timestamp() - a.backend_start) * 1000)::bigint "
        "from pg_stat_activity a where a.datname = current_database() "
        "and a.application_name like '" STANDBY_APPLICATION "%' order by a.backend_start, a.pid";
    tally_params_t params = {0};
    tally_params_int4(&params, (int32_t)sizeof STANDBY_APPLICATION);    // with its NUL: behind it
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_run(db, sql, &params, &rows);
    tally_params_free(&params);
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        fn(context, tally_rows_bytes(&rows, i, 0), tally_rows_int8(&rows, i, 1));
    }
    return outcome;
}

//  ---- watching -------------------------------------------------------------------------------------------

struct tally_watch {
    char *conninfo;
    char *application;
    PGconn *connection;    // NULL: not connected
    bool asked;
    char *error;
};

//  What a broker says keeps its session's state_change moving.  A session for which PostgreSQL works is not silent,
//  however long that takes, unless PostgreSQL waits for it to read or to go on.  A state that we may not see, or
//  that is not recorded, is taken for work: then only a place that is free is taken over.
static const char look_sql[] =
    "select count(*), "
    "coalesce(bool_or(a.state is null or a.state = 'disabled' "
    "or (a.state = 'active' and a.wait_event_type is distinct from 'Client')), false), "
    "coalesce((extract(epoch from max(a.state_change)) * 1000000)::bigint, 0), "
    "(select b.epoch || ' ' || b.instance from tally.broker b) "
    "from (select distinct l.pid from " HOLDERS ") h "
    "left join lateral pg_stat_get_activity(h.pid) a on true";

tally_watch_t *
tally_watch_new(const char *conninfo, const char *instance)
{
    tally_watch_t *self = tally_alloc(sizeof *self);
    self->conninfo = tally_strdup(conninfo);
    self->application = tally_format(STANDBY_APPLICATION "%s", instance);
    self->error = tally_strdup("");
    return self;
}

void
tally_watch_destroy(tally_watch_t **self_p)
{
    tally_watch_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_watch_disconnect(self);
    free(self->conninfo);
    free(self->application);
    free(self->error);
    free(self);
    *self_p = NULL;
}

static void
set_error(tally_watch_t *self, const char *text)
{
    free(self->error);
    self->error = tally_strdup(text);
    self->error[strcspn(self->error, "\n")] = '\0';
}

tally_db_outcome_t
tally_watch_connect(tally_watch_t *self)
{
    assert(self->connection == NULL);
    char *error = NULL;
    self->connection = tally_db_session_open(self->conninfo, self->application, 0, &error);
    if (self->connection == NULL) {
        set_error(self, error);
        free(error);
        return TALLY_DB_RETRY;
    }
    PGresult *prepared = PQprepare(self->connection, "look", look_sql, 0, NULL);
    bool good = PQresultStatus(prepared) == PGRES_COMMAND_OK
                && PQsetnonblocking(self->connection, 1) == 0;
    PQclear(prepared);
    if (!good) {
        set_error(self, PQerrorMessage(self->connection));
        tally_watch_disconnect(self);
        return TALLY_DB_RETRY;
    }
    return TALLY_DB_DONE;
}

bool
tally_watch_connected(const tally_watch_t *self)
{
    return self->connection != NULL;
}

void
tally_watch_disconnect(tally_watch_t *self)
{
    PQfinish(self->connection);
    self->connection = NULL;
    self->asked = false;
}

int
tally_watch_fd(const tally_watch_t *self)
{
    return self->connection != NULL ? PQsocket(self->connection) : -1;
}

const char *
tally_watch_error(const tally_watch_t *self)
{
    return self->error;
}

void
tally_watch_ask(tally_watch_t *self)
{
    assert(self->connection != NULL && !self->asked);
    char key[24];
    snprintf(key, sizeof key, "%lld", TALLY_PLACE_LOCK);
    const char *values[] = {key};
    //  A failure means a dead connection: take() sees it.
    if (PQsendQueryPrepared(self->connection, "look", 1, values, NULL, NULL, 0) == 0
        || PQflush(self->connection) == -1) {
        set_error(self, PQerrorMessage(self->connection));
    }
    self->asked = true;
}

static void
read_place(const PGresult *answer, tally_place_t *place)
{
    *place = (tally_place_t){
        .holders = (int)strtol(PQgetvalue(answer, 0, 0), NULL, 10),
        .busy = PQgetvalue(answer, 0, 1)[0] == 't',
        .moved_us = strtoll(PQgetvalue(answer, 0, 2), NULL, 10),
    };
    char *rest;
    place->epoch = strtoull(PQgetvalue(answer, 0, 3), &rest, 10);
    snprintf(place->instance, sizeof place->instance, "%s", rest + (*rest == ' '));
}

int
tally_watch_take(tally_watch_t *self, tally_place_t *place)
{
    assert(self->asked);
    if (PQflush(self->connection) == -1 || PQconsumeInput(self->connection) == 0) {
        set_error(self, PQerrorMessage(self->connection));
        return -1;
    }
    bool got = false;
    while (PQisBusy(self->connection) == 0) {
        PGresult *answer = PQgetResult(self->connection);
        if (answer == NULL) {
            self->asked = false;
            return got ? 1 : -1;
        }
        got = PQresultStatus(answer) == PGRES_TUPLES_OK && PQntuples(answer) == 1;
        if (got) {
            read_place(answer, place);
        } else {
            set_error(self, PQresultErrorMessage(answer));
        }
        PQclear(answer);
    }
    return 0;
}
