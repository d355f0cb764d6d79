// SPDX-License-Identifier: MIT
//  bench - how fast this broker is, and whether anything is lost or doubled on the way.
//
//  Warm-up, a steady time that is measured, then a drain after which each confirmed message must
//  have been settled once.  Rates are of whole messages, confirmed by the broker and settled in its
//  own counters.

#include "clients/cmd/bench.h"

#include "clients/cmd/call.h"
#include "clients/cmd/fields.h"
#include "clients/cmd/verbs.h"

#include "lib/alloc.h"
#include "lib/clock.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>

#define LOOK_MS 50
#define DRAIN_MS 60000

static const tally_flag_t flags[] = {
    {"seconds", 's', "N", "measured time, 10 without"},
    {"warm-up", 0, "N", "seconds before it, 2 without"},
    {"producers", 'P', "N", "threads that send, 2 without"},
    {"workers", 'W', "N", "threads that take and settle, 2 without; 0: the messages stay"},
    {"batch", 'B', "N", "messages in a send, 64 without"},
    {"window", 0, "N", "sends under way of a producer, 12 without"},
    {"rate", 0, "N", "messages a second, whatever the broker does; the window is open"},
    {"tenants", 0, "N", "tenants that the messages are of, in turns, 1 without"},
    {"credit", 0, "N", "messages leased to a worker at once, 1000 without"},
    {"body", 0, "BYTES", "size of a message, 128 without"},
    TALLY_FLAGS_END,
};

//  Of one moment: from the broker's own counters, and ours.
struct sample {
    int64_t at_us;
    uint64_t confirmed, seen;    // ours: confirmed to producers, settled by workers
    int64_t settled, pending;    // the broker's
};

struct result {
    double seconds, confirmed_per_s, settled_per_s;
    uint64_t confirmed, settled, lost, duplicated, foreign;
    tally_histogram_t *confirm_us, *deliver_us;    // from sending
};

static int
read_settings(const tally_call_t *call, tally_bench_t *bench, int64_t *seconds, int64_t *warm_up)
{
    int64_t producers, workers, batch, window, credit, body, rate, tenants;
    if (tally_call_number(call, "seconds", 1, 3600, 10, seconds) == -1
        || tally_call_number(call, "warm-up", 0, 600, 2, warm_up) == -1
        || tally_call_number(call, "producers", 1, TALLY_BENCH_THREADS_MAX, 2, &producers) == -1
        || tally_call_number(call, "workers", 0, TALLY_BENCH_THREADS_MAX, 2, &workers) == -1
        || tally_call_number(call, "batch", 1, TALLY_BATCH_MESSAGES_MAX, 64, &batch) == -1
        || tally_call_number(call, "window", 1, TALLY_SEND_WINDOW, 12, &window) == -1
        || tally_call_number(call, "credit", 1, TALLY_CREDIT_MAX, TALLY_CREDIT_MAX, &credit) == -1
        || tally_call_number(call, "rate", 1, 1000000, 0, &rate) == -1
        || tally_call_number(call, "tenants", 1, TALLY_BENCH_TENANTS_MAX, 1, &tenants) == -1
        || tally_call_number(call, "body", sizeof(tally_bench_stamp_t), TALLY_BODY_INLINE_BYTES_MAX,
                             128, &body)
               == -1) {
        return -1;
    }
    bench->producers = (unsigned)producers;
    bench->workers = (unsigned)workers;
    bench->batch = (unsigned)batch;
    bench->window = (unsigned)window;
    bench->credit = (unsigned)credit;
    bench->body_bytes = (size_t)body;
    bench->rate = (unsigned)rate;
    bench->tenants = (unsigned)tenants;
    ssize_t got = getrandom(&bench->run, sizeof bench->run, 0);
    return got == sizeof bench->run ? 0 : -1;
}

//  ---- the broker's view -------------------------------------------------------------------------

void
tally_bench_tenant(const tally_bench_t *bench, unsigned index, char name[TALLY_BENCH_NAME_BYTES])
{
    if (bench->tenants == 1) {
        snprintf(name, TALLY_BENCH_NAME_BYTES, TALLY_BENCH_TENANT);
    } else {
        snprintf(name, TALLY_BENCH_NAME_BYTES, TALLY_BENCH_TENANT "-%u", index);
    }
}

