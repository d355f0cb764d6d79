// SPDX-License-Identifier: MIT
//  greeting: who brings no name comes in, wherever its bytes are cut; nobody else does.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "broker/greeting.h"
#include "lib/limits.h"

struct hello {
    uint8_t bytes[4096];
    size_t size;
};

static void
put(struct hello *hello, const void *bytes, size_t size)
{
    assert_true(hello->size + size <= sizeof hello->bytes);
    memcpy(hello->bytes + hello->size, bytes, size);
    hello->size += size;
}

static struct hello
greeting(uint8_t version, const char *mechanism)
{
    struct hello hello = {.bytes = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, version, 1}, .size = 64};
    memcpy(hello.bytes + 12, mechanism, strlen(mechanism));
    return hello;
}

struct ready {
    uint8_t bytes[2048];
    size_t size;
};

static struct ready
ready(void)
{
    struct ready command = {.bytes = "\5READY", .size = 6};
    return command;
}

static void
add_property(struct ready *command, const char *name, const void *value, size_t size)
{
    uint8_t *at = command->bytes + command->size;
    size_t length = strlen(name);
    at[0] = (uint8_t)length;
    memcpy(at + 1, name, length);
    const uint8_t big_endian[] = {0, 0, (uint8_t)(size >> 8), (uint8_t)size};
    memcpy(at + 1 + length, big_endian, 4);
    memcpy(at + 5 + length, value, size);
    command->size += 5 + length + size;
}

static void
put_frame(struct hello *hello, uint8_t flags, const void *bytes, size_t size)
{
    uint8_t head[9] = {flags, (uint8_t)size};
    if ((flags & 2) != 0) {
        head[1] = 0;
        head[7] = (uint8_t)(size >> 8);
        head[8] = (uint8_t)size;
    }
    put(hello, head, (flags & 2) != 0 ? 9 : 2);
    put(hello, bytes, size);
}

//  As a DEALER of libzmq says it, with that name.
static struct hello
dealer(const void *name, size_t size, uint8_t flags)
{
    struct hello hello = greeting(3, "NULL");
    struct ready command = ready();
    add_property(&command, "Socket-Type", "DEALER", 6);
    add_property(&command, "Identity", name, size);
    put_frame(&hello, flags, command.bytes, command.size);
    return hello;
}

//  What the broker says: its own greeting, then the commands of its mechanism.
static struct hello
answer(const char *mechanism, const char *last)
{
    struct hello hello = greeting(3, mechanism);
    if (strcmp(mechanism, "CURVE") == 0) {
        uint8_t welcome[168] = "\7WELCOME";
        put_frame(&hello, 4, welcome, sizeof welcome);
    }
    uint8_t command[60] = {0};
    memcpy(command, last, strlen(last));
    put_frame(&hello, 4, command, sizeof command);
    return hello;
}

static tally_greeting_verdict_t
say_by(tally_greeting_t *self, const struct hello *hello, size_t step)
{
    tally_greeting_verdict_t verdict = TALLY_GREETING_MORE;
    for (size_t at = 0; verdict == TALLY_GREETING_MORE && at < hello->size; at += step) {
        size_t size = hello->size - at < step ? hello->size - at : step;
        verdict = tally_greeting_said(self, (tally_bytes_t){hello->bytes + at, size});
    }
    return verdict;
}

//  In pieces of `step` bytes, when a broker without CURVE has said its own.  The verdict, and how many bytes it took.
static tally_greeting_verdict_t
take_by(const struct hello *hello, size_t step, size_t *took)
{
    tally_greeting_t *self = tally_greeting_new();
    struct hello own = answer("NULL", "\5READY");
    tally_greeting_verdict_t verdict = say_by(self, &own, own.size);
    assert_int_equal(verdict, TALLY_GREETING_MORE);
    size_t at = 0;
    while (verdict == TALLY_GREETING_MORE && at < hello->size) {
        size_t size = hello->size - at < step ? hello->size - at : step;
        verdict = tally_greeting_take(self, (tally_bytes_t){hello->bytes + at, size});
        at += size;
    }
    tally_greeting_destroy(&self);
    *took = at;
    return verdict;
}

static tally_greeting_verdict_t
take(const struct hello *hello)
{
    size_t took;
    return take_by(hello, hello->size, &took);
}

static void
a_peer_without_a_name_comes_in_at_its_last_byte(void **state)
{
    (void)state;
    struct hello hello = dealer("", 0, 4);
    for (size_t step = 1; step <= hello.size; step++) {
        size_t took;
        assert_int_equal(take_by(&hello, step, &took), TALLY_GREETING_GOOD);
        assert_true(took == hello.size);
    }
}

static void
what_follows_the_greeting_does_not_matter(void **state)
{
    (void)state;
    struct hello hello = dealer("", 0, 4);
    memset(hello.bytes + hello.size, 0xff, sizeof hello.bytes - hello.size);
    hello.size = sizeof hello.bytes;
    assert_int_equal(take(&hello), TALLY_GREETING_GOOD);
}

