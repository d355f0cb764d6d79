// SPDX-License-Identifier: MIT
//  comparison - the same messages through queues that live in SQL alone, so that anyone sees the difference on a
//  machine of their own.
//
//  Two producers insert batches of 64, one transaction each; two workers take and end batches, as many as suit them
//  best of the sizes below.  `plain` locks rows with SKIP LOCKED, deletes them and commits when the work is done: no
//  lease outlives the worker's connection.  `pgmq` is what pgmq's read() and delete() do: a visible time is pushed on,
//  the row is deleted later, in two transactions.

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/bench/scene.h"

#define PRODUCERS 2
#define WORKERS 2
#define BATCH 64
#define BODY_BYTES 128
#define PENDING_MAX 20000    // producers wait then, as a window makes them do

typedef struct {
    const char *name, *make, *send, *take, *end;    // end NULL: taken and ended in one transaction
} style_t;

static const style_t styles[] = {
    {"SKIP LOCKED",
     "drop table if exists plain; "
     "create table plain (id bigint generated always as identity primary key, body bytea not null) "
     "with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000)",
     "insert into plain (body) select unnest($1::bytea[])",
     "delete from plain where id = any (array(select id from plain order by id "
     "for update skip locked limit $1)) returning id, body",
     NULL},
    {"pgmq",
     "drop table if exists pgmq; "
     "create table pgmq (msg_id bigint generated always as identity primary key, "
     "read_ct integer not null default 0, enqueued_at timestamptz not null default now(), "
     "vt timestamptz not null, message bytea not null) "
     "with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100000); "
     "create index pgmq_vt on pgmq (vt asc)",
     "insert into pgmq (vt, message) select clock_timestamp(), unnest($1::bytea[])",
     "with cte as (select msg_id from pgmq where vt <= clock_timestamp() order by msg_id asc "
     "limit $1 for update skip locked) "
     "update pgmq m set vt = clock_timestamp() + interval '30 seconds', read_ct = read_ct + 1 "
     "from cte where m.msg_id = cte.msg_id returning m.msg_id, m.message",
     "delete from pgmq where msg_id = any ($1::bigint[])"},
};

typedef struct {
    const style_t *style;
    const char *conninfo;
    int take;    // messages at once
    atomic_bool over;
    atomic_int_fast64_t sent, settled;
} contest_t;

static tally_db_t *
join(const contest_t *contest)
{
    tally_db_t *db = tally_db_new(contest->conninfo, "tally-bench");
    bench_scene_must(db, tally_db_connect(db));
    return db;
}

static void *
produce(void *argument)
{
    contest_t *contest = argument;
    static const uint8_t body[BODY_BYTES] = {1};
    tally_bytes_t bodies[BATCH];
    for (size_t i = 0; i < BATCH; i++) {
        bodies[i] = (tally_bytes_t){body, sizeof body};
    }
    tally_db_t *db = join(contest);
    while (!atomic_load(&contest->over)) {
        if (atomic_load(&contest->sent) - atomic_load(&contest->settled) > PENDING_MAX) {
            sched_yield();
            continue;
        }
        tally_params_t params = {0};
        tally_params_byteas(&params, bodies, BATCH);
        bench_scene_must(db, tally_db_run(db, contest->style->send, &params, NULL));
        tally_params_free(&params);
        atomic_fetch_add(&contest->sent, BATCH);
    }
    tally_db_destroy(&db);
    return NULL;
}

static void *
work(void *argument)
{
    contest_t *contest = argument;
    tally_db_t *db = join(contest);
    int64_t *ids = tally_alloc_array((size_t)contest->take, sizeof *ids);
    while (!atomic_load(&contest->over)) {
        tally_params_t params = {0};
        tally_rows_t rows;
        tally_params_int4(&params, contest->take);
        bench_scene_must(db, tally_db_run(db, contest->style->take, &params, &rows));
        tally_params_free(&params);
        int count = rows.rows;
        for (int i = 0; i < count; i++) {
            ids[i] = tally_rows_int8(&rows, i, 0);
        }
        if (count > 0 && contest->style->end != NULL) {
            tally_params_int8s(&params, ids, (size_t)count);
            bench_scene_must(db, tally_db_run(db, contest->style->end, &params, NULL));
            tally_params_free(&params);
        }
        atomic_fetch_add(&contest->settled, count);
    }
    free(ids);
    tally_db_destroy(&db);
    return NULL;
}

static double
contend(const bench_scene_t *scene, const style_t *style, int take)
{
    contest_t contest = {.style = style, .conninfo = scene->floor_db, .take = take};
    pthread_t threads[PRODUCERS + WORKERS];
    tally_db_t *db = join(&contest);
    bench_scene_must(db, tally_db_script(db, style->make));
    tally_db_destroy(&db);
    for (size_t i = 0; i < PRODUCERS + WORKERS; i++) {
        int rc = pthread_create(&threads[i], NULL, i < PRODUCERS ? produce : work, &contest);
        assert_int_equal(rc, 0);
    }
    int64_t from_us = tally_clock_now_us();
    poll(NULL, 0, scene->seconds * 1000);
    int64_t settled = atomic_load(&contest.settled);
    double seconds = (double)(tally_clock_now_us() - from_us) / 1e6;
    atomic_store(&contest.over, true);
    for (size_t i = 0; i < PRODUCERS + WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }
    return (double)settled / seconds;
}

void
bench_comparison(bench_scene_t *scene)
{
    static const int takes[] = {1, 64, 256};
    enum { STYLES = sizeof styles / sizeof styles[0], TAKES = sizeof takes / sizeof takes[0] };
    bench_samples_t tally = {0}, others[STYLES][TAKES] = {0};
    bench_scene_up(scene, "heartbeat=0");
    for (int round = 0; round < scene->rounds; round++) {
        bench_load_t load;
        bench_scene_load(scene, &load, "--warm-up", "1", NULL);
        bench_samples_add(&tally, load.settled_per_s);
        for (size_t i = 0; i < STYLES * TAKES; i++) {
            bench_samples_add(&others[i / TAKES][i % TAKES],
                              contend(scene, &styles[i / TAKES], takes[i % TAKES]));
        }
        bench_say("comparison: tally %.0f/s", tally.values[round]);
    }
    for (size_t i = 0; i < STYLES * TAKES; i++) {
        char what[96];
        snprintf(what, sizeof what, "Tally settled, against %s tables, %d at once",
                 styles[i / TAKES].name, takes[i % TAKES]);
        bench_report_add(scene->report, &(bench_row_t){.scenario = "comparison",
                                                       .what = what,
                                                       .unit = "/s",
                                                       .measured = &tally,
                                                       .base = &others[i / TAKES][i % TAKES]});
    }
    bench_scene_down(scene);
}
