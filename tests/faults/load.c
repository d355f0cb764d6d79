// SPDX-License-Identifier: MIT
#include "tests/faults/load.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "lib/limits.h"
#include "tests/faults/chance.h"

#define ITEMS_BITS 8
#define KEYS_PER_CLIENT 8
#define BATCH_SHIPPED 256    // as in schemas/sql
#define DELAY_MS_MIN 20
#define DELAY_MS_MAX 1500
#define BODY_BYTES_LEAST 48

//  Queues whose messages are not to be buried for crashes or failures have room for any number of them.
#define NEVER 1000000
#define RETRY 50, 500, 64    // first and longest back-off, messages a lease: there is little time

static tally_load_policy_t policies[TALLY_LOAD_QUEUES] = {
    [TALLY_LOAD_PLAIN] = {"plain", TALLY_QUEUE_TRANSACTIONAL, 46, 32, 2000, NEVER, NEVER, RETRY},
    [TALLY_LOAD_KEYED] = {"keyed", TALLY_QUEUE_TRANSACTIONAL, 10, 8, 1500, NEVER, NEVER, RETRY},
    [TALLY_LOAD_DELAYED] = {"delayed", TALLY_QUEUE_TRANSACTIONAL, 8, 16, 2000, NEVER, NEVER, RETRY},
    [TALLY_LOAD_ONCE] = {"once", TALLY_QUEUE_TRANSACTIONAL, 8, 8, 2000, NEVER, NEVER, RETRY},
    [TALLY_LOAD_ASK] = {"ask", TALLY_QUEUE_TRANSACTIONAL, 6, 4, 1500, NEVER, NEVER, RETRY},
    [TALLY_LOAD_PARENT] = {"parent", TALLY_QUEUE_TRANSACTIONAL, 5, 8, 2000, NEVER, NEVER, RETRY},
    [TALLY_LOAD_CHILD] = {"child", TALLY_QUEUE_TRANSACTIONAL, 0, 0, 2000, NEVER, NEVER, RETRY},
    [TALLY_LOAD_TERM] = {"term", TALLY_QUEUE_TRANSACTIONAL | TALLY_QUEUE_EXCLUSIVE, 8, 16, 2000,
                         NEVER, NEVER, RETRY},
    [TALLY_LOAD_LOOSE] = {"loose", 0, 8, 16, 1500, NEVER, NEVER, RETRY},
    [TALLY_LOAD_POISON] = {"poison", TALLY_QUEUE_TRANSACTIONAL, 1, 4, 1000, 3, 3, RETRY},
};

static const char *const tenants[TALLY_LOAD_TENANTS + 1] = {NULL, "north", "south", "west"};

void
tally_load_use_shipped(void)
{
    for (tally_load_queue_t i = TALLY_LOAD_PLAIN; i < TALLY_LOAD_POISON; i++) {
        policies[i].visible_ms = TALLY_VISIBILITY_MS_DEFAULT;
        policies[i].failures_max = TALLY_FAILURES_MAX_DEFAULT;
        policies[i].crashes_max = TALLY_CRASHES_MAX_DEFAULT;
        policies[i].retry_ms = TALLY_RETRY_BASE_MS;
        policies[i].retry_ms_max = TALLY_RETRY_MS_MAX;
        policies[i].batch_max = BATCH_SHIPPED;
    }
}

const tally_load_policy_t *
tally_load_policy(tally_load_queue_t queue)
{
    assert(queue >= TALLY_LOAD_PLAIN && queue < TALLY_LOAD_QUEUES);
    return &policies[queue];
}

tally_load_queue_t
tally_load_queue(const char *name)
{
    for (tally_load_queue_t i = TALLY_LOAD_PLAIN; i < TALLY_LOAD_QUEUES; i++) {
        if (strcmp(policies[i].name, name) == 0) {
            return i;
        }
    }
    return 0;
}

const char *
tally_load_tenant(uint16_t tenant)
{
    assert(tenant >= 1 && tenant <= TALLY_LOAD_TENANTS);
    return tenants[tenant];
}

uint16_t
tally_load_tenant_number(const char *name)
{
    for (uint16_t i = 1; i <= TALLY_LOAD_TENANTS; i++) {
        if (strcmp(tenants[i], name) == 0) {
            return i;
        }
    }
    return 0;
}

uint64_t
tally_load_number(uint32_t client, uint32_t sequence, uint32_t item)
{
    return tally_history_number(client, ((uint64_t)sequence << ITEMS_BITS) + item);
}

