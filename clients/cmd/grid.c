// SPDX-License-Identifier: MIT
//  grid - see grid.h.

#include "clients/cmd/grid.h"

#include "lib/alloc.h"
#include "lib/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#define GAP 2

struct tally_grid {
    const char *const *headings;
    size_t columns;
    char **cells;    // owned, row by row
    size_t count;
    size_t room;
};

tally_grid_t *
tally_grid_new(const char *const *headings, size_t count)
{
    assert(count > 0);
    tally_grid_t *self = tally_alloc(sizeof *self);
    self->headings = headings;
    self->columns = count;
    return self;
}

void
tally_grid_destroy(tally_grid_t **self_p)
{
    assert(self_p != NULL);
    tally_grid_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        free(self->cells[i]);
    }
    free(self->cells);
    free(self);
    *self_p = NULL;
}

void
tally_grid_add(tally_grid_t *self, const char *text)
{
    if (self->count == self->room) {
        self->room = self->room == 0 ? 64 : self->room * 2;
        self->cells = tally_realloc_array(self->cells, self->room, sizeof *self->cells);
    }
    size_t room = 4 * strlen(text) + 8;
    char *cell = tally_alloc(room);
    tally_log_escape(cell, room, tally_bytes_of(text));
    self->cells[self->count++] = cell;
}

void
tally_grid_add_number(tally_grid_t *self, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, number);
    tally_grid_add(self, text);
}

void
tally_grid_format_time(char *out, size_t room, int64_t ms)
{
    int64_t s = ms / 1000;
    if (ms < 0) {
        snprintf(out, room, "-");
    } else if (ms < 1000) {
        snprintf(out, room, "%" PRId64 "ms", ms);
    } else if (s < 60) {
        snprintf(out, room, "%" PRId64 ".%" PRId64 "s", s, ms / 100 % 10);
    } else if (s < 3600) {
        snprintf(out, room, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    } else if (s < 24 * 3600) {
        snprintf(out, room, "%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
    } else {
        snprintf(out, room, "%" PRId64 "d%02" PRId64 "h", s / 86400, s / 3600 % 24);
    }
}

void
tally_grid_add_time(tally_grid_t *self, int64_t ms)
{
    char text[32];
    tally_grid_format_time(text, sizeof text, ms);
    tally_grid_add(self, text);
}

size_t
tally_grid_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80 ? 1 : 0;
    }
    return width;
}

static bool
is_right(const tally_grid_t *self, size_t column)
{
    return self->headings[column][0] == '>';
}

static const char *
heading(const tally_grid_t *self, size_t column)
{
    return self->headings[column] + (is_right(self, column) ? 1 : 0);
}

static void
print_cell(const tally_grid_t *self, FILE *out, size_t column, const char *text, size_t width)
{
    size_t pad = width - tally_grid_width(text);
    bool is_last = column + 1 == self->columns;
    fprintf(out, "%*s%s%*s", is_right(self, column) ? (int)pad : 0, "", text,
            is_last || is_right(self, column) ? 0 : (int)pad, "");
    fprintf(out, "%*s", is_last ? 0 : GAP, "");
}

void
tally_grid_print(const tally_grid_t *self, FILE *out)
{
    assert(self->count % self->columns == 0);
    size_t *widths = tally_alloc_array(self->columns, sizeof *widths);
    for (size_t column = 0; column < self->columns; column++) {
        widths[column] = tally_grid_width(heading(self, column));
        for (size_t i = column; i < self->count; i += self->columns) {
            size_t width = tally_grid_width(self->cells[i]);
            widths[column] = width > widths[column] ? width : widths[column];
        }
    }
    for (size_t column = 0; column < self->columns; column++) {
        print_cell(self, out, column, heading(self, column), widths[column]);
    }
    for (size_t i = 0; i < self->count; i++) {
        size_t column = i % self->columns;
        if (column == 0) {
            putc('\n', out);
        }
        print_cell(self, out, column, self->cells[i], widths[column]);
    }
    putc('\n', out);
    free(widths);
}
