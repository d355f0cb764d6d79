// SPDX-License-Identifier: MIT
//  heap: the earliest comes first, equal times in order, and elements move and leave from anywhere.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/heap.h"
#include "broker/list.h"

typedef struct {
    tally_heap_node_t node;
    int64_t due;
    unsigned number;
} element_t;

#define ELEMENTS 500

struct fixture {
    tally_heap_t heap;
    element_t elements[ELEMENTS];
    uint32_t random;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    for (unsigned i = 0; i < ELEMENTS; i++) {
        f->elements[i].number = i;
    }
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_heap_free(&f->heap);
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
put(struct fixture *f, unsigned number, int64_t due)
{
    f->elements[number].due = due;
    tally_heap_put(&f->heap, &f->elements[number].node, due, number);
}

static unsigned
take_first(struct fixture *f)
{
    tally_heap_node_t *node = tally_heap_first(&f->heap);
    assert_non_null(node);
    element_t *element = TALLY_OF(node, element_t, node);
    assert_int_equal(tally_heap_due(&f->heap), element->due);
    tally_heap_remove(&f->heap, node);
    return element->number;
}

static void
an_empty_heap_has_nothing_due_ever(void **state)
{
    struct fixture *f = *state;
    assert_null(tally_heap_first(&f->heap));
    assert_true(tally_heap_due(&f->heap) == INT64_MAX);
    assert_null(tally_heap_take_due(&f->heap, INT64_MAX));
}

static void
equal_times_come_out_by_order(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 100; i++) {
        put(f, (i * 37) % 100, 5);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(take_first(f), i);
    }
}

static void
what_is_due_now_is_taken_and_what_is_due_later_is_not(void **state)
{
    struct fixture *f = *state;
    put(f, 0, 10);
    assert_null(tally_heap_take_due(&f->heap, 9));
    assert_true(tally_heap_holds(&f->elements[0].node));
    assert_ptr_equal(tally_heap_take_due(&f->heap, 10), &f->elements[0].node);
    assert_false(tally_heap_holds(&f->elements[0].node));
}

static void
an_element_that_is_in_moves_instead_of_coming_twice(void **state)
{
    struct fixture *f = *state;
    put(f, 0, 10);
    put(f, 1, 20);
    put(f, 0, 30);
    assert_int_equal(f->heap.count, 2);
    assert_int_equal(take_first(f), 1);
    put(f, 1, 40);
    put(f, 1, 20);
    assert_int_equal(take_first(f), 1);
    assert_int_equal(take_first(f), 0);
}

static void
removing_what_is_not_in_does_nothing(void **state)
{
    struct fixture *f = *state;
    put(f, 0, 1);
    tally_heap_remove(&f->heap, &f->elements[1].node);
    assert_int_equal(f->heap.count, 1);
}

//  The earliest of those that are in, found the slow way.
static unsigned
find_first(const struct fixture *f)
{
    const element_t *first = NULL;
    for (unsigned i = 0; i < ELEMENTS; i++) {
        const element_t *element = &f->elements[i];
        if (tally_heap_holds(&element->node) && (first == NULL || element->due < first->due)) {
            first = element;
        }
    }
    assert_non_null(first);
    return first->number;
}

static void
whatever_is_done_the_earliest_is_first(void **state)
{
    struct fixture *f = *state;
    for (int step = 0; step < 20000; step++) {
        unsigned number = draw(f, ELEMENTS);
        switch (draw(f, 4)) {
        case 0:
            tally_heap_remove(&f->heap, &f->elements[number].node);
            break;
        case 1:
            if (f->heap.count > 0) {
                unsigned expected = find_first(f);
                assert_int_equal(take_first(f), expected);
            }
            break;
        default:
            put(f, number, draw(f, 1000));
            break;
        }
        if (step % 100 == 0) {
            tally_heap_check(&f->heap);
        }
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_heap_has_nothing_due_ever, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_times_come_out_by_order, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_due_now_is_taken_and_what_is_due_later_is_not,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(an_element_that_is_in_moves_instead_of_coming_twice, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(removing_what_is_not_in_does_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(whatever_is_done_the_earliest_is_first, setup, teardown),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
