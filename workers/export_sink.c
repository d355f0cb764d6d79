// SPDX-License-Identifier: MIT
#include "workers/export_sink.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "workers/export_table_store.h"

#define TAKE_OVER_BYTES (16 * 1024 * 1024)

struct tally_export_sink {
    const tally_export_outlet_t *outlet;
    tally_export_subject_t subject;
    tally_problem_t problem;    // of the last answer that was not OK
    //  a file
    tally_place_t place;
    char *name;
    char *target;
    tally_export_file_t *file;
    bool published;
    bool marked;                // the database knows this part
    tally_export_row_t mark;    // and what it says of it
    char sha256[TALLY_SHA256_HEX_SIZE];
    //  a table
    tally_export_table_t *table;
    uint64_t table_bytes;
    //  both
    tally_wire_t lines;
};

static bool
is_table(const tally_export_sink_t *self)
{
    return self->subject.request->format == TALLY_FORMAT_TABLE;
}

static tally_export_answer_t
answer_of_table(tally_export_sink_t *self, tally_export_answer_t code)
{
    if (code == TALLY_EXPORT_OK || code == TALLY_EXPORT_STALE) {
        return code;
    }
    tally_problem_set(&self->problem, "the table's database: %s",
                      tally_export_table_error(self->table));
    //  The target is not the database that our message is in: its absence is a failure like a full
    //  disk.
    return code == TALLY_EXPORT_BLOCKED ? code : TALLY_EXPORT_FAULT;
}

tally_export_sink_t *
tally_export_sink_new(const tally_export_outlet_t *outlet, const tally_export_subject_t *subject)
{
    tally_export_sink_t *self = tally_alloc(sizeof *self);
    self->outlet = outlet;
    self->subject = *subject;
    self->place.fd = -1;
    return self;
}

//  What the database does not know of will never be looked for.
static void
drop_file(tally_export_sink_t *self)
{
    if (self->marked) {
        tally_export_file_destroy(&self->file);
    } else {
        tally_export_file_discard(&self->file);
    }
    self->marked = false;
    self->published = false;
}

void
tally_export_sink_destroy(tally_export_sink_t **self_p)
{
    tally_export_sink_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    drop_file(self);
    tally_export_table_destroy(&self->table);
    tally_export_place_close(&self->place);
    tally_wire_free(&self->lines);
    free(self->name);
    free(self->target);
    free(self);
    *self_p = NULL;
}

void
tally_export_sink_discard(tally_export_sink_t **self_p)
{
    tally_export_sink_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    self->marked = false;
    if (self->table != NULL && tally_export_table_discard(self->table) != TALLY_EXPORT_OK) {
        tally_log_warn("could not drop an unfinished export's table: %s",
                       tally_export_table_error(self->table));
    }
    tally_export_sink_destroy(self_p);
}

const char *
tally_export_sink_why(const tally_export_sink_t *self)
{
    return self->problem.text;
}

const char *
tally_export_sink_target(const tally_export_sink_t *self)
{
    return is_table(self) ? tally_export_table_target(self->table) : self->target;
}

tally_export_answer_t
tally_export_sink_locate(tally_export_sink_t *self)
{
    const tally_export_subject_t *subject = &self->subject;
    if (is_table(self)) {
        if (self->table == NULL) {
            self->table = tally_export_table_new(self->outlet->target, subject->tenant,
                                                 subject->request->survey, subject->id,
                                                 subject->columns);
        }
        return TALLY_EXPORT_OK;
    }
    if (self->target != NULL) {
        return TALLY_EXPORT_OK;
    }
    tally_place_outcome_t outcome = tally_export_place_open(&self->outlet->place,
                                                            subject->request->out, &self->place,
                                                            &self->problem);
    if (outcome != TALLY_PLACE_OPEN) {
        return outcome == TALLY_PLACE_REFUSED ? TALLY_EXPORT_REFUSED : TALLY_EXPORT_FAULT;
    }
    self->name = tally_export_file_name(subject->tenant, subject->request->survey, subject->id,
                                        tally_export_format_name(subject->request->format));
    self->target = tally_format("%s/%s", self->place.path, self->name);
    return TALLY_EXPORT_OK;
}

//  ---- opening -----------------------------------------------------------------------------------

//  Is our file as far as the database says, and can it be written on?
static bool
goes_on(tally_export_sink_t *self, const tally_export_row_t *row)
{
    if (self->file == NULL || self->published || !self->marked
        || row->part != tally_export_file_lease(self->file)
        || row->file_bytes != self->mark.file_bytes || row->last_number != self->mark.last_number) {
        return false;
    }
    if (tally_export_file_rewind(self->file, &self->problem) == -1) {
        tally_log_warn("begins an export's file anew: %s", self->problem.text);
        return false;
    }
    return true;
}

static tally_export_answer_t
open_file(tally_export_sink_t *self, uint64_t lease, tally_export_row_t *row)
{
    if (goes_on(self, row)) {
        return TALLY_EXPORT_OK;
    }
    drop_file(self);
    self->file = tally_export_file_new(&self->place, self->name, lease, &self->problem);
    if (self->file == NULL) {
        return TALLY_EXPORT_FAULT;
    }
    bool inherits = row->part != 0
                    && tally_export_file_inherit(self->file, row->part, row->file_bytes);
    row->part = lease;
    if (inherits) {
        return TALLY_EXPORT_OK;
    }
    row->rows_done = 0;
    row->last_number = 0;
    tally_wire_reset(&self->lines);
    if (self->subject.request->format == TALLY_FORMAT_CSV) {
        tally_columns_t columns = *self->subject.columns;
        columns.guard = self->outlet->guard;
        tally_export_csv_header(&self->lines, &columns);
    }
    tally_bytes_t header = {self->lines.data, self->lines.size};
    row->file_bytes = header.size;
    return tally_export_file_write(self->file, header, &self->problem) == -1 ? TALLY_EXPORT_FAULT
                                                                             : TALLY_EXPORT_OK;
}

