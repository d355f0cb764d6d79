// SPDX-License-Identifier: MIT
//  vector_file - the files of schemas/vectors, read; and JSON to and from the codec's fields.
//
//  A header of statics, since a test is one file: test_vectors.c alone includes it.  A file
//  that is not what schemas/vectors/README.md says fails the test that reads it.

#ifndef TALLY_VECTOR_FILE_H
#define TALLY_VECTOR_FILE_H

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/wire.h"

typedef struct {
    char name[128];
    json_t *json;    // byte fields as one hex text each
    tally_wire_t frame;
} vector_t;

typedef struct {
    vector_t *vectors;
    size_t count;
    tally_wire_t wire;        // what we encode
    FILE *file;               // a page being read
    tally_wire_t bytes[8];    // byte fields of one message, expanded
    size_t bytes_used;
} fixture_t;

//  ---- reading the files ------------------------------------------------------------------------

static unsigned
hex_digit(char digit)
{
    const char *digits = "0123456789abcdef";
    const char *at = strchr(digits, digit);
    assert_non_null(at);
    assert_int_not_equal(digit, 0);
    return (unsigned)(at - digits);
}

static void
append_hex(tally_wire_t *to, const char *hex)
{
    assert_int_equal(strlen(hex) % 2, 0);
    for (; *hex != 0; hex += 2) {
        tally_wire_put_u8(to, (uint8_t)(hex_digit(hex[0]) << 4 | hex_digit(hex[1])));
    }
}

//  A text of hex digits, or a list of such texts and of {"repeat": hex, "times": n}.
static void
append_bytes(tally_wire_t *to, const json_t *value)
{
    if (json_is_string(value)) {
        append_hex(to, json_string_value(value));
        return;
    }
    assert_true(json_is_array(value));
    size_t i;
    json_t *part;
    json_array_foreach(value, i, part) {
        if (json_is_string(part)) {
            append_hex(to, json_string_value(part));
            continue;
        }
        tally_wire_t unit = {0};
        append_hex(&unit, json_string_value(json_object_get(part, "repeat")));
        for (json_int_t n = json_integer_value(json_object_get(part, "times")); n > 0; n--) {
            tally_wire_put_raw(to, (tally_bytes_t){unit.data, unit.size});
        }
        tally_wire_free(&unit);
    }
}

static json_t *
hex_json(tally_bytes_t bytes)
{
    const uint8_t *at = bytes.data;
    char *text = malloc(bytes.size * 2 + 1);
    assert_non_null(text);
    for (size_t i = 0; i < bytes.size; i++) {
        text[i * 2] = "0123456789abcdef"[at[i] >> 4];
        text[i * 2 + 1] = "0123456789abcdef"[at[i] & 15];
    }
    json_t *json = json_stringn(text, bytes.size * 2);
    free(text);
    return json;
}

//  Makes every byte field one text, so that documents can be compared.
static void
join_byte_fields(json_t *json)
{
    const char *key;
    json_t *value;
    void *next;
    size_t i;
    json_array_foreach(json, i, value) {
        join_byte_fields(value);
    }
    json_object_foreach_safe(json, next, key, value)
    {
        bool is_bytes = strcmp(key, "body") == 0 || strcmp(key, "key") == 0
                        || strcmp(key, "dedupe") == 0;
        if (is_bytes && json_is_array(value)) {
            tally_wire_t bytes = {0};
            append_bytes(&bytes, value);
            json_object_set_new(json, key, hex_json((tally_bytes_t){bytes.data, bytes.size}));
            tally_wire_free(&bytes);
        } else {
            join_byte_fields(value);
        }
    }
}

static void
source_path(char *path, size_t room, const char *below)
{
    const char *root = getenv("TALLY_SOURCE_DIR");
    int size = snprintf(path, room, "%s/%s", root == NULL ? "." : root, below);
    assert_in_range(size, 1, room - 1);
}

static int
is_vector(const struct dirent *entry)
{
    const char *dot = strrchr(entry->d_name, '.');
    return dot != NULL && strcmp(dot, ".json") == 0;
}

