// SPDX-License-Identifier: MIT
//  synthetic_batch: 50 messages from their send to their end, in one of the courses that are right.

#include "tests/faults/synthetic_state.h"

#define VICTIM 10    // the message of a batch that a plant is about
#define ASKED 20     // whose result is wanted

typedef enum {
    NORMAL,
    REFUSED,
    UNANSWERED_STORED,
    UNANSWERED_LOST,
    KILLED,
    STOPPED,
    UNKNOWN_DONE,
    UNKNOWN_UNDONE,
    RETURNED,
    BURIED,
    TURNED,    // a clock is turned, and a delayed message is delivered too early
} course_t;

struct batch {
    course_t course;
    uint16_t queue, tenant;
    struct synthetic_client *client;
    size_t slot;                            // of the worker that is given it first
    uint64_t lease, term;                   // the latest
    tally_counts_t counts;                  // as the next delivery tells them
    bool planting;                          // the plant's batch
    uint64_t numbers[BATCH], ids[BATCH];    // ids: 0 of what is not stored
};

static bool
is_planted(const struct synthetic *self, const struct batch *batch, int message,
           tally_plant_t plant)
{
    return batch->planting && self->plant == plant && message == VICTIM;
}

static uint32_t
key_of(const struct synthetic *self, const struct batch *batch, int message)
{
    if (batch->queue != QUEUE_KEYED) {
        return 0;
    }
    bool together = is_planted(self, batch, message, TALLY_PLANT_KEY_TOGETHER);
    return (uint32_t)(together ? message : message + 1);    // that of the message before
}

static course_t
choose_course(const struct synthetic *self, uint64_t number)
{
    return number % self->kill_every == 3    ? KILLED
           : number % self->kill_every == 8  ? KILLED
           : number % self->kill_every == 13 ? STOPPED
           : number % 50 == 7                ? REFUSED
           : number % 50 == 17               ? UNANSWERED_STORED
           : number % 50 == 27               ? UNANSWERED_LOST
           : number % 20 == 11               ? UNKNOWN_DONE
           : number % 20 == 15               ? UNKNOWN_UNDONE
           : number % 30 == 4                ? RETURNED
           : number % 40 == 6                ? BURIED
           : number == 10                    ? TURNED
                                             : NORMAL;
}

//  Which queue and course a plant needs.
static bool
suits(const struct synthetic *self, const struct batch *batch)
{
    switch (self->plant) {
    case TALLY_PLANT_TOKEN_BACK:
    case TALLY_PLANT_OLD_BROKER_LEASES:
        return batch->queue == QUEUE_KEYED && batch->course == NORMAL
               && self->workers[batch->slot].last_lease > self->spare_lease;
    case TALLY_PLANT_TOKEN_REUSED:
        return batch->queue == QUEUE_KEYED && batch->course == NORMAL
               && self->last_lease > self->spare_lease;
    case TALLY_PLANT_TERM_TWO_HOLDERS:
    case TALLY_PLANT_TERM_STALE:
        return batch->queue == QUEUE_TERM && batch->course == NORMAL;
    case TALLY_PLANT_UNDRAINED:
        return batch->queue == QUEUE_PLAIN && batch->course == NORMAL;
    case TALLY_PLANT_STALE_SETTLE:
    case TALLY_PLANT_SETTLED_TWICE:
        return batch->queue == QUEUE_KEYED && batch->course == STOPPED;
    case TALLY_PLANT_DELIVERY_UNCOUNTED:
        return batch->queue == QUEUE_KEYED && batch->course == RETURNED;
    default:
        return batch->queue == QUEUE_KEYED && batch->course == NORMAL;
    }
}

//  ---- client -------------------------------------------------------------------------------------------------

static void
send_batch(struct synthetic *self, struct batch *batch, int64_t at_ns)
{
    struct synthetic_client *client = batch->client;
    client->sequence++;
    for (int i = 0; i < BATCH; i++) {
        batch->numbers[i] = tally_history_number(client->process, ++client->last_message);
        bool deduped = i == 2 || i == 3;
        bool early = is_planted(self, batch, i, TALLY_PLANT_EARLY);
        synthetic_emit(client->history, at_ns + i * 1000,
                       (tally_history_record_t){
                           .kind = TALLY_DID_SEND,
                           .code = i == ASKED ? TALLY_SENT_ASK : 0,
                           .number = batch->numbers[i],
                           .tenant = batch->tenant,
                           .queue = batch->queue,
                           .key = key_of(self, batch, i),
                           .sequence = client->sequence,
                           .item = (uint32_t)i,
                           .dedupe = deduped ? batch->numbers[2] : 0,
                           .delay_ms = early    ? 100000
                                       : i == 5 ? 1
                                                : 0,
                       });
    }
}

