// SPDX-License-Identifier: MIT
//  recompute_store - see recompute_store.h.

#include "workers/recompute_store.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define TENANT "(select t.id from tally.tenant t where t.name = $1)"
#define QUEUE(name) "(select q.id from tally.queue q where q.name = '" name "')"
#define POINTERS_PAGE "100"    // a pointer may be as large as an inline body
#define OUTPUTS_PAGE "20"      // a partial may be large

//  Runs and frees the parameters.  Rows, when wanted, stay valid until the next statement.
static tally_effect_t
run(tally_db_t *db, const char *sql, tally_params_t *params, tally_rows_t *rows)
{
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, params, rows));
    tally_params_free(params);
    return effect;
}

//  The same for a write of exactly one row: anything else is CHANGED.
static tally_effect_t
run_one(tally_db_t *db, const char *sql, tally_params_t *params)
{
    tally_rows_t rows;
    tally_effect_t effect = run(db, sql, params, &rows);
    return effect == TALLY_EFFECT_DONE && rows.rows != 1 ? TALLY_EFFECT_CHANGED : effect;
}

static tally_params_t
params_of(const tally_recompute_key_t *key)
{
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(key->tenant));
    tally_params_int8(&params, (int64_t)key->id);
    return params;
}

//  ---- looking -----------------------------------------------------------------------------------

tally_effect_t
tally_recompute_store_look(tally_db_t *db, const tally_recompute_key_t *key,
                           tally_recompute_t *recompute)
{
    static const char sql[] =
        "select r.survey, r.block, r.phase, r.blocks, (select count(*) from tally.partial p"
        "  where p.tenant = r.tenant and p.recompute = r.id and p.phase = r.phase)"
        " from tally.recompute r where r.tenant = " TENANT " and r.id = $2";
    tally_params_t params = params_of(key);
    tally_rows_t rows;
    tally_effect_t effect = run(db, sql, &params, &rows);
    *recompute = (tally_recompute_t){.exists = false};
    if (effect == TALLY_EFFECT_DONE && rows.rows == 1) {
        *recompute = (tally_recompute_t){.exists = true,
                                         .survey = (int32_t)tally_rows_int8(&rows, 0, 0),
                                         .block = (int32_t)tally_rows_int8(&rows, 0, 1),
                                         .phase = (int32_t)tally_rows_int8(&rows, 0, 2),
                                         .blocks = (int32_t)tally_rows_int8(&rows, 0, 3),
                                         .done = (int32_t)tally_rows_int8(&rows, 0, 4)};
    }
    return effect;
}

tally_effect_t
tally_recompute_store_other(tally_db_t *db, const tally_recompute_key_t *key, int32_t survey,
                            uint64_t *other, bool *orphan)
{
    static const char sql[] =
        "select r.id, not exists (select from tally.message m where m.tenant = r.tenant and m.id = "
        "r.id)"
        " from tally.recompute r where r.tenant = " TENANT " and r.id <> $2"
        " and ($3 = 0 or r.survey is null or r.survey = $3) order by r.id limit 1";
    tally_params_t params = params_of(key);
    tally_rows_t rows;
    tally_params_int4(&params, survey);
    tally_effect_t effect = run(db, sql, &params, &rows);
    *other = 0;
    *orphan = false;
    if (effect == TALLY_EFFECT_DONE && rows.rows == 1) {
        *other = (uint64_t)tally_rows_int8(&rows, 0, 0);
        *orphan = tally_rows_bool(&rows, 0, 1);
    }
    return effect;
}

tally_effect_t
tally_recompute_store_survey(tally_db_t *db, const char *tenant, const char *slug, int32_t *survey)
{
    static const char sql[] = "select s.id from tally.survey s where s.tenant = " TENANT
                              " and s.slug = $2";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_text(&params, tally_bytes_of(slug));
    tally_effect_t effect = run(db, sql, &params, &rows);
    *survey = effect == TALLY_EFFECT_DONE && rows.rows == 1 ? (int32_t)tally_rows_int8(&rows, 0, 0)
                                                            : 0;
    return effect;
}

