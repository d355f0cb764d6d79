// SPDX-License-Identifier: MIT
//  nemesis_process: faults that are signals.

#include <signal.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/faults/effect_store.h"
#include "tests/faults/load.h"
#include "tests/faults/nemesis_state.h"

//  How long things last; beyond visibility (1 to 2 s) and beats (2 s), mostly.
#define QUIT_PATIENCE_MS 5000
#define STOP_MS_MIN 300
#define STOP_MS_MAX 4000
#define BROKER_STOP_MS_MAX 3000
#define PAUSE_MS_MAX 200    // before what was killed is started again

//  ---- whom -------------------------------------------------------------------------------------

static bool
may_be_hit(const tally_process_t *process)
{
    return process->pid != 0 && !process->stopped && !process->killed;
}

static bool
aim_at(tally_fault_t *fault, tally_process_t *process)
{
    fault->process = process;
    return may_be_hit(process);
}

tally_process_t *
tally_nemesis_broker(const tally_nemesis_t *self)
{
    unsigned seat = tally_lookout_active(self->lookout);
    return self->scene->tallyds[seat == 0 ? 0 : seat - 1].process;
}

static bool
aim_at_broker(tally_nemesis_t *self, tally_fault_t *fault)
{
    return aim_at(fault, tally_nemesis_broker(self));
}

static bool
aim_at_postgres(tally_nemesis_t *self, tally_fault_t *fault)
{
    return aim_at(fault, self->scene->postgres);
}

static bool
aim_at_member(tally_nemesis_t *self, tally_fault_t *fault, tally_member_kind_t kind)
{
    size_t count = self->scene->member_count;
    size_t first = tally_chance_below(&self->chance, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const tally_member_t *member = &self->scene->members[(first + i) % count];
        if (member->kind == kind && may_be_hit(member->process)) {
            fault->member = member;
            fault->process = member->process;
            return true;
        }
    }
    return false;
}

//  Where it is measured how long its work stands still, it has some: of that queue, or of any.
static bool
has_work(const tally_nemesis_t *self, const tally_fault_t *fault, tally_load_queue_t queue)
{
    int busy = atomic_load(&self->scene->board->slots[fault->member->slot].busy);
    return self->options.kills == 0 || (queue == 0 ? busy != 0 : busy == (int)queue);
}

static bool
aim_at_worker(tally_nemesis_t *self, tally_fault_t *fault)
{
    return aim_at_member(self, fault, TALLY_MEMBER_WORKER) && has_work(self, fault, 0);
}

static bool
aim_at_client(tally_nemesis_t *self, tally_fault_t *fault)
{
    return aim_at_member(self, fault, TALLY_MEMBER_CLIENT);
}

static bool
aim_at_holder(tally_nemesis_t *self, tally_fault_t *fault)
{
    const char *name = tally_lookout_holder(self->lookout, &fault->tenant);
    for (size_t i = 0; i < self->scene->member_count; i++) {
        const tally_member_t *member = &self->scene->members[i];
        if (strcmp(member->process->name, name) == 0 && may_be_hit(member->process)) {
            fault->member = member;
            fault->process = member->process;
            return has_work(self, fault, TALLY_LOAD_TERM);
        }
    }
    return false;
}

//  The session of the broker's ticks or of a worker.
static bool
aim_at_session(tally_nemesis_t *self, tally_fault_t *fault)
{
    if (!may_be_hit(self->scene->postgres)) {
        return false;
    }
    const char *name = "tallyd-tick";
    if (tally_chance_below(&self->chance, 3) > 0) {
        if (!aim_at_worker(self, fault)) {
            return false;
        }
        name = fault->process->name;
    }
    fault->process = NULL;
    fault->pid = tally_effects_backend(self->scene->db, name);
    return fault->pid > 1;
}

//  ---- what -------------------------------------------------------------------------------------

static void
kill_process(tally_nemesis_t *self, tally_fault_t *fault)
{
    tally_crew_kill(fault->process, SIGKILL, tally_chance_between(&self->chance, 0, PAUSE_MS_MAX));
}

static void
stop_postgres(tally_nemesis_t *self, tally_fault_t *fault)
{
    fault->end_at_ms += QUIT_PATIENCE_MS;
    tally_crew_kill(fault->process, SIGQUIT, tally_chance_between(&self->chance, 0, PAUSE_MS_MAX));
}

//  A postmaster that is only starting may lose the signal.
static void
stop_postgres_again(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)self;
    if (tally_clock_now_ms() >= fault->end_at_ms) {
        tally_crew_kill(fault->process, SIGQUIT, 0);
    }
}

static void
stop_process(tally_nemesis_t *self, tally_fault_t *fault)
{
    bool is_broker = fault->member == NULL;
    fault->end_at_ms += tally_chance_between(&self->chance, STOP_MS_MIN,
                                             is_broker ? BROKER_STOP_MS_MAX : STOP_MS_MAX);
    tally_crew_stop(fault->process);
}

static void
kill_backend(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)self;
    kill(fault->pid, SIGKILL);
}

static void
end_session(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)self;
    kill(fault->pid, SIGTERM);
}

//  ---- until when -------------------------------------------------------------------------------

static bool
runs_again(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    (void)self;
    (void)now_ms;
    return fault->process->starts > fault->starts && fault->process->pid != 0;
}

//  A stopped one may have been killed by another fault meanwhile.
static bool
is_another(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    (void)self;
    (void)now_ms;
    return !fault->process->stopped || fault->process->starts > fault->starts;
}

static void
resume_process(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)self;
    tally_crew_continue(fault->process);
}

bool
tally_nemesis_at_once(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    (void)self;
    (void)fault;
    (void)now_ms;
    return true;
}

bool
tally_nemesis_lasts(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    (void)self;
    (void)fault;
    (void)now_ms;
    return false;
}

const tally_fault_way_t tally_ways_broker_kill = {aim_at_broker, kill_process, runs_again, NULL,
                                                  NULL};
const tally_fault_way_t tally_ways_broker_stop = {aim_at_broker, stop_process, is_another,
                                                  resume_process, NULL};
const tally_fault_way_t tally_ways_worker_kill = {aim_at_worker, kill_process, runs_again, NULL,
                                                  NULL};
const tally_fault_way_t tally_ways_worker_stop = {aim_at_worker, stop_process, is_another,
                                                  resume_process, NULL};
const tally_fault_way_t tally_ways_term_kill = {aim_at_holder, kill_process, runs_again, NULL,
                                                NULL};
const tally_fault_way_t tally_ways_term_stop = {aim_at_holder, stop_process, is_another,
                                                resume_process, NULL};
const tally_fault_way_t tally_ways_client_kill = {aim_at_client, kill_process, runs_again, NULL,
                                                  NULL};
const tally_fault_way_t tally_ways_client_stop = {aim_at_client, stop_process, is_another,
                                                  resume_process, NULL};
const tally_fault_way_t tally_ways_pg_stop = {aim_at_postgres, stop_postgres, runs_again,
                                              stop_postgres_again, NULL};
const tally_fault_way_t tally_ways_pg_kill = {aim_at_postgres, kill_process, runs_again, NULL,
                                              NULL};
const tally_fault_way_t tally_ways_pg_backend = {aim_at_session, kill_backend,
                                                 tally_nemesis_at_once, NULL, NULL};
const tally_fault_way_t tally_ways_pg_terminate = {aim_at_session, end_session,
                                                   tally_nemesis_at_once, NULL, NULL};
