// SPDX-License-Identifier: MIT
//  worker_job - see worker.h: what a worker does with its leases.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/worker_state.h"

sim_job_t *
sim_worker_find_job(sim_worker_t *self, uint64_t number)
{
    for (size_t i = 0; i < self->open.count; i++) {
        if (self->open.items[i].number == number) {
            return &self->open.items[i];
        }
    }
    return NULL;
}

void
sim_worker_free_job(sim_worker_t *self, sim_job_t *job)
{
    free(job->items);
    *job = self->open.items[--self->open.count];
}

void
sim_worker_drop_jobs(sim_worker_t *self)
{
    while (self->open.count > 0) {
        sim_worker_free_job(self, &self->open.items[0]);
    }
}

static void
go_on(sim_worker_t *self, const sim_job_t *job, int64_t in_ms)
{
    sim_post(self->world, SIM_JOB, self->world->now_ms + in_ms, self->index, job->number, NULL);
}

static sim_doing_t
draw_doing(sim_world_t *world, bool termed)
{
    if (world->healing) {
        return termed || sim_happens(world, 50) ? SIM_DO_SQL : SIM_DO_SETTLE;
    }
    uint64_t drawn = sim_draw(world, 100);
    if (termed) {
        return drawn < 85 ? SIM_DO_SQL : drawn < 92 ? SIM_DO_SQL_PART : SIM_DO_PIECES;
    }
    return drawn < 35   ? SIM_DO_SETTLE
           : drawn < 55 ? SIM_DO_PIECES
           : drawn < 80 ? SIM_DO_SQL
           : drawn < 92 ? SIM_DO_SQL_PART
           : drawn < 98 ? SIM_DO_EXTEND
                        : SIM_DO_NOTHING;
}

void
sim_worker_take(sim_worker_t *self, const tally_delivery_t *delivery)
{
    sim_world_t *world = self->world;
    sim_job_t *job = TALLY_PUSH(&self->open);
    job->number = ++self->jobs;
    job->lease = delivery->lease;
    job->epoch = delivery->epoch;
    job->count = delivery->count;
    job->deadline_ms = world->now_ms + delivery->visible_ms;
    job->items = tally_alloc_array(delivery->count, sizeof *job->items);
    tally_cursor_t items = delivery->items;
    bool poison = false;
    for (size_t i = 0; i < job->count; i++) {
        tally_delivered_t item;
        tally_delivered_read(&items, &item);
        job->items[i].id = item.id;
        job->items[i].message = sim_ledger_find(world->ledger, item.id);
        poison = poison || sim_ledger_at(world->ledger, job->items[i].message)->poison;
    }
    if (poison && !world->healing) {
        sim_worker_die(self);
        return;
    }
    if (sim_strikes(world, SIM_WORKER_DIED)) {
        sim_worker_die(self);
        return;
    }
    job->doing = draw_doing(world, job->epoch > 0);
    int64_t takes_ms = sim_happens(world, 80) ? sim_between(world, 0, 60)
                                              : sim_between(world, 0, delivery->visible_ms);
    takes_ms = world->healing ? sim_between(world, 0, 20) : takes_ms;
    if (sim_strikes(world, SIM_WORKER_HUNG)) {
        takes_ms = delivery->visible_ms + sim_between(world, 0, 3000);
    }
    go_on(self, job, takes_ms);
}

//  ---- by records --------------------------------------------------------------------------------

static void
say_result(sim_worker_t *self, const sim_job_t *job, const sim_item_t *item)
{
    char body[32];
    int size = snprintf(body, sizeof body, "r%u", item->message);
    const tally_record_t record = {.kind = TALLY_RECORD_RESULT,
                                   .lease = job->lease,
                                   .count = 1,
                                   .body = {body, (size_t)size}};
    sim_worker_say(self, &record, &item->id);
}

//  Asks get their results first; then all the rest at once.
static void
settle_all(sim_worker_t *self, sim_job_t *job)
{
    for (size_t i = 0; i < job->count; i++) {
        const sim_item_t *item = &job->items[i];
        if (!item->done && sim_ledger_at(self->world->ledger, item->message)->asked
            && sim_happens(self->world, 80)) {
            say_result(self, job, item);
        }
    }
    const tally_record_t record = {.kind = TALLY_RECORD_SETTLE, .lease = job->lease};
    sim_worker_say(self, &record, NULL);
    sim_worker_free_job(self, job);
}

static void
end_one(sim_worker_t *self, const sim_job_t *job, sim_item_t *item)
{
    sim_world_t *world = self->world;
    tally_record_t record = {.kind = TALLY_RECORD_SETTLE, .lease = job->lease, .count = 1};
    uint64_t drawn = sim_draw(world, 100);
    item->done = true;
    if (drawn < 50 || world->healing) {
        if (sim_ledger_at(world->ledger, item->message)->asked) {
            say_result(self, job, item);
            return;
        }
    } else if (drawn < 65) {
        record.kind = TALLY_RECORD_RETURN;
    } else if (drawn < 95) {
        record.kind = TALLY_RECORD_RETURN;
        record.flags = TALLY_RETURN_FAILED;
        record.text = tally_bytes_of("it failed");
    } else {
        record.kind = TALLY_RECORD_BURY;
        record.text = tally_bytes_of("it is bad");
    }
    if (record.kind == TALLY_RECORD_RETURN && sim_happens(world, 20)) {
        record.flags |= TALLY_RETURN_DELAY;
        record.delay_ms = (uint32_t)sim_draw(world, 1500);
    }
    sim_worker_say(self, &record, &item->id);
}

