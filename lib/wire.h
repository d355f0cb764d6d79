// SPDX-License-Identifier: MIT
//  wire - the one codec of Tally's protocol, schemas/wire.md in C.
//
//  Every application frame is a 12 byte head (magic "TY", version, verb, request) and the verb's body;
//  integers are big-endian.  Encoding appends to a buffer and cannot fail (misuse asserts).  Decoding
//  trusts nothing: it checks every length before it looks, allocates nothing, and what it returns points
//  into the frame.  Lists are decoded one element at a time through the cursor, so a frame of 1 000
//  messages needs no table.  No I/O here, no knowledge of message state.

#ifndef TALLY_WIRE_H
#define TALLY_WIRE_H

#include "lib/bytes.h"
#include "lib/limits.h"

#define TALLY_WIRE_VERSION 1
#define TALLY_WIRE_HEAD_BYTES 12
#define TALLY_NO_INDEX 0xffff

typedef enum {
    //  client or worker -> front
    TALLY_HELLO = 0x01,
    TALLY_SEND = 0x02,
    TALLY_ADMIN = 0x03,      // body: JSON text {"op": ...}; the answer is a TALLY_REPLY
    TALLY_GOODBYE = 0x04,    // body: empty; leases of a worker are returned uncounted
    TALLY_FETCH = 0x05,      // the body of a blob message under a lease; the answer is a TALLY_BODY
    //  worker -> sink
    TALLY_RECORDS = 0x21,
    //  broker -> lane
    TALLY_DELIVERY = 0x41,
    TALLY_NOTICE = 0x42,
    //  front -> client or worker
    TALLY_WELCOME = 0x81,
    TALLY_CONFIRM = 0x82,
    TALLY_REPLY = 0x83,    // body: JSON text
    TALLY_RESULT = 0x84,
    TALLY_BODY = 0x85,    // body: the blob's bytes
    TALLY_ERROR = 0xff,
} tally_verb_t;

//  Error codes: what the peer should do follows from the hundreds.
//  1xx the request is wrong and will stay so; 2xx not now, come back after retry_after_ms; 3xx ours.
typedef enum {
    TALLY_E_FRAME = 100,       // not a frame of this protocol, or cut
    TALLY_E_VERSION = 101,     // no common version
    TALLY_E_VERB = 102,        // unknown here
    TALLY_E_STATE = 103,       // say hello first
    TALLY_E_NAME = 104,        // a name breaks its rule
    TALLY_E_LIMIT = 105,       // longer, larger or more than allowed
    TALLY_E_OPTION = 106,      // option unknown or out of range
    TALLY_E_UNKNOWN = 107,     // no such queue, tenant, message, survey...
    TALLY_E_JSON = 108,        // not JSON, or not the JSON asked for
    TALLY_E_SEQUENCE = 109,    // outside the sender's window
    TALLY_E_STALE = 110,       // the lease or the epoch is no longer valid
    TALLY_E_REFUSED = 111,     // not allowed here
    TALLY_E_BUSY = 200,        // quota reached or the broker is full
    TALLY_E_AWAY = 201,        // PostgreSQL is away
    TALLY_E_INTERNAL = 300,
} tally_code_t;

//  The code's name in logs, JSON and the CLI: "FRAME", "BUSY"...; "?" for one we do not know.
const char *tally_code_name(int code);
const char *tally_verb_name(int verb);

//  ---- writing ----------------------------------------------------------------------------------

//  A growing buffer.  Zero-initialise; tally_wire_free() when done.  Out of memory aborts.
typedef struct {
    uint8_t *data;
    size_t size;
    size_t room;
} tally_wire_t;

void tally_wire_free(tally_wire_t *self);
void tally_wire_reset(tally_wire_t *self);    // keeps the memory
void tally_wire_put_u8(tally_wire_t *self, uint8_t value);
void tally_wire_put_u16(tally_wire_t *self, uint16_t value);
void tally_wire_put_u32(tally_wire_t *self, uint32_t value);
void tally_wire_put_u64(tally_wire_t *self, uint64_t value);
void tally_wire_put_raw(tally_wire_t *self, tally_bytes_t bytes);
void
tally_wire_put_str8(tally_wire_t *self, tally_bytes_t text);    // u8 length + bytes; asserts <= 255
void tally_wire_put_str16(tally_wire_t *self,
                          tally_bytes_t text);    // u16 length + bytes; asserts <= 65535
