// SPDX-License-Identifier: MIT
//  test_wire - the codec's ground: buffer, cursor, head, names and texts.
//
//  Messages are in test_wire_messages.c, whole frames against files in tests/protocol.

#include "tests/unit/wire_fixture.h"

static void
put_text(fixture_t *f, const char *text)
{
    tally_wire_put_raw(&f->wire, tally_bytes_of(text));
}

//  ---- buffer and cursor ------------------------------------------------------------------------

static void
what_is_put_is_read_back_in_order(void **state)
{
    fixture_t *f = *state;
    tally_wire_put_u8(&f->wire, 0xfe);
    tally_wire_put_u16(&f->wire, 0xfedc);
    tally_wire_put_u32(&f->wire, 0xfedcba98);
    tally_wire_put_u64(&f->wire, 0xfedcba9876543210);
    tally_wire_put_str8(&f->wire, tally_bytes_of("eight"));
    tally_wire_put_str16(&f->wire, tally_bytes_of("sixteen"));
    tally_wire_put_body(&f->wire, tally_bytes_of("body"));
    put_text(f, "rest");

    tally_cursor_t cursor = raw_cursor(f);
    assert_int_equal(tally_cursor_u8(&cursor), 0xfe);
    assert_int_equal(tally_cursor_u16(&cursor), 0xfedc);
    assert_int_equal(tally_cursor_u32(&cursor), 0xfedcba98);
    assert_true(tally_cursor_u64(&cursor) == 0xfedcba9876543210);
    assert_true(tally_bytes_equal(tally_cursor_str8(&cursor), tally_bytes_of("eight")));
    assert_true(tally_bytes_equal(tally_cursor_str16(&cursor), tally_bytes_of("sixteen")));
    assert_true(tally_bytes_equal(tally_cursor_body(&cursor), tally_bytes_of("body")));
    assert_true(tally_bytes_equal(tally_cursor_rest(&cursor), tally_bytes_of("rest")));
    assert_false(cursor.bad);
    assert_ptr_equal(cursor.at, cursor.end);
}

static void
integers_are_big_endian(void **state)
{
    fixture_t *f = *state;
    tally_wire_put_u16(&f->wire, 0x0102);
    tally_wire_put_u32(&f->wire, 0x03040506);
    tally_wire_put_u64(&f->wire, 0x0708090a0b0c0d0e);
    for (size_t i = 0; i < f->wire.size; i++) {
        assert_int_equal(f->wire.data[i], i + 1);
    }
}

static void
strings_at_their_largest_are_read_back(void **state)
{
    fixture_t *f = *state;
    tally_wire_put_str8(&f->wire, run(f, UINT8_MAX));
    tally_wire_put_str16(&f->wire, run(f, UINT16_MAX));
    tally_cursor_t cursor = raw_cursor(f);
    assert_int_equal(tally_cursor_str8(&cursor).size, UINT8_MAX);
    assert_int_equal(tally_cursor_str16(&cursor).size, UINT16_MAX);
    assert_false(cursor.bad);
    assert_ptr_equal(cursor.at, cursor.end);
}

static void
cursor_that_went_bad_yields_zeros_for_ever(void **state)
{
    fixture_t *f = *state;
    tally_wire_put_u32(&f->wire, 0xffffffff);
    tally_cursor_t cursor = raw_cursor(f);
    assert_true(tally_cursor_u64(&cursor) == 0);
    assert_true(cursor.bad);
    assert_int_equal(tally_cursor_u8(&cursor), 0);
    assert_int_equal(tally_cursor_u16(&cursor), 0);
    assert_int_equal(tally_cursor_u32(&cursor), 0);
    assert_int_equal(tally_cursor_str8(&cursor).size, 0);
    assert_int_equal(tally_cursor_str16(&cursor).size, 0);
    assert_int_equal(tally_cursor_body(&cursor).size, 0);
    assert_int_equal(tally_cursor_rest(&cursor).size, 0);
    assert_true(cursor.bad);
}

static void
length_beyond_the_end_is_not_followed(void **state)
{
    fixture_t *f = *state;
    tally_wire_put_u32(&f->wire, UINT32_MAX);
    tally_cursor_t cursor = raw_cursor(f);
    tally_bytes_t body = tally_cursor_body(&cursor);
    assert_true(cursor.bad);
    assert_int_equal(body.size, 0);
}

