// SPDX-License-Identifier: MIT
//  admin - requests of operators: JSON in, JSON out, one function per op.
//
//      {"op": "queue.put", "queue": {"name": "mail", "visibility_ms": 60000}}   ->   {"ok": true, "queue": {...}}
//      {"op": "dead.retry", "tenant": "acme", "ids": ["7"]}                     ->   {"ok": true, "count": 1}
//      {"op": "nonsense"}      ->   {"ok": false, "error": {"code": "VERB", "text": "..."}}
//
//  What changes something is answered when its plan is committed; lists of dead letters come from the reader; the rest
//  is in memory.  64-bit ids are JSON strings, since JSON numbers are not that wide everywhere.

#include <assert.h>
#include <inttypes.h>

#include "broker/broker.h"
#include "lib/alloc.h"
#include "lib/json.h"

#define DEAD_LIMIT_DEFAULT 100
#define DEAD_LIMIT_MAX 1000

typedef struct {
    tally_broker_t *broker;
    uint64_t route, request;
    const json_t *body;
} tally_admin_call_t;

static void
refuse(const tally_admin_call_t *call, int code, const char *text)
{
    json_t *reply = json_pack("{s:b, s:{s:s, s:s}}", "ok", 0, "error", "code", tally_code_name(code), "text", text);
    tally_front_reply(call->broker, call->route, call->request, reply);
}

static void
reply(const tally_admin_call_t *call, json_t *object)
{
    json_object_set_new(object, "ok", json_true());
    tally_front_reply(call->broker, call->route, call->request, object);
}

//  Answered when the plan being collected is committed.
static tally_asked_t *
reply_later(const tally_admin_call_t *call, json_t *object)
{
    tally_asked_t *asked = TALLY_PUSH(&call->broker->asked_collecting);
    asked->route = call->route;
    asked->request = call->request;
    asked->answer = object;
    return asked;
}

static tally_bytes_t
text_member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value)) {
        return (tally_bytes_t){0};
    }
    return (tally_bytes_t){json_string_value(value), json_string_length(value)};
}

//  NULL after a refusal.
static const tally_tenant_row_t *
require_tenant(const tally_admin_call_t *call)
{
    const tally_tenant_row_t *tenant =
        tally_core_tenant_find(call->broker->core, text_member(call->body, "tenant"));
    if (tenant == NULL) {
        refuse(call, TALLY_E_UNKNOWN, "no such tenant; \"tenant\" must name one that has sent something");
    }
    return tenant;
}

//  ---- looking --------------------------------------------------------------------------------------------

static void
op_status(const tally_admin_call_t *call)
{
    reply(call, tally_snapshot_status(call->broker));
}

static void
op_queue_ls(const tally_admin_call_t *call)
{
    tally_broker_t *broker = call->broker;
    json_t *queues = json_array();
    for (size_t i = 0; i < tally_core_queue_count(broker->core); i++) {
        json_array_append_new(queues, tally_snapshot_queue(broker, tally_core_queue_at(broker->core, i)));
    }
    reply(call, json_pack("{s:o}", "queues", queues));
}

static void
op_tenant_ls(const tally_admin_call_t *call)
{
    tally_broker_t *broker = call->broker;
    json_t *tenants = json_array();
    for (size_t i = 0; i < tally_core_tenant_count(broker->core); i++) {
        json_array_append_new(tenants, tally_snapshot_tenant(broker, tally_core_tenant_at(broker->core, i)));
    }
    reply(call, json_pack("{s:o}", "tenants", tenants));
}

static void
op_worker_ls(const tally_admin_call_t *call)
{
    reply(call, json_pack("{s:o}", "workers", tally_snapshot_workers(call->broker)));
}

static void
op_limits(const tally_admin_call_t *call)
{
    reply(call, json_pack("{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}}", "limits", "name_bytes",
                          TALLY_NAME_BYTES_MAX, "key_bytes", TALLY_KEY_BYTES_MAX, "dedupe_bytes",
                          TALLY_DEDUPE_BYTES_MAX, "body_inline_bytes", TALLY_BODY_INLINE_BYTES_MAX,
                          "blob_bytes", TALLY_BLOB_BYTES_MAX, "frame_bytes", TALLY_FRAME_BYTES_MAX,
                          "batch_messages", TALLY_BATCH_MESSAGES_MAX, "send_window", TALLY_SEND_WINDOW,
                          "credit", TALLY_CREDIT_MAX, "json_depth", TALLY_JSON_DEPTH_MAX));
}

