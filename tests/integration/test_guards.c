// SPDX-License-Identifier: MIT
//  The broker as a process among others that stop, hang, sit on locks and run out: it goes on serving, and what was
//  promised holds.  What it does with frames that are wrong is in test_hostile.c.

#include <czmq.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/db.h"
#include "lib/limits.h"
#include "tests/integration/instance.h"
#include "tests/integration/stranger.h"

#define IDLE_LIMIT_MS 1000
#define ANSWER_MS 10000

#define SILENT 200

//  Connections that say nothing.
struct silent {
    int fds[SILENT];
    size_t count;
};

struct fixture {
    tally_instance_t *instance;
    tally_client_t *good;
    tally_db_t *db;
    tally_stranger_t *one, *two;    // of the test's making
    tally_db_t *idle;               // likewise
    pid_t stopped;                  // goes on in the end, 0: none
    pid_t limited;                  // gets its limit back in the end, 0: none
    struct rlimit limit;
    struct silent silent;
};

static int
set_up_all(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    tally_instance_must(f->instance, "up", "--workers", "heartbeat=1", NULL);
    f->good = tally_client_new(tally_instance_endpoint(f->instance));
    f->db = tally_db_new(tally_instance_conninfo(f->instance), "test");
    tally_instance_must(f->instance, "queue", "put", "guards", "--visibility", "500ms", NULL);
    tally_instance_must(f->instance, "queue", "put", "lanes", "--visibility", "1h", NULL);
    return tally_db_connect(f->db) == TALLY_DB_DONE ? 0 : -1;
}

static int
tear_down_all(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->good);
    tally_db_destroy(&f->db);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

static void
close_silent(struct fixture *f)
{
    while (f->silent.count > 0) {
        close(f->silent.fds[--f->silent.count]);
    }
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->stopped != 0) {
        kill(f->stopped, SIGCONT);
        f->stopped = 0;
    }
    tally_stranger_destroy(&f->one);
    tally_stranger_destroy(&f->two);
    tally_db_destroy(&f->idle);
    tally_db_rollback(f->db);
    close_silent(f);
    if (f->limited != 0) {
        (void)prlimit(f->limited, RLIMIT_NOFILE, &f->limit, NULL);
        f->limited = 0;
    }
    return 0;
}

static tally_stranger_t *
stranger(struct fixture *f)
{
    return tally_stranger_new(tally_instance_endpoint(f->instance));
}

static int64_t
look(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    assert_int_equal(rows.rows, 1);
    return tally_rows_int8(&rows, 0, 0);
}

static void
good_client_is_served(struct fixture *f, int within_ms)
{
    const tally_message_t message = {.body = "good", .body_bytes = 4};
    tally_event_t event;
    int rc = tally_client_send_wait(f->good, "guards", "good", &message, 1, within_ms, &event);
    assert_int_equal(rc, 0);
    assert_int_equal(event.kind, TALLY_EVENT_CONFIRMED);
}

static void
stop(struct fixture *f, pid_t pid)
{
    assert_int_equal(kill(pid, SIGSTOP), 0);
    f->stopped = pid;
}

static void
go_on(struct fixture *f)
{
    assert_int_equal(kill(f->stopped, SIGCONT), 0);
    f->stopped = 0;
}

//  ---- PostgreSQL that does not answer -----------------------------------------------------------

//  Sends until it is said that PostgreSQL is away.
static void
hear_away(tally_stranger_t *peer, int timeout_ms)
{
    tally_heard_t heard = {0};
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    while (heard.code != TALLY_E_AWAY) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        tally_stranger_send(peer, "guards", "stranger", "x");
        (void)tally_stranger_hear(peer, 100, &heard);
    }
}

