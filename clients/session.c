// SPDX-License-Identifier: MIT
//  session - see session.h.

#include "clients/session.h"

#include "lib/alloc.h"
#include "lib/socket.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

//  Requests that are not sends are numbered from here, above all sequences.
#define REQUEST_BASE ((uint64_t)1 << 63)
#define SILENCE_MS_DEFAULT 1000
#define SILENCE_DOUBLINGS_MAX 3
//  Frames wait in the socket only while libzmq connects; all that can be outstanding, and its
//  repetition.
#define SEND_HWM (4 * (TALLY_SEND_WINDOW + 4096))
//  How long the end of a client may take when the front has just gone.
#define GOODBYE_MS 100
#define FRAME_SLACK_BYTES (64 * 1024)
//  Between two rounds through endpoints where nobody is; doubles.
#define ROUND_MS_MIN 20
#define ROUND_MS_MAX 200

struct tally_session {
    void *context;         // owned, as is the socket
    void *socket;          // NULL when closed
    void *monitor;         // PAIR, events of the socket; NULL: there is no other endpoint to go to
    unsigned sockets;      // made so far
    unsigned refused;      // connections that ended or were refused since something was heard
    int64_t open_at_ms;    // closed: not before
    char *endpoints;       // cut into strings at the commas
    const char **list;     // of them
    size_t count;
    size_t current;
    tally_session_state_t state;
    bool probing;
    bool was_ready;    // ever
    uint64_t requests;
    uint64_t hello_request;    // the last hello's
    int64_t greet_at_ms;       // 0: the hello is out
    int64_t quiet_since_ms;
    unsigned silence_ms;
    unsigned fruitless;    // connections given up since something was heard
    unsigned reconnects;
    uint8_t sender[TALLY_SENDER_BYTES];
    char name[TALLY_NAME_BYTES_MAX + 1];
    char feed[TALLY_ENDPOINT_BYTES_MAX + 1];
    tally_welcome_t terms;
    tally_wire_t wire;
    tally_keys_t *keys;       // owned; NULL: no CURVE
    size_t endpoint_count;    // `list` has all of them for each of the broker's keys
};

static void
choose_sender(uint8_t sender[TALLY_SENDER_BYTES])
{
    ssize_t got = getrandom(sender, TALLY_SENDER_BYTES, 0);
    assert(got == TALLY_SENDER_BYTES);    // so small a read is never cut short
}

static void
split_endpoints(tally_session_t *self)
{
    size_t commas = 0;
    for (const char *at = self->endpoints; *at != '\0'; at++) {
        commas += *at == ',' ? 1 : 0;
    }
    self->list = tally_alloc_array(commas + 1, sizeof *self->list);
    char *rest = self->endpoints;
    for (char *one; (one = strsep(&rest, ",")) != NULL;) {
        one += strspn(one, " ");
        one[strcspn(one, " ")] = '\0';
        if (*one != '\0') {
            self->list[self->count++] = one;
        }
    }
    if (self->count == 0) {
        self->list[self->count++] = "";    // open says that it is not an endpoint
    }
    self->endpoint_count = self->count;
}

tally_session_t *
tally_session_new(const char *endpoints)
{
    void *context = zmq_ctx_new();
    if (context == NULL) {
        return NULL;
    }
    tally_session_t *self = tally_alloc(sizeof *self);
    self->context = context;
    self->endpoints = tally_strdup(endpoints);
    split_endpoints(self);
    self->silence_ms = SILENCE_MS_DEFAULT;
    self->requests = REQUEST_BASE;
    tally_session_set_name(self, tally_bytes_of("client"));
    choose_sender(self->sender);
    return self;
}

static void
close_socket(tally_session_t *self)
{
    if (self->monitor != NULL) {
        (void)zmq_socket_monitor(self->socket, NULL, 0);
        zmq_close(self->monitor);
        self->monitor = NULL;
    }
    if (self->socket != NULL) {
        zmq_close(self->socket);
        self->socket = NULL;
    }
    self->state = TALLY_SESSION_CLOSED;
    self->probing = false;
    self->greet_at_ms = 0;
}

