// SPDX-License-Identifier: MIT
//  core, leases: who gets how much of what, and in which order.
#include "tests/unit/core_scene.h"

#include <stdio.h>
#include <stdlib.h>

static void
a_message_is_inserted_and_leased_in_one_plan(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 1);
    const tally_plan_lease_t *lease = scene_lease(scene, 0);
    assert_int_equal(lease->worker, worker);
    assert_int_equal(lease->count, 2);
    assert_int_equal(lease->epoch, 0);
    assert_int_equal(lease->visible_ms, TALLY_VISIBILITY_MS_DEFAULT);
    assert_body(scene_item_of(scene, 0, 0), "0");
    assert_body(scene_item_of(scene, 0, 1), "1");
    assert_int_equal(scene_item_of(scene, 0, 0)->deliveries, 1);
    assert_int_equal(scene_item_of(scene, 0, 0)->options, 0);
    assert_non_null(fake_store_lease(scene->store, lease->id));
    assert_int_equal(scene_worker(scene, worker).outstanding, 2);
    assert_int_equal(scene_worker(scene, worker).leases, 1);
}

static void
waiting_messages_go_to_the_worker_that_comes(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 0);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) > scene->now_ms);
    scene_join(scene, 10, "work");
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
}

static void
a_worker_gets_only_from_queues_that_it_takes(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    scene_join(scene, 10, "other");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 0);
}

static void
outstanding_messages_never_exceed_the_credit(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 5, "work");
    scene_send(scene, "work", "acme", 12);
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 5);
    assert_int_equal(scene_worker(scene, worker).outstanding, 5);
    assert_false(scene_tick(scene));
    uint64_t lease = scene_lease_id(scene, 0);
    uint64_t first = scene_message(scene, 0, 0);
    uint64_t second = scene_message(scene, 0, 1);
    scene_settle_one(scene, lease, first);
    scene_settle_one(scene, lease, second);
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
    assert_int_equal(scene_worker(scene, worker).outstanding, 5);
}

static void
credit_is_free_when_the_record_arrives_not_when_it_is_committed(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 2, "work");
    scene_send(scene, "work", "acme", 4);
    scene_tick(scene);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_seal(scene);
    assert_int_equal(scene->plan->settled.count, 1);
    assert_int_equal(scene->plan->leases.count, 1);
    scene_commit(scene);
}

static void
settles_that_free_nothing_useful_wait_two_milliseconds_for_company(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 4);
    scene_tick(scene);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(tally_core_next_ms(scene->core, scene->now_ms), scene->now_ms + 2);
    scene_send(scene, "work", "acme", 1);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
}

//  ---- sizes -------------------------------------------------------------------------------------

static void
a_lease_has_at_most_batch_max_messages(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.batch_max = 3;
    scene_put_queue(scene, &row);
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 7);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 3);
    assert_int_equal(scene_lease(scene, 0)->count, 3);
    assert_int_equal(scene_lease(scene, 1)->count, 3);
    assert_int_equal(scene_lease(scene, 2)->count, 1);
}

static void
what_is_ready_is_shared_by_the_workers_that_have_credit(void **state)
{
    scene_t *scene = *state;
    for (int i = 0; i < 3; i++) {
        scene_join(scene, 100, "work");
    }
    scene_send(scene, "work", "acme", 10);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 3);
    assert_int_equal(scene_lease(scene, 0)->count, 4);
    assert_int_equal(scene_lease(scene, 1)->count, 4);
    assert_int_equal(scene_lease(scene, 2)->count, 2);
    assert_int_not_equal(scene_lease(scene, 0)->worker, scene_lease(scene, 1)->worker);
    assert_int_not_equal(scene_lease(scene, 1)->worker, scene_lease(scene, 2)->worker);
    assert_int_not_equal(scene_lease(scene, 0)->worker, scene_lease(scene, 2)->worker);
}

static void
workers_take_turns_when_one_message_comes_at_a_time(void **state)
{
    scene_t *scene = *state;
    uint64_t workers[2] = {scene_join(scene, 100, "work"), scene_join(scene, 100, "work")};
    uint64_t got[2] = {0, 0};
    for (int i = 0; i < 10; i++) {
        scene_send(scene, "work", "acme", 1);
        scene_tick(scene);
        got[scene_lease(scene, 0)->worker == workers[1]]++;
    }
    assert_int_equal(got[0], 5);
    assert_int_equal(got[1], 5);
}

