// SPDX-License-Identifier: MIT
//  core, suspects: what crashed before is done by a worker that holds nothing else, so that the
//  innocent are cleared and only the culprit is buried.
#include "tests/unit/core_scene.h"

static int
setup(void **state)
{
    scene_setup(state);
    tally_queue_row_t row = scene_policy("work");
    row.crashes_max = 1;
    row.batch_max = 4;
    scene_put_queue(*state, &row);
    return 0;
}

//  Four suspects wait, in the order of their ids; nobody is connected.
static void
make_suspects(scene_t *scene)
{
    uint64_t worker = scene_join(scene, 4, "work");
    scene_send(scene, "work", "acme", 4);
    scene_tick(scene);
    tally_core_worker_gone(scene->core, worker, TALLY_GONE_DEAD, scene->now_ms);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "work").ready, 4);
}

static void
messages_alone_in_leases_of_one_dead_worker_are_not_buried(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    for (int i = 0; i < 3; i++) {
        scene_send(scene, "work", "acme", 1);
        scene_tick(scene);
    }
    assert_int_equal(scene_worker(scene, worker).leases, 3);
    tally_core_worker_gone(scene->core, worker, TALLY_GONE_DEAD, scene->now_ms);
    scene_tick(scene);
    assert_int_equal(fake_store_dead_count(scene->store), 0);
    assert_int_equal(scene_stats(scene, "work").ready, 3);
}

static void
nor_when_their_deadlines_pass_together(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "globex", 1);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 2);
    scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
    scene_beat(scene);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "work").expired, 2);
    assert_int_equal(fake_store_dead_count(scene->store), 0);
}

static void
a_message_that_was_all_its_worker_held_is(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    tally_core_worker_gone(scene->core, worker, TALLY_GONE_DEAD, scene->now_ms);
    scene_tick(scene);
    assert_int_equal(fake_store_dead_count(scene->store), 1);
}

static void
a_worker_that_holds_suspects_gets_nothing_else(void **state)
{
    scene_t *scene = *state;
    make_suspects(scene);
    uint64_t worker = scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 3);
    scene_send(scene, "work", "globex", 3);
    scene_tick(scene);
    //  Whose turn it is decides who is first; what it is decides that it is alone.
    size_t rounds = 0;
    while (scene_stats(scene, "work").settled < 10) {
        assert_in_range(rounds++, 0, 20);
        bool suspects = false;
        for (size_t i = 0; i < scene_lease_count(scene); i++) {
            suspects = suspects || scene_item_of(scene, i, 0)->crashes > 0;
            assert_true(scene_settle(scene, scene_lease_id(scene, i)));
        }
        assert_true(!suspects
                    || (scene_lease_count(scene) == 1 && scene_lease(scene, 0)->count <= 2));
        tally_plan_clear(scene->told);
        scene_pass(scene, 2);
    }
    assert_int_equal(scene_worker(scene, worker).outstanding, 0);
}

static void
an_idle_worker_takes_suspects_while_the_busy_ones_go_on(void **state)
{
    scene_t *scene = *state;
    make_suspects(scene);
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    uint64_t busy = scene_join(scene, 100, "other");
    tally_core_worker_gone(scene->core, busy, TALLY_GONE_GOODBYE, scene->now_ms);
    scene_send(scene, "other", "acme", 5);
    busy = scene_join(scene, 5, "work,other");
    scene_tick(scene);
    tally_plan_clear(scene->told);
    //  `busy` holds suspects or the others; a new one comes.
    uint64_t idle = scene_join(scene, 100, "work");
    scene_settle_down(scene);
    assert_true(scene_lease_count(scene) > 0);
    assert_int_equal(scene_lease(scene, 0)->worker, idle);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
    assert_int_equal(scene_worker(scene, idle).leases, 1);
    assert_true(scene_worker(scene, busy).outstanding > 0);
}

//  A worker that holds a message of "acme" is reserved for suspects of the same stream.  Returns
//  the lease that it holds.
static uint64_t
reserve(scene_t *scene, uint64_t *worker)
{
    const tally_queue_row_t other = scene_policy("other");
    scene_put_queue(scene, &other);
    make_suspects(scene);
    *worker = scene_join(scene, 100, "other,work");
    scene_send(scene, "other", "acme", 1);
    //  Let the other queue be first.
    tally_core_worker_gone(scene->core, *worker, TALLY_GONE_GOODBYE, scene->now_ms);
    *worker = scene_join(scene, 100, "other");
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_reload(scene, true);
    scene_join_as(scene, *worker, 100, "other,work");
    scene_loaded(scene);
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, *worker).leases, 1);
    assert_int_equal(scene_stats(scene, "work").ready, 4);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) > scene->now_ms);
    return lease;
}

