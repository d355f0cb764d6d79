// SPDX-License-Identifier: MIT
//  pump - what a client does when it is its turn: read what came, repeat what is due, else wait.
//
//  Private to libtally.  pump decides what every frame and every moment means; the calls of tally.h
//  wait by turning it until what they wait for is there.  Whatever the front sends is data until it
//  is decoded, and can at worst be ignored.

#ifndef TALLY_CLIENTS_PUMP_H
#define TALLY_CLIENTS_PUMP_H

#include "clients/session.h"
#include "clients/tally.h"
#include "clients/window.h"

//  Why something did not happen.
typedef struct {
    int code;    // 0: nothing is wrong
    unsigned retry_after_ms;
    char text[TALLY_TEXT_BYTES_MAX + 1];
} tally_trouble_t;

//  A frame that came and is an event, or the answer to an admin request.
typedef struct tally_arrival {
    struct tally_arrival *next;
    zmq_msg_t frame;    // owned; decoded again when it is handed out
    tally_head_t head;
    tally_cursor_t cursor;    // into frame
} tally_arrival_t;

struct tally_client {
    tally_session_t *session;
    tally_window_t *window;
    tally_arrival_t *first, *last;    // events nobody took yet
    size_t arrivals;
    tally_arrival_t *lent;    // what the last call handed out; lives until the next
    char *reply;              // of the last admin request, lent too
    tally_arrival_t *spare;
    unsigned sends_max;
    bool retry;
    bool numbered;    // the window knows its first number
    bool admin_pending;
    uint64_t admin_request;
    int64_t admin_due_at_ms;    // refused for now; 0: it is out
    zmq_msg_t admin_frame;      // initialised always
    tally_arrival_t *admin_answer;
    tally_trouble_t trouble;    // why it may take longer; forgotten when things go on
    tally_trouble_t refusal;    // of our hello, for good; code 0: none
    tally_trouble_t failure;    // of the last call
    uint64_t ids[TALLY_BATCH_MESSAGES_MAX];    // of the event handed out
};

//  Ends what the last call lent; every call that lends begins so.
void tally_pump_begin(tally_client_t *self);
int64_t tally_pump_deadline(int timeout_ms);

typedef bool(tally_pump_done_t)(const tally_client_t *self, uint64_t argument);

//  Does what is to be done until `done` says so.  -1 when `until_ms` comes first or our hello is
//  refused; `failure` says which and why.
int tally_pump_wait(tally_client_t *self, tally_pump_done_t *done, uint64_t argument,
                    int64_t until_ms) TALLY_MUST_CHECK;
int tally_pump_wait_ready(tally_client_t *self, int64_t until_ms) TALLY_MUST_CHECK;
//  Waits for the event of this send with this verb (TALLY_CONFIRM, TALLY_RESULT) and lends it; -1
//  also when it is a refusal, lent as well.
int tally_pump_wait_event(tally_client_t *self, uint64_t sequence, uint8_t verb, int64_t until_ms,
                          tally_event_t *event) TALLY_MUST_CHECK;

//  Puts a frame of `count` messages into the window and on its way; takes `frame` (moved) and
//  `asked`.  The session must be ready.  Returns its number.
uint64_t tally_pump_add(tally_client_t *self, zmq_msg_t *frame, uint16_t count, uint64_t *asked);
//  The one admin request at a time; its answer will be in admin_answer.  Takes `frame` (moved).
void tally_pump_ask_admin(tally_client_t *self, zmq_msg_t *frame, uint64_t request);

void tally_pump_free(tally_client_t *self, tally_arrival_t **arrival_p);

void tally_pump_fail_name(tally_client_t *self, const char *what);
void tally_trouble_from(tally_trouble_t *trouble, const tally_error_t *error);
void tally_trouble_set(tally_trouble_t *trouble, int code, unsigned retry_after_ms,
                       const char *format, ...) TALLY_PRINTF(4, 5);

#endif
