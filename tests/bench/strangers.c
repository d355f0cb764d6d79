// SPDX-License-Identifier: MIT
//  strangers - floods of peers that nobody knows: what known clients notice of them, and what the broker spends.
//
//  Silent connections and handshakes come to a broker with CURVE on the loopback network, from other addresses than the
//  known clients; the others need a listener that takes frames from everybody, so they come to the instance's own
//  broker by its unix sockets.  Known clients send a message at a time, at a fixed rate; the latency of a confirm
//  counts from when the send should have left.

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/histogram.h"
#include "lib/limits.h"
#include "lib/socket.h"
#include "lib/wire.h"
#include "tests/bench/flood.h"
#include "tests/bench/scene.h"

#define QUEUE "strangers"
#define TENANT "known"
#define CLIENTS 16
#define EACH_US 50000    // between two sends of one client
#define ANSWER_MS 20000
#define RISE_MS 2000    // before anything is measured: tokens are used up, places taken
#define LOOK_MS 20
#define READY_MS 20000
#define COMING_BACK 2000
#define COMING_BACK_MS_MAX 5000
#define TIMES_MAX 5    // of the p99 without a flood

//  What the broker may take beyond what it had, by the bounds of limits.h:
//  TALLY_NEWCOMERS_MAX connections with libzmq's buffers, and what the allocator keeps of those that were;
#define NEWCOMERS_MEGABYTES 120
//  TALLY_UNREAD_BYTES_ALL_MAX, and two frames and a half of each connection that has not more;
#define UNREAD_MEGABYTES 1500
//  TALLY_FEED_BYTES_MAX of topics, a node of some 50 bytes for each, and what connections without a topic take.
#define SUBSCRIPTIONS_MEGABYTES 120

//  A broker, and how those come to it who are known.
typedef struct {
    const char *front, *feed;
    const char *key, *server;    // files; NULL without CURVE
    pid_t pid;
} target_t;

//  ---- those who are known --------------------------------------------------------------------------------------

typedef struct {
    const target_t *target;
    pthread_t thread;
    tally_histogram_t *confirm_us;
    _Atomic int64_t from_us;    // what should leave before is not measured
    atomic_bool over;
    const char *failed;    // why it could not go on
} known_t;

static tally_client_t *
connect_known(const target_t *target)
{
    tally_client_t *client = tally_client_new(target->front);
    if (client != NULL && target->key != NULL
        && tally_client_set_keys(client, target->key, target->server) == -1) {
        tally_client_destroy(&client);
    }
    return client;
}

static void *
send_steadily(void *argument)
{
    static const uint8_t body[128] = {1};
    const tally_message_t message = {.body = body, .body_bytes = sizeof body};
    known_t *self = argument;
    tally_client_t *client = connect_known(self->target);
    int rc = client == NULL ? -1 : tally_client_connect(client, ANSWER_MS);
    for (int64_t at_us = tally_clock_now_us(); rc == 0 && !atomic_load(&self->over);
         at_us += EACH_US) {
        int64_t early_us = at_us - tally_clock_now_us();
        if (early_us > 0) {
            const struct timespec time = {.tv_nsec = early_us * 1000};
            (void)ppoll(NULL, 0, &time, NULL);
        }
        rc = tally_client_send_wait(client, QUEUE, TENANT, &message, 1, ANSWER_MS, NULL);
        if (rc == 0 && at_us >= atomic_load(&self->from_us)) {
            tally_histogram_add(self->confirm_us, (uint64_t)(tally_clock_now_us() - at_us), 1);
        }
    }
    self->failed = rc == 0 ? NULL : "a known client was not served";
    tally_client_destroy(&client);
    return NULL;
}

//  How long it takes a known client to be welcome, in ms.
static double
come_anew(const target_t *target)
{
    int64_t from_us = tally_clock_now_us();
    tally_client_t *client = connect_known(target);
    int rc = client == NULL ? -1 : tally_client_connect(client, ANSWER_MS);
    double took_ms = (double)(tally_clock_now_us() - from_us) / 1000;
    tally_client_destroy(&client);
    if (rc != 0) {
        fail_msg("a known client did not come in");
    }
    return took_ms;
}

//  ---- measuring ------------------------------------------------------------------------------------------------

typedef struct {
    double p99_ms, p50_ms, welcome_ms, megabytes;    // resident, at most
    bench_flood_count_t flood;
} view_t;

static double
resident_megabytes(pid_t pid)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    int got = file == NULL ? 0 : fscanf(file, "%*d %ld", &pages);
    if (file != NULL) {
        fclose(file);
    }
    if (got != 1) {
        fail_msg("the broker is gone");
    }
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

