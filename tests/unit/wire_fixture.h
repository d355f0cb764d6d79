// SPDX-License-Identifier: MIT
//  wire_fixture - a buffer, a block of bytes and a few ids, for the tests of the codec.
//
//  A header of statics, since a test is one file.  No expectations here but those every test has.

#ifndef TALLY_WIRE_FIXTURE_H
#define TALLY_WIRE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/wire.h"

#define BODY_BYTES_ROOM (TALLY_BLOB_BYTES_MAX + 1)

typedef struct {
    tally_wire_t wire;
    uint8_t *block;    // a copy of exactly a frame's size, or a body
    uint64_t ids[TALLY_BATCH_MESSAGES_MAX + 1];
} fixture_t;

static inline int
setup(void **state)
{
    fixture_t *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->block = calloc(1, BODY_BYTES_ROOM);
    assert_non_null(f->block);
    for (size_t i = 0; i <= TALLY_BATCH_MESSAGES_MAX; i++) {
        f->ids[i] = (uint64_t)1 << 40 | i;
    }
    *state = f;
    return 0;
}

static inline int
teardown(void **state)
{
    fixture_t *f = *state;
    tally_wire_free(&f->wire);
    free(f->block);
    free(f);
    return 0;
}

static inline tally_bytes_t
run(const fixture_t *f, size_t size)
{
    return (tally_bytes_t){f->block, size};
}

static inline tally_bytes_t
frame(const fixture_t *f)
{
    return (tally_bytes_t){f->wire.data, f->wire.size};
}

//  The cursor behind the head of what was written last.
static inline tally_cursor_t
behind_head(const fixture_t *f, tally_verb_t verb, uint64_t request)
{
    tally_head_t head;
    tally_cursor_t cursor;
    assert_int_equal(tally_head_read(frame(f), &head, &cursor).code, 0);
    assert_int_equal(head.version, TALLY_WIRE_VERSION);
    assert_int_equal(head.verb, verb);
    assert_true(head.request == request);
    return cursor;
}

static inline tally_cursor_t
raw_cursor(const fixture_t *f)
{
    return tally_cursor_of(frame(f));
}

static inline void
assert_fault(tally_fault_t fault, int code, int index)
{
    assert_int_equal(fault.code, code);
    assert_int_equal(fault.index, index);
    assert_true(strlen(fault.text) > 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
