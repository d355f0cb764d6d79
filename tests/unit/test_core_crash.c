// SPDX-License-Identifier: MIT
//  core, crashes: deadlines, dead workers, halves until the culprit is alone, and drains that count
//  nothing.
#include "tests/unit/core_scene.h"

#define DEAD_MS (TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX)

static void
a_lease_ends_at_its_deadline_and_not_before(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    uint64_t message = scene_message(scene, 0, 0);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT - 1);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").expired, 1);
    assert_int_equal(scene_message(scene, 0, 0), message);
    assert_int_equal(scene_item_of(scene, 0, 0)->crashes, 1);
    assert_int_equal(scene_item_of(scene, 0, 0)->deliveries, 2);
    assert_false(scene_settle(scene, lease));
    assert_true(scene_settle(scene, scene_lease_id(scene, 0)));
}

static void
the_deadline_counts_from_the_delivery(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_seal(scene);
    scene->now_ms += 400;    // a slow commit
    scene_commit(scene);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT - 1);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").expired, 1);
}

static void
an_expired_lease_tells_its_worker_by_an_event_and_frees_the_credit(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 3, "work");
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
    scene_beat(scene);
    scene_tick(scene);
    assert_int_equal(scene_event_count(scene, TALLY_EVENT_EXPIRED), 1);
    assert_int_equal(scene->told->events.items[0].worker, worker);
    assert_int_equal(scene->told->events.items[0].id, lease);
    assert_int_equal(scene_worker(scene, worker).outstanding, 0);
}

static void
a_record_after_the_deadline_but_before_the_tick_still_counts(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 3, "work");
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
    scene_beat(scene);
    assert_true(scene_settle(scene, scene_lease_id(scene, 0)));
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "work").settled, 3);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
}

static void
what_is_settled_before_the_crash_does_not_crash(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 5);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_settle_one(scene, lease, scene_message(scene, 0, 0));
    scene_settle_one(scene, lease, scene_message(scene, 0, 1));
    scene_tick(scene);
    scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
    scene_beat(scene);
    scene_tick(scene);
    assert_int_equal(scene->told->ends.count, 3);
    assert_int_equal(scene->told->ends.items[0].batch_max, 2);    // half of three, rounded up
}

//  ---- workers that go ---------------------------------------------------------------------------

static void
three_missed_beats_are_death_and_one_less_is_not(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    scene->now_ms += DEAD_MS - 1;
    assert_false(scene_tick(scene));
    assert_int_equal(scene_worker(scene, worker).beat_ms, DEAD_MS - 1);
    assert_int_equal(tally_core_next_ms(scene->core, scene->now_ms), scene->now_ms + 1);
    scene->now_ms += 1;
    scene_tick(scene);
    assert_true(scene_told_notice(scene, worker, TALLY_NOTICE_GONE));
    assert_int_equal(scene_event_count(scene, TALLY_EVENT_WORKER_DEAD), 1);
    assert_int_equal(tally_core_worker_count(scene->core), 0);
    assert_false(tally_core_worker_beat(scene->core, worker, scene->now_ms));
    //  What it held is given up in the same plan.
    assert_int_equal(scene->told->ends.count, 2);
    assert_int_equal(scene_stats(scene, "work").ready, 2);
    assert_int_equal(scene_stats(scene, "work").expired, 2);
}

static void
a_beat_keeps_a_worker_alive(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    for (int i = 0; i < 10; i++) {
        scene->now_ms += DEAD_MS - 1;
        assert_true(tally_core_worker_beat(scene->core, worker, scene->now_ms));
        assert_false(scene_tick(scene));
    }
}

