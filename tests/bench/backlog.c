// SPDX-License-Identifier: MIT
//  backlog - millions of messages pending, a snapshot held open: is it flat when it hurts?
//
//  Two instances take turns, one with the burden and one without.

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/bench/peer.h"
#include "tests/bench/scene.h"

#define QUEUE "backlog"
#define TENANT "backlog"
#define START_MS_MAX 120000
#define LOADED_MS_MAX 120000
#define HELD_SECONDS 60

static void
add_row(bench_scene_t *scene, const char *scenario, const char *what, const char *unit,
        const bench_samples_t *measured, const bench_samples_t *base, bench_rule_t rule,
        double target)
{
    bench_report_add(scene->report, &(bench_row_t){.scenario = scenario,
                                                   .what = what,
                                                   .unit = unit,
                                                   .measured = measured,
                                                   .base = base,
                                                   .rule = rule,
                                                   .target = target});
}

static void
add_one(bench_scene_t *scene, const char *scenario, const char *what, const char *unit,
        double value, bench_rule_t rule, double target)
{
    bench_samples_t samples = {0};
    bench_samples_add(&samples, value);
    add_row(scene, scenario, what, unit, &samples, NULL, rule, target);
}

//  ---- backlog ----------------------------------------------------------------------------------------------

//  Rows as the broker's own inserts leave them; it hears of them at its next start.
static void
fill(bench_scene_t *scene, int64_t from, int64_t until)
{
    static const char sql[] =
        "insert into tally.message (tenant, id, queue, body) "
        "select t.id, g, q.id, decode(repeat('a5', 128), 'hex') "
        "from tally.tenant t, tally.queue q, generate_series($1::bigint, $2::bigint) g "
        "where t.name = '" TENANT "' and q.name = '" QUEUE "'";
    tally_db_t *db = bench_scene_connection(scene);
    tally_params_t params = {0};
    tally_params_int8(&params, from);
    tally_params_int8(&params, until);
    bench_scene_must(db, tally_db_run(db, sql, &params, NULL));
    tally_params_free(&params);
    bench_scene_must(db, tally_db_script(db, "vacuum tally.message"));
    bench_scene_must(db, tally_db_script(db, "checkpoint"));
    tally_db_destroy(&db);
}

//  When the broker's session began, by the clock of this machine.
static int64_t
connected_us(bench_scene_t *scene)
{
    static const char sql[] = "select (extract(epoch from max(backend_start)) * 1000000)::bigint "
                              "from pg_stat_activity where application_name = 'tallyd-tick'";
    tally_db_t *db = bench_scene_connection(scene);
    tally_rows_t rows;
    bench_scene_must(db, tally_db_run(db, sql, &(tally_params_t){0}, &rows));
    int64_t at_us = tally_rows_int8(&rows, 0, 0);
    tally_db_destroy(&db);
    return at_us;
}

typedef struct {
    bench_scene_t *scene;
    int64_t messages;
} awaited_t;

static bool
is_loaded(void *argument)
{
    awaited_t *awaited = argument;
    json_t *status = tally_instance_json(awaited->scene->instance, "status", "--json", NULL);
    size_t index;
    json_t *queue;
    int64_t there = 0;
    json_array_foreach(json_object_get(status, "queues"), index, queue) {
        if (strcmp(json_string_value(json_object_get(queue, "name")), QUEUE) == 0) {
            there = json_integer_value(json_object_get(queue, "ready"))
                    + json_integer_value(json_object_get(queue, "leased"))
                    + json_integer_value(json_object_get(queue, "delayed"));
        }
    }
    json_decref(status);
    return there >= awaited->messages;
}

