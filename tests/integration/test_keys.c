// SPDX-License-Identifier: MIT
//  A whole instance with keys, as a user would set it up: `tally key`, tally.conf, `tally up`; the survey pipeline goes
//  on as without, and a broker that changes its own key loses nobody.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/instance.h"

#define SERVED_MS 20000

struct fixture {
    tally_instance_t *instance;
    tally_client_t *client;
};

static char *
in_dir(struct fixture *f, const char *name)
{
    return tally_format("%s/%s", tally_instance_dir(f->instance), name);
}

static void
make_key(struct fixture *f, const char *name, const char *role, const char *tenant,
         const char *rights)
{
    char *file = tally_format("%s/%s.key", tally_instance_dir(f->instance), name);
    tally_instance_must(f->instance, "key", "new", name, "--role", role, "--tenant", tenant,
                        "--right", rights, "--out", file, NULL);
    free(file);
}

//  What stands in front of the file that `tally up` wrote, and a section for each program.
static void
write_conf(struct fixture *f, const char *server, const char *publics)
{
    const char *dir = tally_instance_dir(f->instance);
    char *path = in_dir(f, "tally.conf");
    char *plain = in_dir(f, "tally.conf.plain");
    if (access(plain, F_OK) == -1) {
        assert_int_equal(rename(path, plain), 0);
    }
    FILE *in = fopen(plain, "r");
    FILE *out = fopen(path, "w");
    assert_true(in != NULL && out != NULL);
    fprintf(out, "key = %s/root.key\nserver-key = %s\n", dir, publics);
    char line[1024];
    while (fgets(line, sizeof line, in) != NULL) {
        fputs(line, out);
        if (strcmp(line, "[export]\n") == 0) {
            fprintf(out, "key = %s/crew.key\n", dir);
        }
    }
    fclose(in);
    fprintf(out, "[tallyd]\ncurve = yes\nkey = %s\nfeeds = ipc://%s/run/feed-%%\n", server, dir);
    static const char *const roles[] = {"responses", "statistics", "heartbeat"};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        fprintf(out, "[%s]\nkey = %s/crew.key\n", roles[i], dir);
    }
    assert_int_equal(fclose(out), 0);
    free(path);
    free(plain);
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
    make_key(f, "root", "operator", "*", "send,ask,read,admin");
    make_key(f, "crew", "worker", "*", "work,send");
    make_key(f, "acme", "client", "acme", "send,ask,read");
    char *key = in_dir(f, "server.key");
    char *public = in_dir(f, "server.pub");
    tally_instance_must(f->instance, "key", "server", "--out", key, "--public", public, NULL);
    tally_instance_must(f->instance, "down", NULL);
    write_conf(f, key, public);
    start(f);
    free(key);
    free(public);
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

static void
open_client(struct fixture *f, const char *name, const char *publics)
{
    tally_client_destroy(&f->client);
    f->client = tally_client_new(tally_instance_endpoint(f->instance));
    char *key = tally_format("%s/%s.key", tally_instance_dir(f->instance), name);
    if (tally_client_set_keys(f->client, key, publics) == -1) {
        fail_msg("%s", tally_client_text(f->client));
    }
    free(key);
}

static void
a_survey_goes_its_whole_way_with_keys(void **state)
{
    struct fixture *f = *state;
    char *survey = in_dir(f, "s.survey.json");
    char *responses = in_dir(f, "s.responses.ndjson");
    FILE *file = fopen(survey, "w");
    assert_non_null(file);
    fputs("{\"slug\":\"s\",\"title\":\"S\",\"questions\":[{\"id\":\"q\",\"type\":\"choice\","
          "\"text\":\"?\",\"choices\":[\"a\",\"b\"]}]}",
          file);
    fclose(file);
    file = fopen(responses, "w");
    assert_non_null(file);
    fputs("{\"response_id\":\"1\",\"survey\":\"s\",\"answers\":{\"q\":\"a\"}}\n"
          "{\"response_id\":\"2\",\"survey\":\"s\",\"answers\":{\"q\":\"b\"}}\n",
          file);
    fclose(file);
    const tally_output_t *put = tally_instance_run(f->instance, "survey", "put", survey, "-t",
                                                   "acme", NULL);
    if (put->code != 0) {
        fail_msg("%s", put->err);
    }
    tally_instance_must(f->instance, "submit", responses, "-t", "acme", NULL);
    tally_instance_must(f->instance, "statistics", "refresh", "-t", "acme", "--wait", NULL);
    json_t *shown = tally_instance_json(f->instance, "statistics", "show", "-s", "s", "-t", "acme",
                                        "--json", NULL);
    char *text = json_dumps(shown, JSON_COMPACT);
    assert_non_null(strstr(text, "\"responses\":2"));
    free(text);
    json_decref(shown);
    free(survey);
    free(responses);
}

