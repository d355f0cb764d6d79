// SPDX-License-Identifier: MIT
//  report - what a run shows: progress, the table of faults, the verdict.

#ifndef TALLY_FAULTS_REPORT_H
#define TALLY_FAULTS_REPORT_H

#include "tests/faults/nemesis.h"

typedef struct {
    bool healed, drained;
    int64_t sent_ms;     // how long clients were sending
    int64_t pending;     // in the end; -1: not known
    int64_t drain_ms;    // from the end of the last fault until nothing was pending
    tally_scene_sums_t sums;
    //  of the last line of progress
    uint64_t confirmed_before;
    int64_t shown_before_ms;
} tally_report_t;

void tally_report_progress(tally_report_t *self, const tally_nemesis_t *nemesis,
                           const tally_scene_sums_t *sums, uint64_t pending, int64_t elapsed_ms);

//  Writes the database's rows beside the histories, lets the checker judge, prints.  The exit code.
int tally_report_conclude(tally_report_t *self, tally_scene_t *scene,
                          const tally_nemesis_t *nemesis, bool json);

#endif
