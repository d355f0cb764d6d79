// SPDX-License-Identifier: MIT
//  pump - see pump.h.

#include "clients/pump.h"

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/planted.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

//  An answer that others have overtaken for this many silences is asked for again.
#define OVERTAKEN_SILENCES 5
#define RETRY_MS_MIN 10
#define RETRY_MS_MAX 60000

void
tally_trouble_set(tally_trouble_t *trouble, int code, unsigned retry_after_ms, const char *format,
                  ...)
{
    trouble->code = code;
    trouble->retry_after_ms = retry_after_ms;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(trouble->text, sizeof trouble->text, format, arguments);
    va_end(arguments);
}

void
tally_trouble_from(tally_trouble_t *trouble, const tally_error_t *error)
{
    tally_trouble_set(trouble, error->code, error->retry_after_ms, "%.*s", (int)error->text.size,
                      (const char *)error->text.data);
}

//  As long as the broker said and up to twice that, so that those who were refused together do not
//  come back together.
static int64_t
retry_delay(const tally_error_t *error)
{
    uint32_t random = 0;
    ssize_t got = getrandom(&random, sizeof random, 0);
    assert(got == (ssize_t)sizeof random);    // so small a read is never cut short
    int64_t delay = error->retry_after_ms;
    delay = delay < RETRY_MS_MIN ? RETRY_MS_MIN : delay;
    delay = delay > RETRY_MS_MAX ? RETRY_MS_MAX : delay;
    return delay + random % delay;
}

static bool
is_for_now(const tally_error_t *error)
{
    return error->code == TALLY_E_BUSY || error->code == TALLY_E_AWAY;
}

//  A front without its database may have been replaced while it could not hear of it: another may serve.
static bool
leaves(tally_client_t *self, const tally_error_t *error, int64_t now_ms)
{
    return error->code == TALLY_E_AWAY
           && tally_session_leave(self->session, now_ms, retry_delay(error));
}

//  ---- arrivals ----------------------------------------------------------------------------------

static tally_arrival_t *
make_arrival(tally_client_t *self)
{
    tally_arrival_t *arrival = self->spare;
    self->spare = NULL;
    if (arrival == NULL) {
        arrival = tally_alloc(sizeof *arrival);
    }
    arrival->next = NULL;
    zmq_msg_init(&arrival->frame);
    return arrival;
}

void
tally_pump_free(tally_client_t *self, tally_arrival_t **arrival_p)
{
    tally_arrival_t *arrival = *arrival_p;
    if (arrival == NULL) {
        return;
    }
    zmq_msg_close(&arrival->frame);
    if (self->spare == NULL) {
        self->spare = arrival;
    } else {
        free(arrival);
    }
    *arrival_p = NULL;
}

static void
append_event(tally_client_t *self, tally_arrival_t *arrival)
{
    if (self->first == NULL) {
        self->first = arrival;
    } else {
        self->last->next = arrival;
    }
    self->last = arrival;
    self->arrivals++;
}

//  ---- sending -----------------------------------------------------------------------------------

static bool
answer_is_due(const tally_client_t *self)
{
    return tally_window_unconfirmed(self->window) > tally_window_delayed(self->window)
           || (self->admin_pending && self->admin_due_at_ms == 0)
           || tally_session_probing(self->session);
}

//  The session must be ready.
static void
send_place(tally_client_t *self, tally_place_t *place, int64_t now_ms)
{
    if (tally_session_send(self->session, &place->frame) == -1) {
        //  More than all that can be outstanding is in the socket: it has no connection that moves.
        tally_session_give_up(self->session);
        return;
    }
    place->sent_at_ms = now_ms;
    bool is_confirmed = tally_window_is_confirmed(self->window, place);
    tally_window_mark(self->window, place, is_confirmed ? TALLY_PLACE_CONFIRMED : TALLY_PLACE_SENT);
}