static void
a_client_needs_the_right_keys(void **state)
{
    struct fixture *f = *state;
    char *public = in_dir(f, "server.pub");
    open_client(f, "acme", public);
    const tally_message_t message = {.body = "x", .body_bytes = 1};
    assert_int_equal(tally_client_send_wait(f->client, "responses", "acme", &message, 1, SERVED_MS,
                                            NULL),
                     0);
    assert_int_equal(tally_client_send_wait(f->client, "responses", "beta", &message, 1, SERVED_MS,
                                            NULL),
                     -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_UNKNOWN);
    tally_feed_t *feed = tally_client_open_feed(f->client);
    assert_non_null(feed);
    tally_publication_t publication;
    assert_int_equal(tally_feed_subscribe(feed, "tenant."), 0);
    int rc = tally_feed_next(feed, SERVED_MS, &publication);
    bool own = rc == 0 && strcmp(publication.topic, "tenant.acme") == 0;
    tally_feed_destroy(&feed);
    assert_true(own);
    //  Without any keys there is nobody who answers.
    tally_client_destroy(&f->client);
    f->client = tally_client_new(tally_instance_endpoint(f->instance));
    assert_int_equal(tally_client_connect(f->client, 1500), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_UNREACHABLE);
    //  And half of them are none.
    assert_int_equal(tally_client_set_keys(f->client, public, NULL), -1);
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_KEYS);
    assert_int_equal(tally_client_set_keys(f->client, public, public), -1);
    free(public);
}

static void
a_broker_that_changes_its_key_loses_nobody(void **state)
{
    struct fixture *f = *state;
    char *public = in_dir(f, "server.pub");
    char *next_key = in_dir(f, "next.key");
    char *next_public = in_dir(f, "next.pub");
    char *old_key = in_dir(f, "server.key");
    tally_instance_must(f->instance, "key", "server", "--out", next_key, "--public", next_public,
                        NULL);
    char *both = tally_format("%s, %s", public, next_public);
    //  Peers are told both, then the broker has the new one.
    write_conf(f, old_key, both);
    tally_instance_must(f->instance, "down", NULL);
    start(f);
    open_client(f, "acme", both);
    const tally_message_t message = {.body = "x", .body_bytes = 1};
    assert_int_equal(tally_client_send_wait(f->client, "responses", "acme", &message, 1, SERVED_MS,
                                            NULL),
                     0);
    write_conf(f, next_key, both);
    pid_t before = tally_instance_signal(f->instance, "tallyd", SIGKILL);
    tally_instance_await_another(f->instance, "tallyd", before, SERVED_MS);
    assert_int_equal(tally_client_send_wait(f->client, "responses", "acme", &message, 1, SERVED_MS,
                                            NULL),
                     0);
    //  The workers, which were not started again, work for it.
    int64_t deadline_at_ms = tally_clock_now_ms() + SERVED_MS;
    size_t workers = 0;
    while (workers < 4) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        const tally_output_t *output = tally_instance_run(f->instance, "worker", "ls", "--json",
                                                          NULL);
        json_t *list = json_loadb(output->out, output->out_size, 0, NULL);
        workers = json_array_size(list);
        json_decref(list);
    }
    free(public);
    free(next_key);
    free(next_public);
    free(old_key);
    free(both);
}

static void
a_revoked_client_is_refused(void **state)
{
    struct fixture *f = *state;
    char *public = in_dir(f, "next.pub");
    open_client(f, "acme", public);
    assert_int_equal(tally_client_connect(f->client, SERVED_MS), 0);
    tally_instance_must(f->instance, "key", "revoke", "acme", NULL);
    int64_t revoked_ms = tally_clock_now_ms();
    while (tally_client_admin(f->client, "{\"op\":\"limits\"}", 1000) != NULL) {
        assert_true(tally_clock_now_ms() - revoked_ms < 5000);
    }
    assert_int_equal(tally_client_code(f->client), TALLY_CODE_REFUSED);
    assert_int_equal(tally_instance_run(f->instance, "key", "revoke", "acme", NULL)->code, 1);
    free(public);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_survey_goes_its_whole_way_with_keys),
        cmocka_unit_test(a_client_needs_the_right_keys),
        cmocka_unit_test(a_broker_that_changes_its_key_loses_nobody),
        cmocka_unit_test(a_revoked_client_is_refused),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