//  ---- policies -------------------------------------------------------------------------------------------

//  A number of the policy when the request has it; false when it is out of range.
static bool
take_number(const json_t *object, const char *name, int64_t min, int64_t max, int64_t *value)
{
    const json_t *member = json_object_get(object, name);
    if (member == NULL) {
        return true;
    }
    if (!json_is_integer(member) || json_integer_value(member) < min || json_integer_value(member) > max) {
        return false;
    }
    *value = json_integer_value(member);
    return true;
}

static bool
take_number32(const json_t *object, const char *name, int32_t min, int32_t max, int32_t *value)
{
    int64_t wide = *value;
    bool good = take_number(object, name, min, max, &wide);
    *value = (int32_t)wide;
    return good;
}

static bool
take_bool(const json_t *object, const char *name, bool *value)
{
    const json_t *member = json_object_get(object, name);
    if (member != NULL && !json_is_boolean(member)) {
        return false;
    }
    *value = member != NULL ? json_is_true(member) : *value;
    return true;
}

static bool
take_policy(const json_t *json, tally_queue_row_t *row)
{
    const int32_t top = INT32_MAX;
    return take_number32(json, "visibility_ms", TALLY_VISIBILITY_MS_MIN, TALLY_VISIBILITY_MS_MAX, &row->visibility_ms)
           && take_number32(json, "failures_max", 1, top, &row->failures_max)
           && take_number32(json, "crashes_max", 1, top, &row->crashes_max)
           && take_number32(json, "retry_ms", 0, top, &row->retry_ms)
           && take_number32(json, "retry_ms_max", 0, top, &row->retry_ms_max)
           && row->retry_ms_max >= row->retry_ms
           && take_number32(json, "batch_max", 1, TALLY_BATCH_MESSAGES_MAX, &row->batch_max)
           && take_number(json, "window_ms", 0, TALLY_DELAY_MS_MAX, &row->window_ms)
           && take_number32(json, "window_count", 0, top, &row->window_count)
           && take_bool(json, "exclusive", &row->exclusive) && take_bool(json, "keep_blobs", &row->keep_blobs)
           && take_number(json, "result_kept_ms", 1, TALLY_DELAY_MS_MAX, &row->result_kept_ms)
           && take_number(json, "dedupe_kept_ms", 1, TALLY_DELAY_MS_MAX, &row->dedupe_kept_ms);
}

static const char *
unknown_member(const json_t *object, const char *const *known)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], name) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            return name;
        }
    }
    return NULL;
}

static void
op_queue_put(const tally_admin_call_t *call)
{
    static const char *const known[] = {"name", "visibility_ms", "failures_max", "crashes_max", "retry_ms",
                                        "retry_ms_max", "batch_max", "window_ms", "window_count", "exclusive",
                                        "keep_blobs", "result_kept_ms", "dedupe_kept_ms", NULL};
    const json_t *json = json_object_get(call->body, "queue");
    tally_bytes_t name = text_member(json, "name");
    if (!tally_name_valid(name)) {
        refuse(call, TALLY_E_NAME, "queue.name: 1 to 64 of a-z 0-9 . _ -, first a letter or digit");
        return;
    }
    if (unknown_member(json, known) != NULL) {
        refuse(call, TALLY_E_OPTION, "a member of queue is unknown; see queue.ls for those there are");
        return;
    }
    const tally_queue_row_t *old = tally_core_queue_find(call->broker->core, name);
    if (old == NULL && tally_core_queue_count(call->broker->core) >= TALLY_QUEUES_MAX) {
        refuse(call, TALLY_E_LIMIT, "there are as many queues as there may be");
        return;
    }
    tally_queue_row_t row = {.visibility_ms = TALLY_VISIBILITY_MS_DEFAULT,
                             .failures_max = TALLY_FAILURES_MAX_DEFAULT,
                             .crashes_max = TALLY_CRASHES_MAX_DEFAULT,
                             .retry_ms = TALLY_RETRY_BASE_MS,
                             .retry_ms_max = TALLY_RETRY_MS_MAX,
                             .batch_max = 256,
                             .result_kept_ms = TALLY_RESULT_KEPT_MS,
                             .dedupe_kept_ms = TALLY_DEDUPE_KEPT_MS};
    if (old != NULL) {
        row = *old;
    }
    snprintf(row.name, sizeof row.name, "%.*s", (int)name.size, (const char *)name.data);
    if (!take_policy(json, &row)) {
        refuse(call, TALLY_E_OPTION, "a value of queue is out of range or of the wrong type");
        return;
    }
    tally_core_put_queue(call->broker->core, &row);
    reply_later(call, json_pack("{s:s}", "queue", row.name));
}

