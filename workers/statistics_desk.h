// SPDX-License-Identifier: MIT
//  statistics_desk - answers asks about what was counted: queue `statistics-read`.
//
//      {"do": "show", "survey": slug}      {"ok": true, "statistics": {...}}       zeros when nothing is counted
//      {"do": "ls"}                        {"ok": true, "surveys": {slug: responses}}
//
//  Reads only, and never waits for a window.

#ifndef TALLY_STATISTICS_DESK_H
#define TALLY_STATISTICS_DESK_H

#include "workers/counter.h"

void tally_statistics_desk_work(tally_counter_t *self);

#endif
