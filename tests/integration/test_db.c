// SPDX-License-Identifier: MIT
//  The blocking connection against a real PostgreSQL: values, statements, transactions and, above
//  all, that each way to fail is told by its own outcome.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"
#include "lib/log.h"
#include "tests/integration/pg.h"

struct fixture {
    tally_db_t *db;
    tally_db_t *other;    // a second session
    tally_params_t params;
    int listener;    // of a server that never answers
    char *dir;
};

static void
must(tally_db_outcome_t outcome)
{
    assert_int_equal(outcome, TALLY_DB_DONE);
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *conninfo = tally_pg_fresh(tally_pg_shared());
    f->listener = -1;
    f->db = tally_db_new(conninfo, "test-db");
    f->other = tally_db_new(conninfo, "test-other");
    *state = f;
    return tally_db_script(f->other, "create table pair (id int primary key, value text);"
                                     "insert into pair values (1, 'one')")
                   == TALLY_DB_DONE
               ? 0
               : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_params_free(&f->params);
    tally_db_destroy(&f->db);
    tally_db_destroy(&f->other);
    if (f->listener >= 0) {
        close(f->listener);
        char *path = tally_format("%s/.s.PGSQL.5432", f->dir);
        unlink(path);
        rmdir(f->dir);
        free(path);
    }
    free(f->dir);
    free(f);
    return 0;
}

//  One number out of the second session.
static int64_t
look(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    must(tally_db_run(f->other, sql, NULL, &rows));
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

static void
wait_until(struct fixture *f, const char *sql)
{
    int64_t give_up_at_ms = tally_clock_now_ms() + 5000;
    while (look(f, sql) == 0) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        poll(NULL, 0, 5);
    }
}

static void
assert_bytes(tally_bytes_t bytes, const char *text)
{
    assert_non_null(bytes.data);
    assert_int_equal(bytes.size, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.size);
}

//  ---- values ------------------------------------------------------------------------------------

static void
values_come_back_as_they_went(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    tally_params_int4(&f->params, INT32_MIN);
    tally_params_int8(&f->params, INT64_MAX);
    tally_params_bool(&f->params, true);
    tally_params_text(&f->params, tally_bytes_of("h\xc3\xa4ngt's"));
    tally_params_bytea(&f->params, (tally_bytes_t){"\0\xff\\x", 4});
    tally_params_bytea(&f->params, (tally_bytes_t){NULL, 0});
    tally_params_null(&f->params, 25);
    must(tally_db_run(f->db, "select $1, $2, $3, $4, $5, $6, $7, 0.5::float8, -3::int2, false",
                      &f->params, &rows));
    assert_int_equal(rows.rows, 1);
    assert_int_equal(tally_rows_int8(&rows, 0, 0), INT32_MIN);
    assert_int_equal(tally_rows_int8(&rows, 0, 1), INT64_MAX);
    assert_true(tally_rows_bool(&rows, 0, 2));
    assert_bytes(tally_rows_bytes(&rows, 0, 3), "h\xc3\xa4ngt's");
    assert_int_equal(tally_rows_bytes(&rows, 0, 4).size, 4);
    assert_memory_equal(tally_rows_bytes(&rows, 0, 4).data, "\0\xff\\x", 4);
    assert_false(tally_rows_null(&rows, 0, 5));
    assert_int_equal(tally_rows_bytes(&rows, 0, 5).size, 0);
    assert_true(tally_rows_null(&rows, 0, 6));
    assert_null(tally_rows_bytes(&rows, 0, 6).data);
    assert_true(tally_rows_float8(&rows, 0, 7) == 0.5);
    assert_int_equal(tally_rows_int8(&rows, 0, 8), -3);
    assert_false(tally_rows_bool(&rows, 0, 9));
}

static void
arrays_keep_order_nulls_and_emptiness(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    const int32_t small[] = {3, -1};
    const int64_t large[] = {INT64_MIN, 0, 7};
    const tally_bytes_t texts[] = {tally_bytes_of("a,b"), {NULL, 0}, tally_bytes_of("")};
    const tally_bytes_t runs[] = {{"\0", 1}, {NULL, 0}};
    tally_params_int4s(&f->params, small, 2);
    tally_params_int8s(&f->params, large, 3);
    tally_params_texts(&f->params, texts, 3);
    tally_params_byteas(&f->params, runs, 2);
    tally_params_int8s(&f->params, NULL, 0);
    tally_params_byteas(&f->params, NULL, 0);
    must(tally_db_run(f->db,
                      "select $1 = '{3,-1}', $2 = '{-9223372036854775808,0,7}', $3[1] = 'a,b',"
                      " $3[2] is null, $3[3] = '', $4[1] = '\\x00', $4[2] is null,"
                      " cardinality($4) = 2, cardinality($5) = 0, cardinality($6) = 0",
                      &f->params, &rows));
    for (int column = 0; column < 10; column++) {
        assert_true(tally_rows_bool(&rows, 0, column));
    }
}

