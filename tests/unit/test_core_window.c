// SPDX-License-Identifier: MIT
//  core, windows: what a queue holds back, and the four things that let it go.
#include "tests/unit/core_scene.h"

#define WINDOW_MS 10000

static tally_queue_row_t
windowed(int32_t count)
{
    tally_queue_row_t row = scene_policy("batch");
    row.window_ms = WINDOW_MS;
    row.window_count = count;
    return row;
}

static int
setup(void **state)
{
    scene_setup(state);
    const tally_queue_row_t row = windowed(0);
    scene_put_queue(*state, &row);
    return 0;
}

static tally_item_t
releasing(const char *body)
{
    tally_item_t item = scene_item(body);
    item.options = TALLY_RELEASES;
    return item;
}

static void
messages_are_held_until_the_oldest_has_waited_the_window(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 100, "batch");
    scene_send(scene, "batch", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 2);
    scene_pass(scene, WINDOW_MS - 1);
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 3);
    scene_pass(scene, 1);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->count, 3);
    //  And the window is closed again.
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_pass(scene, WINDOW_MS - 1);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
}

static void
the_count_releases_before_the_time(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t row = windowed(3);
    scene_put_queue(scene, &row);
    scene_send(scene, "batch", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 2);
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").ready, 3);
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
}

static void
tenants_have_windows_of_their_own(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    scene_pass(scene, WINDOW_MS / 2);
    scene_send(scene, "batch", "globex", 1);
    scene_tick(scene);
    scene_pass(scene, WINDOW_MS / 2);
    assert_int_equal(scene_stats(scene, "batch").ready, 1);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    tally_core_release_window(scene->core, scene_queue_id(scene, "batch"),
                              scene_tenant_id(scene, "acme"), scene->now_ms);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    tally_core_release_window(scene->core, scene_queue_id(scene, "batch"),
                              scene_tenant_id(scene, "globex"), scene->now_ms);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
    tally_core_release_window(scene->core, 77, 77, scene->now_ms);
}

static void
a_release_on_request_is_served_at_once(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "batch");
    scene_send(scene, "batch", "acme", 2);
    scene_tick(scene);
    tally_core_release_window(scene->core, scene_queue_id(scene, "batch"),
                              scene_tenant_id(scene, "acme"), scene->now_ms);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
}

static void
a_message_that_releases_keeps_the_window_open_until_its_end(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 1, "batch");
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    uint64_t held = scene_sent(scene, 0);
    scene_send_item(scene, "batch", "acme", releasing("now"));
    scene_tick(scene);
    assert_true(scene->told->messages.items[0].releases);
    //  First what was held, then the one that released it.
    assert_int_equal(scene_message(scene, 0, 0), held);
    assert_int_equal(scene_stats(scene, "batch").ready, 1);
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
    tally_plan_clear(scene->told);
    for (int i = 0; i < 2; i++) {
        scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT);    // crashes do not close it
        scene_send(scene, "batch", "acme", 1);
        scene_settle_down(scene);
        assert_int_equal(scene_stats(scene, "batch").held, 0);
    }
}

static void
the_window_closes_when_the_message_that_opened_it_ends(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "batch");
    scene_send_item(scene, "batch", "acme", releasing("one"));
    scene_send_item(scene, "batch", "acme", releasing("two"));
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_settle_one(scene, lease, scene_message(scene, 0, 0));
    scene_bury(scene, lease, scene_message(scene, 0, 1), "bad");
    scene_send(scene, "batch", "acme", 1);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
    scene_tick(scene);
    scene_send(scene, "batch", "acme", 1);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_tick(scene);
}

static void
a_delayed_message_releases_when_it_is_due(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "batch", "acme", 1);
    tally_item_t item = releasing("later");
    item.options |= TALLY_HAS_DELAY;
    item.delay_ms = 1000;
    scene_send_item(scene, "batch", "acme", item);
    scene_tick(scene);
    scene_pass(scene, 999);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
    assert_int_equal(scene_stats(scene, "batch").ready, 2);
}

