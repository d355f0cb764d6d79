// SPDX-License-Identifier: MIT
//  client - see tally.h and pump.h.
//
//  The object, its settings, what it knows, and the calls that wait for one answer.  Sends are in
//  send.c, events in event.c; what frames and moments mean is pump's.

#include "clients/feed.h"
#include "clients/pump.h"

#include "lib/alloc.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

_Static_assert(TALLY_CLIENT_SENDER_BYTES == TALLY_SENDER_BYTES, "one sender");
_Static_assert((int)TALLY_CODE_BUSY == (int)TALLY_E_BUSY, "codes are the protocol's");
_Static_assert((int)TALLY_CODE_REFUSED == (int)TALLY_E_REFUSED, "codes are the protocol's");
_Static_assert((int)TALLY_CODE_INTERNAL == (int)TALLY_E_INTERNAL, "codes are the protocol's");
_Static_assert((int)TALLY_OUTCOME_DROPPED == (int)TALLY_RESULT_DROPPED, "outcomes are its too");

tally_client_t *
tally_client_new(const char *endpoints)
{
    assert(endpoints != NULL);
    tally_session_t *session = tally_session_new(endpoints);
    if (session == NULL) {
        return NULL;
    }
    tally_client_t *self = tally_alloc(sizeof *self);
    self->session = session;
    self->window = tally_window_new();
    self->sends_max = TALLY_SEND_WINDOW;
    self->retry = true;
    zmq_msg_init(&self->admin_frame);
    return self;
}

void
tally_client_destroy(tally_client_t **self_p)
{
    assert(self_p != NULL);
    tally_client_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    while (self->first != NULL) {
        tally_arrival_t *arrival = self->first;
        self->first = arrival->next;
        tally_pump_free(self, &arrival);
    }
    tally_pump_free(self, &self->lent);
    tally_pump_free(self, &self->admin_answer);
    free(self->spare);
    free(self->reply);
    zmq_msg_close(&self->admin_frame);
    tally_window_destroy(&self->window);
    tally_session_destroy(&self->session);
    free(self);
    *self_p = NULL;
}

//  ---- settings ----------------------------------------------------------------------------------

int
tally_client_set_name(tally_client_t *self, const char *name)
{
    tally_bytes_t bytes = tally_bytes_of(name);
    if (!tally_name_valid(bytes)) {
        tally_pump_fail_name(self, "client");
        return -1;
    }
    tally_session_set_name(self->session, bytes);
    return 0;
}

void
tally_client_set_sender(tally_client_t *self, const uint8_t sender[TALLY_CLIENT_SENDER_BYTES])
{
    assert(tally_session_feed(self->session) == NULL);    // never connected
    tally_session_set_sender(self->session, sender);
}

void
tally_client_set_first(tally_client_t *self, uint64_t sequence)
{
    assert(!self->numbered);
    assert(sequence >= 1);
    tally_window_start(self->window, sequence);
    self->numbered = true;
}

void
tally_client_set_window(tally_client_t *self, unsigned sends)
{
    assert(sends >= 1);
    assert(sends <= TALLY_SEND_WINDOW);
    self->sends_max = sends;
}

void
tally_client_set_silence(tally_client_t *self, unsigned silence_ms)
{
    tally_session_set_silence(self->session, silence_ms);
}

void
tally_client_set_retry(tally_client_t *self, bool retry)
{
    self->retry = retry;
}

int
tally_client_set_keys(tally_client_t *self, const char *key, const char *server_keys)
{
    tally_keys_t *keys = NULL;
    char *error = NULL;
    if (tally_keys_new(&keys, key, server_keys, &error) == -1) {
        tally_trouble_set(&self->failure, TALLY_CODE_KEYS, 0, "%s", error);
        free(error);
        return -1;
    }
    tally_session_set_keys(self->session, &keys);
    return 0;
}

tally_feed_t *
tally_client_open_feed(tally_client_t *self)
{
    const char *endpoint = tally_client_feed_endpoint(self);
    tally_socket_curve_t curve;
    if (endpoint == NULL || *endpoint == '\0') {
        errno = ENOENT;
        return NULL;
    }
    return tally_feed_new_keyed(endpoint, tally_session_curve(self->session, &curve));
}

//  ---- calls that wait ---------------------------------------------------------------------------

static bool
has_none_unconfirmed(const tally_client_t *self, uint64_t argument)
{
    (void)argument;
    return tally_window_unconfirmed(self->window) == 0;
}

