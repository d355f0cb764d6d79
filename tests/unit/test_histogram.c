// SPDX-License-Identifier: MIT
//  histogram: quantiles within the promised error, merging, the ends of its range.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/histogram.h"

struct fixture {
    tally_histogram_t *one, *two;
};

static int
setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){tally_histogram_new(), tally_histogram_new()};
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_histogram_destroy(&f->one);
    tally_histogram_destroy(&f->two);
    return 0;
}

static void
an_empty_one_has_zeros(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_histogram_count(f->one), 0);
    assert_int_equal(tally_histogram_quantile(f->one, 0.5), 0);
    assert_int_equal(tally_histogram_max(f->one), 0);
}

static void
small_values_are_exact(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 1; i <= 60; i++) {
        tally_histogram_add(f->one, i, 1);
    }
    assert_int_equal(tally_histogram_quantile(f->one, 0.0), 1);
    assert_int_equal(tally_histogram_quantile(f->one, 0.5), 30);
    assert_int_equal(tally_histogram_quantile(f->one, 1.0), 60);
}

static void
a_quantile_is_never_below_its_value_and_little_above(void **state)
{
    struct fixture *f = *state;
    for (uint64_t value = 1; value < TALLY_HISTOGRAM_VALUE_MAX / 2; value += value / 7 + 1) {
        tally_histogram_add(f->one, value, 1);
        tally_histogram_add(f->one, 2 * value + 1, 1);
        tally_histogram_t *alone = tally_histogram_new();
        tally_histogram_add(alone, value, 1);
        tally_histogram_add(alone, TALLY_HISTOGRAM_VALUE_MAX, 1);
        uint64_t found = tally_histogram_quantile(alone, 0.5);
        tally_histogram_destroy(&alone);
        assert_true(found >= value);
        assert_true(found - value <= value / TALLY_HISTOGRAM_PARTS);
    }
}

static void
values_beyond_the_range_count_as_its_end(void **state)
{
    struct fixture *f = *state;
    tally_histogram_add(f->one, TALLY_HISTOGRAM_VALUE_MAX, 1);
    tally_histogram_add(f->one, TALLY_HISTOGRAM_VALUE_MAX + 1, 1);
    tally_histogram_add(f->one, UINT64_MAX, 1);
    assert_int_equal(tally_histogram_count(f->one), 3);
    assert_int_equal(tally_histogram_max(f->one), TALLY_HISTOGRAM_VALUE_MAX);
    assert_int_equal(tally_histogram_quantile(f->one, 0.1), TALLY_HISTOGRAM_VALUE_MAX);
}

static void
merging_is_as_adding_to_one(void **state)
{
    struct fixture *f = *state;
    tally_histogram_t *all = tally_histogram_new();
    for (uint64_t i = 0; i < 10000; i++) {
        tally_histogram_add(i % 3 == 0 ? f->one : f->two, i * i, i % 5);
        tally_histogram_add(all, i * i, i % 5);
    }
    tally_histogram_merge(f->one, f->two);
    uint64_t difference = 0;
    for (int share = 0; share <= 100; share++) {
        difference += tally_histogram_quantile(f->one, share / 100.0)
                      != tally_histogram_quantile(all, share / 100.0);
    }
    difference += tally_histogram_count(f->one) != tally_histogram_count(all);
    difference += tally_histogram_max(f->one) != tally_histogram_max(all);
    tally_histogram_destroy(&all);
    assert_int_equal(difference, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(an_empty_one_has_zeros),
        TEST(small_values_are_exact),
        TEST(a_quantile_is_never_below_its_value_and_little_above),
        TEST(values_beyond_the_range_count_as_its_end),
        TEST(merging_is_as_adding_to_one),
    };
    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
