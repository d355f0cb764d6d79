// SPDX-License-Identifier: MIT
//  bodies - see bodies.h.

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "workers/bodies.h"

static void
take_row(const tally_rows_t *rows, int row, tally_body_t *body)
{
    body->bytes = (tally_bytes_t){NULL, 0};
    if (!tally_rows_bool(rows, row, 1)) {
        body->state = TALLY_BODY_GONE;
    } else if (tally_rows_null(rows, row, 2)) {
        body->state = TALLY_BODY_MISSING;
    } else if (tally_rows_null(rows, row, 3)) {
        body->state = TALLY_BODY_LARGE;
    } else {
        tally_bytes_t bytes = tally_rows_bytes(rows, row, 3);
        body->owned = tally_strndup(bytes.data, bytes.size);
        body->bytes = (tally_bytes_t){body->owned, bytes.size};
        body->state = TALLY_BODY_HERE;
    }
}

tally_effect_t
tally_bodies_read(tally_db_t *db, const tally_work_t *work, size_t bytes_max, tally_body_t *bodies)
{
    //  Each by its key; `offset 0` keeps them from being joined in another way.  Only who has no blob is looked for:
    //  is the message gone as well?
    static const char sql[] =
        "select u.position,"
        " b.size is not null or exists (select from tally.message m"
        "  where m.tenant = (select t.id from tally.tenant t where t.name = $1) and m.id = u.id"
        "  offset 0),"
        " b.size, b.body"
        " from unnest($2::bigint[], $3::integer[]) u (id, position)"
        " left join lateral (select octet_length(b.body) as size,"
        "   case when octet_length(b.body) <= $4 then b.body end as body from tally.blob b"
        "  where b.tenant = (select t.id from tally.tenant t where t.name = $1) and b.id = u.id"
        "  offset 0) b on true";
    int64_t ids[TALLY_BATCH_MESSAGES_MAX];
    int32_t positions[TALLY_BATCH_MESSAGES_MAX];
    size_t count = 0;
    assert(work->count <= TALLY_BATCH_MESSAGES_MAX);
    for (size_t i = 0; i < work->count; i++) {
        const tally_delivered_t *item = &work->items[i];
        bool fits = item->body.size <= bytes_max;
        bodies[i] = (tally_body_t){.state = fits ? TALLY_BODY_HERE : TALLY_BODY_LARGE,
                                   .bytes = item->body};
        if ((item->options & TALLY_AS_BLOB) != 0) {
            ids[count] = (int64_t)item->id;
            positions[count++] = (int32_t)i;
        }
    }
    if (count == 0) {
        return TALLY_EFFECT_DONE;
    }
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(work->tenant));
    tally_params_int8s(&params, ids, count);
    tally_params_int4s(&params, positions, count);
    tally_params_int8(&params, (int64_t)bytes_max);
    tally_effect_t effect = tally_effect_of(db, tally_db_run(db, sql, &params, &rows));
    for (int row = 0; effect == TALLY_EFFECT_DONE && row < rows.rows; row++) {
        take_row(&rows, row, &bodies[tally_rows_int8(&rows, row, 0)]);
    }
    tally_params_free(&params);
    return effect;
}

void
tally_bodies_free(tally_body_t *bodies, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(bodies[i].owned);
    }
}
