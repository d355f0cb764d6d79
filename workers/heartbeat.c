// SPDX-License-Identifier: MIT
#include "workers/heartbeat.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "workers/heartbeat_store.h"

#define SILENT_AFTER_S_DEFAULT 150    // two and a half pings
#define SILENT_AFTER_S_MAX 86400
#define LOOK_MS 5000    // between two looks at who is silent; less when silence is short
#define FORGET_MS (24 * 3600 * 1000)
#define AWAY_MS 500

struct heartbeat_role {
    int64_t silent_ms;
    int64_t look_at_ms;
    int64_t flowing_since_ms;    // 0: pings do not come in
};

//  ---- pings -------------------------------------------------------------------------------------

static void
conclude(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids, size_t count,
         tally_db_outcome_t outcome)
{
    tally_db_t *db = tally_worker_db(worker);
    switch (outcome) {
    case TALLY_DB_DONE:
        tally_worker_note(worker, work);
        break;
    case TALLY_DB_RETRY:
    case TALLY_DB_UNKNOWN:
        //  Unknown: stored or not, storing them again changes nothing.
        tally_log_warn("could not store pings: %s  pings=%zu", tally_db_error(db), count);
        tally_worker_return(worker, work, ids, count, false, AWAY_MS, tally_db_error(db));
        break;
    case TALLY_DB_REJECT:
        if (strcmp(tally_db_sqlstate(db), "TY001") == 0) {
            tally_log_warn("left pings: their lease is over  pings=%zu", count);
            break;
        }
        tally_log_error("could not store pings: %s  pings=%zu", tally_db_error(db), count);
        tally_worker_return(worker, work, ids, count, true, -1, tally_db_error(db));
        break;
    }
}

static void
work(tally_worker_t *worker, void *state, const tally_work_t *in_hand)
{
    (void)state;
    tally_ping_t *pings = tally_alloc_array(in_hand->count, sizeof *pings);
    uint64_t *ids = tally_alloc_array(in_hand->count, sizeof *ids);
    size_t count = 0;
    for (size_t i = 0; i < in_hand->count; i++) {
        const tally_delivered_t *item = &in_hand->items[i];
        tally_problem_t problem;
        if ((item->options & TALLY_AS_BLOB) != 0) {
            tally_worker_bury(worker, in_hand, item->id, "a ping is not sent as a blob");
        } else if (tally_ping_read(&pings[count], item->body, &problem) == -1) {
            tally_worker_bury(worker, in_hand, item->id, problem.text);
        } else {
            ids[count++] = item->id;
        }
    }
    if (count > 0) {
        conclude(worker, in_hand, ids, count,
                 tally_heartbeat_store_pings(tally_worker_db(worker), in_hand->id, ids, pings,
                                             count));
    }
    free(pings);
    free(ids);
}

//  ---- silence -----------------------------------------------------------------------------------

static const char *
text_at(const tally_rows_t *rows, int row, int column, char *out, size_t room)
{
    tally_bytes_t text = tally_rows_bytes(rows, row, column);
    snprintf(out, room, "%.*s", (int)text.size, (const char *)text.data);
    return out;
}

static void
alert(tally_worker_t *worker, const char *kind, const tally_rows_t *rows)
{
    for (int i = 0; i < rows->rows; i++) {
        char name[TALLY_NAME_BYTES_MAX + 1], role[TALLY_NAME_BYTES_MAX + 1];
        char host[TALLY_PING_TEXT_BYTES_MAX + 1], since[40];
        text_at(rows, i, 0, name, sizeof name);
        text_at(rows, i, 1, role, sizeof role);
        text_at(rows, i, 2, host, sizeof host);
        text_at(rows, i, 3, since, sizeof since);
        json_t *body = json_pack("{s:s, s:s, s:s, s:s, s:s}", "kind", kind, "worker", name, "role",
                                 role, "host", host, "since", since);
        assert(body != NULL);
        char *json = tally_json_print(body);
        tally_log_warn("worker %s is %s  role=%s host=%s since=%s", name, kind, role, host, since);
        tally_worker_publish(worker, "alert", tally_bytes_of(json));
        free(json);
        json_decref(body);
    }
}

//  Whoever is not heard may be well when nobody is heard: the broker was away, or this machine
//  slept.  So silence counts only after pings have come in for longer than a ping takes to come.
static bool
may_judge(struct heartbeat_role *self, bool flowing, int64_t now_ms)
{
    if (!flowing) {
        self->flowing_since_ms = 0;
        return false;
    }
    if (self->flowing_since_ms == 0) {
        self->flowing_since_ms = now_ms;
    }
    return now_ms - self->flowing_since_ms >= self->silent_ms / 2;
}

static tally_db_outcome_t
look(tally_worker_t *worker, struct heartbeat_role *self, int64_t now_ms)
{
    tally_db_t *db = tally_worker_db(worker);
    tally_rows_t rows;
    bool flowing;
    tally_db_outcome_t outcome = tally_heartbeat_store_flows(db, self->silent_ms / 2, &flowing);
    if (outcome == TALLY_DB_DONE) {
        outcome = tally_heartbeat_store_back(db, self->silent_ms, &rows);
    }
    if (outcome == TALLY_DB_DONE) {
        alert(worker, "back", &rows);
        if (!may_judge(self, flowing, now_ms)) {
            return outcome;
        }
        outcome = tally_heartbeat_store_silent(db, self->silent_ms, &rows);
    }
    if (outcome == TALLY_DB_DONE) {
        alert(worker, "silent", &rows);
        outcome = tally_heartbeat_store_forget(db, FORGET_MS, &rows);
    }
    return outcome;
}

static void
idle(tally_worker_t *worker, void *state, int64_t now_ms)
{
    struct heartbeat_role *self = state;
    if (now_ms < self->look_at_ms) {
        return;
    }
    self->look_at_ms = now_ms + (self->silent_ms / 5 < LOOK_MS ? self->silent_ms / 5 : LOOK_MS);
    if (look(worker, self, now_ms) != TALLY_DB_DONE) {
        tally_log_warn("could not look for silent workers: %s",
                       tally_db_error(tally_worker_db(worker)));
    }
}

//  ---- starting ----------------------------------------------------------------------------------

static int
start(tally_worker_t *worker, void **state)
{
    struct heartbeat_role *self = tally_alloc(sizeof *self);
    *state = self;
    long long seconds = SILENT_AFTER_S_DEFAULT;
    const char *value = tally_worker_option(worker, "silent-after");
    if (value != NULL) {
        char *end;
        seconds = strtoll(value, &end, 10);
        if (*value == '\0' || *end != '\0' || seconds < 1 || seconds > SILENT_AFTER_S_MAX) {
            tally_log_error("--silent-after is 1 to %d seconds, not \"%s\"", SILENT_AFTER_S_MAX,
                            value);
            return -1;
        }
    }
    self->silent_ms = seconds * 1000;
    (void)tally_worker_db(worker);    // the runtime connects it, and keeps it connected
    return 0;
}

static void
stop(tally_worker_t *worker, void **state)
{
    (void)worker;
    free(*state);
    *state = NULL;
}

static const char *const options[] = {"silent-after", NULL};

const tally_worker_role_t tally_heartbeat_role = {
    .role = "heartbeat",
    .summary = "Keeps every worker's last ping and tells of those that fell silent.",
    .queues = {"heartbeat", NULL},
    .credit = 256,
    .start = start,
    .work = work,
    .idle = idle,
    .stop = stop,
    .options = options,
};
