// SPDX-License-Identifier: MIT
//  file: whole files and lines, at their bounds and one beyond.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "clients/cmd/file.h"

#define LINE_MAX_BYTES 8

struct fixture {
    char path[32];
    tally_lines_t *lines;
};

static int
setup(void **state)
{
    static struct fixture f;
    snprintf(f.path, sizeof f.path, "/tmp/tally-file-XXXXXX");
    int fd = mkstemp(f.path);
    if (fd == -1) {
        return -1;
    }
    close(fd);
    f.lines = NULL;
    *state = &f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_lines_destroy(&f->lines);
    unlink(f->path);
    return 0;
}

static void
write_file(struct fixture *f, const char *text, size_t bytes)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void
open_lines(struct fixture *f, const char *text)
{
    write_file(f, text, strlen(text));
    f->lines = tally_lines_new(f->path, LINE_MAX_BYTES);
    assert_non_null(f->lines);
}

static void
expect_line(struct fixture *f, const char *text)
{
    tally_bytes_t line;
    assert_int_equal(tally_lines_next(f->lines, &line), TALLY_LINE_WHOLE);
    assert_true(tally_bytes_equal(line, tally_bytes_of(text)));
}

static void
expect_kind(struct fixture *f, tally_line_kind_t kind)
{
    tally_bytes_t line;
    assert_int_equal(tally_lines_next(f->lines, &line), kind);
}

static void
lines_end_with_lf_crlf_or_the_file(void **state)
{
    struct fixture *f = *state;
    open_lines(f, "one\n\r\ntwo\r\n\nthree");
    expect_line(f, "one");
    expect_line(f, "");
    expect_line(f, "two");
    expect_line(f, "");
    expect_line(f, "three");
    assert_int_equal(tally_lines_number(f->lines), 5);
    expect_kind(f, TALLY_LINE_END);
    expect_kind(f, TALLY_LINE_END);
}

static void
a_line_too_long_is_passed_over_and_counted(void **state)
{
    struct fixture *f = *state;
    open_lines(f, "12345678\n123456789\nshort\n");
    expect_line(f, "12345678");
    expect_kind(f, TALLY_LINE_TOO_LONG);
    assert_int_equal(tally_lines_number(f->lines), 2);
    expect_line(f, "short");
    expect_kind(f, TALLY_LINE_END);
}

static void
a_line_larger_than_the_buffer_is_one_line(void **state)
{
    struct fixture *f = *state;
    size_t bytes = 3 * 1024 * 1024;
    char *text = malloc(bytes + 4);
    memset(text, 'x', bytes);
    memcpy(text + bytes, "\nend", 4);
    write_file(f, text, bytes + 4);
    free(text);
    f->lines = tally_lines_new(f->path, LINE_MAX_BYTES);
    expect_kind(f, TALLY_LINE_TOO_LONG);
    expect_line(f, "end");
    expect_kind(f, TALLY_LINE_END);
    assert_int_equal(tally_lines_bytes_read(f->lines), bytes + 4);
    assert_int_equal(tally_lines_bytes_total(f->lines), bytes + 4);
}

static void
a_whole_file_is_read_up_to_its_bound(void **state)
{
    struct fixture *f = *state;
    size_t bytes;
    write_file(f, "12345678", 8);
    char *text = tally_file_read(f->path, 8, &bytes);
    assert_non_null(text);
    bool same = bytes == 8 && strcmp(text, "12345678") == 0;
    free(text);
    assert_true(same);
    assert_null(tally_file_read(f->path, 7, &bytes));
    assert_string_equal(tally_file_why(), "larger than 7 bytes");
}

static void
what_is_not_there_is_said(void **state)
{
    (void)state;
    size_t bytes;
    assert_null(tally_file_read("/nonexistent/file", 100, &bytes));
    assert_string_equal(tally_file_why(), "No such file or directory");
    assert_null(tally_lines_new("/nonexistent/file", 100));
    assert_null(tally_file_read("/", 100, &bytes));
    assert_string_equal(tally_file_why(), "Is a directory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(lines_end_with_lf_crlf_or_the_file),
        TEST(a_line_too_long_is_passed_over_and_counted),
        TEST(a_line_larger_than_the_buffer_is_one_line),
        TEST(a_whole_file_is_read_up_to_its_bound),
        TEST(what_is_not_there_is_said),
    };
    return cmocka_run_group_tests_name("file", tests, NULL, NULL);
}
