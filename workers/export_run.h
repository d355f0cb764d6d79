// SPDX-License-Identifier: MIT
//  export_run - one export from its request to its end, a slice of time at a time.
//
//  A run is worked on under one lease after another.  Each slice ends with a checkpoint and the
//  message given back, so that a long export holds up neither the other tenants', nor a cancel, nor
//  a drain.  A run whose process died goes on elsewhere from the checkpoint.  The end, visible file
//  or table and the settled message included, comes once, under the lease.
//
//  Needs no runtime: what it wants of the process comes in as tally_export_tools_t, time too.

#ifndef TALLY_EXPORT_RUN_H
#define TALLY_EXPORT_RUN_H

#include "workers/export_sink.h"

//  Places where a crash would be interesting; for tests.
typedef enum {
    TALLY_AT_OPENED,    // the row is there, no checkpoint yet
    TALLY_AT_ADDED,     // a page was added
    TALLY_AT_SYNCED,    // and is durable, the checkpoint not
    TALLY_AT_CHECKPOINTED,
    TALLY_AT_COMPLETE,    // all rows are out, nothing is visible
    TALLY_AT_SETTLED,     // in the last transaction; not visible, not committed
    TALLY_AT_VISIBLE,     // not committed
    TALLY_AT_COMMITTED,
    TALLY_AT_COUNT,
} tally_export_point_t;

typedef struct {
    tally_db_t *db;
    tally_export_outlet_t outlet;
    int64_t slice_ms;         // 0: a page each
    int64_t checkpoint_ms;    // at most that much work is lost
    int64_t checkpoint_rows;
    void *context;    // of the calls below
    int64_t (*now_ms)(void *context);
    void (*extend)(void *context, uint32_t visible_ms);
    void (*publish)(void *context, const char *topic, tally_bytes_t json);
    bool (*interrupted)(void *context);
    void (*passed)(void *context, tally_export_point_t point);    // may be NULL
} tally_export_tools_t;

typedef struct tally_export_run tally_export_run_t;

typedef enum {
    TALLY_RUN_SETTLED,    // the message is settled in the database: note it, the run is over
    TALLY_RUN_LATER,      // responses confirmed before are not stored yet: return, uncounted
    TALLY_RUN_SLICE,      // there is more: return, uncounted, due at once
    TALLY_RUN_BLOCKED,    // somebody reads the table that is to be replaced: return, uncounted
    TALLY_RUN_AWAY,       // the database is: return, uncounted
    TALLY_RUN_FAILED,     // return, counted; tally_export_run_why
    TALLY_RUN_STALE,      // the lease is over: nothing more; the run is over
} tally_run_end_t;

//  The tools are borrowed for the life of the object; *request is taken.
tally_export_run_t *tally_export_run_new(const tally_export_tools_t *tools, const char *tenant,
                                         uint64_t id, tally_export_request_t *request);
void tally_export_run_destroy(tally_export_run_t **self_p);

//  failures: of the message, before this delivery.
tally_run_end_t
tally_export_run_work(tally_export_run_t *self, uint64_t lease, uint32_t failures) TALLY_MUST_CHECK;
//  May be worked on again: a later slice goes on where this one was.
bool tally_export_run_goes_on(const tally_export_run_t *self);
const char *tally_export_run_why(const tally_export_run_t *self);
const char *tally_export_run_tenant(const tally_export_run_t *self);
uint64_t tally_export_run_id(const tally_export_run_t *self);

//  {"ok":false,"error":{"code":...,"text":...}}; freed by the caller.
char *tally_export_error_json(const char *code, const char *text);

#endif
