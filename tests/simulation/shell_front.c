// SPDX-License-Identifier: MIT
//  shell_front - see shell.h: as broker/front.c.

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/client.h"
#include "tests/simulation/shell_state.h"
#include "tests/simulation/worker.h"

#define AWAY_RETRY_MS 250

static const tally_fault_t nobody_known = {TALLY_E_STATE, TALLY_NO_INDEX, "say hello first"};
static const tally_fault_t away = {TALLY_E_AWAY, TALLY_NO_INDEX, "PostgreSQL is away"};

//  ---- answers -----------------------------------------------------------------------------------

//  Nobody is reached on this route any more.
static void
route_gone(sim_shell_t *self, uint64_t route)
{
    tally_caller_t *caller = tally_callers_find(self->callers, route);
    if (caller != NULL && caller->worker == 0) {
        tally_core_forget_sender(self->core, caller->sender);
        tally_callers_remove(self->callers, route);
    }
}

void
sim_shell_reply(sim_shell_t *self, uint64_t route)
{
    sim_world_t *world = self->world;
    size_t owner = sim_route_owner(route);
    bool client = owner < SIM_CLIENTS_MAX;
    int64_t *last_ms = client ? sim_client_back(world->clients[owner], route)
                              : sim_worker_back(world->workers[owner - SIM_CLIENTS_MAX], route);
    if (last_ms == NULL) {    // that connection is closed, and known to be so sooner or later
        if (sim_happens(world, 50)) {
            route_gone(self, route);
        }
        return;
    }
    if (client && sim_strikes(world, SIM_ANSWER_LOST)) {
        return;
    }
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    sim_post_in_order(world, SIM_TO_PEER, last_ms, route, 0, chunk);
    tally_chunk_drop(&chunk);
}

void
sim_shell_refuse(sim_shell_t *self, uint64_t route, uint64_t request, tally_fault_t fault,
                 uint32_t retry_after_ms)
{
    const tally_error_t error = {.code = (uint16_t)fault.code,
                                 .index = fault.index,
                                 .retry_after_ms = retry_after_ms,
                                 .text = tally_bytes_of(fault.text)};
    tally_error_write(&self->wire, request, &error);
    sim_shell_reply(self, route);
}

void
sim_shell_give_result(sim_shell_t *self, const tally_asker_t *asker, uint8_t outcome,
                      tally_bytes_t body)
{
    tally_caller_t *caller = tally_callers_find_sender(self->callers, asker->sender);
    if (caller == NULL) {
        return;
    }
    tally_caller_answered(caller, asker);
    const tally_result_t result = {.index = asker->item, .outcome = outcome, .body = body};
    tally_result_write(&self->wire, asker->sequence, &result);
    sim_shell_reply(self, caller->route);
}

//  ---- the second connection ---------------------------------------------------------------------

static sim_read_t *
ask(sim_shell_t *self)
{
    sim_read_t *read = TALLY_PUSH(&self->reads);
    read->number = ++self->read_count;
    sim_post_in_order(self->world, SIM_READ, &self->read_ms, 0, read->number, NULL);
    return read;
}

void
sim_shell_look_for_result(sim_shell_t *self, const tally_asker_t *asker)
{
    ask(self)->asker = *asker;
}

static void
free_read(sim_read_t *read)
{
    tally_chunk_drop(&read->frame);
    free(read->missing);
}

void
sim_shell_forget_reads(sim_shell_t *self)
{
    for (size_t i = 0; i < self->reads.count; i++) {
        free_read(&self->reads.items[i]);
    }
    self->reads.count = 0;
}

void
sim_shell_welcome(sim_shell_t *self, uint64_t request, const uint8_t *sender, uint64_t worker)
{
    tally_bytes_t endpoint = tally_bytes_of(worker == 0 ? "" : "inproc://simulated");
    tally_welcome_t welcome = {
        .version = TALLY_WIRE_VERSION,
        .broker_epoch = self->epoch,
        .last_sequence = (uint64_t)tally_core_sender_last(self->core, sender),
        .body_inline_max = TALLY_BODY_INLINE_BYTES_MAX,
        .blob_max = TALLY_BLOB_BYTES_MAX,
        .frame_max = TALLY_FRAME_BYTES_MAX,
        .batch_max = TALLY_BATCH_MESSAGES_MAX,
        .send_window = TALLY_SEND_WINDOW,
        .beat_ms = TALLY_BEAT_MS,
        .beats_missed_max = TALLY_BEATS_MISSED_MAX,
        .feed = tally_bytes_of("inproc://simulated"),
        .worker = worker,
        .lane = endpoint,
        .sink = endpoint,
    };
    memcpy(welcome.sender, sender, TALLY_SENDER_BYTES);
    tally_welcome_write(&self->wire, request, &welcome);
}