uint64_t
tally_pump_add(tally_client_t *self, zmq_msg_t *frame, uint16_t count, uint64_t *asked)
{
    int64_t now_ms = tally_clock_now_ms();
    if (!answer_is_due(self)) {
        tally_session_expect(self->session, now_ms);
    }
    tally_place_t *place = tally_window_add(self->window, frame, count, asked);
    send_place(self, place, now_ms);
    return place->sequence;
}

static void
send_admin(tally_client_t *self, int64_t now_ms)
{
    self->admin_due_at_ms = 0;
    tally_session_expect(self->session, now_ms);
    if (tally_session_send(self->session, &self->admin_frame) == -1) {
        tally_session_give_up(self->session);
    }
}

void
tally_pump_ask_admin(tally_client_t *self, zmq_msg_t *frame, uint64_t request)
{
    assert(!self->admin_pending);
    zmq_msg_move(&self->admin_frame, frame);
    self->admin_request = request;
    self->admin_pending = true;
    send_admin(self, tally_clock_now_ms());
}

//  A new connection, or a front that forgot us: everything again, in the order of the numbers.
static void
send_all(tally_client_t *self, int64_t now_ms)
{
    tally_session_expect(self->session, now_ms);
    tally_place_t *place = TALLY_PLANTED(CLIENT_FORGETS) ? NULL
                                                         : tally_window_after(self->window, 0);
    while (place != NULL && tally_session_state(self->session) == TALLY_SESSION_READY) {
        uint64_t sequence = place->sequence;
        if (place->state != TALLY_PLACE_DELAYED) {
            send_place(self, place, now_ms);
        }
        place = tally_window_after(self->window, sequence);
    }
    if (self->admin_pending && self->admin_due_at_ms == 0
        && tally_session_state(self->session) == TALLY_SESSION_READY) {
        send_admin(self, now_ms);
    }
}

//  ---- what came ---------------------------------------------------------------------------------

static void
note_strange(tally_client_t *self, const tally_head_t *head, const tally_fault_t *fault)
{
    tally_trouble_set(&self->trouble, TALLY_CODE_ANSWER, 0, "the broker's %s is not understood: %s",
                      tally_verb_name(head->verb), fault->text);
}

//  Each of these returns true when the arrival is an event for the caller.

static bool
take_welcome(tally_client_t *self, tally_arrival_t *arrival, int64_t now_ms)
{
    tally_fault_t fault;
    tally_welcome_kind_t kind = tally_session_welcome(self->session, &arrival->head,
                                                      arrival->cursor, &fault);
    if (kind == TALLY_WELCOME_NONE) {
        if (fault.code != 0) {
            note_strange(self, &arrival->head, &fault);
        }
        return false;
    }
    self->trouble.code = 0;
    if (!self->numbered) {
        tally_window_start(self->window, tally_session_terms(self->session)->last_sequence + 1);
        self->numbered = true;
    }
    if (kind == TALLY_WELCOME_FRESH) {
        send_all(self, now_ms);
    }
    return false;
}

//  Messages that were dropped for their dedupe key never have a result of their own.
static void
answer_duplicates(tally_client_t *self, tally_place_t *place, tally_confirm_t confirm)
{
    if (confirm.repeated || confirm.duplicates == 0 || confirm.count != place->count) {
        return;
    }
    for (size_t i = 0; i < confirm.count; i++) {
        if (tally_cursor_u64(&confirm.ids) == 0) {
            (void)tally_window_answer(self->window, place, i);
        }
    }
}

static bool
take_confirm(tally_client_t *self, tally_arrival_t *arrival)
{
    tally_confirm_t confirm;
    tally_fault_t fault = tally_confirm_read(arrival->cursor, &confirm);
    if (fault.code != 0) {
        note_strange(self, &arrival->head, &fault);
        return false;
    }
    tally_place_t *place = tally_window_find(self->window, arrival->head.request);
    if (place == NULL) {
        return false;    // confirmed before, or given up
    }
    if (tally_window_is_confirmed(self->window, place)) {
        tally_window_mark(self->window, place, TALLY_PLACE_CONFIRMED);
        return false;
    }
    self->trouble.code = 0;
    answer_duplicates(self, place, confirm);
    tally_window_confirm(self->window, place);
    return true;
}

