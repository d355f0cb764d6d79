// SPDX-License-Identifier: MIT
//  worker_scene - see worker_scene.h.

#include "tests/integration/worker_scene.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "workers/runtime_store.h"

#define TENANT "(select t.id from tally.tenant t where t.name = '" SCENE_TENANT "')"

struct tally_worker {
    worker_scene_t *scene;
    tally_db_t *db;
    int session;    // that was tuned
};

//  ---- SQL ---------------------------------------------------------------------------------------

static tally_rows_t
run(worker_scene_t *self, const char *sql, tally_params_t *params)
{
    tally_rows_t rows;
    tally_db_outcome_t outcome = tally_db_run(self->broker, sql, params, &rows);
    if (outcome != TALLY_DB_DONE) {
        fprintf(stderr, "%s: %s\n", sql, tally_db_error(self->broker));
        abort();
    }
    tally_params_free(params);
    return rows;
}

void
worker_scene_sql(worker_scene_t *self, const char *sql)
{
    tally_db_outcome_t outcome = tally_db_script(self->broker, sql);
    if (outcome != TALLY_DB_DONE) {
        fprintf(stderr, "%s: %s\n", sql, tally_db_error(self->broker));
        abort();
    }
}

int64_t
worker_scene_number(worker_scene_t *self, const char *sql)
{
    tally_params_t none = {0};
    tally_rows_t rows = run(self, sql, &none);
    assert(rows.rows == 1);
    return tally_rows_int8(&rows, 0, 0);
}

//  ---- scene -------------------------------------------------------------------------------------

worker_scene_t *
worker_scene_new(const char *conninfo)
{
    worker_scene_t *self = tally_alloc(sizeof *self);
    self->broker = tally_db_new(conninfo, "scene");
    self->worker = tally_alloc(sizeof *self->worker);
    self->worker->scene = self;
    self->worker->db = tally_db_new(conninfo, "worker");
    tally_db_set_idle_limit_ms(self->worker->db, 1000);
    self->last_id = 1000;
    worker_scene_sql(self, "set lock_timeout = '3s';"
                           "insert into tally.tenant (id, name) values (7, '" SCENE_TENANT "')");
    worker_scene_elect(self);
    return self;
}

static void
forget_lease(worker_scene_t *self)
{
    for (size_t i = 0; i < self->work.count; i++) {
        free(self->bodies[i]);
        self->bodies[i] = NULL;
    }
    self->work.count = 0;
}

void
worker_scene_destroy(worker_scene_t **self_p)
{
    worker_scene_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    forget_lease(self);
    tally_db_destroy(&self->worker->db);
    tally_db_destroy(&self->broker);
    free(self->worker);
    free(self->why);
    free(self);
    *self_p = NULL;
}

uint64_t
worker_scene_send(worker_scene_t *self, const char *queue, scene_kind_t kind, const char *body)
{
    static const char sql[] = "with sent as (insert into tally.message (tenant, id, queue, "
                              "is_blob, body, sender, sequence, item)"
                              " select " TENANT ", $1, q.id, $3, case when $3 then '' else $4 end,"
                              " case when $5 then '00000000-0000-0000-0000-000000000001'::uuid "
                              "end, case when $5 then $1 end,"
                              " case when $5 then 0 end from tally.queue q where q.name = $2)"
                              " insert into tally.blob (tenant, id, body) select " TENANT
                              ", $1, $4 where $3";
    tally_params_t params = {0};
    tally_params_int8(&params, ++self->last_id);
    tally_params_text(&params, tally_bytes_of(queue));
    tally_params_bool(&params, kind == SCENE_BLOB);
    tally_params_bytea(&params, tally_bytes_of(body));
    tally_params_bool(&params, kind == SCENE_ASK);
    run(self, sql, &params);
    return (uint64_t)self->last_id;
}

