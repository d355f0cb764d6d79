// SPDX-License-Identifier: MIT
//  core, sends: what is accepted, refused, repeated and deduplicated, and when it is confirmed.
#include "tests/unit/core_scene.h"

#include <stdio.h>
#include <stdlib.h>

static void
a_send_is_confirmed_by_the_plan_with_the_ids_of_its_messages(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 3);
    assert_true(scene_tick(scene));
    assert_int_equal(scene->told->confirms.count, 1);
    const tally_plan_confirm_t *confirm = &scene->told->confirms.items[0];
    assert_int_equal(confirm->sequence, 1);
    assert_int_equal(confirm->count, 3);
    assert_int_equal(confirm->duplicates, 0);
    assert_memory_equal(confirm->sender, scene->sender, TALLY_SENDER_BYTES);
    for (size_t i = 0; i < 3; i++) {
        const fake_message_t *message = fake_store_message(scene->store, scene_sent(scene, i));
        assert_non_null(message);
        assert_int_equal(message->body[0], '0' + (int)i);
        assert_int_equal(scene_sent(scene, i) >> 40, scene->epoch);
    }
}

static void
nothing_to_do_is_no_plan(void **state)
{
    scene_t *scene = *state;
    assert_false(scene_tick(scene));
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) == INT64_MAX);
}

static void
a_sender_waits_so_its_send_is_urgent(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_tick(scene);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) == INT64_MAX);
}

static void
the_sequence_is_pending_until_its_plan_is_committed_and_repeated_after(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("x");
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_PLANNED);
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_PENDING);
    scene_seal(scene);
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_PENDING);
    scene_commit(scene);
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_REPEATED);
    assert_int_equal(fake_store_message_count(scene->store), 1);
    assert_int_equal(tally_core_sender_last(scene->core, scene->sender), 1);
}

static void
a_sequence_outside_the_window_is_refused_and_the_edge_is_not(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("x");
    tally_send_answer_t answer = scene_try(scene, TALLY_SEND_WINDOW + 1, "work", "acme", &item, 1);
    assert_int_equal(answer.outcome, TALLY_SEND_REFUSED);
    assert_int_equal(answer.fault.code, TALLY_E_SEQUENCE);
    assert_int_equal(answer.retry_after_ms, 0);
    answer = scene_try(scene, TALLY_SEND_WINDOW, "work", "acme", &item, 1);
    assert_int_equal(answer.outcome, TALLY_SEND_PLANNED);
    scene_tick(scene);
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_PLANNED);
    answer = scene_try(scene, 2 * TALLY_SEND_WINDOW, "work", "acme", &item, 1);
    assert_int_equal(answer.outcome, TALLY_SEND_PLANNED);
    answer = scene_try(scene, TALLY_SEND_WINDOW - 1, "work", "acme", &item, 1);
    assert_int_equal(answer.fault.code, TALLY_E_SEQUENCE);
}

static void
a_refused_sequence_may_come_again_even_when_later_ones_were_taken(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("x");
    assert_int_equal(scene_try(scene, 1, "nowhere", "acme", &item, 1).outcome, TALLY_SEND_REFUSED);
    assert_int_equal(scene_try(scene, 2, "work", "acme", &item, 1).outcome, TALLY_SEND_PLANNED);
    scene_tick(scene);
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_PLANNED);
    scene_tick(scene);
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_REPEATED);
    assert_int_equal(fake_store_message_count(scene->store), 2);
}

static void
what_a_sender_was_refused_is_refused_for_its_new_core_too(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("x");
    scene_try(scene, 3, "work", "acme", &item, 1);
    scene_tick(scene);
    scene_reload(scene, false);
    scene_loaded(scene);
    assert_int_equal(scene_try(scene, 3, "work", "acme", &item, 1).outcome, TALLY_SEND_REPEATED);
    assert_int_equal(scene_try(scene, 2, "work", "acme", &item, 1).outcome, TALLY_SEND_PLANNED);
    scene_tick(scene);
    scene_reload(scene, true);
    scene_loaded(scene);
    assert_int_equal(scene_try(scene, 2, "work", "acme", &item, 1).outcome, TALLY_SEND_REPEATED);
    assert_int_equal(scene_try(scene, 1, "work", "acme", &item, 1).outcome, TALLY_SEND_PLANNED);
}

static void
a_sender_has_one_row_in_a_plan_whatever_it_sent(void **state)
{
    scene_t *scene = *state;
    for (int i = 0; i < 5; i++) {
        scene_send(scene, "work", "acme", 1);
    }
    scene_seal(scene);
    assert_int_equal(scene->plan->senders.count, 1);
    assert_int_equal(scene->plan->senders.items[0].last, 5);
    scene_commit(scene);
    assert_int_equal(scene->told->confirms.count, 5);
}

