// SPDX-License-Identifier: MIT
//  core, looking and operators: what it tells of itself, and how changes of policy take effect.
#include "tests/unit/core_scene.h"

static void
queues_and_tenants_are_listed_and_found(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "globex", 1);
    tally_core_t *core = scene->core;
    assert_int_equal(tally_core_queue_count(core), 2);
    assert_string_equal(tally_core_queue_at(core, 1)->name, "other");
    assert_null(tally_core_queue_at(core, 2));
    assert_int_equal(tally_core_queue_find(core, tally_bytes_of("other"))->id, 2);
    assert_null(tally_core_queue_find(core, tally_bytes_of("othe")));
    assert_string_equal(tally_core_queue_by_id(core, 1)->name, "work");
    assert_null(tally_core_queue_by_id(core, 3));
    assert_int_equal(tally_core_tenant_count(core), 2);
    assert_string_equal(tally_core_tenant_at(core, 1)->name, "globex");
    assert_null(tally_core_tenant_at(core, 2));
    assert_int_equal(tally_core_tenant_find(core, tally_bytes_of("globex"))->id, 2);
    assert_null(tally_core_tenant_find(core, tally_bytes_of("")));
    assert_string_equal(tally_core_tenant_by_id(core, 1)->name, "acme");
    assert_null(tally_core_tenant_by_id(core, 0));
}

static void
counts_add_up_by_queue_by_tenant_and_in_all(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "globex", 2);
    scene_send(scene, "other", "acme", 4);
    scene_tick(scene);
    tally_stream_stats_t stats;
    static const uint64_t expected[3][3] = {{7, 5, 2}, {3, 1, 2}, {4, 4, 0}};
    for (uint32_t queue = 0; queue < 3; queue++) {
        for (uint32_t tenant = 0; tenant < 3; tenant++) {
            tally_core_stats(scene->core, queue, tenant, scene->now_ms, &stats);
            assert_int_equal(stats.ready, expected[queue][tenant]);
            assert_int_equal(stats.sent, expected[queue][tenant]);
        }
    }
    tally_core_stats(scene->core, 9, 0, scene->now_ms, &stats);
    assert_int_equal(stats.sent, 0);
    tally_core_stats(scene->core, 0, 9, scene->now_ms, &stats);
    assert_int_equal(stats.sent, 0);
}

static void
the_oldest_is_as_old_as_it_is_also_after_a_restart(void **state)
{
    scene_t *scene = *state;
    assert_int_equal(scene_stats(scene, "work").oldest_ms, 0);
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    scene_pass(scene, 7000);
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    assert_in_range(scene_stats(scene, "work").oldest_ms, 6000, 8000);
    scene_reload(scene, false);
    scene_loaded(scene);
    assert_in_range(scene_stats(scene, "work").oldest_ms, 6000, 8000);
}

static void
a_worker_tells_what_it_takes_and_holds(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    uint64_t number = scene_join(scene, 7, "other,work");
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    scene->now_ms += 300;
    tally_worker_info_t info = scene_worker(scene, number);
    assert_string_equal(info.name, "worker");
    assert_int_equal(info.credit, 7);
    assert_int_equal(info.outstanding, 3);
    assert_int_equal(info.leases, 1);
    assert_int_equal(info.terms, 0);
    assert_int_equal(info.beat_ms, 300);
    assert_false(info.draining);
    assert_int_equal(info.queue_count, 2);
    assert_int_equal(info.queues[0], 2);
    assert_int_equal(info.queues[1], 1);
    assert_int_equal(tally_core_worker_count(scene->core), 1);
    assert_false(tally_core_worker_at(scene->core, 1, scene->now_ms, &info));
}

static void
a_new_queue_is_there_when_its_plan_is_committed(void **state)
{
    scene_t *scene = *state;
    const tally_queue_row_t row = scene_policy("fresh");
    tally_core_put_queue(scene->core, &row);
    assert_null(tally_core_queue_find(scene->core, tally_bytes_of("fresh")));
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_tick(scene);
    assert_int_equal(tally_core_queue_find(scene->core, tally_bytes_of("fresh"))->id, 2);
    scene_send(scene, "fresh", "acme", 1);
}

static void
a_changed_policy_is_used_from_its_commit_on(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.visibility_ms = 5000;
    row.batch_max = 2;
    tally_core_put_queue(scene->core, &row);
    row.batch_max = 3;
    tally_core_put_queue(scene->core, &row);    // the last one counts
    scene_join(scene, 10, "work");
    scene_tick(scene);
    scene_send(scene, "work", "acme", 4);
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 3);
    assert_int_equal(scene_lease(scene, 0)->visible_ms, 5000);
}

static void
a_new_tenant_gets_an_id_above_all_others(void **state)
{
    scene_t *scene = *state;
    const tally_tenant_row_t row = scene_tenant_policy(7, "seventh");
    scene_put_tenant(scene, &row);
    scene_send(scene, "work", "acme", 1);
    assert_int_equal(scene_tenant_id(scene, "acme"), 8);
    scene_tick(scene);
}

static void
a_tenant_can_be_made_with_its_limits_and_changed(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(0, "acme");
    row.messages_max = 2;
    row.weight = 9;
    tally_core_put_tenant(scene->core, &row);
    scene_seal(scene);
    assert_int_equal(scene->plan->tenants.count, 1);
    assert_int_equal(scene->plan->tenant_limits.count, 1);
    assert_int_equal(scene->plan->tenant_limits.items[0].id, 1);
    scene_commit(scene);
    assert_int_equal(tally_core_tenant_by_id(scene->core, 1)->weight, 9);
    tally_item_t items[3] = {scene_item("a"), scene_item("b"), scene_item("c")};
    assert_int_equal(scene_try(scene, 1, "work", "acme", items, 3).fault.code, TALLY_E_BUSY);
    row.messages_max = 3;
    tally_core_put_tenant(scene->core, &row);
    row.id = 1;
    row.weight = 8;
    tally_core_put_tenant(scene->core, &row);
    scene_seal(scene);
    assert_int_equal(scene->plan->tenants.count, 0);
    assert_int_equal(scene->plan->tenant_limits.count, 1);
    scene_commit(scene);
    assert_int_equal(tally_core_tenant_by_id(scene->core, 1)->weight, 8);
    assert_int_equal(scene_try(scene, 1, "work", "acme", items, 3).outcome, TALLY_SEND_PLANNED);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(queues_and_tenants_are_listed_and_found),
        TEST(counts_add_up_by_queue_by_tenant_and_in_all),
        TEST(the_oldest_is_as_old_as_it_is_also_after_a_restart),
        TEST(a_worker_tells_what_it_takes_and_holds),
        TEST(a_new_queue_is_there_when_its_plan_is_committed),
        TEST(a_changed_policy_is_used_from_its_commit_on),
        TEST(a_tenant_can_be_made_with_its_limits_and_changed),
        TEST(a_new_tenant_gets_an_id_above_all_others),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
