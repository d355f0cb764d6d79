// SPDX-License-Identifier: MIT
//  core, shares: what a tenant may send into a plan, and end in it, while others send.
#include "tests/unit/core_scene.h"

//  ---- sends -------------------------------------------------------------------------------------

static bool
has_place(scene_t *scene, const char *tenant, size_t messages)
{
    return tally_core_has_place(scene->core, tally_bytes_of(tenant), messages, messages,
                                scene->now_ms);
}

//  Two tenants send, so neither is alone.
static void
keep_company(scene_t *scene)
{
    scene_send(scene, "work", "beta", 1);
    scene_send(scene, "work", "zeta", 1);
    scene_tick(scene);
}

static void
a_tenant_alone_may_have_a_whole_plan(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 512);
    assert_true(has_place(scene, "acme", 512));
    assert_false(has_place(scene, "acme", 513));
}

static void
a_tenant_with_company_has_a_share_of_a_plan(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 50);
    assert_true(has_place(scene, "acme", 950));
    scene_send(scene, "work", "zeta", 1);
    assert_true(has_place(scene, "acme", TALLY_PLAN_SHARED_MESSAGES - 50));
    assert_false(has_place(scene, "acme", TALLY_PLAN_SHARED_MESSAGES - 49));
}

static void
company_is_remembered_for_a_second(void **state)
{
    scene_t *scene = *state;
    keep_company(scene);
    scene->now_ms += TALLY_PLAN_COMPANY_MS - 1;
    scene_send(scene, "work", "zeta", 50);
    assert_false(has_place(scene, "zeta", TALLY_PLAN_SHARED_MESSAGES - 49));
    scene->now_ms++;
    assert_true(has_place(scene, "zeta", TALLY_PLAN_SHARED_MESSAGES - 49));
    scene_send(scene, "work", "acme", 1);
    assert_false(has_place(scene, "zeta", TALLY_PLAN_SHARED_MESSAGES - 49));
}

static void
who_sent_more_than_a_second_ago_is_no_company(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "beta", 1);
    scene_tick(scene);
    scene->now_ms += TALLY_PLAN_COMPANY_MS;
    scene_send(scene, "work", "acme", 100);
    assert_true(has_place(scene, "acme", 900));
    scene->now_ms += TALLY_PLAN_COMPANY_MS - 1;
    scene_send(scene, "work", "beta", 1);
    assert_false(has_place(scene, "acme", 900));
}

//  Sends that fill the plan, and one more that has to wait.
static void
press(scene_t *scene, const char *tenant)
{
    scene_send(scene, "work", tenant, 1000);
    assert_false(has_place(scene, tenant, 1000));
}

static void
who_has_to_wait_is_no_company(void **state)
{
    scene_t *scene = *state;
    keep_company(scene);
    press(scene, "acme");
    press(scene, "zeta");
    scene_tick(scene);
    scene->now_ms += TALLY_PLAN_COMPANY_MS;
    scene_send(scene, "work", "acme", 100);
    scene_send(scene, "work", "zeta", 100);
    scene_send(scene, "work", "acme", 100);
    assert_true(has_place(scene, "zeta", 700));
    scene_send(scene, "work", "beta", 1);
    assert_false(has_place(scene, "zeta", 1));
    assert_false(has_place(scene, "acme", 1));
}

static void
who_need_not_wait_any_more_is_company_again(void **state)
{
    scene_t *scene = *state;
    keep_company(scene);
    press(scene, "acme");
    press(scene, "zeta");
    scene_tick(scene);
    scene->now_ms += TALLY_PLAN_PRESSED_MS - 1;
    scene_send(scene, "work", "acme", 100);
    scene_send(scene, "work", "zeta", 1);
    assert_true(has_place(scene, "acme", 100));
    scene->now_ms++;
    scene_send(scene, "work", "acme", 1);
    scene_send(scene, "work", "zeta", 1);
    assert_false(has_place(scene, "acme", 100));
}

static void
a_send_of_more_than_a_share_is_paid_with_the_plans_that_follow(void **state)
{
    scene_t *scene = *state;
    keep_company(scene);
    assert_true(has_place(scene, "acme", 250));
    scene_send(scene, "work", "acme", 250);
    assert_false(has_place(scene, "acme", 1));
    for (size_t owed = 250; owed > 0;) {
        scene_tick(scene);
        owed = owed > TALLY_PLAN_SHARED_MESSAGES ? owed - TALLY_PLAN_SHARED_MESSAGES : 0;
        scene_send(scene, "work", "beta", 1);
        size_t left = owed < TALLY_PLAN_SHARED_MESSAGES ? TALLY_PLAN_SHARED_MESSAGES - owed : 0;
        assert_int_equal(has_place(scene, "acme", left), left > 0);
        assert_false(has_place(scene, "acme", left + 1));
    }
}