static void
end_next(sim_worker_t *self, sim_job_t *job)
{
    size_t from = (size_t)sim_draw(self->world, job->count);
    size_t left = 0;
    sim_item_t *next = NULL;
    for (size_t i = 0; i < job->count; i++) {
        sim_item_t *item = &job->items[(from + i) % job->count];
        if (!item->done) {
            left++;
            next = next == NULL ? item : next;
        }
    }
    if (next != NULL) {
        end_one(self, job, next);
    }
    if (left <= 1) {
        sim_worker_free_job(self, job);
    } else {
        go_on(self, job, sim_between(self->world, 0, 30));
    }
}

//  ---- by SQL ------------------------------------------------------------------------------------

static void
begin_sql(sim_worker_t *self, sim_job_t *job, bool part)
{
    sim_world_t *world = self->world;
    uint64_t *ids = tally_alloc_array(job->count, sizeof *ids);
    size_t count = 0;
    for (size_t i = 0; i < job->count; i++) {
        sim_item_t *item = &job->items[i];
        if (!item->done && (!part || count == 0 || sim_happens(world, 40))) {
            item->in_sql = true;
            ids[count++] = item->id;
        }
    }
    assert(count > 0);
    const sim_sql_t sql = {.lease = job->lease,
                           .messages = ids,
                           .count = count,
                           .epoch = job->epoch,
                           .worker = self->index,
                           .job = job->number,
                           .follows = sim_happens(world, 15)};
    job->sql = sim_database_begin(world->database, &sql);
    free(ids);
    if (job->sql == 0) {
        sim_worker_free_job(self, job);    // somebody else does it
    }
}

static void
note(sim_worker_t *self, const sim_job_t *job, bool all)
{
    uint64_t *ids = tally_alloc_array(job->count, sizeof *ids);
    tally_record_t record = {.kind = TALLY_RECORD_NOTE, .lease = job->lease};
    for (size_t i = 0; i < job->count && !all; i++) {
        if (job->items[i].in_sql) {
            ids[record.count++] = job->items[i].id;
        }
    }
    sim_worker_say(self, &record, ids);
    free(ids);
}

void
sim_worker_sql_ended(sim_worker_t *self, uint64_t number, bool committed)
{
    sim_job_t *job = sim_worker_find_job(self, number);
    if (job == NULL || job->sql == 0) {
        return;    // it dropped what it held meanwhile
    }
    job->sql = 0;
    if (!committed) {
        if (sim_happens(self->world, 50)) {
            const tally_record_t record = {.kind = TALLY_RECORD_RETURN,
                                           .lease = job->lease,
                                           .flags = TALLY_RETURN_FAILED,
                                           .text = tally_bytes_of("rolled back")};
            sim_worker_say(self, &record, NULL);
        }
        sim_worker_free_job(self, job);
        return;
    }
    size_t left = 0;
    for (size_t i = 0; i < job->count; i++) {
        left += !job->items[i].done && !job->items[i].in_sql;
    }
    if (!sim_strikes(self->world, SIM_SQL_UNTOLD)) {
        bool first = true;
        for (size_t i = 0; i < job->count; i++) {
            first = first && !job->items[i].done;
        }
        note(self, job, left == 0 && first);
    }
    for (size_t i = 0; i < job->count; i++) {
        job->items[i].done = job->items[i].done || job->items[i].in_sql;
        job->items[i].in_sql = false;
    }
    if (left == 0) {
        sim_worker_free_job(self, job);
    } else {
        job->doing = sim_happens(self->world, 50) ? SIM_DO_PIECES : SIM_DO_SQL_PART;
        go_on(self, job, sim_between(self->world, 0, 50));
    }
}

//  ---- a step ------------------------------------------------------------------------------------

void
sim_worker_job(sim_worker_t *self, uint64_t number)
{
    sim_world_t *world = self->world;
    sim_job_t *job = sim_worker_find_job(self, number);
    if (job == NULL) {
        return;
    }
    if (world->now_ms < self->stopped_until_ms) {
        go_on(self, job, self->stopped_until_ms - world->now_ms);
        return;
    }
    switch (job->doing) {
    case SIM_DO_SETTLE:
        settle_all(self, job);
        break;
    case SIM_DO_PIECES:
        end_next(self, job);
        break;
    case SIM_DO_SQL:
    case SIM_DO_SQL_PART:
        begin_sql(self, job, job->doing == SIM_DO_SQL_PART);
        break;
    case SIM_DO_EXTEND: {
        uint32_t more_ms = (uint32_t)sim_between(world, 100, 3000);
        const tally_record_t record = {.kind = TALLY_RECORD_EXTEND,
                                       .lease = job->lease,
                                       .delay_ms = more_ms};
        sim_worker_say(self, &record, NULL);
        job->doing = sim_happens(world, 30) ? SIM_DO_EXTEND : draw_doing(world, job->epoch > 0);
        go_on(self, job, sim_between(world, 0, more_ms));
        break;
    }
    case SIM_DO_NOTHING:
        break;    // until it says hello again
    }
}
