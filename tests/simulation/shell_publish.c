// SPDX-License-Identifier: MIT
//  shell_publish - see shell.h: as broker/publish.c, but the process can be killed on the way.

#include <assert.h>
#include <stdio.h>

#include "tests/simulation/shell_state.h"

//  True when the process is killed before it tells the next thing.
static bool
dies(sim_shell_t *self)
{
    if (self->tell_max == SIZE_MAX) {
        return false;
    }
    return self->tell_max-- == 0;
}

static bool
publish_confirms(sim_shell_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->confirms.count; i++) {
        const tally_plan_confirm_t *confirm = &plan->confirms.items[i];
        const tally_caller_t *caller = tally_callers_find_sender(self->callers, confirm->sender);
        if (dies(self)) {
            return false;
        }
        if (caller == NULL) {
            continue;
        }
        sim_ledger_tells_confirm(self->world->ledger, confirm->sender, confirm->sequence);
        tally_confirm_write(&self->wire, confirm->sequence, plan->sent_ids.items + confirm->first,
                            (uint16_t)confirm->count, confirm->duplicates, false);
        sim_shell_reply(self, caller->route);
    }
    return true;
}

static tally_bytes_t
tenant_name(const sim_shell_t *self, uint32_t id)
{
    const tally_tenant_row_t *row = tally_core_tenant_by_id(self->core, id);
    return row == NULL ? tally_bytes_of("") : tally_bytes_of(row->name);
}

static tally_bytes_t
queue_name(const sim_shell_t *self, uint32_t id)
{
    const tally_queue_row_t *row = tally_core_queue_by_id(self->core, id);
    return row == NULL ? tally_bytes_of("") : tally_bytes_of(row->name);
}

static void
publish_lease(sim_shell_t *self, const tally_plan_t *plan, const tally_plan_lease_t *lease)
{
    sim_peer_t *peer = sim_shell_peer(self, lease->worker);
    if (peer == NULL || peer->doomed) {
        return;
    }
    const tally_delivery_t delivery = {.lease = lease->id,
                                       .epoch = lease->epoch,
                                       .visible_ms = lease->visible_ms,
                                       .queue = queue_name(self, lease->queue),
                                       .tenant = tenant_name(self, lease->tenant)};
    tally_delivery_start(&self->wire, &delivery);
    for (size_t i = lease->first; i < lease->first + lease->count; i++) {
        const tally_plan_item_t *item = &plan->items.items[i];
        assert(item->id != 0);    // nobody takes messages out by hand here
        const tally_delivered_t delivered = {.id = item->id,
                                             .options = item->options,
                                             .deliveries = item->deliveries,
                                             .failures = item->failures,
                                             .crashes = item->crashes,
                                             .key = item->key,
                                             .body = item->body};
        tally_delivery_add(&self->wire, &delivered);
    }
    SIM_TRACE(self->world, "broker: lease @ of # messages of queue # goes to worker @", lease->id,
              lease->count, lease->queue, lease->worker);
    sim_ledger_publishes(self->world->ledger, lease);
    if (sim_strikes(self->world, SIM_LANE_FULL) || sim_shell_into_lane(self, peer) == -1) {
        sim_shell_give_back(self, lease, 1);
    }
}

static void
publish_notices(sim_shell_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->notices.count; i++) {
        const tally_plan_notice_t *planned = &plan->notices.items[i];
        sim_peer_t *peer = sim_shell_peer(self, planned->worker);
        if (peer == NULL || peer->doomed) {
            continue;
        }
        if (planned->kind == TALLY_NOTICE_TERM) {
            sim_ledger_tells_term(self->world->ledger, planned->queue, planned->tenant,
                                  planned->epoch, planned->worker);
        }
        const tally_notice_t notice = {.kind = planned->kind,
                                       .epoch = planned->epoch,
                                       .queue = queue_name(self, planned->queue),
                                       .tenant = tenant_name(self, planned->tenant)};
        sim_shell_notice(self, peer, &notice);
    }
}

bool
sim_shell_publish(sim_shell_t *self, tally_plan_t *plan)
{
    if (!publish_confirms(self, plan)) {
        return false;
    }
    for (size_t i = 0; i < plan->leases.count; i++) {
        if (dies(self)) {
            return false;
        }
        publish_lease(self, plan, &plan->leases.items[i]);
    }
    for (size_t i = 0; i < plan->answers.count; i++) {
        const tally_plan_answer_t *answer = &plan->answers.items[i];
        if (dies(self)) {
            return false;
        }
        if (answer->from_store) {
            sim_shell_look_for_result(self, &answer->asker);
        } else {
            sim_shell_give_result(self, &answer->asker, answer->outcome, answer->body);
        }
    }
    publish_notices(self, plan);
    self->tell_max = SIZE_MAX;
    return true;
}