static void
welcome(sim_shell_t *self, uint64_t route, uint64_t request, const uint8_t *sender,
        tally_chunk_t *frame)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_hello_t hello;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    fault = tally_hello_read(cursor, &hello);
    assert(fault.code == 0);
    tally_caller_t *caller = tally_callers_require(self->callers, route, sender,
                                                   self->world->now_ms);
    caller->ready = true;
    if (hello.role == TALLY_ROLE_WORKER) {
        sim_shell_hello(self, route, request, sender, frame);
        return;
    }
    sim_shell_welcome(self, request, sender, 0);
    sim_shell_reply(self, route);
}

static void
finish_hello(sim_shell_t *self, const sim_read_t *read)
{
    if (!tally_core_knows_sender(self->core, read->sender)) {
        tally_sender_row_t row = {.last = read->last,
                                  .missing = read->missing,
                                  .missing_count = read->missing_count};
        memcpy(row.id, read->sender, TALLY_SENDER_BYTES);
        tally_core_load_sender(self->core, &row);
    }
    welcome(self, read->route, read->request, read->sender, read->frame);
}

//  The database is read, then the answer travels: what it says may be old by then.
static void
read_database(sim_shell_t *self, sim_read_t *read)
{
    const fake_store_t *store = sim_database_store(self->world->database);
    read->taken = true;
    if (read->frame != NULL) {
        const tally_sender_row_t *row = fake_store_sender(store, read->sender);
        read->found = row != NULL;
        if (row != NULL) {
            read->last = row->last;
            read->missing_count = row->missing_count;
            read->missing = tally_alloc_array(row->missing_count + 1, sizeof *read->missing);
            for (size_t i = 0; i < row->missing_count; i++) {
                read->missing[i] = row->missing[i];
            }
        }
        return;
    }
    const fake_result_t *result = fake_store_result(store, &read->asker);
    read->found = result != NULL;
    if (result != NULL) {
        read->outcome = result->outcome;
        memcpy(read->body, result->body, sizeof read->body);
    }
}

void
sim_shell_read(sim_shell_t *self, uint64_t number)
{
    for (size_t i = 0; i < self->reads.count; i++) {
        sim_read_t *read = &self->reads.items[i];
        if (read->number != number) {
            continue;
        }
        bool stopped = self->world->now_ms < self->stopped_until_ms;
        if (!read->taken) {
            read_database(self, read);
            sim_post_in_order(self->world, SIM_READ, &self->read_ms, 0, number, NULL);
            return;
        }
        if (stopped) {
            sim_post(self->world, SIM_READ, self->stopped_until_ms, 0, number, NULL);
            return;
        }
        sim_read_t answer = *read;
        *read = self->reads.items[--self->reads.count];
        if (answer.frame != NULL) {
            finish_hello(self, &answer);
        } else if (answer.found) {
            sim_shell_give_result(self, &answer.asker, answer.outcome, tally_bytes_of(answer.body));
        }
        free_read(&answer);
        return;
    }
}

static void
take_hello(sim_shell_t *self, uint64_t route, uint64_t request, tally_cursor_t cursor,
           tally_chunk_t *frame)
{
    tally_hello_t hello;
    tally_fault_t fault = tally_hello_read(cursor, &hello);
    if (fault.code != 0) {
        sim_shell_refuse(self, route, request, fault, 0);
        return;
    }
    if (tally_core_knows_sender(self->core, hello.sender)) {
        uint8_t sender[TALLY_SENDER_BYTES];
        memcpy(sender, hello.sender, sizeof sender);
        welcome(self, route, request, sender, frame);
        return;
    }
    sim_read_t *read = ask(self);
    read->route = route;
    read->request = request;
    read->frame = tally_chunk_hold(frame);
    memcpy(read->sender, hello.sender, TALLY_SENDER_BYTES);
}

