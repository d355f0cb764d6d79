// SPDX-License-Identifier: MIT
//  front - the ROUTER: hello, send, fetch, admin and their answers.
//
//  Every frame is data until the codec says otherwise, and every refusal goes back with its code; the connection goes
//  on.  A confirm leaves only through publish.c, but for a send that was accepted before.  How answers leave is
//  front_answer.c's.

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>

#include "broker/broker.h"
#include "broker/gate.h"
#include "broker/rights.h"
#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/log.h"

#define AWAY_RETRY_MS 250
#define CROWDED_RETRY_MS 1000
#define BYTES_PER_TURN                                                                             \
    (1024 * 1024)    // a third of a millisecond; whoever waits for a tick's end waits for that, too

static const tally_fault_t nobody_known = {TALLY_E_STATE, TALLY_NO_INDEX,
                                           "nobody is known on this connection; say hello first"};
static const tally_fault_t crowded = {TALLY_E_BUSY, TALLY_NO_INDEX,
                                      "too many sends of this tenant wait; come back when some "
                                      "were taken"};
static const tally_fault_t away = {TALLY_E_AWAY, TALLY_NO_INDEX,
                                   "PostgreSQL is away; send again later, nothing happened"};
static const tally_fault_t nobodys_key = {TALLY_E_REFUSED, TALLY_NO_INDEX,
                                          "this key is not valid, or not any more"};
static const tally_fault_t reader_full = {TALLY_E_BUSY, TALLY_NO_INDEX,
                                          "too many lookups wait; ask again later"};

//  ---- hello ----------------------------------------------------------------------------------------------

void
tally_front_fill_welcome(const tally_broker_t *self, const tally_caller_t *caller,
                         tally_welcome_t *welcome)
{
    const tally_principal_t *who = tally_door_of_key(self->door, caller->key, self->now_ms);
    memcpy(welcome->sender, caller->wire_sender, TALLY_SENDER_BYTES);
    welcome->version = TALLY_WIRE_VERSION;
    welcome->broker_epoch = self->epoch;
    welcome->last_sequence = (uint64_t)tally_core_sender_last(self->core, caller->sender);
    welcome->body_inline_max = TALLY_BODY_INLINE_BYTES_MAX;
    welcome->blob_max = TALLY_BLOB_BYTES_MAX;
    welcome->frame_max = TALLY_FRAME_BYTES_MAX;
    welcome->batch_max = TALLY_BATCH_MESSAGES_MAX;
    welcome->send_window = TALLY_SEND_WINDOW;
    welcome->beat_ms = TALLY_BEAT_MS;
    welcome->beats_missed_max = TALLY_BEATS_MISSED_MAX;
    welcome->feed = tally_bytes_of(who == NULL ? ""
                                               : tally_broadcast_endpoint_for(self->feed, who));
}

//  The sender is known to the core: makes its caller and says welcome.
static void
welcome(tally_broker_t *self, const tally_principal_t *who, uint64_t route, uint64_t request,
        const tally_hello_t *hello, tally_chunk_t *frame)
{
    uint8_t sender[TALLY_SENDER_BYTES];
    tally_door_sender(who, hello->sender, sender);
    uint32_t retry_after_ms = 0;
    const tally_fault_t fault = tally_front_take_connection(self, who, route, sender,
                                                            &retry_after_ms);
    if (fault.code != 0) {
        tally_front_refuse(self, route, request, fault, retry_after_ms);
        return;
    }
    tally_caller_t *surplus = tally_callers_find(self->callers, route) == NULL
                                  ? tally_callers_surplus(self->callers)
                                  : NULL;
    if (surplus != NULL) {
        tally_core_forget_sender(self->core, surplus->sender);
        tally_callers_remove(self->callers, surplus->route);
    }
    tally_caller_t *caller = tally_callers_require(self->callers, route, sender, self->now_ms);
    snprintf(caller->name, sizeof caller->name, "%.*s", (int)hello->name.size,
             (const char *)hello->name.data);
    memcpy(caller->wire_sender, hello->sender, TALLY_SENDER_BYTES);
    memcpy(caller->key, who->key, sizeof caller->key);
    tally_front_count_connection(self, who, caller);
    caller->ready = true;
    if (hello->role == TALLY_ROLE_WORKER) {
        tally_peers_hello(self, caller, request, frame);
        return;
    }
    tally_welcome_t answer = {0};
    tally_front_fill_welcome(self, caller, &answer);
    tally_welcome_write(&self->wire, request, &answer);
    tally_front_answer(self, route);
}

