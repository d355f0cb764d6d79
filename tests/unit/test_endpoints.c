// SPDX-License-Identifier: MIT
//  Lists of endpoints.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/endpoints.h"

static void
expect(const char *list, size_t index, const char *wanted)
{
    char *found = tally_endpoints_at(list, index);
    if (wanted == NULL) {
        assert_null(found);
    } else {
        assert_non_null(found);
        assert_string_equal(found, wanted);
    }
    free(found);
}

static void
parts_are_found_by_their_place(void **state)
{
    (void)state;
    expect("ipc://a", 0, "ipc://a");
    expect("ipc://a", 1, NULL);
    expect("ipc://a,ipc://b", 1, "ipc://b");
    expect(" ipc://a ,\tipc://b\t, ipc://c ", 2, "ipc://c");
    expect(" ipc://a ,\tipc://b\t, ipc://c ", 1, "ipc://b");
    expect("ipc://a,ipc://b", 2, NULL);
}

static void
empty_parts_do_not_count(void **state)
{
    (void)state;
    assert_int_equal(tally_endpoints_count(""), 0);
    assert_int_equal(tally_endpoints_count(" , ,"), 0);
    assert_int_equal(tally_endpoints_count("a"), 1);
    assert_int_equal(tally_endpoints_count(",a,, b ,"), 2);
    expect(",a,, b ,", 0, "a");
    expect(",a,, b ,", 1, "b");
    expect("", 0, NULL);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_are_found_by_their_place),
        cmocka_unit_test(empty_parts_do_not_count),
    };
    return cmocka_run_group_tests_name("endpoints", tests, NULL, NULL);
}
