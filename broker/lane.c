// SPDX-License-Identifier: MIT
//  lane - see lane.h.

#include "broker/lane.h"

#include <assert.h>
#include <czmq.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "lib/socket.h"

//  Notices come on top of deliveries; a stopped worker lets this many pile up, later ones are dropped.
#define NOTICES_ROOM 16
#define DESCRIPTORS 8    // what a lane takes: mailboxes, monitor, listener, connection, and some

struct tally_lane {
    uint64_t worker;
    zsock_t *out;        // PUSH, bound
    zsock_t *monitor;    // PAIR, events of `out`
    char *endpoint;
    tally_lane_state_t state;
};

static char *
endpoint_of(const char *pattern, uint64_t worker)
{
    const char *mark = strchr(pattern, '%');
    if (mark == NULL) {
        return tally_strdup(pattern);
    }
    return tally_format("%.*s%" PRIu64 "%s", (int)(mark - pattern), pattern, worker, mark + 1);
}

//  As its peer reaches it.
static char *
endpoint_elsewhere(const char *pattern, uint64_t worker, const char *bound)
{
    char *endpoint = endpoint_of(pattern, worker);
    size_t size = strlen(endpoint);
    const char *port = strrchr(bound, ':') + 1;
    if (size > 2 && strcmp(endpoint + size - 2, ":*") == 0) {
        char *whole = tally_format("%.*s%s", (int)(size - 1), endpoint, port);
        free(endpoint);
        return whole;
    }
    return endpoint;
}

static int
open_monitor(tally_lane_t *self)
{
    char *where = tally_format("inproc://tally-lane-%" PRIu64, self->worker);
    int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED;
    int rc = zmq_socket_monitor(zsock_resolve(self->out), where, events);
    if (rc == 0) {
        self->monitor = zsock_new_pair(NULL);
        assert(self->monitor != NULL);
        rc = zsock_connect(self->monitor, "%s", where);
    }
    free(where);
    return rc;
}

//  czmq asserts that a socket can be made, so it is looked at first.
static bool
descriptors_are_left(void)
{
    int probes[DESCRIPTORS];
    size_t count = 0;
    while (count < DESCRIPTORS) {
        probes[count] = eventfd(0, EFD_CLOEXEC);
        if (probes[count] == -1) {
            break;
        }
        count++;
    }
    bool enough = count == DESCRIPTORS;
    while (count > 0) {
        close(probes[--count]);
    }
    return enough;
}

tally_lane_t *
tally_lane_new(const char *pattern, const char *elsewhere, uint64_t worker, uint16_t credit)
{
    assert(credit > 0);
    if (!descriptors_are_left()) {
        tally_log_error("could not make a lane: too many open files");
        return NULL;
    }

    tally_lane_t *self = tally_alloc(sizeof *self);
    self->worker = worker;
    self->state = TALLY_LANE_WAITING;
    char *endpoint = endpoint_of(pattern, worker);
    self->out = zsock_new(ZMQ_PUSH);
    assert(self->out != NULL);
    //  A PULL peer has nothing to say once it is there.
    const tally_socket_options_t options = {.send_max = credit + NOTICES_ROOM,
                                            .receive_max = 1,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX};
    if (open_monitor(self) == -1
        || tally_socket_bind(zsock_resolve(self->out), endpoint, &options) == -1) {
        tally_log_error("could not bind lane: %s  endpoint=%s", zmq_strerror(errno), endpoint);
        free(endpoint);
        tally_lane_destroy(&self);
        return NULL;
    }
    free(endpoint);
    self->endpoint = zsock_last_endpoint(self->out);
    if (elsewhere != NULL) {
        char *bound = self->endpoint;
        self->endpoint = endpoint_elsewhere(elsewhere, worker, bound);
        free(bound);
    }
    return self;
}

void
tally_lane_destroy(tally_lane_t **self_p)
{
    tally_lane_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    if (self->out != NULL) {
        zmq_socket_monitor(zsock_resolve(self->out), NULL, 0);
    }
    zsock_destroy(&self->monitor);
    zsock_destroy(&self->out);
    free(self->endpoint);
    free(self);
    *self_p = NULL;
}

uint64_t
tally_lane_worker(const tally_lane_t *self)
{
    return self->worker;
}

const char *
tally_lane_endpoint(const tally_lane_t *self)
{
    return self->endpoint;
}

int
tally_lane_fd(const tally_lane_t *self)
{
    return (int)zsock_fd(self->monitor);
}

//  One event: its number, 0 when there is none.  An event is two frames: number and value, then address.
static int
next_event(zsock_t *monitor)
{
    uint8_t head[6];
    int size = zmq_recv(zsock_resolve(monitor), head, sizeof head, ZMQ_DONTWAIT);
    if (size < 2) {
        return 0;
    }
    zmq_recv(zsock_resolve(monitor), NULL, 0, ZMQ_DONTWAIT);    // the address, of no use here
    uint16_t event;
    memcpy(&event, head, sizeof event);    // in host order, says zmq_socket_monitor(3)
    return event;
}

tally_lane_state_t
tally_lane_look(tally_lane_t *self)
{
    for (int event = next_event(self->monitor); event != 0; event = next_event(self->monitor)) {
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED && self->state == TALLY_LANE_WAITING) {
            self->state = TALLY_LANE_OPEN;
        } else if (self->state == TALLY_LANE_OPEN) {
            //  Gone; or a second peer, with whom PUSH would share the leases out.  (Unbinding after the first would
            //  keep others away, but libzmq ends the connections a listener accepted together with it.)
            self->state = TALLY_LANE_CLOSED;
        }
    }
    return self->state;
}

tally_lane_state_t
tally_lane_state(const tally_lane_t *self)
{
    return self->state;
}

int
tally_lane_send(tally_lane_t *self, tally_bytes_t frame)
{
    if (self->state != TALLY_LANE_OPEN) {
        return -1;
    }
    int rc = zmq_send(zsock_resolve(self->out), frame.data, frame.size, ZMQ_DONTWAIT);
    return rc == -1 ? -1 : 0;
}
