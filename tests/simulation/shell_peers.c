// SPDX-License-Identifier: MIT
//  shell_peers - see shell.h: as broker/peers.c, and the frames that go into lanes.

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/simulation/shell_state.h"
#include "tests/simulation/worker.h"

#define CONNECT_MS 5000

sim_peer_t *
sim_shell_peer(const sim_shell_t *self, uint64_t number)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->number == number) {
            return self->peers.items[i];
        }
    }
    return NULL;
}

static void
free_peer(sim_peer_t *peer)
{
    tally_chunk_drop(&peer->frame);
    free(peer);
}

void
sim_shell_free_peers(sim_shell_t *self)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        free_peer(self->peers.items[i]);
    }
    self->peers.count = 0;
}

static void
leave(sim_shell_t *self, sim_peer_t *peer, tally_gone_t how)
{
    if (peer->doomed) {
        return;
    }
    peer->doomed = true;
    SIM_TRACE(self->world, "broker: worker @ is gone (#)", peer->number, how);
    if (peer->joined) {
        sim_ledger_gone(self->world->ledger, peer->number, how);
        tally_core_worker_gone(self->core, peer->number, how, self->world->now_ms);
    }
}

void
sim_shell_hello(sim_shell_t *self, uint64_t route, uint64_t request, const uint8_t *sender,
                tally_chunk_t *frame)
{
    sim_peer_t *peer = tally_alloc(sizeof *peer);
    peer->frame = tally_chunk_hold(frame);
    peer->route = route;
    peer->since_ms = self->world->now_ms;
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    fault = tally_hello_read(cursor, &peer->hello);
    assert(fault.code == 0);
    peer->number = ++self->last_worker;
    sim_shell_goodbye(self, route);
    tally_caller_t *caller = tally_callers_find(self->callers, route);
    assert(caller != NULL);
    caller->worker = peer->number;
    *TALLY_PUSH(&self->peers) = peer;
    sim_shell_welcome(self, request, sender, peer->number);
    sim_shell_reply(self, route);
}

void
sim_shell_goodbye(sim_shell_t *self, uint64_t route)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->route == route) {
            leave(self, self->peers.items[i], TALLY_GONE_GOODBYE);
        }
    }
}

static void
join(sim_shell_t *self, sim_peer_t *peer)
{
    tally_fault_t fault = {0};
    uint64_t number = tally_core_worker_join(self->core, peer->number, &peer->hello, &fault,
                                             self->world->now_ms);
    assert(number == peer->number);
    peer->joined = true;
    sim_ledger_heard(self->world->ledger, number);
}

void
sim_shell_rejoin(sim_shell_t *self)
{
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->joined && !self->peers.items[i]->doomed) {
            join(self, self->peers.items[i]);
        }
    }
}

void
sim_shell_lane(sim_shell_t *self, uint64_t number, bool open)
{
    sim_peer_t *peer = self->mode == SIM_DOWN ? NULL : sim_shell_peer(self, number);
    if (peer == NULL) {
        return;
    }
    if (self->world->now_ms < self->stopped_until_ms) {
        sim_post(self->world, open ? SIM_LANE_OPEN : SIM_LANE_CLOSED, self->stopped_until_ms, 0,
                 number, NULL);
    } else if (!open) {
        leave(self, peer, TALLY_GONE_DEAD);
    } else if (!peer->joined && !peer->doomed) {
        SIM_TRACE(self->world, "broker: worker @ has joined", number);
        join(self, peer);
    }
}

int
sim_shell_into_lane(sim_shell_t *self, sim_peer_t *peer)
{
    sim_world_t *world = self->world;
    uint32_t owner = (uint32_t)(sim_route_owner(peer->route) - SIM_CLIENTS_MAX);
    if (!sim_worker_has_lane(world->workers[owner], peer->number)) {
        return -1;    // closed, and the broker will hear of it
    }
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    sim_post_in_order(world, SIM_TO_LANE, &peer->lane_ms, owner, peer->number, chunk);
    tally_chunk_drop(&chunk);
    return 0;
}

