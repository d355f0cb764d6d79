// SPDX-License-Identifier: MIT
//  The database's roles: the whole pipeline runs under them, and what they were not given is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/db.h"
#include "tests/integration/instance.h"

#define DENIED "42501"

struct fixture {
    tally_instance_t *instance;
    PGconn *owner, *broker, *worker, *reader;    // the owner: who made the cluster
};

static PGconn *
login(struct fixture *f, const char *user)
{
    char *conninfo = tally_format("%s user=%s", tally_instance_conninfo(f->instance), user);
    PGconn *handle = PQconnectdb(conninfo);
    free(conninfo);
    assert_int_equal(PQstatus(handle), CONNECTION_OK);
    return handle;
}

//  The SQLSTATE, "" when it was done.
static const char *
state_of(PGconn *handle, const char *sql)
{
    static char state[6];
    PGresult *result = PQexec(handle, sql);
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    snprintf(state, sizeof state, "%s", code == NULL ? "" : code);
    PQclear(result);
    if (PQtransactionStatus(handle) != PQTRANS_IDLE) {
        PQclear(PQexec(handle, "rollback"));
    }
    return state;
}

static void
must(PGconn *handle, const char *sql)
{
    PGresult *result = PQexec(handle, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        fail_msg("%s: %s", sql, PQresultErrorMessage(result));
    }
    PQclear(result);
}

static char *
text_of(PGconn *handle, const char *sql)
{
    PGresult *result = PQexec(handle, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) == 0) {
        fail_msg("%s: %s", sql, PQresultErrorMessage(result));
    }
    char *text = tally_strdup(PQgetvalue(result, 0, 0));
    PQclear(result);
    return text;
}

