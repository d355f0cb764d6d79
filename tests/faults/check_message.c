// SPDX-License-Identifier: MIT
//  check_message: one message: was it kept, stored once, ended once, and was what was told of it true.

#include <stdlib.h>

#include "tests/faults/check_state.h"

static bool
is_stored(const tally_life_t *life)
{
    return life->deliveries + life->effects + life->messages + life->dead_letters + life->inboxes
           > 0;
}

//  Refused for certain, each time it was tried.
static bool
is_refused(const tally_life_t *life)
{
    return life->sends > 0 && life->confirms == 0 && life->given_up == 0
           && life->refusals >= life->sends;
}

static void
count_send(tally_check_figures_t *figures, const tally_life_t *life)
{
    if (life->sends == 0) {
        return;
    }
    figures->sent++;
    if (life->confirms > 0) {
        figures->confirmed++;
    } else if (is_refused(life)) {
        figures->refused++;
    } else {
        figures->unanswered++;
    }
}

//  Confirmed as repeated alone, which does not say what was dropped for its dedupe key.
static bool
may_be_duplicate(const tally_life_t *life)
{
    if (life->confirms == 0 || life->send == NULL || life->send->record->dedupe == 0) {
        return false;
    }
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind == TALLY_TOLD_CONFIRMED && (record->code & TALLY_CONFIRM_REPEATED) == 0) {
            return false;
        }
    }
    return true;
}

//  I1: what was confirmed is done, a dead letter, or still there.
static void
check_loss(tally_check_t *self, const tally_life_t *life)
{
    if (life->confirms == 0 || life->duplicate || !self->set->has_rows) {
        return;
    }
    self->rules[TALLY_RULE_LOSS].checked++;
    unsigned there = life->messages + life->dead_letters + life->inboxes;
    unsigned done = life->transactional ? life->effects : life->settles;
    if (there + done == 0 && !may_be_duplicate(life)) {
        tally_check_violated(self, TALLY_RULE_LOSS, life->number, 0,
                             "confirmed, but neither done nor pending nor a dead letter");
    }
}

//  I2: what is there was sent, and not refused.
static void
check_ghost(tally_check_t *self, const tally_life_t *life)
{
    if (!is_stored(life)) {
        return;
    }
    self->rules[TALLY_RULE_GHOST].checked++;
    if (life->sends == 0) {
        tally_check_violated(self, TALLY_RULE_GHOST, life->number, 0,
                             "it is there, nobody sent it");
    } else if (is_refused(life)) {
        tally_check_violated(self, TALLY_RULE_GHOST, life->number, 0,
                             "refused for certain, and yet it is there");
    }
}

static void
keep_deduped(tally_check_t *self, const tally_life_t *life)
{
    const tally_history_record_t *send = life->send != NULL ? life->send->record : NULL;
    bool stored = is_stored(life);
    if (send != NULL && send->dedupe != 0
        && (stored || life->duplicate || may_be_duplicate(life))) {
        tally_deduped_t *deduped = tally_series_add(&self->deduped);
        *deduped = (tally_deduped_t){tally_stream_of(send), send->dedupe, life->number, stored};
    }
}

//  I3: one id for ever, whoever names it; a duplicate is not stored.
static void
check_identity(tally_check_t *self, const tally_life_t *life)
{
    uint64_t id = 0;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        bool says = record->kind != TALLY_DID_SEND && record->id != 0;
        if (says && id != 0 && record->id != id) {
            tally_check_violated(self, TALLY_RULE_IDENTITY, life->number, 0,
                                 "it has two ids, %llu and %llu", (unsigned long long)id,
                                 (unsigned long long)record->id);
            break;
        }
        id = says ? record->id : id;
    }
    self->rules[TALLY_RULE_IDENTITY].checked += id != 0;
    if (life->messages + life->dead_letters + life->inboxes > 1) {
        tally_check_violated(self, TALLY_RULE_IDENTITY, life->number, 0, "it is stored %u times",
                             life->messages + life->dead_letters + life->inboxes);
    }
    if (life->duplicate && life->sends == 1 && is_stored(life)) {
        tally_check_violated(self, TALLY_RULE_IDENTITY, life->number, 0,
                             "confirmed as a duplicate that is not stored, and yet it is there");
    }
    keep_deduped(self, life);
}