static void
store_batch(struct synthetic *self, struct batch *batch)
{
    for (int i = 0; i < BATCH; i++) {
        bool forgotten = batch->planting && self->plant == TALLY_PLANT_DEDUPE_FORGOTTEN;
        bool untrue = batch->planting && self->plant == TALLY_PLANT_DUPLICATE_UNTRUE;
        bool duplicate = (i == 3 && !forgotten) || (i == 2 && untrue);
        batch->ids[i] = duplicate ? 0 : synthetic_id(self);
        if (is_planted(self, batch, i, TALLY_PLANT_OLD_BROKER_STORES)) {
            batch->ids[i] = ((self->broker - 1) << 40) + 900000;
        } else if (is_planted(self, batch, i, TALLY_PLANT_KEY_OVERTAKEN)) {
            batch->ids[i] += 1 << 30;
        }
    }
}

static tally_history_record_t
answer_of(const struct synthetic *self, const struct batch *batch, int i)
{
    tally_history_record_t record = {.kind = TALLY_TOLD_CONFIRMED,
                                     .number = batch->numbers[i],
                                     .id = batch->ids[i],
                                     .epoch = self->broker};
    bool refused = is_planted(self, batch, i, TALLY_PLANT_REFUSED_STORED);
    if (batch->course == REFUSED || refused) {
        record = (tally_history_record_t){.kind = TALLY_TOLD_REFUSED,
                                          .number = batch->numbers[i],
                                          .code = 200};
    } else if (batch->course == UNANSWERED_STORED || batch->course == UNANSWERED_LOST) {
        record = (tally_history_record_t){.kind = TALLY_TOLD_NOTHING, .number = batch->numbers[i]};
    } else if (batch->ids[i] == 0) {
        //  When its first confirm was lost, the next one does not say what was a duplicate.
        record.code = batch->tenant == 1 ? TALLY_CONFIRM_REPEATED : TALLY_CONFIRM_DUPLICATE;
    } else if (i == 30) {
        record.code = TALLY_CONFIRM_REPEATED;    // its first confirm was lost
        record.id = 0;
    } else if (is_planted(self, batch, i, TALLY_PLANT_STORED_TWICE)) {
        record.id += 1 << 30;
    } else if (is_planted(self, batch, i, TALLY_PLANT_OLD_BROKER_CONFIRMS)) {
        record.epoch--;
    }
    return record;
}

static void
answer_batch(struct synthetic *self, struct batch *batch, int64_t at_ns)
{
    for (int i = 0; i < BATCH; i++) {
        synthetic_emit(batch->client->history, at_ns + i * 1000, answer_of(self, batch, i));
        if (is_planted(self, batch, i, TALLY_PLANT_CONFIRM_MISSING)) {
            synthetic_emit(self->rows, self->end_ns,
                           (tally_history_record_t){.kind = TALLY_ROW_MISSING,
                                                    .process = batch->client->process,
                                                    .sequence = batch->client->sequence});
        }
    }
}

//  ---- worker -------------------------------------------------------------------------------------------------

static uint64_t
new_lease(struct synthetic *self, const struct batch *batch)
{
    uint64_t lease = synthetic_id(self);
    if (batch->planting && self->plant == TALLY_PLANT_TOKEN_REUSED) {
        lease = self->last_lease;
    } else if (batch->planting && self->plant == TALLY_PLANT_TOKEN_BACK) {
        lease = self->spare_lease;
    } else if (batch->planting && self->plant == TALLY_PLANT_OLD_BROKER_LEASES) {
        lease = ((self->broker - 1) << 40) + 900001;
    }
    self->last_lease = lease;
    return lease;
}

