// SPDX-License-Identifier: MIT
//  synthetic: the run: processes, brokers, faults; batches follow each other in a made-up time.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/synthetic_state.h"

#define RECORDS_PER_BATCH 297    // of all kinds together, as it comes out
#define BROKER_EVERY 40

static const tally_plant_about_t abouts[TALLY_PLANT_COUNT] = {
    [TALLY_PLANT_NOTHING] = {"nothing", TALLY_RULE_COUNT, TALLY_RULE_COUNT},
    [TALLY_PLANT_LOSS] = {"loss", TALLY_RULE_LOSS, TALLY_RULE_COUNT},
    [TALLY_PLANT_GHOST] = {"ghost", TALLY_RULE_GHOST, TALLY_RULE_COUNT},
    [TALLY_PLANT_REFUSED_STORED] = {"refused-stored", TALLY_RULE_GHOST, TALLY_RULE_COUNT},
    [TALLY_PLANT_STORED_TWICE] = {"stored-twice", TALLY_RULE_IDENTITY, TALLY_RULE_COUNT},
    [TALLY_PLANT_DEDUPE_FORGOTTEN] = {"dedupe-forgotten", TALLY_RULE_IDENTITY, TALLY_RULE_COUNT},
    [TALLY_PLANT_DUPLICATE_UNTRUE] = {"duplicate-untrue", TALLY_RULE_LOSS, TALLY_RULE_COUNT},
    [TALLY_PLANT_SETTLED_AND_DEAD] = {"settled-and-dead", TALLY_RULE_END, TALLY_RULE_COUNT},
    [TALLY_PLANT_SETTLED_TWICE] = {"settled-twice", TALLY_RULE_END, TALLY_RULE_EFFECT},
    [TALLY_PLANT_EFFECT_TWICE] = {"effect-twice", TALLY_RULE_EFFECT, TALLY_RULE_COUNT},
    [TALLY_PLANT_EFFECT_MISSING] = {"effect-missing", TALLY_RULE_EFFECT, TALLY_RULE_LOSS},
    [TALLY_PLANT_STALE_SETTLE] = {"stale-settle", TALLY_RULE_FENCE, TALLY_RULE_COUNT},
    [TALLY_PLANT_REFUSED_SETTLE] = {"refused-settle", TALLY_RULE_FENCE, TALLY_RULE_COUNT},
    [TALLY_PLANT_FOREIGN_EFFECT] = {"foreign-effect", TALLY_RULE_FENCE, TALLY_RULE_COUNT},
    [TALLY_PLANT_TOKEN_REUSED] = {"token-reused", TALLY_RULE_TOKEN, TALLY_RULE_COUNT},
    [TALLY_PLANT_TOKEN_BACK] = {"token-back", TALLY_RULE_TOKEN, TALLY_RULE_COUNT},
    [TALLY_PLANT_DELIVERED_AGAIN] = {"delivered-again", TALLY_RULE_LEASE, TALLY_RULE_COUNT},
    [TALLY_PLANT_OLD_BROKER_STORES] = {"old-broker-stores", TALLY_RULE_WRITER, TALLY_RULE_COUNT},
    [TALLY_PLANT_OLD_BROKER_LEASES] = {"old-broker-leases", TALLY_RULE_WRITER, TALLY_RULE_TOKEN},
    [TALLY_PLANT_OLD_BROKER_CONFIRMS] = {"old-broker-confirms", TALLY_RULE_WRITER,
                                         TALLY_RULE_COUNT},
    [TALLY_PLANT_CONFIRM_UNKNOWN] = {"confirm-unknown", TALLY_RULE_CONFIRM, TALLY_RULE_COUNT},
    [TALLY_PLANT_CONFIRM_MISSING] = {"confirm-missing", TALLY_RULE_CONFIRM, TALLY_RULE_COUNT},
    [TALLY_PLANT_RESULT_UNTRUE] = {"result-untrue", TALLY_RULE_CONFIRM, TALLY_RULE_COUNT},
    [TALLY_PLANT_BODY_CHANGED] = {"body-changed", TALLY_RULE_ATTEMPTS, TALLY_RULE_COUNT},
    [TALLY_PLANT_FAILURE_UNSAID] = {"failure-unsaid", TALLY_RULE_ATTEMPTS, TALLY_RULE_COUNT},
    [TALLY_PLANT_DELIVERY_UNCOUNTED] = {"delivery-uncounted", TALLY_RULE_ATTEMPTS,
                                        TALLY_RULE_COUNT},
    [TALLY_PLANT_BURIED_EARLY] = {"buried-early", TALLY_RULE_ATTEMPTS, TALLY_RULE_COUNT},
    [TALLY_PLANT_EARLY] = {"early", TALLY_RULE_EARLY, TALLY_RULE_COUNT},
    [TALLY_PLANT_KEY_TOGETHER] = {"key-together", TALLY_RULE_ORDER, TALLY_RULE_COUNT},
    [TALLY_PLANT_KEY_OVERTAKEN] = {"key-overtaken", TALLY_RULE_ORDER, TALLY_RULE_COUNT},
    [TALLY_PLANT_TENANT_MIXED] = {"tenant-mixed", TALLY_RULE_MIXED, TALLY_RULE_COUNT},
    [TALLY_PLANT_RESULT_TO_OTHER] = {"result-to-other", TALLY_RULE_MIXED, TALLY_RULE_COUNT},
    [TALLY_PLANT_RESULT_OF_OTHER] = {"result-of-other", TALLY_RULE_MIXED, TALLY_RULE_COUNT},
    [TALLY_PLANT_TERM_TWO_HOLDERS] = {"term-two-holders", TALLY_RULE_TERM, TALLY_RULE_COUNT},
    [TALLY_PLANT_TERM_STALE] = {"term-stale", TALLY_RULE_TERM, TALLY_RULE_COUNT},
    [TALLY_PLANT_TERM_NOT_DURABLE] = {"term-not-durable", TALLY_RULE_TERM, TALLY_RULE_COUNT},
    [TALLY_PLANT_UNDRAINED] = {"undrained", TALLY_RULE_DRAIN, TALLY_RULE_COUNT},
    [TALLY_PLANT_LEASE_LEFT] = {"lease-left", TALLY_RULE_DRAIN, TALLY_RULE_COUNT},
    [TALLY_PLANT_DRAIN_SLOW] = {"drain-slow", TALLY_RULE_DRAIN, TALLY_RULE_COUNT},
    [TALLY_PLANT_FAULT_NEVER] = {"fault-never", TALLY_RULE_COUNT, TALLY_RULE_COUNT},
    [TALLY_PLANT_NO_ROWS] = {"no-rows", TALLY_RULE_COUNT, TALLY_RULE_COUNT},
    [TALLY_PLANT_NO_END] = {"no-end", TALLY_RULE_COUNT, TALLY_RULE_COUNT},
    [TALLY_PLANT_TIME_BACK] = {"time-back", TALLY_RULE_COUNT, TALLY_RULE_COUNT},
};

