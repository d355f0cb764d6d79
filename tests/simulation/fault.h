// SPDX-License-Identifier: MIT
//  fault - what can go wrong, how often it may in one run, and how often it did.
//
//  Each run draws for itself which faults it has and how hard they strike, so that some runs are
//  gentle and some have one thing go wrong all the time.  A fault that never struck in many runs
//  proves nothing: such a series of runs is not valid.

#ifndef SIM_FAULT_H
#define SIM_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

//  Name, how many of 10 000 occasions at most (0: comes about by itself), text.
#define SIM_FAULT_LIST(X)                                                                          \
    X(KILLED_IDLE, 0, "broker killed between ticks")                                               \
    X(KILLED_BEFORE, 60, "broker killed, its tick did not commit")                                 \
    X(KILLED_AFTER, 60, "broker killed, its tick committed, nobody told")                          \
    X(KILLED_TELLING, 60, "broker killed while it told what was committed")                        \
    X(WROTE_LATE, 0, "tick of a killed broker came after its successor")                           \
    X(STOPPED, 0, "broker stopped and continued")                                                  \
    X(LOST_DONE, 150, "answer to commit lost: it had happened")                                    \
    X(LOST_UNDONE, 150, "answer to commit lost: it had not happened")                              \
    X(FAILED, 150, "tick failed for certain")                                                      \
    X(REJECTED, 150, "send that PostgreSQL rejects")                                               \
    X(AWAY, 2500, "database away when the broker came back")                                       \
    X(CLOCK_AHEAD, 0, "clock of the database jumped ahead")                                        \
    X(CLOCK_BACK, 0, "clock of the database jumped back")                                          \
    X(LEASE_LOCKED, 0, "ending met a lease locked by a worker's transaction")                      \
    X(TERM_LOCKED, 0, "election met a term locked by a worker's transaction")                      \
    X(BETWEEN, 400, "worker committed between two statements of a tick")                           \
    X(LOADED_BETWEEN, 4000, "worker committed while the broker loaded")                            \
    X(LANE_LOST, 100, "lane lost with what was in it")                                             \
    X(LANE_FULL, 100, "lane refused a delivery")                                                   \
    X(RECORD_LOST, 500, "record lost")                                                             \
    X(RECORD_DOUBLED, 500, "record doubled")                                                       \
    X(RECORD_REORDERED, 500, "record overtaken by later ones")                                     \
    X(RECORD_LATE, 200, "record late by minutes or hours")                                         \
    X(REQUEST_LOST, 200, "connection of a client cut, requests lost")                              \
    X(ANSWER_LOST, 300, "answer to a client lost")                                                 \
    X(REPEATED, 0, "accepted send repeated")                                                       \
    X(CLIENT_DIED, 0, "client died for good")                                                      \
    X(WORKER_DIED, 200, "worker died with messages leased")                                        \
    X(WORKER_STOPPED, 0, "worker stopped and continued")                                           \
    X(WORKER_HUNG, 300, "worker went on after its deadline")                                       \
    X(WORKER_LEFT, 0, "worker said goodbye with messages leased")                                  \
    X(WORKER_DRAINED, 0, "worker drained")                                                         \
    X(POISON, 60, "message that kills its worker")                                                 \
    X(SQL_STALE, 0, "transaction refused: lease over (TY001)")                                     \
    X(TERM_STALE, 0, "transaction refused: term over (TY002)")                                     \
    X(SQL_UNTOLD, 600, "worker settled by SQL and told nobody")                                    \
    X(SQL_UNDONE, 600, "worker's transaction rolled back")                                         \
    X(RECORD_STALE, 0, "record for a lease that is over")                                          \
    X(RECORD_OWED, 0, "record whose effect came with a later tick")                                \
    X(BAD_RECORD, 500, "hostile record: foreign or made up lease and message")                     \
    X(BAD_SEQUENCE, 200, "hostile send: sequence out of the window")                               \
    X(BAD_QUEUE, 200, "send to a queue that does not exist")                                       \
    X(BAD_FRAME, 200, "frame cut or changed")                                                      \
    X(QUOTA, 0, "send refused: quota used up")                                                     \
    X(DUPLICATED, 0, "message dropped by its dedupe key")                                          \
    X(WINDOW_OPENED, 0, "window opened by a message that releases")                                \
    X(FETCHED, 0, "body fetched again")                                                            \
    X(BURIALS, 0, "message buried")                                                                \
    X(RETRIED, 0, "dead letter sent again by an operator")

typedef enum {
#define SIM_FAULT_NAME(name, rate, text) SIM_##name,
    SIM_FAULT_LIST(SIM_FAULT_NAME)
#undef SIM_FAULT_NAME
        SIM_FAULTS
} sim_fault_t;

typedef struct {
    uint32_t rates[SIM_FAULTS];    // of 10 000 occasions
    uint64_t bites[SIM_FAULTS];
} sim_faults_t;

const char *sim_fault_text(sim_fault_t fault);
uint32_t sim_fault_rate_max(sim_fault_t fault);

#endif
