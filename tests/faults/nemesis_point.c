// SPDX-License-Identifier: MIT
//  nemesis_point: faults at named points of the broker and of workers.

#include <signal.h>

#include "tests/faults/nemesis_state.h"

#define PATIENCE_MS 3000    // what was not reached by then is called off
#define STOP_MS_MIN 200
#define STOP_MS_MAX 3000
#define DELAY_MS_MAX 1500
#define MISSES_MAX 2    // so often a point may not be reached before one is taken that is
#define PASS_MAX 6      // so often the point may be reached before

static bool
aim_at_point(tally_nemesis_t *self, tally_fault_t *fault)
{
    bool may_any = fault->kind != TALLY_FAULT_POINT_FAIL;
    bool broker = tally_chance_below(&self->chance, 3) > 0;
    do {
        fault->point = (tally_failpoint_t)tally_chance_below(&self->chance, TALLY_FAILPOINTS_COUNT);
    } while ((!may_any && !tally_failpoints_may_fail(fault->point))
             || (may_any && tally_failpoints_of_broker(fault->point) != broker));
    if (self->bites[fault->kind] == 0 && self->counts[fault->kind] >= MISSES_MAX) {
        fault->point = TALLY_AT_TICK_SENT;    // passed all of the time
    }
    fault->before = tally_failpoints_fired(self->scene->failpoints, fault->point);
    fault->end_at_ms += PATIENCE_MS;
    return !tally_failpoints_armed(self->scene->failpoints, fault->point);
}

static void
arm(tally_nemesis_t *self, tally_fault_t *fault)
{
    static const tally_failpoint_action_t actions[] = {TALLY_FAILPOINT_KILL, TALLY_FAILPOINT_STOP,
                                                       TALLY_FAILPOINT_DELAY,
                                                       TALLY_FAILPOINT_ERROR};
    uint32_t after = tally_chance_below(&self->chance, PASS_MAX);
    uint32_t ms = (uint32_t)tally_chance_between(&self->chance, 1, DELAY_MS_MAX);
    (void)tally_failpoints_arm(self->scene->failpoints, fault->point,
                               actions[fault->kind - TALLY_FAULT_POINT_KILL], after, ms);
}

static bool
has_fired(tally_nemesis_t *self, tally_fault_t *fault)
{
    return tally_failpoints_fired(self->scene->failpoints, fault->point) > fault->before;
}

static bool
is_over(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    (void)now_ms;
    return has_fired(self, fault);
}

static void
call_off(tally_nemesis_t *self, tally_fault_t *fault)
{
    (void)tally_failpoints_disarm(self->scene->failpoints, fault->point);
}

//  From when it fired it lasts for a while of its own.
static bool
is_stopped_no_more(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    if (fault->counter == NULL && has_fired(self, fault)) {
        fault->counter = "";
        fault->end_at_ms = now_ms + tally_chance_between(&self->chance, STOP_MS_MIN, STOP_MS_MAX);
    }
    return false;
}

static void
resume(tally_process_t *process)
{
    if (process->pid != 0 && !process->stopped) {
        kill(process->pid, SIGCONT);
    }
}

//  Whoever it was; those whom another fault has stopped stay so.
static void
resume_all(tally_nemesis_t *self, tally_fault_t *fault)
{
    call_off(self, fault);
    for (size_t i = 0; i < self->scene->options.brokers; i++) {
        resume(self->scene->tallyds[i].process);
    }
    for (size_t i = 0; i < self->scene->member_count; i++) {
        resume(self->scene->members[i].process);
    }
}

const tally_fault_way_t tally_ways_point_kill = {aim_at_point, arm, is_over, call_off, has_fired};
const tally_fault_way_t tally_ways_point_stop = {aim_at_point, arm, is_stopped_no_more, resume_all,
                                                 has_fired};
const tally_fault_way_t tally_ways_point_delay = {aim_at_point, arm, is_over, call_off, has_fired};
const tally_fault_way_t tally_ways_point_fail = {aim_at_point, arm, is_over, call_off, has_fired};
