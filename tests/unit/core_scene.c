// SPDX-License-Identifier: MIT
//  core_scene - see core_scene.h.

#include "tests/unit/core_scene.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"

//  ---- set-up ------------------------------------------------------------------------------------

static void
new_core(scene_t *scene, uint64_t first_id)
{
    const tally_core_options_t options = {
        .epoch = scene->epoch,
        .first_id = first_id,
        .body_cache_bytes_max = scene->cache_bytes_max,
        .shared_messages = TALLY_PLAN_SHARED_MESSAGES,
        .seed = scene->epoch * 7919,
        .tick = fake_store_last_tick(scene->store),
    };
    scene->core = tally_core_new(&options);
}

static void
know_sender(scene_t *scene)
{
    if (!fake_store_load_sender(scene->store, scene->core, scene->sender)) {
        tally_sender_row_t row = {.last = 0};
        memcpy(row.id, scene->sender, sizeof row.id);
        tally_core_load_sender(scene->core, &row);
    }
}

int
scene_setup(void **state)
{
    scene_t *scene = tally_alloc(sizeof *scene);
    scene->store = fake_store_new();
    scene->told = tally_plan_new();
    scene->epoch = 1;
    scene->now_ms = 1000000;
    scene->cache_bytes_max = 1024 * 1024;
    memset(scene->sender, 0x5a, sizeof scene->sender);
    const tally_queue_row_t row = scene_policy("work");
    fake_store_put_queue(scene->store, &row);
    new_core(scene, 0);
    fake_store_load(scene->store, scene->core, scene->now_ms);
    know_sender(scene);
    tally_core_loaded(scene->core, scene->now_ms);
    *state = scene;
    return 0;
}

int
scene_teardown(void **state)
{
    scene_t *scene = *state;
    tally_core_destroy(&scene->core);
    tally_plan_destroy(&scene->told);
    fake_store_destroy(&scene->store);
    tally_wire_free(&scene->wire);
    free(scene);
    return 0;
}

tally_queue_row_t
scene_policy(const char *name)
{
    tally_queue_row_t row = {
        .visibility_ms = TALLY_VISIBILITY_MS_DEFAULT,
        .failures_max = TALLY_FAILURES_MAX_DEFAULT,
        .crashes_max = TALLY_CRASHES_MAX_DEFAULT,
        .retry_ms = TALLY_RETRY_BASE_MS,
        .retry_ms_max = TALLY_RETRY_MS_MAX,
        .batch_max = 256,
        .result_kept_ms = TALLY_RESULT_KEPT_MS,
        .dedupe_kept_ms = TALLY_DEDUPE_KEPT_MS,
    };
    snprintf(row.name, sizeof row.name, "%s", name);
    return row;
}

uint32_t
scene_put_queue(scene_t *scene, const tally_queue_row_t *row)
{
    tally_queue_row_t stored = *row;
    stored.id = fake_store_put_queue(scene->store, row);
    tally_core_load_queue(scene->core, &stored);
    return stored.id;
}

tally_tenant_row_t
scene_tenant_policy(uint32_t id, const char *name)
{
    tally_tenant_row_t row = {.id = id,
                              .weight = 1,
                              .messages_max = 10000000,
                              .bytes_max = 1LL << 34,
                              .leased_max = 1000000};
    snprintf(row.name, sizeof row.name, "%s", name);
    return row;
}

void
scene_put_tenant(scene_t *scene, const tally_tenant_row_t *row)
{
    fake_store_put_tenant(scene->store, row);
    tally_core_load_tenant(scene->core, row);
}

uint32_t
scene_queue_id(const scene_t *scene, const char *name)
{
    const tally_queue_row_t *row = tally_core_queue_find(scene->core, tally_bytes_of(name));
    assert_non_null(row);
    return row->id;
}

uint32_t
scene_tenant_id(const scene_t *scene, const char *name)
{
    const tally_tenant_row_t *row = tally_core_tenant_find(scene->core, tally_bytes_of(name));
    assert_non_null(row);
    return row->id;
}

uint64_t
scene_join_as(scene_t *scene, uint64_t number, uint16_t credit, const char *queues)
{
    tally_hello_t hello = {.credit = credit, .name = tally_bytes_of("worker")};
    while (*queues != '\0') {
        size_t size = strcspn(queues, ",");
        hello.queues[hello.queue_count++] = (tally_bytes_t){queues, size};
        queues += size + (queues[size] == ',');
    }
    tally_fault_t fault = {0};
    number = tally_core_worker_join(scene->core, number, &hello, &fault, scene->now_ms);
    assert_int_not_equal(number, 0);
    return number;
}

uint64_t
scene_join(scene_t *scene, uint16_t credit, const char *queues)
{
    return scene_join_as(scene, 0, credit, queues);
}

