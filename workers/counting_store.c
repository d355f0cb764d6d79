// SPDX-License-Identifier: MIT
//  counting_store - see counting_store.h.

#include "workers/counting_store.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define TENANT "(select t.id from tally.tenant t where t.name = $1)"

tally_effect_t
tally_counting_store_read(tally_db_t *db, const char *tenant, const int64_t *numbers, size_t count,
                          tally_response_take_t *take, void *context)
{
    static const char sql[] =
        //  The range is what bounds the scan, whatever the planner makes of the rest.
        "select r.number, r.survey, s.slug, r.body"
        " from (select r.number, r.survey, r.body from tally.response r"
        "  where r.tenant = " TENANT " and r.number between $3 and $4 and r.number = any ($2)"
        "  offset 0) r,"
        " lateral (select s.slug from tally.survey s where s.id = r.survey offset 0) s"
        " order by r.number";
    assert(count <= TALLY_RESPONSES_READ_MAX);
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (size_t i = 0; i < count; i++) {
        least = numbers[i] < least ? numbers[i] : least;
        most = numbers[i] > most ? numbers[i] : most;
    }
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int8s(&params, numbers, count);
    tally_params_int8(&params, least);
    tally_params_int8(&params, most);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    bool more = effect == TALLY_EFFECT_DONE;
    for (int row = 0; more && row < rows.rows; row++) {
        tally_bytes_t slug = tally_rows_bytes(&rows, row, 2);
        char *copy = tally_strndup(slug.data, slug.size);
        more = take(context, tally_rows_int8(&rows, row, 0),
                    (int32_t)tally_rows_int8(&rows, row, 1), copy, tally_rows_bytes(&rows, row, 3));
        free(copy);
    }
    tally_params_free(&params);
    return effect;
}

//  ---- states ------------------------------------------------------------------------------------

static void
copy_hash(char out[TALLY_HASH_BYTES + 1], tally_bytes_t hash)
{
    assert(hash.size <= TALLY_HASH_BYTES);
    if (hash.size > 0) {
        memcpy(out, hash.data, hash.size);
    }
    out[hash.size] = '\0';
}

static void
take_state(const tally_rows_t *rows, int row, tally_state_t *state)
{
    state->exists = true;
    tally_wire_reset(&state->state);
    tally_wire_put_raw(&state->state, tally_rows_bytes(rows, row, 1));
    copy_hash(state->state_hash, tally_rows_bytes(rows, row, 2));
    tally_wire_reset(&state->since);
    state->since_hash[0] = '\0';
    if (!tally_rows_null(rows, row, 3)) {
        tally_wire_put_raw(&state->since, tally_rows_bytes(rows, row, 3));
        copy_hash(state->since_hash, tally_rows_bytes(rows, row, 4));
    }
    state->recompute = tally_rows_int8(rows, row, 5);
}

tally_effect_t
tally_counting_store_load(tally_db_t *db, const char *tenant, tally_state_t *states, size_t count)
{
    static const char sql[] =
        "select u.position, s.state, md5(s.state), s.since, md5(s.since), s.recompute"
        " from unnest($2::integer[]) with ordinality u (survey, position),"
        " lateral (select s.* from tally.statistic s"
        "  where s.tenant = " TENANT " and s.survey = u.survey offset 0) s";
    int32_t *surveys = tally_alloc_array(count, sizeof *surveys);
    for (size_t i = 0; i < count; i++) {
        surveys[i] = states[i].survey;
        states[i].exists = false;
    }
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int4s(&params, surveys, count);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    for (int row = 0; effect == TALLY_EFFECT_DONE && row < rows.rows; row++) {
        take_state(&rows, row, &states[tally_rows_int8(&rows, row, 0) - 1]);
    }
    tally_params_free(&params);
    free(surveys);
    return effect;
}

void
tally_states_free(tally_state_t *states, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tally_wire_free(&states[i].state);
        tally_wire_free(&states[i].since);
    }
}

tally_effect_t
tally_counting_store_hold(tally_db_t *db, const tally_work_t *work)
{
    static const char sql[] = "select tally.hold_term($2, $1, $3)";
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(work->tenant));
    tally_params_text(&params, tally_bytes_of(work->queue));
    tally_params_int8(&params, (int64_t)work->epoch);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, NULL));
    tally_params_free(&params);
    return effect;
}

static tally_effect_t
insert_state(tally_db_t *db, const char *tenant, const tally_state_t *state)
{
    static const char sql[] = "insert into tally.statistic (tenant, survey, state)"
                              " values (" TENANT
                              ", $2, $3) on conflict do nothing returning survey";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int4(&params, state->survey);
    tally_params_bytea(&params, state->next_state);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    if (effect == TALLY_EFFECT_DONE && rows.rows != 1) {
        effect = TALLY_EFFECT_CHANGED;
    }
    tally_params_free(&params);
    return effect;
}

static tally_effect_t
update_state(tally_db_t *db, const char *tenant, const tally_state_t *state)
{
    //  By content: equal bytes are an equal state, whoever wrote them.
    static const char sql[] =
        "update tally.statistic s set state = $3, since = case when $7 <> 0 then $4 end,"
        " counted_at = clock_timestamp()"
        " where s.tenant = " TENANT " and s.survey = $2 and md5(s.state) = $5"
        " and coalesce(md5(s.since), '') = $6 and coalesce(s.recompute, 0) = $7 returning s.survey";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_params_int4(&params, state->survey);
    tally_params_bytea(&params, state->next_state);
    tally_params_bytea(&params, state->next_since);
    tally_params_text(&params, tally_bytes_of(state->state_hash));
    tally_params_text(&params, tally_bytes_of(state->since_hash));
    tally_params_int8(&params, state->recompute);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    if (effect == TALLY_EFFECT_DONE && rows.rows != 1) {
        effect = TALLY_EFFECT_CHANGED;
    }
    tally_params_free(&params);
    return effect;
}

tally_effect_t
tally_counting_store_write(tally_db_t *db, const char *tenant, const tally_state_t *states,
                           size_t count)
{
    tally_effect_t effect = TALLY_EFFECT_DONE;
    for (size_t i = 0; i < count && effect == TALLY_EFFECT_DONE; i++) {
        effect = states[i].exists ? update_state(db, tenant, &states[i])
                                  : insert_state(db, tenant, &states[i]);
    }
    return effect;
}

tally_effect_t
tally_counting_store_list(tally_db_t *db, const char *tenant, json_t *object)
{
    static const char sql[] =
        "select s.slug, coalesce((tally.json_or_null(c.state) ->> 'responses')::bigint, 0)"
        " from tally.survey s left join tally.statistic c on c.tenant = s.tenant and c.survey = "
        "s.id"
        " where s.tenant = " TENANT " order by s.slug";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(tenant));
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    for (int row = 0; effect == TALLY_EFFECT_DONE && row < rows.rows; row++) {
        tally_bytes_t slug = tally_rows_bytes(&rows, row, 0);
        char *key = tally_strndup(slug.data, slug.size);
        json_object_set_new(object, key, json_integer(tally_rows_int8(&rows, row, 1)));
        free(key);
    }
    tally_params_free(&params);
    return effect;
}
