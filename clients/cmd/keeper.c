// SPDX-License-Identifier: MIT
#include "clients/cmd/keeper.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "clients/cmd/cluster_store.h"
#include "clients/cmd/command.h"
#include "clients/cmd/supervisor.h"
#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/migrations.h"

#define UP_MS_MAX 120000    // PostgreSQL may have much to recover
#define LOOK_MS 20          // between two looks at what a step waits for
#define ANSWER_MS 250
#define PATIENCE_MS 30000
#define SHOWN_LINES_MAX 8

//  Stages of the supervisor, in the order they start.
enum { STAGE_DATABASE, STAGE_BROKER, STAGE_WORKERS };

typedef enum {
    STEP_DATABASE,
    STEP_SCHEMA,
    STEP_BROKER,
    STEP_WINDOW,
    STEP_WORKERS,
    STEP_READY
} step_t;

//  For the error text: what was awaited.
static const char *const step_names[] = {
    [STEP_DATABASE] = "PostgreSQL",       [STEP_SCHEMA] = "the schema",   [STEP_BROKER] = "tallyd",
    [STEP_WINDOW] = "the queue's policy", [STEP_WORKERS] = "the workers",
};

//  What a step found: done, not yet, or never.
typedef enum { FOUND_DONE, FOUND_NOT_YET, FOUND_FAILED } found_t;

typedef struct {
    const tally_keeper_options_t *options;
    tally_supervisor_t *supervisor;
    tally_client_t *client;
    step_t step;
    char ***commands;    // owned argvs, NULL-terminated list
    size_t command_count;
    size_t worker_count;
} keeper_t;

//  ---- what there is to run ---------------------------------------------------------------------

static void
exec_cluster(void *cluster)
{
    tally_cluster_clear_stale(cluster);
    tally_cluster_exec(cluster);
}

//  Takes `words`.
static void
add_program(keeper_t *self, const char *name, int stage, char **words)
{
    self->commands = tally_realloc_array(self->commands, self->command_count + 1,
                                         sizeof *self->commands);
    self->commands[self->command_count++] = words;
    tally_supervisor_add(self->supervisor, name, stage, SIGTERM, tally_supervisor_exec, words);
}

//  The first is called tallyd, the others tallyd-2...; which of them is active is theirs to find out.
static void
add_broker(keeper_t *self, size_t seat)
{
    char *name = seat == 1 ? tally_strdup("tallyd") : tally_format("tallyd-%zu", seat);
    char **words = tally_alloc_array(6, sizeof *words);
    words[0] = tally_format("%s/tallyd", self->options->programs);
    words[1] = tally_strdup("--config");
    words[2] = tally_home_file(self->options->home, "tally.conf");
    words[3] = tally_strdup("--seat");
    words[4] = tally_format("%zu", seat);
    add_program(self, name, STAGE_BROKER, words);
    free(name);
}

static void
add_worker(keeper_t *self, const char *role, int number)
{
    char *name = tally_format("%s-%d", role, number);
    char **words = tally_alloc_array(6, sizeof *words);
    words[0] = tally_format("%s/tally-%s", self->options->programs, role);
    words[1] = tally_strdup("--config");
    words[2] = tally_home_file(self->options->home, "tally.conf");
    words[3] = tally_strdup("--name");
    words[4] = tally_strdup(name);
    add_program(self, name, STAGE_WORKERS, words);
    free(name);
}

static void
add_all(keeper_t *self)
{
    const tally_keeper_options_t *options = self->options;
    if (options->cluster != NULL) {
        tally_supervisor_add(self->supervisor, "postgres", STAGE_DATABASE, SIGINT, exec_cluster,
                             options->cluster);
    }
    for (size_t seat = 1; seat <= tally_home_brokers(options->home); seat++) {
        add_broker(self, seat);
    }
    for (size_t i = 0; i < options->crew_count; i++) {
        for (int number = 1; number <= options->crews[i].count; number++) {
            add_worker(self, options->crews[i].role, number);
            self->worker_count++;
        }
    }
}

