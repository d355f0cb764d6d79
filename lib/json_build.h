// SPDX-License-Identifier: MIT
//  json_build - the value of a text, made of jansson's nodes while the text is being scanned (json.c).
//
//  What comes here has passed the scanner, so it is JSON.  Having jansson read the text once more would take three
//  times as long as all of this.

#ifndef TALLY_JSON_BUILD_H
#define TALLY_JSON_BUILD_H

#include <jansson.h>

#include "lib/bytes.h"
#include "lib/limits.h"

typedef struct {
    json_t *root;                          // owned; NULL until the first value begins
    size_t depth;                          // objects and arrays that are open
    json_t *open[TALLY_JSON_DEPTH_MAX];    // borrowed
    //  Of the value that comes next in an object: borrowed from the text, or from `spelt`.
    tally_bytes_t key;
    char *spelt;
} tally_json_build_t;

//  `raw` is what stands between the quotes, `bytes` how long it is when escapes are spelt out.
//  Key: false when the open object has it already.
bool tally_json_build_key(tally_json_build_t *self, tally_bytes_t raw, size_t bytes);
void tally_json_build_string(tally_json_build_t *self, tally_bytes_t raw, size_t bytes);
//  As it stands in the text.  Real: false when it is too large for a double.
void tally_json_build_integer(tally_json_build_t *self, tally_bytes_t number);
bool tally_json_build_real(tally_json_build_t *self, tally_bytes_t number);
//  'n', 't' or 'f'
void tally_json_build_word(tally_json_build_t *self, uint8_t first);
void tally_json_build_open(tally_json_build_t *self, bool is_object);
void tally_json_build_close(tally_json_build_t *self);
//  The innermost one that is open, borrowed; there must be one.
json_t *tally_json_build_open_value(const tally_json_build_t *self);

//  Four hex digits; -1 when they are not.
int32_t tally_json_hex(const uint8_t *digits);

//  The end: the value as a new reference, or nothing of it.
json_t *tally_json_build_take(tally_json_build_t *self);
void tally_json_build_drop(tally_json_build_t *self);

#endif