static void
cursor_of_nothing_is_at_its_end(void **state)
{
    (void)state;
    tally_cursor_t cursor = tally_cursor_of((tally_bytes_t){NULL, 0});
    assert_int_equal(tally_cursor_rest(&cursor).size, 0);
    assert_false(cursor.bad);
    assert_int_equal(tally_cursor_u8(&cursor), 0);
    assert_true(cursor.bad);
}

static void
reset_keeps_the_memory_and_free_gives_it_back(void **state)
{
    fixture_t *f = *state;
    tally_wire_put_raw(&f->wire, run(f, 10000));
    size_t room = f->wire.room;
    tally_wire_reset(&f->wire);
    assert_int_equal(f->wire.size, 0);
    assert_int_equal(f->wire.room, room);
    tally_wire_free(&f->wire);
    assert_null(f->wire.data);
    assert_int_equal(f->wire.room, 0);
}

static void
count_is_set_afterwards(void **state)
{
    fixture_t *f = *state;
    tally_wire_put_u32(&f->wire, 0);
    tally_wire_set_u16(&f->wire, 2, 0x0102);
    assert_memory_equal(f->wire.data, "\0\0\1\2", 4);
}

//  ---- head -------------------------------------------------------------------------------------

static void
frame_at_its_largest_is_taken_and_one_byte_more_refused(void **state)
{
    fixture_t *f = *state;
    tally_head_t head;
    tally_cursor_t cursor;
    tally_wire_start(&f->wire, TALLY_BODY, 7);
    while (f->wire.size < TALLY_FRAME_BYTES_MAX) {
        size_t left = TALLY_FRAME_BYTES_MAX - f->wire.size;
        tally_wire_put_raw(&f->wire, run(f, left < BODY_BYTES_ROOM ? left : BODY_BYTES_ROOM));
    }
    assert_int_equal(tally_head_read(frame(f), &head, &cursor).code, 0);
    tally_wire_put_u8(&f->wire, 0);
    assert_fault(tally_head_read(frame(f), &head, &cursor), TALLY_E_LIMIT, TALLY_NO_INDEX);
    assert_true(head.request == 7);
}

static void
head_of_another_version_still_tells_its_request(void **state)
{
    fixture_t *f = *state;
    tally_head_t head;
    tally_cursor_t cursor;
    tally_wire_start(&f->wire, TALLY_HELLO, 99);
    f->wire.data[2] = TALLY_WIRE_VERSION + 1;
    assert_fault(tally_head_read(frame(f), &head, &cursor), TALLY_E_VERSION, TALLY_NO_INDEX);
    assert_true(head.request == 99);
    assert_int_equal(head.verb, TALLY_HELLO);
}

static void
codes_and_verbs_have_names_and_unknown_ones_a_question_mark(void **state)
{
    (void)state;
    assert_string_equal(tally_code_name(TALLY_E_FRAME), "FRAME");
    assert_string_equal(tally_code_name(TALLY_E_REFUSED), "REFUSED");
    assert_string_equal(tally_code_name(TALLY_E_BUSY), "BUSY");
    assert_string_equal(tally_code_name(TALLY_E_INTERNAL), "INTERNAL");
    assert_string_equal(tally_code_name(0), "?");
    assert_string_equal(tally_code_name(112), "?");
    assert_string_equal(tally_verb_name(TALLY_SEND), "SEND");
    assert_string_equal(tally_verb_name(TALLY_ERROR), "ERROR");
    assert_string_equal(tally_verb_name(0), "?");
    assert_string_equal(tally_verb_name(-1), "?");
}

//  ---- names and texts --------------------------------------------------------------------------

static void
name_rule_is_kept_at_every_byte(void **state)
{
    fixture_t *f = *state;
    const char *first = "abcdefghijklmnopqrstuvwxyz0123456789";
    const char *later = "abcdefghijklmnopqrstuvwxyz0123456789._-";
    for (int byte = 0; byte < 256; byte++) {
        f->block[0] = (uint8_t)byte;
        f->block[1] = 'x';
        assert_int_equal(tally_name_valid(run(f, 2)), byte != 0 && strchr(first, byte) != NULL);
        f->block[0] = 'x';
        f->block[1] = (uint8_t)byte;
        assert_int_equal(tally_name_valid(run(f, 2)), byte != 0 && strchr(later, byte) != NULL);
    }
}