//  The row of a sender that nobody here knows is read first; finish_hello goes on.
static void
ask_for_sender(tally_broker_t *self, const tally_principal_t *who, uint64_t route, uint64_t request,
               const uint8_t *sender, tally_chunk_t *frame)
{
    tally_read_t *read = tally_read_new(TALLY_READ_SENDER);
    memcpy(read->sender, sender, TALLY_SENDER_BYTES);
    memcpy(read->key, who->key, sizeof read->key);
    read->route = route;
    read->request = request;
    read->context = frame;    // its only reference: free() is as good as drop
    if (tally_reader_ask(self->reader, &read) == -1) {
        tally_read_destroy(&read);
        tally_front_refuse(self, route, request, reader_full, AWAY_RETRY_MS);
    }
}

static void
take_hello(tally_broker_t *self, const tally_principal_t *who, uint64_t route, uint64_t request,
           tally_cursor_t cursor, tally_bytes_t frame)
{
    tally_hello_t hello;
    tally_fault_t fault = tally_hello_read(cursor, &hello);
    if (fault.code == 0
        && (hello.version_min > TALLY_WIRE_VERSION || hello.version_max < TALLY_WIRE_VERSION)) {
        fault = (tally_fault_t){TALLY_E_VERSION, TALLY_NO_INDEX,
                                "no common version; this broker speaks version 1"};
    }
    if (fault.code == 0) {
        fault = tally_rights_hello(who, &hello);
    }
    if (fault.code == 0 && tally_recovery_doubtful(self)) {
        fault = away;    // whoever knows another broker goes there
    }
    if (fault.code != 0) {
        tally_front_refuse(self, route, request, fault,
                           fault.code == TALLY_E_AWAY ? AWAY_RETRY_MS : 0);
        return;
    }
    bool fresh = sodium_is_zero(hello.sender, sizeof hello.sender) != 0;
    if (fresh) {
        randombytes_buf(hello.sender, sizeof hello.sender);
    }
    uint8_t sender[TALLY_SENDER_BYTES];
    tally_door_sender(who, hello.sender, sender);
    if (fresh) {
        tally_sender_row_t row = {0};
        memcpy(row.id, sender, sizeof sender);
        tally_core_load_sender(self->core, &row);
    }
    tally_chunk_t *chunk = tally_chunk_new(frame);
    if (!fresh && !tally_core_knows_sender(self->core, sender)) {
        ask_for_sender(self, who, route, request, sender, chunk);
        return;
    }
    welcome(self, who, route, request, &hello, chunk);
    tally_chunk_drop(&chunk);
}

static void
finish_hello(tally_broker_t *self, tally_read_t *read)
{
    if (read->database != TALLY_DB_DONE) {
        tally_front_refuse(self, read->route, read->request, away, AWAY_RETRY_MS);
        return;
    }
    const tally_principal_t *who = tally_door_of_key(self->door, read->key, self->now_ms);
    if (who == NULL) {
        tally_front_refuse(self, read->route, read->request, nobodys_key, 0);
        return;
    }
    //  Known meanwhile: an earlier hello's row, perhaps with sends since; it must not be set back.
    if (!tally_core_knows_sender(self->core, read->sender)) {
        tally_sender_row_t row = {.last = read->last,
                                  .missing = read->missing,
                                  .missing_count = read->missing_count};
        memcpy(row.id, read->sender, sizeof row.id);
        tally_core_load_sender(self->core, &row);
    }
    tally_chunk_t *frame = read->context;
    tally_head_t head;
    tally_cursor_t cursor;
    tally_hello_t hello;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    fault = tally_hello_read(cursor, &hello);
    assert(fault.code == 0);
    read->context = NULL;
    welcome(self, who, read->route, read->request, &hello, frame);
    tally_chunk_drop(&frame);
}

//  ---- send -----------------------------------------------------------------------------------------------

//  The caller expects a result for each ask of the send; when it was stored before, results may be there.
static void
expect_results(tally_broker_t *self, tally_caller_t *caller, uint64_t sequence,
               const tally_send_t *send, bool look)
{
    tally_cursor_t items = send->items;
    tally_asker_t asker = {.sequence = sequence};
    memcpy(asker.sender, caller->sender, TALLY_SENDER_BYTES);
    for (uint16_t i = 0; i < send->count; i++) {
        tally_item_t item;
        tally_item_read(&items, &item);
        if ((item.options & TALLY_WANTS_RESULT) != 0) {
            asker.item = i;
            tally_caller_expect(caller, &asker);
            if (look) {
                tally_front_look_for_result(self, &asker);
            }
        }
    }
}