static void
a_dead_workers_messages_go_to_a_living_one_at_once(void **state)
{
    scene_t *scene = *state;
    uint64_t dead = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    uint64_t message = scene_message(scene, 0, 0);
    uint64_t alive = scene_join(scene, 10, "work");
    tally_core_worker_gone(scene->core, dead, TALLY_GONE_DEAD, scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(scene_lease(scene, 0)->worker, alive);
    assert_int_equal(scene_message(scene, 0, 0), message);
    assert_int_equal(scene_item_of(scene, 0, 0)->crashes, 1);
}

static void
a_goodbye_counts_nothing(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 4);
    scene_tick(scene);
    uint64_t message = scene_message(scene, 0, 0);
    tally_core_worker_gone(scene->core, worker, TALLY_GONE_GOODBYE, scene->now_ms);
    scene_tick(scene);
    const fake_message_t *row = fake_store_message(scene->store, message);
    assert_int_equal(row->row.deliveries, 1);
    assert_int_equal(row->row.crashes, 0);
    assert_int_equal(row->row.batch_max, 0);
    assert_int_equal(scene_event_count(scene, TALLY_EVENT_WORKER_DEAD), 0);
    assert_int_equal(scene_event_count(scene, TALLY_EVENT_EXPIRED), 0);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
    scene_join(scene, 10, "work");
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 4);
}

static void
a_worker_that_goes_before_its_lease_is_committed_did_not_crash_on_it(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 4);
    scene_seal(scene);
    tally_core_worker_gone(scene->core, worker, TALLY_GONE_DEAD, scene->now_ms);
    tally_core_check(scene->core);
    scene_commit(scene);
    scene_join(scene, 10, "work");
    scene_settle_down(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 4);
    assert_int_equal(scene_item_of(scene, 0, 0)->crashes, 0);
}

static void
what_a_dead_worker_still_sent_is_taken_until_its_lease_is_ended(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    uint64_t message = scene_message(scene, 0, 0);
    tally_core_worker_gone(scene->core, worker, TALLY_GONE_DEAD, scene->now_ms);
    assert_true(scene_settle_one(scene, lease, message));
    assert_true(scene_extend(scene, lease, 60000));    // taken, but nobody is there to work on
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "work").settled, 1);
    assert_int_equal(scene_stats(scene, "work").ready, 2);
    assert_false(scene_settle(scene, lease));
}

static void
an_unknown_worker_may_go_without_harm(void **state)
{
    scene_t *scene = *state;
    tally_core_worker_gone(scene->core, 4711, TALLY_GONE_DEAD, scene->now_ms);
    tally_core_worker_drain(scene->core, 4711, scene->now_ms);
    assert_false(scene_tick(scene));
}

//  ---- halves ------------------------------------------------------------------------------------

//  The first worker dies with all it holds, and a new one takes over.
static void
crash_all(scene_t *scene)
{
    tally_worker_info_t info;
    assert_true(tally_core_worker_at(scene->core, 0, scene->now_ms, &info));
    tally_core_worker_gone(scene->core, info.number, TALLY_GONE_DEAD, scene->now_ms);
    scene_tick(scene);
    scene_join(scene, 100, "work");
    scene_tick(scene);
}

static void
a_batch_that_crashes_comes_back_in_halves_until_the_first_is_alone(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 11);
    scene_tick(scene);
    uint64_t first = scene_message(scene, 0, 0);
    static const size_t sizes[] = {6, 3, 2, 1, 1, 1};
    for (size_t round = 0; round < 6; round++) {
        crash_all(scene);
        assert_int_equal(scene_lease_count(scene), 1);
        assert_int_equal(scene_lease(scene, 0)->count, sizes[round]);
        assert_int_equal(scene_message(scene, 0, 0), first);
        assert_int_equal(scene_item_of(scene, 0, 0)->crashes, round + 1);
    }
    assert_int_equal(fake_store_dead_count(scene->store), 0);
}

static void
only_a_crash_alone_buries_however_many_there_were_in_company(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.crashes_max = 1;
    scene_put_queue(scene, &row);
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 4);
    scene_tick(scene);
    uint64_t message = scene_message(scene, 0, 0);
    crash_all(scene);
    crash_all(scene);
    assert_int_equal(scene_lease(scene, 0)->count, 1);
    assert_int_equal(scene_item_of(scene, 0, 0)->crashes, 2);
    assert_int_equal(fake_store_dead_count(scene->store), 0);
    crash_all(scene);
    assert_int_equal(fake_store_dead_count(scene->store), 1);
    assert_int_equal(fake_store_dead(scene->store, message)->row.crashes, 3);
    assert_string_equal(fake_store_dead(scene->store, message)->reason, "worker died");
}