void tally_wire_put_body(tally_wire_t *self, tally_bytes_t body);    // u32 length + bytes
//  Overwrites two bytes already written: for counts known only at the end.
void tally_wire_set_u16(tally_wire_t *self, size_t at, uint16_t value);

//  Resets the buffer and starts a frame.
void tally_wire_start(tally_wire_t *self, tally_verb_t verb, uint64_t request);

//  ---- reading ----------------------------------------------------------------------------------

//  A cursor over one frame.  The first read beyond the end sets `bad` and yields zeros and empty runs
//  from then on, so a decoder checks once at its end.
typedef struct {
    const uint8_t *at;
    const uint8_t *end;
    bool bad;
} tally_cursor_t;

tally_cursor_t tally_cursor_of(tally_bytes_t bytes);
uint8_t tally_cursor_u8(tally_cursor_t *self);
uint16_t tally_cursor_u16(tally_cursor_t *self);
uint32_t tally_cursor_u32(tally_cursor_t *self);
uint64_t tally_cursor_u64(tally_cursor_t *self);
tally_bytes_t tally_cursor_str8(tally_cursor_t *self);
tally_bytes_t tally_cursor_str16(tally_cursor_t *self);
tally_bytes_t tally_cursor_body(tally_cursor_t *self);
tally_bytes_t tally_cursor_rest(tally_cursor_t *self);

//  What is wrong with a frame, ready to be answered.  code 0 means nothing is.
typedef struct {
    int code;            // tally_code_t
    uint16_t index;      // of the message in its batch, or TALLY_NO_INDEX
    const char *text;    // static; what was wrong and what to do
} tally_fault_t;

typedef struct {
    uint8_t version;
    uint8_t verb;        // any value; the caller decides which it takes
    uint64_t request;    // chosen by who asks, repeated in the answer; of a send, its sequence
} tally_head_t;

//  Reads the head and leaves the cursor behind it.
tally_fault_t
tally_head_read(tally_bytes_t frame, tally_head_t *head, tally_cursor_t *cursor) TALLY_MUST_CHECK;

//  Name rule of queues, tenants and workers.
bool tally_name_valid(tally_bytes_t name);

//  ---- hello / welcome --------------------------------------------------------------------------

typedef enum { TALLY_ROLE_CLIENT = 1, TALLY_ROLE_WORKER = 2 } tally_role_t;

#define TALLY_SENDER_BYTES 16

typedef struct {
    uint8_t role;    // tally_role_t
    uint8_t version_min, version_max;
    uint8_t
        sender[TALLY_SENDER_BYTES];    // who sends, over reconnections; all zero: choose one for me
    tally_bytes_t name;                // for people; name rule
    //  worker only
    uint16_t credit;        // 1..TALLY_CREDIT_MAX
    uint8_t queue_count;    // 1..TALLY_WORKER_QUEUES_MAX
    tally_bytes_t queues[TALLY_WORKER_QUEUES_MAX];
} tally_hello_t;

void tally_hello_write(tally_wire_t *wire, uint64_t request, const tally_hello_t *hello);
tally_fault_t tally_hello_read(tally_cursor_t cursor, tally_hello_t *hello) TALLY_MUST_CHECK;

typedef struct {
    uint8_t version;
    uint64_t broker_epoch;
    uint8_t sender[TALLY_SENDER_BYTES];
    uint64_t last_sequence;    // the highest this sender has had confirmed; start above
    uint32_t body_inline_max, blob_max, frame_max;
    uint16_t batch_max, send_window;
    uint16_t beat_ms, beats_missed_max;
    tally_bytes_t feed;    // endpoint
    //  worker only; empty and 0 for a client
    uint64_t worker;             // this connection's number; names it in every record
    tally_bytes_t lane, sink;    // endpoints
} tally_welcome_t;

