// SPDX-License-Identifier: MIT
//  sender - which numbered sends of a sender were accepted.
//
//  All up to `last`, except those missing; sequences more than TALLY_SEND_WINDOW below `last` are
//  refused, so a ring of bits is enough.  Pending ones are accepted, but their plan is not
//  committed.

#ifndef TALLY_SENDER_H
#define TALLY_SENDER_H

#include "broker/plan.h"
#include "broker/table.h"

#define TALLY_SENDER_RING (2 * TALLY_SEND_WINDOW)    // window and both its edges

typedef struct {
    uint8_t id[TALLY_SENDER_BYTES];
    int64_t last;
    uint32_t missing_count;
    uint32_t unconfirmed;    // in the plans being collected and out
    bool touched;            // its row is in the plan that is being collected
    uint64_t missing[TALLY_SENDER_RING / 64];
    uint64_t pending[TALLY_SENDER_RING / 64];
} tally_sender_t;

typedef struct {
    tally_names_t by_id;
} tally_senders_t;

typedef enum {
    TALLY_SEQUENCE_NEW = 1,
    TALLY_SEQUENCE_PENDING,
    TALLY_SEQUENCE_KNOWN,
    TALLY_SEQUENCE_OUTSIDE,
} tally_sequence_t;

void tally_senders_init(tally_senders_t *self, uint64_t seed);
void tally_senders_free(tally_senders_t *self);
tally_sender_t *
tally_senders_find(const tally_senders_t *self, const uint8_t id[TALLY_SENDER_BYTES]);
//  What memory knows already is never older than a row, and stays.
void tally_senders_load(tally_senders_t *self, const tally_sender_row_t *row);
//  Nothing happens while it has something pending.
void tally_senders_forget(tally_senders_t *self, const uint8_t id[TALLY_SENDER_BYTES]);

tally_sequence_t tally_sender_look(const tally_sender_t *self, uint64_t sequence);
//  A new sequence is accepted: pending until tally_sender_confirm.
void tally_sender_accept(tally_sender_t *self, uint64_t sequence);
void tally_sender_confirm(tally_sender_t *self, uint64_t sequence);
//  Writes the row; the missing ones go to plan->missing, row->missing is to be set by
//  tally_sender_link_rows.
void tally_sender_write(tally_sender_t *self, tally_plan_t *plan);
void tally_sender_link_rows(tally_plan_t *plan);

#endif
