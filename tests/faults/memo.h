// SPDX-License-Identifier: MIT
//  memo - how far a client's sends are, in a file that outlives it.
//
//  What a program needs that must not lose sends over its own death: the lowest of its numbers that is open, the next
//  one, and what of those between has had its answers.  Mapped, so kill -9 loses nothing.

#ifndef TALLY_FAULTS_MEMO_H
#define TALLY_FAULTS_MEMO_H

#include "lib/bytes.h"

//  Sends between the lowest open one and the next; the broker allows 1024.
#define TALLY_MEMO_WINDOW 512

typedef struct {
    uint8_t sender[16];
    uint32_t next;       // sequence
    uint32_t lowest;     // below it all is over
    uint32_t process;    // of whoever writes; a later one took over when it is greater
    uint32_t unused;
    struct {
        bool answered;       // confirmed or refused
        uint32_t results;    // bits of the messages whose results are still to come
    } sends[TALLY_MEMO_WINDOW];
} tally_memo_t;

//  Made when it is not there: then `sender` is all zeros and the numbers are 1.  NULL when it cannot be.
tally_memo_t *tally_memo_open(const char *path);
void tally_memo_close(tally_memo_t **self_p);

bool tally_memo_full(const tally_memo_t *self);
//  Takes the next number, with the results that it waits for.
void tally_memo_take(tally_memo_t *self, uint32_t results);
//  Whether a number is still of interest.
bool tally_memo_has(const tally_memo_t *self, uint32_t sequence);
//  It has its answer; when it was refused there are no results either.
void tally_memo_answer(tally_memo_t *self, uint32_t sequence, bool refused);
//  False: this result was here before.
bool tally_memo_result(tally_memo_t *self, uint32_t sequence, unsigned item);
uint32_t tally_memo_open_count(const tally_memo_t *self);

#endif
