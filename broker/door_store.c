// SPDX-License-Identifier: MIT
//  door_store - see door_store.h.

#include "broker/door_store.h"

#include <stdlib.h>

#include "lib/alloc.h"

struct tally_door_store {
    tally_db_t *db;
};

tally_door_store_t *
tally_door_store_new(const char *conninfo)
{
    tally_door_store_t *self = tally_alloc(sizeof *self);
    self->db = tally_db_new(conninfo, "tallyd-door");
    return self;
}

void
tally_door_store_destroy(tally_door_store_t **self_p)
{
    tally_door_store_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_db_destroy(&self->db);
    free(self);
    *self_p = NULL;
}

const char *
tally_door_store_error(const tally_door_store_t *self)
{
    return tally_db_error(self->db);
}

//  One statement; a connection that died unused is made anew once.  For what is read, and for what may be there twice.
static tally_db_outcome_t
run(tally_door_store_t *self, const char *sql, const tally_params_t *params, tally_rows_t *rows)
{
    tally_db_outcome_t outcome = TALLY_DB_RETRY;
    for (int attempt = 0; attempt < 2 && outcome == TALLY_DB_RETRY; attempt++) {
        outcome = tally_db_connect(self->db);
        if (outcome == TALLY_DB_DONE) {
            outcome = tally_db_run(self->db, sql, params, rows);
        }
        if (outcome == TALLY_DB_UNKNOWN) {
            outcome = TALLY_DB_RETRY;
        }
        if (tally_db_connected(self->db)) {
            break;
        }
    }
    return outcome;
}

//  ---- principals ----------------------------------------------------------------------------------

//  The words of a comma separated list; the array is the caller's.
static size_t
split(tally_bytes_t list, tally_bytes_t **words)
{
    const char *at = list.data;
    const char *end = at + list.size;
    size_t count = 0, room = 8;
    *words = tally_alloc_array(room, sizeof **words);
    while (list.size > 0 && at <= end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        if (count == room) {
            room *= 2;
            *words = tally_realloc_array(*words, room, sizeof **words);
        }
        (*words)[count++] = (tally_bytes_t){at, (size_t)(stop - at)};
        at = stop + 1;
    }
    return count;
}

static void
copy_text(char *out, size_t room, tally_bytes_t text)
{
    size_t size = text.size < room - 1 ? text.size : room - 1;
    memcpy(out, text.data, size);
    out[size] = '\0';
}

static void
decode_scope(tally_scope_t *scope, tally_bytes_t list)
{
    tally_bytes_t *words;
    size_t count = split(list, &words);
    tally_scope_set(scope, words, count);
    free(words);
}

static void
decode(const tally_rows_t *rows, int row, tally_principal_t *principal)
{
    copy_text(principal->key, sizeof principal->key, tally_rows_bytes(rows, row, 0));
    copy_text(principal->name, sizeof principal->name, tally_rows_bytes(rows, row, 1));
    principal->role = tally_principal_role(tally_rows_bytes(rows, row, 2));
    decode_scope(&principal->tenants, tally_rows_bytes(rows, row, 3));
    decode_scope(&principal->queues, tally_rows_bytes(rows, row, 4));
    tally_bytes_t *rights;
    size_t count = split(tally_rows_bytes(rows, row, 5), &rights);
    for (size_t i = 0; i < count; i++) {
        principal->rights |= tally_principal_right(rights[i]);
    }
    free(rights);
    principal->dies_at_ms = tally_rows_null(rows, row, 6) ? INT64_MAX
                                                          : tally_rows_int8(rows, row, 6);
    tally_principal_seal(principal);
}

