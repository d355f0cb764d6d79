// SPDX-License-Identifier: MIT
//  latency - one message at a time, and a steady trickle, against single-row commits of one connection, and beside them
//  what the least broker of the same libraries reaches.

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/histogram.h"
#include "tests/bench/floor.h"
#include "tests/bench/scene.h"

#define BODY_BYTES 128
#define RATE 1000
#define RATE_TEXT "1000"

typedef struct {
    bench_samples_t per_s, p50_ms, p99_ms, p999_ms, postgres_us;
} commits_t;

//  Inserts a message, commits, again: what one durable row costs here.
static void
commit_singly(const bench_scene_t *scene, commits_t *commits)
{
    static const char sql[] = "insert into tally.message (tenant, id, queue, body) "
                              "values (1, $1, 1, $2)";
    static const uint8_t body[BODY_BYTES] = {1};
    tally_db_t *db = bench_scene_floor_connection(scene);
    bench_scene_must(db, tally_db_script(db, "truncate tally.message"));
    tally_histogram_t *took_us = tally_histogram_new();
    bench_usage_t before = bench_scene_usage(scene);
    int64_t started_us = tally_clock_now_us();
    int64_t now_us = started_us;
    int64_t count = 0;
    while (now_us < started_us + scene->seconds * INT64_C(1000000)) {
        tally_params_t params = {0};
        tally_params_int8(&params, ++count);
        tally_params_bytea(&params, (tally_bytes_t){body, sizeof body});
        bench_scene_must(db, tally_db_run(db, sql, &params, NULL));
        tally_params_free(&params);
        int64_t until_us = tally_clock_now_us();
        tally_histogram_add(took_us, (uint64_t)(until_us - now_us), 1);
        now_us = until_us;
    }
    bench_usage_t after = bench_scene_usage(scene);
    bench_samples_add(&commits->postgres_us,
                      (after.postgres - before.postgres) * 1e6 / (double)count);
    bench_samples_add(&commits->per_s, (double)count * 1e6 / (double)(now_us - started_us));
    bench_samples_add(&commits->p50_ms, (double)tally_histogram_quantile(took_us, 0.5) / 1000);
    bench_samples_add(&commits->p99_ms, (double)tally_histogram_quantile(took_us, 0.99) / 1000);
    bench_samples_add(&commits->p999_ms, (double)tally_histogram_quantile(took_us, 0.999) / 1000);
    tally_histogram_destroy(&took_us);
    tally_db_destroy(&db);
}

static void
add_row(bench_scene_t *scene, const char *what, const char *unit, const bench_samples_t *measured,
        const bench_samples_t *base)
{
    bench_report_add(scene->report, &(bench_row_t){.scenario = "latency",
                                                   .what = what,
                                                   .unit = unit,
                                                   .measured = measured,
                                                   .base = base});
}

static void
add_target(bench_scene_t *scene, const char *what, const char *unit,
           const bench_samples_t *measured, const bench_samples_t *base, bench_rule_t rule,
           double target)
{
    bench_report_add(scene->report, &(bench_row_t){.scenario = "latency",
                                                   .what = what,
                                                   .unit = unit,
                                                   .measured = measured,
                                                   .base = base,
                                                   .rule = rule,
                                                   .target = target});
}

static bench_floor_broker_t
run_least_broker(const bench_scene_t *scene, int rate, bool settles)
{
    bench_floor_broker_options_t options = {.body_bytes = BODY_BYTES,
                                            .rate = rate,
                                            .settles = settles,
                                            .seconds = scene->seconds};
    bench_floor_broker_t result;
    bench_floor_broker(scene->floor_db, &options, &result);
    return result;
}

