// SPDX-License-Identifier: MIT
//  outlet - see outlet.h.

#include "broker/outlet.h"

#include <assert.h>
#include <czmq.h>

#include "broker/gate.h"
#include "lib/alloc.h"
#include "lib/limits.h"
#include "lib/log.h"

#define FEED_HWM 10000    // per subscriber; beyond, it misses messages and sees so by seq

struct tally_outlet {
    zsock_t *out;    // NULL: closed
    char *endpoint;
};

static int
bind_socket(tally_outlet_t *self, const char *endpoint, const tally_socket_curve_t *curve)
{
    self->out = zsock_new(ZMQ_PUB);
    assert(self->out != NULL);
    //  A subscriber says one byte and a topic, shorter than the handshake.
    const tally_socket_options_t options = {.send_max = FEED_HWM,
                                            .receive_max = FEED_HWM,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX,
                                            .curve = curve};
    tally_gate_for_subscribers(true);
    int rc = tally_socket_bind(zsock_resolve(self->out), endpoint, &options);
    tally_gate_for_subscribers(false);
    if (rc == -1) {
        int why = errno;
        zsock_destroy(&self->out);
        errno = why;
    }
    return rc;
}

tally_outlet_t *
tally_outlet_new(const char *endpoint, const tally_socket_curve_t *curve)
{
    tally_outlet_t *self = tally_alloc(sizeof *self);
    if (bind_socket(self, endpoint, curve) == -1) {
        tally_log_error("could not bind %s: %s", endpoint, zmq_strerror(errno));
        free(self);
        return NULL;
    }
    self->endpoint = zsock_last_endpoint(self->out);
    return self;
}

void
tally_outlet_destroy(tally_outlet_t **self_p)
{
    tally_outlet_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    zsock_destroy(&self->out);
    freen(self->endpoint);
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
    if (self->out == NULL) {
        return;
    }
    void *out = zsock_resolve(self->out);
    if (zmq_send(out, topic.data, topic.size, ZMQ_SNDMORE | ZMQ_DONTWAIT) != -1) {
        int rc = zmq_send(out, text.data, text.size, ZMQ_DONTWAIT);
        assert(rc != -1);    // PUB never waits
    }
}

void
tally_outlet_close(tally_outlet_t *self)
{
    zsock_destroy(&self->out);
}

int
tally_outlet_reopen(tally_outlet_t *self, const tally_socket_curve_t *curve)
{
    return self->out != NULL ? 0 : bind_socket(self, self->endpoint, curve);
}