//  The version is read before the principals: what changes in between is read again the next time.
tally_db_outcome_t
tally_door_store_load(tally_door_store_t *self, int64_t known, tally_principal_list_t *list)
{
    static const char version_sql[] = "select version from tally.door";
    static const char principals_sql[] =
        "select key, name, role, array_to_string(tenants, ','), array_to_string(queues, ','), "
        "array_to_string(rights, ','), "
        "(extract(epoch from not_after - clock_timestamp()) * 1000)::bigint "
        "from tally.principal where revoked_at is null order by id";
    tally_rows_t rows;
    *list = (tally_principal_list_t){0};
    tally_db_outcome_t outcome = run(self, version_sql, NULL, &rows);
    if (outcome != TALLY_DB_DONE) {
        return outcome;
    }
    list->version = tally_rows_int8(&rows, 0, 0);
    if (list->version == known) {
        return TALLY_DB_DONE;
    }
    outcome = run(self, principals_sql, NULL, &rows);
    if (outcome != TALLY_DB_DONE) {
        return outcome;
    }
    list->changed = true;
    list->count = (size_t)rows.rows;
    list->principals = tally_alloc_array(list->count, sizeof *list->principals);
    for (int i = 0; i < rows.rows; i++) {
        decode(&rows, i, &list->principals[i]);
    }
    return TALLY_DB_DONE;
}

void
tally_principal_list_free(tally_principal_list_t *list)
{
    for (size_t i = 0; i < list->count; i++) {
        tally_principal_free(&list->principals[i]);
    }
    free(list->principals);
    *list = (tally_principal_list_t){0};
}

//  ---- workers -------------------------------------------------------------------------------------

tally_db_outcome_t
tally_door_store_add_worker(tally_door_store_t *self, uint64_t number, const char *key)
{
    static const char sql[] = "insert into tally.worker_key (number, key) values ($1, $2) "
                              "on conflict (number) do nothing";
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)number);
    tally_params_text(&params, tally_bytes_of(key));
    tally_db_outcome_t outcome = run(self, sql, &params, NULL);
    tally_params_free(&params);
    return outcome;
}

tally_db_outcome_t
tally_door_store_workers(tally_door_store_t *self, tally_worker_key_fn *fn, void *context)
{
    static const char forget[] = "delete from tally.worker_key k where not exists "
                                 "(select from tally.lease l where l.worker = k.number)";
    static const char read[] = "select number, key from tally.worker_key";
    tally_rows_t rows;
    tally_db_outcome_t outcome = run(self, forget, NULL, NULL);
    if (outcome == TALLY_DB_DONE) {
        outcome = run(self, read, NULL, &rows);
    }
    for (int i = 0; outcome == TALLY_DB_DONE && i < rows.rows; i++) {
        fn(context, (uint64_t)tally_rows_int8(&rows, i, 0), tally_rows_bytes(&rows, i, 1));
    }
    return outcome;
}

//  ---- audit ---------------------------------------------------------------------------------------

tally_db_outcome_t
tally_door_store_audit(tally_door_store_t *self, const tally_audit_t *audit, int64_t *id)
{
    static const char sql[] = "insert into tally.audit (who, key, action, request) "
                              "values ($1, nullif($2, ''), $3, $4) returning id";
    tally_params_t params = {0};
    tally_params_text(&params, tally_bytes_of(audit->who));
    tally_params_text(&params, tally_bytes_of(audit->key));
    tally_params_text(&params, tally_bytes_of(audit->action));
    tally_params_text(&params, tally_bytes_of(audit->request));
    tally_rows_t rows;
    tally_db_outcome_t outcome = run(self, sql, &params, &rows);
    tally_params_free(&params);
    if (outcome == TALLY_DB_DONE) {
        *id = tally_rows_int8(&rows, 0, 0);
    }
    return outcome;
}

tally_db_outcome_t
tally_door_store_audit_result(tally_door_store_t *self, int64_t id, const char *result)
{
    static const char sql[] = "insert into tally.audit_result (audit, result) values ($1, $2) "
                              "on conflict (audit) do nothing";
    tally_params_t params = {0};
    tally_params_int8(&params, id);
    tally_params_text(&params, tally_bytes_of(result));
    tally_db_outcome_t outcome = run(self, sql, &params, NULL);
    tally_params_free(&params);
    return outcome;
}