//  I4: settled, and then nowhere; and not a dead letter as well.
static void
check_end(tally_check_t *self, const tally_life_t *life)
{
    uint64_t lease = 0;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind != TALLY_TOLD_SETTLED) {
            continue;
        }
        if (lease != 0 && lease != record->lease) {
            tally_check_violated(self, TALLY_RULE_END, life->number, 0,
                                 "settled under two leases, %llu and %llu",
                                 (unsigned long long)lease, (unsigned long long)record->lease);
        }
        lease = record->lease;
    }
    bool ended = life->effects > 0 || lease != 0;
    self->rules[TALLY_RULE_END].checked += ended || life->dead_letters > 0;
    if (ended && life->messages + life->dead_letters + life->inboxes > 0) {
        tally_check_violated(self, TALLY_RULE_END, life->number, 0,
                             "settled, and yet there is a %s",
                             tally_did_name(life->dead != NULL ? life->dead->kind
                                                               : life->pending->kind));
    }
}

//  Whether there is an effect under this lease.
static bool
has_effect(const tally_life_t *life, uint64_t lease)
{
    for (size_t i = 0; life->effects > 0 && i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind == TALLY_ROW_EFFECT && record->lease == lease) {
            return true;
        }
    }
    return false;
}

//  I5: one effect, and one for each settle that was told.
static void
check_effect(tally_check_t *self, const tally_life_t *life)
{
    bool settled = false;
    if (!life->transactional || !self->set->has_rows) {
        return;
    }
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind == TALLY_TOLD_SETTLED) {
            settled = true;
            if (!has_effect(life, record->lease)) {
                tally_check_violated(self, TALLY_RULE_EFFECT, life->number, 0,
                                     "settled under lease %llu without its effect",
                                     (unsigned long long)record->lease);
            }
        }
    }
    self->rules[TALLY_RULE_EFFECT].checked += settled || life->effects > 0;
    if (life->effects > 1) {
        tally_check_violated(self, TALLY_RULE_EFFECT, life->number, 0, "it has %u effects",
                             life->effects);
    }
}

//  Whether it was always tried as the same send of the same sender.
static bool
is_one_send(const tally_check_t *self, const tally_life_t *life)
{
    for (size_t i = 0; life->sends > 1 && i < life->count; i++) {
        const tally_moment_t *moment = &life->moments[i];
        if (moment->record->kind == TALLY_DID_SEND
            && (moment->record->sequence != life->send->record->sequence
                || !tally_check_same_sender(self, moment->file->process,
                                            life->send->file->process))) {
            return false;
        }
    }
    return life->sends > 0;
}

//  I10: the database knows that the send was accepted.
static void
check_confirm(tally_check_t *self, const tally_life_t *life)
{
    if (life->confirms == 0 || !self->set->has_rows || !is_one_send(self, life)) {
        return;
    }
    uint32_t process = life->send->file->process;
    const tally_sender_state_t *sender = &self->senders[process];
    if (!sender->named) {
        return;
    }
    self->rules[TALLY_RULE_CONFIRM].checked++;
    tally_missing_t wanted = {process, life->send->record->sequence};
    if (!sender->known || wanted.sequence > sender->last) {
        tally_check_violated(self, TALLY_RULE_CONFIRM, life->number, 0,
                             "send %llu was confirmed, the database knows of %llu",
                             (unsigned long long)wanted.sequence, (unsigned long long)sender->last);
    } else if (self->missing.count > 0
               && bsearch(&wanted, self->missing.items, self->missing.count, sizeof wanted,
                          tally_check_compare_missing)
                      != NULL) {
        tally_check_violated(self, TALLY_RULE_CONFIRM, life->number, 0,
                             "send %llu was confirmed, the database says it was never accepted",
                             (unsigned long long)wanted.sequence);
    }
}