static bool
take_result(tally_client_t *self, tally_arrival_t *arrival)
{
    tally_result_t result;
    tally_fault_t fault = tally_result_read(arrival->cursor, &result);
    if (fault.code != 0) {
        note_strange(self, &arrival->head, &fault);
        return false;
    }
    tally_place_t *place = tally_window_find(self->window, arrival->head.request);
    return place != NULL && tally_window_answer(self->window, place, result.index);
}

static void
take_hello_error(tally_client_t *self, const tally_error_t *error, int64_t now_ms)
{
    if (is_for_now(error)) {
        tally_trouble_from(&self->trouble, error);
        if (!leaves(self, error, now_ms)) {
            tally_session_greet_later(self->session, now_ms, retry_delay(error));
        }
    } else if (tally_session_state(self->session) == TALLY_SESSION_GREETING) {
        tally_trouble_from(&self->refusal, error);
        tally_session_give_up(self->session);
    }
    //  Else it answers our probe: it lives and has not forgotten us.
}

static bool
take_send_error(tally_client_t *self, const tally_arrival_t *arrival, const tally_error_t *error,
                int64_t now_ms)
{
    tally_place_t *place = tally_window_find(self->window, arrival->head.request);
    if (place == NULL) {
        return false;
    }
    if (is_for_now(error) && (self->retry || tally_window_is_confirmed(self->window, place))) {
        tally_trouble_from(&self->trouble, error);
        place->due_at_ms = now_ms + retry_delay(error);
        tally_window_mark(self->window, place, TALLY_PLACE_DELAYED);
        leaves(self, error, now_ms);
        return false;
    }
    tally_window_remove(self->window, place);
    return true;
}

static bool
take_error(tally_client_t *self, tally_arrival_t *arrival, int64_t now_ms)
{
    tally_error_t error;
    tally_fault_t fault = tally_error_read(arrival->cursor, &error);
    if (fault.code != 0) {
        note_strange(self, &arrival->head, &fault);
        return false;
    }
    if (tally_session_greeted_by(self->session, arrival->head.request)) {
        take_hello_error(self, &error, now_ms);
        return false;
    }
    if (error.code == TALLY_E_STATE) {
        //  A front that was started again.  It says so for each frame; one hello answers all of
        //  them.
        if (tally_session_state(self->session) == TALLY_SESSION_READY) {
            tally_session_greet(self->session, now_ms);
        }
        return false;
    }
    if (self->admin_pending && arrival->head.request == self->admin_request) {
        if (is_for_now(&error) && self->retry) {
            tally_trouble_from(&self->trouble, &error);
            self->admin_due_at_ms = now_ms + retry_delay(&error);
            leaves(self, &error, now_ms);
            return false;
        }
        self->admin_pending = false;
        self->admin_answer = arrival;
        return false;
    }
    return take_send_error(self, arrival, &error, now_ms);
}

static void
take_arrival(tally_client_t *self, tally_arrival_t *arrival, int64_t now_ms)
{
    tally_bytes_t bytes = {zmq_msg_data(&arrival->frame), zmq_msg_size(&arrival->frame)};
    tally_fault_t fault = tally_head_read(bytes, &arrival->head, &arrival->cursor);
    bool is_event = false;
    if (fault.code != 0) {
        tally_trouble_set(&self->trouble, TALLY_CODE_ANSWER, 0, "this is not a broker: %s",
                          fault.text);
        tally_pump_free(self, &arrival);
        return;
    }
    tally_session_heard(self->session, now_ms);
    switch (arrival->head.verb) {
    case TALLY_WELCOME:
        is_event = take_welcome(self, arrival, now_ms);
        break;
    case TALLY_CONFIRM:
        is_event = take_confirm(self, arrival);
        break;
    case TALLY_RESULT:
        is_event = take_result(self, arrival);
        break;
    case TALLY_ERROR:
        is_event = take_error(self, arrival, now_ms);
        break;
    case TALLY_REPLY:
        if (self->admin_pending && arrival->head.request == self->admin_request) {
            self->admin_pending = false;
            self->admin_answer = arrival;
        }
        break;
    default:
        break;    // of a later version, and not for us
    }
    if (is_event) {
        append_event(self, arrival);
    } else if (self->admin_answer != arrival) {
        tally_pump_free(self, &arrival);
    }
}

