// SPDX-License-Identifier: MIT
//  Exports against a real PostgreSQL: every response once and value by value, whatever dies in
//  between, and nothing that a late worker does reaches what its successor made.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/integration/export_scene.h"
#include "tests/integration/pg.h"

#define MANY 5000    // three pages

static int
set_up_all(void **state)
{
    (void)tally_pg_share(state);
    return sodium_init() == -1 ? -1 : 0;
}

static int
set_up(void **state)
{
    *state = export_scene_new(tally_pg_fresh(tally_pg_shared()));
    return 0;
}

static int
tear_down(void **state)
{
    export_scene_t *scene = *state;
    export_scene_destroy(&scene);
    return 0;
}

static void
run_to_end(export_scene_t *scene, const char *format)
{
    export_scene_request(scene, format, NULL);
    scene->run = export_scene_run(scene);
    assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_SETTLED);
}

//  ---- what comes out ----------------------------------------------------------------------------

static void
csv_holds_every_response_value_by_value(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    run_to_end(scene, "csv");
    export_scene_check(scene, "csv");
}

static void
ndjson_holds_every_response_as_it_was_sent(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    run_to_end(scene, "ndjson");
    export_scene_check(scene, "ndjson");
}

static void
table_has_a_typed_column_for_each_question(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    run_to_end(scene, "table");
    export_scene_check(scene, "table");
}

static void
real_surveys_come_out_value_by_value(void **state)
{
    static const char *const slugs[] = {"steak-risk", "comma", "flying-etiquette", "food-world-cup",
                                        "sleeping-alone"};
    static const char *const formats[] = {"csv", "ndjson", "table"};
    export_scene_t *scene = *state;
    for (size_t i = 0; i < sizeof slugs / sizeof slugs[0]; i++) {
        if (!export_scene_fill_real(scene, slugs[i])) {
            skip();
        }
        for (size_t j = 0; j < sizeof formats / sizeof formats[0]; j++) {
            run_to_end(scene, formats[j]);
            export_scene_check(scene, formats[j]);
        }
        export_scene_destroy(&scene);
        *state = scene = export_scene_new(tally_pg_fresh(tally_pg_shared()));
    }
}

static void
survey_without_responses_gives_a_header(void **state)
{
    export_scene_t *scene = *state;
    size_t size;
    export_scene_fill(scene, 0);
    run_to_end(scene, "csv");
    char *text = export_scene_file(scene, "csv", &size);
    assert_string_equal(text, "response_id,color,\"many, of\",ctid,say\r\n");
    free(text);
    run_to_end(scene, "table");
    export_scene_check(scene, "table");
}

static void
result_and_row_tell_rows_bytes_and_hash_of_the_file(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 300);
    run_to_end(scene, "csv");
    size_t size;
    char *text = export_scene_file(scene, "csv", &size);
    unsigned char hash[crypto_hash_sha256_BYTES];
    char hex[2 * sizeof hash + 1];
    crypto_hash_sha256(hash, (unsigned char *)text, size);
    sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
    free(text);

    json_t *result = export_scene_result(scene);
    assert_true(json_is_true(json_object_get(result, "ok")));
    assert_int_equal(json_integer_value(json_object_get(result, "rows")), 300);
    assert_int_equal(json_integer_value(json_object_get(result, "bytes")), size);
    assert_string_equal(json_string_value(json_object_get(result, "sha256")), hex);
    assert_int_equal(access(json_string_value(json_object_get(result, "target")), R_OK), 0);
    json_decref(result);
    export_scene_assert_value(scene,
                              "select state || rows_done || ' ' || rows_total from tally.exports",
                              "done300 300");
    char *wanted = tally_format("%zu %s", size, hex);
    export_scene_assert_value(scene, "select bytes || ' ' || sha256 from tally.exports", wanted);
    free(wanted);
    assert_non_null(strstr(scene->last_news, "\"state\":\"done\",\"rows_done\":300"));
    export_scene_assert_value(scene, "select count(*) from tally.message", "0");
}

