// SPDX-License-Identifier: MIT
//  An export's file while it grows: each lease its own part, the file whole or not there.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "workers/export_file.h"

#define NAME "acme.lunch.7.csv"

struct fixture {
    tally_place_t place;
    tally_export_file_t *file, *other;
    tally_problem_t problem;
};

static int
start(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    return sodium_init() == -1 ? -1 : 0;
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    f->place.path = tally_format("%s/tally-file-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(f->place.path) == NULL) {
        return -1;
    }
    f->place.fd = open(f->place.path, O_RDONLY | O_DIRECTORY);
    f->file = tally_export_file_new(&f->place, NAME, 100, &f->problem);
    *state = f;
    return f->file == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_export_file_destroy(&f->file);
    tally_export_file_destroy(&f->other);
    DIR *listing = opendir(f->place.path);
    const struct dirent *entry;
    while ((entry = readdir(listing)) != NULL) {
        unlinkat(f->place.fd, entry->d_name, 0);
    }
    closedir(listing);
    rmdir(f->place.path);
    tally_export_place_close(&f->place);
    free(f);
    return 0;
}

static void
put(struct fixture *f, tally_export_file_t *file, const char *text)
{
    assert_int_equal(tally_export_file_write(file, tally_bytes_of(text), &f->problem), 0);
    assert_int_equal(tally_export_file_sync(file, &f->problem), 0);
}

static void
assert_holds(struct fixture *f, const char *name, const char *wanted)
{
    char text[256] = "";
    int fd = openat(f->place.fd, name, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    assert_true(size >= 0);
    assert_string_equal(text, wanted);
}

static bool
is_there(struct fixture *f, const char *name)
{
    return faccessat(f->place.fd, name, F_OK, 0) == 0;
}

static void
assert_hash(const tally_export_file_t *file, const char *text)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    char wanted[TALLY_SHA256_HEX_SIZE], got[TALLY_SHA256_HEX_SIZE];
    crypto_hash_sha256(hash, (const unsigned char *)text, strlen(text));
    sodium_bin2hex(wanted, sizeof wanted, hash, sizeof hash);
    tally_export_file_sha256(file, got);
    assert_string_equal(got, wanted);
}

static void
file_is_not_there_until_it_is_published(void **state)
{
    struct fixture *f = *state;
    put(f, f->file, "one\n");
    assert_false(is_there(f, NAME));
    assert_holds(f, NAME ".100.part", "one\n");
    assert_int_equal(tally_export_file_publish(f->file, &f->problem), 0);
    assert_holds(f, NAME, "one\n");
    assert_false(is_there(f, NAME ".100.part"));
}

static void
hash_is_of_what_was_written_so_far(void **state)
{
    struct fixture *f = *state;
    assert_hash(f->file, "");
    put(f, f->file, "one");
    assert_hash(f->file, "one");
    put(f, f->file, "two");
    assert_hash(f->file, "onetwo");
    assert_int_equal(tally_export_file_bytes(f->file), 6);
}

static void
successor_takes_over_what_was_checkpointed_alone(void **state)
{
    struct fixture *f = *state;
    uint64_t left;
    put(f, f->file, "kept|lost");
    f->other = tally_export_file_new(&f->place, NAME, 200, &f->problem);
    assert_true(tally_export_file_inherit(f->other, 100, 5));
    assert_int_equal(tally_export_file_copy(f->other, 2, &left, &f->problem), 0);
    assert_int_equal(left, 3);
    assert_int_equal(tally_export_file_copy(f->other, 100, &left, &f->problem), 0);
    assert_int_equal(left, 0);
    put(f, f->other, "new");
    assert_hash(f->other, "kept|new");
    assert_int_equal(tally_export_file_publish(f->other, &f->problem), 0);
    assert_holds(f, NAME, "kept|new");
}

static void
part_that_is_shorter_than_its_checkpoint_is_not_taken_over(void **state)
{
    struct fixture *f = *state;
    put(f, f->file, "1234");
    f->other = tally_export_file_new(&f->place, NAME, 200, &f->problem);
    assert_false(tally_export_file_inherit(f->other, 100, 5));
    assert_false(tally_export_file_inherit(f->other, 101, 1));
    assert_true(tally_export_file_inherit(f->other, 100, 4));
}

static void
late_worker_cannot_reach_the_file_of_its_successor(void **state)
{
    struct fixture *f = *state;
    uint64_t left;
    put(f, f->file, "both|");
    f->other = tally_export_file_new(&f->place, NAME, 200, &f->problem);
    assert_true(tally_export_file_inherit(f->other, 100, 5));
    assert_int_equal(tally_export_file_copy(f->other, 100, &left, &f->problem), 0);
    assert_int_equal(tally_export_file_remove_others(f->other, &f->problem), 0);
    put(f, f->file, "late");
    assert_int_equal(tally_export_file_publish(f->file, &f->problem), -1);
    put(f, f->other, "right");
    assert_int_equal(tally_export_file_publish(f->other, &f->problem), 0);
    assert_int_equal(tally_export_file_publish(f->file, &f->problem), -1);
    assert_holds(f, NAME, "both|right");
}

static void
only_parts_of_the_same_file_are_removed(void **state)
{
    struct fixture *f = *state;
    static const char *const kept[] = {NAME, NAME ".part", NAME "x.5.part",
                                       "acme.lunch.71.csv.5.part", NAME ".5.parts"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        close(openat(f->place.fd, kept[i], O_CREAT | O_WRONLY, 0600));
    }
    close(openat(f->place.fd, NAME ".5.part", O_CREAT | O_WRONLY, 0600));
    assert_int_equal(tally_export_file_remove_others(f->file, &f->problem), 0);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        assert_true(is_there(f, kept[i]));
    }
    assert_false(is_there(f, NAME ".5.part"));
    assert_true(is_there(f, NAME ".100.part"));
}

static void
write_that_fails_half_way_can_be_taken_back(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit;
    put(f, f->file, "good|");
    tally_export_file_mark(f->file);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 8;
    setrlimit(RLIMIT_FSIZE, &limit);
    int rc = tally_export_file_write(f->file, tally_bytes_of("too much"), &f->problem);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(rc, -1);
    assert_non_null(strstr(f->problem.text, "could not write"));
    assert_holds(f, NAME ".100.part", "good|too");
    assert_int_equal(tally_export_file_rewind(f->file, &f->problem), 0);
    put(f, f->file, "end");
    assert_hash(f->file, "good|end");
    assert_holds(f, NAME ".100.part", "good|end");
}

static void
discard_removes_the_part_and_destroy_leaves_it(void **state)
{
    struct fixture *f = *state;
    f->other = tally_export_file_new(&f->place, NAME, 200, &f->problem);
    tally_export_file_destroy(&f->other);
    assert_true(is_there(f, NAME ".200.part"));
    tally_export_file_discard(&f->file);
    assert_false(is_there(f, NAME ".100.part"));
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(file_is_not_there_until_it_is_published),
        TEST(hash_is_of_what_was_written_so_far),
        TEST(successor_takes_over_what_was_checkpointed_alone),
        TEST(part_that_is_shorter_than_its_checkpoint_is_not_taken_over),
        TEST(late_worker_cannot_reach_the_file_of_its_successor),
        TEST(only_parts_of_the_same_file_are_removed),
        TEST(write_that_fails_half_way_can_be_taken_back),
        TEST(discard_removes_the_part_and_destroy_leaves_it),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
