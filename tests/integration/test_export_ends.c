// SPDX-License-Identifier: MIT
//  The other ends of an export: refused, cancelled, failed, waiting; tables that replace one
//  another; and what people are told of all of it.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/integration/export_scene.h"
#include "tests/integration/pg.h"

static int
set_up_all(void **state)
{
    (void)tally_pg_share(state);
    signal(SIGXFSZ, SIG_IGN);    // a write beyond the limit fails instead
    return sodium_init() == -1 ? -1 : 0;
}

static int
set_up(void **state)
{
    *state = export_scene_new(tally_pg_fresh(tally_pg_shared()));
    return 0;
}

static void
limit_files(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static int
tear_down(void **state)
{
    export_scene_t *scene = *state;
    limit_files(RLIM_INFINITY);
    export_scene_destroy(&scene);
    return 0;
}

static tally_run_end_t
run_once(export_scene_t *scene, uint32_t failures)
{
    if (scene->run == NULL) {
        scene->run = export_scene_run(scene);
    }
    return tally_export_run_work(scene->run, scene->lease, failures);
}

static void
run_to_end(export_scene_t *scene, const char *format, const char *out)
{
    export_scene_request(scene, format, out);
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
    tally_export_run_destroy(&scene->run);
}

static void
assert_refused(export_scene_t *scene, const char *code)
{
    json_t *result = export_scene_result(scene);
    const json_t *error = json_object_get(result, "error");
    const char *got = json_string_value(json_object_get(error, "code"));
    assert_true(json_is_false(json_object_get(result, "ok")));
    assert_non_null(got);
    assert_string_equal(got, code);
    json_decref(result);
}

static uint64_t
pending(export_scene_t *scene, const char *queue, const char *columns, const char *values)
{
    char *sql = tally_format("insert into tally.message (tenant, id, queue, body%s)"
                             " select 7, 5, q.id, ''%s from tally.queue q where q.name = '%s'",
                             columns, values, queue);
    export_scene_sql(scene, sql);
    free(sql);
    return 5;
}

//  ---- before it begins --------------------------------------------------------------------------

static void
export_waits_until_what_was_confirmed_before_is_stored(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    pending(scene, "responses", "", "");
    export_scene_request(scene, "csv", NULL);
    assert_int_equal(run_once(scene, 0), TALLY_RUN_LATER);
    export_scene_assert_value(scene, "select state from tally.exports", "queued");
    //  Stored, and its message settled, as the responses worker does it.
    export_scene_add(scene, "the one that was waited for");
    export_scene_sql(scene, "delete from tally.message where id = 5");
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
    export_scene_check(scene, "csv");
}

static void
export_waits_for_one_that_is_tried_again_later(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 1);
    pending(scene, "responses", ", due, deliveries", ", now() + interval '1 hour', 1");
    export_scene_request(scene, "csv", NULL);
    assert_int_equal(run_once(scene, 0), TALLY_RUN_LATER);
}

static void
export_does_not_wait_for_what_does_not_concern_it(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 1);
    export_scene_sql(scene, "insert into tally.tenant (id, name) values (8, 'other')");
    pending(scene, "statistics", "", "");
    export_scene_sql(
        scene, "insert into tally.message (tenant, id, queue, body, due)"
               " select 7, 6, q.id, '', now() + interval '1 hour' from tally.queue q"
               " where q.name = 'responses';"
               "insert into tally.message (tenant, id, queue, body)"
               " select t, n, q.id, '' from tally.queue q,"
               " (values (8, 7), (7, 9000000000000000000)) v (t, n) where q.name = 'responses'");
    export_scene_request(scene, "csv", NULL);
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
}

static void
export_of_an_unknown_survey_fails_with_an_answer(void **state)
{
    export_scene_t *scene = *state;
    export_scene_send(scene, "{\"do\":\"export\",\"survey\":\"nope\",\"format\":\"csv\"}");
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
    assert_refused(scene, "UNKNOWN");
    export_scene_assert_value(scene, "select state || ': ' || error from tally.exports",
                              "failed: there is no survey \"nope\"");
    export_scene_assert_value(scene, "select count(*) from tally.message", "0");
}

static void
directory_outside_is_refused_with_an_answer(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 1);
    static const char *const outs[] = {"/tmp", "../x", "a/../../x", "/", ""};
    for (size_t i = 0; i < sizeof outs / sizeof outs[0]; i++) {
        run_to_end(scene, "csv", outs[i]);
        assert_refused(scene, "REFUSED");
    }
    assert_int_equal(export_scene_entries(scene), 0);
}

