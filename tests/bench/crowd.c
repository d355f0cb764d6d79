// SPDX-License-Identifier: MIT
//  crowd - many at once: a thousand tenants beside one that floods, within its quotas or beyond, and thousands of peers
//  that do nothing.

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

#define FLOOD_MESSAGES 100000    // at least
#define FLOOD_BATCH 250
#define FLOOD_WINDOW 400    // sends under way
#define FLOOD_WINDOW_ALL                                                                           \
    1000    // of 35 kB each: more than the broker keeps waiting of one tenant that is alone
#define FLOOD_TENANT "flood"
#define SEND_MS_MAX 60000
#define RATE 1000
#define WARM_UP_SECONDS 2

//  Requests a second, and messages pending: 20 times as many of either are sent in a second.
#define QUOTA_REQUESTS "100"
#define QUOTA_MESSAGES "1000"
#define BEYOND_SENDS 2000
#define BEYOND_BATCH 10
#define UNWORKED_QUEUE "unworked"

#define WORKERS 500
#define CLIENTS 2000
#define SETTLE_MS 2000

//  ---- fairness -----------------------------------------------------------------------------------------------

//  Messages of 128 bytes each.
static const tally_message_t *
make_messages(void)
{
    static const uint8_t body[128] = {1};
    static tally_message_t messages[FLOOD_BATCH];
    for (size_t i = 0; i < FLOOD_BATCH; i++) {
        messages[i] = (tally_message_t){.body = body, .body_bytes = sizeof body};
    }
    return messages;
}

//  Takes what has been answered; the number of sends that were refused.
static unsigned
take_answers(tally_client_t *client, int timeout_ms)
{
    unsigned refused = 0;
    tally_event_t event;
    while (tally_client_next(client, timeout_ms, &event) == 0) {
        timeout_ms = 0;
        refused += event.kind == TALLY_EVENT_REFUSED;
        //  A window of refused sends, one after the other, uses that up, too.
        assert_true(event.kind != TALLY_EVENT_REFUSED || event.code == TALLY_CODE_BUSY
                    || event.code == TALLY_CODE_SEQUENCE);
    }
    return refused;
}

