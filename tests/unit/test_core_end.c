// SPDX-License-Identifier: MIT
//  core, endings: settles, returns, burials, delays and extensions.
#include "tests/unit/core_scene.h"

#include <stdio.h>
#include <stdlib.h>

static void
forget_workers(scene_t *scene)
{
    tally_worker_info_t info;
    while (tally_core_worker_at(scene->core, 0, scene->now_ms, &info)) {
        tally_core_worker_gone(scene->core, info.number, TALLY_GONE_GOODBYE, scene->now_ms);
    }
}

//  ---- settle ------------------------------------------------------------------------------------

static void
a_whole_lease_settles_as_one_number(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 5);
    assert_true(scene_settle(scene, lease));
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
    assert_int_equal(scene->told->settled.items[0], lease);
    assert_int_equal(scene->told->ends.count, 0);
    assert_int_equal(scene->told->checks.count, 0);
    assert_int_equal(fake_store_message_count(scene->store), 0);
    assert_int_equal(fake_store_lease_count(scene->store), 0);
    assert_int_equal(scene_stats(scene, "work").settled, 5);
    assert_false(scene_settle(scene, lease));
}

static void
parts_that_make_up_the_whole_within_a_tick_settle_as_one_number(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(scene_settle_one(scene, lease, scene_message(scene, 0, i)));
    }
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
    assert_int_equal(scene->told->ends.count, 0);
}

static void
a_part_settles_by_its_messages_and_the_rest_goes_on(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 3);
    uint64_t ids[2] = {scene_message(scene, 0, 1), scene_message(scene, 0, 2)};
    scene_settle_one(scene, lease, ids[0]);
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 0);
    assert_int_equal(scene->told->ends.count, 1);
    assert_int_equal(scene->told->ends.items[0].kind, TALLY_END_SETTLE);
    assert_int_equal(scene->told->checks.count, 1);
    assert_null(fake_store_message(scene->store, ids[0]));
    assert_int_equal(fake_store_lease(scene->store, lease)->count, 2);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
    assert_true(scene_settle(scene, lease));
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
    assert_int_equal(scene_stats(scene, "work").settled, 3);
}

static void
a_settle_counts_once_however_often_it_is_said(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    uint64_t message = scene_message(scene, 0, 0);
    scene_settle_one(scene, lease, message);
    scene_settle_one(scene, lease, message);
    scene_settle(scene, lease);
    scene_settle(scene, lease);
    scene_seal(scene);
    scene_settle(scene, lease);
    scene_commit(scene);
    assert_false(scene_settle(scene, lease));
    scene_pass(scene, 10);
    assert_int_equal(scene_stats(scene, "work").settled, 2);
    assert_int_equal(fake_store_settled_total(scene->store), 2);
}

static void
what_is_settled_while_a_part_is_out_is_not_taken_for_skipped(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    uint64_t ids[2] = {scene_message(scene, 0, 0), scene_message(scene, 0, 1)};
    scene_settle_one(scene, lease, ids[0]);
    scene_seal(scene);
    scene_settle_one(scene, lease, ids[1]);
    scene_commit(scene);
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
    assert_int_equal(scene->told->checks.count, 0);
    assert_int_equal(fake_store_lease_count(scene->store), 0);
}

static void
a_record_says_whether_it_ends_anything(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    uint64_t first = scene_message(scene, 0, 0);
    assert_true(scene_note(scene, lease));
    assert_int_equal(scene->effect, TALLY_EFFECT_TAKEN);
    assert_true(scene_settle_one(scene, lease, first));
    assert_int_equal(scene->effect, TALLY_EFFECT_ENDS);
    assert_true(scene_settle_one(scene, lease, first));
    assert_int_equal(scene->effect, TALLY_EFFECT_TAKEN);
    assert_true(scene_extend(scene, lease, 5000));
    assert_int_equal(scene->effect, TALLY_EFFECT_TAKEN);
    assert_true(scene_settle(scene, lease));
    assert_int_equal(scene->effect, TALLY_EFFECT_ENDS);
}

