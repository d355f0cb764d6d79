// SPDX-License-Identifier: MIT
//  config: precedence, the file's grammar, and every mistake reported where it stands.
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/config.h"

static const tally_config_key_t keys[] = {
    {.name = "db", .help = "where PostgreSQL is"},
    {.name = "front", .help = "endpoint", .fallback = "ipc://front"},
    {.name = "credit",
     .help = "messages",
     .fallback = "8",
     .kind = TALLY_CONFIG_NUMBER,
     .min = 1,
     .max = 100},
    {.name = "rows-max", .help = "rows", .kind = TALLY_CONFIG_NUMBER, .min = -5, .max = 5},
    {.name = NULL},
};

struct fixture {
    tally_config_t *config;
    char path[32];
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    strncpy(f->path, "/tmp/tally-config-XXXXXX", sizeof f->path - 1);
    int fd = mkstemp(f->path);
    if (fd == -1) {
        return -1;
    }
    close(fd);
    f->config = tally_config_new("tally-statistics", keys);
    unsetenv("TALLY_DB");
    unsetenv("TALLY_FRONT");
    unsetenv("TALLY_CREDIT");
    unsetenv("TALLY_ROWS_MAX");
    unsetenv("TALLY_CONFIG");
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_config_destroy(&f->config);
    unlink(f->path);
    free(f);
    return 0;
}

static void
write_bytes(struct fixture *f, const char *text, size_t size)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static int
load(struct fixture *f, const char *text)
{
    write_bytes(f, text, strlen(text));
    return tally_config_load(f->config, f->path);
}

static void
assert_value(struct fixture *f, const char *name, const char *value, const char *origin)
{
    const char *got = tally_config_get(f->config, name);
    assert_non_null(got);
    assert_string_equal(got, value);
    assert_string_equal(tally_config_origin(f->config, name), origin);
}

//  Loads `text`, which must be refused with exactly the error lines `expected`, "%" standing for the path.
static void
assert_refused(struct fixture *f, const char *text, const char *expected)
{
    assert_int_equal(load(f, text), -1);
    char *wanted = tally_strdup("");
    for (const char *at = expected; *at != '\0'; at++) {
        char *longer = *at == '%' ? tally_format("%s%s", wanted, f->path)
                                  : tally_format("%s%c", wanted, *at);
        free(wanted);
        wanted = longer;
    }
    assert_string_equal(tally_config_errors(f->config), wanted);
    free(wanted);
}

static void
without_anything_defaults_hold(void **state)
{
    struct fixture *f = *state;
    assert_null(tally_config_get(f->config, "db"));
    assert_value(f, "front", "ipc://front", "default");
    assert_int_equal(tally_config_number(f->config, "credit"), 8);
    assert_int_equal(tally_config_number(f->config, "rows-max"), 0);
}

static void
flag_wins_over_environment_over_file_over_default_in_any_order(void **state)
{
    struct fixture *f = *state;
    setenv("TALLY_FRONT", "ipc://environment", 1);
    setenv("TALLY_ROWS_MAX", "3", 1);
    assert_int_equal(tally_config_set(f->config, "db", "flag"), 0);
    assert_int_equal(tally_config_load_environment(f->config), 0);
    assert_int_equal(load(f, "front = ipc://file\ncredit = 9\ndb = file\n"), 0);

    assert_value(f, "db", "flag", "flag");
    assert_value(f, "front", "ipc://environment", "TALLY_FRONT");
    assert_int_equal(tally_config_number(f->config, "rows-max"), 3);
    char *origin = tally_format("%s:2", f->path);
    assert_value(f, "credit", "9", origin);
    free(origin);
}

static void
an_empty_variable_is_no_value(void **state)
{
    struct fixture *f = *state;
    setenv("TALLY_FRONT", "", 1);
    assert_int_equal(tally_config_load_environment(f->config), 0);
    assert_value(f, "front", "ipc://front", "default");
}

