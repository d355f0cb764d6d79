// SPDX-License-Identifier: MIT
//  core, terms: one worker per exclusive queue and tenant, under an epoch that only grows.
#include <stdio.h>

#include "tests/unit/core_scene.h"

#define DEAD_MS (TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX)

static int
setup(void **state)
{
    scene_setup(state);
    tally_queue_row_t row = scene_policy("alone");
    row.exclusive = true;
    scene_put_queue(*state, &row);
    return 0;
}

static const tally_term_row_t *
stored(scene_t *scene, const char *tenant)
{
    return fake_store_term(scene->store, scene_queue_id(scene, "alone"),
                           scene_tenant_id(scene, tenant));
}

static void
lock(scene_t *scene, const char *tenant, bool locked)
{
    fake_store_lock_term(scene->store, scene_queue_id(scene, "alone"),
                         scene_tenant_id(scene, tenant), locked);
}

static void
nobody_gets_anything_before_its_term_is_granted(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene->told->terms.count, 1);
    assert_int_equal(scene->told->terms.items[0].epoch, 1);
    assert_int_equal(scene_lease_count(scene), 0);
    assert_true(scene_told_notice(scene, worker, TALLY_NOTICE_TERM));
    assert_int_equal(scene_event_count(scene, TALLY_EVENT_TERM), 1);
    assert_int_equal(stored(scene, "acme")->epoch, 1);
    assert_int_equal(stored(scene, "acme")->worker, worker);
    assert_string_equal(stored(scene, "acme")->worker_name, "worker");
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->worker, worker);
    assert_int_equal(scene_lease(scene, 0)->epoch, 1);
    assert_int_equal(scene_lease(scene, 0)->count, 2);
}

static void
the_holder_gets_all_of_it_and_the_others_nothing(void **state)
{
    scene_t *scene = *state;
    uint64_t holder = scene_join(scene, 2, "alone");
    scene_join(scene, 100, "alone");
    scene_send(scene, "alone", "acme", 6);
    scene_settle_down(scene);
    assert_int_equal(stored(scene, "acme")->worker, holder);
    assert_int_equal(scene_stats(scene, "alone").leased, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(scene_lease(scene, 0)->worker, holder);
        scene_settle(scene, scene_lease_id(scene, 0));
        scene_tick(scene);
        assert_int_equal(scene->told->terms.count, 0);
        assert_int_equal(scene_lease(scene, 0)->epoch, 1);
    }
    assert_int_equal(scene_stats(scene, "alone").ready, 0);
}

static void
a_stream_without_work_has_no_holder(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "alone");
    tally_item_t item = scene_item("later");
    item.options = TALLY_HAS_DELAY;
    item.delay_ms = 1000;
    scene_send_item(scene, "alone", "acme", item);
    scene_settle_down(scene);
    assert_null(stored(scene, "acme"));
    scene_pass(scene, 1000);
    assert_int_equal(stored(scene, "acme")->epoch, 1);
    assert_int_equal(scene_stats(scene, "alone").leased, 1);
}

static void
terms_are_spread_evenly_and_stay_where_they_are(void **state)
{
    scene_t *scene = *state;
    uint64_t workers[3];
    for (int i = 0; i < 3; i++) {
        workers[i] = scene_join(scene, 100, "alone");
    }
    char tenant[16];
    for (int i = 0; i < 9; i++) {
        snprintf(tenant, sizeof tenant, "t%d", i);
        scene_send(scene, "alone", tenant, 1);
    }
    scene_settle_down(scene);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(scene_worker(scene, workers[i]).terms, 3);
    }
    assert_int_equal(tally_core_term_count(scene->core), 9);
    uint64_t late = scene_join(scene, 100, "alone");
    scene_send(scene, "alone", "t0", 1);
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, late).terms, 0);
    for (int i = 9; i < 12; i++) {
        snprintf(tenant, sizeof tenant, "t%d", i);
        scene_send(scene, "alone", tenant, 1);
    }
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, late).terms, 3);
}

