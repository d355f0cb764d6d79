// SPDX-License-Identifier: MIT
//  log: a line as written, its prefix, its bounds.  Each line is read back from a pipe in place of standard error,
//  written by a child, since the environment is read once per process.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/log.h"

static char output[3 * TALLY_LOG_LINE_BYTES_MAX];

//  What `say` wrote to standard error in a child with the variable set; borrowed until the next call.
static const char *
capture(const char *variable, const char *value, void (*say)(void))
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    if (child == 0) {
        unsetenv("JOURNAL_STREAM");
        unsetenv("TALLY_LOG_TIME");
        unsetenv("TALLY_LOG_LEVEL");
        if (variable != NULL) {
            setenv(variable, value, 1);
        }
        dup2(pipe_fds[1], STDERR_FILENO);
        say();
        _exit(0);
    }
    close(pipe_fds[1]);
    size_t size = 0;
    ssize_t got;
    while ((got = read(pipe_fds[0], output + size, sizeof output - 1 - size)) > 0) {
        size += (size_t)got;
    }
    output[size] = '\0';
    close(pipe_fds[0]);
    int status = 1;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    return output;
}

static void
say_all_levels(void)
{
    tally_log_error("e  a=%d", 1);
    tally_log_warn("w");
    tally_log_info("i");
    tally_log_debug("d");
}

static void
a_line_is_level_message_and_context(void **state)
{
    (void)state;
    assert_string_equal(capture(NULL, NULL, say_all_levels), "error  e  a=1\nwarn  w\ninfo  i\n");
}

static void
the_environment_names_the_level(void **state)
{
    (void)state;
    assert_string_equal(capture("TALLY_LOG_LEVEL", "error", say_all_levels), "error  e  a=1\n");
    assert_string_equal(capture("TALLY_LOG_LEVEL", "debug", say_all_levels),
                        "error  e  a=1\nwarn  w\ninfo  i\ndebug  d\n");
    assert_string_equal(capture("TALLY_LOG_LEVEL", "loud", say_all_levels),
                        "error  e  a=1\nwarn  w\ninfo  i\n");
}

static void
set_level_and_say(void)
{
    if (tally_log_set_level_name("warn") == -1 || tally_log_set_level_name("loud") != -1) {
        _exit(1);
    }
    say_all_levels();
}

static void
a_level_set_by_name_wins_over_the_environment(void **state)
{
    (void)state;
    assert_string_equal(capture("TALLY_LOG_LEVEL", "debug", set_level_and_say),
                        "error  e  a=1\nwarn  w\n");
}

static void
journald_gets_priorities(void **state)
{
    (void)state;
    assert_string_equal(capture("JOURNAL_STREAM", "8:1", say_all_levels),
                        "<3>error  e  a=1\n<4>warn  w\n<6>info  i\n");
}

static void
say_hello(void)
{
    tally_log_info("hello");
}

static void
files_get_the_time(void **state)
{
    (void)state;
    const char *line = capture("TALLY_LOG_TIME", "1", say_hello);
    int year, month, day, hour, minute, second, milli, end = 0;
    assert_int_equal(sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ  info  hello\n%n", &year, &month,
                            &day, &hour, &minute, &second, &milli, &end),
                     7);
    assert_int_equal(end, (int)strlen(line));
}

static void
say_hostile(void)
{
    tally_log_warn("refused name \"%s\"", "a\nerror  forged\x1b[31m\x7f\t");
}

static void
control_characters_cannot_forge_lines(void **state)
{
    (void)state;
    assert_string_equal(capture(NULL, NULL, say_hostile),
                        "warn  refused name \"a\\nerror  forged\\x1b[31m\\x7f\\t\"\n");
}

static void
say_long(void)
{
    tally_log_info("%0*d", 2 * TALLY_LOG_LINE_BYTES_MAX, 0);
}

static void
a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    const char *line = capture(NULL, NULL, say_long);
    size_t size = strlen(line);
    assert_true(size <= TALLY_LOG_LINE_BYTES_MAX);
    assert_true(size > TALLY_LOG_LINE_BYTES_MAX - 16);
    assert_string_equal(line + size - 4, "...\n");
}

static void
escape_fills_its_room_exactly(void **state)
{
    (void)state;
    char out[8];
    assert_int_equal(tally_log_escape(out, sizeof out, tally_bytes_of("1234567")), 7);
    assert_string_equal(out, "1234567");
    assert_int_equal(tally_log_escape(out, sizeof out, tally_bytes_of("12345678")), 7);
    assert_string_equal(out, "1234...");
    assert_int_equal(tally_log_escape(out, sizeof out, tally_bytes_of("123\n\n")), 7);
    assert_string_equal(out, "123\\n\\n");
    assert_int_equal(tally_log_escape(out, sizeof out, tally_bytes_of("")), 0);
}

static void
errno_survives_a_log_line(void **state)
{
    (void)state;
    tally_log_set_level(TALLY_LOG_ERROR);
    errno = EAGAIN;
    tally_log_info("not written");
    assert_int_equal(errno, EAGAIN);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_level_message_and_context),
        cmocka_unit_test(the_environment_names_the_level),
        cmocka_unit_test(a_level_set_by_name_wins_over_the_environment),
        cmocka_unit_test(journald_gets_priorities),
        cmocka_unit_test(files_get_the_time),
        cmocka_unit_test(control_characters_cannot_forge_lines),
        cmocka_unit_test(a_long_line_is_cut_and_says_so),
        cmocka_unit_test(escape_fills_its_room_exactly),
        cmocka_unit_test(errno_survives_a_log_line),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