static void
op_tenant_put(const tally_admin_call_t *call)
{
    static const char *const known[] = {"name", "weight", "messages_max", "bytes_max", "leased_max", NULL};
    const json_t *json = json_object_get(call->body, "tenant");
    tally_bytes_t name = text_member(json, "name");
    if (!tally_name_valid(name)) {
        refuse(call, TALLY_E_NAME, "tenant.name: 1 to 64 of a-z 0-9 . _ -, first a letter or digit");
        return;
    }
    const tally_tenant_row_t *old = tally_core_tenant_find(call->broker->core, name);
    if (old == NULL && tally_core_tenant_count(call->broker->core) >= TALLY_TENANTS_MAX) {
        refuse(call, TALLY_E_LIMIT, "there are as many tenants as there may be");
        return;
    }
    tally_tenant_row_t row = {.weight = 1, .messages_max = 10000000, .bytes_max = 1LL << 34, .leased_max = 1000000};
    if (old != NULL) {
        row = *old;
    }
    snprintf(row.name, sizeof row.name, "%.*s", (int)name.size, (const char *)name.data);
    if (unknown_member(json, known) != NULL || !take_number32(json, "weight", 1, 1000, &row.weight)
        || !take_number(json, "messages_max", 0, INT64_MAX, &row.messages_max)
        || !take_number(json, "bytes_max", 0, INT64_MAX, &row.bytes_max)
        || !take_number(json, "leased_max", 0, INT64_MAX, &row.leased_max)) {
        refuse(call, TALLY_E_OPTION, "a member of tenant is unknown, out of range or of the wrong type");
        return;
    }
    tally_core_put_tenant(call->broker->core, &row);
    reply_later(call, json_pack("{s:s}", "tenant", row.name));
}

static void
op_queue_release(const tally_admin_call_t *call)
{
    const tally_queue_row_t *queue = tally_core_queue_find(call->broker->core, text_member(call->body, "queue"));
    if (queue == NULL) {
        refuse(call, TALLY_E_UNKNOWN, "no such queue");
        return;
    }
    const tally_tenant_row_t *tenant = require_tenant(call);
    if (tenant == NULL) {
        return;
    }
    tally_core_release_window(call->broker->core, queue->id, tenant->id, call->broker->now_ms);
    reply(call, json_object());
}

static void
op_worker_drain(const tally_admin_call_t *call)
{
    tally_broker_t *broker = call->broker;
    tally_bytes_t name = text_member(call->body, "worker");
    json_int_t count = 0;
    for (size_t i = 0; i < broker->peers.count; i++) {
        const tally_peer_t *peer = broker->peers.items[i];
        if (peer->joined && !peer->doomed && tally_bytes_equal(peer->hello.name, name)) {
            tally_core_worker_drain(broker->core, peer->number, broker->now_ms);
            count++;
        }
    }
    if (count == 0) {
        refuse(call, TALLY_E_UNKNOWN, "no worker of that name is connected; tally worker ls shows them");
        return;
    }
    reply(call, json_pack("{s:I}", "count", count));
}

//  ---- dead letters ---------------------------------------------------------------------------------------

//  False after a refusal; 0 when the request names no queue.
static bool
take_queue(const tally_admin_call_t *call, uint32_t *id)
{
    *id = 0;
    if (json_object_get(call->body, "queue") == NULL) {
        return true;
    }
    const tally_queue_row_t *queue = tally_core_queue_find(call->broker->core, text_member(call->body, "queue"));
    if (queue == NULL) {
        refuse(call, TALLY_E_UNKNOWN, "no such queue");
        return false;
    }
    *id = queue->id;
    return true;
}

static bool
parse_id(const json_t *value, uint64_t *id)
{
    if (!json_is_string(value)) {
        return false;
    }
    const char *text = json_string_value(value);
    char *end;
    errno = 0;
    *id = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && text[0] >= '0' && text[0] <= '9' && *id > 0 && *id <= INT64_MAX;
}

static void
ask_reader(const tally_admin_call_t *call, tally_read_t *read)
{
    read->route = call->route;
    read->request = call->request;
    if (tally_reader_ask(call->broker->reader, &read) == -1) {
        tally_read_destroy(&read);
        refuse(call, TALLY_E_BUSY, "too many lookups wait; ask again later");
    }
}

