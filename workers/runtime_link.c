// SPDX-License-Identifier: MIT
//  runtime_link - see runtime_link.h.

#include "workers/runtime_link.h"

#include <assert.h>
#include <czmq.h>
#include <sodium.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "lib/owner.h"
#include "lib/socket.h"

#define HELLO_ANSWER_MS 2000            // how long a front may take to answer
#define HELLO_ANSWER_OF_MANY_MS 1000    // where there are others
#define ROUND_MS                                                                                   \
    40    // at most, with full jitter, between two rounds through fronts where nobody is
#define ROUND_MS_MAX 320
#define RETRY_MS_MAX 5000    // full jitter up to here
#define LINGER_MS 1000       // what was said last still goes out
#define BEATS_HWM 1000       // beats that wait while the worker is busy
#define SINK_HWM 10000

typedef enum { LINK_CLOSED, LINK_GREETING, LINK_READY, LINK_OVER } link_state_t;

struct tally_link {
    tally_owner_t owner;    // of its sockets
    const tally_hello_t *hello;
    char *fronts;    // cut into strings at the commas
    const char **front_list;
    size_t front_count,
        front;    // the current one; all fronts come once for each of the broker's keys
    const tally_keys_t *keys;    // borrowed
    link_state_t state;
    zsock_t *control, *lane, *sink;          // NULL when closed
    zsock_t *lane_monitor, *sink_monitor;    // PAIR: tell when their connections end
    uint64_t hello_request;
    int64_t act_at_ms;           // CLOSED: try again; GREETING: give the front up
    unsigned fruitless;          // hellos without a welcome
    unsigned refused;            // fronts in a row where nobody was
    unsigned watched;            // sockets so far
    zsock_t *control_monitor;    // NULL: there is but one front, libzmq connects again
    bool told;                   // that there is no broker; once until there is one
    const char *gone;            // why there is no use in listening any longer; NULL: there is
    int64_t silent_ms, judged_at_ms;    // only time in which we listened counts as silence
    tally_welcome_t welcome;
    char sink_endpoint[TALLY_ENDPOINT_BYTES_MAX + 1];
    tally_wire_t wire;
};

//  ---- making and closing ------------------------------------------------------------------------

static void
split_fronts(tally_link_t *self)
{
    size_t room = 1;
    for (const char *at = self->fronts; *at != '\0'; at++) {
        room += *at == ',' ? 1 : 0;
    }
    size_t servers = tally_keys_count(self->keys);
    self->front_list = tally_alloc_array(room * servers, sizeof *self->front_list);
    char *rest = self->fronts;
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        one += strspn(one, " ");
        one[strcspn(one, " ")] = '\0';
        if (*one != '\0') {
            self->front_list[self->front_count++] = one;
        }
    }
    size_t each = self->front_count;
    self->front_count = each * servers;
    for (size_t i = each; i < self->front_count; i++) {
        self->front_list[i] = self->front_list[i - each];
    }
}

tally_link_t *
tally_link_new(const char *fronts, const tally_hello_t *hello, const tally_keys_t *keys)
{
    tally_link_t *self = tally_alloc(sizeof *self);
    self->owner = tally_owner_here();
    self->hello = hello;
    self->fronts = tally_strdup(fronts);
    self->keys = keys;
    split_fronts(self);
    if (self->front_count == 0) {
        tally_link_destroy(&self);
    }
    return self;
}

static void
close_watched(zsock_t **sock, zsock_t **monitor)
{
    if (*monitor != NULL) {
        zmq_socket_monitor(zsock_resolve(*sock), NULL, 0);
        zsock_destroy(monitor);
    }
    zsock_destroy(sock);
}

static void
close_sockets(tally_link_t *self)
{
    close_watched(&self->control, &self->control_monitor);
    close_watched(&self->lane, &self->lane_monitor);
    close_watched(&self->sink, &self->sink_monitor);
}

void
tally_link_destroy(tally_link_t **self_p)
{
    assert(self_p != NULL);
    tally_link_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    close_sockets(self);
    tally_wire_free(&self->wire);
    free(self->front_list);
    free(self->fronts);
    free(self);
    *self_p = NULL;
}

