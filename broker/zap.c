// SPDX-License-Identifier: MIT
//  zap - see zap.h.  The protocol is ZeroMQ RFC 27.

#include "broker/zap.h"

#include <assert.h>
#include <czmq.h>
#include <stdatomic.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/limits.h"
#include "lib/socket.h"

#define ENDPOINT "inproc://zeromq.zap.01"
#define PART_BYTES_MAX 256    // of what libzmq passes on; longer ones are cut, and refused
#define CURVE_KEY_BYTES 32

typedef struct {
    uint8_t data[PART_BYTES_MAX];
    size_t size;
} part_t;

enum { VERSION, REQUEST, DOMAIN, ADDRESS, IDENTITY, MECHANISM, KEY, PARTS };

struct tally_zap {
    tally_keyring_t *keyring;
    zactor_t *actor;
    bool bound;
    atomic_uint_fast64_t admitted, refused;
};

//  ---- in the thread -------------------------------------------------------------------------------

//  How many parts came, at most PARTS are kept; -1 when there is no request.
static int
receive(zsock_t *server, part_t parts[PARTS])
{
    int count = 0;
    for (bool more = true; more; count++) {
        part_t ignored;
        part_t *part = count < PARTS ? &parts[count] : &ignored;
        int size = zmq_recv(zsock_resolve(server), part->data, sizeof part->data, 0);
        if (size == -1) {
            return -1;
        }
        part->size = (size_t)size;
        more = zsock_rcvmore(server) != 0;
    }
    return count;
}

static tally_bytes_t
bytes_of(const part_t *part)
{
    return (tally_bytes_t){part->data, part->size};
}

static bool
part_is(const part_t *part, const char *text)
{
    return tally_bytes_equal(bytes_of(part), tally_bytes_of(text));
}

//  Whether to let them in; the key in Z85.
static bool
judge(tally_zap_t *self, const part_t parts[PARTS], int count, char key[TALLY_KEY_TEXT_BYTES + 1])
{
    if (count != PARTS || !part_is(&parts[VERSION], "1.0") || !part_is(&parts[MECHANISM], "CURVE")
        || parts[KEY].size != CURVE_KEY_BYTES || parts[DOMAIN].size > TALLY_DOMAIN_BYTES_MAX) {
        return false;
    }
    const char *text = zmq_z85_encode(key, parts[KEY].data, CURVE_KEY_BYTES);
    assert(text == key);
    return tally_keyring_admits(self->keyring, key, bytes_of(&parts[DOMAIN]), tally_clock_now_ms());
}

static int
answer(zsock_t *server, const part_t *request, bool admitted, const char *key)
{
    void *socket = zsock_resolve(server);
    const char *const words[] = {admitted ? "200" : "400", admitted ? "OK" : "not let in",
                                 admitted ? key : ""};
    size_t request_size = request->size <= sizeof request->data ? request->size : 0;
    int rc = zmq_send(socket, "1.0", 3, ZMQ_SNDMORE);
    rc = rc == -1 ? rc : zmq_send(socket, request->data, request_size, ZMQ_SNDMORE);
    for (size_t i = 0; i < sizeof words / sizeof words[0] && rc != -1; i++) {
        rc = zmq_send(socket, words[i], strlen(words[i]), ZMQ_SNDMORE);
    }
    return rc == -1 ? rc : zmq_send(socket, "", 0, 0);    // no metadata
}

//  False when the socket is of no use any more.
static bool
serve_one(tally_zap_t *self, zsock_t *server)
{
    part_t parts[PARTS] = {0};
    char key[TALLY_KEY_TEXT_BYTES + 1] = "";
    int count = receive(server, parts);
    if (count == -1) {
        return errno == EINTR;
    }
    bool admitted = judge(self, parts, count, key);
    atomic_fetch_add(admitted ? &self->admitted : &self->refused, 1);
    return answer(server, &parts[REQUEST], admitted, key) != -1;
}

static void
run_zap(zsock_t *pipe, void *argument)
{
    tally_zap_t *self = argument;
    zsock_t *server = zsock_new(ZMQ_REP);
    assert(server != NULL);
    //  What libzmq asks is short, and it waits for each answer: at most one question a handshake.
    const tally_socket_options_t options = {.send_max = 0,
                                            .receive_max = 0,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX};
    self->bound = tally_socket_bind(zsock_resolve(server), ENDPOINT, &options) != -1;
    zsock_signal(pipe, 0);
    zpoller_t *poller = zpoller_new(pipe, server, NULL);
    assert(poller != NULL);
    zpoller_set_nonstop(poller, true);
    for (bool running = self->bound; running;) {
        void *which = zpoller_wait(poller, -1);
        if (which == server) {
            running = serve_one(self, server);
        } else {
            running = which == NULL && !zpoller_terminated(poller);    // the pipe: we are to end
        }
    }
    zpoller_destroy(&poller);
    zsock_destroy(&server);
}

//  ---- in the loop ---------------------------------------------------------------------------------

tally_zap_t *
tally_zap_new(tally_keyring_t *keyring)
{
    tally_zap_t *self = tally_alloc(sizeof *self);
    self->keyring = keyring;
    self->actor = zactor_new(run_zap, self);
    assert(self->actor != NULL);
    if (!self->bound) {
        tally_zap_destroy(&self);
    }
    return self;
}

void
tally_zap_destroy(tally_zap_t **self_p)
{
    tally_zap_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    zactor_destroy(&self->actor);
    free(self);
    *self_p = NULL;
}

void
tally_zap_stop(tally_zap_t *self)
{
    int rc = zstr_send(self->actor, "$TERM");
    assert(rc == 0);
}

int
tally_zap_fd(const tally_zap_t *self)
{
    return (int)zsock_fd(self->actor);
}

bool
tally_zap_lives(tally_zap_t *self)
{
    //  The thread says nothing but that it has ended.
    return (zsock_events(self->actor) & ZMQ_POLLIN) == 0;
}

void
tally_zap_count(const tally_zap_t *self, uint64_t *admitted, uint64_t *refused)
{
    *admitted = atomic_load(&self->admitted);
    *refused = atomic_load(&self->refused);
}
