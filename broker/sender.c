// SPDX-License-Identifier: MIT
//  sender - see sender.h.

#include "broker/sender.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/planted.h"
#include "lib/alloc.h"

static_assert(TALLY_SENDER_RING % 64 == 0, "the ring is made of words");
static_assert(TALLY_SENDER_RING > TALLY_SEND_WINDOW,
              "the ring holds the window and its lower edge");

static uint64_t *
word_of(uint64_t *ring, int64_t sequence)
{
    return &ring[(uint64_t)sequence % TALLY_SENDER_RING / 64];
}

static uint64_t
bit_of(int64_t sequence)
{
    return 1ull << ((uint64_t)sequence % 64);
}

static bool
has(const uint64_t *ring, int64_t sequence)
{
    return (ring[(uint64_t)sequence % TALLY_SENDER_RING / 64] & bit_of(sequence)) != 0;
}

static void
set_pending(tally_sender_t *self, int64_t sequence, bool on)
{
    if (has(self->pending, sequence) != on) {
        *word_of(self->pending, sequence) ^= bit_of(sequence);
    }
}

static void
set_missing(tally_sender_t *self, int64_t sequence, bool on)
{
    if (has(self->missing, sequence) != on) {
        *word_of(self->missing, sequence) ^= bit_of(sequence);
        self->missing_count += on ? 1 : UINT32_MAX;
    }
}

static bool
is_sender(const void *value, uint64_t group, tally_bytes_t bytes)
{
    const tally_sender_t *sender = value;
    (void)group;
    return memcmp(sender->id, bytes.data, TALLY_SENDER_BYTES) == 0;
}

static tally_bytes_t
bytes_of(const uint8_t *id)
{
    return (tally_bytes_t){id, TALLY_SENDER_BYTES};
}

void
tally_senders_init(tally_senders_t *self, uint64_t seed)
{
    tally_names_init(&self->by_id, seed, is_sender);
}

void
tally_senders_free(tally_senders_t *self)
{
    size_t at = 0;
    for (void *sender; (sender = tally_table_each(&self->by_id.table, &at)) != NULL;) {
        free(sender);
    }
    tally_names_free(&self->by_id);
}

tally_sender_t *
tally_senders_find(const tally_senders_t *self, const uint8_t id[TALLY_SENDER_BYTES])
{
    return tally_names_find(&self->by_id, 0, bytes_of(id));
}

void
tally_senders_load(tally_senders_t *self, const tally_sender_row_t *row)
{
    if (tally_senders_find(self, row->id) != NULL) {
        return;
    }
    assert(row->last >= 0);
    tally_sender_t *sender = tally_alloc(sizeof *sender);
    memcpy(sender->id, row->id, TALLY_SENDER_BYTES);
    sender->last = TALLY_PLANTED(SENDER_FORGOTTEN) ? 0 : row->last;
    bool forgets = TALLY_PLANTED(SENDER_FORGOTTEN) || TALLY_PLANTED(MISSING_FORGOTTEN);
    for (size_t i = 0; i < row->missing_count && !forgets; i++) {
        int64_t sequence = row->missing[i];
        if (sequence >= row->last - TALLY_SEND_WINDOW && sequence < row->last) {
            set_missing(sender, sequence, true);
        }
    }
    tally_names_put(&self->by_id, 0, bytes_of(sender->id), sender);
}

void
tally_senders_forget(tally_senders_t *self, const uint8_t id[TALLY_SENDER_BYTES])
{
    tally_sender_t *sender = tally_senders_find(self, id);
    if (sender != NULL && sender->unconfirmed == 0) {
        tally_names_take(&self->by_id, 0, bytes_of(id));
        free(sender);
    }
}

tally_sequence_t
tally_sender_look(const tally_sender_t *self, uint64_t sequence)
{
    if (sequence == 0 || sequence > INT64_MAX) {
        return TALLY_SEQUENCE_OUTSIDE;
    }
    int64_t number = (int64_t)sequence;
    if (number - self->last > TALLY_SEND_WINDOW || self->last - number > TALLY_SEND_WINDOW) {
        return TALLY_SEQUENCE_OUTSIDE;
    }
    if (number > self->last || has(self->missing, number)) {
        return self->unconfirmed < TALLY_SEND_WINDOW ? TALLY_SEQUENCE_NEW : TALLY_SEQUENCE_OUTSIDE;
    }
    return has(self->pending, number) ? TALLY_SEQUENCE_PENDING : TALLY_SEQUENCE_KNOWN;
}

void
tally_sender_accept(tally_sender_t *self, uint64_t sequence)
{
    assert(tally_sender_look(self, sequence) == TALLY_SEQUENCE_NEW);
    int64_t number = (int64_t)sequence;
    //  The ring moves on: what stood there is more than a window behind.
    for (int64_t at = self->last + 1; at <= number; at++) {
        set_missing(self, at, true);
        int64_t behind = at - TALLY_SEND_WINDOW - 1;
        if (behind > 0) {
            set_missing(self, behind, false);
        }
    }
    if (number > self->last) {
        self->last = number;
    }
    set_missing(self, number, false);
    set_pending(self, number, true);
    self->unconfirmed++;
}

void
tally_sender_confirm(tally_sender_t *self, uint64_t sequence)
{
    assert(self->unconfirmed > 0);
    self->unconfirmed--;
    if (self->last - (int64_t)sequence < TALLY_SENDER_RING) {
        set_pending(self, (int64_t)sequence, false);
    }
}

void
tally_sender_write(tally_sender_t *self, tally_plan_t *plan)
{
    tally_plan_sender_t *row = TALLY_PUSH(&plan->senders);
    memcpy(row->sender, self->id, TALLY_SENDER_BYTES);
    row->last = self->last;
    row->missing_count = self->missing_count;
    size_t left = self->missing_count;
    for (int64_t at = self->last - TALLY_SEND_WINDOW; left > 0; at++) {
        assert(at < self->last);
        if (at > 0 && has(self->missing, at)) {
            *TALLY_PUSH(&plan->missing) = at;
            left--;
        }
    }
}

void
tally_sender_link_rows(tally_plan_t *plan)
{
    size_t at = 0;
    for (size_t i = 0; i < plan->senders.count; i++) {
        plan->senders.items[i].missing = plan->missing.items + at;
        at += plan->senders.items[i].missing_count;
    }
    assert(at == plan->missing.count);
}
