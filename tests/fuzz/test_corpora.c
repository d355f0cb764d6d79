// SPDX-License-Identifier: MIT
//  test_corpora - every target over its stored corpus, as an ordinary test.
//
//  The tree is found by the environment variable TALLY_SOURCE_DIR, by default the current directory.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_BYTES_MAX (1024 * 1024)

struct fixture {
    DIR *folder;
    FILE *file;
    uint8_t *block;
};

static int
setup(void **state)
{
    *state = tally_alloc(sizeof(struct fixture));
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    if (f->file != NULL) {
        fclose(f->file);
    }
    if (f->folder != NULL) {
        closedir(f->folder);
    }
    free(f->block);
    free(f);
    return 0;
}

//  The input stands in a block of its own size, so that a look beyond it is a look outside.
static void
run_file(struct fixture *f, const char *path, void (*target)(tally_bytes_t input))
{
    f->file = fopen(path, "rb");
    assert_non_null(f->file);
    uint8_t *room = f->block = tally_alloc(INPUT_BYTES_MAX);
    size_t size = fread(room, 1, INPUT_BYTES_MAX, f->file);
    assert_in_range(size, 0, INPUT_BYTES_MAX - 1);
    fclose(f->file);
    f->file = NULL;
    f->block = tally_alloc(size);
    memcpy(f->block, room, size);
    free(room);
    target((tally_bytes_t){f->block, size});
    free(f->block);
    f->block = NULL;
}

static void
run_corpus(struct fixture *f, const char *name, void (*target)(tally_bytes_t input))
{
    const char *root = getenv("TALLY_SOURCE_DIR");
    char *folder = tally_format("%s/tests/fuzz/corpus/%s", root == NULL ? "." : root, name);
    f->folder = opendir(folder);
    size_t count = 0;
    for (struct dirent *entry; f->folder != NULL && (entry = readdir(f->folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            char *path = tally_format("%s/%s", folder, entry->d_name);
            run_file(f, path, target);
            free(path);
            count++;
        }
    }
    free(folder);
    target((tally_bytes_t){NULL, 0});
    assert_in_range(count, 1, 999);    // small enough to be run with every test
}

#define TARGET(name)                                                                               \
    static void name##_holds_over_its_corpus(void **state)                                         \
    {                                                                                              \
        run_corpus(*state, #name, fuzz_##name);                                                    \
    }
TARGET(config)
TARGET(core)
TARGET(greeting)
TARGET(json)
TARGET(key)
TARGET(partial)
TARGET(survey)
TARGET(wire)
TARGET(zap)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name##_holds_over_its_corpus, setup, teardown)
        TEST(config),  TEST(core),   TEST(greeting), TEST(json), TEST(key),
        TEST(partial), TEST(survey), TEST(wire),     TEST(zap),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
