// SPDX-License-Identifier: MIT
//  proxy_connection - two sides and what flows between them.
//
//  A flow is read into segments, each due at its time, and written when it is due, as fast as its throttle allows and
//  never beyond its cut.  A direction that is stalled or swallowed hides its source's end as well: that is what a dead
//  network does.

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "tests/faults/proxy_state.h"

#define READ_BYTES 65536
#define QUEUED_BYTES_MAX (4u << 20)    // a flow; beyond, its source waits as for any slow reader
#define THROTTLE_SLICES 100            // writes a second

static tally_proxy_t *
proxy_of(const tally_proxy_connection_t *self)
{
    return self->link->proxy;
}

static void
drop_segments(tally_proxy_flow_t *flow)
{
    while (flow->first != NULL) {
        tally_proxy_segment_t *segment = flow->first;
        flow->first = segment->next;
        free(segment);
    }
    flow->last = NULL;
    flow->queued = 0;
}

//  ---- ending -----------------------------------------------------------------------------------

static void
close_side(tally_proxy_connection_t *self, tally_proxy_side_t *side, bool reset)
{
    if (side->watch.fd == -1) {
        return;
    }
    tally_proxy_watch(proxy_of(self), &side->watch, 0);
    if (reset) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(side->watch.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    } else {
        //  What came and is not read would make a reset of the close.
        char waste[4096];
        for (int i = 0; i < 64 && recv(side->watch.fd, waste, sizeof waste, MSG_DONTWAIT) > 0;
             i++) {
        }
    }
    close(side->watch.fd);
    side->watch.fd = -1;
}

void
tally_proxy_connection_close(tally_proxy_connection_t *self, bool reset)
{
    if (self->doomed) {
        return;
    }
    self->doomed = true;
    close_side(self, &self->sides[0], reset);
    close_side(self, &self->sides[1], reset);
}

void
tally_proxy_connection_free(tally_proxy_connection_t *self)
{
    tally_proxy_connection_close(self, false);
    drop_segments(&self->flows[0]);
    drop_segments(&self->flows[1]);
    free(self);
}

//  ---- reading ----------------------------------------------------------------------------------

static bool
is_open(const tally_proxy_flow_t *flow)
{
    return flow->faults.mode == TALLY_PROXY_FLOW && !flow->holed;
}

static void
keep(tally_proxy_connection_t *self, tally_proxy_flow_t *flow, const char *data, size_t size)
{
    tally_proxy_t *proxy = proxy_of(self);
    tally_proxy_segment_t *segment = tally_alloc(sizeof *segment + size);
    segment->size = size;
    memcpy(segment->data, data, size);
    segment->due_us = proxy->now_us + flow->faults.delay_us
                      + tally_proxy_jitter_us(proxy, flow->faults.jitter_us);
    if (segment->due_us < flow->due_us) {
        segment->due_us = flow->due_us;
    }
    flow->due_us = segment->due_us;
    self->link->counters.delayed += segment->due_us > proxy->now_us;
    if (flow->last == NULL) {
        flow->first = segment;
    } else {
        flow->last->next = segment;
    }
    flow->last = segment;
    flow->queued += size;
}

//  True when there may be more to read.
static bool
read_some(tally_proxy_connection_t *self, int direction)
{
    tally_proxy_flow_t *flow = &self->flows[direction];
    tally_proxy_side_t *source = &self->sides[direction];
    char data[READ_BYTES];
    ssize_t size = recv(source->watch.fd, data, sizeof data, MSG_DONTWAIT);
    if (size == -1 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (size <= 0) {
        if (is_open(flow) || flow->deaf) {
            flow->ended = true;
            flow->broken = size == -1;
        } else {
            source->silenced = true;
        }
        return false;
    }
    if (flow->deaf) {
        return true;
    }
    if (!is_open(flow)) {
        flow->holed = true;
        self->link->counters.swallowed_bytes += (uint64_t)size;
        return true;
    }
    keep(self, flow, data, (size_t)size);
    return flow->queued < QUEUED_BYTES_MAX;
}

//  A stalled source is only seen to have something to say.
static void
look_at_stalled(tally_proxy_connection_t *self, tally_proxy_flow_t *flow,
                tally_proxy_side_t *source, uint32_t events)
{
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) == 0) {
        return;
    }
    if (!flow->counted) {
        flow->counted = true;
        self->link->counters.stalled++;
    }
    source->silenced = true;
}

static void
read_flow(tally_proxy_connection_t *self, int direction, uint32_t events)
{
    tally_proxy_flow_t *flow = &self->flows[direction];
    tally_proxy_side_t *source = &self->sides[direction];
    if (flow->ended || source->silenced || source->connecting) {
        return;
    }
    if (flow->faults.mode == TALLY_PROXY_STALL && !flow->deaf) {
        look_at_stalled(self, flow, source, events);
        return;
    }
    while (flow->queued < QUEUED_BYTES_MAX && read_some(self, direction)) {
    }
}

