// SPDX-License-Identifier: MIT
//  pgarray - statement parameters that are arrays, in PostgreSQL's binary form, without an allocation per element.
//
//  Format as array_send() of PostgreSQL writes it: dimensions, has-nulls flag, element type, then length and lower
//  bound of the one dimension, then each element behind its length (-1: null).  Buffers are kept between
//  statements.  Writing only; no connection here.

#ifndef TALLY_PGARRAY_H
#define TALLY_PGARRAY_H

#include "lib/bytes.h"

//  Element types, as in PostgreSQL's catalog/pg_type.dat.
enum {
    TALLY_OID_BOOL = 16,
    TALLY_OID_BYTEA = 17,
    TALLY_OID_INT8 = 20,
    TALLY_OID_INT4 = 23,
    TALLY_OID_TEXT = 25,
    TALLY_OID_UUID = 2950,
};

typedef struct {
    uint8_t *data;
    size_t size, room;
} tally_pgarray_t;

void tally_pgarray_free(tally_pgarray_t *self);

//  Starts an array of `count` elements of that type; exactly so many are to follow.
void tally_pgarray_start(tally_pgarray_t *self, uint32_t type, size_t count);
void tally_pgarray_int4(tally_pgarray_t *self, int32_t value);
void tally_pgarray_int8(tally_pgarray_t *self, int64_t value);
void tally_pgarray_bool(tally_pgarray_t *self, bool value);
void tally_pgarray_bytes(tally_pgarray_t *self, tally_bytes_t value);    // bytea, text, uuid
void tally_pgarray_null(tally_pgarray_t *self);

//  Not arrays: a single value.
void tally_pgarray_one_int8(tally_pgarray_t *self, int64_t value);
void tally_pgarray_one_bytes(tally_pgarray_t *self, tally_bytes_t value);    // bytea, text, uuid

#endif
