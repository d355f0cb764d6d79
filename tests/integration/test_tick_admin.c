// SPDX-License-Identifier: MIT
//  What operators change through a tick, and what housekeeping takes away.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "tests/integration/pg.h"
#include "tests/integration/tick_scene.h"

//  Dead letters 1 and 2 of acme, of which 2 is a blob, and 1 of another tenant.
static const char *const scene_sql =
    "insert into tally.tenant (id, name) values (8, 'other');"
    "insert into tally.dead_letter (tenant, id, queue, priority, is_blob, created_at, reason, "
    "history,"
    " deliveries, failures, crashes, key, sender, sequence, item, body) values"
    " (7, 1, 101, 3, false, now() - interval '1 h', 'why', '{first,why}', 4, 5, 6, 'k',"
    "  '00000000-0000-0000-0000-0000000000ff', 9, 2, 'one'),"
    " (7, 2, 101, 1, true, now(), 'no', '{no}', 1, 1, 1, null, null, null, null, ''),"
    " (8, 1, 101, 1, false, now(), 'no', '{no}', 1, 1, 1, null, null, null, null, 'other');"
    "insert into tally.blob (tenant, id, body) values (7, 2, 'two')";

static int
set_up(void **state)
{
    *state = tally_alloc(sizeof(tick_scene_t));
    return tick_scene_open(*state, scene_sql);
}

static int
tear_down(void **state)
{
    tick_scene_close(*state);
    free(*state);
    return 0;
}

//  ---- queues and tenants -------------------------------------------------------------------------

static tally_queue_row_t *
plan_queue(tick_scene_t *f, const char *name, int32_t visibility_ms)
{
    tally_queue_row_t *row = TALLY_PUSH(&f->plan->queues);
    snprintf(row->name, sizeof row->name, "%s", name);
    row->visibility_ms = visibility_ms;
    row->failures_max = 2;
    row->crashes_max = 3;
    row->retry_ms = 4;
    row->retry_ms_max = 5;
    row->batch_max = 6;
    row->window_ms = 7;
    row->window_count = 8;
    row->result_kept_ms = 9;
    row->dedupe_kept_ms = 10;
    return row;
}

static void
queues_are_made_and_changed_by_name(void **state)
{
    tick_scene_t *f = *state;
    plan_queue(f, "fresh", 1000)->exclusive = true;
    tick_scene_commit(f);
    assert_int_equal(f->result->queues.count, 1);
    const tally_queue_row_t row = f->result->queues.items[0];
    assert_true(row.id > 0);
    assert_string_equal(row.name, "fresh");
    assert_int_equal(row.visibility_ms, 1000);
    assert_int_equal(row.batch_max, 6);
    assert_true(row.exclusive);

    plan_queue(f, "fresh", 2000);
    plan_queue(f, "fresh", 3000)->keep_blobs = true;    // of two in one tick the last counts
    plan_queue(f, "export", 4000);
    tick_scene_commit(f);
    assert_int_equal(f->result->queues.count, 2);
    size_t at = strcmp(f->result->queues.items[0].name, "fresh") == 0 ? 0 : 1;
    assert_int_equal(f->result->queues.items[at].id, row.id);
    tick_scene_assert_text(
        f,
        "select format('%s %s %s %s %s %s %s %s %s %s %s %s', visibility_ms, failures_max, "
        "crashes_max,"
        " retry_ms, retry_ms_max, batch_max, window_ms, window_count, exclusive, keep_blobs,"
        " result_kept_ms, dedupe_kept_ms) from tally.queue where name = 'fresh'",
        "3000 2 3 4 5 6 7 8 f t 9 10");
    tick_scene_assert_text(f, "select visibility_ms::text from tally.queue where name = 'export'",
                           "4000");
}

static void
tenants_are_made_once_and_their_limits_changed(void **state)
{
    tick_scene_t *f = *state;
    for (uint32_t i = 0; i < 2; i++) {
        tally_tenant_row_t *row = TALLY_PUSH(&f->plan->tenants);
        row->id = 20 + i;
        snprintf(row->name, sizeof row->name, "%s", i == 0 ? "new" : "acme");
    }
    for (int32_t weight = 2; weight < 4; weight++) {
        tally_tenant_row_t *row = TALLY_PUSH(&f->plan->tenant_limits);
        *row = (tally_tenant_row_t){.id = 20,
                                    .weight = weight,
                                    .messages_max = 30,
                                    .bytes_max = 40,
                                    .leased_max = 50};
    }
    tick_scene_commit(f);
    tick_scene_assert_text(
        f, "select string_agg(id || name, ' ' order by id) from tally.tenant where id > 1",
        "7acme 8other 20new");
    tick_scene_assert_text(
        f,
        "select format('%s %s %s %s', weight, messages_max, bytes_max, leased_max) from "
        "tally.tenant"
        " where id = 20",
        "3 30 40 50");
}

//  ---- dead letters -------------------------------------------------------------------------------

static void
plan_dead(tick_scene_t *f, bool retry, uint64_t message)
{
    tally_plan_fetch_t *fetch = retry ? TALLY_PUSH(&f->plan->retried)
                                      : TALLY_PUSH(&f->plan->dropped);
    fetch->tenant = TICK_SCENE_TENANT;
    fetch->message = message;
}

