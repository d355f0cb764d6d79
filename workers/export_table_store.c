// SPDX-License-Identifier: MIT
#include "workers/export_table_store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/failpoint.h"

//  Waiting for who reads the old table holds up everybody who comes after; not for longer than
//  this.
#define SETTINGS "set local lock_timeout = '1s'; set local standard_conforming_strings = on"

struct tally_export_table {
    tally_db_t *db;
    const char *tenant, *survey;
    const tally_columns_t *columns;
    uint64_t id, lease;
    char name[TALLY_IDENTIFIER_BYTES_MAX + 1];
    char *target;    // quoted, with schema
    char *aside;     // quoted, with schema
    char *aside_name;
    bool published;    // by an earlier lease
    char *error;       // never NULL
};

//  ---- small ones --------------------------------------------------------------------------------

static void
put_text(tally_wire_t *sql, const char *text)
{
    tally_wire_put_raw(sql, tally_bytes_of(text));
}

static void
put_quoted(tally_wire_t *sql, const char *text, char quote)
{
    tally_wire_put_u8(sql, (uint8_t)quote);
    for (; *text != '\0'; text++) {
        if (*text == quote) {
            tally_wire_put_u8(sql, (uint8_t)quote);
        }
        tally_wire_put_u8(sql, (uint8_t)*text);
    }
    tally_wire_put_u8(sql, (uint8_t)quote);
}

//  Ends a statement's text; the caller frees it.
static char *
take_text(tally_wire_t *sql)
{
    tally_wire_put_u8(sql, '\0');
    return (char *)sql->data;
}

static char *
qualified(const char *name)
{
    tally_wire_t text = {0};
    put_text(&text, "tally_export.");
    put_quoted(&text, name, '"');
    return take_text(&text);
}

static tally_export_answer_t
conclude(tally_export_table_t *self, tally_db_outcome_t outcome)
{
    if (outcome == TALLY_DB_DONE) {
        return TALLY_EXPORT_OK;
    }
    free(self->error);
    self->error = tally_strdup(tally_db_error(self->db));
    if (strcmp(tally_db_sqlstate(self->db), "55P03") == 0) {
        return TALLY_EXPORT_BLOCKED;    // the lock's time was over
    }
    return outcome == TALLY_DB_REJECT ? TALLY_EXPORT_FAULT : TALLY_EXPORT_AWAY;
}

static tally_export_answer_t
run(tally_export_table_t *self, const char *sql, tally_params_t *params, tally_rows_t *rows)
{
    tally_db_outcome_t outcome = tally_db_run(self->db, sql, params, rows);
    tally_params_free(params);
    return conclude(self, outcome);
}

//  Takes the text.
static tally_export_answer_t
run_text(tally_export_table_t *self, char *sql)
{
    tally_db_outcome_t outcome = tally_db_script(self->db, sql);
    free(sql);
    return conclude(self, outcome);
}

static tally_export_answer_t
begin(tally_export_table_t *self)
{
    return conclude(self, tally_db_begin(self->db, TALLY_DB_READ_COMMITTED));
}

//  Ends the transaction one way or the other.
static tally_export_answer_t
end(tally_export_table_t *self, tally_export_answer_t answer)
{
    if (answer == TALLY_EXPORT_OK) {
        TALLY_FAILPOINT(WORK_COMMIT);
        answer = conclude(self, tally_db_commit(self->db));
        TALLY_FAILPOINT(WORK_COMMITTED);
    }
    if (answer != TALLY_EXPORT_OK) {
        tally_db_rollback(self->db);
    }
    return answer;
}

tally_export_table_t *
tally_export_table_new(tally_db_t *target, const char *tenant, const char *survey, uint64_t id,
                       const tally_columns_t *columns)
{
    tally_export_table_t *self = tally_alloc(sizeof *self);
    self->db = target;
    self->tenant = tenant;
    self->survey = survey;
    self->columns = columns;
    self->id = id;
    tally_export_table_name(self->name, tenant, survey);
    self->target = qualified(self->name);
    self->aside_name = tally_format("~%" PRIu64, id);
    self->aside = qualified(self->aside_name);
    self->error = tally_strdup("");
    return self;
}

void
tally_export_table_destroy(tally_export_table_t **self_p)
{
    tally_export_table_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    free(self->target);
    free(self->aside);
    free(self->aside_name);
    free(self->error);
    free(self);
    *self_p = NULL;
}

const char *
tally_export_table_target(const tally_export_table_t *self)
{
    return self->target;
}

const char *
tally_export_table_error(const tally_export_table_t *self)
{
    return self->error;
}

//  ---- opening -----------------------------------------------------------------------------------

