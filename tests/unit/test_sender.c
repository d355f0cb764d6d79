// SPDX-License-Identifier: MIT
//  sender: each sequence is taken once, may come late within the window, and is never taken outside
//  of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/sender.h"

static const uint8_t ID[TALLY_SENDER_BYTES] = {7};

struct fixture {
    tally_senders_t senders;
    tally_plan_t *plan;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    tally_senders_init(&f->senders, 3);
    f->plan = tally_plan_new();
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_senders_free(&f->senders);
    tally_plan_destroy(&f->plan);
    free(f);
    return 0;
}

static tally_sender_t *
load(struct fixture *f, int64_t last, const int64_t *missing, size_t count)
{
    tally_sender_row_t row = {.last = last, .missing = missing, .missing_count = count};
    memcpy(row.id, ID, sizeof ID);
    tally_senders_load(&f->senders, &row);
    return tally_senders_find(&f->senders, ID);
}

static void
take(tally_sender_t *sender, uint64_t sequence)
{
    tally_sender_accept(sender, sequence);
    tally_sender_confirm(sender, sequence);
}

//  The row as the plan would write it.
static const tally_plan_sender_t *
row_of(struct fixture *f, tally_sender_t *sender)
{
    tally_plan_clear(f->plan);
    tally_sender_write(sender, f->plan);
    tally_sender_link_rows(f->plan);
    return &f->plan->senders.items[0];
}

static void
a_sequence_is_new_then_pending_then_known(void **state)
{
    tally_sender_t *sender = load(*state, 0, NULL, 0);
    assert_int_equal(tally_sender_look(sender, 1), TALLY_SEQUENCE_NEW);
    tally_sender_accept(sender, 1);
    assert_int_equal(tally_sender_look(sender, 1), TALLY_SEQUENCE_PENDING);
    tally_sender_confirm(sender, 1);
    assert_int_equal(tally_sender_look(sender, 1), TALLY_SEQUENCE_KNOWN);
}

static void
sequences_that_were_skipped_are_missing_and_may_still_come(void **state)
{
    tally_sender_t *sender = load(*state, 0, NULL, 0);
    take(sender, 1);
    take(sender, 4);
    const tally_plan_sender_t *row = row_of(*state, sender);
    assert_int_equal(row->last, 4);
    assert_int_equal(row->missing_count, 2);
    assert_int_equal(row->missing[0], 2);
    assert_int_equal(row->missing[1], 3);
    assert_int_equal(tally_sender_look(sender, 3), TALLY_SEQUENCE_NEW);
    take(sender, 3);
    assert_int_equal(tally_sender_look(sender, 3), TALLY_SEQUENCE_KNOWN);
    row = row_of(*state, sender);
    assert_int_equal(row->last, 4);
    assert_int_equal(row->missing_count, 1);
    assert_int_equal(row->missing[0], 2);
}

static void
the_window_has_two_edges(void **state)
{
    const int64_t last = 5000;
    const int64_t missing[] = {last - TALLY_SEND_WINDOW, last - 1};
    tally_sender_t *sender = load(*state, last, missing, 2);
    assert_int_equal(tally_sender_look(sender, last + TALLY_SEND_WINDOW), TALLY_SEQUENCE_NEW);
    assert_int_equal(tally_sender_look(sender, last + TALLY_SEND_WINDOW + 1),
                     TALLY_SEQUENCE_OUTSIDE);
    assert_int_equal(tally_sender_look(sender, last - TALLY_SEND_WINDOW), TALLY_SEQUENCE_NEW);
    assert_int_equal(tally_sender_look(sender, last - TALLY_SEND_WINDOW - 1),
                     TALLY_SEQUENCE_OUTSIDE);
    assert_int_equal(tally_sender_look(sender, last - TALLY_SEND_WINDOW + 1), TALLY_SEQUENCE_KNOWN);
    assert_int_equal(tally_sender_look(sender, last), TALLY_SEQUENCE_KNOWN);
}

static void
no_sequence_is_zero_or_beyond_what_a_row_can_hold(void **state)
{
    tally_sender_t *sender = load(*state, 0, NULL, 0);
    assert_int_equal(tally_sender_look(sender, 0), TALLY_SEQUENCE_OUTSIDE);
    assert_int_equal(tally_sender_look(sender, UINT64_MAX), TALLY_SEQUENCE_OUTSIDE);
    assert_int_equal(tally_sender_look(sender, (uint64_t)INT64_MAX + 1), TALLY_SEQUENCE_OUTSIDE);
}