static void
a_delivery_stays_below_its_bytes_unless_one_message_is_alone(void **state)
{
    scene_t *scene = *state;
    char *body = calloc(1, TALLY_BODY_INLINE_BYTES_MAX);
    tally_item_t items[20];
    for (int i = 0; i < 20; i++) {
        items[i] = scene_item("");
        items[i].body = (tally_bytes_t){body, TALLY_BODY_INLINE_BYTES_MAX};
    }
    scene->cache_bytes_max = 1 << 30;
    scene_reload(scene, true);
    scene_loaded(scene);
    scene_join(scene, 100, "work");
    scene_try(scene, 1, "work", "acme", items, 20);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 2);
    assert_int_equal(scene_lease(scene, 0)->count, 15);    // 16 and their heads would be above
    assert_int_equal(scene_lease(scene, 1)->count, 5);
    free(body);
}

static void
a_tenant_is_leased_no_more_than_its_quota(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    row.leased_max = 4;
    scene_put_tenant(scene, &row);
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    scene_join(scene, 100, "work,other");
    scene_send(scene, "work", "acme", 3);
    scene_send(scene, "other", "acme", 3);
    scene_send(scene, "work", "globex", 3);
    scene_tick(scene);
    uint64_t leased = scene_stats(scene, "work").leased + scene_stats(scene, "other").leased;
    assert_int_equal(leased, 7);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) > scene->now_ms);
    for (size_t i = 0; i < scene_lease_count(scene); i++) {
        if (scene_lease(scene, i)->tenant == 1) {
            scene_settle(scene, scene_lease_id(scene, i));
        }
    }
    scene_tick(scene);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").ready + scene_stats(scene, "other").ready, 0);
}

static void
raising_the_quota_lets_messages_go(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    row.leased_max = 1;
    scene_put_tenant(scene, &row);
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    row.leased_max = 10;
    tally_core_put_tenant(scene->core, &row);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 3);
}

static void
a_plan_leases_a_bounded_number_and_goes_on_in_the_next(void **state)
{
    scene_t *scene = *state;
    const uint16_t batch = 1000;
    const uint64_t total = TALLY_PLAN_MESSAGES_MAX + 5000;
    for (uint64_t sent = 0; sent < total; sent += batch) {
        scene_send(scene, "work", "acme", batch);
        scene_settle_down(scene);
    }
    for (uint64_t i = 0; i < total / batch + 1; i++) {
        scene_join(scene, 1000, "work");
    }
    scene_tick(scene);
    assert_int_equal(scene->told->ids.count, TALLY_PLAN_MESSAGES_MAX);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").ready, 0);
}

//  ---- order and fairness ------------------------------------------------------------------------

static tally_item_t
with_priority(const char *body, uint8_t priority)
{
    tally_item_t item = scene_item(body);
    item.options = TALLY_HAS_PRIORITY;
    item.priority = priority;
    return item;
}

static void
higher_priorities_go_first(void **state)
{
    scene_t *scene = *state;
    static const uint8_t priorities[] = {1, 0, 3, 2, 1, 3};
    tally_item_t items[6];
    for (int i = 0; i < 6; i++) {
        items[i] = with_priority("x", priorities[i]);
    }
    scene_try(scene, 1, "work", "acme", items, 6);
    scene_tick(scene);
    uint64_t ids[6];
    for (size_t i = 0; i < 6; i++) {
        ids[i] = scene_sent(scene, i);
    }
    scene_join(scene, 10, "work");
    scene_tick(scene);
    static const size_t expected[] = {2, 5, 3, 0, 4, 1};
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(scene_message(scene, 0, i), ids[expected[i]]);
    }
}

static void
a_level_that_was_passed_over_sixteen_times_is_served_next(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[100];
    for (int i = 0; i < 100; i++) {
        items[i] = with_priority(i < 10 ? "low" : "high", i < 10 ? 0 : 3);
    }
    scene_try(scene, 1, "work", "acme", items, 100);
    scene_join(scene, 100, "work");
    scene_tick(scene);
    for (size_t i = 0; i < 90; i++) {
        assert_body(scene_item_of(scene, 0, i), i % 17 == 16 ? "low" : "high");
    }
}

static void
no_level_starves_however_many_are_above_it(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[200];
    for (int i = 0; i < 200; i++) {
        items[i] = with_priority("x", (uint8_t)(i % 4));
    }
    scene_try(scene, 1, "work", "acme", items, 200);
    scene_tick(scene);
    uint64_t first_of[4];
    for (size_t i = 0; i < 4; i++) {
        first_of[i] = scene_sent(scene, i);
    }
    scene_join(scene, 20, "work");
    scene_tick(scene);
    size_t seen = 0;
    for (size_t i = 0; i < 20; i++) {
        for (size_t level = 0; level < 4; level++) {
            seen += scene_message(scene, 0, i) == first_of[level];
        }
    }
    assert_int_equal(seen, 4);
}