//  ---- writing ----------------------------------------------------------------------------------

//  How many bytes of the first segment may be written at once.
static size_t
allowance(const tally_proxy_flow_t *flow)
{
    size_t size = flow->first->size - flow->first->at;
    if (flow->faults.bytes_per_s > 0) {
        uint64_t slice = flow->faults.bytes_per_s / THROTTLE_SLICES;
        slice = slice == 0 ? 1 : slice;
        size = size < slice ? size : (size_t)slice;
    }
    if (flow->faults.cut && size > flow->faults.cut_bytes) {
        size = (size_t)flow->faults.cut_bytes;
    }
    return size;
}

static void
count_written(tally_proxy_connection_t *self, int direction, size_t size)
{
    tally_proxy_flow_t *flow = &self->flows[direction];
    tally_proxy_segment_t *segment = flow->first;
    *(direction == TALLY_PROXY_UP ? &self->link->counters.up_bytes
                                  : &self->link->counters.down_bytes) += size;
    flow->queued -= size;
    segment->at += size;
    if (segment->at == segment->size) {
        flow->first = segment->next;
        flow->last = flow->first == NULL ? NULL : flow->last;
        free(segment);
    }
    if (flow->faults.cut) {
        flow->faults.cut_bytes -= size;
    }
    if (flow->faults.bytes_per_s > 0) {
        flow->write_at_us = proxy_of(self)->now_us
                            + (int64_t)(size * 1000000 / flow->faults.bytes_per_s);
        self->link->counters.throttled += flow->first != NULL;
    }
}

//  Once for all connections of the link, unless it was armed for every one.
static void
disarm(tally_proxy_link_t *link, const tally_proxy_faults_t *faults)
{
    uint64_t number = faults->cut_number;
    if (faults->cut_every) {
        return;
    }
    for (int direction = 0; direction < 2; direction++) {
        tally_proxy_faults_t *others = &link->faults[direction];
        others->cut = others->cut && others->cut_number != number;
        for (tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            others = &c->flows[direction].faults;
            others->cut = others->cut && others->cut_number != number;
        }
    }
}

//  With something to pass and nothing allowed to, or right behind the last byte that was.
static bool
cut_bites(tally_proxy_connection_t *self, const tally_proxy_flow_t *flow)
{
    if (!flow->faults.cut || flow->faults.cut_bytes > 0) {
        return false;
    }
    self->link->counters.cuts++;
    bool resets = flow->faults.cut_resets;
    disarm(self->link, &flow->faults);
    tally_proxy_connection_close(self, resets);
    return true;
}

//  The target of this flow takes nothing any more.
static void
lose_target(tally_proxy_connection_t *self, int direction)
{
    tally_proxy_flow_t *flow = &self->flows[direction];
    flow->deaf = true;
    drop_segments(flow);
    read_flow(self, 1 - direction, EPOLLIN);    // its last words
}

static void
write_flow(tally_proxy_connection_t *self, int direction)
{
    tally_proxy_flow_t *flow = &self->flows[direction];
    const tally_proxy_side_t *target = &self->sides[1 - direction];
    while (flow->first != NULL && !flow->deaf && !target->connecting && is_open(flow)) {
        int64_t now_us = proxy_of(self)->now_us;
        if (flow->first->due_us > now_us || flow->write_at_us > now_us || cut_bites(self, flow)) {
            return;
        }
        const tally_proxy_segment_t *segment = flow->first;
        ssize_t size = send(target->watch.fd, segment->data + segment->at, allowance(flow),
                            MSG_DONTWAIT | MSG_NOSIGNAL);
        if (size == -1) {
            if (errno != EAGAIN && errno != EINTR) {
                lose_target(self, direction);
            }
            return;
        }
        count_written(self, direction, (size_t)size);
        if (cut_bites(self, flow)) {
            return;
        }
    }
}

//  ---- a connection's turn ------------------------------------------------------------------------

static void
pass_end(tally_proxy_connection_t *self, int direction)
{
    tally_proxy_flow_t *flow = &self->flows[direction];
    if (!flow->ended || flow->passed || flow->first != NULL || !(is_open(flow) || flow->deaf)) {
        return;
    }
    flow->passed = true;
    if (!flow->broken) {
        shutdown(self->sides[1 - direction].watch.fd, SHUT_WR);
    }
}

//  Both said all; or one is gone as a whole: it reset, or nobody reads what is written to it.
static void
end_when_over(tally_proxy_connection_t *self)
{
    bool over = self->flows[0].passed && self->flows[1].passed;
    bool reset = false;
    for (int direction = 0; direction < 2; direction++) {
        const tally_proxy_flow_t *flow = &self->flows[direction];
        reset = reset || (flow->passed && (flow->broken || self->flows[1 - direction].deaf));
    }
    if (over || reset) {
        tally_proxy_connection_close(self, reset && !over);
    }
}

