// SPDX-License-Identifier: MIT
//  The roles responses and statistics against PostgreSQL: what they store, count and answer, once and exactly.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/integration/pg.h"
#include "tests/integration/worker_scene.h"
#include "workers/counting_store.h"
#include "workers/responses.h"
#include "workers/responses_store.h"
#include "workers/statistics_role.h"

struct fixture {
    worker_scene_t *scene;
    void *responses, *statistics;    // states of the roles
    json_t *answer;
    char *text;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->scene = worker_scene_new(tally_pg_fresh(tally_pg_shared()));
    *state = f;
    return tally_responses_role.start(f->scene->worker, &f->responses) == -1
                   || tally_statistics_role.start(f->scene->worker, &f->statistics) == -1
               ? -1
               : 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_responses_role.stop(f->scene->worker, &f->responses);
    tally_statistics_role.stop(f->scene->worker, &f->statistics);
    worker_scene_destroy(&f->scene);
    json_decref(f->answer);
    free(f->text);
    free(f);
    return 0;
}

//  ---- helpers -----------------------------------------------------------------------------------

static bool
judge(struct fixture *f, size_t max)
{
    return worker_scene_deliver(f->scene, &tally_responses_role, f->responses, "responses", max);
}

static bool
deliver(struct fixture *f, const char *queue, size_t max)
{
    return worker_scene_deliver(f->scene, &tally_statistics_role, f->statistics, queue, max);
}

//  Sends a request and lets the responses role work on it; the answer is f->answer.
static void
ask_survey(struct fixture *f, const char *request)
{
    uint64_t id = worker_scene_send(f->scene, "survey", SCENE_ASK, request);
    worker_scene_deliver(f->scene, &tally_responses_role, f->responses, "survey", 1);
    json_decref(f->answer);
    f->answer = worker_scene_answer(f->scene, id);
    assert_non_null(f->answer);
}

static void
ask_statistics(struct fixture *f, const char *request)
{
    uint64_t id = worker_scene_send(f->scene, "statistics-read", SCENE_ASK, request);
    deliver(f, "statistics-read", 1);
    json_decref(f->answer);
    f->answer = worker_scene_answer(f->scene, id);
    assert_non_null(f->answer);
}

static void
assert_answer(const struct fixture *f, const char *expected)
{
    char *text = tally_json_print(f->answer);
    assert_string_equal(text, expected);
    free(text);
}

static void
assert_refused(const struct fixture *f, const char *code, const char *words)
{
    const json_t *error = json_object_get(f->answer, "error");
    assert_true(json_is_false(json_object_get(f->answer, "ok")));
    assert_string_equal(json_string_value(json_object_get(error, "code")), code);
    if (strstr(json_string_value(json_object_get(error, "text")), words) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", json_string_value(json_object_get(error, "text")),
                 words);
    }
}

static void
put_survey(struct fixture *f, const char *slug)
{
    free(f->text);
    f->text = tally_format(
        "{\"do\":\"put\",\"definition\":{\"slug\":\"%s\",\"title\":\"T\",\"questions\":["
        "{\"id\":\"c\",\"type\":\"choice\",\"choices\":[\"A\",\"B\"]},"
        "{\"id\":\"r\",\"type\":\"range\",\"min\":1,\"max\":5}]}}",
        slug);
    ask_survey(f, f->text);
    assert_true(json_is_true(json_object_get(f->answer, "ok")));
}

static uint64_t
respond(struct fixture *f, const char *slug, const char *id, const char *choice)
{
    free(f->text);
    f->text = tally_format(
        "{\"response_id\":\"%s\",\"survey\":\"%s\",\"answers\":{\"c\":\"%s\",\"r\":3}}", id, slug,
        choice);
    return worker_scene_send(f->scene, "responses", SCENE_BLOB, f->text);
}

