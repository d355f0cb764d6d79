// SPDX-License-Identifier: MIT
//  fuzz_wire - a frame of any bytes: whatever a reader takes, the writer writes again, byte for byte but for texts that
//  the reader cut.
//
//  covers: lib/wire.c lib/wire_front.c lib/wire_lane.c lib/wire_sink.c

#include "tests/fuzz/fuzz.h"

#include "lib/wire.h"

//  Every byte of it is there to be read.
static void
touch(tally_bytes_t bytes)
{
    const uint8_t *data = bytes.data;
    uint8_t sum = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        sum = (uint8_t)(sum + data[i]);
    }
    __asm__ volatile("" : : "r"(sum));
}

static void
check_fault(tally_fault_t fault)
{
    assert(fault.code >= TALLY_E_FRAME && strcmp(tally_code_name(fault.code), "?") != 0);
    assert(fault.text != NULL && strlen(fault.text) < TALLY_TEXT_BYTES_MAX);
}

//  ---- one writer for each reader ----------------------------------------------------------------

static tally_fault_t
copy_hello(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_hello_t hello;
    tally_fault_t fault = tally_hello_read(cursor, &hello);
    if (fault.code == 0) {
        assert(tally_name_valid(hello.name));
        tally_hello_write(wire, request, &hello);
    }
    return fault;
}

static tally_fault_t
copy_welcome(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_welcome_t welcome;
    tally_fault_t fault = tally_welcome_read(cursor, &welcome);
    if (fault.code == 0) {
        tally_welcome_write(wire, request, &welcome);
    }
    return fault;
}

static tally_fault_t
copy_send(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_send_t send;
    tally_fault_t fault = tally_send_read(cursor, &send);
    if (fault.code != 0) {
        return fault;
    }
    assert(send.count >= 1 && send.count <= TALLY_BATCH_MESSAGES_MAX);
    tally_send_start(wire, request, send.queue, send.tenant);
    for (uint16_t i = 0; i < send.count; i++) {
        tally_item_t item;
        tally_item_read(&send.items, &item);
        assert(tally_item_check(&item).code == 0);
        tally_send_add(wire, &item);
    }
    assert(!send.items.bad && send.items.at == send.items.end);
    return fault;
}

static tally_fault_t
copy_confirm(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_confirm_t confirm;
    uint64_t ids[TALLY_BATCH_MESSAGES_MAX];
    tally_fault_t fault = tally_confirm_read(cursor, &confirm);
    if (fault.code != 0) {
        return fault;
    }
    for (uint16_t i = 0; i < confirm.count && !confirm.repeated; i++) {
        ids[i] = tally_cursor_u64(&confirm.ids);
    }
    assert(!confirm.ids.bad && confirm.ids.at == confirm.ids.end);
    tally_confirm_write(wire, request, confirm.repeated ? NULL : ids, confirm.count,
                        confirm.duplicates, confirm.repeated);
    return fault;
}

static tally_fault_t
copy_result(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_result_t result;
    tally_fault_t fault = tally_result_read(cursor, &result);
    if (fault.code == 0) {
        tally_result_write(wire, request, &result);
    }
    return fault;
}

static tally_fault_t
copy_error(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_error_t error;
    tally_fault_t fault = tally_error_read(cursor, &error);
    if (fault.code == 0) {
        tally_error_write(wire, request, &error);
    }
    return fault;
}

static tally_fault_t
copy_fetch(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_fetch_t fetch;
    tally_fault_t fault = tally_fetch_read(cursor, &fetch);
    if (fault.code == 0) {
        tally_fetch_write(wire, request, &fetch);
    }
    return fault;
}

static tally_fault_t
copy_delivery(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_delivery_t delivery;
    (void)request;
    tally_fault_t fault = tally_delivery_read(cursor, &delivery);
    if (fault.code != 0) {
        return fault;
    }
    assert(delivery.count >= 1);
    tally_delivery_start(wire, &delivery);
    for (uint16_t i = 0; i < delivery.count; i++) {
        tally_delivered_t item;
        tally_delivered_read(&delivery.items, &item);
        tally_delivery_add(wire, &item);
    }
    assert(!delivery.items.bad && delivery.items.at == delivery.items.end);
    return fault;
}

