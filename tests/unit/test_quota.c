// SPDX-License-Identifier: MIT
//  quota: a second's requests at once, then as they refill.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/quota.h"

static int
set_up(void **state)
{
    *state = tally_quota_new();
    return 0;
}

static int
tear_down(void **state)
{
    tally_quota_destroy((tally_quota_t **)state);
    return 0;
}

static void
take_all(tally_quota_t *quota, uint32_t tenant, int count, int64_t now_ms)
{
    for (int i = 0; i < count; i++) {
        assert_int_equal(tally_quota_take(quota, tenant, 10, now_ms), 0);
    }
}

static void
a_seconds_requests_may_come_at_once_and_not_one_more(void **state)
{
    take_all(*state, 7, 10, 5000);
    assert_int_equal(tally_quota_take(*state, 7, 10, 5000), 100);
    assert_int_equal(tally_quota_take(*state, 7, 10, 5099), 1);
    assert_int_equal(tally_quota_take(*state, 7, 10, 5100), 0);
    assert_int_equal(tally_quota_take(*state, 7, 10, 5100), 100);
}

static void
what_is_not_used_does_not_pile_up(void **state)
{
    take_all(*state, 7, 1, 0);
    take_all(*state, 7, 10, 3600000);
    assert_true(tally_quota_take(*state, 7, 10, 3600000) > 0);
}

static void
over_time_it_is_the_rate(void **state)
{
    int taken = 0;
    for (int64_t now_ms = 0; now_ms < 10000; now_ms += 3) {
        taken += tally_quota_take(*state, 7, 10, now_ms) == 0;
    }
    assert_in_range(taken, 105, 110);    // the first second's, and 10 in each
}

static void
tenants_have_accounts_of_their_own(void **state)
{
    take_all(*state, 7, 10, 0);
    assert_true(tally_quota_take(*state, 7, 10, 0) > 0);
    take_all(*state, 8, 10, 0);
    size_t *seven = tally_quota_connections(*state, 7);
    ++*seven;
    assert_int_equal(*tally_quota_connections(*state, 8), 0);
    assert_int_equal(*tally_quota_connections(*state, 7), 1);
}

static void
a_quota_that_is_lowered_holds_at_once(void **state)
{
    take_all(*state, 7, 1, 0);
    assert_int_equal(tally_quota_take(*state, 7, 1, 0), 0);
    assert_int_equal(tally_quota_take(*state, 7, 1, 0), 1000);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_seconds_requests_may_come_at_once_and_not_one_more,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_used_does_not_pile_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(over_time_it_is_the_rate, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tenants_have_accounts_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_quota_that_is_lowered_holds_at_once, set_up, tear_down),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