//  The schema and the checkpoints.  Workers may come here at the same time, and `if not exists`
//  does not wait.
static tally_export_answer_t
require_schema(tally_export_table_t *self)
{
    static const char look[] = "select to_regclass('tally_export.progress') is not null";
    //  Asked first: to make one `if not exists` needs the right to make one that is missing.
    static const char look_schema[] = "select to_regnamespace('tally_export') is not null";
    static const char lock[] = "select pg_advisory_xact_lock(hashtextextended('tally_export', 0))";
    tally_params_t none = {0};
    tally_rows_t rows;
    tally_export_answer_t answer = run(self, look, &none, &rows);
    if (answer != TALLY_EXPORT_OK || tally_rows_bool(&rows, 0, 0)) {
        return answer;
    }
    answer = begin(self);
    if (answer == TALLY_EXPORT_OK) {
        answer = run(self, lock, &none, NULL);
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = run(self, look_schema, &none, &rows);
    }
    if (answer == TALLY_EXPORT_OK && !tally_rows_bool(&rows, 0, 0)) {
        answer = conclude(self, tally_db_script(self->db, "create schema tally_export"));
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = conclude(
            self, tally_db_script(
                      self->db,
                      "create table if not exists tally_export.progress ("
                      "  export bigint primary key, lease bigint not null, tenant text not null,"
                      "  survey text not null, table_name text not null,"
                      "  rows bigint not null default 0, last_number bigint not null default 0,"
                      "  done boolean not null default false, finished_at timestamptz);"
                      "comment on table tally_export.progress is"
                      "  'which table holds which export, and how far the running ones are'"));
    }
    return end(self, answer);
}

static const char *
column_type(tally_column_kind_t kind)
{
    switch (kind) {
    case TALLY_COLUMN_NUMBER:
        return " numeric";
    case TALLY_COLUMN_LIST:
        return " text[]";
    case TALLY_COLUMN_TEXT:
        break;
    }
    return " text";
}

static tally_export_answer_t
create_aside(tally_export_table_t *self)
{
    tally_wire_t sql = {0};
    put_text(&sql, "drop table if exists ");
    put_text(&sql, self->aside);
    put_text(&sql, "; create table ");
    put_text(&sql, self->aside);
    put_text(&sql, " (response_id text primary key");
    for (size_t i = 0; i < self->columns->count; i++) {
        char name[TALLY_IDENTIFIER_BYTES_MAX + 1];
        tally_export_column_name(name, self->columns->columns[i].question);
        put_text(&sql, ", ");
        put_quoted(&sql, name, '"');
        put_text(&sql, column_type(self->columns->columns[i].kind));
    }
    put_text(&sql, ")");
    return run_text(self, take_text(&sql));
}

//  The checkpoint's row becomes ours, unless a later lease has it.
static tally_export_answer_t
take_over(tally_export_table_t *self, tally_table_checkpoint_t *checkpoint)
{
    static const char sql[] =
        "insert into tally_export.progress as p (export, lease, tenant, survey, table_name)"
        " values ($1, $2, $3, $4, $5)"
        " on conflict (export) do update set lease = excluded.lease where p.lease <= excluded.lease"
        " returning p.rows, p.last_number, p.done";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_int8(&params, (int64_t)self->id);
    tally_params_int8(&params, (int64_t)self->lease);
    tally_params_text(&params, tally_bytes_of(self->tenant));
    tally_params_text(&params, tally_bytes_of(self->survey));
    tally_params_text(&params, tally_bytes_of(self->name));
    tally_export_answer_t answer = run(self, sql, &params, &rows);
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    if (rows.rows == 0) {
        return TALLY_EXPORT_STALE;
    }
    checkpoint->rows = tally_rows_int8(&rows, 0, 0);
    checkpoint->last_number = tally_rows_int8(&rows, 0, 1);
    checkpoint->published = tally_rows_bool(&rows, 0, 2);
    return TALLY_EXPORT_OK;
}

tally_export_answer_t
tally_export_table_open(tally_export_table_t *self, uint64_t lease,
                        tally_table_checkpoint_t *checkpoint)
{
    self->lease = lease;
    tally_export_answer_t answer = require_schema(self);
    if (answer == TALLY_EXPORT_OK) {
        answer = begin(self);
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = take_over(self, checkpoint);
    }
    if (answer == TALLY_EXPORT_OK && checkpoint->rows == 0 && !checkpoint->published) {
        answer = create_aside(self);
    }
    self->published = answer == TALLY_EXPORT_OK && checkpoint->published;
    return end(self, answer);
}

//  ---- rows --------------------------------------------------------------------------------------

