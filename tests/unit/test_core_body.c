// SPDX-License-Identifier: MIT
//  core, bodies: kept in memory up to a budget, fetched again beyond it, or blobs.
#include "tests/unit/core_scene.h"

#include <stdlib.h>

//  ---- bodies ------------------------------------------------------------------------------------

static void
bodies_beyond_the_budget_are_fetched_when_they_are_leased(void **state)
{
    scene_t *scene = *state;
    scene->cache_bytes_max = 0;
    scene_reload(scene, true);
    scene_loaded(scene);
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    assert_int_equal(tally_core_memory_bytes(scene->core), 0);
    assert_int_equal(tally_core_entry_bytes(scene->core), 3 * 32);
    scene_join(scene, 10, "work");
    scene_tick(scene);
    assert_int_equal(scene->told->fetches.count, 3);
    assert_body(scene_item_of(scene, 0, 0), "0");
    assert_body(scene_item_of(scene, 0, 2), "2");
}

static void
a_body_in_the_plan_being_collected_needs_no_memory_and_no_fetch(void **state)
{
    scene_t *scene = *state;
    scene->cache_bytes_max = 0;
    scene_reload(scene, true);
    scene_loaded(scene);
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    assert_int_equal(scene->told->fetches.count, 0);
    assert_body(scene_item_of(scene, 0, 1), "0");
    assert_body(scene_item_of(scene, 0, 2), "1");
}

static void
the_budget_counts_frames_and_is_given_back(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 10);
    scene_tick(scene);
    size_t frame = tally_core_memory_bytes(scene->core);
    assert_in_range(frame, 10, 1000);
    scene->cache_bytes_max = 2 * frame;
    scene_reload(scene, true);
    scene_loaded(scene);
    for (int i = 0; i < 4; i++) {
        scene_send(scene, "work", "acme", 10);
    }
    scene_tick(scene);
    assert_int_equal(tally_core_memory_bytes(scene->core), 2 * frame);
    scene_join(scene, 100, "work");
    scene_tick(scene);
    assert_int_equal(tally_core_memory_bytes(scene->core), 0);
    assert_int_equal(scene->told->fetches.count, 30);
    assert_body(scene_item_of(scene, 0, 49), "9");
}

static void
a_body_that_comes_back_is_fetched_again(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    assert_int_equal(tally_core_memory_bytes(scene->core), 0);
    scene_give_back(scene, scene_lease_id(scene, 0), 0);
    scene_pass(scene, 2);
    assert_int_equal(scene->told->fetches.count, 2);
    assert_body(scene_item_of(scene, 0, 1), "1");
    assert_int_equal(scene_item_of(scene, 0, 1)->deliveries, 2);
}

static void
empty_bodies_are_never_fetched(void **state)
{
    scene_t *scene = *state;
    scene->cache_bytes_max = 0;
    scene_reload(scene, true);
    scene_loaded(scene);
    scene_send_item(scene, "work", "acme", scene_item(""));
    scene_tick(scene);
    scene_join(scene, 10, "work");
    scene_tick(scene);
    assert_int_equal(scene->told->fetches.count, 0);
    assert_int_equal(scene_item_of(scene, 0, 0)->body.size, 0);
}

static void
a_plan_fetches_a_bounded_number_of_bytes(void **state)
{
    scene_t *scene = *state;
    scene->cache_bytes_max = 0;
    scene_reload(scene, true);
    scene_loaded(scene);
    char *body = calloc(1, TALLY_BODY_INLINE_BYTES_MAX);
    tally_item_t item = scene_item("");
    item.body = (tally_bytes_t){body, TALLY_BODY_INLINE_BYTES_MAX};
    const size_t fit = TALLY_PLAN_BYTES_MAX / TALLY_BODY_INLINE_BYTES_MAX;
    for (size_t i = 0; i < fit + 10; i++) {
        scene_send_item(scene, "work", "acme", item);
        scene_settle_down(scene);
    }
    scene_join(scene, 1000, "work");
    scene_tick(scene);
    assert_int_equal(scene->told->fetches.count, fit);
    assert_int_equal(scene->told->ids.count, fit);
    scene_tick(scene);
    assert_int_equal(scene->told->fetches.count, 10);
    free(body);
}

static void
a_message_deleted_by_hand_is_forgotten_when_its_body_is_not_found(void **state)
{
    scene_t *scene = *state;
    scene->cache_bytes_max = 0;
    scene_reload(scene, true);
    scene_loaded(scene);
    scene_send(scene, "work", "acme", 3);
    scene_tick(scene);
    uint64_t ids[3] = {scene_sent(scene, 0), scene_sent(scene, 1), scene_sent(scene, 2)};
    fake_store_delete_message(scene->store, ids[1]);
    uint64_t worker = scene_join(scene, 10, "work");
    scene_tick(scene);
    assert_int_equal(scene_message(scene, 0, 0), ids[0]);
    assert_int_equal(scene_message(scene, 0, 1), 0);
    assert_int_equal(scene_message(scene, 0, 2), ids[2]);
    assert_int_equal(scene_worker(scene, worker).outstanding, 2);
    scene_settle(scene, scene_lease_id(scene, 0));
    scene_tick(scene);
    assert_int_equal(fake_store_lease_count(scene->store), 0);
    assert_int_equal(scene_stats(scene, "work").leased, 0);
}