static int
make_queue(tally_call_t *call, const tally_bench_t *bench)
{
    json_t *reply;
    json_t *request = json_pack("{s:s, s:{s:s}}", "op", "queue.put", "queue", "name",
                                TALLY_BENCH_QUEUE);
    int code = tally_call_admin(call, request, &reply);
    json_decref(reply);
    if (code != 0) {
        return code;
    }
    for (unsigned i = 0; code == 0 && i < bench->tenants; i++) {
        char name[TALLY_BENCH_NAME_BYTES];
        tally_bench_tenant(bench, i, name);
        request = json_pack("{s:s, s:{s:s}}", "op", "tenant.put", "tenant", "name", name);
        code = tally_call_admin(call, request, &reply);
        json_decref(reply);
    }
    return code;
}

static int
take_sample(tally_call_t *call, const tally_bench_t *bench, struct sample *sample)
{
    json_t *reply;
    int code = tally_call_admin(call, json_pack("{s:s}", "op", "queue.ls"), &reply);
    sample->at_us = tally_clock_now_us();
    sample->confirmed = atomic_load(&bench->confirmed);
    sample->seen = atomic_load(&bench->settled);
    size_t index;
    json_t *queue;
    json_array_foreach(json_object_get(reply, "queues"), index, queue) {
        if (strcmp(tally_field_text(queue, "name"), TALLY_BENCH_QUEUE) == 0) {
            sample->settled = tally_field_number(queue, "settled");
            sample->pending = tally_field_number(queue, "ready")
                              + tally_field_number(queue, "waiting")
                              + tally_field_number(queue, "held")
                              + tally_field_number(queue, "delayed")
                              + tally_field_number(queue, "leased");
        }
    }
    json_decref(reply);
    return code;
}

//  ---- phases ------------------------------------------------------------------------------------

//  Until the time has come or a thread failed; shows what goes on.
static void
pass_time(const tally_call_t *call, const tally_bench_t *bench, const char *what, int64_t ms)
{
    int64_t until_ms = tally_clock_now_ms() + ms;
    uint64_t before = atomic_load(&bench->confirmed);
    int64_t shown_ms = tally_clock_now_ms();
    for (int64_t now_ms = shown_ms; now_ms < until_ms && !atomic_load(&bench->failed);
         now_ms = tally_clock_now_ms()) {
        poll(NULL, 0, LOOK_MS);
        if (tally_call_wants_progress(call) && now_ms - shown_ms >= 500) {
            uint64_t confirmed = atomic_load(&bench->confirmed);
            fprintf(stderr, "\r\033[K%s  %.0f/s confirmed", what,
                    (double)(confirmed - before) * 1000.0 / (double)(now_ms - shown_ms));
            before = confirmed;
            shown_ms = now_ms;
        }
    }
}

//  Until the broker has nothing left of it and the workers have seen all that was confirmed.
static int
drain(tally_call_t *call, tally_bench_t *bench)
{
    int64_t moved_ms = tally_clock_now_ms();
    struct sample last = {.pending = -1};
    for (;;) {
        struct sample sample = {0};
        int code = take_sample(call, bench, &sample);
        if (code != 0) {
            return code;
        }
        bool is_seen = atomic_load(&bench->settled) >= sample.confirmed;
        if (sample.pending == 0 && is_seen) {
            return 0;
        }
        if (sample.pending != last.pending || sample.settled != last.settled) {
            moved_ms = tally_clock_now_ms();
        }
        last = sample;
        if (tally_clock_now_ms() - moved_ms > DRAIN_MS || atomic_load(&bench->failed)) {
            return 0;    // the verdict counts what is missing
        }
        poll(NULL, 0, LOOK_MS);
    }
}

struct crew {
    tally_bench_thread_t producers[TALLY_BENCH_THREADS_MAX];
    tally_bench_thread_t workers[TALLY_BENCH_THREADS_MAX];
    unsigned producers_started, workers_started;
};

