// SPDX-License-Identifier: MIT
//  greeting - see greeting.h.

#include "broker/greeting.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#include "lib/alloc.h"
#include "lib/limits.h"

//  ZMTP 3: signature, version, mechanism, as-server, filler; then commands in frames.
#define GREETING_BYTES 64
#define SIGNATURE_END 9
#define VERSION_AT 10
#define MECHANISM_AT 12
#define MECHANISM_BYTES 20
#define VERSION_MIN 3
#define LARGE 0x02    // flag: the frame's length has 8 bytes
#define FRAME_HEAD_MAX 9
#define PROPERTY_BYTES_MIN 5    // lengths of name and value

//  Of ours under CURVE: the greeting, WELCOME, then READY or ERROR.
#define WELCOME_BYTES 170
#define ANSWER_AT (GREETING_BYTES + WELCOME_BYTES)

static const uint8_t ready[] = {5, 'R', 'E', 'A', 'D', 'Y'};

struct tally_greeting {
    size_t size;
    uint8_t bytes[GREETING_BYTES + FRAME_HEAD_MAX + TALLY_HANDSHAKE_BYTES_MAX];
    bool nameless;    // a READY that is in order has come
    size_t said;
    uint8_t own[ANSWER_AT + FRAME_HEAD_MAX + sizeof ready];
};

tally_greeting_t *
tally_greeting_new(void)
{
    return tally_alloc(sizeof(tally_greeting_t));
}

void
tally_greeting_destroy(tally_greeting_t **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

static uint64_t
read_number(const uint8_t *at, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++) {
        number = number << 8 | at[i];
    }
    return number;
}

//  READY and its properties, none of which may be a name.
static tally_greeting_verdict_t
judge_ready(const uint8_t *at, size_t size)
{
    if (size < sizeof ready || memcmp(at, ready, sizeof ready) != 0) {
        return TALLY_GREETING_BAD;
    }
    const uint8_t *end = at + size;
    at += sizeof ready;
    while (at < end) {
        size_t name = at[0];
        if ((size_t)(end - at) < PROPERTY_BYTES_MIN + name) {
            return TALLY_GREETING_BAD;
        }
        uint64_t value = read_number(at + 1 + name, 4);
        if ((uint64_t)(end - at) < PROPERTY_BYTES_MIN + name + value) {
            return TALLY_GREETING_BAD;
        }
        bool is_name = name == strlen("Identity")
                       && strncasecmp((const char *)at + 1, "Identity", name) == 0;
        if (is_name && value > 0) {
            return TALLY_GREETING_BAD;
        }
        at += PROPERTY_BYTES_MIN + name + value;
    }
    return TALLY_GREETING_GOOD;
}

//  The first command, whole or not.  libzmq takes any frame for it, whatever its other flags say.
static tally_greeting_verdict_t
judge_command(const uint8_t *at, size_t size)
{
    if (size == 0) {
        return TALLY_GREETING_MORE;
    }
    size_t length_bytes = (at[0] & LARGE) != 0 ? 8 : 1;
    if (size < 1 + length_bytes) {
        return TALLY_GREETING_MORE;
    }
    uint64_t length = read_number(at + 1, length_bytes);
    if (length > TALLY_HANDSHAKE_BYTES_MAX) {
        return TALLY_GREETING_BAD;
    }
    size_t head = 1 + length_bytes;
    return size < head + length ? TALLY_GREETING_MORE : judge_ready(at + head, length);
}

static tally_greeting_verdict_t
judge(const tally_greeting_t *self)
{
    static const uint8_t null_mechanism[MECHANISM_BYTES] = "NULL";
    const uint8_t *bytes = self->bytes;
    bool good = (self->size < 1 || bytes[0] == 0xff)
                && (self->size <= SIGNATURE_END || (bytes[SIGNATURE_END] & 1) != 0)
                && (self->size <= VERSION_AT || bytes[VERSION_AT] >= VERSION_MIN);
    if (!good) {
        return TALLY_GREETING_BAD;
    }
    if (self->size < GREETING_BYTES) {
        return TALLY_GREETING_MORE;
    }
    if (memcmp(bytes + MECHANISM_AT, null_mechanism, MECHANISM_BYTES) != 0) {
        //  libzmq refuses what is not the listener's own
        return self->size > GREETING_BYTES + TALLY_HANDSHAKE_BYTES_MAX ? TALLY_GREETING_BAD
                                                                       : TALLY_GREETING_MORE;
    }
    return judge_command(bytes + GREETING_BYTES, self->size - GREETING_BYTES);
}

//  Whether our side has let it in: in the end it decides, whatever the other has said.
static bool
is_in(const tally_greeting_t *self)
{
    if (self->said <= MECHANISM_AT) {
        return false;
    }
    if (self->own[MECHANISM_AT] == 'N') {
        return self->nameless;
    }
    size_t head = (self->own[ANSWER_AT] & LARGE) != 0 ? FRAME_HEAD_MAX : 2;
    return self->said >= ANSWER_AT + head + sizeof ready
           && memcmp(self->own + ANSWER_AT + head, ready, sizeof ready) == 0;
}

//  What fits; the rest never matters.
static size_t
keep(uint8_t *kept, size_t size, size_t room, tally_bytes_t bytes)
{
    size_t taken = bytes.size < room - size ? bytes.size : room - size;
    memcpy(kept + size, bytes.data, taken);
    return size + taken;
}

tally_greeting_verdict_t
tally_greeting_take(tally_greeting_t *self, tally_bytes_t bytes)
{
    bool fits = bytes.size <= sizeof self->bytes - self->size;
    self->size = keep(self->bytes, self->size, sizeof self->bytes, bytes);
    tally_greeting_verdict_t verdict = self->nameless ? TALLY_GREETING_GOOD : judge(self);
    self->nameless = verdict == TALLY_GREETING_GOOD;
    assert(verdict != TALLY_GREETING_MORE || self->size < sizeof self->bytes);
    if (verdict != TALLY_GREETING_GOOD || is_in(self)) {
        return verdict;
    }
    //  Of another mechanism than ours, or in a hurry: it waits for our side, and says no more until then.
    return fits ? TALLY_GREETING_MORE : TALLY_GREETING_BAD;
}

tally_greeting_verdict_t
tally_greeting_said(tally_greeting_t *self, tally_bytes_t bytes)
{
    self->said = keep(self->own, self->said, sizeof self->own, bytes);
    return is_in(self) ? TALLY_GREETING_GOOD : TALLY_GREETING_MORE;
}