void
scene_beat(scene_t *scene)
{
    tally_worker_info_t info;
    for (size_t i = 0; tally_core_worker_at(scene->core, i, scene->now_ms, &info); i++) {
        assert_true(tally_core_worker_beat(scene->core, info.number, scene->now_ms));
    }
}

//  ---- sends -------------------------------------------------------------------------------------

tally_send_answer_t
scene_try(scene_t *scene, uint64_t sequence, const char *queue, const char *tenant,
          const tally_item_t *items, uint16_t count)
{
    tally_send_start(&scene->wire, sequence, tally_bytes_of(queue), tally_bytes_of(tenant));
    for (uint16_t i = 0; i < count; i++) {
        tally_send_add(&scene->wire, &items[i]);
    }
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){scene->wire.data, scene->wire.size});
    tally_head_t head;
    tally_cursor_t cursor;
    tally_send_t send;
    tally_fault_t fault = tally_head_read((tally_bytes_t){chunk->data, chunk->size}, &head,
                                          &cursor);
    assert_int_equal(fault.code, 0);
    fault = tally_send_read(cursor, &send);
    assert_int_equal(fault.code, 0);
    tally_send_answer_t answer = tally_core_send(scene->core, scene->sender, sequence, &send, chunk,
                                                 scene->now_ms);
    tally_chunk_drop(&chunk);
    if (sequence > scene->sequence && answer.outcome == TALLY_SEND_PLANNED) {
        scene->sequence = sequence;
    }
    return answer;
}

tally_item_t
scene_item(const char *body)
{
    return (tally_item_t){.priority = TALLY_PRIORITY_DEFAULT, .body = tally_bytes_of(body)};
}

tally_item_t
scene_keyed(const char *body, const char *key)
{
    tally_item_t item = scene_item(body);
    item.options = TALLY_HAS_KEY;
    item.key = tally_bytes_of(key);
    return item;
}

void
scene_send(scene_t *scene, const char *queue, const char *tenant, uint16_t count)
{
    tally_item_t items[TALLY_BATCH_MESSAGES_MAX];
    char bodies[TALLY_BATCH_MESSAGES_MAX][8];
    for (uint16_t i = 0; i < count; i++) {
        snprintf(bodies[i], sizeof bodies[i], "%u", i);
        items[i] = scene_item(bodies[i]);
    }
    uint64_t sequence = scene->sequence + 1;
    tally_send_answer_t answer = scene_try(scene, sequence, queue, tenant, items, count);
    assert_int_equal(answer.outcome, TALLY_SEND_PLANNED);
}

void
scene_send_item(scene_t *scene, const char *queue, const char *tenant, tally_item_t item)
{
    uint64_t sequence = scene->sequence + 1;
    tally_send_answer_t answer = scene_try(scene, sequence, queue, tenant, &item, 1);
    assert_int_equal(answer.outcome, TALLY_SEND_PLANNED);
}

//  ---- records -----------------------------------------------------------------------------------

bool
scene_record(scene_t *scene, const tally_record_t *record, const uint64_t *ids)
{
    tally_records_start(&scene->wire, 1);
    tally_records_add(&scene->wire, record, ids);
    tally_chunk_t *chunk = tally_chunk_new((tally_bytes_t){scene->wire.data, scene->wire.size});
    tally_head_t head;
    tally_cursor_t cursor;
    tally_records_t records;
    tally_fault_t fault = tally_head_read((tally_bytes_t){chunk->data, chunk->size}, &head,
                                          &cursor);
    assert_int_equal(fault.code, 0);
    fault = tally_records_read(cursor, &records);
    assert_int_equal(fault.code, 0);
    tally_record_t read;
    tally_record_read(&records.records, &read);
    scene->effect = tally_core_record(scene->core, &read, chunk, scene->now_ms);
    tally_chunk_drop(&chunk);
    return scene->effect != TALLY_EFFECT_STALE;
}

static bool
record_one(scene_t *scene, tally_record_t record, uint64_t message)
{
    record.count = message == 0 ? 0 : 1;
    return scene_record(scene, &record, &message);
}

bool
scene_settle(scene_t *scene, uint64_t lease)
{
    return record_one(scene, (tally_record_t){.kind = TALLY_RECORD_SETTLE, .lease = lease}, 0);
}

bool
scene_settle_one(scene_t *scene, uint64_t lease, uint64_t message)
{
    return record_one(scene, (tally_record_t){.kind = TALLY_RECORD_SETTLE, .lease = lease},
                      message);
}

bool
scene_result(scene_t *scene, uint64_t lease, uint64_t message, const char *body)
{
    tally_record_t record = {.kind = TALLY_RECORD_RESULT,
                             .lease = lease,
                             .body = tally_bytes_of(body)};
    return record_one(scene, record, message);
}

