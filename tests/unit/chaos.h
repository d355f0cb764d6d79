// SPDX-License-Identifier: MIT
//  chaos - what clients, workers, operators and other transactions do to a core at random.
//
//  Everything is decided by `random`; a send that has to be repeated is made again from its own
//  seed. Only the acts are here: what must hold is for the test to say.

#ifndef CHAOS_H
#define CHAOS_H

#include "broker/table.h"
#include "tests/unit/core_scene.h"

#define CHAOS_LEASES_MAX 400
#define CHAOS_WORKERS_MAX 6

//  A lease that some worker was told of; it may be long over.
typedef struct {
    uint64_t id, worker;
    size_t count;
    uint64_t messages[32];
} chaos_lease_t;

//  A send that is not confirmed: its random state makes it again.
typedef struct {
    uint64_t sequence, seed;
} chaos_send_t;

typedef struct {
    scene_t *scene;
    uint64_t random;
    chaos_lease_t leases[CHAOS_LEASES_MAX];
    size_t lease_count;
    chaos_send_t unconfirmed[TALLY_SEND_WINDOW];
    size_t unconfirmed_count;
    tally_table_t tokens;               // every lease that was ever told
    tally_table_t stored;               // sequence and index of every message ever inserted
    TALLY_ARRAY(uint64_t) confirmed;    // ids
    uint64_t last_id;                   // the highest that was confirmed
    size_t reloads, restarts;
} chaos_t;

uint64_t chaos_draw(chaos_t *self, uint64_t below);
bool chaos_chance(chaos_t *self, uint64_t of_hundred);
//  0 plain, 1 keyed, 2 windowed, 3 exclusive.
uint32_t chaos_queue(const chaos_t *self, size_t index);
tally_queue_row_t chaos_policy(chaos_t *self, size_t index);

void chaos_send(chaos_t *self);
void chaos_repeat(chaos_t *self);    // everything unconfirmed, in order
void chaos_join(chaos_t *self);
void chaos_leave(chaos_t *self);
void chaos_record(chaos_t *self);
void chaos_lock(chaos_t *self);
void chaos_operate(chaos_t *self);
uint64_t chaos_any_worker(chaos_t *self);    // 0: there is none

#endif
