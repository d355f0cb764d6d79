// SPDX-License-Identifier: MIT
//  core, reloads: a core made again from the database behaves like the one that was lost, and no
//  token repeats.
#include "tests/unit/core_scene.h"

static void
a_lost_plan_never_happened_and_its_sends_may_come_again(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    assert_non_null(tally_core_seal(scene->core, scene->now_ms));    // and nobody writes it
    scene_reload(scene, true);
    scene_loaded(scene);
    tally_item_t item = scene_item("again");
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_PLANNED);
    scene_tick(scene);
    assert_int_equal(fake_store_message_count(scene->store), 1);
}

static void
a_plan_that_was_written_but_not_known_is_found_in_the_database(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_seal(scene);
    uint64_t lease = scene->plan->leases.items[0].id;
    scene_reload(scene, true);
    scene_join_as(scene, worker, 10, "work");
    scene_loaded(scene);
    tally_item_t item = scene_item("again");
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_REPEATED);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
    assert_int_equal(scene_worker(scene, worker).outstanding, 2);
    //  The shell returns what was never delivered.
    assert_true(scene_give_back(scene, lease, 0));
    scene_pass(scene, 2);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_int_not_equal(scene_lease_id(scene, 0), lease);
    assert_body(scene_item_of(scene, 0, 0), "0");
}

static void
ids_go_on_above_those_of_the_lost_core(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    uint64_t message = scene_sent(scene, 0);
    uint64_t lease = scene_lease_id(scene, 0);
    uint64_t next = tally_core_next_id(scene->core);
    scene_reload(scene, true);
    scene_loaded(scene);
    assert_true(tally_core_next_id(scene->core) >= next);
    scene_reload(scene, false);
    scene_loaded(scene);
    assert_int_equal(tally_core_next_id(scene->core) >> 40, 2);
    scene_join(scene, 10, "work");
    scene_pass(scene, TALLY_ORPHANS_MS);
    assert_true(scene_lease_id(scene, 0) > lease);
    assert_int_equal(scene_message(scene, 0, 0), message);
}

static void
rows_of_the_same_epoch_push_the_counter_even_without_a_first_id(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 5);
    scene_tick(scene);
    uint64_t last = scene_sent(scene, 4);
    const tally_core_options_t options = {.epoch = scene->epoch, .tick = 1};
    tally_core_t *core = tally_core_new(&options);
    fake_store_load(scene->store, core, scene->now_ms);
    assert_int_equal(tally_core_next_id(core), last + 1);
    tally_core_destroy(&core);
}

static void
ticks_go_on_and_silent_plans_have_no_number(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    assert_int_equal(tally_core_tick(scene->core), 1);
    uint64_t worker = scene_join(scene, 10, "work");
    scene_settle_down(scene);
    assert_int_equal(tally_core_tick(scene->core), 2);
    tally_core_worker_drain(scene->core, worker, scene->now_ms);
    assert_true(scene_seal(scene));
    assert_null(scene->result);
    assert_true(tally_plan_silent(scene->plan));
    assert_int_equal(scene->plan->number, 0);
    scene_commit(scene);
    assert_int_equal(tally_core_tick(scene->core), 2);
    scene_reload(scene, true);
    scene_loaded(scene);
    assert_int_equal(tally_core_tick(scene->core), 2);
}

//  ---- leases ------------------------------------------------------------------------------------

static void
the_lease_of_a_worker_that_is_back_goes_on_to_its_deadline(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_pass(scene, 10000);
    scene_reload(scene, true);
    scene_join_as(scene, worker, 10, "work");
    scene_loaded(scene);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT - 10000 - 1);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
    assert_true(scene_settle_one(scene, lease, fake_store_lease(scene->store, lease)->messages[0]));
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").expired, 1);
}

static void
the_lease_of_a_worker_that_is_not_back_is_returned_uncounted(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    uint64_t message = scene_message(scene, 0, 0);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_pass(scene, TALLY_ORPHANS_MS - 1);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
    assert_true(scene_settle_one(scene, lease, scene_sent(scene, 1)));    // it is late, not wrong
    scene_pass(scene, 2);
    assert_int_equal(scene_stats(scene, "work").settled, 1);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
    assert_int_equal(fake_store_message(scene->store, message)->row.deliveries, 1);
    assert_int_equal(fake_store_message(scene->store, message)->row.crashes, 0);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
}