static void
text_that_is_not_utf8_is_rejected_and_the_connection_goes_on(void **state)
{
    struct fixture *f = *state;
    tally_params_text(&f->params, tally_bytes_of("\xff\xfe"));
    assert_int_equal(tally_db_run(f->db, "select $1", &f->params, NULL), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->db), "22021");
    assert_true(tally_db_connected(f->db));
    must(tally_db_run(f->db, "select 1", NULL, NULL));
    assert_string_equal(tally_db_sqlstate(f->db), "");
}

//  ---- sessions ----------------------------------------------------------------------------------

static void
session_promises_durable_commits_whatever_the_server_is_set_to(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    char *weak = tally_format("%s options='-c synchronous_commit=off'",
                              tally_pg_conninfo(tally_pg_shared()));
    tally_db_destroy(&f->db);
    f->db = tally_db_new(weak, "test-weak");
    free(weak);
    tally_db_set_idle_limit_ms(f->db, 1234);
    must(tally_db_run(f->db,
                      "select current_setting('synchronous_commit'),"
                      " current_setting('application_name'), current_setting('lc_messages'),"
                      " current_setting('client_min_messages'), current_setting('client_encoding'),"
                      " current_setting('idle_in_transaction_session_timeout')",
                      NULL, &rows));
    assert_bytes(tally_rows_bytes(&rows, 0, 0), "on");
    assert_bytes(tally_rows_bytes(&rows, 0, 1), "test-weak");
    assert_bytes(tally_rows_bytes(&rows, 0, 2), "C");
    assert_bytes(tally_rows_bytes(&rows, 0, 3), "warning");
    assert_bytes(tally_rows_bytes(&rows, 0, 4), "UTF8");
    assert_bytes(tally_rows_bytes(&rows, 0, 5), "1234ms");
}

static void
session_of_a_role_without_rights_still_connects(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(f->other, "drop role if exists plain; create role plain login"));
    char *conninfo = tally_format("%s user=plain", tally_pg_conninfo(tally_pg_shared()));
    tally_db_destroy(&f->db);
    f->db = tally_db_new(conninfo, "test-plain");
    free(conninfo);
    must(tally_db_connect(f->db));
    assert_int_equal(tally_db_run(f->db, "select * from tally.queue", NULL, NULL), TALLY_DB_RETRY);
    assert_string_equal(tally_db_sqlstate(f->db), "42501");
    tally_db_destroy(&f->db);
    must(tally_db_script(f->other, "drop role plain"));
}

static void
server_that_is_not_there_means_retry(void **state)
{
    struct fixture *f = *state;
    tally_db_destroy(&f->db);
    f->db = tally_db_new("host=/nonexistent dbname=x", "test");
    assert_int_equal(tally_db_connect(f->db), TALLY_DB_RETRY);
    assert_false(tally_db_connected(f->db));
    assert_true(strlen(tally_db_error(f->db)) > 0);
    assert_int_equal(tally_db_run(f->db, "select 1", NULL, NULL), TALLY_DB_RETRY);
    assert_int_equal(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED), TALLY_DB_RETRY);
}

static void
server_that_never_answers_is_given_up_after_five_seconds(void **state)
{
    struct fixture *f = *state;
    char *where = tally_strdup("/tmp/tally-mute-XXXXXX");
    assert_non_null(mkdtemp(where));
    f->dir = where;
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", where);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(f->listener, 5), 0);

    char *conninfo = tally_format("host=%s dbname=x", where);
    tally_db_destroy(&f->db);
    f->db = tally_db_new(conninfo, "test");
    free(conninfo);
    int64_t began_ms = tally_clock_now_ms();
    assert_int_equal(tally_db_connect(f->db), TALLY_DB_RETRY);
    int64_t took_ms = tally_clock_now_ms() - began_ms;
    assert_in_range(took_ms, 4900, 7000);
}

