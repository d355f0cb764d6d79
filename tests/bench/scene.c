// SPDX-License-Identifier: MIT
//  scene - see scene.h.

#include "tests/bench/scene.h"

#include <assert.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/migrations.h"

#define WORDS_MAX 20
#define WAL_SEGMENTS 24    // of 16 MB; a private server keeps 32

void
bench_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

void
bench_scene_must(tally_db_t *db, tally_db_outcome_t outcome)
{
    if (outcome != TALLY_DB_DONE) {
        fail_msg("PostgreSQL: %s", tally_db_error(db));
    }
}

static tally_db_t *
connect_to(const char *conninfo)
{
    tally_db_t *db = tally_db_new(conninfo, "tally-bench");
    bench_scene_must(db, tally_db_connect(db));
    return db;
}

tally_db_t *
bench_scene_connection(const bench_scene_t *self)
{
    return connect_to(tally_instance_conninfo(self->instance));
}

tally_db_t *
bench_scene_floor_connection(const bench_scene_t *self)
{
    return connect_to(self->floor_db);
}

//  The database of the floors: the same schema in the same cluster, and no broker.
static void
make_floor(bench_scene_t *self)
{
    tally_db_t *db = bench_scene_connection(self);
    bench_scene_must(db, tally_db_script(db, "create database floor"));
    tally_db_destroy(&db);
    self->floor_db = tally_format("%s dbname=floor", tally_instance_conninfo(self->instance));
    db = bench_scene_floor_connection(self);
    char *error = NULL;
    if (tally_migrate(db, &error) == -1) {
        fail_msg("could not migrate: %s", error);
    }
    tally_db_destroy(&db);
}

//  The settings that say whether figures can be compared.
static void
note_server(bench_scene_t *self)
{
    static const char sql[] =
        "select name, setting || coalesce(' ' || unit, '') from pg_settings where name in "
        "('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_level', "
        "'shared_buffers', 'max_wal_size', 'wal_sync_method') order by name";
    tally_db_t *db = bench_scene_connection(self);
    tally_rows_t rows;
    json_t *settings = json_object();
    bench_scene_must(db, tally_db_run(db, sql, NULL, &rows));
    for (int i = 0; i < rows.rows; i++) {
        tally_bytes_t name = tally_rows_bytes(&rows, i, 0);
        tally_bytes_t value = tally_rows_bytes(&rows, i, 1);
        char *key = tally_strndup(name.data, name.size);
        json_object_set_new(settings, key, json_stringn(value.data, value.size));
        free(key);
    }
    tally_db_destroy(&db);
    bench_report_note(self->report, "postgresql", settings);
}

//  Making one takes up to 25 ms in the middle of a commit, which a flood would do several times a second.
static void
make_segments(const bench_scene_t *self)
{
    static const char write[] = "select pg_logical_emit_message(false, 'bench', '')";
    tally_db_t *db = bench_scene_connection(self);
    for (int i = 0; i < WAL_SEGMENTS; i++) {
        bench_scene_must(db, tally_db_script(db, write));    // an empty segment is not left
        bench_scene_must(db, tally_db_script(db, "select pg_switch_wal()"));
    }
    bench_scene_must(db, tally_db_script(db, "checkpoint"));
    tally_db_destroy(&db);
}

void
bench_scene_up(bench_scene_t *self, const char *crews)
{
    self->instance = tally_instance_new();
    tally_instance_must(self->instance, "up", "--workers", crews, "--statistics-window", "0", NULL);
    make_floor(self);
    make_segments(self);
    if (self->notes_server) {
        note_server(self);
        self->notes_server = false;
    }
}

void
bench_scene_down(bench_scene_t *self)
{
    free(self->floor_db);
    self->floor_db = NULL;
    if (tally_instance_destroy(&self->instance) == -1) {
        bench_say("the instance did not go down by itself");
    }
}

//  ---- what it costs ----------------------------------------------------------------------------------------

//  Its own seconds, exactly; 0 when there is none.
static double
seconds_of(pid_t pid)
{
    clockid_t clock;
    struct timespec time;
    bool is_there = pid != 0 && clock_getcpuclockid(pid, &clock) == 0
                    && clock_gettime(clock, &time) == 0;
    return is_there ? (double)time.tv_sec + (double)time.tv_nsec / 1e9 : 0;
}

//  Of /proc/PID/stat: its parent, and the seconds of children that it has waited for.  False: there is none.
static bool
read_stat(const char *pid, long *parent, double *children)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return false;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    const char *rest = strrchr(text, ')');    // behind the name, which may hold anything
    unsigned long user, system;
    if (rest == NULL
        || sscanf(rest + 1, " %*c %ld %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %lu %lu", parent,
                  &user, &system)
               != 3) {
        return false;
    }
    *children = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

