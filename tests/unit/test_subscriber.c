// SPDX-License-Identifier: MIT
//  subscriber: what a connection to the feed may say, at each limit and one beyond, encrypted or not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "broker/subscriber.h"
#include "lib/alloc.h"
#include "lib/limits.h"

#define PING_BYTES 7

struct fixture {
    tally_subscriber_t *subscriber;
    size_t step;      // bytes at once
    size_t around;    // what encryption adds to a frame
};

static bool
take(struct fixture *f, const void *bytes, size_t size)
{
    bool fine = true;
    for (size_t at = 0; at < size && fine; at += f->step) {
        size_t here = size - at < f->step ? size - at : f->step;
        fine = tally_subscriber_take(f->subscriber,
                                     (tally_bytes_t){(const uint8_t *)bytes + at, here});
    }
    return fine;
}

//  A frame whose body has so many bytes before encryption.
static bool
say(struct fixture *f, size_t size)
{
    uint8_t frame[9 + 2048] = {0};
    size_t head = 2;
    size += f->around;
    assert_true(size <= 2048);
    frame[1] = (uint8_t)size;
    if (size > UINT8_MAX) {
        head = 9;
        frame[0] = 2;
        frame[1] = 0;
        frame[7] = (uint8_t)(size >> 8);
        frame[8] = (uint8_t)size;
    }
    return take(f, frame, head + size);
}

//  As ZMTP 3.1 says it, and 3.0.
static bool
subscribe(struct fixture *f, size_t topic_bytes)
{
    return say(f, strlen("\011SUBSCRIBE") + topic_bytes);
}

static bool
subscribe_as_before(struct fixture *f, size_t topic_bytes)
{
    return say(f, 1 + topic_bytes);
}

//  A new connection, its handshake done.
static void
greet(struct fixture *f, const char *mechanism, uint8_t minor, size_t step)
{
    uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, minor};
    memcpy(greeting + 12, mechanism, strlen(mechanism));
    tally_subscriber_destroy(&f->subscriber);
    f->subscriber = tally_subscriber_new();
    f->step = step;
    f->around = 0;
    assert_true(take(f, greeting, sizeof greeting));
    if (strcmp(mechanism, "CURVE") == 0) {
        assert_true(say(f, 200));
        assert_true(say(f, 300));
        f->around = 33;
    } else {
        assert_true(say(f, 40));
    }
    assert_int_equal(tally_subscriber_bytes(f->subscriber), 0);
}

static const char *const mechanisms[] = {"NULL", "CURVE"};

static void
there_are_as_many_subscriptions_as_the_limit_and_not_one_more(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t step = 1; step < 100; step += 33) {
            greet(f, mechanisms[i], 1, step);
            for (int count = 0; count < TALLY_SUBSCRIPTIONS_MAX; count++) {
                assert_true(subscribe(f, 4));
                assert_true(say(f, PING_BYTES));    // which is no subscription
            }
            assert_false(subscribe(f, 4));
        }
    }
}

static void
a_topic_is_as_long_as_the_limit_and_no_longer(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        greet(f, mechanisms[i], 1, 1000);
        assert_true(subscribe(f, TALLY_TOPIC_BYTES_MAX));
        assert_false(subscribe(f, TALLY_TOPIC_BYTES_MAX + 1));
        greet(f, mechanisms[i], 0, 1000);
        assert_true(subscribe_as_before(f, TALLY_TOPIC_BYTES_MAX));
        assert_false(subscribe_as_before(f, TALLY_TOPIC_BYTES_MAX + 1));
    }
}

static void
topics_have_as_many_bytes_as_the_limit_and_not_one_more(void **state)
{
    enum { EACH = 128 };
    struct fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        greet(f, mechanisms[i], 0, 1000);
        for (int sum = EACH; sum < TALLY_SUBSCRIPTION_BYTES_MAX; sum += EACH) {
            assert_true(say(f, EACH));
        }
        assert_true(say(f, EACH - 8));
        assert_int_equal(tally_subscriber_bytes(f->subscriber), TALLY_SUBSCRIPTION_BYTES_MAX - 8);
        assert_false(say(f, 9));
        greet(f, mechanisms[i], 0, 1000);
        for (int sum = 0; sum < TALLY_SUBSCRIPTION_BYTES_MAX; sum += EACH) {
            assert_true(say(f, EACH));
        }
        assert_false(say(f, PING_BYTES + 1));
    }
}

static void
there_are_as_many_beats_as_the_limit_and_not_one_more(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        greet(f, mechanisms[i], 1, 1000);
        for (int count = 0; count < TALLY_SUBSCRIBER_BEATS_MAX; count++) {
            assert_true(say(f, (size_t)count % (PING_BYTES + 1)));
        }
        assert_false(say(f, PING_BYTES));
    }
}

static void
a_frames_length_is_believed_by_nobody(void **state)
{
    struct fixture *f = *state;
    static const uint8_t endless[] = {2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t gibibyte[] = {2, 0, 0, 0, 0, 0x40, 0, 0, 0};
    greet(f, "NULL", 1, 1);
    assert_false(take(f, endless, sizeof endless));
    greet(f, "CURVE", 1, 1);
    assert_false(take(f, gibibyte, sizeof gibibyte));
}

static int
set_up(void **state)
{
    *state = tally_alloc(sizeof(struct fixture));
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_subscriber_destroy(&f->subscriber);
    free(f);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            there_are_as_many_subscriptions_as_the_limit_and_not_one_more, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_topic_is_as_long_as_the_limit_and_no_longer, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(topics_have_as_many_bytes_as_the_limit_and_not_one_more,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(there_are_as_many_beats_as_the_limit_and_not_one_more,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frames_length_is_believed_by_nobody, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
