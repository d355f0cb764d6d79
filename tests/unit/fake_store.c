// SPDX-License-Identifier: MIT
//  fake_store - see fake_store.h: its rows, loading them, looking at them.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/unit/fake_store_state.h"

fake_store_t *
fake_store_new(void)
{
    return tally_alloc(sizeof(fake_store_t));
}

void
fake_store_free_message(fake_message_t *message)
{
    free((void *)message->row.key.data);
    free(message->body);
    free(message);
}

void
fake_store_free_lease(fake_lease_t *lease)
{
    free(lease->messages);
    free(lease);
}

static void
free_messages(tally_table_t *table)
{
    size_t at = 0;
    for (fake_message_t *message; (message = tally_table_each(table, &at)) != NULL;) {
        fake_store_free_message(message);
    }
    tally_table_free(table);
}

void
fake_store_clear_result(fake_store_t *self)
{
    tally_tick_result_t *result = &self->result;
    result->deduped.count = result->arrived.count = result->settled.count = 0;
    result->ended_count = result->left.count = result->granted.count = 0;
    result->fetched_count = result->queues.count = result->retried.count = 0;
    result->dropped.count = 0;
    for (size_t i = 0; i < self->lent.count; i++) {
        free(self->lent.items[i]);
    }
    self->lent.count = 0;
}

static void
free_result(fake_store_t *self)
{
    fake_store_clear_result(self);
    tally_tick_result_t *result = &self->result;
    free(result->deduped.items);
    free(result->arrived.items);
    free(result->settled.items);
    free(result->ended);
    free(result->left.items);
    free(result->granted.items);
    free(result->fetched);
    free(result->queues.items);
    free(result->retried.items);
    free(result->dropped.items);
    free(self->lent.items);
}

void
fake_store_destroy(fake_store_t **self_p)
{
    fake_store_t *self = *self_p;
    *self_p = NULL;
    if (self == NULL) {
        return;
    }
    free_result(self);
    free_messages(&self->messages);
    free_messages(&self->dead);
    size_t at = 0;
    for (fake_lease_t *lease; (lease = tally_table_each(&self->leases, &at)) != NULL;) {
        fake_store_free_lease(lease);
    }
    tally_table_free(&self->leases);
    tally_table_free(&self->blobs);
    tally_table_free(&self->settled);
    for (size_t i = 0; i < self->results.count; i++) {
        free(self->results.items[i]);
    }
    for (size_t i = 0; i < self->senders.count; i++) {
        free(self->senders.items[i].missing);
    }
    free(self->results.items);
    free(self->senders.items);
    free(self->queues.items);
    free(self->tenants.items);
    free(self->terms.items);
    free(self->dedupes.items);
    free(self->inbox.items);
    free(self->asked.items);
    free(self);
}

void *
fake_store_copy(tally_bytes_t bytes)
{
    char *copy = tally_alloc(bytes.size + 1);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return copy;
}

void
fake_store_set_text(char text[64], tally_bytes_t bytes)
{
    snprintf(text, 64, "%.*s", (int)bytes.size, (const char *)bytes.data);
}

//  ---- rows --------------------------------------------------------------------------------------

uint32_t
fake_store_put_queue(fake_store_t *self, const tally_queue_row_t *row)
{
    for (size_t i = 0; i < self->queues.count; i++) {
        tally_queue_row_t *old = &self->queues.items[i];
        if (strcmp(old->name, row->name) == 0) {
            uint32_t id = old->id;
            *old = *row;
            old->id = id;
            return id;
        }
    }
    tally_queue_row_t *stored = TALLY_PUSH(&self->queues);
    *stored = *row;
    stored->id = (uint32_t)self->queues.count;
    return stored->id;
}

tally_tenant_row_t *
fake_store_find_tenant(const fake_store_t *self, uint32_t id)
{
    for (size_t i = 0; i < self->tenants.count; i++) {
        if (self->tenants.items[i].id == id) {
            return &self->tenants.items[i];
        }
    }
    return NULL;
}

void
fake_store_put_tenant(fake_store_t *self, const tally_tenant_row_t *row)
{
    tally_tenant_row_t *tenant = fake_store_find_tenant(self, row->id);
    if (tenant == NULL) {
        *TALLY_PUSH(&self->tenants) = *row;
    } else {
        *tenant = *row;
    }
}

const tally_queue_row_t *
fake_store_queue(const fake_store_t *self, uint32_t id)
{
    assert(id >= 1);
    assert(id <= self->queues.count);
    return &self->queues.items[id - 1];
}

fake_term_t *
fake_store_find_term(const fake_store_t *self, uint32_t queue, uint32_t tenant)
{
    for (size_t i = 0; i < self->terms.count; i++) {
        fake_term_t *term = &self->terms.items[i];
        if (term->row.queue == queue && term->row.tenant == tenant) {
            return term;
        }
    }
    return NULL;
}

//  The row as it would be selected now.
tally_message_row_t
fake_store_row(const fake_message_t *message, int64_t now_ms)
{
    tally_message_row_t row = message->row;
    row.age_ms = now_ms - message->created_ms;
    row.due_ms = message->due_ms == 0 ? TALLY_NEVER_DELAYED : message->due_ms - now_ms;
    row.body_bytes = row.is_blob ? 0 : message->body_bytes;
    return row;
}

//  ---- loading -----------------------------------------------------------------------------------