//  ---- statements --------------------------------------------------------------------------------

static const char *const wide_sql = "select * from pair";

static void
statement_is_prepared_again_when_its_result_changed(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    must(tally_db_run(f->db, wide_sql, NULL, &rows));
    assert_int_equal(PQnfields(rows.result), 2);
    must(tally_db_script(f->other, "alter table pair add column more int"));
    must(tally_db_run(f->db, wide_sql, NULL, &rows));
    assert_int_equal(PQnfields(rows.result), 3);

    must(tally_db_script(f->other, "alter table pair add column still_more int"));
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    assert_int_equal(tally_db_run(f->db, wide_sql, NULL, &rows), TALLY_DB_RETRY);
    assert_null(rows.result);
    tally_db_rollback(f->db);
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, wide_sql, NULL, &rows));
    assert_int_equal(PQnfields(rows.result), 4);
    must(tally_db_commit(f->db));
}

static void
statement_that_the_server_forgot_is_prepared_again(void **state)
{
    struct fixture *f = *state;
    must(tally_db_run(f->db, wide_sql, NULL, NULL));
    must(tally_db_script(f->db, "deallocate all"));
    must(tally_db_run(f->db, wide_sql, NULL, NULL));

    must(tally_db_script(f->db, "deallocate all"));
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    assert_int_equal(tally_db_run(f->db, wide_sql, NULL, NULL), TALLY_DB_RETRY);
    assert_string_equal(tally_db_sqlstate(f->db), "26000");
    tally_db_rollback(f->db);
    must(tally_db_run(f->db, wide_sql, NULL, NULL));
}

static void
statements_survive_a_restart_of_the_server(void **state)
{
    struct fixture *f = *state;
    must(tally_db_run(f->db, wide_sql, NULL, NULL));
    tally_pg_stop(tally_pg_shared());
    tally_pg_start(tally_pg_shared());
    must(tally_db_run(f->db, wide_sql, NULL, NULL));
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    tally_pg_stop(tally_pg_shared());
    tally_pg_start(tally_pg_shared());
    assert_int_equal(tally_db_run(f->db, wide_sql, NULL, NULL), TALLY_DB_RETRY);
    //  Until the caller rolls back nothing runs, above all not on a new connection.
    assert_int_equal(tally_db_run(f->db, wide_sql, NULL, NULL), TALLY_DB_RETRY);
    tally_db_rollback(f->db);
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, wide_sql, NULL, NULL));
    must(tally_db_commit(f->db));
}

static void
script_is_all_or_nothing(void **state)
{
    struct fixture *f = *state;
    const char *sql = "insert into pair values (2); insert into pair values (2)";
    assert_int_equal(tally_db_script(f->db, sql), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->db), "23505");
    assert_int_equal(look(f, "select count(*) from pair where id = 2"), 0);
}

//  ---- transactions ------------------------------------------------------------------------------

static const char *const insert_sql = "insert into pair values (2, 'two')";
static const char *const count_sql = "select count(*) from pair where id = 2";

static void
commit_makes_writes_visible_and_rollback_does_not(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, insert_sql, NULL, NULL));
    tally_db_rollback(f->db);
    assert_int_equal(look(f, count_sql), 0);
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, insert_sql, NULL, NULL));
    assert_int_equal(look(f, count_sql), 0);
    must(tally_db_commit(f->db));
    assert_int_equal(look(f, count_sql), 1);
}

static void
commit_after_a_failure_repeats_the_failure_and_writes_nothing(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, insert_sql, NULL, NULL));
    assert_int_equal(tally_db_run(f->db, "select 1 / 0", NULL, NULL), TALLY_DB_REJECT);
    assert_int_equal(tally_db_run(f->db, "select 1", NULL, NULL), TALLY_DB_REJECT);
    assert_int_equal(tally_db_commit(f->db), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->db), "22012");
    assert_int_equal(look(f, count_sql), 0);
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_commit(f->db));
}

static void
commit_answered_with_rollback_is_not_done(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, insert_sql, NULL, NULL));
    //  A failure that went by the raw connection, so that only the tag of COMMIT can tell.
    PQclear(PQexec(tally_db_handle(f->db), "select 1 / 0"));
    assert_int_equal(tally_db_commit(f->db), TALLY_DB_RETRY);
    assert_int_equal(look(f, count_sql), 0);
}

