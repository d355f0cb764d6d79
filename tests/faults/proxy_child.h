// SPDX-License-Identifier: MIT
//  proxy_child - a proxy in a process of its own, for tests and the harness.
//
//  It ends with the process that started it, however that ends, and leaves no socket behind.  What cannot be is told on
//  standard error and ends in abort(): there is nothing to test without it.

#ifndef TALLY_PROXY_CHILD_H
#define TALLY_PROXY_CHILD_H

#include <sys/types.h>

#include "lib/bytes.h"

typedef struct tally_proxy_child tally_proxy_child_t;

//  control: path of a unix socket where others may command it, too, or NULL.
tally_proxy_child_t *tally_proxy_child_start(uint64_t seed, const char *control);
//  0, or -1 when it did not end by itself.
int tally_proxy_child_stop(tally_proxy_child_t **self_p);
pid_t tally_proxy_child_pid(const tally_proxy_child_t *self);

//  One command that must succeed; what follows "ok", borrowed until the next command.
const char *
tally_proxy_child_tell(tally_proxy_child_t *self, const char *format, ...) TALLY_PRINTF(2, 3);
//  The whole answer, also of one that fails; borrowed until the next command.
const char *
tally_proxy_child_ask(tally_proxy_child_t *self, const char *format, ...) TALLY_PRINTF(2, 3);
//  One figure of `counters WHERE`, such as "cuts" of "db".
uint64_t tally_proxy_child_count(tally_proxy_child_t *self, const char *where, const char *counter);

#endif