bool
worker_scene_lease(worker_scene_t *self, const char *queue, size_t max)
{
    static const char take[] =
        "select m.id, m.is_blob, m.sender is not null, m.body from tally.message m"
        " where m.tenant = " TENANT
        " and m.queue = (select q.id from tally.queue q where q.name = $1)"
        " and not exists (select from tally.lease l where l.tenant = m.tenant and m.id = any "
        "(l.messages))"
        " order by m.id limit $2";
    static const char give[] =
        "insert into tally.lease (id, tenant, queue, worker, deadline, messages)"
        " select $1, " TENANT ", q.id, 1, clock_timestamp() + '30 s', $3"
        " from tally.queue q where q.name = $2";
    tally_params_t params = {0};
    int64_t ids[TALLY_BATCH_MESSAGES_MAX];
    forget_lease(self);
    self->settled = self->returned = self->counted = self->buried = self->noted = self->published =
        0;
    tally_params_text(&params, tally_bytes_of(queue));
    tally_params_int8(&params, (int64_t)max);
    tally_rows_t rows = run(self, take, &params);
    for (int row = 0; row < rows.rows; row++) {
        tally_delivered_t *item = &self->items[row];
        tally_bytes_t body = tally_rows_bytes(&rows, row, 3);
        bool blob = tally_rows_bool(&rows, row, 1);
        self->bodies[row] = tally_strndup(body.data, body.size);
        ids[row] = tally_rows_int8(&rows, row, 0);
        *item = (tally_delivered_t){.id = (uint64_t)ids[row], .deliveries = 1};
        item->options = (uint8_t)((blob ? TALLY_AS_BLOB : 0)
                                  | (tally_rows_bool(&rows, row, 2) ? TALLY_WANTS_RESULT : 0));
        item->body = (tally_bytes_t){self->bodies[row], body.size};
    }
    if (rows.rows == 0) {
        return false;
    }
    self->work = (tally_work_t){.id = (uint64_t)++self->last_id,
                                .epoch = self->epoch,
                                .count = (size_t)rows.rows,
                                .items = self->items,
                                .deadline_at_ms = tally_clock_now_ms() + 30000};
    snprintf(self->work.queue, sizeof self->work.queue, "%s", queue);
    snprintf(self->work.tenant, sizeof self->work.tenant, "%s", SCENE_TENANT);
    tally_params_int8(&params, self->last_id);
    tally_params_text(&params, tally_bytes_of(queue));
    tally_params_int8s(&params, ids, self->work.count);
    run(self, give, &params);
    return true;
}

void
worker_scene_expire(worker_scene_t *self)
{
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)self->work.id);
    run(self, "delete from tally.lease l where l.id = $1", &params);
}

void
worker_scene_work(worker_scene_t *self, const tally_worker_role_t *role, void *state)
{
    //  As the runtime does; when the connection was cut it may not, and the role sees.
    if (tally_runtime_store_tune(self->worker->db, &self->worker->session) != TALLY_DB_DONE) {
        tally_db_disconnect(self->worker->db);
    }
    role->work(self->worker, state, &self->work);
    worker_scene_expire(self);
}

bool
worker_scene_deliver(worker_scene_t *self, const tally_worker_role_t *role, void *state,
                     const char *queue, size_t max)
{
    if (!worker_scene_lease(self, queue, max)) {
        return false;
    }
    worker_scene_work(self, role, state);
    return true;
}

void
worker_scene_tick(worker_scene_t *self)
{
    static const char sql[] =
        "with moved as (delete from tally.inbox i where i.tenant = " TENANT " returning i.*)"
        " insert into tally.message (tenant, id, queue, priority, releases, key, due, body)"
        " select m.tenant, $1 + row_number() over (order by m.id), m.queue, m.priority, "
        "m.releases, m.key, m.due,"
        " m.body from moved m returning id";
    tally_params_t params = {0};
    tally_params_int8(&params, self->last_id);
    tally_rows_t rows = run(self, sql, &params);
    self->last_id += rows.rows;
}

void
worker_scene_elect(worker_scene_t *self)
{
    static const char sql[] = "insert into tally.term (queue, tenant, epoch, worker, worker_name)"
                              " select q.id, " TENANT
                              ", $1, 1, 'w' from tally.queue q where q.name = 'statistics'"
                              " on conflict (queue, tenant) do update set epoch = excluded.epoch";
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)++self->epoch);
    run(self, sql, &params);
}

void
worker_scene_cut(worker_scene_t *self)
{
    worker_scene_sql(self, "select pg_terminate_backend(pid) from pg_stat_activity"
                           " where application_name = 'worker' and datname = current_database()");
}

json_t *
worker_scene_answer(worker_scene_t *self, uint64_t id)
{
    tally_params_t params = {0};
    tally_problem_t problem;
    tally_params_int8(&params, (int64_t)id);
    tally_rows_t rows = run(self, "select r.body from tally.result r where r.sequence = $1",
                            &params);
    if (rows.rows == 0) {
        return NULL;
    }
    json_t *answer = tally_json_parse(tally_rows_bytes(&rows, 0, 0), 1 << 30, &problem);
    assert(answer != NULL);
    return answer;
}

//  ---- what roles call ---------------------------------------------------------------------------

