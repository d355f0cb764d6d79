// SPDX-License-Identifier: MIT
#include "tests/faults/worker.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "lib/planted.h"
#include "tests/faults/board.h"
#include "tests/faults/effect_store.h"
#include "tests/faults/load.h"
#include "workers/effect.h"
#include "workers/runtime.h"

#define CHILD_BYTES 64
#define BACK_MS 300    // longer than its key waits for the next message, mostly

struct run_worker {
    tally_history_t *history;
    tally_board_t *board;
    tally_slot_t *slot;
    uint32_t process;
    int work_ms;       // of each lease
    uint64_t sends;    // follow-up messages named so far
    uint64_t epochs[TALLY_LOAD_TENANTS + 1];
    //  of the lease in hand
    tally_load_queue_t queue;
    uint16_t tenant;
    size_t count;    // records in use
    tally_history_record_t records[TALLY_BATCH_MESSAGES_MAX];
    tally_history_record_t children[TALLY_BATCH_MESSAGES_MAX];
    uint8_t bodies[TALLY_BATCH_MESSAGES_MAX][CHILD_BYTES];
};

//  ---- recording --------------------------------------------------------------------------------

static void
record_all(struct run_worker *self, uint16_t kind, uint16_t code)
{
    for (size_t i = 0; i < self->count; i++) {
        tally_history_record_t record = self->records[i];
        record.kind = kind;
        record.code = code;
        tally_history_add(self->history, &record);
    }
}

static uint8_t
cut(unsigned count)
{
    return (uint8_t)(count < UINT8_MAX ? count : UINT8_MAX);
}

//  What was delivered, and by whom: each message once.
static void
record_delivery(struct run_worker *self, const tally_work_t *work)
{
    self->queue = tally_load_queue(work->queue);
    self->tenant = tally_load_tenant_number(work->tenant);
    if (work->epoch != 0 && self->epochs[self->tenant] != work->epoch) {
        self->epochs[self->tenant] = work->epoch;
        tally_history_add(self->history, &(tally_history_record_t){.kind = TALLY_TOLD_TERM,
                                                                   .queue = (uint16_t)self->queue,
                                                                   .tenant = self->tenant,
                                                                   .epoch = work->epoch});
    }
    for (size_t i = 0; i < work->count; i++) {
        const tally_delivered_t *item = &work->items[i];
        tally_history_record_t record = {
            .kind = TALLY_TOLD_DELIVERED,
            .queue = (uint16_t)self->queue,
            .tenant = self->tenant,
            .id = item->id,
            .lease = work->id,
            .epoch = work->epoch,
            .counts = {cut(item->deliveries), cut(item->failures), cut(item->crashes), 0},
        };
        tally_history_body_read(item->body, &record);
        tally_history_add(self->history, &record);
    }
    tally_board_add(&self->slot->delivered, work->count);
}

//  A record of the lease's message, for what is done with it.
static tally_history_record_t
make_record(const struct run_worker *self, const tally_work_t *work, size_t i)
{
    tally_history_record_t read = {.queue = (uint16_t)self->queue, .tenant = self->tenant};
    tally_history_body_read(work->items[i].body, &read);
    return (tally_history_record_t){
        .queue = read.queue,
        .tenant = read.tenant,
        .number = read.number,
        .id = work->items[i].id,
        .lease = work->id,
        .epoch = work->epoch,
        .key = read.key,
    };
}

//  ---- the transaction --------------------------------------------------------------------------

static void
pause_for(const struct run_worker *self)
{
    int pause_ms = self->work_ms;
    for (size_t i = 0; i < self->count; i++) {
        pause_ms += tally_load_pause_ms(self->records[i].number);
    }
    if (pause_ms > 0) {
        poll(NULL, 0, pause_ms);
    }
}

static tally_db_outcome_t
send_children(struct run_worker *self, tally_db_t *db)
{
    tally_bytes_t *bodies = tally_alloc_array(self->count, sizeof *bodies);
    for (size_t i = 0; i < self->count; i++) {
        tally_history_record_t *child = &self->children[i];
        *child = (tally_history_record_t){
            .kind = TALLY_DID_SEND,
            .number = tally_history_number(self->process, ++self->sends),
            .tenant = self->tenant,
            .queue = TALLY_LOAD_CHILD,
        };
        tally_history_add(self->history, child);
        tally_history_body_write(self->bodies[i], CHILD_BYTES, child);
        bodies[i] = (tally_bytes_t){self->bodies[i], CHILD_BYTES};
    }
    tally_db_outcome_t outcome = tally_effects_send(db, tally_load_policy(TALLY_LOAD_CHILD)->name,
                                                    tally_load_tenant(self->tenant), bodies,
                                                    self->count);
    free(bodies);
    return outcome;
}

