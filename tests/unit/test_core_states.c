// SPDX-License-Identifier: MIT
//  core, states and events: every event in every state of a message, and then to the end: once, and
//  only once.
#include "tests/unit/core_scene.h"

#include <stdio.h>

#define DELAY_MS 5000
#define WINDOW_MS 10000
#define NO_LEASE 4711

//  One message under test, and what surrounds it.
typedef struct {
    scene_t *scene;
    uint64_t message, lease, worker;
} case_t;

//  ---- states ------------------------------------------------------------------------------------

static void
send_one(case_t *c, tally_item_t item)
{
    scene_send_item(c->scene, "work", "acme", item);
    scene_tick(c->scene);
    c->message = scene_sent(c->scene, 0);
}

static void
lease_it(case_t *c)
{
    c->worker = scene_join(c->scene, 10, "work");
    send_one(c, scene_item("x"));
    c->lease = scene_lease_id(c->scene, 0);
}

static void
collected(case_t *c)
{
    scene_send_item(c->scene, "work", "acme", scene_item("x"));
    c->message = tally_core_next_id(c->scene->core) - 1;
}

static void
held(case_t *c)
{
    tally_queue_row_t row = scene_policy("work");
    row.window_ms = WINDOW_MS;
    scene_put_queue(c->scene, &row);
    send_one(c, scene_item("x"));
}

static void
delayed(case_t *c)
{
    tally_item_t item = scene_item("x");
    item.options = TALLY_HAS_DELAY;
    item.delay_ms = DELAY_MS;
    send_one(c, item);
}

static bool
fail_later(case_t *c)
{
    tally_record_t record = {
        .kind = TALLY_RECORD_RETURN,
        .lease = c->lease,
        .flags = TALLY_RETURN_FAILED | TALLY_RETURN_DELAY,
        .delay_ms = DELAY_MS,
        .text = tally_bytes_of("later"),
    };
    return scene_record(c->scene, &record, NULL);
}

static void
backing_off(case_t *c)
{
    lease_it(c);
    assert_true(fail_later(c));
    scene_tick(c->scene);
    c->lease = NO_LEASE;
}

static void
behind(case_t *c)
{
    c->worker = scene_join(c->scene, 10, "work");
    send_one(c, scene_keyed("first", "k"));
    c->lease = scene_lease_id(c->scene, 0);
    send_one(c, scene_keyed("x", "k"));
}

static void
ready(case_t *c)
{
    send_one(c, scene_item("x"));
}

static void
planned(case_t *c)
{
    c->worker = scene_join(c->scene, 10, "work");
    scene_send_item(c->scene, "work", "acme", scene_item("x"));
    scene_seal(c->scene);
    c->message = c->scene->plan->ids.items[0];
    c->lease = c->scene->plan->leases.items[0].id;
}

static void
ending(case_t *c)
{
    lease_it(c);
    assert_true(scene_settle(c->scene, c->lease));
}

static void
ending_out(case_t *c)
{
    ending(c);
    scene_seal(c->scene);
}

static void
skipped(case_t *c)
{
    lease_it(c);
    fake_store_lock_lease(c->scene->store, c->lease, true);
    assert_true(scene_settle(c->scene, c->lease));
    scene_tick(c->scene);
    assert_int_equal(scene_stats(c->scene, "work").leased, 1);
}

//  ---- events ------------------------------------------------------------------------------------

static void
settle(case_t *c)
{
    scene_settle(c->scene, c->lease);
}

static void
result(case_t *c)
{
    scene_result(c->scene, c->lease, c->message, "42");
}

static void
fail_it(case_t *c)
{
    fail_later(c);
}

static void
give_back(case_t *c)
{
    scene_give_back(c->scene, c->lease, 0);
}

static void
bury(case_t *c)
{
    scene_bury(c->scene, c->lease, 0, "bad");
}

static void
extend(case_t *c)
{
    scene_extend(c->scene, c->lease, 60000);
}

static void
note(case_t *c)
{
    scene_note(c->scene, c->lease);
}

static void
deadline(case_t *c)
{
    if (c->scene->plan != NULL) {
        c->scene->now_ms += TALLY_VISIBILITY_MS_DEFAULT;
        scene_beat(c->scene);
    } else {
        scene_pass(c->scene, TALLY_VISIBILITY_MS_DEFAULT);
    }
}

static void
death(case_t *c)
{
    tally_core_worker_gone(c->scene->core, c->worker, TALLY_GONE_DEAD, c->scene->now_ms);
}

static void
goodbye(case_t *c)
{
    tally_core_worker_gone(c->scene->core, c->worker, TALLY_GONE_GOODBYE, c->scene->now_ms);
}

static void
drain(case_t *c)
{
    tally_core_worker_drain(c->scene->core, c->worker, c->scene->now_ms);
}

static void
settle_by_sql(case_t *c)
{
    fake_store_settle(c->scene->store, c->lease, NULL, 0);
    scene_note(c->scene, c->lease);
}

static void
settle_locked(case_t *c)
{
    fake_store_lock_all_leases(c->scene->store, true);
    scene_settle(c->scene, c->lease);
    if (c->scene->plan == NULL) {
        scene_pass(c->scene, 2);
    }
}

//  A lost connection: the core is loaded again, the same worker is there.
static void
reload(case_t *c)
{
    bool has_worker = tally_core_worker_count(c->scene->core) > 0;
    scene_reload(c->scene, true);
    if (has_worker) {
        scene_join_as(c->scene, c->worker, 10, "work");
    }
    scene_loaded(c->scene);
}

//  A new broker, nobody is there yet.
static void
restart(case_t *c)
{
    scene_reload(c->scene, false);
    scene_loaded(c->scene);
}

