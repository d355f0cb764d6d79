// SPDX-License-Identifier: MIT
//  messages - throughput of the broker against the floor, in turns.

#include <stdio.h>

#include "tests/bench/floor.h"
#include "tests/bench/scene.h"

typedef struct {
    int batch, window, body, producers, workers;
} setting_t;

typedef struct {
    bench_samples_t settled, confirmed, bare, ticks;
    bench_samples_t tick_messages, database_ms, broker_us, postgres_us, load_us;
    bench_samples_t collect_us, plan_us, encode_us, publish_us;
    bench_samples_t floor_postgres_us;    // of the bare statements, the cheaper of both ways
} figures_t;

static void
load_once(bench_scene_t *scene, const setting_t *setting, bench_load_t *load)
{
    char batch[16], window[16], body[16], producers[16], workers[16];
    snprintf(batch, sizeof batch, "%d", setting->batch);
    snprintf(window, sizeof window, "%d", setting->window);
    snprintf(body, sizeof body, "%d", setting->body);
    snprintf(producers, sizeof producers, "%d", setting->producers);
    snprintf(workers, sizeof workers, "%d", setting->workers);
    bench_scene_load(scene, load, "--warm-up", "1", "--batch", batch, "--window", window, "--body",
                     body, "--producers", producers, "--workers", workers, NULL);
}

static void
add_load(figures_t *figures, const bench_load_t *load)
{
    bench_samples_add(&figures->settled, load->settled_per_s);
    bench_samples_add(&figures->confirmed, load->confirmed_per_s);
    bench_samples_add(&figures->tick_messages, load->tick_messages);
    bench_samples_add(&figures->database_ms, load->database_ms);
    bench_samples_add(&figures->broker_us, load->broker_us);
    bench_samples_add(&figures->postgres_us, load->postgres_us);
    bench_samples_add(&figures->load_us, load->load_us);
    bench_samples_add(&figures->collect_us, load->collect_us);
    bench_samples_add(&figures->plan_us, load->plan_us);
    bench_samples_add(&figures->encode_us, load->encode_us);
    bench_samples_add(&figures->publish_us, load->publish_us);
}

//  CPU of PostgreSQL per message, in microseconds: what no neighbour on the machine can change much.
static double
run_bare(bench_scene_t *scene, const bench_floor_options_t *options, bench_floor_t *result)
{
    bench_usage_t from = bench_scene_usage(scene);
    bench_floor_messages(scene->floor_db, options, result);
    bench_usage_t until = bench_scene_usage(scene);
    return (until.postgres - from.postgres) * 1e6 / (result->messages_per_s * options->seconds);
}

//  With ticks as large as the load's were, its bodies written in the faster way.
static void
floor_once(bench_scene_t *scene, const setting_t *setting, const bench_load_t *load,
           figures_t *figures)
{
    bench_floor_options_t options = {.messages = (size_t)(load->tick_messages + 0.5),
                                     .leases = (size_t)(load->tick_leases + 0.5),
                                     .body_bytes = (size_t)setting->body,
                                     .seconds = scene->seconds};
    options.messages = options.messages > 0 ? options.messages : 1;
    options.leases = options.leases > 0 ? options.leases : 1;
    bench_floor_t arrays, copied = {0}, ticks;
    double us = run_bare(scene, &options, &arrays);
    if (setting->body >= 1024) {
        options.copies = true;
        double copied_us = run_bare(scene, &options, &copied);
        us = copied_us < us ? copied_us : us;
        options.copies = false;
    }
    bench_samples_add(&figures->floor_postgres_us, us);
    bench_floor_ticks(scene->floor_db, &options, &ticks);
    double best = copied.messages_per_s > arrays.messages_per_s ? copied.messages_per_s
                                                                : arrays.messages_per_s;
    bench_samples_add(&figures->bare, best);
    bench_samples_add(&figures->ticks, ticks.messages_per_s);
    bench_say("  settled %.0f/s in ticks of %.0f messages and %.1f leases, database %.2f ms; floor "
              "%.0f/s (arrays %.0f, copy %.0f), the broker's statements alone %.0f/s",
              load->settled_per_s, load->tick_messages, load->tick_leases, load->database_ms, best,
              arrays.messages_per_s, copied.messages_per_s, ticks.messages_per_s);
}