static void
an_unknown_queue_is_refused(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = scene_item("x");
    tally_send_answer_t answer = scene_try(scene, 1, "nowhere", "acme", &item, 1);
    assert_int_equal(answer.outcome, TALLY_SEND_REFUSED);
    assert_int_equal(answer.fault.code, TALLY_E_UNKNOWN);
    assert_non_null(answer.fault.text);
    assert_false(scene_tick(scene));
    assert_int_equal(tally_core_tenant_count(scene->core), 0);
}

static void
an_unknown_tenant_is_made_once_and_goes_with_the_plan(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "globex", 1);
    scene_seal(scene);
    assert_int_equal(scene->plan->tenants.count, 2);
    assert_string_equal(scene->plan->tenants.items[0].name, "acme");
    scene_commit(scene);
    scene_reload(scene, false);
    scene_loaded(scene);
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "initech", 1);
    scene_seal(scene);
    assert_int_equal(scene->plan->tenants.count, 1);
    assert_int_equal(scene->plan->tenants.items[0].id, 3);
    scene_commit(scene);
}

static void
the_quota_of_messages_holds_until_messages_end_and_says_when_to_come_back(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    row.messages_max = 3;
    scene_put_tenant(scene, &row);
    tally_item_t items[4] = {scene_item("a"), scene_item("b"), scene_item("c"), scene_item("d")};
    tally_send_answer_t answer = scene_try(scene, 1, "work", "acme", items, 4);
    assert_int_equal(answer.fault.code, TALLY_E_BUSY);
    assert_true(answer.retry_after_ms > 0);
    assert_int_equal(scene_try(scene, 1, "work", "acme", items, 3).outcome, TALLY_SEND_PLANNED);
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 1).fault.code, TALLY_E_BUSY);
    scene_join(scene, 10, "work");
    scene_tick(scene);    // leased ones are pending too
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 1).fault.code, TALLY_E_BUSY);
    scene_settle(scene, scene_lease_id(scene, 0));
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 1).fault.code, TALLY_E_BUSY);
    scene_tick(scene);
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 3).outcome, TALLY_SEND_PLANNED);
    assert_int_equal(scene_stats(scene, "work").refused, 3);
}

static void
the_quota_of_bytes_counts_bodies_to_the_byte(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    row.bytes_max = 10;
    scene_put_tenant(scene, &row);
    tally_item_t items[3] = {scene_item("12345"), scene_item("1234"), scene_item("12")};
    assert_int_equal(scene_try(scene, 1, "work", "acme", items, 3).fault.code, TALLY_E_BUSY);
    items[2] = scene_item("1");
    assert_int_equal(scene_try(scene, 1, "work", "acme", items, 3).outcome, TALLY_SEND_PLANNED);
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 1).fault.code, TALLY_E_BUSY);
    tally_item_t empty = scene_item("");
    assert_int_equal(scene_try(scene, 2, "work", "acme", &empty, 1).outcome, TALLY_SEND_PLANNED);
}

static void
one_tenants_quota_is_not_anothers(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    row.messages_max = 1;
    scene_put_tenant(scene, &row);
    scene_send(scene, "work", "acme", 1);
    tally_item_t item = scene_item("x");
    assert_int_equal(scene_try(scene, 2, "work", "acme", &item, 1).fault.code, TALLY_E_BUSY);
    scene_send(scene, "work", "globex", 5);
}

//  ---- dedupe ------------------------------------------------------------------------------------

static tally_item_t
deduped(const char *body, const char *dedupe)
{
    tally_item_t item = scene_item(body);
    item.options = TALLY_HAS_DEDUPE;
    item.dedupe = tally_bytes_of(dedupe);
    return item;
}

static void
a_known_dedupe_key_is_confirmed_as_a_duplicate_and_not_stored(void **state)
{
    scene_t *scene = *state;
    tally_item_t items[3] = {deduped("a", "k1"), scene_item("b"), deduped("c", "k1")};
    assert_int_equal(scene_try(scene, 1, "work", "acme", items, 3).outcome, TALLY_SEND_PLANNED);
    scene_tick(scene);
    assert_int_equal(scene->told->confirms.items[0].duplicates, 1);
    assert_int_not_equal(scene_sent(scene, 0), 0);
    assert_int_not_equal(scene_sent(scene, 1), 0);
    assert_int_equal(scene_sent(scene, 2), 0);
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 1).outcome, TALLY_SEND_PLANNED);
    assert_int_equal(scene_try(scene, 3, "work", "globex", items, 1).outcome, TALLY_SEND_PLANNED);
    scene_tick(scene);
    assert_int_equal(scene->told->confirms.items[0].duplicates, 1);
    assert_int_equal(scene->told->confirms.items[1].duplicates, 0);
    assert_int_equal(fake_store_message_count(scene->store), 3);
    assert_int_equal(scene_stats(scene, "work").duplicates, 2);
    assert_int_equal(scene_stats(scene, "work").ready, 3);
}

