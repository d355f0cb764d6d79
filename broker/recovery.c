// SPDX-License-Identifier: MIT
//  recovery - from the database to a core: at start, and whenever a tick did not end well.
//
//  A tick that failed, or whose COMMIT nobody answered, leaves a core that may be ahead of the truth.  So the core is
//  thrown away and loaded again, by the same code as at start; then every input of that tick and of the one being
//  collected is fed again.  That is right whether the tick is found in the database or not: a send that was stored is
//  confirmed again by its sequence, an ending whose lease is gone is stale.  Leases that the lost tick granted were
//  never delivered and go back at once.  Meanwhile the sockets stay open: sends are refused with AWAY, endings wait.

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>

#include "broker/broker.h"
#include "broker/place_store.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/log.h"

#define DOUBT_MS (3 * TALLY_PLACE_SILENCE_MS / 2)    // a standby is active by then
#define RECONNECT_MS_MIN 20
#define ROWS_PER_LOOK 4096    // at the clock, while loading
#define RECONNECT_MS_MAX 1000

static void
load_queue(void *context, const tally_queue_row_t *row)
{
    tally_core_load_queue(((tally_broker_t *)context)->core, row);
}

static void
load_tenant(void *context, const tally_tenant_row_t *row)
{
    tally_core_load_tenant(((tally_broker_t *)context)->core, row);
}

static void
load_term(void *context, const tally_term_row_t *row)
{
    tally_core_load_term(((tally_broker_t *)context)->core, row);
}

//  Rows count from PostgreSQL's now(), which is no later than this: from an older time of ours a message would be due
//  too early.
static void
begin_load(void *context)
{
    ((tally_broker_t *)context)->now_ms = tally_clock_now_ms();
}

static void
load_lease(void *context, const tally_lease_row_t *row)
{
    tally_broker_t *self = context;
    tally_core_load_lease(self->core, row, self->now_ms);
}

//  Rows come in one long statement, and PostgreSQL often waits for us to take them: whoever stands by would think that
//  we hang.  The tick's connection has nothing else to do.
static void
show_life(tally_broker_t *self)
{
    int64_t now_ms = tally_clock_now_ms();
    if (now_ms < self->place_at_ms) {
        return;
    }
    self->place_at_ms = now_ms + TALLY_PLACE_BEAT_MS;
    if (tally_tick_store_connected(self->ticks) && tally_tick_store_rest(self->ticks)) {
        tally_tick_store_beat(self->ticks);
    }
}

static void
load_message(void *context, const tally_message_row_t *row)
{
    tally_broker_t *self = context;
    tally_core_load_message(self->core, row, self->now_ms);
    if (++self->rows_loaded % ROWS_PER_LOOK == 0) {
        show_life(self);
    }
    TALLY_FAILPOINT(LOADING);
}

static tally_db_outcome_t
load_senders(tally_broker_t *self)
{
    tally_db_outcome_t outcome = TALLY_DB_DONE;
    for (size_t i = 0; i < tally_callers_count(self->callers) && outcome == TALLY_DB_DONE; i++) {
        const tally_caller_t *caller = tally_callers_at(self->callers, i);
        tally_sender_row_t row = {0};
        bool found = false;
        outcome = tally_recover_store_sender(self->recovery, caller->sender, &found, &row);
        if (!found) {
            row = (tally_sender_row_t){0};
        }
        memcpy(row.id, caller->sender, TALLY_SENDER_BYTES);
        if (outcome == TALLY_DB_DONE) {
            tally_core_load_sender(self->core, &row);
        }
    }
    return outcome;
}

