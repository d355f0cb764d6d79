// SPDX-License-Identifier: MIT
//  shell - tallyd of a run: the rules of the real shell around the real core.
//
//  It does what broker/loop.c, front.c, peers.c, publish.c and recovery.c do, in the same order:
//  keeps each input until its tick is known to have happened, publishes after the commit and only
//  then, and after a tick that did not end well makes a new core from the database, gives back what
//  was leased and never delivered, and feeds its inputs again.  Whoever changes a rule there
//  changes it here.

#ifndef SIM_SHELL_H
#define SIM_SHELL_H

#include "tests/simulation/world.h"

sim_shell_t *sim_shell_new(sim_world_t *world);
void sim_shell_destroy(sim_shell_t **self_p);
void sim_shell_heal(sim_shell_t *self);

void sim_shell_start(sim_shell_t *self);               // the process; nothing when it runs
void sim_shell_kill(sim_shell_t *self);                // SIGKILL; it starts again after a while
void sim_shell_stop(sim_shell_t *self, int64_t ms);    // SIGSTOP, for so long

//  Nothing happens until then, so it need not turn: hours pass at once.
void sim_shell_sleep(sim_shell_t *self, int64_t until_ms);

//  What reaches its sockets.
void sim_shell_front(sim_shell_t *self, uint64_t route, tally_chunk_t *frame);
void sim_shell_sink(sim_shell_t *self, tally_chunk_t *frame);
void sim_shell_lane(sim_shell_t *self, uint64_t worker, bool open);
void sim_shell_read(sim_shell_t *self, uint64_t read);
void sim_shell_answer(sim_shell_t *self, uint64_t tick);

//  One turn of the loop; true when there is more to do at once.
bool sim_shell_turn(sim_shell_t *self);
int64_t sim_shell_next_ms(const sim_shell_t *self);
//  What keeps it from rest; NULL: nothing.
const char *sim_shell_busy(const sim_shell_t *self);

//  ---- an operator -------------------------------------------------------------------------------
void sim_shell_drain(sim_shell_t *self, uint64_t worker);
void sim_shell_retry_dead(sim_shell_t *self, uint32_t tenant, uint64_t message);

#endif
