// SPDX-License-Identifier: MIT
//  check_epoch: brokers' epochs and terms, by when they were first seen at work.
//
//  What was seen was committed before.  From then on nobody older can commit: whatever was tried later and
//  shows an older epoch was written by one who should not have been able to.

#include "tests/faults/check_state.h"

static size_t
find_epoch(const tally_check_t *self, uint64_t epoch)
{
    const tally_epoch_t *epochs = self->epochs.items;
    size_t low = 0, high = self->epochs.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (epochs[middle].epoch < epoch) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void
tally_check_told_epoch(tally_check_t *self, uint64_t epoch, int64_t at_ns, bool settled)
{
    size_t place = find_epoch(self, epoch);
    tally_epoch_t *epochs = self->epochs.items;
    if (place == self->epochs.count || epochs[place].epoch != epoch) {
        tally_series_add(&self->epochs);
        epochs = self->epochs.items;
        memmove(epochs + place + 1, epochs + place,
                (self->epochs.count - 1 - place) * sizeof *epochs);
        epochs[place] = (tally_epoch_t){epoch, TALLY_NEVER, TALLY_NEVER, TALLY_NEVER};
    }
    int64_t *slot = settled ? &epochs[place].settled_ns : &epochs[place].told_ns;
    *slot = at_ns < *slot ? at_ns : *slot;
}

int64_t
tally_check_newer_broker_ns(const tally_check_t *self, uint64_t epoch)
{
    const tally_epoch_t *epochs = self->epochs.items;
    size_t place = find_epoch(self, epoch + 1);
    return place < self->epochs.count ? epochs[place].from_ns : TALLY_NEVER;
}

//  ---- terms --------------------------------------------------------------------------------------------------

static int
compare_terms(const void *a, const void *b)
{
    const tally_told_term_t *left = a, *right = b;
    if (left->stream != right->stream) {
        return left->stream < right->stream ? -1 : 1;
    }
    if (left->epoch != right->epoch) {
        return left->epoch < right->epoch ? -1 : 1;
    }
    return (left->told_ns > right->told_ns) - (left->told_ns < right->told_ns);
}

//  One holder for each; and when anything newer was first told.
static void
close_terms(tally_check_t *self)
{
    tally_series_sort(&self->terms, compare_terms);
    tally_told_term_t *terms = self->terms.items;
    int64_t newer_ns = TALLY_NEVER, own_ns = TALLY_NEVER;
    for (size_t i = self->terms.count; i > 0; i--) {
        tally_told_term_t *term = &terms[i - 1];
        const tally_told_term_t *after = i < self->terms.count ? &terms[i] : NULL;
        if (after == NULL || after->stream != term->stream) {
            newer_ns = own_ns = TALLY_NEVER;
        } else if (after->epoch != term->epoch) {
            newer_ns = own_ns < newer_ns ? own_ns : newer_ns;
            own_ns = TALLY_NEVER;
        } else if (after->process != term->process) {
            tally_check_violated(
                self, TALLY_RULE_TERM, 0, 0,
                "term %llu of queue %s for tenant %s was told to processes %u and %u",
                (unsigned long long)term->epoch,
                tally_history_set_queue(self->set, term->stream & 0xffff),
                tally_history_set_tenant(self->set, term->stream >> 16), term->process,
                after->process);
        }
        own_ns = term->told_ns < own_ns ? term->told_ns : own_ns;
        term->newer_ns = newer_ns;
        bool first = i == 1 || terms[i - 2].stream != term->stream
                     || terms[i - 2].epoch != term->epoch;
        self->figures.terms += first;
        self->rules[TALLY_RULE_TERM].checked += first;
    }
}

void
tally_check_close_epochs(tally_check_t *self)
{
    tally_epoch_t *epochs = self->epochs.items;
    int64_t from_ns = TALLY_NEVER;
    for (size_t i = self->epochs.count; i > 0; i--) {
        tally_epoch_t *epoch = &epochs[i - 1];
        from_ns = epoch->told_ns < from_ns ? epoch->told_ns : from_ns;
        epoch->from_ns = from_ns;
        self->figures.broker_epochs += epoch->told_ns != TALLY_NEVER && epoch->epoch != 0;
    }
    close_terms(self);
    tally_check_terms_against_rows(self);
}

//  The first told term of a stream that is at least as new.
static tally_told_term_t *
find_term(const tally_check_t *self, uint32_t stream, uint64_t epoch)
{
    tally_told_term_t *terms = self->terms.items;
    tally_told_term_t wanted = {.stream = stream, .epoch = epoch};
    size_t low = 0, high = self->terms.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_terms(&terms[middle], &wanted) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < self->terms.count && terms[low].stream == stream ? &terms[low] : NULL;
}

int64_t
tally_check_newer_term_ns(const tally_check_t *self, uint32_t stream, uint64_t epoch)
{
    const tally_told_term_t *term = find_term(self, stream, epoch);
    if (term == NULL) {
        return TALLY_NEVER;
    }
    if (term->epoch == epoch) {
        return term->newer_ns;
    }
    return term->told_ns < term->newer_ns ? term->told_ns : term->newer_ns;
}

void
tally_check_settled_term(tally_check_t *self, uint32_t stream, uint64_t epoch, int64_t at_ns)
{
    tally_told_term_t *term = find_term(self, stream, epoch);
    if (term != NULL && term->epoch == epoch && at_ns < term->settled_ns) {
        term->settled_ns = at_ns;
    }
}

//  Whatever was told was in the database before: its last term is at least as new.
void
tally_check_terms_against_rows(tally_check_t *self)
{
    for (size_t i = 0; i < self->set->file_count; i++) {
        const tally_history_file_t *file = &self->set->files[i];
        for (size_t k = 0; file->writer == TALLY_WRITER_DATABASE && k < file->count; k++) {
            const tally_history_record_t *row = &file->records[k];
            if (row->kind != TALLY_ROW_TERM) {
                continue;
            }
            const tally_told_term_t *newer = find_term(self, tally_stream_of(row), row->epoch + 1);
            if (newer != NULL) {
                tally_check_violated(
                    self, TALLY_RULE_TERM, 0, 0,
                    "term %llu of queue %s for tenant %s was told; the database knows of %llu",
                    (unsigned long long)newer->epoch,
                    tally_history_set_queue(self->set, row->queue),
                    tally_history_set_tenant(self->set, row->tenant),
                    (unsigned long long)row->epoch);
            }
        }
    }
}
