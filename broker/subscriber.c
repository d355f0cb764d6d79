// SPDX-License-Identifier: MIT
//  subscriber - see subscriber.h.

#include "broker/subscriber.h"

#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/limits.h"

//  ZMTP 3, see greeting.c.
#define GREETING_BYTES 64
#define MINOR_AT 11
#define MECHANISM_AT 12
#define LARGE 0x02
#define SHORT_HEAD 2
#define LARGE_HEAD 9

#define CURVE_BYTES 33    // a message's name, number, proof and flags, around what it says
#define PING_BYTES 7
#define SUBSCRIBE_BYTES 10    // the command's name, of ZMTP 3.1; a byte before

struct tally_subscriber {
    size_t greeted;    // bytes of the greeting so far
    uint8_t minor;
    bool curve;
    uint8_t head[LARGE_HEAD];
    size_t head_size;
    uint64_t left;         // of the frame's body, still to come
    unsigned handshake;    // frames of it still to come
    unsigned subscriptions, beats;
    size_t bytes;
};

tally_subscriber_t *
tally_subscriber_new(void)
{
    return tally_alloc(sizeof(tally_subscriber_t));
}

void
tally_subscriber_destroy(tally_subscriber_t **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

size_t
tally_subscriber_bytes(const tally_subscriber_t *self)
{
    return self->bytes;
}

static void
take_greeting(tally_subscriber_t *self, uint8_t byte)
{
    if (self->greeted == MINOR_AT) {
        self->minor = byte;
    } else if (self->greeted == MECHANISM_AT) {
        self->curve = byte == 'C';
        self->handshake = self->curve ? 2 : 1;    // HELLO and INITIATE, or READY
    }
    self->greeted++;
}

//  A frame begins whose body has so many bytes.
static bool
count_frame(tally_subscriber_t *self, uint64_t size)
{
    self->left = size;
    if (self->handshake > 0) {
        self->handshake--;
        return true;
    }
    size_t around = self->curve ? CURVE_BYTES : 0;
    if (size <= around + PING_BYTES) {
        return ++self->beats <= TALLY_SUBSCRIBER_BEATS_MAX;
    }
    uint64_t said = size - around;
    if (said > (self->minor > 0 ? SUBSCRIBE_BYTES : 1) + TALLY_TOPIC_BYTES_MAX) {
        return false;
    }
    self->bytes += said;
    return ++self->subscriptions <= TALLY_SUBSCRIPTIONS_MAX
           && self->bytes <= TALLY_SUBSCRIPTION_BYTES_MAX;
}

//  A byte of a frame's head; the body is counted with its last.
static bool
take_head(tally_subscriber_t *self, uint8_t byte)
{
    self->head[self->head_size++] = byte;
    size_t whole = (self->head[0] & LARGE) != 0 ? LARGE_HEAD : SHORT_HEAD;
    if (self->head_size < whole) {
        return true;
    }
    uint64_t size = 0;
    for (size_t i = 1; i < whole; i++) {
        size = size << 8 | self->head[i];
    }
    self->head_size = 0;
    return count_frame(self, size);
}

bool
tally_subscriber_take(tally_subscriber_t *self, tally_bytes_t bytes)
{
    const uint8_t *at = bytes.data;
    const uint8_t *end = at + bytes.size;
    bool fine = true;
    while (fine && at < end) {
        if (self->greeted < GREETING_BYTES) {
            take_greeting(self, *at++);
        } else if (self->left > 0) {
            size_t here = (size_t)(end - at);
            size_t skipped = self->left < here ? (size_t)self->left : here;
            self->left -= skipped;
            at += skipped;
        } else {
            fine = take_head(self, *at++);
        }
    }
    return fine;
}