static int
start_threads(tally_bench_t *bench, struct crew *crew)
{
    for (unsigned i = 0; i < bench->producers; i++) {
        bench->confirmed_marks[i] = tally_marks_new();
        bench->settled_marks[i] = tally_marks_new();
    }
    for (unsigned i = 0; i < bench->workers; i++) {
        tally_bench_thread_t *thread = &crew->workers[i];
        *thread = (tally_bench_thread_t){.bench = bench,
                                         .index = i,
                                         .latency_us = tally_histogram_new()};
        crew->workers_started++;
        if (pthread_create(&thread->thread, NULL, tally_bench_work, thread) != 0) {
            tally_histogram_destroy(&thread->latency_us);
            crew->workers_started--;
            return -1;
        }
    }
    for (unsigned i = 0; i < bench->producers; i++) {
        tally_bench_thread_t *thread = &crew->producers[i];
        *thread = (tally_bench_thread_t){.bench = bench,
                                         .index = i,
                                         .latency_us = tally_histogram_new()};
        if (pthread_create(&thread->thread, NULL, tally_bench_produce, thread) != 0) {
            tally_histogram_destroy(&thread->latency_us);
            return -1;
        }
        crew->producers_started++;
    }
    return 0;
}

static void
join_threads(tally_bench_thread_t *threads, unsigned *started, tally_histogram_t *latency_us)
{
    for (; *started > 0; --*started) {
        tally_bench_thread_t *thread = &threads[*started - 1];
        pthread_join(thread->thread, NULL);
        tally_histogram_merge(latency_us, thread->latency_us);
        tally_histogram_destroy(&thread->latency_us);
    }
}

static void
join_producers(struct crew *crew, struct result *result)
{
    join_threads(crew->producers, &crew->producers_started, result->confirm_us);
}

static void
join_workers(struct crew *crew, struct result *result)
{
    join_threads(crew->workers, &crew->workers_started, result->deliver_us);
}

static int
run_phases(tally_call_t *call, tally_bench_t *bench, struct crew *crew, int64_t seconds,
           int64_t warm_up, struct result *result)
{
    struct sample from = {0};
    struct sample until = {0};
    if (start_threads(bench, crew) == -1) {
        return tally_call_fail(call, TALLY_EXIT_TRY_AGAIN, "could not start a thread");
    }
    pass_time(call, bench, "warming up", warm_up * 1000);
    int code = take_sample(call, bench, &from);
    atomic_store(&bench->steady_until_us, INT64_MAX);
    atomic_store(&bench->steady_from_us, from.at_us);
    atomic_store(&bench->phase, TALLY_BENCH_STEADY);
    if (code == 0) {
        pass_time(call, bench, "measuring", seconds * 1000);
        code = take_sample(call, bench, &until);
        atomic_store(&bench->steady_until_us, until.at_us);
    }
    atomic_store(&bench->phase, TALLY_BENCH_DRAIN);
    join_producers(crew, result);
    if (code == 0 && bench->workers > 0) {
        code = drain(call, bench);
    }
    result->seconds = (double)(until.at_us - from.at_us) / 1e6;
    result->confirmed_per_s = (double)(until.confirmed - from.confirmed) / result->seconds;
    //  A broker that recovered meanwhile counts from 0 again; then what our workers settled has to do.
    int64_t settled = until.settled >= from.settled ? until.settled - from.settled
                                                    : (int64_t)(until.seen - from.seen);
    result->settled_per_s = (double)settled / result->seconds;
    return code;
}

//  ---- the verdict -------------------------------------------------------------------------------

static void
judge(const tally_bench_t *bench, struct result *result)
{
    result->confirmed = atomic_load(&bench->confirmed);
    result->settled = atomic_load(&bench->settled);
    result->duplicated = atomic_load(&bench->duplicated);
    result->foreign = atomic_load(&bench->foreign);
    for (unsigned i = 0; bench->workers > 0 && i < bench->producers; i++) {
        result->lost += tally_marks_missing(bench->confirmed_marks[i], bench->settled_marks[i]);
    }
}

static double
quantile_ms(const tally_histogram_t *latency_us, double share)
{
    return (double)tally_histogram_quantile(latency_us, share) / 1000.0;
}

static json_t *
json_latency(const tally_histogram_t *latency_us)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "p50", quantile_ms(latency_us, 0.5), "p99",
                     quantile_ms(latency_us, 0.99), "p999", quantile_ms(latency_us, 0.999), "max",
                     (double)tally_histogram_max(latency_us) / 1000.0);
}