static void
a_dead_holder_is_replaced_in_the_plan_that_ends_its_leases(void **state)
{
    scene_t *scene = *state;
    uint64_t dead = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 3);
    scene_settle_down(scene);
    uint64_t heir = scene_join(scene, 10, "alone");
    for (int i = 0; i < TALLY_BEATS_MISSED_MAX; i++) {
        scene->now_ms += TALLY_BEAT_MS;
        tally_core_worker_beat(scene->core, heir, scene->now_ms);
    }
    scene_tick(scene);
    assert_true(scene_told_notice(scene, dead, TALLY_NOTICE_GONE));
    assert_int_equal(scene->told->ends.count, 3);
    assert_int_equal(scene->told->terms.count, 1);
    assert_int_equal(scene->told->terms.items[0].epoch, 2);
    assert_true(scene_told_notice(scene, heir, TALLY_NOTICE_TERM));
    scene_tick(scene);
    assert_int_equal(scene_lease(scene, 0)->worker, heir);
    assert_int_equal(scene_lease(scene, 0)->epoch, 2);
    assert_false(fake_store_holds_term(scene->store, 2, 1, 1));
    assert_true(fake_store_holds_term(scene->store, 2, 1, 2));
}

static void
a_holder_that_goes_without_work_is_replaced_all_the_same(void **state)
{
    scene_t *scene = *state;
    uint64_t first = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    scene_settle(scene, scene_lease_id(scene, 0));
    scene_pass(scene, 2);
    uint64_t second = scene_join(scene, 10, "alone");
    tally_core_worker_gone(scene->core, first, TALLY_GONE_GOODBYE, scene->now_ms);
    scene_tick(scene);
    assert_int_equal(stored(scene, "acme")->worker, second);
    assert_int_equal(stored(scene, "acme")->epoch, 2);
}

static void
when_nobody_is_left_the_term_waits_for_the_next_that_comes(void **state)
{
    scene_t *scene = *state;
    uint64_t first = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    tally_core_worker_gone(scene->core, first, TALLY_GONE_GOODBYE, scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(stored(scene, "acme")->epoch, 1);
    scene_join(scene, 10, "work");
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) > scene->now_ms);
    uint64_t next = scene_join(scene, 10, "alone");
    scene_tick(scene);
    assert_int_equal(stored(scene, "acme")->worker, next);
    assert_int_equal(stored(scene, "acme")->epoch, 2);
}

//  ---- locked ------------------------------------------------------------------------------------

static void
a_term_whose_row_is_held_is_elected_again_with_growing_pauses(void **state)
{
    scene_t *scene = *state;
    uint64_t stopped = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    uint64_t heir = scene_join(scene, 10, "alone");
    lock(scene, "acme", true);
    tally_core_worker_gone(scene->core, stopped, TALLY_GONE_DEAD, scene->now_ms);
    scene_tick(scene);
    int64_t backoff_ms = 20;
    for (int i = 0; i < 7; i++) {
        assert_false(scene_told_notice(scene, heir, TALLY_NOTICE_TERM));
        assert_int_equal(scene_lease_count(scene), 0);
        assert_int_equal(stored(scene, "acme")->epoch, 1);
        assert_int_equal(tally_core_next_ms(scene->core, scene->now_ms),
                         scene->now_ms + backoff_ms);
        scene->now_ms += backoff_ms;
        scene_beat(scene);
        scene_tick(scene);
        assert_int_equal(scene->told->terms.items[0].epoch, 2);
        backoff_ms = backoff_ms * 2 < 250 ? backoff_ms * 2 : 250;
    }
    lock(scene, "acme", false);
    scene_pass(scene, 250);
    assert_int_equal(stored(scene, "acme")->worker, heir);
    assert_int_equal(scene_stats(scene, "alone").leased, 1);
}

static void
one_locked_term_does_not_hold_up_another(void **state)
{
    scene_t *scene = *state;
    uint64_t stopped = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_send(scene, "alone", "globex", 1);
    scene_settle_down(scene);
    lock(scene, "acme", true);
    tally_core_worker_gone(scene->core, stopped, TALLY_GONE_DEAD, scene->now_ms);
    scene_join(scene, 10, "alone");
    scene_settle_down(scene);
    assert_int_equal(stored(scene, "globex")->epoch, 2);
    assert_int_equal(scene_stats(scene, "alone").leased, 1);
}

