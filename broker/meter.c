// SPDX-License-Identifier: MIT
//  meter - see meter.h.
//
//  Two histograms a series: one is filled, the other holds the half minute before; so what is read is recent, and an
//  old peak does not stay for ever.

#include "broker/meter.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/histogram.h"

#define GENERATION_NS 30000000000

typedef struct {
    uint64_t count, sum;
    tally_histogram_t *now, *before;    // owned
} series_t;

struct tally_meter {
    series_t series[TALLY_METER_SERIES];
    uint64_t collecting_ns;
    uint64_t sealed[TALLY_METER_SERIES];    // of the plan under way
    int64_t turned_ns;                      // when the generations changed
    tally_histogram_t *both;                // room to read in; owned
};

tally_meter_t *
tally_meter_new(int64_t now_ns)
{
    tally_meter_t *self = tally_alloc(sizeof *self);
    for (int i = 0; i < TALLY_METER_SERIES; i++) {
        self->series[i].now = tally_histogram_new();
        self->series[i].before = tally_histogram_new();
    }
    self->both = tally_histogram_new();
    self->turned_ns = now_ns;
    return self;
}

void
tally_meter_destroy(tally_meter_t **self_p)
{
    tally_meter_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (int i = 0; i < TALLY_METER_SERIES; i++) {
        tally_histogram_destroy(&self->series[i].now);
        tally_histogram_destroy(&self->series[i].before);
    }
    tally_histogram_destroy(&self->both);
    free(self);
    *self_p = NULL;
}

void
tally_meter_collect(tally_meter_t *self, int64_t ns)
{
    self->collecting_ns += (uint64_t)ns;
}

void
tally_meter_seal(tally_meter_t *self)
{
    for (int i = 0; i < TALLY_METER_SERIES; i++) {
        self->sealed[i] = 0;
    }
    self->sealed[TALLY_METER_COLLECT] = self->collecting_ns;
    self->collecting_ns = 0;
}

void
tally_meter_add(tally_meter_t *self, tally_meter_series_t series, uint64_t value)
{
    assert(series < TALLY_METER_SERIES);
    self->sealed[series] += value;
}

static void
turn(series_t *series)
{
    tally_histogram_t *old = series->before;
    tally_histogram_clear(old);
    series->before = series->now;
    series->now = old;
}

void
tally_meter_finish(tally_meter_t *self, int64_t now_ns)
{
    bool is_over = now_ns - self->turned_ns >= GENERATION_NS;
    self->turned_ns = is_over ? now_ns : self->turned_ns;
    for (int i = 0; i < TALLY_METER_SERIES; i++) {
        series_t *series = &self->series[i];
        if (is_over) {
            turn(series);
        }
        series->count++;
        series->sum += self->sealed[i];
        tally_histogram_add(series->now, self->sealed[i], 1);
    }
}

void
tally_meter_read(const tally_meter_t *self, tally_meter_series_t series,
                 tally_meter_figures_t *figures)
{
    assert(series < TALLY_METER_SERIES);
    const series_t *from = &self->series[series];
    tally_histogram_clear(self->both);
    tally_histogram_merge(self->both, from->now);
    tally_histogram_merge(self->both, from->before);
    *figures = (tally_meter_figures_t){.count = from->count,
                                       .sum = from->sum,
                                       .p50 = tally_histogram_quantile(self->both, 0.5),
                                       .p99 = tally_histogram_quantile(self->both, 0.99),
                                       .max = tally_histogram_max(self->both)};
}
