// SPDX-License-Identifier: MIT
//  json - one strict way to read JSON from outside.
//
//  RFC 8259 by jansson: UTF-8 checked, duplicate names and trailing bytes refused, no NUL inside strings; on top,
//  nesting bounded by TALLY_JSON_DEPTH_MAX before the parser (which recurses) sees it.  What jansson cannot hold, an
//  integer beyond 64 bits or a real beyond double, is refused, not rounded.

#ifndef TALLY_JSON_H
#define TALLY_JSON_H

#include <jansson.h>

#include "lib/bytes.h"

//  The value, a new reference, or NULL with *error saying what and where (error may be NULL).
json_t *tally_json_parse(tally_bytes_t text, json_error_t *error) TALLY_MUST_CHECK;

#endif