//  What a user's shell says of another instance must not come before this one's file.
static void
set_environment(void)
{
    static const char *const names[] = {"TALLY_FRONT",  "TALLY_SINK",   "TALLY_FEED",
                                        "TALLY_LANES",  "TALLY_DB",     "TALLY_BROKER",
                                        "TALLY_CONFIG", "TALLY_NAME",   "TALLY_DIR",
                                        "TALLY_OUT",    "TALLY_CREDIT", "TALLY_TENANT",
                                        "TALLY_SEAT",   "TALLY_STANDBY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsetenv(names[i]);
    }
    setenv("TALLY_LOG_TIME", "1", 1);
    unsetenv("JOURNAL_STREAM");    // their standard error is a file
}

//  ---- steps ------------------------------------------------------------------------------------

static found_t
look_database(keeper_t *self)
{
    tally_cluster_t *cluster = self->options->cluster;
    if (cluster == NULL) {
        return FOUND_DONE;
    }
    tally_supervisor_start(self->supervisor, STAGE_DATABASE);
    int rc = tally_cluster_store_ensure(self->options->home->db);
    return rc == 0 ? FOUND_DONE : rc == 1 ? FOUND_NOT_YET : FOUND_FAILED;
}

static found_t
look_schema(keeper_t *self)
{
    tally_db_t *db = tally_db_new(self->options->home->db, "tally up");
    char *error = NULL;
    int rc = tally_migrate(db, &error);
    if (rc == -1) {
        tally_log_error("could not bring the schema up to date: %s", error);
    }
    free(error);
    tally_db_destroy(&db);
    return rc == 0 ? FOUND_DONE : FOUND_FAILED;
}

//  The broker's answer, owned by the caller; NULL when there is none yet.
static json_t *
ask_broker(keeper_t *self, const char *request)
{
    if (self->client == NULL) {
        self->client = tally_client_new(self->options->home->front);
        if (self->client == NULL) {
            return NULL;
        }
        tally_client_set_silence(self->client, ANSWER_MS);
        if (tally_client_set_keys(self->client, self->options->home->key,
                                  self->options->home->server_key)
            == -1) {
            tally_log_error("could not use the keys: %s", tally_client_text(self->client));
            tally_client_destroy(&self->client);
            return NULL;
        }
    }
    const char *text = tally_client_admin(self->client, request, ANSWER_MS);
    json_t *answer = text == NULL ? NULL : json_loads(text, 0, NULL);
    if (answer != NULL && !json_is_true(json_object_get(answer, "ok"))) {
        tally_log_warn("the broker refused \"%s\": %s", request, text);
        json_decref(answer);
        answer = NULL;
    }
    return answer;
}

static found_t
look_broker(keeper_t *self)
{
    tally_supervisor_start(self->supervisor, STAGE_BROKER);
    json_t *status = ask_broker(self, "{\"op\":\"status\"}");
    json_decref(status);
    return status != NULL ? FOUND_DONE : FOUND_NOT_YET;
}

static found_t
set_window(keeper_t *self)
{
    if (self->options->window_ms == -1) {
        return FOUND_DONE;
    }
    char *request = tally_format(
        "{\"op\":\"queue.put\",\"queue\":{\"name\":\"statistics\",\"window_ms\":%" PRId64 "}}",
        self->options->window_ms);
    json_t *answer = ask_broker(self, request);
    free(request);
    json_decref(answer);
    return answer != NULL ? FOUND_DONE : FOUND_NOT_YET;
}

static found_t
look_workers(keeper_t *self)
{
    tally_supervisor_start(self->supervisor, STAGE_WORKERS);
    json_t *status = ask_broker(self, "{\"op\":\"status\"}");
    size_t joined = json_array_size(json_object_get(status, "workers"));
    json_decref(status);
    return status != NULL && joined >= self->worker_count ? FOUND_DONE : FOUND_NOT_YET;
}

