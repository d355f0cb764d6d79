// SPDX-License-Identifier: MIT
//  caller: routes and the senders behind them, and that they are bounded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "broker/caller.h"
#include "lib/limits.h"

static int
set_up(void **state)
{
    *state = tally_callers_new();
    return 0;
}

static int
tear_down(void **state)
{
    tally_callers_destroy((tally_callers_t **)state);
    return 0;
}

//  The caller of a route, whose sender is of the same number.
static tally_caller_t *
come(tally_callers_t *callers, uint64_t number, int64_t now_ms)
{
    uint8_t sender[TALLY_SENDER_BYTES] = {0};
    memcpy(sender, &number, sizeof number);
    return tally_callers_require(callers, number, sender, now_ms);
}

static void
nobody_must_go_until_there_are_as_many_callers_as_the_limit(void **state)
{
    tally_callers_t *callers = *state;
    for (uint64_t i = 1; i < TALLY_CLIENTS_MAX; i++) {
        come(callers, i, (int64_t)i);
    }
    assert_null(tally_callers_surplus(callers));
    come(callers, TALLY_CLIENTS_MAX, TALLY_CLIENTS_MAX);
    assert_int_equal(tally_callers_count(callers), TALLY_CLIENTS_MAX);
    assert_non_null(tally_callers_surplus(callers));
}

static void
who_was_unheard_for_longest_makes_room(void **state)
{
    tally_callers_t *callers = *state;
    for (uint64_t i = 1; i <= TALLY_CLIENTS_MAX; i++) {
        come(callers, i, i == 4711 ? 0 : (int64_t)i);
    }
    tally_caller_t *surplus = tally_callers_surplus(callers);
    assert_int_equal(surplus->route, 4711);
    tally_callers_remove(callers, surplus->route);
    assert_null(tally_callers_surplus(callers));
    come(callers, TALLY_CLIENTS_MAX + 1, 0);
    assert_null(tally_callers_find(callers, 4711));
    assert_int_equal(tally_callers_count(callers), TALLY_CLIENTS_MAX);
}

static void
a_sender_that_comes_back_on_another_route_is_one_caller(void **state)
{
    tally_callers_t *callers = *state;
    uint8_t sender[TALLY_SENDER_BYTES] = {1};
    tally_callers_require(callers, 10, sender, 0);
    tally_caller_t *caller = tally_callers_require(callers, 11, sender, 1);
    assert_int_equal(tally_callers_count(callers), 1);
    assert_null(tally_callers_find(callers, 10));
    assert_ptr_equal(tally_callers_find_sender(callers, sender), caller);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_must_go_until_there_are_as_many_callers_as_the_limit,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_was_unheard_for_longest_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sender_that_comes_back_on_another_route_is_one_caller,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
