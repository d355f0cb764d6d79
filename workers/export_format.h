// SPDX-License-Identifier: MIT
//  export_format - stored responses as lines of CSV or NDJSON.
//
//  CSV is RFC 4180 in UTF-8, lines ended by CRLF: a header of `response_id` and the question ids,
//  then one line a response.  An empty cell is no answer, "" in quotes is the empty text; several
//  choices are a JSON array in one cell.  Values are exactly those that were sent, unless the guard
//  against spreadsheet formulas was asked for, which puts ' before texts that a spreadsheet would
//  run. NDJSON is each response as it was sent, so that a line can be submitted again.
//
//  Pure: appends to a buffer.  No file, no connection, no knowledge of exports.

#ifndef TALLY_EXPORT_FORMAT_H
#define TALLY_EXPORT_FORMAT_H

#include "lib/wire.h"
#include "workers/json.h"

typedef enum { TALLY_COLUMN_TEXT, TALLY_COLUMN_LIST, TALLY_COLUMN_NUMBER } tally_column_kind_t;

typedef struct {
    const char *question;    // its id, the key in a response's answers
    tally_column_kind_t kind;
} tally_column_t;

typedef struct {
    const tally_column_t *columns;    // borrowed
    size_t count;
    bool guard;    // CSV: against formulas
} tally_columns_t;

void tally_export_csv_header(tally_wire_t *out, const tally_columns_t *columns);

//  One response each; `body` is the JSON as it was stored.  0, or -1 when it is not a response,
//  with the problem told and the buffer as it was.
int tally_export_csv_line(tally_wire_t *out, const tally_columns_t *columns, tally_bytes_t body,
                          tally_problem_t *problem) TALLY_MUST_CHECK;
void tally_export_ndjson_line(tally_wire_t *out, tally_bytes_t body);

#endif