static void
directory_inside_is_made_and_used(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5);
    run_to_end(scene, "csv", "week-1");
    char *path = tally_format("%s/week-1/acme.odd.%" PRIu64 ".csv", scene->dir, scene->message);
    assert_int_equal(access(path, R_OK), 0);
    export_scene_assert_value(scene, "select target from tally.exports", path);
    free(path);
}

//  ---- cancelling --------------------------------------------------------------------------------

static tally_export_cancel_t
cancel(export_scene_t *scene, uint64_t id)
{
    tally_export_cancel_t cancelled;
    assert_int_equal(tally_export_store_cancel(scene->broker, "acme", id, &cancelled),
                     TALLY_EXPORT_OK);
    free(cancelled.news);
    return cancelled;
}

static void
queued_export_that_is_cancelled_ends_at_once_when_it_comes(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5);
    export_scene_request(scene, "csv", NULL);
    assert_true(cancel(scene, scene->message).changed);
    export_scene_assert_value(scene, "select state from tally.exports", "cancelled");
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
    assert_refused(scene, "CANCELLED");
    assert_int_equal(export_scene_entries(scene), 0);
    export_scene_assert_value(scene, "select count(*) from tally.message", "0");
}

static tally_export_point_t cancel_at;

static void
cancel_now(export_scene_t *scene, tally_export_point_t point)
{
    if (point == cancel_at) {
        scene->at = NULL;
        assert_true(cancel(scene, scene->message).changed);
    }
}

static void
running_export_sees_the_cancel_and_leaves_nothing(void **state)
{
    static const char *const formats[] = {"csv", "table"};
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5000);
    for (int i = 0; i < 4; i++) {
        cancel_at = i < 2 ? TALLY_AT_CHECKPOINTED : TALLY_AT_ADDED;
        scene->at = cancel_now;
        run_to_end(scene, formats[i % 2], NULL);
        assert_refused(scene, "CANCELLED");
        assert_non_null(strstr(scene->last_news, "\"state\":\"cancelled\""));
    }
    assert_int_equal(export_scene_entries(scene), 0);
    export_scene_assert_value(scene,
                              "select count(*) from pg_tables where schemaname = 'tally_export'",
                              "1");
    export_scene_assert_value(scene, "select count(*) from tally_export.progress", "0");
}

static void
cancel_that_comes_after_the_last_row_still_counts(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    cancel_at = TALLY_AT_COMPLETE;
    scene->at = cancel_now;
    run_to_end(scene, "csv", NULL);
    assert_refused(scene, "CANCELLED");
    assert_int_equal(export_scene_entries(scene), 0);
}

static void
cancel_tells_what_there_is_to_cancel(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 1);
    assert_string_equal(cancel(scene, 77).state, "");
    run_to_end(scene, "csv", NULL);
    tally_export_cancel_t cancelled = cancel(scene, scene->message);
    assert_false(cancelled.changed);
    assert_string_equal(cancelled.state, "done");
    export_scene_request(scene, "csv", NULL);
    assert_true(cancel(scene, scene->message).changed);
    cancelled = cancel(scene, scene->message);
    assert_string_equal(cancelled.state, "cancelled");
}

//  ---- failing -----------------------------------------------------------------------------------

static void
full_disk_fails_clearly_and_the_run_goes_on_later(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5000);
    export_scene_request(scene, "csv", NULL);
    limit_files(120000);    // somewhere behind the first checkpoint
    assert_int_equal(run_once(scene, 0), TALLY_RUN_FAILED);
    assert_non_null(strstr(tally_export_run_why(scene->run), "could not write"));
    export_scene_assert_value(scene,
                              "select state || ' ' || (error like 'could not write%') || ' '"
                              " || (rows_done > 0) from tally.exports",
                              "running true true");
    limit_files(RLIM_INFINITY);
    assert_true(export_scene_lease_again(scene));
    assert_int_equal(run_once(scene, 1), TALLY_RUN_SETTLED);
    export_scene_check(scene, "csv");
    export_scene_assert_value(scene, "select error is null from tally.exports", "t");
}

static void
last_failure_is_written_down_and_frees_the_disk(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5000);
    export_scene_request(scene, "csv", NULL);
    limit_files(120000);
    assert_int_equal(run_once(scene, 4), TALLY_RUN_FAILED);    // the queue allows five
    assert_false(tally_export_run_goes_on(scene->run));
    assert_int_equal(export_scene_entries(scene), 0);
    export_scene_assert_value(scene, "select state from tally.export", "failed");
    assert_non_null(strstr(scene->last_news, "\"state\":\"failed\""));
    tally_export_run_destroy(&scene->run);

    //  An operator lets it try again.
    limit_files(RLIM_INFINITY);
    assert_true(export_scene_lease_again(scene));
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
    export_scene_check(scene, "csv");
    export_scene_assert_value(scene, "select state from tally.exports", "done");
}

