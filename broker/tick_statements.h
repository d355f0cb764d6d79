// SPDX-License-Identifier: MIT
//  tick_statements - the statements of a tick: their texts, their parameters out of a plan, their answers.
//
//  All are set-based and constant in number: a section of the plan is one statement, however many elements it has, but
//  for bodies, which go in parts of TALLY_PART_BYTES.  What a small tick has one of (a message, a sender, a lease) goes
//  as a row instead of arrays that have to be taken apart: an eighth of such a tick.
//  None can fail on data.  Leases are touched only `for update skip locked`, so no worker's open transaction holds
//  up a tick.  Shared by tick_store (which sends them) and nobody else.

#ifndef TALLY_TICK_STATEMENTS_H
#define TALLY_TICK_STATEMENTS_H

#include <libpq-fe.h>

#include "broker/pgarray.h"
#include "broker/plan.h"

#define TALLY_STATEMENT_PARAMS_MAX 17

//  About so many bytes of bodies are one statement.  PostgreSQL takes a parameter in as a whole and copies it several
//  times; one that outgrows the processor's cache, and what malloc keeps, makes each copy dear.  While it stores one
//  part the next is written.
#define TALLY_PART_BYTES (128 * 1024)

//  The parameters of the statement that is being sent, reused from one to the next.
typedef struct {
    tally_pgarray_t values[TALLY_STATEMENT_PARAMS_MAX];
    int count;
    //  A section with many bytes is sent in parts: its element at which this part begins, then, written, the one at
    //  which the next does.  0: that was all.
    size_t from;
} tally_statement_params_t;

typedef struct {
    const char *name;    // as prepared
    const char *sql;
    //  False: this plan has nothing for it.
    bool (*wanted)(const tally_plan_t *plan);
    void (*write)(tally_statement_params_t *params, const tally_plan_t *plan);
    //  What came back; NULL: nothing to read.
    void (*read)(tally_tick_result_t *result, const PGresult *answer);
} tally_statement_t;

//  In the order in which a tick sends them, behind its guard.
extern const tally_statement_t tally_tick_send_statements[];
extern const size_t tally_tick_send_statement_count;
extern const tally_statement_t tally_tick_lease_statements[];
extern const size_t tally_tick_lease_statement_count;
//  Behind those: what operators change, and housekeeping.
extern const tally_statement_t tally_tick_admin_statements[];
extern const size_t tally_tick_admin_statement_count;

//  Of every session that runs them.
extern const char tally_tick_session_sql[];
extern const char tally_tick_guard_lock_sql[];     // $1: the lock's key
extern const char tally_tick_hold_sql[];           // $1: the place's key
extern const char tally_tick_guard_epoch_sql[];    // $1: epoch, $2: number of the tick

#endif