static void
dead_letter_retried_is_a_message_again(void **state)
{
    tick_scene_t *f = *state;
    plan_dead(f, true, 1);
    plan_dead(f, true, 2);
    plan_dead(f, true, 99);
    tick_scene_commit(f);
    assert_int_equal(f->result->retried.count, 2);
    size_t at = f->result->retried.items[0].id == 1 ? 0 : 1;
    const tally_message_row_t *row = &f->result->retried.items[at];
    assert_int_equal(row->tenant, TICK_SCENE_TENANT);
    assert_int_equal(row->priority, 3);
    assert_true(row->past_window);
    assert_true(row->asked);
    assert_int_equal(row->asker.sequence, 9);
    assert_int_equal(row->failures + row->crashes + row->deliveries + row->batch_max, 0);
    assert_true(row->age_ms >= 3600 * 1000);
    assert_true(tally_bytes_equal(row->key, tally_bytes_of("k")));
    assert_true(f->result->retried.items[1 - at].is_blob);
    tick_scene_assert_text(
        f, "select history::text || convert_from(body, 'UTF8') from tally.message where id = 1",
        "{first,why,\"retried by operator\"}one");
    tick_scene_assert_text(f, "select string_agg(tenant || '.' || id, ' ') from tally.dead_letter",
                           "8.1");
    tick_scene_assert_text(f, "select count(*)::text from tally.blob", "1");
}

static void
dead_letter_dropped_is_gone_with_its_blob(void **state)
{
    tick_scene_t *f = *state;
    plan_dead(f, false, 2);
    plan_dead(f, false, 99);
    tick_scene_commit(f);
    assert_int_equal(f->result->dropped.count, 1);
    assert_int_equal(f->result->dropped.items[0].tenant, TICK_SCENE_TENANT);
    assert_int_equal(f->result->dropped.items[0].message, 2);
    tick_scene_assert_text(
        f, "select string_agg(tenant || '.' || id, ' ' order by tenant) from tally.dead_letter",
        "7.1 8.1");
    tick_scene_assert_text(f, "select count(*)::text from tally.blob", "0");
}

//  ---- housekeeping -------------------------------------------------------------------------------

static void
housekeeping_takes_what_is_past_its_time_and_nothing_else(void **state)
{
    tick_scene_t *f = *state;
    tick_scene_must(tally_db_script(
        f->looker,
        "insert into tally.result (sender, sequence, item, tenant, outcome, body, until)"
        " select gen_random_uuid(), g, 0, 7, 1, '', now() + (g - 3) * interval '1 min' from "
        "generate_series(1, 6) g;"
        "insert into tally.dedupe (tenant, queue, key, message, until)"
        " select 7, 101, int8send(g), g, now() + (g - 3) * interval '1 min' from "
        "generate_series(1, 6) g;"
        "insert into tally.sender (id, last, seen_at) values"
        " ('ffffffff-ffff-ffff-ffff-ffffffffffff', 1, now() - interval '31 days'),"
        " ('ffffffff-ffff-ffff-ffff-fffffffffffe', 2, now() - interval '29 days');"
        "insert into tally.tick (epoch, number) select 5, g from generate_series(1, 9) g;"
        "insert into tally.tick (epoch, number) values (4, 20000), (3, 1)"));
    f->plan->number = 10004;
    f->plan->housekeep = true;
    tick_scene_commit(f);
    tick_scene_assert_text(
        f, "select string_agg(sequence::text, ' ' order by sequence) from tally.result", "4 5 6");
    tick_scene_assert_text(
        f, "select string_agg(message::text, ' ' order by message) from tally.dedupe", "4 5 6");
    tick_scene_assert_text(f, "select string_agg(last::text, ' ') from tally.sender", "2");
    tick_scene_assert_text(
        f, "select string_agg(epoch || '.' || number, ' ' order by number) from tally.tick",
        "5.5 5.6 5.7 5.8 5.9 5.10005");
}

static void
housekeeping_of_a_full_house_stays_short(void **state)
{
    tick_scene_t *f = *state;
    tick_scene_must(tally_db_script(
        f->looker, "insert into tally.result (sender, sequence, item, tenant, outcome, body, until)"
                   " select gen_random_uuid(), g, 0, 7, 1, '', now() - interval '1 min'"
                   " from generate_series(1, 6000) g"));
    f->plan->housekeep = true;
    tick_scene_commit(f);
    tick_scene_assert_text(f, "select count(*)::text from tally.result", "1000");
    f->plan->housekeep = true;
    tick_scene_commit(f);
    tick_scene_assert_text(f, "select count(*)::text from tally.result", "0");
}

#define SCENE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    tally_log_set_level(TALLY_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        SCENE(queues_are_made_and_changed_by_name),
        SCENE(tenants_are_made_once_and_their_limits_changed),
        SCENE(dead_letter_retried_is_a_message_again),
        SCENE(dead_letter_dropped_is_gone_with_its_blob),
        SCENE(housekeeping_takes_what_is_past_its_time_and_nothing_else),
        SCENE(housekeeping_of_a_full_house_stays_short),
    };
    return cmocka_run_group_tests_name("tick_admin", tests, tally_pg_share, tally_pg_unshare);
}
