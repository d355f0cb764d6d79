// SPDX-License-Identifier: MIT
//  database_sql - see database.h: transactions of workers.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/simulation/database_state.h"
#include "tests/simulation/ledger.h"
#include "tests/simulation/worker.h"

static bool
holds_all(const fake_lease_t *lease, const sim_sql_t *sql)
{
    for (size_t i = 0; i < sql->count; i++) {
        bool held = false;
        for (size_t k = 0; k < lease->count && !held; k++) {
            held = lease->messages[k] == sql->messages[i];
        }
        if (!held) {
            return false;
        }
    }
    return true;
}

//  Whoever is in a transaction holds its term shared.
static void
lock_term(sim_database_t *self, uint32_t queue, uint32_t tenant)
{
    bool locked = false;
    for (size_t i = 0; i < self->open.count; i++) {
        const sim_open_t *open = &self->open.items[i];
        locked = locked || (open->sql.epoch > 0 && open->queue == queue && open->tenant == tenant);
    }
    fake_store_lock_term(self->store, queue, tenant, locked);
}

//  TY001 and TY002.
static bool
is_refused(sim_database_t *self, const sim_sql_t *sql, const fake_lease_t *lease)
{
    bool held = lease != NULL && !lease->locked && holds_all(lease, sql);
    if (!held && !TALLY_PLANTED(NO_FENCE)) {
        sim_bit(self->world, SIM_SQL_STALE);
        SIM_TRACE(self->world, "worker # is refused by SQL: lease @ is over", sql->worker,
                  sql->lease);
        return true;
    }
    bool termed = sql->epoch == 0 || lease == NULL || TALLY_PLANTED(NO_TERM_CHECK)
                  || fake_store_holds_term(self->store, lease->queue, lease->tenant, sql->epoch);
    if (!termed) {
        sim_bit(self->world, SIM_TERM_STALE);
        SIM_TRACE(self->world, "worker # is refused by SQL: epoch # of lease @ is over",
                  sql->worker, sql->epoch, sql->lease);
    }
    return !termed;
}

uint64_t
sim_database_begin(sim_database_t *self, const sim_sql_t *sql)
{
    sim_world_t *world = self->world;
    const fake_lease_t *lease = fake_store_lease(self->store, sql->lease);
    if (is_refused(self, sql, lease)) {
        return 0;
    }
    bool undone = sim_strikes(world, SIM_SQL_UNDONE);
    sim_open_t *open = TALLY_PUSH(&self->open);
    open->number = ++self->opened;
    open->sql = *sql;
    open->messages = calloc(sql->count, sizeof *open->messages);
    assert(open->messages != NULL);
    memcpy(open->messages, sql->messages, sql->count * sizeof *sql->messages);
    open->undone = undone;
    open->queue = lease == NULL ? 0 : lease->queue;
    open->tenant = lease == NULL ? 0 : lease->tenant;
    open->ends_ms = world->now_ms + SIM_IDLE_MS_MAX;
    if (lease != NULL) {
        fake_store_lock_lease(self->store, sql->lease, true);
    }
    if (sql->epoch > 0 && lease != NULL) {
        lock_term(self, open->queue, open->tenant);
    }
    int64_t takes_ms = world->healing || sim_happens(world, 70)
                           ? sim_between(world, 0, 20)
                           : sim_between(world, 0, SIM_IDLE_MS_MAX - 1);
    sim_post(world, SIM_SQL, world->now_ms + takes_ms, 0, open->number, NULL);
    return open->number;
}

static void
send_one(sim_database_t *self, const sim_open_t *open)
{
    sim_world_t *world = self->world;
    const sim_message_t first = *sim_ledger_at(world->ledger,
                                               sim_ledger_find(world->ledger, open->messages[0]));
    sim_message_t message = {
        .send = SIM_NOBODY,
        .queue = SIM_FOLLOWING,
        .tenant = first.tenant,
        .priority = TALLY_PRIORITY_DEFAULT,
        .key = (uint8_t)sim_draw(world, SIM_KEYS + 1),
    };
    const tally_tenant_row_t *limits = sim_database_tenant(self, first.tenant);
    if (limits != NULL && limits->messages_max < 1000) {
        return;    // quotas are for those who send by the front; transactions are not refused
    }
    uint32_t number = sim_ledger_add(world->ledger, &message);
    char body[SIM_BODY_BYTES_MAX];
    body[sim_ledger_body(number, body)] = '\0';
    char key[8] = "";
    if (message.key > 0) {
        snprintf(key, sizeof key, "k%u", message.key);
    }
    fake_store_send(self->store, SIM_FOLLOWING, open->tenant, body, key);
}

static void
finish(sim_database_t *self, size_t index, bool undone)
{
    sim_world_t *world = self->world;
    sim_open_t open = self->open.items[index];
    self->open.items[index] = self->open.items[--self->open.count];
    const fake_lease_t *lease = fake_store_lease(self->store, open.sql.lease);
    if (lease != NULL) {
        fake_store_lock_lease(self->store, open.sql.lease, false);
    }
    if (!undone) {
        SIM_TRACE(world, "worker # settles # messages of lease @ by SQL", open.sql.worker,
                  open.sql.count, open.sql.lease);
        bool settled = fake_store_settle(self->store, open.sql.lease, open.messages,
                                         open.sql.count);
        assert(settled || TALLY_PLANTED(NO_FENCE));
        sim_ledger_sql(world->ledger, open.sql.lease, open.messages, open.sql.count,
                       open.sql.epoch);
        if (open.sql.follows) {
            send_one(self, &open);
        }
    } else {
        SIM_TRACE(world, "worker # rolls back under lease @", open.sql.worker, open.sql.lease);
    }
    if (open.sql.epoch > 0 && open.queue > 0) {
        lock_term(self, open.queue, open.tenant);
    }
    sim_worker_sql_ended(world->workers[open.sql.worker], open.sql.job, !undone);
    free(open.messages);
}

void
sim_database_end(sim_database_t *self, uint64_t number)
{
    for (size_t i = 0; i < self->open.count; i++) {
        sim_open_t *open = &self->open.items[i];
        if (open->number != number) {
            continue;
        }
        int64_t stopped_ms = sim_worker_stopped_until(self->world->workers[open->sql.worker]);
        if (stopped_ms > self->world->now_ms) {
            //  It is idle in its transaction, until the server ends that.
            open->undone = open->undone || stopped_ms >= open->ends_ms;
            int64_t at_ms = stopped_ms < open->ends_ms ? stopped_ms : open->ends_ms;
            if (at_ms > self->world->now_ms) {
                sim_post(self->world, SIM_SQL, at_ms, 0, number, NULL);
                return;
            }
        }
        finish(self, i, open->undone);
        return;
    }
}

void
sim_database_end_some(void *context)
{
    sim_database_t *self = context;
    size_t index = (size_t)sim_draw(self->world, self->open.count);
    finish(self, index, self->open.items[index].undone);
}

void
sim_database_roll_back(sim_database_t *self, uint32_t worker)
{
    for (size_t i = self->open.count; i-- > 0;) {
        if (self->open.items[i].sql.worker == worker) {
            finish(self, i, true);
        }
    }
}
