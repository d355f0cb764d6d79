// SPDX-License-Identifier: MIT
//  fake_store_plan - see fake_store.h: what a transaction of the broker does.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/unit/fake_store_state.h"

//  A copy that lives as long as the result.
static void *
lend(fake_store_t *self, const void *data, size_t size)
{
    void *copy = tally_alloc(size + 1);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    *TALLY_PUSH(&self->lent) = copy;
    return copy;
}

static void
insert_message(fake_store_t *self, fake_message_t *message)
{
    assert(tally_table_find(&self->settled, message->row.id) == NULL);
    assert(tally_table_find(&self->dead, message->row.id) == NULL);
    assert(fake_store_find_tenant(self, message->row.tenant) != NULL);
    fake_store_queue(self, message->row.queue);
    tally_table_put(&self->messages, message->row.id, message);
}

//  ---- what a plan does: arrivals ----------------------------------------------------------------

static void
do_message(fake_store_t *self, const tally_plan_message_t *planned)
{
    fake_message_t *message = tally_alloc(sizeof *message);
    message->row = (tally_message_row_t){
        .id = planned->id,
        .tenant = planned->tenant,
        .queue = planned->queue,
        .priority = planned->priority,
        .is_blob = planned->is_blob,
        .releases = planned->releases,
        .key = {fake_store_copy(planned->key), planned->key.size},
        .asked = planned->asker != NULL,
    };
    if (planned->asker != NULL) {
        message->row.asker = *planned->asker;
    }
    message->created_ms = self->now_ms;
    message->due_ms = planned->delay_ms == 0 ? 0 : self->now_ms + planned->delay_ms;
    message->body = fake_store_copy(planned->body);
    message->body_bytes = (uint32_t)planned->body.size;
    insert_message(self, message);
    if (planned->is_blob) {
        tally_table_put(&self->blobs, planned->id, message);
    }
}

//  True when the key is new, or its time is over.
static bool
take_dedupe(fake_store_t *self, const tally_plan_message_t *planned)
{
    for (size_t i = 0; i < self->dedupes.count; i++) {
        fake_dedupe_t *known = &self->dedupes.items[i];
        if (known->tenant == planned->tenant && known->queue == planned->queue
            && tally_bytes_equal(tally_bytes_of(known->key), planned->dedupe)) {
            bool over = known->until_ms < self->now_ms;
            known->until_ms = over ? self->now_ms + planned->dedupe_kept_ms : known->until_ms;
            return over;
        }
    }
    fake_dedupe_t *known = TALLY_PUSH(&self->dedupes);
    known->tenant = planned->tenant;
    known->queue = planned->queue;
    memcpy(known->key, planned->dedupe.data, planned->dedupe.size);
    known->until_ms = self->now_ms + planned->dedupe_kept_ms;
    return true;
}

static void
do_messages(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->messages.count; i++) {
        const tally_plan_message_t *planned = &plan->messages.items[i];
        if (planned->dedupe.size == 0) {
            do_message(self, planned);
        } else if (take_dedupe(self, planned)) {
            do_message(self, planned);
            *TALLY_PUSH(&self->result.deduped) = planned->id;
        }
    }
}

static void
do_senders(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->senders.count; i++) {
        const tally_plan_sender_t *planned = &plan->senders.items[i];
        fake_sender_t *sender = NULL;
        for (size_t j = 0; j < self->senders.count; j++) {
            if (memcmp(self->senders.items[j].row.id, planned->sender, TALLY_SENDER_BYTES) == 0) {
                sender = &self->senders.items[j];
            }
        }
        sender = sender != NULL ? sender : TALLY_PUSH(&self->senders);
        memcpy(sender->row.id, planned->sender, TALLY_SENDER_BYTES);
        assert(planned->last >= sender->row.last);
        free(sender->missing);
        size_t bytes = planned->missing_count * sizeof(int64_t);
        sender->missing = fake_store_copy((tally_bytes_t){planned->missing, bytes});
        for (size_t j = 0; j < planned->missing_count; j++) {
            assert(planned->missing[j] > 0);
            assert(planned->missing[j] < planned->last);
            assert(j == 0 || planned->missing[j - 1] < planned->missing[j]);
        }
        sender->row.last = planned->last;
        sender->row.missing = sender->missing;
        sender->row.missing_count = planned->missing_count;
    }
}

static void
lend_row(fake_store_t *self, const fake_message_t *message, tally_message_row_t *row)
{
    *row = fake_store_row(message, self->now_ms);
    row->key.data = lend(self, message->row.key.data, message->row.key.size);
}

