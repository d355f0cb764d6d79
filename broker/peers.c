// SPDX-License-Identifier: MIT
//  peers - worker processes: their hello, their lanes, their beats, and the sink they all push to.
//
//  A worker is known to the core from the moment it is connected to its lane until the lane closes, it says goodbye or
//  its beats stop.  What it held is the core's business.

#include <assert.h>
#include <inttypes.h>

#include "broker/broker.h"
#include "broker/gate.h"
#include "broker/rights.h"
#include "lib/alloc.h"
#include "lib/failpoint.h"
#include "lib/json.h"
#include "lib/log.h"

#define CONNECT_MS 5000    // from the welcome until its lane must be connected

tally_peer_t *
tally_peers_find(const tally_broker_t *self, uint64_t number)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->number == number) {
            return self->peers.items[i];
        }
    }
    return NULL;
}

static void
destroy_peer(tally_broker_t *self, tally_peer_t **peer_p)
{
    tally_peer_t *peer = *peer_p;
    if (peer->lane != NULL) {
        tally_broker_unwatch(self, tally_lane_fd(peer->lane));
        tally_lane_destroy(&peer->lane);
    }
    tally_chunk_drop(&peer->frame);
    free(peer);
    *peer_p = NULL;
}

static void
leave(tally_broker_t *self, tally_peer_t *peer, tally_gone_t how, const char *why)
{
    if (peer->doomed) {
        return;
    }
    peer->doomed = true;
    if (peer->joined) {
        tally_core_worker_gone(self->core, peer->number, how, self->now_ms);
        TALLY_FAILPOINT(WORKER_GONE);
    }
    tally_log_info("worker left: %s  worker=%.*s number=%" PRIu64, why, (int)peer->hello.name.size,
                   (const char *)peer->hello.name.data, peer->number);
}

static void
write_welcome(tally_broker_t *self, uint64_t request, const tally_caller_t *caller,
              const tally_peer_t *peer)
{
    bool elsewhere = self->options.advertise_sink != NULL;
    tally_welcome_t welcome = {.worker = peer->number,
                               .lane = tally_bytes_of(tally_lane_endpoint(peer->lane)),
                               .sink = tally_bytes_of(elsewhere ? self->options.advertise_sink
                                                                : self->sink_endpoint)};
    tally_front_fill_welcome(self, caller, &welcome);
    tally_welcome_write(&self->wire, request, &welcome);
    tally_front_answer(self, peer->route);
}

//  What the core would refuse later is refused now, while somebody waits for the answer.
static tally_fault_t
check_hello(const tally_broker_t *self, const tally_hello_t *hello)
{
    tally_fault_t fault = {.index = TALLY_NO_INDEX};
    if (self->peers.count >= TALLY_WORKERS_MAX) {
        fault.code = TALLY_E_BUSY;
        fault.text = "too many workers are connected";
    }
    for (uint8_t i = 0; i < hello->queue_count && fault.code == 0; i++) {
        if (tally_core_queue_find(self->core, hello->queues[i]) == NULL) {
            fault.code = TALLY_E_UNKNOWN;
            fault.index = i;
            fault.text = TALLY_TEXT_NO_QUEUE;
        }
    }
    return fault;
}

//  A lane is the worker's alone: nobody with another key gets through its handshake.
static tally_lane_t *
open_lane(tally_broker_t *self, const tally_peer_t *peer)
{
    return tally_lane_new(self->options.lanes, self->options.advertise_lanes, peer->number,
                          peer->hello.credit,
                          tally_door_curve(self->door, TALLY_DOMAIN_LANE, peer->key));
}

static void
refuse_unrecorded(tally_broker_t *self, tally_peer_t *peer, uint64_t request)
{
    const tally_fault_t fault = {TALLY_E_AWAY, TALLY_NO_INDEX,
                                 "PostgreSQL is away; say hello again later"};
    tally_front_refuse(self, peer->route, request, fault, 1000);
    leave(self, peer, TALLY_GONE_GOODBYE, "its key could not be recorded");
}

//  Whose number it is must be known to a broker after us before it is given a lease.
static void
record_key(tally_broker_t *self, tally_peer_t *peer, uint64_t request)
{
    tally_read_t *read = tally_read_new(TALLY_READ_WORKER);
    read->worker = peer->number;
    read->route = peer->route;
    read->request = request;
    memcpy(read->key, peer->key, sizeof read->key);
    if (tally_reader_ask(tally_door_reader(self->door), &read) == -1) {
        tally_read_destroy(&read);
        refuse_unrecorded(self, peer, request);
    }
}