//  The whole batch to the worker in that place, under a new lease.
static void
deliver(struct synthetic *self, struct batch *batch, size_t slot, int64_t at_ns)
{
    batch->lease = new_lease(self, batch);
    self->workers[slot].last_lease = batch->lease;
    batch->counts.deliveries++;
    for (int i = 0; i < BATCH; i++) {
        if (batch->ids[i] == 0) {
            continue;
        }
        tally_history_record_t record = {
            .kind = TALLY_TOLD_DELIVERED,
            .code = is_planted(self, batch, i, TALLY_PLANT_BODY_CHANGED) ? TALLY_BODY_CHANGED
                                                                         : TALLY_BODY_INTACT,
            .tenant = batch->tenant,
            .queue = batch->queue,
            .number = batch->numbers[i],
            .key = key_of(self, batch, i),
            .id = batch->ids[i],
            .lease = batch->lease,
            .epoch = batch->term,
            .counts = batch->counts,
        };
        record.counts.failures = (uint8_t)(record.counts.failures
                                           + is_planted(self, batch, i,
                                                        TALLY_PLANT_FAILURE_UNSAID));
        if (is_planted(self, batch, i, TALLY_PLANT_DELIVERY_UNCOUNTED)) {
            record.counts.deliveries = 1;
        }
        synthetic_emit(self->workers[slot].history, at_ns + i * 1000, record);
        if (is_planted(self, batch, i, TALLY_PLANT_GHOST)) {
            record.number = tally_history_number(batch->client->process, 1 << 30);
            record.id = synthetic_id(self);
            synthetic_emit(self->workers[slot].history, at_ns + i * 1000, record);
        }
    }
}

//  Rows of one effect, or what a plant makes of it.
static void
take_effect(struct synthetic *self, const struct batch *batch, size_t slot, uint64_t lease, int i)
{
    tally_history_record_t row = {
        .kind = TALLY_ROW_EFFECT,
        .tenant = batch->tenant,
        .queue = batch->queue,
        .number = batch->numbers[i],
        .id = batch->ids[i],
        .lease = lease,
        .epoch = batch->term,
        .key = key_of(self, batch, i),
        .process = self->workers[slot].process,
        .serial = ++self->serial,
    };
    if (is_planted(self, batch, i, TALLY_PLANT_FOREIGN_EFFECT)) {
        row.process = self->workers[(slot + 1) % WORKERS].process;
    } else if (is_planted(self, batch, i, TALLY_PLANT_TENANT_MIXED)) {
        row.tenant = (uint16_t)(row.tenant % TENANTS + 1);
    }
    if (!is_planted(self, batch, i, TALLY_PLANT_EFFECT_MISSING)) {
        synthetic_emit(self->rows, self->end_ns, row);
    }
    if (is_planted(self, batch, i, TALLY_PLANT_EFFECT_TWICE)) {
        row.serial = ++self->serial;
        synthetic_emit(self->rows, self->end_ns, row);
    }
}

//  What became of a message without a settle.
static void
end_otherwise(struct synthetic *self, const struct batch *batch, int i, tally_did_t row)
{
    bool early = is_planted(self, batch, i, TALLY_PLANT_BURIED_EARLY);
    synthetic_emit(self->rows, self->end_ns,
                   (tally_history_record_t){.kind = (uint16_t)row,
                                            .tenant = batch->tenant,
                                            .queue = batch->queue,
                                            .number = batch->numbers[i],
                                            .id = batch->ids[i],
                                            .counts = {batch->counts.deliveries,
                                                       early ? 0 : FAILURES_MAX, 0, 0}});
}

//  Some plants are that this message is not settled, whatever else; true when it is one.
static bool
is_left_out(struct synthetic *self, const struct batch *batch, int i)
{
    if (is_planted(self, batch, i, TALLY_PLANT_LOSS)) {
        return true;
    }
    if (is_planted(self, batch, i, TALLY_PLANT_BURIED_EARLY)) {
        end_otherwise(self, batch, i, TALLY_ROW_DEAD);
        return true;
    }
    if (is_planted(self, batch, i, TALLY_PLANT_UNDRAINED)) {
        end_otherwise(self, batch, i, TALLY_ROW_MESSAGE);
        return true;
    }
    return false;
}

//  Tries to settle the batch and is answered; it takes effect when that is the answer, or by its course.
static void
settle(struct synthetic *self, const struct batch *batch, size_t slot, uint64_t lease,
       tally_did_t answer, int64_t at_ns)
{
    bool plain = batch->queue == QUEUE_PLAIN;
    for (int pass = 0; pass < (plain ? 1 : 2); pass++) {
        for (int i = 0; i < BATCH; i++) {
            if (batch->ids[i] == 0 || (pass == 0 && is_left_out(self, batch, i))
                || is_planted(self, batch, i, TALLY_PLANT_LOSS)
                || is_planted(self, batch, i, TALLY_PLANT_BURIED_EARLY)) {
                continue;
            }
            bool refused = is_planted(self, batch, i, TALLY_PLANT_REFUSED_SETTLE);
            bool twice = is_planted(self, batch, i, TALLY_PLANT_SETTLED_TWICE);
            synthetic_emit(self->workers[slot].history, at_ns + pass * MS + i * 1000,
                           (tally_history_record_t){
                               .kind = (uint16_t)(pass == 0 ? TALLY_DID_SETTLE
                                                  : refused ? TALLY_TOLD_STALE
                                                  : twice   ? TALLY_TOLD_SETTLED
                                                            : answer),
                               .number = batch->numbers[i],
                               .id = batch->ids[i],
                               .lease = lease,
                               .epoch = batch->term,
                           });
            bool done = answer == TALLY_TOLD_SETTLED
                        || (answer == TALLY_TOLD_UNKNOWN && batch->course == UNKNOWN_DONE);
            if (done && pass == 1) {
                take_effect(self, batch, slot, lease, i);
            }
        }
    }
}