static void
op_dead_ls(const tally_admin_call_t *call)
{
    const tally_tenant_row_t *tenant = require_tenant(call);
    uint32_t queue;
    if (tenant == NULL || !take_queue(call, &queue)) {
        return;
    }
    int64_t limit = DEAD_LIMIT_DEFAULT;
    if (!take_number(call->body, "limit", 1, DEAD_LIMIT_MAX, &limit)) {
        refuse(call, TALLY_E_LIMIT, "limit: 1 to 1000");
        return;
    }
    tally_read_t *read = tally_read_new(TALLY_READ_DEAD);
    read->tenant = tenant->id;
    read->queue = queue;
    read->limit = (size_t)limit;
    ask_reader(call, read);
}

static void
op_dead_show(const tally_admin_call_t *call)
{
    const tally_tenant_row_t *tenant = require_tenant(call);
    if (tenant == NULL) {
        return;
    }
    uint64_t id;
    if (!parse_id(json_object_get(call->body, "id"), &id)) {
        refuse(call, TALLY_E_JSON, "\"id\" must be a message id as a string");
        return;
    }
    tally_read_t *read = tally_read_new(TALLY_READ_DEAD);
    read->tenant = tenant->id;
    read->message = id;
    read->limit = 1;
    read->with_body = true;
    ask_reader(call, read);
}

//  Puts the ids into the plan; the answer counts those that were there.
static void
change_dead(const tally_admin_call_t *call, uint32_t tenant, const uint64_t *ids, size_t count, bool retry)
{
    for (size_t i = 0; i < count; i++) {
        if (retry) {
            tally_core_retry_dead(call->broker->core, tenant, ids[i]);
        } else {
            tally_core_drop_dead(call->broker->core, tenant, ids[i]);
        }
    }
    tally_asked_t *asked = reply_later(call, json_object());
    asked->dead = tally_alloc_array(count, sizeof *ids);
    memcpy(asked->dead, ids, count * sizeof *ids);
    asked->dead_count = count;
    asked->dead_retry = retry;
    asked->counts = true;
    call->broker->dead_changed = true;
}

static void
change_listed(const tally_admin_call_t *call, uint32_t tenant, const json_t *list, bool retry)
{
    uint64_t ids[DEAD_LIMIT_MAX];
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0 || count > DEAD_LIMIT_MAX) {
        refuse(call, TALLY_E_JSON, "give \"ids\": 1 to 1000 message ids as strings, or \"queue\" and \"all\": true");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        if (!parse_id(json_is_object(item) ? json_object_get(item, "id") : item, &ids[i])) {
            refuse(call, TALLY_E_JSON, "\"ids\" must be message ids as strings");
            return;
        }
    }
    change_dead(call, tenant, ids, count, retry);
}

static void
op_dead_change(const tally_admin_call_t *call, bool retry)
{
    const tally_tenant_row_t *tenant = require_tenant(call);
    uint32_t queue;
    if (tenant == NULL || !take_queue(call, &queue)) {
        return;
    }
    if (!json_is_true(json_object_get(call->body, "all"))) {
        change_listed(call, tenant->id, json_object_get(call->body, "ids"), retry);
        return;
    }
    tally_read_t *read = tally_read_new(TALLY_READ_DEAD);
    read->tenant = tenant->id;
    read->queue = queue;
    read->limit = DEAD_LIMIT_MAX;
    read->then = retry ? TALLY_READ_THEN_RETRY : TALLY_READ_THEN_DROP;
    ask_reader(call, read);
}

static void
op_dead_retry(const tally_admin_call_t *call)
{
    op_dead_change(call, true);
}

static void
op_dead_drop(const tally_admin_call_t *call)
{
    op_dead_change(call, false);
}

static void
finish_dead(const tally_admin_call_t *call, tally_read_t *read)
{
    size_t count = json_array_size(read->json);
    if (read->then != TALLY_READ_THEN_ANSWER) {
        if (count == 0) {
            reply(call, json_pack("{s:i, s:b}", "count", 0, "more", 0));
            return;
        }
        change_listed(call, read->tenant, read->json, read->then == TALLY_READ_THEN_RETRY);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        json_t *dead = json_array_get(read->json, i);
        uint32_t id = (uint32_t)json_integer_value(json_object_get(dead, "queue_id"));
        const tally_queue_row_t *queue = tally_core_queue_by_id(call->broker->core, id);
        json_object_set_new(dead, "queue", json_string(queue != NULL ? queue->name : ""));
        json_object_del(dead, "queue_id");
    }
    if (read->message == 0) {
        reply(call, json_pack("{s:O}", "dead", read->json));
    } else if (count == 0) {
        refuse(call, TALLY_E_UNKNOWN, "this tenant has no dead letter of that id");
    } else {
        reply(call, json_pack("{s:O}", "dead", json_array_get(read->json, 0)));
    }
}