static void
window(case_t *c)
{
    tally_core_release_window(c->scene->core, scene_queue_id(c->scene, "work"), 1,
                              c->scene->now_ms);
}

//  ---- the table ---------------------------------------------------------------------------------
//  Where the message is soon after the event:
//  H held, D delayed, W behind its key, R ready, L leased, G gone (settled), B buried, N never was.

typedef struct {
    const char *name;
    void (*act)(case_t *c);
} act_t;

static const act_t EVENTS[] = {
    {"settle", settle},
    {"result", result},
    {"fail", fail_it},
    {"give back", give_back},
    {"bury", bury},
    {"extend", extend},
    {"note", note},
    {"deadline", deadline},
    {"death", death},
    {"goodbye", goodbye},
    {"drain", drain},
    {"settle by sql", settle_by_sql},
    {"settle while locked", settle_locked},
    {"reload", reload},
    {"restart", restart},
    {"window released", window},
};
#define EVENT_COUNT (sizeof EVENTS / sizeof EVENTS[0])

// clang-format off
static const struct {
    act_t state;
    const char *after;
} STATES[] = {
    //  In the order of EVENTS.
    {{"collected", collected}, "RRRRRRRRRRRRRNNR"},
    {{"held", held}, "HHHHHHHRHHHHHHHR"},
    {{"delayed", delayed}, "DDDDDDDRDDDDDDDD"},
    {{"backing off", backing_off}, "DDDDDDDLDDDDDDDD"},
    {{"behind its key", behind}, "LWWWLWWWWWWLLWWW"},
    {{"ready", ready}, "RRRRRRRRRRRRRRRR"},
    {{"planned", planned}, "LLLLLLLLRRLGLLLL"},
    {{"leased", lease_it}, "GGDLBLLLRRLGGLLL"},
    {{"ending", ending}, "GGGGGGGGGGGGGLLG"},
    {{"ending, out", ending_out}, "GGGGGGGGGGGGGGGG"},
    {{"skipped", skipped}, "GGGGGGGGGGGGGLLG"},
};
// clang-format on
#define STATE_COUNT (sizeof STATES / sizeof STATES[0])

static char
place_of(const case_t *c)
{
    const scene_t *scene = c->scene;
    if (fake_store_settled_count(scene->store, c->message) > 0) {
        return 'G';
    }
    if (fake_store_dead(scene->store, c->message) != NULL) {
        return 'B';
    }
    if (fake_store_message(scene->store, c->message) == NULL) {
        return 'N';
    }
    tally_stream_stats_t stats = scene_stats(scene, "work");
    return stats.held > 0      ? 'H'
           : stats.waiting > 0 ? 'W'
           : stats.delayed > 0 ? 'D'
           : stats.leased > 0  ? 'L'
           : stats.ready > 0   ? 'R'
                               : '?';
}

//  Everything that is left is worked off by a worker that does its work.
static void
work_off(scene_t *scene)
{
    scene_join(scene, 100, "work");
    scene_work(scene, 2 * TALLY_VISIBILITY_MS_DEFAULT + WINDOW_MS);
    assert_int_equal(fake_store_message_count(scene->store), 0);
    assert_int_equal(fake_store_lease_count(scene->store), 0);
    tally_stream_stats_t stats = scene_stats(scene, "work");
    assert_int_equal(stats.ready + stats.held + stats.delayed + stats.waiting + stats.leased, 0);
    assert_int_equal(stats.bytes, 0);
}

//  A fresh scene in a state; the fixture takes it away.
static case_t
begin(void **state, size_t s)
{
    scene_teardown(state);
    scene_setup(state);
    case_t c = {.scene = *state, .lease = NO_LEASE};
    STATES[s].state.act(&c);
    return c;
}

//  Transactions end, and what is due soon happens.
static char
look_soon_after(case_t *c)
{
    tally_core_check(c->scene->core);
    if (c->scene->plan != NULL) {
        scene_commit(c->scene);
    }
    fake_store_lock_all_leases(c->scene->store, false);
    scene_pass(c->scene, 250);
    return place_of(c);
}

static void
expect_one_end(case_t *c, bool never_was)
{
    work_off(c->scene);
    size_t ends = fake_store_settled_count(c->scene->store, c->message);
    ends += fake_store_dead(c->scene->store, c->message) != NULL;
    assert_int_equal(ends, never_was ? 0 : 1);
}

static void
every_event_in_every_state_leads_where_the_table_says_and_to_one_end(void **state)
{
    for (size_t s = 0; s < STATE_COUNT; s++) {
        assert_int_equal(strlen(STATES[s].after), EVENT_COUNT);
        for (size_t e = 0; e < EVENT_COUNT; e++) {
            case_t c = begin(state, s);
            EVENTS[e].act(&c);
            char place = look_soon_after(&c);
            if (place != STATES[s].after[e]) {
                fail_msg("%s, then %s: it is in %c, not in %c", STATES[s].state.name,
                         EVENTS[e].name, place, STATES[s].after[e]);
            }
            expect_one_end(&c, place == 'N');
        }
    }
}

//  A second event on top of the first: no place is expected, but one end is.
static void
any_two_events_in_any_state_lead_to_one_end(void **state)
{
    for (size_t s = 0; s < STATE_COUNT; s++) {
        for (size_t both = 0; both < EVENT_COUNT * EVENT_COUNT; both++) {
            case_t c = begin(state, s);
            EVENTS[both / EVENT_COUNT].act(&c);
            EVENTS[both % EVENT_COUNT].act(&c);
            expect_one_end(&c, look_soon_after(&c) == 'N');
        }
    }
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_event_in_every_state_leads_where_the_table_says_and_to_one_end),
        TEST(any_two_events_in_any_state_lead_to_one_end),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
