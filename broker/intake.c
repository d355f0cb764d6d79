// SPDX-License-Identifier: MIT
//  intake - messages come in: sends of clients, rows of the database (at start, from the inbox, dead letters retried).
//
//  A message sent without dedupe key enters its stream at once, so the plan that inserts it can lease it too; one with a
//  dedupe key enters when the database has said that it is new.

#include <stdlib.h>

#include "broker/core_state.h"

#define BUSY_RETRY_MS 500               // quotas free up at the pace of workers

static tally_send_answer_t
refuse(tally_core_t *self, tally_stream_t *stream, int code, const char *text)
{
    if (stream != NULL) {
        stream->stats.refused++;
    } else {
        self->refused++;
    }
    return (tally_send_answer_t){
        .outcome = TALLY_SEND_REFUSED,
        .fault = {.code = code, .index = TALLY_NO_INDEX, .text = text},
        .retry_after_ms = code == TALLY_E_BUSY ? BUSY_RETRY_MS : 0,
    };
}

static uint64_t
sum_bodies(const tally_send_t *send)
{
    tally_cursor_t items = send->items;
    uint64_t bytes = 0;
    for (uint16_t i = 0; i < send->count; i++) {
        tally_item_t item;
        tally_item_read(&items, &item);
        bytes += item.body.size;
    }
    return bytes;
}

//  A frame's items are never smaller than its bodies, so that bound decides nearly always.
static bool
has_room(const tally_tenant_t *tenant, const tally_send_t *send)
{
    if (tenant->messages + send->count > (uint64_t) tenant->row.messages_max) {
        return false;
    }
    uint64_t bound = (uint64_t) (send->items.end - send->items.at);
    return tenant->bytes + bound <= (uint64_t) tenant->row.bytes_max ||
           tenant->bytes + sum_bodies(send) <= (uint64_t) tenant->row.bytes_max;
}

//  The cold record of a message that needs one.
static uint32_t
make_cold(tally_core_t *self, tally_stream_t *stream, const tally_item_t *item, const tally_asker_t *asker)
{
    const unsigned features = TALLY_HAS_KEY | TALLY_WANTS_RESULT | TALLY_AS_BLOB | TALLY_RELEASES;
    if ((item->options & features) == 0) {
        return 0;
    }
    uint32_t number = tally_shelf_make(&self->shelf, stream);
    tally_cold_t *cold = tally_shelf_cold(&self->shelf, number);
    if ((item->options & TALLY_HAS_KEY) != 0) {
        cold->key = tally_key_hold(&self->shelf, stream->number, item->key);
    }
    if ((item->options & TALLY_WANTS_RESULT) != 0) {
        cold->asked = true;
        cold->asker = *asker;
    }
    cold->is_blob = (item->options & TALLY_AS_BLOB) != 0;
    cold->releases = (item->options & TALLY_RELEASES) != 0;
    return number;
}

static void
plan_message(tally_plan_t *plan, const tally_stream_t *stream, const tally_entry_t *entry, const tally_item_t *item)
{
    const tally_cold_t *cold = tally_stream_cold(stream, entry);
    tally_plan_message_t *message = TALLY_PUSH(&plan->messages);
    message->id = entry->id;
    message->tenant = stream->tenant->row.id;
    message->queue = stream->queue->row.id;
    message->priority = item->priority;
    message->is_blob = (item->options & TALLY_AS_BLOB) != 0;
    message->releases = (item->options & TALLY_RELEASES) != 0;
    message->delay_ms = (int64_t) item->delay_ms;
    message->body = item->body;
    message->key = item->key;
    message->dedupe = item->dedupe;
    message->dedupe_kept_ms = stream->queue->row.dedupe_kept_ms;
    message->asker = cold != NULL && cold->asked ? &cold->asker : NULL;
    *TALLY_PUSH(&plan->sent_ids) = entry->id;
    plan->body_bytes += item->body.size;
}