void
tally_peers_hello(tally_broker_t *self, tally_caller_t *caller, uint64_t request,
                  tally_chunk_t *frame)
{
    TALLY_FAILPOINT(WORKER_HELLO);
    uint64_t route = caller->route;
    tally_peer_t *peer = tally_alloc(sizeof *peer);
    peer->frame = tally_chunk_hold(frame);
    peer->route = route;
    peer->since_ms = self->now_ms;
    memcpy(peer->key, caller->key, sizeof peer->key);
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    fault = tally_hello_read(cursor, &peer->hello);
    assert(fault.code == 0);    // the front has read it before

    fault = check_hello(self, &peer->hello);
    if (fault.code == 0) {
        peer->number = ++self->last_worker;
        peer->lane = open_lane(self, peer);
        if (peer->lane == NULL) {
            fault = (tally_fault_t){TALLY_E_INTERNAL, TALLY_NO_INDEX,
                                    "no lane could be bound; see the broker's log"};
        }
    }
    if (fault.code != 0) {
        tally_front_refuse(self, route, request, fault, fault.code == TALLY_E_BUSY ? 1000 : 0);
        destroy_peer(self, &peer);
        return;
    }
    tally_peers_goodbye(self,
                        route);    // the same connection said hello before: that worker is over
    caller->worker = peer->number;
    *TALLY_PUSH(&self->peers) = peer;
    tally_broker_watch(self, tally_lane_fd(peer->lane), peer);
    if (tally_door_locked(self->door)) {
        record_key(self, peer, request);    // tally_peers_recorded goes on
        return;
    }
    write_welcome(self, request, caller, peer);
    TALLY_FAILPOINT(WORKER_WELCOMED);
    tally_peers_look(self, peer);
}

void
tally_peers_recorded(tally_broker_t *self, const tally_read_t *read)
{
    tally_peer_t *peer = tally_peers_find(self, read->worker);
    const tally_caller_t *caller = tally_callers_find(self->callers, read->route);
    if (peer == NULL || peer->doomed || caller == NULL || caller->worker != peer->number) {
        return;    // gone, or it said hello again meanwhile
    }
    if (read->database != TALLY_DB_DONE) {
        refuse_unrecorded(self, peer, read->request);
        return;
    }
    write_welcome(self, read->request, caller, peer);
    TALLY_FAILPOINT(WORKER_WELCOMED);
    tally_peers_look(self, peer);
}

void
tally_peers_goodbye(tally_broker_t *self, uint64_t route)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->route == route) {
            leave(self, self->peers.items[i], TALLY_GONE_GOODBYE, "goodbye");
        }
    }
}

static void
join(tally_broker_t *self, tally_peer_t *peer)
{
    tally_fault_t fault = {0};
    uint64_t number = tally_core_worker_join(self->core, peer->number, &peer->hello, &fault,
                                             self->now_ms);
    if (number == 0) {
        leave(self, peer, TALLY_GONE_GOODBYE, fault.text);
        return;
    }
    assert(number == peer->number);
    peer->joined = true;
    TALLY_FAILPOINT(WORKER_JOINED);
}

void
tally_peers_look(tally_broker_t *self, tally_peer_t *peer)
{
    tally_lane_state_t state = tally_lane_look(peer->lane);
    if (state == TALLY_LANE_OPEN && !peer->joined && !peer->doomed) {
        join(self, peer);
        tally_log_info("worker joined  worker=%.*s number=%" PRIu64 " credit=%u",
                       (int)peer->hello.name.size, (const char *)peer->hello.name.data,
                       peer->number, peer->hello.credit);
    } else if (state == TALLY_LANE_CLOSED) {
        //  Who left because we were silent did not die of its work.
        bool ours = tally_recovery_doubtful(self);
        leave(self, peer, ours ? TALLY_GONE_GOODBYE : TALLY_GONE_DEAD, "its lane closed");
    }
}

void
tally_peers_notice(tally_broker_t *self, tally_peer_t *peer, const tally_notice_t *notice)
{
    tally_notice_write(&self->wire, notice);
    //  Lost when the lane is full or closed: a worker that hears nothing says hello again.
    if (tally_lane_send(peer->lane, (tally_bytes_t){self->wire.data, self->wire.size}) == -1) {
        self->counters.replies_lost++;
    }
    if (notice->kind == TALLY_NOTICE_GONE) {
        leave(self, peer, TALLY_GONE_DEAD, "its beats stopped");
    }
}

