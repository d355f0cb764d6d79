// SPDX-License-Identifier: MIT
//  fuzz_core - any bytes as a history of the core: frames of clients and workers, time, ticks, crashes, operators and
//  other transactions.  After each step the core is consistent (tally_core_check), and the model database asserts what
//  no correct core may ask of it.
//
//  A byte says what happens next, those behind it how.  Frames are written and read by the real codec, or are the
//  input's own bytes.
//
//  covers: broker/core.c broker/core_admin.c broker/core_crew.c broker/core_load.c broker/crew.c broker/ending.c
//  covers: broker/intake.c broker/lease.c broker/leasing.c broker/queue.c broker/record.c broker/rota.c broker/sender.c
//  covers: broker/shelf.c broker/stream.c broker/tenant.c broker/term.c

#include "tests/fuzz/play.h"

#define STEPS_MAX 400
#define WORKERS_MAX 6

static const uint8_t *
sender_of(size_t index)
{
    static const uint8_t senders[SENDERS][TALLY_SENDER_BYTES] = {{1}, {2, 2}};
    return senders[index];
}

//  ---- frames ------------------------------------------------------------------------------------

static void
take_send(struct play *play, size_t sender, uint64_t sequence, tally_cursor_t cursor,
          tally_chunk_t *chunk)
{
    tally_send_t send;
    tally_fault_t fault = tally_send_read(cursor, &send);
    if (fault.code != 0 || tally_core_full(play->core)
        || fake_store_message_count(play->store) + send.count > PLAY_MESSAGES_MAX) {
        return;
    }
    tally_send_answer_t answer = tally_core_send(play->core, sender_of(sender), sequence, &send,
                                                 chunk, play->now_ms);
    if (answer.outcome == TALLY_SEND_REFUSED) {
        assert(answer.fault.code >= TALLY_E_FRAME && answer.fault.text != NULL);
    } else if (sequence > play->sequences[sender]) {
        assert(answer.outcome == TALLY_SEND_PLANNED);
        play->sequences[sender] = sequence;
    }
}

static void
take_hello(struct play *play, tally_cursor_t cursor)
{
    tally_hello_t hello;
    tally_fault_t fault = tally_hello_read(cursor, &hello);
    if (fault.code != 0 || hello.role != TALLY_ROLE_WORKER
        || tally_core_worker_count(play->core) >= WORKERS_MAX) {
        return;
    }
    if (tally_core_worker_join(play->core, 0, &hello, &fault, play->now_ms) == 0) {
        assert(fault.code != 0);
    }
}

static void
take_records(struct play *play, tally_cursor_t cursor, tally_chunk_t *chunk)
{
    tally_records_t records;
    tally_fault_t fault = tally_records_read(cursor, &records);
    if (fault.code != 0) {
        return;
    }
    for (uint16_t i = 0; i < records.count; i++) {
        tally_record_t record;
        tally_record_read(&records.records, &record);
        if (record.kind == TALLY_RECORD_BEAT) {
            (void)tally_core_worker_beat(play->core, records.worker, play->now_ms);
        } else if (record.kind != TALLY_RECORD_PUBLISH) {
            (void)tally_core_record(play->core, &record, chunk, play->now_ms);
        }
    }
}

//  Whatever a socket could have brought.
static void
take_frame(struct play *play, size_t sender, tally_bytes_t frame)
{
    tally_chunk_t *chunk = tally_chunk_new(frame);
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){chunk->data, chunk->size}, &head,
                                          &cursor);
    tally_fetch_t fetch;
    uint32_t tenant = 0;
    if (fault.code == 0 && head.verb == TALLY_SEND) {
        take_send(play, sender, head.request, cursor, chunk);
    } else if (fault.code == 0 && head.verb == TALLY_HELLO) {
        take_hello(play, cursor);
    } else if (fault.code == 0 && head.verb == TALLY_RECORDS) {
        take_records(play, cursor, chunk);
    } else if (fault.code == 0 && head.verb == TALLY_FETCH
               && tally_fetch_read(cursor, &fetch).code == 0
               && tally_core_lease_holds(play->core, fetch.lease, fetch.message, &tenant)) {
        assert(tenant != 0);
    }
    tally_chunk_drop(&chunk);
}

