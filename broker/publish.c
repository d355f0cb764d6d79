// SPDX-License-Identifier: MIT
//  publish - tells what a committed plan made true: confirms, deliveries, results, notices, feed.
//
//  Called after COMMIT is known good and only then.  Whoever cannot be reached loses the message, not the fact: a
//  client asks again, a lease whose delivery did not go out is returned at once, uncounted.

#include <assert.h>
#include <inttypes.h>

#include "broker/broker.h"
#include "lib/failpoint.h"
#include "lib/log.h"

static tally_bytes_t
name_of_queue(const tally_broker_t *self, uint32_t id)
{
    const tally_queue_row_t *row = tally_core_queue_by_id(self->core, id);
    return row != NULL ? tally_bytes_of(row->name) : tally_bytes_of("");
}

static tally_bytes_t
name_of_tenant(const tally_broker_t *self, uint32_t id)
{
    const tally_tenant_row_t *row = tally_core_tenant_by_id(self->core, id);
    return row != NULL ? tally_bytes_of(row->name) : tally_bytes_of("");
}

static void
publish_confirms(tally_broker_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->confirms.count; i++) {
        const tally_plan_confirm_t *confirm = &plan->confirms.items[i];
        const tally_caller_t *caller = tally_callers_find_sender(self->callers, confirm->sender);
        if (caller == NULL) {
            self->counters.replies_lost++;
            continue;
        }
        tally_confirm_write(&self->wire, confirm->sequence, plan->sent_ids.items + confirm->first,
                            (uint16_t)confirm->count, confirm->duplicates, false);
        tally_front_answer(self, caller->route);
        if (i == 0 && plan->confirms.count > 1) {
            TALLY_FAILPOINT(CONFIRM_FIRST);
        }
    }
}

static void
publish_lease(tally_broker_t *self, const tally_plan_t *plan, const tally_plan_lease_t *lease)
{
    tally_peer_t *peer = tally_peers_find(self, lease->worker);
    if (peer == NULL || peer->doomed) {
        return;    // its leases end with it
    }
    const tally_delivery_t delivery = {.lease = lease->id,
                                       .epoch = lease->epoch,
                                       .visible_ms = lease->visible_ms,
                                       .queue = name_of_queue(self, lease->queue),
                                       .tenant = name_of_tenant(self, lease->tenant)};
    tally_delivery_start(&self->wire, &delivery);
    size_t count = 0;
    for (size_t i = lease->first; i < lease->first + lease->count; i++) {
        const tally_plan_item_t *item = &plan->items.items[i];
        if (item->id == 0) {
            continue;    // somebody took it out of the database by hand
        }
        count++;
        const tally_delivered_t delivered = {.id = item->id,
                                             .options = item->options,
                                             .deliveries = item->deliveries,
                                             .failures = item->failures,
                                             .crashes = item->crashes,
                                             .key = item->key,
                                             .body = item->body};
        tally_delivery_add(&self->wire, &delivered);
    }
    if (count > 0
        && (TALLY_FAILPOINT_FAILS(LANE_SEND)
            || tally_lane_send(peer->lane, (tally_bytes_t){self->wire.data, self->wire.size})
                   == -1)) {
        tally_sink_give_back(self, lease, 1);
        self->counters.replies_lost++;
    }
}

static void
publish_notices(tally_broker_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->notices.count; i++) {
        const tally_plan_notice_t *planned = &plan->notices.items[i];
        tally_peer_t *peer = tally_peers_find(self, planned->worker);
        if (peer == NULL || peer->doomed) {
            continue;
        }
        const tally_notice_t notice = {.kind = planned->kind,
                                       .epoch = planned->epoch,
                                       .queue = name_of_queue(self, planned->queue),
                                       .tenant = name_of_tenant(self, planned->tenant)};
        tally_peers_notice(self, peer, &notice);
    }
}

static void
publish_answers(tally_broker_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->answers.count; i++) {
        const tally_plan_answer_t *answer = &plan->answers.items[i];
        if (answer->from_store) {
            tally_front_look_for_result(self, &answer->asker);
        } else {
            tally_front_result(self, &answer->asker, answer->outcome, answer->body);
        }
    }
}

static void
publish_term(tally_broker_t *self, const tally_plan_event_t *event)
{
    tally_bytes_t queue = name_of_queue(self, event->queue);
    tally_bytes_t tenant = name_of_tenant(self, event->tenant);
    const tally_peer_t *peer = tally_peers_find(self, event->worker);
    tally_bytes_t worker = peer != NULL ? peer->hello.name : tally_bytes_of("");
    char topic[TALLY_TOPIC_BYTES_MAX];
    int size = snprintf(topic, sizeof topic, "term.%.*s.%.*s", (int)queue.size,
                        (const char *)queue.data, (int)tenant.size, (const char *)tenant.data);
    json_t *object = json_pack("{s:s%, s:s%, s:I, s:s%}", "queue", queue.data, queue.size, "tenant",
                               tenant.data, tenant.size, "term_epoch", (json_int_t)event->epoch,
                               "worker", worker.data, worker.size);
    tally_broadcast_publish(self->feed, (tally_bytes_t){topic, (size_t)size}, object);
    tally_log_info("elected  queue=%.*s tenant=%.*s worker=%.*s term_epoch=%" PRIu64,
                   (int)queue.size, (const char *)queue.data, (int)tenant.size,
                   (const char *)tenant.data, (int)worker.size, (const char *)worker.data,
                   event->epoch);
}

static void
publish_events(tally_broker_t *self, const tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->events.count; i++) {
        const tally_plan_event_t *event = &plan->events.items[i];
        switch (event->kind) {
        case TALLY_EVENT_TERM:
            publish_term(self, event);
            break;
        case TALLY_EVENT_BURIED:
            self->dead_changed = true;
            break;
        case TALLY_EVENT_EXPIRED:
            tally_log_info("lease expired  lease=%" PRIu64 " worker=%" PRIu64, event->id,
                           event->worker);
            break;
        case TALLY_EVENT_WORKER_DEAD:
            tally_log_warn("worker taken for dead: its beats stopped  worker=%" PRIu64,
                           event->worker);
            break;
        default:
            assert(false);
        }
    }
}

//  Work first: its way is the longer one.
void
tally_publish(tally_broker_t *self, tally_plan_t *plan)
{
    for (size_t i = 0; i < plan->leases.count; i++) {
        publish_lease(self, plan, &plan->leases.items[i]);
        if (i == 0 && plan->leases.count > 1) {
            TALLY_FAILPOINT(LANE_FIRST);
        }
    }
    if (plan->leases.count > 0) {
        TALLY_FAILPOINT(LANES_OUT);
    }
    publish_confirms(self, plan);
    if (plan->confirms.count > 0) {
        TALLY_FAILPOINT(CONFIRMS_OUT);
    }
    publish_answers(self, plan);
    if (plan->answers.count > 0) {
        TALLY_FAILPOINT(RESULTS_OUT);
    }
    publish_notices(self, plan);
    publish_events(self, plan);
}
