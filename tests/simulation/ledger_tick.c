// SPDX-License-Identifier: MIT
//  ledger_tick - see ledger.h: what a transaction may do.

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/ledger_state.h"

#define DEAD_MS (TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX)

sim_lease_t *
sim_ledger_lease(const sim_ledger_t *self, uint64_t id)
{
    return tally_table_find(&self->by_lease, id);
}

uint32_t
sim_ledger_find(const sim_ledger_t *self, uint64_t id)
{
    return (uint32_t)(uintptr_t)tally_table_find(&self->by_id, id) - 1;
}

bool
sim_ledger_lease_over(const sim_ledger_t *self, uint64_t id)
{
    const sim_lease_t *lease = sim_ledger_lease(self, id);
    return lease == NULL || lease->left == 0;
}

uint64_t
sim_ledger_old_lease(const sim_ledger_t *self, sim_world_t *world)
{
    if (self->leases.count == 0) {
        return 0;
    }
    const sim_lease_t *lease = self->leases.items[sim_draw(world, self->leases.count)];
    return lease->left == 0 ? lease->id : 0;
}

sim_leased_t *
sim_ledger_leased(const sim_ledger_t *self, const sim_lease_t *lease, uint64_t message)
{
    for (size_t i = lease->first; i < lease->first + lease->count; i++) {
        sim_leased_t *leased = &self->leased.items[i];
        if (self->messages.items[leased->message].id == message) {
            return leased;
        }
    }
    return NULL;
}

void
sim_ledger_said(sim_ledger_t *self, uint64_t id, const uint64_t *messages, size_t count,
                unsigned what)
{
    sim_lease_t *lease = sim_ledger_lease(self, id);
    if (lease == NULL) {
        return;
    }
    for (size_t i = lease->first; i < lease->first + lease->count && count == 0; i++) {
        self->leased.items[i].said |= what;
    }
    for (size_t i = 0; i < count; i++) {
        sim_leased_t *leased = sim_ledger_leased(self, lease, messages[i]);
        if (leased != NULL) {
            leased->said |= what;
        }
    }
}

void
sim_ledger_extended(sim_ledger_t *self, uint64_t id)
{
    sim_lease_t *lease = sim_ledger_lease(self, id);
    if (lease != NULL) {
        lease->extended = true;
    }
}

//  ---- arrivals ----------------------------------------------------------------------------------