static void
an_orphan_whose_deadline_is_nearer_ends_then(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    scene_pass(scene, TALLY_VISIBILITY_MS_DEFAULT - 1000);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_pass(scene, 999);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").ready, 2);
    assert_int_equal(scene_stats(scene, "work").expired, 0);
}

static void
a_lease_far_past_its_deadline_ends_at_once(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    scene->now_ms += 86400000;
    scene_reload(scene, false);
    scene_loaded(scene);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_settle_down(scene);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
}

static void
a_worker_with_less_credit_than_it_holds_gets_nothing_until_it_is_below(void **state)
{
    scene_t *scene = *state;
    uint64_t worker = scene_join(scene, 5, "work");
    scene_send(scene, "work", "acme", 10);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    scene_reload(scene, true);
    scene_join_as(scene, worker, 3, "work");
    scene_loaded(scene);
    assert_false(scene_tick(scene));
    const fake_lease_t *row = fake_store_lease(scene->store, lease);
    uint64_t ids[5];
    memcpy(ids, row->messages, sizeof ids);
    scene_settle_one(scene, lease, ids[0]);
    scene_settle_one(scene, lease, ids[1]);
    scene_pass(scene, 2);
    assert_int_equal(scene_worker(scene, worker).outstanding, 3);
    scene_settle_one(scene, lease, ids[2]);
    scene_pass(scene, 2);
    assert_int_equal(scene_worker(scene, worker).outstanding, 3);
    assert_int_equal(scene_worker(scene, worker).leases, 2);
}

//  Rows are read one statement after the other, and workers go on meanwhile.
static void
messages_settled_while_a_core_was_loaded_are_not_in_its_leases(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    uint64_t ids[3];
    for (size_t i = 0; i < 3; i++) {
        ids[i] = scene_message(scene, 0, i);
    }
    uint64_t lease = scene_lease_id(scene, 0);
    uint32_t tenant = scene_tenant_id(scene, "acme");
    fake_store_settle(scene->store, lease, &ids[1], 1);
    scene_reload(scene, false);
    //  As it was read before: with the message that is gone.
    const tally_lease_row_t row = {.id = lease + 1000,
                                   .tenant = tenant,
                                   .queue = 1,
                                   .left_ms = 5000,
                                   .messages = &ids[1],
                                   .count = 1};
    tally_core_load_lease(scene->core, &row, scene->now_ms);
    scene_loaded(scene);
    assert_int_equal(scene_stats(scene, "work").leased, 2);
    scene_settle_down(scene);
    assert_int_equal(scene->told->settled.items[0], lease + 1000);
    scene_pass(scene, 1000);    // it finds that there is no such row
    assert_false(scene_settle(scene, lease + 1000));
    assert_int_equal(scene_stats(scene, "work").bytes, 2);
}

static void
an_empty_lease_row_is_taken_away(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    scene_reload(scene, true);
    const tally_lease_row_t row = {.id = 77, .tenant = 1, .queue = 1, .left_ms = 5000};
    tally_core_load_lease(scene->core, &row, scene->now_ms);
    scene_loaded(scene);
    scene_settle_down(scene);
    assert_int_equal(scene->told->settled.items[0], 77);
}

static void
rows_of_unknown_queues_and_tenants_are_counted_and_left_alone(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    scene_reload(scene, true);
    const tally_message_row_t message = {.id = 5, .tenant = 99, .queue = 1, .body_bytes = 1};
    const tally_lease_row_t lease = {.id = 6, .tenant = 1, .queue = 99};
    const tally_term_row_t term = {.queue = 99, .tenant = 1, .epoch = 1};
    tally_core_load_term(scene->core, &term);
    tally_core_load_lease(scene->core, &lease, scene->now_ms);
    tally_core_load_message(scene->core, &message, scene->now_ms);
    scene_loaded(scene);
    assert_int_equal(tally_core_strays(scene->core), 3);
    assert_int_equal(scene_stats(scene, "work").ready, 1);
}

//  ---- the same behaviour ------------------------------------------------------------------------

//  Takes what is ready, message by message, with one worker that holds one.
static size_t
take_order(scene_t *scene, uint64_t order[64])
{
    size_t count = 0;
    scene_join(scene, 1, "work");
    scene_tick(scene);
    while (scene_lease_count(scene) == 1 && count < 64) {
        order[count++] = scene_message(scene, 0, 0);
        scene_settle(scene, scene_lease_id(scene, 0));
        tally_plan_clear(scene->told);
        scene_pass(scene, 2);
    }
    return count;
}