size_t
tally_link_server(const tally_link_t *self)
{
    return self->front / (self->front_count / tally_keys_count(self->keys));
}

static zsock_t *
connect_socket(const tally_link_t *self, int type, const char *endpoint, int send_hwm,
               int receive_hwm)
{
    zsock_t *sock = zsock_new(type);
    if (sock == NULL) {
        tally_log_error("could not make a socket: %s", zmq_strerror(zmq_errno()));
        return NULL;
    }
    tally_socket_curve_t curve;
    const tally_socket_options_t options = {.send_max = send_hwm,
                                            .curve = tally_keys_curve(self->keys,
                                                                      tally_link_server(self),
                                                                      &curve),
                                            .receive_max = receive_hwm,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX + 1024,
                                            .linger_ms = LINGER_MS};
    if (tally_socket_connect(zsock_resolve(sock), endpoint, &options) == -1) {
        tally_log_error("could not connect to \"%s\": %s", endpoint, zmq_strerror(zmq_errno()));
        zsock_destroy(&sock);
    }
    return sock;
}

//  A broker that dies closes the lane's connection at once, long before its silence would tell.  Records that were on
//  their way when the sink's connection ended may be lost, and the broker would wait for them until the deadline: to
//  say hello again gives back at once what this worker held.
static zsock_t *
watch(tally_link_t *self, zsock_t *sock, const char *what, int events)
{
    char where[64];
    //  A name is free again only some time after its monitor is closed.
    snprintf(where, sizeof where, "inproc://tally-%s-%p-%u", what, (void *)self, ++self->watched);
    zsock_t *monitor = NULL;
    if (zmq_socket_monitor(zsock_resolve(sock), where, events) == 0) {
        monitor = zsock_new_pair(NULL);
        if (monitor != NULL && zmq_connect(zsock_resolve(monitor), where) == -1) {
            zsock_destroy(&monitor);
        }
    }
    if (monitor == NULL) {
        tally_log_warn("could not watch the %s: %s", what, zmq_strerror(zmq_errno()));
    }
    return monitor;
}

//  One event is all that is asked for; what is in it does not matter.
static bool
has_ended(zsock_t *monitor)
{
    return monitor != NULL && zmq_recv(zsock_resolve(monitor), NULL, 0, ZMQ_DONTWAIT) != -1;
}

static int
send_wire(zsock_t *sock, const tally_wire_t *wire)
{
    return zmq_send(zsock_resolve(sock), wire->data, wire->size, ZMQ_DONTWAIT) == -1 ? -1 : 0;
}

//  ---- hello -------------------------------------------------------------------------------------

static int64_t
jittered_delay(unsigned fruitless)
{
    uint32_t top = 200U << (fruitless < 5 ? fruitless : 5);
    return 50 + (int64_t)randombytes_uniform(top < RETRY_MS_MAX ? top : RETRY_MS_MAX);
}

//  Closes everything; the next front is tried after a pause.
static void
close_for_retry(tally_link_t *self, int64_t now_ms, int64_t delay_ms)
{
    if (self->control != NULL) {
        zsock_set_linger(self->control,
                         0);    // a hello that arrived later would make a worker that is none
    }
    close_sockets(self);
    self->state = LINK_CLOSED;
    self->act_at_ms = now_ms + delay_ms;
    self->front = (self->front + 1) % self->front_count;
}

static void
say_hello(tally_link_t *self, int64_t now_ms)
{
    assert(self->state == LINK_CLOSED);
    const char *front = self->front_list[self->front];
    bool many = self->front_count > 1;
    self->control = connect_socket(self, ZMQ_DEALER, front, 1000, 1000);
    self->control_monitor = self->control != NULL && many
                                ? watch(self, self->control, "front",
                                        ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED)
                                : NULL;
    if (self->control == NULL) {
        close_for_retry(self, now_ms, jittered_delay(self->fruitless++));
        return;
    }
    tally_hello_write(&self->wire, ++self->hello_request, self->hello);
    if (send_wire(self->control, &self->wire) == -1) {
        close_for_retry(self, now_ms, jittered_delay(self->fruitless++));
        return;
    }
    self->state = LINK_GREETING;
    self->act_at_ms = now_ms + (many ? HELLO_ANSWER_OF_MANY_MS : HELLO_ANSWER_MS);
}

