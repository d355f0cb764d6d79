// SPDX-License-Identifier: MIT
//  The door: every verb, said by everybody who may not say it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zmq.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/door_fixture.h"

//  ---- strangers -------------------------------------------------------------------------------------------

struct stranger {
    const char *name;
    const tally_key_pair_t *key;    // NULL: no CURVE
    const char *server_key;
};

static void
refuse_stranger(door_fixture_t *f, const struct stranger *who)
{
    door_scene_t *s = f->scene;
    for (size_t i = 0; i < DOOR_VERBS; i++) {
        door_verb_write(s, &door_verbs[i], "acme");
        door_verdict_t verdict = door_scene_knock(s, door_verbs[i].type,
                                                  door_verbs[i].type == ZMQ_PUSH ? s->sink
                                                                                 : s->front,
                                                  who->key, who->server_key);
        if (verdict != DOOR_REFUSED) {
            fail_msg("%s, %s: the handshake was not refused (%d)", who->name, door_verbs[i].name,
                     verdict);
        }
    }
    s->wire.size = 0;
    assert_int_equal(door_scene_knock(s, ZMQ_SUB, s->feed, who->key, who->server_key),
                     DOOR_REFUSED);
}

static void
no_stranger_gets_through_a_handshake_whatever_it_says(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    tally_key_pair_t unknown, other_server;
    assert_int_equal(tally_key_pair_make(&unknown), 0);
    assert_int_equal(tally_key_pair_make(&other_server), 0);
    const tally_key_pair_t revoked = door_scene_key(s, "revoked", "operator", "{*}", "{*}",
                                                    "{send,ask,read,admin}");
    door_scene_sql(s, "update tally.principal set revoked_at = now() where name = 'revoked'");
    const tally_key_pair_t expired = door_scene_key(s, "expired", "operator", "{*}", "{*}",
                                                    "{send,ask,read,admin}");
    char *sql = tally_format("alter table tally.principal disable trigger only_revoked;"
                             "update tally.principal set not_after = now() - interval '1 second' "
                             "where name = 'expired';"
                             "alter table tally.principal enable trigger only_revoked");
    door_scene_sql(s, sql);
    free(sql);
    const struct stranger strangers[] = {
        {"no key", NULL, NULL},
        {"wrong server key", &s->operator_key, other_server.public_key},
        {"unknown key", &unknown, s->server.public_key},
        {"revoked key", &revoked, s->server.public_key},
        {"expired key", &expired, s->server.public_key},
    };
    int64_t before = door_scene_number(s, door_untouched);
    int64_t refused = door_fixture_counter(f, "frames_refused"),
            callers = door_fixture_counter(f, "callers");
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        refuse_stranger(f, &strangers[i]);
    }
    //  Not one of their frames has come in, not even to be refused.
    assert_int_equal(door_fixture_counter(f, "frames_refused"), refused);
    assert_int_equal(door_fixture_counter(f, "callers"), callers);
    assert_int_equal(door_scene_number(s, door_untouched), before);
}

//  ---- rights lost while connected -------------------------------------------------------------------------

//  Says everything that has an answer, over and over, until nothing is done any more; then each must be refused.
static void
refuse_all(door_fixture_t *f, void *dealer)
{
    door_scene_t *s = f->scene;
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_REVOKED_MS;
    for (bool refused = false; !refused;) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        door_verb_write(s, door_verb_named("limits"), "acme");
        refused = door_scene_ask(s, dealer, DOOR_ANSWER_MS).code == TALLY_E_REFUSED;
    }
    int64_t before = door_scene_number(s, door_untouched);
    for (size_t i = 0; i < DOOR_VERBS; i++) {
        if (door_verbs[i].type != ZMQ_DEALER) {
            continue;
        }
        door_verb_write(s, &door_verbs[i], "acme");
        door_answer_t answer = door_scene_ask(s, dealer, DOOR_ANSWER_MS);
        if (answer.verb != TALLY_ERROR || answer.code != TALLY_E_REFUSED) {
            fail_msg("%s was answered with %s %s", door_verbs[i].name, tally_verb_name(answer.verb),
                     tally_code_name(answer.code));
        }
    }
    assert_int_equal(door_scene_number(s, door_untouched), before);
}

