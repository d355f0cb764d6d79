// SPDX-License-Identifier: MIT
//  intake - messages come in: sends of clients, rows of the database (at start, from the inbox,
//  dead letters retried).
//
//  A message sent without dedupe key enters its stream at once, so the plan that inserts it can
//  lease it too; one with a dedupe key enters when the database has said that it is new, and so
//  does what comes behind it under the same ordering key.

#include <stdlib.h>

#include "broker/core_state.h"
#include "broker/planted.h"

#define BUSY_RETRY_MS 500    // quotas free up at the pace of workers

static uint64_t
least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

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
    if (tenant->messages + send->count
        > (uint64_t)tenant->row.messages_max + TALLY_PLANTED(QUOTA_BEYOND)) {
        return false;
    }
    uint64_t bound = (uint64_t)(send->items.end - send->items.at);
    return tenant->bytes + bound <= (uint64_t)tenant->row.bytes_max
           || tenant->bytes + sum_bodies(send) <= (uint64_t)tenant->row.bytes_max;
}

//  One send on its way in.
typedef struct {
    tally_core_t *core;
    tally_plan_t *plan;
    tally_stream_t *stream;
    tally_chunk_t *chunk;
    tally_asker_t asker;    // of the message at hand
    int64_t now_ms;
} intake_t;

//  The cold record of a message that needs one.
static uint32_t
make_cold(const intake_t *intake, const tally_item_t *item)
{
    const unsigned features = TALLY_HAS_KEY | TALLY_WANTS_RESULT | TALLY_AS_BLOB | TALLY_RELEASES;
    if ((item->options & features) == 0) {
        return 0;
    }
    tally_shelf_t *shelf = &intake->core->shelf;
    uint32_t number = tally_shelf_make(shelf, intake->stream);
    tally_cold_t *cold = tally_shelf_cold(shelf, number);
    if ((item->options & TALLY_HAS_KEY) != 0) {
        cold->key = tally_key_hold(shelf, intake->stream->number, item->key);
    }
    if ((item->options & TALLY_WANTS_RESULT) != 0) {
        cold->asked = true;
        cold->asker = intake->asker;
    }
    cold->is_blob = (item->options & TALLY_AS_BLOB) != 0;
    cold->releases = (item->options & TALLY_RELEASES) != 0;
    return number;
}

static void
plan_message(const intake_t *intake, const tally_entry_t *entry, const tally_item_t *item)
{
    const tally_cold_t *cold = tally_stream_cold(intake->stream, entry);
    tally_plan_message_t *message = TALLY_PUSH(&intake->plan->messages);
    message->id = entry->id;
    message->tenant = intake->stream->tenant->row.id;
    message->queue = intake->stream->queue->row.id;
    message->priority = item->priority;
    message->is_blob = (item->options & TALLY_AS_BLOB) != 0;
    message->releases = (item->options & TALLY_RELEASES) != 0;
    message->delay_ms = (int64_t)item->delay_ms;
    message->body = item->body;
    message->key = item->key;
    message->dedupe = item->dedupe;
    message->dedupe_kept_ms = intake->stream->queue->row.dedupe_kept_ms;
    message->asker = cold != NULL && cold->asked ? &cold->asker : NULL;
    *TALLY_PUSH(&intake->plan->sent_ids) = entry->id;
    intake->plan->body_bytes += item->body.size;
}

//  It enters when the plan is committed.
static void
leave_undecided(const intake_t *intake, const tally_entry_t *entry, bool deduped, int64_t due_ms)
{
    const tally_cold_t *cold = tally_stream_cold(intake->stream, entry);
    if (cold != NULL && cold->key != NULL) {
        cold->key->undecided++;
    }
    *TALLY_PUSH(&intake->core->collecting->undecided) = (tally_undecided_t){
        .stream = intake->stream,
        .entry = *entry,
        .deduped = deduped,
        .sent_at = intake->plan->sent_ids.count - 1,
        .confirm_at = intake->plan->confirms.count - 1,
        .due_ms = due_ms,
    };
}

