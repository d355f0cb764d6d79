// SPDX-License-Identifier: MIT
//  vector_frames - each verb's frame from the fields of a vector, and the fields from a frame.
//
//  A header of statics, as vector_file.h.  Documents made here have exactly the fields that
//  schemas/vectors/README.md names, so json_equal() is the comparison.

#ifndef TALLY_VECTOR_FRAMES_H
#define TALLY_VECTOR_FRAMES_H

#include "tests/protocol/vector_file.h"

//  ---- encoding ---------------------------------------------------------------------------------

static void
encode_hello(fixture_t *f, uint64_t request, const json_t *fields)
{
    tally_hello_t hello = {
        .role = (uint8_t)int_field(fields, "role"),
        .version_min = (uint8_t)int_field(fields, "version_min"),
        .version_max = (uint8_t)int_field(fields, "version_max"),
        .name = text_field(fields, "name"),
    };
    sender_field(f, fields, hello.sender);
    if (hello.role == TALLY_ROLE_WORKER) {
        const json_t *queues = json_object_get(fields, "queues");
        hello.credit = (uint16_t)int_field(fields, "credit");
        hello.queue_count = (uint8_t)json_array_size(queues);
        assert_in_range(hello.queue_count, 1, TALLY_WORKER_QUEUES_MAX);
        for (size_t i = 0; i < hello.queue_count; i++) {
            hello.queues[i] = tally_bytes_of(json_string_value(json_array_get(queues, i)));
        }
    }
    tally_hello_write(&f->wire, request, &hello);
}

static void
encode_welcome(fixture_t *f, uint64_t request, const json_t *fields)
{
    tally_welcome_t welcome = {
        .version = (uint8_t)int_field(fields, "version"),
        .broker_epoch = u64_field(fields, "broker_epoch"),
        .last_sequence = u64_field(fields, "last_sequence"),
        .body_inline_max = (uint32_t)int_field(fields, "body_inline_max"),
        .blob_max = (uint32_t)int_field(fields, "blob_max"),
        .frame_max = (uint32_t)int_field(fields, "frame_max"),
        .batch_max = (uint16_t)int_field(fields, "batch_max"),
        .send_window = (uint16_t)int_field(fields, "send_window"),
        .beat_ms = (uint16_t)int_field(fields, "beat_ms"),
        .beats_missed_max = (uint16_t)int_field(fields, "beats_missed_max"),
        .feed = text_field(fields, "feed"),
        .worker = u64_field(fields, "worker"),
        .lane = text_field(fields, "lane"),
        .sink = text_field(fields, "sink"),
    };
    sender_field(f, fields, welcome.sender);
    tally_welcome_write(&f->wire, request, &welcome);
}

static void
encode_send(fixture_t *f, uint64_t request, const json_t *fields)
{
    size_t i;
    json_t *message;
    tally_send_start(&f->wire, request, text_field(fields, "queue"), text_field(fields, "tenant"));
    json_array_foreach(json_object_get(fields, "messages"), i, message) {
        f->bytes_used = 0;
        tally_item_t item = {
            .options = (uint8_t)int_field(message, "options"),
            .key = bytes_field(f, message, "key"),
            .dedupe = bytes_field(f, message, "dedupe"),
            .body = bytes_field(f, message, "body"),
        };
        if ((item.options & TALLY_HAS_PRIORITY) != 0) {
            item.priority = (uint8_t)int_field(message, "priority");
        }
        if ((item.options & TALLY_HAS_DELAY) != 0) {
            item.delay_ms = u64_field(message, "delay_ms");
        }
        assert_int_equal(tally_item_check(&item).code, 0);
        tally_send_add(&f->wire, &item);
    }
}

static void
encode_confirm(fixture_t *f, uint64_t request, const json_t *fields)
{
    uint64_t ids[TALLY_BATCH_MESSAGES_MAX];
    bool repeated = json_is_true(json_object_get(fields, "repeated"));
    uint16_t count = (uint16_t)int_field(fields, "count");
    assert_int_equal(ids_field(fields, ids), repeated ? 0 : count);
    tally_confirm_write(&f->wire, request, repeated ? NULL : ids, count,
                        (uint16_t)int_field(fields, "duplicates"), repeated);
}