tally_export_answer_t
tally_export_sink_open(tally_export_sink_t *self, uint64_t lease, tally_export_row_t *row,
                       bool *published)
{
    *published = false;
    if (!is_table(self)) {
        return open_file(self, lease, row);
    }
    tally_table_checkpoint_t checkpoint;
    tally_export_answer_t code = tally_export_table_open(self->table, lease, &checkpoint);
    if (code == TALLY_EXPORT_OK) {
        //  With the same rows ours may have got further, over responses to other surveys.
        bool behind = row->rows_done != checkpoint.rows
                      || row->last_number < checkpoint.last_number;
        row->last_number = behind ? checkpoint.last_number : row->last_number;
        row->rows_done = checkpoint.rows;
        *published = checkpoint.published;
    }
    return answer_of_table(self, code);
}

tally_export_answer_t
tally_export_sink_take_over(tally_export_sink_t *self, uint64_t *left)
{
    *left = 0;
    if (is_table(self)) {
        return TALLY_EXPORT_OK;
    }
    if (tally_export_file_copy(self->file, TAKE_OVER_BYTES, left, &self->problem) == -1) {
        drop_file(self);    // with a full disk, what it holds is wanted elsewhere
        return TALLY_EXPORT_FAULT;
    }
    return TALLY_EXPORT_OK;
}

tally_export_answer_t
tally_export_sink_tidy(tally_export_sink_t *self)
{
    if (!is_table(self) && tally_export_file_remove_others(self->file, &self->problem) == -1) {
        return TALLY_EXPORT_FAULT;
    }
    return TALLY_EXPORT_OK;
}

//  ---- rows --------------------------------------------------------------------------------------

static tally_export_answer_t
append_to_table(tally_export_sink_t *self, const tally_rows_t *page, int64_t last_number)
{
    size_t count = (size_t)page->rows;
    tally_bytes_t *bodies = tally_alloc_array(count, sizeof *bodies);
    for (size_t i = 0; i < count; i++) {
        bodies[i] = tally_rows_bytes(page, (int)i, 1);
    }
    tally_export_answer_t code = tally_export_table_append(self->table, bodies, count, last_number);
    free(bodies);
    return answer_of_table(self, code);
}

static tally_export_answer_t
append_to_file(tally_export_sink_t *self, const tally_rows_t *page)
{
    tally_columns_t columns = *self->subject.columns;
    columns.guard = self->outlet->guard;
    tally_wire_reset(&self->lines);
    for (int i = 0; i < page->rows; i++) {
        tally_bytes_t body = tally_rows_bytes(page, i, 1);
        if (self->subject.request->format == TALLY_FORMAT_NDJSON) {
            tally_export_ndjson_line(&self->lines, body);
        } else if (tally_export_csv_line(&self->lines, &columns, body, &self->problem) == -1) {
            return TALLY_EXPORT_FAULT;
        }
    }
    tally_bytes_t lines = {self->lines.data, self->lines.size};
    return tally_export_file_write(self->file, lines, &self->problem) == -1 ? TALLY_EXPORT_FAULT
                                                                            : TALLY_EXPORT_OK;
}

tally_export_answer_t
tally_export_sink_append(tally_export_sink_t *self, const tally_rows_t *page,
                         tally_export_row_t *row)
{
    assert(page->rows > 0);
    int64_t last_number = tally_rows_int8(page, page->rows - 1, 0);
    tally_export_answer_t code = is_table(self) ? append_to_table(self, page, last_number)
                                                : append_to_file(self, page);
    if (code == TALLY_EXPORT_OK) {
        row->rows_done += page->rows;
        row->last_number = last_number;
        row->file_bytes = is_table(self) ? 0 : tally_export_file_bytes(self->file);
    }
    return code;
}

tally_export_answer_t
tally_export_sink_sync(tally_export_sink_t *self)
{
    if (!is_table(self) && tally_export_file_sync(self->file, &self->problem) == -1) {
        return TALLY_EXPORT_FAULT;
    }
    return TALLY_EXPORT_OK;
}

void
tally_export_sink_mark(tally_export_sink_t *self, const tally_export_row_t *row)
{
    if (!is_table(self)) {
        assert(row->file_bytes == tally_export_file_bytes(self->file));
        tally_export_file_mark(self->file);
        self->marked = true;
        self->mark = *row;
    }
}

//  ---- making visible ----------------------------------------------------------------------------

bool
tally_export_sink_publishes_first(const tally_export_sink_t *self)
{
    return is_table(self);
}

tally_export_answer_t
tally_export_sink_publish(tally_export_sink_t *self)
{
    if (is_table(self)) {
        return answer_of_table(self, tally_export_table_publish(self->table, &self->table_bytes));
    }
    self->published = true;    // from here on the part may be gone
    if (tally_export_file_publish(self->file, &self->problem) == -1) {
        return TALLY_EXPORT_FAULT;
    }
    return TALLY_EXPORT_OK;
}

uint64_t
tally_export_sink_bytes(const tally_export_sink_t *self)
{
    return is_table(self) ? self->table_bytes : tally_export_file_bytes(self->file);
}

const char *
tally_export_sink_sha256(tally_export_sink_t *self)
{
    if (is_table(self)) {
        return NULL;
    }
    tally_export_file_sha256(self->file, self->sha256);
    return self->sha256;
}