static int64_t
count(struct fixture *f, const char *table)
{
    char *sql = tally_format("select count(*) from tally.%s", table);
    tally_db_t *look = tally_db_new(tally_pg_conninfo(tally_pg_shared()), "look");
    tally_rows_t rows;
    //  A connection of its own: the text is not a constant.
    int64_t number = tally_db_run(look, sql, NULL, &rows) == TALLY_DB_DONE
                         ? tally_rows_int8(&rows, 0, 0)
                         : -1;
    tally_db_destroy(&look);
    free(sql);
    (void)f;
    return number;
}

static json_int_t
counted(struct fixture *f, const char *slug)
{
    free(f->text);
    f->text = tally_format("{\"do\":\"show\",\"survey\":\"%s\"}", slug);
    ask_statistics(f, f->text);
    json_t *statistics = json_object_get(f->answer, "statistics");
    return json_integer_value(json_object_get(statistics, "responses"));
}

//  ---- surveys -----------------------------------------------------------------------------------

static void
survey_is_put_once_however_often(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    assert_answer(f, "{\"ok\":true,\"survey\":\"lunch\",\"change\":\"created\"}");
    assert_int_equal(f->scene->noted, 1);
    put_survey(f, "lunch");
    assert_answer(f, "{\"ok\":true,\"survey\":\"lunch\",\"change\":\"none\"}");
    assert_int_equal(count(f, "survey"), 1);
    assert_int_equal(count(f, "message"), 0);
    assert_int_equal(count(f, "lease"), 0);
}

static void
survey_is_listed_and_got(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    put_survey(f, "dinner");
    ask_survey(f, "{\"do\":\"ls\"}");
    const json_t *surveys = json_object_get(f->answer, "surveys");
    assert_int_equal(json_array_size(surveys), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(surveys, 0), "slug")),
                        "dinner");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(surveys, 0), "questions")),
                     2);
    ask_survey(f, "{\"do\":\"ls\",\"after\":\"dinner\"}");
    assert_int_equal(json_array_size(json_object_get(f->answer, "surveys")), 1);
    ask_survey(f, "{\"do\":\"get\",\"survey\":\"lunch\"}");
    const json_t *definition = json_object_get(f->answer, "definition");
    assert_string_equal(json_string_value(json_object_get(definition, "slug")), "lunch");
    ask_survey(f, "{\"do\":\"get\",\"survey\":\"supper\"}");
    assert_refused(f, "UNKNOWN", "supper");
}

static void
request_that_is_wrong_is_answered(void **state)
{
    struct fixture *f = *state;
    ask_survey(f, "no json");
    assert_refused(f, "JSON", "not JSON");
    ask_survey(f, "[]");
    assert_refused(f, "JSON", "\"do\"");
    ask_survey(f, "{\"do\":\"dance\"}");
    assert_refused(f, "OPTION", "put, ls or get");
    ask_survey(f, "{\"do\":\"ls\",\"befor\":1}");
    assert_refused(f, "OPTION", "befor");
    ask_survey(f, "{\"do\":\"put\"}");
    assert_refused(f, "JSON", "object");
    ask_survey(f, "{\"do\":\"put\",\"definition\":{\"slug\":\"x\"}}");
    assert_refused(f, "JSON", "title");
    ask_statistics(f, "{\"do\":\"show\",\"survey\":\"none\"}");
    assert_refused(f, "UNKNOWN", "none");
    ask_statistics(f, "{\"do\":\"show\",\"survey\":7}");
    assert_refused(f, "JSON", "survey");
}