//  As fast as the broker takes them, for as long as the others are measured.
static void
flood(bench_scene_t *scene, tally_client_t *client, const void *context)
{
    const size_t window = *(const size_t *)context;
    const tally_message_t *messages = make_messages();
    int64_t until_us = tally_clock_now_us() + (int64_t)scene->seconds * 1000000;
    unsigned refused = 0;
    for (size_t sent = 0; sent < FLOOD_MESSAGES || tally_clock_now_us() < until_us;) {
        if (tally_client_unconfirmed(client) >= window) {
            refused += take_answers(client, SEND_MS_MAX);
            continue;
        }
        int rc = tally_client_send(client, TALLY_BENCH_QUEUE, FLOOD_TENANT, messages, FLOOD_BATCH,
                                   SEND_MS_MAX, NULL);
        assert_int_equal(rc, 0);
        sent += FLOOD_BATCH;
    }
    int rc = tally_client_flush(client, SEND_MS_MAX);
    assert_int_equal(rc, 0);
    refused += take_answers(client, 0);
    assert_int_equal(refused, 0);
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

typedef void (*disturb_t)(bench_scene_t *scene, tally_client_t *client, const void *context);

//  p50 and p99 of a thousand tenants that send a thousand messages a second together, while somebody disturbs them, or
//  nobody.
static void
load_tenants(bench_scene_t *scene, disturb_t disturb, const void *context, bench_samples_t *p50,
             bench_samples_t *p99)
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
    bool is_warm = tally_wait_until(has_sent, &warm, SEND_MS_MAX);
    assert_true(is_warm);
    if (disturb != NULL) {
        disturb(scene, client, context);
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
    static const struct {
        size_t window;
        const char *what50, *what99;
        bench_rule_t rule;
    } floods[] = {
        {FLOOD_WINDOW, "p50 of 1000 quiet tenants in a flood",
         "p99 of 1000 quiet tenants in a flood", BENCH_AT_MOST},
        {FLOOD_WINDOW_ALL, "p50, and the flood is more than the broker takes",
         "p99, and the flood is more than the broker takes", BENCH_NO_TARGET},
    };
    enum { FLOODS = sizeof floods / sizeof floods[0] };
    bench_samples_t calm50 = {0}, calm99 = {0}, flood50[FLOODS], flood99[FLOODS];
    memset(flood50, 0, sizeof flood50);
    memset(flood99, 0, sizeof flood99);
    bench_say("fairness: 1000 tenants, one floods");
    for (int round = 0; round < scene->rounds; round++) {
        //  Each on its own: what a flood leaves to PostgreSQL to clean up would disturb the next calm.
        bench_scene_up(scene, "heartbeat=0");
        load_tenants(scene, NULL, NULL, &calm50, &calm99);
        for (size_t i = 0; i < FLOODS; i++) {
            load_tenants(scene, flood, &floods[i].window, &flood50[i], &flood99[i]);
        }
        bench_scene_down(scene);
        bench_say("  p99 %.2f ms in the flood, %.2f ms in more than is taken, %.2f ms without",
                  flood99[0].values[round], flood99[1].values[round], calm99.values[round]);
    }
    for (size_t i = 0; i < FLOODS; i++) {
        bench_report_add(scene->report, &(bench_row_t){.scenario = "fairness",
                                                       .what = floods[i].what50,
                                                       .unit = "ms",
                                                       .measured = &flood50[i],
                                                       .base = &calm50});
        bench_report_add(scene->report, &(bench_row_t){.scenario = "fairness",
                                                       .what = floods[i].what99,
                                                       .unit = "ms",
                                                       .measured = &flood99[i],
                                                       .base = &calm99,
                                                       .rule = floods[i].rule,
                                                       .target = 2});
    }
}

//  ---- quota --------------------------------------------------------------------------------------------------

typedef struct {
    const char *what, *tenant;
    const char *queue;    // that its messages go to
    const char *option, *value;
} quota_t;

//  At an even pace for as long as the others are measured, whatever is refused.
static void
send_beyond(bench_scene_t *scene, tally_client_t *client, const void *context)
{
    const quota_t *quota = context;
    unsigned refused = 0, sends = (unsigned)scene->seconds * BEYOND_SENDS;
    tally_client_set_retry(client, false);
    int64_t from_us = tally_clock_now_us();
    for (unsigned sent = 0; sent < sends;) {
        int64_t passed_us = tally_clock_now_us() - from_us;
        if ((int64_t)sent * 1000000 > passed_us * BEYOND_SENDS) {
            refused += take_answers(client, 1);
            continue;
        }
        int rc = tally_client_send(client, quota->queue, quota->tenant, make_messages(),
                                   BEYOND_BATCH, SEND_MS_MAX, NULL);
        assert_int_equal(rc, 0);
        sent++;
    }
    while (tally_client_unconfirmed(client) > 0) {
        refused += take_answers(client, SEND_MS_MAX);
    }
    assert_true(refused > sends / 4 * 3);    // the quota held
}

void
bench_quota(bench_scene_t *scene)
{
    static const quota_t quotas[] = {
        {"p99 of 1000 tenants, one sends 20 times its requests", "requests", TALLY_BENCH_QUEUE,
         "--requests-max", QUOTA_REQUESTS},
        {"p99 of 1000 tenants, one sends 20 times its messages", "messages", UNWORKED_QUEUE,
         "--messages-max", QUOTA_MESSAGES},
    };
    enum { QUOTAS = sizeof quotas / sizeof quotas[0] };
    bench_samples_t calm50 = {0}, calm99 = {0}, beyond50[QUOTAS], beyond99[QUOTAS];
    memset(beyond50, 0, sizeof beyond50);
    memset(beyond99, 0, sizeof beyond99);
    bench_scene_up(scene, "heartbeat=0");
    tally_instance_must(scene->instance, "queue", "put", UNWORKED_QUEUE, NULL);
    for (size_t i = 0; i < QUOTAS; i++) {
        tally_instance_must(scene->instance, "tenant", "put", quotas[i].tenant, quotas[i].option,
                            quotas[i].value, NULL);
    }
    bench_say("quota: 1000 tenants, one sends 20 times what it may");
    for (int round = 0; round < scene->rounds; round++) {
        load_tenants(scene, NULL, NULL, &calm50, &calm99);
        for (size_t i = 0; i < QUOTAS; i++) {
            load_tenants(scene, send_beyond, &quotas[i], &beyond50[i], &beyond99[i]);
        }
        bench_say("  p99 %.2f ms beyond requests, %.2f ms beyond messages, %.2f ms without",
                  beyond99[0].values[round], beyond99[1].values[round], calm99.values[round]);
    }
    for (size_t i = 0; i < QUOTAS; i++) {
        bench_report_add(scene->report, &(bench_row_t){.scenario = "quota",
                                                       .what = quotas[i].what,
                                                       .unit = "ms",
                                                       .measured = &beyond99[i],
                                                       .base = &calm99,
                                                       .rule = BENCH_AT_MOST,
                                                       .target = 1.5});
    }
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
