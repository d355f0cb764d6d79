// SPDX-License-Identifier: MIT
//  fuzz_zap - a ZAP request of any parts, asked through the socket that libzmq asks through: one answer, and
//  nobody is let in but who must be.
//
//  The first byte says which parts are the input's (a length, then the bytes) and which are as libzmq would send
//  them.  The handler's thread lives as long as the program: it has no state that a request could change.
//
//  covers: broker/zap.c broker/keyring.c

#include "tests/fuzz/fuzz.h"

#include <czmq.h>
#include <errno.h>
#include <zmq.h>

#include "broker/zap.h"
#include "lib/alloc.h"
#include "lib/clock.h"

#define ENDPOINT "inproc://zeromq.zap.01"
#define PARTS 7
#define PARTS_ASKED_MAX 9    // two more than there may be
#define PART_BYTES_MAX 600

typedef struct {
    uint8_t data[PART_BYTES_MAX];
    size_t size;
} part_t;

struct request {
    const uint8_t *at, *end;
    part_t parts[PARTS_ASKED_MAX];
    size_t count;
};

static const uint8_t known_key[32] = {7, 7, 7};

//  A worker of every tenant.
static tally_keyring_t *
make_keyring(void)
{
    tally_keyring_t *made = tally_keyring_new();
    tally_principal_t *who = tally_alloc(sizeof *who);
    const char *text = zmq_z85_encode(who->key, known_key, sizeof known_key);
    assert(text == who->key);
    memcpy(who->name, "worker", sizeof "worker");
    who->role = TALLY_PRINCIPAL_WORKER;
    who->rights = TALLY_RIGHT_WORK;
    who->tenants.all = who->queues.all = true;
    who->dies_at_ms = INT64_MAX;
    tally_principal_seal(who);
    tally_keyring_replace(made, who, 1, tally_clock_now_ms());
    return made;
}

static void
put_part(struct request *request, const void *data, size_t size)
{
    part_t *part = &request->parts[request->count++];
    part->size = size;
    if (size > 0) {
        memcpy(part->data, data, size);
    }
}

static void
draw_part(struct request *request)
{
    size_t left = (size_t)(request->end - request->at);
    size_t size = left > 0 ? *request->at * 2U : 0;
    size_t room = left > 0 ? left - 1 : 0;
    size = size < room ? size : room;
    put_part(request, request->at + (left > 0 ? 1 : 0), size);
    request->at += size + (left > 0 ? 1 : 0);
}

static void
build(struct request *request)
{
    static const char *const usual[PARTS] = {"1.0", "1", "front", "127.0.0.1", "", "CURVE", ""};
    unsigned own = request->at < request->end ? *request->at++ : 0;
    for (size_t i = 0; i < PARTS; i++) {
        if ((own & 1u << i) != 0) {
            draw_part(request);
        } else if (i == PARTS - 1) {
            put_part(request, known_key, sizeof known_key);
        } else {
            put_part(request, usual[i], strlen(usual[i]));
        }
    }
    if ((own & 0x80) != 0) {    // too few, or too many
        request->count = own % PARTS_ASKED_MAX;
        request->count = request->count == 0 ? 1 : request->count;
    }
}

static bool
part_is(const struct request *request, size_t index, const char *text)
{
    const part_t *part = &request->parts[index];
    return part->size == strlen(text) && memcmp(part->data, text, part->size) == 0;
}

//  The rules once more, as the protocol's page and the keyring say them.
static bool
may_come_in(const struct request *request, const char *key)
{
    const part_t *domain = &request->parts[2], *credential = &request->parts[PARTS - 1];
    char lane[64];
    snprintf(lane, sizeof lane, "lane:%s", key);
    return request->count == PARTS && part_is(request, 0, "1.0") && part_is(request, 5, "CURVE")
           && credential->size == sizeof known_key
           && memcmp(credential->data, known_key, sizeof known_key) == 0
           && (part_is(request, 2, "front") || part_is(request, 2, "sink")
               || part_is(request, 2, "feed") || part_is(request, 2, lane)
               || (domain->size > 5 && memcmp(domain->data, "feed:", 5) == 0));
}

static void
ask(void *socket, const struct request *request)
{
    for (size_t i = 0; i < request->count; i++) {
        int more = i + 1 < request->count ? ZMQ_SNDMORE : 0;
        int rc = zmq_send(socket, request->parts[i].data, request->parts[i].size, more);
        assert(rc != -1);
    }
}

static void
check_answer(void *socket, const struct request *request, const char *key)
{
    char parts[6][PART_BYTES_MAX];
    int sizes[6];
    for (int i = 0; i < 6; i++) {
        do {
            sizes[i] = zmq_recv(socket, parts[i], sizeof parts[i], 0);
        } while (sizes[i] == -1 && errno == EINTR);    // the process was stopped meanwhile
        assert(sizes[i] >= 0 && sizes[i] < (int)sizeof parts[i]);
        int more = 0;
        size_t room = sizeof more;
        zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &room);
        assert((more != 0) == (i < 5));
        parts[i][sizes[i]] = '\0';
    }
    bool admitted = strcmp(parts[2], "200") == 0;
    assert(admitted || strcmp(parts[2], "400") == 0);
    assert(!admitted || may_come_in(request, key));
    assert(strcmp(parts[4], admitted ? key : "") == 0);
    assert(sizes[5] == 0);
    //  Everything as libzmq sends it is let in, so this is not blind.
    assert(admitted || !may_come_in(request, key) || request->parts[2].size > 5);
}

static zsock_t *client;
static tally_zap_t *zap;
static tally_keyring_t *keyring;

static void
close_all(void)
{
    zsock_destroy(&client);
    tally_zap_destroy(&zap);
    tally_keyring_destroy(&keyring);
}

//  Once; closed before czmq looks for what was forgotten.
static void
open_all(void)
{
    zsys_init();
    zsys_handler_set(NULL);
    atexit(close_all);
    keyring = make_keyring();
    zap = tally_zap_new(keyring);
    assert(zap != NULL);
    client = zsock_new(ZMQ_REQ);
    int rc = zsock_connect(client, "%s", ENDPOINT);
    assert(rc == 0);
}

void
fuzz_zap(tally_bytes_t input)
{
    if (client == NULL) {
        open_all();
    }
    char key[TALLY_KEY_TEXT_BYTES + 1];
    const char *text = zmq_z85_encode(key, known_key, sizeof known_key);
    assert(text == key);
    struct request request = {.at = input.data};
    request.end = request.at + input.size;
    build(&request);
    ask(zsock_resolve(client), &request);
    check_answer(zsock_resolve(client), &request, key);
}
