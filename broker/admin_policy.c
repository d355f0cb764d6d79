// SPDX-License-Identifier: MIT
//  admin_policy - ops that set policies of queues and quotas of tenants.  A member is a line of a table.

#include <inttypes.h>
#include <stddef.h>

#include "broker/admin_call.h"
#include "lib/alloc.h"

//  A member of a policy: where it stands in the row, and what it may be.
typedef struct {
    const char *name;
    enum { MEMBER_INT, MEMBER_LONG, MEMBER_BOOL } kind;
    int64_t min, max;
    size_t offset;
} member_t;

#define QUEUE_INT(field, low, high)                                                                \
    {                                                                                              \
#field, MEMBER_INT, low, high, offsetof(tally_queue_row_t, field)                          \
    }
#define QUEUE_LONG(field, low, high)                                                               \
    {                                                                                              \
#field, MEMBER_LONG, low, high, offsetof(tally_queue_row_t, field)                         \
    }
#define QUEUE_BOOL(field)                                                                          \
    {                                                                                              \
#field, MEMBER_BOOL, 0, 1, offsetof(tally_queue_row_t, field)                              \
    }

static const member_t queue_members[] = {
    QUEUE_INT(visibility_ms, TALLY_VISIBILITY_MS_MIN, TALLY_VISIBILITY_MS_MAX),
    QUEUE_INT(failures_max, 1, INT32_MAX),
    QUEUE_INT(crashes_max, 1, INT32_MAX),
    QUEUE_INT(retry_ms, 0, INT32_MAX),
    QUEUE_INT(retry_ms_max, 0, INT32_MAX),
    QUEUE_INT(batch_max, 1, TALLY_BATCH_MESSAGES_MAX),
    QUEUE_LONG(window_ms, 0, TALLY_DELAY_MS_MAX),
    QUEUE_INT(window_count, 0, INT32_MAX),
    QUEUE_BOOL(exclusive),
    QUEUE_BOOL(keep_blobs),
    QUEUE_LONG(result_kept_ms, 1, TALLY_DELAY_MS_MAX),
    QUEUE_LONG(dedupe_kept_ms, 1, TALLY_DELAY_MS_MAX),
};

static const member_t tenant_members[] = {
    {"weight", MEMBER_INT, 1, 1000, offsetof(tally_tenant_row_t, weight)},
    {"messages_max", MEMBER_LONG, 0, INT64_MAX, offsetof(tally_tenant_row_t, messages_max)},
    {"bytes_max", MEMBER_LONG, 0, INT64_MAX, offsetof(tally_tenant_row_t, bytes_max)},
    {"leased_max", MEMBER_LONG, 0, INT64_MAX, offsetof(tally_tenant_row_t, leased_max)},
    {"connections_max", MEMBER_INT, 0, INT32_MAX, offsetof(tally_tenant_row_t, connections_max)},
    {"requests_max", MEMBER_INT, 0, INT32_MAX, offsetof(tally_tenant_row_t, requests_max)},
};

static bool
take_member(const member_t *member, const json_t *value, void *row)
{
    char *at = (char *)row + member->offset;
    if (member->kind == MEMBER_BOOL) {
        bool truth = json_is_true(value);
        memcpy(at, &truth, sizeof truth);
        return json_is_boolean(value);
    }
    int64_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < member->min || number > member->max) {
        return false;
    }
    if (member->kind == MEMBER_INT) {
        int32_t narrow = (int32_t)number;
        memcpy(at, &narrow, sizeof narrow);
    } else {
        memcpy(at, &number, sizeof number);
    }
    return true;
}

//  Reads the members that `json` has into the row.  False after a refusal that names the one that is wrong.
static bool
take_members(const tally_admin_call_t *call, const json_t *json, const member_t *members,
             size_t count, void *row)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json, name, value) {
        size_t i = 0;
        while (i < count && strcmp(members[i].name, name) != 0) {
            i++;
        }
        if ((i < count && take_member(&members[i], value, row)) || strcmp(name, "name") == 0) {
            continue;
        }
        char *text = i == count ? tally_format("there is no \"%s\" to set", name)
                     : members[i].kind == MEMBER_BOOL
                         ? tally_format("\"%s\" must be true or false", name)
                         : tally_format("\"%s\" must be an integer from %" PRId64 " to %" PRId64,
                                        name, members[i].min, members[i].max);
        tally_admin_refuse(call, TALLY_E_OPTION, text);
        free(text);
        return false;
    }
    return true;
}

//  The object of that name in the request, and its valid "name"; NULL after a refusal.
static const json_t *
require_named(const tally_admin_call_t *call, const char *member, char *name, size_t room)
{
    const json_t *json = json_object_get(call->body, member);
    tally_bytes_t text = tally_admin_text(json, "name");
    if (!tally_name_valid(text)) {
        tally_admin_refuse(call, TALLY_E_NAME,
                           "\"name\" must be 1 to 64 of a-z 0-9 . _ -, first a letter or digit");
        return NULL;
    }
    snprintf(name, room, "%.*s", (int)text.size, (const char *)text.data);
    return json;
}

void
tally_admin_queue_put(const tally_admin_call_t *call)
{
    char name[TALLY_NAME_BYTES_MAX + 1];
    const json_t *json = require_named(call, "queue", name, sizeof name);
    if (json == NULL) {
        return;
    }
    const tally_queue_row_t *old = tally_core_queue_find(call->broker->core, tally_bytes_of(name));
    size_t count = tally_core_queue_count(call->broker->core)
                   + tally_core_queue_count_planned(call->broker->core);
    if (old == NULL && count >= TALLY_QUEUES_MAX) {
        tally_admin_refuse(call, TALLY_E_LIMIT, "there are as many queues as there may be");
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
    memcpy(row.name, name, sizeof name);
    if (!take_members(call, json, queue_members, sizeof queue_members / sizeof queue_members[0],
                      &row)) {
        return;
    }
    if (row.retry_ms_max < row.retry_ms) {
        tally_admin_refuse(call, TALLY_E_OPTION, "\"retry_ms_max\" must not be below \"retry_ms\"");
        return;
    }
    tally_core_put_queue(call->broker->core, &row);
    tally_admin_reply_later(call, json_pack("{s:s}", "queue", row.name));
}

void
tally_admin_tenant_put(const tally_admin_call_t *call)
{
    char name[TALLY_NAME_BYTES_MAX + 1];
    const json_t *json = require_named(call, "tenant", name, sizeof name);
    if (json == NULL) {
        return;
    }
    const tally_tenant_row_t *old = tally_core_tenant_find(call->broker->core,
                                                           tally_bytes_of(name));
    if (old == NULL && tally_core_tenant_count(call->broker->core) >= TALLY_TENANTS_MAX) {
        tally_admin_refuse(call, TALLY_E_LIMIT, "there are as many tenants as there may be");
        return;
    }
    tally_tenant_row_t row = {.weight = 1,
                              .messages_max = 10000000,
                              .bytes_max = 1LL << 34,
                              .leased_max = 1000000};
    if (old != NULL) {
        row = *old;
    }
    memcpy(row.name, name, sizeof name);
    if (!take_members(call, json, tenant_members, sizeof tenant_members / sizeof tenant_members[0],
                      &row)) {
        return;
    }
    tally_core_put_tenant(call->broker->core, &row);
    tally_admin_reply_later(call, json_pack("{s:s}", "tenant", row.name));
}