static void
encode_result(fixture_t *f, uint64_t request, const json_t *fields)
{
    tally_result_t result = {
        .index = (uint16_t)int_field(fields, "index"),
        .outcome = (uint8_t)int_field(fields, "outcome"),
        .body = bytes_field(f, fields, "body"),
    };
    tally_result_write(&f->wire, request, &result);
}

static void
encode_error(fixture_t *f, uint64_t request, const json_t *fields)
{
    const json_t *index = json_object_get(fields, "index");
    tally_error_t error = {
        .code = (uint16_t)int_field(fields, "code"),
        .index = json_is_null(index) ? TALLY_NO_INDEX : (uint16_t)json_integer_value(index),
        .retry_after_ms = (uint32_t)int_field(fields, "retry_after_ms"),
        .text = text_field(fields, "text"),
    };
    tally_error_write(&f->wire, request, &error);
}

static void
encode_fetch(fixture_t *f, uint64_t request, const json_t *fields)
{
    tally_fetch_t fetch = {
        .lease = u64_field(fields, "lease"),
        .message = u64_field(fields, "message"),
    };
    tally_fetch_write(&f->wire, request, &fetch);
}

static void
encode_delivery(fixture_t *f, uint64_t request, const json_t *fields)
{
    assert_int_equal(request, 0);
    tally_delivery_t delivery = {
        .lease = u64_field(fields, "lease"),
        .epoch = u64_field(fields, "epoch"),
        .visible_ms = (uint32_t)int_field(fields, "visible_ms"),
        .queue = text_field(fields, "queue"),
        .tenant = text_field(fields, "tenant"),
    };
    size_t i;
    json_t *message;
    tally_delivery_start(&f->wire, &delivery);
    json_array_foreach(json_object_get(fields, "messages"), i, message) {
        f->bytes_used = 0;
        tally_delivered_t item = {
            .id = u64_field(message, "id"),
            .options = (uint8_t)int_field(message, "options"),
            .deliveries = (uint16_t)int_field(message, "deliveries"),
            .failures = (uint16_t)int_field(message, "failures"),
            .crashes = (uint16_t)int_field(message, "crashes"),
            .key = bytes_field(f, message, "key"),
            .body = bytes_field(f, message, "body"),
        };
        tally_delivery_add(&f->wire, &item);
    }
}

static void
encode_notice(fixture_t *f, uint64_t request, const json_t *fields)
{
    assert_int_equal(request, 0);
    tally_notice_t notice = {
        .kind = (uint8_t)int_field(fields, "kind"),
        .epoch = u64_field(fields, "epoch"),
        .queue = text_field(fields, "queue"),
        .tenant = text_field(fields, "tenant"),
    };
    tally_notice_write(&f->wire, &notice);
}

static void
encode_records(fixture_t *f, uint64_t request, const json_t *fields)
{
    assert_int_equal(request, 0);
    uint64_t ids[TALLY_BATCH_MESSAGES_MAX];
    size_t i;
    json_t *json;
    tally_records_start(&f->wire, u64_field(fields, "worker"));
    json_array_foreach(json_object_get(fields, "records"), i, json) {
        f->bytes_used = 0;
        tally_record_t record = {
            .kind = (uint8_t)int_field(json, "kind"),
            .flags = (uint8_t)json_integer_value(json_object_get(json, "flags")),
            .delay_ms = (uint32_t)json_integer_value(json_object_get(json, "delay_ms")),
            .outstanding = (uint32_t)json_integer_value(json_object_get(json, "outstanding")),
            .count = (uint16_t)ids_field(json, ids),
            .body = bytes_field(f, json, "body"),
        };
        if (json_object_get(json, "lease") != NULL) {
            record.lease = u64_field(json, "lease");
        }
        if (json_object_get(json, "text") != NULL) {
            record.text = text_field(json, "text");
        }
        tally_records_add(&f->wire, &record, ids);
    }
}

