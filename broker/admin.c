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

#include "broker/admin_call.h"
#include "broker/rights.h"
#include "lib/alloc.h"
#include "lib/json.h"
#include "lib/log.h"

//  ---- the audit record -------------------------------------------------------------------------------------

//  What came of an action that is in the audit record.
static void
record_result(const tally_admin_call_t *call, const char *code, const char *text)
{
    if (call->audit == 0) {
        return;
    }
    tally_read_t *read = tally_read_new(TALLY_READ_AUDIT_RESULT);
    read->audit = call->audit;
    read->note.result = tally_format("%s%s%s", code, text[0] != '\0' ? ": " : "", text);
    if (tally_reader_ask(tally_door_reader(call->broker->door), &read) == -1) {
        tally_log_error("could not record the result of an action  audit=%lld result=\"%s\"",
                        (long long)call->audit, read->note.result);
        tally_read_destroy(&read);
    }
}

//  Records that it was asked for; it is done when that is durable.
static void
record_action(const tally_admin_call_t *call, const tally_caller_t *caller, const char *op,
              tally_bytes_t text)
{
    tally_read_t *read = tally_read_new(TALLY_READ_AUDIT);
    read->route = call->route;
    read->request = call->request;
    read->note.who = caller->key[0] != '\0' ? tally_strdup(call->who->name)
                                            : tally_format("local:%s", caller->name);
    read->note.key = tally_strdup(caller->key);
    read->note.action = tally_strdup(op);
    read->note.request = tally_strndup(text.data, text.size);
    if (tally_reader_ask(tally_door_reader(call->broker->door), &read) == -1) {
        tally_read_destroy(&read);
        tally_admin_refuse(call, TALLY_E_BUSY, "too many actions wait; ask again later");
    }
}

//  ---- answering --------------------------------------------------------------------------------------------

void
tally_admin_refuse(const tally_admin_call_t *call, int code, const char *text)
{
    json_t *reply = json_pack("{s:b, s:{s:s, s:s}}", "ok", 0, "error", "code",
                              tally_code_name(code), "text", text);
    tally_front_reply(call->broker, call->route, call->request, reply);
    record_result(call, tally_code_name(code), text);
}

void
tally_admin_reply(const tally_admin_call_t *call, json_t *object)
{
    json_object_set_new(object, "ok", json_true());
    tally_front_reply(call->broker, call->route, call->request, object);
    record_result(call, "OK", "");
}

tally_asked_t *
tally_admin_reply_later(const tally_admin_call_t *call, json_t *object)
{
    tally_asked_t *asked = TALLY_PUSH(&call->broker->asked_collecting);
    asked->route = call->route;
    asked->request = call->request;
    asked->answer = object;
    asked->audit = call->audit;
    return asked;
}

tally_bytes_t
tally_admin_text(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value)) {
        return (tally_bytes_t){0};
    }
    return (tally_bytes_t){json_string_value(value), json_string_length(value)};
}

const tally_tenant_row_t *
tally_admin_require_tenant(const tally_admin_call_t *call)
{
    const tally_tenant_row_t *tenant = tally_core_tenant_find(call->broker->core,
                                                              tally_admin_text(call->body,
                                                                               "tenant"));
    if (tenant == NULL) {
        tally_admin_refuse(call, TALLY_E_UNKNOWN, TALLY_TEXT_NO_TENANT);
    }
    return tenant;
}

//  ---- looking --------------------------------------------------------------------------------------------

static void
op_status(const tally_admin_call_t *call)
{
    tally_admin_reply(call, tally_snapshot_status(call->broker));
}

static void
op_queue_ls(const tally_admin_call_t *call)
{
    tally_broker_t *broker = call->broker;
    json_t *queues = json_array();
    for (size_t i = 0; i < tally_core_queue_count(broker->core); i++) {
        json_array_append_new(queues,
                              tally_snapshot_queue(broker, tally_core_queue_at(broker->core, i)));
    }
    tally_admin_reply(call, json_pack("{s:o}", "queues", queues));
}

static void
op_tenant_ls(const tally_admin_call_t *call)
{
    tally_broker_t *broker = call->broker;
    json_t *tenants = json_array();
    for (size_t i = 0; i < tally_core_tenant_count(broker->core); i++) {
        const tally_tenant_row_t *row = tally_core_tenant_at(broker->core, i);
        if (tally_scope_has(&call->who->tenants, tally_bytes_of(row->name))) {
            json_array_append_new(tenants, tally_snapshot_tenant(broker, row));
        }
    }
    tally_admin_reply(call, json_pack("{s:o}", "tenants", tenants));
}

