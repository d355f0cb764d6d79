// SPDX-License-Identifier: MIT
//  export_sink - where an export's rows go: a file or a table, behind one face.
//
//  Knows how rows are written down and made durable and visible; nothing of messages, leases' ends
//  or who asked. Answers other than OK, STALE and AWAY leave a text in tally_export_sink_why().

#ifndef TALLY_EXPORT_SINK_H
#define TALLY_EXPORT_SINK_H

#include "workers/export_file.h"
#include "workers/export_format.h"
#include "workers/export_request.h"
#include "workers/export_store.h"

typedef struct tally_export_sink tally_export_sink_t;

typedef struct {
    tally_place_rule_t place;
    tally_db_t *target;    // of tables
    bool guard;            // CSV: against spreadsheet formulas
} tally_export_outlet_t;

//  Everything is borrowed for the life of the object.
typedef struct {
    const char *tenant;
    uint64_t id;
    const tally_export_request_t *request;
    const tally_columns_t *columns;
} tally_export_subject_t;

tally_export_sink_t *
tally_export_sink_new(const tally_export_outlet_t *outlet, const tally_export_subject_t *subject);
//  Leaves what was checkpointed where it is.
void tally_export_sink_destroy(tally_export_sink_t **self_p);
//  Removes what is not visible yet; best effort, for exports that end without success.
void tally_export_sink_discard(tally_export_sink_t **self_p);
const char *tally_export_sink_why(const tally_export_sink_t *self);

//  Finds the place and the name.  REFUSED: the request asks for a place that it may not have.
tally_export_answer_t tally_export_sink_locate(tally_export_sink_t *self) TALLY_MUST_CHECK;
const char *
tally_export_sink_target(const tally_export_sink_t *self);    // for people; after locate

//  Makes ready for the rows behind row->last_number: goes on where this object was, else takes over
//  what an earlier lease left, else begins; the row's checkpoint is corrected to what is there.
//  *published: an earlier lease had finished it.
tally_export_answer_t
tally_export_sink_open(tally_export_sink_t *self, uint64_t lease, tally_export_row_t *row,
                       bool *published) TALLY_MUST_CHECK;
//  A piece of taking over; call it until *left is 0.
tally_export_answer_t
tally_export_sink_take_over(tally_export_sink_t *self, uint64_t *left) TALLY_MUST_CHECK;
//  After the first checkpoint under a lease: nothing of earlier ones is needed.
tally_export_answer_t tally_export_sink_tidy(tally_export_sink_t *self) TALLY_MUST_CHECK;

//  Adds a page of the store and moves the row's checkpoint fields.
tally_export_answer_t tally_export_sink_append(tally_export_sink_t *self, const tally_rows_t *page,
                                               tally_export_row_t *row) TALLY_MUST_CHECK;
//  What was added survives; the row may be written as a checkpoint.
tally_export_answer_t tally_export_sink_sync(tally_export_sink_t *self) TALLY_MUST_CHECK;
//  The row was written: rewind goes back to here, and the part is kept by destroy.
void tally_export_sink_mark(tally_export_sink_t *self, const tally_export_row_t *row);

//  How it is made visible: a file inside the transaction that settles, since the lock on the lease
//  is what keeps a late worker out; a table in a transaction of its own before, which its own
//  checkpoint fences.
bool tally_export_sink_publishes_first(const tally_export_sink_t *self);
tally_export_answer_t tally_export_sink_publish(tally_export_sink_t *self) TALLY_MUST_CHECK;
uint64_t tally_export_sink_bytes(const tally_export_sink_t *self);
//  NULL for a table.
const char *tally_export_sink_sha256(tally_export_sink_t *self);

#endif
