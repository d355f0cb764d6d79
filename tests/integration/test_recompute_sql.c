// SPDX-License-Identifier: MIT
//  Recomputation against PostgreSQL: the phases of the design, and exact results in whatever order things happen.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/pg.h"
#include "tests/integration/worker_scene.h"
#include "workers/responses.h"
#include "workers/statistics_role.h"

#define SURVEYS 3    // of the random histories

struct fixture {
    worker_scene_t *scene;
    void *responses, *statistics;    // states of the roles
    unsigned seed;
    size_t sent;    // responses
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

static uint64_t
recompute(struct fixture *f, const char *request)
{
    return worker_scene_send(f->scene, "statistics", SCENE_ASK, request);
}

static void
put_survey(struct fixture *f, const char *slug)
{
    free(f->text);
    f->text = tally_format(
        "{\"do\":\"put\",\"definition\":{\"slug\":\"%s\",\"title\":\"T\",\"questions\":["
        "{\"id\":\"c\",\"type\":\"choice\",\"choices\":[\"A\",\"B\",\"C\",\"D\",\"E\"]},"
        "{\"id\":\"r\",\"type\":\"range\",\"min\":1,\"max\":5}]}}",
        slug);
    worker_scene_send(f->scene, "survey", SCENE_ASK, f->text);
    worker_scene_deliver(f->scene, &tally_responses_role, f->responses, "survey", 1);
}

static void
respond(struct fixture *f, const char *slug, const char *choice, int range)
{
    free(f->text);
    f->text = tally_format(
        "{\"response_id\":\"%zu\",\"survey\":\"%s\",\"answers\":{\"c\":\"%s\",\"r\":%d}}",
        ++f->sent, slug, choice, range);
    worker_scene_send(f->scene, "responses", SCENE_BLOB, f->text);
}

//  Everything goes on until nothing is left but what waits for the answer to `id`.
static bool
is_answered(struct fixture *f, uint64_t id)
{
    json_decref(f->answer);
    f->answer = worker_scene_answer(f->scene, id);
    return f->answer != NULL;
}

static void
run_until_answered(struct fixture *f, uint64_t id)
{
    for (int round = 0; !is_answered(f, id); round++) {
        assert_true(round < 500);
        worker_scene_tick(f->scene);
        deliver(f, "statistics", 10);
        worker_scene_tick(f->scene);
        while (deliver(f, "statistics-map", 4)) {
        }
    }
}

static void
count_all(struct fixture *f)
{
    while (judge(f, 100)) {
    }
    worker_scene_tick(f->scene);
    while (deliver(f, "statistics", 100)) {
    }
}

static char *
phases(const json_t *trace)
{
    char *text = NULL;
    size_t size, i, j;
    FILE *out = open_memstream(&text, &size);
    json_t *phase, *row;
    json_array_foreach((json_t *)(uintptr_t)trace, i, phase) {
        fprintf(out, "%s\n", json_string_value(json_object_get(phase, "phase")));
        json_array_foreach(json_object_get(phase, "rows"), j, row) {
            fprintf(out, "%s %s %lld %s %g\n",
                    json_string_value(json_object_get(row, "aggregation")),
                    json_string_value(json_object_get(row, "survey")),
                    (long long)json_integer_value(json_object_get(row, "responses")),
                    json_string_value(json_object_get(row, "histogram")),
                    json_number_value(json_object_get(row, "mean")));
        }
    }
    fclose(out);
    return text;
}

//  ---- the phases --------------------------------------------------------------------------------

static void
send_eleven(struct fixture *f)
{
    static const struct {
        const char *survey, *choice;
        int range;
    } all[] = {
        {"travel-feedback", "C", 3},      {"book-review", "D", 3},     {"product-wishlist", "A", 4},
        {"service-satisfaction", "E", 3}, {"travel-feedback", "D", 5}, {"travel-feedback", "C", 4},
        {"purchase-experience", "C", 2},  {"brand-rating", "B", 3},    {"book-review", "A", 3},
        {"travel-feedback", "E", 4},      {"book-review", "D", 3},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        put_survey(f, all[i].survey);
    }
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        respond(f, all[i].survey, all[i].choice, all[i].range);
    }
    count_all(f);
}

