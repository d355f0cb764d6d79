// SPDX-License-Identifier: MIT
//  report - see report.h.

#include "tests/bench/report.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"

struct bench_report {
    json_t *rows, *notes;
};

void
bench_samples_add(bench_samples_t *self, double value)
{
    assert(self->count < BENCH_SAMPLES_MAX);
    self->values[self->count++] = value;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double
bench_samples_median(const bench_samples_t *self)
{
    if (self->count == 0) {
        return 0;
    }
    double sorted[BENCH_SAMPLES_MAX];
    memcpy(sorted, self->values, self->count * sizeof sorted[0]);
    qsort(sorted, self->count, sizeof sorted[0], compare);
    size_t middle = self->count / 2;
    return self->count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

bench_report_t *
bench_report_new(void)
{
    bench_report_t *self = tally_alloc(sizeof *self);
    self->rows = json_array();
    self->notes = json_object();
    return self;
}

void
bench_report_destroy(bench_report_t **self_p)
{
    bench_report_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    json_decref(self->rows);
    json_decref(self->notes);
    free(self);
    *self_p = NULL;
}

//  Of samples taken in turns each with its neighbour, so that a machine that changes its speed changes both.
static double
ratio_of(const bench_samples_t *measured, const bench_samples_t *base)
{
    bench_samples_t ratios = {0};
    for (size_t i = 0; measured->count == base->count && i < base->count; i++) {
        bench_samples_add(&ratios, base->values[i] > 0 ? measured->values[i] / base->values[i] : 0);
    }
    if (ratios.count > 0) {
        return bench_samples_median(&ratios);
    }
    double against = bench_samples_median(base);
    return against > 0 ? bench_samples_median(measured) / against : 0;
}

static json_t *
json_samples(const bench_samples_t *samples)
{
    json_t *array = json_array();
    for (size_t i = 0; i < samples->count; i++) {
        json_array_append_new(array, json_real(samples->values[i]));
    }
    return array;
}

void
bench_report_add(bench_report_t *self, const bench_row_t *row)
{
    double measured = bench_samples_median(row->measured);
    double judged = measured;
    json_t *object = json_pack("{s:s, s:s, s:s, s:f, s:o}", "scenario", row->scenario, "what",
                               row->what, "unit", row->unit, "measured", measured, "samples",
                               json_samples(row->measured));
    if (row->base != NULL) {
        double base = bench_samples_median(row->base);
        judged = ratio_of(row->measured, row->base);
        json_object_set_new(object, "base", json_real(base));
        json_object_set_new(object, "base_samples", json_samples(row->base));
        json_object_set_new(object, "ratio", json_real(judged));
    }
    if (row->rule != BENCH_NO_TARGET) {
        bool met = row->rule == BENCH_AT_LEAST ? judged >= row->target : judged <= row->target;
        json_object_set_new(object, "target", json_real(row->target));
        json_object_set_new(object, "rule",
                            json_string(row->rule == BENCH_AT_LEAST ? "at least" : "at most"));
        json_object_set_new(object, "met", json_boolean(met));
    }
    json_array_append_new(self->rows, object);
}

void
bench_report_note(bench_report_t *self, const char *name, json_t *value)
{
    json_object_set_new(self->notes, name, value);
}

static void
format_figure(char *out, size_t room, const json_t *row, const char *name)
{
    const json_t *value = json_object_get(row, name);
    double number = json_number_value(value);
    if (value == NULL) {
        snprintf(out, room, "-");
    } else {
        snprintf(out, room, number >= 100 ? "%.0f" : number >= 10 ? "%.1f" : "%.3f", number);
    }
}

void
bench_report_print(const bench_report_t *self)
{
    size_t index;
    json_t *row;
    printf("\n%-11s %-58s %10s %10s %-8s %6s %9s\n", "SCENARIO", "WHAT", "MEASURED", "AGAINST",
           "UNIT", "RATIO", "TARGET");
    json_array_foreach(self->rows, index, row) {
        char measured[32], base[32], ratio[32], target[32];
        format_figure(measured, sizeof measured, row, "measured");
        format_figure(base, sizeof base, row, "base");
        format_figure(ratio, sizeof ratio, row, "ratio");
        format_figure(target, sizeof target, row, "target");
        bool has_target = json_object_get(row, "target") != NULL;
        bool is_met = json_is_true(json_object_get(row, "met"));
        const char *rule = json_string_value(json_object_get(row, "rule"));
        printf("%-11s %-58s %10s %10s %-8s %6s %s%-7s %s\n",
               json_string_value(json_object_get(row, "scenario")),
               json_string_value(json_object_get(row, "what")), measured, base,
               json_string_value(json_object_get(row, "unit")), ratio,
               !has_target                     ? "  "
               : strcmp(rule, "at least") == 0 ? ">="
                                               : "<=",
               has_target ? target : "",
               !has_target ? ""
               : is_met    ? "met"
                           : "NOT MET");
    }
}

int
bench_report_write(const bench_report_t *self, const char *path)
{
    json_t *object = json_pack("{s:O, s:O}", "run", self->notes, "rows", self->rows);
    int rc = json_dump_file(object, path, JSON_INDENT(1));
    json_decref(object);
    return rc;
}