static void
export_that_could_not_begin_is_complete_when_it_can(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    scene->tools.outlet.place.base = "/proc/self";    // no directory can be made there
    export_scene_request(scene, "csv", "new");
    assert_int_equal(run_once(scene, 0), TALLY_RUN_FAILED);
    export_scene_assert_value(scene,
                              "select state || ' ' || (error like 'could not open%')"
                              " from tally.exports",
                              "running true");
    scene->tools.outlet.place.base = scene->dir;
    assert_true(export_scene_lease_again(scene));
    assert_int_equal(run_once(scene, 1), TALLY_RUN_SETTLED);
    export_scene_assert_value(scene, "select state || ' ' || rows_done from tally.exports",
                              "done 10");
}

static void
response_that_does_not_fit_its_column_is_told(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5);
    export_scene_sql(scene, "insert into tally.response (tenant, survey, response_id, body)"
                            " select 7, id, 'broken', '{\"response_id\":\"broken\",\"answers\":"
                            "{\"ctid\":\"x\"}}' from tally.survey");
    export_scene_request(scene, "table", NULL);
    assert_int_equal(run_once(scene, 0), TALLY_RUN_FAILED);
    assert_non_null(strstr(tally_export_run_why(scene->run), "type numeric: \"x\""));
}

static void
target_that_is_away_is_a_failure_of_the_export(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5);
    tally_db_destroy(&scene->tools.outlet.target);
    scene->tools.outlet.target = tally_db_new("host=/nonexistent dbname=x", "test");
    export_scene_request(scene, "table", NULL);
    assert_int_equal(run_once(scene, 0), TALLY_RUN_FAILED);
    assert_non_null(strstr(tally_export_run_why(scene->run), "the table's database"));
    export_scene_assert_value(scene, "select state from tally.exports", "running");
}

static void
export_that_was_buried_or_dropped_is_shown_as_failed(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 5000);
    export_scene_request(scene, "csv", NULL);
    assert_true(export_scene_crash(scene, TALLY_AT_CHECKPOINTED, 1));
    export_scene_assert_value(scene, "select state from tally.exports", "running");
    export_scene_sql(
        scene, "insert into tally.dead_letter (tenant, id, queue, priority, is_blob, created_at,"
               "  reason, history, deliveries, failures, crashes, body)"
               " select tenant, id, queue, 1, false, created_at, 'its workers died', '{}', 1, 0, 1,"
               "  body from tally.message; delete from tally.message");
    export_scene_assert_value(scene, "select state || ': ' || error from tally.exports",
                              "failed: its workers died");
    export_scene_sql(scene, "delete from tally.export");
    export_scene_assert_value(scene,
                              "select state || ': ' || error || ' ' || survey from tally.exports",
                              "failed: its workers died odd");
}

//  ---- tables ------------------------------------------------------------------------------------

static void
new_export_replaces_the_table_and_keeps_who_may_read_it(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    run_to_end(scene, "table", NULL);
    export_scene_sql(scene,
                     "create role \"the Analyst\"; grant usage on schema tally_export to public;"
                     "grant select on tally_export.\"acme/odd\" to \"the Analyst\", public");
    export_scene_add(scene, "one more");
    run_to_end(scene, "table", NULL);
    export_scene_check(scene, "table");
    export_scene_assert_value(
        scene, "select has_table_privilege('the Analyst', 'tally_export.\"acme/odd\"', 'select')",
        "t");
    export_scene_assert_value(scene, "select count(*) from tally_export.progress", "1");
    export_scene_sql(scene, "drop owned by \"the Analyst\"; drop role \"the Analyst\"");
}

static void
older_export_does_not_replace_a_newer_one(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    export_scene_request(scene, "table", NULL);
    scene->tools.slice_ms = 0;
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SLICE);
    tally_export_run_t *older = scene->run;
    uint64_t older_message = scene->message;
    scene->run = NULL;
    scene->tools.slice_ms = 60000;
    export_scene_add(scene, "one more");
    run_to_end(scene, "table", NULL);
    export_scene_check(scene, "table");

    uint64_t newer = scene->message;
    scene->message = older_message;
    assert_true(export_scene_lease_again(scene));
    scene->run = older;
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
    scene->message = newer;
    export_scene_check(scene, "table");
    export_scene_assert_value(scene,
                              "select count(*) from pg_tables where schemaname = 'tally_export'",
                              "2");
}