static void
what_comes_back_does_not_wait_for_the_window_again(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "batch");
    scene_send(scene, "batch", "acme", 2);
    scene_tick(scene);
    scene_pass(scene, WINDOW_MS);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_give_back(scene, lease, scene_message(scene, 0, 0));
    scene_fail(scene, lease, scene_message(scene, 0, 1), "again");
    scene_pass(scene, TALLY_RETRY_BASE_MS);
    assert_int_equal(scene_stats(scene, "batch").leased, 2);
    //  Nor after a restart.
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_pass(scene, TALLY_ORPHANS_MS);
    assert_int_equal(scene_stats(scene, "batch").ready, 2);
    scene_reload(scene, false);
    scene_loaded(scene);
    assert_int_equal(scene_stats(scene, "batch").ready, 2);
}

static void
a_delayed_message_waits_for_the_window_from_its_due_time(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("later");
    item.options = TALLY_HAS_DELAY;
    item.delay_ms = 5000;
    scene_send_item(scene, "batch", "acme", item);
    scene_tick(scene);
    scene_pass(scene, 5000);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_pass(scene, WINDOW_MS - 1);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
}

static void
a_restart_goes_on_waiting_where_it_was(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    scene_pass(scene, 6000);
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_pass(scene, WINDOW_MS - 6000 - 1);
    assert_int_equal(scene_stats(scene, "batch").held, 2);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
}

static void
a_restart_knows_since_when_a_delayed_message_waits(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("later");
    item.options = TALLY_HAS_DELAY;
    item.delay_ms = 8000;
    scene_send_item(scene, "batch", "acme", item);
    scene_tick(scene);
    scene_pass(scene, 9000);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_pass(scene, WINDOW_MS - 1001);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
}

static void
a_restart_in_the_millisecond_in_which_it_is_due_opens_no_window(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("later");
    item.options = TALLY_HAS_DELAY;
    item.delay_ms = WINDOW_MS;
    scene_send_item(scene, "batch", "acme", item);
    scene_tick(scene);
    scene->now_ms += WINDOW_MS;
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_pass(scene, WINDOW_MS - 1);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    scene_pass(scene, 2);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
}

static void
a_window_that_passed_while_the_broker_was_away_is_over(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    scene->now_ms += WINDOW_MS;
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "batch").ready, 1);
}

static void
a_changed_policy_applies_to_what_is_held(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "batch", "acme", 3);
    scene_tick(scene);
    tally_queue_row_t row = windowed(0);
    row.window_ms = 20000;
    tally_core_put_queue(scene->core, &row);
    scene_tick(scene);
    scene_pass(scene, WINDOW_MS);
    assert_int_equal(scene_stats(scene, "batch").held, 3);
    row.window_count = 3;
    tally_core_put_queue(scene->core, &row);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
    row.window_count = 0;
    tally_core_put_queue(scene->core, &row);
    scene_tick(scene);
    scene_send(scene, "batch", "acme", 1);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 1);
    row.window_ms = 0;
    tally_core_put_queue(scene->core, &row);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 0);
    assert_int_equal(tally_core_queue_find(scene->core, tally_bytes_of("batch"))->window_ms, 0);
}

static void
keys_are_ordered_behind_the_window(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "batch");
    tally_item_t items[3] = {scene_keyed("a", "k"), scene_keyed("b", "k"), scene_item("c")};
    scene_try(scene, 1, "batch", "acme", items, 3);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "batch").held, 3);
    scene_pass(scene, WINDOW_MS);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
    assert_body(scene_item_of(scene, 0, 0), "a");
    assert_body(scene_item_of(scene, 0, 1), "c");
    assert_int_equal(scene_stats(scene, "batch").waiting, 1);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(messages_are_held_until_the_oldest_has_waited_the_window),
        TEST(the_count_releases_before_the_time),
        TEST(tenants_have_windows_of_their_own),
        TEST(a_release_on_request_is_served_at_once),
        TEST(a_message_that_releases_keeps_the_window_open_until_its_end),
        TEST(the_window_closes_when_the_message_that_opened_it_ends),
        TEST(a_delayed_message_releases_when_it_is_due),
        TEST(what_comes_back_does_not_wait_for_the_window_again),
        TEST(a_delayed_message_waits_for_the_window_from_its_due_time),
        TEST(a_restart_goes_on_waiting_where_it_was),
        TEST(a_restart_in_the_millisecond_in_which_it_is_due_opens_no_window),
        TEST(a_window_that_passed_while_the_broker_was_away_is_over),
        TEST(a_changed_policy_applies_to_what_is_held),
        TEST(keys_are_ordered_behind_the_window),
        TEST(a_restart_knows_since_when_a_delayed_message_waits),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
