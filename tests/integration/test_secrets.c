// SPDX-License-Identifier: MIT
//  What clients send shows in no log, no error and no core: bodies that go wrong in every way there is, with the marker
//  in them, and the search that each test of the suite ends with (marker.h).

#include <czmq.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <libpq-fe.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "tests/integration/instance.h"
#include "tests/integration/marker.h"
#include "tests/integration/survey_data.h"

#define TIMEOUT_MS 60000

struct fixture {
    tally_instance_t *instance;
    survey_data_t survey;
    tally_client_t *client;
    PGconn *database;
    char *text;
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    PQfinish(f->database);
    tally_client_destroy(&f->client);
    survey_data_free(&f->survey);
    free(f->text);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

static void
bring_up(struct fixture *f)
{
    tally_instance_must(f->instance, "up", NULL);
    survey_data_generate(&f->survey, tally_instance_dir(f->instance), "generated", 200, 7);
    tally_instance_must(f->instance, "survey", "put", f->survey.definition, "-t", "acme", NULL);
    tally_instance_must(f->instance, "submit", f->survey.responses, "-t", "acme", NULL);
    f->client = tally_client_new(tally_instance_endpoint(f->instance));
    assert_non_null(f->client);
}

//  ---- bodies that go wrong ----------------------------------------------------------------------

static void
send_body(struct fixture *f, const char *queue, const char *body, unsigned flags)
{
    const tally_message_t message = {.body = body,
                                     .body_bytes = strlen(body),
                                     .flags = flags,
                                     .key = TALLY_MARKER,
                                     .key_bytes = strlen(TALLY_MARKER),
                                     .dedupe = body,
                                     .dedupe_bytes = strlen(body) < 200 ? strlen(body) : 200};
    assert_int_equal(tally_client_send_wait(f->client, queue, "acme", &message, 1, TIMEOUT_MS,
                                            NULL),
                     0);
}

//  Each is buried with a reason that tells the tenant what is wrong with it.
static const char *const responses[] = {
    TALLY_MARKER,
    "{\"" TALLY_MARKER "\":1}",
    "{\"response_id\":\"" TALLY_MARKER "\",\"survey\":\"" TALLY_MARKER "\",\"answers\":{}}",
    "{\"response_id\":\"r1\",\"survey\":\"generated\",\"answers\":{\"" TALLY_MARKER "\":1}}",
    "{\"response_id\":\"r2\",\"survey\":\"generated\",\"answers\":{\"plan\":\"" TALLY_MARKER "\"}}",
    "{\"response_id\":\"r3\",\"survey\":\"generated\",\"answers\":{\"like\":[\"" TALLY_MARKER
    "\"]}}",
    "{\"response_id\":\"r4\",\"survey\":\"generated\",\"answers\":{\"comment\":\"" TALLY_MARKER
    "\\u0000\"}}",
    "[\"" TALLY_MARKER "\xff\"]",
};
#define RESPONSES (sizeof responses / sizeof responses[0])

//  Requests of the other queues of the pipeline.
static void
send_requests(struct fixture *f)
{
    static const char *const queues[] = {"survey",   "statistics",     "statistics-read",
                                         "export",   "statistics-map", "export-read",
                                         "heartbeat"};
    static const char *const bodies[] = {
        TALLY_MARKER,
        "{\"do\":\"" TALLY_MARKER "\"}",
        "{\"do\":\"put\",\"definition\":{\"slug\":\"x\",\"title\":\"" TALLY_MARKER "\"}}",
        "{\"do\":\"show\",\"survey\":\"" TALLY_MARKER "\"}",
        "{\"do\":\"export\",\"survey\":\"" TALLY_MARKER "\",\"format\":\"csv\"}",
        "{\"survey\":1,\"slug\":\"" TALLY_MARKER "\",\"responses\":[1]}",
        "{\"name\":\"" TALLY_MARKER "\"}",
    };
    for (size_t queue = 0; queue < sizeof queues / sizeof queues[0]; queue++) {
        for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
            send_body(f, queues[queue], bodies[i],
                      i % 2 == 0 ? 0 : TALLY_MESSAGE_BLOB | TALLY_MESSAGE_RELEASES);
        }
    }
    f->text = tally_format("{\"op\":\"queue.put\",\"queue\":{\"name\":\"%s\",\"%s\":1}}", "secrets",
                           TALLY_MARKER);
    assert_non_null(tally_client_admin(f->client, f->text, TIMEOUT_MS));
}

static bool
all_are_buried(void *argument)
{
    struct fixture *f = argument;
    json_t *dead = tally_instance_json(f->instance, "dead", "ls", "-t", "acme", "--queue",
                                       "responses", "--json", NULL);
    bool enough = json_array_size(dead) >= RESPONSES;
    json_decref(dead);
    return enough;
}

//  What a statement of ours could meet at worst: PostgreSQL quotes the row.
static void
let_a_statement_fail(struct fixture *f)
{
    f->database = PQconnectdb(tally_instance_conninfo(f->instance));
    assert_int_equal(PQstatus(f->database), CONNECTION_OK);
    const char *values[] = {TALLY_MARKER};
    PGresult *result = PQexecParams(f->database,
                                    "insert into tally.message (tenant, id, queue, body)"
                                    " values (1, 1, null, $1::text::bytea)",
                                    1, NULL, values, NULL, NULL, 0);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    bool quotes = detail != NULL && strstr(detail, "Failing row") != NULL;
    PQclear(result);
    assert_true(quotes);    // else this proves nothing
}