void
sim_shell_notice(sim_shell_t *self, sim_peer_t *peer, const tally_notice_t *notice)
{
    tally_notice_write(&self->wire, notice);
    (void)sim_shell_into_lane(self, peer);    // a worker that hears nothing says hello again
    if (notice->kind == TALLY_NOTICE_GONE) {
        leave(self, peer, TALLY_GONE_DEAD);
    }
}

void
sim_shell_beat(sim_shell_t *self)
{
    const tally_notice_t beat = {.kind = TALLY_NOTICE_BEAT,
                                 .epoch = self->epoch,
                                 .queue = tally_bytes_of(""),
                                 .tenant = tally_bytes_of("")};
    for (size_t i = 0; i < self->peers.count; i++) {
        if (self->peers.items[i]->joined && !self->peers.items[i]->doomed) {
            sim_shell_notice(self, self->peers.items[i], &beat);
        }
    }
}

void
sim_shell_sweep(sim_shell_t *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->peers.count; i++) {
        sim_peer_t *peer = self->peers.items[i];
        if (!peer->joined && self->world->now_ms - peer->since_ms > CONNECT_MS) {
            leave(self, peer, TALLY_GONE_DEAD);
        }
        if (peer->doomed) {
            free_peer(peer);
        } else {
            self->peers.items[kept++] = peer;
        }
    }
    self->peers.count = kept;
}

//  ---- sink --------------------------------------------------------------------------------------

void
sim_shell_take_records(sim_shell_t *self, tally_chunk_t *frame)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_records_t records;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    if (fault.code == 0) {
        fault = tally_records_read(cursor, &records);
    }
    if (fault.code != 0) {
        return;
    }
    sim_input_t *kept = NULL;
    cursor = records.records;
    for (uint16_t i = 0; i < records.count; i++) {
        tally_record_t record;
        tally_record_read(&cursor, &record);
        if (record.kind == TALLY_RECORD_BEAT) {
            sim_ledger_heard(self->world->ledger, records.worker);
            tally_core_worker_beat(self->core, records.worker, self->world->now_ms);
            if (record.outstanding == 0) {
                tally_core_worker_rests(self->core, records.worker, self->world->now_ms);
            }
            continue;
        }
        if (record.kind == TALLY_RECORD_PUBLISH) {
            continue;
        }
        if (kept == NULL) {
            kept = sim_shell_keep(self, NULL, frame);
        }
        bool is_ending = tally_core_awaits(self->core, record.lease);
        tally_effect_t effect = tally_core_record(self->core, &record, frame, self->world->now_ms);
        kept->ends = kept->ends || effect == TALLY_EFFECT_ENDS;
        if (effect == TALLY_EFFECT_ENDS && !is_ending && self->feed_again_max == 0) {
            sim_ledger_took(self->world->ledger, &record);
        }
        if (effect == TALLY_EFFECT_STALE && records.worker != 0) {
            sim_bit(self->world, SIM_RECORD_STALE);
        }
    }
}

bool
sim_shell_awaits(const sim_shell_t *self, const tally_chunk_t *frame)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_records_t records;
    tally_fault_t fault = tally_head_read((tally_bytes_t){frame->data, frame->size}, &head,
                                          &cursor);
    assert(fault.code == 0);
    fault = tally_records_read(cursor, &records);
    assert(fault.code == 0);
    return tally_core_awaits_any(self->core, records);
}

void
sim_shell_give_back(sim_shell_t *self, const tally_plan_lease_t *leases, size_t count)
{
    if (count == 0) {
        return;
    }
    tally_records_start(&self->wire, 0);
    for (size_t i = 0; i < count; i++) {
        assert(i < TALLY_RECORDS_MAX);    // worlds are small
        const tally_record_t record = {.kind = TALLY_RECORD_RETURN, .lease = leases[i].id};
        tally_records_add(&self->wire, &record, NULL);
        sim_ledger_took_back(self->world->ledger, leases[i].id);
    }
    tally_chunk_t *frame = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    size_t kept = self->collecting.count;
    sim_shell_take_records(self, frame);
    if (TALLY_PLANTED(GIVEN_BACK_ONCE)) {
        sim_shell_clear_inputs(&self->collecting, kept);
        self->collecting.count = kept;
    }
    tally_chunk_drop(&frame);
}