static void
constraint_checked_at_commit_is_a_reject(void **state)
{
    struct fixture *f = *state;
    must(tally_db_script(f->other,
                         "create table child (parent int references pair initially deferred)"));
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, "insert into child values (99)", NULL, NULL));
    assert_int_equal(tally_db_commit(f->db), TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->db), "23503");
    assert_true(tally_db_connected(f->db));
}

static void
snapshots_that_cross_mean_retry(void **state)
{
    struct fixture *f = *state;
    must(tally_db_begin(f->db, TALLY_DB_REPEATABLE_READ));
    must(tally_db_run(f->db, "select * from pair where id = 1", NULL, NULL));
    must(tally_db_script(f->other, "update pair set value = 'other' where id = 1"));
    assert_int_equal(tally_db_run(f->db, "update pair set value = 'mine' where id = 1", NULL, NULL),
                     TALLY_DB_RETRY);
    assert_string_equal(tally_db_sqlstate(f->db), "40001");
    tally_db_rollback(f->db);
    assert_string_equal(tally_db_sqlstate(f->db), "40001");    // still readable
}

static void
session_ended_while_idle_in_its_transaction_is_known_not_done(void **state)
{
    struct fixture *f = *state;
    tally_db_set_idle_limit_ms(f->db, 50);
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, insert_sql, NULL, NULL));
    wait_until(f, "select (count(*) = 0)::int from pg_stat_activity"
                  " where application_name = 'test-db'");
    assert_int_equal(tally_db_commit(f->db), TALLY_DB_RETRY);
    assert_false(tally_db_connected(f->db));
    assert_int_equal(look(f, count_sql), 0);
}

//  ---- commits whose fate is unknown -------------------------------------------------------------

//  Waits until the session `test-db` waits for a standby that never comes, then does `sql` to it.
static void *
disturb_the_wait(void *context)
{
    const char *sql = context;
    int64_t give_up_at_ms = tally_clock_now_ms() + 8000;
    PGconn *handle = PQconnectdb(tally_pg_conninfo(tally_pg_shared()));
    bool hit = false;
    while (!hit && tally_clock_now_ms() < give_up_at_ms) {
        PGresult *result = PQexec(handle, sql);
        hit = PQntuples(result) > 0;
        PQclear(result);
        poll(NULL, 0, 5);
    }
    PQclear(PQexec(handle, "alter system reset synchronous_standby_names"));
    PQclear(PQexec(handle, "select pg_reload_conf()"));
    PQfinish(handle);
    return NULL;
}

//  Does a commit wait for the standby already?  One that does is cancelled.
static bool
commit_waits(struct fixture *f)
{
    char error[256];
    PGconn *handle = tally_db_handle(f->other);
    assert_int_equal(PQsendQuery(handle, "update pair set value = 'x' where id = 1"), 1);
    struct pollfd item = {.fd = PQsocket(handle), .events = POLLIN};
    bool waits = poll(&item, 1, 100) == 0;
    if (waits) {
        PGcancel *cancel = PQgetCancel(handle);
        assert_int_equal(PQcancel(cancel, error, sizeof error), 1);
        PQfreeCancel(cancel);
    }
    PGresult *result;
    while ((result = PQgetResult(handle)) != NULL) {
        PQclear(result);
    }
    return waits;
}

//  Commits while a standby is wanted that does not exist, and disturbs the wait for it.
static tally_db_outcome_t
commit_disturbed_by(struct fixture *f, const char *sql)
{
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    must(tally_db_run(f->db, insert_sql, NULL, NULL));
    must(tally_db_script(f->other, "alter system set synchronous_standby_names = 'ghost'"));
    must(tally_db_run(f->other, "select pg_reload_conf()", NULL, NULL));
    //  The checkpointer is who makes commits wait, some time after it heard: try until one does.
    int64_t give_up_at_ms = tally_clock_now_ms() + 5000;
    while (!commit_waits(f)) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
    }
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, disturb_the_wait, (void *)(uintptr_t)sql), 0);
    tally_db_outcome_t outcome = tally_db_commit(f->db);
    pthread_join(thread, NULL);
    return outcome;
}

static void
commit_that_may_not_have_reached_the_standby_is_unknown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(commit_disturbed_by(f, "select pg_cancel_backend(pid) from pg_stat_activity"
                                            " where application_name = 'test-db'"
                                            " and wait_event = 'SyncRep'"),
                     TALLY_DB_UNKNOWN);
    assert_true(tally_db_connected(f->db));
    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));    // the taint was of that commit only
    must(tally_db_commit(f->db));
}

