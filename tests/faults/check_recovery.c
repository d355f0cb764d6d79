// SPDX-License-Identifier: MIT
//  check_recovery: how long after a fault things went on.
//
//  What a worker held when its fault began: what had been delivered to it and was neither settled nor given back.
//  Then the next settle of each of these counts, whoever makes it.

#include <math.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/check_state.h"

#define SETTLED_NS                                                                                 \
    1000000000    // so long after a clock was turned back, what it said may still count

static bool
is_worker(const tally_set_fault_t *fault)
{
    return fault->process > 0 && fault->process <= TALLY_HISTORY_PROCESS_MAX
           && (fault->victim == TALLY_VICTIM_WORKER || fault->victim == TALLY_VICTIM_TERM_HOLDER);
}

static int
compare_ends(const void *a, const void *b)
{
    const tally_fault_end_t *left = a, *right = b;
    return (left->ended_ns > right->ended_ns) - (left->ended_ns < right->ended_ns);
}

//  Faults of clocks, which are by time already; those that overlap become one.
static void
gather_turned(tally_check_t *self)
{
    tally_turned_t *last = NULL;
    for (size_t i = 0; i < self->set->fault_count; i++) {
        const tally_set_fault_t *fault = &self->set->faults[i];
        if (fault->victim != TALLY_VICTIM_CLOCK) {
            continue;
        }
        int64_t until_ns = fault->ended_ns != 0 ? fault->ended_ns + SETTLED_NS : TALLY_NEVER;
        if (last == NULL || fault->began_ns > last->until_ns) {
            last = tally_series_add(&self->turned);
            last->from_ns = fault->began_ns;
        }
        last->until_ns = until_ns > last->until_ns ? until_ns : last->until_ns;
    }
}

bool
tally_check_clock_turned(const tally_check_t *self, int64_t from_ns, int64_t until_ns)
{
    const tally_turned_t *turned = self->turned.items;
    size_t low = 0, high = self->turned.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (turned[middle].until_ns < from_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < self->turned.count && turned[low].from_ns <= until_ns;
}

//  Faults by process, and by the time they ended.
void
tally_check_recovery_begin(tally_check_t *self)
{
    const tally_history_set_t *set = self->set;
    self->outcomes = tally_alloc_array(set->fault_count, sizeof *self->outcomes);
    self->faults_of = tally_alloc_array(set->fault_count, sizeof *self->faults_of);
    self->faults_from = tally_alloc_array(TALLY_HISTORY_PROCESS_MAX + 2, sizeof *self->faults_from);
    for (size_t i = 0; i < set->fault_count; i++) {
        const tally_set_fault_t *fault = &set->faults[i];
        self->outcomes[i] = (tally_outcome_of_fault_t){.first_ns = TALLY_NEVER,
                                                       .term_ns = TALLY_NEVER,
                                                       .confirm_ns = TALLY_NEVER};
        if (is_worker(fault)) {
            self->faults_from[fault->process + 1]++;
        }
        if (fault->ended_ns != 0) {
            tally_fault_end_t *end = tally_series_add(&self->fault_ends);
            *end = (tally_fault_end_t){fault->ended_ns, i};
        }
    }
    for (size_t p = 1; p <= TALLY_HISTORY_PROCESS_MAX + 1; p++) {
        self->faults_from[p] += self->faults_from[p - 1];
    }
    uint32_t *next = tally_alloc_array(TALLY_HISTORY_PROCESS_MAX + 2, sizeof *next);
    memcpy(next, self->faults_from, (TALLY_HISTORY_PROCESS_MAX + 2) * sizeof *next);
    for (size_t i = 0; i < set->fault_count; i++) {
        if (is_worker(&set->faults[i])) {
            self->faults_of[next[set->faults[i].process]++] = i;
        }
    }
    free(next);
    gather_turned(self);
    tally_series_sort(&self->fault_ends, compare_ends);
}

//  Counts for the last fault that had ended; tally_check_recovery_end() hands it to those before.
void
tally_check_recovery_confirm(tally_check_t *self, int64_t at_ns)
{
    const tally_fault_end_t *ends = self->fault_ends.items;
    size_t low = 0, high = self->fault_ends.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ends[middle].ended_ns < at_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low > 0) {
        int64_t *confirm_ns = &self->outcomes[ends[low - 1].fault].confirm_ns;
        *confirm_ns = at_ns < *confirm_ns ? at_ns : *confirm_ns;
    }
}

