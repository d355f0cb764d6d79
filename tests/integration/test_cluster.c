// SPDX-License-Identifier: MIT
//  cluster: a private PostgreSQL is made whole, is durable, and comes back from whatever ends it.
//
//  The test process is the supervisor; the server dies with it (PR_SET_PDEATHSIG).
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "clients/cmd/cluster.h"
#include "clients/cmd/cluster_store.h"
#include "clients/cmd/home.h"
#include "clients/cmd/supervisor.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"

#define WAIT_MS 60000

struct fixture {
    char *base;
    tally_home_t *home;
    tally_cluster_t *cluster;
    tally_supervisor_t *supervisor;
    tally_db_t *db;
    char *data;
    int kept_stderr;
};

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->base = tally_strdup("/tmp/tally-cluster-XXXXXX");
    f->kept_stderr = dup(STDERR_FILENO);
    if (mkdtemp(f->base) == NULL || chmod(f->base, 0711) == -1) {
        return -1;
    }
    f->home = tally_home_make(f->base, NULL, 0);
    if (f->home == NULL) {
        return -1;
    }
    f->data = tally_home_file(f->home, "pg");
    char *log = tally_home_file(f->home, "log/initdb.log");
    char *pids = tally_home_file(f->home, "pid");
    char *logs = tally_home_file(f->home, "log");
    f->cluster = tally_cluster_new(f->data, f->home->run, log);
    f->supervisor = tally_supervisor_new(pids, logs);
    free(log);
    free(pids);
    free(logs);
    *state = f;
    return f->cluster == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    dup2(f->kept_stderr, STDERR_FILENO);
    close(f->kept_stderr);
    tally_db_destroy(&f->db);
    tally_supervisor_stop(f->supervisor, 30000);
    tally_supervisor_destroy(&f->supervisor);
    tally_cluster_destroy(&f->cluster);
    tally_home_destroy(&f->home);
    nftw(f->base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f->data);
    free(f->base);
    free(f);
    return 0;
}

static void
exec_server(void *cluster)
{
    tally_cluster_clear_stale(cluster);
    tally_cluster_exec(cluster);
}

static void
wait_until_ensured(struct fixture *f)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + WAIT_MS;
    int rc;
    while ((rc = tally_cluster_store_ensure(f->home->db)) == 1) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        assert_true(tally_supervisor_turn(f->supervisor, 20));
        assert_null(tally_supervisor_failing(f->supervisor));
    }
    assert_int_equal(rc, 0);
}

static void
start_server(struct fixture *f)
{
    assert_int_equal(tally_cluster_create(f->cluster), 0);
    tally_supervisor_add(f->supervisor, "postgres", 0, SIGINT, exec_server, f->cluster);
    tally_supervisor_start(f->supervisor, 0);
    wait_until_ensured(f);
    f->db = tally_db_new(f->home->db, "test");
}

//  The statement's first column as a number, on a connection that works; repeated while the server is away.
static int64_t
number(struct fixture *f, const char *sql)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + WAIT_MS;
    for (;;) {
        tally_rows_t rows;
        if (tally_db_connect(f->db) == TALLY_DB_DONE
            && tally_db_run(f->db, sql, NULL, &rows) == TALLY_DB_DONE) {
            return rows.rows == 0 ? 0 : tally_rows_int8(&rows, 0, 0);
        }
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        assert_true(tally_supervisor_turn(f->supervisor, 20));
    }
}

static pid_t
server_pid(struct fixture *f)
{
    char *path = tally_home_file(f->home, "pid/postgres.pid");
    FILE *file = fopen(path, "r");
    int pid = 0;
    if (file != NULL) {
        assert_int_equal(fscanf(file, "%d", &pid), 1);
        fclose(file);
    }
    free(path);
    return pid;
}

//  Waits for the supervisor to have a server other than `before`.
static void
wait_for_another(struct fixture *f, pid_t before)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + WAIT_MS;
    while (server_pid(f) == before || server_pid(f) == 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        assert_true(tally_supervisor_turn(f->supervisor, 20));
    }
}

