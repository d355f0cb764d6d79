// SPDX-License-Identifier: MIT
//  rights - see rights.h.

#include "broker/rights.h"

#include "broker/rows.h"

static const char no_tenant[] = "no such tenant; this key sends for its own tenants alone";

//  Whose objects a verb or an op is about.
typedef enum {
    OWN = 1,    // the caller's own: what it sent, holds, or may see
    NAMED,      // of the tenant that it names
    WHOLE,      // of all tenants and queues together
} about_t;

typedef struct {
    uint8_t verb;
    unsigned right;    // 0: whoever is known
    const char *refusal;
} verb_rule_t;

static const verb_rule_t verbs[] = {
    {TALLY_HELLO, 0, ""},
    {TALLY_GOODBYE, 0, ""},
    {TALLY_ADMIN, 0, ""},    // each op has its own rule, below
    {TALLY_SEND, TALLY_RIGHT_SEND, "this key may not send; it needs the right send"},
    {TALLY_FETCH, TALLY_RIGHT_WORK, "this key may not fetch; it needs the right work"},
    {TALLY_RECORDS, TALLY_RIGHT_WORK, "this key may not work; it needs the right work"},
};

typedef struct {
    const char *op;
    unsigned right;    // 0: whoever is known
    about_t about;
} op_rule_t;

static const op_rule_t ops[] = {
    {"limits", 0, OWN},
    {"tenant.ls", TALLY_RIGHT_READ, OWN},    // shows those of the key
    {"status", TALLY_RIGHT_READ, WHOLE},
    {"queue.ls", TALLY_RIGHT_READ, WHOLE},
    {"worker.ls", TALLY_RIGHT_READ, WHOLE},
    {"dead.ls", TALLY_RIGHT_READ, NAMED},
    {"dead.show", TALLY_RIGHT_READ, NAMED},
    {"dead.retry", TALLY_RIGHT_ADMIN, NAMED},
    {"dead.drop", TALLY_RIGHT_ADMIN, NAMED},
    {"queue.release", TALLY_RIGHT_ADMIN, NAMED},
    {"queue.put", TALLY_RIGHT_ADMIN, WHOLE},
    {"tenant.put", TALLY_RIGHT_ADMIN, WHOLE},
    {"worker.drain", TALLY_RIGHT_ADMIN, WHOLE},
};

static tally_fault_t
fault_of(int code, uint16_t index, const char *text)
{
    return (tally_fault_t){code, index, text};
}

static const tally_fault_t none = {0, TALLY_NO_INDEX, NULL};

tally_fault_t
tally_rights_verb(const tally_principal_t *who, uint8_t verb)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (verbs[i].verb == verb) {
            return (who->rights & verbs[i].right) == verbs[i].right
                       ? none
                       : fault_of(TALLY_E_REFUSED, TALLY_NO_INDEX, verbs[i].refusal);
        }
    }
    return fault_of(TALLY_E_VERB, TALLY_NO_INDEX, "the front does not know this verb");
}

tally_fault_t
tally_rights_hello(const tally_principal_t *who, const tally_hello_t *hello)
{
    if (hello->role != TALLY_ROLE_WORKER) {
        return none;
    }
    if ((who->rights & TALLY_RIGHT_WORK) == 0) {
        return fault_of(TALLY_E_REFUSED, TALLY_NO_INDEX,
                        "this key may not work; it needs the right work");
    }
    for (uint8_t i = 0; i < hello->queue_count; i++) {
        if (!tally_scope_has(&who->queues, hello->queues[i])) {
            return fault_of(TALLY_E_UNKNOWN, i, TALLY_TEXT_NO_QUEUE);
        }
    }
    return none;
}

static bool
asks(const tally_send_t *send)
{
    tally_cursor_t items = send->items;
    for (uint16_t i = 0; i < send->count; i++) {
        tally_item_t item;
        tally_item_read(&items, &item);
        if ((item.options & TALLY_WANTS_RESULT) != 0) {
            return true;
        }
    }
    return false;
}

tally_fault_t
tally_rights_send(const tally_principal_t *who, const tally_send_t *send)
{
    tally_fault_t fault = tally_rights_verb(who, TALLY_SEND);
    if (fault.code != 0) {
        return fault;
    }
    if ((who->rights & TALLY_RIGHT_ASK) == 0 && asks(send)) {
        return fault_of(TALLY_E_REFUSED, TALLY_NO_INDEX,
                        "this key may not ask for results; it needs the right ask");
    }
    if (!tally_scope_has(&who->tenants, send->tenant)) {
        return fault_of(TALLY_E_UNKNOWN, TALLY_NO_INDEX, no_tenant);
    }
    if (!tally_scope_has(&who->queues, send->queue)) {
        return fault_of(TALLY_E_UNKNOWN, TALLY_NO_INDEX, TALLY_TEXT_NO_QUEUE);
    }
    return none;
}

tally_fault_t
tally_rights_op(const tally_principal_t *who, const char *op, const json_t *body)
{
    const op_rule_t *rule = NULL;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(ops[i].op, op) == 0) {
            rule = &ops[i];
        }
    }
    if (rule == NULL) {
        return fault_of(TALLY_E_VERB, TALLY_NO_INDEX, "this broker does not know that op");
    }
    if ((who->rights & rule->right) != rule->right) {
        return fault_of(TALLY_E_REFUSED, TALLY_NO_INDEX,
                        rule->right == TALLY_RIGHT_READ
                            ? "this key may not look; it needs the right read"
                            : "this key may not change anything; it needs the right admin");
    }
    bool whole = who->tenants.all && who->queues.all;
    if (rule->about == WHOLE && !whole) {
        return fault_of(TALLY_E_REFUSED, TALLY_NO_INDEX,
                        "this is about all tenants; the key is for its own alone");
    }
    if (rule->about == NAMED) {
        const json_t *tenant = json_object_get(body, "tenant");
        tally_bytes_t name = {json_string_value(tenant), json_string_length(tenant)};
        if (!tally_scope_has(&who->tenants, name)) {
            return fault_of(TALLY_E_UNKNOWN, TALLY_NO_INDEX, TALLY_TEXT_NO_TENANT);
        }
        if (!who->queues.all) {
            return fault_of(TALLY_E_REFUSED, TALLY_NO_INDEX,
                            "this is about all queues; the key is for its own alone");
        }
    }
    return none;
}