uint32_t
sim_ledger_read_body(const sim_ledger_t *self, tally_bytes_t body)
{
    uint32_t number = 0;
    const char *text = body.data;
    for (size_t i = 1; i < body.size && text[i] >= '0' && text[i] <= '9'; i++) {
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    char wanted[SIM_BODY_BYTES_MAX];
    bool known = body.size > 1 && text[0] == 'm' && number < self->messages.count;
    size_t size = known ? sim_ledger_body(number, wanted) : 0;
    SIM_REQUIRE(known && tally_bytes_equal(body, (tally_bytes_t){wanted, size}), "I11 payload",
                "a body of # bytes that nobody sent", body.size, 0);
    return number;
}

static void
store_message(sim_ledger_t *self, uint32_t number, uint64_t id)
{
    sim_message_t *message = &self->messages.items[number];
    SIM_REQUIRE(message->state == SIM_ATTEMPTED, "I3 idempotent send",
                "message # is stored again as @", number, id);
    SIM_REQUIRE(id > self->last_id, "I7 tokens", "id @ is used again, the last was @", id,
                self->last_id);
    if (message->send != SIM_NOBODY) {
        SIM_REQUIRE(self->sends.items[message->send].fate != SIM_REFUSED, "I2 no ghost",
                    "message # was refused and is stored as @", number, id);
    }
    message->state = SIM_STORED;
    message->stored_ms = self->world->now_ms;
    message->stored++;
    message->id = id;
    tally_table_put(&self->by_id, id, (void *)(uintptr_t)(number + 1));
    if (message->key > 0) {
        size_t list = ((message->queue - 1) * SIM_TENANTS + message->tenant) * (SIM_KEYS + 1)
                      + message->key;
        *TALLY_PUSH(&self->keyed[list]) = number;
    }
}

static bool
was_inserted(const tally_plan_message_t *planned, const tally_tick_result_t *result)
{
    bool inserted = planned->dedupe.size == 0;
    for (size_t i = 0; i < result->deduped.count && !inserted; i++) {
        inserted = result->deduped.items[i] == planned->id;
    }
    return inserted;
}

static void
check_dedupe(sim_ledger_t *self, sim_message_t *message, bool inserted, int64_t kept_ms)
{
    int64_t now_ms = sim_database_now(self->world->database);
    int64_t
        *until_ms = &self->deduped_until_ms[message->queue - 1][message->tenant][message->dedupe];
    SIM_REQUIRE(!inserted || *until_ms < now_ms, "I3 dedupe",
                "dedupe key # let a second message in: @", message->dedupe, message->id);
    SIM_REQUIRE(inserted || *until_ms >= now_ms, "I3 dedupe",
                "dedupe key # refused the first message, #", message->dedupe, now_ms - *until_ms);
    if (inserted) {
        *until_ms = now_ms + kept_ms;
    } else {
        sim_bit(self->world, SIM_DUPLICATED);
    }
}

static void
take_message(sim_ledger_t *self, const tally_plan_message_t *planned,
             const tally_tick_result_t *result)
{
    uint32_t number = sim_ledger_read_body(self, planned->body);
    sim_message_t *message = &self->messages.items[number];
    bool inserted = was_inserted(planned, result);
    if (inserted) {
        store_message(self, number, planned->id);
    } else {
        message->state = SIM_DUPLICATE;
    }
    bool as_sent = planned->queue == message->queue && planned->priority == message->priority
                   && planned->delay_ms == message->delay_ms
                   && (planned->key.size > 0) == (message->key > 0)
                   && planned->is_blob == message->is_blob && planned->releases == message->releases
                   && (planned->asker != NULL) == message->asked;
    SIM_REQUIRE(as_sent, "I11 payload", "message # is not stored as it was sent: @", number,
                planned->id);
    uint32_t *tenant_id = &self->tenant_ids[message->tenant];
    SIM_REQUIRE(*tenant_id == 0 || *tenant_id == planned->tenant, "I14 isolation",
                "message # is stored for tenant #", number, planned->tenant);
    *tenant_id = planned->tenant;
    if (message->dedupe > 0) {
        check_dedupe(self, message, inserted, planned->dedupe_kept_ms);
    }
}

//  ---- endings -----------------------------------------------------------------------------------

void
sim_ledger_leave(sim_ledger_t *self, sim_lease_t *lease, sim_leased_t *leased)
{
    assert(!leased->over);
    leased->over = true;
    lease->left--;
    self->messages.items[leased->message].lease = 0;
}

void
sim_ledger_settle(sim_ledger_t *self, sim_lease_t *lease, sim_leased_t *leased, bool by_sql)
{
    sim_message_t *message = &self->messages.items[leased->message];
    SIM_REQUIRE(message->state == SIM_STORED, "I4 settled once", "@ ends again, state #",
                message->id, message->state);
    SIM_REQUIRE(message->lease == lease->id, "I6 fence", "@ is settled under lease @", message->id,
                lease->id);
    sim_ledger_leave(self, lease, leased);
    message->state = SIM_SETTLED;
    message->over_ms = self->world->now_ms;
    message->by_sql = by_sql;
    self->settled++;
}

static void
settle_said(sim_ledger_t *self, sim_lease_t *lease, sim_leased_t *leased)
{
    SIM_REQUIRE((leased->said & SIM_SAID_SETTLE) != 0, "I6 fence",
                "@ is settled under lease @, whose worker never said so",
                self->messages.items[leased->message].id, lease->id);
    sim_ledger_settle(self, lease, leased, false);
}

static void
take_settled(sim_ledger_t *self, uint64_t id)
{
    sim_lease_t *lease = sim_ledger_lease(self, id);
    SIM_REQUIRE(lease != NULL && lease->left > 0, "I6 fence", "lease @ is settled and is over", id,
                0);
    for (size_t i = lease->first; i < lease->first + lease->count; i++) {
        if (!self->leased.items[i].over) {
            settle_said(self, lease, &self->leased.items[i]);
        }
    }
}

//  Its worker died or let the deadline pass, as far as anybody outside can tell.
static bool
may_have_crashed(const sim_ledger_t *self, const sim_lease_t *lease, int64_t sealed_ms)
{
    int64_t early_ms = sim_database_set_forward(self->world->database);
    const sim_crew_t *member = tally_table_find(&self->crew, lease->worker);
    bool passed = lease->extended || sealed_ms + early_ms >= lease->leased_ms + lease->visible_ms;
    if (member == NULL || member->gone == TALLY_GONE_DEAD) {
        return true;
    }
    int64_t heard_ms = member->heard_ms < sealed_ms ? member->heard_ms : member->heard_before_ms;
    return passed || sealed_ms - heard_ms >= DEAD_MS;
}

static void
check_counters(sim_ledger_t *self, const sim_lease_t *lease, const sim_leased_t *leased,
               const tally_plan_end_t *end, int64_t sealed_ms)
{
    const sim_message_t *message = &self->messages.items[leased->message];
    const tally_queue_row_t *policy = sim_database_queue(self->world->database, message->queue);
    int32_t failed = end->failures - message->failures;
    int32_t crashed = end->crashes - message->crashes;
    SIM_REQUIRE(failed >= 0 && crashed >= 0 && failed + crashed <= 1, "I11 attempts",
                "@: counters moved by #", end->message, failed + crashed);
    SIM_REQUIRE(end->deliveries == message->leases, "I11 attempts", "@ was leased # times",
                end->message, end->deliveries);
    SIM_REQUIRE(failed == 0 || (leased->said & SIM_SAID_FAILED) != 0, "I11 attempts",
                "@ failed under lease @, whose worker never said so", end->message, lease->id);
    if (crashed == 1) {
        SIM_REQUIRE(lease->published, "I11 attempts",
                    "@ crashed under lease @, which nobody was given", end->message, lease->id);
        SIM_REQUIRE(leased->taken < self->taken, "I11 attempts",
                    "@ crashed under lease @, whose end the broker had taken", end->message,
                    lease->id);
        SIM_REQUIRE(may_have_crashed(self, lease, sealed_ms), "I12 timeliness",
                    "lease @ of @ ended too early", lease->id, end->message);
        SIM_REQUIRE(end->batch_max > 0 && (size_t)end->batch_max <= (lease->count + 1) / 2,
                    "I11 isolation", "@ crashed and may come back with # others", end->message,
                    end->batch_max - 1);
    }
    if (end->kind == TALLY_END_RETURN) {
        SIM_REQUIRE(failed == 0 || end->failures < policy->failures_max, "I11 attempts",
                    "@ failed # times and is not buried", end->message, end->failures);
        const sim_crew_t *member = tally_table_find(&self->crew, lease->worker);
        bool excused = (leased->said & SIM_SAID_RETURN) != 0 || lease->taken_back || lease->orphaned
                       || member == NULL || member->gone == TALLY_GONE_GOODBYE || !lease->published;
        SIM_REQUIRE(failed + crashed == 1 || excused, "I11 attempts",
                    "@ came back from lease @ and no attempt was counted", end->message, lease->id);
    }
}

static void
bury(sim_ledger_t *self, sim_message_t *message, const sim_leased_t *leased,
     const tally_plan_end_t *end)
{
    const tally_queue_row_t *policy = sim_database_queue(self->world->database, message->queue);
    bool used_up = (end->failures > message->failures && end->failures >= policy->failures_max)
                   || (end->crashes > message->crashes && end->crashes >= policy->crashes_max);
    SIM_REQUIRE(used_up || (leased->said & SIM_SAID_BURY) != 0, "I11 attempts",
                "@ is buried with # attempts left", message->id,
                policy->failures_max - end->failures);
    message->state = SIM_BURIED;
    message->over_ms = self->world->now_ms;
    sim_bit(self->world, SIM_BURIALS);
}

static void
take_end(sim_ledger_t *self, const tally_plan_end_t *end, int64_t sealed_ms)
{
    sim_lease_t *lease = sim_ledger_lease(self, end->lease);
    sim_leased_t *leased = lease == NULL ? NULL : sim_ledger_leased(self, lease, end->message);
    SIM_REQUIRE(leased != NULL && !leased->over, "I6 fence", "@ ends under lease @, which is over",
                end->message, end->lease);
    if (end->kind == TALLY_END_SETTLE) {
        settle_said(self, lease, leased);
        return;
    }
    check_counters(self, lease, leased, end, sealed_ms);
    sim_message_t *message = &self->messages.items[leased->message];
    sim_ledger_leave(self, lease, leased);
    if (end->kind == TALLY_END_BURY) {
        bury(self, message, leased, end);
    }
    message->failures = end->failures;
    message->crashes = end->crashes;
    message->batch_max = end->batch_max;
}

//  Effects under a term are made while it is the last that was granted.
static void
check_epoch(const sim_ledger_t *self, const sim_lease_t *lease, uint64_t message)
{
    if (lease->epoch == 0) {
        return;
    }
    const sim_message_t *first = &self->messages.items[sim_ledger_find(self, message)];
    for (size_t i = 0; i < self->grants.count; i++) {
        const sim_grant_t *grant = &self->grants.items[i];
        bool same = grant->queue == lease->queue
                    && grant->tenant_id == self->tenant_ids[first->tenant];
        SIM_REQUIRE(!same || grant->epoch <= lease->epoch, "I15 terms",
                    "effects under epoch #, epoch # is granted", lease->epoch, grant->epoch);
    }
}

void
sim_ledger_sql(sim_ledger_t *self, uint64_t id, const uint64_t *messages, size_t count,
               uint64_t epoch)
{
    sim_lease_t *lease = sim_ledger_lease(self, id);
    SIM_REQUIRE(lease != NULL, "I6 fence", "effects under lease @, which never was", id, 0);
    SIM_REQUIRE(lease->epoch == epoch, "I15 terms", "effects under epoch #, leased under #", epoch,
                lease->epoch);
    check_epoch(self, lease, messages[0]);
    for (size_t i = 0; i < count; i++) {
        sim_leased_t *leased = sim_ledger_leased(self, lease, messages[i]);
        SIM_REQUIRE(leased != NULL, "I6 fence", "effect of @ under lease @", messages[i], id);
        sim_message_t *message = &self->messages.items[leased->message];
        message->effects++;
        self->effects++;
        SIM_REQUIRE(message->effects == 1, "I5 effect once", "@ had # effects", message->id,
                    message->effects);
        SIM_REQUIRE(!leased->over, "I6 fence", "effect of @ under lease @, which is over",
                    messages[i], id);
        sim_ledger_settle(self, lease, leased, true);
    }
}

//  ---- leases and terms --------------------------------------------------------------------------

static void
lease_message(sim_ledger_t *self, const sim_lease_t *lease, uint64_t id,
              const tally_plan_item_t *item, int64_t sealed_ms)
{
    uint32_t number = sim_ledger_find(self, id);
    SIM_REQUIRE(number != SIM_NOBODY, "I2 no ghost", "@ is leased and was never stored", id, 0);
    sim_message_t *message = &self->messages.items[number];
    SIM_REQUIRE(message->state == SIM_STORED, "I4 settled once", "@ is leased and is over, state #",
                id, message->state);
    SIM_REQUIRE(message->lease == 0, "I8 one live lease", "@ is leased again while lease @ lives",
                id, message->lease);
    SIM_REQUIRE(message->batch_max == 0 || lease->count <= (size_t)message->batch_max,
                "I11 isolation", "@ crashed and is leased with # others", id, lease->count - 1);
    int64_t due_ms = message->attempted_ms + message->delay_ms;
    SIM_REQUIRE(sealed_ms + sim_database_set_forward(self->world->database) >= due_ms
                    || message->delay_ms == 0 || message->retried || message->leases > 0,
                "I12 timeliness", "@ is delivered # ms early", id, due_ms - sealed_ms);
    sim_ledger_check_key(self, number);
    if (message->leases == 0 && !message->retried) {
        sim_ledger_check_window(self, number, sealed_ms);
    }
    sim_ledger_check_priority(self, number);
    message->lease = lease->id;
    message->leases++;
    SIM_REQUIRE(item->deliveries == message->leases && item->failures == message->failures
                    && item->crashes == message->crashes,
                "I11 attempts", "@ is told another number of deliveries: #", id, item->deliveries);
    if (message->first_leased_ms == 0) {
        message->first_leased_ms = self->world->now_ms;
    }
    *TALLY_PUSH(&self->leased) = (sim_leased_t){.message = number};
}

static void
take_lease(sim_ledger_t *self, const tally_plan_t *plan, const tally_plan_lease_t *planned,
           int64_t sealed_ms)
{
    SIM_REQUIRE(planned->id > self->last_id, "I7 tokens", "lease @ is used again, the last was @",
                planned->id, self->last_id);
    sim_lease_t *lease = tally_alloc(sizeof *lease);
    *lease = (sim_lease_t){.id = planned->id,
                           .worker = planned->worker,
                           .epoch = planned->epoch,
                           .queue = planned->queue,
                           .first = self->leased.count,
                           .count = planned->count,
                           .left = planned->count,
                           .leased_ms = self->world->now_ms,
                           .visible_ms = planned->visible_ms};
    *TALLY_PUSH(&self->leases) = lease;
    tally_table_put(&self->by_lease, lease->id, lease);
    for (size_t i = planned->first; i < planned->first + planned->count; i++) {
        lease_message(self, lease, plan->ids.items[i], &plan->items.items[i], sealed_ms);
        SIM_REQUIRE(self->messages.items[sim_ledger_find(self, plan->ids.items[i])].queue
                        == planned->queue,
                    "I14 isolation", "@ is leased from queue #", plan->ids.items[i],
                    planned->queue);
    }
    const fake_store_t *store = sim_database_store(self->world->database);
    const tally_term_row_t *term = fake_store_term(store, planned->queue, planned->tenant);
    if (sim_database_queue(self->world->database, planned->queue)->exclusive) {
        SIM_REQUIRE(term != NULL && term->epoch == planned->epoch
                        && term->worker == planned->worker,
                    "I15 terms", "lease @ goes to a worker without the term, epoch #", planned->id,
                    planned->epoch);
    }
}

static void
take_grants(sim_ledger_t *self, const tally_plan_t *plan, const tally_tick_result_t *result)
{
    for (size_t i = 0; i < plan->terms.count; i++) {
        const tally_plan_term_t *term = &plan->terms.items[i];
        bool granted = false;
        for (size_t k = 0; k < result->granted.count && !granted; k++) {
            granted = result->granted.items[k].tenant == term->tenant
                      && result->granted.items[k].message == term->queue;
        }
        if (!granted) {
            sim_bit(self->world, SIM_TERM_LOCKED);
            continue;
        }
        for (size_t k = 0; k < self->grants.count; k++) {
            const sim_grant_t *old = &self->grants.items[k];
            SIM_REQUIRE(old->queue != term->queue || old->tenant_id != term->tenant
                            || old->epoch < term->epoch,
                        "I15 terms", "epoch # granted after #", term->epoch, old->epoch);
        }
        *TALLY_PUSH(&self->grants) = (sim_grant_t){term->queue, term->tenant, term->epoch,
                                                   term->worker};
    }
}

//  ---- a tick ------------------------------------------------------------------------------------

void
sim_ledger_before(sim_ledger_t *self, const tally_plan_t *plan, int64_t sealed_ms)
{
    (void)sealed_ms;
    for (size_t i = 0; i < plan->leases.count; i++) {
        SIM_REQUIRE(sim_ledger_lease(self, plan->leases.items[i].id) == NULL, "I7 tokens",
                    "lease @ was given out before", plan->leases.items[i].id, 0);
    }
    for (size_t i = 0; i < plan->messages.count; i++) {
        SIM_REQUIRE(sim_ledger_find(self, plan->messages.items[i].id) == SIM_NOBODY, "I7 tokens",
                    "message id @ was given out before", plan->messages.items[i].id, 0);
    }
}

static void
remember_ids(sim_ledger_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->messages.count; i++) {
        uint64_t id = plan->messages.items[i].id;
        self->last_id = id > self->last_id ? id : self->last_id;
    }
    for (size_t i = 0; i < plan->leases.count; i++) {
        uint64_t id = plan->leases.items[i].id;
        self->last_id = id > self->last_id ? id : self->last_id;
    }
    if (plan->inbox_max > 0 && plan->inbox_id + plan->inbox_max - 1 > self->last_id) {
        self->last_id = plan->inbox_id + plan->inbox_max - 1;
    }
}

