// SPDX-License-Identifier: MIT
//  window: a send is there until it is over, found by its number, walked in order.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clients/window.h"
#include "lib/alloc.h"

static int
setup(void **state)
{
    *state = tally_window_new();
    return 0;
}

static int
teardown(void **state)
{
    tally_window_t *window = *state;
    tally_window_destroy(&window);
    return 0;
}

static tally_place_t *
add(tally_window_t *window, bool asks)
{
    zmq_msg_t frame;
    zmq_msg_init_size(&frame, 100);
    uint64_t *asked = NULL;
    if (asks) {
        asked = tally_alloc(sizeof *asked);
        *asked = 1;
    }
    return tally_window_add(window, &frame, 1, asked);
}

static void
numbers_go_on_from_the_start(void **state)
{
    tally_window_t *window = *state;
    tally_window_start(window, 42);
    assert_int_equal(add(window, false)->sequence, 42);
    assert_int_equal(add(window, false)->sequence, 43);
    assert_int_equal(tally_window_next(window), 44);
    assert_null(tally_window_find(window, 41));
    assert_non_null(tally_window_find(window, 43));
    assert_null(tally_window_find(window, 43 + TALLY_SEND_WINDOW));
}

static void
it_is_full_at_the_distance_of_oldest_and_newest(void **state)
{
    tally_window_t *window = *state;
    for (int i = 0; i < TALLY_SEND_WINDOW; i++) {
        assert_false(tally_window_full(window, TALLY_SEND_WINDOW, 100));
        add(window, false);
    }
    assert_true(tally_window_full(window, TALLY_SEND_WINDOW, 100));
    //  Others ending makes no room while the oldest is there.
    tally_window_confirm(window, tally_window_find(window, 2));
    assert_true(tally_window_full(window, TALLY_SEND_WINDOW, 100));
    tally_window_confirm(window, tally_window_find(window, 1));
    assert_false(tally_window_full(window, TALLY_SEND_WINDOW, 100));
    assert_int_equal(tally_window_oldest(window)->sequence, 3);
    assert_int_equal(tally_window_unconfirmed(window), TALLY_SEND_WINDOW - 2);
}

static void
bytes_are_bounded_but_one_always_fits(void **state)
{
    tally_window_t *window = *state;
    size_t huge = (size_t)1 << 40;
    assert_false(tally_window_full(window, 4, huge));
    tally_place_t *place = add(window, false);
    assert_true(tally_window_full(window, 4, huge));
    tally_window_remove(window, place);
    assert_false(tally_window_full(window, 4, huge));
}

static void
a_confirmed_ask_stays_until_its_answer(void **state)
{
    tally_window_t *window = *state;
    tally_window_confirm(window, add(window, true));
    assert_int_equal(tally_window_unconfirmed(window), 0);
    assert_int_equal(tally_window_unanswered(window), 1);
    tally_place_t *place = tally_window_find(window, 1);
    assert_true(tally_window_is_confirmed(window, place));
    assert_false(tally_window_answer(window, place, 1));
    assert_true(tally_window_answer(window, place, 0));
    assert_int_equal(tally_window_unanswered(window), 0);
    assert_null(tally_window_find(window, 1));
}

static void
an_answer_before_the_confirm_is_kept(void **state)
{
    tally_window_t *window = *state;
    tally_place_t *place = add(window, true);
    assert_true(tally_window_answer(window, place, 0));
    assert_false(tally_window_answer(window, place, 0));
    tally_window_confirm(window, place);
    assert_int_equal(tally_window_unanswered(window), 0);
}

static void
asks_and_unconfirmed_are_walked_in_the_order_of_numbers(void **state)
{
    tally_window_t *window = *state;
    for (int i = 0; i < 6; i++) {
        add(window, i % 2 == 1);
    }
    tally_window_confirm(window, tally_window_find(window, 6));
    tally_window_confirm(window, tally_window_find(window, 2));
    tally_window_remove(window, tally_window_find(window, 3));
    const uint64_t expected[] = {1, 2, 4, 5, 6};
    uint64_t sequence = 0;
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        tally_place_t *place = tally_window_after(window, sequence);
        assert_non_null(place);
        assert_int_equal(place->sequence, expected[i]);
        sequence = place->sequence;
    }
    assert_null(tally_window_after(window, sequence));
}

static void
delayed_ones_are_counted_however_they_end(void **state)
{
    tally_window_t *window = *state;
    add(window, false);
    add(window, true);
    add(window, true);
    for (uint64_t i = 1; i <= 3; i++) {
        tally_window_mark(window, tally_window_find(window, i), TALLY_PLACE_DELAYED);
    }
    assert_int_equal(tally_window_delayed(window), 3);
    tally_window_remove(window, tally_window_find(window, 1));
    tally_window_confirm(window, tally_window_find(window, 2));
    assert_int_equal(tally_window_delayed(window), 1);
    tally_window_mark(window, tally_window_find(window, 3), TALLY_PLACE_SENT);
    assert_int_equal(tally_window_delayed(window), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(numbers_go_on_from_the_start),
        TEST(it_is_full_at_the_distance_of_oldest_and_newest),
        TEST(bytes_are_bounded_but_one_always_fits),
        TEST(a_confirmed_ask_stays_until_its_answer),
        TEST(an_answer_before_the_confirm_is_kept),
        TEST(asks_and_unconfirmed_are_walked_in_the_order_of_numbers),
        TEST(delayed_ones_are_counted_however_they_end),
    };
    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