static void
take_written(struct play *play, size_t sender)
{
    take_frame(play, sender, (tally_bytes_t){play->wire.data, play->wire.size});
}

//  ---- what clients and workers do ---------------------------------------------------------------

static void
act_frame(struct play *play)
{
    size_t size = play_draw(play);
    take_frame(play, 0, play_draw_bytes(play, size));
}

static void
act_send(struct play *play)
{
    uint8_t how = play_draw(play);
    size_t sender = how % SENDERS;
    uint64_t sequence = play->sequences[sender] + 1;
    if ((how & 0xc0) == 0x40) {
        sequence += play_draw(play);    // some are missing
    } else if ((how & 0xc0) == 0x80) {
        sequence -= play_draw(play);    // again, or one of the missing
    }
    tally_send_start(&play->wire, sequence,
                     tally_bytes_of(play_queue_names[(how >> 1) % PLAY_QUEUES]),
                     tally_bytes_of(play_tenant_names[(how >> 3) % PLAY_TENANTS]));
    for (int count = 1 + play_draw(play) % 4; count > 0; count--) {
        tally_item_t item = {.options = play_draw(play) & 0x7f, .priority = TALLY_PRIORITY_DEFAULT};
        uint8_t more = play_draw(play);
        if ((item.options & TALLY_HAS_PRIORITY) != 0) {
            item.priority = more % TALLY_PRIORITY_LEVELS;
        }
        if ((item.options & TALLY_HAS_DELAY) != 0) {
            item.delay_ms = (uint64_t)play_draw_ms(play);
        }
        item.key = (item.options & TALLY_HAS_KEY) != 0 ? play_draw_bytes(play, 1)
                                                       : (tally_bytes_t){0};
        item.dedupe = (item.options & TALLY_HAS_DEDUPE) != 0 ? play_draw_bytes(play, 1)
                                                             : (tally_bytes_t){0};
        item.body = play_draw_bytes(play, more >> 4);
        if (tally_item_check(&item).code == 0) {
            tally_send_add(&play->wire, &item);
        }
    }
    take_written(play, sender);
}

static void
act_hello(struct play *play)
{
    uint8_t how = play_draw(play);
    tally_hello_t hello = {.role = TALLY_ROLE_WORKER,
                           .version_min = TALLY_WIRE_VERSION,
                           .version_max = TALLY_WIRE_VERSION,
                           .name = tally_bytes_of("worker"),
                           .credit = (uint16_t)(1 + (how >> 4) * 3)};
    for (size_t i = 0; i < PLAY_QUEUES; i++) {
        if ((how & 1u << i) != 0) {
            hello.queues[hello.queue_count++] = tally_bytes_of(play_queue_names[i]);
        }
    }
    if (hello.queue_count == 0) {
        hello.queues[hello.queue_count++] = tally_bytes_of("unknown");
    }
    tally_hello_write(&play->wire, 1, &hello);
    take_written(play, 0);
}