//  Serves one message after the other and counts whose they were.
static void
serve(scene_t *scene, uint64_t worker_credit, int rounds, uint64_t got[4])
{
    scene_join(scene, (uint16_t)worker_credit, "work");
    memset(got, 0, 4 * sizeof *got);
    scene_tick(scene);
    for (int i = 0; i < rounds; i++) {
        assert_true(scene_lease_count(scene) > 0);
        size_t leases = scene_lease_count(scene);
        uint64_t ids[16];
        for (size_t k = 0; k < leases; k++) {
            got[scene_lease(scene, k)->tenant] += scene_lease(scene, k)->count;
            ids[k] = scene_lease_id(scene, k);
        }
        for (size_t k = 0; k < leases; k++) {
            scene_settle(scene, ids[k]);
        }
        scene_tick(scene);
    }
}

static void
tenants_share_by_weight_whatever_they_have_waiting(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    scene_put_tenant(scene, &row);
    row = scene_tenant_policy(2, "globex");
    row.weight = 3;
    scene_put_tenant(scene, &row);
    for (int i = 0; i < 8; i++) {
        scene_send(scene, "work", "acme", 1000);
    }
    for (int i = 0; i < 4; i++) {
        scene_send(scene, "work", "globex", 1000);
        scene_tick(scene);
    }
    uint64_t got[4];
    serve(scene, 10, 256, got);
    assert_int_equal(got[1] + got[2], 2560);
    assert_in_range(got[1], 640 - 64, 640 + 64);
    assert_in_range(got[2], 1920 - 128, 1920 + 128);
}

static void
large_leases_do_not_change_the_shares(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1000);
    for (int i = 0; i < 20; i++) {
        scene_send(scene, "work", "acme", 1000);
        scene_send(scene, "work", "globex", 500);
        scene_tick(scene);
    }
    uint64_t got[4];
    serve(scene, 256, 70, got);
    assert_in_range(got[1], 70 * 128 - 512, 70 * 128 + 512);
    assert_in_range(got[2], 70 * 128 - 512, 70 * 128 + 512);
}

static void
a_tenant_that_floods_delays_another_by_a_turn_only(void **state)
{
    scene_t *scene = *state;
    for (int i = 0; i < 10; i++) {
        scene_send(scene, "work", "acme", 1000);
    }
    scene_tick(scene);
    scene_join(scene, 8, "work");
    scene_tick(scene);
    scene_send(scene, "work", "globex", 1);
    uint32_t globex = scene_tenant_id(scene, "globex");
    for (int served = 0;; served += 8) {
        assert_in_range(served, 0, 64);
        if (scene_lease(scene, 0)->tenant == globex) {
            break;
        }
        scene_settle(scene, scene_lease_id(scene, 0));
        scene_tick(scene);
    }
}

static void
queues_of_one_worker_take_turns(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t other = scene_policy("other");
    uint32_t id = scene_put_queue(scene, &other);
    for (int i = 0; i < 2; i++) {
        scene_send(scene, "work", "acme", 1000);
        scene_send(scene, "other", "acme", 1000);
    }
    scene_tick(scene);
    scene_join(scene, 10, "work,other");
    scene_tick(scene);
    int changes = 0;
    for (int i = 0; i < 10; i++) {
        uint32_t before = scene_lease(scene, 0)->queue;
        scene_settle(scene, scene_lease_id(scene, 0));
        scene_tick(scene);
        changes += before != scene_lease(scene, 0)->queue;
    }
    assert_int_equal(changes, 10);
    assert_int_equal(id, 2);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_message_is_inserted_and_leased_in_one_plan),
        TEST(waiting_messages_go_to_the_worker_that_comes),
        TEST(a_worker_gets_only_from_queues_that_it_takes),
        TEST(outstanding_messages_never_exceed_the_credit),
        TEST(credit_is_free_when_the_record_arrives_not_when_it_is_committed),
        TEST(settles_that_free_nothing_useful_wait_two_milliseconds_for_company),
        TEST(a_lease_has_at_most_batch_max_messages),
        TEST(what_is_ready_is_shared_by_the_workers_that_have_credit),
        TEST(workers_take_turns_when_one_message_comes_at_a_time),
        TEST(a_delivery_stays_below_its_bytes_unless_one_message_is_alone),
        TEST(a_tenant_is_leased_no_more_than_its_quota),
        TEST(raising_the_quota_lets_messages_go),
        TEST(a_plan_leases_a_bounded_number_and_goes_on_in_the_next),
        TEST(higher_priorities_go_first),
        TEST(a_level_that_was_passed_over_sixteen_times_is_served_next),
        TEST(no_level_starves_however_many_are_above_it),
        TEST(tenants_share_by_weight_whatever_they_have_waiting),
        TEST(large_leases_do_not_change_the_shares),
        TEST(a_tenant_that_floods_delays_another_by_a_turn_only),
        TEST(queues_of_one_worker_take_turns),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