void
tally_admin_read(tally_broker_t *self, tally_read_t *read)
{
    const tally_admin_call_t call = {self, read->route, read->request, NULL};
    if (read->kind == TALLY_READ_DEAD_COUNTS) {
        if (read->database == TALLY_DB_DONE) {
            json_decref(self->dead_counts);
            self->dead_counts = json_incref(read->json);
        }
        return;
    }
    if (read->database != TALLY_DB_DONE) {
        refuse(&call, TALLY_E_AWAY, "PostgreSQL is away; ask again later");
        return;
    }
    finish_dead(&call, read);
}

//  ---- when the plan is committed ---------------------------------------------------------------------------

static size_t
count_changed(const tally_asked_t *asked, const tally_tick_result_t *result)
{
    size_t changed = 0;
    for (size_t i = 0; i < asked->dead_count; i++) {
        size_t k = 0;
        size_t count = asked->dead_retry ? result->retried.count : result->dropped.count;
        while (k < count
               && asked->dead[i]
                      != (asked->dead_retry ? result->retried.items[k].id
                                            : result->dropped.items[k].message)) {
            k++;
        }
        changed += k < count;
    }
    return changed;
}

void
tally_admin_committed(tally_broker_t *self, const tally_tick_result_t *result)
{
    for (size_t i = 0; i < self->asked_under_way.count; i++) {
        tally_asked_t *asked = &self->asked_under_way.items[i];
        const tally_admin_call_t call = {self, asked->route, asked->request, NULL};
        if (asked->counts) {
            size_t changed = result != NULL ? count_changed(asked, result) : 0;
            json_object_set_new(asked->answer, "count", json_integer((json_int_t)changed));
            json_object_set_new(asked->answer, "more", json_boolean(asked->dead_count == DEAD_LIMIT_MAX));
        }
        reply(&call, asked->answer);
        free(asked->dead);
    }
    self->asked_under_way.count = 0;
}

void
tally_admin_clear(tally_broker_t *self, tally_asked_list_t *list, const char *why)
{
    for (size_t i = 0; i < list->count; i++) {
        tally_asked_t *asked = &list->items[i];
        const tally_admin_call_t call = {self, asked->route, asked->request, NULL};
        refuse(&call, TALLY_E_AWAY, why);
        json_decref(asked->answer);
        free(asked->dead);
    }
    list->count = 0;
}

//  ---- dispatch -------------------------------------------------------------------------------------------

void
tally_admin(tally_broker_t *self, uint64_t route, uint64_t request, tally_bytes_t text)
{
    static const struct {
        const char *name;
        void (*run)(const tally_admin_call_t *call);
        bool writes;
    } ops[] = {
        {"status", op_status, false},         {"limits", op_limits, false},
        {"queue.ls", op_queue_ls, false},     {"queue.put", op_queue_put, true},
        {"queue.release", op_queue_release, true}, {"tenant.ls", op_tenant_ls, false},
        {"tenant.put", op_tenant_put, true},  {"worker.ls", op_worker_ls, false},
        {"worker.drain", op_worker_drain, true},   {"dead.ls", op_dead_ls, false},
        {"dead.show", op_dead_show, false},   {"dead.retry", op_dead_retry, true},
        {"dead.drop", op_dead_drop, true},
    };
    tally_admin_call_t call = {self, route, request, NULL};
    json_t *body = tally_json_parse(text, NULL);
    call.body = body;
    const char *op = json_string_value(json_object_get(body, "op"));
    if (op == NULL) {
        refuse(&call, TALLY_E_JSON, "an admin request is a JSON object with an \"op\"");
        json_decref(body);
        return;
    }
    size_t i = 0;
    while (i < sizeof ops / sizeof ops[0] && strcmp(ops[i].name, op) != 0) {
        i++;
    }
    if (i == sizeof ops / sizeof ops[0]) {
        refuse(&call, TALLY_E_VERB, "this broker does not know that op");
    } else if (ops[i].writes && self->state != TALLY_SERVING) {
        refuse(&call, TALLY_E_AWAY, "PostgreSQL is away; ask again later");
    } else {
        ops[i].run(&call);
    }
    json_decref(body);
}
