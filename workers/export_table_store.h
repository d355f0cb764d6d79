// SPDX-License-Identifier: MIT
//  export_table_store - an export's table in the target database.
//
//  Rows go into a table aside, named ~ID, in transactions that also move the checkpoint and hold
//  its row, so each response is there once whatever dies in between, and a worker whose successor
//  has begun is refused.  When all are there the table aside takes the place of the one before in
//  one transaction: readers see the old or the new, never a part, and who could read the old may
//  read the new.
//
//  Everything is in schema tally_export of the target, which may be another database than Tally's
//  own; it is made when it is missing.

#ifndef TALLY_EXPORT_TABLE_STORE_H
#define TALLY_EXPORT_TABLE_STORE_H

#include "workers/export_format.h"
#include "workers/export_name.h"
#include "workers/export_store.h"

typedef struct tally_export_table tally_export_table_t;

//  Everything is borrowed for the life of the object.
tally_export_table_t *
tally_export_table_new(tally_db_t *target, const char *tenant, const char *survey, uint64_t id,
                       const tally_columns_t *columns);
//  Leaves what there is in the database.
void tally_export_table_destroy(tally_export_table_t **self_p);

//  Its name as SQL wants it: tally_export."acme/lunch".
const char *tally_export_table_target(const tally_export_table_t *self);

typedef struct {
    int64_t rows, last_number;
    bool published;    // by an earlier lease that did not come to settle
} tally_table_checkpoint_t;

//  Takes the table aside over for this lease, or begins it.
tally_export_answer_t
tally_export_table_open(tally_export_table_t *self, uint64_t lease,
                        tally_table_checkpoint_t *checkpoint) TALLY_MUST_CHECK;
//  Adds stored responses and moves the checkpoint.
tally_export_answer_t
tally_export_table_append(tally_export_table_t *self, const tally_bytes_t *bodies, size_t count,
                          int64_t last_number) TALLY_MUST_CHECK;
//  Puts it in place; *bytes is its size.
tally_export_answer_t
tally_export_table_publish(tally_export_table_t *self, uint64_t *bytes) TALLY_MUST_CHECK;
//  Removes the table aside and its checkpoint.
tally_export_answer_t tally_export_table_discard(tally_export_table_t *self) TALLY_MUST_CHECK;
//  Of the last answer that was not OK.
const char *tally_export_table_error(const tally_export_table_t *self);

#endif