tally_effect_t
tally_recompute_store_stalled(tally_db_t *db, const tally_recompute_key_t *key, bool *stalled)
{
    //  One snapshot: a block leaves its message and becomes a partial in one transaction.
    static const char sql[] =
        "select (select count(*) from tally.partial p"
        "   where p.tenant = r.tenant and p.recompute = r.id and p.phase = r.phase) < r.blocks"
        "  and not exists (select from tally.message m where m.tenant = r.tenant and m.id > r.id"
        "   and m.queue = " QUEUE(
            "statistics-map") "   and tally.json_or_null(m.body) ->> 'recompute' = r.id::text)"
                              "  and not exists (select from tally.inbox i where i.tenant = "
                              "r.tenant"
                              "   and i.queue = " QUEUE(
                                  "statistics-map") "   and tally.json_or_null(i.body) ->> "
                                                    "'recompute' = r.id::text)"
                                                    " from tally.recompute r where r.tenant "
                                                    "= " TENANT " and r.id = $2";
    tally_params_t params = params_of(key);
    tally_rows_t rows;
    tally_effect_t effect = run(db, sql, &params, &rows);
    *stalled = effect == TALLY_EFFECT_DONE && rows.rows == 1 && tally_rows_bool(&rows, 0, 0);
    return effect;
}

//  ---- beginning ---------------------------------------------------------------------------------

tally_effect_t
tally_recompute_store_insert(tally_db_t *db, const tally_recompute_key_t *key,
                             const tally_recompute_t *recompute)
{
    static const char sql[] =
        "insert into tally.recompute (tenant, id, survey, block, phase, blocks)"
        " values (" TENANT ", $2, nullif($3, 0), $4, 0, 0) on conflict do nothing returning id";
    tally_params_t params = params_of(key);
    tally_params_int4(&params, recompute->survey);
    tally_params_int4(&params, recompute->block);
    return run_one(db, sql, &params);
}

tally_effect_t
tally_recompute_store_pointers(tally_db_t *db, const char *tenant, tally_page_t *page,
                               tally_body_take_t *take, void *context, bool *more)
{
    static const char messages[] =
        "select m.id, m.body from tally.message m where m.tenant = " TENANT " and m.id > $2"
        " and m.queue = " QUEUE("statistics") " order by m.id limit " POINTERS_PAGE;
    static const char inbox[] = "select i.id, i.body from tally.inbox i where i.tenant = " TENANT
                                " and i.id > $2"
                                " and i.queue = " QUEUE(
                                    "statistics") " order by i.id limit " POINTERS_PAGE;
    static const char dead[] =
        "select d.id, d.body from tally.dead_letter d where d.tenant = " TENANT " and d.id > $2"
        " and d.queue = " QUEUE("statistics") " order by d.id limit " POINTERS_PAGE;
    static const char *const sources[] = {messages, inbox, dead};
    assert(page->source < 3);
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int8(&params, page->last);
    tally_effect_t effect = run(db, sources[page->source], &params, &rows);
    if (effect != TALLY_EFFECT_DONE) {
        return effect;
    }
    for (int row = 0; row < rows.rows; row++) {
        page->last = tally_rows_int8(&rows, row, 0);
        take(context, tally_rows_bytes(&rows, row, 1));
    }
    if (rows.rows == 0) {
        page->source++;
        page->last = 0;
    }
    *more = page->source < 3;
    return TALLY_EFFECT_DONE;
}

tally_effect_t
tally_recompute_store_numbers(tally_db_t *db, const char *tenant, int32_t survey, int64_t after,
                              int64_t *numbers, size_t room, size_t *count)
{
    static const char sql[] = "select r.number from tally.response r where r.tenant = " TENANT
                              " and r.number > $2 and ($3 = 0 or r.survey = $3)"
                              " order by r.number limit $4";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int8(&params, after);
    tally_params_int4(&params, survey);
    tally_params_int8(&params, (int64_t)room);
    tally_effect_t effect = run(db, sql, &params, &rows);
    *count = effect == TALLY_EFFECT_DONE ? (size_t)rows.rows : 0;
    for (size_t i = 0; i < *count; i++) {
        numbers[i] = tally_rows_int8(&rows, (int)i, 0);
    }
    return effect;
}

