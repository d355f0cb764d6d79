// SPDX-License-Identifier: MIT
//  wire_front - bodies of the frames between clients or workers and the front.
//
//  Reader and writer share one check per verb: what a writer may write is what a reader takes.
//  Only shapes and bounds are checked here; whether a queue exists is the broker's to say.

#include "lib/wire_codec.h"

#include <assert.h>

#define ITEM_OPTIONS                                                                               \
    (TALLY_HAS_KEY | TALLY_HAS_PRIORITY | TALLY_HAS_DELAY | TALLY_HAS_DEDUPE | TALLY_WANTS_RESULT  \
     | TALLY_AS_BLOB | TALLY_RELEASES)
#define CONFIRM_REPEATED 0x01
#define COUNT_AT TALLY_WIRE_HEAD_BYTES    // of a send: the first field of its body
#define CODE_MIN 100                      // codes speak by their hundreds; below is none

static tally_fault_t
name_fault(uint16_t index)
{
    return make_fault(TALLY_E_NAME, index,
                      "a name breaks its rule; "
                      "use 1 to 64 of a-z 0-9 . _ - with a letter or digit first");
}

//  ---- hello / welcome --------------------------------------------------------------------------

static tally_fault_t
check_queues(const tally_hello_t *hello)
{
    for (uint16_t i = 0; i < hello->queue_count; i++) {
        if (!tally_name_valid(hello->queues[i])) {
            return name_fault(i);
        }
        for (uint16_t j = 0; j < i; j++) {
            if (tally_bytes_equal(hello->queues[i], hello->queues[j])) {
                return make_fault(TALLY_E_NAME, i, "a queue is named twice; name each queue once");
            }
        }
    }
    return no_fault();
}

static tally_fault_t
check_hello(const tally_hello_t *hello)
{
    if (hello->role != TALLY_ROLE_CLIENT && hello->role != TALLY_ROLE_WORKER) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "the role is unknown; say 1 for a client or 2 for a worker");
    }
    if (!tally_name_valid(hello->name)) {
        return name_fault(TALLY_NO_INDEX);
    }
    if (hello->role == TALLY_ROLE_CLIENT) {
        return no_fault();
    }
    if (hello->credit < 1 || hello->credit > TALLY_CREDIT_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the credit is outside its range; ask for 1 to 1000 messages");
    }
    if (hello->queue_count < 1 || hello->queue_count > TALLY_WORKER_QUEUES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the number of queues is outside its range; name 1 to 16 queues");
    }
    return check_queues(hello);
}

void
tally_hello_write(tally_wire_t *wire, uint64_t request, const tally_hello_t *hello)
{
    assert(check_hello(hello).code == 0);
    assert(hello->version_min >= 1);
    assert(hello->version_min <= hello->version_max);

    tally_wire_start(wire, TALLY_HELLO, request);
    tally_wire_put_u8(wire, hello->role);
    tally_wire_put_u8(wire, hello->version_min);
    tally_wire_put_u8(wire, hello->version_max);
    tally_wire_put_raw(wire, (tally_bytes_t){hello->sender, TALLY_SENDER_BYTES});
    tally_wire_put_str8(wire, hello->name);
    if (hello->role == TALLY_ROLE_WORKER) {
        tally_wire_put_u16(wire, hello->credit);
        tally_wire_put_u8(wire, hello->queue_count);
        for (size_t i = 0; i < hello->queue_count; i++) {
            tally_wire_put_str8(wire, hello->queues[i]);
        }
    }
}

static void
read_sender(tally_cursor_t *cursor, uint8_t sender[TALLY_SENDER_BYTES])
{
    const uint8_t *at = take(cursor, TALLY_SENDER_BYTES);
    if (at != NULL) {
        memcpy(sender, at, TALLY_SENDER_BYTES);
    }
}