static void
fill(scene_t *scene)
{
    tally_item_t items[40];
    for (unsigned i = 0; i < 40; i++) {
        items[i] = i % 5 == 0 ? scene_keyed("x", i % 2 == 0 ? "k" : "l") : scene_item("x");
        items[i].options |= TALLY_HAS_PRIORITY;
        items[i].priority = (uint8_t)(i % 3);
    }
    scene_try(scene, 1, "work", "acme", items, 40);
    scene_tick(scene);
}

static void
messages_go_in_the_same_order_as_without_the_restart(void **state)
{
    scene_t *scene = *state;
    uint64_t before[64];
    uint64_t after[64];
    fill(scene);
    uint64_t first = scene_sent(scene, 0);
    assert_int_equal(take_order(scene, before), 40);
    scene_teardown(state);
    scene_setup(state);
    scene = *state;
    fill(scene);
    assert_int_equal(scene_sent(scene, 0), first);
    scene_reload(scene, false);
    scene_loaded(scene);
    assert_int_equal(take_order(scene, after), 40);
    assert_memory_equal(before, after, 40 * sizeof before[0]);
}

static void
counts_and_quotas_are_the_same_after_a_reload(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    row.messages_max = 7;
    row.weight = 3;
    scene_put_tenant(scene, &row);
    scene_join(scene, 2, "work");
    scene_send(scene, "work", "acme", 5);
    tally_item_t late = scene_item("late");
    late.options = TALLY_HAS_DELAY;
    late.delay_ms = 5000;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    tally_stream_stats_t before = scene_stats(scene, "work");
    scene_reload(scene, false);
    scene_loaded(scene);
    tally_stream_stats_t after = scene_stats(scene, "work");
    assert_int_equal(after.ready, before.ready);
    assert_int_equal(after.leased, before.leased);
    assert_int_equal(after.delayed, before.delayed);
    assert_int_equal(after.bytes, before.bytes);
    assert_int_equal(tally_core_tenant_by_id(scene->core, 1)->weight, 3);
    tally_item_t items[2] = {scene_item("a"), scene_item("b")};
    uint64_t sequence = scene->sequence + 1;
    assert_int_equal(scene_try(scene, sequence, "work", "acme", items, 2).fault.code, TALLY_E_BUSY);
    assert_int_equal(scene_try(scene, sequence, "work", "acme", items, 1).outcome,
                     TALLY_SEND_PLANNED);
}

static void
delays_go_on_where_they_were(void **state)
{
    scene_t *scene = *state;
    tally_item_t late = scene_item("late");
    late.options = TALLY_HAS_DELAY;
    late.delay_ms = 5000;
    scene_send_item(scene, "work", "acme", late);
    scene_tick(scene);
    scene_pass(scene, 2000);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_join(scene, 10, "work");
    scene_pass(scene, 2999);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
    scene_pass(scene, 1);
    assert_int_equal(scene_stats(scene, "work").leased, 1);
    assert_body(scene_item_of(scene, 0, 0), "late");
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lost_plan_never_happened_and_its_sends_may_come_again),
        TEST(a_plan_that_was_written_but_not_known_is_found_in_the_database),
        TEST(ids_go_on_above_those_of_the_lost_core),
        TEST(rows_of_the_same_epoch_push_the_counter_even_without_a_first_id),
        TEST(ticks_go_on_and_silent_plans_have_no_number),
        TEST(the_lease_of_a_worker_that_is_back_goes_on_to_its_deadline),
        TEST(the_lease_of_a_worker_that_is_not_back_is_returned_uncounted),
        TEST(an_orphan_whose_deadline_is_nearer_ends_then),
        TEST(a_lease_far_past_its_deadline_ends_at_once),
        TEST(a_worker_with_less_credit_than_it_holds_gets_nothing_until_it_is_below),
        TEST(messages_settled_while_a_core_was_loaded_are_not_in_its_leases),
        TEST(an_empty_lease_row_is_taken_away),
        TEST(rows_of_unknown_queues_and_tenants_are_counted_and_left_alone),
        TEST(messages_go_in_the_same_order_as_without_the_restart),
        TEST(counts_and_quotas_are_the_same_after_a_reload),
        TEST(delays_go_on_where_they_were),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
