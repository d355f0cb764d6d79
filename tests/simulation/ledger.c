// SPDX-License-Identifier: MIT
//  ledger - see ledger.h: what was tried, what was told, and the end.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/ledger_state.h"
#include "tests/simulation/shell.h"

sim_ledger_t *
sim_ledger_new(sim_world_t *world)
{
    sim_ledger_t *self = tally_alloc(sizeof *self);
    self->world = world;
    self->taken = 1;
    return self;
}

void
sim_ledger_destroy(sim_ledger_t **self_p)
{
    sim_ledger_t *self = *self_p;
    *self_p = NULL;
    for (size_t i = 0; i < self->leases.count; i++) {
        free(self->leases.items[i]);
    }
    size_t at = 0;
    for (void *member; (member = tally_table_each(&self->crew, &at)) != NULL;) {
        free(member);
    }
    for (size_t i = 0; i < sizeof self->keyed / sizeof self->keyed[0]; i++) {
        free(self->keyed[i].items);
    }
    free(self->messages.items);
    free(self->sends.items);
    free(self->leases.items);
    free(self->leased.items);
    free(self->grants.items);
    tally_table_free(&self->by_id);
    tally_table_free(&self->by_lease);
    tally_table_free(&self->crew);
    free(self);
}

void
sim_ledger_count(const sim_ledger_t *self, sim_outcome_t *outcome)
{
    outcome->ticks = self->ticks;
    outcome->messages = self->messages.count;
    outcome->leases = self->leases.count;
    outcome->effects = self->effects;
}

uint64_t
sim_ledger_settled(const sim_ledger_t *self)
{
    return self->settled;
}

//  ---- clients -----------------------------------------------------------------------------------

uint32_t
sim_ledger_send(sim_ledger_t *self, uint32_t client, const uint8_t *sender, uint64_t sequence)
{
    sim_send_t *send = TALLY_PUSH(&self->sends);
    send->client = client;
    memcpy(send->sender, sender, TALLY_SENDER_BYTES);
    send->sequence = sequence;
    send->first = (uint32_t)self->messages.count;
    send->fate = SIM_OPEN;
    return (uint32_t)self->sends.count - 1;
}

uint32_t
sim_ledger_add(sim_ledger_t *self, const sim_message_t *message)
{
    sim_message_t *added = TALLY_PUSH(&self->messages);
    *added = *message;
    added->state = SIM_ATTEMPTED;
    added->attempted_ms = self->world->now_ms;
    if (message->send != SIM_NOBODY) {
        added->item = (uint16_t)self->sends.items[message->send].count++;
    }
    return (uint32_t)self->messages.count - 1;
}

sim_send_t *
sim_ledger_send_at(const sim_ledger_t *self, uint32_t send)
{
    assert(send < self->sends.count);
    return &self->sends.items[send];
}

sim_message_t *
sim_ledger_at(const sim_ledger_t *self, uint32_t message)
{
    assert(message < self->messages.count);
    return &self->messages.items[message];
}

size_t
sim_ledger_body(uint32_t message, char body[SIM_BODY_BYTES_MAX])
{
    int size = snprintf(body, SIM_BODY_BYTES_MAX, "m%u", message);
    size_t whole = (size_t)size + message * 31u % 40;
    memset(body + size, '.', whole - (size_t)size);
    return whole;
}

//  Whether the send is in the database, all of it.
static bool
is_durable(const sim_ledger_t *self, const sim_send_t *send)
{
    for (uint32_t i = 0; i < send->count; i++) {
        if (self->messages.items[send->first + i].state == SIM_ATTEMPTED) {
            return false;
        }
    }
    return true;
}

void
sim_ledger_tells_confirm(sim_ledger_t *self, const uint8_t *sender, uint64_t sequence)
{
    bool found = false;
    for (size_t i = self->sends.count; i-- > 0 && !found;) {
        const sim_send_t *send = &self->sends.items[i];
        found = send->sequence == sequence && memcmp(send->sender, sender, TALLY_SENDER_BYTES) == 0
                && is_durable(self, send);
    }
    SIM_REQUIRE(found, "I10 confirm truth", "sequence # is confirmed but not in the database",
                sequence, 0);
}

