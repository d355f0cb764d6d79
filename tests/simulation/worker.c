// SPDX-License-Identifier: MIT
//  worker - see worker.h: its life and its connections.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/worker_state.h"

#define SILENCE_MS (TALLY_BEAT_MS * (TALLY_BEATS_MISSED_MAX + 1))
#define TURN_MS 250

static void
wake(sim_worker_t *self, int64_t in_ms)
{
    sim_post(self->world, SIM_WORKER, self->world->now_ms + in_ms, self->index, self->life, NULL);
}

static void
draw_abilities(sim_worker_t *self)
{
    sim_world_t *world = self->world;
    self->credit = (uint16_t)(sim_happens(world, 50) ? sim_between(world, 1, 5)
                                                     : sim_between(world, 1, 40));
    //  The first takes all, so that no queue is without a worker for ever.
    self->queues = 0;
    for (uint32_t queue = 1; queue <= SIM_QUEUES; queue++) {
        if (self->index == 0 || sim_happens(world, 70)) {
            self->queues |= (uint8_t)(1u << queue);
        }
    }
    self->queues |= self->queues == 0 ? 1u << SIM_WORK : 0;
}

sim_worker_t *
sim_worker_new(sim_world_t *world, size_t index)
{
    sim_worker_t *self = tally_alloc(sizeof *self);
    self->world = world;
    self->index = (uint32_t)index;
    draw_abilities(self);
    wake(self, sim_between(world, 0, 1000));
    return self;
}

void
sim_worker_destroy(sim_worker_t **self_p)
{
    sim_worker_t *self = *self_p;
    *self_p = NULL;
    sim_worker_drop_jobs(self);
    free(self->open.items);
    tally_wire_free(&self->wire);
    free(self);
}

bool
sim_worker_has_lane(const sim_worker_t *self, uint64_t number)
{
    return self->lane == number;
}

int64_t *
sim_worker_back(sim_worker_t *self, uint64_t route)
{
    return self->route == route ? &self->back_ms : NULL;
}

int64_t
sim_worker_stopped_until(const sim_worker_t *self)
{
    return self->stopped_until_ms;
}

uint64_t
sim_worker_number(const sim_worker_t *self)
{
    return self->number;
}

//  ---- connections -------------------------------------------------------------------------------

static void
close_lane(sim_worker_t *self)
{
    if (self->lane != 0) {
        sim_post(self->world, SIM_LANE_CLOSED,
                 self->world->now_ms + sim_between(self->world, 0, 200), 0, self->lane, NULL);
        self->lane = 0;
    }
}

//  It knows nothing any more of what it held, but for transactions that are open.
static void
start_over(sim_worker_t *self)
{
    close_lane(self);
    sim_worker_drop_jobs(self);
    self->number = 0;
    self->route = 0;
    self->draining = false;
    self->sink_broken = false;
}

static void
say_hello(sim_worker_t *self)
{
    static const char *const names[] = {"",          "work",  "keyed",    "windowed",
                                        "exclusive", "asked", "following"};
    sim_world_t *world = self->world;
    start_over(self);
    self->route = sim_new_route(world, SIM_CLIENTS_MAX + self->index);
    self->to_ms = self->back_ms = self->sink_ms = self->hello_ms = world->now_ms;
    char name[16];
    snprintf(name, sizeof name, "w%u", self->index);
    tally_hello_t hello = {.role = TALLY_ROLE_WORKER,
                           .version_min = TALLY_WIRE_VERSION,
                           .version_max = TALLY_WIRE_VERSION,
                           .name = tally_bytes_of(name),
                           .credit = self->credit};
    hello.sender[0] = (uint8_t)(100 + self->index);
    hello.sender[1] = (uint8_t)(++self->hellos >> 8);
    hello.sender[2] = (uint8_t)self->hellos;
    for (uint32_t queue = 1; queue <= SIM_QUEUES; queue++) {
        if ((self->queues >> queue & 1) != 0) {
            hello.queues[hello.queue_count++] = tally_bytes_of(names[queue]);
        }
    }
    tally_hello_write(&self->wire, 1, &hello);
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    sim_post_in_order(world, SIM_TO_FRONT, &self->to_ms, self->route, 0, chunk);
    tally_chunk_drop(&chunk);
    SIM_TRACE(world, "worker # says hello, credit #", self->index, self->credit);
}

void
sim_worker_frame(sim_worker_t *self, uint64_t route, tally_chunk_t *frame)
{
    sim_world_t *world = self->world;
    if (self->route != route) {
        return;
    }
    if (world->now_ms < self->stopped_until_ms) {
        sim_post(world, SIM_TO_PEER, self->stopped_until_ms, route, 0, frame);
        return;
    }
    tally_head_t head;
    tally_cursor_t cursor;
    tally_welcome_t welcome;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    if (head.verb != TALLY_WELCOME) {
        return;    // an error: it will say hello again
    }
    fault = tally_welcome_read(cursor, &welcome);
    assert(fault.code == 0);
    self->number = self->lane = welcome.worker;
    self->broker_epoch = welcome.broker_epoch;
    self->heard_ms = world->now_ms;
    sim_post(world, SIM_LANE_OPEN, world->now_ms + sim_latency(world), 0, self->number, NULL);
}

