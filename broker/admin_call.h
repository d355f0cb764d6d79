// SPDX-License-Identifier: MIT
//  admin_call - one admin request in hand, and how to answer it.  For the files of admin alone.

#ifndef TALLY_ADMIN_CALL_H
#define TALLY_ADMIN_CALL_H

#include "broker/broker.h"

#define TALLY_ADMIN_DEAD_MAX                                                                       \
    1000    // dead letters in one request; the answer says when there may be more

typedef struct {
    tally_broker_t *broker;
    uint64_t route, request;
    const json_t *body;              // NULL when the reader or a plan answers
    int64_t audit;                   // what the audit record calls this; 0: it changes nothing
    const tally_principal_t *who;    // while `body` is there
} tally_admin_call_t;

void tally_admin_refuse(const tally_admin_call_t *call, int code, const char *text);
//  Takes the object and adds "ok".
void tally_admin_reply(const tally_admin_call_t *call, json_t *object);
//  The same when the plan being collected is committed; valid until the next call.
tally_asked_t *tally_admin_reply_later(const tally_admin_call_t *call, json_t *object);

//  data NULL when there is no such text.
tally_bytes_t tally_admin_text(const json_t *object, const char *name);
//  NULL after a refusal.
const tally_tenant_row_t *tally_admin_require_tenant(const tally_admin_call_t *call);

//  ---- ops of the other files ----
void tally_admin_queue_put(const tally_admin_call_t *call);
void tally_admin_tenant_put(const tally_admin_call_t *call);
void tally_admin_dead_ls(const tally_admin_call_t *call);
void tally_admin_dead_show(const tally_admin_call_t *call);
void tally_admin_dead_retry(const tally_admin_call_t *call);
void tally_admin_dead_drop(const tally_admin_call_t *call);
//  What the reader found.
void tally_admin_dead_read(const tally_admin_call_t *call, tally_read_t *read);
//  How many of the dead letters asked for were there.
size_t tally_admin_dead_changed(const tally_asked_t *asked, const tally_tick_result_t *result);

#endif
