// SPDX-License-Identifier: MIT
//  A broker that did not listen takes nobody's silence for death.

#include "tests/unit/core_scene.h"

static void
silence_counts_only_while_the_broker_listened(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_settle_down(scene);
    for (int i = 0; i < 10; i++) {
        scene->now_ms += TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX;    // no beat was read
        tally_core_pardon(scene->core, scene->now_ms);
        scene_settle_down(scene);
        assert_int_equal(scene_event_count(scene, TALLY_EVENT_WORKER_DEAD), 0);
    }
    assert_int_equal(tally_core_worker_count(scene->core), 1);
    scene->now_ms += TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX;
    scene_settle_down(scene);
    assert_int_equal(tally_core_worker_count(scene->core), 0);
    assert_true(scene_told_notice(scene, worker, TALLY_NOTICE_GONE));
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(silence_counts_only_while_the_broker_listened, scene_setup,
                                        scene_teardown),
    };
    return cmocka_run_group_tests_name("core_pardon", tests, NULL, NULL);
}
