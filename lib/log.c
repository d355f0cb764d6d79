// SPDX-License-Identifier: MIT
#include "lib/log.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *name;
    int priority;    // of syslog(3)
} levels[] = {
    [TALLY_LOG_ERROR] = {"error", 3},
    [TALLY_LOG_WARN] = {"warn", 4},
    [TALLY_LOG_INFO] = {"info", 6},
    [TALLY_LOG_DEBUG] = {"debug", 7},
};
#define LEVEL_COUNT (sizeof levels / sizeof levels[0])

static atomic_int level_max = TALLY_LOG_INFO;
static bool to_journal;
static bool with_time;
static pthread_once_t environment_read = PTHREAD_ONCE_INIT;

static int
find_level(const char *name)
{
    for (size_t i = 0; i < LEVEL_COUNT; i++) {
        if (strcmp(levels[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static void
read_environment(void)
{
    to_journal = getenv("JOURNAL_STREAM") != NULL;
    with_time = getenv("TALLY_LOG_TIME") != NULL;
    const char *wanted = getenv("TALLY_LOG_LEVEL");
    int level = wanted == NULL ? -1 : find_level(wanted);
    if (level != -1) {
        atomic_store_explicit(&level_max, level, memory_order_relaxed);
    }
}

void
tally_log_set_level(tally_log_level_t level)
{
    pthread_once(&environment_read, read_environment);    // else the first line would undo it
    atomic_store_explicit(&level_max, (int)level, memory_order_relaxed);
}

int
tally_log_set_level_name(const char *name)
{
    int level = find_level(name);
    if (level == -1) {
        return -1;
    }
    tally_log_set_level((tally_log_level_t)level);
    return 0;
}

bool
tally_log_wants(tally_log_level_t level)
{
    pthread_once(&environment_read, read_environment);
    return (int)level <= atomic_load_explicit(&level_max, memory_order_relaxed);
}

static size_t
escape_byte(char out[5], unsigned char byte)
{
    if (byte >= 0x20 && byte != 0x7f) {
        out[0] = (char)byte;
        return 1;
    }
    out[0] = '\\';
    if (byte == '\n' || byte == '\t' || byte == '\r') {
        out[1] = byte == '\n' ? 'n' : byte == '\t' ? 't' : 'r';
        return 2;
    }
    snprintf(out + 1, 4, "x%02x", byte);
    return 4;
}

size_t
tally_log_escape(char *out, size_t room, tally_bytes_t text)
{
    static const char cut[] = "...";
    assert(room >= sizeof cut);

    size_t size = 0;
    size_t cut_at = 0;    // the last place from which "..." still fits
    for (size_t i = 0; i < text.size; i++) {
        char piece[5];
        size_t length = escape_byte(piece, ((const unsigned char *)text.data)[i]);
        cut_at = size + sizeof cut <= room ? size : cut_at;
        if (size + length >= room) {
            memcpy(out + cut_at, cut, sizeof cut);
            return cut_at + sizeof cut - 1;
        }
        memcpy(out + size, piece, length);
        size += length;
    }
    out[size] = '\0';
    return size;
}

static size_t
write_prefix(char *line, size_t room, tally_log_level_t level)
{
    size_t size = 0;
    if (to_journal) {
        size += (size_t)snprintf(line, room, "<%d>", levels[level].priority);
    } else if (with_time) {
        struct timespec now;
        struct tm parts;
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &parts);
        size += strftime(line, room, "%Y-%m-%dT%H:%M:%S", &parts);
        size += (size_t)snprintf(line + size, room - size, ".%03ldZ  ", now.tv_nsec / 1000000);
    }
    size += (size_t)snprintf(line + size, room - size, "%s  ", levels[level].name);
    assert(size < room);
    return size;
}

void
tally_log_write(tally_log_level_t level, const char *format, ...)
{
    if (!tally_log_wants(level)) {
        return;
    }
    int saved_errno = errno;
    char text[TALLY_LOG_LINE_BYTES_MAX] TALLY_BARE;
    va_list args;
    va_start(args, format);
    int printed = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    assert(printed >= 0);
    size_t size = (size_t)printed < sizeof text ? (size_t)printed : sizeof text - 1;

    char line[TALLY_LOG_LINE_BYTES_MAX + 1];
    size_t at = write_prefix(line, sizeof line, level);
    at += tally_log_escape(line + at, TALLY_LOG_LINE_BYTES_MAX - at, (tally_bytes_t){text, size});
    line[at++] = '\n';
    //  Nobody is left to tell when standard error itself does not take it.
    while (write(STDERR_FILENO, line, at) == -1 && errno == EINTR) {
    }
    errno = saved_errno;
}
