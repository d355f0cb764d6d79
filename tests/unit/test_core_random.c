// SPDX-License-Identifier: MIT
//  core, at random: clients, workers, operators, other transactions and disasters in any order;
//  after every step the core is consistent, and in the end nothing is lost and nothing was done
//  twice.
//
//  A run is decided by its seed; a failure names it.  TALLY_RANDOM_RUNS and TALLY_RANDOM_SEED
//  repeat one or try more.

#include <stdio.h>
#include <stdlib.h>

#include "broker/table.h"
#include "lib/alloc.h"
#include "tests/unit/core_scene.h"

#define RUNS 200
#define STEPS 2500
#define PENDING_MAX 250
#define WORKERS_MAX 6
#define LEASES_MAX 400

static const char *const QUEUES[] = {"plain", "keyed", "windowed", "alone"};
static const char *const TENANTS[] = {"acme", "globex", "initech"};
static const char *const KEYS[] = {"red", "green", "blue"};

//  A lease that some worker was told of; it may be long over.
typedef struct {
    uint64_t id, worker;
    size_t count;
    uint64_t messages[32];
} told_t;

//  A send that is not confirmed: its random state makes it again.
typedef struct {
    uint64_t sequence, seed;
} unconfirmed_t;

typedef struct {
    scene_t *scene;
    uint64_t random;
    told_t leases[LEASES_MAX];
    size_t lease_count;
    unconfirmed_t unconfirmed[TALLY_SEND_WINDOW];
    size_t unconfirmed_count;
    tally_table_t tokens;               // every lease that was ever told
    tally_table_t stored;               // sequence and index of every message ever inserted
    TALLY_ARRAY(uint64_t) confirmed;    // ids
    uint64_t last_id;                   // the highest that was confirmed
    size_t reloads, restarts;
} run_t;

static uint64_t
draw(run_t *run, uint64_t below)
{
    run->random ^= run->random << 13;
    run->random ^= run->random >> 7;
    run->random ^= run->random << 17;
    return run->random % below;
}

static bool
chance(run_t *run, uint64_t of_hundred)
{
    return draw(run, 100) < of_hundred;
}

static uint32_t
queue_id(run_t *run, size_t index)
{
    return scene_queue_id(run->scene, QUEUES[index]);
}

//  ---- clients -----------------------------------------------------------------------------------

//  Bodies tell who sent them, so that a message that is stored twice is seen.
static tally_item_t
make_item(run_t *run, size_t queue, uint64_t sequence, size_t index, char body[32])
{
    snprintf(body, 32, "%llu/%zu", (unsigned long long)sequence, index);
    tally_item_t item = scene_item(body);
    if (queue == 1) {
        item.options |= TALLY_HAS_KEY;
        item.key = tally_bytes_of(KEYS[draw(run, 3)]);
    }
    if (chance(run, 20)) {
        item.options |= TALLY_WANTS_RESULT;
    }
    if (chance(run, 10)) {
        item.options |= TALLY_AS_BLOB;
    }
    if (chance(run, 20)) {
        item.options |= TALLY_HAS_PRIORITY;
        item.priority = (uint8_t)draw(run, 4);
    }
    if (queue != 1 && chance(run, 10)) {
        item.options |= TALLY_HAS_DELAY;
        item.delay_ms = 1 + draw(run, 3000);
    }
    if (queue != 1 && chance(run, 10)) {
        item.options |= TALLY_HAS_DEDUPE;
        item.dedupe = tally_bytes_of(KEYS[draw(run, 3)]);
    }
    if (queue == 2 && chance(run, 5)) {
        item.options |= TALLY_RELEASES;
    }
    return item;
}

static void
send_again(run_t *run, const unconfirmed_t *send)
{
    uint64_t saved = run->random;
    run->random = send->seed;
    size_t queue = draw(run, 4);
    const char *tenant = TENANTS[draw(run, 3)];
    uint16_t count = (uint16_t)(1 + draw(run, 6));
    tally_item_t items[8];
    char bodies[8][32];
    for (size_t i = 0; i < count; i++) {
        items[i] = make_item(run, queue, send->sequence, i, bodies[i]);
    }
    run->random = saved;
    tally_send_answer_t answer = scene_try(run->scene, send->sequence, QUEUES[queue], tenant, items,
                                           count);
    if (answer.outcome == TALLY_SEND_REPEATED) {
        for (size_t i = 0; i < run->unconfirmed_count; i++) {
            if (run->unconfirmed[i].sequence == send->sequence) {
                run->unconfirmed[i] = run->unconfirmed[--run->unconfirmed_count];
                return;
            }
        }
    }
}