static void
commit_whose_connection_is_lost_is_unknown(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(commit_disturbed_by(f, "select pg_terminate_backend(pid) from pg_stat_activity"
                                            " where application_name = 'test-db'"
                                            " and wait_event = 'SyncRep'"),
                     TALLY_DB_UNKNOWN);
    assert_false(tally_db_connected(f->db));
    assert_int_equal(look(f, count_sql), 1);    // this time it was done; nobody could have told
}

static void *
end_the_sleeper(void *context)
{
    (void)context;
    return disturb_the_wait(
        (void *)(uintptr_t) "select pg_terminate_backend(pid) from pg_stat_activity"
                            " where application_name = 'test-db' and wait_event = 'PgSleep'");
}

static void
lone_statement_whose_connection_is_lost_is_unknown(void **state)
{
    struct fixture *f = *state;
    must(tally_db_connect(f->db));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, end_the_sleeper, NULL), 0);
    assert_int_equal(tally_db_run(f->db, "select pg_sleep(20)", NULL, NULL), TALLY_DB_UNKNOWN);
    pthread_join(thread, NULL);

    must(tally_db_begin(f->db, TALLY_DB_READ_COMMITTED));
    assert_int_equal(pthread_create(&thread, NULL, end_the_sleeper, NULL), 0);
    assert_int_equal(tally_db_run(f->db, "select pg_sleep(20)", NULL, NULL), TALLY_DB_RETRY);
    pthread_join(thread, NULL);
    assert_int_equal(tally_db_commit(f->db), TALLY_DB_RETRY);
}

//  ---- classes -----------------------------------------------------------------------------------

static void
sqlstates_fall_into_their_classes(void **state)
{
    (void)state;
    const char *const retry[] = {"",      "08006", "40001", "40P01", "53100", "53300",
                                 "55P03", "57014", "57P01", "58030", "25006", "25P03",
                                 "26000", "42P01", "42501", "XX000"};
    const char *const reject[] = {"22021", "22P02", "23505", "23514", "P0001", "TY001",
                                  "TY002", "TY003", "TY004", "54000", "42601"};
    for (size_t i = 0; i < sizeof retry / sizeof retry[0]; i++) {
        assert_int_equal(tally_db_classify(retry[i]), TALLY_DB_RETRY);
    }
    for (size_t i = 0; i < sizeof reject / sizeof reject[0]; i++) {
        assert_int_equal(tally_db_classify(reject[i]), TALLY_DB_REJECT);
    }
    assert_int_equal(tally_db_classify(NULL), TALLY_DB_RETRY);
    assert_int_equal(tally_db_classify("00000"), TALLY_DB_DONE);
}

#define WITH_DB(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    tally_log_set_level(TALLY_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        WITH_DB(values_come_back_as_they_went),
        WITH_DB(arrays_keep_order_nulls_and_emptiness),
        WITH_DB(text_that_is_not_utf8_is_rejected_and_the_connection_goes_on),
        WITH_DB(session_promises_durable_commits_whatever_the_server_is_set_to),
        WITH_DB(session_of_a_role_without_rights_still_connects),
        WITH_DB(server_that_is_not_there_means_retry),
        WITH_DB(server_that_never_answers_is_given_up_after_five_seconds),
        WITH_DB(statement_is_prepared_again_when_its_result_changed),
        WITH_DB(statement_that_the_server_forgot_is_prepared_again),
        WITH_DB(statements_survive_a_restart_of_the_server),
        WITH_DB(script_is_all_or_nothing),
        WITH_DB(commit_makes_writes_visible_and_rollback_does_not),
        WITH_DB(commit_after_a_failure_repeats_the_failure_and_writes_nothing),
        WITH_DB(commit_answered_with_rollback_is_not_done),
        WITH_DB(constraint_checked_at_commit_is_a_reject),
        WITH_DB(snapshots_that_cross_mean_retry),
        WITH_DB(session_ended_while_idle_in_its_transaction_is_known_not_done),
        WITH_DB(commit_that_may_not_have_reached_the_standby_is_unknown),
        WITH_DB(commit_whose_connection_is_lost_is_unknown),
        WITH_DB(lone_statement_whose_connection_is_lost_is_unknown),
        cmocka_unit_test(sqlstates_fall_into_their_classes),
    };
    return cmocka_run_group_tests_name("db", tests, tally_pg_share, tally_pg_unshare);
}
