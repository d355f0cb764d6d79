// SPDX-License-Identifier: MIT
#include "tests/faults/scene.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clients/cmd/cluster_store.h"
#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/migrations.h"
#include "tests/faults/dump.h"
#include "tests/faults/load.h"

#define READY_MS_MAX 60000
#define LOOK_MS 20
#define ANSWER_MS 250
#define DRIVER_PROCESS 1

//  ---- processes --------------------------------------------------------------------------------

//  What a user's shell says must not come before what we say.
static void
set_environment(void)
{
    static const char *const names[] = {"TALLY_FRONT",     "TALLY_SINK",   "TALLY_FEED",
                                        "TALLY_LANES",     "TALLY_DB",     "TALLY_BROKER",
                                        "TALLY_NAME",      "TALLY_CONFIG", "TALLY_DIR",
                                        "TALLY_ROOM",      "TALLY_CREDIT", "TALLY_SLOT",
                                        "TALLY_SEAT",      "TALLY_TENANT", "TALLY_PROCESS",
                                        "TALLY_FAILPOINTS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    setenv("TALLY_LOG_TIME", "1", 1);
}

//  Every other one works in a view of its own.
static void
add_member(tally_scene_t *self, tally_member_kind_t kind, const char *role, unsigned number)
{
    assert(self->member_count < TALLY_MEMBERS_MAX);
    tally_member_t *member = &self->members[self->member_count++];
    *member = (tally_member_t){.scene = self,
                               .kind = kind,
                               .role = role,
                               .slot = (unsigned)self->member_count};
    char *name = tally_format("%s-%u", role, number);
    bool is_worker = kind == TALLY_MEMBER_WORKER;
    member->process = tally_crew_add(self->crew, name, self->run,
                                     is_worker ? tally_scene_exec_worker : tally_scene_exec_client,
                                     member);
    if (self->views != NULL && number % 2 == 1) {
        const char *view = tally_views_add(self->views, member->process->name,
                                           self->options.brokers, is_worker);
        free(member->process->directory);
        member->process->directory = tally_strdup(view);
    }
    member->conninfo = tally_format("host=%s dbname=tally user=tally", member->process->directory);
    //  Whoever reaches a failpoint first dies there.
    member->process->mortal = strcmp(role, "poison") == 0 || self->failpoints != NULL;
    free(name);
}

static void
add_members(tally_scene_t *self)
{
    const tally_scene_options_t *options = &self->options;
    for (unsigned i = 1; i <= options->clients; i++) {
        add_member(self, TALLY_MEMBER_CLIENT, "client", i);
    }
    for (unsigned i = 1; i <= options->mains; i++) {
        add_member(self, TALLY_MEMBER_WORKER, "main", i);
    }
    for (unsigned i = 1; i <= options->looses; i++) {
        add_member(self, TALLY_MEMBER_WORKER, "loose", i);
    }
    for (unsigned i = 1; i <= options->poisons; i++) {
        add_member(self, TALLY_MEMBER_WORKER, "poison", i);
    }
}

void
tally_scene_start_members(tally_scene_t *self)
{
    for (size_t i = 0; i < self->member_count; i++) {
        tally_crew_start(self->crew, self->members[i].process);
    }
}

//  ---- making it --------------------------------------------------------------------------------

static int
open_room(tally_scene_t *self)
{
    static const char *const places[] = {"log", "history", "via", "clock"};
    self->room = tally_room_new();
    if (self->room == NULL) {
        return -1;
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (tally_room_make(self->room, places[i]) == -1) {
            return -1;
        }
    }
    char *board = tally_room_file(self->room, "board");
    char *log = tally_room_file(self->room, "log");
    char *histories = tally_room_file(self->room, "history");
    self->run = tally_room_file(self->room, "run");
    self->conninfo = tally_format("host=%s dbname=tally user=tally", self->run);
    self->board = tally_board_open(board);
    self->crew = tally_crew_new(log);
    self->history = tally_history_open(histories, "driver", DRIVER_PROCESS, TALLY_WRITER_DRIVER);
    free(board);
    free(log);
    free(histories);
    return self->board == NULL ? -1 : 0;
}

//  What faults need beforehand, as far as it is to be had.
static int
open_tricks(tally_scene_t *self)
{
    if (self->options.plain) {
        return 0;
    }
    char *clocks = tally_room_file(self->room, "clock");
    self->clocks = tally_clocks_new(clocks);
    free(clocks);
#ifdef TALLY_FAILPOINTS
    char *page = tally_room_file(self->room, "failpoints");
    self->failpoints = tally_failpoints_open(page);
    setenv("TALLY_FAILPOINTS", page, 1);
    free(page);
    if (self->failpoints == NULL) {
        perror("faults: failpoints");
        return -1;
    }
#endif
    return 0;
}

//  Durable as always.  A crash is over sooner when the files are synced together: there are many to get over.
static int
tune_database(const tally_scene_t *self)
{
    char *path = tally_room_file(self->room, self->disk != NULL ? "disk/pg/postgresql.conf"
                                                                : "pg/postgresql.conf");
    FILE *file = fopen(path, "ae");
    int rc = -1;
    if (file == NULL) {
        perror(path);
    } else {
        fputs("recovery_init_sync_method = syncfs\n", file);
        rc = fclose(file) == 0 ? 0 : -1;
    }
    free(path);
    return rc;
}

//  0, or -1 with what is wrong said.
static int
start_database(tally_scene_t *self)
{
    self->disk = self->options.plain ? NULL : tally_disk_new(tally_room_dir(self->room));
    char *data = tally_room_file(self->room, self->disk != NULL ? "disk/pg" : "pg");
    char *log = tally_room_file(self->room, "log/initdb.log");
    self->cluster = tally_cluster_new(data, self->run, log);
    free(data);
    free(log);
    if (self->cluster == NULL || tally_cluster_create(self->cluster) == -1) {
        return -1;
    }
    if (tune_database(self) == -1) {
        return -1;
    }
    self->postgres = tally_crew_add(self->crew, "postgres", tally_room_dir(self->room),
                                    tally_scene_exec_postgres, self);
    self->postgres->may_fail = true;
    tally_crew_start(self->crew, self->postgres);
    int64_t deadline_at_ms = tally_clock_now_ms() + READY_MS_MAX;
    int rc;
    while ((rc = tally_cluster_store_ensure(self->conninfo)) == 1
           && tally_clock_now_ms() < deadline_at_ms
           && tally_crew_turn(self->crew, tally_clock_now_ms() + LOOK_MS)) {
    }
    self->db = tally_db_new(self->conninfo, "faults");
    char *error = NULL;
    if (rc == 0 && tally_migrate(self->db, &error) == -1) {
        rc = -1;
    }
    if (rc == 0 && tally_dump_create(self->db) != TALLY_DB_DONE) {
        error = tally_strdup(tally_db_error(self->db));
        rc = -1;
    }
    if (rc != 0) {
        fprintf(stderr, "faults: the database is not there: %s\n", error == NULL ? "" : error);
    }
    free(error);
    return rc == 0 ? 0 : -1;
}

static int
put_queue(tally_client_t *client, tally_load_queue_t queue)
{
    const tally_load_policy_t *policy = tally_load_policy(queue);
    char *request = tally_format(
        "{\"op\":\"queue.put\",\"queue\":{\"name\":\"%s\",\"visibility_ms\":%d,\"retry_ms\":%d,"
        "\"retry_ms_max\":%d,\"batch_max\":%d,\"failures_max\":%d,\"crashes_max\":%d,"
        "\"exclusive\":%s}}",
        policy->name, policy->visible_ms, policy->retry_ms, policy->retry_ms_max, policy->batch_max,
        policy->failures_max, policy->crashes_max,
        (policy->flags & TALLY_QUEUE_EXCLUSIVE) != 0 ? "true" : "false");
    const char *answer = tally_client_admin(client, request, READY_MS_MAX);
    bool fine = answer != NULL && strstr(answer, "\"ok\":true") != NULL;
    if (!fine) {
        fprintf(stderr, "faults: the broker did not make queue %s: %s\n", policy->name,
                answer == NULL ? tally_client_text(client) : answer);
    }
    free(request);
    return fine ? 0 : -1;
}

static void
add_tallyd(tally_scene_t *self, unsigned seat)
{
    tally_tallyd_t *tallyd = &self->tallyds[seat - 1];
    char *name = tally_format("tallyd-%u", seat);
    *tallyd = (tally_tallyd_t){.scene = self, .seat = seat};
    tallyd->process = tally_crew_add(self->crew, name, self->run, tally_scene_exec_tallyd, tallyd);
    tallyd->process->may_fail = true;
    tallyd->process->mortal = self->failpoints != NULL;
    const char *where = self->run;
    if (self->views != NULL) {
        where = tally_views_add(self->views, tallyd->process->name, 0, false);
    }
    tallyd->conninfo = tally_format("host=%s dbname=tally user=tally", where);
    free(name);
}

static int
start_brokers(tally_scene_t *self)
{
    for (unsigned seat = 1; seat <= self->options.brokers; seat++) {
        add_tallyd(self, seat);
        tally_crew_start(self->crew, self->tallyds[seat - 1].process);
    }
    self->fronts = tally_strdup(self->options.brokers == 1 ? "ipc://front-1"
                                                           : "ipc://front-1,ipc://front-2");
    char *fronts = tally_format("ipc://%s/front-1,ipc://%s/front-2", self->run, self->run);
    if (self->options.brokers == 1) {
        *strchr(fronts, ',') = '\0';
    }
    tally_client_t *client = tally_client_new(fronts);
    tally_client_set_silence(client, ANSWER_MS);
    int rc = 0;
    for (tally_load_queue_t i = TALLY_LOAD_PLAIN; rc == 0 && i < TALLY_LOAD_QUEUES; i++) {
        rc = put_queue(client, i);
    }
    tally_client_destroy(&client);
    free(fronts);
    return rc;
}

static void
record_names(tally_scene_t *self)
{
    for (uint16_t i = 1; i <= TALLY_LOAD_TENANTS; i++) {
        tally_history_name(self->history, TALLY_NAMED_TENANT, i, tally_load_tenant(i));
    }
    for (tally_load_queue_t i = TALLY_LOAD_PLAIN; i < TALLY_LOAD_QUEUES; i++) {
        const tally_load_policy_t *policy = tally_load_policy(i);
        tally_history_name(self->history, TALLY_NAMED_QUEUE, i, policy->name);
        int failures = policy->failures_max < UINT8_MAX ? policy->failures_max : UINT8_MAX;
        int crashes = policy->crashes_max < UINT8_MAX ? policy->crashes_max : UINT8_MAX;
        tally_history_add(self->history, &(tally_history_record_t){
                                             .kind = TALLY_DID_QUEUE,
                                             .queue = (uint16_t)i,
                                             .code = (uint16_t)policy->flags,
                                             .epoch = (uint64_t)policy->visible_ms,
                                             .counts = {.failures = (uint8_t)failures,
                                                        .crashes = (uint8_t)crashes},
                                         });
    }
}

tally_scene_t *
tally_scene_new(const tally_scene_options_t *options)
{
    tally_scene_t *self = tally_alloc(sizeof *self);
    self->options = *options;
    if (options->shipped) {
        tally_load_use_shipped();
    }
    set_environment();
    if (open_room(self) == -1 || open_tricks(self) == -1 || start_database(self) == -1) {
        tally_scene_destroy(&self);
        return NULL;
    }
    if (!options->plain) {
        char *via = tally_room_file(self->room, "via");
        self->views = tally_views_new(self->run, via, options->seed);
        free(via);
    }
    if (start_brokers(self) == -1) {
        tally_scene_destroy(&self);
        return NULL;
    }
    record_names(self);
    add_members(self);
    return self;
}

int
tally_scene_destroy(tally_scene_t **self_p)
{
    tally_scene_t *self = *self_p;
    if (self == NULL) {
        return 0;
    }
    tally_db_destroy(&self->db);
    if (self->history != NULL) {
        tally_history_close(&self->history);
    }
    if (self->crew != NULL && self->postgres != NULL) {
        tally_crew_end(self->crew, self->postgres, SIGINT);    // its children end with it
    }
    if (self->crew != NULL) {
        tally_crew_destroy(&self->crew);
    }
    for (size_t i = 0; i < self->member_count; i++) {
        free(self->members[i].conninfo);
    }
    for (size_t i = 0; i < self->options.brokers; i++) {
        free(self->tallyds[i].conninfo);
    }
    tally_views_destroy(&self->views);
    tally_failpoints_close(&self->failpoints);
    tally_clocks_destroy(&self->clocks);
    tally_disk_destroy(&self->disk);
    tally_cluster_destroy(&self->cluster);
    tally_board_close(&self->board);
    int rc = tally_room_destroy(&self->room);
    free(self->conninfo);
    free(self->fronts);
    free(self->run);
    free(self);
    *self_p = NULL;
    return rc;
}

void
tally_scene_phase(tally_scene_t *self, tally_phase_t phase)
{
    tally_history_add(self->history,
                      &(tally_history_record_t){.kind = TALLY_DID_PHASE, .code = (uint16_t)phase});
}

tally_scene_sums_t
tally_scene_sums(const tally_scene_t *self)
{
    tally_scene_sums_t sums = {.resting = true};
    for (size_t i = 0; i < self->member_count; i++) {
        const tally_slot_t *slot = &self->board->slots[self->members[i].slot];
        sums.confirmed += atomic_load(&slot->confirmed);
        sums.refused += atomic_load(&slot->refused);
        sums.settled += atomic_load(&slot->settled);
        sums.stale += atomic_load(&slot->stale);
        sums.unknown += atomic_load(&slot->unknown);
        sums.delivered += atomic_load(&slot->delivered);
        sums.open += atomic_load(&slot->open);
        if (self->members[i].kind == TALLY_MEMBER_CLIENT && !atomic_load(&slot->resting)) {
            sums.resting = false;
        }
    }
    return sums;
}
