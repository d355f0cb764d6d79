// SPDX-License-Identifier: MIT
//  newcomers: so many wait, so many fail a second, and who proves itself is never one of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "broker/newcomers.h"
#include "lib/alloc.h"
#include "lib/limits.h"

#define CROWD (4 * TALLY_NEWCOMERS_FAILED_BURST)
#define HERE UINT64_C(77)
#define ELSEWHERE UINT64_C(1000077)

struct fixture {
    tally_newcomers_t newcomers;
    tally_newcomer_t crowd[CROWD];
    size_t count;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    tally_newcomers_init(&f->newcomers, 0);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    free(*state);
    return 0;
}

//  The newcomer, NULL when it was turned away.
static tally_newcomer_t *
enter(struct fixture *f, uint64_t address, int64_t now_ms)
{
    assert_true(f->count < CROWD);
    tally_newcomer_t *newcomer = &f->crowd[f->count++];
    return tally_newcomers_enter(&f->newcomers, newcomer, address, now_ms) ? newcomer : NULL;
}

//  One after the other comes and goes without proof; how many came in.
static unsigned
fail_so_often(struct fixture *f, unsigned times, uint64_t address, int64_t now_ms)
{
    unsigned in = 0;
    for (unsigned i = 0; i < times; i++) {
        tally_newcomer_t newcomer;
        if (tally_newcomers_enter(&f->newcomers, &newcomer, address, now_ms)) {
            tally_newcomers_leave(&f->newcomers, &newcomer);
            in++;
        }
    }
    return in;
}

static void
as_many_wait_as_the_limit_and_the_oldest_goes_for_one_more(void **state)
{
    struct fixture *f = *state;
    tally_newcomer_t *first = NULL;
    for (int64_t i = 0; i < TALLY_NEWCOMERS_MAX; i++) {
        tally_newcomer_t *newcomer = enter(f, HERE, i);    // so slowly that there are tokens
        assert_non_null(newcomer);
        first = first == NULL ? newcomer : first;
        assert_null(tally_newcomers_expel(&f->newcomers, false));
    }
    assert_non_null(enter(f, HERE, TALLY_NEWCOMERS_MAX));
    assert_ptr_equal(tally_newcomers_expel(&f->newcomers, false), first);
    assert_null(tally_newcomers_expel(&f->newcomers, false));
    assert_int_equal(f->newcomers.waiting.count, TALLY_NEWCOMERS_MAX);
    //  Proving itself too late, and leaving, are nothing to who was expelled.
    tally_newcomers_prove(&f->newcomers, first);
    tally_newcomers_leave(&f->newcomers, first);
    assert_int_equal(f->newcomers.waiting.count, TALLY_NEWCOMERS_MAX);
}

static void
without_descriptors_the_oldest_goes_however_few_they_are(void **state)
{
    struct fixture *f = *state;
    assert_null(tally_newcomers_expel(&f->newcomers, true));
    tally_newcomer_t *first = enter(f, HERE, 0);
    tally_newcomer_t *second = enter(f, HERE, 0);
    assert_ptr_equal(tally_newcomers_expel(&f->newcomers, true), first);
    assert_ptr_equal(tally_newcomers_expel(&f->newcomers, true), second);
    assert_null(tally_newcomers_expel(&f->newcomers, true));
}

static void
strangers_fail_as_often_as_the_limit_and_then_so_many_a_second(void **state)
{
    struct fixture *f = *state;
    const unsigned burst = TALLY_NEWCOMERS_FAILED_BURST;
    const unsigned per_s = TALLY_NEWCOMERS_FAILED_PER_S;
    assert_int_equal(fail_so_often(f, burst, HERE, 0), burst);
    assert_int_equal(fail_so_often(f, 1, HERE, 0), 0);
    for (int64_t ms = 1; ms <= 1000; ms++) {
        fail_so_often(f, 2, HERE, ms);
    }
    assert_int_equal(fail_so_often(f, 2, HERE, 1000), 0);
    assert_int_equal(fail_so_often(f, 2 * per_s, HERE, 2000), per_s);
    assert_int_equal(fail_so_often(f, 2 * burst, HERE, INT64_MAX), burst);    // never more at once
}

static void
who_proves_itself_costs_nothing_however_many_they_are(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < CROWD - 1; i++) {
        tally_newcomer_t *newcomer = enter(f, HERE, 0);
        assert_non_null(newcomer);
        tally_newcomers_prove(&f->newcomers, newcomer);
    }
    assert_int_equal(f->newcomers.waiting.count, 0);
    assert_int_equal(fail_so_often(f, CROWD, ELSEWHERE, 0), TALLY_NEWCOMERS_FAILED_BURST);
}

static void
strangers_elsewhere_do_not_keep_out_who_comes_from_where_somebody_is_known(void **state)
{
    struct fixture *f = *state;
    tally_newcomers_prove(&f->newcomers, enter(f, HERE, 0));
    fail_so_often(f, CROWD, ELSEWHERE, 0);
    assert_null(enter(f, ELSEWHERE, 0));
    assert_null(enter(f, ELSEWHERE + 1, 0));    // wherever that is
    assert_non_null(enter(f, HERE, 0));
    //  Nor is a known address without bounds.
    assert_int_equal(fail_so_often(f, CROWD, HERE, 0), TALLY_NEWCOMERS_FAILED_BURST - 1);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_many_wait_as_the_limit_and_the_oldest_goes_for_one_more,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_descriptors_the_oldest_goes_however_few_they_are,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            strangers_fail_as_often_as_the_limit_and_then_so_many_a_second, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_proves_itself_costs_nothing_however_many_they_are,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            strangers_elsewhere_do_not_keep_out_who_comes_from_where_somebody_is_known, set_up,
            tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
