// SPDX-License-Identifier: MIT
//  core_scene - a core, a fake store and made-up time: what the tests of the core play with.
//
//  Sends and records go through the real codec.  After each tick everything the plan told is kept
//  in `told` until the next one, and tally_core_check() has passed.

#ifndef CORE_SCENE_H
#define CORE_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/fake_store.h"

typedef struct {
    tally_core_t *core;
    fake_store_t *store;
    tally_plan_t *plan;                   // out, between scene_seal and scene_commit
    const tally_tick_result_t *result;    // of it
    tally_plan_t *told;                   // a copy of the last plan that was committed
    int64_t now_ms;
    uint64_t epoch;
    size_t cache_bytes_max;
    uint8_t sender[TALLY_SENDER_BYTES];
    uint64_t sequence;        // the last that was used
    tally_effect_t effect;    // of the last record
    tally_wire_t wire;
} scene_t;

//  Fixtures.  The scene has the queue "work" with the defaults.
int scene_setup(void **state);
int scene_teardown(void **state);

tally_queue_row_t scene_policy(const char *name);    // the defaults of the table
uint32_t scene_put_queue(scene_t *scene, const tally_queue_row_t *row);
tally_tenant_row_t scene_tenant_policy(uint32_t id, const char *name);
void scene_put_tenant(scene_t *scene, const tally_tenant_row_t *row);
uint32_t scene_queue_id(const scene_t *scene, const char *name);
uint32_t scene_tenant_id(const scene_t *scene, const char *name);

//  queues: names separated by commas.
uint64_t scene_join(scene_t *scene, uint16_t credit, const char *queues);
uint64_t scene_join_as(scene_t *scene, uint64_t number, uint16_t credit, const char *queues);
void scene_beat(scene_t *scene);    // all of them

//  ---- sends: to `queue` of tenant "acme" unless named -------------------------------------------
tally_send_answer_t scene_try(scene_t *scene, uint64_t sequence, const char *queue,
                              const char *tenant, const tally_item_t *items, uint16_t count);
//  Takes the next sequence and must be planned.  Bodies are "0", "1"...
void scene_send(scene_t *scene, const char *queue, const char *tenant, uint16_t count);
void scene_send_item(scene_t *scene, const char *queue, const char *tenant, tally_item_t item);
tally_item_t scene_item(const char *body);
tally_item_t scene_keyed(const char *body, const char *key);

//  ---- records; true when the core took them -----------------------------------------------------
bool scene_record(scene_t *scene, const tally_record_t *record, const uint64_t *ids);
bool scene_settle(scene_t *scene, uint64_t lease);    // all of it
bool scene_settle_one(scene_t *scene, uint64_t lease, uint64_t message);
bool scene_result(scene_t *scene, uint64_t lease, uint64_t message, const char *body);
bool scene_fail(scene_t *scene, uint64_t lease, uint64_t message, const char *why);    // 0: all
bool scene_give_back(scene_t *scene, uint64_t lease, uint64_t message);    // uncounted; 0: all
bool scene_bury(scene_t *scene, uint64_t lease, uint64_t message, const char *why);
bool scene_note(scene_t *scene, uint64_t lease);
bool scene_extend(scene_t *scene, uint64_t lease, uint32_t visible_ms);

//  ---- ticks -------------------------------------------------------------------------------------
bool scene_tick(scene_t *scene);    // false: there was nothing to do
bool scene_seal(scene_t *scene);
void scene_commit(scene_t *scene);
void scene_settle_down(scene_t *scene);    // ticks until nothing is due now
//  Time passes, everybody beats, and what becomes due is ticked when it is due.
void scene_pass(scene_t *scene, int64_t ms);
//  The same, and every lease that is told meanwhile is settled at once.
void scene_work(scene_t *scene, int64_t ms);
//  The process dies: the core is lost with what it collected, and loaded from the store.
//  same_epoch: as after a lost connection; else as a new broker.  Then join and scene_loaded().
void scene_reload(scene_t *scene, bool same_epoch);
void scene_loaded(scene_t *scene);

//  One worker, a tick, and what it leased; returns the lease.  Messages that nobody asked for, or asks.
uint64_t scene_lease_some(scene_t *scene, uint16_t count);
uint64_t scene_lease_asks(scene_t *scene, uint16_t count);    // up to 8
tally_item_t scene_ask(const char *body);

//  ---- what was told -----------------------------------------------------------------------------
size_t scene_lease_count(const scene_t *scene);
const tally_plan_lease_t *scene_lease(const scene_t *scene, size_t index);
uint64_t scene_lease_id(const scene_t *scene, size_t index);
const tally_plan_item_t *scene_item_of(const scene_t *scene, size_t lease, size_t index);
uint64_t scene_message(const scene_t *scene, size_t lease, size_t index);
uint64_t scene_sent(const scene_t *scene, size_t index);    // id of a confirmed message
const tally_plan_answer_t *scene_only_answer(const scene_t *scene);
bool scene_told_notice(const scene_t *scene, uint64_t worker, tally_notice_kind_t kind);
size_t scene_event_count(const scene_t *scene, tally_event_kind_t kind);
tally_stream_stats_t scene_stats(const scene_t *scene, const char *queue);
tally_worker_info_t scene_worker(const scene_t *scene, uint64_t number);
#define assert_body(item, text) assert_true(tally_bytes_equal((item)->body, tally_bytes_of(text)))

#endif