static void
a_deduped_message_is_leased_only_when_the_database_has_judged_it(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 10, "work");
    scene_send_item(scene, "work", "acme", deduped("a", "k"));
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 0);
    assert_true(tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 1);
    assert_body(scene_item_of(scene, 0, 0), "a");
}

static void
duplicates_give_their_quota_back(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(1, "acme");
    row.messages_max = 2;
    scene_put_tenant(scene, &row);
    tally_item_t items[2] = {deduped("a", "k"), deduped("b", "k")};
    assert_int_equal(scene_try(scene, 1, "work", "acme", items, 2).outcome, TALLY_SEND_PLANNED);
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 1).fault.code, TALLY_E_BUSY);
    scene_tick(scene);
    assert_int_equal(scene_try(scene, 2, "work", "acme", items, 1).outcome, TALLY_SEND_PLANNED);
}

static void
a_deduped_message_with_everything_else_leaves_nothing_when_it_is_a_duplicate(void **state)
{
    scene_t *scene = *state;
    tally_item_t item = deduped("a", "k");
    item.options |= TALLY_HAS_KEY | TALLY_WANTS_RESULT | TALLY_HAS_DELAY | TALLY_RELEASES;
    item.key = tally_bytes_of("key");
    item.delay_ms = 1000;
    scene_send_item(scene, "work", "acme", item);
    scene_send_item(scene, "work", "acme", item);
    scene_tick(scene);
    assert_int_equal(scene_stats(scene, "work").delayed, 1);
    assert_int_equal(scene_stats(scene, "work").bytes, 1);
}

//  ---- bounds of a plan --------------------------------------------------------------------------

static void
a_plan_is_full_at_its_number_of_messages_and_empty_after_the_seal(void **state)
{
    scene_t *scene = *state;
    while (!tally_core_full(scene->core)) {
        scene_send(scene, "work", "acme", 512);
    }
    assert_int_equal(scene->sequence, TALLY_PLAN_MESSAGES_MAX / 512);
    scene_seal(scene);
    assert_false(tally_core_full(scene->core));
    scene_commit(scene);
}

static void
a_plan_is_full_at_its_number_of_bytes(void **state)
{
    scene_t *scene = *state;
    char *body = calloc(1, TALLY_BODY_INLINE_BYTES_MAX);
    tally_item_t item = scene_item("");
    item.body = (tally_bytes_t){body, TALLY_BODY_INLINE_BYTES_MAX};
    for (size_t i = 0; i < TALLY_PLAN_BYTES_MAX / TALLY_BODY_INLINE_BYTES_MAX; i++) {
        assert_false(tally_core_full(scene->core));
        scene_send_item(scene, "work", "acme", item);
    }
    assert_true(tally_core_full(scene->core));
    scene_tick(scene);
    free(body);
}

static void
a_stranger_sender_is_not_known_until_it_is_loaded(void **state)
{
    scene_t *scene = *state;
    uint8_t stranger[TALLY_SENDER_BYTES] = {1};
    assert_false(tally_core_knows_sender(scene->core, stranger));
    tally_sender_row_t row = {.last = 77};
    memcpy(row.id, stranger, sizeof row.id);
    tally_core_load_sender(scene->core, &row);
    assert_true(tally_core_knows_sender(scene->core, stranger));
    assert_int_equal(tally_core_sender_last(scene->core, stranger), 77);
    tally_core_forget_sender(scene->core, stranger);
    assert_false(tally_core_knows_sender(scene->core, stranger));
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_send_is_confirmed_by_the_plan_with_the_ids_of_its_messages),
        TEST(nothing_to_do_is_no_plan),
        TEST(a_sender_waits_so_its_send_is_urgent),
        TEST(the_sequence_is_pending_until_its_plan_is_committed_and_repeated_after),
        TEST(a_sequence_outside_the_window_is_refused_and_the_edge_is_not),
        TEST(a_refused_sequence_may_come_again_even_when_later_ones_were_taken),
        TEST(what_a_sender_was_refused_is_refused_for_its_new_core_too),
        TEST(a_sender_has_one_row_in_a_plan_whatever_it_sent),
        TEST(an_unknown_queue_is_refused),
        TEST(an_unknown_tenant_is_made_once_and_goes_with_the_plan),
        TEST(the_quota_of_messages_holds_until_messages_end_and_says_when_to_come_back),
        TEST(the_quota_of_bytes_counts_bodies_to_the_byte),
        TEST(one_tenants_quota_is_not_anothers),
        TEST(a_known_dedupe_key_is_confirmed_as_a_duplicate_and_not_stored),
        TEST(a_deduped_message_is_leased_only_when_the_database_has_judged_it),
        TEST(duplicates_give_their_quota_back),
        TEST(a_deduped_message_with_everything_else_leaves_nothing_when_it_is_a_duplicate),
        TEST(a_plan_is_full_at_its_number_of_messages_and_empty_after_the_seal),
        TEST(a_plan_is_full_at_its_number_of_bytes),
        TEST(a_stranger_sender_is_not_known_until_it_is_loaded),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