//  A settle by a record to the sink has no answer: there it counts when it is sent.
static bool
is_settled(const tally_life_t *life, const tally_history_record_t *record)
{
    return record->kind == (life->transactional ? TALLY_TOLD_SETTLED : TALLY_DID_SETTLE);
}

//  The worker's own word that it holds the message no longer.
static bool
lets_go(const tally_life_t *life, const tally_moment_t *moment, const tally_moment_t *delivery)
{
    unsigned kind = moment->record->kind;
    return moment->file == delivery->file && moment->record->lease == delivery->record->lease
           && (is_settled(life, moment->record) || kind == TALLY_TOLD_STALE
               || kind == TALLY_DID_RETURN || kind == TALLY_DID_BURY);
}

//  The message was held by the fault's victim: when was it settled next?  Not at all when the victim's own settle
//  took effect and only its answer was lost.
static void
count_held(tally_check_t *self, const tally_life_t *life, size_t fault,
           const tally_moment_t *delivery)
{
    int64_t began_ns = self->set->faults[fault].began_ns;
    if (life->effect != NULL && life->effect->lease == delivery->record->lease
        && life->effect->process == delivery->file->process) {
        return;
    }
    tally_outcome_of_fault_t *outcome = &self->outcomes[fault];
    outcome->held++;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (is_settled(life, record) && record->at_ns > began_ns) {
            if (record->at_ns < outcome->first_ns) {
                outcome->first_ns = record->at_ns;
                outcome->first = life->number;
            }
            outcome->last_ns = record->at_ns > outcome->last_ns ? record->at_ns : outcome->last_ns;
            return;
        }
    }
}

static void
take_settled_term(tally_check_t *self, const tally_life_t *life)
{
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind == TALLY_TOLD_SETTLED && record->lease == life->effect->lease) {
            tally_check_settled_term(self, tally_stream_of(life->effect), life->effect->epoch,
                                     record->at_ns);
        }
    }
}

void
tally_check_recovery_message(tally_check_t *self, const tally_life_t *life)
{
    if (life->effect != NULL && life->effect->epoch != 0) {
        take_settled_term(self, life);
    }
    for (size_t i = 0; life->deliveries > 0 && i < life->count; i++) {
        const tally_moment_t *delivery = &life->moments[i];
        uint32_t process = delivery->file->process;
        uint32_t from = self->faults_from[process], to = self->faults_from[process + 1];
        if (delivery->record->kind != TALLY_TOLD_DELIVERED || from == to) {
            continue;
        }
        int64_t until_ns = TALLY_NEVER;
        for (size_t k = i + 1; k < life->count && until_ns == TALLY_NEVER; k++) {
            if (lets_go(life, &life->moments[k], delivery)) {
                until_ns = life->moments[k].record->at_ns;
            }
        }
        for (uint32_t f = from; f < to; f++) {
            int64_t began_ns = self->set->faults[self->faults_of[f]].began_ns;
            if (began_ns > delivery->record->at_ns && began_ns < until_ns) {
                count_held(self, life, self->faults_of[f], delivery);
            }
        }
    }
}

//  Of a broker: the first settle under a lease of a newer epoch than any seen before the fault.  None when no
//  broker followed it, as when it was only stopped for a while.
static void
end_broker(tally_check_t *self, size_t fault)
{
    const tally_epoch_t *epochs = self->epochs.items;
    int64_t began_ns = self->set->faults[fault].began_ns;
    int64_t next_fault_ns = TALLY_NEVER;
    for (size_t i = fault + 1; i < self->set->fault_count && next_fault_ns == TALLY_NEVER; i++) {
        if (self->set->faults[i].victim == TALLY_VICTIM_BROKER) {
            next_fault_ns = self->set->faults[i].began_ns;
        }
    }
    for (size_t i = 0; i < self->epochs.count; i++) {
        bool follows = epochs[i].told_ns > began_ns && epochs[i].told_ns < next_fault_ns;
        if (follows && epochs[i].told_ns != TALLY_NEVER && epochs[i].settled_ns != TALLY_NEVER) {
            self->outcomes[fault].first_ns = epochs[i].settled_ns;
            return;
        }
    }
}

//  When the next fault began that may change a tenant's terms as well.
static int64_t
next_disturbance_ns(const tally_check_t *self, size_t fault)
{
    for (size_t i = fault + 1; i < self->set->fault_count; i++) {
        const tally_set_fault_t *next = &self->set->faults[i];
        if (next->victim == TALLY_VICTIM_BROKER
            || (next->victim == TALLY_VICTIM_TERM_HOLDER
                && next->tenant == self->set->faults[fault].tenant)) {
            return next->began_ns;
        }
    }
    return TALLY_NEVER;
}