static void
give_send(tally_broker_t *self, tally_caller_t *caller, uint64_t sequence, const tally_send_t *send,
          tally_chunk_t *chunk)
{
    //  The turn may have begun long before the frame came: counted from there a delay would end too early.
    self->now_ms = tally_clock_now_ms();
    const tally_send_answer_t answer = tally_core_send(self->core, caller->sender, sequence, send,
                                                       chunk, self->now_ms);
    switch (answer.outcome) {
    case TALLY_SEND_PLANNED:
        tally_broker_keep_send(self, caller->sender, chunk);
        TALLY_FAILPOINT(SEND_TAKEN);
        expect_results(self, caller, sequence, send, false);
        break;
    case TALLY_SEND_PENDING:
        break;
    case TALLY_SEND_REPEATED:
        //  The caller may be gone for good once it is found that nobody is reached.
        expect_results(self, caller, sequence, send, true);
        tally_confirm_write(&self->wire, sequence, NULL, send->count, 0, true);
        tally_front_answer(self, caller->route);
        break;
    case TALLY_SEND_REFUSED:
        tally_front_refuse(self, caller->route, sequence, answer.fault, answer.retry_after_ms);
        break;
    }
}

//  0, or what is wrong with it.
static tally_fault_t
read_send(const tally_chunk_t *chunk, tally_head_t *head, tally_send_t *send)
{
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){chunk->data, chunk->size}, head, &cursor);
    return fault.code != 0 ? fault : tally_send_read(cursor, send);
}

void
tally_front_send(tally_broker_t *self, const uint8_t *sender, tally_chunk_t *chunk)
{
    tally_caller_t *caller = tally_callers_find_sender(self->callers, sender);
    if (caller == NULL) {
        return;    // it will say hello and repeat what was not confirmed
    }
    tally_head_t head;
    tally_send_t send;
    tally_fault_t fault = read_send(chunk, &head, &send);
    if (fault.code != 0) {
        tally_front_refuse(self, caller->route, head.request, fault, 0);
        return;
    }
    give_send(self, caller, head.request, &send, chunk);
}

static bool
has_place(void *context, tally_bytes_t tenant, const tally_waiting_t *waiting)
{
    tally_broker_t *self = context;
    return tally_core_has_place(self->core, tenant, waiting->messages, waiting->chunk->size,
                                self->now_ms);
}

//  Gives the plan what waited for it.
static void
empty_lobby(tally_broker_t *self)
{
    tally_waiting_t waiting;
    self->lobby_moves = self->lobby_moves || self->collecting.count == 0;
    while (self->state == TALLY_SERVING && self->lobby_moves) {
        self->lobby_moves = self->collecting.count < TALLY_PLAN_INPUTS_MAX
                            && tally_lobby_leave(self->lobby, has_place, self, &waiting);
        if (self->lobby_moves) {
            tally_front_send(self, waiting.sender, waiting.chunk);
            tally_chunk_drop(&waiting.chunk);
        }
    }
}

static void
take_send(tally_broker_t *self, tally_caller_t *caller, const tally_principal_t *who,
          uint64_t request, tally_bytes_t frame)
{
    if (self->state != TALLY_SERVING) {
        tally_front_refuse(self, caller->route, request, away, AWAY_RETRY_MS);
        return;
    }
    tally_chunk_t *chunk = tally_chunk_new(frame);
    tally_head_t head;
    tally_send_t send;
    tally_fault_t fault = read_send(chunk, &head, &send);
    if (fault.code == 0) {
        fault = tally_rights_send(who, &send);
    }
    uint32_t retry_after_ms = 0;
    if (fault.code == 0) {
        fault = tally_front_take_send(self, &send, &retry_after_ms);
    }
    tally_waiting_t waiting = {.messages = send.count, .chunk = chunk};
    bool waits = fault.code == 0
                 && (tally_lobby_holds(self->lobby, send.tenant)
                     || !has_place(self, send.tenant, &waiting));
    if (waits && !tally_lobby_has_room(self->lobby, send.tenant, chunk->size)) {
        fault = crowded;
        retry_after_ms = CROWDED_RETRY_MS;
    }
    if (fault.code != 0) {
        tally_front_refuse(self, caller->route, request, fault, retry_after_ms);
    } else if (waits) {
        tally_lobby_enter(self->lobby, caller->sender, send.tenant, send.count, chunk);
    } else {
        give_send(self, caller, request, &send, chunk);
    }
    tally_chunk_drop(&chunk);
}

//  ---- fetch ----------------------------------------------------------------------------------------------

