// SPDX-License-Identifier: MIT
//  report - what was measured, as a table and as JSON.
//
//  A row is one figure, or one figure against another of the same run; a row with a target says whether it was met.
//  Every sample stands in the JSON, so that the noise of the machine can be seen.

#ifndef TALLY_BENCH_REPORT_H
#define TALLY_BENCH_REPORT_H

#include <jansson.h>
#include <stddef.h>

#define BENCH_SAMPLES_MAX 64

//  Figures of one thing, measured several times.
typedef struct {
    double values[BENCH_SAMPLES_MAX];
    size_t count;
} bench_samples_t;

void bench_samples_add(bench_samples_t *self, double value);
double bench_samples_median(const bench_samples_t *self);    // 0 when there is none

typedef enum { BENCH_NO_TARGET, BENCH_AT_LEAST, BENCH_AT_MOST } bench_rule_t;

typedef struct {
    const char *scenario;
    const char *what;    // copied
    const char *unit;
    const bench_samples_t *measured;
    const bench_samples_t *base;    // NULL: the figure stands for itself; else the ratio is judged
    bench_rule_t rule;
    double target;    // of the ratio, or of the figure
} bench_row_t;

typedef struct bench_report bench_report_t;

bench_report_t *bench_report_new(void);
void bench_report_destroy(bench_report_t **self_p);
void bench_report_add(bench_report_t *self, const bench_row_t *row);
//  A fact of the run: machine, versions, settings.
void bench_report_note(bench_report_t *self, const char *name, json_t *value);    // takes it
void bench_report_print(const bench_report_t *self);
//  -1 when the file cannot be written (errno).
int bench_report_write(const bench_report_t *self, const char *path);

#endif
