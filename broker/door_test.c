// SPDX-License-Identifier: MIT
//  door_test - see door_test.h.

#include "broker/door_test.h"

#include <assert.h>
#include <czmq.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/socket.h"

#define ANSWER_MS 5000

typedef enum { LET_IN = 1, REFUSED, UNDECIDED } verdict_t;

static const tally_socket_options_t options = {.send_max = 1,
                                               .receive_max = 1,
                                               .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX,
                                               .once = true};

//  Reads events until one decides.
static verdict_t
await_verdict(zsock_t *monitor)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + ANSWER_MS;
    for (;;) {
        int64_t left_ms = deadline_at_ms - tally_clock_now_ms();
        zmq_pollitem_t item = {zsock_resolve(monitor), 0, ZMQ_POLLIN, 0};
        if (left_ms <= 0 || (zmq_poll(&item, 1, (long)left_ms) == -1 && errno != EINTR)) {
            return UNDECIDED;
        }
        uint8_t head[6];
        int size = zmq_recv(zsock_resolve(monitor), head, sizeof head, ZMQ_DONTWAIT);
        if (size < 2) {
            continue;
        }
        zmq_recv(zsock_resolve(monitor), NULL, 0, ZMQ_DONTWAIT);    // the address
        uint16_t event;
        memcpy(&event, head, sizeof event);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
            return LET_IN;
        }
        if (event != ZMQ_EVENT_CONNECTED && event != ZMQ_EVENT_CONNECT_DELAYED) {
            return REFUSED;
        }
    }
}

static verdict_t
knock(const char *front, const tally_socket_curve_t *curve)
{
    static unsigned count;
    char where[64];    // libzmq gives a monitor's name up some time after the socket
    snprintf(where, sizeof where, "inproc://tally-door-test-%u", count++);
    static const int events = ZMQ_EVENT_CONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED
                              | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL
                              | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
                              | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | ZMQ_EVENT_DISCONNECTED;
    zsock_t *socket = zsock_new(ZMQ_DEALER);
    zsock_t *monitor = zsock_new(ZMQ_PAIR);
    assert(socket != NULL && monitor != NULL);
    tally_socket_options_t own = options;
    own.curve = curve;
    verdict_t verdict = UNDECIDED;
    if (zmq_socket_monitor(zsock_resolve(socket), where, events) == 0
        && zmq_connect(zsock_resolve(monitor), where) == 0
        && tally_socket_connect(zsock_resolve(socket), front, &own) == 0) {
        verdict = await_verdict(monitor);
    }
    zmq_socket_monitor(zsock_resolve(socket), NULL, 0);
    zsock_destroy(&monitor);
    zsock_destroy(&socket);
    return verdict;
}

//  An endpoint to connect to: where we listen on every address, by the loopback.
static char *
reachable(const char *front)
{
    static const char *const any[] = {"tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"};
    static const char *const by[] = {"tcp://127.0.0.1:", "tcp://[::1]:", "tcp://127.0.0.1:"};
    for (size_t i = 0; i < sizeof any / sizeof any[0]; i++) {
        if (strncmp(front, any[i], strlen(any[i])) == 0) {
            return tally_format("%s%s", by[i], front + strlen(any[i]));
        }
    }
    return tally_strdup(front);
}

int
tally_door_test_run(const char *front, const char *server_key, tally_keyring_t *keyring)
{
    tally_key_pair_t probe, other;
    int rc = tally_key_pair_make(&probe) | tally_key_pair_make(&other);
    assert(rc == 0);
    tally_key_pair_t stranger;
    rc = tally_key_pair_make(&stranger);
    assert(rc == 0);
    const tally_socket_curve_t known = {probe.public_key, probe.secret_key, server_key, NULL};
    const tally_socket_curve_t wrong = {probe.public_key, probe.secret_key, other.public_key, NULL};
    const tally_socket_curve_t unknown = {stranger.public_key, stranger.secret_key, server_key,
                                          NULL};
    const struct {
        const char *who;
        const tally_socket_curve_t *curve;
        verdict_t wanted;
    } knocks[] = {
        {"somebody with a key made for this test", &known, LET_IN},
        {"somebody without a key", NULL, REFUSED},
        {"somebody with another server's key", &wrong, REFUSED},
        {"somebody with an unknown key", &unknown, REFUSED},
    };
    char *endpoint = reachable(front);
    tally_keyring_set_probe(keyring, probe.public_key);
    int code = 0;
    for (size_t i = 0; i < sizeof knocks / sizeof knocks[0] && code == 0; i++) {
        verdict_t verdict = knock(endpoint, knocks[i].curve);
        if (verdict != knocks[i].wanted) {
            tally_log_error("the door does not hold: %s %s; not serving", knocks[i].who,
                            verdict == LET_IN    ? "was let in"
                            : verdict == REFUSED ? "was refused"
                                                 : "got no answer in time");
            code = 70;
        }
    }
    tally_keyring_set_probe(keyring, NULL);
    tally_key_pair_forget(&probe);
    tally_key_pair_forget(&other);
    tally_key_pair_forget(&stranger);
    free(endpoint);
    return code;
}