static void
take_item(const intake_t *intake, const tally_item_t *item)
{
    tally_core_t *core = intake->core;
    tally_stream_t *stream = intake->stream;
    tally_entry_t entry = {
        .id = tally_core_take_id(core),
        .bytes = (uint32_t)item->body.size,
        .priority = (uint32_t)item->priority & (TALLY_PRIORITY_LEVELS - 1u),
        .born = tally_entry_born(intake->now_ms) & TALLY_BORN_MASK,
        .cold = make_cold(intake, item),
    };
    if ((item->options & TALLY_AS_BLOB) == 0) {
        tally_shelf_cache(&core->shelf, &entry, intake->chunk, item->body);
    }
    plan_message(intake, &entry, item);
    tally_stream_begin(stream, &entry);
    int64_t due_ms = item->delay_ms > 0 ? intake->now_ms + (int64_t)item->delay_ms : 0;
    const tally_cold_t *cold = tally_stream_cold(stream, &entry);
    bool behind = cold != NULL && cold->key != NULL && cold->key->undecided > 0
                  && !TALLY_PLANTED(KEY_OVERTAKEN);
    if (item->dedupe.size > 0 || behind) {
        leave_undecided(intake, &entry, item->dedupe.size > 0, due_ms);
    } else if (due_ms > 0) {
        tally_stream_delay(stream, &entry, due_ms);
    } else {
        tally_stream_admit(stream, &entry, intake->now_ms);
    }
}

uint64_t
tally_core_share_of(const tally_core_t *self, const tally_tenant_t *tenant)
{
    return (uint64_t)tenant->row.weight * self->shared_messages;
}

//  What it has paid of what it owed: a share with each plan.
static uint64_t
paid_of(const tally_core_t *self, const tally_tenant_t *tenant)
{
    return (self->seals - tenant->planned_in) * tally_core_share_of(self, tenant);
}

//  What the tenant has in the plan being collected, and still owes for those before.
static uint64_t
planned_of(const tally_core_t *self, const tally_tenant_t *tenant)
{
    uint64_t paid = paid_of(self, tenant);
    return tenant->planned > paid ? tenant->planned - paid : 0;
}

static void
note_planned(tally_core_t *self, tally_tenant_t *tenant, size_t messages, int64_t now_ms)
{
    bool is_pressed = now_ms < tenant->pressed_until_ms;
    bool is_other = self->planned_tenant != NULL && self->planned_tenant != tenant;
    if (is_other && !is_pressed && now_ms < self->planned_ms + TALLY_PLAN_COMPANY_MS) {
        self->company_until_ms = now_ms + TALLY_PLAN_COMPANY_MS;
    }
    self->planned_tenant = tenant;
    self->planned_ms = now_ms;
    tenant->planned = least(planned_of(self, tenant) + messages, TALLY_PLAN_MESSAGES_MAX);
    tenant->planned_in = self->seals;
}

static void
take_send(intake_t *intake, tally_sender_t *sender, uint64_t sequence, const tally_send_t *send)
{
    tally_plan_t *plan = intake->plan;
    tally_sender_accept(sender, sequence);
    sender->touched = true;
    *TALLY_PUSH(&intake->core->collecting->senders) = sender;
    tally_plan_confirm_t *confirm = TALLY_PUSH(&plan->confirms);
    memcpy(confirm->sender, sender->id, TALLY_SENDER_BYTES);
    confirm->sequence = sequence;
    confirm->first = plan->sent_ids.count;
    confirm->count = send->count;
    tally_core_keep(plan, intake->chunk);
    intake->asker.sequence = sequence;
    memcpy(intake->asker.sender, sender->id, TALLY_SENDER_BYTES);
    tally_cursor_t items = send->items;
    for (uint16_t i = 0; i < send->count; i++) {
        tally_item_t item;
        tally_item_read(&items, &item);
        intake->asker.item = TALLY_PLANTED(RESULT_ASTRAY) ? 0 : i;
        take_item(intake, &item);
    }
    intake->stream->stats.sent += send->count;
    note_planned(intake->core, intake->stream->tenant, send->count, intake->now_ms);
    tally_core_hurry(intake->core, intake->now_ms);
}

