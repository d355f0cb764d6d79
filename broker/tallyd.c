// SPDX-License-Identifier: MIT
//  tallyd - the broker's process: settings, sockets, signals; the loop does the rest.
//
//  While another broker is active on the database it stands by, see standby.c.  Ends with 0 after SIGTERM or SIGINT
//  (PostgreSQL has everything; nothing needs saving), 75 when PostgreSQL cannot be reached at start or another broker
//  took over (whoever starts it again has a standby), 78 when the database or a setting must be mended first.

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/gate.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/config.h"
#include "lib/db.h"
#include "lib/endpoints.h"
#include "lib/log.h"
#include "lib/migrations.h"
#include "lib/process.h"
#include "lib/socket.h"

#define ENDPOINTS 9    // see find_endpoints()

#define REST_MS 2000    // for PostgreSQL to answer what was asked, when the broker ends

static const tally_config_key_t keys[] = {
    {"front", "endpoint for clients and workers; of several brokers, a list",
     "ipc:///tmp/tally-front", TALLY_CONFIG_TEXT, 0, 0},
    {"sink", "endpoint for workers' records", "ipc:///tmp/tally-sink", TALLY_CONFIG_TEXT, 0, 0},
    {"feed", "endpoint of the feed", "ipc:///tmp/tally-feed", TALLY_CONFIG_TEXT, 0, 0},
    {"lanes", "endpoint of a worker's lane, % becomes its number", "ipc:///tmp/tally-lane-%",
     TALLY_CONFIG_TEXT, 0, 0},
    {"advertise-sink", "sink as workers reach it, when that is elsewhere", NULL, TALLY_CONFIG_TEXT,
     0, 0},
    {"advertise-feed", "feed as others reach it, when that is elsewhere", NULL, TALLY_CONFIG_TEXT,
     0, 0},
    {"advertise-lanes", "lane as its worker reaches it, when that is elsewhere", NULL,
     TALLY_CONFIG_TEXT, 0, 0},
    {"feeds", "endpoint of a tenant's own feed, % becomes a number", NULL, TALLY_CONFIG_TEXT, 0, 0},
    {"advertise-feeds", "such a feed as others reach it, when that is elsewhere", NULL,
     TALLY_CONFIG_TEXT, 0, 0},
    {"curve", "yes: keys on every listener", "no", TALLY_CONFIG_TEXT, 0, 0},
    {"key", "file of the broker's key pair", NULL, TALLY_CONFIG_TEXT, 0, 0},
    {"db", "how to connect to PostgreSQL (libpq conninfo or URI)", "dbname=tally",
     TALLY_CONFIG_TEXT, 0, 0},
    {"body-cache-mb", "memory for bodies of waiting messages", "128", TALLY_CONFIG_NUMBER, 0,
     1 << 20},
    {"seat", "which endpoint of each list is ours; 1 is the first", "1", TALLY_CONFIG_NUMBER, 1,
     64},
    {"standby", "no: end with 75 when another broker is active, instead of standing by", "yes",
     TALLY_CONFIG_TEXT, 0, 0},
    {"migrate", "yes: bring the schema up to date first", "no", TALLY_CONFIG_TEXT, 0, 0},
    {"allow-unsafe", "yes: take a server with fsync off (tests)", "no", TALLY_CONFIG_TEXT, 0, 0},
    {NULL, NULL, NULL, TALLY_CONFIG_TEXT, 0, 0},
};

static bool
is_yes(const tally_config_t *config, const char *key)
{
    return strcmp(tally_config_get(config, key), "yes") == 0;
}

