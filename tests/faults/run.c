// SPDX-License-Identifier: MIT
#include "tests/faults/run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/faults/effect_store.h"
#include "tests/faults/report.h"

#define LOAD_MS 1500    // before the first fault
#define OPENING_MS_MAX 60000
#define EXTRA_MS 45000    // for kinds that came and did nothing so far
#define HEAL_MS_MAX 30000
#define DRAIN_MS_MAX 30000
#define SHOW_MS 5000
#define TURN_MS 50
#define BETWEEN_MS 1500      // for a standby to be there again, and work in every worker
#define PENDING_MAX 15000    // more, and clients wait

typedef struct {
    const tally_run_options_t *options;
    tally_scene_t *scene;
    tally_lookout_t *lookout;
    tally_nemesis_t *nemesis;
    tally_report_t report;
    int64_t started_ms, shown_ms;
    bool interrupted;
} run_t;

//  ---- turns ------------------------------------------------------------------------------------

static void
look_around(run_t *self, int64_t now_ms)
{
    tally_lookout_look(self->lookout);
    uint64_t pending = tally_lookout_pending(self->lookout);
    atomic_store(&self->scene->board->full, pending > PENDING_MAX);
    if (!self->options->json && now_ms - self->shown_ms >= SHOW_MS) {
        self->shown_ms = now_ms;
        tally_scene_sums_t sums = tally_scene_sums(self->scene);
        tally_report_progress(&self->report, self->nemesis, &sums, pending,
                              now_ms - self->started_ms);
    }
}

//  Turns until then, or until `done`.  False when interrupted.
static bool
turn_until(run_t *self, int64_t until_ms, bool (*done)(run_t *self))
{
    int64_t now_ms = tally_clock_now_ms();
    while (now_ms < until_ms && !(done != NULL && done(self)) && !self->interrupted) {
        int64_t next_ms = tally_nemesis_turn(self->nemesis, now_ms);
        next_ms = next_ms < now_ms + TURN_MS ? next_ms : now_ms + TURN_MS;
        self->interrupted = !tally_crew_turn(self->scene->crew, next_ms);
        now_ms = tally_clock_now_ms();
        look_around(self, now_ms);
    }
    return !self->interrupted;
}

static bool
is_done(run_t *self)
{
    return tally_nemesis_done(self->nemesis);
}

static bool
has_seen_all(run_t *self)
{
    return tally_nemesis_seen_all(self->nemesis);
}

static bool
is_healed(run_t *self)
{
    return !tally_nemesis_active(self->nemesis) && tally_crew_all_run(self->scene->crew);
}

static bool
is_drained(run_t *self)
{
    return tally_scene_sums(self->scene).resting && tally_effects_pending(self->scene->db) == 0;
}

//  ---- phases -----------------------------------------------------------------------------------

static void
be_faulty(run_t *self)
{
    tally_scene_phase(self->scene, TALLY_PHASE_LOAD);
    tally_scene_start_members(self->scene);
    if (!turn_until(self, tally_clock_now_ms() + LOAD_MS, NULL)) {
        return;
    }
    tally_scene_phase(self->scene, TALLY_PHASE_FAULTS);
    tally_nemesis_begin(self->nemesis, tally_clock_now_ms());
    if (self->options->kills > 0) {
        (void)turn_until(self, INT64_MAX, is_done);
    } else if (turn_until(self, tally_clock_now_ms() + self->options->faults_ms, NULL)) {
        (void)turn_until(self, tally_clock_now_ms() + EXTRA_MS, has_seen_all);
    }
}

static void
heal_and_drain(run_t *self)
{
    tally_nemesis_rest(self->nemesis);
    if (!turn_until(self, tally_clock_now_ms() + HEAL_MS_MAX, is_healed)) {
        return;
    }
    self->report.healed = is_healed(self);
    int64_t healed_ms = tally_clock_now_ms();
    self->report.sent_ms = healed_ms - self->started_ms;
    tally_scene_phase(self->scene, TALLY_PHASE_HEALED);
    atomic_store(&self->scene->board->quiet, true);
    tally_scene_phase(self->scene, TALLY_PHASE_DRAIN);
    if (!turn_until(self, healed_ms + DRAIN_MS_MAX, is_drained)) {
        return;
    }
    self->report.drained = is_drained(self);
    self->report.pending = tally_effects_pending(self->scene->db);
    if (self->report.pending == -1) {
        fprintf(stderr, "faults: could not look: %s\n", tally_db_error(self->scene->db));
    }
    if (!self->report.healed || !self->report.drained) {
        tally_room_write_state(self->scene->room, "log/state");
    }
    self->report.drain_ms = tally_clock_now_ms() - healed_ms;
    tally_scene_phase(self->scene, TALLY_PHASE_DRAINED);
}

static void
end_processes(tally_scene_t *scene)
{
    for (size_t i = 0; i < scene->member_count; i++) {
        tally_crew_end(scene->crew, scene->members[i].process, SIGTERM);
    }
    for (unsigned i = 0; i < scene->options.brokers; i++) {
        tally_crew_end(scene->crew, scene->tallyds[i].process, SIGTERM);
    }
}

int
tally_run(const tally_run_options_t *options)
{
    run_t self = {.options = options};
    self.scene = tally_scene_new(&options->scene);
    if (self.scene == NULL) {
        return 70;
    }
    self.lookout = tally_lookout_new(self.scene->run, options->scene.brokers);
    int64_t opening_ms = options->faults_ms * 2 / 3;
    self.nemesis = tally_nemesis_new(self.scene, self.lookout,
                                     &(tally_nemesis_options_t){
                                         .seed = options->scene.seed,
                                         .profile = options->profile,
                                         .pace = options->pace,
                                         .kills = options->kills,
                                         .between_ms = BETWEEN_MS,
                                         .opening_ms = opening_ms < OPENING_MS_MAX ? opening_ms
                                                                                   : OPENING_MS_MAX,
                                     });
    int code = 70;
    if (self.lookout != NULL && self.nemesis != NULL) {
        self.started_ms = self.shown_ms = tally_clock_now_ms();
        be_faulty(&self);
        if (!self.interrupted) {
            heal_and_drain(&self);
        }
        self.report.sums = tally_scene_sums(self.scene);
        end_processes(self.scene);
        code = self.interrupted
                   ? 130
                   : tally_report_conclude(&self.report, self.scene, self.nemesis, options->json);
    }
    if (options->keep || (code != 0 && code != 130)) {
        tally_room_keep(self.scene->room);
        fprintf(stderr, "faults: kept %s  seed=%" PRIu64 "\n", tally_room_dir(self.scene->room),
                options->scene.seed);
    }
    tally_nemesis_destroy(&self.nemesis);
    tally_lookout_destroy(&self.lookout);
    if (tally_scene_destroy(&self.scene) == -1 && code == 0) {
        fprintf(stderr, "faults: something was left over and had to be removed\n");
        code = 1;
    }
    return code;
}
