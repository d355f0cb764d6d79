// SPDX-License-Identifier: MIT
//  check_delivery: one message from its first delivery to its end: tokens, fence, attempts, times.

#include "tests/faults/check_state.h"

#define EARLY_NS                                                                                   \
    50000000    // the broker counts whole milliseconds, and its clock is not ours after a restart

//  Of the settles that a process tried under a lease, the first that may have taken effect: one whose COMMIT was
//  not answered may, although it was tried again.  When all were told to be rolled back, the last; NULL when there
//  was none.
static const tally_history_record_t *
find_settle(const tally_life_t *life, uint32_t process, uint64_t lease)
{
    const tally_history_record_t *found = NULL, *last = NULL;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->lease != lease || life->moments[i].file->process != process) {
            continue;
        }
        if (record->kind == TALLY_DID_SETTLE) {
            last = record;
            found = found == NULL ? record : found;
        } else if (record->kind == TALLY_TOLD_STALE || record->kind == TALLY_TOLD_FAILED) {
            found = found == last ? NULL : found;
        }
    }
    return found != NULL ? found : last;
}

static bool
was_delivered(const tally_life_t *life, uint32_t process, uint64_t lease)
{
    for (size_t i = 0; i < life->count; i++) {
        const tally_moment_t *moment = &life->moments[i];
        if (moment->record->kind == TALLY_TOLD_DELIVERED && moment->record->lease == lease
            && moment->file->process == process) {
            return true;
        }
    }
    return false;
}

//  Whether every settle tried under the lease was told to be rolled back.
static bool
was_rolled_back(const tally_life_t *life, uint64_t lease)
{
    unsigned tried = 0, rolled_back = 0;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->lease == lease) {
            tried += record->kind == TALLY_DID_SETTLE;
            rolled_back += record->kind == TALLY_TOLD_STALE || record->kind == TALLY_TOLD_FAILED;
        }
    }
    return rolled_back > 0 && rolled_back >= tried;
}

//  I6: it took effect under a lease that this worker held, and that was the newest when it settled.  I8: and nobody
//  was given it afterwards.
static void
check_fence(tally_check_t *self, const tally_life_t *life, const tally_history_record_t *effect)
{
    self->rules[TALLY_RULE_FENCE].checked++;
    self->rules[TALLY_RULE_LEASE].checked++;
    const tally_history_record_t *settle = find_settle(life, effect->process, effect->lease);
    if (settle == NULL || !was_delivered(life, effect->process, effect->lease)) {
        tally_check_violated(self, TALLY_RULE_FENCE, life->number, 0,
                             "effect of process %u under lease %llu, which it never %s",
                             effect->process, (unsigned long long)effect->lease,
                             settle == NULL ? "settled" : "was given");
        return;
    }
    if (was_rolled_back(life, effect->lease)) {
        tally_check_violated(self, TALLY_RULE_FENCE, life->number, 0,
                             "its settle under lease %llu was refused, and yet has an effect",
                             (unsigned long long)effect->lease);
    }
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind != TALLY_TOLD_DELIVERED || record->lease <= effect->lease) {
            continue;
        }
        bool before = record->at_ns < settle->at_ns;
        tally_check_violated(self, before ? TALLY_RULE_FENCE : TALLY_RULE_LEASE, life->number, 0,
                             before ? "settled under lease %llu after it was delivered under %llu"
                                    : "settled under lease %llu, and delivered again under %llu",
                             (unsigned long long)effect->lease, (unsigned long long)record->lease);
        return;
    }
}

//  I15: an effect is under the term of its delivery, and that was the newest when it settled.
static void
check_term(tally_check_t *self, const tally_life_t *life, const tally_history_record_t *effect)
{
    unsigned queue = effect->queue;
    bool exclusive = queue <= TALLY_HISTORY_NUMBER_MAX
                     && (self->set->queues[queue].flags & TALLY_QUEUE_EXCLUSIVE) != 0;
    if (!exclusive) {
        return;
    }
    self->rules[TALLY_RULE_TERM].checked++;
    tally_termed_t *termed = tally_series_add(&self->termed);
    *termed = (tally_termed_t){tally_stream_of(effect), effect->serial, effect->epoch,
                               life->number};
    const tally_history_record_t *settle = find_settle(life, effect->process, effect->lease);
    if (effect->epoch == 0 || (settle != NULL && settle->epoch != effect->epoch)) {
        tally_check_violated(self, TALLY_RULE_TERM, life->number, 0,
                             "its effect is under term %llu, settled was under %llu",
                             (unsigned long long)effect->epoch,
                             (unsigned long long)(settle != NULL ? settle->epoch : 0));
        return;
    }
    if (settle != NULL
        && tally_check_newer_term_ns(self, tally_stream_of(effect), effect->epoch)
               < settle->at_ns) {
        tally_check_violated(self, TALLY_RULE_TERM, life->number, 0,
                             "settled under term %llu after a newer one was told",
                             (unsigned long long)effect->epoch);
    }
}

