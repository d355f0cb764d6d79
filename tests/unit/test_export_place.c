// SPDX-License-Identifier: MIT
//  Where an export's file may be written: what a client names leads nowhere that the operator did
//  not allow.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "workers/export_place.h"

struct fixture {
    char *root;    // holds base, outside and base/link -> outside
    char *base, *outside, *link;
    tally_place_rule_t rule;
    tally_place_t place;
    tally_problem_t problem;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    char *template = tally_format("%s/tally-place-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(template) == NULL) {
        return -1;
    }
    f->root = realpath(template, NULL);
    free(template);
    f->base = tally_format("%s/base", f->root);
    f->outside = tally_format("%s/outside", f->root);
    f->link = tally_format("%s/base/link", f->root);
    f->rule = (tally_place_rule_t){.base = f->base};
    *state = f;
    return mkdir(f->base, 0700) == 0 && mkdir(f->outside, 0700) == 0
                   && symlink(f->outside, f->link) == 0
               ? 0
               : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    static const char *const made[] = {"base/a/b", "base/a", "outside/c", "outside", "base-2"};
    tally_export_place_close(&f->place);
    unlink(f->link);
    for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
        char *path = tally_format("%s/%s", f->root, made[i]);
        rmdir(path);
        free(path);
    }
    rmdir(f->base);
    int rc = rmdir(f->root);
    free(f->root);
    free(f->base);
    free(f->outside);
    free(f->link);
    free(f);
    return rc;
}

static void
assert_opens(struct fixture *f, const char *wanted, const char *path)
{
    assert_int_equal(tally_export_place_open(&f->rule, wanted, &f->place, &f->problem),
                     TALLY_PLACE_OPEN);
    assert_string_equal(f->place.path, path);
    struct stat by_name, opened;
    assert_int_equal(stat(path, &by_name), 0);
    assert_int_equal(fstat(f->place.fd, &opened), 0);
    assert_int_equal(by_name.st_ino, opened.st_ino);
    tally_export_place_close(&f->place);
}

static void
assert_refuses(struct fixture *f, const char *wanted)
{
    f->problem.text[0] = '\0';
    assert_int_equal(tally_export_place_open(&f->rule, wanted, &f->place, &f->problem),
                     TALLY_PLACE_REFUSED);
    assert_string_not_equal(f->problem.text, "");
}

static void
nothing_wanted_is_the_workers_own_directory(void **state)
{
    struct fixture *f = *state;
    assert_opens(f, NULL, f->base);
    assert_opens(f, f->base, f->base);
    assert_opens(f, ".", f->base);
}

static void
directories_inside_are_made(void **state)
{
    struct fixture *f = *state;
    char *path = tally_format("%s/a/b", f->base);
    assert_opens(f, "a/b", path);
    assert_opens(f, path, path);
    assert_opens(f, ".//a/./b/", path);
    free(path);
}

static void
steps_upwards_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const wanted[] = {"..", "../outside", "a/../..", "a/..", "/..", ""};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_refuses(f, wanted[i]);
        f->rule.any = true;
        assert_refuses(f, wanted[i]);
        f->rule.any = false;
    }
}

static void
other_directories_are_refused_unless_any_is_allowed(void **state)
{
    struct fixture *f = *state;
    assert_refuses(f, f->outside);
    assert_refuses(f, "/");
    f->rule.any = true;
    assert_opens(f, f->outside, f->outside);
    char *inner = tally_format("%s/c", f->outside);
    assert_opens(f, inner, inner);
    free(inner);
}

static void
name_that_only_begins_like_ours_is_outside(void **state)
{
    struct fixture *f = *state;
    char *sibling = tally_format("%s-2", f->base);
    assert_refuses(f, sibling);
    assert_int_equal(access(sibling, F_OK), -1);
    free(sibling);
}

static void
symbolic_links_inside_are_refused(void **state)
{
    struct fixture *f = *state;
    assert_refuses(f, "link");
    assert_refuses(f, "link/c");
    assert_refuses(f, f->link);
    char *inner = tally_format("%s/c", f->outside);
    assert_int_equal(access(inner, F_OK), -1);
    free(inner);
}

static void
base_may_itself_be_reached_by_a_link(void **state)
{
    struct fixture *f = *state;
    f->rule.base = f->link;
    assert_opens(f, NULL, f->outside);
    assert_opens(f, f->link, f->outside);
}

static void
worker_without_directory_refuses_files(void **state)
{
    struct fixture *f = *state;
    f->rule.base = NULL;
    assert_refuses(f, NULL);
    assert_refuses(f, "a");
    assert_non_null(strstr(f->problem.text, "--out"));
}

static void
too_long_names_are_refused(void **state)
{
    struct fixture *f = *state;
    char step[NAME_MAX + 2];
    memset(step, 'a', sizeof step - 1);
    step[sizeof step - 1] = '\0';
    assert_refuses(f, step);
    char *path = tally_alloc(PATH_MAX + 1);
    memset(path, '/', PATH_MAX);
    assert_refuses(f, path);
    free(path);
}

static void
directory_that_cannot_be_made_is_a_failure(void **state)
{
    struct fixture *f = *state;
    f->rule.base = "/proc/self";
    assert_int_equal(tally_export_place_open(&f->rule, "a", &f->place, &f->problem),
                     TALLY_PLACE_FAILED);
    assert_non_null(strstr(f->problem.text, "could not open directory"));
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nothing_wanted_is_the_workers_own_directory),
        TEST(directories_inside_are_made),
        TEST(steps_upwards_are_refused),
        TEST(other_directories_are_refused_unless_any_is_allowed),
        TEST(name_that_only_begins_like_ours_is_outside),
        TEST(symbolic_links_inside_are_refused),
        TEST(base_may_itself_be_reached_by_a_link),
        TEST(worker_without_directory_refuses_files),
        TEST(too_long_names_are_refused),
        TEST(directory_that_cannot_be_made_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