//  REJECT: another broker took over, and this process ends.
static tally_db_outcome_t
check_epoch(tally_broker_t *self)
{
    uint64_t epoch = 0;
    tally_db_outcome_t outcome = tally_recover_store_read_epoch(self->recovery, &epoch);
    if (outcome == TALLY_DB_DONE && epoch != self->epoch) {
        tally_log_error("replaced by another broker  epoch=%" PRIu64 " current=%" PRIu64,
                        self->epoch, epoch);
        self->state = TALLY_REPLACED;
        self->fatal = true;
        return TALLY_DB_REJECT;
    }
    return outcome;
}

//  A new core from the database.  On failure there is no core; try again.
static tally_db_outcome_t
load_core(tally_broker_t *self, uint64_t first_id, uint64_t tick)
{
    tally_core_options_t options = {.epoch = self->epoch,
                                    .first_id = first_id,
                                    .body_cache_bytes_max = self->options.body_cache_bytes_max,
                                    .shared_messages = TALLY_PLAN_SHARED_MESSAGES,
                                    .tick = tick};
    randombytes_buf(&options.seed, sizeof options.seed);
    self->core = tally_core_new(&options);
    const tally_recover_sink_t sink = {self,      begin_load, load_queue,  load_tenant,
                                       load_term, load_lease, load_message};
    tally_db_outcome_t outcome = tally_recover_store_load(self->recovery, &sink);
    if (outcome == TALLY_DB_DONE) {
        outcome = load_senders(self);
    }
    if (TALLY_FAILPOINT_FAILS(LOADED)) {
        outcome = TALLY_DB_RETRY;
    }
    //  Who woke up late has loaded what its successor wrote, with ids that are not its own.
    if (outcome == TALLY_DB_DONE) {
        outcome = check_epoch(self);
    }
    if (outcome != TALLY_DB_DONE) {
        tally_core_destroy(&self->core);
    }
    return outcome;
}

int
tally_recovery_check(tally_broker_t *self)
{
    tally_db_outcome_t outcome = tally_recover_store_check_schema(self->recovery);
    if (outcome != TALLY_DB_DONE) {
        tally_log_error("could not use database: %s", tally_recover_store_error(self->recovery));
        return outcome == TALLY_DB_RETRY ? 75 : 78;
    }
    return 0;
}

//  The place first, then the epoch: of several that try only one gets so far.
static tally_db_outcome_t
take_place(tally_broker_t *self, uint64_t silent, bool *taken)
{
    tally_recover_store_t *store = self->recovery;
    tally_db_t *db = tally_recover_store_db(store);
    tally_db_outcome_t outcome = tally_recover_store_connect(store);
    if (outcome == TALLY_DB_DONE && silent != 0) {
        int ended = 0;
        outcome = tally_place_store_usurp(db, silent, taken, &ended);
        tally_log_info("ended sessions of the silent broker  sessions=%d", ended);
    } else if (outcome == TALLY_DB_DONE) {
        outcome = tally_place_store_seize(db, taken);
    }
    if (outcome == TALLY_DB_DONE && *taken) {
        TALLY_FAILPOINT(PLACE_TAKEN);
        outcome = tally_recover_store_take_epoch(store, self->options.instance, &self->epoch);
        TALLY_FAILPOINT(EPOCH_TAKEN);
    }
    if (outcome == TALLY_DB_DONE && *taken) {
        outcome = tally_place_store_settle(db);
    }
    return outcome;
}

