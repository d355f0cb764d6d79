// SPDX-License-Identifier: MIT
//  crowd - many at once: a thousand tenants beside one that floods, and thousands of peers that do nothing.

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "clients/cmd/bench.h"
#include "lib/clock.h"
#include "tests/bench/peer.h"
#include "tests/bench/scene.h"

#define FLOOD_MESSAGES 100000
#define FLOOD_BATCH 250
#define FLOOD_TENANT "flood"
#define SEND_MS_MAX 60000
#define RATE 1000
#define WARM_UP_SECONDS 2

#define WORKERS 500
#define CLIENTS 2000
#define SETTLE_MS 2000

//  ---- fairness -----------------------------------------------------------------------------------------------

//  As fast as the broker takes them, in one go.
static void
flood(tally_client_t *client)
{
    static const uint8_t body[128] = {1};
    static tally_message_t messages[FLOOD_BATCH];
    for (size_t i = 0; i < FLOOD_BATCH; i++) {
        messages[i] = (tally_message_t){.body = body, .body_bytes = sizeof body};
    }
    for (size_t sent = 0; sent < FLOOD_MESSAGES; sent += FLOOD_BATCH) {
        int rc = tally_client_send(client, TALLY_BENCH_QUEUE, FLOOD_TENANT, messages, FLOOD_BATCH,
                                   SEND_MS_MAX, NULL);
        assert_int_equal(rc, 0);
    }
}

static int64_t
sent_so_far(bench_scene_t *scene)
{
    json_t *status = tally_instance_json(scene->instance, "status", "--json", NULL);
    size_t index;
    json_t *queue;
    int64_t sent = 0;
    json_array_foreach(json_object_get(status, "queues"), index, queue) {
        if (strcmp(json_string_value(json_object_get(queue, "name")), TALLY_BENCH_QUEUE) == 0) {
            sent = json_integer_value(json_object_get(queue, "sent"));
        }
    }
    json_decref(status);
    return sent;
}

typedef struct {
    bench_scene_t *scene;
    int64_t sent;
} awaited_t;

static bool
has_sent(void *argument)
{
    awaited_t *awaited = argument;
    return sent_so_far(awaited->scene) >= awaited->sent;
}

//  p50 and p99 of a thousand tenants that send a thousand messages a second together.
static void
load_tenants(bench_scene_t *scene, bool flooded, bench_samples_t *p50, bench_samples_t *p99)
{
    char number[16], rate[16], warm_up[16], path[256];
    snprintf(number, sizeof number, "%d", scene->seconds);
    snprintf(rate, sizeof rate, "%d", RATE);
    snprintf(warm_up, sizeof warm_up, "%d", WARM_UP_SECONDS);
    tally_client_t *client = tally_client_new(tally_instance_endpoint(scene->instance));
    assert_non_null(client);
    awaited_t warm = {scene, sent_so_far(scene) + RATE * WARM_UP_SECONDS};
    pid_t pid = tally_instance_spawn(scene->instance, "load", "bench", "--json", "--seconds",
                                     number, "--warm-up", warm_up, "--tenants", "1000", "--rate",
                                     rate, "--batch", "1", NULL);
    if (flooded && tally_wait_until(has_sent, &warm, SEND_MS_MAX)) {
        flood(client);
        int rc = tally_client_flush(client, SEND_MS_MAX);
        assert_int_equal(rc, 0);
    }
    int code = tally_instance_join(scene->instance, pid, 120000);
    assert_int_equal(code, 0);
    snprintf(path, sizeof path, "%s/load.out", tally_instance_dir(scene->instance));
    json_t *result = json_load_file(path, 0, NULL);
    const json_t *latency = json_object_get(result, "latency_ms");
    assert_non_null(latency);
    bench_samples_add(p50, json_number_value(json_object_get(latency, "p50")));
    bench_samples_add(p99, json_number_value(json_object_get(latency, "p99")));
    json_decref(result);
    tally_client_destroy(&client);
}