//  Before libzmq has the whole of it.
static void
a_name_is_found_out_however_it_is_cut_and_framed(void **state)
{
    (void)state;
    static const uint8_t number[] = {0, 0x6b, 0x8b, 0x45, 0x67};
    for (uint8_t flags = 0; flags < 8; flags++) {
        struct hello hello = dealer(number, sizeof number, flags);
        for (size_t step = 1; step <= hello.size; step++) {
            size_t took;
            assert_int_equal(take_by(&hello, step, &took), TALLY_GREETING_BAD);
        }
    }
    struct hello hello = greeting(3, "NULL");
    struct ready command = ready();
    add_property(&command, "iDENTITY", "x", 1);
    put_frame(&hello, 4, command.bytes, command.size);
    assert_int_equal(take(&hello), TALLY_GREETING_BAD);
}

static void
a_second_identity_is_looked_at_like_the_first(void **state)
{
    (void)state;
    struct hello hello = greeting(3, "NULL");
    struct ready command = ready();
    add_property(&command, "Identity", "", 0);
    add_property(&command, "Identity", "x", 1);
    put_frame(&hello, 4, command.bytes, command.size);
    assert_int_equal(take(&hello), TALLY_GREETING_BAD);
}

static void
older_protocols_are_refused_at_once(void **state)
{
    (void)state;
    size_t took;
    for (uint8_t version = 0; version < 3; version++) {
        struct hello hello = greeting(version, "NULL");
        assert_int_equal(take_by(&hello, 1, &took), TALLY_GREETING_BAD);
        assert_int_equal(took, 11);
    }
    struct hello unversioned = {.bytes = {1, 0}, .size = 2};
    assert_int_equal(take_by(&unversioned, 1, &took), TALLY_GREETING_BAD);
    assert_int_equal(took, 1);
    struct hello long_frame = {.bytes = {0xff, 0, 0, 0, 0, 0, 0, 0, 6, 0, 'n'}, .size = 11};
    assert_int_equal(take_by(&long_frame, 1, &took), TALLY_GREETING_BAD);
    assert_int_equal(took, 10);
}

static void
other_mechanisms_are_left_to_their_keys(void **state)
{
    (void)state;
    struct hello hello = greeting(3, "CURVE");
    assert_int_equal(take(&hello), TALLY_GREETING_MORE);    // libzmq ends it
    struct hello nearly = greeting(3, "NULLX");
    assert_int_equal(take(&nearly), TALLY_GREETING_MORE);    // libzmq takes the exact name only
}

//  Under CURVE what decides is what the broker says in the end.
static void
who_proves_a_key_is_in_when_the_broker_says_ready_and_nobody_else_is(void **state)
{
    (void)state;
    static const struct {
        const char *theirs, *ours, *last;
        tally_greeting_verdict_t verdict;
    } cases[] = {
        {"CURVE", "CURVE", "\5READY", TALLY_GREETING_GOOD},
        {"CURVE", "CURVE", "\5ERROR\003400", TALLY_GREETING_MORE},
        {"CURVE", "CURVE", "\5READX", TALLY_GREETING_MORE},
        {"CURVE", "NULL", "\5READY", TALLY_GREETING_MORE},    // not of one mind
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct hello theirs = greeting(3, cases[i].theirs);
        struct hello ours = answer(cases[i].ours, cases[i].last);
        for (size_t step = 1; step <= ours.size; step++) {
            tally_greeting_t *self = tally_greeting_new();
            tally_bytes_t bytes = {theirs.bytes, theirs.size};
            tally_greeting_verdict_t taken = tally_greeting_take(self, bytes);
            tally_greeting_verdict_t said = say_by(self, &ours, step);
            tally_greeting_destroy(&self);
            assert_int_equal(taken, TALLY_GREETING_MORE);
            assert_int_equal(said, cases[i].verdict);
        }
    }
}

static void
without_a_key_nobody_is_in_where_keys_are_asked_for(void **state)
{
    (void)state;
    tally_greeting_t *self = tally_greeting_new();
    struct hello theirs = dealer("", 0, 4);
    struct hello ours = greeting(3, "CURVE");
    tally_greeting_verdict_t taken = tally_greeting_take(self, (tally_bytes_t){theirs.bytes,
                                                                               theirs.size});
    tally_greeting_verdict_t said = say_by(self, &ours, ours.size);
    tally_greeting_destroy(&self);
    assert_int_equal(taken, TALLY_GREETING_MORE);
    assert_int_equal(said, TALLY_GREETING_MORE);
}

