// SPDX-License-Identifier: MIT
//  core, keys: messages of one key are worked one at a time, in order, whatever happens to the
//  first.
#include "broker/stream.h"
#include "tests/unit/core_scene.h"

//  Three messages of one key, one worker that holds the first.  Returns its lease.
static uint64_t
lease_first(scene_t *scene, uint64_t ids[3])
{
    tally_item_t items[3] = {scene_keyed("a", "k"), scene_keyed("b", "k"), scene_keyed("c", "k")};
    scene_join(scene, 100, "work");
    scene_try(scene, 1, "work", "acme", items, 3);
    scene_tick(scene);
    for (size_t i = 0; i < 3; i++) {
        ids[i] = scene_sent(scene, i);
    }
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->count, 1);
    assert_int_equal(scene_message(scene, 0, 0), ids[0]);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
    return scene_lease_id(scene, 0);
}

//  Ticks until something is leased; returns the only message of the only lease.
static uint64_t
next_leased(scene_t *scene, int64_t within_ms)
{
    int64_t until_ms = scene->now_ms + within_ms;
    tally_plan_clear(scene->told);
    while (scene_lease_count(scene) == 0 && scene->now_ms <= until_ms) {
        scene_beat(scene);
        if (!scene_tick(scene)) {
            scene->now_ms++;
        }
    }
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->count, 1);
    return scene_message(scene, 0, 0);
}

static void
the_key_is_delivered_and_written(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    lease_first(scene, ids);
    assert_int_equal(scene_item_of(scene, 0, 0)->options, TALLY_HAS_KEY);
    assert_true(tally_bytes_equal(scene_item_of(scene, 0, 0)->key, tally_bytes_of("k")));
    assert_true(tally_bytes_equal(scene->told->messages.items[2].key, tally_bytes_of("k")));
}

static void
the_next_goes_when_the_first_is_settled(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    scene_settle(scene, lease_first(scene, ids));
    assert_int_equal(next_leased(scene, 10), ids[1]);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), ids[2]);
    scene_settle(scene, scene_lease_id(scene, 0));
    scene_pass(scene, 10);
    assert_int_equal(scene_stats(scene, "work").settled, 3);
}

static void
the_next_goes_when_the_first_is_buried(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    scene_bury(scene, lease_first(scene, ids), 0, "bad");
    assert_int_equal(next_leased(scene, 10), ids[1]);
}

static void
the_next_goes_when_the_first_was_settled_by_sql(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    uint64_t lease = lease_first(scene, ids);
    fake_store_settle(scene->store, lease, NULL, 0);
    scene_note(scene, lease);
    assert_int_equal(next_leased(scene, 10), ids[1]);
}

static void
a_first_that_backs_off_holds_up_the_others(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    uint64_t lease = lease_first(scene, ids);
    tally_record_t record = {.kind = TALLY_RECORD_RETURN,
                             .lease = lease,
                             .flags = TALLY_RETURN_FAILED | TALLY_RETURN_DELAY,
                             .delay_ms = 3000,
                             .text = tally_bytes_of("later")};
    scene_record(scene, &record, NULL);
    scene_pass(scene, 2999);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
    assert_int_equal(next_leased(scene, 10), ids[0]);
}

static void
a_first_that_comes_back_is_still_the_first(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    uint64_t lease = lease_first(scene, ids);
    scene_give_back(scene, lease, 0);
    assert_int_equal(next_leased(scene, 10), ids[0]);
    scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
    assert_int_equal(next_leased(scene, 10), ids[0]);
    assert_int_equal(scene_item_of(scene, 0, 0)->crashes, 1);
}

static void
keys_do_not_wait_for_each_other_nor_for_messages_without(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[6] = {scene_keyed("a", "k"), scene_keyed("b", "l"), scene_item("c"),
                             scene_keyed("d", "k"), scene_keyed("e", "l"), scene_item("f")};
    scene_join(scene, 100, "work");
    scene_try(scene, 1, "work", "acme", items, 6);
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 4);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
}

static void
equal_keys_of_other_tenants_and_queues_are_other_keys(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    scene_join(scene, 100, "work,other");
    scene_send_item(scene, "work", "acme", scene_keyed("a", "k"));
    scene_send_item(scene, "work", "globex", scene_keyed("b", "k"));
    scene_send_item(scene, "other", "acme", scene_keyed("c", "k"));
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 3);
}

static void
several_keys_of_one_lease_end_apart(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[4] = {scene_keyed("a", "k"), scene_keyed("b", "l"), scene_keyed("c", "k"),
                             scene_keyed("d", "l")};
    scene_join(scene, 100, "work");
    scene_try(scene, 1, "work", "acme", items, 4);
    scene_tick(scene);
    uint64_t next = scene_sent(scene, 3);
    scene_settle_one(scene, scene_lease_id(scene, 0), scene_sent(scene, 1));
    assert_int_equal(next_leased(scene, 10), next);
    assert_int_equal(scene_stats(scene, "work").waiting, 1);
}

