// SPDX-License-Identifier: MIT
//  core and other transactions: what workers settle and send by SQL, and what they hold locked.
#include "tests/unit/core_scene.h"

#include <stdlib.h>

#define BACKOFF_MS 20
#define BACKOFF_MS_MAX 250

//  ---- settled by SQL ----------------------------------------------------------------------------

static void
a_note_finds_what_a_transaction_settled_and_looks_in_the_inbox(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 4);
    uint64_t worker = scene_lease(scene, 0)->worker;
    assert_true(fake_store_settle(scene->store, lease, NULL, 0));
    fake_store_send(scene->store, 1, 1, "follow-up", "");
    assert_true(scene_note(scene, lease));
    assert_int_equal(scene_worker(scene, worker).outstanding, 0);
    scene_pass(scene, 2);
    assert_int_equal(scene_stats(scene, "work").settled, 4);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_body(scene_item_of(scene, 0, 0), "follow-up");
    assert_int_equal(fake_store_inbox_count(scene->store), 0);
    assert_false(scene_settle(scene, lease));
}

static void
a_note_of_a_part_leaves_the_rest_to_the_worker(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 3);
    uint64_t ids[3];
    for (size_t i = 0; i < 3; i++) {
        ids[i] = scene_message(scene, 0, i);
    }
    fake_store_settle(scene->store, lease, ids, 2);
    scene_note(scene, lease);
    scene_pass(scene, 2);
    assert_int_equal(scene_stats(scene, "work").settled, 2);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_true(scene_bury(scene, lease, ids[2], "bad"));
    scene_pass(scene, 2);
    assert_non_null(fake_store_dead(scene->store, ids[2]));
    assert_int_equal(fake_store_lease_count(scene->store), 0);
}

static void
what_was_noted_but_not_settled_comes_back_at_the_deadline(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    scene_note(scene, lease);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT - 1);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").expired, 2);
}

static void
asks_settled_by_sql_are_answered_from_the_store(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 1);
    fake_store_settle(scene->store, lease, NULL, 0);
    scene_note(scene, lease);
    scene_tick(scene);
    assert_true(scene_only_answer(scene)->from_store);
    assert_int_equal(scene->told->results.count, 0);
    assert_string_equal(fake_store_result(scene->store, &scene_only_answer(scene)->asker)->body,
                        "by sql");
}

static void
a_record_that_comes_after_a_settle_by_sql_ends_nothing_twice(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 2);
    uint64_t ids[2] = {scene_message(scene, 0, 0), scene_message(scene, 0, 1)};
    fake_store_settle(scene->store, lease, &ids[0], 1);
    scene_result(scene, lease, ids[0], "too late");
    scene_fail(scene, lease, ids[1], "no");
    scene_tick(scene);
    assert_int_equal(fake_store_settled_total(scene->store), 1);
    assert_true(scene_only_answer(scene)->from_store);
    assert_int_equal(scene_stats(scene, "work").delayed, 1);
}

static void
a_plain_settle_of_what_sql_settled_is_found_out_in_the_next_try(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 3);
    fake_store_settle(scene->store, lease, NULL, 0);
    scene_settle(scene, lease);
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
    assert_int_equal(scene_stats(scene, "work").leased, 3);
    scene_pass(scene, BACKOFF_MS - 1);
    assert_int_equal(scene_stats(scene, "work").leased, 3);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    assert_int_equal(scene_stats(scene, "work").settled, 3);
}

//  ---- locked ------------------------------------------------------------------------------------

static void
a_locked_settle_is_tried_again_with_growing_pauses(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 3);
    fake_store_lock_lease(scene->store, lease, true);
    scene_settle(scene, lease);
    scene_tick(scene);
    int64_t backoff_ms = BACKOFF_MS;
    for (int i = 0; i < 8; i++) {
        assert_true(tally_core_owes(scene->core));
        assert_true(tally_core_awaits(scene->core, lease));
        assert_int_equal(tally_core_next_ms(scene->core, scene->now_ms),
                         scene->now_ms + backoff_ms);
        scene->now_ms += backoff_ms;
        scene_beat(scene);
        scene_tick(scene);
        assert_int_equal(scene->told->settled.count, 1);
        assert_int_equal(scene->told->checks.count, 1);
        backoff_ms = backoff_ms * 2 < BACKOFF_MS_MAX ? backoff_ms * 2 : BACKOFF_MS_MAX;
    }
    fake_store_lock_lease(scene->store, lease, false);
    scene_pass(scene, BACKOFF_MS_MAX);
    assert_false(tally_core_owes(scene->core));
    assert_int_equal(scene_stats(scene, "work").settled, 3);
    assert_int_equal(fake_store_lease_count(scene->store), 0);
}

