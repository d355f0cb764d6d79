// SPDX-License-Identifier: MIT
//  world - see world.h.

#include "tests/simulation/world.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/list.h"
#include "lib/alloc.h"
#include "tests/simulation/client.h"
#include "tests/simulation/database.h"
#include "tests/simulation/ledger.h"
#include "tests/simulation/nemesis.h"
#include "tests/simulation/shell.h"
#include "tests/simulation/worker.h"

#define START_MS 1000000
#define SAFETY_MS_MIN 15000
#define SAFETY_MS_MAX 45000
#define DRAIN_MS 120000            // after the last fault everything is over by then
#define TURNS_AT_ONCE_MAX 10000    // of the broker at one instant: more is a loop without end

//  ---- chance ------------------------------------------------------------------------------------

static uint64_t
draw(uint64_t *state)
{
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebu;
    return mixed ^ mixed >> 31;
}

uint64_t
sim_draw(sim_world_t *world, uint64_t below)
{
    assert(below > 0);
    return draw(&world->random) % below;
}

int64_t
sim_between(sim_world_t *world, int64_t low, int64_t high)
{
    assert(low <= high);
    return low + (int64_t)sim_draw(world, (uint64_t)(high - low) + 1);
}

bool
sim_happens(sim_world_t *world, unsigned percent)
{
    return sim_draw(world, 100) < percent;
}

void
sim_bit(sim_world_t *world, sim_fault_t fault)
{
    world->faults.bites[fault]++;
}

bool
sim_strikes(sim_world_t *world, sim_fault_t fault)
{
    if (world->healing || sim_draw(world, 10000) >= world->faults.rates[fault]) {
        return false;
    }
    sim_bit(world, fault);
    return true;
}

//  A quarter of the faults do not exist in this run, the others strike as hard as they like.
static void
draw_rates(sim_world_t *world)
{
    bool gentle = sim_happens(world, 10);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        uint32_t max = sim_fault_rate_max(i);
        uint32_t rate = (uint32_t)sim_draw(world, max + 1u);
        world->faults.rates[i] = gentle || sim_happens(world, 25) ? 0 : rate;
    }
}

//  ---- events ------------------------------------------------------------------------------------

void
sim_post(sim_world_t *world, sim_event_kind_t kind, int64_t at_ms, uint64_t to, uint64_t number,
         tally_chunk_t *chunk)
{
    sim_event_t *event = tally_alloc(sizeof *event);
    event->kind = kind;
    event->to = to;
    event->number = number;
    event->chunk = chunk == NULL ? NULL : tally_chunk_hold(chunk);
    at_ms = at_ms < world->now_ms ? world->now_ms : at_ms;
    tally_heap_put(&world->events, &event->node, at_ms, ++world->event_count);
}

void
sim_post_in_order(sim_world_t *world, sim_event_kind_t kind, int64_t *last_ms, uint64_t to,
                  uint64_t number, tally_chunk_t *chunk)
{
    int64_t at_ms = world->now_ms + sim_latency(world);
    *last_ms = at_ms > *last_ms ? at_ms : *last_ms;
    sim_post(world, kind, *last_ms, to, number, chunk);
}

//  Mostly at once, sometimes slow.
int64_t
sim_latency(sim_world_t *world)
{
    return sim_happens(world, 90) ? sim_between(world, 0, 2) : sim_between(world, 0, 80);
}

uint64_t
sim_new_route(sim_world_t *world, size_t owner)
{
    return ++world->routes << 8 | owner;
}

static void
hand_to_peer(sim_world_t *world, const sim_event_t *event)
{
    size_t owner = sim_route_owner(event->to);
    if (owner < SIM_CLIENTS_MAX) {
        sim_client_frame(world->clients[owner], event->to, event->chunk);
    } else {
        sim_worker_frame(world->workers[owner - SIM_CLIENTS_MAX], event->to, event->chunk);
    }
}

