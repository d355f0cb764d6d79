// SPDX-License-Identifier: MIT
//  series: growing, and sorting by the number in front.

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/faults/series.h"

struct element {
    uint64_t number;
    uint64_t order;
};

struct wide {
    uint64_t number;
    uint64_t order;
    char rest[8];
};

//  Adds `count` of them, whose numbers are made of the bits in `mask`, with many equal ones.
static void
fill(tally_series_t *series, size_t count, uint64_t mask)
{
    uint64_t seed = 88172645463325252u;
    for (size_t i = 0; i < count; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        struct element *element = tally_series_add(series);
        element->number = seed & mask;
        element->order = i;
    }
}

static void
assert_sorted(const tally_series_t *series, size_t count)
{
    assert_int_equal(series->count, count);
    const uint8_t *items = series->items;
    for (size_t i = 1; i < count; i++) {
        const struct element *before = (const void *)(items + (i - 1) * series->size);
        const struct element *after = (const void *)(items + i * series->size);
        assert_true(before->number < after->number
                    || (before->number == after->number && before->order < after->order));
    }
}

static void
numbers_are_sorted_whatever_bits_differ(void **state)
{
    (void)state;
    static const uint64_t masks[] = {0,      0xff,         0xffff00,          0xf0000000000000ff,
                                     0xffff, (uint64_t)-1, 0x0000ff0000000fff};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        tally_series_t series = {.size = sizeof(struct element)};
        fill(&series, 5000, masks[i]);
        tally_series_sort_by_number(&series);
        assert_sorted(&series, 5000);
        tally_series_free(&series);
    }
}

static void
elements_of_any_size_are_sorted(void **state)
{
    (void)state;
    tally_series_t series = {.size = sizeof(struct wide)};
    fill(&series, 5000, 0xfffff);
    tally_series_sort_by_number(&series);
    assert_sorted(&series, 5000);
    tally_series_free(&series);
}

static void
an_empty_one_and_one_of_one_are_sorted(void **state)
{
    (void)state;
    tally_series_t series = {.size = sizeof(struct element)};
    tally_series_sort_by_number(&series);
    fill(&series, 1, 7);
    tally_series_sort_by_number(&series);
    assert_sorted(&series, 1);
    tally_series_free(&series);
    assert_int_equal(series.count, 0);
}

static void
it_can_grow_after_it_was_sorted(void **state)
{
    (void)state;
    tally_series_t series = {.size = sizeof(struct element)};
    fill(&series, 1000, 0xffff);
    tally_series_sort_by_number(&series);
    struct element *last = tally_series_add(&series);
    assert_int_equal(last->number, 0);
    last->number = 1 << 20;
    last->order = 1000;
    assert_sorted(&series, 1001);
    tally_series_free(&series);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_sorted_whatever_bits_differ),
        cmocka_unit_test(elements_of_any_size_are_sorted),
        cmocka_unit_test(an_empty_one_and_one_of_one_are_sorted),
        cmocka_unit_test(it_can_grow_after_it_was_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