//  Every record on a connection to the sink that is there, of a worker whose key ends meanwhile.
static void
refuse_all_records(door_fixture_t *f, const tally_key_pair_t *key, const char *ends)
{
    door_scene_t *s = f->scene;
    void *dealer = door_fixture_client(f, key);    // and so it is known
    void *sink = door_fixture_keep(f, door_scene_connect(s, ZMQ_PUSH, s->sink, key,
                                                         s->server.public_key));
    door_write_record(s, TALLY_RECORD_BEAT, DOOR_ABSENT, DOOR_ABSENT);
    assert_int_not_equal(zmq_send(sink, s->wire.data, s->wire.size, 0), -1);
    door_scene_sql(s, ends);
    refuse_all(f, dealer);
    int64_t before = door_scene_number(s, door_untouched);
    for (size_t i = 0; i < DOOR_VERBS; i++) {
        if (door_verbs[i].type == ZMQ_PUSH) {
            int64_t refused = door_fixture_counter(f, "frames_refused");
            door_verb_write(s, &door_verbs[i], "acme");
            assert_int_not_equal(zmq_send(sink, s->wire.data, s->wire.size, 0), -1);
            door_fixture_await(f, "frames_refused", refused + 1);
        }
    }
    assert_int_equal(door_scene_number(s, door_untouched), before);
}

static void
records_of_a_key_that_has_ended_are_refused_on_a_connection_that_is_there(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    tally_key_pair_t revoked = door_scene_key(s, "leaver-1", "worker", "{*}", "{mail}", "{work}");
    refuse_all_records(f, &revoked,
                       "update tally.principal set revoked_at = now() where name = 'leaver-1'");
    tally_key_pair_t expired = door_scene_key(s, "leaver-2", "worker", "{*}", "{mail}", "{work}");
    refuse_all_records(f, &expired,
                       "alter table tally.principal disable trigger only_revoked;"
                       "update tally.principal set not_after = now() where name = 'leaver-2';"
                       "alter table tally.principal enable trigger only_revoked");
}

static void
a_revoked_key_is_refused_within_5_s_on_a_connection_that_is_there(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    tally_key_pair_t key = door_scene_key(s, "shortlived", "operator", "{*}", "{*}",
                                          "{send,ask,read,admin}");
    void *dealer = door_fixture_client(f, &key);
    door_verb_write(s, door_verb_named("status"), "acme");
    assert_int_equal(door_scene_ask(s, dealer, DOOR_ANSWER_MS).code, 0);
    door_scene_sql(s, "update tally.principal set revoked_at = now() where name = 'shortlived'");
    refuse_all(f, dealer);
}

static void
an_expired_key_is_refused_on_a_connection_that_is_there(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    tally_key_pair_t key;
    assert_int_equal(tally_key_pair_make(&key), 0);
    char *sql =
        tally_format("insert into tally.principal (name, key, role, tenants, queues, rights, "
                     "not_after) values ('mayfly', $k$%s$k$, 'operator', '{*}', '{*}', "
                     "'{send,ask,read,admin}', clock_timestamp() + interval '3 s')",
                     key.public_key);
    door_scene_sql(s, sql);
    free(sql);
    refuse_all(f, door_fixture_client(f, &key));
}

//  ---- other tenants ---------------------------------------------------------------------------------------

static void
another_tenants_objects_are_answered_as_those_that_do_not_exist(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    void *dealer = door_fixture_keep(f, door_scene_client(s, &f->acme));
    static const char *const about_tenants[] = {"send",      "ask",          "release",
                                                "dead.ls",   "dead.show",    "dead.retry",
                                                "dead.drop", "queue.release"};
    int64_t before = door_scene_number(s, door_untouched);
    for (size_t i = 0; i < sizeof about_tenants / sizeof about_tenants[0]; i++) {
        const door_verb_t *verb = door_verb_named(about_tenants[i]);
        door_verb_write(s, verb, "beta");
        door_answer_t theirs = door_scene_ask(s, dealer, DOOR_ANSWER_MS);
        door_verb_write(s, verb, "there-is-none");
        door_answer_t nobodys = door_scene_ask(s, dealer, DOOR_ANSWER_MS);
        assert_int_equal(theirs.code, TALLY_E_UNKNOWN);
        assert_int_equal(theirs.verb, nobodys.verb);
        assert_int_equal(theirs.code, nobodys.code);
        assert_string_equal(theirs.text, nobodys.text);
    }
    //  And what is about all tenants is not for one of them.
    static const char *const about_all[] = {"status",     "queue.ls",  "queue.put",
                                            "tenant.put", "worker.ls", "worker.drain"};
    for (size_t i = 0; i < sizeof about_all / sizeof about_all[0]; i++) {
        door_verb_write(s, door_verb_named(about_all[i]), "acme");
        assert_int_equal(door_scene_ask(s, dealer, DOOR_ANSWER_MS).code, TALLY_E_REFUSED);
    }
    assert_int_equal(door_scene_number(s, door_untouched), before);
    door_verb_write(s, door_verb_named("tenant.ls"), "");
    door_answer_t tenants = door_scene_ask(s, dealer, DOOR_ANSWER_MS);
    assert_non_null(strstr(tenants.text, "\"name\":\"acme\""));
    assert_null(strstr(tenants.text, "beta"));
}