//  The next delivery by lease: the smallest lease above `after`.
static const tally_moment_t *
next_by_lease(const tally_life_t *life, uint64_t after)
{
    const tally_moment_t *next = NULL;
    for (size_t i = 0; i < life->count; i++) {
        const tally_moment_t *moment = &life->moments[i];
        if (moment->record->kind == TALLY_TOLD_DELIVERED && moment->record->lease > after
            && (next == NULL || moment->record->lease < next->record->lease)) {
            next = moment;
        }
    }
    return next;
}

//  I7: a token is given to one process, once.
static void
check_tokens(tally_check_t *self, const tally_life_t *life)
{
    for (size_t i = 0; life->deliveries > 1 && i < life->count; i++) {
        const tally_moment_t *one = &life->moments[i];
        for (size_t k = i + 1; one->record->kind == TALLY_TOLD_DELIVERED && k < life->count; k++) {
            const tally_moment_t *other = &life->moments[k];
            if (other->record->kind == TALLY_TOLD_DELIVERED
                && other->record->lease == one->record->lease) {
                tally_check_violated(self, TALLY_RULE_TOKEN, life->number, 0,
                                     "lease %llu was delivered to process %u and to process %u",
                                     (unsigned long long)one->record->lease, one->file->process,
                                     other->file->process);
            }
        }
    }
}

static void
check_counts(tally_check_t *self, const tally_life_t *life, const tally_history_record_t *before,
             const tally_history_record_t *now)
{
    const tally_counts_t *counts = &now->counts;
    const char *wrong = NULL;
    if (before != NULL && counts->deliveries <= before->counts.deliveries
        && counts->deliveries != UINT8_MAX) {
        wrong = "deliveries do not grow";
    } else if (before != NULL
               && (counts->failures < before->counts.failures
                   || counts->crashes < before->counts.crashes)) {
        wrong = "failures or crashes were forgotten";
    } else if (counts->failures > life->returns_counted) {
        wrong = "more failures than were said";
    } else if (counts->crashes >= counts->deliveries && counts->crashes > 0) {
        wrong = "more crashes than deliveries that are over";
    }
    if (wrong != NULL) {
        tally_check_violated(self, TALLY_RULE_ATTEMPTS, life->number, 0,
                             "delivery under lease %llu: %s (%u deliveries, %u failures, %u "
                             "crashes told; %u failures said)",
                             (unsigned long long)now->lease, wrong, counts->deliveries,
                             counts->failures, counts->crashes, life->returns_counted);
    }
}

//  I11: counted as they were, the body unchanged, not delivered once its failures are used up.
static void
check_attempts(tally_check_t *self, const tally_life_t *life)
{
    const tally_history_record_t *before = NULL;
    const tally_moment_t *moment = next_by_lease(life, 0);
    for (; moment != NULL; moment = next_by_lease(life, before->lease)) {
        const tally_history_record_t *record = moment->record;
        self->rules[TALLY_RULE_ATTEMPTS].checked++;
        self->figures.redelivered += before != NULL;
        check_counts(self, life, before, record);
        unsigned failures_max = record->queue <= TALLY_HISTORY_NUMBER_MAX
                                    ? self->set->queues[record->queue].failures_max
                                    : 0;
        if (failures_max > 0 && record->counts.failures >= failures_max) {
            tally_check_violated(self, TALLY_RULE_ATTEMPTS, life->number, 0,
                                 "delivered after %u failures, at most %u", record->counts.failures,
                                 failures_max);
        }
        if (record->code != TALLY_BODY_INTACT) {
            tally_check_violated(self, TALLY_RULE_ATTEMPTS, life->number, 0,
                                 "delivered under lease %llu with another body",
                                 (unsigned long long)record->lease);
        }
        before = record;
    }
}

