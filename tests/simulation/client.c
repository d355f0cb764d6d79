// SPDX-License-Identifier: MIT
//  client - see client.h.

#include "tests/simulation/client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/database.h"
#include "tests/simulation/ledger.h"

#define WINDOW 12
#define BATCH_MAX 12
#define BURST_MAX 48    // enough for a priority to starve

//  A send that is not confirmed, or whose asks are not answered.
typedef struct {
    uint32_t send;    // in the ledger
    uint64_t sequence;
    tally_chunk_t *chunk;
    bool confirmed;
    uint32_t unanswered;
    int64_t again_ms;    // refused: not before; 0: it is under way
    bool *answered;      // by message; owned
} sim_pending_t;

struct sim_client {
    sim_world_t *world;
    uint32_t index;
    uint8_t sender[TALLY_SENDER_BYTES];
    uint32_t life;
    uint64_t route;
    bool welcomed, quiet;
    int64_t heard_ms, hello_ms;
    int64_t to_ms, back_ms;    // of its connection: the last frames
    int64_t patience_ms, pause_ms;
    uint64_t sequence;    // the last that was used
    TALLY_ARRAY(sim_pending_t) pending;
    tally_wire_t wire;
};

static void
wake(sim_client_t *self, int64_t in_ms)
{
    sim_post(self->world, SIM_CLIENT, self->world->now_ms + in_ms, self->index, 0, NULL);
}

//  Once more, beside its regular turns.
static void
wake_once(sim_client_t *self, int64_t in_ms)
{
    sim_post(self->world, SIM_CLIENT, self->world->now_ms + in_ms, self->index, 1, NULL);
}

static void
become_new(sim_client_t *self)
{
    memset(self->sender, 0, sizeof self->sender);
    self->sender[0] = (uint8_t)(self->index + 1);
    self->sender[1] = (uint8_t)++self->life;
    self->sequence = 0;
    self->welcomed = false;
    self->route = 0;
}

sim_client_t *
sim_client_new(sim_world_t *world, size_t index)
{
    sim_client_t *self = tally_alloc(sizeof *self);
    self->world = world;
    self->index = (uint32_t)index;
    self->patience_ms = sim_between(world, 300, 3000);
    self->pause_ms = sim_happens(world, 10) ? sim_between(world, 20, 200)
                                            : sim_between(world, 200, 4000);
    become_new(self);
    wake(self, sim_between(world, 0, 200));
    return self;
}

static void
free_pending(sim_pending_t *pending)
{
    tally_chunk_drop(&pending->chunk);
    free(pending->answered);
}

static void
forget(sim_client_t *self, size_t index)
{
    free_pending(&self->pending.items[index]);
    self->pending.count--;
    memmove(self->pending.items + index, self->pending.items + index + 1,
            (self->pending.count - index) * sizeof *self->pending.items);
}

void
sim_client_destroy(sim_client_t **self_p)
{
    sim_client_t *self = *self_p;
    *self_p = NULL;
    while (self->pending.count > 0) {
        forget(self, self->pending.count - 1);
    }
    free(self->pending.items);
    tally_wire_free(&self->wire);
    free(self);
}

void
sim_client_die(sim_client_t *self)
{
    sim_bit(self->world, SIM_CLIENT_DIED);
    SIM_TRACE(self->world, "client # dies with # sends under way", self->index,
              self->pending.count);
    while (self->pending.count > 0) {
        forget(self, self->pending.count - 1);
    }
    become_new(self);
}

void
sim_client_heal(sim_client_t *self)
{
    self->quiet = true;
    self->patience_ms = 2000;
    wake_once(self, 0);
}

const char *
sim_client_busy(const sim_client_t *self)
{
    return self->pending.count > 0 ? "a client waits for a confirm or a result" : NULL;
}

int64_t *
sim_client_back(sim_client_t *self, uint64_t route)
{
    return self->route == route ? &self->back_ms : NULL;
}

//  ---- frames out --------------------------------------------------------------------------------

static void
put_frame(sim_client_t *self, tally_chunk_t *chunk)
{
    sim_world_t *world = self->world;
    if (self->welcomed && sim_strikes(world, SIM_REQUEST_LOST)) {
        SIM_TRACE(world, "client # loses its connection", self->index);
        self->welcomed = false;    // it does not know yet, but nothing arrives any more
        self->hello_ms = world->now_ms;
        self->route = 0;
        return;
    }
    sim_post_in_order(world, SIM_TO_FRONT, &self->to_ms, self->route, 0, chunk);
}

