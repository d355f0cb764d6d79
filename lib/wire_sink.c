// SPDX-License-Identifier: MIT
//  wire_sink - the frames of records that workers push to the sink.
//
//  The sink answers nothing, so a frame is taken whole or not at all; a worker whose frame was
//  refused finds its leases expired.  Every record of a lease names it: the token decides, not the
//  sender.

#include "lib/wire_codec.h"

#include <assert.h>

#define RETURN_FLAGS (TALLY_RETURN_FAILED | TALLY_RETURN_DELAY)
#define COUNT_AT (TALLY_WIRE_HEAD_BYTES + 8)    // behind the worker's number

//  Which fields follow the kind, in this order.
typedef enum {
    FIELD_LEASE = 0x01,
    FIELD_IDS = 0x02,
    FIELD_FLAGS = 0x04,    // and delay_ms when TALLY_RETURN_DELAY is among them
    FIELD_DELAY = 0x08,
    FIELD_OUTSTANDING = 0x10,
    FIELD_TOPIC = 0x20,
    FIELD_TEXT = 0x40,
    FIELD_BODY = 0x80,
} field_t;

//  The layout of every kind; 0 for a kind there is not.
static unsigned
fields_of(unsigned kind)
{
    static const uint8_t fields[] = {
        [TALLY_RECORD_SETTLE] = FIELD_LEASE | FIELD_IDS,
        [TALLY_RECORD_RESULT] = FIELD_LEASE | FIELD_IDS | FIELD_BODY,
        [TALLY_RECORD_RETURN] = FIELD_LEASE | FIELD_IDS | FIELD_FLAGS | FIELD_TEXT,
        [TALLY_RECORD_BURY] = FIELD_LEASE | FIELD_IDS | FIELD_TEXT,
        [TALLY_RECORD_EXTEND] = FIELD_LEASE | FIELD_DELAY,
        [TALLY_RECORD_NOTE] = FIELD_LEASE | FIELD_IDS,
        [TALLY_RECORD_BEAT] = FIELD_OUTSTANDING,
        [TALLY_RECORD_PUBLISH] = FIELD_TOPIC | FIELD_BODY,
    };
    return kind < sizeof fields ? fields[kind] : 0;
}

static bool
has_delay(const tally_record_t *record, unsigned fields)
{
    return (fields & FIELD_DELAY) != 0
           || ((fields & FIELD_FLAGS) != 0 && (record->flags & TALLY_RETURN_DELAY) != 0);
}

//  UTF-8 without control characters; subscribers match on its bytes and people read it.
static bool
topic_valid(tally_bytes_t topic)
{
    const uint8_t *at = topic.data;
    for (size_t i = 0; i < topic.size; i++) {
        if (at[i] < ' ' || at[i] == 0x7f) {
            return false;
        }
    }
    return topic.size > 0 && tally_text_valid(topic);
}

static tally_fault_t
check_topic_and_body(const tally_record_t *record, unsigned fields)
{
    if ((fields & FIELD_TOPIC) != 0) {
        if (record->text.size > TALLY_TOPIC_BYTES_MAX) {
            return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                              "the topic is too long; give at most 200 bytes");
        }
        if (!topic_valid(record->text)) {
            return make_fault(TALLY_E_NAME, TALLY_NO_INDEX,
                              "the topic is empty or not plain UTF-8; use words joined by dots");
        }
        if (record->body.size > TALLY_BODY_INLINE_BYTES_MAX) {
            return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                              "what is published is larger than body_inline_max; "
                              "publish a summary");
        }
    }
    if ((fields & FIELD_BODY) != 0 && record->body.size > TALLY_BLOB_BYTES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the result is larger than blob_max; make it smaller");
    }
    return no_fault();
}

static tally_fault_t
check_record(const tally_record_t *record)
{
    unsigned fields = fields_of(record->kind);
    if (fields == 0) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "the kind of record is unknown; it is 1 to 8 in this version");
    }
    if (record->count > TALLY_BATCH_MESSAGES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "a record names too many messages; name at most 1000, or none for all");
    }
    if (record->kind == TALLY_RECORD_RESULT && record->count != 1) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "a result is of one message; give each its own record");
    }
    if ((fields & FIELD_FLAGS) != 0 && (record->flags & ~(unsigned)RETURN_FLAGS) != 0) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "a flag bit of a return is unknown; leave it 0");
    }
    if ((fields & FIELD_DELAY) != 0
        && (record->delay_ms < 1 || record->delay_ms > TALLY_VISIBILITY_MS_MAX)) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "an extension is out of range; give 1 ms to 12 hours");
    }
    return check_topic_and_body(record, fields);
}

