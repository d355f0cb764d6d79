// SPDX-License-Identifier: MIT
//  floor_ticks - the broker's own store, fed with plans of one size; see floor.h.

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/tick_store.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/bench/floor.h"

#define TENANT 1
#define QUEUE 1
#define EPOCH 1
#define SENDER_COUNT 2

struct floor {
    const bench_floor_options_t *options;
    tally_tick_store_t *store;
    tally_plan_t *plans[2];
    uint64_t next_id, next_number;
    uint8_t *body;
};

static void
run_script(const char *conninfo, const char *sql)
{
    tally_db_t *db = tally_db_new(conninfo, "tally-bench");
    if (tally_db_connect(db) != TALLY_DB_DONE || tally_db_script(db, sql) != TALLY_DB_DONE) {
        fail_msg("floor: %s", tally_db_error(db));
    }
    tally_db_destroy(&db);
}

static void
make_plan(struct floor *self, tally_plan_t *plan, const tally_plan_t *before)
{
    size_t count = self->options->messages;
    size_t leases = self->options->leases;
    tally_plan_clear(plan);
    plan->number = self->next_number++;
    for (size_t i = 0; i < count; i++) {
        tally_plan_message_t *message = TALLY_PUSH(&plan->messages);
        *message = (tally_plan_message_t){.id = self->next_id++,
                                          .tenant = TENANT,
                                          .queue = QUEUE,
                                          .priority = TALLY_PRIORITY_DEFAULT,
                                          .body = {self->body, self->options->body_bytes}};
        *TALLY_PUSH(&plan->ids) = message->id;
    }
    for (size_t i = 0; i < leases; i++) {
        size_t first = i * count / leases;
        *TALLY_PUSH(&plan->leases) = (tally_plan_lease_t){.id = self->next_id++,
                                                          .tenant = TENANT,
                                                          .queue = QUEUE,
                                                          .worker = 1,
                                                          .visible_ms = 30000,
                                                          .first = first,
                                                          .count = (i + 1) * count / leases
                                                                   - first};
    }
    for (size_t i = 0; i < SENDER_COUNT; i++) {
        *TALLY_PUSH(&plan->senders) = (tally_plan_sender_t){.sender = {(uint8_t)i},
                                                            .last = (int64_t)plan->number};
    }
    for (size_t i = 0; before != NULL && i < before->leases.count; i++) {
        *TALLY_PUSH(&plan->settled) = before->leases.items[i].id;
    }
}

static void
await_plan(struct floor *self)
{
    tally_db_outcome_t outcome;
    const tally_tick_result_t *result;
    while (!tally_tick_store_advance(self->store, &outcome, &result)) {
        short events = tally_tick_store_wants_write(self->store) ? POLLIN | POLLOUT : POLLIN;
        struct pollfd ready = {.fd = tally_tick_store_fd(self->store), .events = events};
        poll(&ready, 1, -1);
    }
    if (outcome != TALLY_DB_DONE) {
        fail_msg("floor: %s", tally_tick_store_error(self->store));
    }
}

void
bench_floor_ticks(const char *conninfo, const bench_floor_options_t *options, bench_floor_t *result)
{
    run_script(conninfo, "truncate tally.message, tally.lease, tally.tick; "
                         "update tally.broker set epoch = 1");
    struct floor self = {.options = options,
                         .store = tally_tick_store_new(conninfo, false),
                         .plans = {tally_plan_new(), tally_plan_new()},
                         .next_id = UINT64_C(1) << 40,
                         .next_number = 1,
                         .body = tally_alloc(options->body_bytes)};
    if (tally_tick_store_connect(self.store) != TALLY_DB_DONE) {
        fail_msg("floor: %s", tally_tick_store_error(self.store));
    }
    make_plan(&self, self.plans[0], NULL);
    int64_t started_us = tally_clock_now_us();
    int64_t until_us = started_us + (int64_t)(options->seconds * 1e6);
    int64_t now_us = started_us;
    size_t number = 0;
    for (; now_us < until_us; number++) {
        const tally_plan_t *plan = self.plans[number % 2];
        tally_tick_store_start(self.store, EPOCH, plan);
        make_plan(&self, self.plans[(number + 1) % 2], plan);
        await_plan(&self);
        now_us = tally_clock_now_us();
    }
    double seconds = (double)(now_us - started_us) / 1e6;
    *result = (bench_floor_t){.messages_per_s = (double)(number * options->messages) / seconds,
                              .commit_ms = seconds * 1000 / (double)number};
    tally_tick_store_destroy(&self.store);
    tally_plan_destroy(&self.plans[0]);
    tally_plan_destroy(&self.plans[1]);
    free(self.body);
}
