// SPDX-License-Identifier: MIT
//  shell - see shell.h: the process, its loop and its ticks.

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/shell_state.h"

#define FRAMES_PER_TURN 256
#define INBOX_POLL_MS 1000
#define HOUSEKEEP_MS 10000
#define RETRY_WRITTEN_MS 1000    // a request of an operator is in the database by then

sim_shell_t *
sim_shell_new(sim_world_t *world)
{
    sim_shell_t *self = tally_alloc(sizeof *self);
    self->world = world;
    self->mode = SIM_DOWN;
    self->callers = tally_callers_new();
    self->tell_max = SIZE_MAX;
    return self;
}

static void
clear_frames(sim_frames_t *frames, size_t *at)
{
    for (; *at < frames->count; (*at)++) {
        tally_chunk_drop(&frames->items[*at].chunk);
    }
    frames->count = 0;
    *at = 0;
}

void
sim_shell_clear_inputs(sim_inputs_t *inputs, size_t from)
{
    for (size_t i = from; i < inputs->count; i++) {
        tally_chunk_drop(&inputs->items[i].chunk);
    }
    inputs->count = 0;
}

sim_input_t *
sim_shell_keep(sim_shell_t *self, const uint8_t *sender, tally_chunk_t *chunk)
{
    sim_input_t *input = TALLY_PUSH(&self->collecting);
    input->chunk = tally_chunk_hold(chunk);
    input->is_send = sender != NULL;
    if (sender != NULL) {
        memcpy(input->sender, sender, TALLY_SENDER_BYTES);
    }
    return input;
}

//  All that a process has in memory.
static void
forget_all(sim_shell_t *self)
{
    tally_core_destroy(&self->core);
    sim_ledger_may_forget(self->world->ledger);
    self->plan = NULL;
    sim_shell_clear_inputs(&self->collecting, 0);
    sim_shell_clear_inputs(&self->under_way, 0);
    sim_shell_clear_inputs(&self->owed, 0);
    sim_shell_clear_inputs(&self->again, self->again_at);
    self->again_at = self->feed_again_max = 0;
    clear_frames(&self->front, &self->front_at);
    clear_frames(&self->sink, &self->sink_at);
    sim_shell_forget_reads(self);
    sim_shell_free_peers(self);
    tally_callers_destroy(&self->callers);
    self->callers = tally_callers_new();
    self->tell_max = SIZE_MAX;
    self->answered = false;
    self->mode = SIM_DOWN;
}

void
sim_shell_destroy(sim_shell_t **self_p)
{
    sim_shell_t *self = *self_p;
    *self_p = NULL;
    forget_all(self);
    tally_callers_destroy(&self->callers);
    free(self->collecting.items);
    free(self->under_way.items);
    free(self->owed.items);
    free(self->again.items);
    free(self->front.items);
    free(self->sink.items);
    free(self->reads.items);
    free(self->peers.items);
    tally_wire_free(&self->wire);
    free(self);
}

void
sim_shell_heal(sim_shell_t *self)
{
    if (self->stopped_until_ms > self->world->now_ms) {
        self->stopped_until_ms = self->world->now_ms;
    }
}

//  ---- the process -------------------------------------------------------------------------------

void
sim_shell_start(sim_shell_t *self)
{
    sim_world_t *world = self->world;
    if (self->mode != SIM_DOWN) {
        return;
    }
    if (!sim_database_reachable(world->database)) {
        sim_post(world, SIM_START, world->now_ms + sim_between(world, 1, 500), 0, 0, NULL);
        return;
    }
    self->epoch = sim_database_take_epoch(world->database);
    SIM_TRACE(world, "==== broker starts, epoch # ====", self->epoch);
    sim_shell_load(self, 0, fake_store_last_tick(sim_database_store(world->database)));
    tally_core_loaded(self->core, world->now_ms);
    sim_ledger_loaded(world->ledger, self->core);
    tally_core_check(self->core);
    self->last_worker = self->epoch << 40;
    self->mode = SIM_SERVING;
    self->reconnect_attempt = 0;
    self->beat_at_ms = self->inbox_at_ms = self->housekeep_at_ms = world->now_ms;
}

void
sim_shell_kill(sim_shell_t *self)
{
    sim_world_t *world = self->world;
    if (self->mode == SIM_DOWN) {
        return;
    }
    SIM_TRACE(world, "==== broker killed, epoch # ====", self->epoch);
    if (self->plan != NULL) {
        sim_database_orphan(world->database, &self->core);
    }
    forget_all(self);
    int64_t down_ms = sim_happens(world, 30) ? sim_between(world, 0, 5)
                                             : sim_between(world, 0, 2000);
    sim_post(world, SIM_START, world->now_ms + down_ms, 0, 0, NULL);
}

void
sim_shell_stop(sim_shell_t *self, int64_t ms)
{
    sim_bit(self->world, SIM_STOPPED);
    SIM_TRACE(self->world, "broker is stopped for # ms", (uint64_t)ms);
    self->stopped_until_ms = self->world->now_ms + ms;
}