static void
do_inbox(fake_store_t *self, const tally_plan_t *plan)
{
    if (self->inbox.count == 0) {
        return;
    }
    size_t moved = self->inbox.count < plan->inbox_max ? self->inbox.count : plan->inbox_max;
    for (size_t i = 0; i < moved; i++) {
        const fake_inbox_t *sent = &self->inbox.items[i];
        fake_message_t *message = tally_alloc(sizeof *message);
        tally_bytes_t key = tally_bytes_of(sent->key);
        message->row = (tally_message_row_t){
            .id = plan->inbox_id + i,
            .tenant = sent->tenant,
            .queue = sent->queue,
            .priority = TALLY_PRIORITY_DEFAULT,
            .key = {fake_store_copy(key), key.size},
        };
        message->created_ms = self->now_ms;
        message->body = fake_store_copy(tally_bytes_of(sent->body));
        message->body_bytes = (uint32_t)strlen(sent->body);
        insert_message(self, message);
        lend_row(self, message, TALLY_PUSH(&self->result.arrived));
    }
    self->inbox.count -= moved;
    memmove(self->inbox.items, self->inbox.items + moved,
            self->inbox.count * sizeof *self->inbox.items);
}

//  ---- what a plan does: endings -----------------------------------------------------------------

static void
do_settled(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->settled.count; i++) {
        uint64_t id = plan->settled.items[i];
        fake_lease_t *lease = tally_table_find(&self->leases, id);
        if (lease == NULL || lease->locked) {
            continue;
        }
        for (size_t j = 0; j < lease->count; j++) {
            fake_store_settle_message(self, lease->messages[j], false);
        }
        tally_table_take(&self->leases, id);
        fake_store_free_lease(lease);
        *TALLY_PUSH(&self->result.settled) = id;
    }
}

static void
put_counters(fake_message_t *message, const tally_plan_end_t *end)
{
    assert(end->deliveries > message->row.deliveries);
    assert(end->failures >= message->row.failures);
    assert(end->crashes >= message->row.crashes);
    message->row.deliveries = end->deliveries;
    message->row.failures = end->failures;
    message->row.crashes = end->crashes;
    message->row.batch_max = end->batch_max;
    message->lease = 0;
    if (end->text.size > 0) {
        message->history++;
        fake_store_set_text(message->reason, end->text);
    }
}

static void
end_message(fake_store_t *self, const tally_plan_end_t *end)
{
    if (end->kind == TALLY_END_SETTLE) {
        fake_store_settle_message(self, end->message, end->keep_blob);
        return;
    }
    fake_message_t *message = tally_table_find(&self->messages, end->message);
    if (message == NULL) {
        return;    // deleted by hand
    }
    put_counters(message, end);
    if (end->kind == TALLY_END_BURY) {
        assert(end->text.size > 0);
        if (message->row.asked) {
            *TALLY_PUSH(&self->asked) = message->row.asker;
        }
        tally_table_take(&self->messages, end->message);
        tally_table_put(&self->dead, end->message, message);
        return;
    }
    message->row.past_window = true;
    message->due_ms = end->delay_ms == 0 ? 0 : self->now_ms + end->delay_ms;
}

static void
do_ends(fake_store_t *self, const tally_plan_t *plan)
{
    tally_tick_result_t *result = &self->result;
    for (size_t i = 0; i < plan->ends.count; i++) {
        const tally_plan_end_t *end = &plan->ends.items[i];
        fake_lease_t *lease = tally_table_find(&self->leases, end->lease);
        if (lease == NULL || lease->locked || !fake_store_shrink(self, lease, end->message)) {
            continue;
        }
        end_message(self, end);
        tally_array_grow((void **)&result->ended, result->ended_count, &result->ended_room,
                         sizeof *result->ended);
        result->ended[result->ended_count++] = (struct tally_ended){end->lease, end->message};
    }
}

static void
do_checks(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->checks.count; i++) {
        const fake_lease_t *lease = tally_table_find(&self->leases, plan->checks.items[i]);
        if (lease != NULL) {
            *TALLY_PUSH(&self->result.left) = (tally_lease_row_t){
                .id = lease->id,
                .tenant = lease->tenant,
                .queue = lease->queue,
                .worker = lease->worker,
                .left_ms = lease->deadline_ms - self->now_ms,
                .messages = lend(self, lease->messages, lease->count * sizeof(uint64_t)),
                .count = lease->count,
            };
        }
    }
}

static void
do_terms(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->terms.count; i++) {
        const tally_plan_term_t *planned = &plan->terms.items[i];
        fake_term_t *term = fake_store_find_term(self, planned->queue, planned->tenant);
        if (term == NULL) {
            term = TALLY_PUSH(&self->terms);
            term->row.queue = planned->queue;
            term->row.tenant = planned->tenant;
        }
        if (term->locked || term->row.epoch + 1 != planned->epoch) {
            continue;
        }
        term->row.epoch = planned->epoch;
        term->row.worker = planned->worker;
        snprintf(term->row.worker_name, sizeof term->row.worker_name, "%s", planned->worker_name);
        *TALLY_PUSH(&self->result.granted) = (tally_plan_fetch_t){.tenant = planned->tenant,
                                                                  .message = planned->queue};
    }
}

//  ---- what a plan does: leases ------------------------------------------------------------------

