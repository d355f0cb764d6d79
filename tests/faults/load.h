// SPDX-License-Identifier: MIT
//  load - what the clients of a run send, and what its workers are to do with it.
//
//  Every send follows from the seed of the run, the client's number and the sequence, so a client that was killed
//  sends the same again without having kept anything but how far it was.  What a worker does with a message follows
//  from its queue and its number.

#ifndef TALLY_FAULTS_LOAD_H
#define TALLY_FAULTS_LOAD_H

#include "clients/tally.h"
#include "tests/faults/history.h"

#define TALLY_LOAD_ITEMS_MAX 32
#define TALLY_LOAD_BODY_BYTES_MAX 256
#define TALLY_LOAD_TENANTS 3

//  Numbers of queues, as the histories name them.
typedef enum {
    TALLY_LOAD_PLAIN = 1,    // priorities mixed
    TALLY_LOAD_KEYED,        // in the order of their keys
    TALLY_LOAD_DELAYED,
    TALLY_LOAD_ONCE,      // dedupe keys that other clients use as well
    TALLY_LOAD_ASK,       // results wanted
    TALLY_LOAD_PARENT,    // each makes one message of CHILD, by SQL
    TALLY_LOAD_CHILD,
    TALLY_LOAD_TERM,      // exclusive: one worker for each tenant
    TALLY_LOAD_LOOSE,     // settled by records, at least once
    TALLY_LOAD_POISON,    // fails, kills or is to be buried
    TALLY_LOAD_QUEUES
} tally_load_queue_t;

//  Policy of a queue of the run.
typedef struct {
    const char *name;
    unsigned flags;     // tally_queue_flag_t
    unsigned weight;    // of its sends among all
    unsigned items;     // up to so many messages a send
    int visible_ms, failures_max, crashes_max;
    int retry_ms, retry_ms_max, batch_max;
} tally_load_policy_t;

//  From here on policies are those that queues have when nothing is said, but for POISON's.
void tally_load_use_shipped(void);
const tally_load_policy_t *tally_load_policy(tally_load_queue_t queue);
//  0 when it is no queue of ours.
tally_load_queue_t tally_load_queue(const char *name);
const char *tally_load_tenant(uint16_t tenant);    // from 1
uint16_t tally_load_tenant_number(const char *name);

typedef struct {
    tally_load_queue_t queue;
    uint16_t tenant;
    size_t count;
    tally_message_t messages[TALLY_LOAD_ITEMS_MAX];
    tally_history_record_t records[TALLY_LOAD_ITEMS_MAX];    // DID_SEND of each
    //  what the messages point at
    uint8_t bodies[TALLY_LOAD_ITEMS_MAX][TALLY_LOAD_BODY_BYTES_MAX];
    char keys[TALLY_LOAD_ITEMS_MAX][24];
    char dedupes[TALLY_LOAD_ITEMS_MAX][24];
} tally_load_t;

//  The send of that sequence (from 1).  `client` from 1, below 64.
void tally_load_make(tally_load_t *self, uint64_t seed, uint32_t client, uint32_t sequence);
//  The number of its `item`-th message, without the rest.
uint64_t tally_load_number(uint32_t client, uint32_t sequence, uint32_t item);

//  What is to be done with a message of POISON.
typedef enum {
    TALLY_LOAD_WORK = 0,
    TALLY_LOAD_KILL,    // ends its worker
    TALLY_LOAD_BURY,
    TALLY_LOAD_FAIL,    // until it failed twice
    TALLY_LOAD_FAIL_ALWAYS,
} tally_load_act_t;

tally_load_act_t tally_load_act(uint64_t number);
//  Whether a message of KEYED is given back when it is delivered for the first time: its key waits for it.
bool tally_load_comes_back(uint64_t number);
//  Milliseconds that the work takes beside the transaction; mostly none.
int tally_load_pause_ms(uint64_t number);

#endif
