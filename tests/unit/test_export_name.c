// SPDX-License-Identifier: MIT
//  Names of files, tables and columns: bounded, and never the same for two different inputs.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/limits.h"
#include "workers/export_name.h"

struct fixture {
    char a[TALLY_NAME_BYTES_MAX + 1], b[TALLY_NAME_BYTES_MAX + 1];
    char one[TALLY_IDENTIFIER_BYTES_MAX + 1], two[TALLY_IDENTIFIER_BYTES_MAX + 1];
    char *file;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    memset(f->a, 'a', TALLY_NAME_BYTES_MAX);
    memset(f->b, 'a', TALLY_NAME_BYTES_MAX);
    *state = f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    free(f->file);
    free(f);
    return 0;
}

static void
file_is_named_after_tenant_survey_and_export(void **state)
{
    struct fixture *f = *state;
    f->file = tally_export_file_name("acme", "steak-risk", 1099511627777, "csv");
    assert_string_equal(f->file, "acme.steak-risk.1099511627777.csv");
}

static void
file_of_a_survey_that_is_no_name_stays_in_its_directory(void **state)
{
    struct fixture *f = *state;
    f->file = tally_export_file_name("acme", "../../etc/passwd", 7, "csv");
    assert_null(strchr(f->file, '/'));
    assert_memory_equal(f->file, "acme.~", 6);
    assert_int_equal(strlen(f->file), strlen("acme.~.7.csv") + 16);
}

static void
longest_file_name_leaves_room_for_the_part(void **state)
{
    struct fixture *f = *state;
    f->file = tally_export_file_name(f->a, f->b, INT64_MAX, "ndjson");
    assert_true(strlen(f->file) + strlen(".9223372036854775807.part") <= 255);
}

static void
table_is_named_after_tenant_and_survey(void **state)
{
    struct fixture *f = *state;
    tally_export_table_name(f->one, "acme", "steak-risk");
    assert_string_equal(f->one, "acme/steak-risk");
    tally_export_table_name(f->one, "a.b", "c");
    tally_export_table_name(f->two, "a", "b.c");
    assert_string_not_equal(f->one, f->two);
}

static void
table_name_of_63_bytes_is_plain_and_of_64_is_hashed(void **state)
{
    struct fixture *f = *state;
    f->a[62 - 4] = '\0';
    tally_export_table_name(f->one, "acme", f->a);
    assert_int_equal(strlen(f->one), 63);
    assert_null(strchr(f->one, '~'));
    f->b[63 - 4] = '\0';
    tally_export_table_name(f->two, "acme", f->b);
    assert_int_equal(strlen(f->two), 63);
    assert_non_null(strchr(f->two, '~'));
}

static void
long_tables_that_differ_at_the_end_have_different_names(void **state)
{
    struct fixture *f = *state;
    f->b[TALLY_NAME_BYTES_MAX - 1] = 'b';
    tally_export_table_name(f->one, f->a, f->a);
    tally_export_table_name(f->two, f->a, f->b);
    assert_int_equal(strlen(f->one), 63);
    assert_string_not_equal(f->one, f->two);
}

static void
column_is_the_question_unless_the_name_is_taken(void **state)
{
    struct fixture *f = *state;
    tally_export_column_name(f->one, "Wie war's?");
    assert_string_equal(f->one, "Wie war's?");
    static const char *const taken[] = {"response_id", "ctid", "xmin", "a~b"};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        tally_export_column_name(f->one, taken[i]);
        assert_string_not_equal(f->one, taken[i]);
        assert_int_equal(strlen(f->one), strlen(taken[i]) + 17);
    }
}

static void
long_column_is_cut_between_two_characters(void **state)
{
    struct fixture *f = *state;
    char question[200] = "a";
    for (int i = 0; i < 40; i++) {
        strncat(question, "\xc3\xbc", 3);    // u umlaut
    }
    tally_export_column_name(f->one, question);
    assert_int_equal(strlen(f->one), 62);    // 1 + 22 * 2 + ~ + 16: one byte would be half a letter
    assert_int_equal(f->one[45], '~');
    assert_int_equal((unsigned char)f->one[44], 0xbc);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(file_is_named_after_tenant_survey_and_export),
        TEST(file_of_a_survey_that_is_no_name_stays_in_its_directory),
        TEST(longest_file_name_leaves_room_for_the_part),
        TEST(table_is_named_after_tenant_and_survey),
        TEST(table_name_of_63_bytes_is_plain_and_of_64_is_hashed),
        TEST(long_tables_that_differ_at_the_end_have_different_names),
        TEST(column_is_the_question_unless_the_name_is_taken),
        TEST(long_column_is_cut_between_two_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
