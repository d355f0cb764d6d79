// SPDX-License-Identifier: MIT
//  failpoint - named places where a process can be made to die, stop, wait or fail; in test builds alone.
//
//  Without TALLY_FAILPOINTS (make FAILPOINTS=1) every macro is nothing and failpoint.c is empty: no release knows of
//  this.  With it, and with the environment variable TALLY_FAILPOINTS naming a page made by tests/faults/failpoints.h,
//  each point looks whether it has an order, and counts that it was reached and that it fired.  The page is a shared
//  mapping: orders are given while the process runs, a point fires once for an order, and the counts survive the
//  process that was killed.  A place for a step that matters, never within a step; no decision may depend on it.

#ifndef TALLY_FAILPOINT_H
#define TALLY_FAILPOINT_H

#include <stdatomic.h>

#include "lib/bytes.h"

//  Point, its name, whether it understands `error`, and what is true there.
#define TALLY_FAILPOINT_LIST(X)                                                                    \
    X(FRONT_RECEIVED, "front-received", false, "a request was received")                           \
    X(SEND_TAKEN, "send-taken", false, "a send is in the core's plan")                             \
    X(RECORDS_RECEIVED, "records-received", false, "workers' records were received")               \
    X(RECORDS_TAKEN, "records-taken", false, "they are in the core's plan")                        \
    X(PLAN_SEALED, "plan-sealed", false, "before the tick's first statement")                      \
    X(TICK_BEGUN, "tick-begun", true, "the guard is sent; error: the connection is lost")          \
    X(TICK_SENDS, "tick-sends", true, "what was sent is sent, no lease; error: as before")         \
    X(TICK_LEASES, "tick-leases", true, "everything but the sync is sent; error: as before")       \
    X(TICK_SENT, "tick-sent", true, "the sync is sent; error: its answer is lost")                 \
    X(TICK_COMMITTED, "tick-committed", false, "the commit is answered, nobody was told")          \
    X(CONFIRM_FIRST, "confirm-first", false, "one of several confirms is out")                     \
    X(CONFIRMS_OUT, "confirms-out", false, "all confirms are out, no result is")                   \
    X(ANSWER_SEND, "answer-send", true, "before an answer; error: it is lost")                     \
    X(LANE_SEND, "lane-send", true, "before a delivery; error: the lane takes nothing")            \
    X(LANE_FIRST, "lane-first", false, "one of several deliveries is out")                         \
    X(LANES_OUT, "lanes-out", false, "all deliveries are out, no confirm is")                      \
    X(RESULTS_OUT, "results-out", false, "results are out, no notice is")                          \
    X(TICK_TOLD, "tick-told", false, "everything of the tick was told")                            \
    X(WORKER_HELLO, "worker-hello", false, "a worker said hello, it has no lane")                  \
    X(WORKER_WELCOMED, "worker-welcomed", false, "its welcome is out")                             \
    X(WORKER_JOINED, "worker-joined", false, "it is connected to its lane")                        \
    X(WORKER_GONE, "worker-gone", false, "a worker left, its leases are not returned")             \
    X(PLACE_TAKEN, "place-taken", false, "the place is taken, the epoch is not")                   \
    X(EPOCH_TAKEN, "epoch-taken", false, "the epoch is taken, nothing is loaded")                  \
    X(LOADING, "loading", false, "a message was loaded, more may come")                            \
    X(LOADED, "loaded", true, "all is loaded, nothing served; error: PostgreSQL went away")        \
    X(TICK_LOST, "tick-lost", false, "a tick did not end well")                                    \
    X(TICK_FOUND, "tick-found", false, "an unknown tick was found committed")                      \
    X(TICK_VOID, "tick-void", false, "an unknown tick was made void")                              \
    X(FED_AGAIN, "fed-again", false, "an input was fed again")                                     \
    X(WORK_RECEIVED, "work-received", false, "a worker received a delivery")                       \
    X(WORK_BEGUN, "work-begun", false, "before a worker does what is in a lease")                  \
    X(WORK_COMMIT, "work-commit", false, "before a worker's COMMIT")                               \
    X(WORK_COMMITTED, "work-committed", false, "it is answered, nobody was told")                  \
    X(WORK_NOTE, "work-note", true, "before its records are sent; error: they are lost")           \
    X(WORK_TOLD, "work-told", false, "its records are sent")

typedef enum {
#define TALLY_FAILPOINT_MEMBER(point, name, fails, text) TALLY_AT_##point,
    TALLY_FAILPOINT_LIST(TALLY_FAILPOINT_MEMBER)
#undef TALLY_FAILPOINT_MEMBER
        TALLY_FAILPOINTS_COUNT
} tally_failpoint_t;

typedef enum {
    TALLY_FAILPOINT_NONE,
    TALLY_FAILPOINT_KILL,     // SIGKILL
    TALLY_FAILPOINT_STOP,     // SIGSTOP
    TALLY_FAILPOINT_DELAY,    // everything waits
    TALLY_FAILPOINT_ERROR,    // the step fails, where that is understood
} tally_failpoint_action_t;

//  The page: a slot for each point, in their order.
typedef struct {
    //  0: none; else action << 56 | ms of a delay << 32 | hits that pass before.
    _Atomic uint64_t order;
    _Atomic uint64_t reached, fired;
} tally_failpoint_slot_t;

#define TALLY_FAILPOINT_MAGIC 0x31746e696f706146u

typedef struct {
    uint64_t magic, count;
    tally_failpoint_slot_t slots[TALLY_FAILPOINTS_COUNT];
} tally_failpoint_page_t;

#ifdef TALLY_FAILPOINTS

//  The order when it is this hit that fires; else 0.
uint64_t tally_failpoint_take(tally_failpoint_t point);
//  Does it; true for an error, which is the caller's to make.
bool tally_failpoint_act(uint64_t order);
//  An error that a connection can have: what was written still arrives, nothing else does.
void tally_failpoint_hang_up(int fd);

#define TALLY_FAILPOINT(point) ((void)tally_failpoint_act(tally_failpoint_take(TALLY_AT_##point)))
//  When it fires, `first` is done before it: what must be out by then; and `fail` after it, for an error.
#define TALLY_FAILPOINT_WITH(point, first, fail)                                                   \
    do {                                                                                           \
        uint64_t failpoint_order = tally_failpoint_take(TALLY_AT_##point);                         \
        if (failpoint_order != 0) {                                                                \
            (void)(first);                                                                         \
            if (tally_failpoint_act(failpoint_order)) {                                            \
                (void)(fail);                                                                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)
//  True: behave as if the step had failed.
#define TALLY_FAILPOINT_FAILS(point) tally_failpoint_act(tally_failpoint_take(TALLY_AT_##point))

#else

#define TALLY_FAILPOINT(point) ((void)0)
#define TALLY_FAILPOINT_WITH(point, first, fail) ((void)0)
#define TALLY_FAILPOINT_FAILS(point) false

#endif
#endif
