// SPDX-License-Identifier: MIT
//  run - one run of the harness: load, faults, healing, draining, the verdict.

#ifndef TALLY_FAULTS_RUN_H
#define TALLY_FAULTS_RUN_H

#include "tests/faults/nemesis.h"

typedef struct {
    tally_scene_options_t scene;
    const char *profile;
    double pace;
    int64_t faults_ms;    // how long the nemesis works
    unsigned kills;       // of each kind of the profile, one after the other; 0: by pace and time
    bool json, keep;
} tally_run_options_t;

//  The exit code: 0 when nothing was found, 1 when something was, 70 when the run could not be made.
int tally_run(const tally_run_options_t *options);

#endif