static void
a_message_that_was_sent_to_be_late_takes_its_place_when_it_is_due(void **state)
{
    scene_t *scene = *state;
    tally_item_t late = scene_keyed("late", "k");
    late.options |= TALLY_HAS_DELAY;
    late.delay_ms = 1000;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    uint64_t late_id = scene_sent(scene, 0);
    uint64_t ids[2];
    for (int i = 0; i < 2; i++) {
        scene_send_item(scene, "work", "acme", scene_keyed("early", "k"));
        scene_tick(scene);
        ids[i] = scene_sent(scene, 0);
    }
    scene_join(scene, 10, "work");
    assert_int_equal(next_leased(scene, 10), ids[0]);
    scene_pass(scene, 1000);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
    uint64_t lease = tally_core_next_id(scene->core);
    (void)lease;
    tally_core_worker_gone(scene->core, scene_lease(scene, 0)->worker, TALLY_GONE_GOODBYE,
                           scene->now_ms);
    scene_settle_down(scene);
    scene_join(scene, 10, "work");
    assert_int_equal(next_leased(scene, 10), ids[0]);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), ids[1]);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), late_id);
}

static void
a_dead_letter_that_is_retried_goes_behind_those_that_wait(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    scene_bury(scene, lease_first(scene, ids), 0, "bad");
    assert_int_equal(next_leased(scene, 10), ids[1]);
    uint64_t lease = scene_lease_id(scene, 0);
    tally_core_retry_dead(scene->core, scene_tenant_id(scene, "acme"), ids[0]);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
    scene_settle(scene, lease);
    assert_int_equal(next_leased(scene, 10), ids[2]);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), ids[0]);
}

static void
priority_does_not_break_the_order_of_a_key(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[2] = {scene_keyed("low", "k"), scene_keyed("high", "k")};
    items[0].options |= TALLY_HAS_PRIORITY;
    items[0].priority = 0;
    items[1].options |= TALLY_HAS_PRIORITY;
    items[1].priority = 3;
    scene_try(scene, 1, "work", "acme", items, 2);
    scene_tick(scene);
    uint64_t first = scene_sent(scene, 0);
    scene_join(scene, 10, "work");
    assert_int_equal(next_leased(scene, 10), first);
}

static void
a_restart_keeps_the_first_of_a_key_first_wherever_it_is(void **state)
{
    scene_t *scene = *state;
    uint64_t ids[3];
    uint64_t lease = lease_first(scene, ids);
    uint64_t worker = scene_lease(scene, 0)->worker;
    //  Leased.
    scene_reload(scene, true);
    scene_join_as(scene, worker, 100, "work");
    scene_loaded(scene);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
    assert_false(scene_tick(scene));
    //  Backing off.
    tally_record_t record = {.kind = TALLY_RECORD_RETURN,
                             .lease = lease,
                             .flags = TALLY_RETURN_DELAY,
                             .delay_ms = 3000};
    scene_record(scene, &record, NULL);
    scene_pass(scene, 10);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_join(scene, 10, "work");
    scene_pass(scene, 2000);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
    assert_int_equal(next_leased(scene, 1000), ids[0]);
}

static void
a_restart_finds_the_one_that_is_worked_even_when_an_older_one_waits(void **state)
{
    scene_t *scene = *state;
    tally_item_t late = scene_keyed("late", "k");
    late.options |= TALLY_HAS_DELAY;
    late.delay_ms = 100;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    uint64_t older = scene_sent(scene, 0);
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send_item(scene, "work", "acme", scene_keyed("early", "k"));
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_pass(scene, 100);
    assert_int_equal(scene_stats(scene, "work").waiting, 1);
    scene_reload(scene, true);
    scene_join_as(scene, worker, 10, "work");
    scene_loaded(scene);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_int_equal(scene_stats(scene, "work").waiting, 1);
    scene_settle(scene, lease);
    assert_int_equal(next_leased(scene, 10), older);
}

//  The one that was worked is neither leased nor backing off, and the older one was never worked: order goes by who
//  began.
static void
the_one_that_was_worked_goes_first_when_a_restart_finds_both_ready(void **state)
{
    scene_t *scene = *state;
    tally_item_t late = scene_keyed("late", "k");
    late.options |= TALLY_HAS_DELAY;
    late.delay_ms = 100;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    uint64_t older = scene_sent(scene, 0);
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send_item(scene, "work", "acme", scene_keyed("early", "k"));
    scene_tick(scene);
    uint64_t early = scene_message(scene, 0, 0);
    scene_fail(scene, scene_lease_id(scene, 0), 0, "not yet");
    scene_tick(scene);
    tally_core_worker_gone(scene->core, worker, TALLY_GONE_GOODBYE, scene->now_ms);
    scene_pass(scene, 5000);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_join(scene, 10, "work");
    assert_int_equal(next_leased(scene, 10), early);
    assert_int_equal(scene_stats(scene, "work").waiting, 1);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), older);
}

