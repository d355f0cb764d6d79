// SPDX-License-Identifier: MIT
//  proxy - sits between two processes and does to their connections what networks do.
//
//  One thread, one epoll, TCP and unix streams; knows nothing of what passes.  Links say who listens where for whom;
//  every fault is set by a command, a line of text, while connections are open.  What a fault did is counted: one that
//  never bit proves nothing.  README.md of this folder has the commands.  Without faults it is as if it were not
//  there: order, half-closed connections and resets pass.  Nothing here that looks into the bytes.

#ifndef TALLY_PROXY_H
#define TALLY_PROXY_H

#include "lib/bytes.h"

typedef struct tally_proxy tally_proxy_t;

//  The seed is for what is random: jitter.
tally_proxy_t *tally_proxy_new(uint64_t seed);
//  Closes everything and removes the unix sockets it made.
void tally_proxy_destroy(tally_proxy_t **self_p);

//  Does what one line says.  The answer is a line without its end, "ok ..." or "error ...", the caller's.
char *tally_proxy_command(tally_proxy_t *self, const char *line);

//  Waits for something to do, at most so long (-1: as long as it takes), and does it.
void tally_proxy_turn(tally_proxy_t *self, int timeout_ms);

//  Serves until `end_fd`, a stream that also takes commands, is closed by its other side, or `quit` comes.
//  listen_fd: a listening unix socket for more that command, or -1.
void tally_proxy_serve(tally_proxy_t *self, int end_fd, int listen_fd);

#endif
