// SPDX-License-Identifier: MIT
//  fuzz_greeting - any bytes as what a connection says first, to a listener with CURVE or without and to the feed: the
//  verdict is the same however they are cut, and nobody is let in who brings a name or says too much.
//
//  The first byte says what our side is, the second how the rest is cut.
//
//  covers: broker/greeting.c broker/subscriber.c

#include "tests/fuzz/fuzz.h"

#include "broker/greeting.h"
#include "broker/subscriber.h"

#define GREETING_BYTES 64
#define MECHANISM_AT 12
#define WELCOME_BYTES 170

//  What our side has said: with CURVE up to its READY, when the byte says that the key was known.
static tally_greeting_verdict_t
say(tally_greeting_t *greeting, uint8_t side)
{
    uint8_t said[GREETING_BYTES + WELCOME_BYTES + 8] = {0};
    said[MECHANISM_AT] = (side & 1) != 0 ? 'C' : 'N';
    memcpy(said + GREETING_BYTES + WELCOME_BYTES, "\4\6\5READY", 8);
    size_t size = (side & 3) == 3 ? sizeof said : GREETING_BYTES;
    return tally_greeting_said(greeting, (tally_bytes_t){said, size});
}

static tally_greeting_verdict_t
judge_greeting(tally_bytes_t input, uint8_t side, size_t step)
{
    tally_greeting_t *greeting = tally_greeting_new();
    tally_greeting_verdict_t verdict = say(greeting, side);
    assert((verdict == TALLY_GREETING_GOOD) == ((side & 3) == 3));
    for (size_t at = 0; at < input.size && verdict == TALLY_GREETING_MORE; at += step) {
        size_t left = input.size - at;
        verdict = tally_greeting_take(greeting, (tally_bytes_t){(const uint8_t *)input.data + at,
                                                                left < step ? left : step});
    }
    tally_greeting_destroy(&greeting);
    return verdict;
}

static bool
judge_subscriber(tally_bytes_t input, size_t step, size_t *bytes)
{
    tally_subscriber_t *subscriber = tally_subscriber_new();
    bool fine = true;
    for (size_t at = 0; at < input.size && fine; at += step) {
        size_t left = input.size - at;
        fine = tally_subscriber_take(subscriber, (tally_bytes_t){(const uint8_t *)input.data + at,
                                                                 left < step ? left : step});
    }
    *bytes = tally_subscriber_bytes(subscriber);
    tally_subscriber_destroy(&subscriber);
    return fine;
}

void
fuzz_greeting(tally_bytes_t input)
{
    if (input.size < 2) {
        return;
    }
    const uint8_t *bytes = input.data;
    uint8_t side = bytes[0];
    size_t step = (size_t)bytes[1] + 1;
    tally_bytes_t rest = {bytes + 2, input.size - 2};
    tally_greeting_verdict_t whole = judge_greeting(rest, side, input.size);
    assert(judge_greeting(rest, side, step) == whole);
    assert(judge_greeting(rest, side, 1) == whole);
    if (whole == TALLY_GREETING_MORE) {
        assert(rest.size <= GREETING_BYTES + 9 + TALLY_HANDSHAKE_BYTES_MAX);
    }
    size_t at_once, in_steps;
    bool fine = judge_subscriber(rest, input.size, &at_once);
    assert(judge_subscriber(rest, step, &in_steps) == fine);
    assert(in_steps == at_once);
    assert(!fine || at_once <= TALLY_SUBSCRIPTION_BYTES_MAX);
}
