// SPDX-License-Identifier: MIT
//  scene - what a scenario of the benchmark works with: a private instance, loads on it, floors beside it, and what all
//  of them cost.
//
//  The load is `tally bench`, a process of its own like any client; the floors are loops of this program on a second
//  database of the same cluster.  Measured and floor take turns, since machines change their speed.  What goes wrong
//  ends the program with a message; the instance's guard cleans up.

#ifndef TALLY_BENCH_SCENE_H
#define TALLY_BENCH_SCENE_H

#include "lib/db.h"
#include "tests/bench/report.h"
#include "tests/integration/instance.h"

typedef struct {
    bench_report_t *report;
    int seconds;          // of one measurement
    int rounds;           // measurements of each thing, in turns
    bool notes_server;    // the next instance is to say in the report what PostgreSQL it has
    tally_instance_t *instance;
    char *floor_db;    // conninfo of the second database; owned
} bench_scene_t;

//  A new instance with these crews ("responses=1", or "heartbeat=0" for none), and WAL segments to write over, as a
//  server has that has been running for a while.
void bench_scene_up(bench_scene_t *self, const char *crews);
void bench_scene_down(bench_scene_t *self);

//  Seconds of CPU since the start.
typedef struct {
    double broker, postgres, load;    // load: commands of this program that have ended
} bench_usage_t;

bench_usage_t bench_scene_usage(const bench_scene_t *self);
//  Resident memory of a process of the instance.
double bench_scene_megabytes(const bench_scene_t *self, const char *name);

//  One run of `tally bench`.
typedef struct {
    double confirmed_per_s, settled_per_s;
    double confirm_p50_ms, confirm_p99_ms, confirm_p999_ms;
    double deliver_p50_ms, deliver_p99_ms, deliver_p999_ms;
    double tick_messages, tick_leases;    // means of the ticks that took messages in, about
    double database_ms;                   // a tick's wait for PostgreSQL, mean
    double collect_us, plan_us, encode_us, publish_us;    // of the broker, per message
    double broker_us, postgres_us, load_us;               // CPU per confirmed message
} bench_load_t;

//  Words behind `tally bench --json --seconds N`; NULL ends them.
void bench_scene_load(bench_scene_t *self, bench_load_t *load, ...) __attribute__((sentinel));

//  A connection to the floor's database, or to the instance's.
tally_db_t *bench_scene_floor_connection(const bench_scene_t *self);
tally_db_t *bench_scene_connection(const bench_scene_t *self);
void bench_scene_must(tally_db_t *db, tally_db_outcome_t outcome);

//  Progress on standard error.
void bench_say(const char *format, ...) TALLY_PRINTF(1, 2);

//  ---- scenarios --------------------------------------------------------------------------------------------

void bench_messages(bench_scene_t *scene);
void bench_matrix(bench_scene_t *scene);
void bench_latency(bench_scene_t *scene);
void bench_backlog(bench_scene_t *scene);
void bench_held(bench_scene_t *scene);
void bench_fairness(bench_scene_t *scene);
void bench_quota(bench_scene_t *scene);
void bench_fan(bench_scene_t *scene);
void bench_pipeline(bench_scene_t *scene);
void bench_comparison(bench_scene_t *scene);
void bench_floor(bench_scene_t *scene);
void bench_strangers(bench_scene_t *scene);

#endif
