// SPDX-License-Identifier: MIT
//  reader - reads PostgreSQL for the front without holding up a tick.
//
//  A czmq actor with a connection of its own.  The loop hands it a question and gets the same object back, answered,
//  when the reader's fd says so; questions are answered in order.  When PostgreSQL is away the answer's outcome says
//  so: asking again is the asker's business.  Reads only; everything that changes goes through a tick.

#ifndef TALLY_READER_H
#define TALLY_READER_H

#include <jansson.h>

#include "broker/door_store.h"
#include "broker/rows.h"
#include "lib/db.h"

typedef enum {
    TALLY_READ_SENDER = 1,     // id -> found, last, missing
    TALLY_READ_RESULT,         // asker -> found, outcome, body
    TALLY_READ_BLOB,           // tenant, message -> found, body
    TALLY_READ_DEAD,           // tenant, queue, message, limit -> json (array)
    TALLY_READ_DEAD_COUNTS,    // -> json (object: queue id -> count)
    TALLY_READ_STANDBYS,       // -> json (array: who stands by)
    TALLY_READ_SNAPSHOT,       // -> json (object: who holds the oldest snapshot; null: nobody)
    //  of the door's reader alone
    TALLY_READ_PRINCIPALS,      // version -> principals
    TALLY_READ_WORKER,          // worker, key: written as well
    TALLY_READ_AUDIT,           // note -> audit; written here, and only added
    TALLY_READ_AUDIT_RESULT,    // audit, note.result
} tally_read_kind_t;

//  What dead letters are read for.
typedef enum {
    TALLY_READ_THEN_ANSWER = 0,
    TALLY_READ_THEN_RETRY,
    TALLY_READ_THEN_DROP
} tally_read_then_t;

//  What the audit record says of an action; texts are owned, or NULL.
typedef struct {
    char *who, *key, *action, *request, *result;
} tally_audit_note_t;

typedef struct {
    tally_read_kind_t kind;
    tally_read_then_t then;
    //  who asked, for the loop; the reader does not look at these
    uint64_t route, request;
    void *context;    // owned by whoever set it; free()d with the question
    //  the question
    uint8_t sender[TALLY_SENDER_BYTES];
    tally_asker_t asker;
    uint32_t tenant, queue;
    uint64_t message;
    size_t limit;
    bool with_body;
    char key[TALLY_KEY_TEXT_BYTES + 1];    // of who said hello; "" without CURVE
    int64_t audit;                         // the action that this is part of; 0: none
    tally_audit_note_t note;
    int64_t version;
    uint64_t worker;
    //  the answer
    tally_db_outcome_t database;    // DONE, or why there is none
    bool found;
    int64_t last;
    int64_t *missing;
    size_t missing_count;
    uint8_t outcome;
    uint8_t *body;
    size_t body_size;
    json_t *json;
    tally_principal_list_t principals;
} tally_read_t;

tally_read_t *tally_read_new(tally_read_kind_t kind);
void tally_read_destroy(tally_read_t **self_p);

typedef struct tally_reader tally_reader_t;

tally_reader_t *tally_reader_new(const char *conninfo);
void tally_reader_destroy(tally_reader_t **self_p);    // waits for what was asked
//  Forgets what was asked.  False: it still waits for PostgreSQL when the time is over, and destroying it would, too.
bool tally_reader_rest(tally_reader_t *self, int timeout_ms) TALLY_MUST_CHECK;
int tally_reader_fd(const tally_reader_t *self);    // edge-triggered: take until NULL
//  Takes *read_p.  Refused (-1, still the caller's) when too many questions wait already.
int tally_reader_ask(tally_reader_t *self, tally_read_t **read_p) TALLY_MUST_CHECK;
tally_read_t *tally_reader_take(tally_reader_t *self);    // the next answer, or NULL
bool tally_reader_asked(const tally_reader_t *self);      // an answer is to come

#endif