static void
ids_that_a_lease_does_not_hold_are_stale_and_harm_nothing(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    uint64_t other = scene_lease_some(scene, 1);
    uint64_t foreign = scene_message(scene, 0, 0);
    uint64_t ids[3] = {foreign, 0, UINT64_MAX};
    tally_record_t record = {.kind = TALLY_RECORD_SETTLE, .lease = lease, .count = 3};
    assert_true(scene_record(scene, &record, ids));
    scene_pass(scene, 2);
    assert_int_equal(scene_stats(scene, "work").stale, 3);
    assert_int_equal(scene_stats(scene, "work").leased, 3);
    assert_non_null(fake_store_message(scene->store, foreign));
    assert_true(scene_settle(scene, other));
}

static void
a_lease_nobody_knows_is_stale(void **state)
{
    scene_t *scene = *state;
    assert_false(scene_settle(scene, 4711));
    assert_false(scene_extend(scene, 4711, 1000));
    assert_false(scene_note(scene, 4711));
    tally_stream_stats_t stats;
    tally_core_stats(scene->core, 0, 0, scene->now_ms, &stats);
    assert_int_equal(stats.stale, 3);
}

static void
a_lease_that_is_not_committed_cannot_be_named_yet(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_seal(scene);
    uint64_t lease = scene->plan->leases.items[0].id;
    assert_false(scene_settle(scene, lease));
    scene_commit(scene);
    assert_true(scene_settle(scene, lease));
}

//  ---- return ------------------------------------------------------------------------------------

static void
a_failed_message_backs_off_within_a_doubling_bound(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.retry_ms = 100;
    row.retry_ms_max = 500;
    row.failures_max = 100;
    scene_put_queue(scene, &row);
    uint64_t lease = scene_lease_some(scene, 1);
    int64_t bound = 100;
    for (int32_t failures = 1; failures < 12; failures++) {
        uint64_t message = scene_message(scene, 0, 0);
        scene_fail(scene, lease, message, "not yet");
        scene_tick(scene);
        const tally_plan_end_t *end = &scene->told->ends.items[0];
        assert_int_equal(end->kind, TALLY_END_RETURN);
        assert_int_equal(end->failures, failures);
        assert_int_equal(end->deliveries, failures);
        assert_int_equal(end->crashes, 0);
        assert_in_range(end->delay_ms, 1, bound);
        assert_int_equal(scene_stats(scene, "work").delayed, 1);
        int64_t delay_ms = end->delay_ms;
        scene_pass(scene, delay_ms - 1);
        assert_int_equal(scene_stats(scene, "work").delayed, 1);
        scene_pass(scene, 1);
        assert_int_equal(scene_lease_count(scene), 1);
        assert_int_equal(scene_item_of(scene, 0, 0)->deliveries, failures + 1);
        assert_int_equal(scene_item_of(scene, 0, 0)->failures, failures);
        lease = scene_lease_id(scene, 0);
        bound = bound * 2 < 500 ? bound * 2 : 500;
    }
}

static void
back_off_is_spread_over_its_whole_range(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 100);
    scene_fail(scene, lease, 0, "all of them");
    scene_tick(scene);
    int64_t least = INT64_MAX;
    int64_t most = 0;
    for (size_t i = 0; i < 100; i++) {
        int64_t delay_ms = scene->told->ends.items[i].delay_ms;
        least = delay_ms < least ? delay_ms : least;
        most = delay_ms > most ? delay_ms : most;
    }
    assert_in_range(least, 1, 20);
    assert_in_range(most, 180, TALLY_RETRY_BASE_MS);
}

static void
back_off_grows_with_the_failures(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 100);
    int64_t most[3] = {0};
    for (int round = 0; round < 3; round++) {
        scene_fail(scene, lease, 0, "all of them");
        scene_tick(scene);
        for (size_t i = 0; i < 100; i++) {
            int64_t delay_ms = scene->told->ends.items[i].delay_ms;
            most[round] = delay_ms > most[round] ? delay_ms : most[round];
        }
        forget_workers(scene);
        scene_pass(scene, 2000);
        scene_join(scene, 100, "work");
        scene_tick(scene);
        lease = scene_lease_id(scene, 0);
    }
    assert_in_range(most[1], TALLY_RETRY_BASE_MS + 1, 2 * TALLY_RETRY_BASE_MS);
    assert_in_range(most[2], 2 * TALLY_RETRY_BASE_MS + 1, 4 * TALLY_RETRY_BASE_MS);
}

static void
without_back_off_a_failed_message_still_waits_a_millisecond(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.retry_ms = row.retry_ms_max = 0;
    scene_put_queue(scene, &row);
    uint64_t lease = scene_lease_some(scene, 1);
    scene_fail(scene, lease, 0, "again");
    scene_tick(scene);
    assert_int_equal(scene->told->ends.items[0].delay_ms, 1);
}

