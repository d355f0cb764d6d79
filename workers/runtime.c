// SPDX-License-Identifier: MIT
//  runtime - the process of a typed worker: options, the loop, leases in turn, the end.  See runtime.h.

#include "workers/runtime.h"

#include <assert.h>
#include <czmq.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/signalfd.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/log.h"
#include "lib/process.h"
#include "workers/runtime_private.h"
#include "workers/runtime_store.h"

#define IDLE_MS 1000             // role's idle at least so often
#define LOOK_MS 50               // sockets are read so often during work, when asked
#define DB_IDLE_LIMIT_MS 1000    // DESIGN: bounds how long a stopped worker can hold a term's row
#define DB_RETRY_MS_MAX 5000

//  Exit codes: the only ones besides those of tally_config_start.
#define EXIT_CANNOT_START 1

//  ---- leases that wait --------------------------------------------------------------------------

static void
push_waiting(tally_worker_t *self, zmq_msg_t *frame, const tally_delivery_t *delivery,
             int64_t now_ms)
{
    struct waiting *added = tally_alloc(sizeof *added);
    zmq_msg_init(&added->frame);
    zmq_msg_move(&added->frame, frame);
    added->taken_at_ms = now_ms;
    added->count = delivery->count;
    if (self->last == NULL) {
        self->first = added;
    } else {
        self->last->next = added;
    }
    self->last = added;
    atomic_fetch_add(&self->outstanding, (unsigned)added->count);
}

static struct waiting *
pop_waiting(tally_worker_t *self)
{
    struct waiting *taken = self->first;
    if (taken != NULL) {
        self->first = taken->next;
        if (self->first == NULL) {
            self->last = NULL;
        }
    }
    return taken;
}

static void
free_waiting(tally_worker_t *self, struct waiting **waiting_p)
{
    atomic_fetch_sub(&self->outstanding, (unsigned)(*waiting_p)->count);
    zmq_msg_close(&(*waiting_p)->frame);
    free(*waiting_p);
    *waiting_p = NULL;
}

static void
forget_waiting(tally_worker_t *self)
{
    for (struct waiting *one; (one = pop_waiting(self)) != NULL;) {
        free_waiting(self, &one);
    }
}

static bool
read_delivery(zmq_msg_t *frame, tally_delivery_t *delivery)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_bytes_t bytes = {zmq_msg_data(frame), zmq_msg_size(frame)};
    tally_fault_t fault = tally_head_read(bytes, &head, &cursor);
    if (fault.code == 0) {
        fault = tally_delivery_read(cursor, delivery);
    }
    if (fault.code != 0) {
        tally_log_error("did not understand a delivery: %s", fault.text);
    }
    return fault.code == 0;
}

//  ---- looking around ----------------------------------------------------------------------------

