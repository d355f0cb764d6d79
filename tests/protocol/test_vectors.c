// SPDX-License-Identifier: MIT
//  test_vectors - the codec against schemas/vectors and the examples in schemas/wire.md.
//
//  The files were written by another encoder than ours, from the page.  The tree is found by the
//  environment variable TALLY_SOURCE_DIR, by default the current directory.

#include "tests/protocol/vector_frames.h"

#define CUT_BYTES_MAX (1024 * 1024)    // larger frames are not cut at each byte
#define DAMAGES_PER_VECTOR 500

//  ---- bytes and fields -------------------------------------------------------------------------

static void
every_vector_encodes_to_its_frame(void **state)
{
    fixture_t *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        const vector_t *vector = &f->vectors[i];
        if (is_bad(vector) || json_is_true(json_object_get(vector->json, "decode_only"))) {
            continue;
        }
        const json_t *fields = json_object_get(vector->json, "fields");
        const frame_kind_t *kind = NULL;
        for (int verb = 0; verb < 256; verb++) {
            if (tally_bytes_equal(tally_bytes_of(tally_verb_name(verb)),
                                  text_field(vector->json, "verb"))) {
                kind = frame_kind_of(verb);
            }
        }
        assert_non_null(kind);
        uint64_t request = u64_field(vector->json, "request");
        f->bytes_used = 0;
        if (kind->encode == NULL) {
            encode_plain(f, kind->verb, request, fields);
        } else {
            kind->encode(f, request, fields);
        }
        if (!tally_bytes_equal((tally_bytes_t){f->wire.data, f->wire.size}, frame_of(vector))) {
            fail_msg("%s: encodes to another frame of %zu bytes", vector->name, f->wire.size);
        }
    }
}

static void
every_vector_decodes_to_its_fields(void **state)
{
    fixture_t *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        const vector_t *vector = &f->vectors[i];
        if (is_bad(vector)) {
            continue;
        }
        tally_fault_t fault;
        json_t *decoded = decode_frame(frame_of(vector), &fault);
        if (decoded == NULL) {
            fail_msg("%s: refused: %s", vector->name, fault.text);
        }
        json_object_set(decoded, "about", json_object_get(vector->json, "about"));
        json_t *wanted = json_copy(vector->json);
        json_object_del(wanted, "decode_only");
        bool is_equal = json_equal(decoded, wanted) == 1;
        json_decref(decoded);
        json_decref(wanted);
        if (!is_equal) {
            fail_msg("%s: decodes to other fields", vector->name);
        }
    }
}

//  ---- refusals ---------------------------------------------------------------------------------

static void
every_bad_vector_is_refused_with_its_code_and_index(void **state)
{
    fixture_t *f = *state;
    size_t bad_count = 0;
    for (size_t i = 0; i < f->count; i++) {
        const vector_t *vector = &f->vectors[i];
        if (!is_bad(vector)) {
            continue;
        }
        bad_count++;
        tally_fault_t fault;
        json_t *decoded = decode_frame(frame_of(vector), &fault);
        if (decoded != NULL) {
            json_decref(decoded);
            fail_msg("%s: taken", vector->name);
        }
        const json_t *error = json_object_get(vector->json, "error");
        const json_t *index = json_object_get(error, "index");
        int wanted = json_is_null(index) ? TALLY_NO_INDEX : (int)json_integer_value(index);
        if (fault.code != (int)int_field(error, "code") || fault.index != wanted) {
            fail_msg("%s: refused with %d %s at %u: %s", vector->name, fault.code,
                     tally_code_name(fault.code), fault.index, fault.text);
        }
        assert_string_equal(tally_code_name(fault.code), text_field(error, "name").data);
        assert_in_range(strlen(fault.text), 10, TALLY_TEXT_BYTES_MAX);
    }
    assert_true(bad_count >= 40);
}