static void
failures_are_buried_at_their_limit_with_the_last_reason(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.failures_max = 3;
    scene_put_queue(scene, &row);
    uint64_t lease = scene_lease_some(scene, 1);
    uint64_t message = scene_message(scene, 0, 0);
    for (int i = 0; i < 2; i++) {
        scene_fail(scene, lease, message, "first");
        scene_pass(scene, 2000);
        lease = scene_lease_id(scene, 0);
    }
    assert_int_equal(fake_store_dead_count(scene->store), 0);
    scene_fail(scene, lease, message, "last");
    scene_tick(scene);
    const fake_message_t *dead = fake_store_dead(scene->store, message);
    assert_non_null(dead);
    assert_string_equal(dead->reason, "last");
    assert_int_equal(dead->row.failures, 3);
    assert_int_equal(dead->row.deliveries, 3);
    assert_int_equal(dead->history, 3);
    assert_int_equal(scene_event_count(scene, TALLY_EVENT_BURIED), 1);
    assert_int_equal(scene->told->events.items[0].id, message);
    assert_int_equal(scene_stats(scene, "work").buried, 1);
}

static void
a_failure_without_words_is_buried_with_words_all_the_same(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.failures_max = 1;
    scene_put_queue(scene, &row);
    uint64_t lease = scene_lease_some(scene, 2);
    uint64_t messages[2] = {scene_message(scene, 0, 0), scene_message(scene, 0, 1)};
    scene_fail(scene, lease, messages[0], "");
    scene_bury(scene, lease, messages[1], "");
    scene_tick(scene);
    assert_true(strlen(fake_store_dead(scene->store, messages[0])->reason) > 0);
    assert_true(strlen(fake_store_dead(scene->store, messages[1])->reason) > 0);
}

static void
an_uncounted_return_counts_the_delivery_and_nothing_else(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 1);
    uint64_t message = scene_message(scene, 0, 0);
    scene_give_back(scene, lease, 0);
    scene_tick(scene);
    const fake_message_t *row = fake_store_message(scene->store, message);
    assert_int_equal(row->row.deliveries, 1);
    assert_int_equal(row->row.failures, 0);
    assert_int_equal(row->row.crashes, 0);
    assert_int_equal(row->history, 0);
    scene_settle_down(scene);
    assert_int_equal(scene_item_of(scene, 0, 0)->deliveries, 2);
    assert_int_equal(scene_stats(scene, "work").returned, 1);
}

static void
uncounted_returns_go_to_the_front_in_the_order_of_their_ids(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 6, "work");
    scene_send(scene, "work", "acme", 10);
    scene_tick(scene);
    uint64_t ids[10];
    for (size_t i = 0; i < 10; i++) {
        ids[i] = scene_sent(scene, i);
    }
    uint64_t lease = scene_lease_id(scene, 0);
    static const size_t order[] = {4, 1, 5, 0, 3, 2};
    for (size_t i = 0; i < 6; i++) {
        scene_give_back(scene, lease, ids[order[i]]);
    }
    forget_workers(scene);
    scene_settle_down(scene);
    scene_join(scene, 100, "work");
    scene_tick(scene);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(scene_message(scene, 0, i), ids[i]);
    }
}

static void
what_a_plan_has_no_room_for_is_owed_and_ends_in_the_next(void **state)
{
    scene_t *scene = *state;
    enum { SIZE = 64, LEASES = TALLY_PLAN_MESSAGES_MAX / SIZE + 1 };
    uint64_t leases[LEASES];
    for (size_t i = 0; i < LEASES; i++) {
        scene_join(scene, SIZE, "work");
        leases[i] = scene_lease_some(scene, SIZE);
    }
    assert_false(tally_core_owes(scene->core));
    assert_false(tally_core_awaits(scene->core, leases[0]));
    for (size_t i = 0; i < LEASES; i++) {
        assert_true(scene_give_back(scene, leases[i], 0));
    }
    scene_tick(scene);
    assert_true(tally_core_owes(scene->core));
    assert_false(tally_core_awaits(scene->core, leases[0]));
    assert_true(tally_core_awaits(scene->core, leases[LEASES - 1]));
    scene_tick(scene);
    assert_false(tally_core_owes(scene->core));
    assert_false(tally_core_awaits(scene->core, leases[LEASES - 1]));
}