static void
eleven_responses_go_through_the_phases_of_the_design(void **state)
{
    struct fixture *f = *state;
    send_eleven(f);
    run_until_answered(f, recompute(f, "{\"do\":\"recompute\",\"block\":3,\"trace\":true}"));
    char *text = phases(json_object_get(f->answer, "trace"));
    assert_string_equal(
        text,
        "map\n1.1 travel-feedback 1 C 3\n1.2 book-review 1 D 3\n1.3 product-wishlist 1 A 4\n"
        "2.1 service-satisfaction 1 E 3\n2.2 travel-feedback 2 CD 4.5\n3.1 purchase-experience 1 C "
        "2\n"
        "3.2 brand-rating 1 B 3\n3.3 book-review 1 A 3\n4.1 travel-feedback 1 E 4\n4.2 book-review "
        "1 D 3\n"
        "reduce 1\n1.1 travel-feedback 3 CCD 4\n1.2 book-review 2 AD 3\n1.3 product-wishlist 1 A "
        "4\n"
        "1.4 service-satisfaction 1 E 3\n1.5 purchase-experience 1 C 2\n1.6 brand-rating 1 B 3\n"
        "2.1 travel-feedback 1 E 4\n2.2 book-review 1 D 3\n"
        "reduce 2\n1.1 travel-feedback 4 CCDE 4\n1.2 book-review 3 ADD 3\n1.3 product-wishlist 1 A "
        "4\n"
        "1.4 service-satisfaction 1 E 3\n1.5 purchase-experience 1 C 2\n1.6 brand-rating 1 B 3\n");
    free(text);
    assert_int_equal(
        worker_scene_number(f->scene,
                            "select (select count(*) from tally.partial)"
                            " + (select count(*) from tally.recompute)"
                            " + (select count(*) from tally.message)"
                            " + (select count(*) from tally.statistic where since is not null)"),
        0);
}

static void
one_survey_is_recomputed_by_itself(void **state)
{
    struct fixture *f = *state;
    send_eleven(f);
    run_until_answered(
        f, recompute(f, "{\"do\":\"recompute\",\"block\":2,\"survey\":\"travel-feedback\"}"));
    char *text = tally_json_print(f->answer);
    assert_string_equal(text, "{\"ok\":true,\"surveys\":{\"travel-feedback\":4}}");
    free(text);
}

static void
nothing_to_count_is_a_result_too(void **state)
{
    struct fixture *f = *state;
    run_until_answered(f, recompute(f, "{\"do\":\"recompute\"}"));
    char *text = tally_json_print(f->answer);
    assert_string_equal(text, "{\"ok\":true,\"surveys\":{}}");
    free(text);
    put_survey(f, "lunch");
    run_until_answered(f, recompute(f, "{\"do\":\"recompute\",\"trace\":true}"));
    text = tally_json_print(f->answer);
    assert_string_equal(
        text,
        "{\"ok\":true,\"surveys\":{\"lunch\":0},\"trace\":[{\"phase\":\"map\",\"rows\":[]}]}");
    free(text);
}

static void
request_that_cannot_be_done_is_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[] = {
        "{\"do\":\"recompute\",\"block\":0}",
        "{\"do\":\"recompute\",\"block\":3001}",
        "{\"do\":\"recompute\",\"block\":\"3\"}",
        "{\"do\":\"recompute\",\"trace\":1}",
        "{\"do\":\"recompute\",\"survey\":\"nobody\"}",
        "{\"do\":\"recompute\",\"surveys\":\"lunch\"}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        run_until_answered(f, recompute(f, wrong[i]));
        if (!json_is_false(json_object_get(f->answer, "ok"))) {
            fail_msg("done: %s", wrong[i]);
        }
    }
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.recompute"), 0);
}

//  ---- what can go wrong -------------------------------------------------------------------------

static void
second_recomputation_waits_for_the_first(void **state)
{
    struct fixture *f = *state;
    send_eleven(f);
    uint64_t first = recompute(f, "{\"do\":\"recompute\",\"block\":2}");
    uint64_t second = recompute(f, "{\"do\":\"recompute\",\"block\":2,\"survey\":\"book-review\"}");
    deliver(f, "statistics", 10);
    assert_int_equal(f->scene->returned, 2);
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.recompute"), 1);
    run_until_answered(f, first);
    assert_true(json_is_true(json_object_get(f->answer, "ok")));
    run_until_answered(f, second);
    assert_true(json_is_true(json_object_get(f->answer, "ok")));
}

static void
recomputation_whose_request_is_gone_is_given_up_by_the_next(void **state)
{
    struct fixture *f = *state;
    send_eleven(f);
    recompute(f, "{\"do\":\"recompute\",\"block\":2}");
    deliver(f, "statistics", 10);
    worker_scene_sql(f->scene, "delete from tally.message where queue = (select id from tally.queue"
                               " where name = 'statistics')");
    run_until_answered(f, recompute(f, "{\"do\":\"recompute\",\"block\":5}"));
    assert_int_equal(json_integer_value(
                         json_object_get(json_object_get(f->answer, "surveys"), "travel-feedback")),
                     4);
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.partial"), 0);
}

