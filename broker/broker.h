// SPDX-License-Identifier: MIT
//  broker - the shell around the core: sockets, PostgreSQL, clock; one thread, one loop.
//
//  Only the files of the shell include this header (tallyd, loop, front, sink, crew sockets, publish, recovery, admin,
//  snapshot).  Its rule: a frame comes in, is kept as an input, and is given to the core; the core's plan becomes a
//  transaction; what the plan says is told when COMMIT is known good.  Every decision about messages is the core's;
//  here is only how to hear and how to tell.

#ifndef TALLY_BROKER_H
#define TALLY_BROKER_H

#include <czmq.h>
#include <jansson.h>

#include "broker/broadcast.h"
#include "broker/caller.h"
#include "broker/core.h"
#include "broker/door.h"
#include "broker/lane.h"
#include "broker/lobby.h"
#include "broker/meter.h"
#include "broker/quota.h"
#include "broker/reader.h"
#include "broker/recover_store.h"
#include "broker/tick_store.h"
#include "lib/owner.h"

//  What the outside fixed at start; borrowed from the configuration.
typedef struct {
    const char *front, *sink, *feed, *lanes;    // endpoints; lanes: a pattern, see lane.h
    //  What others are told to connect to instead; NULL: where it is bound.
    const char *advertise_sink, *advertise_feed, *advertise_lanes;
    const char *feeds;    // a pattern as well: tenants' own feeds; NULL: none
    const char *advertise_feeds;
    bool curve;              // on every listener
    const char *key;         // file of our key pair; NULL: systemd's credential
    const char *db;          // conninfo
    const char *instance;    // for people: who holds the epoch
    size_t body_cache_bytes_max;
    bool allow_unsafe;    // fsync off is taken, for tests
    bool stand_by;        // wait while another broker is active
} tally_broker_options_t;

//  So many inputs of one plan; then frames stay in their sockets.
#define TALLY_PLAN_INPUTS_MAX 8192

//  A frame that a plan may still need: fed again when the plan's transaction is lost.
typedef struct {
    bool is_send;                          // else records
    bool ends;                             // of those one that ended something
    uint8_t sender[TALLY_SENDER_BYTES];    // of a send
    tally_chunk_t *chunk;                  // the whole frame; one reference
} tally_input_t;

typedef TALLY_ARRAY(tally_input_t) tally_inputs_t;

//  An admin request whose answer waits for the plan it went into.
typedef struct {
    uint64_t route, request;
    json_t *answer;     // owned; completed when the plan is committed
    bool counts;        // of dead letters: the answer says how many there were
    bool dead_retry;    // else dropped
    uint64_t *dead;     // their ids; owned
    size_t dead_count;
    int64_t audit;    // what the audit record calls it; 0: it is not in there
} tally_asked_t;

typedef TALLY_ARRAY(tally_asked_t) tally_asked_list_t;

//  A worker process: its lane, and the hello that made it.
typedef struct {
    uint64_t number, route;
    char key[TALLY_KEY_TEXT_BYTES + 1];    // its connection's; "" without CURVE
    tally_lane_t *lane;
    tally_hello_t hello;    // name and queues point into `frame`
    tally_chunk_t *frame;
    bool joined;    // known to the core
    bool doomed;    // to be removed when the loop is back at its top
    int64_t since_ms;
} tally_peer_t;

typedef enum { TALLY_SERVING = 1, TALLY_AWAY, TALLY_REPLACED } tally_broker_state_t;

//  What became of the ticks, since the start; what they cost is in the meter.
typedef struct {
    uint64_t silent, retried, unknown_found, unknown_lost, rejected;
    uint64_t frames_refused, replies_lost;
} tally_tick_counters_t;

