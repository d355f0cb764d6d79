// SPDX-License-Identifier: MIT
//  test_wire_messages - every limit of the verbs' bodies, at its value and one beyond.
//
//  Whole frames against files are in tests/protocol.

#include "tests/unit/wire_fixture.h"

//  ---- hello ------------------------------------------------------------------------------------

static tally_hello_t
worker_hello(void)
{
    tally_hello_t hello = {.role = TALLY_ROLE_WORKER,
                           .version_min = 1,
                           .version_max = 1,
                           .name = tally_bytes_of("w"),
                           .credit = 1,
                           .queue_count = 1};
    hello.queues[0] = tally_bytes_of("orders");
    return hello;
}

static void
hello_credit_is_1_to_its_limit(void **state)
{
    fixture_t *f = *state;
    tally_hello_t hello = worker_hello();
    hello.credit = TALLY_CREDIT_MAX;
    tally_hello_write(&f->wire, 1, &hello);
    assert_int_equal(tally_hello_read(behind_head(f, TALLY_HELLO, 1), &hello).code, 0);
    assert_int_equal(hello.credit, TALLY_CREDIT_MAX);

    size_t at = TALLY_WIRE_HEAD_BYTES + 3 + TALLY_SENDER_BYTES + 2;
    tally_wire_set_u16(&f->wire, at, TALLY_CREDIT_MAX + 1);
    assert_fault(tally_hello_read(behind_head(f, TALLY_HELLO, 1), &hello), TALLY_E_LIMIT,
                 TALLY_NO_INDEX);
    tally_wire_set_u16(&f->wire, at, 0);
    assert_fault(tally_hello_read(behind_head(f, TALLY_HELLO, 1), &hello), TALLY_E_LIMIT,
                 TALLY_NO_INDEX);
}

static void
hello_names_up_to_16_queues(void **state)
{
    fixture_t *f = *state;
    static const char letters[] = "abcdefghijklmnop";
    tally_hello_t hello = worker_hello();
    hello.queue_count = TALLY_WORKER_QUEUES_MAX;
    for (size_t i = 0; i < TALLY_WORKER_QUEUES_MAX; i++) {
        hello.queues[i] = (tally_bytes_t){&letters[i], 1};
    }
    tally_hello_write(&f->wire, 1, &hello);
    assert_int_equal(tally_hello_read(behind_head(f, TALLY_HELLO, 1), &hello).code, 0);
    assert_int_equal(hello.queue_count, TALLY_WORKER_QUEUES_MAX);

    f->wire.data[TALLY_WIRE_HEAD_BYTES + 3 + TALLY_SENDER_BYTES + 4] = TALLY_WORKER_QUEUES_MAX + 1;
    tally_wire_put_str8(&f->wire, tally_bytes_of("q"));
    assert_fault(tally_hello_read(behind_head(f, TALLY_HELLO, 1), &hello), TALLY_E_LIMIT,
                 TALLY_NO_INDEX);
}

static void
hello_of_a_client_leaves_the_workers_fields_empty(void **state)
{
    fixture_t *f = *state;
    tally_hello_t hello = worker_hello();
    hello.role = TALLY_ROLE_CLIENT;
    tally_hello_write(&f->wire, 1, &hello);
    assert_int_equal(tally_hello_read(behind_head(f, TALLY_HELLO, 1), &hello).code, 0);
    assert_int_equal(hello.credit, 0);
    assert_int_equal(hello.queue_count, 0);
}

//  ---- send -------------------------------------------------------------------------------------

static void
start_send(fixture_t *f)
{
    tally_send_start(&f->wire, 5, tally_bytes_of("orders"), tally_bytes_of("acme"));
}

//  Writes a message past all checks: what a careless peer could send.
static void
put_item(fixture_t *f, uint8_t options, size_t key, size_t dedupe, size_t body)
{
    tally_wire_put_u8(&f->wire, options);
    if ((options & TALLY_HAS_KEY) != 0) {
        tally_wire_put_str8(&f->wire, run(f, key));
    }
    if ((options & TALLY_HAS_DEDUPE) != 0) {
        tally_wire_put_str8(&f->wire, run(f, dedupe));
    }
    tally_wire_put_body(&f->wire, run(f, body));
    uint16_t count = f->wire.data[TALLY_WIRE_HEAD_BYTES + 1];
    tally_wire_set_u16(&f->wire, TALLY_WIRE_HEAD_BYTES, (uint16_t)(count + 1));
}