//  Of a term: the first settle under one that was first heard of after the fault.
static void
end_term(tally_check_t *self, size_t index)
{
    const tally_set_fault_t *fault = &self->set->faults[index];
    int64_t until_ns = next_disturbance_ns(self, index);
    const tally_told_term_t *terms = self->terms.items;
    int64_t *term_ns = &self->outcomes[index].term_ns;
    for (size_t i = 0; i < self->terms.count; i++) {
        bool same = terms[i].stream >> 16 == fault->tenant
                    && (fault->queue == 0 || (terms[i].stream & 0xffff) == fault->queue);
        if (same && terms[i].told_ns > fault->began_ns && terms[i].told_ns < until_ns
            && terms[i].settled_ns < *term_ns) {
            *term_ns = terms[i].settled_ns;
        }
    }
}

void
tally_check_recovery_end(tally_check_t *self)
{
    const tally_fault_end_t *ends = self->fault_ends.items;
    int64_t later_ns = TALLY_NEVER;
    for (size_t i = self->fault_ends.count; i > 0; i--) {
        int64_t *confirm_ns = &self->outcomes[ends[i - 1].fault].confirm_ns;
        later_ns = *confirm_ns < later_ns ? *confirm_ns : later_ns;
        *confirm_ns = later_ns;
    }
    for (size_t i = 0; i < self->set->fault_count; i++) {
        if (self->set->faults[i].victim == TALLY_VICTIM_BROKER) {
            end_broker(self, i);
        } else if (self->set->faults[i].victim == TALLY_VICTIM_TERM_HOLDER) {
            end_term(self, i);
        }
    }
}

//  ---- figures ------------------------------------------------------------------------------------------------

static int
compare_times(const void *a, const void *b)
{
    const int64_t *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

//  From what to what; false when it does not apply.
static bool
measure(const tally_check_t *self, size_t index, tally_after_t after, int64_t *took_ns)
{
    const tally_set_fault_t *fault = &self->set->faults[index];
    const tally_outcome_of_fault_t *outcome = &self->outcomes[index];
    int64_t from_ns = fault->began_ns, to_ns = TALLY_NEVER;
    switch (after) {
    case TALLY_AFTER_FIRST:
        to_ns = outcome->first_ns;
        break;
    case TALLY_AFTER_ALL:
        to_ns = outcome->last_ns > 0 ? outcome->last_ns : TALLY_NEVER;
        break;
    case TALLY_AFTER_TERM:
        to_ns = outcome->term_ns;
        break;
    default:
        from_ns = fault->ended_ns;
        to_ns = fault->ended_ns != 0 ? outcome->confirm_ns : TALLY_NEVER;
        break;
    }
    *took_ns = to_ns - from_ns;
    return to_ns != TALLY_NEVER;
}

static double
percentile_ms(const int64_t *sorted, size_t count, double part)
{
    size_t rank = (size_t)ceil(part * (double)count);
    return (double)sorted[rank > 0 ? rank - 1 : 0] / 1e6;
}

void
tally_check_fault(const tally_check_t *self, unsigned kind, tally_check_fault_t *fault)
{
    *fault = (tally_check_fault_t){.kind = kind};
    int64_t *took = tally_alloc_array(self->set->fault_count, sizeof *took);
    for (size_t i = 0; i < self->set->fault_count; i++) {
        if (self->set->faults[i].kind == kind) {
            fault->began++;
            fault->ended += self->set->faults[i].ended_ns != 0;
            fault->idle += is_worker(&self->set->faults[i]) && self->outcomes[i].held == 0;
        }
    }
    for (tally_after_t after = 0; after < TALLY_AFTER_COUNT; after++) {
        size_t count = 0;
        for (size_t i = 0; i < self->set->fault_count; i++) {
            if (self->set->faults[i].kind == kind && measure(self, i, after, &took[count])) {
                count++;
            }
        }
        fault->after[after].samples = count;
        if (count > 0) {
            qsort(took, count, sizeof *took, compare_times);
            fault->after[after].p50_ms = percentile_ms(took, count, 0.50);
            fault->after[after].p99_ms = percentile_ms(took, count, 0.99);
            fault->after[after].max_ms = (double)took[count - 1] / 1e6;
        }
    }
    free(took);
}