static void
take_item(tally_core_t *self, tally_stream_t *stream, const tally_item_t *item, const tally_asker_t *asker,
          tally_chunk_t *chunk, int64_t now_ms)
{
    tally_plan_t *plan = tally_core_plan(self);
    tally_entry_t entry = {
        .id = tally_core_take_id(self),
        .bytes = (uint32_t) item->body.size,
        .priority = (uint32_t) item->priority & (TALLY_PRIORITY_LEVELS - 1u),
        .born = tally_entry_born(now_ms) & (2 * TALLY_BORN_ZERO - 1),
        .cold = make_cold(self, stream, item, asker),
    };
    if ((item->options & TALLY_AS_BLOB) == 0) {
        tally_shelf_cache(&self->shelf, &entry, chunk, item->body);
    }
    plan_message(plan, stream, &entry, item);
    tally_stream_begin(stream, &entry);
    int64_t due_ms = item->delay_ms > 0 ? now_ms + (int64_t) item->delay_ms : 0;
    if (item->dedupe.size > 0) {
        *TALLY_PUSH(&self->collecting->undecided) = (tally_undecided_t){
            .stream = stream,
            .entry = entry,
            .sent_at = plan->sent_ids.count - 1,
            .confirm_at = plan->confirms.count - 1,
            .due_ms = due_ms,
        };
    } else if (due_ms > 0) {
        tally_stream_delay(stream, &entry, due_ms);
    } else {
        tally_stream_admit(stream, &entry, now_ms);
    }
}

static void
take_send(tally_core_t *self, tally_sender_t *sender, uint64_t sequence, const tally_send_t *send,
          tally_stream_t *stream, tally_chunk_t *chunk, int64_t now_ms)
{
    tally_plan_t *plan = tally_core_plan(self);
    tally_sender_accept(sender, sequence);
    sender->touched = true;
    *TALLY_PUSH(&self->collecting->senders) = sender;
    tally_plan_confirm_t *confirm = TALLY_PUSH(&plan->confirms);
    memcpy(confirm->sender, sender->id, TALLY_SENDER_BYTES);
    confirm->sequence = sequence;
    confirm->first = plan->sent_ids.count;
    confirm->count = send->count;
    tally_core_keep(plan, chunk);
    tally_asker_t asker = {.sequence = sequence};
    memcpy(asker.sender, sender->id, TALLY_SENDER_BYTES);
    tally_cursor_t items = send->items;
    for (uint16_t i = 0; i < send->count; i++) {
        tally_item_t item;
        tally_item_read(&items, &item);
        asker.item = i;
        take_item(self, stream, &item, &asker, chunk, now_ms);
    }
    stream->stats.sent += send->count;
    tally_core_hurry(self, now_ms);
}

tally_send_answer_t
tally_core_send(tally_core_t *self, const uint8_t id[TALLY_SENDER_BYTES], uint64_t sequence,
                const tally_send_t *send, tally_chunk_t *chunk, int64_t now_ms)
{
    tally_sender_t *sender = tally_senders_find(&self->senders, id);
    assert(sender != NULL);
    assert(send->count > 0);
    switch (tally_sender_look(sender, sequence)) {
    case TALLY_SEQUENCE_PENDING:
        return (tally_send_answer_t){.outcome = TALLY_SEND_PENDING};
    case TALLY_SEQUENCE_KNOWN:
        return (tally_send_answer_t){.outcome = TALLY_SEND_REPEATED};
    case TALLY_SEQUENCE_OUTSIDE:
        return refuse(self, NULL, TALLY_E_SEQUENCE,
                      "the sequence is outside the sender's window; go on above last_sequence of the welcome");
    case TALLY_SEQUENCE_NEW:
        break;
    }
    tally_queue_t *queue = tally_queues_find(&self->queues, send->queue);
    if (queue == NULL) {
        return refuse(self, NULL, TALLY_E_UNKNOWN, "no such queue; create it first, or look for a typing error");
    }
    tally_tenant_t *tenant = tally_tenants_find(&self->tenants, send->tenant);
    if (tenant == NULL) {
        if (self->tenants.all.count >= TALLY_TENANTS_MAX) {
            return refuse(self, NULL, TALLY_E_LIMIT, "there are too many tenants; use an existing one");
        }
        tenant = tally_tenants_make(&self->tenants, send->tenant);
        *TALLY_PUSH(&tally_core_plan(self)->tenants) = tenant->row;
    }
    uint64_t number = (uint64_t) queue->row.id << 32 | tenant->row.id;
    tally_stream_t *stream = tally_table_find(&self->streams, number);
    if (!has_room(tenant, send)) {
        return refuse(self, stream, TALLY_E_BUSY, "the tenant's quota of pending messages is used up; "
                                                  "come back when workers have caught up");
    }
    if (stream == NULL) {
        if (self->all_streams.count >= TALLY_STREAMS_MAX) {
            return refuse(self, NULL, TALLY_E_LIMIT,
                          "there are too many pairs of queue and tenant; use existing ones");
        }
        stream = tally_core_stream(self, queue, tenant);
    }
    take_send(self, sender, sequence, send, stream, chunk, now_ms);
    return (tally_send_answer_t){.outcome = TALLY_SEND_PLANNED};
}

