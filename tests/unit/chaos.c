// SPDX-License-Identifier: MIT
//  chaos - see chaos.h.

#include "tests/unit/chaos.h"

#include <stdio.h>
#include <stdlib.h>

#define PENDING_MAX 250

static const char *const QUEUES[] = {"plain", "keyed", "windowed", "alone"};
static const char *const TENANTS[] = {"acme", "globex", "initech"};
static const char *const KEYS[] = {"red", "green", "blue"};

uint64_t
chaos_draw(chaos_t *self, uint64_t below)
{
    self->random ^= self->random << 13;
    self->random ^= self->random >> 7;
    self->random ^= self->random << 17;
    return self->random % below;
}

bool
chaos_chance(chaos_t *self, uint64_t of_hundred)
{
    return chaos_draw(self, 100) < of_hundred;
}

uint32_t
chaos_queue(const chaos_t *self, size_t index)
{
    return scene_queue_id(self->scene, QUEUES[index]);
}

//  ---- clients -----------------------------------------------------------------------------------

//  Bodies tell who sent them, so that a message that is stored twice is seen.
static tally_item_t
make_item(chaos_t *self, size_t queue, uint64_t sequence, size_t index, char body[32])
{
    snprintf(body, 32, "%llu/%zu", (unsigned long long)sequence, index);
    tally_item_t item = scene_item(body);
    if (queue == 1) {
        item.options |= TALLY_HAS_KEY;
        item.key = tally_bytes_of(KEYS[chaos_draw(self, 3)]);
    }
    if (chaos_chance(self, 20)) {
        item.options |= TALLY_WANTS_RESULT;
    }
    if (chaos_chance(self, 10)) {
        item.options |= TALLY_AS_BLOB;
    }
    if (chaos_chance(self, 20)) {
        item.options |= TALLY_HAS_PRIORITY;
        item.priority = (uint8_t)chaos_draw(self, 4);
    }
    if (queue != 1 && chaos_chance(self, 10)) {
        item.options |= TALLY_HAS_DELAY;
        item.delay_ms = 1 + chaos_draw(self, 3000);
    }
    if (queue != 1 && chaos_chance(self, 10)) {
        item.options |= TALLY_HAS_DEDUPE;
        item.dedupe = tally_bytes_of(KEYS[chaos_draw(self, 3)]);
    }
    if (queue == 2 && chaos_chance(self, 5)) {
        item.options |= TALLY_RELEASES;
    }
    return item;
}

static void
send_again(chaos_t *self, const chaos_send_t *send)
{
    uint64_t saved = self->random;
    self->random = send->seed;
    size_t queue = chaos_draw(self, 4);
    const char *tenant = TENANTS[chaos_draw(self, 3)];
    uint16_t count = (uint16_t)(1 + chaos_draw(self, 6));
    tally_item_t items[8];
    char bodies[8][32];
    for (size_t i = 0; i < count; i++) {
        items[i] = make_item(self, queue, send->sequence, i, bodies[i]);
    }
    self->random = saved;
    tally_send_answer_t answer = scene_try(self->scene, send->sequence, QUEUES[queue], tenant,
                                           items, count);
    if (answer.outcome == TALLY_SEND_REPEATED) {
        for (size_t i = 0; i < self->unconfirmed_count; i++) {
            if (self->unconfirmed[i].sequence == send->sequence) {
                self->unconfirmed[i] = self->unconfirmed[--self->unconfirmed_count];
                return;
            }
        }
    }
}

void
chaos_send(chaos_t *self)
{
    if (fake_store_message_count(self->scene->store) > PENDING_MAX
        || self->unconfirmed_count > 200) {
        return;
    }
    chaos_send_t send = {self->scene->sequence + 1 + (chaos_chance(self, 5) ? 1 : 0),
                         chaos_draw(self, 1u << 30) + 1};
    self->unconfirmed[self->unconfirmed_count++] = send;
    send_again(self, &send);
}

