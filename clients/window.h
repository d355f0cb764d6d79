// SPDX-License-Identifier: MIT
//  window - the sends of a client that are not over yet.
//
//  A send is here exactly once, from when it got its number until it is confirmed, refused or
//  forgotten; one that asked stays, confirmed, until its last result.  Frames are kept to be
//  repeated and are sent by reference. The unconfirmed stand in a ring by number, so the newest is
//  never TALLY_SEND_WINDOW or more ahead of the oldest: what the broker demands.  No socket and no
//  clock here.

#ifndef TALLY_CLIENTS_WINDOW_H
#define TALLY_CLIENTS_WINDOW_H

#include "lib/wire.h"

#include <zmq.h>

//  Confirmed asks that may wait for results; their frames are kept.
#define TALLY_WINDOW_ASKS_MAX 4096

typedef enum {
    TALLY_PLACE_FREE,
    TALLY_PLACE_UNSENT,    // not on this connection
    TALLY_PLACE_SENT,
    TALLY_PLACE_DELAYED,      // refused for now; again at due_at_ms
    TALLY_PLACE_CONFIRMED,    // an ask with results to come; repeated on a new connection
} tally_place_state_t;

typedef struct {
    uint64_t sequence;
    zmq_msg_t frame;    // owned
    uint64_t *asked;    // owned; a bit for each message whose result is to come; NULL: none
    int64_t sent_at_ms;
    int64_t due_at_ms;
    uint16_t count;          // messages
    uint16_t asked_count;    // bits set
    tally_place_state_t state;
} tally_place_t;

typedef struct tally_window tally_window_t;

tally_window_t *tally_window_new(void);
void tally_window_destroy(tally_window_t **self_p);

//  The number of the next send; set once by start, before any add.
void tally_window_start(tally_window_t *self, uint64_t next);
uint64_t tally_window_next(const tally_window_t *self);

//  True when one more would break the bounds: `sends` in the ring, asks, or bytes held.
bool tally_window_full(const tally_window_t *self, size_t sends, size_t bytes);

//  Takes the frame (moved) and `asked` (may be NULL) for the next number; the place is UNSENT.
tally_place_t *
tally_window_add(tally_window_t *self, zmq_msg_t *frame, uint16_t count, uint64_t *asked);

//  NULL when it is over or was never here.  Places are valid until the next change of the window.
tally_place_t *tally_window_find(tally_window_t *self, uint64_t sequence);
//  The one with the lowest number above `sequence`, or NULL: walks all in the order of their
//  numbers.
tally_place_t *tally_window_after(tally_window_t *self, uint64_t sequence);
//  True for an ask that waits for results alone, whatever its state.
bool tally_window_is_confirmed(const tally_window_t *self, const tally_place_t *place);
//  The lowest unconfirmed, or NULL.
tally_place_t *tally_window_oldest(tally_window_t *self);

//  The one way a place changes between UNSENT, SENT and DELAYED.
void tally_window_mark(tally_window_t *self, tally_place_t *place, tally_place_state_t state);
//  Ends a send, or keeps it for its results.
void tally_window_confirm(tally_window_t *self, tally_place_t *place);
//  Notes that the result of message `index` is here, or will not come.  False when none is due:
//  known already.
bool tally_window_answer(tally_window_t *self, tally_place_t *place, size_t index);
void tally_window_remove(tally_window_t *self, tally_place_t *place);

size_t tally_window_unconfirmed(const tally_window_t *self);
size_t tally_window_delayed(const tally_window_t *self);
size_t
tally_window_unanswered(const tally_window_t *self);    // confirmed sends with results to come

#endif
