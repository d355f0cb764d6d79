// SPDX-License-Identifier: MIT
//  core_crew - workers come, beat, drain and go.

#include "broker/core_state.h"

//  Resolves the queues of a hello, each once.  Returns how many, 0 with *fault filled.
static uint8_t
find_queues(const tally_core_t *self, const tally_hello_t *hello, tally_queue_t **queues,
            tally_fault_t *fault)
{
    uint8_t count = 0;
    for (uint8_t i = 0; i < hello->queue_count; i++) {
        tally_queue_t *queue = tally_queues_find(&self->queues, hello->queues[i]);
        if (queue == NULL) {
            *fault = (tally_fault_t){TALLY_E_UNKNOWN, i, TALLY_TEXT_NO_QUEUE};
            return 0;
        }
        bool known = false;
        for (uint8_t j = 0; j < count; j++) {
            known = known || queues[j] == queue;
        }
        if (!known) {
            queues[count++] = queue;
        }
    }
    return count;
}

uint64_t
tally_core_worker_join(tally_core_t *self, uint64_t number, const tally_hello_t *hello,
                       tally_fault_t *fault, int64_t now_ms)
{
    assert(hello->credit > 0);
    assert(hello->queue_count > 0);
    assert(hello->queue_count <= TALLY_WORKER_QUEUES_MAX);
    if (number != 0 && tally_crew_find(&self->crew, number) != NULL) {
        *fault = (tally_fault_t){TALLY_E_STATE, TALLY_NO_INDEX, "this worker is connected already"};
        return 0;
    }
    if (self->crew.joined.count >= TALLY_WORKERS_MAX) {
        *fault = (tally_fault_t){TALLY_E_BUSY, TALLY_NO_INDEX,
                                 "there are too many workers; come back later"};
        return 0;
    }
    tally_queue_t *queues[TALLY_WORKER_QUEUES_MAX];
    uint8_t queue_count = find_queues(self, hello, queues, fault);
    if (queue_count == 0) {
        return 0;
    }
    if (number == 0) {
        number = tally_core_take_id(self);
    } else {
        tally_core_skip_id(self, number);
    }
    tally_crew_join(&self->crew, number, hello, queues, queue_count, now_ms);
    return number;
}

static void
remove_worker(tally_core_t *self, tally_crew_worker_t *worker, tally_gone_t how, int64_t now_ms)
{
    bool alone = worker->leases.count == 1;
    for (tally_link_t *link; (link = tally_list_first(&worker->leases)) != NULL;) {
        tally_lease_t *lease = TALLY_OF(link, tally_lease_t, of_worker);
        lease->alone = alone;
        tally_lease_orphan(lease);
        lease->crashes = how == TALLY_GONE_DEAD
                         && lease->live;    // what it never got did not kill it
        lease->deadline_ms = now_ms;
        if (lease->live) {
            tally_core_watch(self, lease);
        }
    }
    if (how == TALLY_GONE_DEAD) {
        *TALLY_PUSH(&tally_core_plan(self)->events) = (tally_plan_event_t){
            .kind = TALLY_EVENT_WORKER_DEAD,
            .worker = worker->number,
        };
    }
    tally_crew_remove(&self->crew, worker);
    tally_core_hurry(self, now_ms);
}

void
tally_core_worker_gone(tally_core_t *self, uint64_t number, tally_gone_t how, int64_t now_ms)
{
    tally_crew_worker_t *worker = tally_crew_find(&self->crew, number);
    if (worker != NULL) {
        remove_worker(self, worker, how, now_ms);
    }
}

static void
notify(tally_core_t *self, const tally_crew_worker_t *worker, tally_notice_kind_t kind)
{
    *TALLY_PUSH(&tally_core_plan(self)->notices) = (tally_plan_notice_t){
        .worker = worker->number,
        .kind = (uint8_t)kind,
    };
}

void
tally_core_bury_silent(tally_core_t *self, int64_t now_ms)
{
    tally_heap_node_t *node;
    while ((node = tally_heap_take_due(&self->crew.silence, now_ms)) != NULL) {
        tally_crew_worker_t *worker = TALLY_OF(node, tally_crew_worker_t, silence);
        if (!worker->joined) {
            remove_worker(self, worker, TALLY_GONE_GOODBYE, now_ms);
            continue;
        }
        notify(self, worker, TALLY_NOTICE_GONE);
        remove_worker(self, worker, TALLY_GONE_DEAD, now_ms);
    }
}

bool
tally_core_worker_beat(tally_core_t *self, uint64_t number, int64_t now_ms)
{
    tally_crew_worker_t *worker = tally_crew_find(&self->crew, number);
    if (worker != NULL) {
        tally_crew_beat(&self->crew, worker, now_ms);
        return true;
    }
    worker = tally_crew_find_awaited(&self->crew, number);
    if (worker != NULL) {
        tally_crew_await(&self->crew, worker, now_ms + TALLY_BEAT_MS * TALLY_BEATS_MISSED_MAX);
    }
    return false;
}

void
tally_core_worker_rests(tally_core_t *self, uint64_t number, int64_t now_ms)
{
    tally_crew_worker_t *worker = tally_crew_find_awaited(&self->crew, number);
    if (worker != NULL) {
        remove_worker(self, worker, TALLY_GONE_GOODBYE, now_ms);
    }
}

void
tally_core_pardon(tally_core_t *self, int64_t now_ms)
{
    for (size_t i = 0; i < self->crew.joined.count; i++) {
        tally_crew_beat(&self->crew, self->crew.joined.items[i], now_ms);
    }
}

void
tally_core_worker_drain(tally_core_t *self, uint64_t number, int64_t now_ms)
{
    tally_crew_worker_t *worker = tally_crew_find(&self->crew, number);
    if (worker == NULL || worker->draining) {
        return;
    }
    tally_crew_drain(worker);
    notify(self, worker, TALLY_NOTICE_DRAIN);
    tally_core_hurry(self, now_ms);
}

size_t
tally_core_worker_count(const tally_core_t *self)
{
    return self->crew.joined.count;
}

bool
tally_core_worker_at(const tally_core_t *self, size_t index, int64_t now_ms,
                     tally_worker_info_t *info)
{
    if (index >= self->crew.joined.count) {
        return false;
    }
    const tally_crew_worker_t *worker = self->crew.joined.items[index];
    *info = (tally_worker_info_t){
        .number = worker->number,
        .credit = worker->credit,
        .outstanding = worker->outstanding,
        .leases = (uint32_t)worker->leases.count,
        .terms = (uint32_t)worker->terms.count,
        .beat_ms = now_ms - worker->beat_ms,
        .draining = worker->draining,
        .queue_count = worker->member_count,
    };
    memcpy(info->name, worker->name, sizeof info->name);
    for (uint8_t i = 0; i < worker->member_count; i++) {
        info->queues[i] = worker->members[i].queue->row.id;
    }
    return true;
}