static tally_load_queue_t
choose_queue(tally_chance_t *chance)
{
    unsigned sum = 0;
    for (tally_load_queue_t i = TALLY_LOAD_PLAIN; i < TALLY_LOAD_QUEUES; i++) {
        sum += policies[i].weight;
    }
    unsigned at = tally_chance_below(chance, sum);
    for (tally_load_queue_t i = TALLY_LOAD_PLAIN;; i++) {
        if (at < policies[i].weight) {
            return i;
        }
        at -= policies[i].weight;
    }
}

//  What its queue adds to a message.
static void
dress(tally_load_t *self, size_t i, tally_chance_t *chance, uint32_t client, uint32_t sequence)
{
    tally_message_t *message = &self->messages[i];
    tally_history_record_t *record = &self->records[i];
    switch (self->queue) {
    case TALLY_LOAD_PLAIN:
        message->flags |= TALLY_MESSAGE_PRIORITY;
        message->priority = tally_chance_below(chance, 4);
        break;
    case TALLY_LOAD_KEYED:
        record->key = client * KEYS_PER_CLIENT + tally_chance_below(chance, KEYS_PER_CLIENT) + 1;
        message->key_bytes = (size_t)snprintf(self->keys[i], sizeof self->keys[i], "k%" PRIu32,
                                              record->key);
        message->key = self->keys[i];
        break;
    case TALLY_LOAD_DELAYED:
        message->delay_ms = (uint64_t)tally_chance_between(chance, DELAY_MS_MIN, DELAY_MS_MAX);
        record->delay_ms = message->delay_ms;
        break;
    case TALLY_LOAD_ONCE:
        //  About one in four is another's as well: by now, a little before or a little later.
        record->dedupe = 1 + sequence * 16 + tally_chance_below(chance, 64);
        message->dedupe_bytes = (size_t)snprintf(self->dedupes[i], sizeof self->dedupes[i],
                                                 "d%" PRIu64, record->dedupe);
        message->dedupe = self->dedupes[i];
        break;
    case TALLY_LOAD_ASK:
        message->flags |= TALLY_MESSAGE_ASK;
        record->code |= TALLY_SENT_ASK;
        break;
    default:
        break;
    }
}

void
tally_load_make(tally_load_t *self, uint64_t seed, uint32_t client, uint32_t sequence)
{
    assert(client >= 1 && client < 64);
    assert(sequence >= 1);
    tally_chance_t chance = tally_chance_of(seed, client, sequence, 1);
    self->queue = choose_queue(&chance);
    self->tenant = (uint16_t)(1 + tally_chance_below(&chance, TALLY_LOAD_TENANTS));
    self->count = 1 + tally_chance_below(&chance, policies[self->queue].items);
    for (size_t i = 0; i < self->count; i++) {
        self->messages[i] = (tally_message_t){.body = self->bodies[i]};
        self->records[i] = (tally_history_record_t){
            .kind = TALLY_DID_SEND,
            .number = tally_load_number(client, sequence, (uint32_t)i),
            .tenant = self->tenant,
            .queue = (uint16_t)self->queue,
            .sequence = sequence,
            .item = (uint32_t)i,
        };
        dress(self, i, &chance, client, sequence);
        size_t room = TALLY_LOAD_BODY_BYTES_MAX - BODY_BYTES_LEAST;
        self->messages[i].body_bytes = BODY_BYTES_LEAST
                                       + tally_chance_below(&chance, (uint32_t)room);
        tally_history_body_write(self->bodies[i], self->messages[i].body_bytes, &self->records[i]);
    }
}

tally_load_act_t
tally_load_act(uint64_t number)
{
    tally_chance_t chance = tally_chance_of(number, 2, 0, 0);
    static const tally_load_act_t acts[8] = {TALLY_LOAD_KILL, TALLY_LOAD_BURY, TALLY_LOAD_FAIL,
                                             TALLY_LOAD_FAIL_ALWAYS};
    return acts[tally_chance_below(&chance, 8)];
}

bool
tally_load_comes_back(uint64_t number)
{
    tally_chance_t chance = tally_chance_of(number, 4, 0, 0);
    return tally_chance_below(&chance, 20) == 0;
}

int
tally_load_pause_ms(uint64_t number)
{
    tally_chance_t chance = tally_chance_of(number, 3, 0, 0);
    return tally_chance_below(&chance, 400) == 0 ? tally_chance_between(&chance, 5, 60) : 0;
}