//  Takes messages off the lease in hand.  How many the lease still held of them.
static size_t
release(worker_scene_t *self, const uint64_t *ids, size_t count)
{
    static const char look[] =
        "select l.messages from tally.lease l where l.id = $1 and (cardinality($2::bigint[]) = 0"
        " or l.messages && $2)";
    static const char drop[] =
        "update tally.lease l set messages = case when cardinality($2::bigint[]) = 0 then '{}' else"
        " array(select m from unnest(l.messages) m where m <> all ($2)) end where l.id = $1";
    int64_t list[TALLY_BATCH_MESSAGES_MAX];
    for (size_t i = 0; i < count; i++) {
        list[i] = (int64_t)ids[i];
    }
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)self->work.id);
    tally_params_int8s(&params, list, count);
    tally_rows_t rows = run(self, look, &params);
    if (rows.rows == 0) {
        return 0;
    }
    tally_params_int8(&params, (int64_t)self->work.id);
    tally_params_int8s(&params, list, count);
    run(self, drop, &params);
    return count == 0 ? self->work.count : count;
}

static void
end(worker_scene_t *self, uint64_t id, const char *sql, tally_bytes_t text)
{
    tally_params_t params = {0};
    tally_params_int8(&params, (int64_t)id);
    tally_params_bytea(&params, text);
    run(self, sql, &params);
}

static void
settle_one(worker_scene_t *self, uint64_t id, tally_bytes_t result)
{
    static const char sql[] =
        "with gone as (delete from tally.message m where m.tenant = " TENANT
        " and m.id = $1 returning m.*)"
        " insert into tally.result (sender, sequence, item, tenant, outcome, body, until)"
        " select g.sender, g.sequence, g.item, g.tenant, 1, $2, now() + '1 h' from gone g"
        " where g.sender is not null";
    if (release(self, &id, 1) > 0) {
        self->settled++;
        end(self, id, sql, result);
    }
}

void
tally_worker_settle(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                    size_t count)
{
    assert(work == &worker->scene->work);
    for (size_t i = 0; i < count; i++) {
        settle_one(worker->scene, ids[i], tally_bytes_of(""));
    }
}

void
tally_worker_settle_result(tally_worker_t *worker, const tally_work_t *work, uint64_t id,
                           tally_bytes_t result)
{
    assert(work == &worker->scene->work);
    settle_one(worker->scene, id, result);
}

void
tally_worker_note(tally_worker_t *worker, const tally_work_t *work)
{
    assert(work == &worker->scene->work);
    worker->scene->noted++;
}

void
tally_worker_return(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                    size_t count, bool counted, int64_t delay_ms, const char *why)
{
    worker_scene_t *self = worker->scene;
    assert(work == &self->work);
    size_t held = release(self, ids, count);
    self->returned += held;
    self->counted += counted ? held : 0;
    self->delay_ms = delay_ms;
    free(self->why);
    self->why = tally_strdup(why);
}

void
tally_worker_bury(tally_worker_t *worker, const tally_work_t *work, uint64_t id, const char *why)
{
    static const char sql[] = "with gone as (delete from tally.message m where m.tenant = " TENANT
                              " and m.id = $1 returning m.*)"
                              " insert into tally.dead_letter (tenant, id, queue, priority, "
                              "is_blob, created_at, reason, history,"
                              " deliveries, failures, crashes, body) select g.tenant, g.id, "
                              "g.queue, g.priority, g.is_blob, g.created_at,"
                              " convert_from($2, 'UTF8'), '{}', 1, 0, 0, g.body from gone g";
    worker_scene_t *self = worker->scene;
    assert(work == &self->work);
    if (release(self, &id, 1) > 0) {
        self->buried++;
        end(self, id, sql, tally_bytes_of(why));
        free(self->why);
        self->why = tally_strdup(why);
    }
}

void
tally_worker_extend(tally_worker_t *worker, const tally_work_t *work, uint32_t visible_ms)
{
    assert(work == &worker->scene->work);
    assert(visible_ms > 0);
}

void
tally_worker_publish(tally_worker_t *worker, const char *topic, tally_bytes_t json)
{
    assert(strncmp(topic, "statistics." SCENE_TENANT ".", strlen("statistics." SCENE_TENANT "."))
           == 0);
    assert(json.size <= TALLY_BODY_INLINE_BYTES_MAX);
    worker->scene->published++;
}

void
tally_worker_flush(tally_worker_t *worker)
{
    (void)worker;
}

bool
tally_worker_interrupted(const tally_worker_t *worker)
{
    (void)worker;
    return false;
}

tally_db_t *
tally_worker_db(tally_worker_t *worker)
{
    return worker->db;
}