static void
say_hello(sim_client_t *self)
{
    sim_world_t *world = self->world;
    self->route = sim_new_route(world, self->index);
    self->to_ms = self->back_ms = world->now_ms;
    self->hello_ms = world->now_ms;
    self->welcomed = false;
    tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                           .version_min = TALLY_WIRE_VERSION,
                           .version_max = TALLY_WIRE_VERSION,
                           .name = tally_bytes_of("client")};
    memcpy(hello.sender, self->sender, TALLY_SENDER_BYTES);
    tally_hello_write(&self->wire, 1, &hello);
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    sim_post_in_order(world, SIM_TO_FRONT, &self->to_ms, self->route, 0, chunk);
    tally_chunk_drop(&chunk);
    SIM_TRACE(world, "client # says hello on route #", self->index, self->route);
}

static void
put_send(sim_client_t *self, sim_pending_t *pending)
{
    sim_ledger_send_at(self->world->ledger, pending->send)->copies++;
    pending->again_ms = 0;
    put_frame(self, pending->chunk);
}

//  Everything that is not over, in the order of its sequences.
static void
repeat_all(sim_client_t *self)
{
    for (size_t i = 0; i < self->pending.count && self->welcomed; i++) {
        put_send(self, &self->pending.items[i]);
    }
}

//  ---- new sends ---------------------------------------------------------------------------------

static uint32_t
draw_queue(sim_world_t *world)
{
    static const uint32_t weights[] = {SIM_WORK,      SIM_WORK,  SIM_WORK,     SIM_KEYED,
                                       SIM_KEYED,     SIM_KEYED, SIM_WINDOWED, SIM_EXCLUSIVE,
                                       SIM_EXCLUSIVE, SIM_ASKED, SIM_FOLLOWING};
    return weights[sim_draw(world, sizeof weights / sizeof weights[0])];
}

static sim_message_t
draw_message(sim_world_t *world, uint32_t queue, uint32_t tenant)
{
    sim_message_t message = {.queue = queue, .tenant = tenant, .priority = TALLY_PRIORITY_DEFAULT};
    if (sim_happens(world, 15)) {
        message.priority = (uint8_t)sim_draw(world, TALLY_PRIORITY_LEVELS);
    }
    if (sim_happens(world, queue == SIM_KEYED ? 90 : 10)) {
        message.key = (uint8_t)sim_between(world, 1, SIM_KEYS);
    }
    if (sim_happens(world, 10)) {
        message.dedupe = (uint8_t)sim_between(world, 1, SIM_DEDUPES);
    }
    if (sim_happens(world, 12)) {
        message.delay_ms = sim_happens(world, 90) ? sim_between(world, 1, 2000)
                                                  : sim_between(world, 1, 20000);
    }
    message.asked = sim_happens(world, queue == SIM_ASKED ? 80 : 5);
    message.is_blob = sim_happens(world, 5);
    message.releases = queue == SIM_WINDOWED && sim_happens(world, 10);
    message.poison = sim_strikes(world, SIM_POISON);
    return message;
}

static tally_item_t
item_of(const sim_message_t *message, uint32_t number, char body[SIM_BODY_BYTES_MAX], char key[8],
        char dedupe[8])
{
    tally_item_t item = {.options = TALLY_HAS_PRIORITY,
                         .priority = message->priority,
                         .body = {body, sim_ledger_body(number, body)}};
    if (message->key > 0) {
        item.options |= TALLY_HAS_KEY;
        item.key = (tally_bytes_t){key, (size_t)snprintf(key, 8, "k%u", message->key)};
    }
    if (message->dedupe > 0) {
        item.options |= TALLY_HAS_DEDUPE;
        item.dedupe = (tally_bytes_t){dedupe, (size_t)snprintf(dedupe, 8, "d%u", message->dedupe)};
    }
    if (message->delay_ms > 0) {
        item.options |= TALLY_HAS_DELAY;
        item.delay_ms = (uint64_t)message->delay_ms;
    }
    item.options |= (uint8_t)((message->asked ? TALLY_WANTS_RESULT : 0)
                              | (message->is_blob ? TALLY_AS_BLOB : 0)
                              | (message->releases ? TALLY_RELEASES : 0));
    return item;
}

static void
add_messages(sim_client_t *self, sim_pending_t *pending, uint32_t queue, uint32_t tenant)
{
    sim_world_t *world = self->world;
    const tally_tenant_row_t *limits = sim_database_tenant(world->database, tenant);
    bool burst = sim_happens(world, 1) && (limits == NULL || limits->messages_max > BURST_MAX);
    int64_t count = sim_happens(world, 75) ? 1 : sim_between(world, 1, BATCH_MAX);
    count = burst ? BURST_MAX : count;
    bool rejected = world->faults.rates[SIM_REJECTED] > 0 && !self->quiet
                    && sim_draw(world, 10000) < world->faults.rates[SIM_REJECTED];
    for (int64_t i = 0; i < count; i++) {
        sim_message_t message = draw_message(world, queue, tenant);
        message.send = pending->send;
        message.rejected = rejected && i == 0;
        if (burst) {
            message.priority = i == 0 ? 0 : 3;
            message.key = message.dedupe = 0;
            message.delay_ms = 0;
        }
        uint32_t number = sim_ledger_add(world->ledger, &message);
        char body[SIM_BODY_BYTES_MAX], key[8], dedupe[8];
        tally_item_t item = item_of(&message, number, body, key, dedupe);
        tally_send_add(&self->wire, &item);
        pending->unanswered += message.asked;
    }
    pending->answered = tally_alloc_array((size_t)count, sizeof *pending->answered);
}

