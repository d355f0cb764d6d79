// SPDX-License-Identifier: MIT
//  core, asks: who asked gets the result, whatever becomes of the message.
#include "tests/unit/core_scene.h"

#include <stdlib.h>

//  ---- asks --------------------------------------------------------------------------------------

static void
a_result_is_stored_and_handed_to_who_asked(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 2);
    assert_int_equal(scene_item_of(scene, 0, 1)->options, TALLY_WANTS_RESULT);
    assert_true(scene_result(scene, lease, scene_message(scene, 0, 1), "42"));
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_tick(scene);
    const tally_plan_answer_t *answer = scene_only_answer(scene);
    assert_int_equal(answer->asker.sequence, 1);
    assert_int_equal(answer->asker.item, 1);
    assert_memory_equal(answer->asker.sender, scene->sender, TALLY_SENDER_BYTES);
    assert_int_equal(answer->outcome, TALLY_RESULT_DONE);
    assert_false(answer->from_store);
    assert_body(answer, "42");
    const fake_result_t *result = fake_store_result(scene->store, &answer->asker);
    assert_string_equal(result->body, "42");
    assert_int_equal(scene->told->results.items[0].kept_ms, TALLY_RESULT_KEPT_MS);
}

static void
results_fill_a_plan_like_bodies(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 2);
    char *body = calloc(1, TALLY_PLAN_BYTES_MAX / 2);
    for (size_t i = 0; i < 2; i++) {
        assert_false(tally_core_full(scene->core));
        tally_record_t record = {
            .kind = TALLY_RECORD_RESULT,
            .lease = lease,
            .count = 1,
            .body = {body, TALLY_PLAN_BYTES_MAX / 2},
        };
        uint64_t message = scene_message(scene, 0, i);
        assert_true(scene_record(scene, &record, &message));
    }
    assert_true(tally_core_full(scene->core));
    scene_tick(scene);
    assert_false(tally_core_full(scene->core));
    free(body);
}

static void
an_asked_message_that_is_settled_plainly_has_an_empty_result(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 1);
    scene_settle(scene, lease);
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 0);
    assert_int_equal(scene->told->results.count, 1);
    assert_int_equal(scene_only_answer(scene)->outcome, TALLY_RESULT_DONE);
    assert_int_equal(scene_only_answer(scene)->body.size, 0);
}

static void
a_result_for_a_message_nobody_asked_just_settles(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 1);
    scene_result(scene, lease, scene_message(scene, 0, 0), "42");
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
    assert_int_equal(scene->told->results.count, 0);
    assert_int_equal(scene->told->answers.count, 0);
}

static void
who_asked_hears_why_a_message_was_buried(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 1);
    scene_bury(scene, lease, 0, "no such survey");
    scene_tick(scene);
    assert_int_equal(scene_only_answer(scene)->outcome, TALLY_RESULT_BURIED);
    assert_body(scene_only_answer(scene), "no such survey");
    assert_int_equal(scene->told->results.items[0].outcome, TALLY_RESULT_BURIED);
}

static void
a_message_that_only_comes_back_answers_nobody(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 1);
    scene_fail(scene, lease, 0, "not now");
    scene_tick(scene);
    assert_int_equal(scene->told->results.count, 0);
    assert_int_equal(scene->told->answers.count, 0);
}

static void
an_ask_survives_a_restart_and_is_answered_to_its_asker(void **state)
{
    scene_t *scene = *state;
    scene_send_item(scene, "work", "acme", scene_ask("question"));
    scene_tick(scene);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_join(scene, 10, "work");
    scene_tick(scene);
    scene_result(scene, scene_lease_id(scene, 0), scene_message(scene, 0, 0), "late");
    scene_tick(scene);
    assert_int_equal(scene_only_answer(scene)->asker.sequence, 1);
    assert_body(scene_only_answer(scene), "late");
}

//  The bury is wanted, but a worker's transaction holds the lease and settles it.
static void
the_result_of_an_end_that_did_not_happen_is_not_stored(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 1);
    const tally_asker_t asker = {.sequence = scene->sequence};
    tally_asker_t mine = asker;
    memcpy(mine.sender, scene->sender, sizeof mine.sender);
    fake_store_lock_lease(scene->store, lease, true);
    scene_bury(scene, lease, 0, "no good");
    scene_tick(scene);
    assert_int_equal(scene->told->results.count, 1);
    assert_null(fake_store_result(scene->store, &mine));
    fake_store_lock_lease(scene->store, lease, false);
    assert_true(fake_store_settle(scene->store, lease, NULL, 0));
    scene_pass(scene, 1000);
    assert_int_equal(fake_store_result(scene->store, &mine)->outcome, TALLY_RESULT_DONE);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_result_is_stored_and_handed_to_who_asked),
        TEST(an_asked_message_that_is_settled_plainly_has_an_empty_result),
        TEST(a_result_for_a_message_nobody_asked_just_settles),
        TEST(who_asked_hears_why_a_message_was_buried),
        TEST(a_message_that_only_comes_back_answers_nobody),
        TEST(an_ask_survives_a_restart_and_is_answered_to_its_asker),
        TEST(results_fill_a_plan_like_bodies),
        TEST(the_result_of_an_end_that_did_not_happen_is_not_stored),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