static int
compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void
load_messages(const fake_store_t *self, tally_core_t *core, int64_t now_ms)
{
    uint64_t *ids = tally_alloc_array(self->messages.count, sizeof *ids);
    size_t count = 0;
    size_t at = 0;
    for (fake_message_t *message; (message = tally_table_each(&self->messages, &at)) != NULL;) {
        ids[count++] = message->row.id;
    }
    qsort(ids, count, sizeof *ids, compare_numbers);
    for (size_t i = 0; i < count; i++) {
        tally_message_row_t row = fake_store_row(tally_table_find(&self->messages, ids[i]), now_ms);
        tally_core_load_message(core, &row, now_ms - self->ahead_ms);
    }
    free(ids);
}

void
fake_store_load(fake_store_t *self, tally_core_t *core, int64_t now_ms)
{
    for (size_t i = 0; i < self->queues.count; i++) {
        tally_core_load_queue(core, &self->queues.items[i]);
    }
    for (size_t i = 0; i < self->tenants.count; i++) {
        tally_core_load_tenant(core, &self->tenants.items[i]);
    }
    for (size_t i = 0; i < self->terms.count; i++) {
        tally_core_load_term(core, &self->terms.items[i].row);
    }
    size_t at = 0;
    for (fake_lease_t *lease; (lease = tally_table_each(&self->leases, &at)) != NULL;) {
        tally_lease_row_t row = {lease->id,
                                 lease->tenant,
                                 lease->queue,
                                 lease->worker,
                                 lease->deadline_ms - now_ms,
                                 lease->messages,
                                 lease->count};
        tally_core_load_lease(core, &row, now_ms - self->ahead_ms);
    }
    fake_store_let_others_work(self);
    load_messages(self, core, now_ms);
}

const tally_sender_row_t *
fake_store_sender(const fake_store_t *self, const uint8_t sender[TALLY_SENDER_BYTES])
{
    for (size_t i = 0; i < self->senders.count; i++) {
        if (memcmp(self->senders.items[i].row.id, sender, TALLY_SENDER_BYTES) == 0) {
            return &self->senders.items[i].row;
        }
    }
    return NULL;
}

bool
fake_store_load_sender(const fake_store_t *self, tally_core_t *core,
                       const uint8_t sender[TALLY_SENDER_BYTES])
{
    const tally_sender_row_t *row = fake_store_sender(self, sender);
    if (row != NULL) {
        tally_core_load_sender(core, row);
    }
    return row != NULL;
}

uint64_t
fake_store_last_tick(const fake_store_t *self)
{
    return self->tick;
}

//  ---- looking -----------------------------------------------------------------------------------

const fake_message_t *
fake_store_message(const fake_store_t *self, uint64_t id)
{
    return tally_table_find(&self->messages, id);
}

const fake_message_t *
fake_store_dead(const fake_store_t *self, uint64_t id)
{
    return tally_table_find(&self->dead, id);
}

const fake_lease_t *
fake_store_lease(const fake_store_t *self, uint64_t id)
{
    return tally_table_find(&self->leases, id);
}

const fake_result_t *
fake_store_result(const fake_store_t *self, const tally_asker_t *asker)
{
    for (size_t i = 0; i < self->results.count; i++) {
        const tally_asker_t *known = &self->results.items[i]->asker;
        if (known->sequence == asker->sequence && known->item == asker->item
            && memcmp(known->sender, asker->sender, TALLY_SENDER_BYTES) == 0) {
            return self->results.items[i];
        }
    }
    return NULL;
}

const tally_term_row_t *
fake_store_term(const fake_store_t *self, uint32_t queue, uint32_t tenant)
{
    const fake_term_t *term = fake_store_find_term(self, queue, tenant);
    return term == NULL ? NULL : &term->row;
}

bool
fake_store_has_blob(const fake_store_t *self, uint64_t message)
{
    return tally_table_find(&self->blobs, message) != NULL;
}

size_t
fake_store_message_count(const fake_store_t *self)
{
    return self->messages.count;
}

size_t
fake_store_dead_count(const fake_store_t *self)
{
    return self->dead.count;
}

size_t
fake_store_lease_count(const fake_store_t *self)
{
    return self->leases.count;
}

size_t
fake_store_inbox_count(const fake_store_t *self)
{
    return self->inbox.count;
}

size_t
fake_store_settled_count(const fake_store_t *self, uint64_t message)
{
    return (size_t)(uintptr_t)tally_table_find(&self->settled, message);
}

size_t
fake_store_settled_total(const fake_store_t *self)
{
    return self->settled_total;
}

bool
fake_store_oldest_of_key(const fake_store_t *self, const fake_message_t *message)
{
    size_t at = 0;
    for (fake_message_t *other; (other = tally_table_each(&self->messages, &at)) != NULL;) {
        if (other->row.queue == message->row.queue && other->row.tenant == message->row.tenant
            && tally_bytes_equal(other->row.key, message->row.key)
            && other->row.id < message->row.id) {
            return false;
        }
    }
    return true;
}

size_t
fake_store_lost_count(const fake_store_t *self, const uint64_t *ids, size_t count)
{
    size_t lost = 0;
    for (size_t i = 0; i < count; i++) {
        lost += fake_store_settled_count(self, ids[i]) == 0
                && fake_store_dead(self, ids[i]) == NULL;
    }
    return lost;
}

size_t
fake_store_unanswered_count(const fake_store_t *self)
{
    size_t unanswered = 0;
    for (size_t i = 0; i < self->asked.count; i++) {
        unanswered += fake_store_result(self, &self->asked.items[i]) == NULL;
    }
    return unanswered;
}

size_t
fake_store_ticks(const fake_store_t *self)
{
    return self->ticks;
}