void
sim_ledger_confirmed(sim_ledger_t *self, uint32_t number, const tally_confirm_t *confirm)
{
    sim_send_t *send = sim_ledger_send_at(self, number);
    SIM_REQUIRE(is_durable(self, send), "I10 confirm truth",
                "the frame confirmed as sequence # is not the one in the database", send->sequence,
                0);
    send->fate = SIM_CONFIRMED;
    SIM_REQUIRE(confirm->count == send->count, "I3 idempotent send", "# messages sent, # confirmed",
                send->count, confirm->count);
    uint32_t duplicates = 0;
    tally_cursor_t ids = confirm->ids;
    for (uint32_t i = 0; i < send->count && !confirm->repeated; i++) {
        const sim_message_t *message = &self->messages.items[send->first + i];
        uint64_t id = tally_cursor_u64(&ids);
        SIM_REQUIRE(id == message->id, "I3 idempotent send", "confirmed as @ but stored as @", id,
                    message->id);
        duplicates += id == 0;
    }
    SIM_REQUIRE(confirm->repeated || duplicates == confirm->duplicates, "I3 idempotent send",
                "# duplicates, # told", duplicates, confirm->duplicates);
}

void
sim_ledger_refused(sim_ledger_t *self, uint32_t number)
{
    sim_send_t *send = sim_ledger_send_at(self, number);
    //  Of a frame that left twice the other one may still be taken.
    if (send->fate != SIM_OPEN || send->copies != 1) {
        return;
    }
    send->fate = SIM_REFUSED;
    for (uint32_t i = 0; i < send->count; i++) {
        SIM_REQUIRE(self->messages.items[send->first + i].state == SIM_ATTEMPTED, "I2 no ghost",
                    "sequence # was refused but is in the database as @", send->sequence,
                    self->messages.items[send->first + i].id);
    }
}

void
sim_ledger_result(sim_ledger_t *self, uint32_t number, const tally_result_t *result)
{
    const sim_send_t *send = sim_ledger_send_at(self, number);
    SIM_REQUIRE(result->index < send->count, "I14 isolation", "a result for message # of #",
                result->index, send->count);
    sim_message_t *message = &self->messages.items[send->first + result->index];
    SIM_REQUIRE(message->asked, "I14 isolation", "a result for @, which was no ask", message->id,
                0);
    sim_state_t wanted = result->outcome == TALLY_RESULT_DONE ? SIM_SETTLED : SIM_BURIED;
    bool was_retried = message->retried;    // its first end stands
    SIM_REQUIRE(message->state == wanted || was_retried, "I10 result truth", "outcome # told of @",
                result->outcome, message->id);
    char own[32];
    int size = snprintf(own, sizeof own, "r%u", send->first + result->index);
    bool mine = tally_bytes_equal(result->body, (tally_bytes_t){own, (size_t)size});
    bool by_sql = tally_bytes_equal(result->body, tally_bytes_of("by sql"));
    SIM_REQUIRE(wanted == SIM_BURIED || was_retried || result->body.size == 0
                    || (message->by_sql ? by_sql : mine),
                "I14 isolation", "@ got the result of another message", message->id, 0);
    message->results++;
}

//  ---- the broker --------------------------------------------------------------------------------

static sim_crew_t *
crew_of(sim_ledger_t *self, uint64_t number)
{
    sim_crew_t *member = tally_table_find(&self->crew, number);
    if (member == NULL) {
        member = tally_alloc(sizeof *member);
        member->number = number;
        tally_table_put(&self->crew, number, member);
    }
    return member;
}

void
sim_ledger_heard(sim_ledger_t *self, uint64_t worker)
{
    sim_crew_t *member = crew_of(self, worker);
    if (member->heard_ms != self->world->now_ms) {
        member->heard_before_ms = member->heard_ms;
        member->heard_ms = self->world->now_ms;
    }
}

void
sim_ledger_gone(sim_ledger_t *self, uint64_t worker, tally_gone_t how)
{
    sim_crew_t *member = crew_of(self, worker);
    member->gone = member->gone == TALLY_GONE_DEAD ? TALLY_GONE_DEAD : how;
}

void
sim_ledger_publishes(sim_ledger_t *self, const tally_plan_lease_t *planned)
{
    sim_lease_t *lease = sim_ledger_lease(self, planned->id);
    SIM_REQUIRE(lease != NULL, "I7 tokens", "lease @ is handed out before it is committed",
                planned->id, 0);
    SIM_REQUIRE(lease->epoch == planned->epoch, "I15 terms", "lease @ goes out under epoch #",
                planned->id, planned->epoch);
    lease->published = true;
}

