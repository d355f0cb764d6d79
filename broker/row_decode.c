// SPDX-License-Identifier: MIT
//  row_decode - see row_decode.h.

#include "broker/row_decode.h"

#include <assert.h>
#include <stdio.h>

#include "lib/alloc.h"

void
tally_row_copy_name(char *name, size_t room, tally_bytes_t text)
{
    snprintf(name, room, "%.*s", (int)text.size, (const char *)text.data);
}

void
tally_row_decode_queue(const tally_rows_t *rows, int row, tally_queue_row_t *queue)
{
    *queue = (tally_queue_row_t){
        .id = (uint32_t)tally_rows_int8(rows, row, 0),
        .visibility_ms = (int32_t)tally_rows_int8(rows, row, 2),
        .failures_max = (int32_t)tally_rows_int8(rows, row, 3),
        .crashes_max = (int32_t)tally_rows_int8(rows, row, 4),
        .retry_ms = (int32_t)tally_rows_int8(rows, row, 5),
        .retry_ms_max = (int32_t)tally_rows_int8(rows, row, 6),
        .batch_max = (int32_t)tally_rows_int8(rows, row, 7),
        .window_ms = tally_rows_int8(rows, row, 8),
        .window_count = (int32_t)tally_rows_int8(rows, row, 9),
        .exclusive = tally_rows_bool(rows, row, 10),
        .keep_blobs = tally_rows_bool(rows, row, 11),
        .result_kept_ms = tally_rows_int8(rows, row, 12),
        .dedupe_kept_ms = tally_rows_int8(rows, row, 13),
    };
    tally_row_copy_name(queue->name, sizeof queue->name, tally_rows_bytes(rows, row, 1));
}

size_t
tally_row_decode_array(tally_bytes_t bytes, int64_t **numbers)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < 20) {
        return 0;    // empty: no dimensions
    }
    size_t count = (size_t)at[12] << 24 | (size_t)at[13] << 16 | (size_t)at[14] << 8 | at[15];
    assert(bytes.size == 20 + count * 12);
    *numbers = tally_realloc_array(*numbers, count, sizeof **numbers);
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        for (size_t k = 0; k < 8; k++) {
            value = value << 8 | at[20 + i * 12 + 4 + k];
        }
        (*numbers)[i] = (int64_t)value;
    }
    return count;
}

//  An integer of 2, 4 or 8 bytes, a boolean or a timestamptz; 0 when null.
static int64_t
number(tally_bytes_t field)
{
    assert(field.size <= 8);
    const unsigned char *at = field.data;
    uint64_t value = field.size > 0 && at[0] >= 0x80 ? UINT64_MAX : 0;
    for (size_t i = 0; i < field.size; i++) {
        value = value << 8 | at[i];
    }
    return (int64_t)value;
}

//  Up, so that nothing is due early.
static int64_t
ms_until(int64_t time_us, int64_t now_us)
{
    int64_t left_us = time_us - now_us;
    return left_us > 0 ? (left_us + 999) / 1000 : left_us / 1000;
}

//  The last of TALLY_MESSAGE_COLUMNS: an array of eight integers in its binary form.
enum { PRIORITY, IS_BLOB, RELEASES, PAST_WINDOW, DELIVERIES, FAILURES, CRASHES, BATCH_MAX, RESTS };

static void
decode_rest(tally_bytes_t field, tally_message_row_t *message)
{
    int32_t rest[RESTS];
    assert(field.size == 20 + RESTS * 8);
    for (size_t i = 0; i < RESTS; i++) {
        tally_bytes_t element = {(const uint8_t *)field.data + 20 + i * 8 + 4, 4};
        rest[i] = (int32_t)number(element);
    }
    message->priority = (uint8_t)rest[PRIORITY];
    message->is_blob = rest[IS_BLOB] != 0;
    message->releases = rest[RELEASES] != 0;
    message->past_window = rest[PAST_WINDOW] != 0;
    message->deliveries = rest[DELIVERIES];
    message->failures = rest[FAILURES];
    message->crashes = rest[CRASHES];
    message->batch_max = rest[BATCH_MAX];
}

void
tally_row_decode_message(const tally_bytes_t *fields, tally_message_row_t *message)
{
    int64_t now_us = number(fields[6]);
    *message = (tally_message_row_t){
        .id = (uint64_t)number(fields[0]),
        .tenant = (uint32_t)number(fields[1]),
        .queue = (uint32_t)number(fields[2]),
        .body_bytes = (uint32_t)number(fields[3]),
        .due_ms = fields[4].data == NULL ? TALLY_NEVER_DELAYED
                                         : ms_until(number(fields[4]), now_us),
        .age_ms = (now_us - number(fields[5])) / 1000,
        .key = fields[7],
        .priority = TALLY_PRIORITY_DEFAULT,
    };
    if (fields[8].data != NULL) {
        assert(fields[8].size == TALLY_SENDER_BYTES);
        message->asked = true;
        memcpy(message->asker.sender, fields[8].data, TALLY_SENDER_BYTES);
        message->asker.sequence = (uint64_t)number(fields[9]);
        message->asker.item = (uint16_t)number(fields[10]);
    }
    if (fields[11].data != NULL) {
        decode_rest(fields[11], message);
    }
}

void
tally_row_decode_message_at(const tally_rows_t *rows, int row, tally_message_row_t *message)
{
    tally_bytes_t fields[TALLY_MESSAGE_FIELDS];
    for (int i = 0; i < TALLY_MESSAGE_FIELDS; i++) {
        fields[i] = tally_rows_bytes(rows, row, i);
    }
    tally_row_decode_message(fields, message);
}

void
tally_row_decode_lease(const tally_rows_t *rows, int row, tally_lease_row_t *lease)
{
    int64_t *ids = NULL;
    size_t count = tally_row_decode_array(tally_rows_bytes(rows, row, 5), &ids);
    *lease = (tally_lease_row_t){.id = (uint64_t)tally_rows_int8(rows, row, 0),
                                 .tenant = (uint32_t)tally_rows_int8(rows, row, 1),
                                 .queue = (uint32_t)tally_rows_int8(rows, row, 2),
                                 .worker = (uint64_t)tally_rows_int8(rows, row, 3),
                                 .left_ms = tally_rows_int8(rows, row, 4),
                                 .messages = (const uint64_t *)ids,
                                 .count = count};
}
