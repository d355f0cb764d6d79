// SPDX-License-Identifier: MIT
#include "tests/faults/nemesis.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/nemesis_state.h"

#define AGAIN_MS 40              // nobody was there to be hit: looked for again
#define LOOK_MS 10               // while something lasts
#define BETWEEN_SPREAD_MS 500    // so different are the pauses of those in turn
#define REST_MS_MIN 150          // between two of a kind

static const char *const profiles[TALLY_PROFILES] = {"mixed",    "broker",  "worker",
                                                     "database", "network", "takeover"};

const char *
tally_fault_name(tally_fault_kind_t kind)
{
    return tally_fault_entries[kind].name;
}

static bool
is_to_be_had(const tally_nemesis_t *self, tally_fault_kind_t kind)
{
    const tally_scene_t *scene = self->scene;
    if (kind >= TALLY_FAULT_CLOCK_PG) {
        return scene->clocks != NULL;
    }
    if (kind >= TALLY_FAULT_DISK_FULL) {
        return scene->disk != NULL;
    }
    if (kind >= TALLY_FAULT_NET_CUT) {
        return scene->views != NULL;
    }
    return kind < TALLY_FAULT_POINT_KILL || scene->failpoints != NULL;
}

bool
tally_nemesis_uses(const tally_nemesis_t *self, tally_fault_kind_t kind)
{
    return tally_fault_entries[kind].mean_s[self->profile] > 0 && is_to_be_had(self, kind);
}

bool
tally_nemesis_lacks(const tally_nemesis_t *self, tally_fault_kind_t kind)
{
    return tally_fault_entries[kind].mean_s[self->profile] > 0 && !is_to_be_had(self, kind);
}

static int
find_profile(const char *name)
{
    for (int i = 0; i < (int)(TALLY_PROFILES); i++) {
        if (strcmp(profiles[i], name) == 0) {
            return i;
        }
    }
    fprintf(stderr,
            "faults: there is no profile \"%s\": mixed, broker, worker, database, network or "
            "takeover\n",
            name);
    return -1;
}

tally_nemesis_t *
tally_nemesis_new(tally_scene_t *scene, tally_lookout_t *lookout,
                  const tally_nemesis_options_t *options)
{
    int profile = find_profile(options->profile);
    if (profile == -1) {
        return NULL;
    }
    tally_nemesis_t *self = tally_alloc(sizeof *self);
    self->scene = scene;
    self->lookout = lookout;
    self->options = *options;
    self->profile = (unsigned)profile;
    self->chance = tally_chance_of(options->seed, 5, 0, 0);
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        self->next_at_ms[i] = INT64_MAX;
        if (tally_nemesis_uses(self, i)) {
            tally_history_name(scene->history, TALLY_NAMED_FAULT, i, tally_fault_name(i));
        }
    }
    return self;
}

void
tally_nemesis_destroy(tally_nemesis_t **self_p)
{
    free(*self_p);
    *self_p = NULL;
}

//  Each kind once, in an order drawn from the seed.
void
tally_nemesis_begin(tally_nemesis_t *self, int64_t now_ms)
{
    self->quiet_since_ms = now_ms;
    tally_fault_kind_t order[TALLY_FAULT_KINDS];
    int count = 0;
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        if (!tally_nemesis_uses(self, i)) {
            continue;
        }
        int at = tally_chance_between(&self->chance, 0, count);
        order[count++] = order[at];
        order[at] = i;
    }
    for (int i = 0; i < count; i++) {
        self->next_at_ms[order[i]] = now_ms + self->options.opening_ms * i / count;
    }
}

static tally_fault_t *
find_free(tally_nemesis_t *self)
{
    for (size_t i = 0; i < TALLY_ACTIVE_MAX; i++) {
        if (self->active[i].kind == 0) {
            return &self->active[i];
        }
    }
    return NULL;
}

//  Exponential: memoryless, so that all distances between two faults happen.
static int64_t
draw_pause_ms(tally_nemesis_t *self, tally_fault_kind_t kind)
{
    double uniform = ((double)(tally_chance_next(&self->chance) >> 11) + 1) / 9007199254740993.0;
    double mean_ms = 1000 * tally_fault_entries[kind].mean_s[self->profile] / self->options.pace;
    return REST_MS_MIN
           + (int64_t)(-log(uniform) * (mean_ms > REST_MS_MIN ? mean_ms - REST_MS_MIN : 0));
}

static void
record(const tally_nemesis_t *self, const tally_fault_t *fault, tally_did_t kind)
{
    tally_history_add(self->scene->history, &(tally_history_record_t){
                                                .kind = (uint16_t)kind,
                                                .id = fault->id,
                                                .code = (uint16_t)fault->kind,
                                                .item = tally_fault_entries[fault->kind].victim,
                                                .process = fault->number,
                                                .tenant = fault->tenant,
                                            });
}

