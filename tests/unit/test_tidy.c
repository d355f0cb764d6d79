// SPDX-License-Identifier: MIT
//  tidy: the tree keeps its own rules, and the rules can fail.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

//  Exit code of tests/tidy/tidy.sh; its output is this test's.
static int
run_tidy(const char *argument)
{
    pid_t child = fork();
    if (child == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execl("tests/tidy/tidy.sh", "tidy.sh", argument, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
the_tree_keeps_its_rules(void **state)
{
    (void)state;
    assert_int_equal(run_tidy(NULL), 0);
}

static void
every_rule_fires_on_the_sample(void **state)
{
    (void)state;
    assert_int_equal(run_tidy("--prove"), 0);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_keeps_its_rules),
        cmocka_unit_test(every_rule_fires_on_the_sample),
    };
    return cmocka_run_group_tests_name("tidy", tests, NULL, NULL);
}