tally_fault_t
tally_hello_read(tally_cursor_t cursor, tally_hello_t *hello)
{
    *hello = (tally_hello_t){0};
    hello->role = take_u8(&cursor);
    hello->version_min = take_u8(&cursor);
    hello->version_max = take_u8(&cursor);
    if (cursor.bad) {
        return cut_fault(TALLY_NO_INDEX);
    }
    //  Before anything else: the rest of another version's hello may not be what we take it for.
    if (hello->version_min < 1 || hello->version_min > TALLY_WIRE_VERSION
        || hello->version_max < TALLY_WIRE_VERSION) {
        return make_fault(TALLY_E_VERSION, TALLY_NO_INDEX,
                          "no version in common; this peer speaks version 1 only");
    }
    read_sender(&cursor, hello->sender);
    hello->name = tally_cursor_str8(&cursor);
    if (hello->role == TALLY_ROLE_WORKER) {
        hello->credit = take_u16(&cursor);
        hello->queue_count = take_u8(&cursor);
        if (hello->queue_count > TALLY_WORKER_QUEUES_MAX) {
            return check_hello(hello);
        }
        for (size_t i = 0; i < hello->queue_count; i++) {
            hello->queues[i] = tally_cursor_str8(&cursor);
        }
    }
    if (cursor.bad) {
        return cut_fault(TALLY_NO_INDEX);
    }
    tally_fault_t fault = check_hello(hello);
    return fault.code != 0 ? fault : tally_cursor_finish(&cursor);
}

//  An endpoint becomes a C string for connect(), so nothing in it may end or hide a part of it.
static bool
endpoint_valid(tally_bytes_t endpoint)
{
    const uint8_t *at = endpoint.data;
    for (size_t i = 0; i < endpoint.size; i++) {
        if (at[i] <= ' ' || at[i] > '~') {
            return false;
        }
    }
    return endpoint.size <= TALLY_ENDPOINT_BYTES_MAX;
}

static tally_fault_t
check_welcome(const tally_welcome_t *welcome)
{
    if (welcome->version != TALLY_WIRE_VERSION) {
        return make_fault(TALLY_E_VERSION, TALLY_NO_INDEX,
                          "the welcome chose a version that was not offered; "
                          "this peer speaks version 1");
    }
    if (welcome->body_inline_max == 0 || welcome->blob_max == 0 || welcome->frame_max == 0
        || welcome->batch_max == 0 || welcome->send_window == 0 || welcome->beat_ms == 0
        || welcome->beats_missed_max == 0) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "a limit in the welcome is 0; each is at least 1");
    }
    if (!endpoint_valid(welcome->feed) || !endpoint_valid(welcome->lane)
        || !endpoint_valid(welcome->sink)) {
        return make_fault(TALLY_E_NAME, TALLY_NO_INDEX,
                          "an endpoint in the welcome is not printable ASCII without spaces");
    }
    bool is_worker = welcome->worker != 0;
    if (is_worker != (welcome->lane.size > 0) || is_worker != (welcome->sink.size > 0)) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "worker number, lane and sink come together or not at all");
    }
    return no_fault();
}

void
tally_welcome_write(tally_wire_t *wire, uint64_t request, const tally_welcome_t *welcome)
{
    assert(check_welcome(welcome).code == 0);

    tally_wire_start(wire, TALLY_WELCOME, request);
    tally_wire_put_u8(wire, welcome->version);
    tally_wire_put_u64(wire, welcome->broker_epoch);
    tally_wire_put_raw(wire, (tally_bytes_t){welcome->sender, TALLY_SENDER_BYTES});
    tally_wire_put_u64(wire, welcome->last_sequence);
    tally_wire_put_u32(wire, welcome->body_inline_max);
    tally_wire_put_u32(wire, welcome->blob_max);
    tally_wire_put_u32(wire, welcome->frame_max);
    tally_wire_put_u16(wire, welcome->batch_max);
    tally_wire_put_u16(wire, welcome->send_window);
    tally_wire_put_u16(wire, welcome->beat_ms);
    tally_wire_put_u16(wire, welcome->beats_missed_max);
    tally_wire_put_str8(wire, welcome->feed);
    tally_wire_put_u64(wire, welcome->worker);
    tally_wire_put_str8(wire, welcome->lane);
    tally_wire_put_str8(wire, welcome->sink);
}