int
tally_recovery_start(tally_broker_t *self, uint64_t silent)
{
    tally_recover_store_t *store = self->recovery;
    int64_t began_ms = tally_clock_now_ms();
    tally_db_outcome_t outcome = tally_tick_store_connect(self->ticks);
    if (outcome != TALLY_DB_DONE) {
        tally_log_error("could not use database: %s", tally_tick_store_error(self->ticks));
        return outcome == TALLY_DB_RETRY ? 75 : 78;
    }
    bool taken = false;
    outcome = take_place(self, silent, &taken);
    if (outcome == TALLY_DB_DONE && !taken) {
        tally_tick_store_disconnect(self->ticks);
        return TALLY_RECOVERY_TAKEN;
    }
    if (outcome == TALLY_DB_DONE) {
        tally_tick_store_hold(self->ticks);
    }
    self->now_ms = tally_clock_now_ms();
    if (outcome == TALLY_DB_DONE) {
        outcome = load_core(self, 0, 0);
    }
    if (self->fatal) {
        return 75;
    }
    if (outcome != TALLY_DB_DONE) {
        tally_log_error("could not recover: %s", tally_recover_store_error(store));
        return outcome == TALLY_DB_RETRY ? 75 : 78;
    }
    tally_core_loaded(self->core, self->now_ms);
    self->last_worker = self->epoch << 40;
    self->state = TALLY_SERVING;
    self->active_since_ms = self->now_ms;
    tally_stream_stats_t stats = {0};
    tally_core_stats(self->core, 0, 0, self->now_ms, &stats);
    tally_log_info("recovered  epoch=%" PRIu64 " ready=%" PRIu64 " delayed=%" PRIu64
                   " held=%" PRIu64 " leased=%" PRIu64 " took_ms=%" PRId64,
                   self->epoch, stats.ready, stats.delayed, stats.held, stats.leased,
                   tally_clock_now_ms() - began_ms);
    return 0;
}

//  Nothing for the first attempt after a good tick, then full jitter under a doubling cap.
static int64_t
back_off_ms(tally_broker_t *self)
{
    int attempt = self->reconnect_attempt++;
    if (attempt == 0) {
        return 0;
    }
    int64_t cap_ms = (int64_t)RECONNECT_MS_MIN << (attempt < 8 ? attempt : 8);
    if (cap_ms > RECONNECT_MS_MAX) {
        cap_ms = RECONNECT_MS_MAX;
    }
    return RECONNECT_MS_MIN + (int64_t)randombytes_uniform((uint32_t)cap_ms);
}

//  ---- after a tick that did not end well -------------------------------------------------------------------

static void
append_inputs(tally_inputs_t *target, tally_inputs_t *source, size_t from)
{
    for (size_t i = from; i < source->count; i++) {
        *TALLY_PUSH(target) = source->items[i];
    }
    source->count = 0;
}

//  What is to be fed again, in the order in which it came: what ticks before the lost one left to be done, the lost
//  one, the one collected since, and what an earlier loss had left.
static void
gather_inputs(tally_broker_t *self)
{
    tally_inputs_t again = {0};
    append_inputs(&again, &self->owed, 0);
    append_inputs(&again, &self->under_way, 0);
    append_inputs(&again, &self->collecting, 0);
    append_inputs(&again, &self->again, self->again_at);
    free(self->again.items);
    self->again = again;
    self->again_at = 0;
}

//  Statements cannot fail on data; should one do so all the same, half of the inputs that may have done it, the first
//  of those to be fed again, go into the next tick, until the one that does it stands alone and is refused.
static void
halve(tally_broker_t *self, size_t count)
{
    self->counters.rejected++;
    if (count > 1) {
        self->feed_again_max = count / 2;
        return;
    }
    if (count == 0) {
        return;    // not an input's doing: an election, an expiry; see the log
    }
    tally_input_t *culprit = &self->again.items[self->again_at++];
    tally_log_error("refused input that PostgreSQL rejects  bytes=%zu", culprit->chunk->size);
    tally_caller_t *caller = culprit->is_send
                                 ? tally_callers_find_sender(self->callers, culprit->sender)
                                 : NULL;
    if (caller != NULL) {
        tally_head_t head = {0};
        tally_cursor_t cursor;
        const tally_fault_t bad = {TALLY_E_INTERNAL, TALLY_NO_INDEX,
                                   "PostgreSQL rejects this send; see the broker's log"};
        tally_fault_t fault = tally_head_read((tally_bytes_t){culprit->chunk->data,
                                                              culprit->chunk->size},
                                              &head, &cursor);
        assert(fault.code == 0);
        tally_front_refuse(self, caller->route, head.request, bad, 0);
    }
    tally_chunk_drop(&culprit->chunk);
    self->feed_again_max = 1;
}

