// SPDX-License-Identifier: MIT
//  responses_store - see responses_store.h.

#include "workers/responses_store.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "workers/pointer.h"
#include "workers/survey_store.h"

#define UNIQUE_VIOLATION "23505"

//  A response that was stored: not one that was there already.
struct stored {
    int64_t number;
    int32_t survey;
};

static int
compare_stored(const void *a, const void *b)
{
    const struct stored *left = a, *right = b;
    if (left->survey != right->survey) {
        return left->survey < right->survey ? -1 : 1;
    }
    return left->number < right->number ? -1 : left->number > right->number;
}

struct row {
    int32_t survey;
    int64_t number;
    tally_bytes_t id, body;
};

static int
compare_rows(const void *a, const void *b)
{
    const struct row *left = a, *right = b;
    if (left->survey != right->survey) {
        return left->survey < right->survey ? -1 : 1;
    }
    size_t size = left->id.size < right->id.size ? left->id.size : right->id.size;
    int order = memcmp(left->id.data, right->id.data, size);
    if (order == 0 && left->id.size != right->id.size) {
        order = left->id.size < right->id.size ? -1 : 1;
    }
    return order != 0 ? order : left->number < right->number ? -1 : left->number > right->number;
}

//  Each survey of the lease once.
static size_t
distinct_entries(const tally_storing_t *storing, const tally_entry_t **out)
{
    size_t count = 0;
    for (size_t i = 0; i < storing->count; i++) {
        bool known = false;
        for (size_t j = 0; j < count && !known; j++) {
            known = out[j] == storing->entries[i];
        }
        if (!known) {
            out[count++] = storing->entries[i];
        }
    }
    return count;
}

//  $1 tenant, $2 surveys, $3 ids, $4 bodies, $5 numbers.  A response's number is its message's id, so whoever stored
//  it, numbers tell the order of sending.  Rows go in by response id, so that two workers with the same ids wait for
//  each other instead of locking each other out.
static void
add_rows(tally_params_t *params, const tally_storing_t *storing)
{
    size_t count = storing->count;
    struct row *rows = tally_alloc_array(count, sizeof *rows);
    for (size_t i = 0; i < count; i++) {
        rows[i] = (struct row){storing->entries[i]->id, (int64_t)storing->messages[i],
                               storing->ids[i], storing->bodies[i]};
    }
    qsort(rows, count, sizeof *rows, compare_rows);
    int32_t *surveys = tally_alloc_array(count, sizeof *surveys);
    int64_t *numbers = tally_alloc_array(count, sizeof *numbers);
    tally_bytes_t *ids = tally_alloc_array(count, sizeof *ids);
    tally_bytes_t *bodies = tally_alloc_array(count, sizeof *bodies);
    for (size_t i = 0; i < count; i++) {
        surveys[i] = rows[i].survey;
        numbers[i] = rows[i].number;
        ids[i] = rows[i].id;
        bodies[i] = rows[i].body;
    }
    tally_params_text(params, tally_bytes_of(storing->tenant));
    tally_params_int4s(params, surveys, count);
    tally_params_texts(params, ids, count);
    tally_params_byteas(params, bodies, count);
    tally_params_int8s(params, numbers, count);
    free(rows);
    free(surveys);
    free(numbers);
    free(ids);
    free(bodies);
}

#define INSERT                                                                                     \
    "insert into tally.response (tenant, survey, response_id, body, number)"                       \
    " select (select t.id from tally.tenant t where t.name = $1), unnest($2::integer[]),"          \
    " unnest($3::text[]), unnest($4::bytea[]), unnest($5::bigint[])"

//  Passing over what is there already makes PostgreSQL look before each row and confirm it after: half as much again as
//  the insert.  So all of them are taken for new, and *repeated says that one is not.
static tally_effect_t
insert_new(tally_db_t *db, const tally_storing_t *storing, struct stored *stored, bool *repeated)
{
    tally_params_t params = {0};
    add_rows(&params, storing);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, INSERT, &params, NULL));
    *repeated = effect == TALLY_EFFECT_REFUSED
                && strcmp(tally_db_sqlstate(db), UNIQUE_VIOLATION) == 0;
    for (size_t i = 0; i < storing->count; i++) {
        stored[i] = (struct stored){(int64_t)storing->messages[i], storing->entries[i]->id};
    }
    tally_params_free(&params);
    return effect;
}