tally_fault_t
tally_welcome_read(tally_cursor_t cursor, tally_welcome_t *welcome)
{
    *welcome = (tally_welcome_t){0};
    welcome->version = take_u8(&cursor);
    if (!cursor.bad && welcome->version != TALLY_WIRE_VERSION) {
        return check_welcome(welcome);    // another version's welcome may go on differently
    }
    welcome->broker_epoch = take_u64(&cursor);
    read_sender(&cursor, welcome->sender);
    welcome->last_sequence = take_u64(&cursor);
    welcome->body_inline_max = take_u32(&cursor);
    welcome->blob_max = take_u32(&cursor);
    welcome->frame_max = take_u32(&cursor);
    welcome->batch_max = take_u16(&cursor);
    welcome->send_window = take_u16(&cursor);
    welcome->beat_ms = take_u16(&cursor);
    welcome->beats_missed_max = take_u16(&cursor);
    welcome->feed = tally_cursor_str8(&cursor);
    welcome->worker = take_u64(&cursor);
    welcome->lane = tally_cursor_str8(&cursor);
    welcome->sink = tally_cursor_str8(&cursor);
    tally_fault_t fault = tally_cursor_finish(&cursor);
    return fault.code != 0 ? fault : check_welcome(welcome);
}

//  ---- send -------------------------------------------------------------------------------------

tally_fault_t
tally_item_check(const tally_item_t *item)
{
    unsigned options = item->options;
    if ((options & ~(unsigned)ITEM_OPTIONS) != 0) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX, "an option bit is unknown; leave it 0");
    }
    if ((options & TALLY_HAS_KEY) != 0
        && (item->key.size < 1 || item->key.size > TALLY_KEY_BYTES_MAX)) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the key is empty or too long; "
                          "give 1 to 200 bytes or leave its option out");
    }
    if ((options & TALLY_HAS_PRIORITY) != 0 && item->priority >= TALLY_PRIORITY_LEVELS) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "the priority is out of range; give 0 (lowest) to 3 (highest)");
    }
    if ((options & TALLY_HAS_DELAY) != 0 && item->delay_ms > TALLY_DELAY_MS_MAX) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "the delay is out of range; give at most 366 days in milliseconds");
    }
    if ((options & TALLY_HAS_DEDUPE) != 0
        && (item->dedupe.size < 1 || item->dedupe.size > TALLY_DEDUPE_BYTES_MAX)) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the dedupe key is empty or too long; "
                          "give 1 to 200 bytes or leave its option out");
    }
    if ((options & TALLY_AS_BLOB) == 0 && item->body.size > TALLY_BODY_INLINE_BYTES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the body is larger than body_inline_max; send it with the blob option");
    }
    if (item->body.size > TALLY_BLOB_BYTES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the body is larger than blob_max; split it into several messages");
    }
    return no_fault();
}

void
tally_send_start(tally_wire_t *wire, uint64_t sequence, tally_bytes_t queue, tally_bytes_t tenant)
{
    assert(tally_name_valid(queue));
    assert(tally_name_valid(tenant));

    tally_wire_start(wire, TALLY_SEND, sequence);
    tally_wire_put_u16(wire, 0);
    tally_wire_put_str8(wire, queue);
    tally_wire_put_str8(wire, tenant);
}

static uint8_t *
store_str8(uint8_t *at, tally_bytes_t bytes)
{
    *at = (uint8_t)bytes.size;
    return store_bytes(at + 1, bytes);
}