static void
send_under(sim_client_t *self, uint64_t sequence)
{
    sim_world_t *world = self->world;
    uint32_t queue = draw_queue(world);
    uint32_t tenant = (uint32_t)sim_draw(world, SIM_TENANTS);
    char tenant_name[8];
    snprintf(tenant_name, sizeof tenant_name, "t%u", tenant);
    tally_send_start(&self->wire, sequence,
                     tally_bytes_of(sim_database_queue(world->database, queue)->name),
                     tally_bytes_of(tenant_name));
    sim_pending_t pending = {.sequence = sequence};
    pending.send = sim_ledger_send(world->ledger, self->index, self->sender, sequence);
    add_messages(self, &pending, queue, tenant);
    pending.chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    size_t at = self->pending.count;
    TALLY_PUSH(&self->pending);
    while (at > 0 && self->pending.items[at - 1].sequence > sequence) {
        self->pending.items[at] = self->pending.items[at - 1];
        at--;
    }
    self->pending.items[at] = pending;
    const sim_send_t *send = sim_ledger_send_at(world->ledger, pending.send);
    SIM_TRACE(world, "client # sends # messages from m# to queue # of tenant # as sequence #",
              self->index, send->count, send->first, queue, tenant, sequence);
    put_send(self, &self->pending.items[at]);
}

//  What no good client would do.
static void
misbehave(sim_client_t *self)
{
    sim_world_t *world = self->world;
    bool bad_sequence = sim_strikes(world, SIM_BAD_SEQUENCE);
    bool bad_queue = sim_strikes(world, SIM_BAD_QUEUE);
    bool bad_frame = sim_strikes(world, SIM_BAD_FRAME);
    if (!bad_sequence && !bad_queue && !bad_frame) {
        return;
    }
    uint64_t sequence = bad_sequence ? (sim_happens(world, 50) ? 0 : self->sequence + 5000)
                                     : ++self->sequence;    // never used again
    tally_send_start(&self->wire, sequence, tally_bytes_of(bad_queue ? "nowhere" : "work"),
                     tally_bytes_of("t0"));
    const tally_item_t item = {.priority = 1, .body = tally_bytes_of("never")};
    tally_send_add(&self->wire, &item);
    size_t size = self->wire.size;
    if (bad_frame) {
        size = sim_draw(world, size);
    } else if (!bad_sequence && !bad_queue) {
        return;
    }
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, size});
    put_frame(self, chunk);
    tally_chunk_drop(&chunk);
}

static void
send_next(sim_client_t *self)
{
    if (self->pending.count >= WINDOW) {
        return;
    }
    misbehave(self);
    if (!self->welcomed) {
        return;
    }
    //  Some leave sequences out, sometimes many.
    uint64_t gap = sim_happens(self->world, 5) ? sim_draw(self->world, 300) : 0;
    uint64_t next = self->sequence + 1 + gap;
    if (self->pending.count > 0 && next - self->pending.items[0].sequence >= TALLY_SEND_WINDOW) {
        return;    // the window is full of what is not over
    }
    self->sequence = next;
    send_under(self, self->sequence);
}

//  ---- frames in ---------------------------------------------------------------------------------

static sim_pending_t *
find_pending(sim_client_t *self, uint64_t sequence)
{
    for (size_t i = 0; i < self->pending.count; i++) {
        if (self->pending.items[i].sequence == sequence) {
            return &self->pending.items[i];
        }
    }
    return NULL;
}

static void
forget_if_over(sim_client_t *self, sim_pending_t *pending)
{
    if (pending->confirmed && pending->unanswered == 0) {
        forget(self, (size_t)(pending - self->pending.items));
    }
}

static void
take_confirm(sim_client_t *self, uint64_t sequence, tally_cursor_t cursor)
{
    tally_confirm_t confirm;
    tally_fault_t fault = tally_confirm_read(cursor, &confirm);
    assert(fault.code == 0);
    sim_pending_t *pending = find_pending(self, sequence);
    if (pending == NULL) {
        return;    // confirmed before
    }
    sim_ledger_confirmed(self->world->ledger, pending->send, &confirm);
    pending->confirmed = true;
    pending->again_ms = 0;
    //  A duplicate's result belongs to the send that came first: nobody will answer this ask.
    const sim_send_t *send = sim_ledger_send_at(self->world->ledger, pending->send);
    for (uint32_t i = 0; i < send->count; i++) {
        const sim_message_t *message = sim_ledger_at(self->world->ledger, send->first + i);
        if (message->state == SIM_DUPLICATE && message->asked && !pending->answered[i]) {
            pending->answered[i] = true;
            pending->unanswered--;
        }
    }
    forget_if_over(self, pending);
}

