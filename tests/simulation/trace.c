// SPDX-License-Identifier: MIT
//  trace - see trace.h.

#include "tests/simulation/trace.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FNV_START 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u
#define ID_BITS 40
#define REPORT_BYTES_MAX (64 * 1024)
#define LINE_BYTES_MAX 256

static const sim_trace_t *current;
static uint64_t current_seed;
static int report_fd = -1;

static uint64_t
mix(uint64_t hash, uint64_t number)
{
    return (hash ^ number) * FNV_PRIME ^ (hash >> 29);
}

//  The event in words.
static void
put_words(const sim_told_t *told, char *line, size_t room)
{
    size_t size = 0;
    size_t next = 0;
    for (const char *at = told->text; *at != '\0' && size + 32 < room; at++) {
        if ((*at == '#' || *at == '@') && next < SIM_TRACE_NUMBERS) {
            uint64_t number = told->numbers[next++];
            int wrote = *at == '#'
                            ? snprintf(line + size, room - size, "%" PRId64, (int64_t)number)
                            : snprintf(line + size, room - size, "%" PRIu64 ".%" PRIu64,
                                       number >> ID_BITS, number & (((uint64_t)1 << ID_BITS) - 1));
            size += (size_t)wrote;
        } else {
            line[size++] = *at;
        }
    }
    line[size] = '\0';
}

//  And its time before them.
static void
put_together(const sim_told_t *told, char *line, size_t room)
{
    size_t size = (size_t)snprintf(line, room, "%9" PRId64 ".%03d  ", told->at_ms / 1000,
                                   (int)(told->at_ms % 1000));
    put_words(told, line + size, room - size);
}

void
sim_trace_add(sim_trace_t *self, int64_t at_ms, const char *text, const uint64_t *numbers,
              size_t count)
{
    assert(count >= 1);    // the first is only there so that there is one
    assert(count - 1 <= SIM_TRACE_NUMBERS);
    sim_told_t *told = &self->kept[self->count++ % SIM_TRACE_KEPT];
    *told = (sim_told_t){.at_ms = at_ms, .text = text};
    uint64_t hash = mix(self->hash == 0 ? FNV_START : self->hash, (uint64_t)at_ms);
    for (const char *at = text; *at != '\0'; at++) {
        hash = mix(hash, (uint8_t)*at);
    }
    for (size_t i = 1; i < count; i++) {
        told->numbers[i - 1] = numbers[i];
        hash = mix(hash, numbers[i]);
    }
    self->hash = hash;
    if (self->told) {
        char line[LINE_BYTES_MAX];
        put_together(told, line, sizeof line);
        puts(line);
    }
}

//  ---- the end of a run that broke a rule --------------------------------------------------------

void
sim_trace_begin(const sim_trace_t *self, uint64_t seed)
{
    current = self;
    current_seed = seed;
}

void
sim_trace_report_to(int fd)
{
    report_fd = fd;
}

static size_t
put_trace(char *report, size_t size, size_t room)
{
    uint64_t from = current->count > SIM_TRACE_KEPT ? current->count - SIM_TRACE_KEPT : 0;
    size += (size_t)snprintf(report + size, room - size, "the last events (seconds, what):\n");
    for (uint64_t i = from; i < current->count && size + LINE_BYTES_MAX < room; i++) {
        char line[LINE_BYTES_MAX];
        put_together(&current->kept[i % SIM_TRACE_KEPT], line, sizeof line);
        size += (size_t)snprintf(report + size, room - size, "%s\n", line);
    }
    return size;
}

static void __attribute__((noreturn)) report_and_end(const char *what)
{
    static char report[REPORT_BYTES_MAX];
    size_t size = (size_t)snprintf(report, sizeof report, "seed %" PRIu64 " broke a rule: %s\n",
                                   current_seed, what);
    if (current != NULL) {
        size = put_trace(report, size, sizeof report);
    }
    size += (size_t)snprintf(report + size, sizeof report - size,
                             "replay: simulate --seed %" PRIu64 " --trace\n", current_seed);
    fflush(stdout);
    int fd = report_fd == -1 ? STDERR_FILENO : report_fd;
    for (size_t at = 0; at < size;) {
        ssize_t wrote = write(fd, report + at, size - at);
        if (wrote <= 0) {
            break;
        }
        at += (size_t)wrote;
    }
    _exit(SIM_EXIT_BROKEN);
}

void
sim_broken(const char *invariant, const char *what, uint64_t a, uint64_t b)
{
    sim_told_t told = {.text = what, .numbers = {a, b}};
    char line[LINE_BYTES_MAX];
    put_words(&told, line, sizeof line);
    char text[LINE_BYTES_MAX + 64];
    snprintf(text, sizeof text, "%s: %s", invariant, line);
    report_and_end(text);
}

//  Instead of the C library's: every assertion that fails in this program ends the run by a report.
void
__assert_fail(const char *expression, const char *file, unsigned line, const char *function)
{
    bool model = strstr(file, "fake_store") != NULL;
    bool checked = strstr(file, "core_check") != NULL;
    char text[LINE_BYTES_MAX * 2];
    snprintf(text, sizeof text, "%s: %s:%u: %s: %s",
             model     ? "I16 (the model database refuses)"
             : checked ? "I16 (the core's own check)"
                       : "I16 (assertion)",
             file, line, function, expression);
    report_and_end(text);
}