static void
crashes_alone_are_counted_up_to_the_limit(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.crashes_max = 3;
    scene_put_queue(scene, &row);
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    for (int crashes = 1; crashes < 3; crashes++) {
        scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
        scene_beat(scene);
        scene_settle_down(scene);
        assert_int_equal(scene_item_of(scene, 0, 0)->crashes, crashes);
    }
    uint64_t message = scene_message(scene, 0, 0);
    scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
    scene_beat(scene);
    scene_settle_down(scene);
    assert_string_equal(fake_store_dead(scene->store, message)->reason, "deadline passed");
}

static void
the_last_of_a_lease_that_is_left_when_it_crashes_is_alone(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.crashes_max = 1;
    scene_put_queue(scene, &row);
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    uint64_t message = scene_message(scene, 0, 1);
    scene_settle_one(scene, scene_lease_id(scene, 0), scene_message(scene, 0, 0));
    crash_all(scene);
    assert_non_null(fake_store_dead(scene->store, message));
}

//  Workers do their leases one after the other, message by message, and die of the poison.
static void
work_or_die(scene_t *scene, uint64_t poison)
{
    size_t leases = scene_lease_count(scene);
    for (size_t i = 0; i < leases; i++) {
        const tally_plan_lease_t *lease = scene_lease(scene, i);
        for (size_t k = 0; k < lease->count; k++) {
            if (scene_message(scene, i, k) == poison) {
                tally_core_worker_gone(scene->core, lease->worker, TALLY_GONE_DEAD, scene->now_ms);
                scene_join(scene, 100, "work");
                return;
            }
        }
        scene_settle(scene, lease->id);
    }
}

static void
the_poison_is_found_and_all_others_are_done(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.crashes_max = 2;
    row.batch_max = 20;
    scene_put_queue(scene, &row);
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "acme", 100);
    scene_tick(scene);
    uint64_t poison = scene_message(scene, 2, 7);
    int deaths = 0;
    for (int round = 0; round < 100; round++) {
        size_t workers = tally_core_worker_count(scene->core);
        work_or_die(scene, poison);
        deaths += scene_event_count(scene, TALLY_EVENT_WORKER_DEAD) > 0;
        assert_int_equal(tally_core_worker_count(scene->core), workers);
        tally_plan_clear(scene->told);
        scene_pass(scene, 2);
    }
    assert_int_equal(fake_store_dead_count(scene->store), 1);
    assert_non_null(fake_store_dead(scene->store, poison));
    assert_int_equal(fake_store_settled_total(scene->store), 99);
    assert_in_range(deaths, 2, 8);
}

static void
more_crashes_than_a_plan_holds_are_spread_over_several(void **state)
{
    scene_t *scene = *state;
    const size_t workers = TALLY_PLAN_MESSAGES_MAX / TALLY_CREDIT_MAX + 2;
    for (size_t i = 0; i < workers; i++) {
        scene_join(scene, TALLY_CREDIT_MAX, "work");
        scene_send(scene, "work", "acme", TALLY_CREDIT_MAX);
        scene_settle_down(scene);
    }
    assert_int_equal(scene_stats(scene, "work").leased, workers * TALLY_CREDIT_MAX);
    scene->now_ms += DEAD_MS;
    scene_tick(scene);
    assert_in_range(scene->told->ends.count, TALLY_PLAN_MESSAGES_MAX,
                    TALLY_PLAN_MESSAGES_MAX + TALLY_BATCH_MESSAGES_MAX);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").ready, workers * TALLY_CREDIT_MAX);
}

//  ---- drain -------------------------------------------------------------------------------------