void
sim_shell_sleep(sim_shell_t *self, int64_t until_ms)
{
    self->stopped_until_ms = until_ms;
}

//  ---- sockets -----------------------------------------------------------------------------------

//  What comes out of a socket is nobody else's.
static tally_chunk_t *
copy_of(const tally_chunk_t *frame)
{
    return tally_chunk_new((tally_bytes_t){frame->data, frame->size});
}

void
sim_shell_front(sim_shell_t *self, uint64_t route, tally_chunk_t *frame)
{
    if (self->mode != SIM_DOWN) {
        *TALLY_PUSH(&self->front) = (sim_frame_t){route, copy_of(frame)};
    }
}

void
sim_shell_sink(sim_shell_t *self, tally_chunk_t *frame)
{
    if (self->mode != SIM_DOWN) {
        *TALLY_PUSH(&self->sink) = (sim_frame_t){0, copy_of(frame)};
    }
}

void
sim_shell_answer(sim_shell_t *self, uint64_t tick)
{
    if (self->mode == SIM_SERVING && self->plan != NULL && self->tick == tick) {
        self->answered = true;
    }
}

//  True when the sockets may hold more.
static bool
take_frames(sim_shell_t *self)
{
    size_t taken = 0;
    while (self->sink_at < self->sink.count && taken++ < FRAMES_PER_TURN
           && !tally_core_full(self->core)) {
        tally_chunk_t *chunk = self->sink.items[self->sink_at++].chunk;
        sim_shell_take_records(self, chunk);
        tally_chunk_drop(&chunk);
    }
    taken = 0;
    while (self->front_at < self->front.count && taken++ < FRAMES_PER_TURN
           && (self->mode != SIM_SERVING || !tally_core_full(self->core))) {
        sim_frame_t frame = self->front.items[self->front_at++];
        sim_shell_take_frame(self, frame.route, frame.chunk);
        tally_chunk_drop(&frame.chunk);
    }
    if (self->sink_at == self->sink.count) {
        self->sink_at = self->sink.count = 0;
        self->listened_ms = self->world->now_ms;
    }
    if (self->front_at == self->front.count) {
        self->front_at = self->front.count = 0;
    }
    return self->sink.count + self->front.count > 0;
}

//  ---- ticks -------------------------------------------------------------------------------------

//  After each tick the core is checked as a whole; on the way now and then, since it takes long.
static void
sometimes_check(sim_shell_t *self)
{
    if (sim_happens(self->world, 10)) {
        tally_core_check(self->core);
    }
}

//  As broker/loop.c.
static void
forget_inputs(sim_shell_t *self)
{
    sim_inputs_t *owed = &self->owed;
    if (!tally_core_owes(self->core)) {
        sim_shell_clear_inputs(owed, 0);
        sim_shell_clear_inputs(&self->under_way, 0);
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < owed->count; i++) {
        if (sim_shell_awaits(self, owed->items[i].chunk)) {
            owed->items[kept++] = owed->items[i];
        } else {
            tally_chunk_drop(&owed->items[i].chunk);
        }
    }
    owed->count = kept;
    for (size_t i = 0; i < self->under_way.count; i++) {
        const sim_input_t *input = &self->under_way.items[i];
        if (input->ends && sim_shell_awaits(self, input->chunk) && !TALLY_PLANTED(OWED_FORGOTTEN)) {
            sim_input_t *moved = TALLY_PUSH(owed);
            *moved = *input;
            tally_chunk_hold(moved->chunk);
            sim_bit(self->world, SIM_RECORD_OWED);
        }
    }
    sim_shell_clear_inputs(&self->under_way, 0);
}

static void
finish_tick(sim_shell_t *self, const tally_tick_result_t *result)
{
    tally_plan_t *plan = self->plan;
    self->plan = NULL;
    self->answered = false;
    tally_core_commit(self->core, plan, result, self->world->now_ms);
    sometimes_check(self);
    if (!sim_shell_publish(self, plan)) {
        sim_shell_kill(self);
        return;
    }
    tally_core_published(self->core, &plan);
    tally_core_check(self->core);
    forget_inputs(self);
    self->feed_again_max *= 2;
    self->reconnect_attempt = 0;
}

static void
start_tick(sim_shell_t *self)
{
    sim_world_t *world = self->world;
    self->plan = tally_core_seal(self->core, world->now_ms);
    sometimes_check(self);
    if (self->plan == NULL) {
        return;
    }
    sim_inputs_t inputs = self->under_way;
    self->under_way = self->collecting;
    self->collecting = inputs;
    assert(self->collecting.count == 0);
    if (tally_plan_silent(self->plan)) {
        finish_tick(self, NULL);
        return;
    }
    self->answered = false;
    self->tick = sim_database_start(world->database, self->epoch, self->plan);
    if (TALLY_PLANTED(TOLD_EARLY) && !sim_shell_publish(self, self->plan)) {
        return;
    }
    if (sim_strikes(world, SIM_KILLED_BEFORE)) {
        sim_shell_kill(self);
    }
}

