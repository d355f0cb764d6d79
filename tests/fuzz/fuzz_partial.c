// SPDX-License-Identifier: MIT
//  fuzz_partial - JSON as messages between workers: a partial result, a pointer, an export's request, a ping.
//
//  covers: workers/partial.c workers/pointer.c workers/export_request.c workers/ping.c workers/statistics.c

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "workers/export_request.h"
#include "workers/partial.h"
#include "workers/ping.h"
#include "workers/pointer.h"

//  What was taken is written so that it is taken again and means the same.
static void
merge(const json_t *json)
{
    tally_problem_t problem;
    tally_partial_t *partial = tally_partial_new();
    if (tally_partial_merge(partial, json, &problem) == 0) {
        json_t *encoded = tally_partial_encode(partial);
        char *text = tally_json_print(encoded);
        json_t *parsed = tally_json_parse_made(tally_bytes_of(text), SIZE_MAX, &problem);
        assert(parsed != NULL);
        tally_partial_t *again = tally_partial_new();
        assert(tally_partial_merge(again, parsed, &problem) == 0);
        json_t *second = tally_partial_encode(again);
        assert(json_equal(encoded, second) == 1);
        json_t *rows = json_array();
        tally_partial_trace(again, 1, rows);
        json_decref(rows);
        json_decref(second);
        json_decref(parsed);
        json_decref(encoded);
        free(text);
        tally_partial_destroy(&again);
    }
    tally_partial_destroy(&partial);
}

static void
point(const json_t *json)
{
    tally_problem_t problem;
    tally_pointer_t pointer;
    if (tally_pointer_read(&pointer, json, &problem) == -1) {
        return;
    }
    size_t taken;
    char *text = tally_pointer_print(pointer.survey, pointer.slug, pointer.numbers, pointer.count,
                                     &taken);
    assert(taken > 0 && taken <= pointer.count);
    json_t *parsed = tally_json_parse(tally_bytes_of(text), TALLY_POINTER_BYTES_MAX, &problem);
    tally_pointer_t again;
    assert(tally_pointer_read(&again, parsed, &problem) == 0);
    assert(again.survey == pointer.survey && strcmp(again.slug, pointer.slug) == 0);
    assert(again.count == taken);
    assert(memcmp(again.numbers, pointer.numbers, taken * sizeof *again.numbers) == 0);
    tally_pointer_free(&again);
    tally_pointer_free(&pointer);
    json_decref(parsed);
    free(text);
}

void
fuzz_partial(tally_bytes_t input)
{
    tally_problem_t problem;
    tally_export_request_t request;
    if (tally_export_request_read(&request, input, &problem) == 0) {
        tally_export_request_free(&request);
    }
    tally_ping_t ping;
    if (tally_ping_read(&ping, input, &problem) == 0) {
        assert(ping.pid > 0);
    }
    json_t *json = tally_json_parse_made(input, 64 * 1024, &problem);
    if (json != NULL) {
        merge(json);
        point(json);
        json_decref(json);
    }
}
