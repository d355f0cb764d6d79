// SPDX-License-Identifier: MIT
//  pipeline - survey responses from send to counted, exports and recomputation.
//
//  Counted means that `tally statistics refresh --wait` came back: everything that was confirmed is in the statistics.
//  Each round has a survey of its own; what was counted is compared with what must come out.

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "tests/bench/floor.h"
#include "tests/bench/scene.h"
#include "tests/integration/survey_data.h"

#define TENANT "acme"
#define RESPONSES_PER_SECOND 40000    // so many are made for each second of a measurement
#define FLOOR_TICK 256

typedef struct {
    bench_samples_t counted, floor, confirmed, csv, table, recomputed_2, recomputed_1;
    bench_samples_t broker_us, postgres_us;
} figures_t;

static void
add_row(bench_scene_t *scene, const char *what, const char *unit, const bench_samples_t *measured,
        const bench_samples_t *base, double at_least)
{
    bench_report_add(scene->report,
                     &(bench_row_t){.scenario = "pipeline",
                                    .what = what,
                                    .unit = unit,
                                    .measured = measured,
                                    .base = base,
                                    .rule = at_least > 0 ? BENCH_AT_LEAST : BENCH_NO_TARGET,
                                    .target = at_least});
}

static void
require_exact(bench_scene_t *scene, const survey_data_t *data)
{
    json_t *shown = tally_instance_json(scene->instance, "statistics", "show", "-t", TENANT, "-s",
                                        data->slug, "--json", NULL);
    char *difference = survey_data_difference(data->expected, shown);
    json_decref(shown);
    if (difference != NULL) {
        fail_msg("the statistics are wrong: %s", difference);
    }
}

static void
generate(bench_scene_t *scene, survey_data_t *data, int round)
{
    char slug[32];
    snprintf(slug, sizeof slug, "round-%d", round);
    survey_data_generate(data, tally_instance_dir(scene->instance), slug,
                         (size_t)scene->seconds * RESPONSES_PER_SECOND, (unsigned)round + 1);
}

//  Responses per second, from the start of the sending until all are counted.
static void
submit(bench_scene_t *scene, const survey_data_t *data, figures_t *figures)
{
    tally_instance_must(scene->instance, "survey", "put", data->definition, "-t", TENANT, NULL);
    bench_usage_t before = bench_scene_usage(scene);
    int64_t from_us = tally_clock_now_us();
    tally_instance_must(scene->instance, "submit", data->responses, "-t", TENANT, "-q", NULL);
    int64_t confirmed_us = tally_clock_now_us();
    tally_instance_must(scene->instance, "statistics", "refresh", "-t", TENANT, "--wait", NULL);
    int64_t until_us = tally_clock_now_us();
    bench_usage_t after = bench_scene_usage(scene);
    double count = (double)data->count;
    bench_samples_add(&figures->counted, count * 1e6 / (double)(until_us - from_us));
    bench_samples_add(&figures->confirmed, count * 1e6 / (double)(confirmed_us - from_us));
    bench_samples_add(&figures->broker_us, (after.broker - before.broker) * 1e6 / count);
    bench_samples_add(&figures->postgres_us, (after.postgres - before.postgres) * 1e6 / count);
    require_exact(scene, data);
}

static void
run_floor(bench_scene_t *scene, const survey_data_t *data, figures_t *figures)
{
    struct stat file;
    int rc = stat(data->responses, &file);
    assert_int_equal(rc, 0);
    bench_floor_t result;
    bench_floor_responses(scene->floor_db,
                          &(bench_floor_options_t){.messages = FLOOR_TICK,
                                                   .body_bytes = (size_t)file.st_size / data->count,
                                                   .seconds = scene->seconds},
                          &result);
    bench_samples_add(&figures->floor, result.messages_per_s);
}

//  Into a file below the instance's directory, or into a table of its database when there is none.
static void
export_rows(bench_scene_t *scene, const survey_data_t *data, const char *dir,
            bench_samples_t *rows_per_s)
{
    int64_t from_us = tally_clock_now_us();
    tally_instance_must(scene->instance, "export", data->slug, "-t", TENANT, "--wait", "-q",
                        "--format", dir != NULL ? "csv" : "table", dir != NULL ? "--out" : NULL,
                        dir, NULL);
    bench_samples_add(rows_per_s,
                      (double)data->count * 1e6 / (double)(tally_clock_now_us() - from_us));
}

static void
recompute(bench_scene_t *scene, const survey_data_t *data, bench_samples_t *responses_per_s)
{
    int64_t from_us = tally_clock_now_us();
    tally_instance_must(scene->instance, "statistics", "recompute", "-t", TENANT, "-s", data->slug,
                        "--wait", NULL);
    bench_samples_add(responses_per_s,
                      (double)data->count * 1e6 / (double)(tally_clock_now_us() - from_us));
    require_exact(scene, data);
}

//  Two instances, since the number of workers is fixed when one comes up.
void
bench_pipeline(bench_scene_t *scene)
{
    figures_t figures = {0}, unused = {0};
    bench_scene_t single = *scene;
    bench_scene_up(scene, "responses=2,statistics=2,export=1");
    bench_scene_up(&single, "responses=2,statistics=1");
    for (int round = 0; round < scene->rounds; round++) {
        survey_data_t data, same;
        generate(scene, &data, round);
        generate(&single, &same, round);
        submit(scene, &data, &figures);
        run_floor(scene, &data, &figures);
        export_rows(scene, &data, tally_instance_dir(scene->instance), &figures.csv);
        export_rows(scene, &data, NULL, &figures.table);
        submit(&single, &same, &unused);
        recompute(&single, &same, &figures.recomputed_1);
        recompute(scene, &data, &figures.recomputed_2);
        bench_say("pipeline: %zu responses, %.0f/s counted, floor %.0f/s", data.count,
                  figures.counted.values[round], figures.floor.values[round]);
        survey_data_free(&data);
        survey_data_free(&same);
    }
    add_row(scene, "responses from send to counted, against the floor", "/s", &figures.counted,
            &figures.floor, 0.50);
    add_row(scene, "responses confirmed", "/s", &figures.confirmed, NULL, 0);
    add_row(scene, "CPU of the broker", "us/resp", &figures.broker_us, NULL, 0);
    add_row(scene, "CPU of PostgreSQL", "us/resp", &figures.postgres_us, NULL, 0);
    add_row(scene, "rows exported as CSV", "/s", &figures.csv, NULL, 0);
    add_row(scene, "rows exported into a table", "/s", &figures.table, NULL, 0);
    add_row(scene, "responses recomputed by 2 workers, against 1", "/s", &figures.recomputed_2,
            &figures.recomputed_1, 0);
    bench_scene_down(&single);
    bench_scene_down(scene);
}