static bool
copy_endpoint(char out[TALLY_ENDPOINT_BYTES_MAX + 1], tally_bytes_t endpoint)
{
    if (endpoint.size > TALLY_ENDPOINT_BYTES_MAX) {
        return false;
    }
    memcpy(out, endpoint.data, endpoint.size);
    out[endpoint.size] = '\0';
    return true;
}

static tally_link_event_t
take_welcome(tally_link_t *self, tally_cursor_t cursor, int64_t now_ms)
{
    tally_welcome_t welcome;
    char lane[TALLY_ENDPOINT_BYTES_MAX + 1];
    tally_fault_t fault = tally_welcome_read(cursor, &welcome);
    if (fault.code != 0 || welcome.worker == 0 || !copy_endpoint(lane, welcome.lane)
        || !copy_endpoint(self->sink_endpoint, welcome.sink)) {
        tally_log_warn("did not understand the broker's welcome: %s",
                       fault.code != 0 ? fault.text : "it names no lane");
        close_for_retry(self, now_ms, jittered_delay(self->fruitless++));
        return TALLY_LINK_SAME;
    }
    self->lane = connect_socket(self, ZMQ_PULL, lane, 1, (int)self->hello->credit + BEATS_HWM);
    self->sink = connect_socket(self, ZMQ_PUSH, self->sink_endpoint, SINK_HWM, 1);
    if (self->lane == NULL || self->sink == NULL) {
        close_for_retry(self, now_ms, jittered_delay(self->fruitless++));
        return TALLY_LINK_SAME;
    }
    self->lane_monitor = watch(self, self->lane, "lane", ZMQ_EVENT_DISCONNECTED);
    self->sink_monitor = watch(self, self->sink, "sink", ZMQ_EVENT_DISCONNECTED);
    self->welcome = welcome;
    self->welcome.lane = (tally_bytes_t){NULL, 0};    // pointed into the frame
    self->welcome.feed = (tally_bytes_t){NULL, 0};
    self->welcome.sink = tally_bytes_of(self->sink_endpoint);
    self->state = LINK_READY;
    self->fruitless = 0;
    self->refused = 0;
    self->told = false;
    self->gone = NULL;
    self->silent_ms = 0;
    self->judged_at_ms = now_ms;
    return TALLY_LINK_WELCOMED;
}

static void
take_refusal(tally_link_t *self, tally_cursor_t cursor, int64_t now_ms)
{
    tally_error_t error;
    int64_t delay_ms = jittered_delay(self->fruitless++);
    tally_fault_t fault = tally_error_read(cursor, &error);
    if (fault.code != 0) {
        tally_log_warn("did not understand the broker's answer to hello: %s", fault.text);
    } else {
        if (error.code == TALLY_E_AWAY) {
            delay_ms = jittered_delay(0);    // it says when, and others may serve meanwhile
        }
        delay_ms += error.retry_after_ms < RETRY_MS_MAX ? error.retry_after_ms : RETRY_MS_MAX;
        tally_log_warn("the broker refused our hello: %.*s  code=%s retry_in_ms=%lld",
                       (int)error.text.size, (const char *)error.text.data,
                       tally_code_name(error.code), (long long)delay_ms);
    }
    close_for_retry(self, now_ms, delay_ms);
}

//  ---- reading -----------------------------------------------------------------------------------

