// SPDX-License-Identifier: MIT
//  hardening: the programs are built as tests/hardening.sh wants them, and each of its rules can fail.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

//  Exit code of tests/hardening.sh; its output is this test's.
static int
run_hardening(const char *argument)
{
    pid_t child = fork();
    if (child == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execl("tests/hardening.sh", "hardening.sh", argument, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
every_program_and_the_library_is_hardened(void **state)
{
    (void)state;
    const char *programs = getenv("TALLY_BIN_DIR");
    char build[4096];
    snprintf(build, sizeof build, "%s/..", programs == NULL ? "build/bin" : programs);
    assert_int_equal(run_hardening(build), 0);
}

static void
every_rule_fires_on_a_weak_program(void **state)
{
    (void)state;
    assert_int_equal(run_hardening("--prove"), 0);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_program_and_the_library_is_hardened),
        cmocka_unit_test(every_rule_fires_on_a_weak_program),
    };
    return cmocka_run_group_tests_name("hardening", tests, NULL, NULL);
}