static void
survey_without_responses_may_change_and_with_them_only_grow(void **state)
{
    struct fixture *f = *state;
    static const char other[] =
        "{\"do\":\"put\",\"definition\":{\"slug\":\"lunch\",\"title\":\"T\",\"questions\":["
        "{\"id\":\"c\",\"type\":\"text\"}]}}";
    put_survey(f, "lunch");
    ask_survey(f, other);
    assert_answer(f, "{\"ok\":true,\"survey\":\"lunch\",\"change\":\"changed\"}");
    put_survey(f, "lunch");
    respond(f, "lunch", "r1", "A");
    judge(f, 10);
    ask_survey(f, other);
    assert_refused(f, "REFUSED", "\"c\"");
    ask_survey(f,
               "{\"do\":\"put\",\"definition\":{\"slug\":\"lunch\",\"title\":\"T\",\"questions\":["
               "{\"id\":\"c\",\"type\":\"choice\",\"choices\":[\"A\",\"B\",\"C\"]},"
               "{\"id\":\"r\",\"type\":\"range\",\"min\":0,\"max\":5}]}}");
    assert_answer(f, "{\"ok\":true,\"survey\":\"lunch\",\"change\":\"changed\"}");
    respond(f, "lunch", "r2", "C");
    judge(f, 10);
    assert_int_equal(f->scene->buried, 0);
    assert_int_equal(count(f, "response"), 2);
}

//  ---- responses ---------------------------------------------------------------------------------

static void
responses_are_stored_announced_and_settled_together(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    put_survey(f, "dinner");
    respond(f, "lunch", "r1", "A");
    respond(f, "dinner", "r1", "B");
    worker_scene_send(f->scene, "responses", SCENE_PLAIN,
                      "{\"response_id\":\"r2\",\"survey\":\"lunch\",\"answers\":{}}");
    assert_true(judge(f, 10));
    assert_int_equal(f->scene->noted, 1);
    assert_int_equal(f->scene->buried + f->scene->returned, 0);
    assert_int_equal(count(f, "response"), 3);
    assert_int_equal(count(f, "inbox"), 2);    // a pointer for each survey
    assert_int_equal(count(f, "message"), 0);
    assert_int_equal(count(f, "blob"), 0);
    //  Numbers follow the messages.
    assert_int_equal(
        worker_scene_number(f->scene, "select count(*) from (select response_id, lead(number) over"
                                      " (order by survey, response_id) > number as grows"
                                      " from tally.response where response_id in ('r1', 'r2')) x"
                                      " where grows"),
        1);
}

static void
response_that_does_not_fit_is_buried_and_the_others_stored(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    respond(f, "lunch", "r1", "A");
    respond(f, "lunch", "r2", "Z");
    respond(f, "brunch", "r3", "A");
    worker_scene_send(f->scene, "responses", SCENE_BLOB, "{\"response_id\":");
    respond(f, "lunch", "r4", "B");
    judge(f, 10);
    assert_int_equal(f->scene->buried, 3);
    assert_int_equal(count(f, "response"), 2);
    assert_int_equal(count(f, "message"), 0);
    assert_int_equal(worker_scene_number(f->scene,
                                         "select count(*) from tally.dead_letter where"
                                         " reason like '%\"Z\" is not one of its choices%'"
                                         " or reason like '%no survey \"brunch\"%'"
                                         " or reason like '%not JSON%'"),
                     3);
}

static void
repeated_response_id_counts_once(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    respond(f, "lunch", "r1", "A");
    respond(f, "lunch", "r1", "B");
    judge(f, 10);
    respond(f, "lunch", "r1", "A");
    judge(f, 10);
    assert_int_equal(count(f, "response"), 1);
    assert_int_equal(count(f, "inbox"), 1);    // nothing new, nothing announced
    assert_int_equal(count(f, "message"), 0);
    respond(f, "lunch", "r1", "B");
    respond(f, "lunch", "r2", "A");
    judge(f, 10);
    assert_int_equal(count(f, "response"), 2);    // a repetition does not disturb what is new
    assert_int_equal(count(f, "inbox"), 2);
    assert_int_equal(count(f, "message"), 0);
}

static void
lease_that_is_over_stores_nothing(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    respond(f, "lunch", "r1", "A");
    respond(f, "lunch", "r2", "Z");
    assert_true(worker_scene_lease(f->scene, "responses", 10));
    worker_scene_expire(f->scene);
    worker_scene_work(f->scene, &tally_responses_role, f->responses);
    assert_int_equal(f->scene->noted + f->scene->returned + f->scene->buried + f->scene->settled,
                     0);
    assert_int_equal(count(f, "response"), 0);
    assert_int_equal(count(f, "inbox"), 0);
    assert_true(judge(f, 10));    // whoever comes next does it
    assert_int_equal(count(f, "response"), 1);
}