static int
compare_sequences(const void *a, const void *b)
{
    uint64_t left = ((const chaos_send_t *)a)->sequence;
    uint64_t right = ((const chaos_send_t *)b)->sequence;
    return (left > right) - (left < right);
}

//  A client that heard nothing repeats everything in order.
void
chaos_repeat(chaos_t *self)
{
    chaos_send_t again[TALLY_SEND_WINDOW];
    size_t count = self->unconfirmed_count;
    memcpy(again, self->unconfirmed, count * sizeof *again);
    qsort(again, count, sizeof *again, compare_sequences);
    for (size_t i = 0; i < count; i++) {
        send_again(self, &again[i]);
    }
}

//  ---- workers -----------------------------------------------------------------------------------

void
chaos_join(chaos_t *self)
{
    static const char *const takes[] = {"plain", "keyed,windowed", "plain,keyed,windowed,alone",
                                        "alone"};
    if (tally_core_worker_count(self->scene->core) < CHAOS_WORKERS_MAX) {
        scene_join(self->scene, (uint16_t)(1 + chaos_draw(self, 24)), takes[chaos_draw(self, 4)]);
    }
}

uint64_t
chaos_any_worker(chaos_t *self)
{
    size_t count = tally_core_worker_count(self->scene->core);
    tally_worker_info_t info = {0};
    if (count > 0) {
        tally_core_worker_at(self->scene->core, chaos_draw(self, count), self->scene->now_ms,
                             &info);
    }
    return info.number;
}

void
chaos_leave(chaos_t *self)
{
    uint64_t worker = chaos_any_worker(self);
    if (chaos_chance(self, 30)) {
        tally_core_worker_drain(self->scene->core, worker, self->scene->now_ms);
    } else {
        tally_gone_t how = chaos_chance(self, 50) ? TALLY_GONE_DEAD : TALLY_GONE_GOODBYE;
        tally_core_worker_gone(self->scene->core, worker, how, self->scene->now_ms);
    }
}

//  Some messages of a lease: none means all.
static size_t
choose(chaos_t *self, const chaos_lease_t *lease, uint64_t ids[32])
{
    size_t count = 0;
    for (size_t i = 0; i < lease->count && chaos_chance(self, 70); i++) {
        ids[count++] = lease->messages[chaos_draw(self, lease->count)];
    }
    return chaos_chance(self, 40) ? 0 : count;
}

static void
act_transaction(chaos_t *self, const chaos_lease_t *lease)
{
    uint64_t ids[32];
    size_t count = 0;
    bool all = chaos_chance(self, 50);
    for (size_t i = 0; i < lease->count && !all; i++) {
        if (chaos_chance(self, 50)) {
            ids[count++] = lease->messages[i];
        }
    }
    if (all || count > 0) {
        fake_store_settle(self->scene->store, lease->id, all ? NULL : ids, count);
    }
    if (chaos_chance(self, 30)) {
        fake_store_send(self->scene->store, chaos_queue(self, 0), 1, "follow-up", "");
    }
    if (chaos_chance(self, 80)) {
        scene_note(self->scene, lease->id);
    }
}

