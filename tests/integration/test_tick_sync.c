// SPDX-License-Identifier: MIT
//  What PostgreSQL says of a tick at its very end: the sync commits it, and an error of the commit itself, or a
//  transaction that is still open behind the sync, must not pass for done.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/recover_store.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tests/integration/pg.h"
#include "tests/integration/tick_scene.h"

#define PATIENCE_MS 10000

struct fixture {
    tick_scene_t scene;
    tally_recover_store_t *reader;
    char dir[64];
    struct sockaddr_un behind;    // of the server
    pid_t relay;
    int orders;    // to the relay, and what it says to them
};

//  ---- a relay that can begin a transaction ----------------------------------------------------------------

//  One connection passes through it, as if it were not there.  On order, it sends BEGIN to the server between two
//  ticks, and keeps the answer to itself: a pooler that gives a session away before its transaction is over.

static void
pass(int from, int to)
{
    char bytes[65536];
    ssize_t got = read(from, bytes, sizeof bytes);
    if (got <= 0 || send(to, bytes, (size_t)got, MSG_NOSIGNAL) != got) {
        _exit(0);    // either side is gone
    }
}

static void
begin_behind(int server)
{
    static const char begin[] = {'Q', 0, 0, 0, 10, 'b', 'e', 'g', 'i', 'n', 0};
    //  CommandComplete BEGIN, ReadyForQuery in a transaction
    char answer[11 + 6];
    size_t got = 0;
    if (write(server, begin, sizeof begin) != sizeof begin) {
        _exit(1);
    }
    while (got < sizeof answer) {
        ssize_t more = read(server, answer + got, sizeof answer - got);
        if (more <= 0) {
            _exit(1);
        }
        got += (size_t)more;
    }
    if (answer[11] != 'Z' || answer[16] != 'T') {
        _exit(1);
    }
}

static void
run_relay(const struct fixture *f, int listener, int orders)
{
    int client = accept(listener, NULL, NULL);
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    if (client == -1 || server == -1
        || connect(server, (const struct sockaddr *)&f->behind, sizeof f->behind) == -1) {
        _exit(1);
    }
    for (;;) {
        struct pollfd items[3] = {{client, POLLIN, 0}, {server, POLLIN, 0}, {orders, POLLIN, 0}};
        (void)poll(items, 3, -1);
        if (items[0].revents != 0) {
            pass(client, server);
        }
        if (items[1].revents != 0) {
            pass(server, client);
        }
        if (items[2].revents != 0) {
            char order;
            if (read(orders, &order, 1) != 1) {
                _exit(0);    // the test is over
            }
            begin_behind(server);
            if (write(orders, &order, 1) != 1) {
                _exit(1);
            }
        }
    }
}

static char *
show(struct fixture *f, const char *sql)
{
    tally_rows_t rows;
    tick_scene_must(tally_db_run(f->scene.looker, sql, NULL, &rows));
    tally_bytes_t text = tally_rows_bytes(&rows, 0, 0);
    return tally_strndup(text.data, text.size);
}

//  Puts the relay between the store and its server, for one connection.
static void
put_relay_between(struct fixture *f)
{
    char *where = show(f, "show unix_socket_directories");
    char *port = show(f, "show port");
    struct sockaddr_un front = {.sun_family = AF_UNIX};
    f->behind.sun_family = AF_UNIX;
    snprintf(f->behind.sun_path, sizeof f->behind.sun_path, "%s/.s.PGSQL.%s", where, port);
    snprintf(front.sun_path, sizeof front.sun_path, "%.64s/.s.PGSQL.%.8s", f->dir, port);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int pair[2];
    assert_int_equal(bind(listener, (struct sockaddr *)&front, sizeof front), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    f->relay = fork();
    if (f->relay == 0) {
        close(pair[0]);
        run_relay(f, listener, pair[1]);
    }
    close(pair[1]);
    close(listener);
    f->orders = pair[0];
    char *through = tally_format("%s host=%s", tally_pg_conninfo(tally_pg_shared()), f->dir);
    tally_tick_store_destroy(&f->scene.store);
    f->scene.store = tally_tick_store_new(through, true);
    free(through);
    free(where);
    free(port);
    tick_scene_must(tally_tick_store_connect(f->scene.store));
    unlink(front.sun_path);
}

static void
begin_behind_its_back(struct fixture *f)
{
    char order = 'b';
    struct pollfd item = {f->orders, POLLIN, 0};
    assert_int_equal(write(f->orders, &order, 1), 1);
    assert_int_equal(poll(&item, 1, PATIENCE_MS), 1);
    assert_int_equal(read(f->orders, &order, 1), 1);
}

//  ---- scene ------------------------------------------------------------------------------------------------

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->orders = -1;
    snprintf(f->dir, sizeof f->dir, "/tmp/tally-sync-XXXXXX");
    int rc = tick_scene_open(&f->scene, NULL);
    f->reader = tally_recover_store_new(tally_pg_conninfo(tally_pg_shared()));
    return mkdtemp(f->dir) != NULL ? rc : -1;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tick_scene_close(&f->scene);
    tally_recover_store_destroy(&f->reader);
    if (f->orders != -1) {
        close(f->orders);
        waitpid(f->relay, NULL, 0);
    }
    rmdir(f->dir);
    free(f);
    return 0;
}

