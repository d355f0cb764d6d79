// SPDX-License-Identifier: MIT
//  socket - see socket.h.

#include "lib/socket.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <zmq.h>

#include "lib/key_file.h"
#include "lib/limits.h"

//  In every libzmq 4.3, although zmq.h declares it among the drafts.
#define ZAP_ENFORCE_DOMAIN 93

static void
set(void *socket, int option, int value)
{
    int rc = zmq_setsockopt(socket, option, &value, sizeof value);
    assert(rc == 0);
}

static bool
is_known(const char *endpoint)
{
    static const char *const transports[] = {"tcp://", "ipc://", "inproc://"};
    for (size_t i = 0; i < sizeof transports / sizeof transports[0]; i++) {
        if (strncmp(endpoint, transports[i], strlen(transports[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void
set_bounds(void *socket, const tally_socket_options_t *options)
{
    assert(options->send_max >= 0 && options->receive_max >= 0);
    //  libzmq holds the handshake to the same limit: below, nobody could connect.
    assert(options->frame_bytes_max >= TALLY_HANDSHAKE_BYTES_MAX);
    assert(options->linger_ms >= 0);
    set(socket, ZMQ_SNDHWM, options->send_max);
    set(socket, ZMQ_RCVHWM, options->receive_max);
    set(socket, ZMQ_LINGER, options->linger_ms);
    int rc = zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &options->frame_bytes_max,
                            sizeof options->frame_bytes_max);
    assert(rc == 0);
}

//  Whoever waits for an answer misses it by itself, and workers beat; a subscriber has nothing else to go by.  The side
//  with thousands of peers must not beat: libzmq walks through all its timers for each one that it takes back.
static void
set_beats(void *socket, int type)
{
    bool beats = type == ZMQ_SUB;
    set(socket, ZMQ_HEARTBEAT_IVL, beats ? TALLY_HEARTBEAT_MS : 0);
    set(socket, ZMQ_HEARTBEAT_TIMEOUT, TALLY_HEARTBEAT_TIMEOUT_MS);
    set(socket, ZMQ_HEARTBEAT_TTL, beats ? TALLY_HEARTBEAT_TTL_MS : 0);
    //  A machine that is gone takes its connections with it, for nothing but a packet of the kernel's.
    set(socket, ZMQ_TCP_KEEPALIVE, 1);
    set(socket, ZMQ_TCP_KEEPALIVE_IDLE, TALLY_KEEPALIVE_IDLE_S);
    set(socket, ZMQ_TCP_KEEPALIVE_INTVL, TALLY_KEEPALIVE_INTERVAL_S);
    set(socket, ZMQ_TCP_KEEPALIVE_CNT, TALLY_KEEPALIVE_COUNT);
}

static void
set_timers(void *socket, const tally_socket_options_t *options)
{
    set(socket, ZMQ_HANDSHAKE_IVL, TALLY_HANDSHAKE_MS);
    set(socket, ZMQ_TCP_MAXRT, TALLY_TCP_UNANSWERED_MS);
    set(socket, ZMQ_CONNECT_TIMEOUT, TALLY_CONNECT_MS);
    set(socket, ZMQ_RECONNECT_IVL, options->once ? -1 : TALLY_RECONNECT_MS);
    set(socket, ZMQ_RECONNECT_IVL_MAX, TALLY_RECONNECT_MS_MAX);
    //  Whoever must not wait says so when it sends or receives.
    set(socket, ZMQ_SNDTIMEO, -1);
    set(socket, ZMQ_RCVTIMEO, -1);
}

static void
set_all(void *socket, const tally_socket_options_t *options)
{
    int type = 0;
    size_t size = sizeof type;
    int rc = zmq_getsockopt(socket, ZMQ_TYPE, &type, &size);
    assert(rc == 0);
    set_bounds(socket, options);
    set_timers(socket, options);
    set_beats(socket, type);
    set(socket, ZMQ_BACKLOG, TALLY_BACKLOG);
    set(socket, ZMQ_IMMEDIATE, 0);
    if (type == ZMQ_ROUTER) {
        //  Who is gone or full is an error, not a silent loss; nobody takes over answers by a name.
        set(socket, ZMQ_ROUTER_MANDATORY, 1);
        set(socket, ZMQ_ROUTER_HANDOVER, 0);
    }
}

static void
set_text(void *socket, int option, const char *value)
{
    int rc = zmq_setsockopt(socket, option, value, strlen(value));
    assert(rc == 0);
}

static void
set_key(void *socket, int option, const char *key)
{
    int rc = zmq_setsockopt(socket, option, key, TALLY_KEY_TEXT_BYTES + 1);
    assert(rc == 0);    // whoever read the key has checked it
}

//  ZAP_ENFORCE_DOMAIN: without it libzmq lets everybody in while no ZAP handler is there.
static void
set_server(void *socket, const tally_socket_curve_t *curve)
{
    set(socket, ZMQ_CURVE_SERVER, 1);
    set_key(socket, ZMQ_CURVE_SECRETKEY, curve->secret_key);
    set_text(socket, ZMQ_ZAP_DOMAIN, curve->domain);
    set(socket, ZAP_ENFORCE_DOMAIN, 1);
}

static void
set_client(void *socket, const tally_socket_curve_t *curve)
{
    set_key(socket, ZMQ_CURVE_SERVERKEY, curve->server_key);
    set_key(socket, ZMQ_CURVE_PUBLICKEY, curve->public_key);
    set_key(socket, ZMQ_CURVE_SECRETKEY, curve->secret_key);
}

//  libzmq looks at one address of a name, so both ends must mean the same kind: names are IPv4, [::1] is not.
static void
set_address_kind(void *socket, const char *endpoint)
{
    set(socket, ZMQ_IPV6, strchr(endpoint, '[') != NULL);
}

int
tally_socket_bind(void *socket, const char *endpoint, const tally_socket_options_t *options)
{
    if (!is_known(endpoint)) {
        errno = EPROTONOSUPPORT;
        return -1;
    }
    set_all(socket, options);
    set_address_kind(socket, endpoint);
    if (options->curve != NULL) {
        set_server(socket, options->curve);
    }
    return zmq_bind(socket, endpoint);
}

int
tally_socket_connect(void *socket, const char *endpoint, const tally_socket_options_t *options)
{
    if (!is_known(endpoint)) {
        errno = EPROTONOSUPPORT;
        return -1;
    }
    set_all(socket, options);
    set_address_kind(socket, endpoint);
    if (options->curve != NULL) {
        set_client(socket, options->curve);
    }
    return zmq_connect(socket, endpoint);
}

void
tally_socket_hide_numbers(void)
{
    unsigned seed = 0;
    ssize_t got = getrandom(&seed, sizeof seed, 0);
    assert(got == (ssize_t)sizeof seed);
    srand(seed);
}