static void
responses_that_come_later_are_not_part_of_it(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    scene->tools.slice_ms = 0;
    export_scene_request(scene, "csv", NULL);
    scene->run = export_scene_run(scene);
    assert_int_equal(tally_export_run_work(scene->run, scene->lease, 0), TALLY_RUN_SLICE);
    json_t *before = json_deep_copy(scene->responses);
    export_scene_add(scene, "late");
    json_decref(scene->responses);
    scene->responses = before;
    assert_true(export_scene_lease_again(scene));
    assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_SETTLED);
    export_scene_check(scene, "csv");
}

static void
responses_to_other_surveys_are_passed_over_slice_by_slice(void **state)
{
    static const char *const formats[] = {"csv", "table"};
    export_scene_t *scene = *state;
    export_scene_fill(scene, 10);
    export_scene_sql(scene, "insert into tally.response (tenant, survey, response_id, body)"
                            " select 7, 1000, n::text, '' from generate_series(1, 120000) n");
    export_scene_add(scene, "behind them");
    scene->tools.slice_ms = 0;
    for (int i = 0; i < 2; i++) {
        int slices = 0;
        export_scene_request(scene, formats[i], NULL);
        tally_run_end_t end;
        do {
            scene->run = export_scene_run(scene);
            end = tally_export_run_work(scene->run, scene->lease, 0);
            tally_export_run_destroy(&scene->run);
        } while (end == TALLY_RUN_SLICE && slices++ < 100 && export_scene_lease_again(scene));
        assert_int_equal(end, TALLY_RUN_SETTLED);
        assert_true(slices >= 3);
        export_scene_check(scene, formats[i]);
    }
}

//  ---- crashes and late workers ------------------------------------------------------------------

static void
crash_everywhere(export_scene_t *scene, const char *format)
{
    for (int i = 0; i < 2 * TALLY_AT_COUNT; i++) {
        //  First early, then behind a checkpoint that has rows.
        int point = i % TALLY_AT_COUNT;
        int skip = i < TALLY_AT_COUNT || point < TALLY_AT_ADDED || point > TALLY_AT_CHECKPOINTED
                       ? 0
                       : 2;
        export_scene_request(scene, format, NULL);
        assert_true(export_scene_crash(scene, (tally_export_point_t)point, skip));
        if (export_scene_lease_again(scene)) {
            assert_int_not_equal(point, TALLY_AT_COMMITTED);
            scene->run = export_scene_run(scene);
            assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_SETTLED);
        } else {
            assert_int_equal(point, TALLY_AT_COMMITTED);
        }
        export_scene_check(scene, format);
    }
    export_scene_assert_value(scene, "select count(*) from tally.exports where state = 'done'",
                              "16");
    export_scene_assert_value(scene,
                              "select count(distinct coalesce(sha256, 'table')) from tally.export",
                              "1");
}

static void
csv_that_crashed_anywhere_ends_the_same(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    crash_everywhere(scene, "csv");
    assert_int_equal(export_scene_entries(scene), 2 * TALLY_AT_COUNT);    // and no parts
}

static void
ndjson_that_crashed_anywhere_ends_the_same(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    crash_everywhere(scene, "ndjson");
    assert_int_equal(export_scene_entries(scene), 2 * TALLY_AT_COUNT);
}

static void
table_that_crashed_anywhere_ends_the_same(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    crash_everywhere(scene, "table");
    export_scene_assert_value(scene,
                              "select count(*) from pg_tables where schemaname = 'tally_export'",
                              "2");
}

static void
export_that_crashes_again_and_again_goes_on_from_its_checkpoint(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    export_scene_request(scene, "csv", NULL);
    static const char *const done[] = {"2000", "4000"};
    for (int i = 0; i < 2; i++) {
        //  Of its checkpoints the first is the one that it found.
        assert_true(export_scene_crash(scene, TALLY_AT_CHECKPOINTED, 1));
        export_scene_assert_value(scene, "select rows_done from tally.exports", done[i]);
        assert_true(export_scene_lease_again(scene));
    }
    assert_true(export_scene_lease_again(scene));
    scene->run = export_scene_run(scene);
    assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_SETTLED);
    export_scene_check(scene, "csv");
    assert_int_equal(export_scene_entries(scene), 1);
}

static tally_export_point_t overtake_at;

