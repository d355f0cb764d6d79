// SPDX-License-Identifier: MIT
//  tally - the client library of Tally: send messages, ask for results, administrate, follow the
//  feed.
//
//  Manners (those of CLASS): objects are opaque; `new` makes one, `destroy(&p)` ends it and nulls
//  p, and may be called twice.  Calls return 0, or -1 and then tally_client_code() and
//  tally_client_text() say why. What is handed in is copied or encoded before the call returns.
//  What is handed out as const is borrowed until the next call on the same object.  Out of memory
//  aborts.
//
//  Threads: an object belongs to one thread at a time; there is none hidden behind it except
//  libzmq's own.  So confirmations are read, silence is noticed and the connection is made again
//  only inside calls: a program that has sends outstanding comes back with tally_client_next().
//
//  Times are milliseconds.  `timeout_ms`: -1 waits for ever, 0 does not wait.
//
//  The promise: a send that was confirmed is durable and will be worked; one that was refused did
//  not happen.  A send without an answer is repeated under its number, over new connections and
//  restarts of the broker, and is stored once however often it is repeated, as long as its client
//  object lives.

#ifndef TALLY_CLIENT_H
#define TALLY_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TALLY_CLIENT_SENDER_BYTES 16

//  What the broker or the library says went wrong.  The hundreds say what to do: 1xx the request is
//  wrong and stays so; 2xx not now, again after retry_after_ms; 3xx the broker's fault; 4xx said by
//  the library itself.
typedef enum {
    TALLY_CODE_NONE = 0,
    TALLY_CODE_FRAME = 100,
    TALLY_CODE_VERSION = 101,    // no common version of the protocol
    TALLY_CODE_VERB = 102,
    TALLY_CODE_STATE = 103,
    TALLY_CODE_NAME = 104,       // a name of queue, tenant or client breaks its rule
    TALLY_CODE_LIMIT = 105,      // longer, larger or more than allowed
    TALLY_CODE_OPTION = 106,     // an option is unknown or out of range
    TALLY_CODE_UNKNOWN = 107,    // there is no such queue, tenant, message, survey...
    TALLY_CODE_JSON = 108,
    TALLY_CODE_SEQUENCE = 109,    // outside the sender's window
    TALLY_CODE_STALE = 110,
    TALLY_CODE_REFUSED = 111,    // not allowed here
    TALLY_CODE_BUSY = 200,       // quota reached, or the broker is full
    TALLY_CODE_AWAY = 201,       // the broker has no database at the moment
    TALLY_CODE_INTERNAL = 300,
    TALLY_CODE_TIMEOUT = 400,        // the time is over; what was asked may still happen
    TALLY_CODE_UNREACHABLE = 401,    // the time is over and no broker answered
    TALLY_CODE_WINDOW = 402,         // too much outstanding: take events, then send
    TALLY_CODE_ENDPOINT = 403,       // not an endpoint
    TALLY_CODE_KEYS = 405,           // a key file is missing, wrong, or readable by others
    TALLY_CODE_ANSWER = 404,         // the broker's answer breaks the protocol
} tally_code_number_t;

//  "BUSY", "TIMEOUT"...; "?" for an unknown one.
const char *tally_client_code_name(int code);

//  ---- the client --------------------------------------------------------------------------------

typedef struct tally_client tally_client_t;

//  `endpoints`: one front of a broker or several, comma separated, tried in turn:
//  "ipc:///run/tally/front" or "tcp://a:5770,tcp://b:5770".  Connects with the first call that
//  needs it.  NULL when the process has no resources for a context (errno says which).
tally_client_t *tally_client_new(const char *endpoints);
//  Forgets what is unconfirmed; call tally_client_flush() before where that matters.  Takes 100 ms
//  at most.
void tally_client_destroy(tally_client_t **self_p);

//  Settings, before the first call that connects.

