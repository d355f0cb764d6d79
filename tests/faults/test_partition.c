// SPDX-License-Identifier: MIT
//  The active broker is cut off from PostgreSQL, and from nothing else: a standby that is not takes over, clients and
//  workers find it, and what the old one is told in the meantime happens once.

#include <czmq.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "clients/cmd/home.h"
#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"
#include "tests/faults/proxy_child.h"
#include "tests/integration/instance.h"

#define BACK_MS 30000
#define MESSAGES 200

struct fixture {
    tally_instance_t *instance;
    tally_proxy_child_t *proxy;
    tally_home_t *home;
    pid_t second;    // a broker of our own, with its own way to PostgreSQL
    char *fronts;    // of both
    tally_client_t *client;
    tally_db_t *db;
};

//  ---- two brokers, one of them behind the proxy --------------------------------------------------------------

static void
write_conf(struct fixture *f, const char *dir)
{
    static const char *const workers[] = {"responses", "statistics", "export", "heartbeat"};
    const tally_home_t *home = f->home;
    char *path = tally_format("%s/tally.conf", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "front = %s\nsink = %s\nfeed = %s\nlanes = %s\ndb = \"%s\"\n"
            "[tallyd]\ndb = \"host=%s/p dbname=tally user=tally\"\n",
            home->front, home->sink, home->feed, home->lanes, home->db, dir);
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        fprintf(file, "[%s]\nfront = \"%s\"\n", workers[i], f->fronts);
    }
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void
start_second(struct fixture *f)
{
    const char *programs = getenv("TALLY_BIN_DIR");
    char *program = tally_format("%s/tallyd", programs == NULL ? "build/bin" : programs);
    char *front = tally_format("%s-2", f->home->front);
    char *sink = tally_format("%s-2", f->home->sink);
    char *feed = tally_format("%s-2", f->home->feed);
    const char *const words[] = {"tallyd",       "--front", front,       "--sink",
                                 sink,           "--feed",  feed,        "--lanes",
                                 f->home->lanes, "--db",    f->home->db, NULL};
    char *log = tally_format("%s/log/second.log", f->home->dir);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
    int rc = posix_spawn(&f->second, program, &files, NULL, (char *const *)(uintptr_t)words,
                         environ);
    posix_spawn_file_actions_destroy(&files);
    assert_int_equal(rc, 0);
    free(program);
    free(front);
    free(sink);
    free(feed);
    free(log);
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    const char *dir = tally_instance_dir(f->instance);
    tally_instance_must(f->instance, "up", NULL);
    tally_instance_must(f->instance, "down", NULL);
    f->home = tally_home_open(dir);
    assert_non_null(f->home);
    f->fronts = tally_format("%s, %s-2", f->home->front, f->home->front);
    char *folder = tally_format("%s/p", dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    f->proxy = tally_proxy_child_start(3, NULL);
    tally_proxy_child_tell(f->proxy, "link db ipc://%s/.s.PGSQL.5432 ipc://%s/.s.PGSQL.5432",
                           folder, f->home->run);
    free(folder);
    write_conf(f, dir);
    tally_instance_must(f->instance, "up", NULL);
    f->client = tally_client_new(f->fronts);
    f->db = tally_db_new(f->home->db, "test-partition");
    start_second(f);
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    tally_db_destroy(&f->db);
    if (f->second > 0) {
        kill(f->second, SIGTERM);
        waitpid(f->second, NULL, 0);
    }
    int rc = tally_instance_destroy(&f->instance);
    rc = tally_proxy_child_stop(&f->proxy) == 0 ? rc : -1;
    tally_home_destroy(&f->home);
    free(f->fronts);
    free(f);
    return rc;
}

//  ---- looking --------------------------------------------------------------------------------------------------

static int64_t
ask_number(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_connect(f->db), TALLY_DB_DONE);
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

//  So many other brokers are known to the one that answers, and workers.
static bool
sees(struct fixture *f, size_t standbys, size_t workers)
{
    const char *text = tally_client_admin(f->client, "{\"op\":\"status\"}", BACK_MS);
    assert_non_null(text);
    json_t *status = json_loads(text, 0, NULL);
    json_t *broker = json_object_get(status, "broker");
    bool all = json_array_size(json_object_get(broker, "standbys")) >= standbys
               && json_array_size(json_object_get(status, "workers")) >= workers;
    json_decref(status);
    return all;
}

static bool
standby_is_known(void *f)
{
    return sees(f, 1, 6);
}

static bool
workers_are_there(void *f)
{
    return sees(f, 0, 6);
}

static bool
second_is_active(void *f)
{
    return ask_number(f, "select epoch from tally.broker") == 3;
}

//  The old one has ended, been started again, and stands by.
static bool
old_one_stands_by(void *f)
{
    return ask_number(f, "select count(*) from pg_stat_activity where datname = current_database() "
                         "and application_name like 'tallyd-standby %'")
           == 1;
}

//  ---- scenes -------------------------------------------------------------------------------------------------

static void
send_some(struct fixture *f)
{
    const tally_message_t message = {.body = "x", .body_bytes = 1};
    for (int i = 0; i < MESSAGES; i++) {
        assert_int_equal(tally_client_send(f->client, "plain", "acme", &message, 1, BACK_MS, NULL),
                         0);
    }
}

static void
partitioned_broker_is_replaced_and_left(struct fixture *f, const char *fault)
{
    tally_instance_must(f->instance, "queue", "put", "plain", NULL);
    assert_true(tally_wait_until(standby_is_known, f, BACK_MS));
    assert_int_equal(ask_number(f, "select epoch from tally.broker"),
                     2);    // 1: before set_up's down
    int64_t began_ms = tally_clock_now_ms();
    tally_proxy_child_tell(f->proxy, "%s db both", fault);
    send_some(f);
    assert_true(tally_wait_until(second_is_active, f, BACK_MS));
    int64_t active_ms = tally_clock_now_ms() - began_ms;
    assert_int_equal(tally_client_flush(f->client, BACK_MS), 0);
    int64_t confirmed_ms = tally_clock_now_ms() - began_ms;
    assert_true(tally_wait_until(workers_are_there, f, BACK_MS));
    int64_t workers_ms = tally_clock_now_ms() - began_ms;
    print_message("%s: another active after %" PRId64 " ms, sends confirmed after %" PRId64
                  " ms, all workers there after %" PRId64 " ms\n",
                  fault, active_ms, confirmed_ms, workers_ms);
    assert_int_equal(ask_number(f, "select count(*) from tally.message m join tally.queue q "
                                   "on q.id = m.queue where q.name = 'plain'"),
                     MESSAGES);
    tally_proxy_child_tell(f->proxy, "heal *");
    assert_true(tally_wait_until(old_one_stands_by, f, BACK_MS));
    assert_int_equal(ask_number(f, "select count(*) from tally.message m join tally.queue q "
                                   "on q.id = m.queue where q.name = 'plain'"),
                     MESSAGES);
    assert_int_equal(ask_number(f, "select epoch from tally.broker"), 3);
}

//  Nobody hears of the other's end; what was under way goes on when the partition heals.
static void
stalled_broker_is_replaced(void **state)
{
    partitioned_broker_is_replaced_and_left(*state, "stall");
}

static void
broker_in_a_black_hole_is_replaced(void **state)
{
    partitioned_broker_is_replaced_and_left(*state, "swallow");
}

#define SCENE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        SCENE(stalled_broker_is_replaced),
        SCENE(broker_in_a_black_hole_is_replaced),
    };
    return cmocka_run_group_tests_name("partition", tests, NULL, NULL);
}