static void
op_worker_ls(const tally_admin_call_t *call)
{
    tally_admin_reply(call, json_pack("{s:o}", "workers", tally_snapshot_workers(call->broker)));
}

static void
op_limits(const tally_admin_call_t *call)
{
    tally_admin_reply(call,
                      json_pack("{s:{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}}", "limits",
                                "name_bytes", TALLY_NAME_BYTES_MAX, "key_bytes",
                                TALLY_KEY_BYTES_MAX, "dedupe_bytes", TALLY_DEDUPE_BYTES_MAX,
                                "body_inline_bytes", TALLY_BODY_INLINE_BYTES_MAX, "blob_bytes",
                                TALLY_BLOB_BYTES_MAX, "frame_bytes", TALLY_FRAME_BYTES_MAX,
                                "batch_messages", TALLY_BATCH_MESSAGES_MAX, "send_window",
                                TALLY_SEND_WINDOW, "credit", TALLY_CREDIT_MAX, "json_depth",
                                TALLY_JSON_DEPTH_MAX));
}

static void
op_queue_release(const tally_admin_call_t *call)
{
    const tally_queue_row_t *queue = tally_core_queue_find(call->broker->core,
                                                           tally_admin_text(call->body, "queue"));
    if (queue == NULL) {
        tally_admin_refuse(call, TALLY_E_UNKNOWN, "no such queue");
        return;
    }
    const tally_tenant_row_t *tenant = tally_admin_require_tenant(call);
    if (tenant == NULL) {
        return;
    }
    tally_core_release_window(call->broker->core, queue->id, tenant->id, call->broker->now_ms);
    tally_admin_reply(call, json_object());
}

static void
op_worker_drain(const tally_admin_call_t *call)
{
    tally_broker_t *broker = call->broker;
    tally_bytes_t name = tally_admin_text(call->body, "worker");
    json_int_t count = 0;
    for (size_t i = 0; i < broker->peers.count; i++) {
        const tally_peer_t *peer = broker->peers.items[i];
        if (peer->joined && !peer->doomed && tally_bytes_equal(peer->hello.name, name)) {
            tally_core_worker_drain(broker->core, peer->number, broker->now_ms);
            count++;
        }
    }
    if (count == 0) {
        tally_admin_refuse(call, TALLY_E_UNKNOWN,
                           "no worker of that name is connected; tally worker ls shows them");
        return;
    }
    tally_admin_reply(call, json_pack("{s:I}", "count", count));
}

//  ---- when the plan is committed ---------------------------------------------------------------------------

void
tally_admin_committed(tally_broker_t *self, const tally_tick_result_t *result)
{
    for (size_t i = 0; i < self->asked_under_way.count; i++) {
        tally_asked_t *asked = &self->asked_under_way.items[i];
        const tally_admin_call_t call = {self, asked->route, asked->request,
                                         NULL, asked->audit, NULL};
        if (asked->counts) {
            size_t changed = result != NULL ? tally_admin_dead_changed(asked, result) : 0;
            json_object_set_new(asked->answer, "count", json_integer((json_int_t)changed));
            json_object_set_new(asked->answer, "more",
                                json_boolean(asked->dead_count == TALLY_ADMIN_DEAD_MAX));
        }
        tally_admin_reply(&call, asked->answer);
        free(asked->dead);
    }
    self->asked_under_way.count = 0;
}

void
tally_admin_clear(tally_broker_t *self, tally_asked_list_t *list, const char *why)
{
    for (size_t i = 0; i < list->count; i++) {
        tally_asked_t *asked = &list->items[i];
        const tally_admin_call_t call = {self, asked->route, asked->request,
                                         NULL, asked->audit, NULL};
        tally_admin_refuse(&call, TALLY_E_AWAY, why);
        json_decref(asked->answer);
        free(asked->dead);
    }
    list->count = 0;
}

//  ---- dispatch -------------------------------------------------------------------------------------------

typedef struct {
    const char *name;
    void (*run)(const tally_admin_call_t *call);
    bool writes;    // recorded before it is done
} op_t;

