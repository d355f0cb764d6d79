// SPDX-License-Identifier: MIT
//  history - what a process tried and was told, in a file that outlives it.
//
//  Each process (client, worker, nemesis, driver) writes its own file DIRECTORY/NAME.NUMBER.history: records of
//  64 bytes in the order in which things happened to it.  What it tries it records BEFORE it tries, what it is
//  told AFTER: a kill between the two leaves something tried without an answer, which may have happened.  That
//  is never counted as a failure.
//
//  The file is mapped and shared, so what was recorded survives kill -9; each record ends with a check of its
//  own, so the one that was being written is recognised.  Room is reserved before it is used: a full disk ends
//  the process with a message, because a process that cannot record must not act.
//
//  One writer, one thread: threads that record open a file each.  Not across fork: open after it.
//  No judgement here; that is the checker's.

#ifndef TALLY_TEST_HISTORY_H
#define TALLY_TEST_HISTORY_H

#include "lib/bytes.h"

//  What happened.  The comment says which fields count beside kind and at_ns; all others stay 0.
//  Numbers in files: append, never renumber.
typedef enum {
    //  ---- what the run is: written by the driver, before anything else -------------------------------------
    TALLY_DID_BEGIN =
        1,    // first of each file, by tally_history_open(); code: role, process, text: name
    TALLY_DID_NAME =
        2,    // by tally_history_name(); code: tally_named_t, item: the number, text: its name
    TALLY_DID_QUEUE =
        3,    // queue, code: tally_queue_flag_t, epoch: visible_ms, counts: failures_max, crashes_max
    TALLY_DID_PHASE = 4,    // code: tally_phase_t

    //  ---- clients: one record for each message of a send ----------------------------------------------------
    //  code: tally_sent_flag_t, number, tenant, queue, key, sequence, item: index in the send, dedupe, delay_ms.  Again
    //  when the program tries the same number again; what the library repeats by itself is not recorded.
    TALLY_DID_SEND = 10,
    TALLY_TOLD_CONFIRMED =
        11,    // number, id (0: not said), epoch: of the broker, code: tally_confirm_flag_t
    TALLY_TOLD_REFUSED = 12,    // number, code: of the refusal; for certain: it did not happen
    TALLY_TOLD_NOTHING = 13,    // number: given up without an answer; it may happen
    TALLY_TOLD_RESULT = 14,     // number, code: outcome (1 done, 2 buried, 3 dropped)

    //  ---- clients and workers -------------------------------------------------------------------------------
    TALLY_TOLD_WELCOME = 20,    // epoch: of the broker, id: number of a worker's connection

    //  ---- workers: one record for each message of a lease ---------------------------------------------------
    //  tenant, queue: of the delivery; number, key, code (tally_body_t): of the body; id, lease, epoch: of the term
    //  (0: none), counts: as told.
    TALLY_TOLD_DELIVERED = 30,
    //  number, id, lease, epoch: of the term.  Transactional: before COMMIT, and one of four answers follows.  By a
    //  record to the sink: before it is sent, and there is no answer.
    TALLY_DID_SETTLE = 31,
    TALLY_TOLD_SETTLED = 32,    // number, lease: COMMIT answered
    TALLY_TOLD_STALE =
        33,    // number, lease, code: 1 TY001 (lease), 2 TY002 (term); for certain rolled back
    TALLY_TOLD_FAILED = 34,       // number, lease: for certain rolled back, for another reason
    TALLY_TOLD_UNKNOWN = 35,      // number, lease: COMMIT was sent, no answer came
    TALLY_DID_RETURN = 36,        // number, lease, code 1: counted as a failure
    TALLY_DID_BURY = 37,          // number, lease
    TALLY_TOLD_TERM = 38,         // queue, tenant, epoch: elected
    TALLY_TOLD_TERM_LOST = 39,    // queue, tenant, epoch
    TALLY_TOLD_GONE = 40,         // what it holds is no longer its own

    //  ---- nemesis -------------------------------------------------------------------------------------------
    //  BEGAN before the fault is done: id: number of this fault in the run, code: its kind (TALLY_NAMED_FAULT), item:
    //  tally_victim_t, process: its number, 0 for what writes no history; queue, tenant: of a term holder's term.
    TALLY_FAULT_BEGAN = 50,
    TALLY_FAULT_ENDED = 51,    // id, code: healed, resumed or started again

    //  ---- rows of the database in the end: by tally_dump_write() ---------------------------------------------
    TALLY_ROW_EFFECT = 60,      // number, id, lease, epoch, tenant, queue, key, process, serial
    TALLY_ROW_MESSAGE = 61,     // number, id, tenant, queue, key, counts: still pending
    TALLY_ROW_DEAD = 62,        // number, id, tenant, queue, key, counts
    TALLY_ROW_INBOX = 63,       // number, tenant, queue, key
    TALLY_ROW_LEASE = 64,       // lease, tenant, queue
    TALLY_ROW_RESULT = 65,      // process: who asked, sequence, item, code: outcome
    TALLY_ROW_SENDER = 66,      // process, sequence: last
    TALLY_ROW_MISSING = 67,     // process, sequence: below last, never accepted
    TALLY_ROW_TERM = 68,        // queue, tenant, epoch
    TALLY_ROW_BROKER = 69,      // epoch
    TALLY_ROWS_COMPLETE = 70    // the last record of a dump
} tally_did_t;