void
sim_ledger_tells_term(sim_ledger_t *self, uint32_t queue, uint32_t tenant, uint64_t epoch,
                      uint64_t worker)
{
    for (size_t i = 0; i < self->grants.count; i++) {
        const sim_grant_t *grant = &self->grants.items[i];
        if (grant->queue == queue && grant->tenant_id == tenant && grant->epoch == epoch
            && grant->worker == worker) {
            return;
        }
    }
    sim_broken("I15 terms", "epoch # is told to worker @ but was never granted in the database",
               epoch, worker);
}

void
sim_ledger_took_back(sim_ledger_t *self, uint64_t id)
{
    sim_lease_t *lease = sim_ledger_lease(self, id);
    if (lease != NULL) {
        lease->taken_back = true;
    }
}

void
sim_ledger_took(sim_ledger_t *self, const tally_record_t *record)
{
    const sim_lease_t *lease = sim_ledger_lease(self, record->lease);
    if (lease == NULL) {
        return;
    }
    for (size_t i = 0; record->count == 0 && i < lease->count; i++) {
        self->leased.items[lease->first + i].taken = self->taken;
    }
    tally_cursor_t ids = record->ids;
    for (size_t i = 0; i < record->count; i++) {
        sim_leased_t *leased = sim_ledger_leased(self, lease, tally_cursor_u64(&ids));
        if (leased != NULL) {
            leased->taken = self->taken;
        }
    }
}

void
sim_ledger_may_forget(sim_ledger_t *self)
{
    self->taken++;
}

//  Whose worker is not connected with the new core loses no attempt.
static void
orphan_leases(sim_ledger_t *self, const tally_core_t *core)
{
    for (size_t i = 0; i < self->leases.count; i++) {
        sim_lease_t *lease = self->leases.items[i];
        bool joined = false;
        tally_worker_info_t info;
        for (size_t at = 0; !joined && tally_core_worker_at(core, at, self->world->now_ms, &info);
             at++) {
            joined = info.number == lease->worker;
        }
        lease->orphaned = lease->orphaned || (lease->left > 0 && !joined);
    }
}

void
sim_ledger_loaded(sim_ledger_t *self, const tally_core_t *core)
{
    orphan_leases(self, core);
    const fake_store_t *store = sim_database_store(self->world->database);
    tally_stream_stats_t sum = {0};
    for (size_t i = 0; i < tally_core_queue_count(core); i++) {
        tally_stream_stats_t stats;
        tally_core_stats(core, tally_core_queue_at(core, i)->id, 0, self->world->now_ms, &stats);
        sum.ready += stats.ready + stats.held + stats.delayed + stats.waiting + stats.leased;
    }
    SIM_REQUIRE(sum.ready == fake_store_message_count(store), "I17 index agrees with database",
                "# messages loaded of #", sum.ready, fake_store_message_count(store));
    for (size_t i = 0; i < self->messages.count; i++) {
        const sim_message_t *message = &self->messages.items[i];
        bool there = message->state != SIM_STORED || fake_store_message(store, message->id) != NULL;
        SIM_REQUIRE(there, "I1 no loss", "@ is not in the database any more", message->id, 0);
    }
    memset(self->passed, 0, sizeof self->passed);
}

//  ---- the end -----------------------------------------------------------------------------------

void
sim_ledger_final(sim_ledger_t *self)
{
    const fake_store_t *store = sim_database_store(self->world->database);
    for (size_t i = 0; i < self->messages.count; i++) {
        const sim_message_t *message = &self->messages.items[i];
        sim_fate_t fate = message->send == SIM_NOBODY ? SIM_CONFIRMED
                                                      : self->sends.items[message->send].fate;
        SIM_REQUIRE(fate != SIM_CONFIRMED || message->state > SIM_STORED, "I1 no loss",
                    "message # was confirmed and is not over, state #", i, message->state);
        SIM_REQUIRE(message->state != SIM_STORED, "I20 liveness", "@ was never ended", message->id,
                    0);
        SIM_REQUIRE(fate != SIM_REFUSED || message->state == SIM_ATTEMPTED, "I2 no ghost",
                    "message # was refused, state #", i, message->state);
        SIM_REQUIRE(message->effects == (message->by_sql ? 1 : 0), "I5 effect once",
                    "@ had # effects", message->id, message->effects);
        SIM_REQUIRE(message->state != SIM_SETTLED
                        || fake_store_settled_count(store, message->id) == 1,
                    "I4 settled once", "@ was settled # times", message->id,
                    fake_store_settled_count(store, message->id));
        SIM_REQUIRE(message->state != SIM_BURIED || fake_store_dead(store, message->id) != NULL,
                    "I1 no loss", "@ was buried and is no dead letter", message->id, 0);
    }
    SIM_REQUIRE(self->settled == fake_store_settled_total(store), "I16 conservation",
                "# settled here, # in the database", self->settled,
                fake_store_settled_total(store));
}

