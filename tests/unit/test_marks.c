// SPDX-License-Identifier: MIT
//  marks: first and second marks, differences, threads that mark at once.

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clients/cmd/marks.h"

#define THREADS 4
#define NUMBERS 3000000

struct fixture {
    tally_marks_t *one, *two;
};

static int
setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){tally_marks_new(), tally_marks_new()};
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_marks_destroy(&f->one);
    tally_marks_destroy(&f->two);
    return 0;
}

static void
only_the_first_mark_of_a_number_counts(void **state)
{
    struct fixture *f = *state;
    assert_true(tally_marks_add(f->one, 7));
    assert_false(tally_marks_add(f->one, 7));
    assert_true(tally_marks_add(f->one, 8));
    assert_true(tally_marks_add(f->one, TALLY_MARKS_MAX - 1));
    assert_false(tally_marks_add(f->one, TALLY_MARKS_MAX - 1));
}

static void
missing_are_those_of_one_that_the_other_has_not(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 5000000; i += 1000) {
        tally_marks_add(f->one, i);
        if (i % 3000 != 0) {
            tally_marks_add(f->two, i);
        }
        tally_marks_add(f->two, i + 1);    // of two alone: not missing
    }
    assert_int_equal(tally_marks_missing(f->one, f->two), 1667);
    assert_int_equal(tally_marks_missing(f->one, f->one), 0);
}

static _Atomic uint64_t firsts;

static void *
mark_all(void *argument)
{
    struct fixture *f = argument;
    uint64_t mine = 0;
    for (uint64_t i = 0; i < NUMBERS; i++) {
        mine += tally_marks_add(f->one, i) ? 1 : 0;
    }
    firsts += mine;
    return NULL;
}

static void
of_threads_that_mark_the_same_each_number_has_one_first(void **state)
{
    pthread_t threads[THREADS];
    firsts = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_create(&threads[i], NULL, mark_all, *state);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(firsts, NUMBERS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(only_the_first_mark_of_a_number_counts),
        TEST(missing_are_those_of_one_that_the_other_has_not),
        TEST(of_threads_that_mark_the_same_each_number_has_one_first),
    };
    return cmocka_run_group_tests_name("marks", tests, NULL, NULL);
}
