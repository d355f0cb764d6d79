// SPDX-License-Identifier: MIT
//  survey_store - see survey_store.h.

#include "workers/survey_store.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define TENANT "(select t.id from tally.tenant t where t.name = $1)"

//  Copies a short text of a row; longer ones than `room` are none of ours.
static void
copy_text(char *out, size_t room, const tally_rows_t *rows, int row, int column)
{
    tally_bytes_t text = tally_rows_bytes(rows, row, column);
    assert(text.size < room);
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
}

tally_effect_t
tally_survey_store_load(tally_db_t *db, const char *tenant, const tally_bytes_t *slugs,
                        const tally_bytes_t *hashes, size_t count, tally_survey_take_t *take,
                        void *context)
{
    static const char sql[] =
        "select s.slug, s.id, s.hash, case when s.hash <> u.hash then s.definition end"
        " from unnest($2::text[], $3::text[]) u (slug, hash),"
        " lateral (select s.slug, s.id, s.definition, md5(s.definition) as hash from tally.survey s"
        "  where s.tenant = " TENANT " and s.slug = u.slug offset 0) s";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_texts(&params, slugs, count);
    tally_params_texts(&params, hashes, count);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    for (int row = 0; effect == TALLY_EFFECT_DONE && row < rows.rows; row++) {
        char slug[TALLY_NAME_BYTES_MAX + 1], hash[TALLY_HASH_BYTES + 1];
        copy_text(slug, sizeof slug, &rows, row, 0);
        copy_text(hash, sizeof hash, &rows, row, 2);
        take(context, slug, (int32_t)tally_rows_int8(&rows, row, 1), hash,
             tally_rows_bytes(&rows, row, 3));
    }
    tally_params_free(&params);
    return effect;
}

tally_effect_t
tally_survey_store_hold(tally_db_t *db, const char *tenant, const tally_entry_t *const *entries,
                        size_t count)
{
    static const char sql[] =
        "select s.id from unnest($2::text[], $3::integer[], $4::text[]) u (slug, id, hash),"
        " lateral (select s.id from tally.survey s where s.tenant = " TENANT
        "  and s.slug = u.slug and s.id = u.id and md5(s.definition) = u.hash for key share) s";
    tally_bytes_t *slugs = tally_alloc_array(count, sizeof *slugs);
    tally_bytes_t *hashes = tally_alloc_array(count, sizeof *hashes);
    int32_t *ids = tally_alloc_array(count, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        slugs[i] = tally_bytes_of(tally_survey_slug(entries[i]->survey));
        hashes[i] = tally_bytes_of(entries[i]->hash);
        ids[i] = entries[i]->id;
    }
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_texts(&params, slugs, count);
    tally_params_int4s(&params, ids, count);
    tally_params_texts(&params, hashes, count);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    if (effect == TALLY_EFFECT_DONE && (size_t)rows.rows != count) {
        effect = TALLY_EFFECT_CHANGED;
    }
    tally_params_free(&params);
    free(slugs);
    free(hashes);
    free(ids);
    return effect;
}

static tally_effect_t
run_named(tally_db_t *db, const char *sql, const char *tenant, const char *slug, tally_rows_t *rows)
{
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_text(&params, tally_bytes_of(slug));
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, rows));
    tally_params_free(&params);
    return effect;
}

tally_effect_t
tally_survey_store_lock(tally_db_t *db, const char *tenant, const char *slug, char **definition,
                        size_t *size, bool *has_responses)
{
    static const char lock[] = "select s.definition from tally.survey s"
                               " where s.tenant = " TENANT " and s.slug = $2 for update";
    //  A statement of its own: what was stored while we waited for the lock is to be seen.
    static const char look[] =
        "select exists (select from tally.response r where r.tenant = s.tenant and r.survey = s.id)"
        " from tally.survey s where s.tenant = " TENANT " and s.slug = $2";
    tally_rows_t rows;
    *definition = NULL;
    *has_responses = false;
    tally_effect_t effect = run_named(db, lock, tenant, slug, &rows);
    if (effect != TALLY_EFFECT_DONE || rows.rows == 0) {
        return effect;
    }
    tally_bytes_t bytes = tally_rows_bytes(&rows, 0, 0);
    *definition = tally_strndup(bytes.data, bytes.size);
    *size = bytes.size;
    effect = run_named(db, look, tenant, slug, &rows);
    if (effect == TALLY_EFFECT_DONE) {
        *has_responses = rows.rows == 1 && tally_rows_bool(&rows, 0, 0);
    } else {
        free(*definition);
        *definition = NULL;
    }
    return effect;
}

static tally_effect_t
write_one(tally_db_t *db, const char *sql, const char *tenant, const char *slug,
          tally_bytes_t definition)
{
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_text(&params, tally_bytes_of(slug));
    tally_params_bytea(&params, definition);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    if (effect == TALLY_EFFECT_DONE && rows.rows != 1) {
        effect = TALLY_EFFECT_CHANGED;
    }
    tally_params_free(&params);
    return effect;
}

tally_effect_t
tally_survey_store_insert(tally_db_t *db, const char *tenant, const char *slug,
                          tally_bytes_t definition)
{
    static const char sql[] = "insert into tally.survey (tenant, slug, definition)"
                              " select t.id, $2, $3 from tally.tenant t where t.name = $1"
                              " on conflict do nothing returning id";
    return write_one(db, sql, tenant, slug, definition);
}

tally_effect_t
tally_survey_store_update(tally_db_t *db, const char *tenant, const char *slug,
                          tally_bytes_t definition)
{
    static const char sql[] =
        "update tally.survey s set definition = $3, put_at = clock_timestamp()"
        " where s.tenant = " TENANT " and s.slug = $2 returning s.id";
    return write_one(db, sql, tenant, slug, definition);
}

tally_effect_t
tally_survey_store_list(tally_db_t *db, const char *tenant, const char *after, int32_t limit,
                        json_t *list)
{
    static const char sql[] =
        "select s.slug, d.json ->> 'title', jsonb_array_length(d.json -> 'questions'),"
        " to_char(s.put_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),"
        " (select count(*) from tally.response r where r.tenant = s.tenant and r.survey = s.id)"
        " from (select s.* from tally.survey s"
        "  where s.tenant = " TENANT " and s.slug > $2 order by s.slug limit $3) s,"
        " lateral (select tally.json_or_null(s.definition) as json offset 0) d order by s.slug";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_text(&params, tally_bytes_of(after));
    tally_params_int4(&params, limit);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    for (int row = 0; effect == TALLY_EFFECT_DONE && row < rows.rows; row++) {
        tally_bytes_t slug = tally_rows_bytes(&rows, row, 0);
        tally_bytes_t title = tally_rows_bytes(&rows, row, 1);
        tally_bytes_t put_at = tally_rows_bytes(&rows, row, 3);
        json_t *one = json_object();
        json_object_set_new(one, "slug", json_stringn(slug.data, slug.size));
        json_object_set_new(one, "title",
                            json_stringn(title.data == NULL ? "" : title.data, title.size));
        json_object_set_new(one, "questions", json_integer(tally_rows_int8(&rows, row, 2)));
        json_object_set_new(one, "responses", json_integer(tally_rows_int8(&rows, row, 4)));
        json_object_set_new(one, "put_at", json_stringn(put_at.data, put_at.size));
        json_array_append_new(list, one);
    }
    tally_params_free(&params);
    return effect;
}
