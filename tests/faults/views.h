// SPDX-License-Identifier: MIT
//  views - directories of sockets in which something stands between a process and those it talks to.
//
//  A process that works in a view of DIR/run finds sockets of the same names there; behind each stands the proxy.
//  So whatever a route has done to it, both ends are as they always are.

#ifndef TALLY_FAULTS_VIEWS_H
#define TALLY_FAULTS_VIEWS_H

#include "tests/faults/proxy_child.h"

//  One way from a process to another that the proxy can disturb; `name` is the proxy's link.
typedef struct {
    char *name;
    const char *who;    // whose view; borrowed
} tally_route_t;

typedef struct tally_views tally_views_t;

//  `run`: the directory of the real sockets; views are made in `via`.
tally_views_t *tally_views_new(const char *run, const char *via, uint64_t seed);
void tally_views_destroy(tally_views_t **self_p);

//  Makes the view of `who` (kept as a pointer) and returns its directory, owned by the views.  `brokers`: the seats of
//  those whose front, sink and lanes are in it; 0: PostgreSQL alone.
const char *tally_views_add(tally_views_t *self, const char *who, unsigned brokers, bool is_worker);

size_t tally_views_count(const tally_views_t *self);
const tally_route_t *tally_views_at(const tally_views_t *self, size_t index);
tally_proxy_child_t *tally_views_proxy(tally_views_t *self);

#endif