//  Verbs whose body is one run of bytes or one JSON text.
static void
encode_plain(fixture_t *f, tally_verb_t verb, uint64_t request, const json_t *fields)
{
    bool is_json = verb == TALLY_ADMIN || verb == TALLY_REPLY;
    tally_wire_start(&f->wire, verb, request);
    tally_wire_put_raw(&f->wire,
                       is_json ? text_field(fields, "json") : bytes_field(f, fields, "body"));
}

//  ---- decoding: NULL and *fault, or the fields -------------------------------------------------

static json_t *
decode_hello(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_hello_t hello;
    *fault = tally_hello_read(cursor, &hello);
    if (fault->code != 0) {
        return NULL;
    }
    json_t *json = json_pack("{s:i, s:i, s:i, s:o, s:o}", "role", hello.role, "version_min",
                             hello.version_min, "version_max", hello.version_max, "sender",
                             hex_json((tally_bytes_t){hello.sender, TALLY_SENDER_BYTES}), "name",
                             text_json(hello.name));
    if (hello.role == TALLY_ROLE_WORKER) {
        json_t *queues = json_array();
        for (size_t i = 0; i < hello.queue_count; i++) {
            json_array_append_new(queues, text_json(hello.queues[i]));
        }
        json_object_set_new(json, "queues", queues);
        json_object_set_new(json, "credit", json_integer(hello.credit));
    }
    return json;
}

static json_t *
decode_welcome(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_welcome_t welcome;
    *fault = tally_welcome_read(cursor, &welcome);
    if (fault->code != 0) {
        return NULL;
    }
    json_t *json = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "version", welcome.version,
                             "body_inline_max", (int)welcome.body_inline_max, "blob_max",
                             (int)welcome.blob_max, "frame_max", (int)welcome.frame_max,
                             "batch_max", welcome.batch_max, "send_window", welcome.send_window,
                             "beat_ms", welcome.beat_ms, "beats_missed_max",
                             welcome.beats_missed_max);
    json_object_set_new(json, "broker_epoch", u64_json(welcome.broker_epoch));
    json_object_set_new(json, "sender",
                        hex_json((tally_bytes_t){welcome.sender, TALLY_SENDER_BYTES}));
    json_object_set_new(json, "last_sequence", u64_json(welcome.last_sequence));
    json_object_set_new(json, "feed", text_json(welcome.feed));
    json_object_set_new(json, "worker", u64_json(welcome.worker));
    json_object_set_new(json, "lane", text_json(welcome.lane));
    json_object_set_new(json, "sink", text_json(welcome.sink));
    return json;
}

static json_t *
decode_send(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_send_t send;
    *fault = tally_send_read(cursor, &send);
    if (fault->code != 0) {
        return NULL;
    }
    json_t *messages = json_array();
    for (size_t i = 0; i < send.count; i++) {
        tally_item_t item;
        tally_item_read(&send.items, &item);
        json_t *json = json_pack("{s:i, s:o}", "options", item.options, "body",
                                 hex_json(item.body));
        if ((item.options & TALLY_HAS_KEY) != 0) {
            json_object_set_new(json, "key", hex_json(item.key));
        }
        if ((item.options & TALLY_HAS_PRIORITY) != 0) {
            json_object_set_new(json, "priority", json_integer(item.priority));
        } else {
            assert_int_equal(item.priority, TALLY_PRIORITY_DEFAULT);
        }
        if ((item.options & TALLY_HAS_DELAY) != 0) {
            json_object_set_new(json, "delay_ms", u64_json(item.delay_ms));
        }
        if ((item.options & TALLY_HAS_DEDUPE) != 0) {
            json_object_set_new(json, "dedupe", hex_json(item.dedupe));
        }
        json_array_append_new(messages, json);
    }
    assert_ptr_equal(send.items.at, send.items.end);
    return json_pack("{s:o, s:o, s:o}", "queue", text_json(send.queue), "tenant",
                     text_json(send.tenant), "messages", messages);
}