const tally_plant_about_t *
tally_plant_about(tally_plant_t plant)
{
    assert(plant < TALLY_PLANT_COUNT);
    return &abouts[plant];
}

void
synthetic_emit(tally_history_t *history, int64_t at_ns, tally_history_record_t record)
{
    record.at_ns = at_ns;
    tally_history_add(history, &record);
}

uint64_t
synthetic_id(struct synthetic *self)
{
    return self->broker << 40 | ++self->last_id;
}

static tally_history_t *
open_process(const struct synthetic *self, const char *what, uint32_t process,
             tally_writer_t writer, int64_t at_ns)
{
    //  The library's first record has the real time, before which nothing may lie: made-up time begins after it.
    assert(at_ns >= self->start_ns);
    char *name = tally_format("%s-%u", what, process);
    tally_history_t *history = tally_history_open(self->directory, name, process, writer);
    free(name);
    return history;
}

void
synthetic_start_worker(struct synthetic *self, size_t slot, int64_t at_ns)
{
    struct synthetic_worker *worker = &self->workers[slot];
    tally_history_close(&worker->history);
    worker->process = self->next_process++;
    worker->last_lease = 0;
    worker->history = open_process(self, "worker", worker->process, TALLY_WRITER_WORKER, at_ns);
    synthetic_emit(worker->history, at_ns,
                   (tally_history_record_t){.kind = TALLY_TOLD_WELCOME,
                                            .epoch = self->broker,
                                            .id = synthetic_id(self)});
}

void
synthetic_fault(struct synthetic *self, struct synthetic_fault fault, int64_t began_ns,
                int64_t ended_ns)
{
    tally_history_record_t record = {.kind = TALLY_FAULT_BEGAN,
                                     .id = ++self->last_fault,
                                     .code = (uint16_t)fault.kind,
                                     .item = fault.victim,
                                     .process = fault.process,
                                     .tenant = fault.tenant};
    synthetic_emit(self->nemesis, began_ns, record);
    record.kind = TALLY_FAULT_ENDED;
    synthetic_emit(self->nemesis, ended_ns, record);
}

