// SPDX-License-Identifier: MIT
//  socket: no option of a socket is left to libzmq's defaults.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "lib/limits.h"
#include "lib/socket.h"

struct fixture {
    void *context;
    void *socket, *other, *third;    // of the test's making
};

static const tally_socket_options_t some = {.send_max = 7,
                                            .receive_max = 8,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX,
                                            .linger_ms = 10};

static int
set_up(void **state)
{
    static struct fixture f;
    f.context = zmq_ctx_new();
    f.socket = f.other = f.third = NULL;
    *state = &f;
    return f.context == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->socket != NULL) {
        zmq_close(f->socket);
    }
    if (f->other != NULL) {
        zmq_close(f->other);
    }
    if (f->third != NULL) {
        zmq_close(f->third);
    }
    zmq_ctx_term(f->context);
    return 0;
}

static void *
make(struct fixture *f, int type)
{
    if (f->socket != NULL) {
        zmq_close(f->socket);
    }
    f->socket = zmq_socket(f->context, type);
    assert_non_null(f->socket);
    return f->socket;
}

static int
get(void *socket, int option)
{
    int value = 0;
    size_t size = sizeof value;
    assert_int_equal(zmq_getsockopt(socket, option, &value, &size), 0);
    return value;
}

static void
what_the_caller_says_is_set(void **state)
{
    struct fixture *f = *state;
    void *socket = make(f, ZMQ_PULL);
    assert_int_equal(tally_socket_bind(socket, "tcp://127.0.0.1:*", &some), 0);
    assert_int_equal(get(socket, ZMQ_SNDHWM), 7);
    assert_int_equal(get(socket, ZMQ_RCVHWM), 8);
    assert_int_equal(get(socket, ZMQ_LINGER), 10);
    int64_t bytes = 0;
    size_t size = sizeof bytes;
    assert_int_equal(zmq_getsockopt(socket, ZMQ_MAXMSGSIZE, &bytes, &size), 0);
    assert_int_equal(bytes, TALLY_HANDSHAKE_BYTES_MAX);
}

static void
strangers_and_dead_peers_have_their_time(void **state)
{
    struct fixture *f = *state;
    void *socket = make(f, ZMQ_ROUTER);
    assert_int_equal(tally_socket_bind(socket, "tcp://127.0.0.1:*", &some), 0);
    assert_int_equal(get(socket, ZMQ_HANDSHAKE_IVL), 3000);
    assert_int_equal(get(socket, ZMQ_TCP_MAXRT), 10000);
    assert_int_equal(get(socket, ZMQ_TCP_KEEPALIVE), 1);
    assert_int_equal(get(socket, ZMQ_TCP_KEEPALIVE_IDLE), 10);
    assert_int_equal(get(socket, ZMQ_TCP_KEEPALIVE_INTVL), 5);
    assert_int_equal(get(socket, ZMQ_TCP_KEEPALIVE_CNT), 3);
    assert_int_equal(get(socket, ZMQ_BACKLOG), 1024);
}

static void
a_subscriber_beats_and_nobody_else(void **state)
{
    struct fixture *f = *state;
    static const int silent[] = {ZMQ_ROUTER, ZMQ_DEALER, ZMQ_PUSH, ZMQ_PULL, ZMQ_PUB};
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++) {
        void *socket = make(f, silent[i]);
        assert_int_equal(tally_socket_bind(socket, "tcp://127.0.0.1:*", &some), 0);
        assert_int_equal(get(socket, ZMQ_HEARTBEAT_IVL), 0);
        assert_int_equal(get(socket, ZMQ_HEARTBEAT_TTL), 0);
    }
    void *socket = make(f, ZMQ_SUB);
    assert_int_equal(tally_socket_bind(socket, "tcp://127.0.0.1:*", &some), 0);
    assert_int_equal(get(socket, ZMQ_HEARTBEAT_IVL), 2000);
    assert_int_equal(get(socket, ZMQ_HEARTBEAT_TIMEOUT), 10000);
    assert_int_equal(get(socket, ZMQ_HEARTBEAT_TTL), 15000);
}

static void
who_connects_once_does_not_come_back(void **state)
{
    struct fixture *f = *state;
    void *socket = make(f, ZMQ_DEALER);
    assert_int_equal(tally_socket_connect(socket, "tcp://127.0.0.1:9", &some), 0);
    assert_int_equal(get(socket, ZMQ_RECONNECT_IVL), 50);
    assert_int_equal(get(socket, ZMQ_RECONNECT_IVL_MAX), 1000);
    assert_int_equal(get(socket, ZMQ_CONNECT_TIMEOUT), 5000);
    socket = make(f, ZMQ_DEALER);
    tally_socket_options_t options = some;
    options.once = true;
    assert_int_equal(tally_socket_connect(socket, "tcp://127.0.0.1:9", &options), 0);
    assert_int_equal(get(socket, ZMQ_RECONNECT_IVL), -1);
}

//  Getsockopt does not tell about ROUTER's own options; what they do does.
static void
a_router_says_when_nobody_is_there(void **state)
{
    struct fixture *f = *state;
    void *socket = make(f, ZMQ_ROUTER);
    assert_int_equal(tally_socket_bind(socket, "tcp://127.0.0.1:*", &some), 0);
    assert_int_equal(zmq_send(socket, "nobody", 6, ZMQ_SNDMORE | ZMQ_DONTWAIT), -1);
    assert_int_equal(errno, EHOSTUNREACH);
}