//  The same, with others behind: the one that thought to be first goes before them.
static void
the_older_one_is_next_when_a_restart_put_it_back(void **state)
{
    scene_t *scene = *state;
    tally_item_t late = scene_keyed("late", "k");
    late.options |= TALLY_HAS_DELAY;
    late.delay_ms = 100;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    uint64_t older = scene_sent(scene, 0);
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send_item(scene, "work", "acme", scene_keyed("first", "k"));
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_pass(scene, 100);
    scene_send_item(scene, "work", "acme", scene_keyed("last", "k"));
    scene_tick(scene);
    uint64_t last = scene_sent(scene, 0);
    scene_reload(scene, true);
    scene_join_as(scene, worker, 10, "work");
    scene_loaded(scene);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").waiting, 2);
    scene_settle(scene, lease);
    assert_int_equal(next_leased(scene, 10), older);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), last);
}

static void
send_high(scene_t *scene)
{
    tally_item_t high = scene_item("high");
    high.options |= TALLY_HAS_PRIORITY;
    high.priority = 3;
    scene_send_item(scene, "work", "acme", high);
}

//  What has to wait behind its key after all uses up no turn of its level.
static void
a_low_priority_gets_its_turn_although_the_first_of_it_waits(void **state)
{
    scene_t *scene = *state;
    tally_item_t late = scene_keyed("late", "k");
    late.options |= TALLY_HAS_DELAY;
    late.delay_ms = 100;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    uint64_t worker = scene_join(scene, 1, "work");
    scene_send_item(scene, "work", "acme", scene_keyed("early", "k"));
    scene_tick(scene);
    scene_send_item(scene, "work", "acme", scene_item("plain"));
    scene_tick(scene);
    uint64_t plain = scene_sent(scene, 0);
    for (int i = 0; i < 2 * TALLY_PASSED_MAX; i++) {
        send_high(scene);
    }
    scene_tick(scene);
    scene_pass(scene, 100);
    scene_reload(scene, true);
    scene_join_as(scene, worker, 100, "work");
    scene_loaded(scene);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_message(scene, 0, TALLY_PASSED_MAX), plain);
}

//  Nor does a level that is empty for that reason have a turn.
static void
a_level_that_only_waits_behind_its_key_has_no_turn(void **state)
{
    scene_t *scene = *state;
    tally_item_t late = scene_keyed("late", "k");
    late.options |= TALLY_HAS_DELAY;
    late.delay_ms = 100;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    uint64_t worker = scene_join(scene, 1, "work");
    scene_send_item(scene, "work", "acme", scene_keyed("early", "k"));
    scene_tick(scene);
    for (int i = 0; i < 2 * TALLY_PASSED_MAX; i++) {
        send_high(scene);
    }
    scene_tick(scene);
    scene_pass(scene, 100);
    scene_reload(scene, true);
    scene_join_as(scene, worker, 100, "work");
    scene_loaded(scene);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->count, 2 * TALLY_PASSED_MAX);
}

//  The database has to judge the first of them; what comes behind it must not be leased meanwhile.
static void
what_follows_a_message_with_a_dedupe_key_stays_behind_it(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    tally_item_t items[3] = {scene_keyed("first", "k"), scene_keyed("second", "k"),
                             scene_keyed("other", "o")};
    items[0].options |= TALLY_HAS_DEDUPE;
    items[0].dedupe = tally_bytes_of("d");
    scene_try(scene, scene->sequence + 1, "work", "acme", items, 3);
    scene_seal(scene);
    assert_int_equal(scene->plan->ids.count, 1);                          // the other key's
    scene_send_item(scene, "work", "acme", scene_keyed("third", "k"));    // into the next plan
    scene_commit(scene);
    uint64_t first = scene_sent(scene, 0);
    uint64_t second = scene_sent(scene, 1);
    scene_tick(scene);
    uint64_t third = scene_sent(scene, 0);
    assert_int_equal(scene_message(scene, 0, 0), first);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), second);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(next_leased(scene, 10), third);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_key_is_delivered_and_written),
        TEST(the_next_goes_when_the_first_is_settled),
        TEST(the_next_goes_when_the_first_is_buried),
        TEST(the_next_goes_when_the_first_was_settled_by_sql),
        TEST(a_first_that_backs_off_holds_up_the_others),
        TEST(a_first_that_comes_back_is_still_the_first),
        TEST(keys_do_not_wait_for_each_other_nor_for_messages_without),
        TEST(equal_keys_of_other_tenants_and_queues_are_other_keys),
        TEST(several_keys_of_one_lease_end_apart),
        TEST(a_message_that_was_sent_to_be_late_takes_its_place_when_it_is_due),
        TEST(a_dead_letter_that_is_retried_goes_behind_those_that_wait),
        TEST(priority_does_not_break_the_order_of_a_key),
        TEST(a_restart_keeps_the_first_of_a_key_first_wherever_it_is),
        TEST(a_restart_finds_the_one_that_is_worked_even_when_an_older_one_waits),
        TEST(the_one_that_was_worked_goes_first_when_a_restart_finds_both_ready),
        TEST(the_older_one_is_next_when_a_restart_put_it_back),
        TEST(a_low_priority_gets_its_turn_although_the_first_of_it_waits),
        TEST(a_level_that_only_waits_behind_its_key_has_no_turn),
        TEST(what_follows_a_message_with_a_dedupe_key_stays_behind_it),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
