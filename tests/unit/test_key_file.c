// SPDX-License-Identifier: MIT
//  key_file: what a key file may be, and who may read it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/key_file.h"

struct fixture {
    char dir[32];
    char path[64];
    char *error;
    tally_key_pair_t pair;
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    snprintf(f->dir, sizeof f->dir, "/tmp/tally-key-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/key", f->dir);
    return tally_key_pair_make(&f->pair);
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    rmdir(f->dir);
    free(f->error);
    free(f);
    return 0;
}

static void
write_text(struct fixture *f, const char *text, mode_t mode)
{
    unlink(f->path);
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fchmod(fileno(file), mode), 0);
    fclose(file);
}

static int
read_key(struct fixture *f, tally_key_kind_t kind, tally_key_pair_t *pair)
{
    free(f->error);
    int rc = tally_key_file_read(f->path, kind, pair, &f->error);
    assert_true((rc == 0) == (f->error == NULL));
    return rc;
}

static void
what_was_written_is_read_again(void **state)
{
    struct fixture *f = *state;
    tally_key_pair_t read;
    assert_int_equal(tally_key_file_write(f->path, TALLY_KEY_SECRET, &f->pair, "acme-1", &f->error),
                     0);
    assert_int_equal(read_key(f, TALLY_KEY_SECRET, &read), 0);
    assert_memory_equal(&read, &f->pair, sizeof read);
    assert_int_equal(read_key(f, TALLY_KEY_PUBLIC, &read), 0);
    assert_string_equal(read.public_key, f->pair.public_key);
    assert_string_equal(read.secret_key, "");
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0400);
}

static void
a_file_that_is_there_is_never_written_over(void **state)
{
    struct fixture *f = *state;
    write_text(f, "mine\n", 0600);
    assert_int_equal(tally_key_file_write(f->path, TALLY_KEY_SECRET, &f->pair, "x", &f->error), -1);
    assert_non_null(strstr(f->error, "exists"));
    struct stat info;
    assert_int_equal(stat(f->path, &info), 0);
    assert_int_equal(info.st_size, 5);
}

static void
a_secret_that_others_may_read_is_refused(void **state)
{
    struct fixture *f = *state;
    tally_key_pair_t read;
    assert_int_equal(tally_key_file_write(f->path, TALLY_KEY_SECRET, &f->pair, "x", &f->error), 0);
    static const mode_t open_modes[] = {0440, 0404, 0420, 0402, 0410, 0401};
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        assert_int_equal(chmod(f->path, open_modes[i]), 0);
        assert_int_equal(read_key(f, TALLY_KEY_SECRET, &read), -1);
        assert_string_equal(read.secret_key, "");
        assert_int_equal(read_key(f, TALLY_KEY_PUBLIC, &read), 0);    // that much is for everybody
    }
    assert_int_equal(chmod(f->path, 0600), 0);
    assert_int_equal(read_key(f, TALLY_KEY_SECRET, &read), 0);
}

static void
a_file_of_czmq_is_understood(void **state)
{
    struct fixture *f = *state;
    tally_key_pair_t read;
    char *text = tally_format("#   ****  Generated on 2026-01-01 by CZMQ  ****\n"
                              "#   ZeroMQ CURVE **Secret** Certificate\n\n"
                              "metadata\n    public-key = \"not this one\"\n    email = \"a@b\"\n"
                              "curve\n    public-key = \"%s\"\n    secret-key = \"%s\"\n",
                              f->pair.public_key, f->pair.secret_key);
    write_text(f, text, 0600);
    free(text);
    assert_int_equal(read_key(f, TALLY_KEY_SECRET, &read), 0);
    assert_memory_equal(&read, &f->pair, sizeof read);
}

static void
what_is_no_key_file_is_refused(void **state)
{
    struct fixture *f = *state;
    tally_key_pair_t read, other;
    assert_int_equal(tally_key_pair_make(&other), 0);
    char *foreign = tally_format("curve\n public-key = \"%s\"\n secret-key = \"%s\"\n",
                                 other.public_key, f->pair.secret_key);
    char *alone = tally_format("curve\n public-key = \"%s\"\n", f->pair.public_key);
    char *outside = tally_format("metadata\n public-key = \"%s\"\n secret-key = \"%s\"\n",
                                 f->pair.public_key, f->pair.secret_key);
    char *cut = tally_format("curve\n public-key = \"%.39s\"\n secret-key = \"%s\"\n",
                             f->pair.public_key, f->pair.secret_key);
    const char *texts[] = {foreign, alone, outside, cut, "", "curve", "curve\n public-key = \"\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_text(f, texts[i], 0600);
        assert_int_equal(read_key(f, TALLY_KEY_SECRET, &read), -1);
        assert_null(strstr(f->error, f->pair.secret_key));
    }
    unlink(f->path);
    assert_int_equal(read_key(f, TALLY_KEY_SECRET, &read), -1);
    assert_int_equal(mkdir(f->path, 0700), 0);
    assert_int_equal(read_key(f, TALLY_KEY_SECRET, &read), -1);
    rmdir(f->path);
    free(foreign);
    free(alone);
    free(outside);
    free(cut);
}

static void
a_key_has_40_characters_of_z85(void **state)
{
    struct fixture *f = *state;
    assert_true(tally_key_valid(tally_bytes_of(f->pair.public_key)));
    assert_false(tally_key_valid((tally_bytes_t){f->pair.public_key, 39}));
    assert_false(tally_key_valid(tally_bytes_of("")));
    char text[TALLY_KEY_TEXT_BYTES + 1];
    memcpy(text, f->pair.public_key, sizeof text);
    text[7] = ',';
    assert_false(tally_key_valid(tally_bytes_of(text)));
    text[7] = '\0';
    assert_false(tally_key_valid((tally_bytes_t){text, 40}));
    text[7] = (char)0xff;
    assert_false(tally_key_valid(tally_bytes_of(text)));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_there_is_never_written_over, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_secret_that_others_may_read_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_of_czmq_is_understood, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_key_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_has_40_characters_of_z85, set_up, tear_down),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