static void
other_transports_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const others[] = {"udp://127.0.0.1:9",
                                         "pgm://127.0.0.1:9",
                                         "norm://127.0.0.1:9",
                                         "tipc://{9,0,9}",
                                         "vmci://9:9",
                                         "TCP://127.0.0.1:9",
                                         "9",
                                         ""};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        void *socket = make(f, ZMQ_PULL);
        assert_int_equal(tally_socket_bind(socket, others[i], &some), -1);
        assert_int_equal(errno, EPROTONOSUPPORT);
        assert_int_equal(tally_socket_connect(socket, others[i], &some), -1);
        assert_int_equal(errno, EPROTONOSUPPORT);
    }
}

static void
an_endpoint_that_is_none_is_an_answer(void **state)
{
    struct fixture *f = *state;
    void *socket = make(f, ZMQ_PULL);
    assert_int_equal(tally_socket_bind(socket, "tcp://127.0.0.1", &some), -1);
    assert_int_equal(errno, EINVAL);
}

static void
ipv6_is_listened_to_and_connected_to(void **state)
{
    struct fixture *f = *state;
    void *socket = make(f, ZMQ_PULL);
    if (tally_socket_bind(socket, "tcp://[::1]:*", &some) == -1) {
        skip();    // a machine without IPv6
    }
    assert_int_equal(get(socket, ZMQ_IPV6), 1);
}

//  Whatever kinds of address the name has here.
static void
a_name_is_reached_where_it_is_listened_on(void **state)
{
    struct fixture *f = *state;
    void *socket = make(f, ZMQ_PULL);
    assert_int_equal(tally_socket_bind(socket, "tcp://127.0.0.1:*", &some), 0);
    char endpoint[64];
    size_t size = sizeof endpoint;
    assert_int_equal(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    char name[64];
    snprintf(name, sizeof name, "tcp://localhost%s", strrchr(endpoint, ':'));
    f->other = zmq_socket(f->context, ZMQ_PUSH);
    assert_int_equal(tally_socket_connect(f->other, name, &some), 0);
    assert_int_equal(zmq_send(f->other, "x", 1, 0), 1);
    zmq_pollitem_t item = {.socket = socket, .events = ZMQ_POLLIN};
    assert_int_equal(zmq_poll(&item, 1, 5000), 1);
}

//  The number that a new ROUTER gives to its first peer.
static void
first_number(struct fixture *f, const char *endpoint, uint8_t number[5])
{
    void *router = make(f, ZMQ_ROUTER);
    assert_int_equal(tally_socket_bind(router, endpoint, &some), 0);
    f->other = zmq_socket(f->context, ZMQ_DEALER);
    assert_int_equal(tally_socket_connect(f->other, endpoint, &some), 0);
    assert_int_equal(zmq_send(f->other, "x", 1, 0), 1);
    assert_int_equal(zmq_recv(router, number, 5, 0), 5);
    zmq_close(f->other);
    f->other = NULL;
}

static void
nobody_knows_where_a_router_begins_to_count(void **state)
{
    struct fixture *f = *state;
    uint8_t known[5], known_again[5], hidden[5];
    srand(1);
    first_number(f, "inproc://known", known);
    srand(1);
    first_number(f, "inproc://known-again", known_again);
    assert_memory_equal(known, known_again, 5);    // this is what libzmq does by itself
    srand(1);
    tally_socket_hide_numbers();
    first_number(f, "inproc://hidden", hidden);
    assert_memory_not_equal(known, hidden, 5);
}

static void *
connect_as(struct fixture *f, const char *endpoint, const char *identity, const char *says)
{
    void *socket = zmq_socket(f->context, ZMQ_DEALER);
    assert_int_equal(zmq_setsockopt(socket, ZMQ_ROUTING_ID, identity, strlen(identity)), 0);
    assert_int_equal(tally_socket_connect(socket, endpoint, &some), 0);
    assert_int_equal(zmq_send(socket, says, strlen(says), 0), strlen(says));
    return socket;
}

static bool
receive_says(void *router, const char *says)
{
    char text[16] = "";
    zmq_pollitem_t item = {.socket = router, .events = ZMQ_POLLIN};
    if (zmq_poll(&item, 1, 200) != 1) {
        return false;
    }
    zmq_recv(router, text, sizeof text, 0);
    int size = zmq_recv(router, text, sizeof text, 0);
    return size == (int)strlen(says) && memcmp(text, says, (size_t)size) == 0;
}

static void
a_second_peer_of_the_same_name_takes_nothing_from_the_first(void **state)
{
    struct fixture *f = *state;
    static const char endpoint[] = "inproc://same";
    void *router = make(f, ZMQ_ROUTER);
    assert_int_equal(tally_socket_bind(router, endpoint, &some), 0);
    f->other = connect_as(f, endpoint, "name", "first");
    assert_true(receive_says(router, "first"));
    f->third = connect_as(f, endpoint, "name", "second");
    assert_false(receive_says(router, "second"));
    assert_int_equal(zmq_send(router, "name", 4, ZMQ_SNDMORE), 4);
    assert_int_equal(zmq_send(router, "answer", 6, 0), 6);
    char text[8];
    assert_int_equal(zmq_recv(f->other, text, sizeof text, 0), 6);
    assert_int_equal(zmq_recv(f->third, text, sizeof text, ZMQ_DONTWAIT), -1);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_caller_says_is_set, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strangers_and_dead_peers_have_their_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_subscriber_beats_and_nobody_else, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_connects_once_does_not_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_router_says_when_nobody_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_knows_where_a_router_begins_to_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_second_peer_of_the_same_name_takes_nothing_from_the_first,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_transports_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_endpoint_that_is_none_is_an_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ipv6_is_listened_to_and_connected_to, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_name_is_reached_where_it_is_listened_on, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