void tally_welcome_write(tally_wire_t *wire, uint64_t request, const tally_welcome_t *welcome);
tally_fault_t tally_welcome_read(tally_cursor_t cursor, tally_welcome_t *welcome) TALLY_MUST_CHECK;

//  ---- send / confirm / result / error ----------------------------------------------------------

typedef enum {
    TALLY_HAS_KEY = 0x01,
    TALLY_HAS_PRIORITY = 0x02,
    TALLY_HAS_DELAY = 0x04,
    TALLY_HAS_DEDUPE = 0x08,
    TALLY_WANTS_RESULT = 0x10,    // ask
    TALLY_AS_BLOB = 0x20,
    TALLY_RELEASES = 0x40,    // opens the window of its queue and tenant until this message ends
} tally_option_t;

//  One message of a send; also what a client hands to the codec.
typedef struct {
    uint8_t options;      // tally_option_t, ored
    uint8_t priority;     // TALLY_PRIORITY_DEFAULT unless given
    uint64_t delay_ms;    // due that long after the broker took it
    tally_bytes_t key, dedupe, body;
} tally_item_t;

//  A send is one queue, one tenant, 1..TALLY_BATCH_MESSAGES_MAX messages: all taken or none.
typedef struct {
    tally_bytes_t queue, tenant;
    uint16_t count;
    tally_cursor_t items;    // read each with tally_item_read()
} tally_send_t;

void
tally_send_start(tally_wire_t *wire, uint64_t sequence, tally_bytes_t queue, tally_bytes_t tenant);
//  Appends and counts up; asserts the limits, which callers check first with tally_item_check().
void tally_send_add(tally_wire_t *wire, const tally_item_t *item);
tally_fault_t tally_item_check(const tally_item_t *item) TALLY_MUST_CHECK;
//  Checks everything, items included, so that reading the items afterwards cannot fail.
tally_fault_t tally_send_read(tally_cursor_t cursor, tally_send_t *send) TALLY_MUST_CHECK;
void tally_item_read(tally_cursor_t *items, tally_item_t *item);

typedef struct {
    bool repeated;    // known already: stored once, confirmed again; no ids
    uint16_t count;
    uint16_t duplicates;    // of them, dropped because of their dedupe key
    tally_cursor_t ids;     // count u64 each (0: duplicate), or none when repeated
} tally_confirm_t;

//  ids may be NULL with count messages confirmed when repeated.
void tally_confirm_write(tally_wire_t *wire, uint64_t sequence, const uint64_t *ids, uint16_t count,
                         uint16_t duplicates, bool repeated);
tally_fault_t tally_confirm_read(tally_cursor_t cursor, tally_confirm_t *confirm) TALLY_MUST_CHECK;

typedef enum {
    TALLY_RESULT_DONE = 1,
    TALLY_RESULT_BURIED = 2,
    TALLY_RESULT_DROPPED = 3
} tally_outcome_t;

//  The result of message `index` of the send with this sequence.
typedef struct {
    uint16_t index;
    uint8_t outcome;       // tally_outcome_t
    tally_bytes_t body;    // buried: the reason
} tally_result_t;

void tally_result_write(tally_wire_t *wire, uint64_t sequence, const tally_result_t *result);
tally_fault_t tally_result_read(tally_cursor_t cursor, tally_result_t *result) TALLY_MUST_CHECK;

typedef struct {
    uint16_t code;
    uint16_t index;
    uint32_t retry_after_ms;    // 0: do not
    tally_bytes_t text;
} tally_error_t;

void tally_error_write(tally_wire_t *wire, uint64_t request, const tally_error_t *error);
tally_fault_t tally_error_read(tally_cursor_t cursor, tally_error_t *error) TALLY_MUST_CHECK;

typedef struct {
    uint64_t lease, message;
} tally_fetch_t;

void tally_fetch_write(tally_wire_t *wire, uint64_t request, const tally_fetch_t *fetch);
tally_fault_t tally_fetch_read(tally_cursor_t cursor, tally_fetch_t *fetch) TALLY_MUST_CHECK;

//  ---- lane -------------------------------------------------------------------------------------

