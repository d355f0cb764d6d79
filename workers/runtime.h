// SPDX-License-Identifier: MIT
//  runtime - what every typed worker shares: lane, credit, beats, pings, stop.
//
//  A role is a few callbacks; the runtime owns the process.  It says hello, pulls leases from its lane, calls
//  `work` for each on the main thread, and passes what the role decides to the sink.  Beats and pings come from a
//  thread of their own, so a busy `work` never delays them (and a stopped process is seen to be stopped).  When
//  the broker is gone or takes us for dead, what we hold is forgotten and hello said again: the tokens decide.
//  SIGTERM: no more leases are asked for, those in the queue are returned uncounted, the one in hand is
//  finished; then goodbye.  A second SIGTERM returns the one in hand as well.
//
//  A role must: settle, return or bury every message of each lease it is given (or leave it to its deadline when
//  the database is away: then tally_worker_return_all without counting), and do nothing after SQLSTATE TY001 or
//  TY002 but roll back.

#ifndef TALLY_RUNTIME_H
#define TALLY_RUNTIME_H

#include "lib/db.h"
#include "lib/wire.h"

typedef struct tally_worker tally_worker_t;

//  One lease in hand, decoded; borrowed during `work`.
typedef struct {
    uint64_t id, epoch;
    char queue[TALLY_NAME_BYTES_MAX + 1];
    char tenant[TALLY_NAME_BYTES_MAX + 1];
    int64_t deadline_at_ms;    // monotonic; kept up to date by extensions
    size_t count;
    const tally_delivered_t *items;
} tally_work_t;

typedef struct {
    const char *role;       // "statistics": names the program, its log lines, its worker name
    const char *summary;    // for --help
    const char *queues[TALLY_WORKER_QUEUES_MAX];    // NULL ends
    uint16_t credit;                                // default of --credit
    //  Called once before the first hello.  -1 ends the process (the role has logged why).  May be NULL.
    int (*start)(tally_worker_t *worker, void **state);
    void (*work)(tally_worker_t *worker, void *state, const tally_work_t *work);
    //  Called between leases, at least once a second; for periodic duties.  May be NULL.
    void (*idle)(tally_worker_t *worker, void *state, int64_t now_ms);
    void (*stop)(tally_worker_t *worker, void **state);    // may be NULL
    //  Options of the role beyond the runtime's, NULL-terminated names ("out", "target"), each --NAME VALUE or in the
    //  configuration file; read with tally_worker_option.
    const char *const *options;
} tally_worker_role_t;

//  The whole main(): options (--broker, --db, --name, --credit, --config, --help, --version...), run, stop.
//  Returns the exit code.
int tally_worker_main(int argc, char **argv, const tally_worker_role_t *role);

tally_db_t *tally_worker_db(tally_worker_t *worker);    // connected lazily; idle limit set
const char *tally_worker_name(const tally_worker_t *worker);
const char *
tally_worker_option(const tally_worker_t *worker, const char *name);    // NULL when not given
//  True when `work` should end soon: stopping for the second time, or the lease in hand was lost.
bool tally_worker_interrupted(const tally_worker_t *worker);

//  ---- what happens to messages of the lease in hand; sent to the sink at the latest when `work` returns ----
//  ids NULL with count 0: all of the lease.
void tally_worker_settle(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                         size_t count);
void tally_worker_settle_result(tally_worker_t *worker, const tally_work_t *work, uint64_t id,
                                tally_bytes_t result);
//  To be called after a COMMIT that contained tally.settle or tally.send: the broker looks.
void tally_worker_note(tally_worker_t *worker, const tally_work_t *work);
//  counted: a failure, backs off by policy.  delay_ms -1: by policy (counted) or at once (not counted).
void tally_worker_return(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                         size_t count, bool counted, int64_t delay_ms, const char *why);
void
tally_worker_bury(tally_worker_t *worker, const tally_work_t *work, uint64_t id, const char *why);
void tally_worker_extend(tally_worker_t *worker, const tally_work_t *work, uint32_t visible_ms);
void tally_worker_publish(tally_worker_t *worker, const char *topic, tally_bytes_t json);
//  Sends what was collected now (extensions and progress during long work).
void tally_worker_flush(tally_worker_t *worker);

#endif
