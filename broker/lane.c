// SPDX-License-Identifier: MIT
//  lane - see lane.h.

#include "broker/lane.h"

#include <assert.h>
#include <czmq.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "broker/place.h"
#include "lib/alloc.h"
#include "lib/log.h"
#include "lib/owner.h"
#include "lib/socket.h"

//  Notices come on top of deliveries; a stopped worker lets this many pile up, later ones are dropped.
#define NOTICES_ROOM 16
#define DESCRIPTORS 8    // what a lane takes: mailboxes, monitor, listener, connection, and some

struct tally_lane {
    tally_owner_t owner;    // of its sockets
    uint64_t worker;
    zsock_t *out;        // PUSH, bound
    zsock_t *monitor;    // PAIR, events of `out`
    char *endpoint;
    tally_lane_state_t state;
    int *fds;    // connections of which one is, or may become, our peer's
    size_t fd_count;
};

static int
open_monitor(tally_lane_t *self)
{
    char *where = tally_format("inproc://tally-lane-%" PRIu64, self->worker);
    int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED;
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
tally_lane_new(const char *pattern, const char *elsewhere, uint64_t worker, uint16_t credit,
               const tally_socket_curve_t *curve)
{
    assert(credit > 0);
    if (!descriptors_are_left()) {
        tally_log_error("could not make a lane: too many open files");
        return NULL;
    }

    tally_lane_t *self = tally_alloc(sizeof *self);
    self->owner = tally_owner_here();
    self->worker = worker;
    self->state = TALLY_LANE_WAITING;
    char *endpoint = tally_place_of(pattern, worker);
    self->out = zsock_new(ZMQ_PUSH);
    assert(self->out != NULL);
    //  A PULL peer has nothing to say once it is there.
    const tally_socket_options_t options = {.send_max = credit + NOTICES_ROOM,
                                            .receive_max = 1,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX,
                                            .curve = curve};
    if (open_monitor(self) == -1
        || tally_socket_bind(zsock_resolve(self->out), endpoint, &options) == -1) {
        tally_log_error("could not bind lane: %s  endpoint=%s", zmq_strerror(errno), endpoint);
        free(endpoint);
        tally_lane_destroy(&self);
        return NULL;
    }
    free(endpoint);
    char *bound = zsock_last_endpoint(self->out);
    self->endpoint = tally_place_told(elsewhere, worker, bound);
    free(bound);
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
    free(self->fds);
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
next_event(zsock_t *monitor, int *value)
{
    uint8_t head[6];
    int size = zmq_recv(zsock_resolve(monitor), head, sizeof head, ZMQ_DONTWAIT);
    if (size != (int)sizeof head) {
        return 0;
    }
    zmq_recv(zsock_resolve(monitor), NULL, 0, ZMQ_DONTWAIT);    // the address, of no use here
    uint16_t event;
    int32_t number;
    memcpy(&event, head, sizeof event);    // in host order, says zmq_socket_monitor(3)
    memcpy(&number, head + sizeof event, sizeof number);
    *value = number;
    return event;
}

//  False when it was none of them.
static bool
drop_fd(tally_lane_t *self, int fd)
{
    for (size_t i = 0; i < self->fd_count; i++) {
        if (self->fds[i] == fd) {
            self->fds[i] = self->fds[--self->fd_count];
            return true;
        }
    }
    return false;
}

//  libzmq does not say which connection got through its handshake, so all that were accepted by then are kept in mind;
//  strangers among them are thrown out by libzmq within its time for handshakes.  Whoever comes later is a stranger, or
//  a second peer.
static void
take_event(tally_lane_t *self, int event, int value)
{
    if (event == ZMQ_EVENT_ACCEPTED && self->state == TALLY_LANE_WAITING) {
        self->fds = tally_realloc_array(self->fds, self->fd_count + 1, sizeof *self->fds);
        self->fds[self->fd_count++] = value;
    } else if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        //  With a second peer PUSH would share the leases out.  (Unbinding after the first would keep others away, but
        //  libzmq ends the connections a listener accepted together with it.)
        self->state = self->state == TALLY_LANE_WAITING ? TALLY_LANE_OPEN : TALLY_LANE_CLOSED;
    } else if (event == ZMQ_EVENT_DISCONNECTED && drop_fd(self, value) && self->fd_count == 0
               && self->state == TALLY_LANE_OPEN) {
        self->state = TALLY_LANE_CLOSED;
    }
}

tally_lane_state_t
tally_lane_look(tally_lane_t *self)
{
    tally_owner_require(&self->owner);
    int value = 0;
    for (int event = next_event(self->monitor, &value); event != 0;
         event = next_event(self->monitor, &value)) {
        take_event(self, event, value);
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
    tally_owner_require(&self->owner);
    if (self->state != TALLY_LANE_OPEN) {
        return -1;
    }
    int rc = zmq_send(zsock_resolve(self->out), frame.data, frame.size, ZMQ_DONTWAIT);
    return rc == -1 ? -1 : 0;
}
