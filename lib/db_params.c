// SPDX-License-Identifier: MIT
//  db_params - the binary form of statement parameters and of the values in a result.
//
//  Builds what PostgreSQL's binary protocol wants (big-endian, arrays with their head) and reads
//  it back.  Types are fixed by the call, never guessed from the value.  No connection is touched
//  here.

#include "lib/db.h"

#include <assert.h>
#include <endian.h>
#include <limits.h>
#include <stdlib.h>

#include "lib/alloc.h"

//  Object ids of PostgreSQL's built-in types; fixed for ever by its catalog.
enum {
    OID_BOOL = 16,
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT2 = 21,
    OID_INT4 = 23,
    OID_TEXT = 25,
    OID_FLOAT8 = 701,
    OID_BYTEA_ARRAY = 1001,
    OID_INT4_ARRAY = 1007,
    OID_TEXT_ARRAY = 1009,
    OID_INT8_ARRAY = 1016,
};

#define ARRAY_HEAD_BYTES 20    // dimensions, has null, element type, length, lower bound

static void
put_int4(uint8_t *at, int32_t value)
{
    uint32_t big = htobe32((uint32_t)value);
    memcpy(at, &big, sizeof big);
}

static void
put_int8(uint8_t *at, int64_t value)
{
    uint64_t big = htobe64((uint64_t)value);
    memcpy(at, &big, sizeof big);
}

//  Appends one parameter.  `owned` is NULL when the value is borrowed.
static void
add(tally_params_t *params, Oid type, const void *value, size_t size, void *owned)
{
    size_t room = sizeof params->types / sizeof params->types[0];
    assert(params->count >= 0);
    assert((size_t)params->count < room);
    assert(size <= INT_MAX);

    int at = params->count++;
    params->types[at] = type;
    params->values[at] = value;
    params->lengths[at] = (int)size;
    params->formats[at] = 1;
    params->owned[at] = owned;
}

static void
add_owned(tally_params_t *params, Oid type, void *value, size_t size)
{
    add(params, type, value, size, value);
}

void
tally_params_free(tally_params_t *params)
{
    for (int i = 0; i < params->count; i++) {
        free(params->owned[i]);
    }
    memset(params, 0, sizeof *params);
}

void
tally_params_int4(tally_params_t *params, int32_t value)
{
    uint8_t *copy = tally_alloc(sizeof value);
    put_int4(copy, value);
    add_owned(params, OID_INT4, copy, sizeof value);
}

void
tally_params_int8(tally_params_t *params, int64_t value)
{
    uint8_t *copy = tally_alloc(sizeof value);
    put_int8(copy, value);
    add_owned(params, OID_INT8, copy, sizeof value);
}

void
tally_params_bool(tally_params_t *params, bool value)
{
    uint8_t *copy = tally_alloc(1);
    *copy = value ? 1 : 0;
    add_owned(params, OID_BOOL, copy, 1);
}

void
tally_params_text(tally_params_t *params, tally_bytes_t value)
{
    uint8_t *copy = tally_alloc(value.size + 1);
    if (value.size > 0) {
        memcpy(copy, value.data, value.size);
    }
    add_owned(params, OID_TEXT, copy, value.size);
}

void
tally_params_bytea(tally_params_t *params, tally_bytes_t value)
{
    //  libpq takes a NULL pointer for SQL's null; an empty run of bytes is a value.
    add(params, OID_BYTEA, value.data == NULL ? "" : value.data, value.size, NULL);
}

void
tally_params_null(tally_params_t *params, Oid type)
{
    add(params, type, NULL, 0, NULL);
}

//  An array's head; an empty array has no dimension and ends after the element type.
static uint8_t *
start_array(size_t count, Oid element, bool has_null, size_t elements_bytes, size_t *size)
{
    assert(count <= INT_MAX);
    *size = count == 0 ? 12 : ARRAY_HEAD_BYTES + elements_bytes;
    uint8_t *array = tally_alloc(ARRAY_HEAD_BYTES + elements_bytes);
    put_int4(array, count == 0 ? 0 : 1);
    put_int4(array + 4, has_null ? 1 : 0);
    put_int4(array + 8, (int32_t)element);
    put_int4(array + 12, (int32_t)count);
    put_int4(array + 16, 1);
    return array;
}