//  All that stands or falls together, but for the COMMIT.
static tally_db_outcome_t
write_effects(struct run_worker *self, tally_db_t *db, const tally_work_t *work)
{
    tally_db_outcome_t outcome = tally_db_begin(db, TALLY_DB_READ_COMMITTED);
    if (outcome == TALLY_DB_DONE && work->epoch != 0) {
        outcome = tally_effects_hold_term(db, work->queue, work->tenant, work->epoch);
    }
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_effects_insert(db, self->records, self->count, self->process);
    }
    if (outcome == TALLY_DB_DONE && self->queue == TALLY_LOAD_PARENT) {
        outcome = send_children(self, db);
    }
    if (TALLY_PLANTED(EFFECT_BEFORE) && outcome == TALLY_DB_DONE) {
        outcome = tally_db_commit(db);
        outcome = outcome == TALLY_DB_DONE ? tally_db_begin(db, TALLY_DB_READ_COMMITTED) : outcome;
    }
    if (outcome == TALLY_DB_DONE) {
        pause_for(self);
        outcome = tally_effects_settle(db, work->id, self->records, self->count);
    }
    return outcome;
}

static uint16_t
stale_code(const tally_db_t *db)
{
    const char *state = tally_db_sqlstate(db);
    return strcmp(state, "TY001") == 0 ? 1 : strcmp(state, "TY002") == 0 ? 2 : 0;
}

//  What the histories learn of a transaction's end.
static void
record_end(struct run_worker *self, const tally_db_t *db, tally_db_outcome_t outcome,
           bool committing)
{
    uint16_t child = TALLY_TOLD_REFUSED;
    if (outcome == TALLY_DB_DONE) {
        record_all(self, TALLY_TOLD_SETTLED, 0);
        tally_board_add(&self->slot->settled, self->count);
        child = TALLY_TOLD_CONFIRMED;
    } else if (committing && outcome == TALLY_DB_UNKNOWN) {
        record_all(self, TALLY_TOLD_UNKNOWN, 0);
        tally_board_add(&self->slot->unknown, self->count);
        child = TALLY_TOLD_NOTHING;
    } else if (stale_code(db) != 0) {
        record_all(self, TALLY_TOLD_STALE, stale_code(db));
        tally_board_add(&self->slot->stale, self->count);
    } else {
        record_all(self, TALLY_TOLD_FAILED, 0);
    }
    for (size_t i = 0; i < self->count && self->children[i].number != 0; i++) {
        tally_history_add(self->history,
                          &(tally_history_record_t){.kind = child,
                                                    .number = self->children[i].number});
    }
}

static tally_effect_t
try_once(struct run_worker *self, tally_db_t *db, const tally_work_t *work)
{
    self->children[0].number = 0;
    record_all(self, TALLY_DID_SETTLE, 0);
    tally_db_outcome_t outcome = write_effects(self, db, work);
    bool committing = outcome == TALLY_DB_DONE;
    if (committing) {
        outcome = tally_db_commit(db);
    }
    record_end(self, db, outcome, committing);
    tally_effect_t effect = tally_effect_of(db, outcome);
    if (!committing) {
        tally_db_rollback(db);
    }
    return effect;
}

//  Ends the messages of the records, or gives them back.
static void
work_in_transaction(tally_worker_t *worker, struct run_worker *self, const tally_work_t *work)
{
    if (self->count == 0) {
        return;
    }
    tally_db_t *db = tally_worker_db(worker);
    tally_effect_t effect;
    unsigned tries = 0;
    do {
        effect = try_once(self, db, work);
        tries++;
    } while (tally_effect_try_again(db, effect, tries));
    if (effect == TALLY_EFFECT_DONE) {
        tally_worker_note(worker, work);
        return;
    }
    uint64_t *ids = tally_alloc_array(self->count, sizeof *ids);
    for (size_t i = 0; i < self->count; i++) {
        ids[i] = self->records[i].id;
    }
    if (effect != TALLY_EFFECT_STALE) {
        record_all(self, TALLY_DID_RETURN, effect == TALLY_EFFECT_REFUSED ? 1 : 0);
    }
    tally_effect_give_back(worker, work, ids, self->count, effect, "a lease");
    free(ids);
}

//  ---- kinds of work ----------------------------------------------------------------------------

static void
do_loose(tally_worker_t *worker, struct run_worker *self, const tally_work_t *work)
{
    for (size_t i = 0; i < work->count; i++) {
        self->records[i] = make_record(self, work, i);
    }
    self->count = work->count;
    pause_for(self);
    record_all(self, TALLY_DID_SETTLE, 0);
    tally_worker_settle(worker, work, NULL, 0);
    tally_board_add(&self->slot->settled, self->count);
}

