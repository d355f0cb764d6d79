// SPDX-License-Identifier: MIT
//  cmocka - as much of cmocka as the tests of core and codec use, for `make msan` alone.
//
//  MemorySanitizer knows only what instrumented code writes, and the library is not instrumented:
//  fixtures would come out of it as if nobody had ever set them.  So the header of this name is found
//  first and is all there is.

#ifndef TALLY_MSAN_CMOCKA_H
#define TALLY_MSAN_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void test_fn(void **state);
typedef int fixture_fn(void **state);

struct CMUnitTest {
    const char *name;
    test_fn *test;
    fixture_fn *setup, *teardown;
};

//  One for all objects of a program.
__attribute__((weak)) jmp_buf msan_test_over;
__attribute__((weak)) const char *msan_test_filter;

__attribute__((unused)) static void
msan_fail(const char *file, int line, const char *what)
{
    printf("[  ERROR   ] --- %s\n[   LINE   ] --- %s:%d: error: Failure!\n", what, file, line);
    longjmp(msan_test_over, 1);
}

#define MSAN_CHECK(holds, what)                                                                    \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            msan_fail(__FILE__, __LINE__, what);                                                   \
        }                                                                                          \
    } while (false)
#define MSAN_NUMBER(value) ((uintmax_t)(value))

#define assert_true(value) MSAN_CHECK(value, #value)
#define assert_false(value) MSAN_CHECK(!(value), #value)
#define assert_null(pointer) MSAN_CHECK((pointer) == NULL, #pointer)
#define assert_non_null(pointer) MSAN_CHECK((pointer) != NULL, #pointer)
#define assert_ptr_equal(a, b) MSAN_CHECK((const void *)(a) == (const void *)(b), #a " != " #b)
#define assert_int_equal(a, b) MSAN_CHECK(MSAN_NUMBER(a) == MSAN_NUMBER(b), #a " != " #b)
#define assert_int_not_equal(a, b) MSAN_CHECK(MSAN_NUMBER(a) != MSAN_NUMBER(b), #a " == " #b)
#define assert_in_range(value, low, high)                                                          \
    MSAN_CHECK(MSAN_NUMBER(value) >= MSAN_NUMBER(low) && MSAN_NUMBER(value) <= MSAN_NUMBER(high),  \
               #value " is out of range")
#define assert_string_equal(a, b) MSAN_CHECK(strcmp(a, b) == 0, #a " != " #b)
#define assert_memory_equal(a, b, size) MSAN_CHECK(memcmp(a, b, size) == 0, #a " != " #b)
#define assert_memory_not_equal(a, b, size) MSAN_CHECK(memcmp(a, b, size) != 0, #a " == " #b)
#define print_message(...) printf(__VA_ARGS__)
#define print_error(...) fprintf(stderr, __VA_ARGS__)
#define fail() msan_fail(__FILE__, __LINE__, "fail()")
#define fail_msg(...)                                                                              \
    do {                                                                                           \
        printf(__VA_ARGS__);                                                                       \
        fail();                                                                                    \
    } while (false)
#define skip() longjmp(msan_test_over, 2)

#define cmocka_set_test_filter(pattern) (msan_test_filter = (pattern))
#define cmocka_unit_test(test) cmocka_unit_test_setup_teardown(test, NULL, NULL)
#define cmocka_unit_test_teardown(test, down) cmocka_unit_test_setup_teardown(test, NULL, down)
#define cmocka_unit_test_setup_teardown(test, up, down)                                            \
    {                                                                                              \
#test, test, up, down                                                                      \
    }
#define cmocka_run_group_tests(tests, up, down)                                                    \
    msan_run_tests(tests, sizeof(tests) / sizeof((tests)[0]), up, down)
#define cmocka_run_group_tests_name(name, tests, up, down) cmocka_run_group_tests(tests, up, down)

//  0 when it passed or was skipped.
__attribute__((unused)) static int
msan_run_test(const struct CMUnitTest *test, void *group_state)
{
    void *state = group_state;
    printf("[ RUN      ] %s\n", test->name);
    int how = test->setup != NULL && test->setup(&state) != 0 ? 1 : setjmp(msan_test_over);
    if (how == 0) {
        test->test(&state);
    }
    if (test->teardown != NULL && test->teardown(&state) != 0) {
        how = 1;
    }
    printf("[ %s ] %s\n", how == 0 ? "      OK" : how == 2 ? " SKIPPED" : " FAILED ", test->name);
    fflush(stdout);
    return how == 1;
}

__attribute__((unused)) static int
msan_run_tests(const struct CMUnitTest *tests, size_t count, fixture_fn *up, fixture_fn *down)
{
    void *state = NULL;
    int failed = 0;
    if (up != NULL && up(&state) != 0) {
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        failed += msan_run_test(&tests[i], state);
    }
    if (down != NULL && down(&state) != 0) {
        failed++;
    }
    if (failed > 0) {
        printf("[  FAILED  ] %d test(s).\n", failed);
    }
    return failed;
}

#endif