static void
take_result(sim_client_t *self, uint64_t sequence, tally_cursor_t cursor)
{
    tally_result_t result;
    tally_fault_t fault = tally_result_read(cursor, &result);
    assert(fault.code == 0);
    sim_pending_t *pending = find_pending(self, sequence);
    if (pending == NULL) {
        return;
    }
    sim_ledger_result(self->world->ledger, pending->send, &result);
    if (!pending->answered[result.index]) {
        pending->answered[result.index] = true;
        pending->unanswered--;
    }
    forget_if_over(self, pending);
}

//  A refused send is tried again, or its sequence is used for another, or left out for ever.
static void
take_error(sim_client_t *self, uint64_t sequence, tally_cursor_t cursor)
{
    sim_world_t *world = self->world;
    tally_error_t error;
    tally_fault_t fault = tally_error_read(cursor, &error);
    assert(fault.code == 0);
    if (error.code == TALLY_E_STATE) {
        say_hello(self);
        return;
    }
    sim_pending_t *pending = find_pending(self, sequence);
    if (pending == NULL || pending->confirmed) {
        return;
    }
    bool alone = sim_ledger_send_at(world->ledger, pending->send)->copies == 1;
    bool later = error.retry_after_ms > 0;
    if (alone && pending->again_ms == 0) {
        sim_ledger_refused(world->ledger, pending->send);
    }
    if (later && (!alone || sim_happens(world, 40))) {
        if (alone) {    // the same frame again: then it is not refused for good
            sim_ledger_send_at(world->ledger, pending->send)->fate = SIM_OPEN;
        }
        pending->again_ms = world->now_ms + error.retry_after_ms;
        wake_once(self, error.retry_after_ms);
        return;
    }
    if (!alone && error.code != TALLY_E_INTERNAL && error.code != TALLY_E_SEQUENCE) {
        return;    // one of its copies may be taken: repeat until it is known
    }
    SIM_TRACE(world, "client # gives up sequence #, code #", self->index, sequence, error.code);
    forget(self, (size_t)(pending - self->pending.items));
    if (!self->quiet && alone && sim_happens(world, 50)) {
        send_under(self, sequence);
    }
}

void
sim_client_frame(sim_client_t *self, uint64_t route, tally_chunk_t *frame)
{
    if (self->route != route) {
        return;
    }
    self->heard_ms = self->world->now_ms;
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    tally_welcome_t welcome;
    switch (head.verb) {
    case TALLY_WELCOME:
        fault = tally_welcome_read(cursor, &welcome);
        assert(fault.code == 0);
        self->welcomed = true;
        if (welcome.last_sequence > self->sequence) {
            self->sequence = welcome.last_sequence;
        }
        repeat_all(self);
        break;
    case TALLY_CONFIRM:
        take_confirm(self, head.request, cursor);
        break;
    case TALLY_RESULT:
        take_result(self, head.request, cursor);
        break;
    case TALLY_ERROR:
        take_error(self, head.request, cursor);
        break;
    default:
        assert(false);
    }
}

//  ---- turns -------------------------------------------------------------------------------------

static void
try_refused_again(sim_client_t *self)
{
    for (size_t i = 0; i < self->pending.count && self->welcomed; i++) {
        sim_pending_t *pending = &self->pending.items[i];
        if (pending->again_ms > 0 && pending->again_ms <= self->world->now_ms) {
            put_send(self, pending);
        }
    }
}

static void
look_after_connection(sim_client_t *self)
{
    int64_t now_ms = self->world->now_ms;
    int64_t since_ms = self->heard_ms > self->hello_ms ? self->heard_ms : self->hello_ms;
    bool waits = self->pending.count > 0 || !self->welcomed;
    bool silent = waits && now_ms - since_ms >= self->patience_ms;
    //  A connection that was cut is not noticed at once.
    bool noticed = self->hello_ms == 0 || now_ms - self->hello_ms >= self->patience_ms;
    if (silent || (self->route == 0 && noticed)) {
        say_hello(self);
    }
}

void
sim_client_turn(sim_client_t *self, bool regular)
{
    look_after_connection(self);
    if (self->welcomed) {
        try_refused_again(self);
    }
    if (!regular) {
        return;
    }
    if (self->quiet) {
        if (self->pending.count > 0) {
            wake(self, 250);
        }
        return;
    }
    if (self->welcomed) {
        send_next(self);
    }
    wake(self, sim_between(self->world, 1, self->pause_ms));
}