static void
happen(sim_world_t *world, const sim_event_t *event)
{
    switch (event->kind) {
    case SIM_TO_FRONT:
        sim_shell_front(world->shell, event->to, event->chunk);
        break;
    case SIM_TO_SINK:
        world->late_count -= event->to;    // 1: a late one
        sim_shell_sink(world->shell, event->chunk);
        break;
    case SIM_TO_PEER:
        hand_to_peer(world, event);
        break;
    case SIM_LANE_OPEN:
    case SIM_LANE_CLOSED:
        sim_shell_lane(world->shell, event->number, event->kind == SIM_LANE_OPEN);
        break;
    case SIM_READ:
        sim_shell_read(world->shell, event->number);
        break;
    case SIM_COMMIT:
        sim_database_commit(world->database, event->number);
        break;
    case SIM_ANSWER:
        sim_shell_answer(world->shell, event->number);
        break;
    case SIM_SQL:
        sim_database_end(world->database, event->number);
        break;
    case SIM_START:
        sim_shell_start(world->shell);
        break;
    case SIM_CLIENT:
        sim_client_turn(world->clients[event->to], event->number == 0);
        break;
    case SIM_TO_LANE:
        sim_worker_lane(world->workers[event->to], event->number, event->chunk);
        break;
    case SIM_WORKER:
        sim_worker_turn(world->workers[event->to], event->number);
        break;
    case SIM_JOB:
        sim_worker_job(world->workers[event->to], event->number);
        break;
    case SIM_NEMESIS:
        sim_nemesis_turn(world);
        break;
    }
}

static void
free_event(sim_event_t *event)
{
    tally_chunk_drop(&event->chunk);
    free(event);
}

//  Everything that happens at one instant, with the broker's turns between.
static void
step(sim_world_t *world)
{
    tally_heap_node_t *node = tally_heap_take_due(&world->events, world->now_ms);
    if (node != NULL) {
        sim_event_t *event = TALLY_OF(node, sim_event_t, node);
        happen(world, event);
        free_event(event);
        //  Sometimes several frames wait for the broker when it looks.
        if (tally_heap_due(&world->events) <= world->now_ms && sim_happens(world, 60)) {
            return;
        }
    }
    int turns = 0;
    while (sim_shell_turn(world->shell)) {
        SIM_REQUIRE(++turns < TURNS_AT_ONCE_MAX, "I20 liveness",
                    "the broker turned # times at one instant", turns, 0);
    }
}

//  Until `until_ms`, or until everything is over when that is asked for.
static bool
run_until(sim_world_t *world, int64_t until_ms, bool (*over)(sim_world_t *world))
{
    while (over == NULL || !over(world)) {
        int64_t next_ms = tally_heap_due(&world->events);
        int64_t shell_ms = sim_shell_next_ms(world->shell);
        next_ms = shell_ms < next_ms ? shell_ms : next_ms;
        if (next_ms > until_ms) {
            world->now_ms = until_ms;
            return false;
        }
        world->now_ms = next_ms > world->now_ms ? next_ms : world->now_ms;
        step(world);
    }
    return true;
}

//  ---- phases ------------------------------------------------------------------------------------

static void
make_everybody(sim_world_t *world)
{
    world->ledger = sim_ledger_new(world);
    world->database = sim_database_new(world);
    world->shell = sim_shell_new(world);
    world->client_count = (size_t)sim_between(world, 2, SIM_CLIENTS_MAX);
    world->worker_count = (size_t)sim_between(world, 2, SIM_WORKERS_MAX);
    for (size_t i = 0; i < world->client_count; i++) {
        world->clients[i] = sim_client_new(world, i);
    }
    for (size_t i = 0; i < world->worker_count; i++) {
        world->workers[i] = sim_worker_new(world, i);
    }
}

