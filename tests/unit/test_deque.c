// SPDX-License-Identifier: MIT
//  deque: order is kept at both ends over the borders of blocks, and nothing is left behind.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/deque.h"

static int
setup(void **state)
{
    *state = calloc(1, sizeof(tally_deque_t));
    return 0;
}

static int
teardown(void **state)
{
    tally_deque_t *deque = *state;
    while (deque->count > 0) {
        tally_entry_t entry;
        tally_deque_pop(deque, &entry);
    }
    free(deque);
    return 0;
}

static void
push(tally_deque_t *deque, uint64_t id)
{
    const tally_entry_t entry = {.id = id};
    tally_deque_push(deque, &entry);
}

static void
push_front(tally_deque_t *deque, uint64_t id)
{
    const tally_entry_t entry = {.id = id};
    tally_deque_push_front(deque, &entry);
}

static uint64_t
pop(tally_deque_t *deque)
{
    uint64_t peeked = tally_deque_peek(deque)->id;
    tally_entry_t entry;
    tally_deque_pop(deque, &entry);
    assert_int_equal(entry.id, peeked);
    return entry.id;
}

static void
what_is_pushed_first_comes_first_over_many_blocks(void **state)
{
    tally_deque_t *deque = *state;
    for (uint64_t i = 0; i < 1000; i++) {
        push(deque, i);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(deque->count, 1000 - i);
        assert_int_equal(pop(deque), i);
    }
    assert_null(deque->first);
}

static void
what_is_pushed_to_the_front_comes_before_all(void **state)
{
    tally_deque_t *deque = *state;
    for (uint64_t i = 500; i < 1000; i++) {
        push(deque, i);
        push_front(deque, 999 - i);
    }
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(pop(deque), i);
    }
}

static void
a_walk_sees_each_entry_once_wherever_the_ends_are(void **state)
{
    tally_deque_t *deque = *state;
    for (uint64_t size = 0; size < 4 * TALLY_BLOCK_ENTRIES; size++) {
        tally_deque_walk_t walk = {0};
        uint64_t seen = 0;
        for (const tally_entry_t *entry; (entry = tally_deque_each(deque, &walk)) != NULL;) {
            assert_int_equal(entry->id, seen + 1000 - size / 2);
            seen++;
        }
        assert_int_equal(seen, size);
        if (size % 2 == 0) {
            push(deque, 1000 + size / 2);
        } else {
            push_front(deque, 1000 - size / 2 - 1);
        }
    }
}

//  Against a ring of ids.
static void
any_mix_of_pushes_and_pops_keeps_the_order(void **state)
{
    tally_deque_t *deque = *state;
    static uint64_t ring[4096];
    uint64_t head = 2048;
    uint64_t tail = 2048;
    uint32_t random = 1;
    for (uint64_t step = 0; step < 200000; step++) {
        random = random * 1664525u + 1013904223u;
        uint32_t dice = (random >> 16) % 10;
        if (dice < 4 && tail - head < 1000) {
            ring[tail++ % 4096] = step;
            push(deque, step);
        } else if (dice < 6 && tail - head < 1000) {
            ring[--head % 4096] = step;
            push_front(deque, step);
        } else if (tail > head) {
            assert_int_equal(pop(deque), ring[head++ % 4096]);
        }
        assert_int_equal(deque->count, tail - head);
    }
}

static void
an_entry_keeps_its_age_to_the_second_before_and_after_the_start(void **state)
{
    (void)state;
    static const int64_t times_ms[] = {0,        1000,      -5000,
                                       86400000, -86400000, 100LL * 365 * 86400000 / 25};
    for (size_t i = 0; i < sizeof times_ms / sizeof times_ms[0]; i++) {
        tally_entry_t entry = {.born = tally_entry_born(times_ms[i]) & TALLY_BORN_MASK};
        assert_int_equal(tally_entry_born_ms(&entry), times_ms[i]);
    }
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_pushed_first_comes_first_over_many_blocks),
        TEST(what_is_pushed_to_the_front_comes_before_all),
        TEST(a_walk_sees_each_entry_once_wherever_the_ends_are),
        TEST(any_mix_of_pushes_and_pops_keeps_the_order),
        TEST(an_entry_keeps_its_age_to_the_second_before_and_after_the_start),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