static void
body_that_is_too_large_is_not_read(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    char *large = tally_alloc(TALLY_RESPONSE_BYTES_MAX + 2);
    memset(large, ' ', TALLY_RESPONSE_BYTES_MAX + 1);
    worker_scene_send(f->scene, "responses", SCENE_BLOB, large);
    free(large);
    respond(f, "lunch", "r1", "A");
    judge(f, 10);
    assert_int_equal(f->scene->buried, 1);
    assert_int_equal(count(f, "response"), 1);
}

static void
body_that_is_gone_is_buried_and_a_message_that_is_gone_is_not_touched(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    respond(f, "lunch", "r1", "A");
    respond(f, "lunch", "r2", "A");
    respond(f, "lunch", "r3", "A");
    assert_true(worker_scene_lease(f->scene, "responses", 10));
    worker_scene_sql(f->scene,
                     "delete from tally.blob where id = (select min(id) from tally.blob);"
                     "delete from tally.blob where id = (select max(id) from tally.blob);"
                     "delete from tally.message where id = (select max(id) from tally.message);"
                     "update tally.lease set messages = messages[1:2]");
    worker_scene_work(f->scene, &tally_responses_role, f->responses);
    assert_int_equal(f->scene->buried, 1);
    assert_int_equal(count(f, "response"), 1);
    assert_int_equal(count(f, "message"), 0);
}

static void
survey_that_changes_between_judging_and_storing_is_noticed(void **state)
{
    struct fixture *f = *state;
    tally_db_t *db = tally_worker_db(f->scene->worker);
    tally_catalog_t *catalog = tally_catalog_new();
    const char *slug = "lunch";
    put_survey(f, slug);
    uint64_t message = respond(f, slug, "r1", "A");
    assert_true(worker_scene_lease(f->scene, "responses", 1));
    assert_int_equal(tally_catalog_look(catalog, db, SCENE_TENANT, &slug, 1), TALLY_EFFECT_DONE);
    const tally_entry_t *entry = tally_catalog_find(catalog, SCENE_TENANT, slug);
    tally_bytes_t id = tally_bytes_of("r1"), body = tally_bytes_of("{}");
    tally_storing_t storing = {.tenant = SCENE_TENANT,
                               .lease = f->scene->work.id,
                               .count = 1,
                               .messages = &message,
                               .entries = &entry,
                               .ids = &id,
                               .bodies = &body};
    worker_scene_sql(f->scene, "update tally.survey set definition = definition || '\\x20'");
    assert_int_equal(tally_responses_store(db, &storing), TALLY_EFFECT_CHANGED);
    assert_int_equal(count(f, "response"), 0);
    assert_int_equal(tally_catalog_look(catalog, db, SCENE_TENANT, &slug, 1), TALLY_EFFECT_DONE);
    entry = tally_catalog_find(catalog, SCENE_TENANT, slug);
    assert_int_equal(tally_responses_store(db, &storing), TALLY_EFFECT_DONE);
    tally_catalog_destroy(&catalog);
}

static void
connection_that_was_cut_is_made_again(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    respond(f, "lunch", "r1", "A");
    worker_scene_cut(f->scene);
    while (judge(f, 10)) {    // the first time it may be given back
        assert_int_equal(f->scene->counted + f->scene->buried, 0);
    }
    assert_int_equal(count(f, "response"), 1);
}

static void
refusal_of_the_database_counts_as_a_failure(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    worker_scene_sql(f->scene,
                     "alter table tally.response add constraint never check (response_id <> 'r1')");
    respond(f, "lunch", "r1", "A");
    judge(f, 10);
    assert_int_equal(f->scene->returned, 1);
    assert_int_equal(f->scene->counted, 1);
    assert_non_null(strstr(f->scene->why, "never"));
    assert_int_equal(count(f, "message"), 1);
}

