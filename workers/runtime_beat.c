// SPDX-License-Identifier: MIT
//  runtime_beat - see runtime_beat.h.
//
//  One zactor with two duties that do not know each other: beats (struct beats) and pings (struct pings).

#include "workers/runtime_beat.h"

#include <assert.h>
#include <czmq.h>
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/socket.h"
#include "lib/wire.h"

#define ANSWER_MS 3000    // a front that is silent for so long is given up
#define RETRY_MS_MAX 5000
#define LAST_LINGER_MS 500    // how long the last ping may take to leave
#define PING_QUEUE "heartbeat"
#define PING_TENANT "tally"

struct tally_beat {
    zactor_t *actor;
    tally_beat_options_t options;
};

struct beats {
    zsock_t *sink;    // NULL: nobody to beat for
    uint64_t worker;
    int64_t beat_ms, due_at_ms;
};

typedef enum { PING_CLOSED, PING_GREETING, PING_READY } ping_state_t;

struct pings {
    ping_state_t state;
    zsock_t *control;
    char *fronts;
    char *front;      // points into fronts; the next connection's
    size_t server;    // which of the broker's keys is tried
    uint8_t sender[TALLY_SENDER_BYTES];
    uint64_t sequence;    // the last used; 0: none was
    uint64_t hello_request;
    char *pending;    // a ping not yet confirmed, or NULL
    bool numbered;    // pending has `sequence`
    bool greeted_before;
    int64_t due_at_ms;      // of the next ping
    int64_t act_at_ms;      // CLOSED: connect; GREETING, or READY with a ping out: give up
    int64_t again_at_ms;    // READY: a refused ping is repeated; 0: none was refused
    unsigned fruitless;
    char host[256];
    char started_at[32];
};

struct beat_thread {
    const tally_beat_options_t *options;
    struct beats beats;
    struct pings pings;
    tally_wire_t wire;
};

static zsock_t *
connect_socket(const tally_keys_t *keys, size_t server, int type, const char *endpoint, int hwm)
{
    zsock_t *sock = zsock_new(type);
    if (sock == NULL) {
        return NULL;
    }
    tally_socket_curve_t curve;
    const tally_socket_options_t options = {.send_max = hwm,
                                            .curve = tally_keys_curve(keys, server, &curve),
                                            .receive_max = hwm,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX + 1024};
    if (tally_socket_connect(zsock_resolve(sock), endpoint, &options) == -1) {
        zsock_destroy(&sock);
    }
    return sock;
}

static int
send_wire(zsock_t *sock, const tally_wire_t *wire)
{
    return zmq_send(zsock_resolve(sock), wire->data, wire->size, ZMQ_DONTWAIT) == -1 ? -1 : 0;
}

//  ---- beats -------------------------------------------------------------------------------------

static void
follow_sink(struct beat_thread *thread, uint64_t worker, const char *sink, uint32_t beat_ms,
            uint32_t server)
{
    struct beats *self = &thread->beats;
    zsock_destroy(&self->sink);
    self->worker = worker;
    self->beat_ms = beat_ms;
    self->due_at_ms = tally_clock_now_ms();
    if (worker != 0) {
        self->sink = connect_socket(thread->options->keys, server, ZMQ_PUSH, sink, 16);
    }
}

//  A beat that the socket does not take is lost like any other: the next one comes soon.
static void
beat_when_due(struct beat_thread *self, int64_t now_ms)
{
    struct beats *beats = &self->beats;
    if (beats->sink == NULL || now_ms < beats->due_at_ms) {
        return;
    }
    tally_record_t record = {.kind = TALLY_RECORD_BEAT,
                             .outstanding = atomic_load(self->options->outstanding)};
    tally_records_start(&self->wire, beats->worker);
    tally_records_add(&self->wire, &record, NULL);
    if (send_wire(beats->sink, &self->wire) == -1) {
        tally_log_debug("could not beat: %s", zmq_strerror(zmq_errno()));
    }
    //  After a stop of the process one beat is enough.
    beats->due_at_ms = now_ms + beats->beat_ms;
}

//  ---- pings -------------------------------------------------------------------------------------