static found_t
look(keeper_t *self)
{
    static found_t (*const looks[])(keeper_t * self) = {
        [STEP_DATABASE] = look_database, [STEP_SCHEMA] = look_schema,   [STEP_BROKER] = look_broker,
        [STEP_WINDOW] = set_window,      [STEP_WORKERS] = look_workers,
    };
    return looks[self->step](self);
}

//  ---- what is said when it does not come up ----------------------------------------------------

//  The last lines of NAME.log.
static void
show_log(const keeper_t *self, const char *name)
{
    char *relative = tally_format("log/%s.log", name);
    char *path = tally_home_file(self->options->home, relative);
    char *lines[SHOWN_LINES_MAX] = {NULL};
    size_t count = 0;
    char line[512];
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char **slot = &lines[count++ % SHOWN_LINES_MAX];
        free(*slot);
        *slot = tally_strndup(line, strcspn(line, "\n"));
    }
    if (file != NULL) {
        fclose(file);
    }
    tally_log_error("the end of %s:", path);
    for (size_t i = count < SHOWN_LINES_MAX ? 0 : count - SHOWN_LINES_MAX; i < count; i++) {
        fprintf(stderr, "    %s\n", lines[i % SHOWN_LINES_MAX]);
    }
    for (size_t i = 0; i < SHOWN_LINES_MAX; i++) {
        free(lines[i]);
    }
    free(path);
    free(relative);
}

//  Brings all up.  The exit code, or -1 to go on; *told when a signal said stop.
static int
bring_up(keeper_t *self, bool *told)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + UP_MS_MAX;
    while (self->step != STEP_READY) {
        found_t found = look(self);
        if (found == FOUND_FAILED) {
            return TALLY_EXIT_UNAVAILABLE;
        }
        if (found == FOUND_DONE) {
            self->step++;
            continue;
        }
        *told = !tally_supervisor_turn(self->supervisor, LOOK_MS);
        if (*told) {
            return -1;
        }
        const char *failing = tally_supervisor_failing(self->supervisor);
        if (failing != NULL) {
            tally_log_error("%s keeps ending at its start", failing);
            show_log(self, failing);
            return TALLY_EXIT_UNAVAILABLE;
        }
        if (tally_clock_now_ms() >= deadline_at_ms) {
            tally_log_error("waited %d s in vain for %s", UP_MS_MAX / 1000, step_names[self->step]);
            return TALLY_EXIT_UNAVAILABLE;
        }
    }
    return -1;
}

int
tally_keeper_run(const tally_keeper_options_t *options)
{
    if (options->cluster != NULL && tally_cluster_create(options->cluster) == -1) {
        return TALLY_EXIT_CANNOT_CREATE;
    }
    char *pid_dir = tally_home_file(options->home, "pid");
    char *log_dir = tally_home_file(options->home, "log");
    keeper_t self = {.options = options, .supervisor = tally_supervisor_new(pid_dir, log_dir)};
    free(pid_dir);
    free(log_dir);
    set_environment();
    add_all(&self);

    bool told = false;
    int code = bring_up(&self, &told);
    //  libzmq's threads are needed no more; children are forked from a process of one thread from here on.
    tally_client_destroy(&self.client);
    if (code == -1 && !told) {
        tally_home_set_ready(options->home, true);
        tally_log_info("ready");
        if (options->ready != NULL) {
            options->ready(options->argument);
        }
        while (tally_supervisor_turn(self.supervisor, -1)) {
        }
        tally_home_set_ready(options->home, false);
    }
    tally_supervisor_stop(self.supervisor, PATIENCE_MS);
    tally_supervisor_destroy(&self.supervisor);
    for (size_t i = 0; i < self.command_count; i++) {
        for (char **word = self.commands[i]; *word != NULL; word++) {
            free(*word);
        }
        free(self.commands[i]);
    }
    free(self.commands);
    return code == -1 ? 0 : code;
}