static const op_t ops[] = {
    {"status", op_status, false},
    {"limits", op_limits, false},
    {"queue.ls", op_queue_ls, false},
    {"queue.put", tally_admin_queue_put, true},
    {"queue.release", op_queue_release, true},
    {"tenant.ls", op_tenant_ls, false},
    {"tenant.put", tally_admin_tenant_put, true},
    {"worker.ls", op_worker_ls, false},
    {"worker.drain", op_worker_drain, true},
    {"dead.ls", tally_admin_dead_ls, false},
    {"dead.show", tally_admin_dead_show, false},
    {"dead.retry", tally_admin_dead_retry, true},
    {"dead.drop", tally_admin_dead_drop, true},
};

//  The op of a request that may be done; NULL after a refusal.
static const op_t *
require_op(const tally_admin_call_t *call, const char *name)
{
    if (name == NULL) {
        tally_admin_refuse(call, TALLY_E_JSON, "an admin request is a JSON object with an \"op\"");
        return NULL;
    }
    const tally_fault_t fault = tally_rights_op(call->who, name, call->body);
    if (fault.code != 0) {
        tally_admin_refuse(call, fault.code, fault.text);
        return NULL;
    }
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i].name, name) != 0) {
            continue;
        }
        if (ops[i].writes && call->broker->state != TALLY_SERVING) {
            tally_admin_refuse(call, TALLY_E_AWAY, "PostgreSQL is away; ask again later");
            return NULL;
        }
        return &ops[i];
    }
    tally_admin_refuse(call, TALLY_E_VERB, "this broker does not know that op");
    return NULL;
}

void
tally_admin(tally_broker_t *self, const tally_caller_t *caller, const tally_principal_t *who,
            uint64_t request, tally_bytes_t text)
{
    tally_admin_call_t call = {self, caller->route, request, NULL, 0, who};
    tally_json_fault_t fault;
    json_t *body = tally_json_load(text, TALLY_ADMIN_BYTES_MAX, TALLY_JSON_GIVEN, &fault);
    if (body == NULL) {
        char *told = tally_json_fault_print(&fault);
        tally_admin_refuse(&call, TALLY_E_JSON, told);
        free(told);
        return;
    }
    call.body = body;
    const char *name = json_string_value(json_object_get(body, "op"));
    const op_t *op = require_op(&call, name);
    if (op != NULL && op->writes) {
        record_action(&call, caller, op->name, text);
    } else if (op != NULL) {
        op->run(&call);
    }
    json_decref(body);
}

//  It is in the audit record; whoever asked may have lost its right, or gone, in between.
static void
run_recorded(tally_broker_t *self, const tally_read_t *read)
{
    tally_admin_call_t call = {self, read->route, read->request, NULL, read->audit, NULL};
    json_t *body = tally_json_load(tally_bytes_of(read->note.request), TALLY_ADMIN_BYTES_MAX,
                                   TALLY_JSON_GIVEN, NULL);    // as it was read before
    call.body = body;
    call.who = tally_door_of_key(self->door, read->note.key, self->now_ms);
    const op_t *op = NULL;
    if (call.who == NULL) {
        tally_admin_refuse(&call, TALLY_E_REFUSED, "this key is not valid any more");
    } else {
        op = require_op(&call, read->note.action);
    }
    if (op != NULL) {
        op->run(&call);
    }
    json_decref(body);
}

void
tally_admin_read(tally_broker_t *self, tally_read_t *read)
{
    const tally_admin_call_t call = {self, read->route, read->request, NULL, read->audit, NULL};
    bool done = read->database == TALLY_DB_DONE;
    switch (read->kind) {
    case TALLY_READ_DEAD_COUNTS:
        if (done) {
            json_decref(self->dead_counts);
            self->dead_counts = json_incref(read->json);
        }
        break;
    case TALLY_READ_AUDIT_RESULT:
        if (!done) {
            tally_log_error("could not record the result of an action  audit=%lld result=\"%s\"",
                            (long long)read->audit, read->note.result);
        }
        break;
    case TALLY_READ_AUDIT:
        if (done) {
            run_recorded(self, read);
            break;
        }
        tally_admin_refuse(&call, TALLY_E_AWAY, "PostgreSQL is away; ask again later");
        break;
    default:
        if (done) {
            tally_admin_dead_read(&call, read);
        } else {
            tally_admin_refuse(&call, TALLY_E_AWAY, "PostgreSQL is away; ask again later");
        }
        break;
    }
}