static void
who_has_not_proved_a_key_says_as_much_as_the_limit_and_no_more(void **state)
{
    (void)state;
    static const uint8_t more[TALLY_HANDSHAKE_BYTES_MAX + 1] = {4};
    for (size_t beyond = 0; beyond < 2; beyond++) {
        tally_greeting_t *self = tally_greeting_new();
        struct hello theirs = greeting(3, "CURVE");
        struct hello ours = answer("CURVE", "\5ERROR");
        (void)say_by(self, &ours, ours.size);
        tally_greeting_verdict_t first = tally_greeting_take(self, (tally_bytes_t){theirs.bytes,
                                                                                   theirs.size});
        tally_greeting_verdict_t then =
            tally_greeting_take(self, (tally_bytes_t){more, TALLY_HANDSHAKE_BYTES_MAX + beyond});
        tally_greeting_destroy(&self);
        assert_int_equal(first, TALLY_GREETING_MORE);
        assert_int_equal(then, beyond == 0 ? TALLY_GREETING_MORE : TALLY_GREETING_BAD);
    }
}

static void
who_says_ready_where_keys_are_asked_for_says_no_more_than_the_limit(void **state)
{
    (void)state;
    static const uint8_t more[TALLY_HANDSHAKE_BYTES_MAX + 1] = {0};
    tally_greeting_t *self = tally_greeting_new();
    struct hello theirs = dealer("", 0, 4);
    struct hello ours = greeting(3, "CURVE");
    (void)say_by(self, &ours, ours.size);
    tally_greeting_verdict_t first = tally_greeting_take(self, (tally_bytes_t){theirs.bytes,
                                                                               theirs.size});
    tally_greeting_verdict_t then = tally_greeting_take(self, (tally_bytes_t){more, sizeof more});
    tally_greeting_destroy(&self);
    assert_int_equal(first, TALLY_GREETING_MORE);
    assert_int_equal(then, TALLY_GREETING_BAD);
}

static void
what_is_no_ready_or_a_broken_one_is_refused(void **state)
{
    (void)state;
    struct hello hello = greeting(3, "NULL");
    put_frame(&hello, 4, "\5ERROR\0", 7);
    assert_int_equal(take(&hello), TALLY_GREETING_BAD);

    hello = greeting(3, "NULL");
    put_frame(&hello, 4, "\5REA", 4);
    assert_int_equal(take(&hello), TALLY_GREETING_BAD);

    struct ready command = ready();
    add_property(&command, "Socket-Type", "DEALER", 6);
    for (size_t cut = 1; cut < command.size - 6; cut++) {    // each within the property
        hello = greeting(3, "NULL");
        put_frame(&hello, 4, command.bytes, command.size - cut);
        assert_int_equal(take(&hello), TALLY_GREETING_BAD);
    }
    memset(command.bytes + 6 + 1 + 11, 0xff, 4);    // a value of 4 GiB
    hello = greeting(3, "NULL");
    put_frame(&hello, 4, command.bytes, command.size);
    assert_int_equal(take(&hello), TALLY_GREETING_BAD);
}

static void
a_ready_is_as_long_as_the_limit_and_no_longer(void **state)
{
    (void)state;
    static const uint8_t zeros[2048];
    struct ready command = ready();
    size_t head = command.size + 5 + strlen("X");
    add_property(&command, "X", zeros, TALLY_HANDSHAKE_BYTES_MAX - head);
    assert_int_equal(command.size, TALLY_HANDSHAKE_BYTES_MAX);
    struct hello hello = greeting(3, "NULL");
    put_frame(&hello, 6, command.bytes, command.size);
    for (size_t step = 1; step < 100; step++) {
        size_t took;
        assert_int_equal(take_by(&hello, step, &took), TALLY_GREETING_GOOD);
    }
    command = ready();
    add_property(&command, "X", zeros, TALLY_HANDSHAKE_BYTES_MAX - head + 1);
    hello = greeting(3, "NULL");
    put_frame(&hello, 6, command.bytes, command.size);
    assert_int_equal(take(&hello), TALLY_GREETING_BAD);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_without_a_name_comes_in_at_its_last_byte),
        cmocka_unit_test(what_follows_the_greeting_does_not_matter),
        cmocka_unit_test(a_name_is_found_out_however_it_is_cut_and_framed),
        cmocka_unit_test(a_second_identity_is_looked_at_like_the_first),
        cmocka_unit_test(older_protocols_are_refused_at_once),
        cmocka_unit_test(other_mechanisms_are_left_to_their_keys),
        cmocka_unit_test(who_proves_a_key_is_in_when_the_broker_says_ready_and_nobody_else_is),
        cmocka_unit_test(without_a_key_nobody_is_in_where_keys_are_asked_for),
        cmocka_unit_test(who_has_not_proved_a_key_says_as_much_as_the_limit_and_no_more),
        cmocka_unit_test(who_says_ready_where_keys_are_asked_for_says_no_more_than_the_limit),
        cmocka_unit_test(what_is_no_ready_or_a_broken_one_is_refused),
        cmocka_unit_test(a_ready_is_as_long_as_the_limit_and_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