//  ---- counting ----------------------------------------------------------------------------------

static void
count_some(struct fixture *f, int first, int number)
{
    for (int i = first; i < first + number; i++) {
        char id[20];
        snprintf(id, sizeof id, "r%d", i);
        respond(f, i % 2 == 0 ? "lunch" : "dinner", id, i % 3 == 0 ? "A" : "B");
    }
    judge(f, 1000);
    worker_scene_tick(f->scene);
}

static void
pointers_are_counted_once_and_shown(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    put_survey(f, "dinner");
    assert_int_equal(counted(f, "lunch"), 0);    // zeros before anything
    count_some(f, 0, 10);
    count_some(f, 10, 5);
    assert_true(deliver(f, "statistics", 100));
    assert_int_equal(f->scene->noted, 1);
    assert_int_equal(f->scene->published, 2);
    assert_false(deliver(f, "statistics", 100));
    assert_int_equal(counted(f, "lunch"), 8);
    assert_int_equal(counted(f, "dinner"), 7);
    ask_statistics(f, "{\"do\":\"ls\"}");
    assert_answer(f, "{\"ok\":true,\"surveys\":{\"dinner\":7,\"lunch\":8}}");
}

static void
worker_without_the_term_counts_nothing(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    put_survey(f, "dinner");
    count_some(f, 0, 10);
    assert_true(worker_scene_lease(f->scene, "statistics", 10));
    worker_scene_elect(f->scene);
    worker_scene_work(f->scene, &tally_statistics_role, f->statistics);
    assert_int_equal(f->scene->noted + f->scene->returned + f->scene->buried, 0);
    assert_int_equal(count(f, "statistic"), 0);
    assert_true(deliver(f, "statistics", 10));
    assert_int_equal(counted(f, "lunch"), 5);
}