//  The queue and the tenant's stream that a send names; made when there is none yet.  NULL with
//  *answer filled when the send is refused.
static tally_stream_t *
find_stream(tally_core_t *self, const tally_send_t *send, tally_send_answer_t *answer)
{
    tally_queue_t *queue = tally_queues_find(&self->queues, send->queue);
    if (queue == NULL) {
        *answer = refuse(self, NULL, TALLY_E_UNKNOWN, TALLY_TEXT_NO_QUEUE);
        return NULL;
    }
    tally_tenant_t *tenant = tally_tenants_find(&self->tenants, send->tenant);
    if (tenant == NULL && self->tenants.all.count >= TALLY_TENANTS_MAX) {
        *answer = refuse(self, NULL, TALLY_E_LIMIT,
                         "there are too many tenants; use an existing one");
        return NULL;
    }
    if (tenant == NULL) {
        tenant = tally_tenants_make(&self->tenants, send->tenant);
        *TALLY_PUSH(&tally_core_plan(self)->tenants) = tenant->row;
    }
    uint64_t number = (uint64_t)queue->row.id << 32 | tenant->row.id;
    tally_stream_t *stream = tally_table_find(&self->streams, number);
    if (!has_room(tenant, send)) {
        *answer = refuse(self, stream, TALLY_E_BUSY,
                         "the tenant's quota of pending messages is used up; "
                         "come back when workers have caught up");
        return NULL;
    }
    if (stream == NULL && self->all_streams.count >= TALLY_STREAMS_MAX) {
        *answer = refuse(self, NULL, TALLY_E_LIMIT,
                         "there are too many pairs of queue and tenant; use existing ones");
        return NULL;
    }
    return stream != NULL ? stream : tally_core_stream(self, queue, tenant);
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
                      "the sequence is outside the sender's window; "
                      "go on above last_sequence of the welcome");
    case TALLY_SEQUENCE_NEW:
        break;
    }
    tally_send_answer_t answer = {.outcome = TALLY_SEND_PLANNED};
    tally_stream_t *stream = find_stream(self, send, &answer);
    if (stream == NULL && TALLY_PLANTED(REFUSED_ACCEPTED)) {
        tally_sender_accept(sender, sequence);
        tally_sender_confirm(sender, sequence);
    }
    if (stream != NULL) {
        intake_t intake = {self, tally_core_plan(self), stream, chunk, {{0}, 0, 0}, now_ms};
        take_send(&intake, sender, sequence, send);
    }
    return answer;
}

bool
tally_core_full(const tally_core_t *self)
{
    const tally_plan_t *plan = tally_core_plan(self);
    return plan->messages.count >= TALLY_PLAN_MESSAGES_MAX
           || plan->body_bytes >= TALLY_PLAN_BYTES_MAX;
}

//  A tick takes as long as it has messages, and whoever came behind waits for it.  So a tenant that has company gets a
//  share of each: deficit round robin.  A send of more is paid with the plans that follow, short ones, and goes into
//  one of its own, while nobody is there to wait for it: no plan is under way, none is begun, and none of its leases
//  waits to end.  When that does not come, it goes with others as soon as it has waited twice as long as it pays.
static bool
finds_place(const tally_core_t *self, const tally_tenant_t *tenant, size_t messages, size_t bytes,
            int64_t now_ms)
{
    const tally_plan_t *plan = tally_core_plan(self);
    uint64_t planned = tenant != NULL ? planned_of(self, tenant) : 0;
    uint64_t share = tenant != NULL ? tally_core_share_of(self, tenant) : self->shared_messages;
    bool has_little = planned + messages <= share;
    bool has_waited = tenant == NULL || paid_of(self, tenant) >= 2 * tenant->planned;
    bool may = has_little || has_waited || !tally_core_has_company(self, now_ms);
    if (plan->messages.count == 0) {
        return may || (self->out == NULL && tenant->held_in != self->seals);
    }
    size_t all = plan->messages.count + messages;
    size_t all_bytes = plan->body_bytes + bytes;
    if (all <= TALLY_PLAN_MESSAGES_MAX && all_bytes <= TALLY_PLAN_BYTES_MAX) {
        return may;
    }
    return has_little && all <= 2 * TALLY_PLAN_MESSAGES_MAX
           && all_bytes <= 2 * TALLY_PLAN_BYTES_MAX;
}

//  Whoever must wait sends as much as it can: nobody's ticks need be short for its sake.  Among tenants all of which
//  do, the turns of those who wait are fair enough, and plans are as large as they may be.
bool
tally_core_has_place(tally_core_t *self, tally_bytes_t name, size_t messages, size_t bytes,
                     int64_t now_ms)
{
    tally_tenant_t *tenant = tally_tenants_find(&self->tenants, name);
    bool found = finds_place(self, tenant, messages, bytes, now_ms);
    if (tenant != NULL && !found) {
        tenant->pressed_until_ms = now_ms + TALLY_PLAN_PRESSED_MS;
    }
    return found;
}