static json_t *
decode_confirm(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_confirm_t confirm;
    *fault = tally_confirm_read(cursor, &confirm);
    if (fault->code != 0) {
        return NULL;
    }
    return json_pack("{s:b, s:i, s:i, s:o}", "repeated", (int)confirm.repeated, "count",
                     confirm.count, "duplicates", confirm.duplicates, "ids",
                     ids_json(confirm.ids, confirm.repeated ? 0 : confirm.count));
}

static json_t *
decode_result(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_result_t result;
    *fault = tally_result_read(cursor, &result);
    return fault->code != 0 ? NULL
                            : json_pack("{s:i, s:i, s:o}", "index", result.index, "outcome",
                                        result.outcome, "body", hex_json(result.body));
}

static json_t *
decode_error(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_error_t error;
    *fault = tally_error_read(cursor, &error);
    if (fault->code != 0) {
        return NULL;
    }
    json_t *index = error.index == TALLY_NO_INDEX ? json_null() : json_integer(error.index);
    return json_pack("{s:i, s:o, s:I, s:o}", "code", error.code, "index", index, "retry_after_ms",
                     (json_int_t)error.retry_after_ms, "text", text_json(error.text));
}

static json_t *
decode_fetch(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_fetch_t fetch;
    *fault = tally_fetch_read(cursor, &fetch);
    return fault->code != 0 ? NULL
                            : json_pack("{s:o, s:o}", "lease", u64_json(fetch.lease), "message",
                                        u64_json(fetch.message));
}

static json_t *
decode_delivery(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_delivery_t delivery;
    *fault = tally_delivery_read(cursor, &delivery);
    if (fault->code != 0) {
        return NULL;
    }
    json_t *messages = json_array();
    for (size_t i = 0; i < delivery.count; i++) {
        tally_delivered_t item;
        tally_delivered_read(&delivery.items, &item);
        json_t *json = json_pack("{s:i, s:o, s:i, s:i, s:i, s:o}", "options", item.options, "id",
                                 u64_json(item.id), "deliveries", item.deliveries, "failures",
                                 item.failures, "crashes", item.crashes, "body",
                                 hex_json(item.body));
        if ((item.options & TALLY_HAS_KEY) != 0) {
            json_object_set_new(json, "key", hex_json(item.key));
        }
        json_array_append_new(messages, json);
    }
    assert_ptr_equal(delivery.items.at, delivery.items.end);
    return json_pack("{s:o, s:o, s:I, s:o, s:o, s:o}", "lease", u64_json(delivery.lease), "epoch",
                     u64_json(delivery.epoch), "visible_ms", (json_int_t)delivery.visible_ms,
                     "queue", text_json(delivery.queue), "tenant", text_json(delivery.tenant),
                     "messages", messages);
}

static json_t *
decode_notice(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_notice_t notice;
    *fault = tally_notice_read(cursor, &notice);
    return fault->code != 0 ? NULL
                            : json_pack("{s:i, s:o, s:o, s:o}", "kind", notice.kind, "epoch",
                                        u64_json(notice.epoch), "queue", text_json(notice.queue),
                                        "tenant", text_json(notice.tenant));
}

//  Only the fields that its kind has.
static json_t *
record_json(const tally_record_t *record)
{
    json_t *json = json_pack("{s:i}", "kind", record->kind);
    if (record->kind <= TALLY_RECORD_NOTE) {
        json_object_set_new(json, "lease", u64_json(record->lease));
    }
    if (record->kind <= TALLY_RECORD_BURY || record->kind == TALLY_RECORD_NOTE) {
        json_object_set_new(json, "ids", ids_json(record->ids, record->count));
    }
    if (record->kind == TALLY_RECORD_RETURN) {
        json_object_set_new(json, "flags", json_integer(record->flags));
    }
    if (record->kind == TALLY_RECORD_EXTEND || (record->flags & TALLY_RETURN_DELAY) != 0) {
        json_object_set_new(json, "delay_ms", json_integer(record->delay_ms));
    }
    if (record->kind == TALLY_RECORD_BEAT) {
        json_object_set_new(json, "outstanding", json_integer(record->outstanding));
    }
    if (record->kind == TALLY_RECORD_RETURN || record->kind == TALLY_RECORD_BURY
        || record->kind == TALLY_RECORD_PUBLISH) {
        json_object_set_new(json, "text", text_json(record->text));
    }
    if (record->kind == TALLY_RECORD_RESULT || record->kind == TALLY_RECORD_PUBLISH) {
        json_object_set_new(json, "body", hex_json(record->body));
    }
    return json;
}