static void
its_own_objects_are_a_tenants_to_use(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    void *dealer = door_fixture_keep(f, door_scene_client(s, &f->acme));
    static const char *const may[] = {"send",       "ask",       "limits",       "dead.ls",
                                      "dead.retry", "dead.drop", "queue.release"};
    for (size_t i = 0; i < sizeof may / sizeof may[0]; i++) {
        door_verb_write(s, door_verb_named(may[i]), "acme");
        door_answer_t answer = door_scene_ask(s, dealer, DOOR_ANSWER_MS);
        if (answer.code != 0 || answer.verb == 0) {
            fail_msg("%s: %s %s", may[i], tally_code_name(answer.code), answer.text);
        }
    }
}

//  ---- other roles -----------------------------------------------------------------------------------------

static bool
is_among(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(*names, name) != 0) {
        names++;
    }
    return *names != NULL;
}

//  Everything but what it may.
static void
refuse_others(door_fixture_t *f, void *dealer, const char *const *may, const char *role)
{
    for (size_t i = 0; i < DOOR_VERBS; i++) {
        const door_verb_t *verb = &door_verbs[i];
        if (verb->type != ZMQ_DEALER || is_among(verb->name, may)) {
            continue;
        }
        door_verb_write(f->scene, verb, "acme");
        door_answer_t answer = door_scene_ask(f->scene, dealer, DOOR_ANSWER_MS);
        if (answer.code != TALLY_E_REFUSED) {
            fail_msg("%s may say %s: %s %s", role, verb->name, tally_verb_name(answer.verb),
                     tally_code_name(answer.code));
        }
    }
}

static void
a_role_may_do_its_own_work_and_no_others(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    //  Whoever is known may say hello and goodbye, and ask for the limits.
#define KNOWN "hello", "goodbye", "limits"
#define READS "status", "queue.ls", "tenant.ls", "worker.ls", "dead.ls", "dead.show"
    static const char *const monitors[] = {KNOWN, READS, NULL};
    static const char *const workers[] = {KNOWN, "hello of a worker", "fetch", NULL};
    static const char *const clients[] = {KNOWN, "send", "ask", "release", NULL};
    static const char *const senders[] = {KNOWN, "send", "release", NULL};
    //  A tenant's own operator: what is about one tenant.
    static const char *const tenants[] = {KNOWN,       "send",          "ask",       "release",
                                          "tenant.ls", "dead.ls",       "dead.show", "dead.retry",
                                          "dead.drop", "queue.release", NULL};
    static const char *const operators[] = {KNOWN,           READS,          "send",
                                            "ask",           "release",      "queue.put",
                                            "tenant.put",    "dead.retry",   "dead.drop",
                                            "queue.release", "worker.drain", NULL};
    const tally_key_pair_t client = door_scene_key(s, "client", "client", "{acme}", "{*}",
                                                   "{send,ask}");
    const tally_key_pair_t sender = door_scene_key(s, "sender", "client", "{acme}", "{mail}",
                                                   "{send}");
    const struct {
        const char *role;
        const tally_key_pair_t *key;
        const char *const *may;
    } roles[] = {{"a monitor", &f->monitor, monitors},
                 {"a worker", &f->worker, workers},
                 {"a client", &client, clients},
                 {"who only sends", &sender, senders},
                 {"a tenant's operator", &f->acme, tenants},
                 {"an operator", &s->operator_key, operators}};
    int64_t before = door_scene_number(s, door_untouched);
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        refuse_others(f, door_fixture_client(f, roles[i].key), roles[i].may, roles[i].role);
        if (roles[i].key != &f->worker) {    // who may not work does not get into the sink at all
            s->wire.size = 0;
            assert_int_equal(door_scene_knock(s, ZMQ_PUSH, s->sink, roles[i].key,
                                              s->server.public_key),
                             DOOR_REFUSED);
        }
    }
    assert_int_equal(door_scene_number(s, door_untouched), before);
    void *dealer = door_fixture_keep(f, door_scene_client(s, &sender));
    door_write_send(s, "another", "acme", 0);
    assert_int_equal(door_scene_ask(s, dealer, DOOR_ANSWER_MS).code, TALLY_E_UNKNOWN);
}

