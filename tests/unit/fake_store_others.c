// SPDX-License-Identifier: MIT
//  fake_store_others - see fake_store.h: what other sessions do.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/unit/fake_store_state.h"

void
fake_store_settle_message(fake_store_t *self, uint64_t id, bool keep_blob)
{
    fake_message_t *message = tally_table_take(&self->messages, id);
    if (message == NULL) {
        return;    // deleted by hand
    }
    assert(tally_table_find(&self->settled, id) == NULL);
    tally_table_put(&self->settled, id, (void *)1);
    self->settled_total++;
    if (message->row.asked) {
        *TALLY_PUSH(&self->asked) = message->row.asker;
    }
    if (!keep_blob) {
        tally_table_take(&self->blobs, id);
    }
    fake_store_free_message(message);
}

//  Takes a message out of a lease; false when it is not in it.
bool
fake_store_shrink(fake_store_t *self, fake_lease_t *lease, uint64_t message)
{
    for (size_t i = 0; i < lease->count; i++) {
        if (lease->messages[i] != message) {
            continue;
        }
        lease->count--;
        memmove(lease->messages + i, lease->messages + i + 1,
                (lease->count - i) * sizeof *lease->messages);
        if (lease->count == 0) {
            tally_table_take(&self->leases, lease->id);
            fake_store_free_lease(lease);
        }
        return true;
    }
    return false;
}

void
fake_store_add_result(fake_store_t *self, const tally_asker_t *asker, uint8_t outcome,
                      tally_bytes_t body)
{
    if (fake_store_result(self, asker) == NULL) {
        fake_result_t *result = tally_alloc(sizeof *result);
        result->asker = *asker;
        result->outcome = outcome;
        fake_store_set_text(result->body, body);
        *TALLY_PUSH(&self->results) = result;
    }
}

//  ---- other sessions ----------------------------------------------------------------------------

void
fake_store_lock_lease(fake_store_t *self, uint64_t id, bool locked)
{
    fake_lease_t *lease = tally_table_find(&self->leases, id);
    assert(lease != NULL);
    lease->locked = locked;
}

void
fake_store_lock_all_leases(fake_store_t *self, bool locked)
{
    size_t at = 0;
    for (fake_lease_t *lease; (lease = tally_table_each(&self->leases, &at)) != NULL;) {
        lease->locked = locked;
    }
}

void
fake_store_lock_term(fake_store_t *self, uint32_t queue, uint32_t tenant, bool locked)
{
    fake_term_t *term = fake_store_find_term(self, queue, tenant);
    assert(term != NULL);
    term->locked = locked;
}

static bool
holds(const fake_lease_t *lease, uint64_t message)
{
    for (size_t i = 0; i < lease->count; i++) {
        if (lease->messages[i] == message) {
            return true;
        }
    }
    return false;
}

bool
fake_store_settle(fake_store_t *self, uint64_t id, const uint64_t *messages, size_t count)
{
    fake_lease_t *lease = tally_table_find(&self->leases, id);
    if (lease == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!holds(lease, messages[i])) {
            return false;
        }
    }
    tally_bytes_t all = {lease->messages, lease->count * sizeof(uint64_t)};
    count = count == 0 ? lease->count : count;
    uint64_t *ids = fake_store_copy(
        messages == NULL ? all : (tally_bytes_t){messages, count * sizeof *ids});
    for (size_t i = 0; i < count; i++) {
        const fake_message_t *message = tally_table_find(&self->messages, ids[i]);
        assert(message != NULL);
        if (message->row.asked) {
            fake_store_add_result(self, &message->row.asker, TALLY_RESULT_DONE,
                                  tally_bytes_of("by sql"));
        }
        bool keep_blob = fake_store_queue(self, message->row.queue)->keep_blobs;
        fake_store_settle_message(self, ids[i], keep_blob);
        fake_store_shrink(self, lease, ids[i]);
    }
    free(ids);
    return true;
}

bool
fake_store_holds_term(const fake_store_t *self, uint32_t queue, uint32_t tenant, uint64_t epoch)
{
    const fake_term_t *term = fake_store_find_term(self, queue, tenant);
    return term != NULL && term->row.epoch == epoch;
}

void
fake_store_send(fake_store_t *self, uint32_t queue, uint32_t tenant, const char *body,
                const char *key)
{
    fake_inbox_t *sent = TALLY_PUSH(&self->inbox);
    sent->tenant = tenant;
    sent->queue = queue;
    fake_store_set_text(sent->body, tally_bytes_of(body));
    fake_store_set_text(sent->key, tally_bytes_of(key));
}

void
fake_store_delete_message(fake_store_t *self, uint64_t id)
{
    fake_message_t *message = tally_table_take(&self->messages, id);
    assert(message != NULL);
    fake_store_free_message(message);
}

void
fake_store_meanwhile(fake_store_t *self, void (*meanwhile)(void *context), void *context)
{
    self->meanwhile = meanwhile;
    self->context = context;
}

void
fake_store_let_others_work(fake_store_t *self)
{
    void (*meanwhile)(void *context) = self->meanwhile;
    self->meanwhile = NULL;
    if (meanwhile != NULL) {
        meanwhile(self->context);
    }
}

void
fake_store_set_ahead(fake_store_t *self, int64_t ms)
{
    self->ahead_ms = ms;
}
