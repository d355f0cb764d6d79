// SPDX-License-Identifier: MIT
//  plan and chunk: a plan keeps what it points into, and knows whether anything is in it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/plan.h"

static int
setup(void **state)
{
    *state = tally_plan_new();
    return 0;
}

static int
teardown(void **state)
{
    tally_plan_t *plan = *state;
    tally_plan_destroy(&plan);
    return 0;
}

static void
a_chunk_lives_until_its_last_reference_is_dropped(void **state)
{
    (void)state;
    tally_chunk_t *chunk = tally_chunk_new(tally_bytes_of("body"));
    tally_chunk_t *other = tally_chunk_hold(chunk);
    assert_ptr_equal(other, chunk);
    tally_chunk_drop(&chunk);
    assert_null(chunk);
    assert_memory_equal(other->data, "body", 4);
    tally_chunk_drop(&other);
    assert_null(other);
    tally_chunk_drop(&other);
    tally_chunk_t *empty = tally_chunk_new((tally_bytes_t){NULL, 0});
    assert_int_equal(empty->size, 0);
    tally_chunk_drop(&empty);
}

static void
arrays_grow_with_zeroed_elements_and_keep_the_old_ones(void **state)
{
    tally_plan_t *plan = *state;
    for (uint64_t i = 0; i < 1000; i++) {
        tally_plan_lease_t *lease = TALLY_PUSH(&plan->leases);
        assert_int_equal(lease->id, 0);
        assert_int_equal(lease->epoch, 0);
        lease->id = i;
        lease->epoch = i;
    }
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(plan->leases.items[i].id, i);
    }
    tally_plan_clear(plan);
    assert_int_equal(TALLY_PUSH(&plan->leases)->epoch, 0);
}

#define PUSH(array) (void)TALLY_PUSH(&plan->array)

static void
what_the_store_must_write_is_neither_silent_nor_empty(void **state)
{
    tally_plan_t *plan = *state;
#define CHECK(statement)                                                                           \
    statement;                                                                                     \
    assert_false(tally_plan_silent(plan));                                                         \
    assert_false(tally_plan_empty(plan));                                                          \
    tally_plan_clear(plan);                                                                        \
    assert_true(tally_plan_silent(plan));                                                          \
    assert_true(tally_plan_empty(plan));
    CHECK(PUSH(tenants))
    CHECK(PUSH(messages))
    CHECK(PUSH(senders))
    CHECK(plan->inbox_max = 1)
    CHECK(PUSH(settled))
    CHECK(PUSH(ends))
    CHECK(PUSH(checks))
    CHECK(PUSH(terms))
    CHECK(PUSH(results))
    CHECK(PUSH(leases))
    CHECK(PUSH(ids))
    CHECK(PUSH(extended))
    CHECK(PUSH(fetches))
    CHECK(PUSH(queues))
    CHECK(PUSH(tenant_limits))
    CHECK(PUSH(retried))
    CHECK(PUSH(dropped))
    CHECK(plan->housekeep = true)
}

static void
what_is_only_told_is_silent_but_not_empty(void **state)
{
    tally_plan_t *plan = *state;
#define CHECK_TOLD(array)                                                                          \
    PUSH(array);                                                                                   \
    assert_true(tally_plan_silent(plan));                                                          \
    assert_false(tally_plan_empty(plan));                                                          \
    tally_plan_clear(plan);                                                                        \
    assert_true(tally_plan_empty(plan));
    CHECK_TOLD(confirms)
    CHECK_TOLD(notices)
    CHECK_TOLD(answers)
    CHECK_TOLD(events)
}

static void
clearing_drops_the_references(void **state)
{
    tally_plan_t *plan = *state;
    tally_chunk_t *chunk = tally_chunk_new(tally_bytes_of("frame"));
    *TALLY_PUSH(&plan->chunks) = tally_chunk_hold(chunk);
    plan->body_bytes = 5;
    plan->number = 7;
    assert_int_equal(chunk->references, 2);
    tally_plan_clear(plan);
    assert_int_equal(chunk->references, 1);
    assert_int_equal(plan->body_bytes, 0);
    assert_int_equal(plan->number, 0);
    tally_chunk_drop(&chunk);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_chunk_lives_until_its_last_reference_is_dropped),
        TEST(arrays_grow_with_zeroed_elements_and_keep_the_old_ones),
        TEST(what_the_store_must_write_is_neither_silent_nor_empty),
        TEST(what_is_only_told_is_silent_but_not_empty),
        TEST(clearing_drops_the_references),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