static void
a_worker_works_on_its_queues_alone(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    door_scene_sql(s, "select 1");
    void *dealer = door_fixture_keep(f, door_scene_client(s, &f->worker));
    door_answer_t there = door_scene_hello(s, dealer, "survey");
    door_answer_t nowhere = door_scene_hello(s, dealer, "there-is-none");
    assert_int_equal(there.code, TALLY_E_UNKNOWN);
    assert_int_equal(nowhere.code, TALLY_E_UNKNOWN);
    assert_string_equal(there.text, nowhere.text);
}

//  ---- quotas ----------------------------------------------------------------------------------------------

static void
put_quota(door_fixture_t *f, const char *tenant, int connections, int requests)
{
    char *json =
        tally_format("{\"op\":\"tenant.put\",\"tenant\":{\"name\":\"%s\",\"connections_max\":%d,"
                     "\"requests_max\":%d}}",
                     tenant, connections, requests);
    door_write_admin(f->scene, json);
    assert_int_equal(door_scene_ask(f->scene, f->operator, DOOR_ANSWER_MS).code, 0);
    free(json);
}

static void
a_tenant_has_so_many_requests_a_second(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    void *acme = door_fixture_keep(f, door_scene_client(s, &f->acme));
    void *beta = door_fixture_keep(f, door_scene_client(s, &f->beta));
    put_quota(f, "acme", 0, 5);
    int done = 0;
    uint32_t retry_after_ms = 0;
    s->request = 0;
    int64_t since_ms = tally_clock_now_ms();
    for (int i = 0; i < 40 && retry_after_ms == 0; i++) {
        door_verb_write(s, door_verb_named(i % 2 == 0 ? "send" : "limits"), "acme");
        door_answer_t answer = door_scene_ask(s, acme, DOOR_ANSWER_MS);
        done += answer.code == 0;
        retry_after_ms = answer.code == TALLY_E_BUSY ? answer.retry_after_ms : 0;
    }
    assert_in_range(retry_after_ms, 1, 200);
    assert_in_range(done, 5, 6 + 5 * (tally_clock_now_ms() - since_ms) / 1000);
    //  The other tenant is not asked to wait.
    for (int i = 0; i < 40; i++) {
        door_verb_write(s, door_verb_named("limits"), "beta");
        assert_int_equal(door_scene_ask(s, beta, DOOR_ANSWER_MS).code, 0);
    }
    //  And this one is served again when it was told.
    poll(NULL, 0, (int)retry_after_ms);
    door_verb_write(s, door_verb_named("limits"), "acme");
    assert_int_equal(door_scene_ask(s, acme, DOOR_ANSWER_MS).code, 0);
    put_quota(f, "acme", 0, 0);
}

static void
a_tenant_has_so_many_connections(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    put_quota(f, "beta", 1, 0);    // those that are there stay
    tally_key_pair_t key = door_scene_key(s, "gamma-1", "client", "{gamma}", "{*}", "{send}");
    put_quota(f, "gamma", 2, 0);
    void *first = door_fixture_client(f, &key);
    void *second = door_fixture_keep(f, door_scene_client(s, &key));
    void *third = door_fixture_keep(f, door_scene_connect(s, ZMQ_DEALER, s->front, &key,
                                                          s->server.public_key));
    door_answer_t answer = door_scene_hello(s, third, NULL);
    assert_int_equal(answer.code, TALLY_E_BUSY);
    assert_true(answer.retry_after_ms > 0);
    assert_int_equal(door_scene_hello(s, second, NULL).verb, TALLY_WELCOME);    // not one more
    door_verb_write(s, door_verb_named("goodbye"), "");
    zmq_send(first, s->wire.data, s->wire.size, 0);
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_ANSWER_MS;
    while (door_scene_hello(s, third, NULL).verb != TALLY_WELCOME) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
    }
    assert_int_equal(door_scene_hello(s, first, NULL).code, TALLY_E_BUSY);
    put_quota(f, "beta", 0, 0);
}

