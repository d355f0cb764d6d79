// SPDX-License-Identifier: MIT
//  table: what was put is found, what was taken is not, whatever collides.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/table.h"

#define KEYS 3000

typedef struct {
    uint64_t group;
    char text[32];
} name_t;

struct fixture {
    tally_table_t table;
    tally_names_t names;
    name_t values[KEYS];
    uint32_t random;
};

static bool
is_name(const void *value, uint64_t group, tally_bytes_t bytes)
{
    const name_t *name = value;
    return name->group == group && tally_bytes_equal(tally_bytes_of(name->text), bytes);
}

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    tally_names_init(&f->names, 42, is_name);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_table_free(&f->table);
    tally_names_free(&f->names);
    free(f);
    return 0;
}

static uint32_t
draw(struct fixture *f, uint32_t below)
{
    f->random = f->random * 1664525u + 1013904223u;
    return (f->random >> 8) % below;
}

static void
nothing_is_found_in_an_empty_table(void **state)
{
    struct fixture *f = *state;
    assert_null(tally_table_find(&f->table, 0));
    assert_null(tally_table_take(&f->table, 7));
    size_t at = 0;
    assert_null(tally_table_each(&f->table, &at));
    tally_table_clear(&f->table);
    assert_null(tally_names_find(&f->names, 0, tally_bytes_of("")));
}

static void
the_zero_key_and_the_largest_are_keys_like_any_other(void **state)
{
    struct fixture *f = *state;
    tally_table_put(&f->table, 0, "zero");
    tally_table_put(&f->table, UINT64_MAX, "max");
    assert_string_equal(tally_table_find(&f->table, 0), "zero");
    assert_string_equal(tally_table_take(&f->table, UINT64_MAX), "max");
    assert_null(tally_table_find(&f->table, UINT64_MAX));
    assert_string_equal(tally_table_find(&f->table, 0), "zero");
}

//  Multiples of a large power of two are the worst that our ids could be.
static void
keys_with_a_stride_are_found_and_removed_in_any_order(void **state)
{
    struct fixture *f = *state;
    static const unsigned shifts[] = {0, 1, 8, 20, 32, 40, 52};
    for (size_t s = 0; s < sizeof shifts / sizeof shifts[0]; s++) {
        for (uint64_t i = 0; i < KEYS; i++) {
            tally_table_put(&f->table, i << shifts[s], &f->values[i]);
        }
        for (uint64_t i = 0; i < KEYS; i += 2) {
            assert_ptr_equal(tally_table_take(&f->table, i << shifts[s]), &f->values[i]);
        }
        for (uint64_t i = 0; i < KEYS; i++) {
            void *expected = i % 2 == 0 ? NULL : &f->values[i];
            assert_ptr_equal(tally_table_find(&f->table, i << shifts[s]), expected);
        }
        tally_table_clear(&f->table);
    }
}

static void
a_table_agrees_with_a_plain_array_whatever_is_done(void **state)
{
    struct fixture *f = *state;
    bool in[KEYS] = {false};
    size_t count = 0;
    for (int step = 0; step < 100000; step++) {
        uint32_t key = draw(f, KEYS);
        if (draw(f, 2) == 0) {
            void *taken = tally_table_take(&f->table, key);
            assert_ptr_equal(taken, in[key] ? &f->values[key] : NULL);
            count -= in[key];
            in[key] = false;
        } else if (!in[key]) {
            tally_table_put(&f->table, key, &f->values[key]);
            in[key] = true;
            count++;
        }
        assert_int_equal(f->table.count, count);
    }
    size_t seen = 0;
    size_t at = 0;
    for (name_t *value; (value = tally_table_each(&f->table, &at)) != NULL;) {
        assert_true(in[value - f->values]);
        seen++;
    }
    assert_int_equal(seen, count);
}

static void
equal_names_of_different_groups_are_kept_apart(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < KEYS; i++) {
        f->values[i].group = i % 3;
        snprintf(f->values[i].text, sizeof f->values[i].text, "name-%u", i / 3);
        tally_names_put(&f->names, i % 3, tally_bytes_of(f->values[i].text), &f->values[i]);
    }
    for (unsigned i = 0; i < KEYS; i += 3) {
        tally_bytes_t bytes = tally_bytes_of(f->values[i].text);
        assert_ptr_equal(tally_names_take(&f->names, 1, bytes), &f->values[i + 1]);
        assert_null(tally_names_find(&f->names, 1, bytes));
        assert_null(tally_names_take(&f->names, 1, bytes));
        assert_ptr_equal(tally_names_find(&f->names, 0, bytes), &f->values[i]);
        assert_ptr_equal(tally_names_find(&f->names, 2, bytes), &f->values[i + 2]);
    }
}

static void
the_empty_name_is_a_name(void **state)
{
    struct fixture *f = *state;
    tally_names_put(&f->names, 0, (tally_bytes_t){NULL, 0}, &f->values[0]);
    assert_ptr_equal(tally_names_find(&f->names, 0, tally_bytes_of("")), &f->values[0]);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_found_in_an_empty_table),
        TEST(the_zero_key_and_the_largest_are_keys_like_any_other),
        TEST(keys_with_a_stride_are_found_and_removed_in_any_order),
        TEST(a_table_agrees_with_a_plain_array_whatever_is_done),
        TEST(equal_names_of_different_groups_are_kept_apart),
        TEST(the_empty_name_is_a_name),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