void
bench_fairness(bench_scene_t *scene)
{
    bench_samples_t calm50 = {0}, calm99 = {0}, flood50 = {0}, flood99 = {0};
    bench_scene_up(scene, "heartbeat=0");
    bench_say("fairness: 1000 tenants, one floods %d messages", FLOOD_MESSAGES);
    for (int round = 0; round < scene->rounds; round++) {
        load_tenants(scene, false, &calm50, &calm99);
        load_tenants(scene, true, &flood50, &flood99);
        bench_say("  p99 %.2f ms in the flood, %.2f ms without", flood99.values[round],
                  calm99.values[round]);
    }
    bench_report_add(scene->report, &(bench_row_t){.scenario = "fairness",
                                                   .what = "p50 of 1000 quiet tenants in a flood",
                                                   .unit = "ms",
                                                   .measured = &flood50,
                                                   .base = &calm50});
    bench_report_add(scene->report, &(bench_row_t){.scenario = "fairness",
                                                   .what = "p99 of 1000 quiet tenants in a flood",
                                                   .unit = "ms",
                                                   .measured = &flood99,
                                                   .base = &calm99,
                                                   .rule = BENCH_AT_MOST,
                                                   .target = 2});
    bench_scene_down(scene);
}

//  ---- fan ----------------------------------------------------------------------------------------------------

static void
add_percent(bench_scene_t *scene, const char *what, const bench_samples_t *samples,
            bench_rule_t rule)
{
    bench_report_add(scene->report, &(bench_row_t){.scenario = "fan",
                                                   .what = what,
                                                   .unit = "% core",
                                                   .measured = samples,
                                                   .rule = rule,
                                                   .target = 2});
}

//  CPU of the broker and of PostgreSQL, in percent of a core, while the crowd (NULL: nobody) just is there.
static void
idle(bench_scene_t *scene, bench_crowd_t *crowd, bench_samples_t *broker, bench_samples_t *postgres)
{
    for (int round = 0; round < scene->rounds; round++) {
        bench_usage_t from = bench_scene_usage(scene);
        int64_t from_us = tally_clock_now_us();
        if (crowd != NULL) {
            bench_crowd_live(crowd, scene->seconds * 1000);
        } else {
            poll(NULL, 0, scene->seconds * 1000);
        }
        bench_usage_t until = bench_scene_usage(scene);
        double percents = 1e8 / (double)(tally_clock_now_us() - from_us);
        bench_samples_add(broker, (until.broker - from.broker) * percents);
        bench_samples_add(postgres, (until.postgres - from.postgres) * percents);
    }
}

void
bench_fan(bench_scene_t *scene)
{
    bench_samples_t alone = {0}, alone_postgres = {0}, broker = {0}, postgres = {0};
    bench_scene_up(scene, "heartbeat=0");
    tally_instance_must(scene->instance, "queue", "put", TALLY_BENCH_QUEUE, NULL);
    idle(scene, NULL, &alone, &alone_postgres);
    bench_say("fan: %d workers, %d clients", WORKERS, CLIENTS);
    bench_crowd_t *crowd = bench_crowd_new(tally_instance_endpoint(scene->instance), WORKERS,
                                           CLIENTS, TALLY_BENCH_QUEUE);
    bench_crowd_live(crowd, SETTLE_MS);
    idle(scene, crowd, &broker, &postgres);
    bench_crowd_destroy(&crowd);
    bench_say("  broker %.2f %% of a core, alone %.2f %%", bench_samples_median(&broker),
              bench_samples_median(&alone));
    add_percent(scene, "idle, nobody connected: broker", &alone, BENCH_NO_TARGET);
    add_percent(scene, "idle, nobody connected: PostgreSQL", &alone_postgres, BENCH_NO_TARGET);
    add_percent(scene, "idle, 500 workers and 2000 clients: broker", &broker, BENCH_AT_MOST);
    add_percent(scene, "idle, 500 workers and 2000 clients: PostgreSQL", &postgres,
                BENCH_NO_TARGET);
    bench_scene_down(scene);
}