static void
tell_result(struct synthetic *self, const struct batch *batch, int64_t at_ns)
{
    bool untrue = batch->planting && self->plant == TALLY_PLANT_RESULT_UNTRUE;
    bool other = batch->planting && self->plant == TALLY_PLANT_RESULT_TO_OTHER;
    bool astray = batch->planting && self->plant == TALLY_PLANT_RESULT_OF_OTHER;
    size_t client = (size_t)(batch->client - self->clients);
    synthetic_emit(self->clients[(client + other) % CLIENTS].history, at_ns,
                   (tally_history_record_t){.kind = TALLY_TOLD_RESULT,
                                            .number = batch->numbers[ASKED],
                                            .answered = batch->numbers[astray ? VICTIM : ASKED],
                                            .code = batch->course == BURIED || untrue ? 2 : 1});
}

//  ---- courses ------------------------------------------------------------------------------------------------

//  To another worker, who gets it done.  Of an exclusive queue: to the next holder of its term.
static size_t
hand_over(struct synthetic *self, struct batch *batch, size_t from, int64_t at_ns)
{
    size_t slot = (from + 1) % WORKERS;
    if (batch->queue == QUEUE_TERM) {
        synthetic_elect(self, batch->tenant, slot, at_ns);
        batch->term = self->terms[batch->tenant].epoch;
    }
    deliver(self, batch, slot, at_ns + MS);
    return slot;
}

static void
run_killed(struct synthetic *self, struct batch *batch, int64_t at_ns)
{
    bool holder = batch->queue == QUEUE_TERM;
    size_t slot = batch->slot;
    synthetic_fault(self,
                    (struct synthetic_fault){holder ? FAULT_KILL_HOLDER : FAULT_KILL_WORKER,
                                             holder ? TALLY_VICTIM_TERM_HOLDER
                                                    : TALLY_VICTIM_WORKER,
                                             self->workers[slot].process, batch->tenant},
                    at_ns, at_ns + MS);
    synthetic_start_worker(self, slot, at_ns + MS);
    for (unsigned tenant = 1; tenant <= TENANTS; tenant++) {
        bool lost = self->terms[tenant].slot == slot;
        if (lost && !(holder && tenant == batch->tenant)) {
            synthetic_elect(self, tenant, slot, at_ns + MS);
        }
    }
    batch->counts.crashes++;
    size_t next = hand_over(self, batch, slot, at_ns + 2 * MS);
    settle(self, batch, next, batch->lease, TALLY_TOLD_SETTLED, at_ns + 4 * MS);
}

//  Wakes up when its lease is no longer valid, and settles.
static void
run_stopped(struct synthetic *self, struct batch *batch, int64_t at_ns)
{
    size_t slot = batch->slot;
    struct batch before = *batch;
    synthetic_fault(self,
                    (struct synthetic_fault){FAULT_STOP_WORKER, TALLY_VICTIM_WORKER,
                                             self->workers[slot].process, 0},
                    at_ns, at_ns + 7 * MS);
    batch->counts.crashes++;
    size_t next = hand_over(self, batch, slot, at_ns + MS);
    if (batch->planting && self->plant == TALLY_PLANT_STALE_SETTLE) {
        settle(self, &before, slot, before.lease, TALLY_TOLD_SETTLED, at_ns + 8 * MS);
    } else {
        settle(self, batch, next, batch->lease, TALLY_TOLD_SETTLED, at_ns + 3 * MS);
        settle(self, &before, slot, before.lease, TALLY_TOLD_STALE, at_ns + 8 * MS);
    }
    self->planted = self->planted || batch->planting;
}

static void
say(struct synthetic *self, const struct batch *batch, tally_did_t did, int64_t at_ns)
{
    for (int i = 0; i < BATCH; i++) {
        if (batch->ids[i] != 0) {
            synthetic_emit(self->workers[batch->slot].history, at_ns + i * 1000,
                           (tally_history_record_t){.kind = (uint16_t)did,
                                                    .number = batch->numbers[i],
                                                    .lease = batch->lease,
                                                    .code = did == TALLY_DID_RETURN});
            if (did == TALLY_DID_BURY) {
                end_otherwise(self, batch, i, TALLY_ROW_DEAD);
            }
        }
    }
}