static void
block_that_is_worked_out_twice_or_late_is_written_once(void **state)
{
    struct fixture *f = *state;
    send_eleven(f);
    uint64_t id = recompute(f, "{\"do\":\"recompute\",\"block\":4}");
    deliver(f, "statistics", 10);
    worker_scene_sql(f->scene, "insert into tally.inbox (tenant, queue, priority, body)"
                               " select tenant, queue, priority, body from tally.inbox");
    worker_scene_tick(f->scene);
    for (int i = 0; i < 3; i++) {
        assert_true(deliver(f, "statistics-map", 1));    // one of each pair may stay behind
    }
    run_until_answered(f, id);
    while (deliver(f, "statistics-map", 10)) {
    }
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.partial"), 0);
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.message"), 0);
    assert_int_equal(json_integer_value(
                         json_object_get(json_object_get(f->answer, "surveys"), "travel-feedback")),
                     4);
}

static void
worker_whose_term_is_over_neither_begins_nor_ends_one(void **state)
{
    struct fixture *f = *state;
    send_eleven(f);
    uint64_t id = recompute(f, "{\"do\":\"recompute\",\"block\":100}");
    assert_true(worker_scene_lease(f->scene, "statistics", 10));
    worker_scene_elect(f->scene);
    worker_scene_work(f->scene, &tally_statistics_role, f->statistics);
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.recompute"), 0);
    deliver(f, "statistics", 10);
    worker_scene_tick(f->scene);
    assert_true(deliver(f, "statistics-map", 10));
    assert_true(worker_scene_lease(f->scene, "statistics", 10));
    worker_scene_elect(f->scene);
    worker_scene_work(f->scene, &tally_statistics_role, f->statistics);
    assert_false(is_answered(f, id));
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.recompute"), 1);
    run_until_answered(f, id);
    assert_true(json_is_true(json_object_get(f->answer, "ok")));
}

//  It is looked for seldom, so this takes its time.
static void
recomputation_whose_blocks_were_buried_is_given_up(void **state)
{
    struct fixture *f = *state;
    send_eleven(f);
    uint64_t id = recompute(f, "{\"do\":\"recompute\",\"block\":3}");
    deliver(f, "statistics", 10);
    worker_scene_sql(f->scene,
                     "delete from tally.inbox where id = (select min(id) from tally.inbox)");
    worker_scene_tick(f->scene);
    while (deliver(f, "statistics-map", 10)) {
    }
    int64_t give_up_at_ms = tally_clock_now_ms() + 15000;
    while (!is_answered(f, id)) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        deliver(f, "statistics", 10);
        poll(NULL, 0, 50);
    }
    assert_true(json_is_false(json_object_get(f->answer, "ok")));
    assert_int_equal(
        worker_scene_number(f->scene,
                            "select (select count(*) from tally.partial)"
                            " + (select count(*) from tally.recompute)"
                            " + (select count(*) from tally.statistic where since is not null)"),
        0);
    assert_int_equal(worker_scene_number(f->scene,
                                         "select sum((convert_from(state, 'UTF8')::jsonb ->>"
                                         " 'responses')::bigint)::bigint from tally.statistic"),
                     11);
}

//  ---- random histories --------------------------------------------------------------------------

static unsigned
draw(struct fixture *f, unsigned below)
{
    return (unsigned)rand_r(&f->seed) % below;
}

static void
take_random_step(struct fixture *f)
{
    static const char *const slugs[SURVEYS] = {"s0", "s1", "s2"};
    static const char *const choices[] = {"A", "B", "C", "D", "E"};
    switch (draw(f, 12)) {
    case 0:
    case 1:
    case 2:
        for (unsigned left = draw(f, 6); left > 0; left--) {
            respond(f, slugs[draw(f, SURVEYS)], choices[draw(f, 5)], 1 + (int)draw(f, 5));
        }
        break;
    case 3:
    case 4:
        judge(f, 1 + draw(f, 5));
        break;
    case 5:
    case 6:
        worker_scene_tick(f->scene);
        break;
    case 7:
        deliver(f, "statistics", 1 + draw(f, 4));
        break;
    case 8:
        deliver(f, "statistics-map", 1 + draw(f, 3));
        break;
    case 9:    // a worker that dies with its lease, or comes too late with it
        if (worker_scene_lease(f->scene, draw(f, 2) == 0 ? "statistics" : "statistics-map", 3)) {
            worker_scene_elect(f->scene);
            if (draw(f, 2) == 0) {
                worker_scene_expire(f->scene);
            }
            worker_scene_work(f->scene, &tally_statistics_role, f->statistics);
        }
        break;
    case 10:    // a message returned for long: the others overtake it
        if (worker_scene_lease(f->scene, "statistics", 1)) {
            worker_scene_expire(f->scene);
            deliver(f, "statistics", 5);
        }
        break;
    case 11:
        if (draw(f, 4) == 0) {
            worker_scene_cut(f->scene);
        }
        break;
    }
}

