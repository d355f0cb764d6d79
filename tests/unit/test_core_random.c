// SPDX-License-Identifier: MIT
//  core, at random: clients, workers, operators, other transactions and disasters in any order;
//  after every step the core is consistent, and in the end nothing is lost and nothing was done
//  twice.
//
//  A run is decided by its seed; a failure names it.  TALLY_RANDOM_RUNS and TALLY_RANDOM_SEED
//  repeat one or try more.

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/unit/chaos.h"

#define RUNS 200
#define STEPS 2500

//  ---- ticks and disasters -----------------------------------------------------------------------

static void
remember_stored(chaos_t *run)
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
check_lease(chaos_t *run, const tally_plan_t *plan, const tally_plan_lease_t *lease)
{
    const fake_store_t *store = run->scene->store;
    if (lease->queue == chaos_queue(run, 3)) {
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
remember_told(chaos_t *run)
{
    const tally_plan_t *told = run->scene->told;
    for (size_t i = 0; i < told->leases.count; i++) {
        const tally_plan_lease_t *lease = &told->leases.items[i];
        tally_table_put(&run->tokens, lease->id, run);
        chaos_lease_t *slot = &run->leases[run->lease_count < CHAOS_LEASES_MAX
                                               ? run->lease_count++
                                               : chaos_draw(run, CHAOS_LEASES_MAX)];
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
rejoin(chaos_t *run, const tally_worker_info_t *workers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char queues[256] = "";
        size_t size = 0;
        for (uint8_t k = 0; k < workers[i].queue_count; k++) {
            const tally_queue_row_t *row = tally_core_queue_by_id(run->scene->core,
                                                                  workers[i].queues[k]);
            size += (size_t)snprintf(queues + size, sizeof queues - size, "%s%s", k == 0 ? "" : ",",
                                     row->name);
            assert_true(size < sizeof queues);
        }
        scene_join_as(run->scene, workers[i].number, workers[i].credit, queues);
    }
}

//  The core is lost.  same_epoch: the process lives, its workers are still there.
static void
lose_core(chaos_t *run, bool same_epoch)
{
    tally_worker_info_t workers[CHAOS_WORKERS_MAX];
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
    chaos_repeat(run);
}

static void
act_tick(chaos_t *run)
{
    scene_t *scene = run->scene;
    if (chaos_chance(run, 1) && chaos_chance(run, 30)) {
        lose_core(run, chaos_chance(run, 70));    // before anything was written
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
    if (chaos_chance(run, 1) && chaos_chance(run, 50)) {
        lose_core(run, chaos_chance(run, 70));    // written, and nobody was told
        return;
    }
    for (uint64_t meanwhile = chaos_draw(run, 4); meanwhile > 0; meanwhile--) {
        switch (chaos_draw(run, 4)) {
        case 0:
            chaos_send(run);
            break;
        case 1:
            chaos_leave(run);
            break;
        default:
            chaos_record(run);
            break;
        }
        tally_core_check(scene->core);
    }
    scene->now_ms += (int64_t)chaos_draw(run, 5);
    scene_commit(scene);
    remember_told(run);
}

static void
act_time(chaos_t *run)
{
    run->scene->now_ms += (int64_t)chaos_draw(run, chaos_chance(run, 5) ? 3000 : 100);
    if (chaos_chance(run, 95)) {
        scene_beat(run->scene);
    }
}

static void
step(chaos_t *run)
{
    uint64_t dice = chaos_draw(run, 100);
    if (dice < 30) {
        act_tick(run);
    } else if (dice < 50) {
        chaos_record(run);
    } else if (dice < 65) {
        chaos_send(run);
    } else if (dice < 85) {
        act_time(run);
    } else if (dice < 89) {
        chaos_join(run);
    } else if (dice < 91) {
        chaos_leave(run);
    } else if (dice < 94) {
        chaos_lock(run);
    } else if (dice < 97) {
        chaos_operate(run);
    } else {
        chaos_repeat(run);
    }
}

//  ---- the end -----------------------------------------------------------------------------------

//  Everybody is well again: what is left is done within a bounded time.
static void
heal(chaos_t *run)
{
    scene_t *scene = run->scene;
    fake_store_lock_all_leases(scene->store, false);
    for (uint32_t tenant = 1; tenant <= tally_core_tenant_count(scene->core); tenant++) {
        if (fake_store_term(scene->store, chaos_queue(run, 3), tenant) != NULL) {
            fake_store_lock_term(scene->store, chaos_queue(run, 3), tenant, false);
        }
    }
    chaos_repeat(run);
    for (uint64_t worker; (worker = chaos_any_worker(run)) != 0;) {
        tally_core_worker_gone(scene->core, worker, TALLY_GONE_GOODBYE, scene->now_ms);
    }
    tally_core_look_in_inbox(scene->core);
    for (int i = 0; i < 3; i++) {
        scene_join(scene, 50, "plain,keyed,windowed,alone");
    }
    scene_work(scene, 60000);
}

static void
expect_everything_done_once(const chaos_t *run)
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
    chaos_t *run = *state;
    scene_t *scene = run->scene;
    run->random = seed * 0x9e3779b97f4a7c15u + 1;
    scene->cache_bytes_max = chaos_draw(run, 4) * 1000;
    scene_reload(scene, true);
    scene_loaded(scene);
    for (size_t i = 0; i < 4; i++) {
        const tally_queue_row_t row = chaos_policy(run, i);
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
    chaos_t *run = tally_alloc(sizeof *run);
    void *scene;
    scene_setup(&scene);
    run->scene = scene;
    *state = run;
    return 0;
}

static int
teardown(void **state)
{
    chaos_t *run = *state;
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
        const chaos_t *run = *state;
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