//  Those that are not there already; *count is how many.
static tally_effect_t
insert_missing(tally_db_t *db, const tally_storing_t *storing, struct stored *stored, size_t *count)
{
    static const char sql[] = INSERT
        " on conflict (tenant, survey, response_id) do nothing returning number, survey";
    tally_params_t params = {0};
    tally_rows_t rows;
    add_rows(&params, storing);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    if (effect == TALLY_EFFECT_DONE) {
        *count = (size_t)rows.rows;
        for (int row = 0; row < rows.rows; row++) {
            stored[row] = (struct stored){tally_rows_int8(&rows, row, 0),
                                          (int32_t)tally_rows_int8(&rows, row, 1)};
        }
    }
    tally_params_free(&params);
    return effect;
}

static const char *
slug_of(const tally_entry_t *const *entries, size_t count, int32_t survey)
{
    for (size_t i = 0; i < count; i++) {
        if (entries[i]->id == survey) {
            return tally_survey_slug(entries[i]->survey);
        }
    }
    assert(false);    // what was stored came from these
    return "";
}

static tally_effect_t
send_pointers(tally_db_t *db, const char *tenant, const tally_bytes_t *bodies, size_t count)
{
    static const char sql[] =
        "select tally.send_bytes('statistics', $1, b.body) from unnest($2::bytea[]) b (body)";
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_byteas(&params, bodies, count);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, NULL));
    tally_params_free(&params);
    return effect;
}

//  A lease is at most TALLY_BATCH_MESSAGES_MAX responses, so each survey needs one pointer; the loop is there
//  for numbers that grow.
static tally_effect_t
announce(tally_db_t *db, const char *tenant, const struct stored *stored, size_t stored_count,
         const tally_entry_t *const *entries, size_t entry_count)
{
    tally_bytes_t *bodies = tally_alloc_array(stored_count, sizeof *bodies);
    int64_t *numbers = tally_alloc_array(stored_count, sizeof *numbers);
    for (size_t i = 0; i < stored_count; i++) {
        numbers[i] = stored[i].number;
    }
    size_t count = 0;
    for (size_t first = 0, next; first < stored_count; first = next) {
        for (next = first; next < stored_count && stored[next].survey == stored[first].survey;) {
            next++;
        }
        const char *slug = slug_of(entries, entry_count, stored[first].survey);
        for (size_t at = first, taken; at < next; at += taken) {
            char *text = tally_pointer_print(stored[first].survey, slug, numbers + at, next - at,
                                             &taken);
            bodies[count++] = tally_bytes_of(text);
        }
    }
    tally_effect_t effect = count == 0 ? TALLY_EFFECT_DONE
                                       : send_pointers(db, tenant, bodies, count);
    for (size_t i = 0; i < count; i++) {
        free((void *)(uintptr_t)bodies[i].data);
    }
    free(bodies);
    free(numbers);
    return effect;
}

//  `repeated`: some are there already; set when that was found out, and nothing was done.
static tally_effect_t
write_all(tally_db_t *db, const tally_storing_t *storing, const tally_entry_t *const *entries,
          size_t entry_count, bool *repeated)
{
    tally_effect_t effect = tally_effect_of(db, tally_db_begin(db, TALLY_DB_READ_COMMITTED));
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_survey_store_hold(db, storing->tenant, entries, entry_count);
    }
    struct stored *stored = tally_alloc_array(storing->count, sizeof *stored);
    size_t stored_count = storing->count;
    if (effect == TALLY_EFFECT_DONE) {
        effect = *repeated ? insert_missing(db, storing, stored, &stored_count)
                           : insert_new(db, storing, stored, repeated);
    }
    if (effect == TALLY_EFFECT_DONE) {
        qsort(stored, stored_count, sizeof *stored, compare_stored);
        effect = announce(db, storing->tenant, stored, stored_count, entries, entry_count);
    }
    free(stored);
    if (effect == TALLY_EFFECT_DONE) {
        effect = tally_effect_settle(db, storing->lease, storing->messages, storing->count);
    }
    return tally_effect_end(db, effect);
}

tally_effect_t
tally_responses_store(tally_db_t *db, const tally_storing_t *storing)
{
    const tally_entry_t **entries = tally_alloc_array(storing->count, sizeof *entries);
    size_t entry_count = distinct_entries(storing, entries);
    bool repeated = false;
    tally_effect_t effect = write_all(db, storing, entries, entry_count, &repeated);
    if (repeated) {
        effect = write_all(db, storing, entries, entry_count, &repeated);
    }
    free(entries);
    return effect;
}