typedef enum {
    TALLY_NAMED_TENANT = 1,
    TALLY_NAMED_QUEUE = 2,
    TALLY_NAMED_FAULT =
        3,    // a kind that this run must see: one that never began makes the run invalid
    TALLY_NAMED_SENDER =
        4,    // by a client: item: its own process number, text: its sender, 32 hex digits
} tally_named_t;

typedef enum {
    TALLY_QUEUE_TRANSACTIONAL =
        0x01,                        // its workers call tally.settle beside the row of an effect
    TALLY_QUEUE_EXCLUSIVE = 0x02,    // and tally.hold_term
} tally_queue_flag_t;

typedef enum {
    TALLY_PHASE_LOAD = 1,       // clients begin to send
    TALLY_PHASE_FAULTS = 2,     // the nemesis begins
    TALLY_PHASE_HEALED = 3,     // the last fault is over, all that was killed runs again
    TALLY_PHASE_DRAIN = 4,      // clients send no more
    TALLY_PHASE_DRAINED = 5,    // nothing is pending, or the driver waits no longer
} tally_phase_t;

typedef enum {
    TALLY_SENT_ASK = 0x01,
    TALLY_SENT_BLOB = 0x02,
    TALLY_SENT_UNORDERED =
        0x04,    // has a key, but also a delay or a priority: no order to be checked
} tally_sent_flag_t;

typedef enum {
    TALLY_CONFIRM_REPEATED = 0x01,     // it had been stored before; no id
    TALLY_CONFIRM_DUPLICATE = 0x02,    // it was not stored: another one with its dedupe key was
} tally_confirm_flag_t;

typedef enum { TALLY_BODY_INTACT = 0, TALLY_BODY_CHANGED = 1 } tally_body_t;

typedef enum {
    TALLY_VICTIM_NONE = 0,
    TALLY_VICTIM_CLIENT = 1,
    TALLY_VICTIM_WORKER = 2,
    TALLY_VICTIM_TERM_HOLDER = 3,    // a worker, taken because it holds a term
    TALLY_VICTIM_BROKER = 4,
    TALLY_VICTIM_DATABASE = 5,
    TALLY_VICTIM_NETWORK = 6,
    TALLY_VICTIM_DISK = 7,
    TALLY_VICTIM_CLOCK = 8,
} tally_victim_t;

typedef enum {
    TALLY_WRITER_DRIVER = 1,
    TALLY_WRITER_CLIENT = 2,
    TALLY_WRITER_WORKER = 3,
    TALLY_WRITER_NEMESIS = 4,
    TALLY_WRITER_DATABASE = 5,    // the dump
} tally_writer_t;

#define TALLY_HISTORY_TEXT_BYTES 32
#define TALLY_HISTORY_NUMBER_MAX 63    // of queues, and of fault kinds
#define TALLY_HISTORY_TENANT_MAX 1023
#define TALLY_HISTORY_PROCESS_MAX 1048575

//  255 means that or more.
typedef struct {
    uint8_t deliveries, failures, crashes, unused;
} tally_counts_t;

