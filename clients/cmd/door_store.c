// SPDX-License-Identifier: MIT
//  door_store - see door_store.h.

#include "clients/cmd/door_store.h"

#define PRUNED_AT_ONCE 10000

tally_db_outcome_t
tally_door_store_add(tally_db_t *db, const tally_new_principal_t *principal)
{
    static const char sql[] =
        "insert into tally.principal (name, key, role, tenants, queues, rights, not_after) "
        "values ($1, $2, $3, $4, $5, $6, "
        "case when $7::bigint > 0 then clock_timestamp() + make_interval(days => $7::integer) end)";
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(principal->name));
    tally_params_text(&params, tally_bytes_of(principal->key));
    tally_params_text(&params, tally_bytes_of(principal->role));
    tally_params_texts(&params, principal->tenants, principal->tenant_count);
    tally_params_texts(&params, principal->queues, principal->queue_count);
    tally_params_texts(&params, principal->rights, principal->right_count);
    tally_params_int8(&params, principal->days);
    tally_db_outcome_t outcome = tally_db_run(db, sql, &params, NULL);
    tally_params_free(&params);
    return outcome;
}

tally_db_outcome_t
tally_door_store_revoke(tally_db_t *db, const char *name, bool *found)
{
    static const char sql[] = "update tally.principal set revoked_at = now(), revoked_by = "
                              "session_user where name = $1 and revoked_at is null returning id";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(name));
    tally_db_outcome_t outcome = tally_db_run(db, sql, &params, &rows);
    tally_params_free(&params);
    *found = outcome == TALLY_DB_DONE && rows.rows > 0;
    return outcome;
}

tally_db_outcome_t
tally_door_store_list(tally_db_t *db, tally_rows_t *rows)
{
    static const char sql[] =
        "select coalesce(json_agg(p order by p.made_at desc, p.name), '[]')::text "
        "from tally.principals p";
    return tally_db_run(db, sql, NULL, rows);
}

tally_db_outcome_t
tally_door_store_audits(tally_db_t *db, int64_t limit, tally_rows_t *rows)
{
    static const char sql[] =
        "select coalesce(json_agg(a order by a.id desc), '[]')::text from (select id::text as id, "
        "to_char(at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as at, who, key, "
        "action, request, result from tally.audits order by tally.audits.id desc limit $1) a";
    tally_params_t params = {0};
    tally_params_int8(&params, limit);
    tally_db_outcome_t outcome = tally_db_run(db, sql, &params, rows);
    tally_params_free(&params);
    return outcome;
}

tally_db_outcome_t
tally_door_store_prune(tally_db_t *db, int64_t days, int64_t *pruned)
{
    static const char sql[] =
        "select tally.prune_audit(clock_timestamp() - "
        "make_interval(days => $1::bigint::integer), $2::bigint::integer)::bigint";
    tally_db_outcome_t outcome = TALLY_DB_DONE;
    *pruned = 0;
    for (int64_t more = 1; more > 0 && outcome == TALLY_DB_DONE;) {
        tally_params_t params = {0};
        tally_rows_t rows;
        tally_params_int8(&params, days);
        tally_params_int8(&params, PRUNED_AT_ONCE);
        outcome = tally_db_run(db, sql, &params, &rows);
        more = outcome == TALLY_DB_DONE ? tally_rows_int8(&rows, 0, 0) : 0;
        *pruned += more;
        tally_params_free(&params);
    }
    return outcome;
}
