// SPDX-License-Identifier: MIT
//  client - somebody who sends: numbers its sends, repeats what nobody confirmed, waits for results.
//
//  It keeps the protocol's rules for clients: a window, hello and repetition after silence, a
//  refused sequence tried again or left out for ever.  Now and then it does what a hostile one
//  would: sequences far away, frames cut, queues that do not exist.

#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "tests/simulation/world.h"

sim_client_t *sim_client_new(sim_world_t *world, size_t index);
void sim_client_destroy(sim_client_t **self_p);
//  regular: the one that brings the next.
void sim_client_turn(sim_client_t *self, bool regular);
void sim_client_frame(sim_client_t *self, uint64_t route, tally_chunk_t *frame);
//  When the last frame towards it comes in, to be written to; NULL when that route is closed.
int64_t *sim_client_back(sim_client_t *self, uint64_t route);
//  No new sends: only what is under way is brought to its end.
void sim_client_heal(sim_client_t *self);
const char *sim_client_busy(const sim_client_t *self);
//  It dies and is replaced by a new one that knows nothing of what was under way.
void sim_client_die(sim_client_t *self);

#endif
