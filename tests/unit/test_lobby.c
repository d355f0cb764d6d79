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
    static const char *const texts[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9"};
    enum { TEXTS = sizeof texts / sizeof texts[0] };
    for (size_t in = 0, out = 0; out < TEXTS; out++) {
        for (int i = 0; i < 3 && in < TEXTS; i++) {
            enter(*state, "a", texts[in++]);
        }
        leaves(*state, NULL, texts[out]);
    }
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

//  Until there is no room for another; how many there were.
static int
fill(tally_lobby_t *lobby, const char *tenant, tally_bytes_t frame)
{
    int count = 0;
    for (; tally_lobby_has_room(lobby, tally_bytes_of(tenant), frame.size); count++) {
        tally_chunk_t *chunk = tally_chunk_new(frame);
        tally_lobby_enter(lobby, sender, tally_bytes_of(tenant), 3, chunk);
        tally_chunk_drop(&chunk);
    }
    return count;
}

static void
a_line_has_no_more_sends_than_are_free_besides(void **state)
{
    assert_int_equal(fill(*state, "a", tally_bytes_of("x")), 4096);
    assert_true(tally_lobby_half_full(*state));
    assert_int_equal(fill(*state, "b", tally_bytes_of("x")), 2048);
    assert_int_equal(fill(*state, "c", tally_bytes_of("x")), 1024);
    assert_false(tally_lobby_has_room(*state, tally_bytes_of("a"), 1));
    for (int i = 0; i < 1200; i++) {
        leaves(*state, "a", "x");
    }
    assert_int_equal(fill(*state, "b", tally_bytes_of("x")), 88);
    assert_int_equal(fill(*state, "a", tally_bytes_of("x")), 0);
}

static void
a_line_has_no_more_bytes_than_are_free_besides(void **state)
{
    static const uint8_t bytes[1024 * 1024];
    const tally_bytes_t frame = {bytes, sizeof bytes};
    assert_int_equal(fill(*state, "a", frame), 40);
    assert_int_equal(fill(*state, "b", frame), 20);
    assert_int_equal(fill(*state, "c", frame), 10);
    assert_true(tally_lobby_has_room(*state, tally_bytes_of("d"), sizeof bytes));
}

static void
a_line_alone_finds_room_for_any_frame_until_it_is_half_full(void **state)
{
    static const uint8_t bytes[1024 * 1024 - 7];
    const tally_bytes_t a = tally_bytes_of("a");
    while (!tally_lobby_half_full(*state)) {
        assert_true(tally_lobby_has_room(*state, a, TALLY_FRAME_BYTES_MAX));
        tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){bytes, sizeof bytes});
        tally_lobby_enter(*state, sender, a, 3, chunk);
        tally_chunk_drop(&chunk);
    }
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
        TEST(a_line_has_no_more_sends_than_are_free_besides),
        TEST(a_line_has_no_more_bytes_than_are_free_besides),
        TEST(a_line_alone_finds_room_for_any_frame_until_it_is_half_full),
    };
    return cmocka_run_group_tests_name("lobby", tests, NULL, NULL);
}