//  For people, shown by the broker: 1 to 64 of a-z 0-9 . _ - with a letter or digit first.
//  "client" otherwise.
int tally_client_set_name(tally_client_t *self, const char *name);
//  Who sends, over reconnections and restarts of this program; random otherwise.  Only one program
//  may use a sender at a time.
void tally_client_set_sender(tally_client_t *self, const uint8_t sender[TALLY_CLIENT_SENDER_BYTES]);
//  The number of the first send.  Otherwise it is the one above all that the broker took of this
//  sender.  For a program that comes back with its sender and repeats what it had sent from there
//  on: the same sends in the same order, at most 1024 back; what was stored is confirmed as
//  repeated, and asks have their results again.
void tally_client_set_first(tally_client_t *self, uint64_t sequence);
//  Sends that may be outstanding, 1 to 1024 (the default), and no more than the broker allows.
void tally_client_set_window(tally_client_t *self, unsigned sends);
//  Silence after which a new connection is made while an answer is due; 1 000 otherwise.  Doubles
//  up to 8 times while nothing is heard at any endpoint.
void tally_client_set_silence(tally_client_t *self, unsigned silence_ms);
//  Whether a refusal with BUSY or AWAY is tried again after its retry_after_ms (true, the default),
//  or becomes an event like others.  Sends behind one that waits are not held up: the order of
//  sends in flight is kept only while none of them is refused.
void tally_client_set_retry(tally_client_t *self, bool retry);

//  CURVE, as a broker that listens on a network wants it.  `key`: the file with our key pair, as `tally key new` writes
//  it, readable by its owner alone.  `server_keys`: the file with the broker's public key, or several, comma separated,
//  which are tried in turn (a broker that changes its key).  -1 with KEYS when they cannot be used.
int tally_client_set_keys(tally_client_t *self, const char *key, const char *server_keys);

//  Connects and says hello.  Not needed before other calls, which do so themselves.
int tally_client_connect(tally_client_t *self, int timeout_ms);

//  ---- sending -----------------------------------------------------------------------------------

typedef enum {
    TALLY_MESSAGE_ASK = 0x01,     // a result is wanted: comes as TALLY_EVENT_RESULT
    TALLY_MESSAGE_BLOB = 0x02,    // stored beside the queue; a must above the inline limit (64 KiB)
    TALLY_MESSAGE_RELEASES =
        0x04,    // opens the window of its queue for this tenant until this message ends
    TALLY_MESSAGE_PRIORITY = 0x08,    // `priority` counts; without it the default, 1
} tally_message_flag_t;

//  One message; zero-initialise and fill in what is wanted.
typedef struct {
    const void *body;
    size_t body_bytes;
    const void *key;        // messages of one key are worked one at a time, in order; 0 bytes: none
    size_t key_bytes;       // up to 200
    const void *dedupe;     // taken once per queue and tenant, from whomever; 0 bytes: none
    size_t dedupe_bytes;    // up to 200
    uint64_t delay_ms;      // due that long after the broker took it
    unsigned flags;         // tally_message_flag_t, ored
    unsigned priority;      // 0 lowest .. 3 highest
} tally_message_t;

//  Puts `count` messages (1 to 1 000, all taken or none) into the window and on their way;
//  *sequence (may be NULL) names the send in its events.  Waits only for the connection.  -1:
//  nothing was taken; WINDOW means that events are to be taken first.
int tally_client_send(tally_client_t *self, const char *queue, const char *tenant,
                      const tally_message_t *messages, size_t count, int timeout_ms,
                      uint64_t *sequence);

typedef enum {
    TALLY_EVENT_CONFIRMED = 1,
    TALLY_EVENT_REFUSED = 2,
    TALLY_EVENT_RESULT =
        3,    // one for each message sent with TALLY_MESSAGE_ASK, after its confirm
} tally_event_kind_t;

typedef enum {
    TALLY_OUTCOME_DONE = 1,
    TALLY_OUTCOME_BURIED = 2,     // the body is the reason
    TALLY_OUTCOME_DROPPED = 3,    // by an operator
} tally_event_outcome_t;

//  What became of a send.  Pointers are borrowed until the next call on the client.
typedef struct {
    tally_event_kind_t kind;
    uint64_t sequence;
    //  confirmed
    bool repeated;          // it had been stored before; then there are no ids
    unsigned count;         // messages of the send
    unsigned duplicates;    // of them, not stored because of their dedupe key
    const uint64_t *ids;    // count numbers, 0 for a duplicate; NULL when repeated
    //  refused
    int code;
    const char *text;    // for people; "" otherwise
    unsigned retry_after_ms;
    //  refused and result: which message of the send, -1 when it is all of them
    int index;
    //  result
    tally_event_outcome_t outcome;
    const void *body;
    size_t body_bytes;
} tally_event_t;

//  The next event.  -1 with TIMEOUT or UNREACHABLE when there is none in time (calling again is
//  right), or with the code with which the broker refused our hello (calling again tries again).
int tally_client_next(tally_client_t *self, int timeout_ms, tally_event_t *event);

