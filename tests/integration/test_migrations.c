// SPDX-License-Identifier: MIT
//  migrations: the schema moves forward one whole version at a time, whoever does it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/migrations.h"
#include "tests/integration/pg.h"

#define AT_ONCE 4

struct fixture {
    tally_pg_t *pg;
    tally_db_t *db;
    char *error;
};

static int
setup_server(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->pg = tally_pg_new(NULL);
    *state = f;
    return 0;
}

static int
teardown_server(void **state)
{
    struct fixture *f = *state;
    tally_pg_destroy(&f->pg);
    free(f);
    return 0;
}

static int
setup(void **state)
{
    struct fixture *f = *state;
    f->db = tally_db_new(tally_pg_fresh(f->pg), "test");
    return tally_db_connect(f->db) == TALLY_DB_DONE
                   && tally_db_script(f->db, "drop schema tally cascade") == TALLY_DB_DONE
               ? 0
               : -1;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_db_destroy(&f->db);
    free(f->error);
    f->error = NULL;
    return 0;
}

static void
an_empty_database_gets_every_version_once(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    assert_int_equal(tally_migrations_version(f->db, &f->error), 0);
    assert_int_equal(tally_migrate(f->db, &f->error), 0);
    assert_int_equal(tally_migrate(f->db, &f->error), 0);
    assert_null(f->error);
    assert_int_equal(tally_migrations_version(f->db, &f->error), tally_migration_count);
    assert_int_equal(tally_db_run(f->db, "select count(*) from tally.migration", NULL, &rows),
                     TALLY_DB_DONE);
    assert_int_equal(tally_rows_int8(&rows, 0, 0), tally_migration_count);
}

static void
several_programs_may_migrate_at_once(void **state)
{
    struct fixture *f = *state;
    pid_t children[AT_ONCE];
    for (int i = 0; i < AT_ONCE; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            char *error = NULL;
            tally_db_t *db = tally_db_new(tally_pg_conninfo(f->pg), "test");
            _exit(tally_migrate(db, &error) == 0 ? 0 : 1);
        }
    }
    int failed = 0;
    for (int i = 0; i < AT_ONCE; i++) {
        int status = 1;
        waitpid(children[i], &status, 0);
        failed += status != 0;
    }
    assert_int_equal(failed, 0);
    assert_int_equal(tally_migrations_version(f->db, &f->error), tally_migration_count);
}

static void
a_database_newer_than_this_build_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_migrate(f->db, &f->error), 0);
    assert_int_equal(
        tally_db_script(f->db, "insert into tally.migration (version, name) values (999, 'later')"),
        TALLY_DB_DONE);
    assert_int_equal(tally_migrate(f->db, &f->error), -1);
    assert_non_null(strstr(f->error, "version 999"));
    free(f->error);
    assert_int_equal(tally_migrations_version(f->db, &f->error), 999);
}

static void
a_migration_that_fails_leaves_nothing_of_itself(void **state)
{
    struct fixture *f = *state;
    tally_rows_t rows;
    assert_int_equal(tally_db_script(f->db, tally_migrations[0].sql), TALLY_DB_DONE);
    //  In the way of the second version, behind its first statements.
    assert_int_equal(
        tally_db_script(f->db, "insert into tally.migration (version, name) values (1, 'broker'); "
                               "create table tally.survey (n int)"),
        TALLY_DB_DONE);
    assert_int_equal(tally_migrate(f->db, &f->error), -1);
    assert_non_null(strstr(f->error, "survey"));
    free(f->error);
    assert_int_equal(tally_migrations_version(f->db, &f->error), 1);
    assert_int_equal(tally_db_run(f->db, "select count(*) from tally.queue", NULL, &rows),
                     TALLY_DB_DONE);
    assert_int_equal(tally_rows_int8(&rows, 0, 0), 0);
}

static void
a_database_that_is_away_is_an_answer(void **state)
{
    struct fixture *f = *state;
    tally_db_t *db = tally_db_new("host=/nonexistent dbname=x", "test");
    int rc = tally_migrate(db, &f->error);
    tally_db_destroy(&db);
    assert_int_equal(rc, -1);
    assert_non_null(f->error);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(an_empty_database_gets_every_version_once),
        TEST(several_programs_may_migrate_at_once),
        TEST(a_database_newer_than_this_build_is_refused_and_left_alone),
        TEST(a_migration_that_fails_leaves_nothing_of_itself),
        TEST(a_database_that_is_away_is_an_answer),
    };
    return cmocka_run_group_tests_name("migrations", tests, setup_server, teardown_server);
}