static void
a_return_can_ask_for_its_own_delay(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    uint64_t ids[2] = {scene_message(scene, 0, 0), scene_message(scene, 0, 1)};
    tally_record_t record = {
        .kind = TALLY_RECORD_RETURN,
        .lease = lease,
        .flags = TALLY_RETURN_DELAY,
        .delay_ms = 5000,
        .count = 1,
    };
    scene_record(scene, &record, &ids[0]);
    record.flags |= TALLY_RETURN_FAILED;
    record.text = tally_bytes_of("rate limit");
    scene_record(scene, &record, &ids[1]);
    scene_tick(scene);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(scene->told->ends.items[i].delay_ms, 5000);
        assert_int_equal(scene->told->ends.items[i].failures, i);
    }
    scene_pass(scene, 4999);
    assert_int_equal(scene_stats(scene, "work").delayed, 2);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
}

static void
a_sent_delay_is_kept_to_the_millisecond(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    tally_item_t item = scene_item("later");
    item.options = TALLY_HAS_DELAY;
    item.delay_ms = 700;
    scene_send_item(scene, "work", "acme", item);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 0);
    assert_int_equal(scene_stats(scene, "work").delayed, 1);
    assert_int_equal(scene->told->messages.items[0].delay_ms, 700);
    scene_pass(scene, 699);
    assert_int_equal(scene_stats(scene, "work").delayed, 1);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
}

static void
messages_due_at_one_time_go_in_the_order_in_which_they_were_sent(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[50];
    for (int i = 0; i < 50; i++) {
        items[i] = scene_item("x");
        items[i].options = TALLY_HAS_DELAY;
        items[i].delay_ms = 100;
    }
    scene_join(scene, 100, "work");
    scene_try(scene, 1, "work", "acme", items, 50);
    scene_tick(scene);
    scene_pass(scene, 100);
    for (size_t i = 1; i < 50; i++) {
        assert_true(scene_message(scene, 0, i - 1) < scene_message(scene, 0, i));
    }
}

static void
more_messages_than_a_tick_wakes_go_on_in_the_next(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[1000];
    for (int i = 0; i < 1000; i++) {
        items[i] = scene_item("x");
        items[i].options = TALLY_HAS_DELAY;
        items[i].delay_ms = 60000;
    }
    for (uint64_t i = 1; i <= 70; i++) {
        scene_try(scene, i, "work", "acme", items, 1000);
        scene_settle_down(scene);
    }
    scene->now_ms += 60000;
    assert_false(scene_tick(scene));
    assert_in_range(scene_stats(scene, "work").delayed, 1, 69999);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").ready, 70000);
}

//  ---- bury, and what operators do ---------------------------------------------------------------

static void
a_worker_may_bury_at_once_and_the_others_of_the_lease_are_not_disturbed(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 3);
    uint64_t bad = scene_message(scene, 0, 1);
    scene_bury(scene, lease, bad, "does not fit its survey");
    scene_settle(scene, lease);
    scene_tick(scene);
    assert_string_equal(fake_store_dead(scene->store, bad)->reason, "does not fit its survey");
    assert_int_equal(fake_store_settled_total(scene->store), 2);
    assert_int_equal(scene_stats(scene, "work").settled, 2);
    assert_int_equal(scene_stats(scene, "work").buried, 1);
    assert_int_equal(fake_store_lease_count(scene->store), 0);
}

static void
a_dead_letter_is_retried_as_new_and_another_dropped(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 2);
    uint64_t ids[2] = {scene_message(scene, 0, 0), scene_message(scene, 0, 1)};
    scene_bury(scene, lease, 0, "bad");
    scene_tick(scene);
    assert_int_equal(fake_store_dead_count(scene->store), 2);
    uint32_t tenant = scene_tenant_id(scene, "acme");
    tally_core_retry_dead(scene->core, tenant, ids[0]);
    tally_core_drop_dead(scene->core, tenant, ids[1]);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(fake_store_dead_count(scene->store), 0);
    assert_int_equal(scene_message(scene, 0, 0), ids[0]);
    assert_int_equal(scene_item_of(scene, 0, 0)->deliveries, 1);
    assert_body(scene_item_of(scene, 0, 0), "0");
}

//  ---- extend ------------------------------------------------------------------------------------

