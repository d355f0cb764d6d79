// SPDX-License-Identifier: MIT
//  meter: what counts, what does not, and how long it is seen.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/meter.h"

#define SECOND_NS INT64_C(1000000000)

static int
setup(void **state)
{
    *state = tally_meter_new(0);
    return 0;
}

static int
teardown(void **state)
{
    tally_meter_t *meter = *state;
    tally_meter_destroy(&meter);
    return 0;
}

static void
finish_one(tally_meter_t *meter, uint64_t messages, int64_t now_ns)
{
    tally_meter_seal(meter);
    tally_meter_add(meter, TALLY_METER_MESSAGES, messages);
    tally_meter_finish(meter, now_ns);
}

static void
what_was_collected_goes_with_the_next_sealed_plan(void **state)
{
    tally_meter_t *meter = *state;
    tally_meter_figures_t figures;
    tally_meter_collect(meter, 40);
    tally_meter_collect(meter, 2);
    tally_meter_seal(meter);
    tally_meter_collect(meter, 7);    // while the first is under way
    tally_meter_finish(meter, 0);
    tally_meter_read(meter, TALLY_METER_COLLECT, &figures);
    assert_int_equal(figures.count, 1);
    assert_int_equal(figures.sum, 42);
    tally_meter_seal(meter);
    tally_meter_finish(meter, 0);
    tally_meter_read(meter, TALLY_METER_COLLECT, &figures);
    assert_int_equal(figures.sum, 49);
}

static void
a_plan_that_was_not_committed_does_not_count(void **state)
{
    tally_meter_t *meter = *state;
    tally_meter_figures_t figures;
    tally_meter_collect(meter, 40);
    tally_meter_seal(meter);
    tally_meter_add(meter, TALLY_METER_DATABASE, 1000);
    finish_one(meter, 3, 0);
    tally_meter_read(meter, TALLY_METER_DATABASE, &figures);
    assert_int_equal(figures.count, 1);
    assert_int_equal(figures.sum, 0);
    tally_meter_read(meter, TALLY_METER_COLLECT, &figures);
    assert_int_equal(figures.sum, 0);
    tally_meter_read(meter, TALLY_METER_MESSAGES, &figures);
    assert_int_equal(figures.sum, 3);
}

static void
quantiles_are_of_single_ticks(void **state)
{
    tally_meter_t *meter = *state;
    tally_meter_figures_t figures;
    for (uint64_t i = 1; i <= 60; i++) {
        finish_one(meter, i, 0);
    }
    tally_meter_read(meter, TALLY_METER_MESSAGES, &figures);
    assert_int_equal(figures.p50, 30);
    assert_int_equal(figures.p99, 60);
    assert_int_equal(figures.max, 60);
}

static void
an_old_peak_leaves_the_quantiles_and_stays_in_the_sum(void **state)
{
    tally_meter_t *meter = *state;
    tally_meter_figures_t figures;
    finish_one(meter, 50, 0);
    finish_one(meter, 1, 31 * SECOND_NS);
    tally_meter_read(meter, TALLY_METER_MESSAGES, &figures);
    assert_int_equal(figures.max, 50);    // of the half minute before
    finish_one(meter, 1, 62 * SECOND_NS);
    tally_meter_read(meter, TALLY_METER_MESSAGES, &figures);
    assert_int_equal(figures.max, 1);
    assert_int_equal(figures.count, 3);
    assert_int_equal(figures.sum, 52);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(what_was_collected_goes_with_the_next_sealed_plan),
        TEST(a_plan_that_was_not_committed_does_not_count),
        TEST(quantiles_are_of_single_ticks),
        TEST(an_old_peak_leaves_the_quantiles_and_stays_in_the_sum),
    };
    return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
