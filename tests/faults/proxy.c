// SPDX-License-Identifier: MIT
//  proxy - see proxy.h: turns, timers, and who is watched.

#include "tests/faults/proxy.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/faults/proxy_state.h"

#define EVENTS_PER_TURN 64

tally_proxy_t *
tally_proxy_new(uint64_t seed)
{
    tally_proxy_t *self = tally_alloc(sizeof *self);
    self->random = seed;
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    assert(self->epoll != -1);
    self->now_us = tally_clock_now_us();
    return self;
}

void
tally_proxy_destroy(tally_proxy_t **self_p)
{
    tally_proxy_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    while (self->links != NULL) {
        tally_proxy_link_t *link = self->links;
        self->links = link->next;
        tally_proxy_link_free(link);
    }
    close(self->epoll);
    free(self);
    *self_p = NULL;
}

void
tally_proxy_watch(tally_proxy_t *self, tally_proxy_watch_t *watch, uint32_t mask)
{
    if (watch->mask == mask) {
        return;
    }
    int how = watch->mask == 0 ? EPOLL_CTL_ADD : mask == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    struct epoll_event event = {.events = mask, .data.ptr = watch};
    int rc = epoll_ctl(self->epoll, how, watch->fd, &event);
    assert(rc == 0);
    watch->mask = mask;
}

//  splitmix64: small, and the same for a seed everywhere.
int64_t
tally_proxy_jitter_us(tally_proxy_t *self, int64_t jitter_us)
{
    if (jitter_us <= 0) {
        return 0;
    }
    uint64_t z = self->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (int64_t)((z ^ (z >> 31)) % (uint64_t)jitter_us);
}

void
tally_proxy_mirror(tally_proxy_t *self)
{
    for (tally_proxy_link_t *link = self->links; link != NULL; link = link->next) {
        tally_proxy_link_mirror(link);
    }
}

//  INT64_MAX: nothing is due by itself.
static int64_t
next_us(const tally_proxy_t *self)
{
    int64_t next_us = INT64_MAX;
    for (const tally_proxy_link_t *link = self->links; link != NULL; link = link->next) {
        for (const tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            int64_t at_us = c->doomed ? INT64_MAX : tally_proxy_connection_next_us(c);
            next_us = at_us < next_us ? at_us : next_us;
        }
    }
    return next_us;
}

static void
move_due(tally_proxy_t *self)
{
    for (tally_proxy_link_t *link = self->links; link != NULL; link = link->next) {
        for (tally_proxy_connection_t *c = link->connections; c != NULL; c = c->next) {
            if (!c->doomed && tally_proxy_connection_next_us(c) <= self->now_us) {
                tally_proxy_connection_move(c);
            }
        }
    }
}

void
tally_proxy_turn(tally_proxy_t *self, int timeout_ms)
{
    self->now_us = tally_clock_now_us();
    int64_t at_us = next_us(self);
    if (at_us != INT64_MAX) {
        int64_t wait_ms = at_us <= self->now_us ? 0 : (at_us - self->now_us + 999) / 1000;
        if (timeout_ms == -1 || wait_ms < timeout_ms) {
            timeout_ms = wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms;
        }
    }
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(self->epoll, events, EVENTS_PER_TURN, timeout_ms);
    assert(count >= 0 || errno == EINTR);
    self->now_us = tally_clock_now_us();
    for (int i = 0; i < count; i++) {
        tally_proxy_watch_t *watch = events[i].data.ptr;
        if (watch->fd != -1) {
            watch->ready(watch, events[i].events);
        }
    }
    move_due(self);
    for (tally_proxy_link_t *link = self->links; link != NULL; link = link->next) {
        tally_proxy_link_sweep(link);
    }
}
