// SPDX-License-Identifier: MIT
//  wire_codec - what the files of the wire codec share; private to lib/wire*.c.
//
//  Inline, because these few lines run for every field of every message.  Everybody else includes
//  lib/wire.h; do not add here what a program could want.

#ifndef TALLY_WIRE_CODEC_H
#define TALLY_WIRE_CODEC_H

#include "lib/wire.h"

//  Makes room for `count` more bytes.
void tally_wire_grow(tally_wire_t *self, size_t count);

//  Appends a text of people: cut to TALLY_TEXT_BYTES_MAX, what is not UTF-8 replaced by '?'.
void tally_wire_put_text(tally_wire_t *self, tally_bytes_t text);

//  Reads such a text.  Longer ones are cut; what is not UTF-8, or has a NUL, makes *fault E_FRAME,
//  because texts go where only text is taken.
tally_bytes_t tally_cursor_text(tally_cursor_t *self, tally_fault_t *fault);

//  True for UTF-8 without NUL.
bool tally_text_valid(tally_bytes_t text);

//  The faults that every decoder ends with: cut, or bytes behind the last field.
tally_fault_t tally_cursor_finish(const tally_cursor_t *self);

static inline tally_fault_t
make_fault(int code, uint16_t index, const char *text)
{
    return (tally_fault_t){.code = code, .index = index, .text = text};
}

static inline tally_fault_t
no_fault(void)
{
    return make_fault(0, TALLY_NO_INDEX, "");
}

static inline tally_fault_t
cut_fault(uint16_t index)
{
    return make_fault(TALLY_E_FRAME, index,
                      "the frame ends before its fields do; "
                      "check its lengths and counts and send it whole");
}

static inline void
store_u16(uint8_t *at, uint16_t value)
{
    value = __builtin_bswap16(value);
    memcpy(at, &value, sizeof value);
}

static inline void
store_u32(uint8_t *at, uint32_t value)
{
    value = __builtin_bswap32(value);
    memcpy(at, &value, sizeof value);
}

static inline void
store_u64(uint8_t *at, uint64_t value)
{
    value = __builtin_bswap64(value);
    memcpy(at, &value, sizeof value);
}

//  Copies a run and returns the place behind it.
static inline uint8_t *
store_bytes(uint8_t *at, tally_bytes_t bytes)
{
    if (bytes.size > 0) {
        memcpy(at, bytes.data, bytes.size);
    }
    return at + bytes.size;
}

//  Returns the place of `count` new bytes, which the caller fills.
static inline uint8_t *
claim(tally_wire_t *self, size_t count)
{
    if (self->room - self->size < count) {
        tally_wire_grow(self, count);
    }
    uint8_t *at = self->data + self->size;
    self->size += count;
    return at;
}

//  Returns the next `count` bytes, or NULL and a bad cursor when there are fewer.
static inline const uint8_t *
take(tally_cursor_t *self, size_t count)
{
    if (self->bad || (size_t)(self->end - self->at) < count) {
        self->bad = true;
        self->at = self->end;
        return NULL;
    }
    const uint8_t *at = self->at;
    self->at += count;
    return at;
}

static inline uint8_t
take_u8(tally_cursor_t *self)
{
    const uint8_t *at = take(self, 1);
    return at == NULL ? 0 : *at;
}

static inline uint16_t
take_u16(tally_cursor_t *self)
{
    const uint8_t *at = take(self, sizeof(uint16_t));
    uint16_t value = 0;
    if (at != NULL) {
        memcpy(&value, at, sizeof value);
    }
    return __builtin_bswap16(value);
}

static inline uint32_t
take_u32(tally_cursor_t *self)
{
    const uint8_t *at = take(self, sizeof(uint32_t));
    uint32_t value = 0;
    if (at != NULL) {
        memcpy(&value, at, sizeof value);
    }
    return __builtin_bswap32(value);
}

static inline uint64_t
take_u64(tally_cursor_t *self)
{
    const uint8_t *at = take(self, sizeof(uint64_t));
    uint64_t value = 0;
    if (at != NULL) {
        memcpy(&value, at, sizeof value);
    }
    return __builtin_bswap64(value);
}

static inline tally_bytes_t
take_bytes(tally_cursor_t *self, size_t count)
{
    const uint8_t *at = take(self, count);
    return at == NULL ? (tally_bytes_t){NULL, 0} : (tally_bytes_t){at, count};
}

#endif
