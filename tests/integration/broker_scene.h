// SPDX-License-Identifier: MIT
//  broker_scene - an instance, a client that behaves and peers that do not; what a test did to it is undone afterwards.

#ifndef TALLY_TEST_BROKER_SCENE_H
#define TALLY_TEST_BROKER_SCENE_H

#include <sys/resource.h>
#include <sys/types.h>

#include "clients/tally.h"
#include "lib/db.h"
#include "tests/integration/instance.h"
#include "tests/integration/stranger.h"

#define BROKER_SCENE_MS 10000    // an answer comes in time
#define BROKER_SCENE_CONNECTIONS 4096
#define BROKER_SCENE_SILENT 200

typedef struct {
    tally_instance_t *instance;
    tally_client_t *good;
    tally_db_t *db;
    tally_stranger_t *one, *two;    // of the test's making
    tally_db_t *idle;               // likewise
    pid_t stopped;                  // goes on in the end, 0: none
    pid_t limited;                  // gets its limit of files back in the end, 0: none
    struct rlimit limit;
    int connections[BROKER_SCENE_CONNECTIONS];    // by hand, closed in the end
    size_t connection_count;
} broker_scene_t;

//  For a group of tests, and after each of them.  There is a queue "guards" from which nobody takes.
int broker_scene_set_up(void **state);
int broker_scene_tear_down(void **state);
int broker_scene_undo(void **state);

tally_stranger_t *broker_scene_stranger(broker_scene_t *self);
//  The client's send of a message is confirmed in that time; serves: to "guards".
void broker_scene_send(broker_scene_t *self, const char *queue, int within_ms);
void broker_scene_serves(broker_scene_t *self, int within_ms);
//  The first number of that name in the broker's status.
long broker_scene_number(broker_scene_t *self, const char *name);

//  A connection that has said nothing, to a unix socket.
int broker_scene_connect(broker_scene_t *self, const char *endpoint);
//  So many to the front.
void broker_scene_connect_silently(broker_scene_t *self, size_t count);
void broker_scene_close_connections(broker_scene_t *self);

#endif