static void
add_figure(bench_scene_t *scene, const char *setting, const char *what, const char *unit,
           const bench_samples_t *samples)
{
    char text[128];
    snprintf(text, sizeof text, "%s: %s", setting, what);
    bench_report_add(scene->report, &(bench_row_t){.scenario = "messages",
                                                   .what = text,
                                                   .unit = unit,
                                                   .measured = samples});
}

static void
add_costs(bench_scene_t *scene, const char *what, const figures_t *figures)
{
    add_figure(scene, what, "messages in a tick", "", &figures->tick_messages);
    add_figure(scene, what, "PostgreSQL's part of a tick", "ms", &figures->database_ms);
    add_figure(scene, what, "CPU of the broker", "us/msg", &figures->broker_us);
    add_figure(scene, what, "  of it collecting", "us/msg", &figures->collect_us);
    add_figure(scene, what, "  of it planning", "us/msg", &figures->plan_us);
    add_figure(scene, what, "  of it encoding", "us/msg", &figures->encode_us);
    add_figure(scene, what, "  of it publishing", "us/msg", &figures->publish_us);
    add_figure(scene, what, "CPU of producers and workers", "us/msg", &figures->load_us);
}

static void
describe(char *out, size_t room, const setting_t *setting)
{
    snprintf(out, room, "batch %d, %d B, %dp %dw", setting->batch, setting->body,
             setting->producers, setting->workers);
}

static void
measure(bench_scene_t *scene, const setting_t *setting, double target, figures_t *figures)
{
    char what[64], text[128];
    describe(what, sizeof what, setting);
    bench_say("messages: %s", what);
    for (int round = 0; round < scene->rounds; round++) {
        bench_load_t load;
        load_once(scene, setting, &load);
        add_load(figures, &load);
        floor_once(scene, setting, &load, figures);
    }
    snprintf(text, sizeof text, "%s: settled, against the floor", what);
    bench_report_add(scene->report,
                     &(bench_row_t){.scenario = "messages",
                                    .what = text,
                                    .unit = "/s",
                                    .measured = &figures->settled,
                                    .base = &figures->bare,
                                    .rule = target > 0 ? BENCH_AT_LEAST : BENCH_NO_TARGET,
                                    .target = target});
    snprintf(text, sizeof text, "%s: the same, against its statements", what);
    bench_report_add(scene->report, &(bench_row_t){.scenario = "messages",
                                                   .what = text,
                                                   .unit = "/s",
                                                   .measured = &figures->settled,
                                                   .base = &figures->ticks});
    snprintf(text, sizeof text, "%s: CPU of PostgreSQL, against the floor's", what);
    bench_report_add(scene->report, &(bench_row_t){.scenario = "messages",
                                                   .what = text,
                                                   .unit = "us/msg",
                                                   .measured = &figures->postgres_us,
                                                   .base = &figures->floor_postgres_us});
    add_costs(scene, what, figures);
}

//  The two compared with each other take turns, and no floor between them.
static void
compare_batches(bench_scene_t *scene)
{
    static const setting_t single = {1, 256, 128, 2, 2};
    static const setting_t batched = {64, 12, 128, 2, 2};
    figures_t of_single = {0}, of_batched = {0};
    bench_say("messages: batch 1 with 256 outstanding against batch 64");
    for (int round = 0; round < scene->rounds; round++) {
        bench_load_t load;
        load_once(scene, &single, &load);
        add_load(&of_single, &load);
        load_once(scene, &batched, &load);
        add_load(&of_batched, &load);
        bench_say("  settled %.0f/s, %.0f/s", of_single.settled.values[round],
                  of_batched.settled.values[round]);
    }
    bench_report_add(scene->report,
                     &(bench_row_t){.scenario = "messages",
                                    .what = "batch 1, 256 outstanding: settled, against batch 64",
                                    .unit = "/s",
                                    .measured = &of_single.settled,
                                    .base = &of_batched.settled,
                                    .rule = BENCH_AT_LEAST,
                                    .target = 0.60});
    add_costs(scene, "batch 1, 256 outstanding", &of_single);
}

