// SPDX-License-Identifier: MIT
//  file - see file.h.

#include "clients/cmd/file.h"

#include "lib/alloc.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES (256 * 1024)

static char why[256];

static void
set_why(const char *text)
{
    snprintf(why, sizeof why, "%s", text);
}

const char *
tally_file_why(void)
{
    return why;
}

static int
open_file(const char *path)
{
    if (strcmp(path, "-") == 0) {
        return STDIN_FILENO;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1) {
        set_why(strerror(errno));
    }
    return fd;
}

static void
close_file(int fd)
{
    if (fd != STDIN_FILENO) {
        close(fd);
    }
}

//  Bytes read, 0 at the end, -1 after setting why.
static ssize_t
read_some(int fd, char *into, size_t room)
{
    ssize_t got;
    do {
        got = read(fd, into, room);
    } while (got == -1 && errno == EINTR);
    if (got == -1) {
        set_why(strerror(errno));
    }
    return got;
}

char *
tally_file_read(const char *path, size_t bytes_max, size_t *bytes)
{
    int fd = open_file(path);
    if (fd == -1) {
        return NULL;
    }
    char *text = NULL;
    size_t count = 0;
    ssize_t got;
    do {
        text = tally_realloc(text, count + CHUNK_BYTES + 1);
        got = read_some(fd, text + count, CHUNK_BYTES);
        count += got > 0 ? (size_t)got : 0;
    } while (got > 0 && count <= bytes_max);
    close_file(fd);
    if (count > bytes_max) {
        snprintf(why, sizeof why, "larger than %zu bytes", bytes_max);
    }
    if (got == -1 || count > bytes_max) {
        free(text);
        return NULL;
    }
    text[count] = '\0';
    *bytes = count;
    return text;
}

//  ---- lines -------------------------------------------------------------------------------------

struct tally_lines {
    int fd;
    char *buffer;    // of room bytes; what is unread stands from begin to end
    size_t begin, end, room;
    size_t looked;    // bytes from begin that are known to have no line end
    size_t line_bytes_max;
    bool ended;
    bool skips;    // within a line that is too long
    uint64_t number;
    uint64_t bytes_read;
    uint64_t bytes_total;
};

tally_lines_t *
tally_lines_new(const char *path, size_t line_bytes_max)
{
    int fd = open_file(path);
    if (fd == -1) {
        return NULL;
    }
    tally_lines_t *self = tally_alloc(sizeof *self);
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
        self->bytes_total = (uint64_t)info.st_size;
    }
    self->fd = fd;
    self->line_bytes_max = line_bytes_max;
    self->room = line_bytes_max + CHUNK_BYTES;
    self->buffer = tally_alloc(self->room);
    return self;
}

void
tally_lines_destroy(tally_lines_t **self_p)
{
    assert(self_p != NULL);
    tally_lines_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    close_file(self->fd);
    free(self->buffer);
    free(self);
    *self_p = NULL;
}

//  Makes room behind the unread bytes and reads more; -1 after a failure.
static int
fill(tally_lines_t *self)
{
    memmove(self->buffer, self->buffer + self->begin, self->end - self->begin);
    self->end -= self->begin;
    self->begin = 0;
    ssize_t got = read_some(self->fd, self->buffer + self->end, self->room - self->end);
    if (got == -1) {
        return -1;
    }
    self->ended = got == 0;
    self->end += (size_t)got;
    self->bytes_read += (uint64_t)got;
    return 0;
}

//  Takes `size` bytes and the line end behind them.
static tally_line_kind_t
take_line(tally_lines_t *self, size_t size, size_t end_bytes, tally_bytes_t *line)
{
    const char *at = self->buffer + self->begin;
    self->begin += size + end_bytes;
    self->looked = 0;
    self->number++;
    if (self->skips || size > self->line_bytes_max) {
        self->skips = false;
        return TALLY_LINE_TOO_LONG;
    }
    size -= size > 0 && at[size - 1] == '\r' ? 1 : 0;
    *line = (tally_bytes_t){at, size};
    return TALLY_LINE_WHOLE;
}

tally_line_kind_t
tally_lines_next(tally_lines_t *self, tally_bytes_t *line)
{
    for (;;) {
        size_t unread = self->end - self->begin;
        const char *at = self->buffer + self->begin;
        const char *found = memchr(at + self->looked, '\n', unread - self->looked);
        if (found != NULL) {
            return take_line(self, (size_t)(found - at), 1, line);
        }
        self->looked = unread;
        if (self->ended) {
            return unread > 0 || self->skips ? take_line(self, unread, 0, line) : TALLY_LINE_END;
        }
        if (unread > self->line_bytes_max) {
            self->skips = true;
            self->begin = self->end;
            self->looked = 0;
        }
        if (fill(self) == -1) {
            return TALLY_LINE_FAILED;
        }
    }
}

uint64_t
tally_lines_number(const tally_lines_t *self)
{
    return self->number;
}

uint64_t
tally_lines_bytes_read(const tally_lines_t *self)
{
    return self->bytes_read;
}

uint64_t
tally_lines_bytes_total(const tally_lines_t *self)
{
    return self->bytes_total;
}