static void
go_away(tally_broker_t *self)
{
    self->state = TALLY_AWAY;
    self->away_since_ms = self->now_ms;
    self->reconnect_at_ms = self->now_ms + back_off_ms(self);
}

void
tally_recovery_lost(tally_broker_t *self, tally_db_outcome_t outcome)
{
    const char *sqlstate = tally_tick_store_sqlstate(self->ticks);
    if (strcmp(sqlstate, "TY005") == 0) {
        tally_log_error("replaced by another broker  epoch=%" PRIu64, self->epoch);
        self->state = TALLY_REPLACED;
        self->fatal = true;
        return;
    }
    tally_log_warn("tick did not end well: %s  tick=%" PRIu64 " sqlstate=%s outcome=%s",
                   tally_tick_store_error(self->ticks), self->plan->number, sqlstate,
                   outcome == TALLY_DB_UNKNOWN ? "unknown"
                   : outcome == TALLY_DB_RETRY ? "retry"
                                               : "reject");
    size_t suspects = self->owed.count + self->under_way.count;
    gather_inputs(self);
    if (outcome == TALLY_DB_REJECT) {
        halve(self, suspects);
    }
    self->counters.retried += outcome == TALLY_DB_RETRY;
    self->lost_outcome = outcome;
    tally_admin_clear(self, &self->asked_under_way, "the broker lost its database; ask again");
    tally_admin_clear(self, &self->asked_collecting, "the broker lost its database; ask again");
    TALLY_FAILPOINT(TICK_LOST);
    go_away(self);
}

void
tally_recovery_cut(tally_broker_t *self)
{
    assert(self->plan == NULL);
    tally_log_warn("lost the connection between ticks: %s", tally_tick_store_error(self->ticks));
    gather_inputs(self);
    go_away(self);
}

static void
try_later(tally_broker_t *self, const char *why)
{
    int64_t delay_ms = back_off_ms(self);
    self->reconnect_at_ms = tally_clock_now_ms() + delay_ms;
    tally_log_warn("could not reach database: %s  attempt=%d retry_in_ms=%" PRId64, why,
                   self->reconnect_attempt, delay_ms);
}

//  True when the tick's connection is there.  Never waits for it: the loop calls again.
static bool
is_connected(tally_broker_t *self)
{
    if (tally_tick_store_connected(self->ticks)) {
        return true;
    }
    if (!tally_tick_store_opening(self->ticks)) {
        tally_tick_store_open(self->ticks, self->now_ms);
    }
    tally_db_outcome_t outcome = TALLY_DB_RETRY;
    if (!tally_tick_store_opened(self->ticks, self->now_ms, &outcome)) {
        self->reconnect_at_ms = self->now_ms + TALLY_BEAT_MS;    // or when its descriptor says so
        return false;
    }
    if (outcome != TALLY_DB_DONE) {
        try_later(self, tally_tick_store_error(self->ticks));
    }
    return outcome == TALLY_DB_DONE;
}

//  DONE: still ours, and it is known whether the lost tick committed.
static tally_db_outcome_t
resolve(tally_broker_t *self, bool *found)
{
    tally_db_outcome_t outcome = check_epoch(self);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_place_store_hold(tally_recover_store_db(self->recovery));
    }
    if (outcome == TALLY_DB_DONE && self->plan != NULL) {
        outcome = tally_recover_store_find_tick(self->recovery, self->epoch, self->plan->number,
                                                found);
    }
    if (outcome == TALLY_DB_DONE) {
        tally_tick_store_hold(self->ticks);
    } else if (!self->fatal) {
        try_later(self, tally_recover_store_error(self->recovery));
    }
    return outcome;
}