//  The broker is killed and started by its supervisor; a worker waits for what it finds.
static void
start_again(bench_scene_t *scene, int64_t messages, double target_ms)
{
    char what[96];
    pid_t before = tally_instance_signal(scene->instance, "tallyd", SIGKILL);
    int64_t came_us = bench_peer_first_delivery(tally_instance_endpoint(scene->instance), QUEUE,
                                                START_MS_MAX);
    assert_true(came_us > 0);
    awaited_t awaited = {scene, messages};
    if (!tally_wait_until(is_loaded, &awaited, LOADED_MS_MAX)) {
        fail_msg("the broker did not load %lld messages", (long long)messages);
    }
    tally_instance_await_another(scene->instance, "tallyd", before, START_MS_MAX);
    double first_ms = (double)(came_us - connected_us(scene)) / 1000;
    double megabytes = bench_scene_megabytes(scene, "tallyd");
    bench_say("  %lld pending: first delivery %.0f ms after connecting, %.0f MB",
              (long long)messages, first_ms, megabytes);
    snprintf(what, sizeof what, "start with %.0f million pending: first delivery",
             (double)messages / 1e6);
    add_one(scene, "backlog", what, "ms", first_ms, target_ms > 0 ? BENCH_AT_MOST : BENCH_NO_TARGET,
            target_ms);
    snprintf(what, sizeof what, "%.0f million pending of 128 B: memory of the broker",
             (double)messages / 1e6);
    add_one(scene, "backlog", what, "MB", megabytes, BENCH_AT_MOST, 400);
}

static void
load_both(bench_scene_t *empty, bench_scene_t *burdened, const char *scenario, const char *what,
          double target)
{
    bench_samples_t plain = {0}, heavy = {0}, plain_ms = {0}, heavy_ms = {0};
    char text[96];
    for (int round = 0; round < empty->rounds; round++) {
        bench_load_t load;
        bench_scene_load(empty, &load, "--warm-up", "1", NULL);
        bench_samples_add(&plain, load.settled_per_s);
        bench_samples_add(&plain_ms, load.deliver_p50_ms);
        bench_scene_load(burdened, &load, "--warm-up", "1", NULL);
        bench_samples_add(&heavy, load.settled_per_s);
        bench_samples_add(&heavy_ms, load.deliver_p50_ms);
        bench_say("  %s: %.0f/s, without %.0f/s", what, heavy.values[round], plain.values[round]);
    }
    snprintf(text, sizeof text, "%s: settled, against none", what);
    add_row(empty, scenario, text, "/s", &heavy, &plain,
            target > 0 ? BENCH_AT_LEAST : BENCH_NO_TARGET, target);
    snprintf(text, sizeof text, "%s: p50 send to worker", what);
    add_row(empty, scenario, text, "ms", &heavy_ms, &plain_ms, BENCH_NO_TARGET, 0);
}

void
bench_backlog(bench_scene_t *scene)
{
    static const struct {
        int64_t messages;
        double start_ms, settled;
    } steps[] = {{1000000, 1000, 0}, {5000000, 0, 0.90}};
    bench_scene_t burdened = *scene;
    int64_t there = 0;
    bench_scene_up(scene, "heartbeat=0");
    bench_scene_up(&burdened, "heartbeat=0");
    tally_instance_must(burdened.instance, "queue", "put", QUEUE, NULL);
    tally_instance_must(burdened.instance, "tenant", "put", TENANT, NULL);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        char what[64];
        bench_say("backlog: %lld messages", (long long)steps[i].messages);
        fill(&burdened, there + 1, steps[i].messages);
        there = steps[i].messages;
        start_again(&burdened, there, steps[i].start_ms);
        snprintf(what, sizeof what, "%.0f million pending", (double)there / 1e6);
        load_both(scene, &burdened, "backlog", what, steps[i].settled);
    }
    bench_scene_down(&burdened);
    bench_scene_down(scene);
}

//  ---- held snapshot ------------------------------------------------------------------------------------------

void
bench_held(bench_scene_t *scene)
{
    bench_scene_t burdened = *scene;
    bench_load_t load;
    bench_scene_up(scene, "heartbeat=0");
    bench_scene_up(&burdened, "heartbeat=0");
    tally_db_t *holder = bench_scene_connection(&burdened);
    bench_say("held: a snapshot is open, %d s of load", HELD_SECONDS);
    bench_scene_must(holder, tally_db_begin(holder, TALLY_DB_REPEATABLE_READ));
    bench_scene_must(holder, tally_db_script(holder, "select count(*) from tally.message"));
    burdened.seconds = HELD_SECONDS;
    bench_scene_load(&burdened, &load, NULL);
    burdened.seconds = scene->seconds;
    bench_say("  settled %.0f/s meanwhile", load.settled_per_s);
    load_both(scene, &burdened, "held", "snapshot open for 60 s and more", 0.90);
    bench_scene_must(holder, tally_db_commit(holder));
    tally_db_destroy(&holder);
    bench_scene_down(&burdened);
    bench_scene_down(scene);
}
