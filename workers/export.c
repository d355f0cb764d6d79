// SPDX-License-Identifier: MIT
#include "workers/export.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "workers/export_run.h"

#define SLICE_MS 250    // what a question may have to wait
#define CHECKPOINT_MS 1000
#define CHECKPOINT_ROWS 20000
#define NEXT_SLICE_MS 5    // in between the worker is free for what people ask
#define LATER_MS_MIN 20
#define LATER_MS_MAX 100
#define BLOCKED_MS 5000    // while we wait for a table, so does everybody who comes to read it
#define AWAY_MS 200
#define RETRY_MS 5000         // disks and target databases need longer to recover than the policy's
#define RETRY_MS_MAX 60000    // back-off allows for; doubles
#define FORGET_MS 30000       // a run that goes on elsewhere
#define TARGET_IDLE_LIMIT_MS 1000    // a stopped worker is in its successor's way no longer

//  What the callbacks of a run need.
struct export_role {
    tally_worker_t *worker;
    const tally_work_t *work;    // in hand
    tally_export_tools_t tools;
    tally_export_run_t *run;    // the last one that was not finished, or NULL
    int64_t run_at_ms;
};

//  ---- starting and stopping ---------------------------------------------------------------------

//  -1 when the option is neither.
static int
read_yes(const tally_worker_t *worker, const char *name)
{
    const char *value = tally_worker_option(worker, name);
    if (value == NULL || strcmp(value, "no") == 0) {
        return 0;
    }
    if (strcmp(value, "yes") == 0) {
        return 1;
    }
    tally_log_error("--%s is yes or no, not \"%s\"", name, value);
    return -1;
}

static int
read_options(struct export_role *self)
{
    tally_export_outlet_t *outlet = &self->tools.outlet;
    int any = read_yes(self->worker, "out-any");
    int guard = read_yes(self->worker, "csv-guard");
    if (any == -1 || guard == -1) {
        return -1;
    }
    outlet->place.any = any == 1;
    outlet->guard = guard == 1;
    outlet->place.base = tally_worker_option(self->worker, "out");
    if (outlet->place.base != NULL && mkdir(outlet->place.base, 0750) == -1 && errno != EEXIST) {
        tally_log_error("could not make directory \"%s\": %s", outlet->place.base, strerror(errno));
        return -1;
    }
    return 0;
}

static int64_t
now_ms(void *context)
{
    (void)context;
    return tally_clock_now_ms();
}

static void
extend(void *context, uint32_t visible_ms)
{
    struct export_role *self = context;
    tally_worker_extend(self->worker, self->work, visible_ms);
    tally_worker_flush(self->worker);
}

static void
publish(void *context, const char *topic, tally_bytes_t json)
{
    struct export_role *self = context;
    tally_worker_publish(self->worker, topic, json);
    tally_worker_flush(self->worker);
}

static bool
interrupted(void *context)
{
    struct export_role *self = context;
    return tally_worker_interrupted(self->worker);
}

static void
stop(tally_worker_t *worker, void **state)
{
    (void)worker;
    struct export_role *self = *state;
    tally_export_run_destroy(&self->run);
    tally_db_destroy(&self->tools.outlet.target);
    free(self);
    *state = NULL;
}

static int
start(tally_worker_t *worker, void **state)
{
    struct export_role *self = tally_alloc(sizeof *self);
    *state = self;
    self->worker = worker;
    self->tools = (tally_export_tools_t){.db = tally_worker_db(worker),
                                         .slice_ms = SLICE_MS,
                                         .checkpoint_ms = CHECKPOINT_MS,
                                         .checkpoint_rows = CHECKPOINT_ROWS,
                                         .context = self,
                                         .now_ms = now_ms,
                                         .extend = extend,
                                         .publish = publish,
                                         .interrupted = interrupted};
    const char *target = tally_worker_option(worker, "target");
    if (target == NULL) {
        target = tally_worker_option(worker, "db");
    }
    self->tools.outlet.target = tally_db_new(target == NULL ? "" : target,
                                             tally_worker_name(worker));
    tally_db_set_idle_limit_ms(self->tools.outlet.target, TARGET_IDLE_LIMIT_MS);
    return read_options(self);
}

