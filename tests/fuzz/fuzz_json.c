// SPDX-License-Identifier: MIT
//  fuzz_json - the strict reader against jansson's own: what it takes means the same to both, and what it calls wrong
//  by the grammar is wrong to both.
//
//  covers: lib/json.c lib/json_build.c

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "lib/json.h"

static void
check_place(tally_bytes_t input, const tally_json_fault_t *fault)
{
    assert(fault->code != TALLY_JSON_FINE);
    assert(fault->offset <= input.size);
    assert(fault->line >= 1 && fault->column >= 1);
    assert(fault->line + fault->column <= fault->offset + 2);
    char *told = tally_json_fault_print(fault);
    assert(strlen(told) < TALLY_TEXT_BYTES_MAX);
    free(told);
}

static void
check_taken(tally_bytes_t input, const json_t *value)
{
    json_t *theirs = json_loadb(input.data, input.size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES,
                                NULL);
    assert(json_equal(value, theirs) == 1);
    json_decref(theirs);
    char *printed = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    assert(printed != NULL);
    json_t *again = tally_json_load(tally_bytes_of(printed), SIZE_MAX, TALLY_JSON_MADE, NULL);
    assert(json_equal(value, again) == 1);
    json_decref(again);
    free(printed);
}

//  jansson would have taken it: then it is one of ours to refuse, never a fault of grammar.
static void
check_refused(tally_bytes_t input, const tally_json_fault_t *fault)
{
    check_place(input, fault);
    bool is_grammar = fault->code == TALLY_JSON_SYNTAX || fault->code == TALLY_JSON_UTF8
                      || fault->code == TALLY_JSON_SURROGATE;
    bool has_nul = input.size > 0 && memchr(input.data, 0, input.size) != NULL;
    if (is_grammar && !has_nul) {
        assert(json_loadb(input.size == 0 ? "" : input.data, input.size, JSON_DECODE_ANY, NULL)
               == NULL);
    }
}

void
fuzz_json(tally_bytes_t input)
{
    tally_json_fault_t fault;
    json_t *given = tally_json_load(input, 64 * 1024, TALLY_JSON_GIVEN, &fault);
    if (given == NULL) {
        check_refused(input, &fault);
    } else {
        check_taken(input, given);
    }
    tally_json_fault_t other;
    json_t *made = tally_json_load(input, 64 * 1024, TALLY_JSON_MADE, &other);
    assert(given == NULL || json_equal(given, made) == 1);
    if (made == NULL) {
        check_refused(input, &other);
    } else {
        check_taken(input, made);
    }
    json_decref(given);
    json_decref(made);
}