static void
format_now(char out[32])
{
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t length = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + length, 32 - length, ".%03ldZ", now.tv_nsec / 1000000);
}

static char *
make_ping(const struct beat_thread *self, bool last)
{
    char now[32];
    format_now(now);
    json_t *body = json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:o*}", "name", self->options->name,
                             "role", self->options->role, "pid", (int)getpid(), "host",
                             self->pings.host, "started_at", self->pings.started_at, "at", now,
                             "stopped", last ? json_true() : NULL);
    assert(body != NULL);
    char *text = json_dumps(body, JSON_COMPACT);
    assert(text != NULL);
    json_decref(body);
    return text;
}

static void
give_up(struct pings *self, int64_t now_ms)
{
    zsock_destroy(&self->control);
    self->state = PING_CLOSED;
    uint32_t top = 200U << (self->fruitless < 5 ? self->fruitless : 5);
    self->fruitless++;
    self->act_at_ms = now_ms + 50 + randombytes_uniform(top < RETRY_MS_MAX ? top : RETRY_MS_MAX);
}

//  The front of the next connection: "a, b" is tried as a, b, a...
static char *
take_front(struct pings *self, const tally_keys_t *keys, size_t *server)
{
    char *front = self->front;
    char *next = front + strlen(front) + 1;
    *server = self->server;
    self->front = next;
    if (*next == '\0') {
        self->front = self->fronts;
        self->server = (self->server + 1) % tally_keys_count(keys);
    }
    return front;
}

static void
greet(struct beat_thread *self, int64_t now_ms)
{
    struct pings *pings = &self->pings;
    const tally_keys_t *keys = self->options->keys;
    size_t server;
    const char *front = take_front(pings, keys, &server);
    pings->control = connect_socket(keys, server, ZMQ_DEALER, front, 64);
    tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                           .version_min = TALLY_WIRE_VERSION,
                           .version_max = TALLY_WIRE_VERSION,
                           .name = tally_bytes_of(self->options->name)};
    memcpy(hello.sender, pings->sender, TALLY_SENDER_BYTES);
    tally_hello_write(&self->wire, ++pings->hello_request, &hello);
    if (pings->control == NULL || send_wire(pings->control, &self->wire) == -1) {
        give_up(pings, now_ms);
        return;
    }
    pings->state = PING_GREETING;
    pings->act_at_ms = now_ms + ANSWER_MS;
}

static void
send_pending(struct beat_thread *self, int64_t now_ms)
{
    struct pings *pings = &self->pings;
    if (!pings->numbered) {
        pings->sequence++;
        pings->numbered = true;
    }
    tally_item_t item = {.priority = TALLY_PRIORITY_DEFAULT,
                         .body = tally_bytes_of(pings->pending)};
    tally_send_start(&self->wire, pings->sequence, tally_bytes_of(PING_QUEUE),
                     tally_bytes_of(PING_TENANT));
    tally_send_add(&self->wire, &item);
    pings->again_at_ms = 0;
    pings->act_at_ms = now_ms + ANSWER_MS;
    if (send_wire(pings->control, &self->wire) == -1) {
        give_up(pings, now_ms);
    }
}

static void
end_pending(struct pings *self)
{
    free(self->pending);
    self->pending = NULL;
    self->numbered = false;
    self->again_at_ms = 0;
}

static void
take_welcome(struct beat_thread *self, tally_cursor_t cursor, int64_t now_ms)
{
    struct pings *pings = &self->pings;
    tally_welcome_t welcome;
    if (tally_welcome_read(cursor, &welcome).code != 0) {
        give_up(pings, now_ms);
        return;
    }
    if (!pings->numbered && welcome.last_sequence > pings->sequence) {
        pings->sequence = welcome.last_sequence;
    }
    pings->state = PING_READY;
    pings->fruitless = 0;
    if (pings->pending != NULL) {
        send_pending(self, now_ms);
    }
}