//  Receives the next frame that stands alone and has a head of ours; others are passed over.
static bool
receive(zsock_t *sock, zmq_msg_t *frame, tally_head_t *head, tally_cursor_t *cursor)
{
    while (zmq_msg_recv(frame, zsock_resolve(sock), ZMQ_DONTWAIT) != -1) {
        bool alone = zmq_msg_more(frame) == 0;
        while (zmq_msg_more(frame) != 0 && zmq_msg_recv(frame, zsock_resolve(sock), 0) != -1) {
        }
        tally_bytes_t bytes = {zmq_msg_data(frame), zmq_msg_size(frame)};
        if (alone && tally_head_read(bytes, head, cursor).code == 0) {
            return true;
        }
        tally_log_warn("passed over a frame from the broker that is not of this protocol");
    }
    return false;
}

static tally_link_event_t
take_control(tally_link_t *self, int64_t now_ms)
{
    tally_link_event_t event = TALLY_LINK_SAME;
    zmq_msg_t frame;
    tally_head_t head;
    tally_cursor_t cursor;
    zmq_msg_init(&frame);
    while (self->control != NULL && receive(self->control, &frame, &head, &cursor)) {
        if (self->state != LINK_GREETING || head.request != self->hello_request) {
            continue;
        }
        if (head.verb == TALLY_WELCOME) {
            event = take_welcome(self, cursor, now_ms);
        } else if (head.verb == TALLY_ERROR) {
            take_refusal(self, cursor, now_ms);
        }
    }
    zmq_msg_close(&frame);
    return event;
}

static tally_lane_event_t
take_notice(tally_link_t *self, tally_cursor_t cursor)
{
    tally_notice_t notice;
    tally_fault_t fault = tally_notice_read(cursor, &notice);
    if (fault.code != 0) {
        tally_log_warn("did not understand a notice of the broker: %s", fault.text);
        return TALLY_LANE_NOTHING;
    }
    switch (notice.kind) {
    case TALLY_NOTICE_BEAT:
        if (notice.epoch != self->welcome.broker_epoch) {
            self->gone = "another one took over";
        }
        break;
    case TALLY_NOTICE_GONE:
        self->gone = "it does not know us any more";
        break;
    case TALLY_NOTICE_DRAIN:
        return TALLY_LANE_DRAIN;
    default:
        //  Terms are proved by the epoch in each delivery; the notice is for those who watch.
        tally_log_info("%s term of %.*s  tenant=%.*s epoch=%llu",
                       notice.kind == TALLY_NOTICE_TERM ? "got the" : "lost the",
                       (int)notice.queue.size, (const char *)notice.queue.data,
                       (int)notice.tenant.size, (const char *)notice.tenant.data,
                       (unsigned long long)notice.epoch);
        break;
    }
    return TALLY_LANE_NOTHING;
}

tally_lane_event_t
tally_link_take(tally_link_t *self, zmq_msg_t *frame)
{
    tally_owner_require(&self->owner);
    tally_head_t head;
    tally_cursor_t cursor;
    while (self->state == LINK_READY && receive(self->lane, frame, &head, &cursor)) {
        self->silent_ms = 0;
        if (head.verb == TALLY_DELIVERY) {
            return TALLY_LANE_DELIVERY;
        }
        if (head.verb == TALLY_NOTICE && take_notice(self, cursor) == TALLY_LANE_DRAIN) {
            return TALLY_LANE_DRAIN;
        }
    }
    return TALLY_LANE_NOTHING;
}

//  ---- time --------------------------------------------------------------------------------------

static int64_t
patience_ms(const tally_link_t *self)
{
    return (int64_t)self->welcome.beat_ms * (self->welcome.beats_missed_max + 1);
}

//  A pause of ours (long work, a stopped process) is not the broker's silence.
static void
judge_silence(tally_link_t *self, int64_t now_ms)
{
    int64_t passed_ms = now_ms - self->judged_at_ms;
    int64_t step_ms = self->welcome.beat_ms;
    self->silent_ms += passed_ms < step_ms ? passed_ms : step_ms;
    self->judged_at_ms = now_ms;
}

//  The broker may be back in a moment; or another one has taken over by then.
static void
lose(tally_link_t *self, int64_t now_ms)
{
    tally_log_warn("lost the broker: %s", self->gone);
    if (self->front_count > 1) {
        close_for_retry(self, now_ms, randombytes_uniform(ROUND_MS));
        return;
    }
    close_for_retry(self, now_ms, jittered_delay(0));
}