//  Plants that are one more record behind a batch that went well.
static void
plant_behind(struct synthetic *self, struct batch *batch, int64_t at_ns)
{
    size_t other = (batch->slot + 1) % WORKERS;
    switch (self->plant) {
    case TALLY_PLANT_SETTLED_AND_DEAD:
        end_otherwise(self, batch, VICTIM, TALLY_ROW_DEAD);
        break;
    case TALLY_PLANT_DELIVERED_AGAIN:
        deliver(self, batch, other, at_ns);
        break;
    case TALLY_PLANT_TERM_TWO_HOLDERS:
        self->terms[batch->tenant].epoch--;
        synthetic_elect(self, batch->tenant, other, at_ns);
        self->terms[batch->tenant].slot = batch->slot;
        break;
    default:
        break;
    }
}

static void
run_normal(struct synthetic *self, struct batch *batch, int64_t at_ns)
{
    if (batch->planting && self->plant == TALLY_PLANT_TERM_STALE) {
        synthetic_elect(self, batch->tenant, (batch->slot + 1) % WORKERS, at_ns);
    }
    settle(self, batch, batch->slot, batch->lease, TALLY_TOLD_SETTLED, at_ns + MS);
    if (batch->planting) {
        plant_behind(self, batch, at_ns + 4 * MS);
        self->planted = true;
    }
    if (self->plant == TALLY_PLANT_TIME_BACK && batch->planting) {
        synthetic_emit(self->workers[batch->slot].history, self->start_ns,
                       (tally_history_record_t){.kind = TALLY_TOLD_GONE});
    }
}

static void
run(struct synthetic *self, struct batch *batch, int64_t at_ns)
{
    size_t slot = batch->slot;
    switch (batch->course) {
    case KILLED:
        run_killed(self, batch, at_ns);
        break;
    case STOPPED:
        run_stopped(self, batch, at_ns);
        break;
    case UNKNOWN_DONE:
        settle(self, batch, slot, batch->lease, TALLY_TOLD_UNKNOWN, at_ns + MS);
        break;
    case UNKNOWN_UNDONE:
        settle(self, batch, slot, batch->lease, TALLY_TOLD_UNKNOWN, at_ns + MS);
        slot = hand_over(self, batch, slot, at_ns + 3 * MS);
        settle(self, batch, slot, batch->lease, TALLY_TOLD_SETTLED, at_ns + 5 * MS);
        break;
    case RETURNED:
        say(self, batch, TALLY_DID_RETURN, at_ns);
        batch->counts.failures++;
        deliver(self, batch, slot, at_ns + MS);
        settle(self, batch, slot, batch->lease, TALLY_TOLD_SETTLED, at_ns + 2 * MS);
        self->planted = self->planted || batch->planting;
        break;
    case BURIED:
        say(self, batch, TALLY_DID_BURY, at_ns);
        break;
    default:
        run_normal(self, batch, at_ns);
        break;
    }
}

void
synthetic_batch(struct synthetic *self, uint64_t number, int64_t at_ns)
{
    struct batch batch = {
        .course = choose_course(self, number),
        .queue = number % 10 < 6   ? QUEUE_KEYED
                 : number % 10 < 9 ? QUEUE_TERM
                                   : QUEUE_PLAIN,
        .tenant = (uint16_t)(number / 10 % TENANTS + 1),
        .client = &self->clients[number % CLIENTS],
        .slot = number % WORKERS,
    };
    if (batch.queue == QUEUE_TERM) {
        batch.slot = self->terms[batch.tenant].slot;
        batch.term = self->terms[batch.tenant].epoch;
    }
    batch.planting = number >= self->plant_from && !self->planted && suits(self, &batch);
    send_batch(self, &batch, at_ns);
    if (batch.course != REFUSED && batch.course != UNANSWERED_LOST) {
        store_batch(self, &batch);
    }
    answer_batch(self, &batch, at_ns + MS);
    if (batch.course == TURNED) {
        synthetic_fault(self, (struct synthetic_fault){FAULT_CLOCK, TALLY_VICTIM_CLOCK, 0, 0},
                        at_ns + MS, at_ns + 2 * MS);
    }
    if (batch.course == REFUSED || batch.course == UNANSWERED_LOST) {
        return;
    }
    deliver(self, &batch, batch.slot, at_ns + 2 * MS);
    run(self, &batch, at_ns + 3 * MS);
    tell_result(self, &batch, at_ns + 18 * MS);
}