//  A broker dies, the next one starts: everybody is welcomed by it.
static void
change_broker(struct synthetic *self, int64_t at_ns)
{
    synthetic_fault(self, (struct synthetic_fault){FAULT_KILL_BROKER, TALLY_VICTIM_BROKER, 0, 0},
                    at_ns, at_ns + 2 * MS);
    self->broker++;
    self->last_id = 0;
    self->spare_lease = synthetic_id(self);
    for (size_t i = 0; i < CLIENTS; i++) {
        synthetic_emit(self->clients[i].history, at_ns + 3 * MS,
                       (tally_history_record_t){.kind = TALLY_TOLD_WELCOME, .epoch = self->broker});
    }
    for (size_t i = 0; i < WORKERS; i++) {
        synthetic_emit(self->workers[i].history, at_ns + 3 * MS,
                       (tally_history_record_t){.kind = TALLY_TOLD_WELCOME,
                                                .epoch = self->broker,
                                                .id = synthetic_id(self)});
    }
}

void
synthetic_elect(struct synthetic *self, unsigned tenant, size_t slot, int64_t at_ns)
{
    struct synthetic_term *term = &self->terms[tenant];
    term->epoch++;
    term->slot = slot;
    synthetic_emit(self->workers[slot].history, at_ns,
                   (tally_history_record_t){.kind = TALLY_TOLD_TERM,
                                            .queue = QUEUE_TERM,
                                            .tenant = (uint16_t)tenant,
                                            .epoch = term->epoch});
}

static void
write_driver(struct synthetic *self)
{
    static const char *const queues[] = {NULL, "orders", "statistics", "mail"};
    static const char *const tenants[] = {NULL, "acme", "umbrella", "initech"};
    static const char *const faults[] = {NULL,          "kill broker",
                                         "kill worker", "kill term holder",
                                         "stop worker", "turn clock"};
    for (uint32_t i = 1; i <= QUEUES; i++) {
        tally_history_name(self->driver, TALLY_NAMED_QUEUE, i, queues[i]);
        unsigned flags = i == QUEUE_PLAIN  ? 0
                         : i == QUEUE_TERM ? TALLY_QUEUE_TRANSACTIONAL | TALLY_QUEUE_EXCLUSIVE
                                           : TALLY_QUEUE_TRANSACTIONAL;
        tally_history_add(self->driver,
                          &(tally_history_record_t){.kind = TALLY_DID_QUEUE,
                                                    .queue = (uint16_t)i,
                                                    .code = (uint16_t)flags,
                                                    .epoch = 1000,
                                                    .counts = {0, FAILURES_MAX, CRASHES_MAX, 0}});
    }
    for (uint32_t i = 1; i <= TENANTS; i++) {
        tally_history_name(self->driver, TALLY_NAMED_TENANT, i, tenants[i]);
    }
    for (uint32_t i = 1; i < sizeof faults / sizeof *faults; i++) {
        tally_history_name(self->driver, TALLY_NAMED_FAULT, i, faults[i]);
    }
    if (self->plant == TALLY_PLANT_FAULT_NEVER) {
        tally_history_name(self->driver, TALLY_NAMED_FAULT, 9, "disk full");
    }
}

static void
start(struct synthetic *self)
{
    self->broker = 5;
    self->spare_lease = synthetic_id(self);
    self->driver = open_process(self, "driver", 1, TALLY_WRITER_DRIVER, self->start_ns);
    self->nemesis = open_process(self, "nemesis", 2, TALLY_WRITER_NEMESIS, self->start_ns);
    self->rows = open_process(self, "database", TALLY_HISTORY_PROCESS_MAX, TALLY_WRITER_DATABASE,
                              self->start_ns);
    write_driver(self);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct synthetic_client *client = &self->clients[i];
        client->process = 10 + i;
        client->history = open_process(self, "client", client->process, TALLY_WRITER_CLIENT,
                                       self->start_ns);
        char sender[TALLY_HISTORY_TEXT_BYTES + 1];
        snprintf(sender, sizeof sender, "%032x", client->process);
        tally_history_name(client->history, TALLY_NAMED_SENDER, client->process, sender);
        synthetic_emit(client->history, self->start_ns,
                       (tally_history_record_t){.kind = TALLY_TOLD_WELCOME, .epoch = self->broker});
    }
    self->next_process = 100;
    for (size_t i = 0; i < WORKERS; i++) {
        synthetic_start_worker(self, i, self->start_ns);
    }
    for (unsigned tenant = 1; tenant <= TENANTS; tenant++) {
        synthetic_elect(self, tenant, tenant % WORKERS, self->start_ns);
    }
}