static void
pointer_that_points_at_nothing_is_buried_whole(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    put_survey(f, "dinner");
    count_some(f, 0, 2);
    long long ours =
        worker_scene_number(f->scene, "select number from tally.response where response_id = 'r0'");
    long long theirs =
        worker_scene_number(f->scene, "select number from tally.response where response_id = 'r1'");
    char *wrong[] = {
        tally_format("{\"survey\":1,\"slug\":\"lunch\",\"responses\":[%lld,%lld]}", ours,
                     ours + 1000),
        tally_format("{\"survey\":1,\"slug\":\"lunch\",\"responses\":[%lld]}", theirs),
        tally_format("{\"survey\":99,\"slug\":\"lunch\",\"responses\":[%lld]}", ours),
        tally_format("{\"survey\":1,\"slug\":\"lunch\",\"responses\":[%lld,%lld]}", ours, ours),
        tally_strdup("{\"survey\":1,\"slug\":\"lunch\",\"responses\":[]}"),
        tally_strdup("{\"do\":\"nothing\"}"),
        tally_strdup("nothing"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        worker_scene_send(f->scene, "statistics", SCENE_PLAIN, wrong[i]);
        free(wrong[i]);
    }
    deliver(f, "statistics", 100);
    assert_int_equal(f->scene->buried, sizeof wrong / sizeof wrong[0]);
    assert_int_equal(counted(f, "lunch"), 1);
    assert_int_equal(counted(f, "dinner"), 1);
    assert_int_equal(count(f, "message"), 0);
}

//  A commit whose answer was lost may become visible after we read and before we write.
static void
state_that_is_not_as_it_was_read_is_not_overwritten(void **state)
{
    struct fixture *f = *state;
    tally_db_t *db = tally_worker_db(f->scene->worker);
    put_survey(f, "lunch");
    put_survey(f, "dinner");
    count_some(f, 0, 4);
    deliver(f, "statistics", 10);
    tally_state_t seen = {.survey = 1, .next_state = tally_bytes_of("{}")};
    tally_state_t unseen = {.survey = 2,
                            .next_state = tally_bytes_of("{}")};    // as if it had not been there
    assert_int_equal(tally_counting_store_load(db, SCENE_TENANT, &seen, 1), TALLY_EFFECT_DONE);
    assert_true(seen.exists);
    worker_scene_sql(f->scene, "update tally.statistic set state = state || '\\x20'");
    assert_int_equal(tally_db_begin(db, TALLY_DB_READ_COMMITTED), TALLY_DB_DONE);
    tally_effect_t first = tally_counting_store_write(db, SCENE_TENANT, &seen, 1);
    tally_effect_t second = tally_counting_store_write(db, SCENE_TENANT, &unseen, 1);
    tally_db_rollback(db);
    tally_states_free(&seen, 1);
    assert_int_equal(first, TALLY_EFFECT_CHANGED);
    assert_int_equal(second, TALLY_EFFECT_CHANGED);
    assert_int_equal(counted(f, "lunch"), 2);
}

//  ---- refresh -----------------------------------------------------------------------------------

static void
refresh_is_answered_when_all_before_it_is_counted(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    respond(f, "lunch", "r0", "A");
    uint64_t refresh = worker_scene_send(f->scene, "statistics", SCENE_ASK, "{\"do\":\"refresh\"}");
    deliver(f, "statistics", 10);    // not judged yet
    assert_int_equal(f->scene->returned, 1);
    assert_int_equal(f->scene->counted, 0);
    assert_true(f->scene->delay_ms >= 20 && f->scene->delay_ms <= 100);
    judge(f, 10);
    deliver(f, "statistics", 10);    // in the inbox
    assert_int_equal(f->scene->returned, 1);
    worker_scene_tick(f->scene);
    deliver(f, "statistics", 1);    // the refresh alone: the pointer has a larger id
    assert_int_equal(f->scene->returned, 1);
    respond(f, "lunch", "r1", "A");    // later than the refresh: not waited for
    deliver(f, "statistics", 10);
    json_decref(f->answer);
    f->answer = worker_scene_answer(f->scene, refresh);
    assert_answer(f, "{\"ok\":true,\"surveys\":{\"lunch\":1}}");
}

static void
two_refreshes_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    put_survey(f, "lunch");
    worker_scene_send(f->scene, "statistics", SCENE_ASK, "{\"do\":\"refresh\"}");
    worker_scene_send(f->scene, "statistics", SCENE_PLAIN, "{\"do\":\"refresh\"}");
    deliver(f, "statistics", 10);
    assert_int_equal(f->scene->settled, 2);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(survey_is_put_once_however_often),
        TEST(survey_is_listed_and_got),
        TEST(request_that_is_wrong_is_answered),
        TEST(survey_without_responses_may_change_and_with_them_only_grow),
        TEST(responses_are_stored_announced_and_settled_together),
        TEST(response_that_does_not_fit_is_buried_and_the_others_stored),
        TEST(repeated_response_id_counts_once),
        TEST(lease_that_is_over_stores_nothing),
        TEST(body_that_is_too_large_is_not_read),
        TEST(body_that_is_gone_is_buried_and_a_message_that_is_gone_is_not_touched),
        TEST(survey_that_changes_between_judging_and_storing_is_noticed),
        TEST(connection_that_was_cut_is_made_again),
        TEST(refusal_of_the_database_counts_as_a_failure),
        TEST(pointers_are_counted_once_and_shown),
        TEST(worker_without_the_term_counts_nothing),
        TEST(pointer_that_points_at_nothing_is_buried_whole),
        TEST(state_that_is_not_as_it_was_read_is_not_overwritten),
        TEST(refresh_is_answered_when_all_before_it_is_counted),
        TEST(two_refreshes_do_not_wait_for_each_other),
    };
    return cmocka_run_group_tests(tests, tally_pg_share, tally_pg_unshare);
}
