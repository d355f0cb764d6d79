// SPDX-License-Identifier: MIT
//  worker - the workers that are connected, with their terms.

#ifndef TALLY_CMD_WORKER_H
#define TALLY_CMD_WORKER_H

#include <jansson.h>

//  A table of the array "workers" of a reply.
void tally_worker_print(const json_t *workers);

#endif
