// SPDX-License-Identifier: MIT
//  wire - buffer, cursor, head, names and texts; the bodies of the verbs are in wire_front.c,
//  wire_lane.c and wire_sink.c, by the socket they travel on.
//
//  No read leaves the frame, whatever its lengths say: all of them go through take().  Do not add
//  decoding that touches a frame's bytes by itself.

#include "lib/alloc.h"
#include "lib/wire_codec.h"

#include <assert.h>
#include <stdlib.h>

#define ROOM_BYTES_MIN 256

const char *
tally_code_name(int code)
{
    switch (code) {
    case TALLY_E_FRAME:
        return "FRAME";
    case TALLY_E_VERSION:
        return "VERSION";
    case TALLY_E_VERB:
        return "VERB";
    case TALLY_E_STATE:
        return "STATE";
    case TALLY_E_NAME:
        return "NAME";
    case TALLY_E_LIMIT:
        return "LIMIT";
    case TALLY_E_OPTION:
        return "OPTION";
    case TALLY_E_UNKNOWN:
        return "UNKNOWN";
    case TALLY_E_JSON:
        return "JSON";
    case TALLY_E_SEQUENCE:
        return "SEQUENCE";
    case TALLY_E_STALE:
        return "STALE";
    case TALLY_E_REFUSED:
        return "REFUSED";
    case TALLY_E_BUSY:
        return "BUSY";
    case TALLY_E_AWAY:
        return "AWAY";
    case TALLY_E_INTERNAL:
        return "INTERNAL";
    default:
        return "?";
    }
}

const char *
tally_verb_name(int verb)
{
    switch (verb) {
    case TALLY_HELLO:
        return "HELLO";
    case TALLY_SEND:
        return "SEND";
    case TALLY_ADMIN:
        return "ADMIN";
    case TALLY_GOODBYE:
        return "GOODBYE";
    case TALLY_FETCH:
        return "FETCH";
    case TALLY_RECORDS:
        return "RECORDS";
    case TALLY_DELIVERY:
        return "DELIVERY";
    case TALLY_NOTICE:
        return "NOTICE";
    case TALLY_WELCOME:
        return "WELCOME";
    case TALLY_CONFIRM:
        return "CONFIRM";
    case TALLY_REPLY:
        return "REPLY";
    case TALLY_RESULT:
        return "RESULT";
    case TALLY_BODY:
        return "BODY";
    case TALLY_ERROR:
        return "ERROR";
    default:
        return "?";
    }
}

//  ---- writing ----------------------------------------------------------------------------------

void
tally_wire_grow(tally_wire_t *self, size_t count)
{
    assert(count <= SIZE_MAX / 4 - self->size);

    size_t room = self->room < ROOM_BYTES_MIN ? ROOM_BYTES_MIN : self->room;
    while (room - self->size < count) {
        room *= 2;
    }
    self->data = tally_realloc(self->data, room);
    self->room = room;
}

void
tally_wire_free(tally_wire_t *self)
{
    free(self->data);
    *self = (tally_wire_t){NULL, 0, 0};
}

void
tally_wire_reset(tally_wire_t *self)
{
    self->size = 0;
}

void
tally_wire_put_u8(tally_wire_t *self, uint8_t value)
{
    *claim(self, 1) = value;
}

void
tally_wire_put_u16(tally_wire_t *self, uint16_t value)
{
    store_u16(claim(self, sizeof value), value);
}

void
tally_wire_put_u32(tally_wire_t *self, uint32_t value)
{
    store_u32(claim(self, sizeof value), value);
}

void
tally_wire_put_u64(tally_wire_t *self, uint64_t value)
{
    store_u64(claim(self, sizeof value), value);
}

void
tally_wire_put_raw(tally_wire_t *self, tally_bytes_t bytes)
{
    store_bytes(claim(self, bytes.size), bytes);
}

void
tally_wire_put_str8(tally_wire_t *self, tally_bytes_t text)
{
    assert(text.size <= UINT8_MAX);

    uint8_t *at = claim(self, 1 + text.size);
    *at = (uint8_t)text.size;
    store_bytes(at + 1, text);
}

void
tally_wire_put_str16(tally_wire_t *self, tally_bytes_t text)
{
    assert(text.size <= UINT16_MAX);

    uint8_t *at = claim(self, sizeof(uint16_t) + text.size);
    store_u16(at, (uint16_t)text.size);
    store_bytes(at + sizeof(uint16_t), text);
}

void
tally_wire_put_body(tally_wire_t *self, tally_bytes_t body)
{
    assert(body.size <= UINT32_MAX);

    uint8_t *at = claim(self, sizeof(uint32_t) + body.size);
    store_u32(at, (uint32_t)body.size);
    store_bytes(at + sizeof(uint32_t), body);
}

void
tally_wire_set_u16(tally_wire_t *self, size_t at, uint16_t value)
{
    assert(self->size >= sizeof value);
    assert(at <= self->size - sizeof value);

    store_u16(self->data + at, value);
}

void
tally_wire_start(tally_wire_t *self, tally_verb_t verb, uint64_t request)
{
    self->size = 0;
    uint8_t *at = claim(self, TALLY_WIRE_HEAD_BYTES);
    at[0] = 'T';
    at[1] = 'Y';
    at[2] = TALLY_WIRE_VERSION;
    at[3] = (uint8_t)verb;
    store_u64(at + 4, request);
}

//  ---- reading ----------------------------------------------------------------------------------