static void
take_signals(tally_worker_t *self)
{
    struct signalfd_siginfo info;
    while (read(self->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        self->stops++;
        tally_log_info("stopping: %s",
                       self->stops == 1 ? "the lease in hand is finished first" : "at once");
    }
}

static void
take_lane(tally_worker_t *self, int64_t now_ms)
{
    zmq_msg_t frame;
    tally_delivery_t delivery;
    zmq_msg_init(&frame);
    for (tally_lane_event_t event;
         (event = tally_link_take(self->link, &frame)) != TALLY_LANE_NOTHING;) {
        if (event == TALLY_LANE_DRAIN) {
            tally_log_info("draining: what is held is finished, then goodbye");
            self->draining = true;
        } else if (read_delivery(&frame, &delivery)) {
            TALLY_FAILPOINT(WORK_RECEIVED);
            push_waiting(self, &frame, &delivery, now_ms);
        }
    }
    zmq_msg_close(&frame);
}

//  Another broker knows our leases from the database, those too that never reached us, and waits for our beats under
//  the number that we had.  So it hears that we hold nothing, as soon as that is true.
static void
disown_former(tally_worker_t *self)
{
    const tally_record_t rest = {.kind = TALLY_RECORD_BEAT, .outstanding = 0};
    while (self->former_count > 0 && !self->working && tally_link_ready(self->link)) {
        tally_wire_t wire = {0};
        tally_records_start(&wire, self->former[--self->former_count]);
        tally_records_add(&wire, &rest, NULL);
        if (tally_link_sink(self->link, (tally_bytes_t){wire.data, wire.size}) == -1) {
            tally_log_debug("could not disown leases: %s", zmq_strerror(zmq_errno()));
        }
        tally_wire_free(&wire);
    }
}

//  A changed connection makes all leases of the one before somebody else's matter.
static void
follow_link(tally_worker_t *self, int64_t now_ms)
{
    tally_link_event_t event = tally_link_advance(self->link, now_ms);
    if (event == TALLY_LINK_LOST) {
        forget_waiting(self);
        self->lost = true;
        self->record_count = 0;
        tally_wire_reset(&self->records);
        tally_beat_follow(self->beat, 0, "", 0, 0);
        if (self->former_count < FORMER_MAX) {    // of more the broker finds out by their silence
            self->former[self->former_count++] = self->number;
        }
    } else if (event == TALLY_LINK_WELCOMED) {
        const tally_welcome_t *welcome = tally_link_welcome(self->link);
        tally_log_info("connected to the broker  worker=%llu epoch=%llu",
                       (unsigned long long)welcome->worker,
                       (unsigned long long)welcome->broker_epoch);
        char sink[TALLY_ENDPOINT_BYTES_MAX + 1];
        snprintf(sink, sizeof sink, "%.*s", (int)welcome->sink.size,
                 (const char *)welcome->sink.data);
        tally_beat_follow(self->beat, welcome->worker, sink, welcome->beat_ms,
                          tally_link_server(self->link));
        self->number = welcome->worker;
        disown_former(self);
    }
}

void
tally_worker_look(tally_worker_t *self, int64_t now_ms)
{
    self->looked_at_ms = now_ms;
    take_signals(self);
    take_lane(self, now_ms);
    follow_link(self, now_ms);
}

bool
tally_worker_interrupted(const tally_worker_t *worker)
{
    //  Asking is what makes us look; a role in a long loop has nothing else to do for it.
    tally_worker_t *self = (tally_worker_t *)(uintptr_t)worker;
    int64_t now_ms = tally_clock_now_ms();
    if (now_ms - self->looked_at_ms >= LOOK_MS) {
        tally_worker_look(self, now_ms);
    }
    return self->stops >= 2 || (self->working && self->lost);
}

//  ---- database ----------------------------------------------------------------------------------

int64_t
tally_worker_jitter_ms(unsigned attempt)
{
    uint32_t top = 100U << (attempt < 6 ? attempt : 6);
    return randombytes_uniform(top < DB_RETRY_MS_MAX ? top : DB_RETRY_MS_MAX) + 1;
}

tally_db_t *
tally_worker_db(tally_worker_t *worker)
{
    if (worker->db == NULL) {
        const char *conninfo = tally_config_get(worker->config, "db");
        worker->db = tally_db_new(conninfo == NULL ? "" : conninfo, worker->name);
        tally_db_set_idle_limit_ms(worker->db, DB_IDLE_LIMIT_MS);
    }
    return worker->db;
}

//  True when the role can use its database, or uses none.
static bool
database_ready(tally_worker_t *self, int64_t now_ms)
{
    if (self->db == NULL) {
        return true;
    }
    if (!tally_db_connected(self->db) && now_ms < self->db_retry_at_ms) {
        return false;
    }
    int session = self->db_session;
    if (tally_runtime_store_tune(self->db, &self->db_session) == TALLY_DB_DONE) {
        if (self->db_session != session) {
            tally_log_info("connected to the database  session=%d", self->db_session);
        }
        self->db_attempts = 0;
        return true;
    }
    int64_t delay_ms = tally_worker_jitter_ms(self->db_attempts++);
    self->db_retry_at_ms = tally_clock_now_ms() + delay_ms;
    tally_log_warn("could not reach the database: %s  attempt=%u retry_in_ms=%lld",
                   tally_db_error(self->db), self->db_attempts, (long long)delay_ms);
    return false;
}

//  ---- one lease ---------------------------------------------------------------------------------

static void
open_work(tally_worker_t *self, const struct waiting *waiting, tally_delivery_t *delivery)
{
    tally_work_t *work = &self->work;
    *work = (tally_work_t){.id = delivery->lease, .epoch = delivery->epoch};
    snprintf(work->queue, sizeof work->queue, "%.*s", (int)delivery->queue.size,
             (const char *)delivery->queue.data);
    snprintf(work->tenant, sizeof work->tenant, "%.*s", (int)delivery->tenant.size,
             (const char *)delivery->tenant.data);
    work->deadline_at_ms = waiting->taken_at_ms + delivery->visible_ms;
    work->count = delivery->count;
    work->items = self->items;
    for (size_t i = 0; i < work->count; i++) {
        tally_delivered_read(&delivery->items, &self->items[i]);
    }
    self->working = true;
    self->lost = false;
}

static void
do_work(tally_worker_t *self, int64_t now_ms)
{
    tally_work_t *work = &self->work;
    if (now_ms >= work->deadline_at_ms) {
        tally_log_debug("left a lease to its deadline  lease=%llu", (unsigned long long)work->id);
    } else if (self->stops > 0) {
        tally_worker_return(self, work, NULL, 0, false, -1, "the worker stops");
    } else if (!database_ready(self, now_ms)) {
        int64_t delay_ms = self->db_retry_at_ms - tally_clock_now_ms();
        tally_worker_return(self, work, NULL, 0, false, delay_ms < 100 ? 100 : delay_ms,
                            "the worker's database is away");
    } else {
        TALLY_FAILPOINT(WORK_BEGUN);
        self->role->work(self, self->role_state, work);
        if (self->stops >= 2) {
            //  Whatever is left of it; nothing is, when the role had finished.
            tally_worker_return(self, work, NULL, 0, false, -1, "the worker stops");
        }
    }
    self->working = false;
}

static void
work_next(tally_worker_t *self)
{
    struct waiting *waiting = pop_waiting(self);
    if (waiting == NULL) {
        return;
    }
    tally_delivery_t delivery;
    bool read = read_delivery(&waiting->frame, &delivery);
    assert(read);    // it was when it came
    open_work(self, waiting, &delivery);
    do_work(self, tally_clock_now_ms());
    free_waiting(self, &waiting);
    tally_worker_flush(self);
    disown_former(self);
}

//  ---- the loop ----------------------------------------------------------------------------------

static bool
finished(const tally_worker_t *self)
{
    return (self->stops > 0 || self->draining) && self->first == NULL;
}

static void
wait_for_something(tally_worker_t *self)
{
    zmq_pollitem_t items[1 + TALLY_LINK_ITEMS_MAX] = {{NULL, self->signal_fd, ZMQ_POLLIN, 0}};
    int count = 1 + (int)tally_link_poll_items(self->link, items + 1);
    int64_t due_at_ms = tally_link_due_at_ms(self->link);
    int64_t now_ms = tally_clock_now_ms();
    due_at_ms = self->idle_at_ms < due_at_ms ? self->idle_at_ms : due_at_ms;
    int64_t wait_ms = due_at_ms - now_ms;
    wait_ms = self->first != NULL || wait_ms < 0 ? 0 : wait_ms > IDLE_MS ? IDLE_MS : wait_ms;
    if (zmq_poll(items, count, (long)wait_ms) == -1) {
        assert(zmq_errno() == EINTR);
    }
}

static void
idle_when_due(tally_worker_t *self, int64_t now_ms)
{
    if (now_ms < self->idle_at_ms) {
        return;
    }
    self->idle_at_ms = now_ms + IDLE_MS;
    bool ready = database_ready(self, now_ms);    // comes back by itself, also without work
    if (ready && self->role->idle != NULL) {
        self->role->idle(self, self->role_state, now_ms);
        tally_worker_flush(self);
    }
}

static void
run(tally_worker_t *self)
{
    while (!finished(self)) {
        wait_for_something(self);
        tally_worker_look(self, tally_clock_now_ms());
        work_next(self);
        idle_when_due(self, tally_clock_now_ms());
    }
    forget_waiting(self);
    tally_link_goodbye(self->link);
}

//  ---- starting and ending -----------------------------------------------------------------------

#define RUNTIME_KEYS 8

static const tally_config_key_t runtime_keys[RUNTIME_KEYS] = {
    {"front", "the broker's front, several separated by commas", "ipc:///run/tally/front",
     TALLY_CONFIG_TEXT, 0, 0},
    {"db", "where PostgreSQL is, as libpq says it (host=... dbname=...)", NULL, TALLY_CONFIG_TEXT,
     0, 0},
    {"key", "file of the worker's key pair, when the broker wants keys", NULL, TALLY_CONFIG_TEXT, 0,
     0},
    {"server-key", "file of the broker's public key, several separated by commas", NULL,
     TALLY_CONFIG_TEXT, 0, 0},
    {"name", "the worker's name; ROLE-HOST-PID unless given", NULL, TALLY_CONFIG_TEXT, 0, 0},
    {"credit", "messages held at once", NULL, TALLY_CONFIG_NUMBER, 1, TALLY_CREDIT_MAX},
    {"ping-ms", "time between durable pings", "60000", TALLY_CONFIG_NUMBER, 100, 24 * 3600 * 1000},
    {"log", "error, warn, info or debug", NULL, TALLY_CONFIG_TEXT, 0, 0},
};

static tally_config_key_t *
join_keys(const tally_worker_role_t *role)
{
    size_t count = RUNTIME_KEYS;
    for (const char *const *option = role->options; option != NULL && *option != NULL; option++) {
        count++;
    }
    tally_config_key_t *keys = tally_alloc_array(count + 1, sizeof *keys);
    memcpy(keys, runtime_keys, sizeof runtime_keys);
    for (size_t i = RUNTIME_KEYS; i < count; i++) {
        keys[i].name = role->options[i - RUNTIME_KEYS];
        keys[i].help = "of this role; see workers/README.md";
    }
    return keys;
}

//  ROLE-HOST-PID by the name rule; a long host is shortened, so the pid is always there.
static void
default_name(char out[TALLY_NAME_BYTES_MAX + 1], const char *role)
{
    char host[256] = "host";
    gethostname(host, sizeof host - 1);
    for (char *at = host; *at != '\0'; at++) {
        char lower = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
        bool allowed = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9')
                       || lower == '.' || lower == '_' || lower == '-';
        *at = allowed ? lower : '-';
    }
    int room = TALLY_NAME_BYTES_MAX - (int)strlen(role) - 12;
    assert(room > 0);
    snprintf(out, TALLY_NAME_BYTES_MAX + 1, "%s-%.*s-%d", role, room, host, (int)getpid());
}

//  0, or -1 with the reason on the log.
static int
configure(tally_worker_t *self)
{
    const char *level = tally_config_get(self->config, "log");
    if (level != NULL && tally_log_set_level_name(level) == -1) {
        tally_log_error("\"%s\" is not a log level: error, warn, info or debug", level);
        return -1;
    }
    const char *name = tally_config_get(self->config, "name");
    if (name == NULL) {
        default_name(self->name, self->role->role);
    } else if (!tally_name_valid(tally_bytes_of(name))) {
        tally_log_error("\"%s\" is not a worker's name: 1 to 64 of a-z 0-9 . _ -", name);
        return -1;
    } else {
        snprintf(self->name, sizeof self->name, "%s", name);
    }
    assert(tally_name_valid(tally_bytes_of(self->name)));
    int64_t credit = tally_config_number(self->config, "credit");
    tally_hello_t *hello = &self->hello;
    *hello = (tally_hello_t){.role = TALLY_ROLE_WORKER,
                             .version_min = TALLY_WIRE_VERSION,
                             .version_max = TALLY_WIRE_VERSION,
                             .name = tally_bytes_of(self->name),
                             .credit = credit == 0 ? self->role->credit : (uint16_t)credit};
    randombytes_buf(hello->sender, sizeof hello->sender);
    while (hello->queue_count < TALLY_WORKER_QUEUES_MAX
           && self->role->queues[hello->queue_count] != NULL) {
        hello->queues[hello->queue_count] = tally_bytes_of(self->role->queues[hello->queue_count]);
        hello->queue_count++;
    }
    return 0;
}

//  0, or -1 with the reason on the log.
static int
open_worker(tally_worker_t *self)
{
    const char *fronts = tally_config_get(self->config, "front");
    self->items = tally_alloc_array(TALLY_BATCH_MESSAGES_MAX, sizeof *self->items);
    char *error = NULL;
    if (tally_keys_new(&self->keys, tally_config_get(self->config, "key"),
                       tally_config_get(self->config, "server-key"), &error)
        == -1) {
        tally_log_error("could not use the keys: %s", error);
        free(error);
        return -1;
    }
    self->link = tally_link_new(fronts, &self->hello, self->keys);
    if (self->link == NULL) {
        tally_log_error("\"%s\" names no front", fronts);
        return -1;
    }
    if (self->role->start != NULL && self->role->start(self, &self->role_state) == -1) {
        return -1;
    }
    tally_beat_options_t options = {.fronts = fronts,
                                    .name = self->name,
                                    .role = self->role->role,
                                    .ping_ms = tally_config_number(self->config, "ping-ms"),
                                    .outstanding = &self->outstanding,
                                    .keys = self->keys};
    self->beat = tally_beat_new(&options);
    if (self->beat == NULL) {
        tally_log_error("could not start a thread");
        return -1;
    }
    return 0;
}

static void
close_worker(tally_worker_t *self)
{
    if (self->role->stop != NULL && self->role_state != NULL) {
        self->role->stop(self, &self->role_state);
    }
    tally_beat_destroy(&self->beat);
    tally_link_destroy(&self->link);
    tally_keys_destroy(&self->keys);
    tally_db_destroy(&self->db);
    tally_wire_free(&self->records);
    free(self->items);
}

//  Signals come through a descriptor; every thread made later inherits that they are blocked.
static int
open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0) {
        return -1;
    }
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