//  The postmaster takes connections, as its kernel does for it, and never answers.
static void
a_database_that_never_answers_leaves_the_broker_awake(void **state)
{
    struct fixture *f = *state;
    f->one = stranger(f);
    tally_stranger_hello(f->one);
    good_client_is_served(f, ANSWER_MS);
    stop(f, tally_instance_pid(f->instance, "postgres"));
    assert_int_equal(look(f, "select pg_terminate_backend(pid)::int from pg_stat_activity"
                             " where application_name = 'tallyd-tick'"),
                     1);
    hear_away(f->one, ANSWER_MS);
    int64_t until_ms = tally_clock_now_ms() + 3000;
    while (tally_clock_now_ms() < until_ms) {
        tally_heard_t heard;
        uint64_t sequence = tally_stranger_send(f->one, "guards", "stranger", "x");
        do {
            assert_true(tally_stranger_hear(f->one, 1000, &heard));
        } while (heard.head.request != sequence);
        assert_int_equal(heard.code, TALLY_E_AWAY);
        poll(NULL, 0, 20);
    }
    go_on(f);
    good_client_is_served(f, ANSWER_MS);
}

//  Its backend hangs; there is no telling whether it will commit, until it was looked up and cannot any more.
static void
a_tick_that_is_never_answered_is_looked_up_on_another_connection(void **state)
{
    struct fixture *f = *state;
    good_client_is_served(f, ANSWER_MS);
    stop(f, (pid_t)look(f, "select pid from pg_stat_activity"
                           " where application_name = 'tallyd-tick'"));
    good_client_is_served(f, TALLY_TICK_MS_MAX + 5000);
    go_on(f);
    good_client_is_served(f, ANSWER_MS);
}

//  ---- statements that fail on data --------------------------------------------------------------

static long
status_number(struct fixture *f, const char *name)
{
    const char *reply = tally_client_admin(f->good, "{\"op\":\"status\"}", ANSWER_MS);
    assert_non_null(reply);
    char member[60];
    snprintf(member, sizeof member, "\"%s\":", name);
    const char *at = strstr(reply, member);
    assert_non_null(at);
    return strtol(at + strlen(member), NULL, 10);
}

//  No statement of ours fails on data, so one is made to.  1 of 64 is bad; it is found by halving, so
//  the search costs at most two rejected ticks for each halving.
static void
an_input_that_postgresql_rejects_is_refused_alone(void **state)
{
    enum { SENDS = 64, BAD = 37, HALVINGS = 6 };
    struct fixture *f = *state;
    f->one = stranger(f);
    tally_stranger_hello(f->one);
    long before = status_number(f, "rejected");
    const char *const poison =
        "create function tally.test_poison() returns trigger language plpgsql as $$ begin"
        " if new.body = 'poison'::bytea then raise exception 'poison' using errcode = '22000';"
        " end if; return new; end $$;"
        "create trigger test_poison before insert on tally.message for each row"
        " execute function tally.test_poison()";
    assert_int_equal(tally_db_script(f->db, poison), TALLY_DB_DONE);
    for (int i = 0; i < SENDS; i++) {
        tally_stranger_send(f->one, "guards", "stranger", i == BAD ? "poison" : "good");
    }
    int confirmed = 0;
    int refused = 0;
    while (confirmed + refused < SENDS) {
        tally_heard_t heard;
        assert_true(tally_stranger_hear(f->one, ANSWER_MS, &heard));
        confirmed += heard.head.verb == TALLY_CONFIRM;
        if (heard.code == TALLY_E_AWAY) {    // came between: said again
            continue;
        }
        if (heard.head.verb == TALLY_ERROR) {
            assert_int_equal(heard.code, TALLY_E_INTERNAL);
            assert_int_equal(heard.head.request, BAD + 1);
            refused++;
        }
    }
    assert_int_equal(tally_db_script(f->db, "drop function tally.test_poison() cascade"),
                     TALLY_DB_DONE);
    assert_int_equal(confirmed, SENDS - 1);
    long rejected = status_number(f, "rejected") - before;
    assert_in_range(rejected, 1, 2 * HALVINGS + 1);
}

//  ---- lanes -------------------------------------------------------------------------------------

//  Settles what the stranger holds, so that the queue is empty for the next test.
static uint64_t
must_lease(tally_stranger_t *worker, int timeout_ms)
{
    tally_delivery_t delivery;
    assert_true(tally_stranger_leased(worker, timeout_ms, &delivery, NULL));
    return delivery.lease;
}