static json_t *
decode_records(tally_cursor_t cursor, tally_fault_t *fault)
{
    tally_records_t records;
    *fault = tally_records_read(cursor, &records);
    if (fault->code != 0) {
        return NULL;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < records.count; i++) {
        tally_record_t record;
        tally_record_read(&records.records, &record);
        json_array_append_new(list, record_json(&record));
    }
    assert_ptr_equal(records.records.at, records.records.end);
    return json_pack("{s:o, s:o}", "worker", u64_json(records.worker), "records", list);
}

static json_t *
decode_plain(tally_verb_t verb, tally_cursor_t cursor)
{
    bool is_json = verb == TALLY_ADMIN || verb == TALLY_REPLY;
    tally_bytes_t rest = tally_cursor_rest(&cursor);
    return is_json ? json_pack("{s:o}", "json", text_json(rest))
                   : json_pack("{s:o}", "body", hex_json(rest));
}

//  ---- by verb ----------------------------------------------------------------------------------

typedef struct {
    tally_verb_t verb;
    void (*encode)(fixture_t *f, uint64_t request, const json_t *fields);    // NULL: plain
    json_t *(*decode)(tally_cursor_t cursor, tally_fault_t *fault);
} frame_kind_t;

static const frame_kind_t frame_kinds[] = {
    {TALLY_HELLO, encode_hello, decode_hello},
    {TALLY_SEND, encode_send, decode_send},
    {TALLY_ADMIN, NULL, NULL},
    {TALLY_GOODBYE, NULL, NULL},
    {TALLY_FETCH, encode_fetch, decode_fetch},
    {TALLY_RECORDS, encode_records, decode_records},
    {TALLY_DELIVERY, encode_delivery, decode_delivery},
    {TALLY_NOTICE, encode_notice, decode_notice},
    {TALLY_WELCOME, encode_welcome, decode_welcome},
    {TALLY_CONFIRM, encode_confirm, decode_confirm},
    {TALLY_REPLY, NULL, NULL},
    {TALLY_RESULT, encode_result, decode_result},
    {TALLY_BODY, NULL, NULL},
    {TALLY_ERROR, encode_error, decode_error},
};

static const frame_kind_t *
frame_kind_of(int verb)
{
    for (size_t i = 0; i < sizeof frame_kinds / sizeof *frame_kinds; i++) {
        if ((int)frame_kinds[i].verb == verb) {
            return &frame_kinds[i];
        }
    }
    return NULL;
}

//  Decodes a whole frame: {"verb", "request", "fields"} as in a vector's file, or NULL and *fault.
static json_t *
decode_frame(tally_bytes_t frame, tally_fault_t *fault)
{
    tally_head_t head;
    tally_cursor_t cursor;
    *fault = tally_head_read(frame, &head, &cursor);
    if (fault->code != 0) {
        return NULL;
    }
    const frame_kind_t *kind = frame_kind_of(head.verb);
    if (kind == NULL) {
        *fault = (tally_fault_t){TALLY_E_VERB, TALLY_NO_INDEX, "the verb is unknown here"};
        return NULL;
    }
    json_t *fields = kind->decode == NULL ? decode_plain(kind->verb, cursor)
                                          : kind->decode(cursor, fault);
    if (fields == NULL) {
        return NULL;
    }
    return json_pack("{s:s, s:o, s:o}", "verb", tally_verb_name(head.verb), "request",
                     u64_json(head.request), "fields", fields);
}

#endif
