// SPDX-License-Identifier: MIT
//  outlet - see outlet.h.

#include "broker/outlet.h"

#include <assert.h>
#include <czmq.h>
#include <stdatomic.h>

#include "broker/gate.h"
#include "lib/alloc.h"
#include "lib/limits.h"
#include "lib/log.h"

#define FEED_HWM 10000        // per subscriber; beyond, it misses messages and sees so by seq
#define WAITING_MAX 20000     // messages before the thread has them; beyond, everybody does
#define BIND_AGAIN_MS 50      // libzmq needs a moment to give a place up
#define LOOK_AGAIN_MS 1000    // whether it is to end, should the loop be gone
#define RESTART "\xff"        // in the place of a topic's length

struct tally_outlet {
    zactor_t *actor;
    char *endpoint;    // as bound
    char *domain;      // of the curve; owned
    tally_socket_curve_t curve;
    bool locked;    // there is a curve
    int error;      // why it could not be bound at first
    atomic_uint restarts;
    atomic_bool over;
};

//  ---- in the thread -------------------------------------------------------------------------------

//  NULL with errno.
static zsock_t *
bind_socket(const tally_outlet_t *self, const char *endpoint)
{
    zsock_t *out = zsock_new(ZMQ_PUB);
    assert(out != NULL);
    //  A subscriber says one byte and a topic, shorter than the handshake.
    const tally_socket_options_t options = {.send_max = FEED_HWM,
                                            .receive_max = FEED_HWM,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX,
                                            .curve = self->locked ? &self->curve : NULL};
    tally_gate_for_subscribers(true);
    int rc = tally_socket_bind(zsock_resolve(out), endpoint, &options);
    int why = errno;
    tally_gate_for_subscribers(false);
    if (rc == -1) {
        zsock_destroy(&out);
        errno = why;
    }
    return out;
}

//  A topic, behind its length, and a text.
static void
publish(zsock_t *out, const uint8_t *bytes, size_t size)
{
    void *socket = zsock_resolve(out);
    size_t topic = bytes[0];
    assert(topic < size);
    if (zmq_send(socket, bytes + 1, topic, ZMQ_SNDMORE | ZMQ_DONTWAIT) != -1) {
        int rc = zmq_send(socket, bytes + 1 + topic, size - 1 - topic, ZMQ_DONTWAIT);
        assert(rc != -1);    // PUB never waits
    }
}

//  What the loop says next.  False when there is nothing, or it is to end.
static bool
take(tally_outlet_t *self, zsock_t *pipe, zsock_t *out)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    bool got = zmq_msg_recv(&message, zsock_resolve(pipe), ZMQ_DONTWAIT) != -1;
    const uint8_t *bytes = zmq_msg_data(&message);
    size_t size = zmq_msg_size(&message);
    if (got && size == strlen("$TERM") && memcmp(bytes, "$TERM", size) == 0) {
        atomic_store(&self->over, true);
    } else if (got && out != NULL && size > 1) {
        publish(out, bytes, size);
    }
    zmq_msg_close(&message);
    return got && !atomic_load(&self->over);
}

static void
serve(tally_outlet_t *self, zsock_t *pipe, zsock_t *out)
{
    unsigned restarts = 0;
    while (!atomic_load(&self->over)) {
        zmq_pollitem_t item = {.socket = zsock_resolve(pipe), .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, out == NULL ? BIND_AGAIN_MS : LOOK_AGAIN_MS);
        do {
            if (atomic_load(&self->restarts) != restarts) {
                restarts = atomic_load(&self->restarts);
                zsock_destroy(&out);
            }
        } while (take(self, pipe, out));
        if (out == NULL) {
            out = bind_socket(self, self->endpoint);    // not yet: again later
        }
    }
    zsock_destroy(&out);
}

static void
run_outlet(zsock_t *pipe, void *argument)
{
    tally_outlet_t *self = argument;
    zsock_t *out = bind_socket(self, self->endpoint);
    self->error = out == NULL ? errno : 0;
    if (out != NULL) {
        free(self->endpoint);
        char *bound = zsock_last_endpoint(out);
        self->endpoint = tally_strdup(bound);
        freen(bound);
    }
    zsock_signal(pipe, 0);
    if (out != NULL) {
        serve(self, pipe, out);
    }
}

//  ---- in the loop ---------------------------------------------------------------------------------

tally_outlet_t *
tally_outlet_new(const char *endpoint, const tally_socket_curve_t *curve)
{
    tally_outlet_t *self = tally_alloc(sizeof *self);
    self->endpoint = tally_strdup(endpoint);
    if (curve != NULL) {
        self->locked = true;
        self->domain = tally_strdup(curve->domain);
        self->curve = (tally_socket_curve_t){.secret_key = curve->secret_key,
                                             .domain = self->domain};
    }
    size_t usual = zsys_pipehwm();
    zsys_set_pipehwm(WAITING_MAX);
    self->actor = zactor_new(run_outlet, self);
    zsys_set_pipehwm(usual);
    assert(self->actor != NULL);
    if (self->error != 0) {
        tally_log_error("could not bind %s: %s", endpoint, zmq_strerror(self->error));
        tally_outlet_destroy(&self);
    }
    return self;
}

void
tally_outlet_destroy(tally_outlet_t **self_p)
{
    tally_outlet_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    atomic_store(&self->over, true);    // $TERM finds no room when too much waits
    zactor_destroy(&self->actor);
    free(self->endpoint);
    free(self->domain);
    free(self);
    *self_p = NULL;
}

const char *
tally_outlet_endpoint(const tally_outlet_t *self)
{
    return self->endpoint;
}

void
tally_outlet_send(tally_outlet_t *self, tally_bytes_t topic, tally_bytes_t text)
{
    assert(topic.size <= TALLY_TOPIC_BYTES_MAX);
    zmq_msg_t message;
    int rc = zmq_msg_init_size(&message, 1 + topic.size + text.size);
    assert(rc == 0);
    uint8_t *at = zmq_msg_data(&message);
    at[0] = (uint8_t)topic.size;
    memcpy(at + 1, topic.data, topic.size);
    memcpy(at + 1 + topic.size, text.data, text.size);
    if (zmq_msg_send(&message, zsock_resolve(self->actor), ZMQ_DONTWAIT) == -1) {
        zmq_msg_close(&message);    // no room: lost
    }
}

void
tally_outlet_restart(tally_outlet_t *self)
{
    atomic_fetch_add(&self->restarts, 1);
    //  Wakes the thread up; when there is no room it is awake.
    (void)zmq_send(zsock_resolve(self->actor), RESTART, strlen(RESTART), ZMQ_DONTWAIT);
}