//  PUSH would share the leases out between the two, and nobody could say who has which.
static void
a_second_peer_on_a_lane_ends_it_and_the_leases_go_elsewhere(void **state)
{
    struct fixture *f = *state;
    f->one = stranger(f);
    tally_stranger_join(f->one, "lanes", 1);
    const tally_message_t message = {.body = "x", .body_bytes = 1};
    assert_int_equal(tally_client_send_wait(f->good, "lanes", "good", &message, 1, ANSWER_MS, NULL),
                     0);
    uint64_t first = must_lease(f->one, ANSWER_MS);
    f->two = stranger(f);
    tally_stranger_join(f->two, "lanes", 1);
    zsock_t *intruder = zsock_new_pull(NULL);
    zsock_set_linger(intruder, 0);
    int rc = zsock_connect(intruder, "%s", f->one->lane_endpoint);
    tally_delivery_t delivery;
    bool leased = tally_stranger_leased(f->two, ANSWER_MS, &delivery, NULL);
    zsock_destroy(&intruder);
    assert_int_equal(rc, 0);
    assert_true(leased);
    assert_int_not_equal(delivery.lease, first);
    tally_stranger_record(f->one, TALLY_RECORD_SETTLE, first);    // stale: nothing ends by it
    tally_stranger_record(f->two, TALLY_RECORD_SETTLE, delivery.lease);
}

//  ---- a worker that sits in its transaction -----------------------------------------------------

//  It settled under the row lock of its lease and stopped.  Its deadline passes; nobody waits for it.
//  PostgreSQL ends its session after a second, and another worker gets the message.
static void
a_worker_idle_in_its_transaction_holds_nobody_up(void **state)
{
    struct fixture *f = *state;
    tally_db_t *worker_db = tally_db_new(tally_instance_conninfo(f->instance), "test-worker");
    tally_db_set_idle_limit_ms(worker_db, IDLE_LIMIT_MS);
    f->idle = worker_db;
    f->one = stranger(f);
    tally_stranger_join(f->one, "guards", 1);
    good_client_is_served(f, ANSWER_MS);
    uint64_t lease = must_lease(f->one, ANSWER_MS);
    char sql[80];
    snprintf(sql, sizeof sql, "select tally.settle(%llu, null)", (unsigned long long)lease);
    int64_t began_ms = tally_clock_now_ms();
    assert_int_equal(tally_db_begin(worker_db, TALLY_DB_READ_COMMITTED), TALLY_DB_DONE);
    assert_int_equal(tally_db_script(worker_db, sql), TALLY_DB_DONE);
    f->two = stranger(f);
    tally_stranger_join(f->two, "guards", 1);
    int64_t slowest_ms = 0;
    tally_delivery_t delivery = {0};
    bool leased = false;
    while (!leased && tally_clock_now_ms() - began_ms < ANSWER_MS) {
        int64_t sent_ms = tally_clock_now_ms();
        const tally_message_t message = {.body = "x", .body_bytes = 1};
        assert_int_equal(tally_client_send_wait(f->good, "lanes", "good", &message, 1, ANSWER_MS,
                                                NULL),
                         0);
        int64_t took_ms = tally_clock_now_ms() - sent_ms;
        slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
        tally_stranger_record(f->two, TALLY_RECORD_BEAT, 0);
        leased = tally_stranger_leased(f->two, 20, &delivery, NULL);
    }
    int64_t waited_ms = tally_clock_now_ms() - began_ms;
    assert_true(leased);
    assert_int_not_equal(delivery.lease, lease);
    print_message("redelivered after %lld ms, slowest send %lld ms\n", (long long)waited_ms,
                  (long long)slowest_ms);
    assert_true(waited_ms >= IDLE_LIMIT_MS);
    assert_true(slowest_ms < IDLE_LIMIT_MS);    // or a send had waited for the session's end
    assert_int_not_equal(tally_db_commit(worker_db), TALLY_DB_DONE);
    tally_stranger_record(f->two, TALLY_RECORD_SETTLE, delivery.lease);
}