//  Nobody is at this front: the next one at once, and a pause when all were tried in vain.
static void
move_on(tally_link_t *self, int64_t now_ms)
{
    int64_t delay_ms = 0;
    if (++self->refused % self->front_count == 0) {
        size_t rounds = self->refused / self->front_count;
        uint32_t top = ROUND_MS << (rounds < 4 ? rounds - 1 : 3);
        delay_ms = 1 + (int64_t)randombytes_uniform(top < ROUND_MS_MAX ? top : ROUND_MS_MAX);
    }
    close_for_retry(self, now_ms, delay_ms);
}

tally_link_event_t
tally_link_advance(tally_link_t *self, int64_t now_ms)
{
    tally_owner_require(&self->owner);
    tally_link_event_t event = take_control(self, now_ms);
    if (event != TALLY_LINK_SAME) {
        return event;
    }
    if (self->state == LINK_READY) {
        judge_silence(self, now_ms);
        if (has_ended(self->lane_monitor)) {
            self->gone = "the lane was closed";
        } else if (has_ended(self->sink_monitor)) {
            self->gone = "the connection to its sink ended";
        } else if (self->silent_ms > patience_ms(self)) {
            self->gone = "its beats stopped";
        }
        if (self->gone != NULL) {
            lose(self, now_ms);
            return TALLY_LINK_LOST;
        }
    } else if (self->state == LINK_GREETING && has_ended(self->control_monitor)) {
        move_on(self, now_ms);
    } else if (self->state == LINK_GREETING && now_ms >= self->act_at_ms) {
        if (!self->told) {
            tally_log_warn("no broker answers at %s  trying_again=yes",
                           self->front_list[self->front]);
            self->told = true;
        }
        bool many = self->front_count > 1;
        close_for_retry(self, now_ms,
                        many ? randombytes_uniform(ROUND_MS) : jittered_delay(self->fruitless++));
    } else if (self->state == LINK_CLOSED && now_ms >= self->act_at_ms) {
        say_hello(self, now_ms);
    }
    return TALLY_LINK_SAME;
}

int64_t
tally_link_due_at_ms(const tally_link_t *self)
{
    if (self->state == LINK_READY) {
        return self->judged_at_ms + self->welcome.beat_ms / 2;
    }
    return self->act_at_ms;
}

size_t
tally_link_poll_items(const tally_link_t *self, zmq_pollitem_t *items)
{
    zsock_t *const heard[] = {self->control, self->control_monitor, self->lane, self->lane_monitor,
                              self->sink_monitor};
    size_t count = 0;
    for (size_t i = 0; i < sizeof heard / sizeof heard[0]; i++) {
        if (heard[i] != NULL) {
            items[count++] = (zmq_pollitem_t){zsock_resolve(heard[i]), 0, ZMQ_POLLIN, 0};
        }
    }
    return count;
}

bool
tally_link_ready(const tally_link_t *self)
{
    return self->state == LINK_READY;
}

const tally_welcome_t *
tally_link_welcome(const tally_link_t *self)
{
    assert(self->state == LINK_READY);
    return &self->welcome;
}

int
tally_link_sink(tally_link_t *self, tally_bytes_t frame)
{
    tally_owner_require(&self->owner);
    if (self->state != LINK_READY) {
        return -1;
    }
    return zmq_send(zsock_resolve(self->sink), frame.data, frame.size, ZMQ_DONTWAIT) == -1 ? -1 : 0;
}

void
tally_link_goodbye(tally_link_t *self)
{
    if (self->state == LINK_READY) {
        tally_wire_start(&self->wire, TALLY_GOODBYE, ++self->hello_request);
        if (send_wire(self->control, &self->wire) == -1) {
            tally_log_debug("could not say goodbye: %s", zmq_strerror(zmq_errno()));
        }
    }
    close_sockets(self);
    self->state = LINK_OVER;
}
