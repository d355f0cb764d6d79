// SPDX-License-Identifier: MIT
//  supervisor: what ends is started again, what fails is named, what shall stop stops in order.
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "clients/cmd/supervisor.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"

#define WAIT_MS 20000
#define PATIENCE_MS 10000

struct fixture {
    char *dir;
    tally_supervisor_t *supervisor;
    char *scripts[4];    // owned
    char *commands[4][4];
    size_t count;
};

static int
remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    f->dir = tally_strdup("/tmp/tally-supervisor-XXXXXX");
    if (mkdtemp(f->dir) == NULL) {
        return -1;
    }
    tally_log_set_level(TALLY_LOG_ERROR);
    f->supervisor = tally_supervisor_new(f->dir, f->dir);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_supervisor_stop(f->supervisor, PATIENCE_MS);
    tally_supervisor_destroy(&f->supervisor);
    nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    for (size_t i = 0; i < f->count; i++) {
        free(f->scripts[i]);
    }
    free(f->dir);
    free(f);
    return 0;
}

//  A process that runs a shell script in the fixture's directory.
static void
add(struct fixture *f, const char *name, int stage, const char *script)
{
    size_t i = f->count++;
    f->scripts[i] = tally_format("cd %s; %s", f->dir, script);
    f->commands[i][0] = "/bin/sh";
    f->commands[i][1] = "-c";
    f->commands[i][2] = f->scripts[i];
    tally_supervisor_add(f->supervisor, name, stage, SIGTERM, tally_supervisor_exec,
                         f->commands[i]);
}

//  The first number in a file of the directory, 0 when there is none.
static int
read_number(const struct fixture *f, const char *name)
{
    char *path = tally_format("%s/%s", f->dir, name);
    FILE *file = fopen(path, "r");
    int number = 0;
    if (file != NULL) {
        if (fscanf(file, "%d", &number) != 1) {
            number = 0;
        }
        fclose(file);
    }
    free(path);
    return number;
}

static void
turn_until_number_differs(struct fixture *f, const char *name, int before)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + WAIT_MS;
    while (read_number(f, name) == before || read_number(f, name) == 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        assert_true(tally_supervisor_turn(f->supervisor, 10));
    }
}

static void
what_is_killed_runs_again_as_another_process(void **state)
{
    struct fixture *f = *state;
    add(f, "stays", 0, "exec tail -f /dev/null");
    tally_supervisor_start(f->supervisor, 0);
    for (int i = 0; i < 3; i++) {
        int pid = read_number(f, "stays.pid");
        assert_true(pid > 0);
        assert_int_equal(kill(pid, SIGKILL), 0);
        turn_until_number_differs(f, "stays.pid", pid);
    }
    assert_null(tally_supervisor_failing(f->supervisor));
}

static void
what_ends_by_itself_runs_again(void **state)
{
    struct fixture *f = *state;
    add(f, "ends", 0, "echo $$ > now");
    tally_supervisor_start(f->supervisor, 0);
    turn_until_number_differs(f, "now", 0);
    turn_until_number_differs(f, "now", read_number(f, "now"));
}

static void
what_keeps_ending_at_its_start_is_named(void **state)
{
    struct fixture *f = *state;
    add(f, "good", 0, "exec tail -f /dev/null");
    add(f, "bad", 0, "exit 3");
    tally_supervisor_start(f->supervisor, 0);
    int64_t deadline_at_ms = tally_clock_now_ms() + WAIT_MS;
    while (tally_supervisor_failing(f->supervisor) == NULL) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        assert_true(tally_supervisor_turn(f->supervisor, 10));
    }
    assert_string_equal(tally_supervisor_failing(f->supervisor), "bad");
}

static void
a_program_that_is_missing_is_like_one_that_fails(void **state)
{
    struct fixture *f = *state;
    char *command[] = {"/nonexistent/program", NULL};
    tally_supervisor_add(f->supervisor, "missing", 0, SIGTERM, tally_supervisor_exec, command);
    tally_supervisor_start(f->supervisor, 0);
    int64_t deadline_at_ms = tally_clock_now_ms() + WAIT_MS;
    while (tally_supervisor_failing(f->supervisor) == NULL) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        assert_true(tally_supervisor_turn(f->supervisor, 10));
    }
    assert_string_equal(tally_supervisor_failing(f->supervisor), "missing");
}

static void
stages_stop_from_the_last_to_the_first(void **state)
{
    struct fixture *f = *state;
    //  Each writes its stage behind those that stopped before it.
    for (int stage = 0; stage < 3; stage++) {
        char *name = tally_format("stage-%d", stage);
        char *whole = tally_format(
            "trap 'echo %d >> order; kill $child; exit 0' TERM; tail -f /dev/null & child=$!; "
            "echo $$ > up-%d; wait",
            stage, stage);
        add(f, name, stage, whole);
        free(whole);
        tally_supervisor_start(f->supervisor, stage);
        char *up = tally_format("up-%d", stage);
        turn_until_number_differs(f, up, 0);
        free(up);
        free(name);
    }
    tally_supervisor_stop(f->supervisor, PATIENCE_MS);
    char *path = tally_format("%s/order", f->dir);
    FILE *file = fopen(path, "r");
    free(path);
    assert_non_null(file);
    int order[3] = {-1, -1, -1};
    assert_int_equal(fscanf(file, "%d %d %d", &order[0], &order[1], &order[2]), 3);
    fclose(file);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 1);
    assert_int_equal(order[2], 0);
}

static void
what_does_not_hear_is_killed_when_patience_ends(void **state)
{
    struct fixture *f = *state;
    add(f, "deaf", 0, "trap '' TERM; echo $$ > up; exec tail -f /dev/null");
    tally_supervisor_start(f->supervisor, 0);
    turn_until_number_differs(f, "up", 0);
    int pid = read_number(f, "up");
    tally_supervisor_stop(f->supervisor, 200);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(read_number(f, "deaf.pid"), 0);
}

static void
what_was_stopped_by_somebody_still_ends(void **state)
{
    struct fixture *f = *state;
    add(f, "frozen", 0, "echo $$ > up; exec tail -f /dev/null");
    tally_supervisor_start(f->supervisor, 0);
    turn_until_number_differs(f, "up", 0);
    assert_int_equal(kill(read_number(f, "up"), SIGSTOP), 0);
    int64_t started_at_ms = tally_clock_now_ms();
    tally_supervisor_stop(f->supervisor, PATIENCE_MS);
    assert_true(tally_clock_now_ms() - started_at_ms < PATIENCE_MS);
}

static void
a_signal_ends_the_turns(void **state)
{
    struct fixture *f = *state;
    assert_true(tally_supervisor_turn(f->supervisor, 0));
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_false(tally_supervisor_turn(f->supervisor, WAIT_MS));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(what_is_killed_runs_again_as_another_process),
        TEST(what_ends_by_itself_runs_again),
        TEST(what_keeps_ending_at_its_start_is_named),
        TEST(a_program_that_is_missing_is_like_one_that_fails),
        TEST(stages_stop_from_the_last_to_the_first),
        TEST(what_does_not_hear_is_killed_when_patience_ends),
        TEST(what_was_stopped_by_somebody_still_ends),
        TEST(a_signal_ends_the_turns),
    };
    return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