//  A lease of another key is as good as none.
static void
take_fetch(tally_broker_t *self, const tally_principal_t *who, uint64_t route, uint64_t request,
           tally_cursor_t cursor)
{
    tally_fetch_t fetch;
    tally_fault_t fault = tally_fetch_read(cursor, &fetch);
    uint32_t tenant = 0;
    if (fault.code == 0
        && (!tally_core_lease_holds(self->core, fetch.lease, fetch.message, &tenant)
            || !tally_peers_own(self, tally_core_lease_worker(self->core, fetch.lease),
                                who->key))) {
        fault = (tally_fault_t){TALLY_E_STALE, TALLY_NO_INDEX,
                                "this lease does not hold that message any more"};
    }
    if (fault.code != 0) {
        tally_front_refuse(self, route, request, fault, 0);
        return;
    }
    tally_read_t *read = tally_read_new(TALLY_READ_BLOB);
    read->route = route;
    read->request = request;
    read->tenant = tenant;
    read->message = fetch.message;
    if (tally_reader_ask(self->reader, &read) == -1) {
        tally_read_destroy(&read);
        tally_front_refuse(self, route, request, reader_full, AWAY_RETRY_MS);
    }
}

static void
finish_fetch(tally_broker_t *self, const tally_read_t *read)
{
    if (read->database != TALLY_DB_DONE) {
        tally_front_refuse(self, read->route, read->request, away, AWAY_RETRY_MS);
    } else if (!read->found) {
        const tally_fault_t fault = {TALLY_E_UNKNOWN, TALLY_NO_INDEX, "this message has no blob"};
        tally_front_refuse(self, read->route, read->request, fault, 0);
    } else {
        tally_wire_start(&self->wire, TALLY_BODY, read->request);
        tally_wire_put_raw(&self->wire, (tally_bytes_t){read->body, read->body_size});
        tally_front_answer(self, read->route);
    }
}

//  ---- what comes in --------------------------------------------------------------------------------------

void
tally_front_read(tally_broker_t *self, tally_read_t **read_p)
{
    tally_read_t *read = *read_p;
    switch (read->kind) {
    case TALLY_READ_SENDER:
        finish_hello(self, read);
        break;
    case TALLY_READ_RESULT:
        if (read->database == TALLY_DB_DONE && read->found) {
            tally_front_result(self, &read->asker, read->outcome,
                               (tally_bytes_t){read->body, read->body_size});
        }
        break;
    case TALLY_READ_BLOB:
        finish_fetch(self, read);
        break;
    case TALLY_READ_STANDBYS:
        tally_snapshot_standbys(self, read);
        break;
    case TALLY_READ_SNAPSHOT:
        tally_snapshot_oldest(self, read);
        break;
    case TALLY_READ_DEAD:
    case TALLY_READ_DEAD_COUNTS:
    case TALLY_READ_AUDIT:
    case TALLY_READ_AUDIT_RESULT:
        tally_admin_read(self, read);
        break;
    case TALLY_READ_WORKER:
        tally_peers_recorded(self, read);
        break;
    case TALLY_READ_PRINCIPALS:
        tally_door_take(self->door, read, self->now_ms);
        break;
    }
    tally_read_destroy(read_p);
}

//  What only those may say who said hello, and over the connection of the same key.
static void
take_verb(tally_broker_t *self, const tally_principal_t *who, tally_caller_t *caller,
          const tally_head_t *head, tally_cursor_t cursor, tally_bytes_t frame)
{
    uint64_t route = caller->route;
    switch (head->verb) {
    case TALLY_SEND:
        take_send(self, caller, who, head->request, frame);
        break;
    case TALLY_ADMIN:
        tally_admin(self, caller, who, head->request, tally_cursor_rest(&cursor));
        break;
    case TALLY_FETCH:
        take_fetch(self, who, route, head->request, cursor);
        break;
    case TALLY_GOODBYE:
        tally_peers_goodbye(self, route);
        tally_core_forget_sender(self->core, caller->sender);
        tally_callers_remove(self->callers, route);
        break;
    default:
        assert(false);    // rights.c knows no other verb that may be said here
    }
}

