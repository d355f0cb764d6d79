// SPDX-License-Identifier: MIT
//  recompute_map - blocks of a recomputation: queue `statistics-map`, any worker.
//
//      {"do": "map", "recompute": id, "block": n, "numbers": [...]}      responses to a partial
//      {"do": "reduce", "recompute": id, "phase": p, "block": n}         B partials of phase p - 1 to one
//
//  A block that is worked out twice is written once; one that comes too late is only settled.

#ifndef TALLY_RECOMPUTE_MAP_H
#define TALLY_RECOMPUTE_MAP_H

#include "workers/counter.h"

void tally_recompute_map_work(tally_counter_t *self);

#endif