//  While the first worker stands here, its lease passes and another one does everything.
static void
overtake(export_scene_t *scene, tally_export_point_t point)
{
    if (point != overtake_at) {
        return;
    }
    scene->at = NULL;
    uint64_t late = scene->lease;
    assert_true(export_scene_lease_again(scene));
    tally_export_tools_t tools = scene->tools;
    scene->tools.db = tally_db_new(scene->conninfo, "test-other");
    scene->tools.outlet.target = tally_db_new(scene->conninfo, "test-other");
    tally_export_run_t *run = export_scene_run(scene);
    tally_run_end_t end = export_scene_finish(scene, &run);
    tally_db_destroy(&scene->tools.db);
    tally_db_destroy(&scene->tools.outlet.target);
    scene->tools = tools;
    scene->lease = late;
    assert_int_equal(end, TALLY_RUN_SETTLED);
}

static void
overtake_everywhere(export_scene_t *scene, const char *format, int last)
{
    for (int point = 0; point <= last; point++) {
        export_scene_request(scene, format, NULL);
        overtake_at = (tally_export_point_t)point;
        scene->at = overtake;
        scene->run = export_scene_run(scene);
        assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_STALE);
        assert_null(scene->at);
        export_scene_check(scene, format);
        scene->lease += 10;
    }
    export_scene_assert_value(scene, "select count(*) from tally.exports where state <> 'done'",
                              "0");
}

static void
late_worker_leaves_the_file_of_its_successor_alone(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    //  Later it holds its lease locked: nobody can overtake it.
    overtake_everywhere(scene, "csv", TALLY_AT_COMPLETE);
    assert_int_equal(export_scene_entries(scene), TALLY_AT_COMPLETE + 1);
}

static void
late_worker_leaves_the_table_of_its_successor_alone(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    overtake_everywhere(scene, "table", TALLY_AT_COMPLETE);
    export_scene_assert_value(scene,
                              "select count(*) from pg_tables where schemaname = 'tally_export'",
                              "2");
}

static void
slices_of_one_run_go_on_without_copying(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    scene->tools.slice_ms = 0;
    export_scene_request(scene, "csv", NULL);
    uint64_t first = scene->lease;
    scene->run = export_scene_run(scene);
    int slices = 0;
    tally_run_end_t end;
    while ((end = tally_export_run_work(scene->run, scene->lease, 0)) == TALLY_RUN_SLICE) {
        char *wanted = tally_format("%" PRIu64, first);
        export_scene_assert_value(scene, "select part from tally.export", wanted);
        free(wanted);
        assert_true(export_scene_lease_again(scene));
        slices++;
    }
    assert_int_equal(end, TALLY_RUN_SETTLED);
    assert_int_equal(slices, 3);
    export_scene_check(scene, "csv");
}

static void
another_worker_takes_over_between_two_slices(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    scene->tools.slice_ms = 0;
    export_scene_request(scene, "ndjson", NULL);
    tally_run_end_t end;
    do {
        scene->run = export_scene_run(scene);
        end = tally_export_run_work(scene->run, scene->lease, 0);
        tally_export_run_destroy(&scene->run);
    } while (end == TALLY_RUN_SLICE && export_scene_lease_again(scene));
    assert_int_equal(end, TALLY_RUN_SETTLED);
    export_scene_check(scene, "ndjson");
    assert_int_equal(export_scene_entries(scene), 1);
}

//  One slice of a run of its own, under a new lease.
static void
work_elsewhere(export_scene_t *scene)
{
    assert_true(export_scene_lease_again(scene));
    tally_export_run_t *run = export_scene_run(scene);
    tally_run_end_t end = tally_export_run_work(run, scene->lease, 0);
    tally_export_run_destroy(&run);
    assert_int_equal(end, TALLY_RUN_SLICE);
}

