// SPDX-License-Identifier: MIT
//  The views for people: what they show, and that nothing a client sends can make one fail.

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
};

//  A message in each state; dead letters in queue 101.
static const char *const scene_sql =
    "insert into tally.tenant (id, name) values (7, 'acme'), (8, 'other');"
    "insert into tally.queue (id, name) overriding system value values (101, 'plain'), (102, "
    "'two');"
    "insert into tally.message (tenant, id, queue, body, due) values"
    " (7, 1, 101, 'leased', null), (7, 2, 101, 'leased', null), (7, 3, 101, 'ready', null),"
    " (7, 4, 101, 'ready', now() - interval '1 s'), (8, 5, 101, 'delayed', now() + interval '1 h'),"
    " (8, 6, 102, 'leased', null);"
    "insert into tally.lease (id, tenant, queue, worker, deadline, messages) values"
    " (500, 7, 101, 1, now(), '{1,2}'), (600, 8, 102, 1, now(), '{6}');"
    "insert into tally.dead_letter (tenant, id, queue, priority, is_blob, created_at, reason, "
    "history,"
    " deliveries, failures, crashes, body) values"
    " (7, 9, 101, 1, false, now(), 'why', '{}', 1, 1, 0, '\\xff')";

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->db = tally_db_new(tally_pg_fresh(tally_pg_shared()), "test-views");
    *state = f;
    return tally_db_script(f->db, scene_sql) == TALLY_DB_DONE ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_db_destroy(&f->db);
    free(f);
    return 0;
}

static void
assert_text(struct fixture *f, const char *sql, const char *expected)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    assert_int_equal(rows.rows, 1);
    tally_bytes_t text = tally_rows_bytes(&rows, 0, 0);
    assert_int_equal(text.size, strlen(expected));
    assert_memory_equal(text.data, expected, text.size);
}

static void
messages_show_their_state(void **state)
{
    assert_text(*state,
                "select string_agg(tenant || id || state, ' ' order by id) from tally.messages",
                "acme1leased acme2leased acme3ready acme4ready other5delayed other6leased");
}

static void
leases_show_how_many_they_hold(void **state)
{
    assert_text(*state,
                "select string_agg(queue || id || '=' || messages, ' ' order by id)"
                " from tally.leases",
                "plain500=2 two600=1");
}

static void
queues_show_messages_leased_and_dead(void **state)
{
    assert_text(*state,
                "select string_agg(messages || '/' || leased || '/' || dead, ' ' order by name)"
                " from tally.queues where name in ('plain', 'two')",
                "5/2/1 1/1/0");
}

static void
views_do_not_fail_on_whatever_was_sent(void **state)
{
    struct fixture *f = *state;
    const char
        *sql = "insert into tally.message (tenant, id, queue, body)"
               " select 7, 1000 + n, q.id, b from tally.queue q,"
               " unnest(array['\\x00', '\\xff', '', '{', '{\"survey\": 1e999999}', '[]', '7',"
               "  '{\"survey\": \"\\\\ud800\"}', '{\"survey\":\"s\",\"format\":\"csv\"}']::bytea[])"
               "  with ordinality u (b, n) where q.name = 'export'";
    assert_int_equal(tally_db_script(f->db, sql), TALLY_DB_DONE);
    const char *const views[] = {
        "select count(v)::text from tally.messages v",
        "select count(v)::text from tally.queues v",
        "select count(v)::text from tally.leases v",
        "select count(v)::text from tally.workers v",
    };
    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        assert_int_equal(tally_db_run(f->db, views[i], NULL, NULL), TALLY_DB_DONE);
    }
    assert_text(f,
                "select count(*) || '/' || count(survey) from tally.exports where state = 'queued'",
                "9/1");
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    tally_log_set_level(TALLY_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        SCENE(messages_show_their_state),
        SCENE(leases_show_how_many_they_hold),
        SCENE(queues_show_messages_leased_and_dead),
        SCENE(views_do_not_fail_on_whatever_was_sent),
    };
    return cmocka_run_group_tests_name("views", tests, tally_pg_share, tally_pg_unshare);
}