static void
a_send_of_more_goes_with_others_when_it_has_waited_twice_as_long_as_it_pays(void **state)
{
    scene_t *scene = *state;
    keep_company(scene);
    scene_send(scene, "work", "acme", 4 * TALLY_PLAN_SHARED_MESSAGES);
    for (int i = 0; i < 8; i++) {
        assert_false(has_place(scene, "acme", 1000));
        scene_tick(scene);
        scene_send(scene, "work", "beta", 1);
    }
    assert_true(has_place(scene, "acme", 1000));
}

static void
a_share_is_by_weight(void **state)
{
    scene_t *scene = *state;
    tally_tenant_row_t row = scene_tenant_policy(7, "acme");
    row.weight = 3;
    scene_put_tenant(scene, &row);
    keep_company(scene);
    scene_send(scene, "work", "acme", 3 * TALLY_PLAN_SHARED_MESSAGES);
    assert_false(has_place(scene, "acme", 1));
    scene_tick(scene);
    scene_send(scene, "work", "acme", 1);
    assert_true(has_place(scene, "acme", 3 * TALLY_PLAN_SHARED_MESSAGES - 1));
    assert_false(has_place(scene, "acme", 3 * TALLY_PLAN_SHARED_MESSAGES));
}

static void
who_owes_waits_only_while_others_have_something_under_way(void **state)
{
    scene_t *scene = *state;
    keep_company(scene);
    scene_send(scene, "work", "acme", 1000);
    assert_true(scene_seal(scene));
    assert_false(has_place(scene, "acme", 1000));
    scene_commit(scene);
    assert_true(has_place(scene, "acme", 1000));
    scene_send(scene, "work", "beta", 1);
    assert_false(has_place(scene, "acme", 1000));
    assert_true(has_place(scene, "zeta", 1000));
}

static void
who_owes_ends_what_it_has_before_it_sends_on(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    keep_company(scene);
    scene_send(scene, "work", "acme", 1000);
    scene_tick(scene);
    assert_true(scene_settle(scene, scene_lease_id(scene, 0)));
    scene_send(scene, "work", "beta", 1);
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 0);
    assert_false(has_place(scene, "acme", 1000));
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
    assert_true(has_place(scene, "acme", 1000));
}

static void
what_was_had_alone_is_owed_for_a_plan_at_most(void **state)
{
    scene_t *scene = *state;
    for (int i = 0; i < 20; i++) {
        scene_send(scene, "work", "acme", 1000);
        scene_tick(scene);
    }
    for (int i = 0; i < 2 * TALLY_PLAN_MESSAGES_MAX / TALLY_PLAN_SHARED_MESSAGES - 1; i++) {
        scene_send(scene, "work", "zeta", 1);
        assert_false(has_place(scene, "acme", 1000));
        scene_tick(scene);
    }
    scene_send(scene, "work", "zeta", 1);
    assert_true(has_place(scene, "acme", 1000));
}

static void
who_has_little_in_a_plan_finds_a_place_where_others_filled_it(void **state)
{
    scene_t *scene = *state;
    scene_send(scene, "work", "acme", 1000);
    assert_true(has_place(scene, "acme", 24));
    assert_false(has_place(scene, "acme", 25));
    assert_true(has_place(scene, "zeta", TALLY_PLAN_SHARED_MESSAGES));
    assert_false(has_place(scene, "zeta", TALLY_PLAN_SHARED_MESSAGES + 1));
    scene_send(scene, "work", "zeta", TALLY_PLAN_SHARED_MESSAGES);
    assert_false(has_place(scene, "zeta", 1));
    assert_true(has_place(scene, "beta", 1));
}

static void
an_empty_plan_takes_whatever_comes(void **state)
{
    scene_t *scene = *state;
    assert_true(tally_core_has_place(scene->core, tally_bytes_of("acme"), 1000,
                                     3 * (size_t)TALLY_PLAN_BYTES_MAX, scene->now_ms));
}

//  ---- ends --------------------------------------------------------------------------------------

//  Two tenants send; then one of them ends more than its share.
static void
settle_more_than_a_share(scene_t *scene)
{
    tally_queue_row_t unworked = scene_policy("unworked");
    scene_put_queue(scene, &unworked);
    uint64_t lease = scene_lease_some(scene, TALLY_PLAN_SHARED_MESSAGES + 1);
    scene_send(scene, "unworked", "acme", 1);
    scene_send(scene, "unworked", "beta", 1);
    assert_true(scene_settle(scene, lease));
}