static void
own_section_wins_and_sections_of_others_are_skipped(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "[statistics]\ncredit = 4\n[export]\ncredit = 7\nout = /x\n"), 0);
    assert_int_equal(tally_config_number(f->config, "credit"), 4);
    assert_int_equal(load(f, "credit = 5\n[statistics]\ncredit = 6\n"), 0);
    assert_int_equal(tally_config_number(f->config, "credit"), 6);
}

static void
the_broker_s_section_is_no_misspelling_of_the_command_s(void **state)
{
    struct fixture *f = *state;
    tally_config_destroy(&f->config);
    f->config = tally_config_new("tally", keys);
    assert_int_equal(load(f, "[tallyd]\ncredit = 4\n"), 0);
    assert_int_equal(load(f, "[tallyt]\ncredit = 4\n"), -1);
}

static void
keys_common_to_an_instance_are_no_mistake(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f, "sink = ipc://s\nfeed = ipc://f\nlanes = ipc://l-%\n"), 0);
}

static void
comments_blanks_and_quotes_are_understood(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(load(f,
                          "# all\n\n  \t\r\n  db =  host=/run dbname=a#b  # why\r\n"
                          "front=\"a # \\\"b\\\" \\\\ \"  # c\n [ statistics ] # ours\ncredit=1"),
                     0);
    assert_string_equal(tally_config_get(f->config, "db"), "host=/run dbname=a#b");
    assert_string_equal(tally_config_get(f->config, "front"), "a # \"b\" \\ ");
    assert_int_equal(tally_config_number(f->config, "credit"), 1);
}

static void
every_mistake_is_reported_where_it_stands(void **state)
{
    struct fixture *f = *state;
    assert_refused(f,
                   "fornt = x\n"
                   "  credit = many\n"
                   "zzz = 1\n"
                   "just words\n"
                   "db =   # nothing\n"
                   "= 5\n"
                   "front = \"open\n"
                   "front = \"a\" b\n"
                   "[statistcs]\n"
                   "[statistics\n"
                   "[]\n"
                   "[statistics] x\n",
                   "%:1:1: unknown key \"fornt\"; did you mean \"front\"?\n"
                   "%:2:12: value of \"credit\" must be a number, not \"many\"\n"
                   "%:3:1: unknown key \"zzz\" (--help lists them)\n"
                   "%:4:6: expected \"key = value\"\n"
                   "%:5:8: \"db\" has no value; leave the line out for the default\n"
                   "%:6:1: expected \"key = value\"\n"
                   "%:7:9: the closing \" is missing\n"
                   "%:8:13: nothing but a comment may follow the closing \"\n"
                   "%:9:2: unknown section \"statistcs\"; did you mean \"statistics\"?\n"
                   "%:10:12: \"]\" is missing\n"
                   "%:11:2: a section needs a name: [statistics]\n"
                   "%:12:14: nothing may follow a section's name\n");
}

static void
a_repeated_key_names_the_first(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "db = a\n\ndb = b\n", "%:3:1: \"db\" is set already in line 1\n");
}

static void
escapes_without_meaning_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, "db = \"a\\n\"\n", "%:1:8: only \\\" and \\\\ have a meaning here\n");
}

static void
numbers_are_taken_at_their_limits_and_refused_beyond(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_config_set(f->config, "rows-max", "-5"), 0);
    assert_int_equal(tally_config_set(f->config, "rows-max", "5"), 0);
    assert_int_equal(tally_config_set(f->config, "rows-max", "6"), -1);
    assert_int_equal(tally_config_set(f->config, "rows-max", "-6"), -1);
    assert_int_equal(tally_config_set(f->config, "rows-max", "99999999999999999999"), -1);
    assert_int_equal(tally_config_set(f->config, "rows-max", "1x"), -1);
    assert_int_equal(tally_config_set(f->config, "rows-max", " 1"), -1);
    assert_int_equal(tally_config_set(f->config, "rows-max", ""), -1);
    assert_int_equal(tally_config_number(f->config, "rows-max"), 5);
}

