// SPDX-License-Identifier: MIT
//  database - see database.h: the broker's side of it.

#include "tests/simulation/database.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/database_state.h"
#include "tests/simulation/ledger.h"

#define AWAY_MS_MAX 3000
#define HELD_UP_MS_MAX 3000

//  ---- set-up ------------------------------------------------------------------------------------

static tally_queue_row_t
draw_policy(sim_world_t *world, const char *name)
{
    tally_queue_row_t row = {
        .visibility_ms = (int32_t)sim_between(world, 300, 3000),
        .failures_max = (int32_t)sim_between(world, 2, 5),
        .crashes_max = (int32_t)sim_between(world, 2, 4),
        .retry_ms = (int32_t)sim_between(world, 20, 200),
        .retry_ms_max = 1000,
        .batch_max = (int32_t)sim_between(world, 1, 24),
        .result_kept_ms = TALLY_RESULT_KEPT_MS,
        .dedupe_kept_ms = sim_between(world, 1000, 30000),
    };
    snprintf(row.name, sizeof row.name, "%s", name);
    return row;
}

static void
put_queues(sim_database_t *self)
{
    static const char *const names[SIM_QUEUES] = {"work",      "keyed", "windowed",
                                                  "exclusive", "asked", "following"};
    sim_world_t *world = self->world;
    for (uint32_t i = 0; i < SIM_QUEUES; i++) {
        tally_queue_row_t *row = &self->queues[i];
        *row = draw_policy(world, names[i]);
        bool exclusive = i + 1 == SIM_EXCLUSIVE;
        if (i + 1 == SIM_WINDOWED || (exclusive && sim_happens(world, 30))) {
            row->window_ms = sim_between(world, 500, 5000);
            row->window_count = sim_happens(world, 50) ? (int32_t)sim_between(world, 3, 20) : 0;
        }
        row->exclusive = exclusive;
        row->keep_blobs = sim_happens(world, 30);
        row->id = fake_store_put_queue(self->store, row);
        assert(row->id == i + 1);
    }
}

//  The last one is not there: the first send that names it makes it.
static void
put_tenants(sim_database_t *self)
{
    sim_world_t *world = self->world;
    for (uint32_t i = 0; i + 1 < SIM_TENANTS; i++) {
        tally_tenant_row_t *row = &self->tenants[i];
        *row = (tally_tenant_row_t){.id = i + 1,
                                    .weight = (int32_t)sim_between(world, 1, 4),
                                    .messages_max = 1000000,
                                    .bytes_max = 1LL << 30,
                                    .leased_max = 1000000};
        if (i == SIM_SMALL_TENANT) {
            row->messages_max = sim_between(world, 15, 45);    // a batch fits, not much more
            row->leased_max = sim_between(world, 1, 10);
        }
        snprintf(row->name, sizeof row->name, "t%u", i);
        fake_store_put_tenant(self->store, row);
    }
}

sim_database_t *
sim_database_new(sim_world_t *world)
{
    sim_database_t *self = tally_alloc(sizeof *self);
    self->world = world;
    self->store = fake_store_new();
    put_queues(self);
    put_tenants(self);
    return self;
}

void
sim_database_destroy(sim_database_t **self_p)
{
    sim_database_t *self = *self_p;
    *self_p = NULL;
    for (size_t i = 0; i < self->ticks.count; i++) {
        tally_core_destroy(&self->ticks.items[i].orphan);
    }
    for (size_t i = 0; i < self->open.count; i++) {
        free(self->open.items[i].messages);
    }
    free(self->ticks.items);
    free(self->open.items);
    tally_table_free(&self->found);
    fake_store_destroy(&self->store);
    free(self);
}

void
sim_database_heal(sim_database_t *self)
{
    self->away_until_ms = 0;
}

fake_store_t *
sim_database_store(const sim_database_t *self)
{
    return self->store;
}

const tally_queue_row_t *
sim_database_queue(const sim_database_t *self, uint32_t id)
{
    assert(id >= 1);
    assert(id <= SIM_QUEUES);
    return &self->queues[id - 1];
}

const tally_tenant_row_t *
sim_database_tenant(const sim_database_t *self, uint32_t index)
{
    return self->tenants[index].id == 0 ? NULL : &self->tenants[index];
}

int64_t
sim_database_now(const sim_database_t *self)
{
    return self->world->now_ms + self->ahead_ms;
}