static void
who_reads_the_old_table_is_waited_for_but_not_for_long(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    run_to_end(scene, "table", NULL);
    export_scene_add(scene, "one more");
    assert_int_equal(tally_db_begin(scene->broker, TALLY_DB_REPEATABLE_READ), TALLY_DB_DONE);
    export_scene_assert_value(scene, "select count(*) from tally_export.\"acme/odd\"", "10");

    tally_db_t *reader = scene->broker;
    scene->broker = tally_db_new(scene->conninfo, "test-broker");
    export_scene_request(scene, "table", NULL);
    tally_run_end_t end = run_once(scene, 0);
    tally_db_rollback(reader);
    tally_db_destroy(&reader);
    assert_int_equal(end, TALLY_RUN_BLOCKED);
    assert_non_null(strstr(tally_export_run_why(scene->run), "lock timeout"));
    export_scene_assert_value(scene,
                              "select state || ' ' || (error is not null) from tally.exports"
                              " order by id desc limit 1",
                              "running true");
    assert_true(export_scene_lease_again(scene));
    assert_int_equal(run_once(scene, 0), TALLY_RUN_SETTLED);
    export_scene_check(scene, "table");
}

static void
view_on_the_old_table_is_not_dropped_behind_its_owner(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    run_to_end(scene, "table", NULL);
    export_scene_sql(scene, "create view kept as select count(*) from tally_export.\"acme/odd\"");
    export_scene_request(scene, "table", NULL);
    assert_int_equal(run_once(scene, 0), TALLY_RUN_FAILED);
    assert_non_null(strstr(tally_export_run_why(scene->run), "other objects depend on it"));
    export_scene_assert_value(scene, "select * from kept", "10");
}

//  ---- what people see ---------------------------------------------------------------------------

static void
list_shows_every_state_newest_first(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 3);
    run_to_end(scene, "csv", NULL);
    export_scene_request(scene, "ndjson", NULL);
    char *text;
    assert_int_equal(tally_export_store_list(scene->broker, "acme", &text), TALLY_EXPORT_OK);
    json_t *list = json_loads(text, 0, NULL);
    free(text);
    assert_int_equal(json_array_size(list), 2);
    const json_t *queued = json_array_get(list, 0), *done = json_array_get(list, 1);
    assert_string_equal(json_string_value(json_object_get(queued, "state")), "queued");
    assert_string_equal(json_string_value(json_object_get(queued, "format")), "ndjson");
    assert_string_equal(json_string_value(json_object_get(done, "state")), "done");
    char *id = tally_format("%" PRIu64, scene->message - 1);
    assert_string_equal(json_string_value(json_object_get(done, "id")), id);
    free(id);
    assert_int_equal(json_integer_value(json_object_get(done, "rows_done")), 3);
    assert_int_equal(strlen(json_string_value(json_object_get(done, "sha256"))), 64);
    assert_int_equal(strlen(json_string_value(json_object_get(done, "finished_at"))),
                     strlen("2026-01-31T23:59:59.123Z"));
    json_decref(list);
    assert_int_equal(tally_export_store_list(scene->broker, "nobody", &text), TALLY_EXPORT_OK);
    assert_string_equal(text, "[]");
    free(text);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(export_waits_until_what_was_confirmed_before_is_stored),
        TEST(export_waits_for_one_that_is_tried_again_later),
        TEST(export_does_not_wait_for_what_does_not_concern_it),
        TEST(export_of_an_unknown_survey_fails_with_an_answer),
        TEST(directory_outside_is_refused_with_an_answer),
        TEST(directory_inside_is_made_and_used),
        TEST(queued_export_that_is_cancelled_ends_at_once_when_it_comes),
        TEST(running_export_sees_the_cancel_and_leaves_nothing),
        TEST(cancel_that_comes_after_the_last_row_still_counts),
        TEST(cancel_tells_what_there_is_to_cancel),
        TEST(full_disk_fails_clearly_and_the_run_goes_on_later),
        TEST(last_failure_is_written_down_and_frees_the_disk),
        TEST(export_that_could_not_begin_is_complete_when_it_can),
        TEST(response_that_does_not_fit_its_column_is_told),
        TEST(target_that_is_away_is_a_failure_of_the_export),
        TEST(export_that_was_buried_or_dropped_is_shown_as_failed),
        TEST(new_export_replaces_the_table_and_keeps_who_may_read_it),
        TEST(older_export_does_not_replace_a_newer_one),
        TEST(who_reads_the_old_table_is_waited_for_but_not_for_long),
        TEST(view_on_the_old_table_is_not_dropped_behind_its_owner),
        TEST(list_shows_every_state_newest_first),
    };
    return cmocka_run_group_tests(tests, set_up_all, tally_pg_unshare);
}
