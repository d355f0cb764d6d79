// SPDX-License-Identifier: MIT
//  synthetic - histories of a run that never was, of any size, right or with one thing wrong.
//
//  To prove that the checker finds what it should, and to measure it.  Clients, workers that are killed and stopped,
//  brokers that follow one another, terms, lost answers, refusals, returns, dead letters: everything that may
//  happen to a correct Tally happens.  A plant is one thing that may not.

#ifndef TALLY_TEST_SYNTHETIC_H
#define TALLY_TEST_SYNTHETIC_H

#include "tests/faults/check.h"

typedef enum {
    TALLY_PLANT_NOTHING,
    TALLY_PLANT_LOSS,
    TALLY_PLANT_GHOST,
    TALLY_PLANT_REFUSED_STORED,
    TALLY_PLANT_STORED_TWICE,
    TALLY_PLANT_DEDUPE_FORGOTTEN,
    TALLY_PLANT_DUPLICATE_UNTRUE,
    TALLY_PLANT_SETTLED_AND_DEAD,
    TALLY_PLANT_SETTLED_TWICE,
    TALLY_PLANT_EFFECT_TWICE,
    TALLY_PLANT_EFFECT_MISSING,
    TALLY_PLANT_STALE_SETTLE,
    TALLY_PLANT_REFUSED_SETTLE,
    TALLY_PLANT_FOREIGN_EFFECT,
    TALLY_PLANT_TOKEN_REUSED,
    TALLY_PLANT_TOKEN_BACK,
    TALLY_PLANT_DELIVERED_AGAIN,
    TALLY_PLANT_OLD_BROKER_STORES,
    TALLY_PLANT_OLD_BROKER_LEASES,
    TALLY_PLANT_OLD_BROKER_CONFIRMS,
    TALLY_PLANT_CONFIRM_UNKNOWN,
    TALLY_PLANT_CONFIRM_MISSING,
    TALLY_PLANT_RESULT_UNTRUE,
    TALLY_PLANT_BODY_CHANGED,
    TALLY_PLANT_FAILURE_UNSAID,
    TALLY_PLANT_DELIVERY_UNCOUNTED,
    TALLY_PLANT_BURIED_EARLY,
    TALLY_PLANT_EARLY,
    TALLY_PLANT_KEY_TOGETHER,
    TALLY_PLANT_KEY_OVERTAKEN,
    TALLY_PLANT_TENANT_MIXED,
    TALLY_PLANT_RESULT_TO_OTHER,
    TALLY_PLANT_RESULT_OF_OTHER,
    TALLY_PLANT_TERM_TWO_HOLDERS,
    TALLY_PLANT_TERM_STALE,
    TALLY_PLANT_TERM_NOT_DURABLE,
    TALLY_PLANT_UNDRAINED,
    TALLY_PLANT_LEASE_LEFT,
    TALLY_PLANT_DRAIN_SLOW,
    //  what makes a run prove nothing
    TALLY_PLANT_FAULT_NEVER,
    TALLY_PLANT_NO_ROWS,
    TALLY_PLANT_NO_END,
    TALLY_PLANT_TIME_BACK,
    TALLY_PLANT_COUNT
} tally_plant_t;

typedef struct {
    const char *name;     //  "effect-twice"
    tally_rule_t rule;    // that must be violated; TALLY_RULE_COUNT: none, the run is invalid
    tally_rule_t also;    // that is violated as well; TALLY_RULE_COUNT: none
} tally_plant_about_t;

const tally_plant_about_t *tally_plant_about(tally_plant_t plant);

//  Writes about `records` records into files of `directory`, at least TALLY_SYNTHETIC_MIN.
#define TALLY_SYNTHETIC_MIN 30000
void tally_synthetic_write(const char *directory, uint64_t records, tally_plant_t plant);

#endif