bool
scene_fail(scene_t *scene, uint64_t lease, uint64_t message, const char *why)
{
    tally_record_t record = {.kind = TALLY_RECORD_RETURN,
                             .lease = lease,
                             .flags = TALLY_RETURN_FAILED,
                             .text = tally_bytes_of(why)};
    return record_one(scene, record, message);
}

bool
scene_give_back(scene_t *scene, uint64_t lease, uint64_t message)
{
    return record_one(scene, (tally_record_t){.kind = TALLY_RECORD_RETURN, .lease = lease},
                      message);
}

bool
scene_bury(scene_t *scene, uint64_t lease, uint64_t message, const char *why)
{
    tally_record_t record = {.kind = TALLY_RECORD_BURY,
                             .lease = lease,
                             .text = tally_bytes_of(why)};
    return record_one(scene, record, message);
}

bool
scene_note(scene_t *scene, uint64_t lease)
{
    return record_one(scene, (tally_record_t){.kind = TALLY_RECORD_NOTE, .lease = lease}, 0);
}

bool
scene_extend(scene_t *scene, uint64_t lease, uint32_t visible_ms)
{
    tally_record_t record = {.kind = TALLY_RECORD_EXTEND, .lease = lease, .delay_ms = visible_ms};
    return scene_record(scene, &record, NULL);
}

//  ---- ticks -------------------------------------------------------------------------------------

bool
scene_seal(scene_t *scene)
{
    assert_null(scene->plan);
    scene->plan = tally_core_seal(scene->core, scene->now_ms);
    scene->result = NULL;
    tally_core_check(scene->core);
    if (scene->plan != NULL && !tally_plan_silent(scene->plan)) {
        scene->result = fake_store_apply(scene->store, scene->plan, scene->now_ms);
    }
    return scene->plan != NULL;
}

static tally_bytes_t
keep(scene_t *scene, tally_bytes_t bytes)
{
    tally_chunk_t *chunk = tally_chunk_new(bytes);
    *TALLY_PUSH(&scene->told->chunks) = chunk;
    return (tally_bytes_t){chunk->data, chunk->size};
}

#define COPY(array)                                                                                \
    for (size_t i = 0; i < scene->plan->array.count; i++) {                                        \
        *TALLY_PUSH(&scene->told->array) = scene->plan->array.items[i];                            \
    }

static void
remember_plan(scene_t *scene)
{
    tally_plan_t *told = scene->told;
    tally_plan_clear(told);
    told->number = scene->plan->number;
    told->inbox_max = scene->plan->inbox_max;
    COPY(messages)
    COPY(settled)
    COPY(ends)
    COPY(checks)
    COPY(results)
    COPY(leases)
    COPY(ids)
    COPY(terms)
    COPY(extended)
    COPY(extended_ms)
    COPY(fetches)
    COPY(sent_ids)
    COPY(confirms)
    COPY(items)
    COPY(notices)
    COPY(answers)
    COPY(events)
    for (size_t i = 0; i < told->items.count; i++) {
        told->items.items[i].body = keep(scene, told->items.items[i].body);
        told->items.items[i].key = keep(scene, told->items.items[i].key);
    }
    for (size_t i = 0; i < told->answers.count; i++) {
        told->answers.items[i].body = keep(scene, told->answers.items[i].body);
    }
    for (size_t i = 0; i < told->ends.count; i++) {
        told->ends.items[i].text = keep(scene, told->ends.items[i].text);
    }
}

void
scene_commit(scene_t *scene)
{
    assert_non_null(scene->plan);
    tally_core_commit(scene->core, scene->plan, scene->result, scene->now_ms);
    tally_core_check(scene->core);
    remember_plan(scene);
    tally_core_published(scene->core, &scene->plan);
    assert_null(scene->plan);
    tally_core_check(scene->core);
}

bool
scene_tick(scene_t *scene)
{
    if (!scene_seal(scene)) {
        return false;
    }
    scene_commit(scene);
    return true;
}

static void
settle_told(scene_t *scene)
{
    for (size_t i = 0; i < scene->told->leases.count; i++) {
        scene_settle(scene, scene->told->leases.items[i].id);
    }
}

static void
settle_down(scene_t *scene, bool work)
{
    for (int i = 0; tally_core_next_ms(scene->core, scene->now_ms) <= scene->now_ms; i++) {
        assert_true(i < 1000);
        if (scene_tick(scene) && work) {
            settle_told(scene);
        }
    }
}

void
scene_settle_down(scene_t *scene)
{
    settle_down(scene, false);
}