//  Watches the broker's memory for so long, and lets somebody come anew twice a second.
static void
watch(const target_t *target, int ms, double *most_megabytes, double *welcome_ms)
{
    int64_t until_us = tally_clock_now_us() + ms * INT64_C(1000);
    int64_t anew_us = 0;
    while (tally_clock_now_us() < until_us) {
        double now = resident_megabytes(target->pid);
        *most_megabytes = now > *most_megabytes ? now : *most_megabytes;
        if (tally_clock_now_us() >= anew_us) {
            double took_ms = come_anew(target);
            *welcome_ms = took_ms > *welcome_ms ? took_ms : *welcome_ms;
            anew_us = tally_clock_now_us() + 500000;
        }
        poll(NULL, 0, LOOK_MS);
    }
}

static view_t
look_at(const bench_scene_t *scene, const target_t *target, const bench_flood_options_t *flood)
{
    view_t view = {0};
    known_t known[CLIENTS];
    double most = 0, ignored = 0;
    tally_histogram_t *all = tally_histogram_new();
    for (size_t i = 0; i < CLIENTS; i++) {
        known[i] = (known_t){.target = target,
                             .from_us = INT64_MAX,
                             .confirm_us = tally_histogram_new()};
        int rc = pthread_create(&known[i].thread, NULL, send_steadily, &known[i]);
        assert_int_equal(rc, 0);
    }
    bench_flood_t *strangers = bench_flood_new(flood);
    watch(target, RISE_MS, &most, &ignored);
    for (size_t i = 0; i < CLIENTS; i++) {
        atomic_store(&known[i].from_us, tally_clock_now_us());
    }
    watch(target, scene->seconds * 1000, &most, &view.welcome_ms);
    for (size_t i = 0; i < CLIENTS; i++) {
        atomic_store(&known[i].over, true);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        pthread_join(known[i].thread, NULL);
        tally_histogram_merge(all, known[i].confirm_us);
        tally_histogram_destroy(&known[i].confirm_us);
        if (known[i].failed != NULL) {
            fail_msg("%s", known[i].failed);
        }
    }
    view.flood = bench_flood_destroy(&strangers);
    view.p50_ms = (double)tally_histogram_quantile(all, 0.5) / 1000;
    view.p99_ms = (double)tally_histogram_quantile(all, 0.99) / 1000;
    view.megabytes = most;
    tally_histogram_destroy(&all);
    return view;
}

typedef struct {
    const char *name;
    bench_flood_kind_t kind;
    const char *said;    // what is counted of them
    double megabytes_max;
} flood_rule_t;

static void
add_row(bench_scene_t *scene, const flood_rule_t *rule, const char *what, const char *unit,
        const bench_samples_t *measured, const bench_samples_t *base, double target)
{
    char *text = tally_format("%s: %s", rule->name, what);
    bench_report_add(scene->report,
                     &(bench_row_t){.scenario = "strangers",
                                    .what = text,
                                    .unit = unit,
                                    .measured = measured,
                                    .base = base,
                                    .rule = target > 0 ? BENCH_AT_MOST : BENCH_NO_TARGET,
                                    .target = target});
    free(text);
}

static void
suffer(bench_scene_t *scene, const target_t *target, const flood_rule_t *rule)
{
    bench_samples_t calm99 = {0}, calm50 = {0}, flood99 = {0}, flood50 = {0}, welcome = {0},
                    calm_welcome = {0}, megabytes = {0}, said = {0};
    const bench_flood_options_t calm = {0};
    const bench_flood_options_t flood = {.kind = rule->kind,
                                         .endpoint = rule->kind == BENCH_FLOOD_SUBSCRIBER
                                                         ? target->feed
                                                         : target->front,
                                         .server_key = target->server};
    tally_key_pair_t server = {0};
    bench_flood_options_t with_key = flood;
    if (target->server != NULL) {
        char *error = NULL;
        int rc = tally_key_file_read(target->server, TALLY_KEY_PUBLIC, &server, &error);
        assert_int_equal(rc, 0);
        with_key.server_key = server.public_key;
    }
    double before = resident_megabytes(target->pid);    // what it has taken it keeps
    for (int round = 0; round < scene->rounds; round++) {
        view_t without = look_at(scene, target, &calm);
        view_t with = look_at(scene, target, &with_key);
        bench_samples_add(&calm99, without.p99_ms);
        bench_samples_add(&calm50, without.p50_ms);
        bench_samples_add(&calm_welcome, without.welcome_ms);
        bench_samples_add(&flood99, with.p99_ms);
        bench_samples_add(&flood50, with.p50_ms);
        bench_samples_add(&welcome, with.welcome_ms);
        bench_samples_add(&megabytes, with.megabytes - before);
        bench_samples_add(&said, (double)(rule->kind == BENCH_FLOOD_SILENCE ? with.flood.ended
                                                                            : with.flood.said));
        bench_say("  p99 %.2f ms in the flood, %.2f ms without; welcome in %.1f ms, %.1f; %.0f MB; "
                  "%lu connected, %lu thrown out, %lu %s",
                  with.p99_ms, without.p99_ms, with.welcome_ms, without.welcome_ms,
                  with.megabytes - before, (unsigned long)with.flood.connected,
                  (unsigned long)with.flood.ended, (unsigned long)with.flood.said, rule->said);
    }
    add_row(scene, rule, "p99 of known clients", "ms", &flood99, &calm99, TIMES_MAX);
    add_row(scene, rule, "p50 of known clients", "ms", &flood50, &calm50, 0);
    add_row(scene, rule, "slowest welcome of a known client", "ms", &welcome, &calm_welcome, 0);
    add_row(scene, rule, "memory of the broker, beyond", "MB", &megabytes, NULL,
            rule->megabytes_max);
    add_row(scene, rule, rule->said, "", &said, NULL, 0);
}