static void
take_error(struct pings *self, const tally_head_t *head, tally_cursor_t cursor, int64_t now_ms)
{
    tally_error_t error;
    if (tally_error_read(cursor, &error).code != 0) {
        give_up(self, now_ms);
        return;
    }
    bool of_ping = self->state == PING_READY && self->pending != NULL
                   && head->request == self->sequence;
    if (of_ping && error.code / 100 == 1 && error.code != TALLY_E_STATE) {
        tally_log_warn("the broker refused a ping: %.*s  code=%s", (int)error.text.size,
                       (const char *)error.text.data, tally_code_name(error.code));
        end_pending(self);
        self->sequence--;    // what was refused did not happen; the number is free
    } else if (of_ping && error.code != TALLY_E_STATE) {
        uint32_t wait_ms = error.retry_after_ms < 1000 ? 1000 : error.retry_after_ms;
        self->again_at_ms = now_ms + (wait_ms < RETRY_MS_MAX ? wait_ms : RETRY_MS_MAX);
    } else {
        give_up(self, now_ms);
    }
}

static void
take_answers(struct beat_thread *self, int64_t now_ms)
{
    struct pings *pings = &self->pings;
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    while (pings->control != NULL
           && zmq_msg_recv(&frame, zsock_resolve(pings->control), ZMQ_DONTWAIT) != -1) {
        tally_head_t head;
        tally_cursor_t cursor;
        tally_bytes_t bytes = {zmq_msg_data(&frame), zmq_msg_size(&frame)};
        if (tally_head_read(bytes, &head, &cursor).code != 0) {
            continue;
        }
        bool of_hello = pings->state == PING_GREETING && head.request == pings->hello_request;
        if (head.verb == TALLY_WELCOME && of_hello) {
            take_welcome(self, cursor, now_ms);
        } else if (head.verb == TALLY_CONFIRM && pings->numbered
                   && head.request == pings->sequence) {
            end_pending(pings);
        } else if (head.verb == TALLY_ERROR) {
            take_error(pings, &head, cursor, now_ms);
        }
    }
    zmq_msg_close(&frame);
}

//  Says that this end is a wanted one, so that nobody is alarmed by the silence.  Not waited for: when it gets lost, an
//  alarm is what comes of it.
static void
ping_last(struct beat_thread *self)
{
    struct pings *pings = &self->pings;
    if (pings->state != PING_READY) {
        return;
    }
    end_pending(pings);
    pings->pending = make_ping(self, true);
    zsock_set_linger(pings->control, LAST_LINGER_MS);
    send_pending(self, tally_clock_now_ms());
}

//  A ping that is still under way is not replaced: its number is taken.  The next follows its confirmation.
static void
ping_when_due(struct beat_thread *self, int64_t now_ms)
{
    struct pings *pings = &self->pings;
    if (now_ms >= pings->due_at_ms && pings->pending == NULL) {
        pings->pending = make_ping(self, false);
        pings->due_at_ms = now_ms + self->options->ping_ms;
        if (pings->state == PING_READY) {
            send_pending(self, now_ms);
        }
    }
    if (pings->state == PING_CLOSED) {
        if (pings->pending != NULL && now_ms >= pings->act_at_ms) {
            greet(self, now_ms);
        }
        return;
    }
    if (pings->again_at_ms != 0) {
        if (now_ms >= pings->again_at_ms) {
            send_pending(self, now_ms);
        }
        return;
    }
    bool answer_is_due = pings->state == PING_GREETING || pings->pending != NULL;
    if (answer_is_due && now_ms >= pings->act_at_ms) {
        give_up(pings, now_ms);
    }
}

static int64_t
next_due_at_ms(const struct beat_thread *self)
{
    const struct pings *pings = &self->pings;
    int64_t due_at_ms = pings->pending == NULL                                  ? pings->due_at_ms
                        : pings->again_at_ms != 0 && pings->state == PING_READY ? pings->again_at_ms
                                                                                : pings->act_at_ms;
    if (self->beats.sink != NULL && self->beats.due_at_ms < due_at_ms) {
        due_at_ms = self->beats.due_at_ms;
    }
    return due_at_ms;
}

//  ---- the thread --------------------------------------------------------------------------------