static void
end_tick(sim_shell_t *self)
{
    sim_world_t *world = self->world;
    sim_commit_t outcome = sim_database_outcome(world->database, self->tick);
    if (outcome == SIM_UNKNOWN && TALLY_PLANTED(LOST_IS_DONE)) {
        outcome = SIM_DONE;
    }
    if (outcome != SIM_DONE) {
        sim_shell_lost(self, outcome);
        return;
    }
    if (sim_strikes(world, SIM_KILLED_AFTER)) {
        sim_shell_kill(self);
        return;
    }
    if (sim_strikes(world, SIM_KILLED_TELLING)) {
        self->tell_max = sim_draw(world, 4);
    }
    finish_tick(self, sim_database_result(world->database));
}

static bool
turn_tick(sim_shell_t *self)
{
    bool moved = false;
    if (self->plan != NULL && self->answered) {
        end_tick(self);
        moved = true;
    }
    if (self->mode == SIM_SERVING && self->plan == NULL
        && tally_core_next_ms(self->core, self->world->now_ms) <= self->world->now_ms) {
        if (self->world->now_ms - self->listened_ms > TALLY_BEAT_MS) {
            tally_core_pardon(self->core, self->world->now_ms);
        }
        start_tick(self);
        moved = true;
    }
    return moved;
}

static void
turn_timers(sim_shell_t *self)
{
    int64_t now_ms = self->world->now_ms;
    if (now_ms >= self->beat_at_ms) {
        sim_shell_beat(self);
        sim_shell_sweep(self);
        self->beat_at_ms = now_ms + TALLY_BEAT_MS;
    }
    if (now_ms >= self->inbox_at_ms) {
        tally_core_look_in_inbox(self->core);
        self->inbox_at_ms = now_ms + INBOX_POLL_MS;
    }
    if (now_ms >= self->housekeep_at_ms) {
        tally_core_housekeep(self->core);
        self->housekeep_at_ms = now_ms + HOUSEKEEP_MS;
    }
}

bool
sim_shell_turn(sim_shell_t *self)
{
    if (self->mode == SIM_DOWN || self->world->now_ms < self->stopped_until_ms) {
        return false;
    }
    bool more = false;
    if (self->mode != SIM_SERVING || sim_shell_feed(self)) {
        more = take_frames(self);
    }
    if (self->mode == SIM_SERVING) {
        more = turn_tick(self) || more;
    } else if (self->mode == SIM_BEING_AWAY && self->world->now_ms >= self->reconnect_at_ms) {
        sim_shell_try(self);
        more = self->mode == SIM_SERVING;
    }
    if (self->mode != SIM_DOWN) {
        turn_timers(self);
    }
    return more && self->mode != SIM_DOWN;
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t
sim_shell_next_ms(const sim_shell_t *self)
{
    if (self->mode == SIM_DOWN) {
        return INT64_MAX;
    }
    int64_t next_ms = self->beat_at_ms;
    if (self->mode == SIM_BEING_AWAY) {
        next_ms = earlier(next_ms, self->reconnect_at_ms);
    } else if (self->plan == NULL) {
        next_ms = earlier(next_ms, earlier(self->inbox_at_ms, self->housekeep_at_ms));
        next_ms = earlier(next_ms, tally_core_next_ms(self->core, self->world->now_ms));
    }
    return next_ms > self->stopped_until_ms ? next_ms : self->stopped_until_ms;
}

const char *
sim_shell_busy(const sim_shell_t *self)
{
    if (self->mode != SIM_SERVING) {
        return "the broker does not serve";
    }
    if (self->again.count > 0) {
        return "inputs are left to be fed again";
    }
    if (self->world->now_ms - self->retried_ms < RETRY_WRITTEN_MS) {
        return "a dead letter may be sent again by the next tick";
    }
    tally_stream_stats_t stats;
    for (size_t i = 0; i < tally_core_queue_count(self->core); i++) {
        tally_core_stats(self->core, tally_core_queue_at(self->core, i)->id, 0, self->world->now_ms,
                         &stats);
        if (stats.ready + stats.held + stats.delayed + stats.waiting + stats.leased > 0) {
            return "messages are left in the core";
        }
    }
    return NULL;
}

//  ---- an operator -------------------------------------------------------------------------------

void
sim_shell_drain(sim_shell_t *self, uint64_t worker)
{
    if (self->mode == SIM_SERVING) {
        sim_bit(self->world, SIM_WORKER_DRAINED);
        tally_core_worker_drain(self->core, worker, self->world->now_ms);
    }
}

void
sim_shell_retry_dead(sim_shell_t *self, uint32_t tenant, uint64_t message)
{
    if (self->mode == SIM_SERVING) {
        tally_core_retry_dead(self->core, tenant, message);
        self->retried_ms = self->world->now_ms;
    }
}