static void
write_conf(struct fixture *f)
{
    char *path = tally_format("%s/tally.conf", tally_instance_dir(f->instance));
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    const char *conninfo = tally_instance_conninfo(f->instance);
    fprintf(file, "db = \"%s user=t_worker\"\n",
            conninfo);    // of [export], the file's last section
    static const char *const roles[] = {"responses", "statistics", "heartbeat"};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        fprintf(file, "[%s]\ndb = \"%s user=t_worker\"\n", roles[i], conninfo);
    }
    fprintf(file, "[tallyd]\ndb = \"%s user=t_broker\"\n", conninfo);
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void
start(struct fixture *f)
{
    tally_instance_must(f->instance, "up", "--workers",
                        "responses=1,statistics=1,export=1,heartbeat=1", "--statistics-window", "0",
                        NULL);
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    start(f);
    tally_instance_must(f->instance, "db", "roles", NULL);
    f->owner = login(f, "tally");
    must(f->owner, "create role t_broker login in role tally_broker;"
                   "create role t_worker login in role tally_worker;"
                   "create role t_reader login in role tally_reader");
    PQfinish(f->owner);
    f->owner = NULL;
    tally_instance_must(f->instance, "down", NULL);
    write_conf(f);
    start(f);
    f->owner = login(f, "tally");
    f->broker = login(f, "t_broker");
    f->worker = login(f, "t_worker");
    f->reader = login(f, "t_reader");
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    PQfinish(f->owner);
    PQfinish(f->broker);
    PQfinish(f->worker);
    PQfinish(f->reader);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

//  ---- what they can -----------------------------------------------------------------------------------------

static char *
write_file(struct fixture *f, const char *name, const char *text)
{
    char *path = tally_format("%s/%s", tally_instance_dir(f->instance), name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void
run_survey(struct fixture *f, const char *tenant)
{
    char *survey = write_file(f, "s.survey.json",
                              "{\"slug\":\"s\",\"title\":\"S\",\"questions\":[{\"id\":\"q\","
                              "\"type\":\"choice\",\"text\":\"?\",\"choices\":[\"a\",\"b\"]}]}");
    char *responses =
        write_file(f, "s.responses.ndjson",
                   "{\"response_id\":\"1\",\"survey\":\"s\",\"answers\":{\"q\":\"a\"}}\n"
                   "{\"response_id\":\"2\",\"survey\":\"s\",\"answers\":{\"q\":\"b\"}}\n");
    tally_instance_must(f->instance, "survey", "put", survey, "-t", tenant, NULL);
    tally_instance_must(f->instance, "submit", responses, "-t", tenant, NULL);
    tally_instance_must(f->instance, "statistics", "refresh", "-t", tenant, "--wait", NULL);
    tally_instance_must(f->instance, "statistics", "recompute", "-s", "s", "-t", tenant, NULL);
    tally_instance_must(f->instance, "export", "s", "-t", tenant, "--format", "csv", "--wait",
                        NULL);
    tally_instance_must(f->instance, "export", "s", "-t", tenant, "--format", "table", "--wait",
                        NULL);
    tally_instance_must(f->instance, "export", "ls", "-t", tenant, NULL);
    free(survey);
    free(responses);
}

static void
the_whole_pipeline_runs_under_them(void **state)
{
    struct fixture *f = *state;
    run_survey(f, "acme");
    run_survey(f, "beta");
    tally_instance_must(f->instance, "queue", "put", "mail", NULL);
    tally_instance_must(f->instance, "tenant", "put", "acme", "--weight", "3", NULL);
    tally_instance_must(f->instance, "send", "mail", "-t", "acme", "hello", NULL);
    //  A restart reads everything; a broker that is killed leaves a successor everything to read.
    pid_t before = tally_instance_signal(f->instance, "tallyd", 9);
    tally_instance_await_another(f->instance, "tallyd", before, 20000);
    tally_instance_must(f->instance, "status", NULL);
    char *users = text_of(f->owner,
                          "select string_agg(distinct usename, ' ' order by usename) from "
                          "pg_stat_activity where application_name ~ "
                          "'^(tallyd|responses|statistics|export|heartbeat)'");
    assert_string_equal(users, "t_broker t_worker");
    free(users);
}

static void
a_reader_sees_its_tenants_alone(void **state)
{
    struct fixture *f = *state;
    static const char *const tables[] = {"survey", "response", "statistic", "export"};
    must(f->owner, "insert into tally.reader select 't_reader', id from tally.tenant "
                   "where name = 'acme'");
    char *names = text_of(f->reader, "select string_agg(name, ' ') from tally.my_tenant_names");
    assert_string_equal(names, "acme");
    free(names);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        char *all = tally_format("select count(distinct tenant) from tally.%s", tables[i]);
        char *seen = text_of(f->reader, all);
        char *there = text_of(f->owner, all);
        assert_string_equal(seen, "1");
        assert_string_equal(there, "2");
        free(all);
        free(seen);
        free(there);
    }
    //  Not by another name either: the login counts.
    must(f->owner, "create role t_other login in role tally_reader; grant t_reader to t_other");
    PGconn *other = login(f, "t_other");
    must(other, "set role t_reader");
    char *seen = text_of(other, "select count(*) from tally.response");
    PQfinish(other);
    assert_string_equal(seen, "0");
    free(seen);
}

//  ---- what they cannot --------------------------------------------------------------------------------------

static void
deny(PGconn *handle, const char *const *statements)
{
    for (; *statements != NULL; statements++) {
        const char *state = state_of(handle, *statements);
        if (strcmp(state, DENIED) != 0) {
            fail_msg("%s: \"%s\" instead of denied", *statements, state);
        }
    }
}

static void
a_worker_settles_by_the_function_and_not_otherwise(void **state)
{
    struct fixture *f = *state;
    static const char *const statements[] = {
        "delete from tally.message",
        "update tally.message set body = ''",
        "insert into tally.message (tenant, id, queue, body) values (1, 1, 1, '')",
        "truncate tally.message",
        "select * from tally.message for update",
        "delete from tally.lease",
        "update tally.lease set deadline = now()",
        "update tally.lease set messages = '{}'",
        "select * from tally.lease",
        "select * from tally.lease for share",
        "do $$ begin lock table tally.message in row exclusive mode; end $$",
        "do $$ begin lock table tally.lease in access share mode; end $$",
        "delete from tally.blob",
        "insert into tally.result values (gen_random_uuid(), 1, 1, 1, 1, '', now())",
        "select * from tally.result",
        "delete from tally.dead_letter",
        "insert into tally.inbox (tenant, queue, priority, body) values (1, 1, 1, '')",
        "delete from tally.inbox",
        "select * from tally.sender",
        "update tally.term set worker = 1",
        "select * from tally.term",
        "update tally.broker set epoch = epoch + 1",
        "insert into tally.tick values (1, 1)",
        "select tally.tick_refused(1)",
        "update tally.tenant set weight = 1",
        "insert into tally.queue (name) values ('mine')",
        "select * from tally.principal",
        "insert into tally.principal (name) values ('mine')",
        "update tally.door set version = 0",
        "insert into tally.audit (who, action, request) values ('a', 'b', 'c')",
        "delete from tally.audit",
        "select tally.prune_audit(now(), 1)",
        "insert into tally.reader values ('t_worker', 1)",
        "update tally.migration set version = 99",
        "set role tally_owner",
        "set role tally_broker",
        "set role tally",
        "set session authorization tally",
        "create table tally.mine (a integer)",
        "create function tally.mine() returns integer language sql as 'select 1'",
        ("create or replace function tally.my_tenants() returns setof integer language sql as "
         "'select 1'"),
        ("create trigger mine before insert on tally.message execute function "
         "suppress_redundant_updates_trigger()"),
        "alter table tally.message disable trigger all",
        "alter function tally.settle owner to t_worker",
        "alter table tally.response disable row level security",
        "drop policy readers on tally.response",
        "drop table tally.response",
        "grant tally_owner to t_worker",
        "create role mine",
        "create schema mine",
        "create table public.tally_mine (a integer)",
        "copy (select 1) to program 'true'",
        NULL,
    };
    deny(f->worker, statements);
    assert_string_equal(state_of(f->worker, "select tally.settle(1)"), "TY001");
    assert_string_equal(state_of(f->worker, "select tally.send('mail', 'acme', 'x')"), "");
}

//  Functions run as the owner: what the caller puts into its own search path must not be found by them.
static void
a_search_path_of_the_caller_changes_nothing(void **state)
{
    struct fixture *f = *state;
    must(f->worker, "create temp table message (id bigint); create temp table lease (id bigint, "
                    "messages bigint[]); insert into lease values (1, '{1}');"
                    "create temp table queue (id integer, name text)");
    must(f->worker, "set search_path = pg_temp, tally, public");
    assert_string_equal(state_of(f->worker, "select tally.settle(1)"), "TY001");
    assert_string_equal(state_of(f->worker, "select tally.send('there-is-none', 'acme', 'x')"),
                        "TY003");
    must(f->worker, "reset search_path");
    char *loose = text_of(f->owner,
                          "select count(*) from pg_proc p join pg_namespace n on n.oid = "
                          "p.pronamespace where n.nspname = 'tally' and p.prosecdef and not "
                          "coalesce(array_to_string(p.proconfig, ' '), '') like "
                          "'%search_path=pg_catalog, pg_temp%'");
    char *owners = text_of(f->owner, "select string_agg(distinct p.proowner::regrole::text, ' ') "
                                     "from pg_proc p where p.pronamespace = 'tally'::regnamespace");
    char *open = text_of(
        f->owner, "select count(*) from pg_proc p cross join lateral aclexplode("
                  "coalesce(p.proacl, acldefault('f', p.proowner))) a where p.pronamespace = "
                  "'tally'::regnamespace and a.grantee = 0");
    assert_string_equal(loose, "0");
    assert_string_equal(owners, "tally_owner");
    assert_string_equal(open, "0");    // nothing for everybody
    free(loose);
    free(owners);
    free(open);
}

static void
a_reader_reads_and_no_more(void **state)
{
    struct fixture *f = *state;
    static const char *const statements[] = {
        "insert into tally.response (tenant, survey, response_id, body) values (1, 1, 'x', '')",
        "update tally.response set body = ''",
        "delete from tally.survey",
        "select * from tally.message",
        "select * from tally.blob",
        "select * from tally.dead_letter",
        "select * from tally.tenant",
        "select * from tally.queue",
        "select * from tally.reader",
        "insert into tally.reader values ('t_reader', 2)",
        "select * from tally.principal",
        "select * from tally.audit",
        "select tally.prune_audit(now(), 1)",
        "select * from tally.exports",
        "select tally.send('mail', 'beta', 'x')",
        "select tally.settle(1)",
        "set role tally_worker",
        "set role tally_owner",
        "alter table tally.response disable row level security",
        NULL,
    };
    deny(f->reader, statements);
}

static void
a_broker_gives_no_rights_and_changes_no_record(void **state)
{
    struct fixture *f = *state;
    static const char *const statements[] = {
        "insert into tally.principal (name) values ('mine')",
        "update tally.principal set revoked_at = null",
        "delete from tally.principal",
        "update tally.door set version = 0",
        "update tally.audit set who = 'nobody'",
        "delete from tally.audit",
        "truncate tally.audit",
        "delete from tally.audit_result",
        "select tally.prune_audit(now(), 1)",
        "select * from tally.response",
        "select * from tally.survey",
        "update tally.statistic set state = ''",
        "insert into tally.reader values ('t_broker', 1)",
        "alter table tally.audit disable trigger all",
        "create table tally.mine (a integer)",
        "set role tally_owner",
        "set role tally_worker",
        "truncate tally.message",
        "drop table tally.message",
        NULL,
    };
    deny(f->broker, statements);
}

//  By who owns the tables, and the record says so.
static void
old_records_are_taken_out_of_the_audit_and_no_others(void **state)
{
    struct fixture *f = *state;
    static const char old[] =
        "with a as (insert into tally.audit (at, who, action, request) select "
        "now() - make_interval(days => 364 + i), 'old', 'test', i::text from "
        "generate_series(0, 2) i returning id) insert into "
        "tally.audit_result (audit, result) select id, 'OK' from a";
    static const char count[] = "select count(*) || ' of ' || (select count(*) from "
                                "tally.audit_result r join tally.audit a on a.id = r.audit where "
                                "a.who = 'old') from tally.audit where who = 'old'";
    must(f->owner, old);
    assert_int_equal(tally_instance_run(f->instance, "audit", "prune", NULL)->code, 64);
    assert_int_equal(tally_instance_run(f->instance, "audit", "prune", "--days", "0", NULL)->code,
                     64);
    char *before = text_of(f->owner, count);
    tally_instance_must(f->instance, "audit", "prune", "--days", "365", NULL);
    char *after = text_of(f->owner, count);
    char *noted = text_of(f->owner, "select count(*) from tally.audits where action = "
                                    "'audit.prune' and result = 'OK' and request like '%\"rows\" "
                                    ": 2}'");
    tally_instance_must(f->instance, "audit", "prune", "--days", "365", NULL);    // nothing to do
    char *again = text_of(f->owner,
                          "select count(*) from tally.audit where action = 'audit.prune'");
    assert_string_equal(before, "3 of 3");
    assert_string_equal(after, "1 of 1");
    assert_string_equal(noted, "1");
    assert_string_equal(again, "1");
    free(before);
    free(after);
    free(noted);
    free(again);
    //  The guard is back, for the owner as well.
    assert_string_equal(state_of(f->owner, "delete from tally.audit"), "TY006");
    assert_string_equal(state_of(f->owner, "delete from tally.audit_result"), "TY006");
    assert_string_equal(state_of(f->owner, "select tally.prune_audit(now() + interval '1 day', 1)"),
                        "22023");
}

//  All that was given, so that nothing is given by accident: broker, worker, reader; r select, a insert, w update,
//  d delete, D truncate, x references, t trigger.
static void
each_role_has_exactly_these_rights(void **state)
{
    struct fixture *f = *state;
    static const char expected[] =
        "audit tally_broker=ar, audit_result tally_broker=ar, blob tally_broker=ard, "
        "blob tally_worker=r, broker tally_broker=rw, dead_letter tally_broker=ard, "
        "dead_letter tally_worker=r, dedupe tally_broker=arwd, door tally_broker=r, "
        "export tally_reader=r, export tally_worker=arwd, exports tally_worker=r, "
        "inbox tally_broker=rwd, inbox tally_worker=r, lease tally_broker=arwd, "
        "message tally_broker=arwd, message tally_worker=r, migration tally_broker=r, "
        "migration tally_worker=r, my_tenant_names tally_reader=r, partial tally_worker=arwd, "
        "principal tally_broker=r, queue tally_broker=arw, queue tally_worker=r, "
        "recompute tally_worker=arwd, response tally_reader=r, response tally_worker=arwd, "
        "result tally_broker=arwd, sender tally_broker=arwd, statistic tally_reader=r, "
        "statistic tally_worker=arwd, survey tally_reader=r, survey tally_worker=arwd, "
        "tenant tally_broker=arw, tenant tally_worker=r, term tally_broker=arw, "
        "tick tally_broker=ard, worker tally_worker=arwd, worker_key tally_broker=ard";
    char *given = text_of(
        f->owner, "select string_agg(item, ', ' order by item collate \"C\") from (select "
                  "c.relname || ' ' || "
                  "split_part(a::text, '/', 1) as item from pg_class c, unnest(c.relacl) a where "
                  "c.relnamespace = 'tally'::regnamespace and a::text not like 'tally_owner=%') i");
    assert_string_equal(given, expected);
    free(given);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_pipeline_runs_under_them),
        cmocka_unit_test(a_reader_sees_its_tenants_alone),
        cmocka_unit_test(a_worker_settles_by_the_function_and_not_otherwise),
        cmocka_unit_test(a_search_path_of_the_caller_changes_nothing),
        cmocka_unit_test(a_reader_reads_and_no_more),
        cmocka_unit_test(a_broker_gives_no_rights_and_changes_no_record),
        cmocka_unit_test(old_records_are_taken_out_of_the_audit_and_no_others),
        cmocka_unit_test(each_role_has_exactly_these_rights),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