//  One lease: messages of one queue and tenant for one worker.
typedef struct {
    uint64_t lease;
    uint64_t epoch;         // of the term, 0 when the queue is not exclusive
    uint32_t visible_ms;    // from when the broker sent it
    tally_bytes_t queue, tenant;
    uint16_t count;
    tally_cursor_t items;    // read each with tally_delivered_read()
} tally_delivery_t;

typedef struct {
    uint64_t id;
    uint8_t options;        // TALLY_HAS_KEY, TALLY_WANTS_RESULT, TALLY_AS_BLOB (body is empty then)
    uint16_t deliveries;    // this one included
    uint16_t failures, crashes;
    tally_bytes_t key, body;
} tally_delivered_t;

void tally_delivery_start(tally_wire_t *wire,
                          const tally_delivery_t *delivery);    // count and items unused
void tally_delivery_add(tally_wire_t *wire, const tally_delivered_t *item);
tally_fault_t
tally_delivery_read(tally_cursor_t cursor, tally_delivery_t *delivery) TALLY_MUST_CHECK;
void tally_delivered_read(tally_cursor_t *items, tally_delivered_t *item);

typedef enum {
    TALLY_NOTICE_BEAT = 1,    // the broker lives and knows this worker; every beat_ms
    TALLY_NOTICE_TERM = 2,    // elected: queue, tenant, epoch
    TALLY_NOTICE_TERM_LOST = 3,
    TALLY_NOTICE_GONE =
        4,    // we took you for dead: what you held is no longer yours; say hello again
    TALLY_NOTICE_DRAIN = 5,    // finish what you hold, take no more, say goodbye
} tally_notice_kind_t;

typedef struct {
    uint8_t kind;
    uint64_t epoch;    // of the term; with a beat, the broker's
    tally_bytes_t queue, tenant;
} tally_notice_t;

void tally_notice_write(tally_wire_t *wire, const tally_notice_t *notice);
tally_fault_t tally_notice_read(tally_cursor_t cursor, tally_notice_t *notice) TALLY_MUST_CHECK;

//  ---- sink -------------------------------------------------------------------------------------

typedef enum {
    TALLY_RECORD_SETTLE = 1,
    TALLY_RECORD_RESULT = 2,    // settle of one message, with the result for who asked
    TALLY_RECORD_RETURN = 3,
    TALLY_RECORD_BURY = 4,
    TALLY_RECORD_EXTEND = 5,
    TALLY_RECORD_NOTE =
        6,    // settled by SQL already (tally.settle): forget it, look at inbox and results
    TALLY_RECORD_BEAT = 7,
    TALLY_RECORD_PUBLISH = 8,    // to the feed; no promise
} tally_record_kind_t;

typedef enum {
    TALLY_RETURN_FAILED = 0x01,    // counts a failure; without it nothing is counted
    TALLY_RETURN_DELAY =
        0x02,    // delay_ms given; else failed ones back off by policy, others are due at once
} tally_return_flag_t;

//  ids: count u64; count 0 means every message of the lease.
typedef struct {
    uint8_t kind;
    uint64_t lease;          // 0 for beat and publish
    uint8_t flags;           // return: tally_return_flag_t
    uint32_t delay_ms;       // return; extend: visible that long from now
    uint32_t outstanding;    // beat: messages held
    uint16_t count;
    tally_cursor_t ids;
    tally_bytes_t text;    // return, bury: why; publish: topic
    tally_bytes_t body;    // result, publish
} tally_record_t;

//  A frame of records from one worker.
typedef struct {
    uint64_t worker;
    uint16_t count;
    tally_cursor_t records;    // read each with tally_record_read()
} tally_records_t;

void tally_records_start(tally_wire_t *wire, uint64_t worker);
//  Appends one record; `ids` has record->count numbers (record->ids is not looked at).
void tally_records_add(tally_wire_t *wire, const tally_record_t *record, const uint64_t *ids);
//  Checks everything, so that reading the records afterwards cannot fail.
tally_fault_t tally_records_read(tally_cursor_t cursor, tally_records_t *records) TALLY_MUST_CHECK;
void tally_record_read(tally_cursor_t *records, tally_record_t *record);

#endif