static void
forget_run(struct export_role *self, int64_t unused_ms)
{
    if (self->run != NULL && tally_clock_now_ms() - self->run_at_ms >= unused_ms) {
        tally_export_run_destroy(&self->run);
    }
}

static void
idle(tally_worker_t *worker, void *state, int64_t at_ms)
{
    (void)worker;
    (void)at_ms;
    forget_run(state, FORGET_MS);
}

//  ---- queue export ------------------------------------------------------------------------------

//  A request that cannot be understood: whoever asked is told, else the dead letters keep it.
static void
refuse(struct export_role *self, const tally_delivered_t *item, const char *code, const char *text)
{
    if ((item->options & TALLY_WANTS_RESULT) == 0) {
        tally_worker_bury(self->worker, self->work, item->id, text);
        return;
    }
    char *json = tally_export_error_json(code, text);
    tally_worker_settle_result(self->worker, self->work, item->id, tally_bytes_of(json));
    free(json);
}

static int
read_request(struct export_role *self, const tally_delivered_t *item,
             tally_export_request_t *request)
{
    tally_problem_t problem;
    if ((item->options & TALLY_AS_BLOB) != 0) {
        refuse(self, item, "OPTION", "a request to the export worker is not sent as a blob");
        return -1;
    }
    if (tally_export_request_read(request, item->body, &problem) == -1) {
        refuse(self, item, "JSON", problem.text);
        return -1;
    }
    bool exports = strcmp(self->work->queue, "export") == 0;
    if (exports != (request->verb == TALLY_ASKS_EXPORT)) {
        tally_export_request_free(request);
        refuse(self, item, "UNKNOWN",
               exports ? "this queue takes exports; ask queue export-read"
                       : "this queue answers questions; send exports to queue export");
        return -1;
    }
    return 0;
}

static int64_t
retry_delay_ms(uint32_t failures)
{
    int64_t delay_ms = (int64_t)RETRY_MS << (failures < 8 ? failures : 8);
    return delay_ms < RETRY_MS_MAX ? delay_ms : RETRY_MS_MAX;
}

static void
give_back(struct export_role *self, bool counted, int64_t delay_ms, const char *why)
{
    tally_worker_return(self->worker, self->work, NULL, 0, counted, delay_ms, why);
}

static void
conclude(struct export_role *self, const tally_delivered_t *item, tally_run_end_t end)
{
    switch (end) {
    case TALLY_RUN_SETTLED:
        tally_worker_note(self->worker, self->work);
        break;
    case TALLY_RUN_LATER:
        give_back(self, false, LATER_MS_MIN + randombytes_uniform(LATER_MS_MAX - LATER_MS_MIN + 1),
                  "");
        break;
    case TALLY_RUN_SLICE:
        give_back(self, false, NEXT_SLICE_MS, "");
        break;
    case TALLY_RUN_BLOCKED:
        give_back(self, false, BLOCKED_MS, "");    // the row says why
        break;
    case TALLY_RUN_AWAY:
        tally_log_warn("gave an export back: the database is away: %s  tenant=%s export=%" PRIu64,
                       tally_export_run_why(self->run), self->work->tenant, item->id);
        give_back(self, false, AWAY_MS, "the worker's database is away");
        break;
    case TALLY_RUN_FAILED:
        tally_log_warn("an export failed: %s  tenant=%s export=%" PRIu64 " failures=%u",
                       tally_export_run_why(self->run), self->work->tenant, item->id,
                       item->failures + 1U);
        give_back(self, true, retry_delay_ms(item->failures), tally_export_run_why(self->run));
        break;
    case TALLY_RUN_STALE:
        tally_log_warn("left an export: its lease is over  tenant=%s export=%" PRIu64,
                       self->work->tenant, item->id);
        break;
    }
}

static void
work_export(struct export_role *self, const tally_delivered_t *item)
{
    bool same = self->run != NULL && tally_export_run_id(self->run) == item->id
                && strcmp(tally_export_run_tenant(self->run), self->work->tenant) == 0;
    if (!same) {
        forget_run(self, 0);
        tally_export_request_t request;
        if (read_request(self, item, &request) == -1) {
            return;
        }
        self->run = tally_export_run_new(&self->tools, self->work->tenant, item->id, &request);
    }
    tally_run_end_t end = tally_export_run_work(self->run, self->work->id, item->failures);
    conclude(self, item, end);
    self->run_at_ms = tally_clock_now_ms();
    if (end == TALLY_RUN_STALE || !tally_export_run_goes_on(self->run)) {
        forget_run(self, 0);
    }
}