static void
print_json(const tally_bench_t *bench, const struct result *result)
{
    json_t *object = json_pack("{s:f, s:f, s:o, s:o, s:I, s:I, s:I, s:I, s:f}", "confirmed_per_s",
                               result->confirmed_per_s, "settled_per_s", result->settled_per_s,
                               "confirm_ms", json_latency(result->confirm_us), "latency_ms",
                               json_latency(result->deliver_us), "lost", (json_int_t)result->lost,
                               "duplicated", (json_int_t)result->duplicated, "confirmed",
                               (json_int_t)result->confirmed, "settled",
                               (json_int_t)result->settled, "seconds", result->seconds);
    json_t *settings = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I}", "producers",
                                 bench->producers, "workers", bench->workers, "batch", bench->batch,
                                 "window", bench->window, "credit", bench->credit, "rate",
                                 bench->rate, "tenants", bench->tenants, "body",
                                 (json_int_t)bench->body_bytes);
    json_object_set_new(object, "settings", settings);
    tally_call_print_json(object);
    json_decref(object);
}

static void
print_latency(const char *what, const tally_histogram_t *latency_us)
{
    printf("%-11s p50 %.1f ms   p99 %.1f ms   p99.9 %.1f ms   most %.1f ms   from send\n", what,
           quantile_ms(latency_us, 0.5), quantile_ms(latency_us, 0.99),
           quantile_ms(latency_us, 0.999), (double)tally_histogram_max(latency_us) / 1000.0);
}

static void
print_text(const tally_bench_t *bench, const struct result *result)
{
    printf("confirmed   %10.0f /s   durable: committed with fsync before the confirm\n"
           "settled     %10.0f /s\n",
           result->confirmed_per_s, result->settled_per_s);
    print_latency("to confirm", result->confirm_us);
    print_latency("to worker", result->deliver_us);
    printf("verdict     %" PRIu64 " confirmed, %" PRIu64 " settled, %" PRIu64 " lost, %" PRIu64
           " duplicated\n"
           "settings    %.1f s, %u producers, %u workers, batch %u, window %u, credit %u, body "
           "%zu\n",
           result->confirmed, result->settled, result->lost, result->duplicated, result->seconds,
           bench->producers, bench->workers, bench->batch, bench->window, bench->credit,
           bench->body_bytes);
    if (result->foreign > 0) {
        printf("            %" PRIu64 " messages of an earlier run were settled on the way\n",
               result->foreign);
    }
}

static int
run_bench(tally_call_t *call)
{
    int64_t seconds, warm_up;
    tally_bench_t *bench = tally_alloc(sizeof *bench);
    struct crew *crew = tally_alloc(sizeof *crew);
    struct result result = {.confirm_us = tally_histogram_new(),
                            .deliver_us = tally_histogram_new()};
    int code = TALLY_EXIT_USAGE;
    if (read_settings(call, bench, &seconds, &warm_up) == 0) {
        bench->endpoint = tally_call_endpoint(call, &code);
        if (bench->endpoint != NULL && tally_call_has_keys(call)) {
            code = tally_call_fail_usage(call, "there is no bench with keys: one key may not be "
                                               "client, worker and operator at once");
        } else if (bench->endpoint != NULL) {
            code = make_queue(call, bench);
        }
        if (code == 0) {
            code = run_phases(call, bench, crew, seconds, warm_up, &result);
            atomic_store(&bench->phase, TALLY_BENCH_OVER);
            join_producers(crew, &result);
            join_workers(crew, &result);
            judge(bench, &result);
            code = code == 0 && atomic_load(&bench->failed) ? TALLY_EXIT_UNAVAILABLE : code;
            if (tally_call_wants_progress(call)) {
                fputs("\r\033[K", stderr);
            }
        }
        if (code == 0) {
            (tally_call_wants_json(call) ? print_json : print_text)(bench, &result);
            code = result.lost == 0 && result.duplicated == 0 ? TALLY_EXIT_OK : TALLY_EXIT_NO;
        }
    }
    for (unsigned i = 0; i < TALLY_BENCH_THREADS_MAX; i++) {
        tally_marks_destroy(&bench->confirmed_marks[i]);
        tally_marks_destroy(&bench->settled_marks[i]);
    }
    tally_histogram_destroy(&result.confirm_us);
    tally_histogram_destroy(&result.deliver_us);
    free(crew);
    free(bench);
    return code;
}

const tally_command_t tally_verb_bench = {
    .name = "bench",
    .section = "LOOK",
    .arguments = "",
    .summary = "how fast the broker is, and that nothing is lost or doubled",
    .flags = flags,
    .run = run_bench,
    .examples = "  tally bench\n  tally bench --seconds 30 --body 1024 --json\n"
                "  tally bench --rate 1000 --batch 1      latencies under a steady load\n",
};