static void
act_send(run_t *run)
{
    if (fake_store_message_count(run->scene->store) > PENDING_MAX || run->unconfirmed_count > 200) {
        return;
    }
    unconfirmed_t send = {run->scene->sequence + 1 + (chance(run, 5) ? 1 : 0),
                          draw(run, 1u << 30) + 1};
    run->unconfirmed[run->unconfirmed_count++] = send;
    send_again(run, &send);
}

static int
compare_sequences(const void *a, const void *b)
{
    uint64_t left = ((const unconfirmed_t *)a)->sequence;
    uint64_t right = ((const unconfirmed_t *)b)->sequence;
    return (left > right) - (left < right);
}

//  A client that heard nothing repeats everything in order.
static void
act_repeat(run_t *run)
{
    unconfirmed_t again[TALLY_SEND_WINDOW];
    size_t count = run->unconfirmed_count;
    memcpy(again, run->unconfirmed, count * sizeof *again);
    qsort(again, count, sizeof *again, compare_sequences);
    for (size_t i = 0; i < count; i++) {
        send_again(run, &again[i]);
    }
}

//  ---- workers -----------------------------------------------------------------------------------

static void
act_join(run_t *run)
{
    static const char *const takes[] = {"plain", "keyed,windowed", "plain,keyed,windowed,alone",
                                        "alone"};
    if (tally_core_worker_count(run->scene->core) < WORKERS_MAX) {
        scene_join(run->scene, (uint16_t)(1 + draw(run, 24)), takes[draw(run, 4)]);
    }
}

static uint64_t
any_worker(run_t *run)
{
    size_t count = tally_core_worker_count(run->scene->core);
    tally_worker_info_t info = {0};
    if (count > 0) {
        tally_core_worker_at(run->scene->core, draw(run, count), run->scene->now_ms, &info);
    }
    return info.number;
}

static void
act_leave(run_t *run)
{
    uint64_t worker = any_worker(run);
    if (chance(run, 30)) {
        tally_core_worker_drain(run->scene->core, worker, run->scene->now_ms);
    } else {
        tally_gone_t how = chance(run, 50) ? TALLY_GONE_DEAD : TALLY_GONE_GOODBYE;
        tally_core_worker_gone(run->scene->core, worker, how, run->scene->now_ms);
    }
}

//  Some messages of a lease: none means all.
static size_t
choose(run_t *run, const told_t *lease, uint64_t ids[32])
{
    size_t count = 0;
    for (size_t i = 0; i < lease->count && chance(run, 70); i++) {
        ids[count++] = lease->messages[draw(run, lease->count)];
    }
    return chance(run, 40) ? 0 : count;
}

static void
act_transaction(run_t *run, const told_t *lease)
{
    uint64_t ids[32];
    size_t count = 0;
    bool all = chance(run, 50);
    for (size_t i = 0; i < lease->count && !all; i++) {
        if (chance(run, 50)) {
            ids[count++] = lease->messages[i];
        }
    }
    if (all || count > 0) {
        fake_store_settle(run->scene->store, lease->id, all ? NULL : ids, count);
    }
    if (chance(run, 30)) {
        fake_store_send(run->scene->store, queue_id(run, 0), 1, "follow-up", "");
    }
    if (chance(run, 80)) {
        scene_note(run->scene, lease->id);
    }
}

static void
act_record(run_t *run)
{
    static const uint8_t kinds[] = {TALLY_RECORD_SETTLE, TALLY_RECORD_SETTLE, TALLY_RECORD_SETTLE,
                                    TALLY_RECORD_RESULT, TALLY_RECORD_RETURN, TALLY_RECORD_RETURN,
                                    TALLY_RECORD_BURY,   TALLY_RECORD_EXTEND, TALLY_RECORD_NOTE};
    if (run->lease_count == 0) {
        return;
    }
    const told_t *lease = &run->leases[draw(run, run->lease_count)];
    if (chance(run, 25)) {
        act_transaction(run, lease);
        return;
    }
    uint64_t ids[32];
    tally_record_t record = {
        .kind = kinds[draw(run, sizeof kinds)],
        .lease = lease->id,
        .flags = (uint8_t)draw(run, 4),
        .delay_ms = (uint32_t)(1 + draw(run, 5000)),
        .count = (uint16_t)choose(run, lease, ids),
        .text = tally_bytes_of("reason"),
        .body = tally_bytes_of("result"),
    };
    if (record.kind == TALLY_RECORD_RESULT) {
        record.count = 1;
        ids[0] = lease->messages[draw(run, lease->count)];
    }
    if (record.kind == TALLY_RECORD_EXTEND) {
        record.count = 0;
    }
    scene_record(run->scene, &record, ids);
}