//  A process with all those under it, gone or not.
static double
seconds_of_all(pid_t pid)
{
    char name[24];
    long parent;
    double gone = 0;
    snprintf(name, sizeof name, "%d", (int)pid);
    DIR *processes = pid != 0 && read_stat(name, &parent, &gone) ? opendir("/proc") : NULL;
    double sum = seconds_of(pid) + gone;
    struct dirent *entry;
    while (processes != NULL && (entry = readdir(processes)) != NULL) {
        long child = strtol(entry->d_name, NULL, 10);
        if (child > 0 && read_stat(entry->d_name, &parent, &gone) && parent == pid) {
            sum += seconds_of((pid_t)child);
        }
    }
    if (processes != NULL) {
        closedir(processes);
    }
    return sum;
}

bench_usage_t
bench_scene_usage(const bench_scene_t *self)
{
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    struct timeval user = usage.ru_utime;
    struct timeval system = usage.ru_stime;
    return (bench_usage_t){
        .broker = seconds_of(tally_instance_pid(self->instance, "tallyd")),
        .postgres = seconds_of_all(tally_instance_pid(self->instance, "postgres")),
        .load = (double)(user.tv_sec + system.tv_sec)
                + (double)(user.tv_usec + system.tv_usec) / 1e6,
    };
}

double
bench_scene_megabytes(const bench_scene_t *self, const char *name)
{
    char path[64];
    long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)tally_instance_pid(self->instance, name));
    FILE *file = fopen(path, "r");
    int got = file == NULL ? 0 : fscanf(file, "%*d %ld", &pages);
    if (file != NULL) {
        fclose(file);
    }
    assert_int_equal(got, 1);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

//  ---- load -------------------------------------------------------------------------------------------------

//  A number below the path of names, NULL-terminated; it must be there.
static double
number_at(const json_t *object, ...)
{
    va_list names;
    va_start(names, object);
    for (const char *name = va_arg(names, const char *); name != NULL;
         name = va_arg(names, const char *)) {
        object = json_object_get(object, name);
    }
    va_end(names);
    assert_true(json_is_number(object));
    return json_number_value(object);
}

static void
fill_ticks(bench_load_t *load, const json_t *before, const json_t *after)
{
    const char *const names[] = {"count", "messages", "leases"};
    const char *const phases[] = {"collect", "plan", "encode", "publish", "database"};
    double counts[3], sums_us[5];
    for (size_t i = 0; i < 3; i++) {
        counts[i] = number_at(after, "ticks", names[i], NULL)
                    - number_at(before, "ticks", names[i], NULL);
    }
    for (size_t i = 0; i < 5; i++) {
        sums_us[i] = number_at(after, "ticks", "phases", phases[i], "sum_us", NULL)
                     - number_at(before, "ticks", "phases", phases[i], "sum_us", NULL);
    }
    double ticks = counts[0] > 0 ? counts[0] : 1;
    double messages = counts[1] > 0 ? counts[1] : 1;
    load->tick_messages = messages / ticks;
    load->tick_leases = counts[2] / ticks;
    load->collect_us = sums_us[0] / messages;
    load->plan_us = sums_us[1] / messages;
    load->encode_us = sums_us[2] / messages;
    load->publish_us = sums_us[3] / messages;
    load->database_ms = sums_us[4] / ticks / 1000;
}

static void
fill_load(bench_load_t *load, const json_t *result)
{
    load->confirmed_per_s = number_at(result, "confirmed_per_s", NULL);
    load->settled_per_s = number_at(result, "settled_per_s", NULL);
    load->confirm_p50_ms = number_at(result, "confirm_ms", "p50", NULL);
    load->confirm_p99_ms = number_at(result, "confirm_ms", "p99", NULL);
    load->confirm_p999_ms = number_at(result, "confirm_ms", "p999", NULL);
    load->deliver_p50_ms = number_at(result, "latency_ms", "p50", NULL);
    load->deliver_p99_ms = number_at(result, "latency_ms", "p99", NULL);
    load->deliver_p999_ms = number_at(result, "latency_ms", "p999", NULL);
}

void
bench_scene_load(bench_scene_t *self, bench_load_t *load, ...)
{
    const char *w[WORDS_MAX + 1] = {NULL};
    va_list more;
    va_start(more, load);
    size_t count = 0;
    for (const char *word = va_arg(more, const char *); word != NULL;
         word = va_arg(more, const char *)) {
        assert_true(count < WORDS_MAX);
        w[count++] = word;
    }
    va_end(more);
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", self->seconds);
    json_t *before = tally_instance_json(self->instance, "status", "--json", NULL);
    bench_usage_t from = bench_scene_usage(self);
    json_t *result = tally_instance_json(self->instance, "bench", "--json", "--seconds", seconds,
                                         w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9],
                                         w[10], w[11], w[12], w[13], w[14], w[15], w[16], w[17],
                                         w[18], w[19], NULL);
    bench_usage_t until = bench_scene_usage(self);
    json_t *after = tally_instance_json(self->instance, "status", "--json", NULL);
    *load = (bench_load_t){0};
    fill_load(load, result);
    fill_ticks(load, before, after);
    double confirmed = number_at(result, "confirmed", NULL);
    load->broker_us = (until.broker - from.broker) * 1e6 / confirmed;
    load->postgres_us = (until.postgres - from.postgres) * 1e6 / confirmed;
    load->load_us = (until.load - from.load) * 1e6 / confirmed;
    json_decref(before);
    json_decref(result);
    json_decref(after);
}