void
tally_peers_beat(tally_broker_t *self)
{
    if (tally_recovery_doubtful(self)) {
        return;    // workers that know another broker look for it
    }
    const tally_notice_t beat = {.kind = TALLY_NOTICE_BEAT, .epoch = self->epoch};
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->joined && !self->peers.items[i]->doomed) {
            tally_peers_notice(self, self->peers.items[i], &beat);
        }
    }
}

void
tally_peers_sweep(tally_broker_t *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->peers.count; i++) {
        tally_peer_t *peer = self->peers.items[i];
        if (tally_door_of_key(self->door, peer->key, self->now_ms) == NULL) {
            leave(self, peer, TALLY_GONE_DEAD, "its key is not valid any more");
        }
        if (!peer->joined && self->now_ms - peer->since_ms > CONNECT_MS) {
            leave(self, peer, TALLY_GONE_DEAD, "it did not connect to its lane");
        }
        if (peer->doomed) {
            destroy_peer(self, &peer);
        } else {
            self->peers.items[kept++] = peer;
        }
    }
    self->peers.count = kept;
}

void
tally_peers_rejoin(tally_broker_t *self)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->joined && !self->peers.items[i]->doomed) {
            join(self, self->peers.items[i]);
        }
    }
}

void
tally_peers_destroy(tally_broker_t *self)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        destroy_peer(self, &self->peers.items[i]);
    }
    free(self->peers.items);
    self->peers.items = NULL;
    self->peers.count = 0;
}

//  ---- sink -----------------------------------------------------------------------------------------------

//  Topics of the broker's own are not for workers.
static bool
may_publish(tally_bytes_t topic)
{
    static const char *const reserved[] = {"broker", "queue.", "tenant.", "worker.", "term."};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++) {
        size_t size = strlen(reserved[i]);
        if (topic.size >= size && memcmp(topic.data, reserved[i], size) == 0) {
            return false;
        }
    }
    return topic.size > 0;
}

static void
publish_record(tally_broker_t *self, const tally_record_t *record)
{
    json_t *object = may_publish(record->text)
                         ? tally_json_load(record->body, TALLY_FRAME_BYTES_MAX, TALLY_JSON_MADE,
                                           NULL)
                         : NULL;
    if (!json_is_object(object)) {
        json_decref(object);
        self->counters.frames_refused++;
        return;
    }
    tally_broadcast_publish(self->feed, record->text, object);
}

bool
tally_peers_own(const tally_broker_t *self, uint64_t number, const char *key)
{
    if (!tally_door_locked(self->door)) {
        return true;    // the token decides, whoever brings it
    }
    const tally_peer_t *peer = tally_peers_find(self, number);
    const char *owner = peer != NULL ? peer->key : tally_door_former(self->door, number);
    return owner != NULL && strcmp(owner, key) == 0;
}

//  The worker that speaks, and the holder of each lease it speaks of, have the key of this connection.
static tally_fault_t
check_owner(const tally_broker_t *self, const tally_principal_t *who,
            const tally_records_t *records)
{
    static const tally_fault_t anothers = {TALLY_E_STALE, TALLY_NO_INDEX,
                                           "a worker or a lease of another key, or of nobody"};
    if (who == NULL) {
        return anothers;
    }
    tally_fault_t fault = tally_rights_verb(who, TALLY_RECORDS);
    if (fault.code != 0 || !tally_door_locked(self->door)) {
        return fault;
    }
    if (!tally_peers_own(self, records->worker, who->key)) {
        return anothers;
    }
    tally_cursor_t cursor = records->records;
    for (uint16_t i = 0; i < records->count; i++) {
        tally_record_t record;
        tally_record_read(&cursor, &record);
        uint64_t holder = tally_core_lease_worker(self->core, record.lease);
        //  A lease that nobody holds is stale; the core counts it.
        if (holder != 0 && holder != records->worker && !tally_peers_own(self, holder, who->key)) {
            return anothers;
        }
    }
    return fault;
}