static void
a_lease_of_nothing_but_deleted_messages_takes_its_row_away(void **state)
{
    scene_t *scene = *state;
    scene->cache_bytes_max = 0;
    scene_reload(scene, true);
    scene_loaded(scene);
    scene_send(scene, "work", "acme", 1);
    scene_tick(scene);
    fake_store_delete_message(scene->store, scene_sent(scene, 0));
    scene_join(scene, 10, "work");
    scene_tick(scene);
    assert_int_equal(fake_store_lease_count(scene->store), 1);
    scene_settle_down(scene);
    assert_int_equal(fake_store_lease_count(scene->store), 0);
    assert_int_equal(scene_stats(scene, "work").bytes, 0);
}

static void
a_body_larger_than_a_plan_may_fetch_is_fetched_alone(void **state)
{
    scene_t *scene = *state;
    scene->cache_bytes_max = 0;
    scene_reload(scene, true);
    scene_loaded(scene);
    scene_send(scene, "work", "acme", 2);
    scene_tick(scene);
    uint64_t id = scene_sent(scene, 1);
    scene_reload(scene, true);
    //  Somebody put it there by hand.
    const tally_message_row_t row = {.id = id + 1, .tenant = 1, .queue = 1, .body_bytes = 1u << 30};
    tally_core_load_message(scene->core, &row, scene->now_ms);
    scene_loaded(scene);
    scene_join(scene, 10, "work");
    scene_tick(scene);
    assert_int_equal(scene->told->fetches.count, 2);
    scene_tick(scene);
    assert_int_equal(scene->told->fetches.count, 1);
}

//  ---- blobs -------------------------------------------------------------------------------------

static tally_item_t
as_blob(const char *body)
{
    tally_item_t item = scene_item(body);
    item.options = TALLY_AS_BLOB;
    return item;
}

static void
a_blob_is_delivered_as_a_reference(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send_item(scene, "work", "acme", as_blob("large"));
    scene_tick(scene);
    assert_true(scene->told->messages.items[0].is_blob);
    assert_int_equal(scene_item_of(scene, 0, 0)->options, TALLY_AS_BLOB);
    assert_int_equal(scene_item_of(scene, 0, 0)->body.size, 0);
    assert_int_equal(scene->told->fetches.count, 0);
    assert_int_equal(tally_core_memory_bytes(scene->core), 0);
    uint32_t tenant = 0;
    uint64_t lease = scene_lease_id(scene, 0);
    uint64_t message = scene_message(scene, 0, 0);
    assert_true(tally_core_lease_holds(scene->core, lease, message, &tenant));
    assert_int_equal(tenant, scene_tenant_id(scene, "acme"));
    assert_false(tally_core_lease_holds(scene->core, lease, message + 1, &tenant));
    assert_false(tally_core_lease_holds(scene->core, lease + 1, message, &tenant));
    scene_settle(scene, lease);
    assert_false(tally_core_lease_holds(scene->core, lease, message, &tenant));
    scene_tick(scene);
    assert_false(fake_store_has_blob(scene->store, message));
}

static void
a_waiting_blob_takes_no_memory(void **state)
{
    scene_t *scene = *state;
    scene_send_item(scene, "work", "acme", as_blob("large"));
    assert_int_equal(tally_core_memory_bytes(scene->core), 0);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "work").bytes, 5);
}

static void
blobs_are_kept_when_the_queue_says_so(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t row = scene_policy("work");
    row.keep_blobs = true;
    scene_put_queue(scene, &row);
    scene_join(scene, 10, "work");
    scene_send_item(scene, "work", "acme", as_blob("large"));
    scene_tick(scene);
    uint64_t message = scene_message(scene, 0, 0);
    scene_settle(scene, scene_lease_id(scene, 0));
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 0);
    assert_true(scene->told->ends.items[0].keep_blob);
    assert_true(fake_store_has_blob(scene->store, message));
    assert_int_equal(fake_store_message_count(scene->store), 0);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(bodies_beyond_the_budget_are_fetched_when_they_are_leased),
        TEST(a_body_in_the_plan_being_collected_needs_no_memory_and_no_fetch),
        TEST(the_budget_counts_frames_and_is_given_back),
        TEST(a_body_that_comes_back_is_fetched_again),
        TEST(empty_bodies_are_never_fetched),
        TEST(a_plan_fetches_a_bounded_number_of_bytes),
        TEST(a_message_deleted_by_hand_is_forgotten_when_its_body_is_not_found),
        TEST(a_lease_of_nothing_but_deleted_messages_takes_its_row_away),
        TEST(a_blob_is_delivered_as_a_reference),
        TEST(blobs_are_kept_when_the_queue_says_so),
        TEST(a_body_larger_than_a_plan_may_fetch_is_fetched_alone),
        TEST(a_waiting_blob_takes_no_memory),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