static void
body_that_goes_wrong_shows_only_to_its_tenant(void **state)
{
    struct fixture *f = *state;
    bring_up(f);
    for (size_t i = 0; i < RESPONSES; i++) {
        send_body(f, "responses", responses[i], i % 2 == 0 ? TALLY_MESSAGE_BLOB : 0);
    }
    send_requests(f);
    assert_true(tally_wait_until(all_are_buried, f, TIMEOUT_MS));
    let_a_statement_fail(f);
    tally_instance_must(f->instance, "statistics", "refresh", "-t", "acme", "--wait", NULL);
    //  The tenant is told what was wrong, so it was there to be shown.
    const tally_output_t *dead = tally_instance_must(f->instance, "dead", "ls", "-t", "acme",
                                                     "--queue", "responses", "--json", NULL);
    assert_non_null(strstr(dead->out, TALLY_MARKER));
    tally_instance_must(f->instance, "down", NULL);
    assert_int_equal(tally_marker_search(tally_instance_dir(f->instance)), 0);
}

//  ---- the search --------------------------------------------------------------------------------

static void
write_log(struct fixture *f, const char *name, const char *text)
{
    free(f->text);
    f->text = tally_format("%s/%s", tally_instance_dir(f->instance), name);
    FILE *file = fopen(f->text, "w");
    assert_non_null(file);
    fprintf(file, "before\n%s\n", text);
    fclose(file);
}

static void
search_finds_the_marker_as_text_as_bytes_and_a_core(void **state)
{
    struct fixture *f = *state;
    const char *journal = getenv("TALLY_LEAKS");
    char *kept = journal == NULL ? NULL : tally_strdup(journal);
    unsetenv("TALLY_LEAKS");    // these are no leaks
    const char *dir = tally_instance_dir(f->instance);
    write_log(f, "plain.log", "what=" TALLY_MARKER);
    int plain = tally_marker_search(dir);
    write_log(f, "plain.log", "\\x7772656e2d696e2d7468652d6c6172646572");
    int bytes = tally_marker_search(dir);
    write_log(f, "plain.log", "nothing");
    int nothing = tally_marker_search(dir);
    write_log(f, "core.7", "");
    int core = tally_marker_search(dir);
    remove(f->text);
    if (kept != NULL) {
        setenv("TALLY_LEAKS", kept, 1);
        free(kept);
    }
    assert_int_equal(plain, 1);
    assert_int_equal(bytes, 1);
    assert_int_equal(nothing, 0);
    assert_int_equal(core, 1);
}

//  ---- cores -------------------------------------------------------------------------------------

//  A child in the instance's directory that may leave a core as large as it likes; *heard is what it says.
static pid_t
start_with_cores(struct fixture *f, const char *program, int *heard)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
        if (chdir(tally_instance_dir(f->instance)) == -1 || setrlimit(RLIMIT_CORE, &all) == -1
            || dup2(ends[1], STDERR_FILENO) == -1) {
            _exit(126);
        }
        close(ends[0]);
        if (program == NULL) {
            abort();
        }
        execl(program, program, "--front", "ipc:///nowhere/front", "--name", "core", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    *heard = ends[0];
    return pid;
}

static bool
leaves_core(struct fixture *f, const char *program)
{
    int heard;
    char first;
    pid_t pid = start_with_cores(f, program, &heard);
    if (program != NULL) {
        assert_int_equal(read(heard, &first, 1), 1);    // it runs, and says that nobody answers
        kill(pid, SIGABRT);    // as an assertion; ASan answers SIGSEGV by itself
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(heard);
    assert_true(WIFSIGNALED(status));
    return WCOREDUMP(status);
}

//  PostgreSQL's too: its memory holds what ours sent.
static void
no_process_of_an_instance_may_leave_a_core(void **state)
{
    struct fixture *f = *state;
    tally_instance_must(f->instance, "up", NULL);
    static const char *const names[] = {"postgres",     "tallyd",   "responses-1",
                                        "statistics-1", "export-1", "heartbeat-1"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        free(f->text);
        f->text = tally_format("/proc/%d/limits", (int)tally_instance_pid(f->instance, names[i]));
        FILE *file = fopen(f->text, "r");
        assert_non_null(file);
        char line[200];
        unsigned long long soft = 1, hard = 1;
        while (fgets(line, sizeof line, file) != NULL) {
            sscanf(line, "Max core file size %llu %llu", &soft, &hard);
        }
        fclose(file);
        assert_int_equal(soft, 0);
        assert_int_equal(hard, 0);
    }
}

static void
worker_that_crashes_leaves_no_core(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0 || !leaves_core(f, NULL)) {
        print_message("here nobody leaves cores: nothing is proved\n");
        skip();
    }
    char *core = tally_format("%s/core", tally_instance_dir(f->instance));
    remove(core);
    free(core);
    const char *programs = getenv("TALLY_BIN_DIR");
    static const char *const names[] = {"tally-responses", "tally-statistics", "tally-export",
                                        "tally-heartbeat"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        free(f->text);
        f->text = realpath(programs == NULL ? "build/bin" : programs, NULL);
        char *program = tally_format("%s/%s", f->text, names[i]);
        bool left = leaves_core(f, program);
        free(program);
        assert_false(left);
    }
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(body_that_goes_wrong_shows_only_to_its_tenant, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(search_finds_the_marker_as_text_as_bytes_and_a_core, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_process_of_an_instance_may_leave_a_core, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(worker_that_crashes_leaves_no_core, setup, teardown),
    };
    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