//  Results that were stored while nobody could be told.
static void
look_for_results(tally_broker_t *self)
{
    for (size_t i = 0; i < tally_callers_count(self->callers); i++) {
        const tally_caller_t *caller = tally_callers_at(self->callers, i);
        for (size_t k = 0; k < caller->ask_count; k++) {
            tally_front_look_for_result(self, &caller->asks[k]);
        }
    }
}

void
tally_recovery_try(tally_broker_t *self)
{
    bool found = false;
    if (!is_connected(self) || resolve(self, &found) != TALLY_DB_DONE) {
        return;
    }
    if (self->plan == NULL) {    // no tick was under way: the core is what it should be
        self->now_ms = tally_clock_now_ms();
        self->state = TALLY_SERVING;
        tally_log_info("connected again  epoch=%" PRIu64 " away_ms=%" PRId64, self->epoch,
                       self->now_ms - self->away_since_ms);
        return;
    }
    if (self->lost_outcome == TALLY_DB_UNKNOWN) {
        self->counters.unknown_found += found;
        self->counters.unknown_lost += !found;
    } else {
        assert(!found);    // "certainly not" was said of it
    }
    if (found) {
        TALLY_FAILPOINT(TICK_FOUND);
    } else {
        TALLY_FAILPOINT(TICK_VOID);
    }
    tally_core_t *old = self->core;
    tally_db_outcome_t outcome = load_core(self, tally_core_next_id(old), tally_core_tick(old));
    if (outcome != TALLY_DB_DONE) {
        self->core = old;
        if (!self->fatal) {
            try_later(self, tally_recover_store_error(self->recovery));
        }
        return;
    }
    self->now_ms = tally_clock_now_ms();
    tally_peers_rejoin(self);
    tally_core_loaded(self->core, self->now_ms);
    append_inputs(&self->again, &self->collecting, 0);    // came while we were away
    //  Its leases reached nobody.  When there are none nothing is given back: a rejected tick must
    //  not grow by that, or the input that does it would never stand alone.
    if (found) {
        tally_sink_give_back(self, self->plan->leases.items, self->plan->leases.count);
    }
    self->plan = NULL;    // it was the old core's
    tally_core_destroy(&old);
    self->state = TALLY_SERVING;
    look_for_results(self);
    tally_log_info("recovered  epoch=%" PRIu64 " lost_tick=%s inputs=%zu away_ms=%" PRId64,
                   self->epoch, found ? "committed" : "did not happen", self->again.count,
                   self->now_ms - self->away_since_ms);
}

bool
tally_recovery_doubtful(const tally_broker_t *self)
{
    if (json_array_size(self->standbys) == 0) {
        return false;
    }
    int64_t since_ms = self->state == TALLY_AWAY ? self->away_since_ms
                       : self->plan != NULL      ? self->tick_since_ms
                                                 : self->now_ms;
    return self->now_ms - since_ms > DOUBT_MS;
}

//  ---- feeding again ----------------------------------------------------------------------------------------

static void
feed_one(tally_broker_t *self, const tally_input_t *input)
{
    if (input->is_send) {
        tally_front_send(self, input->sender, input->chunk);
        return;
    }
    tally_sink_take_again(self, input->chunk);
}

bool
tally_recovery_feed(tally_broker_t *self)
{
    if (self->again.count == 0) {
        return true;
    }
    while (self->state == TALLY_SERVING && self->again_at < self->again.count
           && !tally_core_full(self->core)
           && (self->feed_again_max == 0 || self->collecting.count < self->feed_again_max)) {
        tally_input_t *input = &self->again.items[self->again_at++];
        feed_one(self, input);
        TALLY_FAILPOINT(FED_AGAIN);
        tally_chunk_drop(&input->chunk);
    }
    if (self->again_at < self->again.count) {
        return false;
    }
    self->again.count = 0;
    self->again_at = 0;
    self->feed_again_max = 0;
    return true;
}