static void
bytes_that_are_no_text_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char nul[] = "db = a\0b\n";
    write_bytes(f, nul, sizeof nul - 1);
    assert_int_equal(tally_config_load(f->config, f->path), -1);
    assert_non_null(strstr(tally_config_errors(f->config), ":1:7: a NUL byte"));
    assert_int_equal(load(f, "db = a\x1b[0m\n"), -1);
    assert_non_null(strstr(tally_config_errors(f->config), "has a control character"));
}

static void
a_file_that_cannot_be_read_says_why(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_config_load(f->config, "/nonexistent/tally.conf"), -1);
    assert_string_equal(tally_config_errors(f->config),
                        "/nonexistent/tally.conf: cannot be read: No such file or directory\n");
    assert_int_equal(tally_config_load(f->config, "/"), -1);
}

static void
an_endless_file_is_refused(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(tally_config_load(f->config, "/dev/zero"), -1);
}

//  Runs tally_config_start with standard output and error thrown away.
static int
start(struct fixture *f, int argc, char **argv)
{
    fflush(stdout);
    int kept[2] = {dup(STDOUT_FILENO), dup(STDERR_FILENO)};
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
    int code = tally_config_start(f->config, argc, argv, "counts");
    fflush(stdout);
    dup2(kept[0], STDOUT_FILENO);
    dup2(kept[1], STDERR_FILENO);
    close(null);
    close(kept[0]);
    close(kept[1]);
    return code;
}

static void
start_reads_flags_environment_and_file(void **state)
{
    struct fixture *f = *state;
    write_bytes(f, "db = file\n", 10);
    char *argv[] =
        {"tally-statistics", "--front=ipc://flag", "--config", f->path, "--credit", "2", NULL};
    assert_int_equal(start(f, 6, argv), -1);
    assert_string_equal(tally_config_get(f->config, "db"), "file");
    assert_string_equal(tally_config_get(f->config, "front"), "ipc://flag");
    assert_int_equal(tally_config_number(f->config, "credit"), 2);
}

static void
start_ends_with_a_code_for_each_reason(void **state)
{
    struct fixture *f = *state;
    char *help[] = {"tally-statistics", "--nonsense", "--help", NULL};
    assert_int_equal(start(f, 3, help), 0);
    char *unknown[] = {"tally-statistics", "--frnt", "x", NULL};
    assert_int_equal(start(f, 3, unknown), 64);
    assert_non_null(strstr(tally_config_errors(f->config),
                           "--frnt: unknown key \"frnt\"; did you mean \"front\"?"));
    char *cut[] = {"tally-statistics", "--front", NULL};
    assert_int_equal(start(f, 2, cut), 64);
    char *word[] = {"tally-statistics", "front", NULL};
    assert_int_equal(start(f, 2, word), 64);
}

static void
start_refuses_a_bad_file_with_its_own_code(void **state)
{
    struct fixture *f = *state;
    write_bytes(f, "credit = 0\n", 11);
    setenv("TALLY_CONFIG", f->path, 1);
    char *argv[] = {"tally-statistics", NULL};
    assert_int_equal(start(f, 1, argv), 78);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(without_anything_defaults_hold),
        TEST(flag_wins_over_environment_over_file_over_default_in_any_order),
        TEST(an_empty_variable_is_no_value),
        TEST(own_section_wins_and_sections_of_others_are_skipped),
        TEST(the_broker_s_section_is_no_misspelling_of_the_command_s),
        TEST(keys_common_to_an_instance_are_no_mistake),
        TEST(comments_blanks_and_quotes_are_understood),
        TEST(every_mistake_is_reported_where_it_stands),
        TEST(a_repeated_key_names_the_first),
        TEST(escapes_without_meaning_are_refused),
        TEST(numbers_are_taken_at_their_limits_and_refused_beyond),
        TEST(bytes_that_are_no_text_are_refused),
        TEST(a_file_that_cannot_be_read_says_why),
        TEST(an_endless_file_is_refused),
        TEST(start_reads_flags_environment_and_file),
        TEST(start_ends_with_a_code_for_each_reason),
        TEST(start_refuses_a_bad_file_with_its_own_code),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