//  A tick that inserts one message.
static tally_db_outcome_t
tick(struct fixture *f, uint64_t id)
{
    *TALLY_PUSH(
        &f->scene.plan->messages) = (tally_plan_message_t){.id = id,
                                                           .tenant = TICK_SCENE_TENANT,
                                                           .queue = 1,
                                                           .priority = TALLY_PRIORITY_DEFAULT,
                                                           .body = tally_bytes_of("body")};
    return tick_scene_tick(&f->scene, TICK_SCENE_EPOCH);
}

//  What the broker would find of the last tick, asked until the server has made up its mind.
static bool
is_recorded(struct fixture *f)
{
    bool found = false;
    tally_db_outcome_t outcome = TALLY_DB_RETRY;
    int64_t give_up_at_ms = tally_clock_now_ms() + PATIENCE_MS;
    while (outcome == TALLY_DB_RETRY) {
        assert_true(tally_clock_now_ms() < give_up_at_ms);
        outcome = tally_recover_store_find_tick(f->reader, TICK_SCENE_EPOCH, f->scene.plan->number,
                                                &found);
    }
    tick_scene_must(outcome);
    return found;
}

//  ---- tests ------------------------------------------------------------------------------------------------

//  Every statement succeeds, and the commit fails: nothing in the answers to the statements says so.
static void
commit_that_fails_by_itself_is_not_done(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(tick(f, 1000));
    tick_scene_must(
        tally_db_script(f->scene.looker,
                        "create function refuse() returns trigger language plpgsql as "
                        "$$ begin raise exception 'not this one' using errcode = '23514'; end $$;"
                        "create constraint trigger late after insert on tally.message "
                        "deferrable initially deferred for each row execute function refuse()"));
    assert_int_equal(tick(f, 1001), TALLY_DB_UNKNOWN);
    assert_string_equal(tally_tick_store_sqlstate(f->scene.store), "23514");
    assert_false(tally_tick_store_connected(f->scene.store));
    assert_false(is_recorded(f));
    assert_int_equal(tick_scene_look(&f->scene,
                                     "select count(*) from tally.message where id = 1001"),
                     0);
    tick_scene_must(tally_db_script(f->scene.looker, "drop trigger late on tally.message"));
    tick_scene_must(tick(f, 1002));
    assert_true(is_recorded(f));
}

//  In a transaction that somebody else began, the sync is answered and nothing is committed.
static void
sync_that_commits_nothing_is_not_done(void **state)
{
    struct fixture *f = *state;
    put_relay_between(f);
    tick_scene_must(tick(f, 1000));
    begin_behind_its_back(f);
    assert_int_equal(tick(f, 1001), TALLY_DB_UNKNOWN);
    assert_false(tally_tick_store_connected(f->scene.store));
    assert_false(is_recorded(f));
    assert_int_equal(tick_scene_look(&f->scene,
                                     "select count(*) from tally.message where id >= 1000"),
                     1);
}

static void
tick_reads_what_is_committed_whatever_the_database_is_set_to(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(
        tally_db_script(f->scene.looker,
                        "do $$ begin execute format('alter database %I set "
                        "default_transaction_isolation = serializable', current_database()); "
                        "end $$;"
                        "create table isolation (level text);"
                        "create function note() returns trigger language plpgsql as $$ begin "
                        "insert into isolation values (current_setting('transaction_isolation'));"
                        " return null; end $$;"
                        "create trigger note after insert on tally.message "
                        "for each row execute function note()"));
    tally_tick_store_disconnect(f->scene.store);
    tick_scene_must(tick(f, 1000));
    assert_int_equal(
        tick_scene_look(&f->scene, "select count(*) from isolation where level = 'read committed'"),
        1);
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    tally_log_set_level(TALLY_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        SCENE(commit_that_fails_by_itself_is_not_done),
        SCENE(sync_that_commits_nothing_is_not_done),
        SCENE(tick_reads_what_is_committed_whatever_the_database_is_set_to),
    };
    return cmocka_run_group_tests_name("tick_sync", tests, tally_pg_share, tally_pg_unshare);
}