//  The records of one frame; again: fed a second time, what was published stays published.
static void
sink_take(tally_broker_t *self, tally_bytes_t frame, const tally_records_t *records, bool again)
{
    //  The frame is decoded once more out of a chunk of our own when the core needs any of it.
    tally_chunk_t *chunk = NULL;
    bool ends = false;
    tally_cursor_t cursor = records->records;
    for (uint16_t i = 0; i < records->count; i++) {
        tally_record_t record;
        const uint8_t *before = cursor.at;
        tally_record_read(&cursor, &record);
        if (record.kind == TALLY_RECORD_BEAT) {
            tally_core_worker_beat(self->core, records->worker, self->now_ms);
            if (record.outstanding == 0) {
                tally_core_worker_rests(self->core, records->worker, self->now_ms);
            }
        } else if (record.kind == TALLY_RECORD_PUBLISH) {
            if (!again) {
                publish_record(self, &record);
            }
        } else {
            if (chunk == NULL) {
                TALLY_FAILPOINT(RECORDS_RECEIVED);
                chunk = tally_chunk_new(frame);
            }
            tally_cursor_t own = {chunk->data + (before - (const uint8_t *)frame.data),
                                  chunk->data + chunk->size, false};
            tally_record_read(&own, &record);
            ends |= tally_core_record(self->core, &record, chunk, self->now_ms)
                    == TALLY_EFFECT_ENDS;
        }
    }
    if (chunk != NULL) {
        tally_broker_keep_records(self, ends, chunk);
        TALLY_FAILPOINT(RECORDS_TAKEN);
        tally_chunk_drop(&chunk);
    }
}

static void
take_records(tally_broker_t *self, const tally_principal_t *who, tally_bytes_t frame)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_records_t records;
    tally_fault_t fault = tally_head_read(frame, &head, &cursor);
    if (fault.code == 0 && head.verb != TALLY_RECORDS) {
        fault = (tally_fault_t){TALLY_E_VERB, TALLY_NO_INDEX, "the sink takes records only"};
    }
    if (fault.code == 0) {
        fault = tally_records_read(cursor, &records);
    }
    if (fault.code == 0) {
        fault = check_owner(self, who, &records);
    }
    if (fault.code != 0) {
        self->counters.frames_refused++;
        tally_log_debug("refused frame in sink: %s", fault.text);
        return;
    }
    sink_take(self, frame, &records, false);
}

//  The records of a frame that is known to be good.
static tally_records_t
read_records(tally_bytes_t frame)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_records_t records;
    tally_fault_t fault = tally_head_read(frame, &head, &cursor);
    assert(fault.code == 0);
    fault = tally_records_read(cursor, &records);
    assert(fault.code == 0);
    return records;
}

void
tally_sink_take_again(tally_broker_t *self, const tally_chunk_t *chunk)
{
    tally_bytes_t frame = {chunk->data, chunk->size};
    tally_records_t records = read_records(frame);
    sink_take(self, frame, &records, true);
}

bool
tally_sink_awaits(const tally_broker_t *self, const tally_chunk_t *chunk)
{
    return tally_core_awaits_any(self->core,
                                 read_records((tally_bytes_t){chunk->data, chunk->size}));
}

//  What was written into self->wire.
static void
take_own_records(tally_broker_t *self)
{
    tally_bytes_t frame = {self->wire.data, self->wire.size};
    tally_records_t records = read_records(frame);
    sink_take(self, frame, &records, false);
}

void
tally_sink_give_back(tally_broker_t *self, const tally_plan_lease_t *leases, size_t count)
{
    for (size_t at = 0; at < count;) {
        tally_records_start(&self->wire, 0);
        for (size_t i = 0; i < TALLY_RECORDS_MAX && at < count; i++) {
            const tally_record_t record = {.kind = TALLY_RECORD_RETURN, .lease = leases[at++].id};
            tally_records_add(&self->wire, &record, NULL);
        }
        take_own_records(self);
    }
}

bool
tally_sink_turn(tally_broker_t *self, size_t frames_max)
{
    tally_owner_require(&self->owner);
    void *sink = zsock_resolve(self->sink);
    if (!self->looks.sink) {
        self->listened_ms = self->now_ms;
        return false;
    }
    for (size_t taken = 0; taken < frames_max && self->collecting.count < TALLY_PLAN_INPUTS_MAX;
         taken++) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        if (zmq_msg_recv(&message, sink, ZMQ_DONTWAIT) == -1) {
            zmq_msg_close(&message);
            self->listened_ms = self->now_ms;
            self->looks.sink = false;
            return false;
        }
        tally_gate_taken(&message);
        bool first = !self->sink_inside;
        self->sink_inside = zmq_msg_more(&message) != 0;
        if (first && !self->sink_inside) {
            take_records(self, tally_door_of_frame(self->door, &message, self->now_ms),
                         (tally_bytes_t){zmq_msg_data(&message), zmq_msg_size(&message)});
        } else {
            self->counters
                .frames_refused++;    // a frame of a multipart: the protocol has none here
        }
        zmq_msg_close(&message);
    }
    return self->collecting.count < TALLY_PLAN_INPUTS_MAX;
}