static void
pass(scene_t *scene, int64_t ms, bool work)
{
    int64_t until_ms = scene->now_ms + ms;
    settle_down(scene, work);
    while (scene->now_ms < until_ms) {
        int64_t next_ms = tally_core_next_ms(scene->core, scene->now_ms);
        int64_t beat_ms = scene->now_ms + TALLY_BEAT_MS;
        scene->now_ms = next_ms < beat_ms ? next_ms : beat_ms;
        scene->now_ms = scene->now_ms < until_ms ? scene->now_ms : until_ms;
        scene_beat(scene);
        settle_down(scene, work);
    }
}

void
scene_pass(scene_t *scene, int64_t ms)
{
    pass(scene, ms, false);
}

void
scene_work(scene_t *scene, int64_t ms)
{
    pass(scene, ms, true);
}

void
scene_reload(scene_t *scene, bool same_epoch)
{
    uint64_t next_id = tally_core_next_id(scene->core);
    scene->plan = NULL;
    tally_core_destroy(&scene->core);
    scene->epoch += same_epoch ? 0 : 1;
    new_core(scene, same_epoch ? next_id : 0);
    fake_store_load(scene->store, scene->core, scene->now_ms);
    know_sender(scene);
}

void
scene_loaded(scene_t *scene)
{
    tally_core_loaded(scene->core, scene->now_ms);
    tally_core_check(scene->core);
}

//  ---- what was told -----------------------------------------------------------------------------

size_t
scene_lease_count(const scene_t *scene)
{
    return scene->told->leases.count;
}

const tally_plan_lease_t *
scene_lease(const scene_t *scene, size_t index)
{
    assert_true(index < scene->told->leases.count);
    return &scene->told->leases.items[index];
}

uint64_t
scene_lease_id(const scene_t *scene, size_t index)
{
    return scene_lease(scene, index)->id;
}

uint64_t
scene_lease_some(scene_t *scene, uint16_t count)
{
    if (tally_core_worker_count(scene->core) == 0) {
        scene_join(scene, 100, "work");
    }
    scene_send(scene, "work", "acme", count);
    scene_tick(scene);
    assert_int_equal(scene_lease_count(scene), 1);
    return scene_lease_id(scene, 0);
}

tally_item_t
scene_ask(const char *body)
{
    tally_item_t item = scene_item(body);
    item.options = TALLY_WANTS_RESULT;
    return item;
}

uint64_t
scene_lease_asks(scene_t *scene, uint16_t count)
{
    tally_item_t items[8];
    for (int i = 0; i < 8; i++) {
        items[i] = scene_ask("question");
    }
    scene_join(scene, 100, "work");
    assert_int_equal(scene_try(scene, scene->sequence + 1, "work", "acme", items, count).outcome,
                     TALLY_SEND_PLANNED);
    scene_tick(scene);
    return scene_lease_id(scene, 0);
}

const tally_plan_answer_t *
scene_only_answer(const scene_t *scene)
{
    assert_int_equal(scene->told->answers.count, 1);
    return &scene->told->answers.items[0];
}

const tally_plan_item_t *
scene_item_of(const scene_t *scene, size_t lease, size_t index)
{
    assert_true(index < scene_lease(scene, lease)->count);
    return &scene->told->items.items[scene_lease(scene, lease)->first + index];
}

uint64_t
scene_message(const scene_t *scene, size_t lease, size_t index)
{
    return scene_item_of(scene, lease, index)->id;
}

uint64_t
scene_sent(const scene_t *scene, size_t index)
{
    assert_true(index < scene->told->sent_ids.count);
    return scene->told->sent_ids.items[index];
}

bool
scene_told_notice(const scene_t *scene, uint64_t worker, tally_notice_kind_t kind)
{
    for (size_t i = 0; i < scene->told->notices.count; i++) {
        const tally_plan_notice_t *notice = &scene->told->notices.items[i];
        if (notice->worker == worker && notice->kind == kind) {
            return true;
        }
    }
    return false;
}

size_t
scene_event_count(const scene_t *scene, tally_event_kind_t kind)
{
    size_t count = 0;
    for (size_t i = 0; i < scene->told->events.count; i++) {
        count += scene->told->events.items[i].kind == kind;
    }
    return count;
}

tally_stream_stats_t
scene_stats(const scene_t *scene, const char *queue)
{
    tally_stream_stats_t stats;
    tally_core_stats(scene->core, scene_queue_id(scene, queue), 0, scene->now_ms, &stats);
    return stats;
}

tally_worker_info_t
scene_worker(const scene_t *scene, uint64_t number)
{
    tally_worker_info_t info;
    for (size_t i = 0; tally_core_worker_at(scene->core, i, scene->now_ms, &info); i++) {
        if (info.number == number) {
            return info;
        }
    }
    fail_msg("worker %llu is not connected", (unsigned long long)number);
    return info;
}