void
chaos_record(chaos_t *self)
{
    static const uint8_t kinds[] = {TALLY_RECORD_SETTLE, TALLY_RECORD_SETTLE, TALLY_RECORD_SETTLE,
                                    TALLY_RECORD_RESULT, TALLY_RECORD_RETURN, TALLY_RECORD_RETURN,
                                    TALLY_RECORD_BURY,   TALLY_RECORD_EXTEND, TALLY_RECORD_NOTE};
    if (self->lease_count == 0) {
        return;
    }
    const chaos_lease_t *lease = &self->leases[chaos_draw(self, self->lease_count)];
    if (chaos_chance(self, 25)) {
        act_transaction(self, lease);
        return;
    }
    uint64_t ids[32];
    tally_record_t record = {
        .kind = kinds[chaos_draw(self, sizeof kinds)],
        .lease = lease->id,
        .flags = (uint8_t)chaos_draw(self, 4),
        .delay_ms = (uint32_t)(1 + chaos_draw(self, 5000)),
        .count = (uint16_t)choose(self, lease, ids),
        .text = tally_bytes_of("reason"),
        .body = tally_bytes_of("result"),
    };
    if (record.kind == TALLY_RECORD_RESULT) {
        record.count = 1;
        ids[0] = lease->messages[chaos_draw(self, lease->count)];
    }
    if (record.kind == TALLY_RECORD_EXTEND) {
        record.count = 0;
    }
    scene_record(self->scene, &record, ids);
}

//  ---- others ------------------------------------------------------------------------------------

void
chaos_lock(chaos_t *self)
{
    scene_t *scene = self->scene;
    if (chaos_chance(self, 50)) {
        fake_store_lock_all_leases(scene->store, false);
    } else if (self->lease_count > 0) {
        uint64_t lease = self->leases[chaos_draw(self, self->lease_count)].id;
        if (fake_store_lease(scene->store, lease) != NULL) {
            fake_store_lock_lease(scene->store, lease, true);
        }
    }
    for (uint32_t tenant = 1; tenant <= tally_core_tenant_count(scene->core); tenant++) {
        if (fake_store_term(scene->store, chaos_queue(self, 3), tenant) != NULL) {
            fake_store_lock_term(scene->store, chaos_queue(self, 3), tenant,
                                 chaos_chance(self, 20));
        }
    }
}

tally_queue_row_t
chaos_policy(chaos_t *self, size_t index)
{
    tally_queue_row_t row = scene_policy(QUEUES[index]);
    row.batch_max = (int32_t)(1 + chaos_draw(self, 20));
    row.visibility_ms = (int32_t)(500 + chaos_draw(self, 5000));
    row.failures_max = (int32_t)(1 + chaos_draw(self, 5));
    row.crashes_max = (int32_t)(1 + chaos_draw(self, 5));
    row.keep_blobs = chaos_chance(self, 20);
    row.window_ms = index == 2 ? (int64_t)chaos_draw(self, 4000) : 0;
    row.window_count = index == 2 ? (int32_t)chaos_draw(self, 30) : 0;
    row.exclusive = index == 3;
    row.dedupe_kept_ms = 2000;
    return row;
}

void
chaos_operate(chaos_t *self)
{
    tally_core_t *core = self->scene->core;
    const tally_queue_row_t row = chaos_policy(self, chaos_draw(self, 4));
    tally_tenant_row_t tenant = scene_tenant_policy(0, TENANTS[chaos_draw(self, 3)]);
    switch (chaos_draw(self, 6)) {
    case 0:
        tally_core_put_queue(core, &row);
        break;
    case 1:
        tenant.weight = (int32_t)(1 + chaos_draw(self, 5));
        tenant.leased_max = (int64_t)(1 + chaos_draw(self, 60));
        tenant.messages_max = (int64_t)(1 + chaos_draw(self, 300));
        tally_core_put_tenant(core, &tenant);
        break;
    case 2:
        tally_core_release_window(core, chaos_queue(self, 2), (uint32_t)(1 + chaos_draw(self, 3)),
                                  self->scene->now_ms);
        break;
    case 3:
        tally_core_housekeep(core);
        break;
    case 4:
        tally_core_look_in_inbox(core);
        break;
    default:
        for (size_t i = 0; i < self->lease_count; i++) {
            const chaos_lease_t *lease = &self->leases[i];
            const fake_message_t *dead = fake_store_dead(self->scene->store, lease->messages[0]);
            if (dead != NULL && dead->row.key.size == 0) {
                tally_core_retry_dead(core, dead->row.tenant, dead->row.id);
                break;
            }
        }
        break;
    }
}