//  So that the front need not keep us in memory until it makes room; nothing hangs on it.
static void
say_goodbye(tally_session_t *self)
{
    int linger_ms = GOODBYE_MS;
    tally_wire_start(&self->wire, TALLY_GOODBYE, tally_session_request(self));
    (void)zmq_send(self->socket, self->wire.data, self->wire.size, ZMQ_DONTWAIT);
    (void)zmq_setsockopt(self->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
}

void
tally_session_destroy(tally_session_t **self_p)
{
    assert(self_p != NULL);
    tally_session_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    if (self->state == TALLY_SESSION_READY) {
        say_goodbye(self);
    }
    close_socket(self);
    while (zmq_ctx_term(self->context) == -1 && errno == EINTR) {
    }
    tally_wire_free(&self->wire);
    tally_keys_destroy(&self->keys);
    free(self->list);
    free(self->endpoints);
    free(self);
    *self_p = NULL;
}

void
tally_session_set_name(tally_session_t *self, tally_bytes_t name)
{
    assert(tally_name_valid(name));
    memcpy(self->name, name.data, name.size);
    self->name[name.size] = '\0';
}

void
tally_session_set_sender(tally_session_t *self, const uint8_t sender[TALLY_SENDER_BYTES])
{
    memcpy(self->sender, sender, TALLY_SENDER_BYTES);
}

void
tally_session_set_silence(tally_session_t *self, unsigned silence_ms)
{
    assert(silence_ms > 0);
    self->silence_ms = silence_ms;
}

void
tally_session_set_keys(tally_session_t *self, tally_keys_t **keys_p)
{
    assert(self->socket == NULL);
    tally_keys_destroy(&self->keys);
    self->keys = *keys_p;
    *keys_p = NULL;
    size_t each = self->endpoint_count;
    self->count = each * tally_keys_count(self->keys);
    self->current = 0;
    self->list = tally_realloc_array(self->list, self->count, sizeof *self->list);
    for (size_t i = each; i < self->count; i++) {
        self->list[i] = self->list[i - each];
    }
}

const tally_socket_curve_t *
tally_session_curve(const tally_session_t *self, tally_socket_curve_t *curve)
{
    return tally_keys_curve(self->keys, self->current / self->endpoint_count, curve);
}

//  ---- the connection ----------------------------------------------------------------------------

static void
say_hello(tally_session_t *self)
{
    tally_hello_t hello = {
        .role = TALLY_ROLE_CLIENT,
        .version_min = TALLY_WIRE_VERSION,
        .version_max = TALLY_WIRE_VERSION,
        .name = tally_bytes_of(self->name),
    };
    memcpy(hello.sender, self->sender, TALLY_SENDER_BYTES);
    self->hello_request = tally_session_request(self);
    tally_hello_write(&self->wire, self->hello_request, &hello);
    //  A socket that takes no more shows as silence, and is replaced.
    (void)zmq_send(self->socket, self->wire.data, self->wire.size, ZMQ_DONTWAIT);
    self->greet_at_ms = 0;
}

//  Tells when the connection ends or is refused, long before silence would.  Without it silence has to do.
static void
watch_socket(tally_session_t *self)
{
    char where[48];
    snprintf(where, sizeof where, "inproc://tally-front-%u", ++self->sockets);
    int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_CONNECT_RETRIED;
    if (zmq_socket_monitor(self->socket, where, events) == -1) {
        return;
    }
    self->monitor = zmq_socket(self->context, ZMQ_PAIR);
    if (self->monitor != NULL && zmq_connect(self->monitor, where) == -1) {
        zmq_close(self->monitor);
        self->monitor = NULL;
    }
}

static int
make_socket(tally_session_t *self)
{
    self->socket = zmq_socket(self->context, ZMQ_DEALER);
    if (self->socket == NULL) {
        return -1;
    }
    //  Receiving is bounded by what was sent: one answer each.  A limit here would lose answers in
    //  the front.
    tally_socket_curve_t curve;
    const tally_socket_options_t options = {.send_max = SEND_HWM,
                                            .receive_max = 0,
                                            .curve = tally_session_curve(self, &curve),
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX
                                                               + FRAME_SLACK_BYTES};
    if (self->count > 1) {
        watch_socket(self);
    }
    return tally_socket_connect(self->socket, self->list[self->current], &options);
}

int
tally_session_open(tally_session_t *self, int64_t now_ms)
{
    close_socket(self);
    if (make_socket(self) == -1) {
        int why = errno;
        close_socket(self);
        errno = why;
        return -1;
    }
    self->state = TALLY_SESSION_GREETING;
    self->quiet_since_ms = now_ms;
    self->open_at_ms = 0;
    say_hello(self);
    return 0;
}

static void
go_to_next(tally_session_t *self)
{
    close_socket(self);
    self->current = (self->current + 1) % self->count;
}

void
tally_session_give_up(tally_session_t *self)
{
    go_to_next(self);
    self->fruitless++;
}

bool
tally_session_ended(tally_session_t *self)
{
    return self->monitor != NULL && zmq_recv(self->monitor, NULL, 0, ZMQ_DONTWAIT) != -1;
}

void
tally_session_move_on(tally_session_t *self, int64_t now_ms)
{
    size_t rounds = ++self->refused / self->count;
    go_to_next(self);
    if (self->refused % self->count == 0) {
        int64_t pause_ms = (int64_t)ROUND_MS_MIN << (rounds < 8 ? rounds - 1 : 7);
        self->open_at_ms = now_ms + (pause_ms < ROUND_MS_MAX ? pause_ms : ROUND_MS_MAX);
    }
}

bool
tally_session_leave(tally_session_t *self, int64_t now_ms, int64_t delay_ms)
{
    if (self->count == 1) {
        return false;
    }
    go_to_next(self);
    self->open_at_ms = now_ms + delay_ms;
    return true;
}

int64_t
tally_session_open_at(const tally_session_t *self)
{
    return self->open_at_ms;
}

void
tally_session_greet(tally_session_t *self, int64_t now_ms)
{
    assert(self->socket != NULL);
    self->state = TALLY_SESSION_GREETING;
    self->probing = false;
    self->quiet_since_ms = now_ms;
    say_hello(self);
}

void
tally_session_greet_later(tally_session_t *self, int64_t now_ms, int64_t delay_ms)
{
    assert(self->socket != NULL);
    self->state = TALLY_SESSION_GREETING;
    self->probing = false;
    self->greet_at_ms = now_ms + delay_ms;
}

void
tally_session_probe(tally_session_t *self, int64_t now_ms)
{
    assert(self->state == TALLY_SESSION_READY);
    self->probing = true;
    self->quiet_since_ms = now_ms;
    say_hello(self);
}

bool
tally_session_probing(const tally_session_t *self)
{
    return self->probing;
}

int
tally_session_send(tally_session_t *self, zmq_msg_t *frame)
{
    assert(self->state == TALLY_SESSION_READY);
    zmq_msg_t copy;
    zmq_msg_init(&copy);
    zmq_msg_copy(&copy, frame);
    if (zmq_msg_send(&copy, self->socket, ZMQ_DONTWAIT) == -1) {
        zmq_msg_close(&copy);
        return -1;
    }
    return 0;
}

int
tally_session_receive(tally_session_t *self, zmq_msg_t *frame)
{
    if (self->socket == NULL) {
        return -1;
    }
    bool within = false;
    while (zmq_msg_recv(frame, self->socket, ZMQ_DONTWAIT) != -1) {
        bool more = zmq_msg_more(frame) != 0;
        if (!more && !within) {
            return 0;
        }
        within = more;
    }
    return -1;
}

void
tally_session_poll(tally_session_t *self, int64_t wait_ms)
{
    zmq_pollitem_t items[2] = {{.socket = self->socket, .events = ZMQ_POLLIN},
                               {.socket = self->monitor, .events = ZMQ_POLLIN}};
    int count = self->socket == NULL ? 0 : self->monitor == NULL ? 1 : 2;
    assert(count > 0 || wait_ms >= 0);
    //  A signal ends the wait early; the caller looks at its clock anyway.
    (void)zmq_poll(items, count, (long)wait_ms);
}

int
tally_session_fd(const tally_session_t *self)
{
    int fd = -1;
    size_t size = sizeof fd;
    if (self->socket != NULL) {
        int rc = zmq_getsockopt(self->socket, ZMQ_FD, &fd, &size);
        assert(rc == 0);
    }
    return fd;
}

void
tally_session_heard(tally_session_t *self, int64_t now_ms)
{
    self->quiet_since_ms = now_ms;
    self->fruitless = 0;
    self->refused = 0;
}

void
tally_session_expect(tally_session_t *self, int64_t now_ms)
{
    self->quiet_since_ms = now_ms;
}

//  ---- the welcome -------------------------------------------------------------------------------

bool
tally_session_greeted_by(const tally_session_t *self, uint64_t request)
{
    return self->hello_request != 0 && request == self->hello_request;
}

tally_welcome_kind_t
tally_session_welcome(tally_session_t *self, const tally_head_t *head, tally_cursor_t cursor,
                      tally_fault_t *fault)
{
    *fault = (tally_fault_t){.index = TALLY_NO_INDEX, .text = ""};
    if (!tally_session_greeted_by(self, head->request)) {
        return TALLY_WELCOME_NONE;
    }
    tally_welcome_t welcome;
    *fault = tally_welcome_read(cursor, &welcome);
    if (fault->code == 0 && memcmp(welcome.sender, self->sender, TALLY_SENDER_BYTES) != 0) {
        *fault = (tally_fault_t){.code = TALLY_E_FRAME,
                                 .index = TALLY_NO_INDEX,
                                 .text = "the welcome is for another sender"};
    }
    if (fault->code != 0) {
        return TALLY_WELCOME_NONE;
    }
    bool same = self->state == TALLY_SESSION_READY
                && welcome.broker_epoch == self->terms.broker_epoch;
    if (self->state == TALLY_SESSION_GREETING && self->was_ready) {
        self->reconnects++;
    }
    memcpy(self->feed, welcome.feed.data, welcome.feed.size);
    self->feed[welcome.feed.size] = '\0';
    welcome.feed = tally_bytes_of(self->feed);
    welcome.lane = (tally_bytes_t){NULL, 0};
    welcome.sink = (tally_bytes_t){NULL, 0};
    self->terms = welcome;
    self->state = TALLY_SESSION_READY;
    self->probing = false;
    self->was_ready = true;
    return same ? TALLY_WELCOME_SAME : TALLY_WELCOME_FRESH;
}

int64_t
tally_session_patience_ends(const tally_session_t *self)
{
    size_t doublings = self->fruitless / self->count;
    if (doublings > SILENCE_DOUBLINGS_MAX) {
        doublings = SILENCE_DOUBLINGS_MAX;
    }
    return self->quiet_since_ms + ((int64_t)self->silence_ms << doublings);
}

int64_t
tally_session_greet_at(const tally_session_t *self)
{
    return self->greet_at_ms;
}

tally_session_state_t
tally_session_state(const tally_session_t *self)
{
    return self->state;
}

const char *
tally_session_endpoint(const tally_session_t *self)
{
    return self->list[self->current];
}

const uint8_t *
tally_session_sender(const tally_session_t *self)
{
    return self->sender;
}

unsigned
tally_session_reconnects(const tally_session_t *self)
{
    return self->reconnects;
}

unsigned
tally_session_silence_ms(const tally_session_t *self)
{
    return self->silence_ms;
}

const tally_welcome_t *
tally_session_terms(const tally_session_t *self)
{
    return &self->terms;
}

const char *
tally_session_feed(const tally_session_t *self)
{
    return self->was_ready ? self->feed : NULL;
}

uint64_t
tally_session_request(tally_session_t *self)
{
    return ++self->requests;
}
