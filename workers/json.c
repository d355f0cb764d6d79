// SPDX-License-Identifier: MIT
//  json - see json.h.

#include "workers/json.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

//  Cutting may have left half a character; the rest came from texts that were UTF-8 already.
static void
mend_utf8(char *text)
{
    for (unsigned char *at = (unsigned char *)text; *at != '\0';) {
        size_t size = *at < 0x80 ? 1 : *at >= 0xf0 ? 4 : *at >= 0xe0 ? 3 : *at >= 0xc0 ? 2 : 0;
        size_t have = size == 0 ? 0 : 1;
        while (have < size && (at[have] & 0xc0) == 0x80) {
            have++;
        }
        if (size == 0 || have < size) {
            *at = '?';
            size = 1;
        }
        at += size;
    }
}

int
tally_problem_set(tally_problem_t *problem, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
    mend_utf8(problem->text);
    return -1;
}

static json_t *
parse(tally_bytes_t text, size_t bytes_max, tally_json_source_t source, tally_problem_t *problem)
{
    tally_json_fault_t fault;
    json_t *value = tally_json_load(text, bytes_max, source, &fault);
    if (value == NULL && fault.code == TALLY_JSON_SIZE) {
        tally_problem_set(problem, "it is %zu bytes long; at most %zu are allowed", text.size,
                          bytes_max);
    } else if (value == NULL) {
        char *told = tally_json_fault_print(&fault);
        tally_problem_set(problem, "it is not JSON that is taken here: %s", told);
        free(told);
    }
    return value;
}

json_t *
tally_json_parse(tally_bytes_t text, size_t bytes_max, tally_problem_t *problem)
{
    return parse(text, bytes_max, TALLY_JSON_GIVEN, problem);
}

json_t *
tally_json_parse_made(tally_bytes_t text, size_t bytes_max, tally_problem_t *problem)
{
    return parse(text, bytes_max, TALLY_JSON_MADE, problem);
}

const char *
tally_json_unknown_key(const json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        bool found = false;
        for (size_t i = 0; known[i] != NULL && !found; i++) {
            found = strcmp(key, known[i]) == 0;
        }
        if (!found) {
            return key;
        }
    }
    return NULL;
}

char *
tally_json_print(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);
    assert(text != NULL);    // only values with texts in UTF-8 are ever made
    return text;
}

json_t *
tally_json_refusal(const char *code, const char *text)
{
    json_t *refusal = json_pack("{s:b, s:{s:s, s:s}}", "ok", 0, "error", "code", code, "text",
                                text);
    assert(refusal != NULL);
    return refusal;
}