static void
act_record(struct play *play)
{
    uint8_t how = play_draw(play);
    const struct play_lease *lease = play_draw_lease(play);
    uint64_t ids[IDS_REMEMBERED];
    tally_record_t record = {.kind = (uint8_t)(TALLY_RECORD_SETTLE + how % TALLY_RECORD_NOTE),
                             .lease = lease->id};
    size_t chosen = (how >> 4) % (IDS_REMEMBERED + 1);
    if (record.kind == TALLY_RECORD_RESULT) {
        chosen = 1;
    } else if (record.kind == TALLY_RECORD_EXTEND) {
        chosen = 0;
        record.delay_ms = (uint32_t)(TALLY_VISIBILITY_MS_MIN + play_draw_ms(play) % 1000000);
    }
    for (size_t i = 0; i < chosen; i++) {
        size_t at = play_draw(play);
        ids[i] = lease->count > 0 && at < 0xf0 ? lease->messages[at % lease->count] : at;
    }
    record.count = (uint16_t)chosen;
    if (record.kind == TALLY_RECORD_RETURN) {
        record.flags = play_draw(play) & (TALLY_RETURN_FAILED | TALLY_RETURN_DELAY);
        record.delay_ms = (record.flags & TALLY_RETURN_DELAY) != 0 ? (uint32_t)play_draw_ms(play)
                                                                   : 0;
    }
    if (record.kind == TALLY_RECORD_RETURN || record.kind == TALLY_RECORD_BURY) {
        record.text = tally_bytes_of("why");
    } else if (record.kind == TALLY_RECORD_RESULT) {
        record.body = tally_bytes_of("result");
    }
    tally_records_start(&play->wire, play_draw_worker(play));
    tally_records_add(&play->wire, &record, ids);
    take_written(play, 0);
}

static void
beat_all(struct play *play)
{
    tally_worker_info_t info;
    for (size_t i = 0; tally_core_worker_at(play->core, i, play->now_ms, &info); i++) {
        (void)tally_core_worker_beat(play->core, info.number, play->now_ms);
    }
}

static void
act_leave(struct play *play)
{
    uint8_t how = play_draw(play);
    uint64_t worker = play_draw_worker(play);
    if (how % 3 == 0) {
        tally_core_worker_drain(play->core, worker, play->now_ms);
    } else {
        tally_core_worker_gone(play->core, worker,
                               how % 3 == 1 ? TALLY_GONE_DEAD : TALLY_GONE_GOODBYE, play->now_ms);
    }
}

static void
act_time(struct play *play)
{
    uint8_t how = play_draw(play);
    play->now_ms += play_draw_ms(play);
    if (how % 4 == 0) {
        tally_core_pardon(play->core, play->now_ms);
    } else if (how % 4 != 1) {
        beat_all(play);
    }
}

//  ---- ticks and crashes -------------------------------------------------------------------------

static void
act_seal(struct play *play)
{
    if (play->plan != NULL) {
        return;
    }
    play->plan = tally_core_seal(play->core, play->now_ms);
    play->result = NULL;
    tally_core_check(play->core);
    if (play->plan != NULL && !tally_plan_silent(play->plan)) {
        play->result = fake_store_apply(play->store, play->plan, play->now_ms);
    }
}

//  As the shell would: everything that is told is looked at.
static void
publish(struct play *play)
{
    const tally_plan_t *plan = play->plan;
    uint64_t sum = 0;
    for (size_t i = 0; i < plan->leases.count; i++) {
        const tally_plan_lease_t *given = &plan->leases.items[i];
        struct play_lease *lease = &play->leases[play->lease_count++ % LEASES_REMEMBERED];
        *lease = (struct play_lease){.id = given->id};
        for (size_t k = 0; k < given->count; k++) {
            const tally_plan_item_t *item = &plan->items.items[given->first + k];
            for (size_t b = 0; b < item->body.size; b++) {
                sum += ((const uint8_t *)item->body.data)[b];
            }
            if (item->id != 0 && lease->count < IDS_REMEMBERED) {
                lease->messages[lease->count++] = item->id;
            }
        }
    }
    for (size_t i = 0; i < plan->answers.count; i++) {
        for (size_t b = 0; b < plan->answers.items[i].body.size; b++) {
            sum += ((const uint8_t *)plan->answers.items[i].body.data)[b];
        }
    }
    for (size_t i = 0; i < plan->confirms.count; i++) {
        const tally_plan_confirm_t *confirm = &plan->confirms.items[i];
        assert(confirm->first + confirm->count <= plan->sent_ids.count);
        assert(confirm->duplicates <= confirm->count);
    }
    __asm__ volatile("" : : "r"(sum));
}