//  ---- others ------------------------------------------------------------------------------------

static void
act_lock(run_t *run)
{
    scene_t *scene = run->scene;
    if (chance(run, 50)) {
        fake_store_lock_all_leases(scene->store, false);
    } else if (run->lease_count > 0) {
        uint64_t lease = run->leases[draw(run, run->lease_count)].id;
        if (fake_store_lease(scene->store, lease) != NULL) {
            fake_store_lock_lease(scene->store, lease, true);
        }
    }
    for (uint32_t tenant = 1; tenant <= tally_core_tenant_count(scene->core); tenant++) {
        if (fake_store_term(scene->store, queue_id(run, 3), tenant) != NULL) {
            fake_store_lock_term(scene->store, queue_id(run, 3), tenant, chance(run, 20));
        }
    }
}

static tally_queue_row_t
policy(run_t *run, size_t index)
{
    tally_queue_row_t row = scene_policy(QUEUES[index]);
    row.batch_max = (int32_t)(1 + draw(run, 20));
    row.visibility_ms = (int32_t)(500 + draw(run, 5000));
    row.failures_max = (int32_t)(1 + draw(run, 5));
    row.crashes_max = (int32_t)(1 + draw(run, 5));
    row.keep_blobs = chance(run, 20);
    row.window_ms = index == 2 ? (int64_t)draw(run, 4000) : 0;
    row.window_count = index == 2 ? (int32_t)draw(run, 30) : 0;
    row.exclusive = index == 3;
    row.dedupe_kept_ms = 2000;
    return row;
}

static void
act_operator(run_t *run)
{
    tally_core_t *core = run->scene->core;
    const tally_queue_row_t row = policy(run, draw(run, 4));
    tally_tenant_row_t tenant = scene_tenant_policy(0, TENANTS[draw(run, 3)]);
    switch (draw(run, 6)) {
    case 0:
        tally_core_put_queue(core, &row);
        break;
    case 1:
        tenant.weight = (int32_t)(1 + draw(run, 5));
        tenant.leased_max = (int64_t)(1 + draw(run, 60));
        tenant.messages_max = (int64_t)(1 + draw(run, 300));
        tally_core_put_tenant(core, &tenant);
        break;
    case 2:
        tally_core_release_window(core, queue_id(run, 2), (uint32_t)(1 + draw(run, 3)),
                                  run->scene->now_ms);
        break;
    case 3:
        tally_core_housekeep(core);
        break;
    case 4:
        tally_core_look_in_inbox(core);
        break;
    default:
        for (size_t i = 0; i < run->lease_count; i++) {
            const told_t *lease = &run->leases[i];
            const fake_message_t *dead = fake_store_dead(run->scene->store, lease->messages[0]);
            if (dead != NULL && dead->row.key.size == 0) {
                tally_core_retry_dead(core, dead->row.tenant, dead->row.id);
                break;
            }
        }
        break;
    }
}

//  ---- ticks and disasters -----------------------------------------------------------------------

static void
remember_stored(run_t *run)
{
    const tally_plan_t *plan = run->scene->plan;
    for (size_t i = 0; i < plan->messages.count; i++) {
        const tally_plan_message_t *message = &plan->messages.items[i];
        char body[32] = "";
        memcpy(body, message->body.data, message->body.size);
        unsigned long long sequence = 0;
        size_t index = 0;
        assert_int_equal(sscanf(body, "%llu/%zu", &sequence, &index), 2);
        tally_table_put(&run->stored, sequence * 64 + index + 1, run);
    }
}

//  A key has one message leased, the oldest that there is; a term's messages go to its holder.
static void
check_lease(run_t *run, const tally_plan_t *plan, const tally_plan_lease_t *lease)
{
    const fake_store_t *store = run->scene->store;
    if (lease->queue == queue_id(run, 3)) {
        const tally_term_row_t *term = fake_store_term(store, lease->queue, lease->tenant);
        assert_int_equal(term->epoch, lease->epoch);
        assert_int_equal(term->worker, lease->worker);
    }
    for (size_t i = lease->first; i < lease->first + lease->count; i++) {
        const fake_message_t *message = fake_store_message(store, plan->ids.items[i]);
        if (message != NULL && message->row.key.size > 0) {
            assert_true(fake_store_oldest_of_key(store, message));
        }
    }
}

