// SPDX-License-Identifier: MIT
//  check_state - what the parts of the checker share; of check*.c alone.

#ifndef TALLY_TEST_CHECK_STATE_H
#define TALLY_TEST_CHECK_STATE_H

#include "tests/faults/check.h"
#include "tests/faults/series.h"

#define TALLY_NEVER INT64_MAX
#define EPOCH_OF(id) ((id) >> 40)

//  A record that names a message.
typedef struct {
    uint64_t number;
    uint64_t place;    // index of its file << 40 | index of its record
} tally_entry_t;

//  Deliveries of one lease, one behind the other in a history.
typedef struct {
    uint64_t lease;
    uint32_t stream;    // tenant << 16 | queue
    uint32_t process;
    uint64_t number;    // of its first message
} tally_run_t;

//  Epochs of brokers: when each was first seen to be at work.
typedef struct {
    uint64_t epoch;
    int64_t told_ns;
    int64_t settled_ns;    // first settle under a lease of it
    int64_t from_ns;       // when it or any newer one was first seen
} tally_epoch_t;

//  A term, as one process heard of it.
typedef struct {
    uint32_t stream;
    uint32_t process;
    uint64_t epoch;
    int64_t told_ns;
    int64_t newer_ns;      // when any newer term of the stream was first told
    int64_t settled_ns;    // first settle under it; of the first that heard of it
} tally_told_term_t;

//  A message with a key that is at an end or still there.
typedef struct {
    uint32_t stream, key;
    uint64_t id, number;
    int64_t delivered_ns;    // first; TALLY_NEVER
    int64_t settle_ns;       // when that settle was tried which took effect
    uint32_t serial;
    bool pending;
} tally_keyed_t;

//  An effect under a term.
typedef struct {
    uint32_t stream, serial;
    uint64_t epoch, number;
} tally_termed_t;

//  A message with a dedupe key that was stored, or may have been dropped for it.
typedef struct {
    uint32_t stream;
    uint64_t dedupe, number;
    bool stored;
} tally_deduped_t;

//  A process's sender, and what the database says of it.
typedef struct {
    bool named, known;
    uint64_t last;
    char text[TALLY_HISTORY_TEXT_BYTES];
} tally_sender_state_t;

typedef struct {
    uint32_t process;
    uint64_t sequence;
} tally_missing_t;

//  What came of one fault, by its index in the set.
typedef struct {
    uint64_t held;     // messages that its victim held
    uint64_t first;    // the one of them that was settled first, at first_ns
    int64_t first_ns, last_ns, term_ns, confirm_ns;
} tally_outcome_of_fault_t;

//  A fault that ended.
typedef struct {
    int64_t ended_ns;
    size_t fault;
} tally_fault_end_t;

//  From when until when some clock was turned.
typedef struct {
    int64_t from_ns, until_ns;
} tally_turned_t;

//  One record of a life.
typedef struct {
    const tally_history_record_t *record;
    const tally_history_file_t *file;
} tally_moment_t;

//  All records of one message by time, and what they come to.
typedef struct {
    uint64_t number;
    tally_moment_t *moments;
    size_t count, room;
    const tally_moment_t *send;    // first
    const tally_history_record_t *effect, *pending, *dead;
    unsigned sends, confirms, refusals, given_up, deliveries, settles, returns_counted, buries;
    unsigned effects, messages, dead_letters, inboxes;
    bool duplicate;        // confirmed as one that was not stored
    bool transactional;    // of its queue
} tally_life_t;

struct tally_check {
    const tally_history_set_t *set;
    tally_check_options_t options;
    tally_check_rule_t rules[TALLY_RULE_COUNT];
    tally_check_figures_t figures;
    char **reasons;
    size_t reason_count;
    int64_t start_ns;    // of the first record
    tally_series_t entries, runs, epochs, terms, keyed, termed, deduped, missing, fault_ends,
        turned;
    tally_sender_state_t *senders;    // by process
    //  by process: its faults are faults_of[from[p]] to faults_of[from[p + 1] - 1], by time
    uint32_t *faults_from;
    size_t *faults_of;
    tally_outcome_of_fault_t *outcomes;
    uint64_t pending_rows, lease_rows;
};

//  numbers: 0 for none.
void tally_check_violated(tally_check_t *self, tally_rule_t rule, uint64_t one, uint64_t other,
                          const char *format, ...) TALLY_PRINTF(5, 6);
void tally_check_doubt(tally_check_t *self, const char *format, ...) TALLY_PRINTF(2, 3);

//  check_scan: all records once, in their files.
void tally_check_scan(tally_check_t *self);
//  Whether two processes send as one: a client that was killed and its successor.
bool tally_check_same_sender(const tally_check_t *self, uint32_t one, uint32_t other);
int tally_check_compare_missing(const void *a, const void *b);
//  check_epoch: brokers' and terms' epochs.  Told: before the end of the scan; the rest: after it.
void tally_check_told_epoch(tally_check_t *self, uint64_t epoch, int64_t at_ns, bool settled);
void tally_check_close_epochs(tally_check_t *self);
//  When a broker newer than that epoch was first seen at work; TALLY_NEVER.
int64_t tally_check_newer_broker_ns(const tally_check_t *self, uint64_t epoch);
//  When a term of that stream newer than that epoch was first told of; TALLY_NEVER.
int64_t tally_check_newer_term_ns(const tally_check_t *self, uint32_t stream, uint64_t epoch);
//  A message was settled under a term.
void tally_check_settled_term(tally_check_t *self, uint32_t stream, uint64_t epoch, int64_t at_ns);
void tally_check_terms_against_rows(tally_check_t *self);
//  check_message, check_delivery: one message.
void tally_check_message(tally_check_t *self, const tally_life_t *life);
void tally_check_deliveries(tally_check_t *self, const tally_life_t *life);
//  check_order: between messages.
void tally_check_orders(tally_check_t *self);
//  check_recovery
void tally_check_recovery_begin(tally_check_t *self);
//  Whether some clock was turned in that time.
bool tally_check_clock_turned(const tally_check_t *self, int64_t from_ns, int64_t until_ns);
void tally_check_recovery_confirm(tally_check_t *self, int64_t at_ns);
void tally_check_recovery_message(tally_check_t *self, const tally_life_t *life);
void tally_check_recovery_end(tally_check_t *self);

//  check: the life of a message, for the report.  moments are the caller's to free.
void tally_check_life(const tally_check_t *self, uint64_t number, tally_life_t *life);

static inline uint32_t
tally_stream_of(const tally_history_record_t *record)
{
    return (uint32_t)record->tenant << 16 | record->queue;
}

#endif