static void
send_one_at_a_time(bench_scene_t *scene, bool settles)
{
    commits_t commits = {0};
    bench_samples_t confirms = {0}, least = {0};
    bench_load_t load;
    bench_say("latency: one message outstanding, %s",
              settles ? "a worker settles each" : "no consumer");
    for (int round = 0; round < scene->rounds; round++) {
        commit_singly(scene, &commits);
        bench_scene_load(scene, &load, "--warm-up", "1", "--producers", "1", "--window", "1",
                         "--batch", "1", "--workers", settles ? "1" : "0", NULL);
        bench_samples_add(&confirms, load.confirmed_per_s);
        bench_samples_add(&least, run_least_broker(scene, 0, settles).confirmed_per_s);
        bench_say("  bare commits %.0f/s, confirms %.0f/s, of the least broker %.0f/s",
                  commits.per_s.values[round], confirms.values[round], least.values[round]);
    }
    add_target(scene,
               settles ? "one outstanding, each settled: confirms, against bare commits"
                       : "one outstanding, no consumer: confirms, against bare commits",
               "/s", &confirms, &commits.per_s, BENCH_AT_LEAST, settles ? 0.50 : 0.60);
    add_row(scene,
            settles ? "one outstanding, each settled: the least broker's confirms"
                    : "one outstanding, no consumer: the least broker's confirms",
            "/s", &least, &commits.per_s);
}

static void
send_a_trickle(bench_scene_t *scene, commits_t *commits)
{
    bench_samples_t p50 = {0}, p99 = {0}, p999 = {0}, confirm50 = {0}, confirm99 = {0},
                    confirm999 = {0}, tick_messages = {0}, broker_us = {0}, postgres_us = {0},
                    least = {0};
    bench_say("latency: 1000/s, unbatched");
    for (int round = 0; round < scene->rounds; round++) {
        bench_load_t load;
        commit_singly(scene, commits);
        bench_scene_load(scene, &load, "--warm-up", "1", "--producers", "1", "--rate", RATE_TEXT,
                         "--batch", "1", "--workers", "1", NULL);
        bench_samples_add(&p50, load.deliver_p50_ms);
        bench_samples_add(&p99, load.deliver_p99_ms);
        bench_samples_add(&p999, load.deliver_p999_ms);
        bench_samples_add(&confirm50, load.confirm_p50_ms);
        bench_samples_add(&confirm99, load.confirm_p99_ms);
        bench_samples_add(&confirm999, load.confirm_p999_ms);
        bench_samples_add(&tick_messages, load.tick_messages);
        bench_samples_add(&broker_us, load.broker_us);
        bench_samples_add(&postgres_us, load.postgres_us);
        bench_samples_add(&least, run_least_broker(scene, RATE, true).deliver_p50_ms);
        bench_say("  bare commit p50 %.2f ms, send to worker p50 %.2f ms, p99 %.2f ms, of the "
                  "least broker p50 %.2f ms",
                  commits->p50_ms.values[round], p50.values[round], p99.values[round],
                  least.values[round]);
    }
    add_target(scene, "1000/s: p50 send to worker, against a bare commit", "ms", &p50,
               &commits->p50_ms, BENCH_AT_MOST, 2.5);
    add_row(scene, "1000/s: the least broker's p50 send to worker", "ms", &least, &commits->p50_ms);
    add_row(scene, "1000/s: p99 send to worker", "ms", &p99, &commits->p99_ms);
    add_row(scene, "1000/s: p99.9 send to worker", "ms", &p999, &commits->p999_ms);
    add_row(scene, "1000/s: p50 send to confirm", "ms", &confirm50, &commits->p50_ms);
    add_row(scene, "1000/s: p99 send to confirm", "ms", &confirm99, &commits->p99_ms);
    add_row(scene, "1000/s: p99.9 send to confirm", "ms", &confirm999, &commits->p999_ms);
    add_row(scene, "1000/s: messages in a tick", "", &tick_messages, NULL);
    add_row(scene, "1000/s: CPU of the broker", "us/msg", &broker_us, NULL);
    add_row(scene, "1000/s: CPU of PostgreSQL, against a bare commit", "us/msg", &postgres_us,
            &commits->postgres_us);
}

void
bench_latency(bench_scene_t *scene)
{
    commits_t commits = {0};
    bench_scene_up(scene, "heartbeat=0");
    send_one_at_a_time(scene, false);
    send_one_at_a_time(scene, true);
    send_a_trickle(scene, &commits);
    bench_scene_down(scene);
}
