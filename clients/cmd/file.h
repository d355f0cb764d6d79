// SPDX-License-Identifier: MIT
//  file - reads what users name: whole files, and files of lines, both bounded.
//
//  "-" is standard input.  Nothing is believed of a size that the file system says.

#ifndef TALLY_CMD_FILE_H
#define TALLY_CMD_FILE_H

#include "lib/bytes.h"

//  All of it with a NUL behind; the caller's.  NULL when it cannot be read or is larger.
char *tally_file_read(const char *path, size_t bytes_max, size_t *bytes);
//  Of the last call here that failed.
const char *tally_file_why(void);

//  Lines of a file, one at a time, in memory for one line.
typedef struct tally_lines tally_lines_t;

typedef enum {
    TALLY_LINE_WHOLE,
    TALLY_LINE_TOO_LONG,    // passed over
    TALLY_LINE_END,
    TALLY_LINE_FAILED,    // tally_file_why() says why
} tally_line_kind_t;

//  NULL when it cannot be opened.
tally_lines_t *tally_lines_new(const char *path, size_t line_bytes_max);
void tally_lines_destroy(tally_lines_t **self_p);
//  *line is borrowed until the next call and has no line end (LF or CRLF).
tally_line_kind_t tally_lines_next(tally_lines_t *self, tally_bytes_t *line);
//  Of the last one, from 1.
uint64_t tally_lines_number(const tally_lines_t *self);
uint64_t tally_lines_bytes_read(const tally_lines_t *self);
//  0 when not known.
uint64_t tally_lines_bytes_total(const tally_lines_t *self);

#endif
