// SPDX-License-Identifier: MIT
//  json - one strict way to read JSON from outside.
//
//  RFC 8259 to the letter: UTF-8 without byte order mark, no lone surrogates, nothing behind the value.  Where
//  the RFC leaves the choice to the reader, what could mean two things to two readers is refused: a key twice in
//  an object, NUL, a number that C cannot hold.  Each refusal has a code and the place.  Depth and sizes are
//  bounded (limits.h) by a scanner that does not recurse; a node of the value is made only of what has passed it.
//
//  What a survey or a request means is not known here.

#ifndef TALLY_JSON_H
#define TALLY_JSON_H

#include <jansson.h>

#include "lib/bytes.h"
#include "lib/limits.h"

typedef enum {
    TALLY_JSON_FINE,
    TALLY_JSON_SIZE,         // more bytes than the reader takes
    TALLY_JSON_SYNTAX,       // not JSON, or cut
    TALLY_JSON_UTF8,         // not UTF-8
    TALLY_JSON_NUL,          // a NUL, as a byte or as \u0000
    TALLY_JSON_SURROGATE,    // half of a pair of \u escapes
    TALLY_JSON_DEPTH,        // TALLY_JSON_DEPTH_MAX
    TALLY_JSON_DUPLICATE,    // the same key twice in an object, however it is written
    TALLY_JSON_KEYS,         // TALLY_JSON_KEYS_MAX in an object
    TALLY_JSON_VALUES,       // TALLY_JSON_VALUES_MAX in all
    TALLY_JSON_STRING,       // TALLY_JSON_STRING_BYTES_MAX, of a key TALLY_JSON_KEY_BYTES_MAX
    TALLY_JSON_NUMBER,       // TALLY_JSON_NUMBER_BYTES_MAX, or more digits than are kept
    TALLY_JSON_RANGE,        // a number beyond 64 bits or beyond a double
} tally_json_code_t;

//  Whose text it is.
typedef enum {
    TALLY_JSON_GIVEN,    // by a client: every limit holds
    TALLY_JSON_MADE,    // by a program of ours: counts and lengths are bounded by the text's size alone, and what is
                        // too small for a double is 0
} tally_json_source_t;

//  The place: `offset` in bytes from 0; `line` and `column` from 1, a column is a character.
typedef struct {
    tally_json_code_t code;
    size_t offset, line, column;
    const char *text;    // static; what is wrong
} tally_json_fault_t;

//  The value, any of JSON's six, as a new reference; or NULL with *fault filled (which may be NULL).
json_t *tally_json_load(tally_bytes_t text, size_t bytes_max, tally_json_source_t source,
                        tally_json_fault_t *fault) TALLY_MUST_CHECK;

//  "DUPLICATE"...
const char *tally_json_code_name(tally_json_code_t code);
//  A sentence with code and place.  The caller frees it.
char *tally_json_fault_print(const tally_json_fault_t *fault);

#endif