static void
an_election_whose_winner_goes_before_the_commit_is_held_again(void **state)
{
    scene_t *scene = *state;
    uint64_t winner = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_seal(scene);
    tally_core_worker_gone(scene->core, winner, TALLY_GONE_DEAD, scene->now_ms);
    uint64_t next = scene_join(scene, 10, "alone");
    tally_core_check(scene->core);
    scene_commit(scene);
    assert_false(scene_told_notice(scene, winner, TALLY_NOTICE_TERM));
    assert_int_equal(scene_worker(scene, next).terms, 0);
    scene_settle_down(scene);
    assert_int_equal(stored(scene, "acme")->epoch, 2);
    assert_int_equal(stored(scene, "acme")->worker, next);
    assert_int_equal(scene_stats(scene, "alone").leased, 1);
}

static void
pauses_begin_anew_after_a_term_was_granted(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    for (int i = 0; i < 2; i++) {
        lock(scene, "acme", true);
        tally_core_worker_gone(scene->core, worker, TALLY_GONE_GOODBYE, scene->now_ms);
        worker = scene_join(scene, 10, "alone");
        scene_settle_down(scene);
        assert_int_equal(tally_core_next_ms(scene->core, scene->now_ms), scene->now_ms + 20);
        scene_pass(scene, 100);
        lock(scene, "acme", false);
        scene_pass(scene, 250);
        assert_int_equal(stored(scene, "acme")->worker, worker);
    }
}

static void
a_term_without_work_is_elected_again_when_its_winner_went_before_the_commit(void **state)
{
    scene_t *scene = *state;
    uint64_t first = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    scene_settle(scene, scene_lease_id(scene, 0));
    scene_pass(scene, 2);
    uint64_t winner = scene_join(scene, 10, "alone");
    tally_core_worker_gone(scene->core, first, TALLY_GONE_GOODBYE, scene->now_ms);
    scene_seal(scene);
    tally_core_worker_gone(scene->core, winner, TALLY_GONE_GOODBYE, scene->now_ms);
    scene_commit(scene);
    assert_int_equal(stored(scene, "acme")->worker, winner);
    uint64_t last = scene_join(scene, 10, "alone");
    scene_settle_down(scene);
    assert_int_equal(stored(scene, "acme")->worker, last);
    assert_int_equal(stored(scene, "acme")->epoch, 3);
}

//  ---- drain -------------------------------------------------------------------------------------

static void
a_drained_holder_loses_a_term_when_it_holds_no_lease_of_it(void **state)
{
    scene_t *scene = *state;
    uint64_t old = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_send(scene, "alone", "globex", 1);
    scene_settle_down(scene);
    uint64_t acme = 0;
    for (size_t i = 0; i < scene_lease_count(scene); i++) {
        if (scene_lease(scene, i)->tenant == scene_tenant_id(scene, "acme")) {
            acme = scene_lease_id(scene, i);
        } else {
            scene_settle(scene, scene_lease_id(scene, i));
        }
    }
    scene_pass(scene, 2);
    uint64_t heir = scene_join(scene, 10, "alone");
    tally_core_worker_drain(scene->core, old, scene->now_ms);
    scene_send(scene, "alone", "acme", 1);
    scene_tick(scene);
    assert_true(scene_told_notice(scene, old, TALLY_NOTICE_DRAIN));
    assert_true(scene_told_notice(scene, old, TALLY_NOTICE_TERM_LOST));
    assert_int_equal(stored(scene, "globex")->worker, heir);
    assert_int_equal(stored(scene, "acme")->worker, old);
    assert_int_equal(scene_stats(scene, "alone").ready, 1);
    assert_true(scene_settle(scene, acme));
    scene_pass(scene, 2);
    assert_int_equal(stored(scene, "acme")->worker, heir);
    assert_int_equal(stored(scene, "acme")->epoch, 2);
    assert_int_equal(scene_stats(scene, "alone").leased, 1);
    assert_int_equal(scene_worker(scene, old).terms, 0);
}

static void
a_drained_holder_keeps_its_terms_while_there_is_nobody_else(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    scene_settle(scene, scene_lease_id(scene, 0));
    tally_core_worker_drain(scene->core, worker, scene->now_ms);
    scene_pass(scene, 100);
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    assert_int_equal(scene_worker(scene, worker).terms, 1);
    assert_int_equal(scene_stats(scene, "alone").ready, 1);
    uint64_t next = scene_join(scene, 10, "alone");
    scene_settle_down(scene);
    assert_int_equal(stored(scene, "acme")->worker, next);
    assert_int_equal(scene_stats(scene, "alone").leased, 1);
}