static void
remember_told(run_t *run)
{
    const tally_plan_t *told = run->scene->told;
    for (size_t i = 0; i < told->leases.count; i++) {
        const tally_plan_lease_t *lease = &told->leases.items[i];
        tally_table_put(&run->tokens, lease->id, run);
        told_t *slot = &run->leases[run->lease_count < LEASES_MAX ? run->lease_count++
                                                                  : draw(run, LEASES_MAX)];
        slot->id = lease->id;
        slot->worker = lease->worker;
        slot->count = lease->count < 32 ? lease->count : 32;
        memcpy(slot->messages, told->ids.items + lease->first, slot->count * sizeof(uint64_t));
    }
    for (size_t i = 0; i < told->confirms.count; i++) {
        const tally_plan_confirm_t *confirm = &told->confirms.items[i];
        for (size_t k = 0; k < run->unconfirmed_count; k++) {
            if (run->unconfirmed[k].sequence == confirm->sequence) {
                run->unconfirmed[k] = run->unconfirmed[--run->unconfirmed_count];
            }
        }
        for (size_t k = confirm->first; k < confirm->first + confirm->count; k++) {
            uint64_t id = told->sent_ids.items[k];
            if (id != 0) {
                assert_true(id > run->last_id);
                run->last_id = id;
                assert_non_null(fake_store_message(run->scene->store, id));
                *TALLY_PUSH(&run->confirmed) = id;
            }
        }
    }
}

static void
rejoin(run_t *run, const tally_worker_info_t *workers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char queues[256] = "";
        for (uint8_t k = 0; k < workers[i].queue_count; k++) {
            strncat(queues, k == 0 ? "" : ",", 2);
            strncat(queues, tally_core_queue_by_id(run->scene->core, workers[i].queues[k])->name,
                    TALLY_NAME_BYTES_MAX);
        }
        scene_join_as(run->scene, workers[i].number, workers[i].credit, queues);
    }
}

//  The core is lost.  same_epoch: the process lives, its workers are still there.
static void
lose_core(run_t *run, bool same_epoch)
{
    tally_worker_info_t workers[WORKERS_MAX];
    size_t count = 0;
    while (tally_core_worker_at(run->scene->core, count, run->scene->now_ms, &workers[count])) {
        count++;
    }
    scene_reload(run->scene, same_epoch);
    if (same_epoch) {
        rejoin(run, workers, count);
        run->reloads++;
    } else {
        run->restarts++;
    }
    scene_loaded(run->scene);
    act_repeat(run);
}

static void
act_tick(run_t *run)
{
    scene_t *scene = run->scene;
    if (chance(run, 1) && chance(run, 30)) {
        lose_core(run, chance(run, 70));    // before anything was written
    }
    if (!scene_seal(scene)) {
        return;
    }
    if (scene->result != NULL) {
        remember_stored(run);
    }
    for (size_t i = 0; i < scene->plan->leases.count; i++) {
        check_lease(run, scene->plan, &scene->plan->leases.items[i]);
    }
    if (chance(run, 1) && chance(run, 50)) {
        lose_core(run, chance(run, 70));    // written, and nobody was told
        return;
    }
    for (uint64_t meanwhile = draw(run, 4); meanwhile > 0; meanwhile--) {
        switch (draw(run, 4)) {
        case 0:
            act_send(run);
            break;
        case 1:
            act_leave(run);
            break;
        default:
            act_record(run);
            break;
        }
        tally_core_check(scene->core);
    }
    scene->now_ms += (int64_t)draw(run, 5);
    scene_commit(scene);
    remember_told(run);
}

static void
act_time(run_t *run)
{
    run->scene->now_ms += (int64_t)draw(run, chance(run, 5) ? 3000 : 100);
    if (chance(run, 95)) {
        scene_beat(run->scene);
    }
}

static void
step(run_t *run)
{
    uint64_t dice = draw(run, 100);
    if (dice < 30) {
        act_tick(run);
    } else if (dice < 50) {
        act_record(run);
    } else if (dice < 65) {
        act_send(run);
    } else if (dice < 85) {
        act_time(run);
    } else if (dice < 89) {
        act_join(run);
    } else if (dice < 91) {
        act_leave(run);
    } else if (dice < 94) {
        act_lock(run);
    } else if (dice < 97) {
        act_operator(run);
    } else {
        act_repeat(run);
    }
}

