// SPDX-License-Identifier: MIT
//  What clients ask of exports: each form, and a sentence for each way to get it wrong.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "workers/export_request.h"

static tally_export_request_t request;

static int
tear_down(void **state)
{
    (void)state;
    tally_export_request_free(&request);
    return 0;
}

static void
reads(const char *body)
{
    tally_problem_t problem;
    tally_export_request_free(&request);
    assert_int_equal(tally_export_request_read(&request, tally_bytes_of(body), &problem), 0);
}

static void
refuses(const char *body, const char *because)
{
    tally_problem_t problem = {""};
    assert_int_equal(tally_export_request_read(&request, tally_bytes_of(body), &problem), -1);
    assert_non_null(strstr(problem.text, because));
    assert_null(request.survey);
    assert_null(request.out);
}

static void
export_is_read_with_and_without_directory(void **state)
{
    (void)state;
    reads("{\"do\":\"export\",\"survey\":\"lunch\",\"format\":\"csv\"}");
    assert_int_equal(request.verb, TALLY_ASKS_EXPORT);
    assert_int_equal(request.format, TALLY_FORMAT_CSV);
    assert_string_equal(request.survey, "lunch");
    assert_null(request.out);
    reads("{\"do\":\"export\",\"survey\":\"lunch\",\"format\":\"ndjson\",\"out\":\"x\"}");
    assert_int_equal(request.format, TALLY_FORMAT_NDJSON);
    assert_string_equal(request.out, "x");
    reads("{\"do\":\"export\",\"survey\":\"lunch\",\"format\":\"table\",\"out\":null}");
    assert_int_equal(request.format, TALLY_FORMAT_TABLE);
}

static void
id_is_a_number_or_its_digits(void **state)
{
    (void)state;
    reads("{\"do\":\"cancel\",\"export\":1099511627777}");
    assert_int_equal(request.verb, TALLY_ASKS_CANCEL);
    assert_int_equal(request.id, 1099511627777);
    reads("{\"do\":\"cancel\",\"export\":\"1099511627777\"}");
    assert_int_equal(request.id, 1099511627777);
    reads("{\"do\":\"ls\"}");
    assert_int_equal(request.verb, TALLY_ASKS_LIST);
}

static void
everything_else_is_refused_with_a_reason(void **state)
{
    (void)state;
    refuses("", "not JSON");
    refuses("[]", "\"do\"");
    refuses("{}", "\"do\"");
    refuses("{\"do\":\"explode\"}", "\"do\"");
    refuses("{\"do\":\"export\",\"format\":\"csv\"}", "\"survey\"");
    refuses("{\"do\":\"export\",\"survey\":\"\",\"format\":\"csv\"}", "\"survey\"");
    refuses("{\"do\":\"export\",\"survey\":\"s\"}", "\"format\"");
    refuses("{\"do\":\"export\",\"survey\":\"s\",\"format\":\"xlsx\"}", "\"format\"");
    refuses("{\"do\":\"export\",\"survey\":\"s\",\"format\":\"csv\",\"out\":7}", "\"out\"");
    refuses("{\"do\":\"export\",\"survey\":\"s\",\"format\":\"table\",\"out\":\"x\"}", "files");
    refuses("{\"do\":\"export\",\"survey\":\"s\",\"format\":\"csv\",\"dir\":\"x\"}", "\"dir\"");
    refuses("{\"do\":\"cancel\"}", "id");
    refuses("{\"do\":\"cancel\",\"export\":-1}", "id");
    refuses("{\"do\":\"cancel\",\"export\":\"12x\"}", "id");
    refuses("{\"do\":\"cancel\",\"export\":\"1234567890123456789\"}", "id");
    refuses("{\"do\":\"ls\",\"export\":1}", "\"export\"");
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(export_is_read_with_and_without_directory),
        TEST(id_is_a_number_or_its_digits),
        TEST(everything_else_is_refused_with_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