void
tally_records_start(tally_wire_t *wire, uint64_t worker)
{
    tally_wire_start(wire, TALLY_RECORDS, 0);
    tally_wire_put_u64(wire, worker);
    assert(wire->size == COUNT_AT);
    tally_wire_put_u16(wire, 0);
}

static void
put_ids(tally_wire_t *wire, const uint64_t *ids, uint16_t count)
{
    uint8_t *at = claim(wire, sizeof(uint16_t) + count * sizeof(uint64_t));
    store_u16(at, count);
    at += sizeof(uint16_t);
    for (size_t i = 0; i < count; i++) {
        store_u64(at + i * sizeof(uint64_t), ids[i]);
    }
}

void
tally_records_add(tally_wire_t *wire, const tally_record_t *record, const uint64_t *ids)
{
    assert(check_record(record).code == 0);
    assert(ids != NULL || record->count == 0);
    uint16_t count = (uint16_t)(wire->data[COUNT_AT] << 8 | wire->data[COUNT_AT + 1]);
    assert(count < TALLY_RECORDS_MAX);
    unsigned fields = fields_of(record->kind);
    assert((fields & FIELD_IDS) != 0 || record->count == 0);

    tally_wire_put_u8(wire, record->kind);
    if ((fields & FIELD_LEASE) != 0) {
        tally_wire_put_u64(wire, record->lease);
    }
    if ((fields & FIELD_IDS) != 0) {
        put_ids(wire, ids, record->count);
    }
    if ((fields & FIELD_FLAGS) != 0) {
        tally_wire_put_u8(wire, record->flags);
    }
    if (has_delay(record, fields)) {
        tally_wire_put_u32(wire, record->delay_ms);
    }
    if ((fields & FIELD_OUTSTANDING) != 0) {
        tally_wire_put_u32(wire, record->outstanding);
    }
    if ((fields & FIELD_TOPIC) != 0) {
        tally_wire_put_str8(wire, record->text);
    }
    if ((fields & FIELD_TEXT) != 0) {
        tally_wire_put_text(wire, record->text);
    }
    if ((fields & FIELD_BODY) != 0) {
        tally_wire_put_body(wire, record->body);
    }
    assert(wire->size <= TALLY_FRAME_BYTES_MAX);
    store_u16(wire->data + COUNT_AT, (uint16_t)(count + 1));
}

//  Reads one record.  Returns what is wrong with its text; whether the cursor went bad and whether
//  the record keeps its bounds is the caller's to look at.
static tally_fault_t
read_record(tally_cursor_t *records, tally_record_t *record)
{
    *record = (tally_record_t){0};
    record->kind = take_u8(records);
    unsigned fields = fields_of(record->kind);
    tally_fault_t fault = no_fault();
    if ((fields & FIELD_LEASE) != 0) {
        record->lease = take_u64(records);
    }
    if ((fields & FIELD_IDS) != 0) {
        record->count = take_u16(records);
        record->ids = tally_cursor_of(take_bytes(records, record->count * sizeof(uint64_t)));
    }
    if ((fields & FIELD_FLAGS) != 0) {
        record->flags = take_u8(records);
    }
    if (has_delay(record, fields)) {
        record->delay_ms = take_u32(records);
    }
    if ((fields & FIELD_OUTSTANDING) != 0) {
        record->outstanding = take_u32(records);
    }
    if ((fields & FIELD_TOPIC) != 0) {
        record->text = tally_cursor_str8(records);
    }
    if ((fields & FIELD_TEXT) != 0) {
        record->text = tally_cursor_text(records, &fault);
    }
    if ((fields & FIELD_BODY) != 0) {
        record->body = tally_cursor_body(records);
    }
    return fault;
}

tally_fault_t
tally_records_read(tally_cursor_t cursor, tally_records_t *records)
{
    records->worker = take_u64(&cursor);
    records->count = take_u16(&cursor);
    records->records = cursor;
    if (cursor.bad) {
        return cut_fault(TALLY_NO_INDEX);
    }
    if (records->count < 1 || records->count > TALLY_RECORDS_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the number of records is outside its range; send 1 to 1000 in a frame");
    }
    for (uint16_t i = 0; i < records->count; i++) {
        tally_record_t record;
        tally_fault_t fault = read_record(&cursor, &record);
        //  An unknown flag is named before whatever misreading the fields behind it looks like.
        bool understood = (record.flags & ~(unsigned)RETURN_FLAGS) == 0;
        if (cursor.bad && understood) {
            return cut_fault(i);
        }
        if (fault.code == 0 || !understood) {
            fault = check_record(&record);
        }
        if (fault.code != 0) {
            fault.index = i;
            return fault;
        }
    }
    return tally_cursor_finish(&cursor);
}

void
tally_record_read(tally_cursor_t *records, tally_record_t *record)
{
    tally_fault_t fault = read_record(records, record);
    assert(fault.code == 0);
    assert(!records->bad);
}