static void
who_ends_more_than_its_share_waits_for_a_tick_into_which_nobody_sends(void **state)
{
    scene_t *scene = *state;
    settle_more_than_a_share(scene);
    for (int i = 0; i < 2; i++) {
        scene_tick(scene);
        assert_int_equal(scene->told->settled.count, 0);
        assert_int_equal(tally_core_next_ms(scene->core, scene->now_ms), scene->now_ms);
        scene_send(scene, "unworked", "beta", 1);
    }
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 0);
    scene_tick(scene);
    assert_int_equal(scene->told->messages.count, 0);
    assert_int_equal(scene->told->settled.count, 1);
}

static void
where_others_send_in_each_tick_it_waits_for_three(void **state)
{
    scene_t *scene = *state;
    settle_more_than_a_share(scene);
    for (int i = 0; i < 3; i++) {
        scene_tick(scene);
        assert_int_equal(scene->told->settled.count, 0);
        scene_send(scene, "unworked", "beta", 1);
    }
    scene_tick(scene);
    assert_int_equal(scene->told->messages.count, 1);
    assert_int_equal(scene->told->settled.count, 1);
}

static void
what_three_plans_have_left_ends_in_the_next_all_of_it(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    settle_more_than_a_share(scene);
    for (int i = 0; i < 3; i++) {
        scene_send(scene, "work", "acme", TALLY_PLAN_SHARED_MESSAGES + 1);
        scene_tick(scene);
        assert_int_equal(scene->told->settled.count, 0);
        assert_true(scene_settle(scene, scene_lease_id(scene, 0)));
    }
    scene_send(scene, "unworked", "beta", 1);
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 4);
}

static void
up_to_a_share_ends_in_a_tick_into_which_others_send(void **state)
{
    scene_t *scene = *state;
    tally_queue_row_t unworked = scene_policy("unworked");
    scene_put_queue(scene, &unworked);
    uint64_t lease = scene_lease_some(scene, TALLY_PLAN_SHARED_MESSAGES);
    scene_send(scene, "unworked", "acme", 1);
    scene_send(scene, "unworked", "beta", 1);
    assert_true(scene_settle(scene, lease));
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
}

static void
of_more_than_a_share_a_lease_ends_in_a_tick(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, TALLY_CREDIT_MAX, "work");
    settle_more_than_a_share(scene);
    scene_send(scene, "work", "acme", TALLY_PLAN_SHARED_MESSAGES + 1);
    scene_tick(scene);
    uint64_t lease = scene_lease_id(scene, 0);
    assert_true(scene_settle(scene, lease));
    for (int i = 0; i < 2; i++) {
        scene_tick(scene);
        assert_int_equal(scene->told->settled.count, 1);
    }
    assert_int_equal(scene->told->settled.items[0], lease);
}

static void
who_sends_alone_ends_all_it_can(void **state)
{
    scene_t *scene = *state;
    settle_more_than_a_share(scene);
    scene->now_ms += TALLY_PLAN_COMPANY_MS;
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
}

static void
others_end_in_a_tick_what_they_have_to(void **state)
{
    scene_t *scene = *state;
    scene_join(scene, 100, "work");
    scene_send(scene, "work", "beta", 1);
    scene_tick(scene);
    assert_true(scene_settle(scene, scene_lease_id(scene, 0)));
    scene_send(scene, "work", "acme", TALLY_PLAN_SHARED_MESSAGES + 1);
    scene_tick(scene);
    assert_int_equal(scene->told->settled.count, 1);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_tenant_alone_may_have_a_whole_plan),
        TEST(a_tenant_with_company_has_a_share_of_a_plan),
        TEST(company_is_remembered_for_a_second),
        TEST(who_sent_more_than_a_second_ago_is_no_company),
        TEST(who_has_to_wait_is_no_company),
        TEST(who_need_not_wait_any_more_is_company_again),
        TEST(a_send_of_more_than_a_share_is_paid_with_the_plans_that_follow),
        TEST(a_send_of_more_goes_with_others_when_it_has_waited_twice_as_long_as_it_pays),
        TEST(a_share_is_by_weight),
        TEST(who_owes_waits_only_while_others_have_something_under_way),
        TEST(who_owes_ends_what_it_has_before_it_sends_on),
        TEST(what_was_had_alone_is_owed_for_a_plan_at_most),
        TEST(who_has_little_in_a_plan_finds_a_place_where_others_filled_it),
        TEST(an_empty_plan_takes_whatever_comes),
        TEST(who_ends_more_than_its_share_waits_for_a_tick_into_which_nobody_sends),
        TEST(where_others_send_in_each_tick_it_waits_for_three),
        TEST(what_three_plans_have_left_ends_in_the_next_all_of_it),
        TEST(up_to_a_share_ends_in_a_tick_into_which_others_send),
        TEST(of_more_than_a_share_a_lease_ends_in_a_tick),
        TEST(who_sends_alone_ends_all_it_can),
        TEST(others_end_in_a_tick_what_they_have_to),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