//  ---- queue export-read -------------------------------------------------------------------------

static void
answer(struct export_role *self, const tally_delivered_t *item, const char *json)
{
    tally_worker_settle_result(self->worker, self->work, item->id, tally_bytes_of(json));
}

static void
answer_error(struct export_role *self, const tally_delivered_t *item, const char *code,
             const char *text)
{
    char *json = tally_export_error_json(code, text);
    answer(self, item, json);
    free(json);
}

//  The database did not answer the question.
static void
put_off(struct export_role *self, const tally_delivered_t *item, tally_export_answer_t why)
{
    bool counted = why != TALLY_EXPORT_AWAY;
    tally_worker_return(self->worker, self->work, &item->id, 1, counted, counted ? -1 : AWAY_MS,
                        tally_db_error(self->tools.db));
}

static void
list(struct export_role *self, const tally_delivered_t *item)
{
    char *exports;
    tally_export_answer_t got = tally_export_store_list(self->tools.db, self->work->tenant,
                                                        &exports);
    if (got != TALLY_EXPORT_OK) {
        put_off(self, item, got);
        return;
    }
    char *json = tally_format("{\"ok\":true,\"exports\":%s}", exports);
    answer(self, item, json);
    free(json);
    free(exports);
}

static void
tell_cancel(struct export_role *self, const tally_export_cancel_t *cancel)
{
    char *topic = tally_format("export.%s", self->work->tenant);
    tally_worker_publish(self->worker, topic, tally_bytes_of(cancel->news));
    free(topic);
}

static void
cancel_export(struct export_role *self, const tally_delivered_t *item, uint64_t id)
{
    tally_export_cancel_t cancel;
    char text[128];
    tally_export_answer_t got = tally_export_store_cancel(self->tools.db, self->work->tenant, id,
                                                          &cancel);
    if (got != TALLY_EXPORT_OK) {
        put_off(self, item, got);
    } else if (strcmp(cancel.state, "cancelled") == 0) {
        char *json = tally_format("{\"ok\":true,\"export\":\"%" PRIu64
                                  "\",\"state\":\"cancelled\"}",
                                  id);
        answer(self, item, json);
        free(json);
    } else if (cancel.state[0] == '\0') {
        snprintf(text, sizeof text, "there is no export %" PRIu64, id);
        answer_error(self, item, "UNKNOWN", text);
    } else {
        snprintf(text, sizeof text, "export %" PRIu64 " is %s; there is nothing to cancel", id,
                 cancel.state);
        answer_error(self, item, "STATE", text);
    }
    if (cancel.changed) {
        tell_cancel(self, &cancel);
    }
    free(cancel.news);
}

static void
work_read(struct export_role *self, const tally_delivered_t *item)
{
    tally_export_request_t request;
    if (read_request(self, item, &request) == -1) {
        return;
    }
    if (request.verb == TALLY_ASKS_LIST) {
        list(self, item);
    } else {
        cancel_export(self, item, request.id);
    }
    tally_export_request_free(&request);
}

static void
work(tally_worker_t *worker, void *state, const tally_work_t *work_in_hand)
{
    struct export_role *self = state;
    self->work = work_in_hand;
    if (strcmp(work_in_hand->queue, "export-read") == 0) {
        for (size_t i = 0; i < work_in_hand->count; i++) {
            work_read(self, &work_in_hand->items[i]);
        }
        return;
    }
    //  The queue's policy gives them one by one; if somebody changed it, so do we.
    for (size_t i = 1; i < work_in_hand->count; i++) {
        tally_worker_return(worker, work_in_hand, &work_in_hand->items[i].id, 1, false, 0, "");
    }
    work_export(self, &work_in_hand->items[0]);
}

static const char *const options[] = {"out", "out-any", "target", "csv-guard", NULL};

const tally_worker_role_t tally_export_role = {
    .role = "export",
    .summary = "Writes survey responses to tables and files.",
    .queues = {"export-read", "export", NULL},    // both ready: a question is soon answered
    .credit = 1,
    .start = start,
    .work = work,
    .idle = idle,
    .stop = stop,
    .options = options,
};
