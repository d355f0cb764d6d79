// SPDX-License-Identifier: MIT
//  door_fixture - a door_scene with its principals, and every verb that can be said to a broker.

#ifndef TALLY_TEST_DOOR_FIXTURE_H
#define TALLY_TEST_DOOR_FIXTURE_H

#include "tests/integration/door_scene.h"

#define DOOR_ANSWER_MS 5000
#define DOOR_REVOKED_MS 5000    // revocation on live connections
#define DOOR_SOCKETS_MAX 16
#define DOOR_ABSENT UINT64_C(1)    // a worker or a lease that is not there

typedef struct {
    door_scene_t *scene;
    void *operator;    // a connection of the operator
    tally_key_pair_t acme, beta, monitor, worker, other_worker;
    void *sockets[DOOR_SOCKETS_MAX];    // of the test at hand
    size_t socket_count;
} door_fixture_t;

//  For cmocka: of the group, and after each test.
int door_fixture_set_up(void **state);
int door_fixture_tear_down(void **state);
int door_fixture_close_sockets(void **state);

//  Closed when the test is over.
void *door_fixture_keep(door_fixture_t *f, void *socket);
//  A connection that was welcomed; waits until the broker knows the key.
void *door_fixture_client(door_fixture_t *f, const tally_key_pair_t *key);

//  A number of the broker's status; waits until it is at least so much.
int64_t door_fixture_counter(door_fixture_t *f, const char *name);
void door_fixture_await(door_fixture_t *f, const char *name, int64_t least);

//  A statement: one number of all that must stay as it was, whatever those said who may not.
extern const char door_untouched[];

typedef struct {
    const char *name;
    int type;            // DEALER to the front, PUSH to the sink
    const char *json;    // of an admin request; %s: the tenant
    uint8_t record;      // of the sink
    uint8_t frame;       // of the front, else
    unsigned options;    // of a send
    bool works;          // of a hello
} door_verb_t;

#define DOOR_VERBS 28
extern const door_verb_t door_verbs[DOOR_VERBS];

const door_verb_t *door_verb_named(const char *name);
//  Its frame, into the scene's wire.
void door_verb_write(door_scene_t *s, const door_verb_t *verb, const char *tenant);

#endif