//  ---- sends -------------------------------------------------------------------------------------

static void
expect_results(sim_shell_t *self, tally_caller_t *caller, uint64_t sequence,
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
                sim_shell_look_for_result(self, &asker);
            }
        }
    }
}

static void
count_refused(sim_world_t *world, int code)
{
    switch (code) {
    case TALLY_E_BUSY:
        sim_bit(world, SIM_QUOTA);
        break;
    default:
        break;
    }
}

static void
give_send(sim_shell_t *self, tally_caller_t *caller, uint64_t sequence, const tally_send_t *send,
          tally_chunk_t *chunk)
{
    const tally_send_answer_t answer = tally_core_send(self->core, caller->sender, sequence, send,
                                                       chunk, self->world->now_ms);
    switch (answer.outcome) {
    case TALLY_SEND_PLANNED:
        sim_shell_keep(self, caller->sender, chunk);
        expect_results(self, caller, sequence, send, false);
        if (TALLY_PLANTED(CONFIRM_EARLY)) {
            sim_ledger_tells_confirm(self->world->ledger, caller->sender, sequence);
            tally_confirm_write(&self->wire, sequence, NULL, send->count, 0, true);
            sim_shell_reply(self, caller->route);
        }
        break;
    case TALLY_SEND_PENDING:
        break;
    case TALLY_SEND_REPEATED:
        //  The caller may be gone for good once it is found that nobody is reached.
        expect_results(self, caller, sequence, send, true);
        sim_bit(self->world, SIM_REPEATED);
        sim_ledger_tells_confirm(self->world->ledger, caller->sender, sequence);
        tally_confirm_write(&self->wire, sequence, NULL, send->count, 0, true);
        sim_shell_reply(self, caller->route);
        break;
    case TALLY_SEND_REFUSED:
        count_refused(self->world, answer.fault.code);
        SIM_TRACE(self->world, "broker refuses sequence # of route #: code #", sequence,
                  caller->route, (uint64_t)answer.fault.code);
        sim_shell_refuse(self, caller->route, sequence, answer.fault, answer.retry_after_ms);
        break;
    }
}

void
sim_shell_take_send(sim_shell_t *self, const uint8_t *sender, tally_chunk_t *chunk)
{
    tally_caller_t *caller = tally_callers_find_sender(self->callers, sender);
    if (caller == NULL) {
        return;    // it will say hello and repeat what was not confirmed
    }
    tally_head_t head;
    tally_cursor_t cursor;
    tally_send_t send;
    tally_fault_t fault = tally_head_read((tally_bytes_t){chunk->data, chunk->size}, &head,
                                          &cursor);
    if (fault.code == 0) {
        fault = tally_send_read(cursor, &send);
    }
    if (fault.code != 0) {
        sim_shell_refuse(self, caller->route, head.request, fault, 0);
        return;
    }
    give_send(self, caller, head.request, &send, chunk);
}

void
sim_shell_take_frame(sim_shell_t *self, uint64_t route, tally_chunk_t *frame)
{
    tally_head_t head = {0};
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    if (fault.code != 0) {
        sim_shell_refuse(self, route, head.request, fault, 0);
        return;
    }
    if (head.verb == TALLY_HELLO) {
        take_hello(self, route, head.request, cursor, frame);
        return;
    }
    tally_caller_t *caller = tally_callers_find(self->callers, route);
    if (caller == NULL || !caller->ready) {
        sim_shell_refuse(self, route, head.request, nobody_known, 0);
        return;
    }
    if (head.verb == TALLY_GOODBYE) {
        sim_shell_goodbye(self, route);
        tally_core_forget_sender(self->core, caller->sender);
        tally_callers_remove(self->callers, route);
    } else if (head.verb == TALLY_SEND && self->mode != SIM_SERVING) {
        sim_shell_refuse(self, route, head.request, away, AWAY_RETRY_MS);
    } else if (head.verb == TALLY_SEND) {
        sim_shell_take_send(self, caller->sender, frame);
    } else {
        fault = (tally_fault_t){TALLY_E_VERB, TALLY_NO_INDEX, "unknown verb"};
        sim_shell_refuse(self, route, head.request, fault, 0);
    }
}
