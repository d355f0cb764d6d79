// SPDX-License-Identifier: MIT
//  Leases that outlive their broker: they go on while their worker is heard under its old number, and are returned,
//  uncounted, when it is not.

#include "tests/unit/core_scene.h"

#include <inttypes.h>
#include <string.h>

//  One message leased by a worker that the next broker has not heard of.
static uint64_t
lease_and_restart(scene_t *scene, uint64_t *worker)
{
    *worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    assert_true(scene_tick(scene));
    assert_int_equal(scene_lease_count(scene), 1);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_reload(scene, false);
    scene_loaded(scene);
    return lease;
}

//  Beats of the old worker alone, twice a second.
static void
pass_beating(scene_t *scene, uint64_t worker, int64_t ms)
{
    for (int64_t end_ms = scene->now_ms + ms; scene->now_ms < end_ms;) {
        assert_false(tally_core_worker_beat(scene->core, worker, scene->now_ms));
        scene_pass(scene, TALLY_BEAT_MS);
    }
}

static void
a_lease_goes_on_while_its_worker_beats(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    uint64_t lease = lease_and_restart(scene, &worker);
    pass_beating(scene, worker, 20000);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_true(scene_settle(scene, lease));
    scene_pass(scene, 10);    // a settle waits a little for company
    assert_int_equal(scene_stats(scene, "work").settled, 1);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
}

static void
its_deadline_holds_all_the_same(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    lease_and_restart(scene, &worker);
    pass_beating(scene, worker, TALLY_VISIBILITY_MS_DEFAULT);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
}

static void
a_lease_whose_worker_is_not_heard_is_returned_uncounted(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    lease_and_restart(scene, &worker);
    scene_pass(scene, TALLY_ORPHANS_MS - 1);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    scene_pass(scene, 1);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
    uint64_t next = scene_join(scene, 10, "work");
    assert_true(next != worker);
    assert_true(scene_tick(scene));
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_item_of(scene, 0, 0)->crashes, 0);
}

static void
a_lease_whose_worker_falls_silent_later_is_returned_soon(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    lease_and_restart(scene, &worker);
    pass_beating(scene, worker, 10000);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    scene_pass(scene, TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
}

static void
a_lease_whose_worker_says_that_it_rests_is_returned_at_once(void **state)
{
    scene_t *scene = *state;
    uint64_t worker;
    uint64_t lease = lease_and_restart(scene, &worker);
    tally_core_worker_rests(scene->core, worker, scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
    assert_false(scene_settle(scene, lease));
    scene_join(scene, 10, "work");
    assert_true(scene_tick(scene));
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_item_of(scene, 0, 0)->crashes, 0);
}

//  It may not have heard of its lease yet.
static void
a_worker_of_this_broker_may_rest(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    assert_true(scene_tick(scene));
    tally_core_worker_rests(scene->core, worker, scene->now_ms);
    scene_pass(scene, 10);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_true(scene_settle(scene, scene_lease_id(scene, 0)));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(a_lease_goes_on_while_its_worker_beats),
        TEST(its_deadline_holds_all_the_same),
        TEST(a_lease_whose_worker_is_not_heard_is_returned_uncounted),
        TEST(a_lease_whose_worker_falls_silent_later_is_returned_soon),
        TEST(a_lease_whose_worker_says_that_it_rests_is_returned_at_once),
        TEST(a_worker_of_this_broker_may_rest),
    };
    return cmocka_run_group_tests_name("core_orphan", tests, NULL, NULL);
}