static void
a_draining_worker_hears_it_at_once_and_gets_nothing_more(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    tally_core_worker_drain(scene->core, worker, scene->now_ms);
    tally_core_worker_drain(scene->core, worker, scene->now_ms);
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene->told->notices.count, 1);
    assert_true(scene_told_notice(scene, worker, TALLY_NOTICE_DRAIN));
    assert_int_equal(scene_lease_count(scene), 0);
    assert_true(scene_worker(scene, worker).draining);
    assert_true(scene_settle(scene, lease));
    scene_pass(scene, 2);
    assert_int_equal(scene_stats(scene, "work").settled, 2);
    assert_int_equal(scene_stats(scene, "work").ready, 2);
    assert_int_equal(scene_worker(scene, worker).outstanding, 0);
}

//  ---- hello -------------------------------------------------------------------------------------

static void
a_hello_for_an_unknown_queue_says_which(void **state)
{
    scene_t *scene = *state;
    tally_hello_t hello = {.credit = 1, .name = tally_bytes_of("w"), .queue_count = 2};
    hello.queues[0] = tally_bytes_of("work");
    hello.queues[1] = tally_bytes_of("nowhere");
    tally_fault_t fault = {0};
    assert_int_equal(tally_core_worker_join(scene->core, 0, &hello, &fault, scene->now_ms), 0);
    assert_int_equal(fault.code, TALLY_E_UNKNOWN);
    assert_int_equal(fault.index, 1);
    hello.queues[1] = tally_bytes_of("work");
    uint64_t worker = tally_core_worker_join(scene->core, 0, &hello, &fault, scene->now_ms);
    assert_int_equal(scene_worker(scene, worker).queue_count, 1);
    assert_int_equal(tally_core_worker_join(scene->core, worker, &hello, &fault, scene->now_ms), 0);
    assert_int_equal(fault.code, TALLY_E_STATE);
}

static void
there_are_so_many_workers_and_not_one_more(void **state)
{
    scene_t *scene = *state;
    for (int i = 0; i < TALLY_WORKERS_MAX; i++) {
        scene_join(scene, 1, "work");
    }
    tally_hello_t hello = {.credit = 1, .name = tally_bytes_of("w"), .queue_count = 1};
    hello.queues[0] = tally_bytes_of("work");
    tally_fault_t fault = {0};
    assert_int_equal(tally_core_worker_join(scene->core, 0, &hello, &fault, scene->now_ms), 0);
    assert_int_equal(fault.code, TALLY_E_BUSY);
    tally_worker_info_t info;
    assert_true(tally_core_worker_at(scene->core, 0, scene->now_ms, &info));
    tally_core_worker_gone(scene->core, info.number, TALLY_GONE_GOODBYE, scene->now_ms);
    assert_int_not_equal(tally_core_worker_join(scene->core, 0, &hello, &fault, scene->now_ms), 0);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lease_ends_at_its_deadline_and_not_before),
        TEST(the_deadline_counts_from_the_delivery),
        TEST(an_expired_lease_tells_its_worker_by_an_event_and_frees_the_credit),
        TEST(a_record_after_the_deadline_but_before_the_tick_still_counts),
        TEST(what_is_settled_before_the_crash_does_not_crash),
        TEST(three_missed_beats_are_death_and_one_less_is_not),
        TEST(a_beat_keeps_a_worker_alive),
        TEST(a_dead_workers_messages_go_to_a_living_one_at_once),
        TEST(a_goodbye_counts_nothing),
        TEST(a_worker_that_goes_before_its_lease_is_committed_did_not_crash_on_it),
        TEST(what_a_dead_worker_still_sent_is_taken_until_its_lease_is_ended),
        TEST(an_unknown_worker_may_go_without_harm),
        TEST(a_batch_that_crashes_comes_back_in_halves_until_the_first_is_alone),
        TEST(only_a_crash_alone_buries_however_many_there_were_in_company),
        TEST(crashes_alone_are_counted_up_to_the_limit),
        TEST(the_last_of_a_lease_that_is_left_when_it_crashes_is_alone),
        TEST(the_poison_is_found_and_all_others_are_done),
        TEST(more_crashes_than_a_plan_holds_are_spread_over_several),
        TEST(a_draining_worker_hears_it_at_once_and_gets_nothing_more),
        TEST(a_hello_for_an_unknown_queue_says_which),
        TEST(there_are_so_many_workers_and_not_one_more),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
