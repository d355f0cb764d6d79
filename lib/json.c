// SPDX-License-Identifier: MIT
//  json - see json.h.

#include "lib/json.h"

#include <stdio.h>

#include "lib/limits.h"

//  The first byte that opens one level too many; text.size when none does.  Brackets in strings do not count.
static size_t
find_too_deep(tally_bytes_t text)
{
    const char *bytes = text.data;
    size_t depth = 0;
    bool inside = false;
    for (size_t i = 0; i < text.size; i++) {
        char byte = bytes[i];
        if (inside) {
            if (byte == '\\') {
                i++;
            } else if (byte == '"') {
                inside = false;
            }
        } else if (byte == '"') {
            inside = true;
        } else if (byte == '[' || byte == '{') {
            if (++depth > TALLY_JSON_DEPTH_MAX) {
                return i;
            }
        } else if ((byte == ']' || byte == '}') && depth > 0) {
            depth--;
        }
    }
    return text.size;
}

json_t *
tally_json_parse(tally_bytes_t text, json_error_t *error)
{
    size_t deep = find_too_deep(text);
    if (deep < text.size) {
        if (error != NULL) {
            *error = (json_error_t){.line = 1, .column = (int)deep, .position = (int)deep};
            snprintf(error->text, sizeof error->text, "nested deeper than %d levels",
                     TALLY_JSON_DEPTH_MAX);
        }
        return NULL;
    }
    return json_loadb(text.data == NULL ? "" : text.data, text.size, JSON_REJECT_DUPLICATES, error);
}