static void
free_everybody(sim_world_t *world)
{
    for (size_t i = 0; i < world->client_count; i++) {
        sim_client_destroy(&world->clients[i]);
    }
    for (size_t i = 0; i < world->worker_count; i++) {
        sim_worker_destroy(&world->workers[i]);
    }
    sim_shell_destroy(&world->shell);
    sim_database_destroy(&world->database);
    sim_ledger_destroy(&world->ledger);
    tally_heap_node_t *node;
    while ((node = tally_heap_take_due(&world->events, INT64_MAX)) != NULL) {
        free_event(TALLY_OF(node, sim_event_t, node));
    }
    tally_heap_free(&world->events);
}

//  Nothing is left anywhere; world->stuck says what is.
static bool
is_over(sim_world_t *world)
{
    world->stuck = sim_database_busy(world->database);
    for (size_t i = 0; i < world->client_count && world->stuck == NULL; i++) {
        world->stuck = sim_client_busy(world->clients[i]);
    }
    world->stuck = world->stuck != NULL ? world->stuck : sim_shell_busy(world->shell);
    return world->stuck == NULL;
}

static bool
nothing_late(sim_world_t *world)
{
    return world->late_count == 0;
}

static void
heal(sim_world_t *world)
{
    SIM_TRACE(world, "---- faults end; everything has to drain ----");
    world->healing = true;
    sim_database_heal(world->database);
    sim_shell_heal(world->shell);
    for (size_t i = 0; i < world->worker_count; i++) {
        sim_worker_heal(world->workers[i]);
    }
    for (size_t i = 0; i < world->client_count; i++) {
        sim_client_heal(world->clients[i]);
    }
}

static void
sum_up(const sim_world_t *world, sim_outcome_t *outcome)
{
    *outcome = (sim_outcome_t){
        .hash = world->trace.hash,
        .virtual_ms = world->drained_ms - START_MS,
        .events = world->event_count,
    };
    sim_ledger_count(world->ledger, outcome);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        outcome->bites[i] = world->faults.bites[i];
    }
}

void
sim_world_run(uint64_t seed, bool told, sim_outcome_t *outcome)
{
    sim_world_t *world = tally_alloc(sizeof *world);
    world->seed = world->random = seed;
    world->now_ms = START_MS;
    world->trace.told = told;
    sim_trace_begin(&world->trace, seed);
    draw_rates(world);
    make_everybody(world);
    sim_post(world, SIM_START, world->now_ms, 0, 0, NULL);
    sim_post(world, SIM_NEMESIS, world->now_ms + 1000, 0, 0, NULL);
    world->heal_ms = world->now_ms + sim_between(world, SAFETY_MS_MIN, SAFETY_MS_MAX);
    run_until(world, world->heal_ms, NULL);
    heal(world);
    int64_t behind_ms = sim_database_set_back(world->database);
    if (!run_until(world, world->now_ms + DRAIN_MS + behind_ms, is_over)) {
        sim_ledger_tell_left(world->ledger);
        sim_broken("I20 liveness", world->stuck, world->event_count, 0);
    }
    world->drained_ms = world->now_ms;
    //  What was under way for hours comes in now, and must change nothing.
    uint64_t before = sim_ledger_settled(world->ledger);
    for (size_t i = 0; i < world->worker_count; i++) {
        sim_worker_retire(world->workers[i]);
    }
    while (!nothing_late(world)) {
        int64_t next_ms = tally_heap_due(&world->events);
        sim_shell_sleep(world->shell, next_ms);
        run_until(world, next_ms, nothing_late);
    }
    run_until(world, world->now_ms + TALLY_BEAT_MS, NULL);
    SIM_REQUIRE(sim_ledger_settled(world->ledger) == before, "I6 fence",
                "# messages were over, after late records there are #", before,
                sim_ledger_settled(world->ledger));
    sim_ledger_final(world->ledger);
    sum_up(world, outcome);
    free_everybody(world);
    sim_trace_begin(NULL, 0);
    free(world);
}