void
bench_messages(bench_scene_t *scene)
{
    figures_t small = {0}, large = {0};
    bench_scene_up(scene, "heartbeat=0");
    measure(scene, &(setting_t){64, 12, 128, 2, 2}, 0.80, &small);
    measure(scene, &(setting_t){64, 12, 1024, 2, 2}, 0.85, &large);
    compare_batches(scene);
    bench_scene_down(scene);
}

//  Half of what it can do, at a rate that does not wait for it.
static void
measure_open_loop(bench_scene_t *scene)
{
    bench_samples_t rate = {0}, confirm50 = {0}, confirm99 = {0}, deliver50 = {0}, deliver99 = {0};
    for (int round = 0; round < scene->rounds; round++) {
        bench_load_t load;
        char half[16];
        load_once(scene, &(setting_t){64, 12, 128, 2, 2}, &load);
        snprintf(half, sizeof half, "%.0f", load.settled_per_s / 2);
        bench_scene_load(scene, &load, "--warm-up", "1", "--rate", half, NULL);
        bench_samples_add(&rate, load.settled_per_s);
        bench_samples_add(&confirm50, load.confirm_p50_ms);
        bench_samples_add(&confirm99, load.confirm_p99_ms);
        bench_samples_add(&deliver50, load.deliver_p50_ms);
        bench_samples_add(&deliver99, load.deliver_p99_ms);
    }
    add_figure(scene, "open loop at half", "settled", "/s", &rate);
    add_figure(scene, "open loop at half", "p50 send to confirm", "ms", &confirm50);
    add_figure(scene, "open loop at half", "p99 send to confirm", "ms", &confirm99);
    add_figure(scene, "open loop at half", "p50 send to worker", "ms", &deliver50);
    add_figure(scene, "open loop at half", "p99 send to worker", "ms", &deliver99);
}

//  One thing changed at a time.
void
bench_matrix(bench_scene_t *scene)
{
    static const setting_t settings[] = {
        {1, 12, 128, 2, 2},  {256, 4, 128, 2, 2}, {64, 12, 16384, 2, 2},
        {64, 12, 128, 1, 1}, {64, 12, 128, 8, 8}, {1, 256, 1024, 2, 2},
    };
    bench_scene_up(scene, "heartbeat=0");
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        figures_t figures = {0};
        measure(scene, &settings[i], 0, &figures);
    }
    measure_open_loop(scene);
    bench_scene_down(scene);
}

//  What PostgreSQL can do here, by size of tick.
void
bench_floor(bench_scene_t *scene)
{
    static const size_t bodies[] = {128, 1024};
    static const size_t sizes[] = {1, 64, 256, 768, 1024};
    bench_scene_up(scene, "heartbeat=0");
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
        bench_samples_t arrays = {0}, copied = {0}, ticks = {0};
        bench_floor_options_t options = {.messages = sizes[i / 2],
                                         .leases = 1 + sizes[i / 2] / 256,
                                         .body_bytes = bodies[i % 2],
                                         .seconds = scene->seconds};
        for (int round = 0; round < scene->rounds; round++) {
            bench_floor_t result;
            options.copies = false;
            bench_floor_messages(scene->floor_db, &options, &result);
            bench_samples_add(&arrays, result.messages_per_s);
            bench_floor_ticks(scene->floor_db, &options, &result);
            bench_samples_add(&ticks, result.messages_per_s);
            options.copies = true;
            bench_floor_messages(scene->floor_db, &options, &result);
            bench_samples_add(&copied, result.messages_per_s);
        }
        const struct {
            const char *what;
            const bench_samples_t *samples;
        } rows[] = {{"bare, bodies as arrays", &arrays},
                    {"bare, bodies by COPY", &copied},
                    {"the broker's statements", &ticks}};
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
            char text[128];
            snprintf(text, sizeof text, "ticks of %zu, %zu B: %s", options.messages,
                     options.body_bytes, rows[k].what);
            bench_report_add(scene->report, &(bench_row_t){.scenario = "floor",
                                                           .what = text,
                                                           .unit = "/s",
                                                           .measured = rows[k].samples});
        }
    }
    bench_scene_down(scene);
}
