// SPDX-License-Identifier: MIT
//  nemesis_world: faults of the machine: its disk and its clocks.

#include "tests/faults/nemesis_state.h"

#define FULL_MS_MIN 500
#define FULL_MS_MAX 3000
#define CLOCK_MS 1500    // until everybody has noticed
#define PG_FORWARD_S_MAX 60
#define PG_BACK_MS_MAX 1500
#define JUMP_S_MAX 3600

static bool
anywhere(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)self;
    (void)fault;
    return true;
}

static void
leave(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)self;
    (void)fault;
}

//  ---- disk -------------------------------------------------------------------------------------

static void
fill_disk(tally_nemesis_t *self, tally_fault_t *fault)
{
    fault->end_at_ms += tally_chance_between(&self->chance, FULL_MS_MIN, FULL_MS_MAX);
    fault->before = tally_disk_fill(self->scene->disk) ? 1 : 0;
}

static void
clear_disk(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)fault;
    tally_disk_clear(self->scene->disk);
}

static bool
was_full(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)self;
    return fault->before == 1;
}

//  ---- clocks -----------------------------------------------------------------------------------

//  Forward as it likes, back a little: what is due by PostgreSQL's clock comes that much later after a restart of the
//  broker, and everything must be over in time.
static void
jump_pg(tally_nemesis_t *self, tally_fault_t *fault)
{
    bool forward = tally_chance_below(&self->chance, 2) == 0;
    self->pg_ahead_s += forward ? tally_chance_between(&self->chance, 1, PG_FORWARD_S_MAX)
                                : -tally_chance_between(&self->chance, 1, PG_BACK_MS_MAX) / 1000.0;
    tally_clocks_set(self->scene->clocks, "postgres", self->pg_ahead_s);
    fault->end_at_ms += CLOCK_MS;
}

static void
jump(tally_nemesis_t *self, tally_fault_t *fault, const char *kind)
{
    tally_clocks_set(self->scene->clocks, kind,
                     tally_chance_between(&self->chance, -JUMP_S_MAX, JUMP_S_MAX));
    fault->end_at_ms += CLOCK_MS;
}

static void
jump_broker(tally_nemesis_t *self, tally_fault_t *fault)
{
    jump(self, fault, "tallyd");
}

static void
jump_worker(tally_nemesis_t *self, tally_fault_t *fault)
{
    jump(self, fault, "worker");
}

const tally_fault_way_t tally_ways_disk_full = {anywhere, fill_disk, tally_nemesis_lasts,
                                                clear_disk, was_full};
const tally_fault_way_t tally_ways_clock_pg = {anywhere, jump_pg, tally_nemesis_lasts, leave, NULL};
const tally_fault_way_t tally_ways_clock_broker = {anywhere, jump_broker, tally_nemesis_lasts,
                                                   leave, NULL};
const tally_fault_way_t tally_ways_clock_worker = {anywhere, jump_worker, tally_nemesis_lasts,
                                                   leave, NULL};