//  The frame stands at the end of its block, so that a look beyond it is a look outside of it.
static void
every_frame_cut_at_any_byte_is_refused(void **state)
{
    fixture_t *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        const vector_t *vector = &f->vectors[i];
        tally_bytes_t frame = frame_of(vector);
        if (is_bad(vector) || frame.size > CUT_BYTES_MAX) {
            continue;
        }
        const frame_kind_t *kind = frame_kind_of(vector->frame.data[3]);
        assert_non_null(kind);
        //  A body that is one run of bytes has no length of its own to miss.
        size_t cut_max = kind->decode == NULL ? TALLY_WIRE_HEAD_BYTES : frame.size;
        uint8_t *block = malloc(cut_max);
        assert_non_null(block);
        for (size_t cut = 0; cut < cut_max; cut++) {
            memcpy(block + cut_max - cut, frame.data, cut);
            tally_fault_t fault;
            json_t *decoded = decode_frame((tally_bytes_t){block + cut_max - cut, cut}, &fault);
            if (decoded != NULL || fault.code != TALLY_E_FRAME) {
                json_decref(decoded);
                free(block);
                fail_msg("%s cut to %zu bytes: code %d", vector->name, cut, fault.code);
            }
        }
        free(block);
    }
}

static void
every_frame_with_a_byte_more_is_refused(void **state)
{
    fixture_t *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        const vector_t *vector = &f->vectors[i];
        if (is_bad(vector) || frame_kind_of(vector->frame.data[3])->decode == NULL) {
            continue;
        }
        tally_wire_reset(&f->wire);
        tally_wire_put_raw(&f->wire, frame_of(vector));
        tally_wire_put_u8(&f->wire, 0);
        tally_fault_t fault;
        json_t *decoded = decode_frame((tally_bytes_t){f->wire.data, f->wire.size}, &fault);
        json_decref(decoded);
        if (decoded != NULL || fault.code != TALLY_E_FRAME) {
            fail_msg("%s with a byte more: code %d", vector->name, fault.code);
        }
    }
}

//  Changes a few bytes of each frame, the same ones in every run.  Whatever a decoder makes of it,
//  it must stay inside (the sanitizers see to that) and be able to read what it took.
static void
damaged_frames_are_read_safely(void **state)
{
    fixture_t *f = *state;
    uint64_t random = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < f->count; i++) {
        tally_bytes_t frame = frame_of(&f->vectors[i]);
        if (frame.size < TALLY_WIRE_HEAD_BYTES || frame.size > 8192) {
            continue;
        }
        const frame_kind_t *kind = frame_kind_of(f->vectors[i].frame.data[3]);
        if (kind == NULL || kind->decode == NULL) {
            continue;
        }
        uint8_t *block = malloc(frame.size);
        assert_non_null(block);
        for (int damage = 0; damage < DAMAGES_PER_VECTOR; damage++) {
            memcpy(block, frame.data, frame.size);
            for (int n = 0; n <= damage % 4; n++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                block[(random >> 33) % frame.size] = (uint8_t)(random >> 20);
            }
            block[3] = ((const uint8_t *)frame.data)[3];
            tally_fault_t fault;
            json_t *decoded = decode_frame((tally_bytes_t){block, frame.size}, &fault);
            assert_true((decoded != NULL) == (fault.code == 0));
            json_decref(decoded);
        }
        free(block);
    }
}

//  ---- completeness -----------------------------------------------------------------------------

static bool
frame_has_record(const vector_t *vector, json_int_t kind)
{
    size_t i;
    json_t *record;
    const json_t *fields = json_object_get(vector->json, "fields");
    json_array_foreach(json_object_get(fields, "records"), i, record) {
        if (json_integer_value(json_object_get(record, "kind")) == kind) {
            return true;
        }
    }
    return false;
}

