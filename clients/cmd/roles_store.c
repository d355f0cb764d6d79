// SPDX-License-Identifier: MIT
//  roles_store - see roles_store.h.

#include "clients/cmd/roles_store.h"

#include <stdlib.h>

#include "lib/alloc.h"

//  Roles belong to the cluster: they may be there from another database.
static const char make_roles[] =
    "do $$ declare r text; begin "
    "foreach r in array array['tally_owner', 'tally_broker', 'tally_worker', 'tally_reader'] loop "
    "if not exists (select from pg_catalog.pg_roles where rolname = r) then "
    "execute format('create role %I nologin noinherit', r); end if; end loop; end $$";

//  Sequences of identity columns go with their tables.
static const char own_all[] =
    "do $$ declare o record; begin "
    "execute 'alter schema tally owner to tally_owner'; "
    "for o in select format('alter table %s owner to tally_owner', c.oid::regclass) as sql "
    "from pg_catalog.pg_class c where c.relnamespace = 'tally'::regnamespace "
    "and c.relkind in ('r', 'p', 'v') "
    "union all select format('alter routine %s owner to tally_owner', p.oid::regprocedure) "
    "from pg_catalog.pg_proc p where p.pronamespace = 'tally'::regnamespace loop "
    "execute o.sql; end loop; end $$";

//  Exports into tables of this same database go to a schema of the workers'.
static const char export_schema[] =
    "create schema if not exists tally_export authorization tally_worker;"
    "alter schema tally_export owner to tally_worker;"
    "do $$ begin if to_regclass('tally_export.progress') is not null then "
    "execute 'alter table tally_export.progress owner to tally_worker'; end if; end $$";

static const char revoke_all[] =
    "revoke all on schema tally from public, tally_broker, tally_worker, tally_reader;"
    "revoke all on all tables in schema tally from public, tally_broker, tally_worker, "
    "tally_reader;"
    "revoke all on all sequences in schema tally from public, tally_broker, tally_worker, "
    "tally_reader;"
    "revoke all on all routines in schema tally from public, tally_broker, tally_worker, "
    "tally_reader;"
    "grant usage on schema tally to tally_broker, tally_worker, tally_reader;"
    "grant pg_read_all_stats to tally_broker";    // the oldest snapshot, and who stands by

static const struct {
    const char *rights, *on, *role;
} grants[] = {
    {"select", "tally.migration, tally.door, tally.principal", "tally_broker"},
    {"select, update", "tally.broker", "tally_broker"},
    {"select, insert, update", "tally.tenant, tally.queue, tally.term", "tally_broker"},
    {"select, insert, update, delete", "tally.message, tally.lease, tally.sender", "tally_broker"},
    {"select, insert, update, delete", "tally.dedupe, tally.result", "tally_broker"},
    {"select, insert, delete", "tally.tick, tally.blob, tally.dead_letter", "tally_broker"},
    {"select, update, delete", "tally.inbox", "tally_broker"},    // update: to lock its rows
    {"select, insert", "tally.audit", "tally_broker"},
    {"select, insert, delete", "tally.worker_key", "tally_broker"},
    {"select, insert", "tally.audit_result", "tally_broker"},
    {"execute", "function tally.tick_refused", "tally_broker"},

    {"select", "tally.migration, tally.tenant, tally.queue", "tally_worker"},
    {"select", "tally.message, tally.blob, tally.inbox", "tally_worker"},
    {"select", "tally.dead_letter, tally.exports", "tally_worker"},
    {"select, insert, update, delete", "tally.survey, tally.response, tally.statistic",
     "tally_worker"},
    {"select, insert, update, delete", "tally.recompute, tally.partial", "tally_worker"},
    {"select, insert, update, delete", "tally.export, tally.worker", "tally_worker"},
    {"execute", "function tally.send, tally.send_bytes, tally.settle", "tally_worker"},
    {"execute", "function tally.hold_term, tally.hold_lease", "tally_worker"},
    {"execute", "function tally.json_or_null", "tally_worker"},

    {"select", "tally.survey, tally.response, tally.statistic, tally.export", "tally_reader"},
    {"select", "tally.my_tenant_names", "tally_reader"},
    {"execute", "function tally.my_tenants", "tally_reader"},
};

//  Of the survey pipeline's tables alone: the broker's are not for people, and not for COPY with policies.
static const char *const guarded[] = {"survey", "response", "statistic", "export"};

static tally_db_outcome_t
guard(tally_db_t *db, const char *table)
{
    char *sql = tally_format(
        "alter table tally.%s enable row level security;"
        "drop policy if exists workers on tally.%s;"
        "drop policy if exists readers on tally.%s;"
        "create policy workers on tally.%s to tally_worker using (true) with check (true);"
        "create policy readers on tally.%s for select to tally_reader "
        "using (tenant in (select tally.my_tenants()))",
        table, table, table, table, table);
    tally_db_outcome_t outcome = tally_db_script(db, sql);
    free(sql);
    return outcome;
}

static tally_db_outcome_t
run_all(tally_db_t *db)
{
    static const char *const scripts[] = {make_roles, own_all, export_schema, revoke_all};
    tally_db_outcome_t outcome = TALLY_DB_DONE;
    for (size_t i = 0; outcome == TALLY_DB_DONE && i < sizeof scripts / sizeof scripts[0]; i++) {
        outcome = tally_db_script(db, scripts[i]);
    }
    for (size_t i = 0; outcome == TALLY_DB_DONE && i < sizeof grants / sizeof grants[0]; i++) {
        char *sql = tally_format("grant %s on %s to %s", grants[i].rights, grants[i].on,
                                 grants[i].role);
        outcome = tally_db_script(db, sql);
        free(sql);
    }
    for (size_t i = 0; outcome == TALLY_DB_DONE && i < sizeof guarded / sizeof guarded[0]; i++) {
        outcome = guard(db, guarded[i]);
    }
    return outcome;
}

tally_db_outcome_t
tally_roles_store_apply(tally_db_t *db)
{
    tally_db_outcome_t outcome = tally_db_begin(db, TALLY_DB_READ_COMMITTED);
    if (outcome == TALLY_DB_DONE) {
        outcome = run_all(db);
    }
    if (outcome == TALLY_DB_DONE) {
        return tally_db_commit(db);
    }
    return outcome;    // the caller rolls back: the error is to be read first
}