static void
watch_side(tally_proxy_connection_t *self, int side_number)
{
    tally_proxy_side_t *side = &self->sides[side_number];
    const tally_proxy_flow_t *from = &self->flows[side_number];
    const tally_proxy_flow_t *to = &self->flows[1 - side_number];
    uint32_t mask = 0;
    if (side->connecting) {
        mask = EPOLLOUT;
    } else {
        if (!from->ended && !side->silenced && from->queued < QUEUED_BYTES_MAX) {
            mask |= EPOLLIN;
        }
        int64_t now_us = proxy_of(self)->now_us;
        if (to->first != NULL && !to->deaf && is_open(to) && to->first->due_us <= now_us
            && to->write_at_us <= now_us) {
            mask |= EPOLLOUT;
        }
    }
    tally_proxy_watch(proxy_of(self), &side->watch, mask);
}

static void
move(tally_proxy_connection_t *self)
{
    //  Whoever is told of a new endpoint by these bytes must find its door open.
    tally_proxy_mirror(proxy_of(self));
    for (int direction = 0; direction < 2 && !self->doomed; direction++) {
        write_flow(self, direction);
    }
    for (int direction = 0; direction < 2 && !self->doomed; direction++) {
        pass_end(self, direction);
    }
    if (!self->doomed) {
        end_when_over(self);
    }
    if (!self->doomed) {
        watch_side(self, 0);
        watch_side(self, 1);
    }
}

void
tally_proxy_connection_move(tally_proxy_connection_t *self)
{
    for (int direction = 0; direction < 2; direction++) {
        read_flow(self, direction, 0);
    }
    move(self);
}

static int64_t
flow_next_us(const tally_proxy_flow_t *flow)
{
    if (flow->first == NULL || flow->deaf || !is_open(flow)) {
        return INT64_MAX;
    }
    int64_t at_us = flow->first->due_us;
    return at_us > flow->write_at_us ? at_us : flow->write_at_us;
}

int64_t
tally_proxy_connection_next_us(const tally_proxy_connection_t *self)
{
    int64_t next_us = INT64_MAX;
    for (int direction = 0; direction < 2; direction++) {
        const tally_proxy_side_t *target = &self->sides[1 - direction];
        //  When it is due already, it is the target's socket that it waits for.
        int64_t at_us = flow_next_us(&self->flows[direction]);
        if (!target->connecting && (target->watch.mask & EPOLLOUT) == 0 && at_us < next_us) {
            next_us = at_us;
        }
    }
    return next_us;
}

//  The target is not there: whoever connected is reset.
static void
give_up(tally_proxy_connection_t *self, int error)
{
    self->link->counters.unreachable++;
    if (self->door != NULL && (error == ECONNREFUSED || error == ENOENT)) {
        tally_proxy_door_failed(self->door);
    }
    tally_proxy_connection_close(self, true);
}

//  False when it could not be connected; the connection is over then.
static bool
finish_connecting(tally_proxy_connection_t *self)
{
    tally_proxy_side_t *side = &self->sides[1];
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(side->watch.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    side->connecting = false;
    if (error == 0) {
        return true;
    }
    give_up(self, error);
    return false;
}

static void
side_ready(tally_proxy_watch_t *watch, uint32_t events)
{
    tally_proxy_side_t *side = TALLY_PROXY_OF(watch, tally_proxy_side_t);
    tally_proxy_connection_t *self = side->connection;
    if (side->connecting && !finish_connecting(self)) {
        return;
    }
    int number = side == &self->sides[0] ? 0 : 1;
    read_flow(self, number, events);
    //  Told though nobody asked, again and again: it reads no more.
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && self->flows[number].ended) {
        side->silenced = true;
        self->flows[1 - number].deaf = true;
        drop_segments(&self->flows[1 - number]);
    }
    move(self);
}

static void
set_up_side(tally_proxy_connection_t *self, tally_proxy_side_t *side, int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on,
               sizeof on);    // fails on unix sockets, which is right
    *side = (tally_proxy_side_t){.watch = {side_ready, fd, 0}, .connection = self};
}

void
tally_proxy_connection_open(tally_proxy_door_t *door, int fd)
{
    tally_proxy_link_t *link = door->link;
    const tally_proxy_address_t *target = &door->target;
    tally_proxy_connection_t *self = tally_alloc(sizeof *self);
    self->link = link;
    self->door = door;
    self->id = ++link->proxy->last_connection;
    self->flows[0].faults = link->faults[0];
    self->flows[1].faults = link->faults[1];
    self->next = link->connections;
    link->connections = self;
    link->counters.accepted++;
    int out = socket(target->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(out != -1);
    set_up_side(self, &self->sides[0], fd);
    set_up_side(self, &self->sides[1], out);
    int rc = connect(out, (const struct sockaddr *)&target->storage, target->size);
    if (rc == -1 && errno != EINPROGRESS) {
        give_up(self, errno);
        return;
    }
    self->sides[1].connecting = rc == -1;
    move(self);
}