static zsock_t *
bind_socket(tally_broker_t *self, int type, const char *endpoint, char **bound)
{
    const char *domain = type == ZMQ_ROUTER ? TALLY_DOMAIN_FRONT : TALLY_DOMAIN_SINK;
    if (type == ZMQ_ROUTER) {
        zsys_init();
        tally_socket_hide_numbers();
    }
    zsock_t *socket = zsock_new(type);
    assert(socket != NULL);
    const tally_socket_options_t options = {.send_max = TALLY_FRONT_FRAMES_MAX,
                                            .receive_max = TALLY_FRONT_FRAMES_MAX,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX,
                                            .curve = tally_door_curve(self->door, domain, "")};
    if (tally_socket_bind(zsock_resolve(socket), endpoint, &options) == -1) {
        tally_log_error("could not bind %s: %s", endpoint, zmq_strerror(errno));
        zsock_destroy(&socket);
        return NULL;
    }
    *bound = zsock_last_endpoint(socket);
    return socket;
}

//  0, or an exit code.  Nothing is bound before the ZAP handler is there.
static int
open_door(tally_broker_t *self)
{
    const tally_broker_options_t *options = &self->options;
    const tally_door_options_t door = {options->curve, options->key, options->db};
    int code;
    self->door = tally_door_new(&door, &code);
    if (self->door == NULL) {
        return code;
    }
    const struct {
        const char *endpoint;
        bool told;    // to peers, as it is
    } listeners[] = {{options->front, false},
                     {options->sink, options->advertise_sink == NULL},
                     {options->feed, options->advertise_feed == NULL},
                     {options->lanes, options->advertise_lanes == NULL},
                     {options->feeds, options->advertise_feeds == NULL}};
    for (size_t i = 0; i < sizeof listeners / sizeof listeners[0]; i++) {
        if (listeners[i].endpoint != NULL
            && !tally_door_may_listen(self->door, listeners[i].endpoint, listeners[i].told)) {
            return 78;
        }
    }
    return 0;
}

static int
open_sockets(tally_broker_t *self)
{
    const tally_broker_options_t *options = &self->options;
    const tally_broadcast_options_t feed = {.endpoint = options->feed,
                                            .advertise = options->advertise_feed,
                                            .feeds = options->feeds,
                                            .advertise_feeds = options->advertise_feeds,
                                            .epoch = self->epoch,
                                            .door = self->door};
    self->front = bind_socket(self, ZMQ_ROUTER, options->front, &self->front_endpoint);
    self->sink = bind_socket(self, ZMQ_PULL, options->sink, &self->sink_endpoint);
    self->feed = tally_broadcast_new(&feed);
    if (self->front == NULL || self->sink == NULL || self->feed == NULL) {
        return 73;
    }
    return tally_door_test(self->door, self->front_endpoint);
}

static void
close_broker(tally_broker_t *self)
{
    tally_peers_destroy(self);
    tally_reader_destroy(&self->reader);
    zsock_destroy(&self->front);
    zsock_destroy(&self->sink);
    tally_broadcast_destroy(&self->feed);
    tally_door_destroy(&self->door);    // after the last listener
    tally_tick_store_destroy(&self->ticks);
    tally_recover_store_destroy(&self->recovery);
    tally_core_destroy(&self->core);
    tally_callers_destroy(&self->callers);
    tally_quota_destroy(&self->quota);    // callers are counted in there
    tally_lobby_destroy(&self->lobby);
    tally_inputs_clear(&self->collecting, 0);
    tally_inputs_clear(&self->under_way, 0);
    tally_inputs_clear(&self->owed, 0);
    tally_inputs_clear(&self->again, self->again_at);
    free(self->collecting.items);
    free(self->under_way.items);
    free(self->owed.items);
    free(self->again.items);
    free(self->asked_collecting.items);
    free(self->asked_under_way.items);
    json_decref(self->dead_counts);
    json_decref(self->standbys);
    json_decref(self->oldest_snapshot);
    tally_meter_destroy(&self->meter);
    tally_wire_free(&self->wire);
    freen(self->front_endpoint);
    freen(self->sink_endpoint);
    if (self->epoll != -1) {
        close(self->epoll);
    }
}