//  ---- a broker with CURVE --------------------------------------------------------------------------------------

//  One that nobody has right now.
static unsigned
find_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = bind(fd, (const struct sockaddr *)&address, size);
    rc |= getsockname(fd, (struct sockaddr *)&address, &size);
    assert_int_equal(rc, 0);
    close(fd);
    return ntohs(address.sin_port);
}

static pid_t
start_broker(const bench_scene_t *scene, const char *front, const char *dir)
{
    const char *bin = getenv("TALLY_BIN_DIR");
    char *program = tally_format("%s/tallyd", bin != NULL ? bin : "build/bin");
    char *sink = tally_format("ipc://%s/strangers.sink", dir);
    char *feed = tally_format("ipc://%s/strangers.feed", dir);
    char *lanes = tally_format("ipc://%s/strangers.lane-%%", dir);
    char *key = tally_format("%s/server.key", dir);
    char *log = tally_format("%s/strangers.log", dir);
    const char *const argv[] = {program, "--front", front,           "--sink",    sink, "--feed",
                                feed,    "--lanes", lanes,           "--key",     key,  "--curve",
                                "yes",   "--db",    scene->floor_db, "--standby", "no", NULL};
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDERR_FILENO);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(program, (char **)(uintptr_t)argv);
        _exit(127);
    }
    assert_true(pid > 0);
    free(program);
    free(sink);
    free(feed);
    free(lanes);
    free(key);
    free(log);
    return pid;
}

//  From the start of the broker until everybody who waited for it is welcome, in ms.
static double
await_everybody(void *const *sockets, size_t count)
{
    int64_t from_us = tally_clock_now_us();
    int64_t until_us = from_us + ANSWER_MS * INT64_C(1000);
    zmq_pollitem_t *items = tally_alloc_array(count, sizeof *items);
    for (size_t i = 0; i < count; i++) {
        items[i] = (zmq_pollitem_t){.socket = sockets[i], .events = ZMQ_POLLIN};
    }
    while (count > 0 && tally_clock_now_us() < until_us) {
        (void)zmq_poll(items, (int)count, LOOK_MS);
        for (size_t i = count; i > 0; i--) {
            if ((items[i - 1].revents & ZMQ_POLLIN) != 0) {
                items[i - 1] = items[--count];
            }
        }
    }
    free(items);
    if (count > 0) {
        fail_msg("%zu known clients did not come back", count);
    }
    return (double)(tally_clock_now_us() - from_us) / 1000;
}

//  As many known clients as knock all the time while there is no broker.
static double
come_back(bench_scene_t *scene, target_t *target, const char *dir)
{
    static void *sockets[COMING_BACK];
    tally_key_pair_t key, server;
    char *error = NULL;
    int rc = tally_key_file_read(target->key, TALLY_KEY_SECRET, &key, &error);
    rc |= tally_key_file_read(target->server, TALLY_KEY_PUBLIC, &server, &error);
    assert_int_equal(rc, 0);
    const tally_socket_curve_t curve = {key.public_key, key.secret_key, server.public_key, NULL};
    const tally_socket_options_t options = {.send_max = 10,
                                            .receive_max = 10,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX,
                                            .curve = &curve};
    void *context = zmq_ctx_new();
    tally_wire_t wire = {0};
    rc = zmq_ctx_set(context, ZMQ_MAX_SOCKETS, 2 * COMING_BACK);
    for (size_t i = 0; rc == 0 && i < COMING_BACK; i++) {
        const tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                                     .version_min = TALLY_WIRE_VERSION,
                                     .version_max = TALLY_WIRE_VERSION,
                                     .name = tally_bytes_of("back")};
        sockets[i] = zmq_socket(context, ZMQ_DEALER);
        tally_hello_write(&wire, 1, &hello);
        rc = tally_socket_connect(sockets[i], target->front, &options);
        rc |= zmq_send(sockets[i], wire.data, wire.size, ZMQ_DONTWAIT) == -1;
    }
    assert_int_equal(rc, 0);
    target->pid = start_broker(scene, target->front, dir);
    double took_ms = await_everybody(sockets, COMING_BACK);
    for (size_t i = 0; i < COMING_BACK; i++) {
        zmq_close(sockets[i]);
    }
    zmq_ctx_term(context);
    tally_wire_free(&wire);
    return took_ms;
}