static void
take_frame(tally_broker_t *self, const tally_principal_t *who, uint64_t route, tally_bytes_t frame)
{
    tally_head_t head = {0};
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read(frame, &head, &cursor);
    if (fault.code == 0 && who == NULL) {
        fault = nobodys_key;
    }
    if (fault.code != 0) {
        tally_front_refuse(self, route, head.request, fault, 0);
        return;
    }
    uint32_t retry_after_ms = 0;
    if (head.verb != TALLY_SEND && head.verb != TALLY_GOODBYE) {
        fault = tally_front_take_request(self, who, &retry_after_ms);
    }
    if (fault.code != 0) {
        tally_front_refuse(self, route, head.request, fault, retry_after_ms);
        return;
    }
    if (head.verb == TALLY_HELLO) {
        take_hello(self, who, route, head.request, cursor, frame);
        return;
    }
    tally_caller_t *caller = tally_callers_find(self->callers, route);
    if (caller == NULL || !caller->ready || strcmp(caller->key, who->key) != 0) {
        tally_front_refuse(self, route, head.request, nobody_known, 0);
        return;
    }
    caller->heard_ms = self->now_ms;
    fault = head.verb == TALLY_RECORDS
                ? (tally_fault_t){TALLY_E_VERB, TALLY_NO_INDEX, "records go to the sink"}
                : tally_rights_verb(who, head.verb);
    if (fault.code != 0) {
        tally_front_refuse(self, route, head.request, fault, 0);
        return;
    }
    take_verb(self, who, caller, &head, cursor, frame);
}

void
tally_front_sweep(tally_broker_t *self)
{
    for (size_t i = tally_callers_count(self->callers); i > 0; i--) {
        const tally_caller_t *caller = tally_callers_at(self->callers, i - 1);
        if (tally_door_of_key(self->door, caller->key, self->now_ms) == NULL) {
            tally_core_forget_sender(self->core, caller->sender);
            tally_callers_remove(self->callers, caller->route);
        }
    }
}

//  Reads and forgets what is left of a multipart; true when there was more than `message`.
static bool
drain(void *socket, zmq_msg_t *message)
{
    bool more = zmq_msg_more(message) != 0;
    for (bool next = more; next;) {
        zmq_msg_t rest;
        zmq_msg_init(&rest);
        next = zmq_msg_recv(&rest, socket, ZMQ_DONTWAIT) != -1 && zmq_msg_more(&rest);
        zmq_msg_close(&rest);
    }
    return more;
}

//  One message of the ROUTER: identity and frame, whose size is added to *bytes_taken.  False when there is none.
static bool
take_message(tally_broker_t *self, size_t *bytes_taken)
{
    void *front = zsock_resolve(self->front);
    zmq_msg_t identity, frame;
    zmq_msg_init(&identity);
    zmq_msg_init(&frame);
    bool got = zmq_msg_recv(&identity, front, ZMQ_DONTWAIT) != -1;
    self->looks.front = got;
    if (got) {
        //  What is delayed counts from now: the turn may have begun long before the frame came.
        self->now_ms = tally_clock_now_ms();
        const uint8_t *bytes = zmq_msg_data(&identity);
        bool ours = zmq_msg_size(&identity) == TALLY_ROUTE_BYTES && bytes[0] == 0;
        uint64_t route = 0;
        for (size_t i = 1; ours && i < TALLY_ROUTE_BYTES; i++) {
            route = route << 8 | bytes[i];
        }
        bool whole = zmq_msg_more(&identity) && zmq_msg_recv(&frame, front, ZMQ_DONTWAIT) != -1;
        tally_gate_taken(&frame);
        *bytes_taken += zmq_msg_size(&frame);
        if (whole && drain(front, &frame)) {
            const tally_fault_t fault = {TALLY_E_FRAME, TALLY_NO_INDEX,
                                         "a request is one frame, without delimiter"};
            whole = false;
            if (ours) {
                tally_front_refuse(self, route, 0, fault, 0);
            }
        }
        if (ours && whole) {
            TALLY_FAILPOINT(FRONT_RECEIVED);
            //  libzmq 4.3.4 may leave the metadata out of the identity; the frame always has it.
            take_frame(self, tally_door_of_frame(self->door, &frame, self->now_ms), route,
                       (tally_bytes_t){zmq_msg_data(&frame), zmq_msg_size(&frame)});
        } else {
            self->counters.frames_refused++;
        }
    }
    zmq_msg_close(&identity);
    zmq_msg_close(&frame);
    return got;
}

bool
tally_front_turn(tally_broker_t *self, size_t frames_max)
{
    tally_owner_require(&self->owner);
    empty_lobby(self);
    size_t bytes = 0;
    for (size_t taken = 0; taken < frames_max && bytes < BYTES_PER_TURN; taken++) {
        //  Who alone sends more than is taken is held up by its socket.  When others send as well, their frames are
        //  behind its own, and are read.
        bool full = self->collecting.count >= TALLY_PLAN_INPUTS_MAX
                    || (tally_lobby_half_full(self->lobby)
                        && !tally_core_has_company(self->core, self->now_ms));
        if (self->state == TALLY_SERVING && full) {
            return false;    // the next seal makes room; what waits stays in the socket
        }
        if (!self->looks.front || !take_message(self, &bytes)) {
            return false;
        }
    }
    return true;
}