static void
an_extension_moves_the_deadline_now_and_in_the_database(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 1);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT - 1);
    assert_true(scene_extend(scene, lease, 5000));
    int64_t deadline_ms = scene->now_ms + 5000;
    scene_pass(scene, 4999);
    assert_int_equal(fake_store_lease(scene->store, lease)->deadline_ms, deadline_ms + 2);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").expired, 1);
}

static void
extensions_of_one_lease_are_one_row_of_a_plan_and_the_last_counts(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 1);
    uint64_t other = scene_lease_some(scene, 1);
    scene_extend(scene, lease, 1000);
    scene_extend(scene, other, 3000);
    scene_extend(scene, lease, 2000);
    scene_tick(scene);
    assert_int_equal(scene->told->extended.count, 2);
    assert_int_equal(scene->told->extended.items[0], lease);
    assert_int_equal(scene->told->extended_ms.items[0], 2000);
    scene_extend(scene, lease, 4000);
    scene_seal(scene);
    scene_extend(scene, lease, 5000);
    scene_commit(scene);
    assert_int_equal(scene->told->extended_ms.items[0], 4000);
    scene_tick(scene);
    assert_int_equal(scene->told->extended_ms.items[0], 5000);
}

static void
an_extension_has_bounds(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 1);
    tally_record_t record = {.kind = TALLY_RECORD_EXTEND,
                             .lease = lease,
                             .delay_ms = TALLY_VISIBILITY_MS_MAX + 1};
    assert_int_equal(tally_core_record(scene->core, &record, NULL, scene->now_ms),
                     TALLY_EFFECT_TAKEN);
    scene_tick(scene);
    assert_int_equal(scene->told->extended_ms.items[0], TALLY_VISIBILITY_MS_MAX);
    assert_true(scene_extend(scene, lease, 1));
    scene_tick(scene);
    assert_int_equal(scene->told->extended_ms.items[0], TALLY_VISIBILITY_MS_MIN);
}

static void
what_is_already_ending_is_not_extended(void **state)
{
    scene_t *scene = *state;
    uint64_t lease = scene_lease_some(scene, 1);
    scene_settle(scene, lease);
    scene_extend(scene, lease, 5000);
    scene_tick(scene);
    assert_int_equal(scene->told->extended.count, 0);
    assert_int_equal(scene_stats(scene, "work").stale, 1);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_whole_lease_settles_as_one_number),
        TEST(parts_that_make_up_the_whole_within_a_tick_settle_as_one_number),
        TEST(a_part_settles_by_its_messages_and_the_rest_goes_on),
        TEST(a_settle_counts_once_however_often_it_is_said),
        TEST(a_record_says_whether_it_ends_anything),
        TEST(ids_that_a_lease_does_not_hold_are_stale_and_harm_nothing),
        TEST(a_lease_nobody_knows_is_stale),
        TEST(a_lease_that_is_not_committed_cannot_be_named_yet),
        TEST(a_failed_message_backs_off_within_a_doubling_bound),
        TEST(back_off_is_spread_over_its_whole_range),
        TEST(without_back_off_a_failed_message_still_waits_a_millisecond),
        TEST(failures_are_buried_at_their_limit_with_the_last_reason),
        TEST(a_failure_without_words_is_buried_with_words_all_the_same),
        TEST(an_uncounted_return_counts_the_delivery_and_nothing_else),
        TEST(uncounted_returns_go_to_the_front_in_the_order_of_their_ids),
        TEST(what_a_plan_has_no_room_for_is_owed_and_ends_in_the_next),
        TEST(a_return_can_ask_for_its_own_delay),
        TEST(a_sent_delay_is_kept_to_the_millisecond),
        TEST(messages_due_at_one_time_go_in_the_order_in_which_they_were_sent),
        TEST(a_worker_may_bury_at_once_and_the_others_of_the_lease_are_not_disturbed),
        TEST(a_dead_letter_is_retried_as_new_and_another_dropped),
        TEST(an_extension_moves_the_deadline_now_and_in_the_database),
        TEST(extensions_of_one_lease_are_one_row_of_a_plan_and_the_last_counts),
        TEST(an_extension_has_bounds),
        TEST(what_is_already_ending_is_not_extended),
        TEST(back_off_grows_with_the_failures),
        TEST(what_is_settled_while_a_part_is_out_is_not_taken_for_skipped),
        TEST(more_messages_than_a_tick_wakes_go_on_in_the_next),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