bool
tally_core_full(const tally_core_t *self)
{
    const tally_plan_t *plan = tally_core_plan(self);
    return plan->messages.count >= TALLY_PLAN_MESSAGES_MAX || plan->body_bytes >= TALLY_PLAN_BYTES_MAX;
}

static int
compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *) a;
    uint64_t right = *(const uint64_t *) b;
    return (left > right) - (left < right);
}

void
tally_core_decide_dedupe(tally_tick_t *tick, const tally_tick_result_t *result, int64_t now_ms)
{
    if (tick->undecided.count == 0) {
        return;
    }
    qsort(result->deduped.items, result->deduped.count, sizeof(uint64_t), compare_numbers);
    for (size_t i = 0; i < tick->undecided.count; i++) {
        tally_undecided_t *undecided = &tick->undecided.items[i];
        tally_stream_t *stream = undecided->stream;
        bool is_new = result->deduped.count > 0 &&
                      bsearch(&undecided->entry.id, result->deduped.items, result->deduped.count,
                              sizeof(uint64_t), compare_numbers) != NULL;
        if (!is_new) {
            tick->plan->sent_ids.items[undecided->sent_at] = 0;
            tick->plan->confirms.items[undecided->confirm_at].duplicates++;
            stream->stats.duplicates++;
            tally_stream_end(stream, &undecided->entry);
        } else if (undecided->due_ms > 0) {
            tally_stream_delay(stream, &undecided->entry, undecided->due_ms);
        } else {
            tally_stream_admit(stream, &undecided->entry, now_ms);
        }
    }
}

//  ---- rows -----------------------------------------------------------------------------------------------

static uint32_t
make_cold_of_row(tally_core_t *self, tally_stream_t *stream, const tally_message_row_t *row)
{
    bool plain = row->key.size == 0 && !row->asked && !row->is_blob && !row->releases && row->deliveries == 0 &&
                 row->failures == 0 && row->crashes == 0 && row->batch_max == 0;
    if (plain) {
        return 0;
    }
    uint32_t number = tally_shelf_make(&self->shelf, stream);
    tally_cold_t *cold = tally_shelf_cold(&self->shelf, number);
    if (row->key.size > 0) {
        cold->key = tally_key_hold(&self->shelf, stream->number, row->key);
    }
    cold->asked = row->asked;
    cold->asker = row->asker;
    cold->is_blob = row->is_blob;
    cold->releases = row->releases;
    cold->deliveries = row->deliveries;
    cold->failures = row->failures;
    cold->crashes = row->crashes;
    cold->batch_max = row->batch_max;
    return number;
}

void
tally_core_arrive(tally_core_t *self, const tally_message_row_t *row, int64_t now_ms)
{
    tally_queue_t *queue = tally_queues_by_id(&self->queues, row->queue);
    tally_tenant_t *tenant = tally_tenants_by_id(&self->tenants, row->tenant);
    if (queue == NULL || tenant == NULL) {
        self->strays++;
        return;
    }
    tally_stream_t *stream = tally_core_stream(self, queue, tenant);
    tally_entry_t entry = {
        .id = row->id,
        .bytes = row->body_bytes,
        .priority = (uint32_t) row->priority & (TALLY_PRIORITY_LEVELS - 1u),
        .past_window = row->past_window,
        .born = tally_entry_born(now_ms - row->age_ms) & (2 * TALLY_BORN_ZERO - 1),
        .cold = make_cold_of_row(self, stream, row),
    };
    tally_stream_begin(stream, &entry);
    tally_lease_t *lease = self->loading ? tally_table_take(&self->loaded, row->id) : NULL;
    if (lease != NULL) {
        tally_leased_t *leased = tally_lease_find(lease, row->id);
        assert(leased != NULL);
        leased->entry = entry;
        tally_stream_claim(stream, &entry);
    } else if (row->due_ms > 0) {
        tally_stream_delay(stream, &entry, now_ms + row->due_ms);
    } else {
        bool was_delayed = row->due_ms < 0 && -row->due_ms < row->age_ms;
        int64_t waited_ms = was_delayed ? -row->due_ms : row->age_ms;
        tally_stream_admit(stream, &entry, now_ms - waited_ms);
    }
}