static bool
has_admin_answer(const tally_client_t *self, uint64_t argument)
{
    (void)argument;
    return self->admin_answer != NULL;
}

int
tally_client_connect(tally_client_t *self, int timeout_ms)
{
    tally_pump_begin(self);
    return tally_pump_wait_ready(self, tally_pump_deadline(timeout_ms));
}

int
tally_client_flush(tally_client_t *self, int timeout_ms)
{
    tally_pump_begin(self);
    return tally_pump_wait(self, has_none_unconfirmed, 0, tally_pump_deadline(timeout_ms));
}

const char *
tally_client_admin(tally_client_t *self, const char *json, int timeout_ms)
{
    tally_pump_begin(self);
    int64_t until_ms = tally_pump_deadline(timeout_ms);
    size_t bytes = strlen(json);
    if (bytes > TALLY_BODY_INLINE_BYTES_MAX) {
        tally_trouble_set(&self->failure, TALLY_CODE_LIMIT, 0, "%s",
                          "the request is larger than body_inline_max");
        return NULL;
    }
    if (tally_pump_wait_ready(self, until_ms) == -1) {
        return NULL;
    }
    tally_wire_t wire = {0};
    uint64_t request = tally_session_request(self->session);
    tally_wire_start(&wire, TALLY_ADMIN, request);
    tally_wire_put_raw(&wire, (tally_bytes_t){json, bytes});
    zmq_msg_t frame;
    zmq_msg_init_size(&frame, wire.size);
    memcpy(zmq_msg_data(&frame), wire.data, wire.size);
    tally_wire_free(&wire);
    tally_pump_ask_admin(self, &frame, request);

    int rc = tally_pump_wait(self, has_admin_answer, 0, until_ms);
    self->admin_pending = false;
    if (rc == -1) {
        return NULL;
    }
    tally_arrival_t *answer = self->admin_answer;
    self->admin_answer = NULL;
    if (answer->head.verb == TALLY_ERROR) {
        tally_error_t error;
        tally_fault_t fault = tally_error_read(answer->cursor, &error);
        assert(fault.code == 0);    // pump read it already
        tally_trouble_from(&self->failure, &error);
    } else {
        tally_bytes_t text = tally_cursor_rest(&answer->cursor);
        self->reply = tally_strndup(text.data, text.size);
    }
    tally_pump_free(self, &answer);
    return self->reply;
}

//  ---- what it knows -----------------------------------------------------------------------------

int
tally_client_code(const tally_client_t *self)
{
    return self->failure.code;
}

const char *
tally_client_text(const tally_client_t *self)
{
    return self->failure.text;
}

unsigned
tally_client_retry_after_ms(const tally_client_t *self)
{
    return self->failure.retry_after_ms;
}

size_t
tally_client_unconfirmed(const tally_client_t *self)
{
    return tally_window_unconfirmed(self->window);
}

size_t
tally_client_unanswered(const tally_client_t *self)
{
    return tally_window_unanswered(self->window);
}

unsigned
tally_client_reconnects(const tally_client_t *self)
{
    return tally_session_reconnects(self->session);
}

const uint8_t *
tally_client_sender(const tally_client_t *self)
{
    return tally_session_sender(self->session);
}

const char *
tally_client_feed_endpoint(const tally_client_t *self)
{
    return tally_session_feed(self->session);
}

uint64_t
tally_client_broker_epoch(const tally_client_t *self)
{
    return tally_session_terms(self->session)->broker_epoch;
}

unsigned
tally_client_batch_max(const tally_client_t *self)
{
    return tally_session_terms(self->session)->batch_max;
}

size_t
tally_client_body_inline_max(const tally_client_t *self)
{
    return tally_session_terms(self->session)->body_inline_max;
}

size_t
tally_client_frame_max(const tally_client_t *self)
{
    return tally_session_terms(self->session)->frame_max;
}

const char *
tally_client_code_name(int code)
{
    switch (code) {
    case TALLY_CODE_TIMEOUT:
        return "TIMEOUT";
    case TALLY_CODE_UNREACHABLE:
        return "UNREACHABLE";
    case TALLY_CODE_WINDOW:
        return "WINDOW";
    case TALLY_CODE_ENDPOINT:
        return "ENDPOINT";
    case TALLY_CODE_KEYS:
        return "KEYS";
    case TALLY_CODE_ANSWER:
        return "ANSWER";
    default:
        return tally_code_name(code);
    }
}