//  For a loop of one's own: a descriptor that becomes readable when something may have come.  It tells of
//  changes alone: before each wait call tally_client_next() with a timeout of 0 until there is nothing more,
//  and wait no longer than 100 ms, because the client repeats, and notices a silence, only when called.  Ask
//  for it before each wait, a new connection has another; -1 while there is none.
int tally_client_fd(const tally_client_t *self);

//  Waits until this send is confirmed or refused; other events stay for tally_client_next.  0 when
//  confirmed.  -1 when it was refused (code and text say why; *event too), or when the time is
//  over, and then it is still on its way: wait again, or forget it.  `event` may be NULL.
int
tally_client_wait(tally_client_t *self, uint64_t sequence, int timeout_ms, tally_event_t *event);

//  Waits until nothing is unconfirmed; events stay for tally_client_next.
int tally_client_flush(tally_client_t *self, int timeout_ms);

//  Gives a send up: it is not repeated and has no more events.  The broker may have taken it.
void tally_client_forget(tally_client_t *self, uint64_t sequence);

//  Sends and waits.  When the time is over the send is given up and *may* have been taken; where
//  that matters use tally_client_send and tally_client_wait, or a dedupe key.  `event` may be NULL.
int tally_client_send_wait(tally_client_t *self, const char *queue, const char *tenant,
                           const tally_message_t *messages, size_t count, int timeout_ms,
                           tally_event_t *event);

//  Sends one message (as TALLY_MESSAGE_ASK) and waits for its result: 0 with *event a result, whose
//  outcome may also be that it was buried.  -1 as tally_client_send_wait.
int tally_client_ask(tally_client_t *self, const char *queue, const char *tenant,
                     const tally_message_t *message, int timeout_ms, tally_event_t *event);

//  One administrative request, JSON in and JSON out: {"op":"status"}.  NULL when there is no
//  answer; an answer may itself be {"ok":false,...}.
const char *tally_client_admin(tally_client_t *self, const char *json, int timeout_ms);

//  ---- what it knows -----------------------------------------------------------------------------

//  Of the last call that returned -1 or NULL.
int tally_client_code(const tally_client_t *self);
const char *tally_client_text(const tally_client_t *self);
unsigned tally_client_retry_after_ms(const tally_client_t *self);

size_t tally_client_unconfirmed(const tally_client_t *self);
//  Asks that are confirmed and have results to come.
size_t tally_client_unanswered(const tally_client_t *self);
//  Connections made after the first; a program may show it.
unsigned tally_client_reconnects(const tally_client_t *self);
//  Who we are (TALLY_CLIENT_SENDER_BYTES bytes).
const uint8_t *tally_client_sender(const tally_client_t *self);

//  From the broker's welcome; connect first: NULL or 0 before.
const char *tally_client_feed_endpoint(const tally_client_t *self);
uint64_t tally_client_broker_epoch(const tally_client_t *self);
unsigned tally_client_batch_max(const tally_client_t *self);
size_t tally_client_body_inline_max(const tally_client_t *self);
//  Messages up to this much together, in bytes of a send's frame.
size_t tally_client_frame_max(const tally_client_t *self);

//  ---- the feed ----------------------------------------------------------------------------------

//  What happens in the broker, as it happens.  Not a record: who was not listening has missed it,
//  and the snapshots that follow each second say what holds.
typedef struct tally_feed tally_feed_t;

typedef struct {
    const char *topic;    // "queue.responses"
    const char *json;     // an object
    size_t json_bytes;
    uint64_t lost;    // publications of this feed that we missed before this one
} tally_publication_t;

//  `endpoints` as tally_client_feed_endpoint() gives it, or those of several brokers, comma separated.
//  NULL: one of them is not an endpoint, or no resources (errno).
tally_feed_t *tally_feed_new(const char *endpoints);
//  The feed that the client's broker named in its welcome (connect first), with the client's keys; it does not need the
//  client any more.  NULL: the broker has none for this key (ENOENT), or no resources.
tally_feed_t *tally_client_open_feed(tally_client_t *client);
void tally_feed_destroy(tally_feed_t **self_p);
//  Listens there, too, unless it does: another broker took over.  What a broker publishes that was
//  replaced is passed over.  -1: it is not an endpoint.
int tally_feed_follow(tally_feed_t *self, const char *endpoint);
//  All topics that begin so; "" for all.  Nothing comes without.
int tally_feed_subscribe(tally_feed_t *self, const char *topic);
//  0 with a publication, borrowed until the next call; -1 when there is none in time, or a signal
//  came (EINTR).
int tally_feed_next(tally_feed_t *self, int timeout_ms, tally_publication_t *publication);

#ifdef __cplusplus
}
#endif

#endif
