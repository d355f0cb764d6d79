// SPDX-License-Identifier: MIT
//  caller - who is connected to the front: a route, the sender behind it, the asks it waits for.
//
//  A route is the 5 byte identity that our ROUTER gave to a connection; peers that chose one of their own are not
//  served (they could pose as others).  A sender may come back on another route: the newest one gets the answers.
//  Callers are bounded; the one unheard of for longest makes room.  A caller that was forgotten costs its peer a hello.

#ifndef TALLY_CALLER_H
#define TALLY_CALLER_H

#include "broker/rows.h"
#include "lib/key_file.h"

#define TALLY_ROUTE_BYTES 5    // identities that ROUTER gives: a zero and 32 bits

typedef struct {
    uint64_t route;
    uint8_t sender[TALLY_SENDER_BYTES];         // as the core knows it
    uint8_t wire_sender[TALLY_SENDER_BYTES];    // as the peer calls it
    char key[TALLY_KEY_TEXT_BYTES + 1];         // its connection's; "" without CURVE
    char name[TALLY_NAME_BYTES_MAX + 1];
    uint64_t worker;    // 0: a client
    int64_t heard_ms;
    bool ready;             // the sender's row is loaded, welcome was sent
    size_t *counted;        // its tenant's connections, this one among them; NULL: not counted
    tally_asker_t *asks;    // results it waits for; owned
    size_t ask_count, ask_room;
} tally_caller_t;

typedef struct tally_callers tally_callers_t;

tally_callers_t *tally_callers_new(void);
void tally_callers_destroy(tally_callers_t **self_p);
size_t tally_callers_count(const tally_callers_t *self);

//  The caller of a route, made or made anew for this sender.  Another route of the same sender ends.
tally_caller_t *tally_callers_require(tally_callers_t *self, uint64_t route,
                                      const uint8_t sender[TALLY_SENDER_BYTES], int64_t now_ms);
tally_caller_t *tally_callers_find(const tally_callers_t *self, uint64_t route);
tally_caller_t *
tally_callers_find_sender(const tally_callers_t *self, const uint8_t sender[TALLY_SENDER_BYTES]);
void tally_callers_remove(tally_callers_t *self, uint64_t route);
//  While there are as many as there may be: the one heard of longest ago, which must go before another comes.  Else
//  NULL.
tally_caller_t *tally_callers_surplus(const tally_callers_t *self);
tally_caller_t *tally_callers_at(const tally_callers_t *self, size_t index);

void tally_caller_expect(tally_caller_t *self, const tally_asker_t *ask);
void tally_caller_answered(tally_caller_t *self, const tally_asker_t *ask);

#endif
