// SPDX-License-Identifier: MIT
//  worker_scene - a role of the survey pipeline with PostgreSQL but without broker and process.
//
//  Plays the broker by SQL: sends messages, gives leases, makes real what the role says about them, moves the
//  inbox.  The role runs in the test's own thread, so a test decides every order.  Defines the functions of
//  workers/runtime.h; do not link a program that needs the real ones with it.

#ifndef TALLY_WORKER_SCENE_H
#define TALLY_WORKER_SCENE_H

#include "workers/json.h"
#include "workers/runtime.h"

#define SCENE_TENANT "acme"

typedef struct {
    tally_db_t *broker;    // the scene's own session
    tally_worker_t *worker;
    tally_work_t work;    // the lease in hand
    tally_delivered_t items[TALLY_BATCH_MESSAGES_MAX];
    char *bodies[TALLY_BATCH_MESSAGES_MAX];
    uint64_t epoch;     // of the term that deliveries carry
    int64_t last_id;    // of messages and leases
    //  what the role said since the last lease
    size_t settled, returned, counted, buried, noted, published;
    int64_t delay_ms;    // of the last return
    char *why;           // of the last return or burial
} worker_scene_t;

worker_scene_t *worker_scene_new(const char *conninfo);
void worker_scene_destroy(worker_scene_t **self_p);

typedef enum { SCENE_PLAIN, SCENE_ASK, SCENE_BLOB } scene_kind_t;

//  A message, as if a client had sent it.  Returns its id.
uint64_t
worker_scene_send(worker_scene_t *self, const char *queue, scene_kind_t kind, const char *body);
//  Leases up to `max` messages of the queue that nobody holds, oldest first.  False when there is none.
bool worker_scene_lease(worker_scene_t *self, const char *queue, size_t max);
//  The lease in hand ends, as by its deadline.
void worker_scene_expire(worker_scene_t *self);
//  Lets the role work on the lease in hand.
void worker_scene_work(worker_scene_t *self, const tally_worker_role_t *role, void *state);
//  Lease and work.
bool worker_scene_deliver(worker_scene_t *self, const tally_worker_role_t *role, void *state,
                          const char *queue, size_t max);
//  Moves the inbox into messages.
void worker_scene_tick(worker_scene_t *self);
//  Another worker was elected: deliveries carry the new epoch.
void worker_scene_elect(worker_scene_t *self);
//  Cuts the role's connection.
void worker_scene_cut(worker_scene_t *self);

//  The first value of the first row, an integer.
int64_t worker_scene_number(worker_scene_t *self, const char *sql);
void worker_scene_sql(worker_scene_t *self, const char *sql);
//  What was answered to an ask, NULL when nothing yet.  A new reference.
json_t *worker_scene_answer(worker_scene_t *self, uint64_t id);

#endif