static void
mark(struct synthetic *self, tally_phase_t phase, int64_t at_ns)
{
    synthetic_emit(self->driver, at_ns,
                   (tally_history_record_t){.kind = TALLY_DID_PHASE, .code = (uint16_t)phase});
}

static void
write_last_rows(struct synthetic *self)
{
    for (size_t i = 0; i < CLIENTS; i++) {
        const struct synthetic_client *client = &self->clients[i];
        bool unknown = self->plant == TALLY_PLANT_CONFIRM_UNKNOWN && i == 0;
        synthetic_emit(self->rows, self->end_ns,
                       (tally_history_record_t){.kind = TALLY_ROW_SENDER,
                                                .process = client->process,
                                                .sequence = unknown ? 1 : client->sequence});
    }
    for (unsigned tenant = 1; tenant <= TENANTS; tenant++) {
        uint64_t epoch = self->terms[tenant].epoch;
        bool lost = self->plant == TALLY_PLANT_TERM_NOT_DURABLE && tenant == 1;
        synthetic_emit(self->rows, self->end_ns,
                       (tally_history_record_t){.kind = TALLY_ROW_TERM,
                                                .queue = QUEUE_TERM,
                                                .tenant = (uint16_t)tenant,
                                                .epoch = lost ? epoch - 1 : epoch});
    }
    if (self->plant == TALLY_PLANT_LEASE_LEFT) {
        synthetic_emit(self->rows, self->end_ns,
                       (tally_history_record_t){.kind = TALLY_ROW_LEASE,
                                                .lease = 77,
                                                .queue = 1,
                                                .tenant = 1});
    }
    synthetic_emit(self->rows, self->end_ns,
                   (tally_history_record_t){.kind = TALLY_ROW_BROKER, .epoch = self->broker});
    if (self->plant != TALLY_PLANT_NO_ROWS) {
        synthetic_emit(self->rows, self->end_ns,
                       (tally_history_record_t){.kind = TALLY_ROWS_COMPLETE});
    }
}

static void
finish(struct synthetic *self, int64_t at_ns)
{
    mark(self, TALLY_PHASE_HEALED, at_ns);
    mark(self, TALLY_PHASE_DRAIN, at_ns + MS);
    if (self->plant != TALLY_PLANT_NO_END) {
        int64_t took_ms = self->plant == TALLY_PLANT_DRAIN_SLOW ? 31000 : 500;
        mark(self, TALLY_PHASE_DRAINED, at_ns + took_ms * MS);
    }
    write_last_rows(self);
    tally_history_close(&self->driver);
    tally_history_close(&self->nemesis);
    tally_history_close(&self->rows);
    for (size_t i = 0; i < CLIENTS; i++) {
        tally_history_close(&self->clients[i].history);
    }
    for (size_t i = 0; i < WORKERS; i++) {
        tally_history_close(&self->workers[i].history);
    }
}

void
tally_synthetic_write(const char *directory, uint64_t records, tally_plant_t plant)
{
    assert(records >= TALLY_SYNTHETIC_MIN && plant < TALLY_PLANT_COUNT);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t batches = records / RECORDS_PER_BATCH;
    struct synthetic self = {
        .directory = directory,
        .plant = plant,
        //  First records have the real time; all made-up ones are after.
        .start_ns = ((int64_t)now.tv_sec + 3600) * 1000000000,
        .plant_from = batches * 3 / 4,
        .kill_every = batches / 500 > 20 ? batches / 500 : 20,
    };
    self.end_ns = self.start_ns + (int64_t)(batches + 5) * BATCH_MS * MS + 40000 * MS;
    start(&self);
    mark(&self, TALLY_PHASE_LOAD, self.start_ns);
    mark(&self, TALLY_PHASE_FAULTS, self.start_ns);
    int64_t at_ns = self.start_ns;
    for (uint64_t i = 0; i < batches; i++) {
        at_ns += BATCH_MS * MS;
        if (i % BROKER_EVERY == BROKER_EVERY - 1) {
            change_broker(&self, at_ns);
        } else {
            synthetic_batch(&self, i, at_ns);
        }
    }
    assert(plant == TALLY_PLANT_NOTHING || self.planted || plant >= TALLY_PLANT_FAULT_NEVER
           || plant == TALLY_PLANT_CONFIRM_UNKNOWN || plant == TALLY_PLANT_TERM_NOT_DURABLE
           || plant == TALLY_PLANT_LEASE_LEFT || plant == TALLY_PLANT_DRAIN_SLOW);
    finish(&self, at_ns + BATCH_MS * MS);
}