static void
name_has_1_to_64_bytes(void **state)
{
    fixture_t *f = *state;
    memset(f->block, 'a', TALLY_NAME_BYTES_MAX + 1);
    assert_false(tally_name_valid((tally_bytes_t){NULL, 0}));
    assert_true(tally_name_valid(run(f, 1)));
    assert_true(tally_name_valid(run(f, TALLY_NAME_BYTES_MAX)));
    assert_false(tally_name_valid(run(f, TALLY_NAME_BYTES_MAX + 1)));
}

//  Writes an error with this text and returns the text read back.
static tally_bytes_t
written_text(fixture_t *f, tally_bytes_t text)
{
    tally_error_t error = {.code = TALLY_E_BUSY, .index = TALLY_NO_INDEX, .text = text};
    tally_error_write(&f->wire, 1, &error);
    assert_int_equal(tally_error_read(behind_head(f, TALLY_ERROR, 1), &error).code, 0);
    return error.text;
}

static void
long_text_is_cut_and_never_inside_a_character(void **state)
{
    fixture_t *f = *state;
    memset(f->block, 'a', TALLY_TEXT_BYTES_MAX + 10);
    assert_int_equal(written_text(f, run(f, TALLY_TEXT_BYTES_MAX)).size, TALLY_TEXT_BYTES_MAX);
    assert_int_equal(written_text(f, run(f, TALLY_TEXT_BYTES_MAX + 1)).size, TALLY_TEXT_BYTES_MAX);
    for (size_t at = TALLY_TEXT_BYTES_MAX - 3; at < TALLY_TEXT_BYTES_MAX; at++) {
        memset(f->block, 'a', TALLY_TEXT_BYTES_MAX + 10);
        memcpy(f->block + at, "\xf0\x9f\x99\x82", 4);
        assert_int_equal(written_text(f, run(f, TALLY_TEXT_BYTES_MAX + 10)).size, at);
    }
    memset(f->block, 'a', TALLY_TEXT_BYTES_MAX + 10);
    memcpy(f->block + TALLY_TEXT_BYTES_MAX - 4, "\xf0\x9f\x99\x82", 4);
    assert_int_equal(written_text(f, run(f, TALLY_TEXT_BYTES_MAX + 10)).size, TALLY_TEXT_BYTES_MAX);
}

static void
text_that_is_not_utf8_is_written_with_question_marks(void **state)
{
    fixture_t *f = *state;
    static const struct {
        const char *given, *written;
    } texts[] = {
        {"a \xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82", "a \xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82"},
        {"caf\xe9", "caf?"},
        {"\x80", "?"},
        {"\xc0\x80", "??"},         // overlong NUL
        {"\xe0\x80\x80", "???"},    // overlong
        {"\xe0\xa0\x80", "\xe0\xa0\x80"},
        {"\xf0\x80\x80\x80", "????"},
        {"\xed\x9f\xbf", "\xed\x9f\xbf"},    // the last before the surrogates
        {"\xed\xa0\x80", "???"},
        {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},    // U+10FFFF
        {"\xf4\x90\x80\x80", "????"},
        {"\xf5\x80\x80\x80", "????"},
        {"\xe2\x82", "??"},    // ends inside a character
        {"\xc3(", "?("},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        tally_bytes_t text = written_text(f, tally_bytes_of(texts[i].given));
        assert_true(tally_bytes_equal(text, tally_bytes_of(texts[i].written)));
    }
    tally_bytes_t with_nul = {"a\0b", 3};
    assert_true(tally_bytes_equal(written_text(f, with_nul), tally_bytes_of("a?b")));
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(what_is_put_is_read_back_in_order),
        TEST(integers_are_big_endian),
        TEST(strings_at_their_largest_are_read_back),
        TEST(cursor_that_went_bad_yields_zeros_for_ever),
        TEST(length_beyond_the_end_is_not_followed),
        TEST(cursor_of_nothing_is_at_its_end),
        TEST(reset_keeps_the_memory_and_free_gives_it_back),
        TEST(count_is_set_afterwards),
        TEST(frame_at_its_largest_is_taken_and_one_byte_more_refused),
        TEST(head_of_another_version_still_tells_its_request),
        TEST(codes_and_verbs_have_names_and_unknown_ones_a_question_mark),
        TEST(name_rule_is_kept_at_every_byte),
        TEST(name_has_1_to_64_bytes),
        TEST(long_text_is_cut_and_never_inside_a_character),
        TEST(text_that_is_not_utf8_is_written_with_question_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
