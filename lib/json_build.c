// SPDX-License-Identifier: MIT
//  json_build - see json_build.h.

#include "lib/json_build.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

//  Takes the value's reference.  No memory ends the process, as in tally_alloc.
static void
add(tally_json_build_t *self, json_t *value)
{
    assert(value != NULL);
    if (self->depth == 0) {
        assert(self->root == NULL);
        self->root = value;
        return;
    }
    json_t *into = tally_json_build_open_value(self);
    int rc = json_is_object(into)
                 ? json_object_setn_new_nocheck(into, self->key.data, self->key.size, value)
                 : json_array_append_new(into, value);
    assert(rc == 0);
}

//  ---- strings -----------------------------------------------------------------------------------

int32_t
tally_json_hex(const uint8_t *digits)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = digits[i];
        if (digit >= '0' && digit <= '9') {
            digit = (uint8_t)(digit - '0');
        } else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f') {
            digit = (uint8_t)((digit | 0x20) - 'a' + 10);
        } else {
            return -1;
        }
        value = value * 16 + digit;
    }
    return value;
}

//  The character in UTF-8; where the next goes.
static uint8_t *
put_character(uint8_t *to, uint32_t code)
{
    if (code < 0x80) {
        *to++ = (uint8_t)code;
        return to;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t leads[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (uint8_t)(leads[more] | code >> (6 * more));
    while (more-- > 0) {
        *to++ = (uint8_t)(0x80 | (code >> (6 * more) & 0x3f));
    }
    return to;
}

//  Behind a backslash; where the text goes on.
static const uint8_t *
spell_escape(const uint8_t *at, uint8_t **to)
{
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    if (*at != 'u') {
        const char *letter = strchr(letters, *at);
        *(*to)++ = letter == NULL ? *at : (uint8_t)meant[letter - letters];
        return at + 1;
    }
    uint32_t code = (uint32_t)tally_json_hex(at + 1);
    at += 5;
    if (code >= 0xd800 && code <= 0xdbff) {
        code = 0x10000 + ((code - 0xd800) << 10) + ((uint32_t)tally_json_hex(at + 2) - 0xdc00);
        at += 6;
    }
    *to = put_character(*to, code);
    return at;
}

//  Without escapes, each of which is longer than what it means; the caller frees it.
static char *
spell(tally_bytes_t raw, size_t bytes)
{
    uint8_t *text = tally_alloc(bytes + 1);
    uint8_t *to = text;
    const uint8_t *end = (const uint8_t *)raw.data + raw.size;
    for (const uint8_t *at = raw.data; at < end;) {
        if (*at == '\\') {
            at = spell_escape(at + 1, &to);
        } else {
            *to++ = *at++;
        }
    }
    assert((size_t)(to - text) == bytes);
    return (char *)text;
}

bool
tally_json_build_key(tally_json_build_t *self, tally_bytes_t raw, size_t bytes)
{
    free(self->spelt);
    self->spelt = bytes == raw.size ? NULL : spell(raw, bytes);
    self->key = self->spelt == NULL ? raw : (tally_bytes_t){self->spelt, bytes};
    return json_object_getn(tally_json_build_open_value(self), self->key.data, self->key.size)
           == NULL;
}

void
tally_json_build_string(tally_json_build_t *self, tally_bytes_t raw, size_t bytes)
{
    char *spelt = bytes == raw.size ? NULL : spell(raw, bytes);
    add(self, json_stringn_nocheck(spelt == NULL ? raw.data : spelt, bytes));
    free(spelt);
}

//  ---- other values ------------------------------------------------------------------------------

void
tally_json_build_integer(tally_json_build_t *self, tally_bytes_t number)
{
    const uint8_t *at = number.data, *end = at + number.size;
    bool is_negative = *at == '-';
    at += is_negative ? 1 : 0;
    uint64_t value = 0;
    while (at < end) {
        value = value * 10 + (uint64_t)(*at++ - '0');
    }
    add(self, json_integer((json_int_t)(is_negative ? 0 - value : value)));
}

bool
tally_json_build_real(tally_json_build_t *self, tally_bytes_t number)
{
    json_t *value = json_loadb(number.data, number.size, JSON_DECODE_ANY, NULL);
    if (value != NULL) {
        add(self, value);
    }
    return value != NULL;
}

void
tally_json_build_word(tally_json_build_t *self, uint8_t first)
{
    add(self, first == 'n' ? json_null() : json_boolean(first == 't'));
}

void
tally_json_build_open(tally_json_build_t *self, bool is_object)
{
    json_t *value = is_object ? json_object() : json_array();
    add(self, value);
    assert(self->depth < TALLY_JSON_DEPTH_MAX);
    self->open[self->depth++] = value;
}

json_t *
tally_json_build_open_value(const tally_json_build_t *self)
{
    assert(self->depth > 0);
    return self->open[self->depth - 1];
}

void
tally_json_build_close(tally_json_build_t *self)
{
    assert(self->depth > 0);
    self->depth--;
}

//  ---- the end -----------------------------------------------------------------------------------

json_t *
tally_json_build_take(tally_json_build_t *self)
{
    assert(self->depth == 0);
    free(self->spelt);
    self->spelt = NULL;
    json_t *root = self->root;
    self->root = NULL;
    return root;
}

void
tally_json_build_drop(tally_json_build_t *self)
{
    self->depth = 0;
    json_decref(tally_json_build_take(self));
}
