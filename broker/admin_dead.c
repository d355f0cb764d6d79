// SPDX-License-Identifier: MIT
//  admin_dead - ops on dead letters: looking at them, putting them back, throwing them away.

#include <inttypes.h>

#include "broker/admin_call.h"
#include "lib/alloc.h"

#define DEAD_DEFAULT 100

//  False after a refusal; 0 when the request names no queue.
static bool
take_queue(const tally_admin_call_t *call, uint32_t *id)
{
    *id = 0;
    if (json_object_get(call->body, "queue") == NULL) {
        return true;
    }
    const tally_queue_row_t *queue = tally_core_queue_find(call->broker->core,
                                                           tally_admin_text(call->body, "queue"));
    if (queue == NULL) {
        tally_admin_refuse(call, TALLY_E_UNKNOWN, "no such queue");
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
    return errno == 0 && *end == '\0' && text[0] >= '0' && text[0] <= '9' && *id > 0
           && *id <= INT64_MAX;
}

static void
ask_reader(const tally_admin_call_t *call, tally_read_t *read)
{
    read->route = call->route;
    read->request = call->request;
    read->audit = call->audit;
    if (tally_reader_ask(call->broker->reader, &read) == -1) {
        tally_read_destroy(&read);
        tally_admin_refuse(call, TALLY_E_BUSY, "too many lookups wait; ask again later");
    }
}

void
tally_admin_dead_ls(const tally_admin_call_t *call)
{
    const tally_tenant_row_t *tenant = tally_admin_require_tenant(call);
    uint32_t queue;
    if (tenant == NULL || !take_queue(call, &queue)) {
        return;
    }
    const json_t *given = json_object_get(call->body, "limit");
    json_int_t limit = given == NULL ? DEAD_DEFAULT : json_integer_value(given);
    if (limit < 1 || limit > TALLY_ADMIN_DEAD_MAX) {
        tally_admin_refuse(call, TALLY_E_LIMIT, "limit: 1 to 1000");
        return;
    }
    tally_read_t *read = tally_read_new(TALLY_READ_DEAD);
    read->tenant = tenant->id;
    read->queue = queue;
    read->limit = (size_t)limit;
    ask_reader(call, read);
}

void
tally_admin_dead_show(const tally_admin_call_t *call)
{
    const tally_tenant_row_t *tenant = tally_admin_require_tenant(call);
    if (tenant == NULL) {
        return;
    }
    uint64_t id;
    if (!parse_id(json_object_get(call->body, "id"), &id)) {
        tally_admin_refuse(call, TALLY_E_JSON, "\"id\" must be a message id as a string");
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
change_dead(const tally_admin_call_t *call, uint32_t tenant, const uint64_t *ids, size_t count,
            bool retry)
{
    for (size_t i = 0; i < count; i++) {
        if (retry) {
            tally_core_retry_dead(call->broker->core, tenant, ids[i]);
        } else {
            tally_core_drop_dead(call->broker->core, tenant, ids[i]);
        }
    }
    tally_asked_t *asked = tally_admin_reply_later(call, json_object());
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
    uint64_t ids[TALLY_ADMIN_DEAD_MAX];
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count == 0 || count > TALLY_ADMIN_DEAD_MAX) {
        tally_admin_refuse(
            call, TALLY_E_JSON,
            "give \"ids\": 1 to 1000 message ids as strings, or \"queue\" and \"all\": true");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        if (!parse_id(json_is_object(item) ? json_object_get(item, "id") : item, &ids[i])) {
            tally_admin_refuse(call, TALLY_E_JSON, "\"ids\" must be message ids as strings");
            return;
        }
    }
    change_dead(call, tenant, ids, count, retry);
}

static void
op_dead_change(const tally_admin_call_t *call, bool retry)
{
    const tally_tenant_row_t *tenant = tally_admin_require_tenant(call);
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
    read->limit = TALLY_ADMIN_DEAD_MAX;
    read->then = retry ? TALLY_READ_THEN_RETRY : TALLY_READ_THEN_DROP;
    ask_reader(call, read);
}

void
tally_admin_dead_retry(const tally_admin_call_t *call)
{
    op_dead_change(call, true);
}

void
tally_admin_dead_drop(const tally_admin_call_t *call)
{
    op_dead_change(call, false);
}

void
tally_admin_dead_read(const tally_admin_call_t *call, tally_read_t *read)
{
    size_t count = json_array_size(read->json);
    if (read->then != TALLY_READ_THEN_ANSWER) {
        if (count == 0) {
            tally_admin_reply(call, json_pack("{s:i, s:b}", "count", 0, "more", 0));
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
        tally_admin_reply(call, json_pack("{s:O}", "dead", read->json));
    } else if (count == 0) {
        tally_admin_refuse(call, TALLY_E_UNKNOWN, "this tenant has no dead letter of that id");
    } else {
        tally_admin_reply(call, json_pack("{s:O}", "dead", json_array_get(read->json, 0)));
    }
}

size_t
tally_admin_dead_changed(const tally_asked_t *asked, const tally_tick_result_t *result)
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
