// SPDX-License-Identifier: MIT
//  Each fault does what it says, no more, and is counted; without any the proxy is as if it were not there.

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/faults/proxy_child.h"

#define WAIT_MS 5000

struct fixture {
    tally_proxy_child_t *proxy;
    char *dir, *control;
    int listener, client, server;    // -1: closed
    char *place;                     // where clients connect
};

//  ---- sockets ------------------------------------------------------------------------------------

static struct sockaddr_un
unix_address(const char *endpoint)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", endpoint + strlen("ipc://"));
    return address;
}

static struct sockaddr_in
tcp_address(const char *endpoint)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)strtoul(strrchr(endpoint, ':') + 1, NULL, 10));
    return address;
}

static int
with_deadline(int fd)
{
    const struct timeval time = {.tv_sec = WAIT_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
    return fd;
}

//  0 or errno.
static int
try_connect(const char *endpoint, int *fd)
{
    bool is_unix = endpoint[0] == 'i';
    struct sockaddr_un un = is_unix ? unix_address(endpoint) : (struct sockaddr_un){0};
    struct sockaddr_in in = is_unix ? (struct sockaddr_in){0} : tcp_address(endpoint);
    *fd = with_deadline(socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    int rc = is_unix ? connect(*fd, (struct sockaddr *)&un, sizeof un)
                     : connect(*fd, (struct sockaddr *)&in, sizeof in);
    return rc == 0 ? 0 : errno;
}

static int
listen_unix(const char *endpoint)
{
    struct sockaddr_un address = unix_address(endpoint);
    int fd = with_deadline(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static int
listen_tcp(char **endpoint)
{
    struct sockaddr_in address = tcp_address("tcp://127.0.0.1:0");
    socklen_t size = sizeof address;
    int fd = with_deadline(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 16), 0);
    getsockname(fd, (struct sockaddr *)&address, &size);
    *endpoint = tally_format("tcp://127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

static void
close_one(int *fd)
{
    if (*fd != -1) {
        close(*fd);
        *fd = -1;
    }
}

static void
open_pair(struct fixture *f)
{
    close_one(&f->client);
    close_one(&f->server);
    assert_int_equal(try_connect(f->place, &f->client), 0);
    f->server = with_deadline(accept(f->listener, NULL, NULL));
    assert_true(f->server != -1);
}

static void
say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void
hears(int fd, const char *text)
{
    char heard[256];
    size_t size = strlen(text);
    assert_int_equal(recv(fd, heard, size, MSG_WAITALL), size);
    assert_memory_equal(heard, text, size);
}

//  Bytes until the end; *error is 0 for an end, errno for anything else.
static size_t
hear_all(int fd, int *error)
{
    char waste[65536];
    size_t sum = 0;
    ssize_t size;
    while ((size = recv(fd, waste, sizeof waste, 0)) > 0) {
        sum += (size_t)size;
    }
    *error = size == 0 ? 0 : errno;
    return sum;
}

static bool
is_silent(int fd, int ms)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    return poll(&look, 1, ms) == 0;
}

//  ---- fixture ------------------------------------------------------------------------------------

static int
set_up_link(void **state, bool tcp)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->listener = f->client = f->server = -1;
    f->dir = tally_strdup("/tmp/tally-proxy-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->control = tally_format("%s/control", f->dir);
    f->proxy = tally_proxy_child_start(7, f->control);
    char *target = NULL;
    if (tcp) {
        f->listener = listen_tcp(&target);
        f->place = tally_strdup(
            tally_proxy_child_tell(f->proxy, "link it tcp://127.0.0.1:0 %s", target));
    } else {
        target = tally_format("ipc://%s/server", f->dir);
        f->place = tally_format("ipc://%s/proxied", f->dir);
        f->listener = listen_unix(target);
        tally_proxy_child_tell(f->proxy, "link it %s %s", f->place, target);
    }
    free(target);
    open_pair(f);
    return 0;
}

static int
set_up_tcp(void **state)
{
    return set_up_link(state, true);
}

static int
set_up_unix(void **state)
{
    return set_up_link(state, false);
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    int rc = tally_proxy_child_stop(&f->proxy);
    close_one(&f->listener);
    close_one(&f->client);
    close_one(&f->server);
    char *proxied = tally_format("%s/proxied", f->dir);
    //  The proxy's own sockets are gone; ours are ours to remove.
    rc = access(proxied, F_OK) == 0 || access(f->control, F_OK) == 0 ? -1 : rc;
    free(proxied);
    for (const char *const *name = (const char *const[]){"server", "real-7", "real-8", NULL};
         *name != NULL; name++) {
        char *path = tally_format("%s/%s", f->dir, *name);
        unlink(path);
        free(path);
    }
    rc = rmdir(f->dir) == -1 ? -1 : rc;
    free(f->dir);
    free(f->control);
    free(f->place);
    free(f);
    return rc;
}

static uint64_t
count(struct fixture *f, const char *counter)
{
    return tally_proxy_child_count(f->proxy, "it", counter);
}

//  ---- tests --------------------------------------------------------------------------------------

static void
bytes_and_ends_pass_both_ways(void **state)
{
    struct fixture *f = *state;
    int error;
    say(f->client, "question");
    hears(f->server, "question");
    shutdown(f->client, SHUT_WR);
    assert_int_equal(hear_all(f->server, &error), 0);
    assert_int_equal(error, 0);
    say(f->server, "answer after the other side's end");
    close_one(&f->server);
    assert_int_equal(hear_all(f->client, &error), strlen("answer after the other side's end"));
    assert_int_equal(error, 0);
    assert_int_equal(count(f, "up_bytes"), 8);
    assert_int_equal(count(f, "down_bytes"), 33);
    assert_int_equal(count(f, "open"), 0);
}

static void
more_than_any_buffer_passes_unchanged(void **state)
{
    struct fixture *f = *state;
    const size_t size = 8u << 20;
    char *sent = tally_alloc(size);
    char *got = tally_alloc(size);
    for (size_t i = 0; i < size; i++) {
        sent[i] = (char)(i * 2654435761u >> 13);
    }
    pid_t writer = fork();
    if (writer == 0) {
        ssize_t rc = send(f->client, sent, size, MSG_NOSIGNAL);
        _exit(rc == (ssize_t)size ? 0 : 1);
    }
    int status = -1;
    ssize_t heard = recv(f->server, got, size, MSG_WAITALL);
    waitpid(writer, &status, 0);
    int difference = memcmp(sent, got, size);
    free(sent);
    free(got);
    assert_int_equal(heard, size);
    assert_int_equal(status, 0);
    assert_int_equal(difference, 0);
}

static void
a_cut_lets_exactly_k_bytes_pass(void **state)
{
    struct fixture *f = *state;
    static const size_t positions[] = {0, 1, 2, 99, 65536, 65537, 150000, 299999};
    static char text[300000];
    uint64_t bitten = 0;
    bool cut = false;    // the last of them
    for (size_t i = 0; i < 2 * sizeof positions / sizeof positions[0]; i++) {
        bool up = i % 2 == 0;
        size_t k = positions[i / 2];
        open_pair(f);
        say(f->client, "before");    // what passed before the command does not count
        hears(f->server, "before");
        tally_proxy_child_tell(f->proxy, "cut it/open %s %zu", up ? "up" : "down", k);
        int error;
        //  Not all of it may find room before the cut.
        ssize_t size = send(up ? f->client : f->server, text, sizeof text,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        assert_true(size > 0);
        cut = (size_t)size > k;
        if (cut) {
            assert_int_equal(hear_all(up ? f->server : f->client, &error), k);
            assert_int_equal(count(f, "cuts"), ++bitten);
        } else {
            tally_proxy_child_tell(f->proxy, "heal it");
        }
    }
    assert_true(bitten >= 10);
    assert_int_equal(count(f, "open"), cut ? 0 : 1);
}

static void
a_cut_that_is_not_reached_has_not_bitten(void **state)
{
    struct fixture *f = *state;
    tally_proxy_child_tell(f->proxy, "cut it up 7");
    say(f->client, "sixsix");
    hears(f->server, "sixsix");
    assert_int_equal(count(f, "cuts"), 0);
    tally_proxy_child_tell(f->proxy, "heal it");
    say(f->client, "and on");
    hears(f->server, "and on");
    assert_int_equal(count(f, "cuts"), 0);
}

static void
a_cut_bites_once_unless_every_connection_is_meant(void **state)
{
    struct fixture *f = *state;
    int error;
    tally_proxy_child_tell(f->proxy, "cut it up 3");
    say(f->client, "abcdef");
    assert_int_equal(hear_all(f->server, &error), 3);
    open_pair(f);
    say(f->client, "abcdef");
    hears(f->server, "abcdef");

    tally_proxy_child_tell(f->proxy, "cut it/new up 3 every");
    say(f->client, "ghi");    // not meant: it was there
    hears(f->server, "ghi");
    for (int i = 0; i < 2; i++) {
        open_pair(f);
        say(f->client, "abcdef");
        assert_int_equal(hear_all(f->server, &error), 3);
    }
    assert_int_equal(count(f, "cuts"), 3);
}

static void
a_reset_is_told_as_a_reset(void **state)
{
    struct fixture *f = *state;
    int error;
    say(f->client, "x");
    hears(f->server, "x");
    tally_proxy_child_tell(f->proxy, "reset it");
    assert_int_equal(hear_all(f->client, &error), 0);
    assert_int_equal(error, ECONNRESET);
    assert_int_equal(hear_all(f->server, &error), 0);
    assert_int_equal(error, ECONNRESET);
    assert_int_equal(count(f, "resets"), 1);

    open_pair(f);
    tally_proxy_child_tell(f->proxy, "cut it up 1 reset");
    say(f->client, "xy");
    assert_int_equal(hear_all(f->server, &error), 1);
    assert_int_equal(error, ECONNRESET);
}

static void
a_reset_of_a_peer_passes(void **state)
{
    struct fixture *f = *state;
    int error;
    say(f->client, "x");
    hears(f->server, "x");
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(f->server, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close_one(&f->server);
    assert_int_equal(hear_all(f->client, &error), 0);
    assert_int_equal(error, ECONNRESET);
}

static void
delayed_bytes_come_late_and_in_order(void **state)
{
    struct fixture *f = *state;
    tally_proxy_child_tell(f->proxy, "delay it down 60 40");
    int64_t began_ms = tally_clock_now_ms();
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%04d", i);
        say(f->server, text);
        say(f->client, "up at once");
        hears(f->server, "up at once");
    }
    assert_true(tally_clock_now_ms() - began_ms < WAIT_MS);
    for (int i = 0; i < 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "%04d", i);
        hears(f->client, text);
    }
    assert_true(tally_clock_now_ms() - began_ms >= 60);
    assert_true(count(f, "delayed") > 0);
}

static void
throttled_bytes_come_at_their_rate(void **state)
{
    struct fixture *f = *state;
    static char text[20000];
    int error;
    tally_proxy_child_tell(f->proxy, "throttle it up 50000");
    int64_t began_ms = tally_clock_now_ms();
    assert_int_equal(send(f->client, text, sizeof text, MSG_NOSIGNAL), sizeof text);
    shutdown(f->client, SHUT_WR);
    assert_int_equal(hear_all(f->server, &error), sizeof text);
    assert_true(tally_clock_now_ms() - began_ms >= 390);
    assert_true(count(f, "throttled") > 0);
}

static void
a_stalled_way_holds_everything_until_it_is_healed(void **state)
{
    struct fixture *f = *state;
    int error;
    tally_proxy_child_tell(f->proxy, "stall it up");
    say(f->client, "held");
    say(f->server, "the other way is open");
    hears(f->client, "the other way is open");
    close_one(&f->client);    // its end is not heard either
    assert_true(is_silent(f->server, 50));
    assert_int_equal(count(f, "stalled"), 1);
    tally_proxy_child_tell(f->proxy, "heal it");
    assert_int_equal(hear_all(f->server, &error), 4);
}

static void
a_swallowed_way_loses_what_was_sent_and_never_goes_on(void **state)
{
    struct fixture *f = *state;
    int error;
    tally_proxy_child_tell(f->proxy, "swallow it up");
    say(f->client, "lost");
    say(f->server, "the other way is open");
    hears(f->client, "the other way is open");
    assert_true(is_silent(f->server, 50));
    assert_int_equal(count(f, "swallowed_bytes"), 4);
    tally_proxy_child_tell(f->proxy, "heal it");
    assert_int_equal(hear_all(f->server, &error), 0);
    open_pair(f);
    say(f->client, "a new one");
    hears(f->server, "a new one");
}

static void
a_swallowed_peer_may_die_unheard(void **state)
{
    struct fixture *f = *state;
    tally_proxy_child_tell(f->proxy, "swallow it up");
    close_one(&f->client);
    for (int i = 0; i < 5; i++) {
        say(f->server, "is anybody there?");
        assert_true(is_silent(f->server, 10));
    }
    assert_int_equal(count(f, "open"), 1);
}

static void
connections_are_refused_rejected_or_kept_waiting(void **state)
{
    struct fixture *f = *state;
    int error;
    close_one(&f->client);
    tally_proxy_child_tell(f->proxy, "refuse it");
    assert_int_equal(try_connect(f->place, &f->client), ECONNREFUSED);
    close_one(&f->client);

    tally_proxy_child_tell(f->proxy, "reject it");
    assert_int_equal(try_connect(f->place, &f->client), 0);
    assert_int_equal(hear_all(f->client, &error), 0);
    assert_int_equal(count(f, "rejected"), 1);
    close_one(&f->client);

    tally_proxy_child_tell(f->proxy, "pause it");
    assert_int_equal(try_connect(f->place, &f->client), 0);
    say(f->client, "patience");
    assert_true(is_silent(f->listener, 50));
    assert_int_equal(count(f, "paused"), 1);
    tally_proxy_child_tell(f->proxy, "accept it");
    close_one(&f->server);
    f->server = with_deadline(accept(f->listener, NULL, NULL));
    hears(f->server, "patience");
}

static void
a_target_that_is_not_there_is_a_reset(void **state)
{
    struct fixture *f = *state;
    int error;
    close_one(&f->listener);
    int rc = try_connect(f->place, &f->client);
    assert_int_equal(rc, 0);
    hear_all(f->client, &error);
    assert_int_equal(count(f, "unreachable"), 1);
}

static void
faults_can_be_for_one_connection(void **state)
{
    struct fixture *f = *state;
    int other_client;
    assert_int_equal(try_connect(f->place, &other_client), 0);
    int other_server = with_deadline(accept(f->listener, NULL, NULL));
    char *ids = tally_strdup(tally_proxy_child_tell(f->proxy, "connections it"));
    unsigned long first = strtoul(ids, NULL, 10);
    free(ids);
    tally_proxy_child_tell(f->proxy, "reset it/%lu", first);
    int error;
    hear_all(f->client, &error);
    say(other_client, "not meant");
    hears(other_server, "not meant");
    close(other_client);
    close(other_server);
    assert_string_equal(tally_proxy_child_ask(f->proxy, "reset it/%lu", first),
                        "error there is no connection it/1");
}

static void
doors_follow_the_sockets_of_a_mirrored_link(void **state)
{
    struct fixture *f = *state;
    char *real = tally_format("ipc://%s/real-7", f->dir);
    char *mirrored = tally_format("ipc://%s/mirrored-7", f->dir);
    close_one(&f->listener);
    f->listener = listen_unix(real);    // there before the link
    tally_proxy_child_tell(f->proxy, "link m ipc://%s/mirrored-%% ipc://%s/real-%%", f->dir,
                           f->dir);
    free(f->place);
    f->place = mirrored;
    open_pair(f);
    say(f->client, "through the mirror");
    hears(f->server, "through the mirror");

    close_one(&f->listener);
    assert_int_equal(unlink(real + strlen("ipc://")), 0);
    tally_proxy_child_tell(f->proxy, "counters m");    // a turn has passed
    int fd;
    assert_int_equal(try_connect(mirrored, &fd), ENOENT);
    close(fd);
    real[strlen(real) - 1] = '8';
    mirrored[strlen(mirrored) - 1] = '8';
    f->listener = listen_unix(real);    // there after it
    tally_proxy_child_tell(f->proxy, "counters m");
    open_pair(f);
    free(real);
}

static void
others_may_command_it_as_well(void **state)
{
    struct fixture *f = *state;
    char *endpoint = tally_format("ipc://%s", f->control);
    int fd;
    assert_int_equal(try_connect(endpoint, &fd), 0);
    free(endpoint);
    say(fd, "delay it up 1\nthrottle it sideways 5\ncut it");
    hears(fd, "ok\nerror \"sideways\" is not up, down or both\n");
    say(fd, " up 0\n");
    hears(fd, "ok\n");
    close(fd);
    int error;
    say(f->client, "cut off");
    assert_int_equal(hear_all(f->server, &error), 0);
}

static void
nonsense_is_answered_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    static const char *const lines[] = {"",
                                        "dance",
                                        "delay",
                                        "delay nobody up 5",
                                        "delay it up",
                                        "delay it up -5",
                                        "delay it up 5x",
                                        "delay it up 3600001",
                                        "delay it up 1 2 3",
                                        "cut it up 5 softly",
                                        "reset it/0",
                                        "reset it/99999",
                                        "reset it/x",
                                        "link it tcp://127.0.0.1:0 tcp://127.0.0.1:1",
                                        "link a/b tcp://127.0.0.1:0 tcp://127.0.0.1:1",
                                        "link b tcp://localhost tcp://127.0.0.1:1",
                                        "link b udp://127.0.0.1:0 tcp://127.0.0.1:1",
                                        "link b ipc:///nowhere/at/all ipc:///tmp/x",
                                        "link b ipc:///tmp/x-% ipc:///nowhere/at/all/y-%",
                                        "link b ipc:///tmp/x ipc:///tmp/y-%"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const char *answer = tally_proxy_child_ask(f->proxy, "%s", lines[i]);
        if (strncmp(answer, "error ", 6) != 0) {
            fail_msg("\"%s\" is answered: %s", lines[i], answer);
        }
    }
    say(f->client, "still here");
    hears(f->server, "still here");
}

static void
an_unlinked_link_is_gone_with_its_connections(void **state)
{
    struct fixture *f = *state;
    int error;
    tally_proxy_child_tell(f->proxy, "unlink it");
    assert_int_equal(hear_all(f->client, &error), 0);
    int fd;
    assert_int_not_equal(try_connect(f->place, &fd), 0);
    close(fd);
    assert_string_equal(tally_proxy_child_tell(f->proxy, "connections *"), "");
}

//  Whoever started it was killed: it goes, and so do its sockets.
static void
it_ends_with_whoever_started_it(void **state)
{
    struct fixture *f = *state;
    char *endpoint = tally_format("ipc://%s/orphan", f->dir);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t starter = fork();
    if (starter == 0) {
        tally_proxy_child_t *proxy = tally_proxy_child_start(1, NULL);
        tally_proxy_child_tell(proxy, "link o %s ipc:///tmp/nobody", endpoint);
        pid_t pid = tally_proxy_child_pid(proxy);
        if (write(ends[1], &pid, sizeof pid) != sizeof pid) {
            _exit(1);
        }
        pause();
    }
    pid_t pid = 0;
    assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
    close(ends[0]);
    close(ends[1]);
    kill(starter, SIGKILL);
    waitpid(starter, NULL, 0);
    int64_t until_ms = tally_clock_now_ms() + WAIT_MS;
    const char *path = endpoint + strlen("ipc://");
    while (access(path, F_OK) == 0 && tally_clock_now_ms() < until_ms) {
        poll(NULL, 0, 5);
    }
    assert_int_equal(access(path, F_OK), -1);
    free(endpoint);
}

#define EVERYWHERE(name)                                                                           \
    {#name "_tcp", name, set_up_tcp, tear_down, NULL},                                             \
    {                                                                                              \
#name "_unix", name, set_up_unix, tear_down, NULL                                          \
    }
#define TCP(name) cmocka_unit_test_setup_teardown(name, set_up_tcp, tear_down)
#define UNIX(name) cmocka_unit_test_setup_teardown(name, set_up_unix, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        EVERYWHERE(bytes_and_ends_pass_both_ways),
        EVERYWHERE(more_than_any_buffer_passes_unchanged),
        EVERYWHERE(a_cut_lets_exactly_k_bytes_pass),
        EVERYWHERE(a_cut_that_is_not_reached_has_not_bitten),
        EVERYWHERE(a_cut_bites_once_unless_every_connection_is_meant),
        TCP(a_reset_is_told_as_a_reset),
        TCP(a_reset_of_a_peer_passes),
        EVERYWHERE(delayed_bytes_come_late_and_in_order),
        EVERYWHERE(throttled_bytes_come_at_their_rate),
        EVERYWHERE(a_stalled_way_holds_everything_until_it_is_healed),
        EVERYWHERE(a_swallowed_way_loses_what_was_sent_and_never_goes_on),
        EVERYWHERE(a_swallowed_peer_may_die_unheard),
        EVERYWHERE(connections_are_refused_rejected_or_kept_waiting),
        EVERYWHERE(a_target_that_is_not_there_is_a_reset),
        EVERYWHERE(faults_can_be_for_one_connection),
        UNIX(doors_follow_the_sockets_of_a_mirrored_link),
        EVERYWHERE(others_may_command_it_as_well),
        TCP(nonsense_is_answered_and_changes_nothing),
        EVERYWHERE(an_unlinked_link_is_gone_with_its_connections),
        UNIX(it_ends_with_whoever_started_it),
    };
    return cmocka_run_group_tests_name("proxy", tests, NULL, NULL);
}
