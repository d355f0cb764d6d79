// SPDX-License-Identifier: MIT
//  trace - what happened, in words: the last events for whoever looks for a mistake, and the hash
//  of all of them.
//
//  An event is a text and numbers: `#` in the text stands for the next number, `@` for the next id
//  (as epoch.sequence).  Texts are only put together when somebody reads them.  This is also where
//  a run ends when it breaks a rule: every assertion of the core and of the model database comes
//  here, too.

#ifndef SIM_TRACE_H
#define SIM_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_TRACE_KEPT 64
#define SIM_TRACE_NUMBERS 6

typedef struct {
    int64_t at_ms;
    const char *text;
    uint64_t numbers[SIM_TRACE_NUMBERS];
} sim_told_t;

typedef struct {
    uint64_t hash, count;
    bool told;    // printed at once
    sim_told_t kept[SIM_TRACE_KEPT];
} sim_trace_t;

void sim_trace_add(sim_trace_t *self, int64_t at_ms, const char *text, const uint64_t *numbers,
                   size_t count);
#define SIM_TRACE_AT(trace, at_ms, text, ...)                                                      \
    sim_trace_add(trace, at_ms, text, (const uint64_t[]){0, ##__VA_ARGS__},                        \
                  sizeof((const uint64_t[]){0, ##__VA_ARGS__}) / sizeof(uint64_t))

//  The run that is going on in this process, for the report; NULL: none.
void sim_trace_begin(const sim_trace_t *self, uint64_t seed);
//  Where the report goes; -1: standard error.  What the process exits with is SIM_EXIT_BROKEN.
void sim_trace_report_to(int fd);
#define SIM_EXIT_BROKEN 3

//  A rule is broken: reports the seed, the rule and the trace, and ends the process.
void sim_broken(const char *invariant, const char *what, uint64_t a, uint64_t b)
    __attribute__((noreturn));
#define SIM_REQUIRE(condition, invariant, what, a, b)                                              \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            sim_broken(invariant, what, (uint64_t)(a), (uint64_t)(b));                             \
        }                                                                                          \
    } while (0)

#endif