static void
every_verb_record_notice_and_option_has_a_vector(void **state)
{
    fixture_t *f = *state;
    bool verbs[256] = {false};
    bool records[TALLY_RECORD_PUBLISH + 1] = {false};
    bool notices[TALLY_NOTICE_DRAIN + 1] = {false};
    json_int_t options = 0;
    for (size_t i = 0; i < f->count; i++) {
        const vector_t *vector = &f->vectors[i];
        if (is_bad(vector)) {
            continue;
        }
        const json_t *fields = json_object_get(vector->json, "fields");
        verbs[vector->frame.data[3]] = true;
        for (json_int_t kind = TALLY_RECORD_SETTLE; kind <= TALLY_RECORD_PUBLISH; kind++) {
            records[kind] |= frame_has_record(vector, kind);
        }
        if (vector->frame.data[3] == TALLY_NOTICE) {
            notices[int_field(fields, "kind")] = true;
        }
        if (vector->frame.data[3] == TALLY_SEND) {
            const json_t *messages = json_object_get(fields, "messages");
            options |= int_field(json_array_get(messages, 0), "options");
        }
    }
    for (int verb = 0; verb < 256; verb++) {
        assert_int_equal(verbs[verb], strcmp(tally_verb_name(verb), "?") != 0);
    }
    for (int kind = TALLY_RECORD_SETTLE; kind <= TALLY_RECORD_PUBLISH; kind++) {
        assert_true(records[kind]);
    }
    for (int kind = TALLY_NOTICE_BEAT; kind <= TALLY_NOTICE_DRAIN; kind++) {
        assert_true(notices[kind]);
    }
    assert_int_equal(options, 0x7f);
}

static const vector_t *
find_vector(const fixture_t *f, const char *name)
{
    for (size_t i = 0; i < f->count; i++) {
        if (strcmp(f->vectors[i].name, name) == 0) {
            return &f->vectors[i];
        }
    }
    return NULL;
}

//  Appends the bytes of a dump's line: offset, two spaces, pairs, two spaces, what they mean.
static void
append_dump_line(tally_wire_t *to, const char *line)
{
    unsigned offset = 0;
    unsigned byte = 0;
    int used = 0;
    assert_int_equal(sscanf(line, "%4x %n", &offset, &used), 1);
    assert_int_equal(offset, to->size);
    line += used;
    while (sscanf(line, "%2x%n", &byte, &used) == 1 && used == 2) {
        tally_wire_put_u8(to, (uint8_t)byte);
        line += 2;
        if (line[0] != ' ' || line[1] == ' ') {
            break;
        }
        line++;
    }
}

static void
compare_example(const fixture_t *f, const char *name)
{
    const vector_t *vector = find_vector(f, name);
    if (vector == NULL) {
        fail_msg("wire.md: no vector %s", name);
        return;
    }
    if (!tally_bytes_equal((tally_bytes_t){f->wire.data, f->wire.size}, frame_of(vector))) {
        fail_msg("wire.md: the dump of %s is not its vector's frame", name);
    }
}

//  In the page an example is "# NAME" and its dump, up to the next empty line or the block's end.
static void
examples_in_the_page_are_vectors(void **state)
{
    fixture_t *f = *state;
    char path[512];
    source_path(path, sizeof path, "schemas/wire.md");
    f->file = fopen(path, "r");
    assert_non_null(f->file);

    char line[512];
    char name[128] = "";
    size_t example_count = 0;
    bool in_block = false;
    while (fgets(line, sizeof line, f->file) != NULL) {
        bool is_fence = strncmp(line, "```", 3) == 0;
        if (is_fence || line[0] == '\n') {
            if (name[0] != 0) {
                compare_example(f, name);
                example_count++;
            }
            name[0] = 0;
            in_block = in_block != is_fence;
        } else if (in_block && sscanf(line, "# %127s", name) == 1) {
            tally_wire_reset(&f->wire);
        } else if (in_block && name[0] != 0) {
            append_dump_line(&f->wire, line);
        }
    }
    assert_true(example_count >= 14);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_vector_encodes_to_its_frame),
        cmocka_unit_test(every_vector_decodes_to_its_fields),
        cmocka_unit_test(every_bad_vector_is_refused_with_its_code_and_index),
        cmocka_unit_test(every_frame_cut_at_any_byte_is_refused),
        cmocka_unit_test(every_frame_with_a_byte_more_is_refused),
        cmocka_unit_test(damaged_frames_are_read_safely),
        cmocka_unit_test(every_verb_record_notice_and_option_has_a_vector),
        cmocka_unit_test(examples_in_the_page_are_vectors),
    };
    return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