static tally_fault_t
read_send(const fixture_t *f)
{
    tally_send_t send;
    return tally_send_read(behind_head(f, TALLY_SEND, 5), &send);
}

static void
full_batch_is_read_back_and_one_more_is_refused(void **state)
{
    fixture_t *f = *state;
    char text[32];
    start_send(f);
    for (int i = 0; i < TALLY_BATCH_MESSAGES_MAX; i++) {
        snprintf(text, sizeof text, "body %d", i);
        tally_send_add(&f->wire, &(tally_item_t){.body = tally_bytes_of(text)});
    }
    tally_send_t send;
    assert_int_equal(tally_send_read(behind_head(f, TALLY_SEND, 5), &send).code, 0);
    assert_int_equal(send.count, TALLY_BATCH_MESSAGES_MAX);
    assert_true(tally_bytes_equal(send.queue, tally_bytes_of("orders")));
    assert_true(tally_bytes_equal(send.tenant, tally_bytes_of("acme")));
    for (int i = 0; i < TALLY_BATCH_MESSAGES_MAX; i++) {
        tally_item_t item;
        tally_item_read(&send.items, &item);
        snprintf(text, sizeof text, "body %d", i);
        assert_true(tally_bytes_equal(item.body, tally_bytes_of(text)));
        assert_int_equal(item.priority, TALLY_PRIORITY_DEFAULT);
    }
    assert_ptr_equal(send.items.at, send.items.end);

    tally_wire_put_raw(&f->wire, (tally_bytes_t){"\0\0\0\0", 5});
    tally_wire_set_u16(&f->wire, TALLY_WIRE_HEAD_BYTES, TALLY_BATCH_MESSAGES_MAX + 1);
    assert_fault(read_send(f), TALLY_E_LIMIT, TALLY_NO_INDEX);
}

static void
send_without_messages_is_refused(void **state)
{
    fixture_t *f = *state;
    start_send(f);
    assert_fault(read_send(f), TALLY_E_LIMIT, TALLY_NO_INDEX);
}