static void
do_poison(tally_worker_t *worker, struct run_worker *self, const tally_work_t *work)
{
    self->count = 0;
    for (size_t i = 0; i < work->count; i++) {
        tally_history_record_t record = make_record(self, work, i);
        tally_load_act_t act = tally_load_act(record.number);
        const tally_delivered_t *item = &work->items[i];
        if (act == TALLY_LOAD_KILL) {
            raise(SIGKILL);
        } else if (act == TALLY_LOAD_BURY) {
            record.kind = TALLY_DID_BURY;
            tally_history_add(self->history, &record);
            tally_worker_bury(worker, work, item->id, "the message says so");
        } else if (act == TALLY_LOAD_FAIL_ALWAYS
                   || (act == TALLY_LOAD_FAIL && item->failures < 2)) {
            record.kind = TALLY_DID_RETURN;
            record.code = 1;
            tally_history_add(self->history, &record);
            tally_worker_return(worker, work, &item->id, 1, true, -1, "the message says so");
        } else {
            self->records[self->count++] = record;
        }
    }
    work_in_transaction(worker, self, work);
}

static void
do_keyed(tally_worker_t *worker, struct run_worker *self, const tally_work_t *work)
{
    self->count = 0;
    for (size_t i = 0; i < work->count; i++) {
        tally_history_record_t record = make_record(self, work, i);
        const tally_delivered_t *item = &work->items[i];
        if (item->deliveries == 1 && tally_load_comes_back(record.number)) {
            record.kind = TALLY_DID_RETURN;
            tally_history_add(self->history, &record);
            int64_t delay_ms = record.number % 2 == 0 ? BACK_MS : 0;
            tally_worker_return(worker, work, &item->id, 1, false, delay_ms, "its key waits");
        } else {
            self->records[self->count++] = record;
        }
    }
    work_in_transaction(worker, self, work);
}

static void
do_work(tally_worker_t *worker, void *state, const tally_work_t *work)
{
    struct run_worker *self = state;
    record_delivery(self, work);
    atomic_store(&self->slot->busy, (int)self->queue);
    if (self->queue == TALLY_LOAD_LOOSE) {
        do_loose(worker, self, work);
    } else if (self->queue == TALLY_LOAD_POISON) {
        do_poison(worker, self, work);
    } else if (self->queue == TALLY_LOAD_KEYED) {
        do_keyed(worker, self, work);
    } else {
        for (size_t i = 0; i < work->count; i++) {
            self->records[i] = make_record(self, work, i);
        }
        self->count = work->count;
        work_in_transaction(worker, self, work);
    }
    atomic_store(&self->slot->busy, 0);
}

//  ---- starting ---------------------------------------------------------------------------------

static int
start(tally_worker_t *worker, void **state)
{
    const char *room = tally_worker_option(worker, "room");
    const char *slot = tally_worker_option(worker, "slot");
    const char *process = tally_worker_option(worker, "process");
    if (room == NULL || slot == NULL || process == NULL) {
        tally_log_error("--room, --slot and --process must be given");
        return -1;
    }
    struct run_worker *self = tally_alloc(sizeof *self);
    *state = self;
    char *board = tally_format("%s/board", room);
    char *histories = tally_format("%s/history", room);
    self->process = (uint32_t)strtoul(process, NULL, 10);
    self->board = tally_board_open(board);
    self->history = tally_history_open(histories, tally_worker_name(worker), self->process,
                                       TALLY_WRITER_WORKER);
    free(board);
    free(histories);
    if (self->board == NULL) {
        return -1;
    }
    const char *work_ms = tally_worker_option(worker, "work-ms");
    self->work_ms = work_ms == NULL ? 0 : (int)strtol(work_ms, NULL, 10);
    self->slot = &self->board->slots[strtoul(slot, NULL, 10) % TALLY_BOARD_SLOTS];
    atomic_store(&self->slot->busy, 0);    // who had it before us may have been killed
    (void)tally_worker_db(worker);         // the runtime connects it, and keeps it connected
    return 0;
}

static void
stop(tally_worker_t *worker, void **state)
{
    (void)worker;
    struct run_worker *self = *state;
    if (self != NULL) {
        tally_history_close(&self->history);
        tally_board_close(&self->board);
        free(self);
    }
    *state = NULL;
}

static const char *const options[] = {"room", "slot", "process", "work-ms", NULL};

static const tally_worker_role_t roles[] = {
    {
        .role = "main",
        .summary = "Works in transactions.",
        .queues = {"plain", "keyed", "delayed", "once", "ask", "parent", "child", "term"},
        .credit = 128,
        .start = start,
        .work = do_work,
        .stop = stop,
        .options = options,
    },
    {
        .role = "loose",
        .summary = "Settles by records.",
        .queues = {"loose"},
        .credit = 64,
        .start = start,
        .work = do_work,
        .stop = stop,
        .options = options,
    },
    {
        .role = "poison",
        .summary = "Does as its messages say.",
        .queues = {"poison"},
        .credit = 16,
        .start = start,
        .work = do_work,
        .stop = stop,
        .options = options,
    },
};

int
tally_faults_worker(const char *kind, int argc, char **argv)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        if (strcmp(roles[i].role, kind) == 0) {
            return tally_worker_main(argc, argv, &roles[i]);
        }
    }
    fprintf(stderr, "faults: there is no worker \"%s\"\n", kind);
    return 64;
}
