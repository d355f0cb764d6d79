// SPDX-License-Identifier: MIT
//  runtime_records - what a role decides about the messages of its lease, on its way to the sink.
//
//  Records are packed into one frame per work, more only when a frame is full.  What concerns a lease that was
//  lost with its broker is dropped: whoever holds it now decides.  A sink that takes nothing for SINK_WAIT_MS
//  loses the frame; the leases then run into their deadlines, which is safe.

#include <assert.h>

#include "lib/clock.h"
#include "lib/failpoint.h"
#include "lib/log.h"
#include "workers/runtime_private.h"

#define FRAME_BYTES_WANTED (1024 * 1024)    // a frame is sent when it has grown to this
#define SINK_WAIT_MS 1000
#define RECORD_ROOM_BYTES (16 * 1024)    // ids, texts and the head of one record
#define RESULT_TOO_LARGE                                                                           \
    "{\"ok\":false,\"error\":{\"code\":\"LIMIT\",\"text\":\"the result is larger than a result "   \
    "may be\"}}"

//  Waits until the sink takes the frame or its time is over.  A broker that comes back meanwhile makes room.
static int
push(tally_worker_t *self, tally_bytes_t frame)
{
    int64_t give_up_at_ms = tally_clock_now_ms() + SINK_WAIT_MS;
    while (tally_link_sink(self->link, frame) == -1) {
        if (!tally_link_ready(self->link) || tally_clock_now_ms() >= give_up_at_ms) {
            return -1;
        }
        zmq_poll(NULL, 0, 10);
    }
    return 0;
}

static void
send_records(tally_worker_t *self)
{
    if (self->record_count == 0) {
        return;
    }
    if (TALLY_FAILPOINT_FAILS(WORK_NOTE)
        || push(self, (tally_bytes_t){self->records.data, self->records.size}) == -1) {
        tally_log_warn("dropped records: the sink does not take them  records=%zu",
                       self->record_count);
    }
    self->record_count = 0;
    tally_wire_reset(&self->records);
    TALLY_FAILPOINT(WORK_TOLD);
}

//  Appends a record.  Without a broker there is nobody to tell.
static void
add_record(tally_worker_t *self, const tally_record_t *record, const uint64_t *ids)
{
    if (!tally_link_ready(self->link)) {
        return;
    }
    if (self->record_count == TALLY_RECORDS_MAX
        || self->records.size + record->body.size + RECORD_ROOM_BYTES > FRAME_BYTES_WANTED) {
        send_records(self);
    }
    if (self->record_count == 0) {
        tally_records_start(&self->records, tally_link_welcome(self->link)->worker);
    }
    tally_records_add(&self->records, record, ids);
    self->record_count++;
}

static void
add_of_lease(tally_worker_t *self, const tally_work_t *work, tally_record_t record,
             const uint64_t *ids, size_t count)
{
    assert(self->working);
    assert(work == &self->work);
    assert(count <= work->count);
    assert(ids != NULL || count == 0);
    if (self->lost) {
        return;
    }
    record.lease = work->id;
    record.count = (uint16_t)count;
    add_record(self, &record, ids);
}

void
tally_worker_settle(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                    size_t count)
{
    add_of_lease(worker, work, (tally_record_t){.kind = TALLY_RECORD_SETTLE}, ids, count);
}

void
tally_worker_settle_result(tally_worker_t *worker, const tally_work_t *work, uint64_t id,
                           tally_bytes_t result)
{
    if (result.size > TALLY_BLOB_BYTES_MAX) {
        result = tally_bytes_of(RESULT_TOO_LARGE);
    }
    add_of_lease(worker, work, (tally_record_t){.kind = TALLY_RECORD_RESULT, .body = result}, &id,
                 1);
}

void
tally_worker_note(tally_worker_t *worker, const tally_work_t *work)
{
    add_of_lease(worker, work, (tally_record_t){.kind = TALLY_RECORD_NOTE}, NULL, 0);
}

void
tally_worker_return(tally_worker_t *worker, const tally_work_t *work, const uint64_t *ids,
                    size_t count, bool counted, int64_t delay_ms, const char *why)
{
    tally_record_t record = {.kind = TALLY_RECORD_RETURN, .text = tally_bytes_of(why)};
    record.flags = counted ? TALLY_RETURN_FAILED : 0;
    if (delay_ms >= 0) {
        record.flags |= TALLY_RETURN_DELAY;
        record.delay_ms = delay_ms < UINT32_MAX ? (uint32_t)delay_ms : UINT32_MAX;
    }
    add_of_lease(worker, work, record, ids, count);
}

void
tally_worker_bury(tally_worker_t *worker, const tally_work_t *work, uint64_t id, const char *why)
{
    add_of_lease(worker, work,
                 (tally_record_t){.kind = TALLY_RECORD_BURY, .text = tally_bytes_of(why)}, &id, 1);
}

void
tally_worker_extend(tally_worker_t *worker, const tally_work_t *work, uint32_t visible_ms)
{
    assert(visible_ms >= 1);
    assert(visible_ms <= TALLY_VISIBILITY_MS_MAX);
    add_of_lease(worker, work,
                 (tally_record_t){.kind = TALLY_RECORD_EXTEND, .delay_ms = visible_ms}, NULL, 0);
    worker->work.deadline_at_ms = tally_clock_now_ms() + visible_ms;
}

void
tally_worker_publish(tally_worker_t *worker, const char *topic, tally_bytes_t json)
{
    assert(json.size <= TALLY_BODY_INLINE_BYTES_MAX);
    tally_record_t record = {.kind = TALLY_RECORD_PUBLISH,
                             .text = tally_bytes_of(topic),
                             .body = json};
    add_record(worker, &record, NULL);
}

void
tally_worker_flush(tally_worker_t *worker)
{
    send_records(worker);
    tally_worker_look(worker, tally_clock_now_ms());
}
