// SPDX-License-Identifier: MIT
//  The bound of what all connections together have unread, at its value and one byte beyond.  The test reads in the
//  place of libzmq and keeps nothing, so what the gate counts is not there.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/gate.h"
#include "lib/limits.h"
#include "tests/integration/raw_zmtp.h"

#define FULL (TALLY_UNREAD_BYTES_ALL_MAX / TALLY_UNREAD_BYTES_FIRST_MAX)    // connections
#define STEP (64 * 1024)

struct connection {
    int near, far;
    size_t bytes;    // that the gate counts
};

static void
take(struct connection *connection, size_t size)
{
    static uint8_t room[STEP];
    while (size > 0) {
        ssize_t got = recv(connection->near, room, size < STEP ? size : STEP, 0);
        assert_true(got > 0);
        size -= (size_t)got;
        connection->bytes += (size_t)got;
    }
}

static void
pass(struct connection *connection, size_t size)
{
    static const uint8_t bytes[STEP];
    while (size > 0) {
        size_t part = size < STEP ? size : STEP;
        assert_true(raw_zmtp_write(connection->far, bytes, part));
        take(connection, part);
        size -= part;
    }
}

//  One that has greeted, as libzmq does.
static void
join(struct connection *connection, int listener, const struct sockaddr_un *address, socklen_t size)
{
    connection->far = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(connection->far, -1);
    assert_int_equal(connect(connection->far, (const struct sockaddr *)address, size), 0);
    connection->near = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_int_not_equal(connection->near, -1);
    assert_true(raw_zmtp_greet(connection->near, "ROUTER", "", 0));
    assert_true(raw_zmtp_greet(connection->far, "DEALER", "", 0));
    uint8_t greeting[512];
    ssize_t got = recv(connection->near, greeting, sizeof greeting, 0);
    assert_true(got > 64);
    connection->bytes = (size_t)got;
}

static int
error_of_reading(const struct connection *connection)
{
    uint8_t byte;
    assert_int_equal(recv(connection->near, &byte, 1, MSG_DONTWAIT), -1);
    return errno;
}

static void
all_together_have_a_bound_and_who_has_much_is_ended(void **state)
{
    (void)state;
    struct connection connections[FULL + 1] = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof address.sun_family;    // the kernel finds a name
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_not_equal(listener, -1);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, size), 0);
    size = sizeof address;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(listener, 1), 0);
    tally_gate_start();
    size_t all = 0;
    for (size_t i = 0; i < FULL; i++) {
        join(&connections[i], listener, &address, size);
        pass(&connections[i], TALLY_UNREAD_BYTES_FIRST_MAX - connections[i].bytes);
        all += connections[i].bytes;
    }
    struct connection *last = &connections[FULL];
    join(last, listener, &address, size);
    pass(last, TALLY_UNREAD_BYTES_ALL_MAX - all - last->bytes);
    assert_true(last->bytes <= 2 * TALLY_FRAME_BYTES_MAX);
    for (size_t i = 0; i <= FULL; i++) {
        assert_int_equal(error_of_reading(&connections[i]), EAGAIN);
    }
    pass(last, 1);
    assert_int_equal(error_of_reading(last), EAGAIN);
    assert_int_equal(tally_gate_ended(), 0);
    assert_int_equal(error_of_reading(&connections[0]), ECONNRESET);
    assert_int_equal(tally_gate_ended(), 1);
    for (size_t i = 1; i <= FULL; i++) {
        assert_int_equal(error_of_reading(&connections[i]), EAGAIN);
    }
    for (size_t i = 0; i <= FULL; i++) {
        close(connections[i].near);
        close(connections[i].far);
    }
    close(listener);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_together_have_a_bound_and_who_has_much_is_ended),
    };
    return cmocka_run_group_tests_name("unread", tests, NULL, NULL);
}