//  ---- workers and operators ---------------------------------------------------------------------

//  How many messages a worker has by all that is known: leased to it, and neither ended nor given up.
static uint32_t
count_held(const sim_ledger_t *self, uint64_t worker)
{
    int64_t early_ms = sim_database_set_forward(self->world->database);
    uint32_t held = 0;
    for (size_t i = 0; i < self->leases.count; i++) {
        const sim_lease_t *lease = self->leases.items[i];
        for (size_t k = lease->first;
             k < lease->first + lease->count && lease->worker == worker && lease->left > 0; k++) {
            bool passed = lease->extended
                          || self->world->now_ms + early_ms >= lease->leased_ms + lease->visible_ms;
            held += !self->leased.items[k].over && self->leased.items[k].said == 0 && !passed
                    && !lease->taken_back;
        }
    }
    return held;
}

void
sim_ledger_delivered(sim_ledger_t *self, uint64_t worker, uint16_t credit,
                     const tally_delivery_t *delivery)
{
    const sim_lease_t *lease = sim_ledger_lease(self, delivery->lease);
    SIM_REQUIRE(lease != NULL && lease->worker == worker, "I14 isolation",
                "lease @ comes to worker @", delivery->lease, worker);
    uint32_t held = count_held(self, worker);
    SIM_REQUIRE(held <= credit, "I18 credit", "a worker with credit # holds # messages", credit,
                held);
    tally_cursor_t items = delivery->items;
    for (uint16_t i = 0; i < delivery->count; i++) {
        tally_delivered_t item;
        tally_delivered_read(&items, &item);
        uint32_t number = sim_ledger_find(self, item.id);
        SIM_REQUIRE(number != SIM_NOBODY, "I2 no ghost", "@ is delivered and was never stored",
                    item.id, 0);
        const sim_message_t *message = &self->messages.items[number];
        char body[SIM_BODY_BYTES_MAX];
        tally_bytes_t sent = {body, sim_ledger_body(number, body)};
        SIM_REQUIRE(message->is_blob ? item.body.size == 0 : tally_bytes_equal(item.body, sent),
                    "I11 payload", "@ is delivered with another body, # bytes", item.id,
                    item.body.size);
        char name[8];
        snprintf(name, sizeof name, "t%u", message->tenant);
        SIM_REQUIRE(tally_bytes_equal(delivery->tenant, tally_bytes_of(name)), "I14 isolation",
                    "@ is delivered for another tenant", item.id, 0);
    }
}

void
sim_ledger_retry_one(sim_ledger_t *self)
{
    for (size_t i = 0; i < self->messages.count; i++) {
        const sim_message_t *message = &self->messages.items[i];
        const tally_tenant_row_t *limits = sim_database_tenant(self->world->database,
                                                               message->tenant);
        bool bounded = limits != NULL && limits->messages_max < 1000;    // operators are not
        if (message->state == SIM_BURIED && !bounded && !message->poison) {
            SIM_TRACE(self->world, "an operator sends @ again", message->id);
            sim_shell_retry_dead(self->world->shell, self->tenant_ids[message->tenant],
                                 message->id);
            return;
        }
    }
}

void
sim_ledger_tell_left(const sim_ledger_t *self)
{
    for (size_t i = 0; i < self->messages.count; i++) {
        const sim_message_t *left = &self->messages.items[i];
        if (left->state == SIM_STORED) {
            SIM_TRACE(self->world,
                      "left: @ of queue #, tenant #, key #, leased # times, now under @", left->id,
                      left->queue, left->tenant, left->key, (uint64_t)left->leases, left->lease);
        }
    }
}