void
sim_database_jump(sim_database_t *self, int64_t ms)
{
    sim_bit(self->world, ms > 0 ? SIM_CLOCK_AHEAD : SIM_CLOCK_BACK);
    SIM_TRACE(self->world, "clock of the database jumps by # ms", (uint64_t)ms);
    self->ahead_ms += ms;
    self->forward_ms += ms > 0 ? ms : 0;
    self->back_ms += ms < 0 ? -ms : 0;
}

int64_t
sim_database_set_forward(const sim_database_t *self)
{
    return self->forward_ms;
}

int64_t
sim_database_set_back(const sim_database_t *self)
{
    return self->back_ms;
}

const char *
sim_database_busy(const sim_database_t *self)
{
    if (fake_store_message_count(self->store) > 0) {
        return "messages are left in the database";
    }
    if (fake_store_inbox_count(self->store) > 0) {
        return "messages are left in the inbox";
    }
    if (fake_store_lease_count(self->store) > 0) {
        return "leases are left in the database";
    }
    return self->open.count > 0 ? "a worker's transaction is open" : NULL;
}

//  ---- ticks -------------------------------------------------------------------------------------

static sim_tick_t *
find_tick(const sim_database_t *self, uint64_t number)
{
    for (size_t i = 0; i < self->ticks.count; i++) {
        if (self->ticks.items[i].number == number) {
            return &self->ticks.items[i];
        }
    }
    return NULL;
}

static bool
has_rejected(const sim_database_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->messages.count; i++) {
        const sim_ledger_t *ledger = self->world->ledger;
        uint32_t number = sim_ledger_read_body(ledger, plan->messages.items[i].body);
        if (sim_ledger_at(ledger, number)->rejected) {
            return true;
        }
    }
    return false;
}

//  What will become of it, and what the broker will hear.
static void
draw_fate(sim_database_t *self, sim_tick_t *tick)
{
    sim_world_t *world = self->world;
    tick->outcome = SIM_DONE;
    tick->happens = true;
    if (has_rejected(self, tick->plan)) {
        tick->outcome = SIM_REJECT;
        tick->happens = false;
    } else if (sim_strikes(world, SIM_LOST_DONE)) {
        tick->outcome = SIM_UNKNOWN;
    } else if (sim_strikes(world, SIM_LOST_UNDONE)) {
        tick->outcome = SIM_UNKNOWN;
        tick->happens = false;
    } else if (sim_strikes(world, SIM_FAILED)) {
        tick->outcome = SIM_RETRY;
        tick->happens = false;
    }
}

uint64_t
sim_database_start(sim_database_t *self, uint64_t epoch, const tally_plan_t *plan)
{
    sim_world_t *world = self->world;
    sim_tick_t *tick = TALLY_PUSH(&self->ticks);
    tick->number = ++self->started;
    tick->epoch = epoch;
    tick->plan = plan;
    tick->sealed_ms = world->now_ms;
    draw_fate(self, tick);
    int64_t commit_ms = world->now_ms + 1 + sim_latency(world);
    int64_t answer_ms = commit_ms + sim_latency(world);
    if (tick->outcome == SIM_UNKNOWN) {
        answer_ms = sim_between(world, world->now_ms, answer_ms);    // the connection broke
    }
    sim_post(world, SIM_COMMIT, commit_ms, 0, tick->number, NULL);
    sim_post(world, SIM_ANSWER, answer_ms, 0, tick->number, NULL);
    return tick->number;
}

static void
count_locked(sim_database_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->settled.count + plan->ends.count; i++) {
        uint64_t id = i < plan->settled.count ? plan->settled.items[i]
                                              : plan->ends.items[i - plan->settled.count].lease;
        const fake_lease_t *lease = fake_store_lease(self->store, id);
        if (lease != NULL && lease->locked) {
            sim_bit(self->world, SIM_LEASE_LOCKED);
        }
    }
    for (size_t i = 0; i < plan->fetches.count; i++) {
        sim_bit(self->world, SIM_FETCHED);
    }
}

