// SPDX-License-Identifier: MIT
//  window - see window.h.

#include "clients/window.h"

#include "lib/alloc.h"

#include <assert.h>
#include <stdlib.h>

#define RING TALLY_SEND_WINDOW
//  Frames held for repetition; one send always fits.
#define BYTES_MAX ((size_t)256 * 1024 * 1024)
#define WORD_BITS 64

_Static_assert((RING & (RING - 1)) == 0, "places are found by masking the number");

struct tally_window {
    uint64_t oldest;    // no unconfirmed number below
    uint64_t next;
    size_t unconfirmed;
    size_t delayed;    // of both kinds
    size_t bytes;
    tally_place_t **asks;    // confirmed, by number
    size_t ask_count;
    size_t ask_room;
    tally_place_t ring[RING];
};

tally_window_t *
tally_window_new(void)
{
    tally_window_t *self = tally_alloc(sizeof *self);
    self->oldest = 1;
    self->next = 1;
    return self;
}

//  Gives back what a place owns and leaves it free.
static void
clear_place(tally_window_t *self, tally_place_t *place)
{
    assert(place->state != TALLY_PLACE_FREE);

    if (place->state == TALLY_PLACE_DELAYED) {
        self->delayed--;
    }
    self->bytes -= zmq_msg_size(&place->frame);
    zmq_msg_close(&place->frame);
    free(place->asked);
    *place = (tally_place_t){.state = TALLY_PLACE_FREE};
}

void
tally_window_destroy(tally_window_t **self_p)
{
    assert(self_p != NULL);
    tally_window_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < RING; i++) {
        if (self->ring[i].state != TALLY_PLACE_FREE) {
            clear_place(self, &self->ring[i]);
        }
    }
    for (size_t i = 0; i < self->ask_count; i++) {
        clear_place(self, self->asks[i]);
        free(self->asks[i]);
    }
    free(self->asks);
    free(self);
    *self_p = NULL;
}

void
tally_window_start(tally_window_t *self, uint64_t next)
{
    assert(next >= 1);
    assert(self->unconfirmed == 0);
    assert(self->ask_count == 0);

    self->oldest = next;
    self->next = next;
}

uint64_t
tally_window_next(const tally_window_t *self)
{
    return self->next;
}

bool
tally_window_full(const tally_window_t *self, size_t sends, size_t bytes)
{
    assert(sends <= RING);
    if (self->next - self->oldest >= sends || self->ask_count >= TALLY_WINDOW_ASKS_MAX) {
        return true;
    }
    return self->bytes > 0 && self->bytes + bytes > BYTES_MAX;
}

static tally_place_t *
ring_place(tally_window_t *self, uint64_t sequence)
{
    return &self->ring[sequence & (RING - 1)];
}

tally_place_t *
tally_window_add(tally_window_t *self, zmq_msg_t *frame, uint16_t count, uint64_t *asked)
{
    assert(count >= 1);
    assert(self->next - self->oldest < RING);

    tally_place_t *place = ring_place(self, self->next);
    assert(place->state == TALLY_PLACE_FREE);
    zmq_msg_init(&place->frame);
    zmq_msg_move(&place->frame, frame);
    place->sequence = self->next++;
    place->state = TALLY_PLACE_UNSENT;
    place->count = count;
    place->asked = asked;
    if (asked != NULL) {
        for (size_t i = 0; i < count; i++) {
            place->asked_count += (asked[i / WORD_BITS] >> (i % WORD_BITS)) & 1;
        }
        assert(place->asked_count >= 1);
    }
    self->unconfirmed++;
    self->bytes += zmq_msg_size(&place->frame);
    return place;
}