//  I11: buried only by a worker's word or when used up.
static void
check_dead(tally_check_t *self, const tally_life_t *life)
{
    const tally_history_record_t *dead = life->dead;
    if (dead == NULL || dead->queue > TALLY_HISTORY_NUMBER_MAX) {
        return;
    }
    self->rules[TALLY_RULE_ATTEMPTS].checked++;
    const tally_set_queue_t *queue = &self->set->queues[dead->queue];
    bool used_up = (queue->failures_max == 0 || dead->counts.failures >= queue->failures_max)
                   || (queue->crashes_max == 0 || dead->counts.crashes >= queue->crashes_max);
    if (life->buries == 0 && !used_up) {
        tally_check_violated(
            self, TALLY_RULE_ATTEMPTS, life->number, 0,
            "buried after %u failures of %u and %u crashes of %u, by nobody's word",
            dead->counts.failures, queue->failures_max, dead->counts.crashes, queue->crashes_max);
    }
}

//  I12: a delayed message is not delivered before it is due, unless a clock was turned while it waited.
static void
check_early(tally_check_t *self, const tally_life_t *life)
{
    const tally_history_record_t *send = life->send != NULL ? life->send->record : NULL;
    if (send == NULL || send->delay_ms == 0) {
        return;
    }
    int64_t due_ns = send->at_ns + (int64_t)send->delay_ms * 1000000;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind == TALLY_TOLD_DELIVERED
            && !tally_check_clock_turned(self, send->at_ns, record->at_ns)) {
            self->rules[TALLY_RULE_EARLY].checked++;
            if (record->at_ns + EARLY_NS < due_ns) {
                tally_check_violated(self, TALLY_RULE_EARLY, life->number, 0,
                                     "delivered %lld ms before it was due",
                                     (long long)((due_ns - record->at_ns) / 1000000));
                return;
            }
        }
    }
}

static void
keep_key(tally_check_t *self, const tally_life_t *life)
{
    const tally_history_record_t *send = life->send != NULL ? life->send->record : NULL;
    if (send == NULL || send->key == 0 || (send->code & TALLY_SENT_UNORDERED) != 0
        || life->dead_letters > 0 || life->inboxes > 0
        || (life->effect == NULL && life->pending == NULL)) {
        return;
    }
    const tally_history_record_t *row = life->effect != NULL ? life->effect : life->pending;
    tally_keyed_t *keyed = tally_series_add(&self->keyed);
    *keyed = (tally_keyed_t){
        .stream = tally_stream_of(send),
        .key = send->key,
        .id = row->id,
        .number = life->number,
        .delivered_ns = TALLY_NEVER,
        .serial = life->effect != NULL ? life->effect->serial : 0,
        .pending = life->effect == NULL,
    };
    for (size_t i = life->count; i > 0; i--) {
        const tally_history_record_t *record = life->moments[i - 1].record;
        if (record->kind == TALLY_TOLD_DELIVERED) {
            keyed->delivered_ns = record->at_ns;    // the first in the end
        }
    }
    if (life->effect != NULL) {
        const tally_history_record_t *settle = find_settle(life, life->effect->process,
                                                           life->effect->lease);
        keyed->settle_ns = settle != NULL ? settle->at_ns : 0;
    }
}

//  Settles whose COMMIT was not answered, and what became of them.
static void
count_unknown(tally_check_t *self, const tally_life_t *life)
{
    for (size_t i = 0; life->transactional && i < life->count; i++) {
        const tally_moment_t *tried = &life->moments[i];
        if (tried->record->kind != TALLY_DID_SETTLE) {
            continue;
        }
        bool answered = false;
        for (size_t k = i + 1; k < life->count; k++) {
            const tally_moment_t *later = &life->moments[k];
            answered = answered
                       || (later->file == tried->file
                           && later->record->lease == tried->record->lease
                           && later->record->kind >= TALLY_TOLD_SETTLED
                           && later->record->kind <= TALLY_TOLD_FAILED);
        }
        if (!answered) {
            self->figures.unknown++;
            self->figures.unknown_done += life->effect != NULL
                                          && life->effect->lease == tried->record->lease;
        }
    }
}

void
tally_check_deliveries(tally_check_t *self, const tally_life_t *life)
{
    for (size_t i = 0; life->effects > 0 && i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind == TALLY_ROW_EFFECT) {
            check_fence(self, life, record);
            check_term(self, life, record);
        }
    }
    check_tokens(self, life);
    check_attempts(self, life);
    check_dead(self, life);
    check_early(self, life);
    keep_key(self, life);
    count_unknown(self, life);
}
