// SPDX-License-Identifier: MIT
//  call: what a command line says, and what is refused of it.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "clients/cmd/call.h"

static const tally_flag_t flags[] = {
    TALLY_FLAG_TENANT,    {"due", 0, "TIME", ""}, {"priority", 'p', "N", ""},
    {"ask", 0, NULL, ""}, TALLY_FLAGS_END,
};

static const tally_command_t command = {
    .name = "send",
    .section = "WORK",
    .arguments = "QUEUE BODY...",
    .summary = "",
    .flags = flags,
    .arguments_min = 2,
    .arguments_max = 3,
};

struct fixture {
    tally_call_t *call;
    int stderr_copy;
};

//  What is refused is said on standard error; a test's output is not the place for it.
static int
setup(void **state)
{
    static struct fixture f;
    f.call = tally_call_new();
    fflush(stderr);
    f.stderr_copy = dup(STDERR_FILENO);
    unsetenv("TALLY_TENANT");
    *state = &f;
    return f.stderr_copy != -1 && freopen("/dev/null", "w", stderr) != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_call_destroy(&f->call);
    fflush(stderr);
    dup2(f->stderr_copy, STDERR_FILENO);
    close(f->stderr_copy);
    return 0;
}

#define PARSE(f, ...) parse(f, (char *[]){"send", __VA_ARGS__, NULL})

static int
parse(struct fixture *f, char **words)
{
    int count = 0;
    while (words[count] != NULL) {
        count++;
    }
    return tally_call_parse(f->call, &command, count, words);
}

static void
flags_and_arguments_stand_in_any_order(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PARSE(f, "mail", "-t", "acme", "one", "--ask", "two", "-p3"), 0);
    assert_int_equal(tally_call_argument_count(f->call), 3);
    assert_string_equal(tally_call_argument(f->call, 0), "mail");
    assert_string_equal(tally_call_argument(f->call, 2), "two");
    assert_string_equal(tally_call_tenant(f->call), "acme");
    assert_true(tally_call_has(f->call, "ask"));
    int64_t priority;
    assert_int_equal(tally_call_number(f->call, "priority", 0, 3, 1, &priority), 0);
    assert_int_equal(priority, 3);
}

static void
the_last_of_a_flag_counts(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PARSE(f, "mail", "x", "-t", "one", "--tenant=two"), 0);
    assert_string_equal(tally_call_tenant(f->call), "two");
}

static void
global_flags_may_stand_before_the_verb(void **state)
{
    struct fixture *f = *state;
    char *words[] = {"tally", "--json", "--timeout", "3s", "send", "mail", "x", NULL};
    assert_int_equal(tally_call_parse_global(f->call, 7, words), 4);
    assert_int_equal(tally_call_parse(f->call, &command, 3, words + 4), 0);
    assert_true(tally_call_wants_json(f->call));
    assert_int_equal(tally_call_timeout_ms(f->call), 3000);
    assert_int_equal(tally_call_work_timeout_ms(f->call), 3000);
}

static void
without_a_timeout_work_may_take_its_time(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PARSE(f, "mail", "x"), 0);
    assert_int_equal(tally_call_timeout_ms(f->call), 5000);
    assert_int_equal(tally_call_work_timeout_ms(f->call), -1);
}

static void
wrong_lines_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PARSE(f, "mail"), -1);
    assert_int_equal(PARSE(f, "mail", "1", "2", "3"), -1);
    assert_int_equal(PARSE(f, "mail", "1", "--nonsense"), -1);
    assert_int_equal(PARSE(f, "mail", "1", "-x"), -1);
    assert_int_equal(PARSE(f, "mail", "1", "--tenant"), -1);
    assert_int_equal(PARSE(f, "mail", "1", "--ask=yes"), -1);
    assert_int_equal(PARSE(f, "mail", "1", "--timeout", "soon"), -1);
}

static void
too_many_flags_are_refused_and_nothing_overflows(void **state)
{
    struct fixture *f = *state;
    char *words[103] = {"send", "mail", "x"};
    for (int i = 3; i < 102; i++) {
        words[i] = "--ask";
    }
    assert_int_equal(parse(f, words), -1);
}

static void
behind_two_dashes_all_are_arguments(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PARSE(f, "--", "mail", "--ask"), 0);
    assert_false(tally_call_has(f->call, "ask"));
    assert_string_equal(tally_call_argument(f->call, 1), "--ask");
}

static void
a_tenant_is_needed_and_may_come_from_the_environment(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(PARSE(f, "mail", "x"), 0);
    assert_null(tally_call_tenant(f->call));
    setenv("TALLY_TENANT", "acme", 1);
    const char *tenant = tally_call_tenant(f->call);
    unsetenv("TALLY_TENANT");
    assert_non_null(tenant);
}

static void
numbers_hold_their_range(void **state)
{
    static const struct {
        const char *text;
        int result;
    } cases[] = {{"0", 0}, {"3", 0},   {"4", -1},  {"-1", -1},
                 {"", -1}, {"2x", -1}, {" 2", -1}, {"99999999999999999999", -1}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char word[32];
        snprintf(word, sizeof word, "--priority=%s", cases[i].text);
        tally_call_destroy(&f->call);
        f->call = tally_call_new();
        int64_t value;
        assert_int_equal(PARSE(f, "mail", "x", word), 0);
        assert_int_equal(tally_call_number(f->call, "priority", 0, 3, 1, &value), cases[i].result);
    }
}

static void
times_have_units(void **state)
{
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {{"500ms", 500},  {"2s", 2000},     {"2", 2000}, {"5m", 300000},
                 {"2h", 7200000}, {"1d", 86400000}, {"0s", 0},   {"25h", -1},
                 {"2x", -1},      {"m", -1},        {"-5s", -1}, {"9223372036854775807h", -1}};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char word[64];
        snprintf(word, sizeof word, "--due=%s", cases[i].text);
        tally_call_destroy(&f->call);
        f->call = tally_call_new();
        int64_t value = -1;
        assert_int_equal(PARSE(f, "mail", "x", word), 0);
        int rc = tally_call_duration(f->call, "due", 24LL * 3600 * 1000, -1, &value);
        assert_int_equal(rc, cases[i].ms == -1 ? -1 : 0);
        assert_int_equal(value, cases[i].ms);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(flags_and_arguments_stand_in_any_order),
        TEST(the_last_of_a_flag_counts),
        TEST(global_flags_may_stand_before_the_verb),
        TEST(without_a_timeout_work_may_take_its_time),
        TEST(wrong_lines_are_refused),
        TEST(too_many_flags_are_refused_and_nothing_overflows),
        TEST(behind_two_dashes_all_are_arguments),
        TEST(a_tenant_is_needed_and_may_come_from_the_environment),
        TEST(numbers_hold_their_range),
        TEST(times_have_units),
    };
    return cmocka_run_group_tests_name("call", tests, NULL, NULL);
}
