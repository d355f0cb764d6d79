// SPDX-License-Identifier: MIT
//  check_order: what holds between messages: keys, dedupe keys, terms, tokens.

#include "tests/faults/check_state.h"

static int
compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

//  ---- tokens -------------------------------------------------------------------------------------------------

//  I7: deliveries of one lease stand together in one history, and are of one queue and tenant.
static void
check_runs(tally_check_t *self)
{
    tally_series_sort_by_number(&self->runs);
    const tally_run_t *runs = self->runs.items;
    for (size_t i = 1; i < self->runs.count; i++) {
        const tally_run_t *one = &runs[i - 1], *other = &runs[i];
        if (one->lease == other->lease) {
            tally_check_violated(self, TALLY_RULE_TOKEN, one->number, other->number,
                                 "lease %llu is used twice: process %u, queue %s, tenant %s; "
                                 "process %u, queue %s, tenant %s",
                                 (unsigned long long)one->lease, one->process,
                                 tally_history_set_queue(self->set, one->stream & 0xffff),
                                 tally_history_set_tenant(self->set, one->stream >> 16),
                                 other->process,
                                 tally_history_set_queue(self->set, other->stream & 0xffff),
                                 tally_history_set_tenant(self->set, other->stream >> 16));
        }
    }
}

//  ---- keys ---------------------------------------------------------------------------------------------------

static int
compare_keyed(const void *a, const void *b)
{
    const tally_keyed_t *left = a, *right = b;
    if (left->stream != right->stream) {
        return left->stream < right->stream ? -1 : 1;
    }
    if (left->key != right->key) {
        return left->key < right->key ? -1 : 1;
    }
    return compare_numbers(left->id, right->id);
}

//  I13: of a key one after the other, in the order in which the broker took them.
static void
check_keys(tally_check_t *self)
{
    tally_series_sort(&self->keyed, compare_keyed);
    const tally_keyed_t *keyed = self->keyed.items;
    for (size_t i = 1; i < self->keyed.count; i++) {
        const tally_keyed_t *first = &keyed[i - 1], *second = &keyed[i];
        if (first->stream != second->stream || first->key != second->key) {
            continue;
        }
        self->rules[TALLY_RULE_ORDER].checked++;
        const char *wrong = NULL;
        if (first->pending && !second->pending) {
            wrong = "is done, the one before it is not";
        } else if (!first->pending && !second->pending && second->serial <= first->serial) {
            wrong = "was done before the one before it";
        } else if (!first->pending && second->delivered_ns < first->settle_ns) {
            wrong = "was delivered before the one before it was settled";
        }
        if (wrong != NULL) {
            tally_check_violated(self, TALLY_RULE_ORDER, second->number, first->number,
                                 "of key %u, message id %llu %s, id %llu", second->key,
                                 (unsigned long long)second->id, wrong,
                                 (unsigned long long)first->id);
        }
    }
}

//  ---- dedupe keys --------------------------------------------------------------------------------------------

static int
compare_deduped(const void *a, const void *b)
{
    const tally_deduped_t *left = a, *right = b;
    if (left->stream != right->stream) {
        return left->stream < right->stream ? -1 : 1;
    }
    int order = compare_numbers(left->dedupe, right->dedupe);
    return order != 0 ? order : (int)right->stored - (int)left->stored;    // stored ones first
}

static bool
same_key(const tally_deduped_t *a, const tally_deduped_t *b)
{
    return a->stream == b->stream && a->dedupe == b->dedupe;
}

//  I3: a dedupe key lets one in.  I1: and what was confirmed is not there only because one is in.
static void
check_deduped(tally_check_t *self)
{
    tally_series_sort(&self->deduped, compare_deduped);
    const tally_deduped_t *deduped = self->deduped.items;
    for (size_t i = 0; i < self->deduped.count; i++) {
        bool first = i == 0 || !same_key(&deduped[i - 1], &deduped[i]);
        if (first && !deduped[i].stored && self->set->has_rows) {
            tally_check_violated(
                self, TALLY_RULE_LOSS, deduped[i].number, 0,
                "confirmed, but neither it nor another with its dedupe key is there");
        } else if (!first && deduped[i].stored) {
            tally_check_violated(self, TALLY_RULE_IDENTITY, deduped[i].number,
                                 deduped[i - 1].number, "dedupe key %llu let two messages in",
                                 (unsigned long long)deduped[i].dedupe);
        }
    }
}

//  ---- terms --------------------------------------------------------------------------------------------------

static int
compare_termed(const void *a, const void *b)
{
    const tally_termed_t *left = a, *right = b;
    if (left->stream != right->stream) {
        return left->stream < right->stream ? -1 : 1;
    }
    return compare_numbers(left->serial, right->serial);
}

//  I15: effects of a stream are of terms that only grow.
static void
check_termed(tally_check_t *self)
{
    tally_series_sort(&self->termed, compare_termed);
    const tally_termed_t *termed = self->termed.items;
    for (size_t i = 1; i < self->termed.count; i++) {
        const tally_termed_t *before = &termed[i - 1], *after = &termed[i];
        if (before->stream == after->stream && after->epoch < before->epoch) {
            tally_check_violated(self, TALLY_RULE_TERM, after->number, before->number,
                                 "an effect under term %llu follows one under term %llu",
                                 (unsigned long long)after->epoch,
                                 (unsigned long long)before->epoch);
        }
    }
}

void
tally_check_orders(tally_check_t *self)
{
    check_runs(self);
    check_keys(self);
    check_deduped(self);
    check_termed(self);
}