static void
a_busy_worker_is_reserved_and_gets_the_suspects_when_it_rests(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    uint64_t lease = reserve(scene, &worker);
    scene_send(scene, "other", "acme", 5);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 0);
    assert_true(scene_settle(scene, lease));
    scene_pass(scene, 2);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->queue, scene_queue_id(scene, "work"));
    assert_int_equal(scene_lease(scene, 0)->count, 2);
}

static void
when_the_reserved_worker_goes_another_takes_the_suspects(void **state)
{
    static const tally_gone_t ways[] = {TALLY_GONE_DEAD, TALLY_GONE_GOODBYE};
    scene_t *scene = *state;
    for (size_t i = 0; i < 2; i++) {
        uint64_t worker;
        reserve(scene, &worker);
        tally_core_worker_gone(scene->core, worker, ways[i], scene->now_ms);
        tally_core_check(scene->core);
        worker = scene_join(scene, 100, "work");
        scene_settle_down(scene);
        assert_int_equal(scene_worker(scene, worker).outstanding, 2);
        tally_core_worker_gone(scene->core, worker, TALLY_GONE_GOODBYE, scene->now_ms);
        scene_settle_down(scene);
        scene_teardown(state);
        setup(state);
        scene = *state;
    }
}

static void
a_reserved_worker_that_is_drained_lets_the_suspects_go(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    reserve(scene, &worker);
    tally_core_worker_drain(scene->core, worker, scene->now_ms);
    tally_core_check(scene->core);
    uint64_t other = scene_join(scene, 100, "work");
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, other).outstanding, 2);
}

static void
a_worker_that_holds_nothing_does_not_wait_for_the_reserved_one(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    uint64_t lease = reserve(scene, &worker);
    uint64_t other = scene_join(scene, 100, "work");
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, other).outstanding, 2);
    //  The other two are the reason why the busy one is reserved again.
    scene_send(scene, "other", "acme", 1);
    scene_pass(scene, 2);
    assert_int_equal(scene_worker(scene, worker).leases, 1);
    scene_settle(scene, lease);
    scene_pass(scene, 2);
    assert_int_equal(scene_worker(scene, worker).outstanding, 2);
    assert_int_equal(scene_stats(scene, "other").ready, 1);
}

//  Two workers, the busy one first in line; then a batch of a third one crashes.
static void
suspects_go_to_the_idle_one_of_two_at_once(void **state)
{
    scene_t *scene = *state;
    uint64_t busy = scene_join(scene, 10, "work");
    scene_send(scene, "work", "globex", 1);
    scene_tick(scene);
    uint64_t third = scene_join(scene, 4, "work");
    scene_send(scene, "work", "acme", 5);
    scene_tick(scene);
    for (size_t i = 0; i < scene_lease_count(scene); i++) {
        if (scene_lease(scene, i)->worker == busy) {
            scene_settle(scene, scene_lease_id(scene, i));
        }
    }
    scene_pass(scene, 2);
    uint64_t idle = scene_join(scene, 10, "work");
    assert_true(scene_worker(scene, third).outstanding > 1);
    tally_core_worker_gone(scene->core, third, TALLY_GONE_DEAD, scene->now_ms);
    scene_settle_down(scene);
    assert_true(scene_worker(scene, idle).outstanding > 0);
    assert_int_equal(scene_worker(scene, busy).outstanding, 1);
}

//  A second worker is busy with something else while the first is reserved; whoever rests first
//  gets them.
static void
the_first_of_the_busy_ones_to_rest_takes_what_was_promised_to_another(void **state)
{
    scene_t *scene = *state;
    uint64_t reserved;
    reserve(scene, &reserved);
    const tally_queue_row_t third = scene_policy("third");
    scene_put_queue(scene, &third);
    uint64_t busy = scene_join(scene, 10, "third");
    scene_send(scene, "third", "acme", 1);
    scene_settle_down(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_reload(scene, true);
    scene_join_as(scene, reserved, 100, "other,work");
    scene_join_as(scene, busy, 10, "third,work");
    scene_loaded(scene);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    scene_settle(scene, lease);
    scene_pass(scene, 2);
    assert_int_equal(scene_worker(scene, busy).outstanding, 2);
    assert_int_equal(scene_worker(scene, reserved).outstanding, 1);
}

static void
a_promise_is_not_kept_beyond_the_tenants_quota(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    uint64_t lease = reserve(scene, &worker);
    scene_join(scene, 1, "other");
    scene_send(scene, "other", "acme", 1);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "other").leased, 2);
    tally_tenant_row_t row = scene_tenant_policy(scene_tenant_id(scene, "acme"), "acme");
    row.leased_max = 1;
    scene_put_tenant(scene, &row);
    scene_settle(scene, lease);
    scene_pass(scene, 2);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    row.leased_max = 2;
    scene_put_tenant(scene, &row);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
}