int
tally_worker_main(int argc, char **argv, const tally_worker_role_t *role)
{
    tally_process_seclude();
    tally_worker_t self = {.role = role};
    tally_config_key_t *keys = join_keys(role);
    char *program = tally_format("tally-%s", role->role);
    self.config = tally_config_new(program, keys);
    int code = tally_config_start(self.config, argc, argv, role->summary);
    if (code == -1) {
        code = EXIT_CANNOT_START;
        self.signal_fd = open_signals();
        zsys_handler_set(NULL);
        if (self.signal_fd == -1 || sodium_init() == -1) {
            tally_log_error("could not start: signals or random numbers are not to be had");
        } else if (configure(&self) == 0 && open_worker(&self) == 0) {
            tally_log_info("started  name=%s credit=%u", self.name, self.hello.credit);
            run(&self);
            tally_log_info("stopped  name=%s", self.name);
            code = 0;
        }
        close_worker(&self);
        if (self.signal_fd != -1) {
            close(self.signal_fd);
        }
    }
    tally_config_destroy(&self.config);
    free(program);
    free(keys);
    return code;
}

const char *
tally_worker_name(const tally_worker_t *worker)
{
    return worker->name;
}

const char *
tally_worker_option(const tally_worker_t *worker, const char *name)
{
    return tally_config_get(worker->config, name);
}