static void
take_notice(sim_worker_t *self, const tally_notice_t *notice)
{
    switch (notice->kind) {
    case TALLY_NOTICE_GONE:
        say_hello(self);
        break;
    case TALLY_NOTICE_DRAIN:
        self->draining = true;
        break;
    case TALLY_NOTICE_BEAT:
        if (notice->epoch != self->broker_epoch) {
            say_hello(self);
        }
        break;
    default:
        break;
    }
}

void
sim_worker_lane(sim_worker_t *self, uint64_t number, tally_chunk_t *frame)
{
    sim_world_t *world = self->world;
    if (self->lane != number) {
        return;    // into a lane that was closed: lost
    }
    if (world->now_ms < self->stopped_until_ms) {
        sim_post(world, SIM_TO_LANE, self->stopped_until_ms, self->index, number, frame);
        return;
    }
    if (sim_strikes(world, SIM_LANE_LOST)) {
        sim_worker_lose_lane(self);
        return;
    }
    self->heard_ms = world->now_ms;
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    if (head.verb == TALLY_NOTICE) {
        tally_notice_t notice;
        fault = tally_notice_read(cursor, &notice);
        assert(fault.code == 0);
        take_notice(self, &notice);
        return;
    }
    tally_delivery_t delivery;
    fault = tally_delivery_read(cursor, &delivery);
    assert(fault.code == 0);
    sim_ledger_delivered(world->ledger, self->number, self->credit, &delivery);
    sim_worker_take(self, &delivery);
}

//  ---- turns -------------------------------------------------------------------------------------

void
sim_worker_turn(sim_worker_t *self, uint64_t life)
{
    sim_world_t *world = self->world;
    if (life != self->life || self->retired) {
        return;
    }
    if (world->now_ms < self->stopped_until_ms) {
        sim_post(world, SIM_WORKER, self->stopped_until_ms, self->index, life, NULL);
        return;
    }
    bool silent = self->number != 0 && world->now_ms - self->heard_ms > SILENCE_MS;
    bool unanswered = self->number == 0 && world->now_ms - self->hello_ms > SILENCE_MS;
    if (self->route == 0 || silent || unanswered || self->sink_broken) {
        say_hello(self);
    }
    if (self->draining && (self->open.count == 0 || sim_happens(world, 10))) {
        sim_worker_leave(self);
    }
    if (self->number != 0 && world->now_ms >= self->beat_ms) {
        sim_worker_beat(self);
        self->beat_ms = world->now_ms + TALLY_BEAT_MS;
    }
    if (self->number != 0 && sim_strikes(world, SIM_BAD_RECORD)) {
        sim_worker_say_nonsense(self);
    }
    wake(self, TURN_MS);
}

//  ---- faults ------------------------------------------------------------------------------------

void
sim_worker_die(sim_worker_t *self)
{
    SIM_TRACE(self->world, "worker # dies with # leases", self->index, self->open.count);
    sim_database_roll_back(self->world->database, self->index);
    start_over(self);
    self->life++;
    self->stopped_until_ms = 0;
    if (sim_happens(self->world, 30)) {
        draw_abilities(self);
    }
    wake(self, sim_between(self->world, 0, 3000));
}

void
sim_worker_stop(sim_worker_t *self, int64_t ms)
{
    sim_bit(self->world, SIM_WORKER_STOPPED);
    SIM_TRACE(self->world, "worker # is stopped for # ms with # leases", self->index, (uint64_t)ms,
              self->open.count);
    self->stopped_until_ms = self->world->now_ms + ms;
}

void
sim_worker_lose_lane(sim_worker_t *self)
{
    SIM_TRACE(self->world, "worker # loses its lane", self->index);
    close_lane(self);
}

void
sim_worker_leave(sim_worker_t *self)
{
    sim_world_t *world = self->world;
    if (self->number == 0 || world->now_ms < self->stopped_until_ms) {
        return;
    }
    sim_bit(world, SIM_WORKER_LEFT);
    SIM_TRACE(world, "worker # says goodbye with # leases", self->index, self->open.count);
    tally_wire_start(&self->wire, TALLY_GOODBYE, 2);
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    sim_post_in_order(world, SIM_TO_FRONT, &self->to_ms, self->route, 0, chunk);
    tally_chunk_drop(&chunk);
    sim_worker_drop_jobs(self);
    self->number = 0;
    self->route = 0;
    self->draining = false;
    //  Its lane closes behind the goodbye.
    if (self->lane != 0) {
        sim_post(world, SIM_LANE_CLOSED, self->to_ms + 200, 0, self->lane, NULL);
        self->lane = 0;
    }
}

void
sim_worker_heal(sim_worker_t *self)
{
    if (self->stopped_until_ms > self->world->now_ms) {
        self->stopped_until_ms = self->world->now_ms;
    }
    if (self->index == 0 && self->queues != 0xfe >> (7 - SIM_QUEUES)) {
        self->queues = (uint8_t)(((1u << SIM_QUEUES) - 1) << 1);
    }
}

void
sim_worker_retire(sim_worker_t *self)
{
    self->retired = true;
}