//  ---- what is due -------------------------------------------------------------------------------

//  Repeats what was refused for now and is due; returns when the next is.
static int64_t
send_delayed(tally_client_t *self, int64_t now_ms)
{
    int64_t next = INT64_MAX;
    if (self->admin_pending && self->admin_due_at_ms != 0) {
        if (self->admin_due_at_ms <= now_ms) {
            send_admin(self, now_ms);
        } else {
            next = self->admin_due_at_ms;
        }
    }
    if (tally_window_delayed(self->window) == 0) {
        return next;
    }
    tally_place_t *place = tally_window_after(self->window, 0);
    while (place != NULL && tally_session_state(self->session) == TALLY_SESSION_READY) {
        uint64_t sequence = place->sequence;
        if (place->state == TALLY_PLACE_DELAYED && place->due_at_ms <= now_ms) {
            if (!answer_is_due(self)) {
                tally_session_expect(self->session, now_ms);
            }
            send_place(self, place, now_ms);
        } else if (place->state == TALLY_PLACE_DELAYED && place->due_at_ms < next) {
            next = place->due_at_ms;
        }
        place = tally_window_after(self->window, sequence);
    }
    return next;
}

//  An answer that got lost alone, while others keep coming, would never show as silence.
static int64_t
send_overtaken(tally_client_t *self, int64_t now_ms)
{
    tally_place_t *place = tally_window_oldest(self->window);
    if (place == NULL || place->state != TALLY_PLACE_SENT || TALLY_PLANTED(CLIENT_FORGETS)) {
        return INT64_MAX;
    }
    int64_t wait_ms = OVERTAKEN_SILENCES * (int64_t)tally_session_silence_ms(self->session);
    if (now_ms - place->sent_at_ms >= wait_ms) {
        send_place(self, place, now_ms);
    }
    return place->sent_at_ms + wait_ms;
}

static int64_t
tend_ready(tally_client_t *self, int64_t now_ms)
{
    bool due = answer_is_due(self);
    bool watched = due || tally_window_unanswered(self->window) > 0;
    int64_t patience_ends = tally_session_patience_ends(self->session);
    if (watched && now_ms >= patience_ends) {
        if (due) {
            tally_session_give_up(self->session);
            return now_ms;
        }
        tally_session_probe(self->session, now_ms);
        patience_ends = tally_session_patience_ends(self->session);
    }
    int64_t next = watched ? patience_ends : INT64_MAX;
    int64_t delayed = send_delayed(self, now_ms);
    next = delayed < next ? delayed : next;
    if (tally_session_state(self->session) == TALLY_SESSION_READY) {
        int64_t overtaken = send_overtaken(self, now_ms);
        next = overtaken < next ? overtaken : next;
    }
    return tally_session_state(self->session) == TALLY_SESSION_READY ? next : now_ms;
}