//  The answer to one question, out of the answers a.
static void
put_answer(tally_wire_t *sql, const tally_column_t *column)
{
    switch (column->kind) {
    case TALLY_COLUMN_TEXT:
        put_text(sql, ", a ->> ");
        put_quoted(sql, column->question, '\'');
        break;
    case TALLY_COLUMN_NUMBER:
        put_text(sql, ", (a ->> ");
        put_quoted(sql, column->question, '\'');
        put_text(sql, ")::numeric");
        break;
    case TALLY_COLUMN_LIST:
        put_text(sql, ", case when a ? ");
        put_quoted(sql, column->question, '\'');
        put_text(sql, " then array(select jsonb_array_elements_text(a -> ");
        put_quoted(sql, column->question, '\'');
        put_text(sql, ")) end");
        break;
    }
}

//  The client sends responses as they are and PostgreSQL takes them apart: one statement, so that a
//  client that stops in the middle is in nobody's way for longer than a transaction may be idle.
//  COPY would wait for it.
static char *
insert_text(const tally_export_table_t *self)
{
    tally_wire_t sql = {0};
    put_text(&sql, "insert into ");
    put_text(&sql, self->aside);
    put_text(&sql, " select id");
    for (size_t i = 0; i < self->columns->count; i++) {
        put_answer(&sql, &self->columns->columns[i]);
    }
    //  `offset 0`: each body is parsed once, not once a column
    put_text(&sql, " from (select b ->> 'response_id' as id, b -> 'answers' as a from"
                   " (select convert_from(u.body, 'UTF8')::jsonb as b from unnest($1) u (body)"
                   "  offset 0) p offset 0) r");
    return take_text(&sql);
}

static tally_export_answer_t
insert_rows(tally_export_table_t *self, const tally_bytes_t *bodies, size_t count)
{
    tally_params_t params = {0};
    tally_params_byteas(&params, bodies, count);
    char *sql = insert_text(self);
    PGresult *result = PQexecParams(tally_db_handle(self->db), sql, params.count, params.types,
                                    params.values, params.lengths, params.formats, 1);
    tally_export_answer_t answer = TALLY_EXPORT_OK;
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        free(self->error);
        self->error = tally_strdup(text != NULL ? text : PQerrorMessage(tally_db_handle(self->db)));
        answer = tally_db_classify(sqlstate) == TALLY_DB_REJECT ? TALLY_EXPORT_FAULT
                                                                : TALLY_EXPORT_AWAY;
    }
    PQclear(result);
    tally_params_free(&params);
    free(sql);
    return answer;
}

tally_export_answer_t
tally_export_table_append(tally_export_table_t *self, const tally_bytes_t *bodies, size_t count,
                          int64_t last_number)
{
    static const char sql[] =
        "update tally_export.progress p set rows = p.rows + $3, last_number = $4"
        " where p.export = $1 and p.lease = $2 and not p.done returning p.rows";
    tally_export_answer_t answer = begin(self);
    if (answer != TALLY_EXPORT_OK) {
        return end(self, answer);
    }
    tally_params_t params = {0};
    tally_rows_t moved;
    tally_params_int8(&params, (int64_t)self->id);
    tally_params_int8(&params, (int64_t)self->lease);
    tally_params_int8(&params, (int64_t)count);
    tally_params_int8(&params, last_number);
    answer = run(self, sql, &params, &moved);
    if (answer == TALLY_EXPORT_OK && moved.rows == 0) {
        answer = TALLY_EXPORT_STALE;
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = insert_rows(self, bodies, count);
    }
    return end(self, answer);
}

//  ---- in place ----------------------------------------------------------------------------------

//  One at a time for a table, and only by who has the checkpoint.  *newer: a later export is in
//  place already.
static tally_export_answer_t
mark_done(tally_export_table_t *self, bool *newer)
{
    static const char lock[] = "select pg_advisory_xact_lock(hashtextextended($1, 1))";
    static const char mark[] =
        "update tally_export.progress p set done = true, finished_at = clock_timestamp()"
        " where p.export = $1 and p.lease = $2 returning exists (select from tally_export.progress "
        "n"
        "   where n.table_name = p.table_name and n.export > p.export and n.done)";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(self->name));
    tally_export_answer_t answer = run(self, lock, &params, NULL);
    if (answer != TALLY_EXPORT_OK) {
        return answer;
    }
    tally_params_int8(&params, (int64_t)self->id);
    tally_params_int8(&params, (int64_t)self->lease);
    answer = run(self, mark, &params, &rows);
    if (answer == TALLY_EXPORT_OK && rows.rows == 0) {
        return TALLY_EXPORT_STALE;
    }
    *newer = answer == TALLY_EXPORT_OK && tally_rows_bool(&rows, 0, 0);
    return answer;
}