static void
key_and_dedupe_key_have_1_to_200_bytes(void **state)
{
    fixture_t *f = *state;
    static const struct {
        uint8_t options;
        size_t key, dedupe;
        int code;
    } cases[] = {
        {TALLY_HAS_KEY, 1, 0, 0},
        {TALLY_HAS_KEY, TALLY_KEY_BYTES_MAX, 0, 0},
        {TALLY_HAS_KEY, 0, 0, TALLY_E_LIMIT},
        {TALLY_HAS_KEY, TALLY_KEY_BYTES_MAX + 1, 0, TALLY_E_LIMIT},
        {TALLY_HAS_DEDUPE, 0, 1, 0},
        {TALLY_HAS_DEDUPE, 0, TALLY_DEDUPE_BYTES_MAX, 0},
        {TALLY_HAS_DEDUPE, 0, 0, TALLY_E_LIMIT},
        {TALLY_HAS_DEDUPE, 0, TALLY_DEDUPE_BYTES_MAX + 1, TALLY_E_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_send(f);
        put_item(f, 0, 0, 0, 1);
        put_item(f, cases[i].options, cases[i].key, cases[i].dedupe, 1);
        if (cases[i].code == 0) {
            assert_int_equal(read_send(f).code, 0);
        } else {
            assert_fault(read_send(f), cases[i].code, 1);
        }
    }
}

static void
body_inline_has_up_to_its_limit_and_a_blob_more(void **state)
{
    fixture_t *f = *state;
    static const struct {
        uint8_t options;
        size_t body;
        int code;
    } cases[] = {
        {0, 0, 0},
        {0, TALLY_BODY_INLINE_BYTES_MAX, 0},
        {0, TALLY_BODY_INLINE_BYTES_MAX + 1, TALLY_E_LIMIT},
        {TALLY_AS_BLOB, 0, 0},
        {TALLY_AS_BLOB, TALLY_BODY_INLINE_BYTES_MAX + 1, 0},
        {TALLY_AS_BLOB, TALLY_BLOB_BYTES_MAX, 0},
        {TALLY_AS_BLOB, TALLY_BLOB_BYTES_MAX + 1, TALLY_E_LIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tally_item_t item = {.options = cases[i].options, .body = run(f, cases[i].body)};
        assert_int_equal(tally_item_check(&item).code, cases[i].code);
        start_send(f);
        put_item(f, cases[i].options, 0, 0, cases[i].body);
        assert_int_equal(read_send(f).code, cases[i].code);
    }
}

static void
item_check_knows_every_bound_of_options(void **state)
{
    (void)state;
    tally_item_t item = {.options = TALLY_HAS_PRIORITY, .priority = TALLY_PRIORITY_LEVELS - 1};
    assert_int_equal(tally_item_check(&item).code, 0);
    item.priority = TALLY_PRIORITY_LEVELS;
    assert_fault(tally_item_check(&item), TALLY_E_OPTION, TALLY_NO_INDEX);
    item = (tally_item_t){.options = TALLY_HAS_DELAY, .delay_ms = TALLY_DELAY_MS_MAX};
    assert_int_equal(tally_item_check(&item).code, 0);
    item.delay_ms = TALLY_DELAY_MS_MAX + 1;
    assert_fault(tally_item_check(&item), TALLY_E_OPTION, TALLY_NO_INDEX);
    for (unsigned options = 0; options < 256; options++) {
        item = (tally_item_t){.options = (uint8_t)options,
                              .key = tally_bytes_of("k"),
                              .dedupe = tally_bytes_of("d")};
        assert_int_equal(tally_item_check(&item).code, options < 0x80 ? 0 : TALLY_E_OPTION);
    }
}

static void
every_set_of_options_is_read_back(void **state)
{
    fixture_t *f = *state;
    start_send(f);
    for (unsigned options = 0; options < 0x80; options++) {
        tally_item_t item = {.options = (uint8_t)options,
                             .priority = 3,
                             .delay_ms = options,
                             .key = tally_bytes_of("key"),
                             .dedupe = tally_bytes_of("dedupe"),
                             .body = tally_bytes_of("body")};
        tally_send_add(&f->wire, &item);
    }
    tally_send_t send;
    assert_int_equal(tally_send_read(behind_head(f, TALLY_SEND, 5), &send).code, 0);
    assert_int_equal(send.count, 0x80);
    for (unsigned options = 0; options < 0x80; options++) {
        tally_item_t item;
        tally_item_read(&send.items, &item);
        assert_int_equal(item.options, options);
        assert_int_equal(item.key.size, (options & TALLY_HAS_KEY) != 0 ? 3 : 0);
        assert_int_equal(item.priority,
                         (options & TALLY_HAS_PRIORITY) != 0 ? 3 : TALLY_PRIORITY_DEFAULT);
        assert_int_equal(item.delay_ms, (options & TALLY_HAS_DELAY) != 0 ? options : 0);
        assert_int_equal(item.dedupe.size, (options & TALLY_HAS_DEDUPE) != 0 ? 6 : 0);
        assert_true(tally_bytes_equal(item.body, tally_bytes_of("body")));
    }
}

//  ---- confirm, result, error -------------------------------------------------------------------

static void
confirm_of_a_full_batch_gives_its_ids(void **state)
{
    fixture_t *f = *state;
    tally_confirm_t confirm;
    tally_confirm_write(&f->wire, 9, f->ids, TALLY_BATCH_MESSAGES_MAX, 0, false);
    assert_int_equal(tally_confirm_read(behind_head(f, TALLY_CONFIRM, 9), &confirm).code, 0);
    assert_false(confirm.repeated);
    for (size_t i = 0; i < confirm.count; i++) {
        assert_true(tally_cursor_u64(&confirm.ids) == f->ids[i]);
    }
    assert_ptr_equal(confirm.ids.at, confirm.ids.end);

    tally_wire_set_u16(&f->wire, TALLY_WIRE_HEAD_BYTES + 1, TALLY_BATCH_MESSAGES_MAX + 1);
    tally_wire_put_u64(&f->wire, 1);
    assert_fault(tally_confirm_read(behind_head(f, TALLY_CONFIRM, 9), &confirm), TALLY_E_LIMIT,
                 TALLY_NO_INDEX);
}

static void
repeated_confirm_has_a_count_and_no_ids(void **state)
{
    fixture_t *f = *state;
    tally_confirm_t confirm;
    tally_confirm_write(&f->wire, 9, NULL, 3, 0, true);
    assert_int_equal(tally_confirm_read(behind_head(f, TALLY_CONFIRM, 9), &confirm).code, 0);
    assert_true(confirm.repeated);
    assert_int_equal(confirm.count, 3);
    assert_ptr_equal(confirm.ids.at, confirm.ids.end);
}

static void
result_keeps_its_bounds(void **state)
{
    fixture_t *f = *state;
    tally_result_t result = {.index = TALLY_BATCH_MESSAGES_MAX - 1,
                             .outcome = TALLY_RESULT_DROPPED,
                             .body = run(f, TALLY_BLOB_BYTES_MAX)};
    tally_result_write(&f->wire, 9, &result);
    assert_int_equal(tally_result_read(behind_head(f, TALLY_RESULT, 9), &result).code, 0);
    assert_int_equal(result.body.size, TALLY_BLOB_BYTES_MAX);

    tally_wire_set_u16(&f->wire, TALLY_WIRE_HEAD_BYTES, TALLY_BATCH_MESSAGES_MAX);
    assert_fault(tally_result_read(behind_head(f, TALLY_RESULT, 9), &result), TALLY_E_LIMIT,
                 TALLY_NO_INDEX);

    tally_wire_start(&f->wire, TALLY_RESULT, 9);
    tally_wire_put_u16(&f->wire, 0);
    tally_wire_put_u8(&f->wire, TALLY_RESULT_DONE);
    tally_wire_put_body(&f->wire, run(f, TALLY_BLOB_BYTES_MAX + 1));
    assert_fault(tally_result_read(behind_head(f, TALLY_RESULT, 9), &result), TALLY_E_LIMIT,
                 TALLY_NO_INDEX);
}

//  ---- lane -------------------------------------------------------------------------------------

static void
full_delivery_is_read_back_and_one_more_is_refused(void **state)
{
    fixture_t *f = *state;
    tally_delivery_t delivery = {.lease = 77,
                                 .epoch = 3,
                                 .visible_ms = 30000,
                                 .queue = tally_bytes_of("orders"),
                                 .tenant = tally_bytes_of("acme")};
    tally_delivery_start(&f->wire, &delivery);
    for (size_t i = 0; i < TALLY_BATCH_MESSAGES_MAX; i++) {
        tally_delivered_t item = {.id = f->ids[i],
                                  .options = TALLY_HAS_KEY,
                                  .deliveries = 1,
                                  .key = run(f, TALLY_KEY_BYTES_MAX),
                                  .body = tally_bytes_of("body")};
        tally_delivery_add(&f->wire, &item);
    }
    assert_int_equal(tally_delivery_read(behind_head(f, TALLY_DELIVERY, 0), &delivery).code, 0);
    assert_int_equal(delivery.count, TALLY_BATCH_MESSAGES_MAX);
    assert_true(delivery.lease == 77);
    assert_true(delivery.epoch == 3);
    assert_int_equal(delivery.visible_ms, 30000);
    for (size_t i = 0; i < delivery.count; i++) {
        tally_delivered_t item;
        tally_delivered_read(&delivery.items, &item);
        assert_true(item.id == f->ids[i]);
        assert_int_equal(item.key.size, TALLY_KEY_BYTES_MAX);
    }
    assert_ptr_equal(delivery.items.at, delivery.items.end);

    tally_wire_set_u16(&f->wire, TALLY_WIRE_HEAD_BYTES + 20, TALLY_BATCH_MESSAGES_MAX + 1);
    assert_fault(tally_delivery_read(behind_head(f, TALLY_DELIVERY, 0), &delivery), TALLY_E_LIMIT,
                 TALLY_NO_INDEX);
}

static void
delivered_body_has_up_to_the_inline_limit(void **state)
{
    fixture_t *f = *state;
    tally_delivery_t delivery = {.queue = tally_bytes_of("q"), .tenant = tally_bytes_of("t")};
    tally_delivery_start(&f->wire, &delivery);
    tally_delivered_t item = {.body = run(f, TALLY_BODY_INLINE_BYTES_MAX)};
    tally_delivery_add(&f->wire, &item);
    assert_int_equal(tally_delivery_read(behind_head(f, TALLY_DELIVERY, 0), &delivery).code, 0);

    size_t length_at = f->wire.size - TALLY_BODY_INLINE_BYTES_MAX - sizeof(uint32_t);
    tally_wire_set_u16(&f->wire, length_at + 2, 1);
    tally_wire_put_u8(&f->wire, 0);
    assert_fault(tally_delivery_read(behind_head(f, TALLY_DELIVERY, 0), &delivery), TALLY_E_LIMIT,
                 0);
}

//  ---- sink -------------------------------------------------------------------------------------

static tally_fault_t
read_records(const fixture_t *f)
{
    tally_records_t records;
    return tally_records_read(behind_head(f, TALLY_RECORDS, 0), &records);
}

static void
full_frame_of_records_is_taken_and_one_more_refused(void **state)
{
    fixture_t *f = *state;
    tally_record_t beat = {.kind = TALLY_RECORD_BEAT};
    tally_records_start(&f->wire, 12);
    for (uint32_t i = 0; i < TALLY_RECORDS_MAX; i++) {
        beat.outstanding = i;
        tally_records_add(&f->wire, &beat, NULL);
    }
    tally_records_t records;
    assert_int_equal(tally_records_read(behind_head(f, TALLY_RECORDS, 0), &records).code, 0);
    assert_true(records.worker == 12);
    for (uint32_t i = 0; i < records.count; i++) {
        tally_record_read(&records.records, &beat);
        assert_int_equal(beat.outstanding, i);
    }
    assert_ptr_equal(records.records.at, records.records.end);

    tally_wire_put_raw(&f->wire, (tally_bytes_t){"\x07\0\0\0", 5});
    tally_wire_set_u16(&f->wire, TALLY_WIRE_HEAD_BYTES + 8, TALLY_RECORDS_MAX + 1);
    assert_fault(read_records(f), TALLY_E_LIMIT, TALLY_NO_INDEX);
}

static void
record_names_up_to_1000_messages(void **state)
{
    fixture_t *f = *state;
    tally_record_t settle = {.kind = TALLY_RECORD_SETTLE,
                             .lease = 7,
                             .count = TALLY_BATCH_MESSAGES_MAX};
    tally_records_start(&f->wire, 12);
    tally_records_add(&f->wire, &settle, f->ids);
    tally_records_t records;
    assert_int_equal(tally_records_read(behind_head(f, TALLY_RECORDS, 0), &records).code, 0);
    tally_record_read(&records.records, &settle);
    assert_int_equal(settle.count, TALLY_BATCH_MESSAGES_MAX);
    for (size_t i = 0; i < settle.count; i++) {
        assert_true(tally_cursor_u64(&settle.ids) == f->ids[i]);
    }
    tally_wire_put_u64(&f->wire, 1);
    tally_wire_set_u16(&f->wire, TALLY_WIRE_HEAD_BYTES + 19, TALLY_BATCH_MESSAGES_MAX + 1);
    assert_fault(read_records(f), TALLY_E_LIMIT, 0);
}

static void
flags_of_other_kinds_do_not_change_a_records_layout(void **state)
{
    fixture_t *f = *state;
    tally_record_t settle = {.kind = TALLY_RECORD_SETTLE,
                             .lease = 7,
                             .flags = TALLY_RETURN_FAILED | TALLY_RETURN_DELAY,
                             .delay_ms = 5};
    tally_records_start(&f->wire, 12);
    tally_records_add(&f->wire, &settle, NULL);
    assert_int_equal(read_records(f).code, 0);
}

static void
published_topic_and_body_keep_their_bounds(void **state)
{
    fixture_t *f = *state;
    memset(f->block, 't', TALLY_TOPIC_BYTES_MAX + 1);
    for (int beyond = 0; beyond < 4; beyond++) {
        size_t topic = TALLY_TOPIC_BYTES_MAX + (beyond == 1 ? 1 : 0);
        size_t body = TALLY_BODY_INLINE_BYTES_MAX + (beyond == 2 ? 1 : 0);
        tally_wire_start(&f->wire, TALLY_RECORDS, 0);
        tally_wire_put_u64(&f->wire, 12);
        tally_wire_put_u16(&f->wire, 1);
        tally_wire_put_u8(&f->wire, TALLY_RECORD_PUBLISH);
        tally_wire_put_str8(&f->wire, run(f, beyond == 3 ? 0 : topic));
        tally_wire_put_body(&f->wire, run(f, body));
        static const int codes[] = {0, TALLY_E_LIMIT, TALLY_E_LIMIT, TALLY_E_NAME};
        assert_int_equal(read_records(f).code, codes[beyond]);
    }
}

static void
extension_is_1_ms_to_12_hours(void **state)
{
    fixture_t *f = *state;
    static const uint32_t times[] = {0, 1, TALLY_VISIBILITY_MS_MAX, TALLY_VISIBILITY_MS_MAX + 1};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        tally_wire_start(&f->wire, TALLY_RECORDS, 0);
        tally_wire_put_u64(&f->wire, 12);
        tally_wire_put_u16(&f->wire, 1);
        tally_wire_put_u8(&f->wire, TALLY_RECORD_EXTEND);
        tally_wire_put_u64(&f->wire, 7);
        tally_wire_put_u32(&f->wire, times[i]);
        assert_int_equal(read_records(f).code, i == 0 || i == 3 ? TALLY_E_OPTION : 0);
    }
}

//  ---- cut frames--------------------------------------------------------------------------------

static void
written_frames_cut_at_any_byte_are_refused(void **state)
{
    fixture_t *f = *state;
    start_send(f);
    tally_item_t item = {.options = 0x7f,
                         .key = tally_bytes_of("key"),
                         .dedupe = tally_bytes_of("dedupe"),
                         .body = tally_bytes_of("body")};
    tally_send_add(&f->wire, &item);
    tally_send_add(&f->wire, &item);
    size_t size = f->wire.size;
    uint8_t *exact = malloc(size);
    assert_non_null(exact);
    for (size_t cut = 0; cut < size; cut++) {
        memcpy(exact + size - cut, f->wire.data, cut);
        tally_head_t head;
        tally_cursor_t cursor;
        tally_send_t send;
        tally_bytes_t cut_frame = {exact + size - cut, cut};
        tally_fault_t fault = tally_head_read(cut_frame, &head, &cursor);
        if (fault.code == 0) {
            fault = tally_send_read(cursor, &send);
        }
        if (fault.code != TALLY_E_FRAME) {
            free(exact);
            fail_msg("cut to %zu bytes: code %d", cut, fault.code);
        }
    }
    free(exact);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(hello_credit_is_1_to_its_limit),
        TEST(hello_names_up_to_16_queues),
        TEST(hello_of_a_client_leaves_the_workers_fields_empty),
        TEST(full_batch_is_read_back_and_one_more_is_refused),
        TEST(send_without_messages_is_refused),
        TEST(key_and_dedupe_key_have_1_to_200_bytes),
        TEST(body_inline_has_up_to_its_limit_and_a_blob_more),
        TEST(item_check_knows_every_bound_of_options),
        TEST(every_set_of_options_is_read_back),
        TEST(confirm_of_a_full_batch_gives_its_ids),
        TEST(repeated_confirm_has_a_count_and_no_ids),
        TEST(result_keeps_its_bounds),
        TEST(full_delivery_is_read_back_and_one_more_is_refused),
        TEST(delivered_body_has_up_to_the_inline_limit),
        TEST(full_frame_of_records_is_taken_and_one_more_refused),
        TEST(record_names_up_to_1000_messages),
        TEST(flags_of_other_kinds_do_not_change_a_records_layout),
        TEST(published_topic_and_body_keep_their_bounds),
        TEST(extension_is_1_ms_to_12_hours),
        TEST(written_frames_cut_at_any_byte_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
