// SPDX-License-Identifier: MIT
//  tick_columns - parameters of a statement written out of a plan's arrays, a line each.  For the files that hold the
//  statements of a tick, and no others.

#ifndef TALLY_TICK_COLUMNS_H
#define TALLY_TICK_COLUMNS_H

#include "broker/tick_statements.h"

static inline tally_pgarray_t *
next(tally_statement_params_t *params, uint32_t type, size_t count)
{
    tally_pgarray_t *value = &params->values[params->count++];
    tally_pgarray_start(value, type, count);
    return value;
}

static inline void
next_one(tally_statement_params_t *params, int64_t value)
{
    tally_pgarray_one_int8(&params->values[params->count++], value);
}

static inline void
next_bytes(tally_statement_params_t *params, tally_bytes_t value)
{
    tally_pgarray_one_bytes(&params->values[params->count++], value);
}

//  One parameter: an array with `expression` of each element `e` of a plan's array.
#define COLUMN(kind, type, array, expression)                                                      \
    do {                                                                                           \
        tally_pgarray_t *column = next(params, type, (array)->count);                              \
        for (size_t i = 0; i < (array)->count; i++) {                                              \
            const __typeof__(*(array)->items) *e = &(array)->items[i];                             \
            tally_pgarray_##kind(column, expression);                                              \
        }                                                                                          \
    } while (0)
#define INT4(array, expression) COLUMN(int4, TALLY_OID_INT4, array, (int32_t)(expression))
#define INT8(array, expression) COLUMN(int8, TALLY_OID_INT8, array, (int64_t)(expression))
#define BOOL(array, expression) COLUMN(bool, TALLY_OID_BOOL, array, expression)
#define BYTEA(array, expression) COLUMN(bytes, TALLY_OID_BYTEA, array, expression)
#define TEXT(array, expression) COLUMN(bytes, TALLY_OID_TEXT, array, expression)

static inline tally_bytes_t
uuid(const uint8_t *sender)
{
    return (tally_bytes_t){sender, TALLY_SENDER_BYTES};
}

//  A line of a table of statements, by the names its parts have in their file.
#define TALLY_STATEMENT(section, read)                                                             \
    {                                                                                              \
#section, section##_sql, section##_wanted, section##_write, read                           \
    }

#endif
