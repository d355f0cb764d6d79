// SPDX-License-Identifier: MIT
//  grid - a table for a terminal: aligned columns, a heading, escaped cells.
//
//  Cells are texts and may come from outside.  A column whose heading begins with '>' stands to the
//  right.

#ifndef TALLY_CMD_GRID_H
#define TALLY_CMD_GRID_H

#include "lib/bytes.h"

#include <stdio.h>

typedef struct tally_grid tally_grid_t;

//  `headings` has `count` texts; borrowed.
tally_grid_t *tally_grid_new(const char *const *headings, size_t count);
void tally_grid_destroy(tally_grid_t **self_p);
//  The next cell, row by row.
void tally_grid_add(tally_grid_t *self, const char *text);
void tally_grid_add_number(tally_grid_t *self, int64_t number);
//  Milliseconds as "120ms", "4.2s", "3m10s", "2h05m", "3d04h"; "-" below 0.
void tally_grid_add_time(tally_grid_t *self, int64_t ms);
void tally_grid_print(const tally_grid_t *self, FILE *out);

//  The same text of a time, for others.  `room` at least 16.
void tally_grid_format_time(char *out, size_t room, int64_t ms);
//  Columns that an UTF-8 text takes, counting each character as one.
size_t tally_grid_width(const char *text);

#endif