//  The statistics in the database are those of all stored responses, and nothing is left over.
static void
assert_exact(struct fixture *f)
{
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.message"), 0);
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.inbox"), 0);
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.dead_letter"), 0);
    assert_int_equal(worker_scene_number(f->scene, "select count(*) from tally.response"), f->sent);
    //  Counted here by PostgreSQL from the bodies.
    int64_t wrong = worker_scene_number(
        f->scene,
        "with told as (select s.id, b.body -> 'answers' as a from tally.survey s join "
        "tally.response r"
        "  on r.survey = s.id cross join lateral (select convert_from(r.body, 'UTF8')::jsonb as "
        "body) b),"
        " stated as (select c.survey, convert_from(c.state, 'UTF8')::jsonb as j from "
        "tally.statistic c)"
        " select (select count(*) from tally.statistic c where c.since is not null or c.recompute "
        "is not null)"
        "  + (select count(*) from (select id, count(*) as n, sum((a ->> 'r')::int) as r from told "
        "group by id) t"
        "     left join stated s on s.survey = t.id where (s.j ->> 'responses')::int is distinct "
        "from t.n"
        "      or (s.j #>> '{questions,r,sum}')::int is distinct from t.r)"
        "  + (select count(*) from (select id, a ->> 'c' as c, count(*) as n from told group by 1, "
        "2) t"
        "     left join stated s on s.survey = t.id"
        "     where (s.j #> '{questions,c,histogram}' ->> t.c)::int is distinct from t.n)");
    assert_int_equal(wrong, 0);
}

//  Asks at a random moment, goes on at random, and looks when the answer is there and all is counted: a later
//  recomputation would repair what this one did wrong.
static void
ask_at_random(struct fixture *f, const char *request)
{
    for (unsigned left = draw(f, 30); left > 0; left--) {
        take_random_step(f);
    }
    uint64_t asked = recompute(f, request);
    for (unsigned left = 80; left > 0 && !is_answered(f, asked); left--) {
        take_random_step(f);
    }
    while (judge(f, 100)) {
    }
    run_until_answered(f, asked);
    assert_true(json_is_true(json_object_get(f->answer, "ok")));
    count_all(f);
    while (deliver(f, "statistics-map", 10)) {
    }
    assert_exact(f);
}

static void
random_histories_end_exactly(void **state)
{
    struct fixture *f = *state;
    static const char *const requests[] = {
        "{\"do\":\"recompute\",\"block\":2}",
        "{\"do\":\"recompute\",\"block\":3,\"trace\":true}",
        "{\"do\":\"recompute\",\"block\":7,\"survey\":\"s1\"}",
        "{\"do\":\"refresh\"}",
    };
    for (unsigned seed = 1; seed <= 10; seed++) {
        f->seed = seed;
        for (int i = 0; i < SURVEYS; i++) {
            char slug[] = {'s', (char)('0' + i), '\0'};
            put_survey(f, slug);
        }
        print_message("  seed %u\n", seed);    // names the history that failed
        ask_at_random(f, requests[draw(f, 4)]);
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(eleven_responses_go_through_the_phases_of_the_design),
        TEST(one_survey_is_recomputed_by_itself),
        TEST(nothing_to_count_is_a_result_too),
        TEST(request_that_cannot_be_done_is_refused),
        TEST(second_recomputation_waits_for_the_first),
        TEST(recomputation_whose_request_is_gone_is_given_up_by_the_next),
        TEST(block_that_is_worked_out_twice_or_late_is_written_once),
        TEST(worker_whose_term_is_over_neither_begins_nor_ends_one),
        TEST(recomputation_whose_blocks_were_buried_is_given_up),
        TEST(random_histories_end_exactly),
    };
    return cmocka_run_group_tests(tests, tally_pg_share, tally_pg_unshare);
}