//  Frames come and go by the megabyte.  Given back to the kernel each time, their pages would be cleared each time:
//  with bodies of 16 KiB that was a third of the broker's work.
static void
keep_memory(void)
{
    //  Another allocator (a sanitizer's) takes no advice; it is only slower then.
    if (mallopt(M_MMAP_THRESHOLD, 2 * TALLY_FRAME_BYTES_MAX) != 1
        || mallopt(M_TRIM_THRESHOLD, 4 * TALLY_FRAME_BYTES_MAX) != 1) {
        tally_log_debug("the allocator keeps no memory for frames");
    }
}

//  A socket, its monitor and two descriptors a worker: the limits must not be the first thing to give.
static void
raise_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) == -1) {
            tally_log_warn("could not raise the limit of open files: %s", strerror(errno));
        }
    }
    zsys_set_max_sockets(2 * TALLY_WORKERS_MAX + 3 * (TALLY_FEEDS_MAX + 1) + 64);
}

//  SIGTERM and SIGINT as a descriptor, blocked before libzmq makes threads.
static int
open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    int rc = sigprocmask(SIG_BLOCK, &set, NULL);
    assert(rc == 0);
    zsys_handler_set(NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

//  Waits for the place and takes it.  0, or an exit code; *stopped: told to end before there was anything to do.
static int
become_active(tally_broker_t *self, int stop_fd, bool *stopped)
{
    int rc = tally_recovery_check(self);
    while (rc == 0) {
        uint64_t silent = 0;
        tally_standby_end_t end = tally_standby_wait(&self->options, stop_fd, &silent);
        *stopped = end == TALLY_STANDBY_STOPPED;
        if (end != TALLY_STANDBY_GO) {
            return *stopped ? 0 : 75;
        }
        rc = tally_recovery_start(self, silent);
        if (rc != TALLY_RECOVERY_TAKEN) {
            break;
        }
        rc = 0;
    }
    return rc;
}

//  Nobody waits for PostgreSQL any more, so ending takes no time.
static bool
is_at_rest(tally_broker_t *self)
{
    return (self->reader == NULL || tally_reader_rest(self->reader, REST_MS))
           && (self->door == NULL || tally_door_rest(self->door, REST_MS));
}

static int
serve(tally_broker_t *self, int stop_fd)
{
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    assert(self->epoll != -1);
    self->ticks = tally_tick_store_new(self->options.db, self->options.allow_unsafe);
    self->recovery = tally_recover_store_new(self->options.db);
    self->callers = tally_callers_new();
    self->quota = tally_quota_new();
    self->lobby = tally_lobby_new();
    self->dead_counts = json_object();
    self->standbys = json_array();
    self->oldest_snapshot = json_null();
    self->snapshot_told_ms = INT64_MIN / 2;
    self->dead_changed = true;
    self->started_ms = tally_clock_now_ms();
    self->meter = tally_meter_new(tally_clock_now_ns());
    bool stopped = false;
    int rc = open_door(self);
    if (rc == 0) {
        rc = become_active(self, stop_fd, &stopped);
    }
    if (rc == 0 && !stopped) {
        rc = tally_door_load(self->door, tally_clock_now_ms());
    }
    if (rc == 0 && !stopped) {
        rc = open_sockets(self);
    }
    if (rc == 0 && !stopped) {
        self->reader = tally_reader_new(self->options.db);
        tally_log_info("ready  front=%s sink=%s feed=%s curve=%s epoch=%llu", self->front_endpoint,
                       self->sink_endpoint, tally_broadcast_endpoint(self->feed),
                       self->options.curve ? "yes" : "no", (unsigned long long)self->epoch);
        rc = tally_broker_run(self, stop_fd);
    }
    if (!is_at_rest(self)) {
        tally_log_warn("PostgreSQL does not answer: ended without it  epoch=%llu",
                       (unsigned long long)self->epoch);
        _exit(rc);    // the system closes what is open; nothing needs saving
    }
    close_broker(self);
    return rc;
}

//  0, or an exit code.
static int
migrate(const char *conninfo)
{
    tally_db_t *db = tally_db_new(conninfo, "tallyd-migrate");
    int rc = 0;
    char *error = NULL;
    if (tally_db_connect(db) != TALLY_DB_DONE) {
        tally_log_error("could not reach database: %s", tally_db_error(db));
        rc = 75;
    } else if (tally_migrate(db, &error) == -1) {
        tally_log_error("could not migrate: %s", error);
        rc = 78;
    }
    free(error);
    tally_db_destroy(&db);
    return rc;
}

//  Each is one of a list with a place for every broker.  0, or an exit code.
static int
find_endpoints(const tally_config_t *config, char *endpoints[ENDPOINTS])
{
    static const char *const lists[ENDPOINTS] =
        {"front",           "sink",  "feed",           "lanes", "advertise-sink", "advertise-feed",
         "advertise-lanes", "feeds", "advertise-feeds"};
    int64_t seat = tally_config_number(config, "seat");
    for (size_t i = 0; i < ENDPOINTS; i++) {
        const char *list = tally_config_get(config, lists[i]);
        //  Workers' numbers never repeat, whichever broker gives them: one pattern does for all.
        bool for_all = strstr(lists[i], "lanes") != NULL && list != NULL
                       && tally_endpoints_count(list) == 1;
        size_t at = for_all ? 0 : (size_t)seat - 1;
        endpoints[i] = list == NULL ? NULL : tally_endpoints_at(list, at);
        if (list != NULL && endpoints[i] == NULL) {
            tally_log_error("\"%s\" has no endpoint for seat %lld", lists[i], (long long)seat);
            return 78;
        }
    }
    return 0;
}

int
main(int argc, char **argv)
{
    tally_process_seclude();
    tally_gate_start();
    int stop_fd = open_signals();
    if (sodium_init() == -1 || stop_fd == -1) {
        tally_log_error("could not start: no randomness or no signals");
        return 70;
    }
    tally_config_t *config = tally_config_new("tallyd", keys);
    int rc = tally_config_start(config, argc, argv,
                                "Tally's broker: ZeroMQ in front, PostgreSQL behind.");
    if (rc == -1) {
        raise_limits();
        keep_memory();
        char host[TALLY_NAME_BYTES_MAX] = "";
        gethostname(host, sizeof host - 1);
        char *instance = tally_format("%s:%d", host, (int)getpid());
        char *endpoints[ENDPOINTS] = {NULL};
        rc = find_endpoints(config, endpoints);
        tally_broker_t broker = {
            .epoll = -1,
            .owner = tally_owner_here(),
            .options = {.front = endpoints[0],
                        .sink = endpoints[1],
                        .feed = endpoints[2],
                        .lanes = endpoints[3],
                        .advertise_sink = endpoints[4],
                        .advertise_feed = endpoints[5],
                        .advertise_lanes = endpoints[6],
                        .feeds = endpoints[7],
                        .advertise_feeds = endpoints[8],
                        .curve = is_yes(config, "curve"),
                        .key = tally_config_get(config, "key"),
                        .db = tally_config_get(config, "db"),
                        .instance = instance,
                        .body_cache_bytes_max = (size_t)tally_config_number(config, "body-cache-mb")
                                                << 20,
                        .allow_unsafe = is_yes(config, "allow-unsafe"),
                        .stand_by = is_yes(config, "standby")},
        };
        if (rc == 0 && is_yes(config, "migrate")) {
            rc = migrate(broker.options.db);
        }
        rc = rc == 0 ? serve(&broker, stop_fd) : rc;
        free(instance);
        for (size_t i = 0; i < ENDPOINTS; i++) {
            free(endpoints[i]);
        }
    }
    tally_config_destroy(&config);
    close(stop_fd);
    zsys_shutdown();
    return rc;
}