//  Words that one kind does not need serve another.  In the byte order of the host: histories are read where they
//  are written.
typedef struct {
    int64_t at_ns;    // CLOCK_MONOTONIC, one clock for the whole run; 0: now, when it is added
    uint16_t kind;    // tally_did_t
    uint16_t code;    // see each kind
    uint16_t queue, tenant;    // numbers of the run, from 1, named by the driver
    union {
        struct {
            uint64_t number;    // of the message, unique in the run: tally_history_number()
            union {
                uint64_t id;          // the broker's number of it
                uint64_t sequence;    // of a send
            };
            union {
                uint64_t lease;
                uint64_t dedupe;    // stands for a dedupe key; 0: none
                uint64_t answered;
            };
            union {
                uint64_t epoch;
                uint64_t delay_ms;
            };
        };
        char text[TALLY_HISTORY_TEXT_BYTES];    // padded with NULs, none when full
    };
    uint32_t key;        // stands for an ordering key within queue and tenant; 0: none
    uint32_t process;    // whom this is about; who writes is said by the first record alone
    union {
        uint32_t item;
        uint32_t serial;    // of an effect: grows with each insert
        tally_counts_t counts;
    };
    uint32_t check;    // over all the rest; tally_history_add() fills it in
} tally_history_record_t;

_Static_assert(sizeof(tally_history_record_t) == 64, "a record is a line of the cache");

//  ---- writing ------------------------------------------------------------------------------------------------

typedef struct tally_history tally_history_t;

//  `process`: unique in the run, from 1; a process that is started again is another one.  `name`: a-z 0-9 -.  Ends
//  the process with a message when the file cannot be made, or is there already.
tally_history_t *tally_history_open(const char *directory, const char *name, uint32_t process,
                                    tally_writer_t writer);
//  Cuts the file to its length; without, it has a tail of zeros, which is as good.
void tally_history_close(tally_history_t **self_p);

//  Costs a clock and 64 bytes of memory.  Out of disk ends the process with a message.
//
//      tally_history_add(history, &(tally_history_record_t){
//          .kind = TALLY_TOLD_REFUSED, .number = number, .code = event.code});
void tally_history_add(tally_history_t *self, const tally_history_record_t *record);
void
tally_history_name(tally_history_t *self, tally_named_t what, uint32_t number, const char *name);

//  The n-th message of a process, n from 1 (below 2^40).
uint64_t tally_history_number(uint32_t process, uint64_t n);

//  ---- bodies -------------------------------------------------------------------------------------------------
//  A body says whose it is: number, tenant, queue, key, length, and a filling that follows from the number.  So what
//  a worker gets can be compared with what was sent, and rows of the database with both.

#define TALLY_HISTORY_BODY_BYTES_MIN 32
#define TALLY_HISTORY_BODY_NUMBER_AT 4    // eight bytes, big-endian

//  Fills `bytes` of `body` for this message: number, tenant, queue, key of `send`.
void tally_history_body_write(uint8_t *body, size_t bytes, const tally_history_record_t *send);
//  Sets number, key and code (tally_body_t) of `delivered`; queue and tenant are those of the delivery and must be
//  set: a body that belongs elsewhere is changed.
void tally_history_body_read(tally_bytes_t body, tally_history_record_t *delivered);

//  ---- reading ------------------------------------------------------------------------------------------------

//  A file, mapped.  Records from 0 to count; the first is TALLY_DID_BEGIN.
typedef struct {
    const tally_history_record_t *records;
    size_t count;
    uint32_t process;
    tally_writer_t writer;
    char name[TALLY_HISTORY_TEXT_BYTES + 1];
    bool torn;    // behind the last one there is a piece of another
    //  private
    void *map;
    size_t map_bytes;
} tally_history_file_t;

//  -1 with *why (static) when it is not a history, or something stands behind a record that is not one.  0 and no
//  record at all when its process was killed before it could begin.
int tally_history_file_open(tally_history_file_t *self, const char *path,
                            const char **why) TALLY_MUST_CHECK;
void tally_history_file_close(tally_history_file_t *self);

//  For people: "send", "delivered"...; "?" for an unknown one.
const char *tally_did_name(unsigned kind);
const char *tally_victim_name(unsigned victim);

#endif