static void
load_vector(vector_t *vector, const char *directory, const char *file)
{
    char path[1024];
    json_error_t error;
    assert_in_range(snprintf(path, sizeof path, "%s/%s", directory, file), 1, sizeof path - 1);
    int size = snprintf(vector->name, sizeof vector->name, "%s", file);
    assert_in_range(size, 6, sizeof vector->name - 1);
    *strrchr(vector->name, '.') = 0;
    vector->json = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (vector->json == NULL) {
        fail_msg("%s:%d: %s", path, error.line, error.text);
    }
    append_bytes(&vector->frame, json_object_get(vector->json, "frame"));
    json_object_del(vector->json, "frame");
    join_byte_fields(vector->json);
}

static int
load_vectors(void **state)
{
    char directory[512];
    source_path(directory, sizeof directory, "schemas/vectors");
    struct dirent **entries;
    int count = scandir(directory, &entries, is_vector, alphasort);
    assert_true(count > 0);

    fixture_t *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->vectors = calloc((size_t)count, sizeof *f->vectors);
    assert_non_null(f->vectors);
    f->count = (size_t)count;
    for (size_t i = 0; i < f->count; i++) {
        load_vector(&f->vectors[i], directory, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    *state = f;
    return 0;
}

static int
free_vectors(void **state)
{
    fixture_t *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        json_decref(f->vectors[i].json);
        tally_wire_free(&f->vectors[i].frame);
    }
    for (size_t i = 0; i < sizeof f->bytes / sizeof *f->bytes; i++) {
        tally_wire_free(&f->bytes[i]);
    }
    tally_wire_free(&f->wire);
    if (f->file != NULL) {
        fclose(f->file);
    }
    free(f->vectors);
    free(f);
    return 0;
}

static bool
is_bad(const vector_t *vector)
{
    return json_object_get(vector->json, "error") != NULL;
}

static tally_bytes_t
frame_of(const vector_t *vector)
{
    return (tally_bytes_t){vector->frame.data, vector->frame.size};
}

//  ---- fields to C ------------------------------------------------------------------------------

static uint64_t
u64_field(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    if (text == NULL) {
        fail_msg("field %s: a decimal text is wanted", key);
        return 0;
    }
    return strtoull(text, NULL, 10);
}

static json_int_t
int_field(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_integer(value)) {
        fail_msg("field %s: a number is wanted", key);
    }
    return json_integer_value(value);
}

static tally_bytes_t
text_field(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    if (!json_is_string(value)) {
        fail_msg("field %s: a text is wanted", key);
    }
    return (tally_bytes_t){json_string_value(value), json_string_length(value)};
}

//  Absent ones are empty.  Valid until the next message.
static tally_bytes_t
bytes_field(fixture_t *f, const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    if (value == NULL) {
        return (tally_bytes_t){NULL, 0};
    }
    assert_in_range(f->bytes_used, 0, sizeof f->bytes / sizeof *f->bytes - 1);
    tally_wire_t *bytes = &f->bytes[f->bytes_used++];
    tally_wire_reset(bytes);
    append_bytes(bytes, value);
    return (tally_bytes_t){bytes->data, bytes->size};
}

static void
sender_field(fixture_t *f, const json_t *json, uint8_t sender[TALLY_SENDER_BYTES])
{
    tally_bytes_t bytes = bytes_field(f, json, "sender");
    assert_int_equal(bytes.size, TALLY_SENDER_BYTES);
    memcpy(sender, bytes.data, TALLY_SENDER_BYTES);
}

static json_t *
text_json(tally_bytes_t text)
{
    json_t *json = json_stringn(text.size == 0 ? "" : text.data, text.size);
    assert_non_null(json);
    return json;
}

static json_t *
u64_json(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return json_string(text);
}

static json_t *
ids_json(tally_cursor_t ids, size_t count)
{
    json_t *json = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(json, u64_json(tally_cursor_u64(&ids)));
    }
    assert_false(ids.bad);
    assert_ptr_equal(ids.at, ids.end);
    return json;
}

static size_t
ids_field(const json_t *json, uint64_t ids[TALLY_BATCH_MESSAGES_MAX])
{
    size_t i;
    json_t *id;
    json_array_foreach(json_object_get(json, "ids"), i, id) {
        assert_in_range(i, 0, TALLY_BATCH_MESSAGES_MAX - 1);
        ids[i] = strtoull(json_string_value(id), NULL, 10);
    }
    return json_array_size(json_object_get(json, "ids"));
}

#endif