typedef struct {
    tally_broker_options_t options;
    tally_broker_state_t state;
    uint64_t epoch;
    int64_t now_ms, started_ms, active_since_ms;

    tally_owner_t owner;    // the loop's thread, of all sockets
    zsock_t *front, *sink;
    bool sink_inside;                        // within a multipart, which the protocol does not have
    char *front_endpoint, *sink_endpoint;    // as bound
    tally_broadcast_t *feed;
    tally_reader_t *reader;
    tally_door_t *door;
    uint64_t door_losses;    // as last looked after
    tally_quota_t *quota;
    int epoll;

    tally_core_t *core;
    tally_plan_t *plan;    // under way; NULL: none
    int64_t plan_since_ms;
    tally_tick_store_t *ticks;
    tally_recover_store_t *recovery;
    tally_inputs_t collecting, under_way;
    tally_inputs_t owed;    // records of committed plans that left ends to later ones
    tally_asked_list_t asked_collecting, asked_under_way;
    int64_t passed_ns;        // when the phase of the tick that is going on began
    tally_inputs_t again;     // of lost ticks, to be fed before any new frame
    size_t again_at;          // the next of them
    size_t feed_again_max;    // so many a tick, while a rejected one is searched; 0: all
    int64_t reconnect_at_ms;
    int reconnect_attempt;
    int64_t away_since_ms, tick_since_ms;
    tally_db_outcome_t lost_outcome;    // of the tick that brought us here
    bool fatal;                         // end the process, see the log

    tally_callers_t *callers;
    //  Who may have something for us: looking into a socket that has not costs three system calls.  Set when its
    //  descriptor says so, and when we used it ourselves, since that may swallow what the descriptor would have said.
    //  Cleared only by having found it empty.
    struct {
        bool front, sink, readers;
    } looks;
    tally_lobby_t *lobby;
    bool lobby_moves;    // something may have found a place since it was last looked at
    TALLY_ARRAY(tally_peer_t *) peers;    // worker processes
    uint64_t last_worker;                 // number given out

    tally_wire_t wire;    // for whatever is written now
    tally_tick_counters_t counters;
    tally_meter_t *meter;
    json_t *standbys;    // array, as last read
    int64_t standbys_at_ms;
    json_t *oldest_snapshot;    // who holds it, as last read; null: nobody
    int64_t snapshot_told_ms;
    json_t *dead_counts;    // queue id -> dead letters, as last read
    bool dead_changed;
    int64_t listened_ms;     // when the sink was last seen empty: beats may wait in it since
    size_t snapshot_next;    // of the round
    int64_t snapshot_at_ms, inbox_at_ms, housekeep_at_ms, beat_at_ms;
    uint64_t rows_loaded;
    int64_t place_at_ms;    // when PostgreSQL is to hear from us again, for who stands by
} tally_broker_t;

//  ---- loop.c ----
int tally_broker_run(tally_broker_t *self, int stop_fd);    // until stop_fd is readable; exit code
void tally_broker_watch(tally_broker_t *self, int fd, void *what);    // epoll, readable
void tally_broker_unwatch(tally_broker_t *self, int fd);
void
tally_inputs_clear(tally_inputs_t *inputs, size_t from);    // drops those from there on, empties
//  What went into the plan being collected.  ends: something ends by one of these records.
void tally_broker_keep_send(tally_broker_t *self, const uint8_t *sender, tally_chunk_t *chunk);
void tally_broker_keep_records(tally_broker_t *self, bool ends, tally_chunk_t *chunk);

//  ---- front.c: frames of the ROUTER ----
//  Takes at most so many frames, those that waited first; false when the socket is empty.
bool tally_front_turn(tally_broker_t *self, size_t frames_max);
//  Sends self->wire to a route; a peer that is gone or full loses it (it asks again).
void tally_front_answer(tally_broker_t *self, uint64_t route);
//  Nobody is reached on this route any more.
void tally_front_gone(tally_broker_t *self, uint64_t route);
void tally_front_refuse(tally_broker_t *self, uint64_t route, uint64_t request, tally_fault_t fault,
                        uint32_t retry_after_ms);
void tally_front_reply(tally_broker_t *self, uint64_t route, uint64_t request,
                       json_t *reply);    // takes it
//  For this caller: what both kinds of peers are told.
void tally_front_fill_welcome(const tally_broker_t *self, const tally_caller_t *caller,
                              tally_welcome_t *welcome);
//  Callers whose keys are not valid any more are forgotten.
void tally_front_sweep(tally_broker_t *self);
//  One send that was taken before, in a chunk of its own; the answer goes to where its sender calls from.
void tally_front_send(tally_broker_t *self, const uint8_t *sender, tally_chunk_t *chunk);
//  Asks the reader; what it finds goes to whoever of this sender is connected.
void tally_front_look_for_result(tally_broker_t *self, const tally_asker_t *asker);
//  Hands a result to whoever of this sender is connected.
void tally_front_result(tally_broker_t *self, const tally_asker_t *asker, uint8_t outcome,
                        tally_bytes_t body);
void tally_front_read(tally_broker_t *self, tally_read_t **read_p);    // an answer of the reader

//  ---- front_quota.c: code 0, or BUSY and when to come back ----
tally_fault_t tally_front_take_send(tally_broker_t *self, const tally_send_t *send,
                                    uint32_t *retry_after_ms) TALLY_MUST_CHECK;
tally_fault_t tally_front_take_request(tally_broker_t *self, const tally_principal_t *who,
                                       uint32_t *retry_after_ms) TALLY_MUST_CHECK;
//  Before a caller is made; then it is counted.
tally_fault_t
tally_front_take_connection(tally_broker_t *self, const tally_principal_t *who, uint64_t route,
                            const uint8_t *sender, uint32_t *retry_after_ms) TALLY_MUST_CHECK;
