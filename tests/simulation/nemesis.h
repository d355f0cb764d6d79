// SPDX-License-Identifier: MIT
//  nemesis - faults that strike out of the blue: kills, stops, clock jumps, operators.
//
//  Faults that belong to an occasion (a commit, a frame) are struck where that happens.

#ifndef SIM_NEMESIS_H
#define SIM_NEMESIS_H

#include "tests/simulation/world.h"

//  Strikes at most once, and comes again after a while, until the world heals.
void sim_nemesis_turn(sim_world_t *world);

#endif