//  ---- the audit record ------------------------------------------------------------------------------------

static void
what_operators_do_is_recorded_and_stays_so(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    door_write_admin(s, "{\"op\":\"queue.put\",\"queue\":{\"name\":\"noted\"}}");
    assert_int_equal(door_scene_ask(s, f->operator, DOOR_ANSWER_MS).code, 0);
    door_write_admin(s, "{\"op\":\"dead.drop\",\"tenant\":\"acme\",\"ids\":\"none\"}");
    assert_int_equal(door_scene_ask(s, f->operator, DOOR_ANSWER_MS).code, TALLY_E_JSON);
    char *sql =
        tally_format("select count(*) from tally.audits where who = 'root' and key = $k$%s$k$"
                     " and (action = 'queue.put' and result = 'OK' and request like '%%noted%%'"
                     " or action = 'dead.drop' and result like 'JSON: %%')",
                     s->operator_key.public_key);
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_ANSWER_MS;
    while (door_scene_number(s, sql) < 2) {    // the result follows the answer
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        poll(NULL, 0, 5);
    }
    assert_int_equal(door_scene_number(s, sql), 2);
    free(sql);
    assert_true(door_scene_number(s, "select count(*) from tally.audits where action = 'key.new'")
                > 3);
    static const char *const changes[] = {
        "update tally.audit set who = 'nobody'",
        "delete from tally.audit",
        "truncate tally.audit cascade",
        "delete from tally.audit_result",
        "update tally.principal set rights = '{send}' where name = 'root'",
        "delete from tally.principal where name = 'root'",
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        PGresult *result = PQexec(tally_db_handle(s->db), changes[i]);
        assert_string_equal(PQresultErrorField(result, PG_DIAG_SQLSTATE), "TY006");
        PQclear(result);
    }
}

//  ---- starting --------------------------------------------------------------------------------------------

static void
a_broker_whose_door_would_stand_open_does_not_start(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    door_scene_stop(s);
    const struct {
        const char *settings[5];
        int code;
    } starts[] = {
        {{"--curve", "no", "--front", "tcp://0.0.0.0:*", NULL}, 78},
        {{"--curve", "no", "--sink", "tcp://192.0.2.1:*", NULL}, 78},
        {{"--curve", "no", "--feed", "tcp://*:*", NULL}, 78},
        {{"--lanes", "tcp://0.0.0.0:*", NULL}, 78},    // told to workers
        {{"--key", "/nonexistent", NULL}, 78},
        {{NULL}, -1},
    };
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        assert_int_equal(door_scene_start(s, starts[i].settings), starts[i].code);
    }
    door_scene_stop(s);
    char *path = tally_format("%s/server.key", s->dir);
    assert_int_equal(chmod(path, 0440), 0);
    assert_int_equal(door_scene_start(s, NULL), 78);
    assert_int_equal(chmod(path, 0400), 0);
    free(path);
    const char *const wildcard[] = {"--front", "tcp://0.0.0.0:*", NULL};
    assert_int_equal(door_scene_start(s, wildcard), -1);    // with CURVE it may
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(no_stranger_gets_through_a_handshake_whatever_it_says,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_revoked_key_is_refused_within_5_s_on_a_connection_that_is_there,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(an_expired_key_is_refused_on_a_connection_that_is_there,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(
            records_of_a_key_that_has_ended_are_refused_on_a_connection_that_is_there,
            door_fixture_close_sockets),
        cmocka_unit_test_teardown(another_tenants_objects_are_answered_as_those_that_do_not_exist,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(its_own_objects_are_a_tenants_to_use, door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_role_may_do_its_own_work_and_no_others,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_worker_works_on_its_queues_alone, door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_tenant_has_so_many_requests_a_second,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_tenant_has_so_many_connections, door_fixture_close_sockets),
        cmocka_unit_test_teardown(what_operators_do_is_recorded_and_stays_so,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_broker_whose_door_would_stand_open_does_not_start,
                                  door_fixture_close_sockets),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, door_fixture_set_up, door_fixture_tear_down);
}