static void
do_lease(fake_store_t *self, const tally_plan_t *plan, const tally_plan_lease_t *planned)
{
    assert(planned->count > 0);
    fake_lease_t *lease = tally_alloc(sizeof *lease);
    lease->id = planned->id;
    lease->tenant = planned->tenant;
    lease->queue = planned->queue;
    lease->worker = planned->worker;
    lease->deadline_ms = self->now_ms + planned->visible_ms;
    lease->count = planned->count;
    lease->messages = fake_store_copy(
        (tally_bytes_t){plan->ids.items + planned->first, planned->count * sizeof(uint64_t)});
    for (size_t i = 0; i < lease->count; i++) {
        fake_message_t *message = tally_table_find(&self->messages, lease->messages[i]);
        assert(tally_table_find(&self->dead, lease->messages[i]) == NULL);
        assert(tally_table_find(&self->settled, lease->messages[i]) == NULL);
        if (message != NULL) {
            assert(message->lease == 0);
            assert(message->row.tenant == planned->tenant);
            assert(message->row.queue == planned->queue);
            message->lease = lease->id;
        }
    }
    tally_table_put(&self->leases, lease->id, lease);
}

static void
do_leases(fake_store_t *self, const tally_plan_t *plan)
{
    assert(plan->ids.count == plan->items.count);
    for (size_t i = 0; i < plan->leases.count; i++) {
        do_lease(self, plan, &plan->leases.items[i]);
    }
    assert(plan->extended.count == plan->extended_ms.count);
    for (size_t i = 0; i < plan->extended.count; i++) {
        fake_lease_t *lease = tally_table_find(&self->leases, plan->extended.items[i]);
        if (lease != NULL && !lease->locked) {
            lease->deadline_ms = self->now_ms + plan->extended_ms.items[i];
        }
    }
}

static void
do_fetches(fake_store_t *self, const tally_plan_t *plan)
{
    tally_tick_result_t *result = &self->result;
    for (size_t i = 0; i < plan->fetches.count; i++) {
        const fake_message_t *message = tally_table_find(&self->messages,
                                                         plan->fetches.items[i].message);
        if (message == NULL) {
            continue;
        }
        assert(message->row.tenant == plan->fetches.items[i].tenant);
        tally_array_grow((void **)&result->fetched, result->fetched_count, &result->fetched_room,
                         sizeof *result->fetched);
        result->fetched[result->fetched_count++] = (struct tally_fetched){
            message->row.id, {lend(self, message->body, message->body_bytes), message->body_bytes}};
    }
}

//  ---- what a plan does: operators ---------------------------------------------------------------

static void
do_retried(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->retried.count; i++) {
        fake_message_t *message = tally_table_take(&self->dead, plan->retried.items[i].message);
        if (message == NULL) {
            continue;
        }
        message->row.deliveries = message->row.failures = message->row.crashes = 0;
        message->row.batch_max = 0;
        message->row.past_window = true;
        message->row.releases = false;
        message->due_ms = 0;
        message->history++;
        insert_message(self, message);
        lend_row(self, message, TALLY_PUSH(&self->result.retried));
    }
}

static void
do_dropped(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->dropped.count; i++) {
        fake_message_t *message = tally_table_take(&self->dead, plan->dropped.items[i].message);
        if (message != NULL) {
            *TALLY_PUSH(&self->result.dropped) = plan->dropped.items[i];
            tally_table_take(&self->blobs, message->row.id);
            fake_store_free_message(message);
        }
    }
}

static void
do_policies(fake_store_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->queues.count; i++) {
        uint32_t id = fake_store_put_queue(self, &plan->queues.items[i]);
        *TALLY_PUSH(&self->result.queues) = *fake_store_queue(self, id);
    }
    for (size_t i = 0; i < plan->tenant_limits.count; i++) {
        assert(fake_store_find_tenant(self, plan->tenant_limits.items[i].id) != NULL);
        fake_store_put_tenant(self, &plan->tenant_limits.items[i]);
    }
}

const tally_tick_result_t *
fake_store_apply(fake_store_t *self, const tally_plan_t *plan, int64_t now_ms)
{
    assert(!tally_plan_silent(plan));
    assert(plan->number > self->tick);
    self->tick = plan->number;
    self->ticks++;
    self->now_ms = now_ms;
    fake_store_clear_result(self);
    for (size_t i = 0; i < plan->tenants.count; i++) {
        assert(fake_store_find_tenant(self, plan->tenants.items[i].id) == NULL);
        fake_store_put_tenant(self, &plan->tenants.items[i]);
    }
    do_messages(self, plan);
    do_senders(self, plan);
    do_inbox(self, plan);
    do_settled(self, plan);
    do_ends(self, plan);
    fake_store_let_others_work(self);
    do_checks(self, plan);
    do_terms(self, plan);
    for (size_t i = 0; i < plan->results.count; i++) {
        const tally_plan_result_t *planned = &plan->results.items[i];
        if (fake_store_message(self, planned->message) == NULL) {
            fake_store_add_result(self, &planned->asker, planned->outcome, planned->body);
        }
    }
    do_leases(self, plan);
    do_fetches(self, plan);
    do_policies(self, plan);
    do_retried(self, plan);
    do_dropped(self, plan);
    return &self->result;
}
