// SPDX-License-Identifier: MIT
//  check - joins the histories of a run with the rows of its database, and says which promises held.
//
//  Every violation is provable: it follows from what was recorded before it was tried and after it was told,
//  whatever the order in between.  What may have happened is never counted as not done.  Linear in the number of
//  records but for the sorts (radix, and n log n for what has a key, a dedupe key or a term).  Memory: 16 bytes for
//  each record that names a message (32 while sorting), 56 for each message with a key, and 24 for each lease; the
//  histories themselves are mapped, not copied.

#ifndef TALLY_TEST_CHECK_H
#define TALLY_TEST_CHECK_H

#include <stdio.h>

#include "tests/faults/history_set.h"

//  Named in README.md with what each means.
typedef enum {
    TALLY_RULE_LOSS,        // I1
    TALLY_RULE_GHOST,       // I2
    TALLY_RULE_IDENTITY,    // I3
    TALLY_RULE_END,         // I4
    TALLY_RULE_EFFECT,      // I5
    TALLY_RULE_FENCE,       // I6
    TALLY_RULE_TOKEN,       // I7
    TALLY_RULE_LEASE,       // I8
    TALLY_RULE_WRITER,      // I9
    TALLY_RULE_CONFIRM,     // I10
    TALLY_RULE_ATTEMPTS,    // I11
    TALLY_RULE_EARLY,       // I12
    TALLY_RULE_ORDER,       // I13
    TALLY_RULE_MIXED,       // I14
    TALLY_RULE_TERM,        // I15
    TALLY_RULE_DRAIN,       // I20
    TALLY_RULE_COUNT
} tally_rule_t;

#define TALLY_CHECK_EXAMPLES_MAX 3

typedef struct {
    const char *code, *name;    // "I1", "no loss"
    uint64_t checked, violations;
    struct {
        char *text;
        uint64_t numbers[2];    // of the messages whose lives show it; 0: none
    } examples[TALLY_CHECK_EXAMPLES_MAX];
} tally_check_rule_t;

typedef struct {
    uint64_t records, messages;    // all records; messages that a history or the database names
    uint64_t sent, confirmed, repeated, refused, unanswered;    // messages
    uint64_t delivered, redelivered;    // records of deliveries; those that were not the first
    uint64_t settled, effects;          // told, and rows
    uint64_t stale, rolled_back;        // settles refused by their token or term; for other reasons
    uint64_t unknown, unknown_done;     // settles without an answer; of them, those that were done
    uint64_t returned, buried, results;
    uint64_t terms, broker_epochs;
} tally_check_figures_t;

typedef enum {
    TALLY_RUN_VALID = 0,
    TALLY_RUN_BROKEN = 1,
    TALLY_RUN_INVALID = 2
} tally_run_verdict_t;

typedef struct {
    int64_t drain_ms;          // I20; 30 000 when 0
    uint64_t confirmed_min;    // fewer prove nothing; 1 000 when 0
    //  A run proves nothing, either, when no settle was refused as stale, none without an answer was done and none
    //  was not, no confirm was repeated, or a rule had nothing to check: for runs that are long enough for all that.
    bool strict;
} tally_check_options_t;

typedef struct tally_check tally_check_t;

//  Borrows the set, which must outlive it.
tally_check_t *
tally_check_new(const tally_history_set_t *set, const tally_check_options_t *options);
void tally_check_destroy(tally_check_t **self_p);

tally_run_verdict_t tally_check_verdict(const tally_check_t *self);
const tally_check_rule_t *tally_check_rule(const tally_check_t *self, tally_rule_t rule);
const tally_check_figures_t *tally_check_figures(const tally_check_t *self);
//  Why the run proves nothing; NULL when there is no n-th reason.
const char *tally_check_reason(const tally_check_t *self, size_t n);

//  Milliseconds from faults of one kind until things went on, see README.md.
typedef enum {
    TALLY_AFTER_FIRST,    // worker, term holder: the first message that it held is settled; broker: its successor's
                          // first lease is settled
    TALLY_AFTER_ALL,    // worker, term holder: the last message that it held is settled
    TALLY_AFTER_TERM,    // term holder: the first message of that tenant is settled under a newer term
    TALLY_AFTER_CONFIRM,    // any: from the end of the fault to the next confirm
    TALLY_AFTER_COUNT
} tally_after_t;

typedef struct {
    unsigned kind;
    uint64_t began, ended;
    uint64_t idle;    // of those whose victim is a worker: it held nothing
    struct {
        uint64_t samples;
        double p50_ms, p99_ms, max_ms;
    } after[TALLY_AFTER_COUNT];
} tally_check_fault_t;

//  Of fault kind 1 to TALLY_HISTORY_NUMBER_MAX.
void tally_check_fault(const tally_check_t *self, unsigned kind, tally_check_fault_t *fault);

//  For people, with lives of the first violations; for programs.
void tally_check_print(const tally_check_t *self, FILE *out);
void tally_check_print_json(const tally_check_t *self, FILE *out);
//  All that is known of a message, by time.
void tally_check_print_life(const tally_check_t *self, uint64_t number, FILE *out);
//  Of each worker that was killed or stopped, where the first of what it held was settled no sooner than that, the life
//  of that message.
void tally_check_print_slow(const tally_check_t *self, int64_t slow_ms, FILE *out);

#endif
