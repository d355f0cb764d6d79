// SPDX-License-Identifier: MIT
//  shell_recovery - see shell.h: as broker/recovery.c.

#include <assert.h>
#include <stdlib.h>

#include "tests/simulation/shell_state.h"

#define RECONNECT_MS_MIN 20
#define RECONNECT_MS_MAX 1000
#define CACHE_BYTES_MAX 4096    // so small that bodies have to be fetched again
#define SHARED_MESSAGES 3       // so few that sends exceed it

void
sim_shell_load(sim_shell_t *self, uint64_t first_id, uint64_t tick)
{
    sim_world_t *world = self->world;
    const tally_core_options_t options = {
        .epoch = self->epoch,
        .first_id = first_id,
        .body_cache_bytes_max = CACHE_BYTES_MAX,
        .shared_messages = SHARED_MESSAGES,
        .seed = sim_draw(world, UINT64_MAX),
        .tick = tick,
    };
    self->core = tally_core_new(&options);
    sim_database_load(world->database, self->core);
    const fake_store_t *store = sim_database_store(world->database);
    for (size_t i = 0; i < tally_callers_count(self->callers); i++) {
        const tally_caller_t *caller = tally_callers_at(self->callers, i);
        if (!fake_store_load_sender(store, self->core, caller->sender)) {
            tally_sender_row_t row = {0};
            memcpy(row.id, caller->sender, TALLY_SENDER_BYTES);
            tally_core_load_sender(self->core, &row);
        }
    }
}

static int64_t
back_off_ms(sim_shell_t *self)
{
    int attempt = self->reconnect_attempt++;
    if (attempt == 0) {
        return 0;
    }
    int64_t cap_ms = (int64_t)RECONNECT_MS_MIN << (attempt < 8 ? attempt : 8);
    cap_ms = cap_ms > RECONNECT_MS_MAX ? RECONNECT_MS_MAX : cap_ms;
    return RECONNECT_MS_MIN + sim_between(self->world, 0, cap_ms);
}

static void
append_inputs(sim_inputs_t *target, sim_inputs_t *source, size_t from)
{
    for (size_t i = from; i < source->count; i++) {
        *TALLY_PUSH(target) = source->items[i];
    }
    source->count = 0;
}

static void
gather_inputs(sim_shell_t *self)
{
    sim_inputs_t again = {0};
    append_inputs(&again, &self->owed, 0);
    append_inputs(&again, &self->under_way, 0);
    append_inputs(&again, &self->collecting, 0);
    append_inputs(&again, &self->again, self->again_at);
    free(self->again.items);
    self->again = again;
    self->again_at = 0;
}

static void
refuse_input(sim_shell_t *self, const sim_input_t *input)
{
    tally_caller_t *caller = input->is_send
                                 ? tally_callers_find_sender(self->callers, input->sender)
                                 : NULL;
    if (caller != NULL) {
        tally_head_t head = {0};
        tally_cursor_t cursor;
        const tally_fault_t bad = {TALLY_E_INTERNAL, TALLY_NO_INDEX, "PostgreSQL rejects this"};
        tally_fault_t fault = tally_head_read((tally_bytes_t){input->chunk->data,
                                                              input->chunk->size},
                                              &head, &cursor);
        assert(fault.code == 0);
        sim_shell_refuse(self, caller->route, head.request, bad, 0);
    }
}

static void
halve(sim_shell_t *self, size_t count)
{
    sim_ledger_may_forget(self->world->ledger);
    if (count > 1) {
        self->feed_again_max = count / 2;
        return;
    }
    if (count == 0) {
        return;
    }
    sim_bit(self->world, SIM_REJECTED);
    sim_input_t *culprit = &self->again.items[self->again_at++];
    refuse_input(self, culprit);
    tally_chunk_drop(&culprit->chunk);
    self->feed_again_max = 1;
}

void
sim_shell_lost(sim_shell_t *self, sim_commit_t outcome)
{
    sim_world_t *world = self->world;
    assert(outcome != SIM_REPLACED);    // nobody else starts while this one runs
    SIM_TRACE(world, "broker: tick # did not end well (#)", self->plan->number, outcome);
    size_t suspects = self->owed.count + self->under_way.count;
    if (outcome == SIM_UNKNOWN && TALLY_PLANTED(LOST_IS_FAILED)) {
        for (size_t i = 0; i < self->under_way.count; i++) {
            refuse_input(self, &self->under_way.items[i]);
        }
        sim_shell_clear_inputs(&self->under_way, 0);
    }
    self->lost = outcome;
    gather_inputs(self);
    if (outcome == SIM_REJECT) {
        halve(self, suspects);
    }
    self->mode = SIM_BEING_AWAY;
    self->answered = false;
    self->reconnect_at_ms = world->now_ms + back_off_ms(self);
}

static void
look_for_results(sim_shell_t *self)
{
    for (size_t i = 0; i < tally_callers_count(self->callers); i++) {
        const tally_caller_t *caller = tally_callers_at(self->callers, i);
        for (size_t k = 0; k < caller->ask_count; k++) {
            sim_shell_look_for_result(self, &caller->asks[k]);
        }
    }
}

void
sim_shell_try(sim_shell_t *self)
{
    sim_world_t *world = self->world;
    if (!sim_database_settled_down(world->database) || !sim_database_reachable(world->database)) {
        self->reconnect_at_ms = world->now_ms + back_off_ms(self) + 1;
        return;
    }
    bool found = sim_database_found(world->database, self->epoch, self->plan->number);
    assert(self->lost == SIM_UNKNOWN || !found);
    tally_core_t *old = self->core;
    uint64_t first_id = TALLY_PLANTED(TOKEN_REUSED) ? 0 : tally_core_next_id(old);
    sim_shell_load(self, first_id, tally_core_tick(old));
    sim_shell_rejoin(self);
    tally_core_loaded(self->core, world->now_ms);
    sim_ledger_loaded(world->ledger, self->core);
    tally_core_check(self->core);
    append_inputs(&self->again, &self->collecting, 0);
    if (found && !TALLY_PLANTED(UNDELIVERED_KEPT)) {
        sim_shell_give_back(self, self->plan->leases.items, self->plan->leases.count);
    }
    self->plan = NULL;
    tally_core_destroy(&old);
    self->mode = SIM_SERVING;
    look_for_results(self);
    SIM_TRACE(world, "broker: recovered, the lost tick was there: #, # inputs are fed again", found,
              self->again.count);
}

static void
feed_one(sim_shell_t *self, const sim_input_t *input)
{
    if (input->is_send) {
        sim_shell_take_send(self, input->sender, input->chunk);
    } else {
        sim_shell_take_records(self, input->chunk);
    }
}

bool
sim_shell_feed(sim_shell_t *self)
{
    if (self->again.count == 0) {
        return true;
    }
    while (self->mode == SIM_SERVING && self->again_at < self->again.count
           && !tally_core_full(self->core)
           && (self->feed_again_max == 0 || self->collecting.count < self->feed_again_max)) {
        sim_input_t input = self->again.items[self->again_at++];
        feed_one(self, &input);
        tally_chunk_drop(&input.chunk);
    }
    if (self->again_at < self->again.count) {
        return false;
    }
    self->again.count = 0;
    self->again_at = 0;
    self->feed_again_max = 0;
    return true;
}
