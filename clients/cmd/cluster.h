// SPDX-License-Identifier: MIT
//  cluster - the private PostgreSQL of an instance: Debian's server on a directory of ours.
//
//  Reached by a unix socket alone, durable (fsync is never touched), never run as root (as root it runs as
//  Debian's user "postgres"), never the system's own cluster.  The server is a direct child of whoever calls
//  tally_cluster_exec in a forked process: no pg_ctl, so there is a pid to watch and to signal.  Stopping is a
//  signal: SIGTERM waits for clients, SIGINT does not (fast), SIGQUIT is a crash.  What is wrong is said on
//  standard error.

#ifndef TALLY_CLUSTER_H
#define TALLY_CLUSTER_H

#include "lib/bytes.h"

typedef struct tally_cluster tally_cluster_t;

//  `data`: the cluster's directory, made by tally_cluster_create; `run`: the socket's; `log`: a file for what
//  initdb says.  NULL when PostgreSQL's server is not installed, or not in the version that made `data`.
tally_cluster_t *tally_cluster_new(const char *data, const char *run, const char *log);
void tally_cluster_destroy(tally_cluster_t **self_p);

//  Makes the cluster unless it is there, whole or not at all, and checks that its user can reach it.
//  The caller holds the instance: two at once would collide.
int tally_cluster_create(tally_cluster_t *self) TALLY_MUST_CHECK;

//  In a forked child: becomes the server.  Returns only when it cannot.
void tally_cluster_exec(void *self);

//  Removes a postmaster.pid that names a process which is not this cluster's: its number was given to
//  another since.  PostgreSQL, which cannot know, would refuse to start.
void tally_cluster_clear_stale(tally_cluster_t *self);

//  "15.20", of the server's programs; borrowed.
const char *tally_cluster_version(const tally_cluster_t *self);

#endif