static void
connect_silently(struct fixture *f, size_t count)
{
    const char *path = tally_instance_endpoint(f->instance) + strlen("ipc://");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    assert_true(strlen(path) < sizeof address.sun_path);
    memcpy(address.sun_path, path, strlen(path));
    for (size_t i = 0; i < count; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_not_equal(fd, -1);
        f->silent.fds[f->silent.count++] = fd;
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    }
}

//  ---- memory ------------------------------------------------------------------------------------

//  A connection that speaks ZMTP by hand: the greeting and READY of a DEALER of that name, at most 200 bytes, then
//  whatever is written.
static int
speak_zmtp(struct fixture *f, const char *name, size_t size)
{
    uint8_t hello[64 + 2 + 255] = {0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    static const char ready[] = "\5READY\13Socket-Type\0\0\0\6DEALER\10Identity\0\0\0";
    uint8_t *at = hello + 66;
    memcpy(at, ready, sizeof ready - 1);
    at += sizeof ready - 1;
    *at++ = (uint8_t)size;
    memcpy(at, name, size);
    at += size;
    hello[64] = 4;
    hello[65] = (uint8_t)(at - hello - 66);
    connect_silently(f, 1);
    int fd = f->silent.fds[f->silent.count - 1];
    assert_int_equal(write(fd, hello, (size_t)(at - hello)), at - hello);
    return fd;
}

//  The other side has ended the connection, whatever it said before.
static void
hear_the_end(int fd)
{
    char rest[200];
    struct pollfd item = {.fd = fd, .events = POLLIN};
    ssize_t got = 1;
    while (got > 0) {
        assert_int_equal(poll(&item, 1, 2000), 1);
        got = recv(fd, rest, sizeof rest, 0);
    }
}

//  False when the other side ended the connection.
static bool
write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t wrote = send(fd, bytes, size, MSG_NOSIGNAL);
        if (wrote <= 0) {
            return false;
        }
        bytes += wrote;
        size -= (size_t)wrote;
    }
    return true;
}

static long
resident_mib(pid_t pid)
{
    char path[40];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d %ld", &pages), 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
}

//  Frame after frame of one message that never ends: libzmq keeps them all and counts none.
static void
a_multipart_that_never_ends_is_ended(void **state)
{
    enum { FRAME = 1024 * 1024, FRAMES = 1024 };
    struct fixture *f = *state;
    good_client_is_served(f, ANSWER_MS);
    pid_t broker = tally_instance_pid(f->instance, "tallyd");
    long before = status_number(f, "connections_ended");
    long before_mib = resident_mib(broker);
    int fd = speak_zmtp(f, "", 0);
    static char frame[9 + FRAME] = {3, 0, 0, 0, 0, 0, FRAME >> 16, 0, 0};    // long, more to come
    int sent = 0;
    while (sent < FRAMES && write_all(fd, frame, sizeof frame)) {
        sent++;
    }
    long most_mib = resident_mib(broker) - before_mib;
    print_message("ended after %d MiB, which took %ld MiB\n", sent, most_mib);
    assert_true(sent < FRAMES);
    assert_true(most_mib < TALLY_UNREAD_BYTES_MAX / (1024 * 1024) + 50);
    assert_int_equal(status_number(f, "connections_ended"), before + 1);
    good_client_is_served(f, ANSWER_MS);
    assert_int_equal(tally_instance_pid(f->instance, "tallyd"), broker);
}

//  A frame's length is believed by nobody: beyond the limit the connection ends, and nothing is allocated.
static void
a_frame_that_says_it_is_a_gibibyte_ends_its_connection(void **state)
{
    struct fixture *f = *state;
    static const char gibibyte[] = {2, 0, 0, 0, 0, 0x40, 0, 0, 0};
    int fd = speak_zmtp(f, "", 0);
    assert_true(write_all(fd, gibibyte, sizeof gibibyte));
    hear_the_end(fd);
    good_client_is_served(f, ANSWER_MS);
}