static void
ends_of_a_locked_lease_stay_wanted_whatever_they_are(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 4);
    uint64_t ids[4];
    for (size_t i = 0; i < 4; i++) {
        ids[i] = scene_message(scene, 0, i);
    }
    fake_store_lock_lease(scene->store, lease, true);
    scene_result(scene, lease, ids[0], "42");
    scene_fail(scene, lease, ids[1], "why");
    scene_bury(scene, lease, ids[2], "bad");
    scene_tick(scene);
    assert_int_equal(scene->told->ends.count, 3);
    assert_int_equal(scene->told->answers.count, 0);
    assert_int_equal(scene_stats(scene, "work").leased, 4);
    int64_t delay_ms = scene->told->ends.items[1].delay_ms;
    fake_store_lock_lease(scene->store, lease, false);
    scene_pass(scene, BACKOFF_MS);
    assert_int_equal(scene->told->ends.count, 3);
    assert_int_equal(scene->told->ends.items[1].delay_ms, delay_ms);
    assert_int_equal(scene->told->answers.count, 2);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_non_null(fake_store_dead(scene->store, ids[2]));
    assert_int_equal(fake_store_message(scene->store, ids[1])->history, 1);
}

static void
an_expired_lease_that_a_transaction_holds_waits_for_its_outcome(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    fake_store_lock_lease(scene->store, lease, true);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT);
    assert_int_equal(scene_stats(scene, "work").expired, 2);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
    fake_store_lock_lease(scene->store, lease, false);
    fake_store_settle(scene->store, lease, NULL, 0);
    scene_pass(scene, BACKOFF_MS_MAX);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    assert_int_equal(scene_stats(scene, "work").settled, 2);
    assert_int_equal(scene_stats(scene, "work").ready, 0);
}

static void
an_expired_lease_whose_transaction_was_rolled_back_is_redelivered(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    fake_store_lock_lease(scene->store, lease, true);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT);
    fake_store_lock_lease(scene->store, lease, false);
    scene_pass(scene, BACKOFF_MS_MAX);
    assert_int_equal(scene_stats(scene, "work").settled, 0);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
    assert_int_equal(scene_stats(scene, "work").leased, 1);    // suspects, one at a time
    assert_null(fake_store_lease(scene->store, lease));
}

static void
settle_now(void *context)
{
    scene_t *scene = context;
    assert_true(fake_store_settle(scene->store, scene->told->leases.items[0].id, NULL, 0));
}

static void
a_transaction_that_commits_between_the_claim_and_the_look_wins(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_asks(scene, 2);
    fake_store_lock_lease(scene->store, lease, true);
    fake_store_meanwhile(scene->store, settle_now, scene);
    scene_fail(scene, lease, 0, "too late");
    scene_tick(scene);
    assert_int_equal(scene->told->answers.count, 2);
    assert_true(scene->told->answers.items[0].from_store);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    assert_int_equal(scene_stats(scene, "work").settled, 2);
    assert_int_equal(scene_stats(scene, "work").delayed, 0);
}

//  ---- inbox -------------------------------------------------------------------------------------

static void
the_inbox_is_emptied_in_growing_looks_without_a_worker(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    for (int i = 0; i < 1000; i++) {
        fake_store_send(scene->store, 1, 1, "x", i % 2 == 0 ? "" : "key");
    }
    tally_core_look_in_inbox(scene->core);
    size_t ticks = 0;
    while (tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms) {
        scene_tick(scene);
        ticks++;
    }
    assert_int_equal(fake_store_inbox_count(scene->store), 0);
    assert_in_range(ticks, 2, 5);
    assert_int_equal(scene_stats(scene, "work").ready, 502);
    assert_int_equal(scene_stats(scene, "work").waiting, 499);
    tally_core_look_in_inbox(scene->core);
    scene_tick(scene);
    assert_in_range(scene->told->inbox_max, 1, 100);
}

static void
housekeeping_and_looking_are_ticks_of_their_own(void **state)
{
    scene_t *scene = *state;
    tally_core_housekeep(scene->core);
    assert_true(scene_tick(scene));
    assert_false(scene_tick(scene));
    tally_core_look_in_inbox(scene->core);
    assert_true(scene_tick(scene));
    assert_false(scene_tick(scene));
    assert_int_equal(fake_store_last_tick(scene->store), 2);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_note_finds_what_a_transaction_settled_and_looks_in_the_inbox),
        TEST(a_note_of_a_part_leaves_the_rest_to_the_worker),
        TEST(what_was_noted_but_not_settled_comes_back_at_the_deadline),
        TEST(asks_settled_by_sql_are_answered_from_the_store),
        TEST(a_record_that_comes_after_a_settle_by_sql_ends_nothing_twice),
        TEST(a_plain_settle_of_what_sql_settled_is_found_out_in_the_next_try),
        TEST(a_locked_settle_is_tried_again_with_growing_pauses),
        TEST(ends_of_a_locked_lease_stay_wanted_whatever_they_are),
        TEST(an_expired_lease_that_a_transaction_holds_waits_for_its_outcome),
        TEST(an_expired_lease_whose_transaction_was_rolled_back_is_redelivered),
        TEST(a_transaction_that_commits_between_the_claim_and_the_look_wins),
        TEST(the_inbox_is_emptied_in_growing_looks_without_a_worker),
        TEST(housekeeping_and_looking_are_ticks_of_their_own),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
