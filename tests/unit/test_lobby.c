// SPDX-License-Identifier: MIT
//  lobby: lines by tenant, turns between them, its bounds.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "broker/lobby.h"

static const uint8_t sender[TALLY_SENDER_BYTES] = {7};

static int
setup(void **state)
{
    *state = tally_lobby_new();
    return 0;
}

static int
teardown(void **state)
{
    tally_lobby_t *lobby = *state;
    tally_lobby_destroy(&lobby);
    return 0;
}

static void
enter(tally_lobby_t *lobby, const char *tenant, const char *text)
{
    tally_chunk_t *chunk = tally_chunk_new(tally_bytes_of(text));
    tally_lobby_enter(lobby, sender, tally_bytes_of(tenant), 3, chunk);
    tally_chunk_drop(&chunk);
}

//  context: the tenant that may go, NULL: all.
static bool
may(void *context, tally_bytes_t tenant, const tally_waiting_t *waiting)
{
    assert_int_equal(waiting->messages, 3);
    return context == NULL || tally_bytes_equal(tenant, tally_bytes_of(context));
}

static void
leaves(tally_lobby_t *lobby, const char *tenant, const char *text)
{
    tally_waiting_t waiting;
    assert_true(tally_lobby_leave(lobby, may, (void *)(uintptr_t)tenant, &waiting));
    assert_memory_equal(waiting.sender, sender, sizeof sender);
    bool same = tally_bytes_equal((tally_bytes_t){waiting.chunk->data, waiting.chunk->size},
                                  tally_bytes_of(text));
    tally_chunk_drop(&waiting.chunk);
    assert_true(same);
}

static void
a_line_keeps_its_order(void **state)
{
    enter(*state, "a", "1");
    enter(*state, "a", "2");
    enter(*state, "a", "3");
    leaves(*state, NULL, "1");
    leaves(*state, NULL, "2");
    leaves(*state, NULL, "3");
    assert_true(tally_lobby_empty(*state));
}

static void
lines_take_turns(void **state)
{
    enter(*state, "a", "a1");
    enter(*state, "a", "a2");
    enter(*state, "a", "a3");
    enter(*state, "b", "b1");
    leaves(*state, NULL, "a1");
    leaves(*state, NULL, "b1");
    leaves(*state, NULL, "a2");
    enter(*state, "b", "b2");
    leaves(*state, NULL, "a3");
    leaves(*state, NULL, "b2");
}

static void
who_may_not_go_holds_up_only_its_own_line(void **state)
{
    tally_waiting_t waiting;
    enter(*state, "a", "a1");
    enter(*state, "b", "b1");
    enter(*state, "b", "b2");
    leaves(*state, "b", "b1");
    leaves(*state, "b", "b2");
    assert_false(tally_lobby_leave(*state, may, "b", &waiting));
    assert_true(tally_lobby_holds(*state, tally_bytes_of("a")));
    assert_false(tally_lobby_holds(*state, tally_bytes_of("b")));
    leaves(*state, "a", "a1");
}

static void
it_is_full_at_a_number_of_sends(void **state)
{
    for (int i = 0; i < 4096; i++) {
        assert_false(tally_lobby_full(*state));
        enter(*state, i % 2 == 0 ? "a" : "b", "x");
    }
    assert_true(tally_lobby_full(*state));
    leaves(*state, NULL, "x");
    assert_false(tally_lobby_full(*state));
}

static void
it_is_full_at_a_number_of_bytes(void **state)
{
    static const uint8_t frame[1024 * 1024];
    for (int i = 0; i < 32; i++) {
        assert_false(tally_lobby_full(*state));
        tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){frame, sizeof frame});
        tally_lobby_enter(*state, sender, tally_bytes_of("a"), 3, chunk);
        tally_chunk_drop(&chunk);
    }
    assert_true(tally_lobby_full(*state));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(a_line_keeps_its_order),
        TEST(lines_take_turns),
        TEST(who_may_not_go_holds_up_only_its_own_line),
        TEST(it_is_full_at_a_number_of_sends),
        TEST(it_is_full_at_a_number_of_bytes),
    };
    return cmocka_run_group_tests_name("lobby", tests, NULL, NULL);
}