void tally_front_count_connection(tally_broker_t *self, const tally_principal_t *who,
                                  tally_caller_t *caller);

//  ---- peers.c: workers' processes and the sink ----
void tally_peers_hello(tally_broker_t *self, tally_caller_t *caller, uint64_t request,
                       tally_chunk_t *frame);
//  Its key is recorded, or not: the answer to its hello.
void tally_peers_recorded(tally_broker_t *self, const tally_read_t *read);
//  Does this worker, or whoever holds this lease, have that key?
bool tally_peers_own(const tally_broker_t *self, uint64_t number, const char *key);
void tally_peers_goodbye(tally_broker_t *self, uint64_t route);
void tally_peers_look(tally_broker_t *self, tally_peer_t *peer);    // its lane's fd was readable
tally_peer_t *tally_peers_find(const tally_broker_t *self, uint64_t number);
void tally_peers_notice(tally_broker_t *self, tally_peer_t *peer, const tally_notice_t *notice);
void tally_peers_beat(tally_broker_t *self);      // to all of them
void tally_peers_sweep(tally_broker_t *self);     // removes the doomed and the never connected
void tally_peers_rejoin(tally_broker_t *self);    // after the core was made anew
void tally_peers_destroy(tally_broker_t *self);
bool tally_sink_turn(tally_broker_t *self, size_t frames_max);
//  Records that were taken before are fed again.
void tally_sink_take_again(tally_broker_t *self, const tally_chunk_t *chunk);
//  Whether what they say did not all come true yet.
bool tally_sink_awaits(const tally_broker_t *self, const tally_chunk_t *chunk);
//  Leases that reached nobody go back as if they had never been given.  An input like any other: fed
//  again when the tick that returns them is lost.
void tally_sink_give_back(tally_broker_t *self, const tally_plan_lease_t *leases, size_t count);

//  ---- publish.c: what a committed plan says ----
void tally_publish(tally_broker_t *self, tally_plan_t *plan);

//  ---- standby.c ----
typedef enum {
    TALLY_STANDBY_GO = 0,
    TALLY_STANDBY_STOPPED,
    TALLY_STANDBY_REFUSED
} tally_standby_end_t;
//  Until the place of the active broker is to be had.  *silent: the epoch of one that has it and says nothing, else 0.
tally_standby_end_t
tally_standby_wait(const tally_broker_options_t *options, int stop_fd, uint64_t *silent);

//  ---- recovery.c ----
//  Can this build work with this database?  0, or an exit code (the log says why).
int tally_recovery_check(tally_broker_t *self);
#define TALLY_RECOVERY_TAKEN (-1)    // another broker was faster: stand by again
//  Connects, takes the place and the epoch, loads.  0, TALLY_RECOVERY_TAKEN, or an exit code (the log says why).
//  silent: the epoch of the broker whose sessions are to be ended first; 0: the place is free.
int tally_recovery_start(tally_broker_t *self, uint64_t silent);
void
tally_recovery_lost(tally_broker_t *self, tally_db_outcome_t outcome);    // a tick did not end well
void tally_recovery_cut(tally_broker_t *self);    // the connection was lost between ticks
void tally_recovery_try(tally_broker_t *self);    // when reconnect_at_ms has come
//  Feeds what lost ticks left; false while some is still to come, and no new frame may be taken.
bool tally_recovery_feed(tally_broker_t *self);
//  We have not heard of PostgreSQL for so long that who stands by may have taken over.
bool tally_recovery_doubtful(const tally_broker_t *self);

//  ---- admin.c ----
void tally_admin(tally_broker_t *self, const tally_caller_t *caller, const tally_principal_t *who,
                 uint64_t request, tally_bytes_t text);
void tally_admin_read(tally_broker_t *self, tally_read_t *read);    // dead letters for people
void tally_admin_committed(tally_broker_t *self, const tally_tick_result_t *result);
void tally_admin_clear(tally_broker_t *self, tally_asked_list_t *list, const char *why);

//  ---- snapshot.c ----
json_t *tally_snapshot_status(tally_broker_t *self);
json_t *tally_snapshot_queue(tally_broker_t *self, const tally_queue_row_t *row);
json_t *tally_snapshot_tenant(tally_broker_t *self, const tally_tenant_row_t *row);
json_t *tally_snapshot_workers(tally_broker_t *self);
//  The next topics of a round over all, or its first; false when it is over.  A few at a time: there may be 100 000
//  tenants, and each takes 10 us.
bool tally_snapshot_publish(tally_broker_t *self);
void
tally_snapshot_standbys(tally_broker_t *self, tally_read_t *read);       // an answer of the reader
void tally_snapshot_oldest(tally_broker_t *self, tally_read_t *read);    // likewise

#endif