bool
tally_core_has_company(const tally_core_t *self, int64_t now_ms)
{
    return now_ms < self->company_until_ms;
}

static int
compare_numbers(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

//  Whether the database let it in.
static bool
is_new(const tally_undecided_t *undecided, const tally_tick_result_t *result)
{
    if (!undecided->deduped) {
        return true;
    }
    return result->deduped.count > 0
           && bsearch(&undecided->entry.id, result->deduped.items, result->deduped.count,
                      sizeof(uint64_t), compare_numbers)
                  != NULL;
}

static void
decide(tally_tick_t *tick, tally_undecided_t *undecided, const tally_tick_result_t *result,
       int64_t now_ms)
{
    tally_stream_t *stream = undecided->stream;
    const tally_cold_t *cold = tally_stream_cold(stream, &undecided->entry);
    if (cold != NULL && cold->key != NULL) {
        assert(cold->key->undecided > 0);
        cold->key->undecided--;
    }
    if (!is_new(undecided, result)) {
        if (!TALLY_PLANTED(DUPLICATE_CONFIRMED)) {
            tick->plan->sent_ids.items[undecided->sent_at] = 0;
        }
        tick->plan->confirms.items[undecided->confirm_at].duplicates++;
        stream->stats.duplicates++;
        tally_stream_end(stream, &undecided->entry);
    } else if (undecided->due_ms > 0) {
        tally_stream_delay(stream, &undecided->entry, undecided->due_ms);
    } else {
        tally_stream_admit(stream, &undecided->entry, now_ms);
    }
}

void
tally_core_take_deduped(tally_tick_t *tick, const tally_tick_result_t *result, int64_t now_ms)
{
    if (tick->undecided.count == 0) {
        return;
    }
    //  In no particular order so far, and ours to use.
    qsort(result->deduped.items, result->deduped.count, sizeof(uint64_t), compare_numbers);
    for (size_t i = 0; i < tick->undecided.count; i++) {
        decide(tick, &tick->undecided.items[i], result, now_ms);
    }
    tick->undecided.count = 0;    // their bodies belong to the streams now
}

//  ---- rows --------------------------------------------------------------------------------------

static uint32_t
make_cold_of_row(tally_core_t *self, tally_stream_t *stream, const tally_message_row_t *row)
{
    bool plain = row->key.size == 0 && !row->asked && !row->is_blob && !row->releases
                 && row->deliveries == 0 && row->failures == 0 && row->crashes == 0
                 && row->batch_max == 0;
    if (plain) {
        return 0;
    }
    uint32_t number = tally_shelf_make(&self->shelf, stream);
    tally_cold_t *cold = tally_shelf_cold(&self->shelf, number);
    if (row->key.size > 0) {
        cold->key = tally_key_hold(&self->shelf, stream->number, row->key);
    }
    cold->asked = row->asked && !(TALLY_PLANTED(ASK_FORGOTTEN) && self->loading);
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
        .priority = (uint32_t)row->priority & (TALLY_PRIORITY_LEVELS - 1u),
        .past_window = row->past_window,
        .born = tally_entry_born(now_ms - row->age_ms) & TALLY_BORN_MASK,
        .cold = make_cold_of_row(self, stream, row),
    };
    tally_stream_begin(stream, &entry);
    tally_lease_t *lease = self->loading ? tally_table_take(&self->loaded, row->id) : NULL;
    if (lease != NULL) {
        tally_leased_t *leased = tally_lease_find(lease, row->id);
        assert(leased != NULL);
        leased->entry = entry;
        tally_stream_claim(stream, &entry);
    } else if (row->due_ms > 0 && !(TALLY_PLANTED(EARLY_AFTER_RESTART) && self->loading)) {
        tally_stream_delay(stream, &entry, now_ms + row->due_ms);
    } else {
        bool was_delayed = row->due_ms != TALLY_NEVER_DELAYED && -row->due_ms < row->age_ms;
        int64_t waited_ms = was_delayed ? -row->due_ms : row->age_ms;
        tally_stream_admit(stream, &entry, now_ms - waited_ms);
    }
}