//  Appends `grant ...` for who may use the table that is in place now.
static tally_export_answer_t
put_grants(tally_export_table_t *self, tally_wire_t *sql)
{
    static const char read[] =
        "select format('; grant %s on table %s to %s%s', a.privilege_type, $1,"
        "              case when a.grantee = 0 then 'public' else quote_ident(r.rolname) end,"
        "              case when a.is_grantable then ' with grant option' else '' end)"
        " from pg_class c, aclexplode(c.relacl) a left join pg_roles r on r.oid = a.grantee"
        " where c.oid = to_regclass($1) and a.grantee <> c.relowner"
        "   and (a.grantee = 0 or r.rolname is not null)";
    tally_params_t params = {0};
    tally_rows_t rows;
    tally_params_text(&params, tally_bytes_of(self->target));
    tally_export_answer_t answer = run(self, read, &params, &rows);
    for (int i = 0; answer == TALLY_EXPORT_OK && i < rows.rows; i++) {
        tally_wire_put_raw(sql, tally_rows_bytes(&rows, i, 0));
    }
    return answer;
}

//  The comment of a column is its question's id where the name could not be.
static void
put_comments(const tally_export_table_t *self, tally_wire_t *sql)
{
    char *text = tally_format("survey %s of tenant %s, export %" PRIu64, self->survey, self->tenant,
                              self->id);
    put_text(sql, "; comment on table ");
    put_text(sql, self->target);
    put_text(sql, " is ");
    put_quoted(sql, text, '\'');
    free(text);
    for (size_t i = 0; i < self->columns->count; i++) {
        const char *question = self->columns->columns[i].question;
        char name[TALLY_IDENTIFIER_BYTES_MAX + 1];
        tally_export_column_name(name, question);
        if (strcmp(name, question) != 0) {
            put_text(sql, "; comment on column ");
            put_text(sql, self->target);
            put_text(sql, ".");
            put_quoted(sql, name, '"');
            put_text(sql, " is ");
            put_quoted(sql, question, '\'');
        }
    }
}

static tally_export_answer_t
exchange(tally_export_table_t *self)
{
    static const char forget[] =
        "delete from tally_export.progress p where p.table_name = $1 and p.export < $2 and p.done";
    tally_wire_t sql = {0};
    put_text(&sql, "drop table if exists ");
    put_text(&sql, self->target);
    put_text(&sql, "; alter table ");
    put_text(&sql, self->aside);
    put_text(&sql, " rename to ");
    put_quoted(&sql, self->name, '"');
    put_comments(self, &sql);
    tally_export_answer_t answer = put_grants(self, &sql);
    if (answer == TALLY_EXPORT_OK) {
        answer = run_text(self, take_text(&sql));
    } else {
        tally_wire_free(&sql);
    }
    if (answer == TALLY_EXPORT_OK) {
        tally_params_t params = {0};
        tally_params_text(&params, tally_bytes_of(self->name));
        tally_params_int8(&params, (int64_t)self->id);
        answer = run(self, forget, &params, NULL);
    }
    return answer;
}

static tally_export_answer_t
drop_aside(tally_export_table_t *self)
{
    return run_text(self, tally_format("drop table if exists %s", self->aside));
}

tally_export_answer_t
tally_export_table_publish(tally_export_table_t *self, uint64_t *bytes)
{
    static const char size[] = "select coalesce(pg_table_size(to_regclass($1)), 0)";
    bool newer = false;
    tally_export_answer_t answer = begin(self);
    if (answer == TALLY_EXPORT_OK) {
        answer = conclude(self, tally_db_script(self->db, SETTINGS));
    }
    if (answer == TALLY_EXPORT_OK) {
        answer = mark_done(self, &newer);
    }
    if (answer == TALLY_EXPORT_OK && !self->published) {
        answer = newer ? drop_aside(self) : exchange(self);
    }
    if (answer == TALLY_EXPORT_OK) {
        tally_params_t params = {0};
        tally_rows_t rows;
        tally_params_text(&params, tally_bytes_of(self->target));
        answer = run(self, size, &params, &rows);
        *bytes = answer == TALLY_EXPORT_OK ? (uint64_t)tally_rows_int8(&rows, 0, 0) : 0;
    }
    return end(self, answer);
}

tally_export_answer_t
tally_export_table_discard(tally_export_table_t *self)
{
    static const char forget[] =
        "delete from tally_export.progress p where p.export = $1 and p.lease <= $2 and not p.done"
        " returning p.export";
    if (self->lease == 0) {
        return TALLY_EXPORT_OK;
    }
    tally_export_answer_t answer = begin(self);
    if (answer == TALLY_EXPORT_OK) {
        tally_params_t params = {0};
        tally_rows_t rows;
        tally_params_int8(&params, (int64_t)self->id);
        tally_params_int8(&params, (int64_t)self->lease);
        answer = run(self, forget, &params, &rows);
        if (answer == TALLY_EXPORT_OK && rows.rows == 1) {
            answer = drop_aside(self);
        }
    }
    return end(self, answer);
}
