// SPDX-License-Identifier: MIT
//  event - hands out what became of sends.
//
//  Events stand in line in the order in which they came; next takes the first, wait the one of a
//  send.  Frames were checked by pump when they came.

#include "clients/pump.h"

#include <assert.h>

static void
fill_confirm(tally_client_t *self, const tally_arrival_t *arrival, tally_event_t *event)
{
    tally_confirm_t confirm;
    tally_fault_t fault = tally_confirm_read(arrival->cursor, &confirm);
    assert(fault.code == 0);    // pump read it already
    event->kind = TALLY_EVENT_CONFIRMED;
    event->repeated = confirm.repeated;
    event->count = confirm.count;
    event->duplicates = confirm.duplicates;
    if (!confirm.repeated) {
        for (size_t i = 0; i < confirm.count; i++) {
            self->ids[i] = tally_cursor_u64(&confirm.ids);
        }
        event->ids = self->ids;
    }
}

static void
fill_result(const tally_arrival_t *arrival, tally_event_t *event)
{
    tally_result_t result;
    tally_fault_t fault = tally_result_read(arrival->cursor, &result);
    assert(fault.code == 0);
    event->kind = TALLY_EVENT_RESULT;
    event->index = result.index;
    event->outcome = (tally_event_outcome_t)result.outcome;
    event->body = result.body.data;
    event->body_bytes = result.body.size;
}

//  Also notes the refusal as the failure, which ends its text with a NUL.
static void
fill_refusal(tally_client_t *self, const tally_arrival_t *arrival, tally_event_t *event)
{
    tally_error_t error;
    tally_fault_t fault = tally_error_read(arrival->cursor, &error);
    assert(fault.code == 0);
    tally_trouble_from(&self->failure, &error);
    event->kind = TALLY_EVENT_REFUSED;
    event->index = error.index == TALLY_NO_INDEX ? -1 : error.index;
    event->code = error.code;
    event->retry_after_ms = error.retry_after_ms;
    event->text = self->failure.text;
}

//  Takes the event behind `before` (NULL: the first) out of the line and lends it.
static void
lend_event(tally_client_t *self, tally_arrival_t *before, tally_event_t *event)
{
    tally_arrival_t *arrival = before == NULL ? self->first : before->next;
    assert(self->lent == NULL);
    if (before == NULL) {
        self->first = arrival->next;
    } else {
        before->next = arrival->next;
    }
    if (self->last == arrival) {
        self->last = before;
    }
    self->arrivals--;
    self->lent = arrival;

    *event = (tally_event_t){.sequence = arrival->head.request, .index = -1, .text = ""};
    switch (arrival->head.verb) {
    case TALLY_CONFIRM:
        fill_confirm(self, arrival, event);
        break;
    case TALLY_RESULT:
        fill_result(arrival, event);
        break;
    default:
        assert(arrival->head.verb == TALLY_ERROR);
        fill_refusal(self, arrival, event);
        break;
    }
}

static bool
has_event(const tally_client_t *self, uint64_t argument)
{
    (void)argument;
    return self->first != NULL;
}

int
tally_client_next(tally_client_t *self, int timeout_ms, tally_event_t *event)
{
    tally_pump_begin(self);
    if (self->first == NULL
        && tally_pump_wait(self, has_event, 0, tally_pump_deadline(timeout_ms)) == -1) {
        return -1;
    }
    lend_event(self, NULL, event);
    return 0;
}

int
tally_client_fd(const tally_client_t *self)
{
    return tally_session_fd(self->session);
}

//  The event of this send that is of the wanted kind, or its refusal: true, and *before is what
//  stands in front of it in the line.
static bool
find_event(const tally_client_t *self, uint64_t sequence, uint8_t verb, tally_arrival_t **before)
{
    *before = NULL;
    for (tally_arrival_t *at = self->first; at != NULL; at = at->next) {
        if (at->head.request == sequence
            && (at->head.verb == verb || at->head.verb == TALLY_ERROR)) {
            return true;
        }
        *before = at;
    }
    return false;
}

static bool
has_verdict(const tally_client_t *self, uint64_t sequence)
{
    tally_arrival_t *before;
    return find_event(self, sequence, TALLY_CONFIRM, &before);
}

static bool
has_result(const tally_client_t *self, uint64_t sequence)
{
    tally_arrival_t *before;
    return find_event(self, sequence, TALLY_RESULT, &before);
}

int
tally_pump_wait_event(tally_client_t *self, uint64_t sequence, uint8_t verb, int64_t until_ms,
                      tally_event_t *event)
{
    if (tally_pump_wait(self, verb == TALLY_CONFIRM ? has_verdict : has_result, sequence, until_ms)
        == -1) {
        return -1;
    }
    tally_arrival_t *before;
    bool found = find_event(self, sequence, verb, &before);
    assert(found);
    lend_event(self, before, event);
    return event->kind == TALLY_EVENT_REFUSED ? -1 : 0;
}

int
tally_client_wait(tally_client_t *self, uint64_t sequence, int timeout_ms, tally_event_t *event)
{
    tally_pump_begin(self);
    tally_event_t own;
    const tally_place_t *place = tally_window_find(self->window, sequence);
    if (!has_verdict(self, sequence)
        && (place == NULL || tally_window_is_confirmed(self->window, place))) {
        tally_trouble_set(&self->failure, TALLY_CODE_UNKNOWN, 0, "%s",
                          "no such send is outstanding");
        return -1;
    }
    return tally_pump_wait_event(self, sequence, TALLY_CONFIRM, tally_pump_deadline(timeout_ms),
                                 event != NULL ? event : &own);
}

void
tally_client_forget(tally_client_t *self, uint64_t sequence)
{
    tally_pump_begin(self);
    tally_place_t *place = tally_window_find(self->window, sequence);
    if (place != NULL) {
        tally_window_remove(self->window, place);
    }
    tally_arrival_t *before = NULL;
    tally_arrival_t *at = self->first;
    while (at != NULL) {
        tally_arrival_t *next = at->next;
        if (at->head.request == sequence) {
            tally_event_t event;
            lend_event(self, before, &event);
            tally_pump_free(self, &self->lent);
        } else {
            before = at;
        }
        at = next;
    }
}
