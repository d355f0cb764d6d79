// SPDX-License-Identifier: MIT
//  newcomers - connections that have not proved yet who they are: how many at once, and how many may fail.
//
//  A stranger costs a descriptor, some memory and, under CURVE, five multiplications on a curve before it is known to
//  be one.  So whoever connects takes a place and a token.  Who proves itself gives both back: those with keys may come
//  by the thousand at once.  Who does not has cost its token, and tokens come back slowly.  Addresses from which
//  somebody proved itself have tokens of their own, so a stranger from elsewhere cannot keep known machines out.  When
//  all places are taken the oldest is to go: who is known needs milliseconds, who is silent seconds.
//
//  Time and addresses are arguments; nothing here reads, writes or locks.

#ifndef TALLY_NEWCOMERS_H
#define TALLY_NEWCOMERS_H

#include <stdint.h>

#include "broker/list.h"

#define TALLY_NEWCOMERS_ADDRESSES 1024    // remembered; of two that share a place the later one is

//  Part of a connection, whose owner keeps it in place while it waits.
typedef struct {
    tally_link_t link;    // in the order of coming; out: it is no newcomer any more
    uint64_t address;     // a hash of it, not 0
    unsigned kind;        // which tokens it took one of
} tally_newcomer_t;

typedef struct {
    tally_list_t waiting;
    int64_t tokens[2];    // in thousandths
    int64_t filled_at_ms;
    uint64_t addresses[TALLY_NEWCOMERS_ADDRESSES];
} tally_newcomers_t;

void tally_newcomers_init(tally_newcomers_t *self, int64_t now_ms);

//  False when it is to be turned away: too many of its kind have failed.
bool tally_newcomers_enter(tally_newcomers_t *self, tally_newcomer_t *newcomer, uint64_t address,
                           int64_t now_ms);
//  Who is to be ended, taken out already; NULL while there are places, or with `need` while there is anybody.
tally_newcomer_t *tally_newcomers_expel(tally_newcomers_t *self, bool need);
//  It has proved who it is.  Nothing when it waits no more.
void tally_newcomers_prove(tally_newcomers_t *self, tally_newcomer_t *newcomer);
//  Its connection is gone.  Nothing when it waits no more.
void tally_newcomers_leave(tally_newcomers_t *self, tally_newcomer_t *newcomer);

#endif