static void
late_checkpoint_changes_nothing(void **state)
{
    static const char *const formats[] = {"csv", "table"};
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    scene->tools.slice_ms = 0;
    for (int i = 0; i < 2; i++) {
        export_scene_request(scene, formats[i], NULL);
        uint64_t late = scene->lease;
        scene->run = export_scene_run(scene);
        assert_int_equal(tally_export_run_work(scene->run, late, 0), TALLY_RUN_SLICE);
        work_elsewhere(scene);
        char *row = export_scene_value(scene,
                                       "select e::text from tally.export e order by id desc");
        assert_int_equal(tally_export_run_work(scene->run, late, 0), TALLY_RUN_STALE);
        export_scene_assert_value(scene, "select e::text from tally.export e order by id desc",
                                  row);
        free(row);
        tally_export_run_destroy(&scene->run);
        work_elsewhere(scene);
        assert_true(export_scene_lease_again(scene));
        scene->run = export_scene_run(scene);
        assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_SETTLED);
        export_scene_check(scene, formats[i]);
    }
    char *lease = tally_format("%" PRIu64, scene->lease);
    export_scene_assert_value(scene, "select lease from tally_export.progress", lease);
    free(lease);
}

static void
late_worker_does_not_take_a_table_back(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    scene->tools.slice_ms = 0;
    export_scene_request(scene, "table", NULL);
    uint64_t late = scene->lease;
    scene->run = export_scene_run(scene);
    work_elsewhere(scene);
    assert_int_equal(tally_export_run_work(scene->run, late, 0), TALLY_RUN_STALE);
    char *lease = tally_format("%" PRIu64, scene->lease);
    export_scene_assert_value(scene, "select lease from tally_export.progress", lease);
    free(lease);
}

static void
run_that_was_taken_over_meanwhile_does_not_write_on(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    scene->tools.slice_ms = 0;
    export_scene_request(scene, "csv", NULL);
    scene->run = export_scene_run(scene);
    assert_int_equal(tally_export_run_work(scene->run, scene->lease, 0), TALLY_RUN_SLICE);
    //  The other one got as far as this one was, and no further.
    assert_true(export_scene_lease_again(scene));
    assert_true(export_scene_crash(scene, TALLY_AT_ADDED, 0));
    assert_true(export_scene_lease_again(scene));
    assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_SETTLED);
    export_scene_check(scene, "csv");
    assert_int_equal(export_scene_entries(scene), 1);
}

static void
part_that_is_gone_is_written_anew(void **state)
{
    export_scene_t *scene = *state;
    export_scene_fill(scene, MANY);
    export_scene_request(scene, "csv", NULL);
    assert_true(export_scene_crash(scene, TALLY_AT_COMPLETE, 0));
    char *part = tally_format("%s/acme.odd.%" PRIu64 ".csv.%" PRIu64 ".part", scene->dir,
                              scene->message, scene->lease);
    assert_int_equal(unlink(part), 0);
    free(part);
    assert_true(export_scene_lease_again(scene));
    scene->run = export_scene_run(scene);
    assert_int_equal(export_scene_finish(scene, &scene->run), TALLY_RUN_SETTLED);
    export_scene_check(scene, "csv");
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(csv_holds_every_response_value_by_value),
        TEST(ndjson_holds_every_response_as_it_was_sent),
        TEST(table_has_a_typed_column_for_each_question),
        TEST(real_surveys_come_out_value_by_value),
        TEST(survey_without_responses_gives_a_header),
        TEST(result_and_row_tell_rows_bytes_and_hash_of_the_file),
        TEST(responses_that_come_later_are_not_part_of_it),
        TEST(responses_to_other_surveys_are_passed_over_slice_by_slice),
        TEST(csv_that_crashed_anywhere_ends_the_same),
        TEST(ndjson_that_crashed_anywhere_ends_the_same),
        TEST(table_that_crashed_anywhere_ends_the_same),
        TEST(export_that_crashes_again_and_again_goes_on_from_its_checkpoint),
        TEST(late_worker_leaves_the_file_of_its_successor_alone),
        TEST(late_worker_leaves_the_table_of_its_successor_alone),
        TEST(slices_of_one_run_go_on_without_copying),
        TEST(another_worker_takes_over_between_two_slices),
        TEST(late_checkpoint_changes_nothing),
        TEST(late_worker_does_not_take_a_table_back),
        TEST(run_that_was_taken_over_meanwhile_does_not_write_on),
        TEST(part_that_is_gone_is_written_anew),
    };
    return cmocka_run_group_tests(tests, set_up_all, tally_pg_unshare);
}