static void
take_retried(sim_ledger_t *self, const tally_message_row_t *row)
{
    sim_message_t *message = &self->messages.items[sim_ledger_find(self, row->id)];
    SIM_REQUIRE(message->state == SIM_BURIED, "I4 settled once", "@ is retried in state #", row->id,
                message->state);
    message->state = SIM_STORED;
    message->retried = true;
    message->leases = message->failures = message->crashes = message->batch_max = 0;
    sim_bit(self->world, SIM_RETRIED);
}

void
sim_ledger_after(sim_ledger_t *self, const tally_plan_t *plan, const tally_tick_result_t *result,
                 int64_t sealed_ms)
{
    self->ticks++;
    for (size_t i = 0; i < plan->messages.count; i++) {
        take_message(self, &plan->messages.items[i], result);
    }
    const fake_store_t *store = sim_database_store(self->world->database);
    for (size_t i = 0; i < result->arrived.count; i++) {
        const fake_message_t *row = fake_store_message(store, result->arrived.items[i].id);
        store_message(self, sim_ledger_read_body(self, (tally_bytes_t){row->body, row->body_bytes}),
                      row->row.id);
    }
    for (size_t i = 0; i < result->settled.count; i++) {
        take_settled(self, result->settled.items[i]);
    }
    for (size_t i = 0; i < result->ended_count; i++) {
        for (size_t k = 0; k < plan->ends.count; k++) {
            const tally_plan_end_t *end = &plan->ends.items[k];
            if (end->lease == result->ended[i].lease && end->message == result->ended[i].message) {
                take_end(self, end, sealed_ms);
            }
        }
    }
    take_grants(self, plan, result);
    for (size_t i = 0; i < plan->leases.count; i++) {
        take_lease(self, plan, &plan->leases.items[i], sealed_ms);
    }
    for (size_t i = 0; i < result->retried.count; i++) {
        take_retried(self, &result->retried.items[i]);
    }
    remember_ids(self, plan);
    sim_ledger_check_quotas(self);
}