void
tally_send_add(tally_wire_t *wire, const tally_item_t *item)
{
    assert(tally_item_check(item).code == 0);
    uint16_t count = (uint16_t)(wire->data[COUNT_AT] << 8 | wire->data[COUNT_AT + 1]);
    assert(count < TALLY_BATCH_MESSAGES_MAX);

    unsigned options = item->options;
    size_t size = 1 + sizeof(uint32_t) + item->body.size;
    size += (options & TALLY_HAS_KEY) != 0 ? 1 + item->key.size : 0;
    size += (options & TALLY_HAS_PRIORITY) != 0 ? 1 : 0;
    size += (options & TALLY_HAS_DELAY) != 0 ? sizeof(uint64_t) : 0;
    size += (options & TALLY_HAS_DEDUPE) != 0 ? 1 + item->dedupe.size : 0;
    assert(wire->size + size <= TALLY_FRAME_BYTES_MAX);

    uint8_t *at = claim(wire, size);
    *at++ = item->options;
    if ((options & TALLY_HAS_KEY) != 0) {
        at = store_str8(at, item->key);
    }
    if ((options & TALLY_HAS_PRIORITY) != 0) {
        *at++ = item->priority;
    }
    if ((options & TALLY_HAS_DELAY) != 0) {
        store_u64(at, item->delay_ms);
        at += sizeof(uint64_t);
    }
    if ((options & TALLY_HAS_DEDUPE) != 0) {
        at = store_str8(at, item->dedupe);
    }
    store_u32(at, (uint32_t)item->body.size);
    at = store_bytes(at + sizeof(uint32_t), item->body);
    assert(at == wire->data + wire->size);
    store_u16(wire->data + COUNT_AT, (uint16_t)(count + 1));
}

//  Reads one item; whether the cursor went bad is the caller's to look at.
static void
read_item(tally_cursor_t *items, tally_item_t *item)
{
    *item = (tally_item_t){.options = take_u8(items), .priority = TALLY_PRIORITY_DEFAULT};
    unsigned options = item->options;
    if ((options & TALLY_HAS_KEY) != 0) {
        item->key = take_bytes(items, take_u8(items));
    }
    if ((options & TALLY_HAS_PRIORITY) != 0) {
        item->priority = take_u8(items);
    }
    if ((options & TALLY_HAS_DELAY) != 0) {
        item->delay_ms = take_u64(items);
    }
    if ((options & TALLY_HAS_DEDUPE) != 0) {
        item->dedupe = take_bytes(items, take_u8(items));
    }
    item->body = take_bytes(items, take_u32(items));
}

tally_fault_t
tally_send_read(tally_cursor_t cursor, tally_send_t *send)
{
    send->count = take_u16(&cursor);
    send->queue = tally_cursor_str8(&cursor);
    send->tenant = tally_cursor_str8(&cursor);
    send->items = cursor;
    if (cursor.bad) {
        return cut_fault(TALLY_NO_INDEX);
    }
    if (!tally_name_valid(send->queue) || !tally_name_valid(send->tenant)) {
        return name_fault(TALLY_NO_INDEX);
    }
    if (send->count < 1 || send->count > TALLY_BATCH_MESSAGES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the number of messages is outside its range; "
                          "send 1 to batch_max at a time");
    }
    for (uint16_t i = 0; i < send->count; i++) {
        tally_item_t item;
        read_item(&cursor, &item);
        //  An unknown option is named before the cut that misreading its fields may look like.
        if (cursor.bad && (item.options & ~(unsigned)ITEM_OPTIONS) == 0) {
            return cut_fault(i);
        }
        tally_fault_t fault = tally_item_check(&item);
        if (fault.code != 0) {
            fault.index = i;
            return fault;
        }
    }
    return tally_cursor_finish(&cursor);
}

void
tally_item_read(tally_cursor_t *items, tally_item_t *item)
{
    read_item(items, item);
    assert(!items->bad);
}

//  ---- confirm / result / error / fetch ---------------------------------------------------------

void
tally_confirm_write(tally_wire_t *wire, uint64_t sequence, const uint64_t *ids, uint16_t count,
                    uint16_t duplicates, bool repeated)
{
    assert(count >= 1);
    assert(count <= TALLY_BATCH_MESSAGES_MAX);
    assert(duplicates <= count);
    assert(repeated || ids != NULL);

    tally_wire_start(wire, TALLY_CONFIRM, sequence);
    tally_wire_put_u8(wire, repeated ? CONFIRM_REPEATED : 0);
    tally_wire_put_u16(wire, count);
    tally_wire_put_u16(wire, duplicates);
    if (!repeated) {
        uint8_t *at = claim(wire, count * sizeof(uint64_t));
        for (size_t i = 0; i < count; i++) {
            store_u64(at + i * sizeof(uint64_t), ids[i]);
        }
    }
}