tally_effect_t
tally_recompute_store_watch(tally_db_t *db, const tally_recompute_key_t *key, int32_t survey)
{
    static const char sql[] =
        "insert into tally.statistic (tenant, survey, state, since, recompute)"
        " select s.tenant, s.id, e.empty, e.empty, $2 from tally.survey s,"
        " lateral (select convert_to(json_build_object('survey', s.slug, 'responses', 0,"
        "  'questions', json_build_object())::text, 'UTF8') as empty) e"
        " where s.tenant = " TENANT " and ($3 = 0 or s.id = $3)"
        " on conflict (tenant, survey) do update set since = excluded.since,"
        " recompute = excluded.recompute";
    tally_params_t params = params_of(key);
    tally_params_int4(&params, survey);
    return run(db, sql, &params, NULL);
}

//  ---- phases ------------------------------------------------------------------------------------

tally_effect_t
tally_recompute_store_send(tally_db_t *db, const char *tenant, const tally_bytes_t *bodies,
                           size_t count)
{
    static const char sql[] =
        "select tally.send_bytes('statistics-map', $1, b.body) from unnest($2::bytea[]) b (body)";
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_byteas(&params, bodies, count);
    return run(db, sql, &params, NULL);
}

tally_effect_t
tally_recompute_store_step(tally_db_t *db, const tally_recompute_key_t *key, int32_t from,
                           int32_t to, int32_t blocks)
{
    static const char sql[] = "update tally.recompute r set phase = $4, blocks = $5"
                              " where r.tenant = " TENANT
                              " and r.id = $2 and r.phase = $3 returning r.id";
    tally_params_t params = params_of(key);
    tally_params_int4(&params, from);
    tally_params_int4(&params, to);
    tally_params_int4(&params, blocks);
    return run_one(db, sql, &params);
}

tally_effect_t
tally_recompute_store_outputs(tally_db_t *db, const tally_recompute_key_t *key, int32_t phase,
                              int32_t from, int32_t to, tally_output_take_t *take, void *context,
                              int32_t *last)
{
    static const char sql[] =
        "select p.block, p.output from tally.partial p where p.tenant = " TENANT
        " and p.recompute = $2 and p.phase = $3 and p.block between $4 and $5"
        " order by p.block limit " OUTPUTS_PAGE;
    tally_params_t params = params_of(key);
    tally_rows_t rows;
    tally_params_int4(&params, phase);
    tally_params_int4(&params, from);
    tally_params_int4(&params, to);
    tally_effect_t effect = run(db, sql, &params, &rows);
    bool more = effect == TALLY_EFFECT_DONE;
    *last = 0;
    for (int row = 0; more && row < rows.rows; row++) {
        *last = (int32_t)tally_rows_int8(&rows, row, 0);
        more = take(context, *last, tally_rows_bytes(&rows, row, 1));
    }
    return effect;
}

tally_effect_t
tally_recompute_store_put(tally_db_t *db, const char *tenant, const tally_output_t *outputs,
                          size_t count)
{
    //  The shared lock keeps the row from being removed, or stepped on, until this is committed.
    static const char sql[] =
        "insert into tally.partial (tenant, recompute, phase, block, output)"
        " select r.tenant, r.id, r.phase, u.block, u.output"
        " from unnest($2::bigint[], $3::integer[], $4::integer[], $5::bytea[])"
        "  u (id, phase, block, output),"
        " lateral (select r.* from tally.recompute r where r.tenant = " TENANT
        "  and r.id = u.id and r.phase = u.phase for share) r"
        " on conflict do nothing";
    int64_t *ids = tally_alloc_array(count, sizeof *ids);
    int32_t *phases = tally_alloc_array(count, sizeof *phases);
    int32_t *blocks = tally_alloc_array(count, sizeof *blocks);
    tally_bytes_t *bytes = tally_alloc_array(count, sizeof *bytes);
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int64_t)outputs[i].id;
        phases[i] = outputs[i].phase;
        blocks[i] = outputs[i].block;
        bytes[i] = outputs[i].output;
    }
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int8s(&params, ids, count);
    tally_params_int4s(&params, phases, count);
    tally_params_int4s(&params, blocks, count);
    tally_params_byteas(&params, bytes, count);
    tally_effect_t effect = run(db, sql, &params, NULL);
    free(ids);
    free(phases);
    free(blocks);
    free(bytes);
    return effect;
}