static void
strike(tally_nemesis_t *self, tally_fault_kind_t kind, int64_t now_ms)
{
    const tally_fault_way_t *way = tally_fault_entries[kind].way;
    tally_fault_t *fault = find_free(self);
    tally_fault_t aimed = {.kind = kind, .began_ms = now_ms, .end_at_ms = now_ms};
    if (fault == NULL || !way->aim(self, &aimed)) {
        self->next_at_ms[kind] = now_ms + AGAIN_MS;
        return;
    }
    aimed.id = ++self->last_id;
    *fault = aimed;
    fault->number = fault->member != NULL ? tally_member_process(fault->member) : 0;
    fault->starts = fault->process != NULL ? fault->process->starts : 0;
    record(self, fault, TALLY_FAULT_BEGAN);
    way->strike(self, fault);
    self->counts[kind]++;
    self->next_at_ms[kind] = now_ms + draw_pause_ms(self, kind);
}

static void
look_at(tally_nemesis_t *self, tally_fault_t *fault, int64_t now_ms)
{
    const tally_fault_way_t *way = tally_fault_entries[fault->kind].way;
    bool over = way->over(self, fault, now_ms);
    bool due = way->heal != NULL && (self->resting || now_ms >= fault->end_at_ms);
    if (!over && !due) {
        return;
    }
    if (!over) {
        way->heal(self, fault);
    }
    record(self, fault, TALLY_FAULT_ENDED);
    self->bites[fault->kind] += way->bit == NULL || way->bit(self, fault) ? 1 : 0;
    if (self->bites[fault->kind] == 0) {
        self->next_at_ms[fault->kind] = now_ms + AGAIN_MS;    // each kind has to do something once
    }
    self->lasted_ms[fault->kind] += now_ms - fault->began_ms;
    fault->kind = 0;
}

//  The kind that struck least, when there was quiet for long enough.
static void
strike_in_turn(tally_nemesis_t *self, int64_t now_ms)
{
    if (tally_nemesis_active(self)) {
        self->quiet_since_ms = now_ms;
    }
    tally_fault_kind_t least = 0;
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        bool wanted = tally_nemesis_uses(self, i) && self->counts[i] < self->options.kills;
        if (wanted && (least == 0 || self->counts[i] < self->counts[least])) {
            least = i;
        }
    }
    //  At no certain distance from what repeats by itself.
    int64_t pause_ms = self->options.between_ms + (int64_t)(self->last_id * 37 % BETWEEN_SPREAD_MS);
    if (least != 0 && now_ms - self->quiet_since_ms >= pause_ms) {
        strike(self, least, now_ms);
    }
}

int64_t
tally_nemesis_turn(tally_nemesis_t *self, int64_t now_ms)
{
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < TALLY_ACTIVE_MAX; i++) {
        if (self->active[i].kind != 0) {
            look_at(self, &self->active[i], now_ms);
        }
        if (self->active[i].kind != 0) {
            next_ms = now_ms + LOOK_MS;
        }
    }
    if (self->options.kills > 0) {
        if (!self->resting && self->quiet_since_ms > 0) {
            strike_in_turn(self, now_ms);
        }
        return now_ms + LOOK_MS;
    }
    for (tally_fault_kind_t i = 1; !self->resting && i < TALLY_FAULT_KINDS; i++) {
        if (now_ms >= self->next_at_ms[i]) {
            strike(self, i, now_ms);
        }
        next_ms = self->next_at_ms[i] < next_ms ? self->next_at_ms[i] : next_ms;
    }
    return next_ms;
}

void
tally_nemesis_rest(tally_nemesis_t *self)
{
    self->resting = true;
}

bool
tally_nemesis_active(const tally_nemesis_t *self)
{
    for (size_t i = 0; i < TALLY_ACTIVE_MAX; i++) {
        if (self->active[i].kind != 0) {
            return true;
        }
    }
    return false;
}

unsigned
tally_nemesis_count(const tally_nemesis_t *self, tally_fault_kind_t kind)
{
    return self->counts[kind];
}

unsigned
tally_nemesis_bites(const tally_nemesis_t *self, tally_fault_kind_t kind)
{
    return self->bites[kind];
}

bool
tally_nemesis_done(const tally_nemesis_t *self)
{
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        if (tally_nemesis_uses(self, i) && self->counts[i] < self->options.kills) {
            return false;
        }
    }
    return self->options.kills > 0 && !tally_nemesis_active(self);
}

bool
tally_nemesis_seen_all(const tally_nemesis_t *self)
{
    for (tally_fault_kind_t i = 1; i < TALLY_FAULT_KINDS; i++) {
        if (tally_nemesis_uses(self, i) && self->bites[i] == 0) {
            return false;
        }
    }
    return true;
}

int64_t
tally_nemesis_lasted_ms(const tally_nemesis_t *self, tally_fault_kind_t kind)
{
    return self->lasted_ms[kind];
}