tally_fault_t
tally_confirm_read(tally_cursor_t cursor, tally_confirm_t *confirm)
{
    uint8_t flags = take_u8(&cursor);
    confirm->repeated = (flags & CONFIRM_REPEATED) != 0;
    confirm->count = take_u16(&cursor);
    confirm->duplicates = take_u16(&cursor);
    confirm->ids = tally_cursor_of(
        take_bytes(&cursor, confirm->repeated ? 0 : confirm->count * sizeof(uint64_t)));
    if ((flags & ~(unsigned)CONFIRM_REPEATED) != 0) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "a flag bit of the confirm is unknown; leave it 0");
    }
    tally_fault_t fault = tally_cursor_finish(&cursor);
    if (fault.code != 0) {
        return fault;
    }
    if (confirm->count < 1 || confirm->count > TALLY_BATCH_MESSAGES_MAX
        || confirm->duplicates > confirm->count) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the confirm counts no message, too many, or more duplicates than "
                          "messages");
    }
    return no_fault();
}

static tally_fault_t
check_result(const tally_result_t *result)
{
    if (result->index >= TALLY_BATCH_MESSAGES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the result's index is beyond any send; it counts from 0");
    }
    if (result->outcome < TALLY_RESULT_DONE || result->outcome > TALLY_RESULT_DROPPED) {
        return make_fault(TALLY_E_OPTION, TALLY_NO_INDEX,
                          "the outcome is unknown; it is 1 done, 2 buried or 3 dropped");
    }
    if (result->body.size > TALLY_BLOB_BYTES_MAX) {
        return make_fault(TALLY_E_LIMIT, TALLY_NO_INDEX,
                          "the result is larger than blob_max; make it smaller");
    }
    return no_fault();
}

void
tally_result_write(tally_wire_t *wire, uint64_t sequence, const tally_result_t *result)
{
    assert(check_result(result).code == 0);

    tally_wire_start(wire, TALLY_RESULT, sequence);
    tally_wire_put_u16(wire, result->index);
    tally_wire_put_u8(wire, result->outcome);
    tally_wire_put_body(wire, result->body);
}

tally_fault_t
tally_result_read(tally_cursor_t cursor, tally_result_t *result)
{
    result->index = take_u16(&cursor);
    result->outcome = take_u8(&cursor);
    result->body = tally_cursor_body(&cursor);
    tally_fault_t fault = tally_cursor_finish(&cursor);
    return fault.code != 0 ? fault : check_result(result);
}

void
tally_error_write(tally_wire_t *wire, uint64_t request, const tally_error_t *error)
{
    assert(error->code >= CODE_MIN);

    tally_wire_start(wire, TALLY_ERROR, request);
    tally_wire_put_u16(wire, error->code);
    tally_wire_put_u16(wire, error->index);
    tally_wire_put_u32(wire, error->retry_after_ms);
    tally_wire_put_text(wire, error->text);
}

tally_fault_t
tally_error_read(tally_cursor_t cursor, tally_error_t *error)
{
    tally_fault_t text_fault = no_fault();
    error->code = take_u16(&cursor);
    error->index = take_u16(&cursor);
    error->retry_after_ms = take_u32(&cursor);
    error->text = tally_cursor_text(&cursor, &text_fault);
    tally_fault_t fault = tally_cursor_finish(&cursor);
    if (fault.code == 0 && error->code < CODE_MIN) {
        fault = make_fault(TALLY_E_OPTION, TALLY_NO_INDEX, "an error's code is 100 or more");
    }
    return fault.code != 0 ? fault : text_fault;
}

void
tally_fetch_write(tally_wire_t *wire, uint64_t request, const tally_fetch_t *fetch)
{
    tally_wire_start(wire, TALLY_FETCH, request);
    tally_wire_put_u64(wire, fetch->lease);
    tally_wire_put_u64(wire, fetch->message);
}

tally_fault_t
tally_fetch_read(tally_cursor_t cursor, tally_fetch_t *fetch)
{
    fetch->lease = take_u64(&cursor);
    fetch->message = take_u64(&cursor);
    return tally_cursor_finish(&cursor);
}