//  ---- restart and policy ------------------------------------------------------------------------

static void
a_holder_that_is_still_there_after_a_reload_goes_on_under_its_epoch(void **state)
{
    scene_t *scene = *state;
    uint64_t holder = scene_join(scene, 10, "alone");
    uint64_t other = scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    scene_reload(scene, true);
    scene_join_as(scene, other, 10, "alone");
    scene_join_as(scene, holder, 10, "alone");
    scene_loaded(scene);
    scene_send(scene, "alone", "acme", 1);
    scene_settle_down(scene);
    assert_int_equal(scene_lease(scene, 0)->worker, holder);
    assert_int_equal(scene_lease(scene, 0)->epoch, 1);
    assert_int_equal(stored(scene, "acme")->epoch, 1);
}

static void
a_new_broker_elects_anew_and_the_epoch_goes_on(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "alone");
    scene_send(scene, "alone", "acme", 2);
    scene_settle_down(scene);
    scene_reload(scene, false);
    scene_loaded(scene);
    uint64_t holder = scene_join(scene, 10, "alone");
    scene_pass(scene, TALLY_ORPHANS_MS);
    assert_int_equal(stored(scene, "acme")->epoch, 2);
    assert_int_equal(stored(scene, "acme")->worker, holder);
    assert_int_equal(scene_lease(scene, 0)->epoch, 2);
    tally_term_row_t row;
    assert_int_equal(tally_core_term_count(scene->core), 1);
    assert_true(tally_core_term_at(scene->core, 0, &row));
    assert_int_equal(row.epoch, 2);
    assert_int_equal(row.worker, holder);
    assert_string_equal(row.worker_name, "worker");
    assert_false(tally_core_term_at(scene->core, 1, &row));
}

static void
a_queue_can_become_exclusive_and_ordinary_again(void **state)
{
    scene_t *scene = *state;
    uint64_t first = scene_join(scene, 1, "work");
    scene_join(scene, 1, "work");
    scene_send(scene, "work", "acme", 10);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 2);
    uint64_t leases[2] = {scene_lease_id(scene, 0), scene_lease_id(scene, 1)};
    tally_queue_row_t row = scene_policy("work");
    row.exclusive = true;
    tally_core_put_queue(scene->core, &row);
    scene_settle_down(scene);
    scene_settle(scene, leases[0]);
    scene_settle(scene, leases[1]);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_int_equal(scene_lease(scene, 0)->worker, first);
    assert_int_equal(scene_lease(scene, 0)->epoch, 1);
    row.exclusive = false;
    tally_core_put_queue(scene->core, &row);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
    assert_int_equal(scene_lease(scene, 0)->epoch, 0);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(nobody_gets_anything_before_its_term_is_granted),
        TEST(the_holder_gets_all_of_it_and_the_others_nothing),
        TEST(a_stream_without_work_has_no_holder),
        TEST(terms_are_spread_evenly_and_stay_where_they_are),
        TEST(a_dead_holder_is_replaced_in_the_plan_that_ends_its_leases),
        TEST(a_holder_that_goes_without_work_is_replaced_all_the_same),
        TEST(when_nobody_is_left_the_term_waits_for_the_next_that_comes),
        TEST(a_term_whose_row_is_held_is_elected_again_with_growing_pauses),
        TEST(one_locked_term_does_not_hold_up_another),
        TEST(an_election_whose_winner_goes_before_the_commit_is_held_again),
        TEST(a_drained_holder_loses_a_term_when_it_holds_no_lease_of_it),
        TEST(a_drained_holder_keeps_its_terms_while_there_is_nobody_else),
        TEST(a_holder_that_is_still_there_after_a_reload_goes_on_under_its_epoch),
        TEST(a_new_broker_elects_anew_and_the_epoch_goes_on),
        TEST(a_queue_can_become_exclusive_and_ordinary_again),
        TEST(pauses_begin_anew_after_a_term_was_granted),
        TEST(a_term_without_work_is_elected_again_when_its_winner_went_before_the_commit),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