tally_cursor_t
tally_cursor_of(tally_bytes_t bytes)
{
    assert(bytes.data != NULL || bytes.size == 0);

    const uint8_t *at = bytes.data;
    return (tally_cursor_t){.at = at, .end = bytes.size == 0 ? at : at + bytes.size, .bad = false};
}

uint8_t
tally_cursor_u8(tally_cursor_t *self)
{
    return take_u8(self);
}

uint16_t
tally_cursor_u16(tally_cursor_t *self)
{
    return take_u16(self);
}

uint32_t
tally_cursor_u32(tally_cursor_t *self)
{
    return take_u32(self);
}

uint64_t
tally_cursor_u64(tally_cursor_t *self)
{
    return take_u64(self);
}

tally_bytes_t
tally_cursor_str8(tally_cursor_t *self)
{
    return take_bytes(self, take_u8(self));
}

tally_bytes_t
tally_cursor_str16(tally_cursor_t *self)
{
    return take_bytes(self, take_u16(self));
}

tally_bytes_t
tally_cursor_body(tally_cursor_t *self)
{
    return take_bytes(self, take_u32(self));
}

tally_bytes_t
tally_cursor_rest(tally_cursor_t *self)
{
    return take_bytes(self, self->bad ? 0 : (size_t)(self->end - self->at));
}

tally_fault_t
tally_cursor_finish(const tally_cursor_t *self)
{
    if (self->bad) {
        return cut_fault(TALLY_NO_INDEX);
    }
    if (self->at != self->end) {
        return make_fault(TALLY_E_FRAME, TALLY_NO_INDEX,
                          "bytes follow the last field; check the frame's lengths and counts");
    }
    return no_fault();
}

tally_fault_t
tally_head_read(tally_bytes_t frame, tally_head_t *head, tally_cursor_t *cursor)
{
    *head = (tally_head_t){0, 0, 0};
    *cursor = tally_cursor_of(frame);
    const uint8_t *magic = take(cursor, 2);
    if (magic == NULL || magic[0] != 'T' || magic[1] != 'Y') {
        return make_fault(TALLY_E_FRAME, TALLY_NO_INDEX,
                          "the frame does not begin with \"TY\"; "
                          "this socket speaks Tally's protocol only");
    }
    uint8_t version = take_u8(cursor);
    uint8_t verb = take_u8(cursor);
    uint64_t request = take_u64(cursor);
    if (cursor->bad) {
        return make_fault(TALLY_E_FRAME, TALLY_NO_INDEX,
                          "the frame is shorter than its head of 12 bytes; send it whole");
    }
    //  Filled in before the version is judged: the head is the same in all versions, and the
    //  refusal needs the request's number.
    *head = (tally_head_t){.version = version, .verb = verb, .request = request};
    if (version != TALLY_WIRE_VERSION) {
        return make_fault(TALLY_E_VERSION, TALLY_NO_INDEX,
                          "the frame is of a protocol version not spoken here; use version 1");
    }
    if (frame.size > TALLY_FRAME_BYTES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the frame is larger than the frame limit; split it into several");
    }
    return no_fault();
}

//  ---- names and texts --------------------------------------------------------------------------

static bool
is_letter_or_digit(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9');
}

bool
tally_name_valid(tally_bytes_t name)
{
    const uint8_t *at = name.data;
    if (name.size == 0 || name.size > TALLY_NAME_BYTES_MAX || !is_letter_or_digit(at[0])) {
        return false;
    }
    for (size_t i = 1; i < name.size; i++) {
        if (!is_letter_or_digit(at[i]) && at[i] != '.' && at[i] != '_' && at[i] != '-') {
            return false;
        }
    }
    return true;
}

//  Returns how many bytes the character at `at` has, or 0 when it is NUL or not UTF-8 (RFC 3629: no
//  overlong forms, no surrogates, nothing above U+10FFFF).
static size_t
character_bytes(const uint8_t *at, size_t left)
{
    uint8_t first = at[0];
    if (first < 0x80) {
        return first == 0 ? 0 : 1;
    }
    size_t count = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < count) {
        return 0;
    }
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < count; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return count;
}

bool
tally_text_valid(tally_bytes_t text)
{
    const uint8_t *at = text.data;
    for (size_t i = 0; i < text.size;) {
        size_t count = character_bytes(at + i, text.size - i);
        if (count == 0) {
            return false;
        }
        i += count;
    }
    return true;
}

//  Cuts to the limit, never inside a character.
static tally_bytes_t
cut_text(tally_bytes_t text)
{
    if (text.size > TALLY_TEXT_BYTES_MAX) {
        const uint8_t *at = text.data;
        size_t size = TALLY_TEXT_BYTES_MAX;
        for (size_t back = 0; back < 3 && (at[size] & 0xc0) == 0x80; back++) {
            size--;
        }
        text.size = size;
    }
    return text;
}

void
tally_wire_put_text(tally_wire_t *self, tally_bytes_t text)
{
    text = cut_text(text);
    tally_wire_put_str16(self, text);
    uint8_t *at = self->data + self->size - text.size;
    for (size_t i = 0; i < text.size;) {
        size_t count = character_bytes(at + i, text.size - i);
        if (count == 0) {
            at[i] = '?';
            count = 1;
        }
        i += count;
    }
}

tally_bytes_t
tally_cursor_text(tally_cursor_t *self, tally_fault_t *fault)
{
    tally_bytes_t text = tally_cursor_str16(self);
    if (!tally_text_valid(text)) {
        *fault = make_fault(TALLY_E_FRAME, TALLY_NO_INDEX,
                            "a text is not UTF-8 or has a NUL in it; encode it as UTF-8");
    }
    return cut_text(text);
}
