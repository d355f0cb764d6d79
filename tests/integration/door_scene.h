// SPDX-License-Identifier: MIT
//  door_scene - a tallyd with CURVE on a database of its own, and peers that speak to it frame by frame.
//
//  Peers are plain ZeroMQ sockets and the codec, no client library: they do what a client would not.  Nothing is left
//  behind: sockets end with the scene, and the broker when its parent does.

#ifndef TALLY_TEST_DOOR_SCENE_H
#define TALLY_TEST_DOOR_SCENE_H

#include <sys/types.h>

#include "lib/db.h"
#include "lib/key_file.h"
#include "lib/socket.h"
#include "lib/wire.h"
#include "tests/integration/pg.h"

typedef struct {
    tally_pg_t *pg;
    tally_db_t *db;
    char dir[64];
    char *front, *sink, *feed;
    pid_t broker;
    tally_key_pair_t server;
    tally_key_pair_t operator_key;    // of all rights, "root"
    void *context;
    tally_wire_t wire;
    uint64_t request;
} door_scene_t;

//  PostgreSQL, keys and a broker that serves; queue "mail" and tenants "acme" and "beta" are there.
door_scene_t *door_scene_new(void);
void door_scene_destroy(door_scene_t **self_p);

//  `tallyd` with these settings beside ours (NULL ends them); its exit code, or -1 when it serves, and then it is the
//  scene's broker.
int door_scene_start(door_scene_t *self, const char *const *settings);
void door_scene_stop(door_scene_t *self);

//  A new principal; lists as in SQL: "{acme}".
tally_key_pair_t door_scene_key(door_scene_t *self, const char *name, const char *role,
                                const char *tenants, const char *queues, const char *rights);
void door_scene_sql(door_scene_t *self, const char *sql);
int64_t door_scene_number(door_scene_t *self, const char *sql);

//  ---- peers -----------------------------------------------------------------------------------------------

//  A socket connected with these keys (NULL: without any) to the server of `server_key`.
void *door_scene_connect(door_scene_t *self, int type, const char *endpoint,
                         const tally_key_pair_t *key, const char *server_key);
void door_scene_close(void **socket_p);

//  How a handshake ended.
typedef enum { DOOR_IN = 1, DOOR_REFUSED, DOOR_UNDECIDED } door_verdict_t;
//  Sends self->wire ahead, when there is something in it: it must not arrive.
door_verdict_t door_scene_knock(door_scene_t *self, int type, const char *endpoint,
                                const tally_key_pair_t *key, const char *server_key);

//  What came back: the verb and, of an ERROR or a refusing REPLY, its code; verb 0: nothing in time.
typedef struct {
    uint8_t verb;
    int code;
    uint32_t retry_after_ms;
    char text[1024];            // of the error, or the reply
    tally_welcome_t welcome;    // of a WELCOME; its texts are below
    char lane[256], sink[256], feed[256];
} door_answer_t;

//  Sends self->wire and waits so long for what has its request number.
door_answer_t door_scene_read(tally_bytes_t frame);    // that came by another way
door_answer_t door_scene_ask(door_scene_t *self, void *dealer, int timeout_ms);
door_answer_t door_scene_hello(door_scene_t *self, void *dealer, const char *queue);
//  hello, which must be welcomed, on a new connection to the front; requests are numbered from 1 again.
void *door_scene_client(door_scene_t *self, const tally_key_pair_t *key);

//  Frames into self->wire.
void door_write_hello(door_scene_t *self, const char *queue, const uint8_t *sender);
void door_write_send(door_scene_t *self, const char *queue, const char *tenant, unsigned options);
void door_write_admin(door_scene_t *self, const char *json);
void door_write_fetch(door_scene_t *self, uint64_t lease, uint64_t message);
void door_write_record(door_scene_t *self, uint8_t kind, uint64_t worker, uint64_t lease);

#endif