static void
apply(sim_database_t *self, sim_tick_t *tick)
{
    const tally_plan_t *plan = tick->plan;
    sim_ledger_before(self->world->ledger, plan, tick->sealed_ms);
    count_locked(self, plan);
    if (self->open.count > 0 && sim_strikes(self->world, SIM_BETWEEN)) {
        fake_store_meanwhile(self->store, sim_database_end_some, self);
    }
    self->result = fake_store_apply(self->store, plan, sim_database_now(self));
    fake_store_meanwhile(self->store, NULL, NULL);
    tally_table_put(&self->found, tick->epoch << 32 | plan->number, self);
    sim_ledger_after(self->world->ledger, plan, self->result, tick->sealed_ms);
    SIM_TRACE(self->world, "tick # of epoch # is in the database: # sent, # ended, # leased",
              plan->number, tick->epoch, plan->messages.count,
              plan->settled.count + plan->ends.count, plan->leases.count);
}

static void
forget_tick(sim_database_t *self, sim_tick_t *tick)
{
    tally_core_destroy(&tick->orphan);
    *tick = self->ticks.items[--self->ticks.count];
}

void
sim_database_commit(sim_database_t *self, uint64_t number)
{
    sim_tick_t *tick = find_tick(self, number);
    assert(tick != NULL);
    assert(!tick->over);
    //  What a killed broker had sent may take its time.
    if (tick->orphan != NULL && !tick->held_up && sim_happens(self->world, 30)) {
        tick->held_up = true;
        sim_post(self->world, SIM_COMMIT,
                 self->world->now_ms + sim_between(self->world, 1, HELD_UP_MS_MAX), 0, number,
                 NULL);
        return;
    }
    //  The epoch is looked at by the transaction itself.
    if (tick->epoch != self->epoch) {
        if (TALLY_PLANTED(NO_EPOCH_CHECK)) {
            tick->epoch = self->epoch;
        } else {
            sim_bit(self->world, SIM_WROTE_LATE);
            SIM_TRACE(self->world, "tick # of epoch # comes too late, refused", tick->plan->number,
                      tick->epoch);
            tick->happens = false;
            tick->outcome = SIM_REPLACED;
        }
    }
    if (tick->happens) {
        apply(self, tick);
    }
    tick->over = true;
    if (tick->orphan != NULL || tick->answered) {
        forget_tick(self, tick);
    }
}

sim_commit_t
sim_database_outcome(const sim_database_t *self, uint64_t number)
{
    sim_tick_t *tick = find_tick(self, number);
    assert(tick != NULL);
    sim_commit_t outcome = tick->outcome;
    tick->answered = true;
    if (tick->over) {
        forget_tick((sim_database_t *)self, tick);
    }
    return outcome;
}

const tally_tick_result_t *
sim_database_result(const sim_database_t *self)
{
    return self->result;
}

void
sim_database_orphan(sim_database_t *self, tally_core_t **core_p)
{
    for (size_t i = 0; i < self->ticks.count; i++) {
        sim_tick_t *tick = &self->ticks.items[i];
        if (tick->orphan != NULL) {
            continue;
        }
        if (tick->over) {
            forget_tick(self, tick);
        } else {
            tick->orphan = *core_p;
            *core_p = NULL;
        }
        return;
    }
}

bool
sim_database_reachable(sim_database_t *self)
{
    if (self->world->now_ms < self->away_until_ms) {
        return false;
    }
    if (sim_strikes(self->world, SIM_AWAY)) {
        self->away_until_ms = self->world->now_ms + sim_between(self->world, 1, AWAY_MS_MAX);
        SIM_TRACE(self->world, "database is away until #", (uint64_t)self->away_until_ms);
        return false;
    }
    return true;
}

bool
sim_database_settled_down(const sim_database_t *self)
{
    for (size_t i = 0; i < self->ticks.count; i++) {
        if (self->ticks.items[i].orphan == NULL && !self->ticks.items[i].over) {
            return false;
        }
    }
    return true;
}

uint64_t
sim_database_take_epoch(sim_database_t *self)
{
    return ++self->epoch;
}

bool
sim_database_found(const sim_database_t *self, uint64_t epoch, uint64_t number)
{
    return tally_table_find(&self->found, epoch << 32 | number) != NULL;
}

void
sim_database_load(sim_database_t *self, tally_core_t *core)
{
    if (self->open.count > 0 && sim_strikes(self->world, SIM_LOADED_BETWEEN)) {
        fake_store_meanwhile(self->store, sim_database_end_some, self);
    }
    fake_store_set_ahead(self->store, self->ahead_ms);
    fake_store_load(self->store, core, sim_database_now(self));
}
