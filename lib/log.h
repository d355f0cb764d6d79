// SPDX-License-Identifier: MIT
//  log - one line per fact, to standard error, for people and for journald.
//
//      tally_log_warn("could not reach database: %s  attempt=%d retry_in_ms=%d", why, attempt, delay);
//
//  prints `warn  could not reach database: connection refused  attempt=3 retry_in_ms=800`: what did not
//  happen and why in words, two spaces, then key=value.  Whatever comes from outside is harmless: control
//  characters are escaped.  A line is one write(2), so lines of threads and processes do not mix.  Lines below the
//  level cost one comparison.  No files, no rotation, no formats: whoever started us owns standard error.
//
//  Under journald (JOURNAL_STREAM is set) a line begins with its `<N>` priority; with TALLY_LOG_TIME set, with
//  the UTC time.

#ifndef TALLY_LOG_H
#define TALLY_LOG_H

#include "lib/bytes.h"

typedef enum { TALLY_LOG_ERROR, TALLY_LOG_WARN, TALLY_LOG_INFO, TALLY_LOG_DEBUG } tally_log_level_t;

#define TALLY_LOG_LINE_BYTES_MAX 4096    // longer ones are cut, and say so

//  Lines above `level` are not written.  Before any call: INFO, or the level named by TALLY_LOG_LEVEL.
void tally_log_set_level(tally_log_level_t level);
//  By name ("error", "warn", "info", "debug"); -1 when there is no such level.
int tally_log_set_level_name(const char *name) TALLY_MUST_CHECK;
bool tally_log_wants(tally_log_level_t level);

//  Keeps errno.
void tally_log_write(tally_log_level_t level, const char *format, ...) TALLY_PRINTF(2, 3);

#define tally_log_error(...) tally_log_write(TALLY_LOG_ERROR, __VA_ARGS__)
#define tally_log_warn(...) tally_log_write(TALLY_LOG_WARN, __VA_ARGS__)
#define tally_log_info(...) tally_log_write(TALLY_LOG_INFO, __VA_ARGS__)
#define tally_log_debug(...)                                                                       \
    do {                                                                                           \
        if (tally_log_wants(TALLY_LOG_DEBUG)) {                                                    \
            tally_log_write(TALLY_LOG_DEBUG, __VA_ARGS__);                                         \
        }                                                                                          \
    } while (0)

//  Writes `text` into `out` with control characters as \n, \t or \xNN, NUL-terminated; cut with "..." when it
//  does not fit.  Returns the length written.  What the log does to its lines, for tests and terminals.
size_t tally_log_escape(char *out, size_t room, tally_bytes_t text);

#endif