static tally_fault_t
copy_notice(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_notice_t notice;
    (void)request;
    tally_fault_t fault = tally_notice_read(cursor, &notice);
    if (fault.code == 0) {
        tally_notice_write(wire, &notice);
    }
    return fault;
}

static tally_fault_t
copy_records(tally_wire_t *wire, uint64_t request, tally_cursor_t cursor)
{
    tally_records_t records;
    uint64_t ids[TALLY_BATCH_MESSAGES_MAX];
    (void)request;
    tally_fault_t fault = tally_records_read(cursor, &records);
    if (fault.code != 0) {
        return fault;
    }
    tally_records_start(wire, records.worker);
    for (uint16_t i = 0; i < records.count; i++) {
        tally_record_t record;
        tally_record_read(&records.records, &record);
        for (uint16_t k = 0; k < record.count; k++) {
            ids[k] = tally_cursor_u64(&record.ids);
        }
        assert(!record.ids.bad);
        touch(record.text);
        touch(record.body);
        tally_records_add(wire, &record, ids);
    }
    assert(!records.records.bad && records.records.at == records.records.end);
    return fault;
}

//  A body that is one run of bytes.
static tally_fault_t
copy_rest(tally_wire_t *wire, tally_head_t head, tally_cursor_t cursor)
{
    tally_bytes_t rest = tally_cursor_rest(&cursor);
    tally_wire_start(wire, (tally_verb_t)head.verb, head.request);
    tally_wire_put_raw(wire, rest);
    return (tally_fault_t){0};
}

//  ---- frames ------------------------------------------------------------------------------------

//  Writes what was read into `wire`; false when it is refused.
static bool
copy_frame(tally_wire_t *wire, tally_bytes_t frame)
{
    static tally_fault_t (*const copies[])(tally_wire_t *, uint64_t, tally_cursor_t) = {
        [TALLY_HELLO] = copy_hello,       [TALLY_SEND] = copy_send,
        [TALLY_FETCH] = copy_fetch,       [TALLY_RECORDS] = copy_records,
        [TALLY_DELIVERY] = copy_delivery, [TALLY_NOTICE] = copy_notice,
        [TALLY_WELCOME] = copy_welcome,   [TALLY_CONFIRM] = copy_confirm,
        [TALLY_RESULT] = copy_result,     [TALLY_ERROR] = copy_error,
    };
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read(frame, &head, &cursor);
    if (fault.code == 0) {
        assert(tally_verb_name(head.verb) != NULL);
        fault = copies[head.verb] != NULL ? copies[head.verb](wire, head.request, cursor)
                                          : copy_rest(wire, head, cursor);
    }
    if (fault.code != 0) {
        check_fault(fault);
    }
    return fault.code == 0;
}

//  From the bodies on: pushed frames have no request to repeat.
static bool
same_bodies(tally_bytes_t a, tally_bytes_t b)
{
    const size_t head = TALLY_WIRE_HEAD_BYTES;
    return a.size == b.size
           && memcmp((const char *)a.data + head, (const char *)b.data + head, a.size - head) == 0;
}

void
fuzz_wire(tally_bytes_t input)
{
    tally_wire_t first = {0}, second = {0};
    if (copy_frame(&first, input)) {
        tally_bytes_t written = {first.data, first.size};
        bool taken = copy_frame(&second, written);
        assert(taken);
        assert(same_bodies(written, (tally_bytes_t){second.data, second.size}));
        //  Only a text that was too long is not repeated as it came.
        assert(written.size <= input.size);
        assert(written.size != input.size || same_bodies(written, input));
    }
    tally_wire_free(&first);
    tally_wire_free(&second);
}
