// SPDX-License-Identifier: MIT
//  worker_record - see worker.h: how records get to the broker, or do not.

#include "tests/simulation/worker_state.h"

static unsigned
meaning(const tally_record_t *record)
{
    switch (record->kind) {
    case TALLY_RECORD_SETTLE:
    case TALLY_RECORD_RESULT:
        return SIM_SAID_SETTLE;
    case TALLY_RECORD_RETURN:
        return (record->flags & TALLY_RETURN_FAILED) != 0 ? SIM_SAID_FAILED : SIM_SAID_RETURN;
    case TALLY_RECORD_BURY:
        return SIM_SAID_BURY;
    case TALLY_RECORD_NOTE:
        return SIM_SAID_NOTE;
    default:
        return 0;
    }
}

static void
put_frame(sim_worker_t *self)
{
    sim_world_t *world = self->world;
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    //  Late or lost it is only with its connection, and that the worker notices.
    if (sim_strikes(world, SIM_RECORD_LATE)) {
        int64_t late_ms = sim_happens(world, 80) ? sim_between(world, 3000, 120000)
                                                 : sim_between(world, 120000, SIM_LATEST_MS);
        SIM_TRACE(world, "a record of worker # will come # ms late", self->index,
                  (uint64_t)late_ms);
        world->late_count++;
        self->sink_broken = true;
        sim_post(world, SIM_TO_SINK, world->now_ms + late_ms, 1, 0, chunk);
    } else if (sim_strikes(world, SIM_RECORD_LOST)) {
        SIM_TRACE(world, "a record of worker # is lost", self->index);
        self->sink_broken = true;
    } else if (sim_strikes(world, SIM_RECORD_REORDERED)) {
        sim_post(world, SIM_TO_SINK, world->now_ms + sim_between(world, 0, 3000), 0, 0, chunk);
    } else {
        sim_post_in_order(world, SIM_TO_SINK, &self->sink_ms, 0, 0, chunk);
    }
    if (sim_strikes(world, SIM_RECORD_DOUBLED)) {
        sim_post(world, SIM_TO_SINK, world->now_ms + sim_between(world, 0, 3000), 0, 0, chunk);
    }
    tally_chunk_drop(&chunk);
}

void
sim_worker_say(sim_worker_t *self, const tally_record_t *record, const uint64_t *ids)
{
    sim_ledger_said(self->world->ledger, record->lease, ids, record->count, meaning(record));
    if (record->kind == TALLY_RECORD_EXTEND) {
        sim_ledger_extended(self->world->ledger, record->lease);
    }
    SIM_TRACE(self->world, "worker # says # of lease @ for # messages", self->index, record->kind,
              record->lease, record->count);
    tally_records_start(&self->wire, self->number);
    tally_records_add(&self->wire, record, ids);
    put_frame(self);
}

void
sim_worker_beat(sim_worker_t *self)
{
    tally_record_t record = {.kind = TALLY_RECORD_BEAT};
    for (size_t i = 0; i < self->open.count; i++) {
        record.outstanding += (uint32_t)self->open.items[i].count;
    }
    tally_records_start(&self->wire, self->number);
    tally_records_add(&self->wire, &record, NULL);
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    sim_post_in_order(self->world, SIM_TO_SINK, &self->sink_ms, 0, 0, chunk);
    tally_chunk_drop(&chunk);
}

//  Leases that are over, that never were, messages of others, and frames that are none.
void
sim_worker_say_nonsense(sim_worker_t *self)
{
    sim_world_t *world = self->world;
    static const uint8_t kinds[] = {TALLY_RECORD_SETTLE, TALLY_RECORD_RETURN, TALLY_RECORD_BURY,
                                    TALLY_RECORD_EXTEND, TALLY_RECORD_NOTE};
    uint64_t old = sim_ledger_old_lease(world->ledger, world);
    uint64_t lease = old != 0 && sim_happens(world, 60) ? old : sim_draw(world, UINT64_MAX);
    uint64_t ids[2] = {sim_draw(world, 1000) | 1ull << 40, sim_draw(world, UINT64_MAX)};
    tally_record_t record = {.kind = kinds[sim_draw(world, sizeof kinds)], .lease = lease};
    bool named = record.kind != TALLY_RECORD_EXTEND && sim_happens(world, 70);
    record.count = named ? 2 : 0;
    //  To extend a lease that it settled by SQL and told nobody of is its own loss, until the new deadline.
    uint32_t delay_ms_max = record.kind == TALLY_RECORD_EXTEND ? 3000 : TALLY_VISIBILITY_MS_MAX;
    record.delay_ms = 1 + (uint32_t)sim_draw(world, delay_ms_max);
    if (self->open.count > 0 && named && record.kind != TALLY_RECORD_NOTE
        && sim_happens(world, 40)) {
        //  Its own lease, but messages that are not in it.
        record.lease = self->open.items[0].lease;
        ids[0] = 7;
    }
    if (self->open.count > 0 && sim_happens(world, 20)) {
        //  It says that it settled a lease by SQL, and did not.
        record = (tally_record_t){.kind = TALLY_RECORD_NOTE, .lease = self->open.items[0].lease};
        sim_ledger_said(world->ledger, record.lease, NULL, 0, SIM_SAID_NOTE);
    }
    tally_records_start(&self->wire, self->number);
    tally_records_add(&self->wire, &record, ids);
    if (sim_happens(world, 20)) {
        self->wire.size = sim_draw(world, self->wire.size);
    }
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){self->wire.data, self->wire.size});
    sim_post(world, SIM_TO_SINK, world->now_ms + sim_latency(world), 0, 0, chunk);
    tally_chunk_drop(&chunk);
}