static void
end_broker(const target_t *target)
{
    int status = 0;
    kill(target->pid, SIGTERM);
    pid_t ended = waitpid(target->pid, &status, 0);
    assert_true(ended == target->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
let_them_come_back(bench_scene_t *scene, target_t *target, const char *dir)
{
    bench_samples_t took = {0};
    for (int round = 0; round < scene->rounds; round++) {
        end_broker(target);
        bench_samples_add(&took, come_back(scene, target, dir));
        bench_say("  %d known clients at once: all welcome %.0f ms after the start", COMING_BACK,
                  took.values[round]);
    }
    bench_report_add(scene->report,
                     &(bench_row_t){.scenario = "strangers",
                                    .what = "2000 known clients at once, after a start: all in",
                                    .unit = "ms",
                                    .measured = &took,
                                    .rule = BENCH_AT_MOST,
                                    .target = COMING_BACK_MS_MAX});
}

static void
suffer_strangers(bench_scene_t *scene)
{
    static const flood_rule_t rules[] = {
        {"5000 silent connections", BENCH_FLOOD_SILENCE, "thrown out", NEWCOMERS_MEGABYTES},
        {"2000 handshakes a second", BENCH_FLOOD_HANDSHAKE, "handshakes refused in form",
         NEWCOMERS_MEGABYTES},
    };
    tally_instance_t *instance = scene->instance;
    const char *dir = tally_instance_dir(instance);
    char *front = tally_format("tcp://127.0.0.1:%u", find_port());
    char *server_key = tally_format("%s/server.key", dir);
    char *server = tally_format("%s/server.pub", dir);
    char *root = tally_format("%s/root.key", dir);
    char *known = tally_format("%s/known.key", dir);
    tally_instance_must(instance, "key", "server", "--out", server_key, "--public", server, NULL);
    tally_instance_must(instance, "key", "new", "root", "--role", "operator", "--out", root, "--db",
                        scene->floor_db, NULL);
    tally_instance_must(instance, "key", "new", "known", "--role", "client", "--tenant", TENANT,
                        "--out", known, "--db", scene->floor_db, NULL);
    target_t target = {.front = front,
                       .key = known,
                       .server = server,
                       .pid = start_broker(scene, front, dir)};
    tally_instance_must(instance, "--broker", front, "--key", root, "--server-key", server, "queue",
                        "put", QUEUE, NULL);
    tally_instance_must(instance, "--broker", front, "--key", root, "--server-key", server,
                        "tenant", "put", TENANT, NULL);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        bench_say("strangers: %s", rules[i].name);
        suffer(scene, &target, &rules[i]);
    }
    let_them_come_back(scene, &target, dir);
    end_broker(&target);
    free(front);
    free(server_key);
    free(server);
    free(root);
    free(known);
}

static void
suffer_local_peers(bench_scene_t *scene)
{
    static const flood_rule_t rules[] = {
        {"endless multiparts", BENCH_FLOOD_MULTIPART, "MiB said", UNREAD_MEGABYTES},
        {"frames of a gibibyte", BENCH_FLOOD_HEADER, "headers", NEWCOMERS_MEGABYTES},
        {"10^6 subscriptions", BENCH_FLOOD_SUBSCRIBER, "subscriptions said",
         SUBSCRIPTIONS_MEGABYTES},
    };
    tally_instance_must(scene->instance, "queue", "put", QUEUE, NULL);
    tally_client_t *client = tally_client_new(tally_instance_endpoint(scene->instance));
    int rc = tally_client_connect(client, ANSWER_MS);
    assert_int_equal(rc, 0);
    const target_t target = {.front = tally_instance_endpoint(scene->instance),
                             .feed = tally_client_feed_endpoint(client),
                             .pid = tally_instance_pid(scene->instance, "tallyd")};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        bench_say("strangers: %s", rules[i].name);
        suffer(scene, &target, &rules[i]);
    }
    assert_int_equal(tally_instance_pid(scene->instance, "tallyd"), target.pid);
    tally_client_destroy(&client);
}

void
bench_strangers(bench_scene_t *scene)
{
    bench_flood_raise_limits();
    bench_scene_up(scene, "heartbeat=0");
    suffer_strangers(scene);
    suffer_local_peers(scene);
    bench_scene_down(scene);
}
