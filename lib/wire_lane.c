// SPDX-License-Identifier: MIT
//  wire_lane - bodies of the frames that the broker pushes to one worker: deliveries and notices.
//
//  Head's request is 0 on a lane: nothing here answers anything.

#include "lib/wire_codec.h"

#include <assert.h>

#define DELIVERED_OPTIONS (TALLY_HAS_KEY | TALLY_WANTS_RESULT | TALLY_AS_BLOB)
#define COUNT_AT (TALLY_WIRE_HEAD_BYTES + 20)    // of a delivery: behind lease, epoch, visible_ms

static tally_fault_t
check_delivered(const tally_delivered_t *item)
{
    unsigned options = item->options;
    if ((options & ~(unsigned)DELIVERED_OPTIONS) != 0) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "an option bit of a delivered message is unknown; leave it 0");
    }
    if ((options & TALLY_HAS_KEY) != 0 && item->key.size > TALLY_KEY_BYTES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the key is too long; it has at most 200 bytes");
    }
    if ((options & TALLY_AS_BLOB) != 0 && item->body.size > 0) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "a message with the blob option carries a body; "
                          "leave it empty, it is fetched");
    }
    if (item->body.size > TALLY_BODY_INLINE_BYTES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the body is larger than body_inline_max; "
                          "deliver it with the blob option");
    }
    return no_fault();
}

void
tally_delivery_start(tally_wire_t *wire, const tally_delivery_t *delivery)
{
    assert(tally_name_valid(delivery->queue));
    assert(tally_name_valid(delivery->tenant));

    tally_wire_start(wire, TALLY_DELIVERY, 0);
    tally_wire_put_u64(wire, delivery->lease);
    tally_wire_put_u64(wire, delivery->epoch);
    tally_wire_put_u32(wire, delivery->visible_ms);
    assert(wire->size == COUNT_AT);
    tally_wire_put_u16(wire, 0);
    tally_wire_put_str8(wire, delivery->queue);
    tally_wire_put_str8(wire, delivery->tenant);
}

void
tally_delivery_add(tally_wire_t *wire, const tally_delivered_t *item)
{
    assert(check_delivered(item).code == 0);
    uint16_t count = (uint16_t)(wire->data[COUNT_AT] << 8 | wire->data[COUNT_AT + 1]);
    assert(count < TALLY_BATCH_MESSAGES_MAX);

    bool has_key = (item->options & TALLY_HAS_KEY) != 0;
    size_t size = 15 + (has_key ? 1 + item->key.size : 0) + sizeof(uint32_t) + item->body.size;
    assert(wire->size + size <= TALLY_FRAME_BYTES_MAX);

    uint8_t *at = claim(wire, size);
    *at = item->options;
    store_u64(at + 1, item->id);
    store_u16(at + 9, item->deliveries);
    store_u16(at + 11, item->failures);
    store_u16(at + 13, item->crashes);
    at += 15;
    if (has_key) {
        *at = (uint8_t)item->key.size;
        at = store_bytes(at + 1, item->key);
    }
    store_u32(at, (uint32_t)item->body.size);
    at = store_bytes(at + sizeof(uint32_t), item->body);
    assert(at == wire->data + wire->size);
    store_u16(wire->data + COUNT_AT, (uint16_t)(count + 1));
}

static void
read_delivered(tally_cursor_t *items, tally_delivered_t *item)
{
    *item = (tally_delivered_t){0};
    item->options = take_u8(items);
    item->id = take_u64(items);
    item->deliveries = take_u16(items);
    item->failures = take_u16(items);
    item->crashes = take_u16(items);
    if ((item->options & TALLY_HAS_KEY) != 0) {
        item->key = take_bytes(items, take_u8(items));
    }
    item->body = take_bytes(items, take_u32(items));
}

tally_fault_t
tally_delivery_read(tally_cursor_t cursor, tally_delivery_t *delivery)
{
    delivery->lease = take_u64(&cursor);
    delivery->epoch = take_u64(&cursor);
    delivery->visible_ms = take_u32(&cursor);
    delivery->count = take_u16(&cursor);
    delivery->queue = tally_cursor_str8(&cursor);
    delivery->tenant = tally_cursor_str8(&cursor);
    delivery->items = cursor;
    if (cursor.bad) {
        return cut_fault(TALLY_NO_INDEX);
    }
    if (!tally_name_valid(delivery->queue) || !tally_name_valid(delivery->tenant)) {
        return make_fault(TALLY_E_NAME, TALLY_NO_INDEX,
                          "the delivery's queue or tenant is not a name");
    }
    if (delivery->count < 1 || delivery->count > TALLY_BATCH_MESSAGES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the number of messages is outside its range; a delivery has 1 to 1000");
    }
    for (uint16_t i = 0; i < delivery->count; i++) {
        tally_delivered_t item;
        read_delivered(&cursor, &item);
        if (cursor.bad && (item.options & ~(unsigned)DELIVERED_OPTIONS) == 0) {
            return cut_fault(i);
        }
        tally_fault_t fault = check_delivered(&item);
        if (fault.code != 0) {
            fault.index = i;
            return fault;
        }
    }
    return tally_cursor_finish(&cursor);
}

void
tally_delivered_read(tally_cursor_t *items, tally_delivered_t *item)
{
    read_delivered(items, item);
    assert(!items->bad);
}

//  ---- notice -----------------------------------------------------------------------------------

static tally_fault_t
check_notice(const tally_notice_t *notice)
{
    switch (notice->kind) {
    case TALLY_NOTICE_TERM:
    case TALLY_NOTICE_TERM_LOST:
        if (!tally_name_valid(notice->queue) || !tally_name_valid(notice->tenant)) {
            return make_fault(TALLY_E_NAME, TALLY_NO_INDEX,
                              "a notice of a term names its queue and its tenant");
        }
        return no_fault();
    case TALLY_NOTICE_BEAT:
    case TALLY_NOTICE_GONE:
    case TALLY_NOTICE_DRAIN:
        if (notice->queue.size > 0 || notice->tenant.size > 0) {
            return make_fault(TALLY_E_NAME, TALLY_NO_INDEX,
                              "this kind of notice is about the worker; "
                              "leave queue and tenant empty");
        }
        return no_fault();
    default:
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "the kind of notice is unknown; it is 1 to 5 in this version");
    }
}

void
tally_notice_write(tally_wire_t *wire, const tally_notice_t *notice)
{
    assert(check_notice(notice).code == 0);

    tally_wire_start(wire, TALLY_NOTICE, 0);
    tally_wire_put_u8(wire, notice->kind);
    tally_wire_put_u64(wire, notice->epoch);
    tally_wire_put_str8(wire, notice->queue);
    tally_wire_put_str8(wire, notice->tenant);
}

tally_fault_t
tally_notice_read(tally_cursor_t cursor, tally_notice_t *notice)
{
    notice->kind = take_u8(&cursor);
    notice->epoch = take_u64(&cursor);
    notice->queue = tally_cursor_str8(&cursor);
    notice->tenant = tally_cursor_str8(&cursor);
    tally_fault_t fault = tally_cursor_finish(&cursor);
    return fault.code != 0 ? fault : check_notice(notice);
}