void
tally_params_int4s(tally_params_t *params, const int32_t *values, size_t count)
{
    size_t size;
    uint8_t *array = start_array(count, OID_INT4, false, count * 8, &size);
    uint8_t *at = array + ARRAY_HEAD_BYTES;
    for (size_t i = 0; i < count; i++, at += 8) {
        put_int4(at, 4);
        put_int4(at + 4, values[i]);
    }
    add_owned(params, OID_INT4_ARRAY, array, size);
}

void
tally_params_int8s(tally_params_t *params, const int64_t *values, size_t count)
{
    size_t size;
    uint8_t *array = start_array(count, OID_INT8, false, count * 12, &size);
    uint8_t *at = array + ARRAY_HEAD_BYTES;
    for (size_t i = 0; i < count; i++, at += 12) {
        put_int4(at, 8);
        put_int8(at + 4, values[i]);
    }
    add_owned(params, OID_INT8_ARRAY, array, size);
}

static void
add_runs(tally_params_t *params, Oid type, Oid element, const tally_bytes_t *values, size_t count)
{
    bool has_null = false;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        assert(values[i].size <= INT_MAX);
        has_null = has_null || values[i].data == NULL;
        bytes += 4 + values[i].size;
    }
    size_t size;
    uint8_t *array = start_array(count, element, has_null, bytes, &size);
    uint8_t *at = array + ARRAY_HEAD_BYTES;
    for (size_t i = 0; i < count; i++) {
        if (values[i].data == NULL) {
            assert(values[i].size == 0);
            put_int4(at, -1);
            at += 4;
            continue;
        }
        put_int4(at, (int32_t)values[i].size);
        memcpy(at + 4, values[i].data, values[i].size);
        at += 4 + values[i].size;
    }
    add_owned(params, type, array, size);
}

void
tally_params_texts(tally_params_t *params, const tally_bytes_t *values, size_t count)
{
    add_runs(params, OID_TEXT_ARRAY, OID_TEXT, values, count);
}

void
tally_params_byteas(tally_params_t *params, const tally_bytes_t *values, size_t count)
{
    add_runs(params, OID_BYTEA_ARRAY, OID_BYTEA, values, count);
}

//  The value's address after checking that it is there to be read as this type.
static const char *
value_at(const tally_rows_t *rows, int row, int column, Oid type, int bytes)
{
    assert(rows->result != NULL);
    assert(row >= 0 && row < rows->rows);
    assert(column >= 0 && column < PQnfields(rows->result));
    assert(PQfformat(rows->result, column) == 1);
    assert(PQftype(rows->result, column) == type);
    assert(PQgetlength(rows->result, row, column) == bytes);
    return PQgetvalue(rows->result, row, column);
}

bool
tally_rows_null(const tally_rows_t *rows, int row, int column)
{
    assert(rows->result != NULL);
    assert(row >= 0 && row < rows->rows);
    assert(column >= 0 && column < PQnfields(rows->result));
    return PQgetisnull(rows->result, row, column) == 1;
}

int64_t
tally_rows_int8(const tally_rows_t *rows, int row, int column)
{
    if (tally_rows_null(rows, row, column)) {
        return 0;
    }
    Oid type = PQftype(rows->result, column);
    if (type == OID_INT2) {
        uint16_t big;
        memcpy(&big, value_at(rows, row, column, type, 2), sizeof big);
        return (int16_t)be16toh(big);
    }
    if (type == OID_INT4) {
        uint32_t big;
        memcpy(&big, value_at(rows, row, column, type, 4), sizeof big);
        return (int32_t)be32toh(big);
    }
    uint64_t big;
    memcpy(&big, value_at(rows, row, column, OID_INT8, 8), sizeof big);
    return (int64_t)be64toh(big);
}

bool
tally_rows_bool(const tally_rows_t *rows, int row, int column)
{
    if (tally_rows_null(rows, row, column)) {
        return false;
    }
    return *value_at(rows, row, column, OID_BOOL, 1) != 0;
}

double
tally_rows_float8(const tally_rows_t *rows, int row, int column)
{
    if (tally_rows_null(rows, row, column)) {
        return 0;
    }
    uint64_t bits;
    double value;
    memcpy(&bits, value_at(rows, row, column, OID_FLOAT8, 8), sizeof bits);
    bits = be64toh(bits);
    memcpy(&value, &bits, sizeof value);
    return value;
}

tally_bytes_t
tally_rows_bytes(const tally_rows_t *rows, int row, int column)
{
    if (tally_rows_null(rows, row, column)) {
        return (tally_bytes_t){NULL, 0};
    }
    return (tally_bytes_t){PQgetvalue(rows->result, row, column),
                           (size_t)PQgetlength(rows->result, row, column)};
}