//  ---- the end -----------------------------------------------------------------------------------

//  Everybody is well again: what is left is done within a bounded time.
static void
heal(run_t *run)
{
    scene_t *scene = run->scene;
    fake_store_lock_all_leases(scene->store, false);
    for (uint32_t tenant = 1; tenant <= tally_core_tenant_count(scene->core); tenant++) {
        if (fake_store_term(scene->store, queue_id(run, 3), tenant) != NULL) {
            fake_store_lock_term(scene->store, queue_id(run, 3), tenant, false);
        }
    }
    act_repeat(run);
    for (uint64_t worker; (worker = any_worker(run)) != 0;) {
        tally_core_worker_gone(scene->core, worker, TALLY_GONE_GOODBYE, scene->now_ms);
    }
    tally_core_look_in_inbox(scene->core);
    for (int i = 0; i < 3; i++) {
        scene_join(scene, 50, "plain,keyed,windowed,alone");
    }
    scene_work(scene, 60000);
}

static void
expect_everything_done_once(const run_t *run)
{
    const fake_store_t *store = run->scene->store;
    assert_int_equal(fake_store_message_count(store), 0);
    assert_int_equal(fake_store_lease_count(store), 0);
    assert_int_equal(fake_store_inbox_count(store), 0);
    assert_int_equal(fake_store_unanswered_count(store), 0);
    tally_stream_stats_t stats;
    tally_core_stats(run->scene->core, 0, 0, run->scene->now_ms, &stats);
    assert_int_equal(stats.ready + stats.held + stats.delayed + stats.waiting + stats.leased, 0);
    assert_int_equal(stats.bytes, 0);
    assert_int_equal(tally_core_memory_bytes(run->scene->core), 0);
    assert_int_equal(fake_store_lost_count(store, run->confirmed.items, run->confirmed.count), 0);
}

static void
play(void **state, uint64_t seed)
{
    run_t *run = *state;
    scene_t *scene = run->scene;
    run->random = seed * 0x9e3779b97f4a7c15u + 1;
    scene->cache_bytes_max = draw(run, 4) * 1000;
    scene_reload(scene, true);
    scene_loaded(scene);
    for (size_t i = 0; i < 4; i++) {
        const tally_queue_row_t row = policy(run, i);
        scene_put_queue(scene, &row);
    }
    for (int i = 0; i < STEPS; i++) {
        step(run);
        tally_core_check(scene->core);
    }
    heal(run);
    expect_everything_done_once(run);
}

static int
setup(void **state)
{
    run_t *run = tally_alloc(sizeof *run);
    void *scene;
    scene_setup(&scene);
    run->scene = scene;
    *state = run;
    return 0;
}

static int
teardown(void **state)
{
    run_t *run = *state;
    void *scene = run->scene;
    scene_teardown(&scene);
    tally_table_free(&run->tokens);
    tally_table_free(&run->stored);
    free(run->confirmed.items);
    free(run);
    return 0;
}

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void
nothing_is_lost_and_nothing_done_twice_whatever_happens(void **state)
{
    uint64_t first = from_environment("TALLY_RANDOM_SEED", 1);
    uint64_t runs = from_environment("TALLY_RANDOM_RUNS", RUNS);
    size_t reloads = 0;
    size_t restarts = 0;
    size_t settled = 0;
    size_t dead = 0;
    for (uint64_t seed = first; seed < first + runs; seed++) {
        teardown(state);
        setup(state);
        fprintf(stderr, "\rseed %llu", (unsigned long long)seed);
        play(state, seed);
        const run_t *run = *state;
        reloads += run->reloads;
        restarts += run->restarts;
        settled += fake_store_settled_total(run->scene->store);
        dead += fake_store_dead_count(run->scene->store);
    }
    fprintf(stderr, "\r%zu settled, %zu buried, %zu reloads, %zu restarts\n", settled, dead,
            reloads, restarts);
    //  A run in which nothing bad happened proves nothing.
    if (runs >= RUNS) {
        assert_true(reloads > RUNS / 2);
        assert_true(restarts > RUNS / 10);
        assert_true(dead > RUNS);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_lost_and_nothing_done_twice_whatever_happens,
                                        setup, teardown),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