//  False when it is time to end.
static bool
take_command(struct beat_thread *self, zsock_t *pipe)
{
    char *command, *sink;
    uint64_t worker;
    uint32_t beat_ms, server;
    if (zsock_recv(pipe, "s8s44", &command, &worker, &sink, &beat_ms, &server) == -1) {
        return false;
    }
    bool follows = streq(command, "FOLLOW");
    if (follows) {
        follow_sink(self, worker, sink, beat_ms, server);
    }
    zstr_free(&command);
    zstr_free(&sink);
    return follows;    // else "$TERM" of zactor_destroy
}

static void
open_pings(struct pings *self, const tally_beat_options_t *options, int64_t now_ms)
{
    //  A list of strings, each with its NUL, ended by an empty one.
    self->fronts = tally_alloc(strlen(options->fronts) + 2);
    char *end = self->fronts;
    for (const char *at = options->fronts; *at != '\0';) {
        size_t length = strcspn(at, ",");
        const char *first = at + strspn(at, " ");
        size_t kept = first < at + length ? (size_t)(at + length - first) : 0;
        memcpy(end, first, kept);
        end += kept > 0 ? kept + 1 : 0;
        at += length + (at[length] == ',' ? 1 : 0);
    }
    self->front = self->fronts;
    randombytes_buf(self->sender, sizeof self->sender);
    self->due_at_ms = now_ms;
    if (gethostname(self->host, sizeof self->host - 1) == -1) {
        snprintf(self->host, sizeof self->host, "unknown");
    }
    for (char *at = self->host; *at != '\0'; at++) {
        *at = *at > ' ' && *at < 0x7f ? *at : '?';    // it goes into JSON
    }
    format_now(self->started_at);
}

static void
run_thread(zsock_t *pipe, void *context)
{
    struct beat_thread self = {.options = context};
    open_pings(&self.pings, self.options, tally_clock_now_ms());
    zsock_signal(pipe, 0);
    for (bool running = true; running;) {
        int64_t now_ms = tally_clock_now_ms();
        beat_when_due(&self, now_ms);
        ping_when_due(&self, now_ms);
        int64_t wait_ms = next_due_at_ms(&self) - now_ms;
        zmq_pollitem_t items[2] = {{zsock_resolve(pipe), 0, ZMQ_POLLIN, 0}};
        int count = 1;
        if (self.pings.control != NULL) {
            items[count++] = (zmq_pollitem_t){zsock_resolve(self.pings.control), 0, ZMQ_POLLIN, 0};
        }
        wait_ms = wait_ms < 0 ? 0 : wait_ms > 60000 ? 60000 : wait_ms;
        if (zmq_poll(items, count, (long)wait_ms) == -1 && zmq_errno() != EINTR) {
            break;
        }
        now_ms = tally_clock_now_ms();
        if ((items[0].revents & ZMQ_POLLIN) != 0) {
            running = take_command(&self, pipe);
        }
        take_answers(&self, now_ms);
    }
    ping_last(&self);
    zsock_destroy(&self.beats.sink);
    zsock_destroy(&self.pings.control);
    free(self.pings.pending);
    free(self.pings.fronts);
    tally_wire_free(&self.wire);
}

tally_beat_t *
tally_beat_new(const tally_beat_options_t *options)
{
    tally_beat_t *self = tally_alloc(sizeof *self);
    self->options = *options;
    self->actor = zactor_new(run_thread, &self->options);
    if (self->actor == NULL) {
        free(self);
        return NULL;
    }
    return self;
}

void
tally_beat_destroy(tally_beat_t **self_p)
{
    assert(self_p != NULL);
    tally_beat_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    zactor_destroy(&self->actor);
    free(self);
    *self_p = NULL;
}

void
tally_beat_follow(tally_beat_t *self, uint64_t worker, const char *sink, uint16_t beat_ms,
                  size_t server)
{
    //  The thread reads its pipe all the time; a full pipe would mean thousands of changed brokers.
    int rc = zsock_send(self->actor, "s8s44", "FOLLOW", worker, sink, (uint32_t)beat_ms,
                        (uint32_t)server);
    assert(rc == 0);
}
