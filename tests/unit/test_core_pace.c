// SPDX-License-Identifier: MIT
//  core, pace: a worker has in front of it what it ends in a tenth of a second, and not its whole credit of leases.
#include <stdio.h>

#include "tests/unit/core_scene.h"

#define TENANTS 40

static const char *
tenant(int i)
{
    static char name[16];
    snprintf(name, sizeof name, "t%02d", i);
    return name;
}

//  A message of each tenant, so that each is a lease of its own.
static void
send_to_many(scene_t *scene)
{
    for (int i = 0; i < TENANTS; i++) {
        scene_send(scene, "work", tenant(i), 1);
    }
}

typedef struct {
    uint64_t leases[TALLY_CREDIT_MAX];
    size_t first, count;
    size_t most;    // that ever waited
} lane_t;

static void
take_told(const scene_t *scene, lane_t *lane)
{
    for (size_t i = 0; i < scene_lease_count(scene); i++) {
        lane->leases[lane->count++] = scene_lease_id(scene, i);
    }
    if (lane->count - lane->first > lane->most) {
        lane->most = lane->count - lane->first;
    }
}

static void
hand_out(scene_t *scene, lane_t *lane)
{
    send_to_many(scene);
    scene_tick(scene);
    take_told(scene, lane);
}

//  One lease after the other, each in so many milliseconds, until there is none any more.
static void
work_at(scene_t *scene, lane_t *lane, int64_t lease_ms)
{
    while (lane->first < lane->count) {
        scene->now_ms += lease_ms;
        scene_beat(scene);
        assert_true(scene_settle(scene, lane->leases[lane->first++]));
        if (scene_tick(scene)) {
            take_told(scene, lane);
        }
        for (scene->now_ms += 2; scene_tick(scene); scene->now_ms += 2) {
            take_told(scene, lane);
        }
    }
}

static void
nobody_known_gets_ten_leases_to_begin_with(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    send_to_many(scene);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 10);
    assert_int_equal(scene_stats(scene, "work").leased, 10);
}

static void
a_slow_worker_soon_has_two_leases_in_front_of_it_and_never_none(void **state)
{
    scene_t *scene = *state;
    lane_t lane = {0};
    uint64_t worker = scene_join(scene, TALLY_CREDIT_MAX, "work");
    hand_out(scene, &lane);
    work_at(scene, &lane, 200);
    assert_int_equal(lane.count, TENANTS);
    lane.most = 0;
    hand_out(scene, &lane);
    work_at(scene, &lane, 200);
    assert_int_equal(lane.count, 2 * TENANTS);
    assert_int_equal(lane.most, TALLY_AHEAD_LEASES_MIN);
    assert_int_equal(scene_worker(scene, worker).outstanding, 0);
}

static void
a_fast_worker_has_all_of_its_credit(void **state)
{
    scene_t *scene = *state;
    lane_t lane = {0};
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    hand_out(scene, &lane);
    work_at(scene, &lane, 0);
    send_to_many(scene);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), TENANTS);
}

static void
who_was_slow_and_is_fast_again_gets_more(void **state)
{
    scene_t *scene = *state;
    lane_t lane = {0};
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    hand_out(scene, &lane);
    work_at(scene, &lane, 200);
    for (int round = 0; round < 3; round++) {
        hand_out(scene, &lane);
        work_at(scene, &lane, 0);
    }
    send_to_many(scene);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), TENANTS);
}

static void
what_waits_while_a_worker_is_slow_goes_to_it_in_one_lease(void **state)
{
    scene_t *scene = *state;
    lane_t lane = {0};
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    for (int i = 0; i < 20; i++) {
        scene_send(scene, "work", "acme", 1);
        scene_tick(scene);
        take_told(scene, &lane);
    }
    assert_int_equal(lane.count, 10);
    scene->now_ms += 200;
    scene_beat(scene);
    for (; lane.first < 9; lane.first++) {
        scene_settle(scene, lane.leases[lane.first]);
    }
    scene->now_ms += 2;
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_equal(scene_lease(scene, 0)->count, 10);
}

static void
a_worker_that_is_free_gets_what_a_slow_one_has_no_room_for(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    send_to_many(scene);
    scene_tick(scene);
    uint64_t second = scene_join(scene, TALLY_CREDIT_MAX, "work");
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(scene_lease(scene, i)->worker, second);
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_known_gets_ten_leases_to_begin_with, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(
            a_slow_worker_soon_has_two_leases_in_front_of_it_and_never_none, scene_setup,
            scene_teardown),
        cmocka_unit_test_setup_teardown(a_fast_worker_has_all_of_its_credit, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(who_was_slow_and_is_fast_again_gets_more, scene_setup,
                                        scene_teardown),
        cmocka_unit_test_setup_teardown(what_waits_while_a_worker_is_slow_goes_to_it_in_one_lease,
                                        scene_setup, scene_teardown),
        cmocka_unit_test_setup_teardown(a_worker_that_is_free_gets_what_a_slow_one_has_no_room_for,
                                        scene_setup, scene_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
