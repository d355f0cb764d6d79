// SPDX-License-Identifier: MIT
//  owner: another thread ends the process at once, where it can be seen.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/owner.h"

static void *
use(void *argument)
{
    tally_owner_require(argument);
    return NULL;
}

//  How a process ends in which a thread uses what the first one owns.
static int
end_of_use(bool by_another)
{
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        if (dup2(open("/dev/null", O_WRONLY), STDERR_FILENO) == -1) {
            _exit(1);
        }
        signal(SIGABRT, SIG_DFL);
        tally_owner_t owner = tally_owner_here();
        pthread_t thread;
        if (!by_another) {
            use(&owner);
        } else if (pthread_create(&thread, NULL, use, &owner) == 0) {
            pthread_join(thread, NULL);
        }
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void
the_owner_goes_on(void **state)
{
    (void)state;
    int status = end_of_use(false);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
another_thread_ends_the_process(void **state)
{
    (void)state;
    int status = end_of_use(true);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_owner_goes_on),
        cmocka_unit_test(another_thread_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
