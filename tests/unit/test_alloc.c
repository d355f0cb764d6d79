// SPDX-License-Identifier: MIT
//  alloc: what is handed out is usable, and what cannot be ends the process.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"

static void
memory_comes_zeroed(void **state)
{
    (void)state;
    unsigned char *memory = tally_alloc(1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(memory[i], 0);
    }
    free(memory);
}

static void
nothing_can_be_allocated_and_grown(void **state)
{
    (void)state;
    char *memory = tally_alloc(0);
    assert_non_null(memory);
    memory = tally_realloc(memory, 4);
    memcpy(memory, "abc", 4);
    memory = tally_realloc_array(memory, 100, 10);
    assert_string_equal(memory, "abc");
    free(memory);
}

static void
strings_are_copied_with_their_length(void **state)
{
    (void)state;
    char *whole = tally_strdup("tally");
    char *part = tally_strndup("tal\0ly", 5);
    assert_string_equal(whole, "tally");
    assert_memory_equal(part, "tal\0l", 6);
    free(whole);
    free(part);
}

static void
format_prints_any_length(void **state)
{
    (void)state;
    char *text = tally_format("%0*d|%s", 5000, 7, "end");
    assert_int_equal(strlen(text), 5004);
    assert_string_equal(text + 4999, "7|end");
    free(text);
}

//  Signal that ended a child which asked for count * bytes.
static int
ask_for(size_t count, size_t bytes)
{
    pid_t child = fork();
    if (child == 0) {
        fclose(stderr);
        _exit(tally_alloc_array(count, bytes) != NULL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
a_product_that_overflows_aborts(void **state)
{
    (void)state;
    assert_int_equal(ask_for(SIZE_MAX / 2, 3), SIGABRT);
    assert_int_equal(ask_for(1, 3), 0);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_comes_zeroed),
        cmocka_unit_test(nothing_can_be_allocated_and_grown),
        cmocka_unit_test(strings_are_copied_with_their_length),
        cmocka_unit_test(format_prints_any_length),
        cmocka_unit_test(a_product_that_overflows_aborts),
    };
    return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}