//  The index in asks of the first number not below `sequence`.
static size_t
ask_index(const tally_window_t *self, uint64_t sequence)
{
    size_t low = 0;
    size_t high = self->ask_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (self->asks[middle]->sequence < sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool
in_ring(const tally_window_t *self, const tally_place_t *place)
{
    return place >= self->ring && place < self->ring + RING;
}

tally_place_t *
tally_window_find(tally_window_t *self, uint64_t sequence)
{
    tally_place_t *place = ring_place(self, sequence);
    if (place->state != TALLY_PLACE_FREE && place->sequence == sequence) {
        return place;
    }
    size_t index = ask_index(self, sequence);
    if (index < self->ask_count && self->asks[index]->sequence == sequence) {
        return self->asks[index];
    }
    return NULL;
}

tally_place_t *
tally_window_after(tally_window_t *self, uint64_t sequence)
{
    size_t index = ask_index(self, sequence + 1);
    tally_place_t *ask = index < self->ask_count ? self->asks[index] : NULL;
    uint64_t at = sequence + 1 > self->oldest ? sequence + 1 : self->oldest;
    for (; at < self->next; at++) {
        if (ask != NULL && ask->sequence < at) {
            return ask;
        }
        tally_place_t *place = ring_place(self, at);
        if (place->state != TALLY_PLACE_FREE) {
            return place;
        }
    }
    return ask;
}

bool
tally_window_is_confirmed(const tally_window_t *self, const tally_place_t *place)
{
    return !in_ring(self, place);
}

tally_place_t *
tally_window_oldest(tally_window_t *self)
{
    return self->unconfirmed > 0 ? ring_place(self, self->oldest) : NULL;
}

void
tally_window_mark(tally_window_t *self, tally_place_t *place, tally_place_state_t state)
{
    assert(place->state != TALLY_PLACE_FREE);
    assert(state != TALLY_PLACE_FREE);
    assert(state != TALLY_PLACE_CONFIRMED || !in_ring(self, place));

    self->delayed -= place->state == TALLY_PLACE_DELAYED ? 1 : 0;
    self->delayed += state == TALLY_PLACE_DELAYED ? 1 : 0;
    place->state = state;
}

static void
advance(tally_window_t *self)
{
    while (self->oldest < self->next && ring_place(self, self->oldest)->state == TALLY_PLACE_FREE) {
        self->oldest++;
    }
}

void
tally_window_confirm(tally_window_t *self, tally_place_t *place)
{
    assert(in_ring(self, place));
    if (place->asked_count == 0) {
        tally_window_remove(self, place);
        return;
    }
    tally_window_mark(self, place, TALLY_PLACE_UNSENT);
    if (self->ask_count == self->ask_room) {
        self->ask_room = self->ask_room == 0 ? 8 : self->ask_room * 2;
        self->asks = tally_realloc_array(self->asks, self->ask_room, sizeof *self->asks);
    }
    tally_place_t *ask = tally_alloc(sizeof *ask);
    *ask = *place;
    ask->state = TALLY_PLACE_CONFIRMED;
    zmq_msg_init(&ask->frame);
    zmq_msg_move(&ask->frame, &place->frame);
    zmq_msg_close(&place->frame);
    *place = (tally_place_t){.state = TALLY_PLACE_FREE};

    size_t index = ask_index(self, ask->sequence);
    memmove(self->asks + index + 1, self->asks + index,
            (self->ask_count - index) * sizeof *self->asks);
    self->asks[index] = ask;
    self->ask_count++;
    self->unconfirmed--;
    advance(self);
}

bool
tally_window_answer(tally_window_t *self, tally_place_t *place, size_t index)
{
    uint64_t bit = (uint64_t)1 << (index % WORD_BITS);
    if (place->asked == NULL || index >= place->count
        || (place->asked[index / WORD_BITS] & bit) == 0) {
        return false;
    }
    place->asked[index / WORD_BITS] &= ~bit;
    place->asked_count--;
    if (place->asked_count == 0 && !in_ring(self, place)) {
        tally_window_remove(self, place);
    }
    return true;
}

void
tally_window_remove(tally_window_t *self, tally_place_t *place)
{
    if (in_ring(self, place)) {
        clear_place(self, place);
        self->unconfirmed--;
        advance(self);
        return;
    }
    size_t index = ask_index(self, place->sequence);
    assert(index < self->ask_count);
    assert(self->asks[index] == place);
    clear_place(self, place);
    free(place);
    self->ask_count--;
    memmove(self->asks + index, self->asks + index + 1,
            (self->ask_count - index) * sizeof *self->asks);
}

size_t
tally_window_unconfirmed(const tally_window_t *self)
{
    return self->unconfirmed;
}

size_t
tally_window_delayed(const tally_window_t *self)
{
    return self->delayed;
}

size_t
tally_window_unanswered(const tally_window_t *self)
{
    return self->ask_count;
}
