// SPDX-License-Identifier: MIT
//  lobby - sends that wait for room in a plan, a line for each tenant.
//
//  Within a line they leave in the order in which they came; the lines take turns, a send each, so a tenant that floods
//  waits behind its own sends.  Bounded, and a line may have no more than what is free besides: one alone gets half, n
//  of them an n+1st part each, and whoever comes next finds room (dynamic thresholds: Choudhury and Hahne, 1998).  Owns
//  the chunks; nothing in here was promised to anybody yet.

#ifndef TALLY_LOBBY_H
#define TALLY_LOBBY_H

#include "broker/chunk.h"
#include "lib/limits.h"
#include "lib/wire.h"

typedef struct tally_lobby tally_lobby_t;

tally_lobby_t *tally_lobby_new(void);
void tally_lobby_destroy(tally_lobby_t **self_p);

//  Whether one more send of this tenant, of so many bytes, may enter.
bool tally_lobby_has_room(const tally_lobby_t *self, tally_bytes_t tenant, size_t bytes);
//  Half of it is taken: one line alone might find no room for a frame.
bool tally_lobby_half_full(const tally_lobby_t *self);
bool tally_lobby_empty(const tally_lobby_t *self);
//  Whether sends of this tenant wait: the next must wait behind them.
bool tally_lobby_holds(const tally_lobby_t *self, tally_bytes_t tenant);
//  At the end of its tenant's line, where there must be room; one reference more.
void tally_lobby_enter(tally_lobby_t *self, const uint8_t sender[TALLY_SENDER_BYTES],
                       tally_bytes_t tenant, uint16_t messages, tally_chunk_t *chunk);

typedef struct {
    uint8_t sender[TALLY_SENDER_BYTES];
    uint16_t messages;
    tally_chunk_t *chunk;    // the whole frame
} tally_waiting_t;

//  The first of the lines whose turn it is and that `may` lets go; it takes the chunk with it.  False when none may.
bool
tally_lobby_leave(tally_lobby_t *self,
                  bool (*may)(void *context, tally_bytes_t tenant, const tally_waiting_t *waiting),
                  void *context, tally_waiting_t *waiting) TALLY_MUST_CHECK;

#endif