//  Does what the clock says; returns when it is to be looked at again.
static int64_t
tend(tally_client_t *self, int64_t now_ms)
{
    if (tally_session_ended(self->session)) {
        tally_session_move_on(self->session, now_ms);
    }
    switch (tally_session_state(self->session)) {
    case TALLY_SESSION_CLOSED:
        if (now_ms < tally_session_open_at(self->session)) {
            return tally_session_open_at(self->session);
        }
        if (tally_session_open(self->session, now_ms) == -1) {
            tally_trouble_set(&self->refusal, TALLY_CODE_ENDPOINT, 0,
                              "cannot connect to \"%s\": %s; use ipc://PATH or tcp://HOST:PORT",
                              tally_session_endpoint(self->session), zmq_strerror(errno));
            tally_session_give_up(self->session);
            return now_ms;
        }
        return tally_session_patience_ends(self->session);
    case TALLY_SESSION_GREETING:
        if (tally_session_greet_at(self->session) > 0) {
            if (now_ms < tally_session_greet_at(self->session)) {
                return tally_session_greet_at(self->session);
            }
            tally_session_greet(self->session, now_ms);
        } else if (now_ms >= tally_session_patience_ends(self->session)) {
            tally_session_give_up(self->session);
            return now_ms;
        }
        return tally_session_patience_ends(self->session);
    case TALLY_SESSION_READY:
        break;
    }
    return tend_ready(self, now_ms);
}

//  False when `until_ms` has come and nothing was there to read.
static bool
turn(tally_client_t *self, int64_t until_ms)
{
    tally_arrival_t *arrival = make_arrival(self);
    if (tally_session_receive(self->session, &arrival->frame) == 0) {
        take_arrival(self, arrival, tally_clock_now_ms());
        return true;
    }
    tally_pump_free(self, &arrival);
    int64_t now_ms = tally_clock_now_ms();
    int64_t next_ms = tend(self, now_ms);
    if (self->refusal.code != 0) {
        return true;
    }
    if (now_ms >= until_ms) {
        return false;
    }
    next_ms = next_ms < until_ms ? next_ms : until_ms;
    if (next_ms > now_ms) {
        tally_session_poll(self->session, next_ms == INT64_MAX ? -1 : next_ms - now_ms);
    }
    return true;
}

//  ---- waiting -----------------------------------------------------------------------------------

void
tally_pump_begin(tally_client_t *self)
{
    tally_pump_free(self, &self->lent);
    free(self->reply);
    self->reply = NULL;
}

int64_t
tally_pump_deadline(int timeout_ms)
{
    return timeout_ms < 0 ? INT64_MAX : tally_clock_now_ms() + timeout_ms;
}

void
tally_pump_fail_name(tally_client_t *self, const char *what)
{
    tally_trouble_set(&self->failure, TALLY_CODE_NAME, 0,
                      "the name of the %s is not 1 to %d of a-z 0-9 . _ - with a letter or digit "
                      "first",
                      what, TALLY_NAME_BYTES_MAX);
}

static void
fail_in_time(tally_client_t *self)
{
    if (self->trouble.code != 0) {
        self->failure = self->trouble;
    } else if (tally_session_state(self->session) != TALLY_SESSION_READY) {
        tally_trouble_set(&self->failure, TALLY_CODE_UNREACHABLE, 0, "no broker answers at %s",
                          tally_session_endpoint(self->session));
    } else {
        tally_trouble_set(&self->failure, TALLY_CODE_TIMEOUT, 0, "%s",
                          "no answer in time; it may still come");
    }
}

int
tally_pump_wait(tally_client_t *self, tally_pump_done_t *done, uint64_t argument, int64_t until_ms)
{
    while (!done(self, argument)) {
        bool more = turn(self, until_ms);
        if (self->refusal.code != 0) {
            self->failure = self->refusal;
            self->refusal.code = 0;
            return -1;
        }
        if (!more) {
            fail_in_time(self);
            return -1;
        }
    }
    return 0;
}

static bool
is_ready(const tally_client_t *self, uint64_t argument)
{
    (void)argument;
    return tally_session_state(self->session) == TALLY_SESSION_READY;
}

int
tally_pump_wait_ready(tally_client_t *self, int64_t until_ms)
{
    return tally_pump_wait(self, is_ready, 0, until_ms);
}
