// SPDX-License-Identifier: MIT
//  ledger_order - see ledger.h: in which order, when and how many messages go to workers.

#include "tests/simulation/ledger_state.h"

#define UNTOLD_MS_MAX 15000
#define UNHEARD_MS_MAX 3500    // the broker may be stopped meanwhile
#define PASSED_MAX 40          // TALLY_PASSED_MAX, and what other levels that wait as long may cost

static size_t
list_of(const sim_message_t *message)
{
    return ((message->queue - 1) * SIM_TENANTS + message->tenant) * (SIM_KEYS + 1) + message->key;
}

//  One of a key at a time, in the order in which they were sent; one that was worked before goes
//  before all others.
void
sim_ledger_check_key(const sim_ledger_t *self, uint32_t number)
{
    const sim_message_t *message = &self->messages.items[number];
    if (message->key == 0) {
        return;
    }
    bool windowed = sim_database_queue(self->world->database, message->queue)->window_ms > 0;
    size_t list = list_of(message);
    for (size_t i = 0; i < self->keyed[list].count; i++) {
        const sim_message_t *other = &self->messages.items[self->keyed[list].items[i]];
        if (other == message || other->state != SIM_STORED) {
            continue;
        }
        SIM_REQUIRE(other->lease == 0, "I13 key order", "@ is leased while @ of its key is",
                    message->id, other->id);
        if (other->retried || message->retried || other->id > message->id) {
            continue;    // a dead letter that was sent again goes last
        }
        bool started = other->leases > 0;
        bool came_first = other->delay_ms == 0 && other->send != SIM_NOBODY && !windowed;
        SIM_REQUIRE(!started && !came_first, "I13 key order", "@ is leased before @ of its key",
                    message->id, other->id);
    }
}

static bool
same_stream(const sim_message_t *a, const sim_message_t *b)
{
    return a->queue == b->queue && a->tenant == b->tenant;
}

//  When a message may have come into its window, at the earliest.
static int64_t
entered(const sim_message_t *message)
{
    return message->attempted_ms + message->delay_ms;
}

//  A message leaves the window with the oldest one that had waited long enough, with enough others,
//  or while one is pending that releases.
void
sim_ledger_check_window(const sim_ledger_t *self, uint32_t number, int64_t sealed_ms)
{
    const sim_message_t *message = &self->messages.items[number];
    const tally_queue_row_t *policy = sim_database_queue(self->world->database, message->queue);
    if (policy->window_ms == 0) {
        return;
    }
    int64_t early_ms = sim_database_set_forward(self->world->database);
    int64_t now_ms = sealed_ms + early_ms;
    int64_t came_ms = entered(message) - (message->delay_ms > 0 ? early_ms : 0);
    int32_t together = 0;
    for (size_t i = 0; i < self->messages.count; i++) {
        const sim_message_t *other = &self->messages.items[i];
        if (!same_stream(other, message)) {
            continue;
        }
        //  Of one that was settled by SQL the broker may hear no sooner than its deadline, of others
        //  when it hears of its commit.
        int64_t known_ms = other->over_ms + (other->by_sql ? UNTOLD_MS_MAX : UNHEARD_MS_MAX);
        bool releases = other->releases && (other->over_ms == 0 || known_ms >= came_ms);
        bool waits = other->first_leased_ms == 0 || other->first_leased_ms >= came_ms;
        bool waited = waits && entered(other) + policy->window_ms <= now_ms;
        together += waits;
        if (releases || waited) {
            if (releases && !waited) {
                sim_bit(self->world, SIM_WINDOW_OPENED);
            }
            return;
        }
    }
    SIM_REQUIRE(policy->window_count > 0 && together >= policy->window_count, "I12 window",
                "@ left its window # ms early", message->id,
                entered(message) + policy->window_ms - sealed_ms);
}

//  Whether a message of this level could have been leased instead for a good while.
static bool
level_waits(const sim_ledger_t *self, const sim_message_t *leased, uint8_t level)
{
    for (size_t i = 0; i < self->messages.count; i++) {
        const sim_message_t *other = &self->messages.items[i];
        if (other->state == SIM_STORED && other->priority == level && other->lease == 0
            && same_stream(other, leased) && other->key == 0 && other->delay_ms == 0
            && other->leases == 0 && other->dedupe == 0) {
            return true;
        }
    }
    return false;
}

void
sim_ledger_check_priority(sim_ledger_t *self, uint32_t number)
{
    const sim_message_t *message = &self->messages.items[number];
    if (message->queue == SIM_WINDOWED || message->queue == SIM_EXCLUSIVE
        || message->queue == SIM_FOLLOWING) {
        return;
    }
    uint32_t *passed = self->passed[message->queue - 1][message->tenant];
    passed[message->priority] = 0;
    for (uint8_t level = 0; level < message->priority; level++) {
        if (!level_waits(self, message, level)) {
            passed[level] = 0;
            continue;
        }
        passed[level]++;
        SIM_REQUIRE(passed[level] <= PASSED_MAX, "I20 fairness",
                    "priority # starves, passed over # times", level, passed[level]);
    }
}

void
sim_ledger_check_quotas(const sim_ledger_t *self)
{
    int64_t messages[SIM_TENANTS] = {0};
    int64_t leased[SIM_TENANTS] = {0};
    for (size_t i = 0; i < self->messages.count; i++) {
        const sim_message_t *message = &self->messages.items[i];
        if (message->state == SIM_STORED) {
            messages[message->tenant]++;
            leased[message->tenant] += message->lease != 0;
        }
    }
    for (uint32_t tenant = 0; tenant < SIM_TENANTS; tenant++) {
        const tally_tenant_row_t *limits = sim_database_tenant(self->world->database, tenant);
        SIM_REQUIRE(limits == NULL || messages[tenant] <= limits->messages_max, "I18 quota",
                    "tenant # has # messages pending", tenant, messages[tenant]);
        SIM_REQUIRE(limits == NULL || leased[tenant] <= limits->leased_max, "I18 quota",
                    "tenant # has # messages leased", tenant, leased[tenant]);
    }
}