static void
suspects_that_are_done_are_suspects_no_more_and_nobody_was_buried(void **state)
{
    scene_t *scene = *state;
    make_suspects(scene);
    scene_join(scene, 100, "work");
    scene_tick(scene);
    for (int i = 0; i < 4 && scene_lease_count(scene) > 0; i++) {
        scene_settle(scene, scene_lease_id(scene, 0));
        tally_plan_clear(scene->told);
        scene_pass(scene, 2);
    }
    assert_int_equal(fake_store_settled_total(scene->store), 4);
    scene_send(scene, "work", "acme", 4);
    scene_send(scene, "work", "globex", 4);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 2);
}

static void
a_suspect_is_a_suspect_after_a_restart(void **state)
{
    scene_t *scene = *state;
    make_suspects(scene);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 4);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
}

static void
the_holder_of_a_term_rests_before_it_takes_suspects(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("alone");
    row.exclusive = true;
    scene_put_queue(scene, &row);
    uint64_t worker = scene_join(scene, 100, "alone");
    scene_send(scene, "alone", "acme", 4);
    scene_settle_down(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 4);
    scene_send(scene, "alone", "globex", 1);
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, worker).outstanding, 5);
    uint64_t globex = scene_lease_id(scene, 0);
    //  The lease of acme passes its deadline, that of globex is extended.
    assert_true(scene_extend(scene, globex, 600000));
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT);
    assert_int_equal(scene_stats(scene, "alone").ready, 4);
    assert_int_equal(scene_worker(scene, worker).outstanding, 1);
    tally_plan_clear(scene->told);
    scene_settle(scene, globex);
    scene_pass(scene, 2);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
}

static void
a_drained_holder_does_not_keep_a_term_for_the_suspects_it_was_promised(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("alone");
    row.exclusive = true;
    scene_put_queue(scene, &row);
    uint64_t worker = scene_join(scene, 100, "alone");
    scene_send(scene, "alone", "acme", 4);
    scene_settle_down(scene);
    scene_send(scene, "alone", "globex", 1);
    scene_settle_down(scene);
    assert_true(scene_extend(scene, scene_lease_id(scene, 0), 600000));
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT);
    assert_int_equal(scene_stats(scene, "alone").ready, 4);
    uint64_t heir = scene_join(scene, 100, "alone");
    tally_core_worker_drain(scene->core, worker, scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, heir).terms, 1);
    assert_int_equal(scene_worker(scene, heir).outstanding, 2);
    assert_int_equal(scene_worker(scene, worker).terms, 1);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(messages_alone_in_leases_of_one_dead_worker_are_not_buried),
        TEST(nor_when_their_deadlines_pass_together),
        TEST(a_message_that_was_all_its_worker_held_is),
        TEST(a_worker_that_holds_suspects_gets_nothing_else),
        TEST(an_idle_worker_takes_suspects_while_the_busy_ones_go_on),
        TEST(a_busy_worker_is_reserved_and_gets_the_suspects_when_it_rests),
        TEST(when_the_reserved_worker_goes_another_takes_the_suspects),
        TEST(a_reserved_worker_that_is_drained_lets_the_suspects_go),
        TEST(a_worker_that_holds_nothing_does_not_wait_for_the_reserved_one),
        TEST(suspects_that_are_done_are_suspects_no_more_and_nobody_was_buried),
        TEST(a_suspect_is_a_suspect_after_a_restart),
        TEST(the_holder_of_a_term_rests_before_it_takes_suspects),
        TEST(suspects_go_to_the_idle_one_of_two_at_once),
        TEST(the_first_of_the_busy_ones_to_rest_takes_what_was_promised_to_another),
        TEST(a_promise_is_not_kept_beyond_the_tenants_quota),
        TEST(a_drained_holder_does_not_keep_a_term_for_the_suspects_it_was_promised),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