static void
act_commit(struct play *play)
{
    if (play->plan == NULL) {
        return;
    }
    tally_core_commit(play->core, play->plan, play->result, play->now_ms);
    tally_core_check(play->core);
    publish(play);
    tally_core_published(play->core, &play->plan);
    assert(play->plan == NULL);
}

static void
act_tick(struct play *play)
{
    act_commit(play);
    for (int i = 0; i < 4 && tally_core_next_ms(play->core, play->now_ms) <= play->now_ms; i++) {
        act_seal(play);
        act_commit(play);
    }
}

static void
open_core(struct play *play, uint64_t first_id)
{
    const tally_core_options_t options = {.epoch = play->epoch,
                                          .first_id = first_id,
                                          .body_cache_bytes_max = 64,
                                          .shared_messages = 2,
                                          .seed = play->epoch,
                                          .tick = fake_store_last_tick(play->store)};
    play->core = tally_core_new(&options);
    fake_store_load(play->store, play->core, play->now_ms);
    for (size_t i = 0; i < SENDERS; i++) {
        if (!fake_store_load_sender(play->store, play->core, sender_of(i))) {
            tally_sender_row_t row = {.last = 0};
            memcpy(row.id, sender_of(i), sizeof row.id);
            tally_core_load_sender(play->core, &row);
        }
        play->sequences[i] = (uint64_t)tally_core_sender_last(play->core, sender_of(i));
    }
}

//  What was collected is lost; so is what a plan that is out would have told.
static void
act_crash(struct play *play)
{
    bool same_epoch = play_draw(play) % 2 == 0;
    uint64_t next_id = same_epoch ? tally_core_next_id(play->core) : 0;
    tally_worker_info_t workers[WORKERS_MAX];
    size_t count = 0;
    while (count < WORKERS_MAX
           && tally_core_worker_at(play->core, count, play->now_ms, &workers[count])) {
        count++;
    }
    tally_core_destroy(&play->core);
    play->plan = NULL;
    play->epoch += same_epoch ? 0 : 1;
    open_core(play, next_id);
    for (size_t i = 0; i < count && same_epoch; i++) {
        tally_hello_t hello = {.credit = workers[i].credit,
                               .name = tally_bytes_of(workers[i].name),
                               .queue_count = workers[i].queue_count};
        for (uint8_t k = 0; k < hello.queue_count; k++) {
            const tally_queue_row_t *row = tally_core_queue_by_id(play->core, workers[i].queues[k]);
            hello.queues[k] = tally_bytes_of(row->name);
        }
        tally_fault_t fault;
        uint64_t number = tally_core_worker_join(play->core, workers[i].number, &hello, &fault,
                                                 play->now_ms);
        assert(number == workers[i].number);
    }
    tally_core_loaded(play->core, play->now_ms);
}

//  ---- the target --------------------------------------------------------------------------------

static void
step(struct play *play)
{
    static void (*const acts[])(struct play *) = {
        act_send,     act_send,       act_record, act_record, act_tick,  act_tick,
        act_hello,    act_time,       act_seal,   act_commit, act_frame, act_leave,
        play_operate, play_elsewhere, act_crash,  act_time,
    };
    acts[play_draw(play) % (sizeof acts / sizeof acts[0])](play);
    tally_core_check(play->core);
}

void
fuzz_core(tally_bytes_t input)
{
    struct play play = {.at = input.data, .epoch = 1, .now_ms = 1000000};
    play.end = play.at + input.size;
    play.store = fake_store_new();
    play_put_queues(&play);
    open_core(&play, 0);
    tally_core_loaded(play.core, play.now_ms);
    for (int i = 0; i < STEPS_MAX && play.at < play.end; i++) {
        step(&play);
    }
    act_tick(&play);
    tally_core_check(play.core);
    tally_core_destroy(&play.core);
    fake_store_destroy(&play.store);
    tally_wire_free(&play.wire);
}
