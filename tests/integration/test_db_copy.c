// SPDX-License-Identifier: MIT
//  Rows that stream out of a real PostgreSQL: all of them, in order, and what happens when it fails halfway.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/db.h"
#include "lib/log.h"
#include "tests/integration/pg.h"

struct fixture {
    tally_db_t *db;
    tally_db_t *other;    // a second session
    int64_t rows, sum, nulls;
    int64_t kill_at;    // after so many rows the other session ends ours; 0: never
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *conninfo = tally_pg_fresh(tally_pg_shared());
    f->db = tally_db_new(conninfo, "test-copy");
    f->other = tally_db_new(conninfo, "test-other");
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_db_destroy(&f->db);
    tally_db_destroy(&f->other);
    free(f);
    return 0;
}

static void
take(void *context, const tally_bytes_t *fields)
{
    struct fixture *f = context;
    const unsigned char *at = fields[0].data;
    assert_int_equal(fields[0].size, 4);
    f->sum += at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
    f->rows++;
    f->nulls += fields[1].data == NULL;
    if (f->rows == f->kill_at) {
        assert_int_equal(tally_db_script(f->other,
                                         "select pg_terminate_backend(pid) from pg_stat_activity "
                                         "where application_name = 'test-copy'"),
                         TALLY_DB_DONE);
    }
}

static void
every_row_arrives_with_its_nulls(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_db_copy(f->db,
                                   "copy (select i, case when i % 2 = 0 then 'even' end "
                                   "from generate_series(1, 100000) i) to stdout (format binary)",
                                   2, take, f),
                     TALLY_DB_DONE);
    assert_int_equal(f->rows, 100000);
    assert_int_equal(f->sum, 5000050000);
    assert_int_equal(f->nulls, 50000);
}

static void
no_row_is_no_call(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_db_copy(f->db,
                                   "copy (select 1, 'one' where false) to stdout (format binary)",
                                   2, take, f),
                     TALLY_DB_DONE);
    assert_int_equal(f->rows, 0);
}

static void
an_error_halfway_is_told_and_the_connection_goes_on(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_db_copy(f->db,
                                   "copy (select 1 / (5000 - i), 'x' from generate_series(1, "
                                   "10000) i) to stdout (format binary)",
                                   2, take, f),
                     TALLY_DB_REJECT);
    assert_string_equal(tally_db_sqlstate(f->db), "22012");
    assert_in_range(f->rows, 1, 4999);
    assert_int_equal(tally_db_copy(f->db, "copy (select 1, 'x') to stdout (format binary)", 2, take,
                                   f),
                     TALLY_DB_DONE);
}

static void
in_a_transaction_it_spoils_the_transaction(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_db_begin(f->db, TALLY_DB_REPEATABLE_READ), TALLY_DB_DONE);
    assert_int_equal(tally_db_copy(f->db, "copy (select 1 / 0, 'x') to stdout (format binary)", 2,
                                   take, f),
                     TALLY_DB_REJECT);
    assert_int_equal(tally_db_commit(f->db), TALLY_DB_REJECT);
}

static void
a_session_ended_halfway_means_retry(void **state)
{
    struct fixture *f = *state;
    f->kill_at = 1000;
    assert_int_equal(tally_db_copy(f->db,
                                   "copy (select i, repeat('x', 1000) from generate_series(1, "
                                   "1000000) i) to stdout (format binary)",
                                   2, take, f),
                     TALLY_DB_RETRY);
    assert_in_range(f->rows, 1000, 999999);
    assert_false(tally_db_connected(f->db));
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
        WITH_DB(every_row_arrives_with_its_nulls),
        WITH_DB(no_row_is_no_call),
        WITH_DB(an_error_halfway_is_told_and_the_connection_goes_on),
        WITH_DB(in_a_transaction_it_spoils_the_transaction),
        WITH_DB(a_session_ended_halfway_means_retry),
    };
    return cmocka_run_group_tests_name("db_copy", tests, tally_pg_share, tally_pg_unshare);
}