//  It may be the number that the front gives next: libzmq would abort.
static void
a_peer_that_brings_a_name_does_not_come_in(void **state)
{
    struct fixture *f = *state;
    static const char number[] = {0, 0x6b, 0x7b, 0x45, 0x67};
    good_client_is_served(f, ANSWER_MS);
    long before = status_number(f, "connections_ended");
    hear_the_end(speak_zmtp(f, number, sizeof number));
    hear_the_end(speak_zmtp(f, "name", 4));
    assert_int_equal(status_number(f, "connections_ended"), before + 2);
    good_client_is_served(f, ANSWER_MS);
}

//  ---- descriptors -------------------------------------------------------------------------------

static size_t
count_files(pid_t pid)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    if (folder == NULL && geteuid() != 0) {
        print_message("only root may look into the broker\n");
        skip();
    }
    assert_non_null(folder);
    size_t count = 0;
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

static bool
has_refused(void *argument)
{
    struct fixture *f = argument;
    return status_number(f, "connections_refused") > 0;
}

//  A lane needs descriptors, and so does whoever connects; both are refused or wait, and those who are there go on.
static void
without_descriptors_the_broker_serves_those_it_knows(void **state)
{
    struct fixture *f = *state;
    f->one = stranger(f);
    tally_stranger_hello(f->one);
    good_client_is_served(f, ANSWER_MS);
    pid_t broker = tally_instance_pid(f->instance, "tallyd");
    struct rlimit before;
    assert_int_equal(prlimit(broker, RLIMIT_NOFILE, NULL, &before), 0);
    //  Four for whoever comes; the reserve is an eighth.
    size_t files = (count_files(broker) + 4) * 8 / 7;
    struct rlimit few = {.rlim_cur = files, .rlim_max = before.rlim_max};
    assert_int_equal(prlimit(broker, RLIMIT_NOFILE, &few, NULL), 0);
    f->limited = broker;
    f->limit = before;
    connect_silently(f, SILENT);
    assert_true(tally_wait_until(has_refused, f, 5000));
    const tally_hello_t hello = {.role = TALLY_ROLE_WORKER,
                                 .version_min = TALLY_WIRE_VERSION,
                                 .version_max = TALLY_WIRE_VERSION,
                                 .name = tally_bytes_of("stranger"),
                                 .credit = 1,
                                 .queue_count = 1,
                                 .queues = {tally_bytes_of("guards")}};
    tally_hello_write(&f->one->wire, 7, &hello);
    tally_stranger_say(f->one);
    tally_heard_t heard;
    assert_true(tally_stranger_hear(f->one, ANSWER_MS, &heard));
    assert_int_equal(heard.head.verb, TALLY_ERROR);
    for (int i = 0; i < 20; i++) {
        good_client_is_served(f, 1000);
    }
    close_silent(f);
    f->two = stranger(f);
    tally_stranger_hello(f->two);
    tally_stranger_destroy(&f->two);
    f->two = stranger(f);
    tally_stranger_join(f->two, "lanes", 1);
    assert_int_equal(tally_instance_pid(f->instance, "tallyd"), broker);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    zsys_handler_set(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_database_that_never_answers_leaves_the_broker_awake, tear_down),
        cmocka_unit_test_teardown(an_input_that_postgresql_rejects_is_refused_alone, tear_down),
        cmocka_unit_test_teardown(a_second_peer_on_a_lane_ends_it_and_the_leases_go_elsewhere,
                                  tear_down),
        cmocka_unit_test_teardown(a_worker_idle_in_its_transaction_holds_nobody_up, tear_down),
        cmocka_unit_test_teardown(a_multipart_that_never_ends_is_ended, tear_down),
        cmocka_unit_test_teardown(a_frame_that_says_it_is_a_gibibyte_ends_its_connection,
                                  tear_down),
        cmocka_unit_test_teardown(a_peer_that_brings_a_name_does_not_come_in, tear_down),
        cmocka_unit_test_teardown(without_descriptors_the_broker_serves_those_it_knows, tear_down),
        cmocka_unit_test_teardown(a_tick_that_is_never_answered_is_looked_up_on_another_connection,
                                  tear_down),
    };
    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