static void
it_is_durable_and_reached_by_its_socket_alone(void **state)
{
    struct fixture *f = *state;
    start_server(f);
    assert_int_equal(
        number(f,
               "select count(*) from pg_settings where (name, setting) in "
               "(('fsync', 'on'), ('synchronous_commit', 'on'), ('full_page_writes', 'on'), "
               "('listen_addresses', ''), ('data_checksums', 'on'), ('max_connections', '200'))"),
        6);
    assert_int_equal(number(f, "select count(*) from pg_database where datname = 'tally' and "
                               "pg_encoding_to_char(encoding) = 'UTF8'"),
                     1);
    assert_true(number(f, "select (current_user = 'tally')::int") == 1);
}

static void
a_killed_server_comes_back_with_all_that_was_committed(void **state)
{
    struct fixture *f = *state;
    start_server(f);
    number(f, "create table kept (n int)");
    for (int i = 1; i <= 3; i++) {
        number(f, "insert into kept select count(*) from kept returning 1");
        pid_t pid = server_pid(f);
        assert_int_equal(kill(pid, i == 3 ? SIGQUIT : SIGKILL), 0);
        wait_for_another(f, pid);
        assert_int_equal(number(f, "select count(*) from kept"), i);
    }
}

static void
a_postmaster_pid_that_names_somebody_else_is_no_obstacle(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_cluster_create(f->cluster), 0);
    char *path = tally_format("%s/postmaster.pid", f->data);
    FILE *file = fopen(path, "w");
    fprintf(file, "%d\n%s\n1\n5432\n%s\n\n0 0\n", (int)getpid(), f->data, f->home->run);
    fclose(file);
    if (geteuid() == 0) {
        struct stat info;
        assert_int_equal(stat(f->data, &info), 0);
        assert_int_equal(chown(path, info.st_uid, info.st_gid), 0);
    }
    tally_cluster_clear_stale(f->cluster);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
    start_server(f);
}

static void
the_postmaster_pid_of_a_living_server_is_left_alone(void **state)
{
    struct fixture *f = *state;
    start_server(f);
    char *path = tally_format("%s/postmaster.pid", f->data);
    tally_cluster_clear_stale(f->cluster);
    assert_int_equal(access(path, F_OK), 0);
    free(path);
}

static void
what_a_killed_initdb_left_is_made_anew(void **state)
{
    struct fixture *f = *state;
    char *draft = tally_format("%s.new", f->data);
    char *junk = tally_format("%s/base", draft);
    assert_int_equal(mkdir(draft, 0700), 0);
    assert_int_equal(mkdir(junk, 0700), 0);
    start_server(f);
    assert_int_equal(access(draft, F_OK), -1);
    free(junk);
    free(draft);
}

static void
creating_it_again_keeps_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct stat before, after;
    assert_int_equal(tally_cluster_create(f->cluster), 0);
    assert_int_equal(stat(f->data, &before), 0);
    assert_int_equal(tally_cluster_create(f->cluster), 0);
    assert_int_equal(stat(f->data, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void
a_place_the_server_cannot_reach_is_refused_before_anything_is_made(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0) {
        skip();    // without root the server is who we are
    }
    assert_int_equal(chmod(f->base, 0700), 0);
    int nothing = open("/dev/null", O_WRONLY);
    dup2(nothing, STDERR_FILENO);
    close(nothing);
    assert_int_equal(tally_cluster_create(f->cluster), -1);
    dup2(f->kept_stderr, STDERR_FILENO);
    assert_int_equal(access(f->data, F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(it_is_durable_and_reached_by_its_socket_alone),
        TEST(a_killed_server_comes_back_with_all_that_was_committed),
        TEST(a_postmaster_pid_that_names_somebody_else_is_no_obstacle),
        TEST(the_postmaster_pid_of_a_living_server_is_left_alone),
        TEST(what_a_killed_initdb_left_is_made_anew),
        TEST(creating_it_again_keeps_what_is_there),
        TEST(a_place_the_server_cannot_reach_is_refused_before_anything_is_made),
    };
    return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