static void
what_falls_out_of_the_window_is_missing_no_more(void **state)
{
    tally_sender_t *sender = load(*state, 0, NULL, 0);
    take(sender, 2);    // 1 is missing
    take(sender, 2 + TALLY_SEND_WINDOW - 1);
    assert_int_equal(row_of(*state, sender)->missing[0], 1);
    assert_int_equal(row_of(*state, sender)->missing_count, TALLY_SEND_WINDOW - 1);
    take(sender, 2 + TALLY_SEND_WINDOW);
    assert_int_equal(row_of(*state, sender)->missing[0], 3);
    assert_int_equal(tally_sender_look(sender, 1), TALLY_SEQUENCE_OUTSIDE);
}

static void
more_than_a_window_of_unconfirmed_sends_is_refused(void **state)
{
    tally_sender_t *sender = load(*state, 0, NULL, 0);
    for (uint64_t sequence = 1; sequence <= TALLY_SEND_WINDOW; sequence++) {
        tally_sender_accept(sender, sequence);
    }
    assert_int_equal(tally_sender_look(sender, TALLY_SEND_WINDOW + 1), TALLY_SEQUENCE_OUTSIDE);
    assert_int_equal(tally_sender_look(sender, 1), TALLY_SEQUENCE_PENDING);
    tally_sender_confirm(sender, 5);
    assert_int_equal(tally_sender_look(sender, TALLY_SEND_WINDOW + 1), TALLY_SEQUENCE_NEW);
}

static void
a_sender_with_something_pending_is_not_forgotten(void **state)
{
    struct fixture *f = *state;
    tally_sender_t *sender = load(f, 0, NULL, 0);
    tally_sender_accept(sender, 1);
    tally_senders_forget(&f->senders, ID);
    assert_non_null(tally_senders_find(&f->senders, ID));
    tally_sender_confirm(sender, 1);
    tally_senders_forget(&f->senders, ID);
    assert_null(tally_senders_find(&f->senders, ID));
    tally_senders_forget(&f->senders, ID);
}

static void
a_row_does_not_set_back_what_memory_knows(void **state)
{
    struct fixture *f = *state;
    take(load(f, 0, NULL, 0), 1);
    tally_sender_t *sender = load(f, 0, NULL, 0);
    assert_int_equal(sender->last, 1);
    assert_int_equal(tally_sender_look(sender, 1), TALLY_SEQUENCE_KNOWN);
}

//  Sparse sends run through the ring many times; a plain array knows better.
static void
the_ring_agrees_with_an_array_of_everything(void **state)
{
    struct fixture *f = *state;
    enum { SEQUENCES = 60000 };
    static bool taken[SEQUENCES + 2 * TALLY_SEND_WINDOW];
    tally_sender_t *sender = load(f, 0, NULL, 0);
    uint32_t random = 5;
    for (int64_t last = 0; last < SEQUENCES;) {
        random = random * 1664525u + 1013904223u;
        int64_t sequence = last - 200 + (random >> 8) % 400;
        if (sequence < 1) {
            continue;
        }
        tally_sequence_t look = tally_sender_look(sender, (uint64_t)sequence);
        assert_int_equal(look, taken[sequence] ? TALLY_SEQUENCE_KNOWN : TALLY_SEQUENCE_NEW);
        if (!taken[sequence]) {
            take(sender, (uint64_t)sequence);
            taken[sequence] = true;
        }
        last = sequence > last ? sequence : last;
    }
    const tally_plan_sender_t *row = row_of(f, sender);
    size_t at = 0;
    for (int64_t sequence = row->last - TALLY_SEND_WINDOW; sequence <= row->last; sequence++) {
        if (!taken[sequence]) {
            assert_int_equal(row->missing[at++], sequence);
        }
    }
    assert_int_equal(at, row->missing_count);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_sequence_is_new_then_pending_then_known),
        TEST(sequences_that_were_skipped_are_missing_and_may_still_come),
        TEST(the_window_has_two_edges),
        TEST(no_sequence_is_zero_or_beyond_what_a_row_can_hold),
        TEST(what_falls_out_of_the_window_is_missing_no_more),
        TEST(more_than_a_window_of_unconfirmed_sends_is_refused),
        TEST(a_sender_with_something_pending_is_not_forgotten),
        TEST(a_row_does_not_set_back_what_memory_knows),
        TEST(the_ring_agrees_with_an_array_of_everything),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