//  I10: a result says how it really ended; I14: and is told to who asked.
static void
check_result(tally_check_t *self, const tally_life_t *life, const tally_moment_t *moment)
{
    self->rules[TALLY_RULE_CONFIRM].checked++;
    unsigned outcome = moment->record->code;
    unsigned done = life->transactional ? life->effects : life->settles;
    bool is_true = outcome == 1 ? done > 0 : outcome == 2 ? life->dead_letters > 0 : true;
    if (self->set->has_rows && !is_true) {
        tally_check_violated(self, TALLY_RULE_CONFIRM, life->number, 0,
                             "a result says it was %s, it was not",
                             outcome == 1 ? "done" : "buried");
    }
    if (moment->record->answered != 0 && moment->record->answered != life->number) {
        tally_check_violated(self, TALLY_RULE_MIXED, life->number, moment->record->answered,
                             "it was told the result of another message");
    }
    if (life->send == NULL
        || !tally_check_same_sender(self, life->send->file->process, moment->file->process)) {
        tally_check_violated(self, TALLY_RULE_MIXED, life->number, 0,
                             "its result was told to %s (process %u), who did not ask",
                             moment->file->name, moment->file->process);
    }
}

//  I9: nothing is stored under a broker's epoch when a newer broker was at work before it was sent; and nothing is
//  leased by a broker older than the one that stored it.
static void
check_writer(tally_check_t *self, const tally_life_t *life)
{
    uint64_t epoch = 0;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        if (record->kind == TALLY_DID_SEND || record->id == 0) {
            continue;
        }
        epoch = EPOCH_OF(record->id);
        bool leased = record->kind == TALLY_TOLD_DELIVERED || record->kind == TALLY_ROW_EFFECT;
        if (leased && EPOCH_OF(record->lease) < epoch) {
            tally_check_violated(self, TALLY_RULE_WRITER, life->number, 0,
                                 "stored by broker epoch %llu and leased by epoch %llu",
                                 (unsigned long long)epoch,
                                 (unsigned long long)EPOCH_OF(record->lease));
            return;
        }
    }
    if (life->send == NULL || epoch == 0) {
        return;
    }
    self->rules[TALLY_RULE_WRITER].checked++;
    if (tally_check_newer_broker_ns(self, epoch) < life->send->record->at_ns) {
        tally_check_violated(self, TALLY_RULE_WRITER, life->number, 0,
                             "broker epoch %llu stored it after a newer one was at work",
                             (unsigned long long)epoch);
    }
}

//  I14: everybody says the same queue, tenant and key.
static void
check_belonging(tally_check_t *self, const tally_life_t *life)
{
    const tally_history_record_t *send = life->send != NULL ? life->send->record : NULL;
    if (send == NULL || !is_stored(life)) {
        return;
    }
    self->rules[TALLY_RULE_MIXED].checked++;
    for (size_t i = 0; i < life->count; i++) {
        const tally_history_record_t *record = life->moments[i].record;
        bool says = record->kind == TALLY_TOLD_DELIVERED
                    || (record->kind >= TALLY_ROW_EFFECT && record->kind <= TALLY_ROW_INBOX);
        bool keyed = record->kind == TALLY_TOLD_DELIVERED || record->kind == TALLY_ROW_EFFECT;
        if (says
            && (record->queue != send->queue || record->tenant != send->tenant
                || (keyed && record->key != send->key))) {
            tally_check_violated(self, TALLY_RULE_MIXED, life->number, 0,
                                 "sent to queue %s for %s, and a %s is of queue %s for %s",
                                 tally_history_set_queue(self->set, send->queue),
                                 tally_history_set_tenant(self->set, send->tenant),
                                 tally_did_name(record->kind),
                                 tally_history_set_queue(self->set, record->queue),
                                 tally_history_set_tenant(self->set, record->tenant));
            return;
        }
    }
}

//  I20: nothing is left.
static void
check_left(tally_check_t *self, const tally_life_t *life)
{
    if (life->pending != NULL) {
        tally_check_violated(self, TALLY_RULE_DRAIN, life->number, 0, "it is still pending");
    }
}

void
tally_check_message(tally_check_t *self, const tally_life_t *life)
{
    count_send(&self->figures, life);
    check_loss(self, life);
    check_ghost(self, life);
    check_identity(self, life);
    check_end(self, life);
    check_effect(self, life);
    check_confirm(self, life);
    check_writer(self, life);
    check_belonging(self, life);
    check_left(self, life);
    for (size_t i = 0; i < life->count; i++) {
        if (life->moments[i].record->kind == TALLY_TOLD_RESULT) {
            check_result(self, life, &life->moments[i]);
        }
    }
}