//  ---- the end -----------------------------------------------------------------------------------

tally_effect_t
tally_recompute_store_watched(tally_db_t *db, const tally_recompute_key_t *key,
                              tally_watched_t **watched, size_t *count)
{
    static const char sql[] =
        "select c.survey, s.slug, c.since, md5(c.since) from tally.statistic c,"
        " lateral (select s.slug from tally.survey s where s.id = c.survey offset 0) s"
        " where c.tenant = " TENANT " and c.recompute = $2 and c.since is not null order by s.slug";
    tally_params_t params = params_of(key);
    tally_rows_t rows;
    tally_effect_t effect = run(db, sql, &params, &rows);
    if (effect != TALLY_EFFECT_DONE) {
        return effect;
    }
    *count = (size_t)rows.rows;
    *watched = tally_alloc_array(*count, sizeof **watched);
    for (int row = 0; row < rows.rows; row++) {
        tally_watched_t *one = &(*watched)[row];
        tally_bytes_t slug = tally_rows_bytes(&rows, row, 1);
        tally_bytes_t since = tally_rows_bytes(&rows, row, 2);
        tally_bytes_t hash = tally_rows_bytes(&rows, row, 3);
        assert(hash.size == TALLY_HASH_BYTES);
        one->survey = (int32_t)tally_rows_int8(&rows, row, 0);
        one->slug = tally_strndup(slug.data, slug.size);
        one->since = tally_strndup(since.data, since.size);
        memcpy(one->since_hash, hash.data, hash.size);
    }
    return TALLY_EFFECT_DONE;
}

void
tally_watched_free(tally_watched_t *watched, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(watched[i].slug);
        free(watched[i].since);
        free(watched[i].next_state);
    }
    free(watched);
}

tally_effect_t
tally_recompute_store_switch(tally_db_t *db, const tally_recompute_key_t *key,
                             const tally_watched_t *watched, size_t count)
{
    static const char sql[] =
        "update tally.statistic c set state = $4, since = null, recompute = null,"
        " counted_at = clock_timestamp() where c.tenant = " TENANT " and c.survey = $3"
        " and c.recompute = $2 and md5(c.since) = $5 returning c.survey";
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t i = 0; i < count && effect == TALLY_EFFECT_DONE; i++) {
        tally_params_t params = params_of(key);
        tally_params_int4(&params, watched[i].survey);
        tally_params_bytea(&params, tally_bytes_of(watched[i].next_state));
        tally_params_text(&params, tally_bytes_of(watched[i].since_hash));
        effect = run_one(db, sql, &params);
    }
    return effect;
}

tally_effect_t
tally_recompute_store_remove(tally_db_t *db, const tally_recompute_key_t *key)
{
    static const char watched[] =
        "update tally.statistic c set since = null, recompute = null where c.tenant = " TENANT
        " and c.recompute = $2";
    static const char recompute[] = "delete from tally.recompute r where r.tenant = " TENANT
                                    " and r.id = $2";
    //  After the row that partials are written under.
    static const char partials[] = "delete from tally.partial p where p.tenant = " TENANT
                                   " and p.recompute = $2";
    static const char *const all[] = {watched, recompute, partials};
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t i = 0; i < 3 && effect == TALLY_EFFECT_DONE; i++) {
        tally_params_t params = params_of(key);
        effect = run(db, all[i], &params, NULL);
    }
    return effect;
}
