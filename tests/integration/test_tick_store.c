// SPDX-License-Identifier: MIT
//  What a tick writes: every section of a plan against a real PostgreSQL, and what is answered.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/log.h"
#include "tests/integration/pg.h"
#include "tests/integration/tick_scene.h"

#define PLAIN 101
#define KEEPING 102
#define SINGLE 103

struct fixture {
    tick_scene_t scene;
    tally_db_t *worker;    // holds locks
};

//  Lease 500 holds messages 1 to 4 of queue 101; 3 is a blob.  Lease 600 holds message 6, a blob, in queue 102.
static const char *const scene_sql =
    "insert into tally.queue (id, name, keep_blobs, exclusive) overriding system value values"
    " (101, 'plain', false, false), (102, 'keeping', true, false), (103, 'single', false, true);"
    "insert into tally.message (tenant, id, queue, is_blob, body) values (7, 1, 101, false, 'one'),"
    " (7, 2, 101, false, 'two'), (7, 3, 101, true, ''), (7, 4, 101, false, 'four'),"
    " (7, 5, 101, false, 'free'), (7, 6, 102, true, '');"
    "insert into tally.blob (tenant, id, body) values (7, 3, 'three'), (7, 6, 'six');"
    "insert into tally.lease (id, tenant, queue, worker, deadline, messages) values"
    " (500, 7, 101, 1, now() + interval '1 minute', '{1,2,3,4}'),"
    " (600, 7, 102, 1, now() + interval '1 minute', '{6}');"
    "insert into tally.term (queue, tenant, epoch, worker, worker_name) values (103, 7, 3, 1, 'w')";

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    int rc = tick_scene_open(&f->scene, scene_sql);
    f->worker = tally_db_new(tally_pg_conninfo(tally_pg_shared()), "test-worker");
    return rc;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tick_scene_close(&f->scene);
    tally_db_destroy(&f->worker);
    free(f);
    return 0;
}

//  Ids of messages, of blobs, of dead letters; what the leases hold.
static void
assert_left(struct fixture *f, const char *messages, const char *blobs, const char *dead,
            const char *leases)
{
    tick_scene_assert_text(&f->scene,
                           "select string_agg(id::text, ' ' order by id) from tally.message",
                           messages);
    tick_scene_assert_text(&f->scene,
                           "select string_agg(id::text, ' ' order by id) from tally.blob", blobs);
    tick_scene_assert_text(&f->scene,
                           "select string_agg(id::text, ' ' order by id) from tally.dead_letter",
                           dead);
    tick_scene_assert_text(
        &f->scene, "select string_agg(id || messages::text, ' ' order by id) from tally.lease",
        leases);
}

//  ---- sends --------------------------------------------------------------------------------------

static const tally_asker_t asker = {{0xab, [15] = 1}, 77, 3};

static tally_plan_message_t *
plan_message(struct fixture *f, uint64_t id, const char *body)
{
    tally_plan_message_t *message = TALLY_PUSH(&f->scene.plan->messages);
    message->id = id;
    message->tenant = TICK_SCENE_TENANT;
    message->queue = PLAIN;
    message->priority = TALLY_PRIORITY_DEFAULT;
    message->body = tally_bytes_of(body);
    return message;
}

static const char *const sent_sql =
    "select string_agg(format('%s/%s/%s/%s/%s/%s/%s/%s/%s/%s', m.id, queue, priority, is_blob, "
    "releases,"
    " convert_from(m.body, 'UTF8'), convert_from(key, 'UTF8'), round(extract(epoch from due - "
    "now())),"
    " sequence || '.' || item, convert_from(b.body, 'UTF8')), ' ' order by m.id)"
    " from tally.message m left join tally.blob b on b.id = m.id where m.id >= 1000";

static void
messages_are_stored_with_all_they_have(void **state)
{
    struct fixture *f = *state;
    plan_message(f, 1000, "plain");
    tally_plan_message_t *message = plan_message(f, 1001, "rich");
    message->priority = 3;
    message->releases = true;
    message->key = tally_bytes_of("k");
    message->delay_ms = 3600 * 1000;
    plan_message(f, 1002, "asked")->asker = &asker;
    plan_message(f, 1003, "large")->is_blob = true;
    plan_message(f, 1004, "");
    message = plan_message(f, 1005, "both");
    message->is_blob = true;
    message->asker = &asker;
    message->queue = KEEPING;
    tick_scene_commit(&f->scene);
    tick_scene_assert_text(
        &f->scene, sent_sql,
        "1000/101/1/f/f/plain//// 1001/101/3/f/t/rich/k/3600//"
        " 1002/101/1/f/f/asked///77.3/ 1003/101/1/t/f/////large 1004/101/1/f/f/////"
        " 1005/102/1/t/f////77.3/both");
    tick_scene_assert_text(&f->scene, "select sender::text from tally.message where id = 1002",
                           "ab000000-0000-0000-0000-000000000001");
}

static void
plan_deduped(struct fixture *f, uint64_t id, const char *key, int64_t kept_ms)
{
    tally_plan_message_t *message = plan_message(f, id, key);
    message->dedupe = tally_bytes_of(key);
    message->dedupe_kept_ms = kept_ms;
}

static bool
has(const uint64_t *ids, size_t count, uint64_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id) {
            return true;
        }
    }
    return false;
}

static void
message_with_a_known_dedupe_key_is_not_stored(void **state)
{
    struct fixture *f = *state;
    plan_deduped(f, 1000, "a", 60000);
    plan_deduped(f, 1001, "b", 60000);
    plan_deduped(f, 1002, "a", 60000);    // of two in one tick the first wins
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->deduped.count, 2);
    assert_true(has(f->scene.result->deduped.items, 2, 1000));
    assert_true(has(f->scene.result->deduped.items, 2, 1001));

    plan_deduped(f, 1003, "b", 60000);
    plan_deduped(f, 1004, "c", 60000);
    plan_message(f, 1005, "plain");
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->deduped.count, 1);
    assert_int_equal(f->scene.result->deduped.items[0], 1004);
    tick_scene_assert_text(
        &f->scene,
        "select string_agg(id::text, ' ' order by id) from tally.message where id >= 1000",
        "1000 1001 1004 1005");
    tick_scene_assert_text(&f->scene,
                           "select string_agg(message::text, ' ' order by key) from tally.dedupe",
                           "1000 1001 1004");
}

static void
dedupe_key_is_free_again_after_its_time_and_elsewhere(void **state)
{
    struct fixture *f = *state;
    plan_deduped(f, 1000, "a", 60000);
    tick_scene_commit(&f->scene);
    tick_scene_must(
        tally_db_script(f->scene.looker, "update tally.dedupe set until = now() - interval '1 s'"));
    plan_deduped(f, 1001, "a", 60000);
    plan_deduped(f, 1002, "a", 60000);
    f->scene.plan->messages.items[1].queue = KEEPING;
    f->scene.plan->messages.items[1].is_blob = true;
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->deduped.count, 2);
    tick_scene_assert_text(
        &f->scene,
        "select string_agg(message || '/' || (until > now()), ' ' order by message) from "
        "tally.dedupe",
        "1001/true 1002/true");
    tick_scene_assert_text(&f->scene,
                           "select convert_from(body, 'UTF8') from tally.blob where id = 1002",
                           "a");
}

static void
senders_keep_their_last_and_missing_sequences(void **state)
{
    struct fixture *f = *state;
    static const int64_t missing[] = {3, 8};
    for (int round = 0; round < 2; round++) {
        for (uint8_t i = 0; i < 2; i++) {
            tally_plan_sender_t *sender = TALLY_PUSH(&f->scene.plan->senders);
            sender->sender[15] = (uint8_t)(i + 1);
            sender->last = 10 * (round + 1) + i;
            sender->missing = missing;
            sender->missing_count = round == 0 ? i * 2 : 2 - i * 2;
        }
        tick_scene_commit(&f->scene);
    }
    tick_scene_assert_text(
        &f->scene,
        "select string_agg(right(id::text, 1) || ':' || last || missing::text, ' ' order by id)"
        " from tally.sender",
        "1:20{3,8} 2:21{}");
}

static void
inbox_moves_into_messages_in_its_order(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(
        tally_db_script(f->scene.looker,
                        "select tally.send('plain', 'acme', 'a', key => 'k', priority => 3);"
                        "select tally.send('plain', 'acme', 'b', delay => '1 hour');"
                        "select tally.send('plain', 'acme', 'cc', releases => true);"
                        "select tally.send('plain', 'acme', 'd')"));
    tick_scene_must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    tick_scene_must(
        tally_db_run(f->worker, "select from tally.inbox where id = 1 for update", NULL, NULL));
    f->scene.plan->inbox_max = 2;
    f->scene.plan->inbox_id = 1000;
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->arrived.count, 2);    // the first is locked by somebody
    const tally_message_row_t *row = f->scene.result->arrived.items;
    assert_int_equal(row[0].id, 1000);
    assert_true(row[0].tenant == TICK_SCENE_TENANT && row[0].queue == PLAIN);
    assert_in_range(row[0].due_ms, 3590000, 3600000);
    assert_int_equal(row[0].body_bytes, 1);
    assert_int_equal(row[1].id, 1001);
    assert_true(row[1].releases);
    assert_false(row[1].past_window);
    assert_false(row[1].asked);
    assert_int_equal(row[1].body_bytes, 2);
    assert_true(row[1].due_ms <= 0);
    tally_db_rollback(f->worker);

    f->scene.plan->inbox_max = 10;
    f->scene.plan->inbox_id = 1002;
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->arrived.count, 2);
    row = f->scene.result->arrived.items;
    assert_int_equal(row[0].priority, 3);
    assert_true(tally_bytes_equal(row[0].key, tally_bytes_of("k")));
    tick_scene_assert_text(&f->scene, sent_sql,
                           "1000/101/1/f/f/b//3600// 1001/101/1/f/t/cc//// 1002/101/3/f/f/a/k///"
                           " 1003/101/1/f/f/d////");
    tick_scene_assert_text(&f->scene, "select count(*)::text from tally.inbox", "0");
}

//  ---- endings ------------------------------------------------------------------------------------

static void
whole_leases_are_settled_as_a_set(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(tally_db_script(
        f->scene.looker,
        "insert into tally.message (tenant, id, queue, body) values (7, 8, 101, '');"
        "insert into tally.lease (id, tenant, queue, worker, deadline, messages)"
        " values (700, 7, 101, 1, now(), '{8}'), (701, 7, 101, 1, now(), '{5}')"));
    *TALLY_PUSH(&f->scene.plan->settled) = 700;
    *TALLY_PUSH(&f->scene.plan->settled) = 701;
    *TALLY_PUSH(&f->scene.plan->settled) = 999;    // never was
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->settled.count, 2);
    assert_true(has(f->scene.result->settled.items, 2, 700));
    assert_true(has(f->scene.result->settled.items, 2, 701));
    assert_left(f, "1 2 3 4 6", "3 6", "null", "500{1,2,3,4} 600{6}");
}

static void
lease_locked_by_another_is_passed_over_and_reported(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    tick_scene_must(tally_db_run(f->worker, "select tally.settle(500, '{2,1}')", NULL, NULL));
    *TALLY_PUSH(&f->scene.plan->settled) = 500;
    tally_plan_end_t *end = TALLY_PUSH(&f->scene.plan->ends);
    end->lease = 500;
    end->message = 4;
    end->kind = TALLY_END_RETURN;
    end->text = tally_bytes_of("");
    *TALLY_PUSH(&f->scene.plan->extended) = 500;
    *TALLY_PUSH(&f->scene.plan->extended_ms) = 3600 * 1000;
    *TALLY_PUSH(&f->scene.plan->checks) = 500;
    *TALLY_PUSH(&f->scene.plan->checks) = 999;
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->settled.count, 0);
    assert_int_equal(f->scene.result->ended_count, 0);
    assert_int_equal(f->scene.result->left.count, 1);
    const tally_lease_row_t *left = f->scene.result->left.items;
    assert_int_equal(left->id, 500);
    assert_int_equal(left->tenant, TICK_SCENE_TENANT);
    assert_int_equal(left->queue, PLAIN);
    assert_int_equal(left->worker, 1);
    assert_in_range(left->left_ms, 50000, 60000);
    assert_int_equal(left->count, 4);
    assert_int_equal(left->messages[3], 4);
    tick_scene_must(tally_db_commit(f->worker));

    //  The worker settled a part meanwhile: only what is left is touched.
    *TALLY_PUSH(&f->scene.plan->settled) = 500;
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->settled.count, 1);
    tick_scene_assert_text(&f->scene,
                           "select string_agg(id::text, ' ' order by id) from tally.message",
                           "5 6");
}

static tally_plan_end_t *
plan_end(struct fixture *f, uint64_t lease, uint64_t message, tally_end_kind_t kind)
{
    tally_plan_end_t *end = TALLY_PUSH(&f->scene.plan->ends);
    end->lease = lease;
    end->message = message;
    end->kind = (uint8_t)kind;
    end->text = tally_bytes_of("");
    end->deliveries = 2;
    end->failures = 1;
    end->crashes = 4;
    end->batch_max = 8;
    return end;
}

static void
each_message_of_a_lease_may_end_in_its_own_way(void **state)
{
    struct fixture *f = *state;
    plan_end(f, 500, 1, TALLY_END_RETURN)->text = tally_bytes_of("it said no");
    f->scene.plan->ends.items[0].delay_ms = 60000;
    plan_end(f, 500, 2, TALLY_END_BURY)->text = tally_bytes_of("no use");
    plan_end(f, 500, 3, TALLY_END_SETTLE);
    plan_end(f, 500, 5, TALLY_END_SETTLE);    // not of this lease
    plan_end(f, 999, 5, TALLY_END_SETTLE);    // no such lease
    plan_end(f, 600, 6, TALLY_END_SETTLE)->keep_blob = true;
    *TALLY_PUSH(&f->scene.plan->checks) = 500;
    *TALLY_PUSH(&f->scene.plan->checks) = 600;
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->ended_count, 4);
    assert_int_equal(f->scene.result->left.count, 1);
    assert_int_equal(f->scene.result->left.items[0].count, 1);
    assert_int_equal(f->scene.result->left.items[0].messages[0], 4);
    assert_left(f, "1 4 5", "6", "2", "500{4}");
    tick_scene_assert_text(
        &f->scene,
        "select format('%s/%s/%s/%s/%s/%s/%s', deliveries, failures, crashes, batch_max,"
        " past_window, round(extract(epoch from due - now())), history)"
        " from tally.message where id = 1",
        "2/1/4/8/t/60/{\"it said no\"}");
    tick_scene_assert_text(
        &f->scene,
        "select format('%s/%s/%s/%s/%s/%s/%s', queue, reason, history, deliveries, "
        "failures, crashes,"
        " convert_from(body, 'UTF8')) from tally.dead_letter",
        "101/no use/{\"no use\"}/2/1/4/two");
}

static void
message_returned_twice_keeps_its_history_and_is_buried_with_it(void **state)
{
    struct fixture *f = *state;
    plan_end(f, 500, 3, TALLY_END_RETURN)->text = tally_bytes_of("first");
    plan_end(f, 500, 1, TALLY_END_RETURN);
    plan_end(f, 500, 2, TALLY_END_RETURN);
    plan_end(f, 500, 4, TALLY_END_RETURN);
    tick_scene_commit(&f->scene);
    assert_left(f, "1 2 3 4 5 6", "3 6", "null", "600{6}");
    tick_scene_assert_text(&f->scene,
                           "select format('%s/%s', due, history) from tally.message where id = 1",
                           "/");
    tick_scene_must(tally_db_script(f->scene.looker,
                                    "insert into tally.lease (id, tenant, queue, worker, deadline,"
                                    " messages) values (501, 7, 101, 1, now(), '{3}')"));
    plan_end(f, 501, 3, TALLY_END_BURY)->text = tally_bytes_of("second");
    tick_scene_commit(&f->scene);
    assert_left(f, "1 2 4 5 6", "3 6", "3", "600{6}");    // the bytes stay for an operator
    tick_scene_assert_text(&f->scene,
                           "select reason || history::text || is_blob from tally.dead_letter",
                           "second{first,second}true");
}

//  ---- terms, results, leases ---------------------------------------------------------------------

static void
plan_term(struct fixture *f, uint32_t queue, uint64_t epoch)
{
    tally_plan_term_t *term = TALLY_PUSH(&f->scene.plan->terms);
    term->queue = queue;
    term->tenant = TICK_SCENE_TENANT;
    term->epoch = epoch;
    term->worker = 9;
    term->worker_name = "nine";
}

static const char *const terms_sql = "select string_agg(format('%s:%s:%s:%s', queue, epoch, "
                                     "worker, worker_name), ' ' order by queue)"
                                     " from tally.term where epoch > 0";

static void
terms_are_granted_one_epoch_on_and_not_otherwise(void **state)
{
    struct fixture *f = *state;
    plan_term(f, SINGLE, 4);
    plan_term(f, PLAIN, 1);
    plan_term(f, KEEPING, 2);    // there is none, so it would be the first
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->granted.count, 2);
    assert_int_equal(f->scene.result->granted.items[0].tenant, TICK_SCENE_TENANT);
    assert_true(f->scene.result->granted.items[0].message != KEEPING
                && f->scene.result->granted.items[1].message != KEEPING);
    tick_scene_assert_text(&f->scene, terms_sql, "101:1:9:nine 103:4:9:nine");
    plan_term(f, SINGLE, 4);
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->granted.count, 0);
    tick_scene_assert_text(&f->scene, terms_sql, "101:1:9:nine 103:4:9:nine");
}

static void
term_that_a_worker_holds_in_its_transaction_is_not_granted(void **state)
{
    struct fixture *f = *state;
    tick_scene_must(tally_db_begin(f->worker, TALLY_DB_READ_COMMITTED));
    tick_scene_must(
        tally_db_run(f->worker, "select tally.hold_term('single', 'acme', 3)", NULL, NULL));
    plan_term(f, SINGLE, 4);
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->granted.count, 0);
    tick_scene_must(tally_db_commit(f->worker));
    plan_term(f, SINGLE, 4);
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->granted.count, 1);
    assert_int_equal(f->scene.result->granted.items[0].message, SINGLE);
    tick_scene_assert_text(&f->scene, terms_sql, "103:4:9:nine");
}

static void
results_are_kept_once(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 2; round++) {
        tally_plan_result_t *result = TALLY_PUSH(&f->scene.plan->results);
        result->asker = asker;
        result->tenant = TICK_SCENE_TENANT;
        result->outcome = TALLY_RESULT_BURIED;
        result->kept_ms = 60000;
        result->body = tally_bytes_of(round == 0 ? "first" : "second");
        tick_scene_commit(&f->scene);
    }
    tick_scene_assert_text(
        &f->scene,
        "select format('%s/%s/%s/%s/%s/%s', sequence, item, tenant, outcome, convert_from(body,"
        " 'UTF8'), round(extract(epoch from until - now()))) from tally.result",
        "77/3/7/2/first/60");
}

//  Message 5 is there: its end did not happen, and its result may become another.
static void
result_of_a_message_that_is_not_over_is_not_kept(void **state)
{
    struct fixture *f = *state;
    for (uint16_t item = 0; item < 2; item++) {
        tally_plan_result_t *result = TALLY_PUSH(&f->scene.plan->results);
        result->asker = asker;
        result->asker.item = item;
        result->tenant = TICK_SCENE_TENANT;
        result->message = item == 0 ? 5 : 4711;
        result->outcome = TALLY_RESULT_DONE;
        result->kept_ms = 60000;
    }
    tick_scene_commit(&f->scene);
    tick_scene_assert_text(&f->scene, "select string_agg(item::text, ' ') from tally.result", "1");
}

static void
leases_hold_their_part_of_the_ids(void **state)
{
    struct fixture *f = *state;
    static const size_t counts[] = {2, 1};
    for (size_t i = 0; i < 2; i++) {
        tally_plan_lease_t *lease = TALLY_PUSH(&f->scene.plan->leases);
        lease->id = 800 + i;
        lease->tenant = TICK_SCENE_TENANT;
        lease->queue = PLAIN;
        lease->worker = 3;
        lease->visible_ms = 30000;
        lease->first = i * 2;
        lease->count = counts[i];
    }
    plan_message(f, 1000, "new");
    *TALLY_PUSH(&f->scene.plan->ids) = 5;
    *TALLY_PUSH(&f->scene.plan->ids) = 1000;
    *TALLY_PUSH(&f->scene.plan->ids) = 1001;
    *TALLY_PUSH(&f->scene.plan->extended) = 600;
    *TALLY_PUSH(&f->scene.plan->extended_ms) = 3600 * 1000;
    tick_scene_commit(&f->scene);
    tick_scene_assert_text(&f->scene,
                           "select string_agg(format('%s%s/%s/%s', id, messages, worker,"
                           " round(extract(epoch from deadline - now()))), ' ' order by id)"
                           " from tally.lease where id > 500",
                           "600{6}/1/3600 800{5,1000}/3/30 801{1001}/3/30");
}

//  Twice: what is there already is written over in the same way.
static void
what_a_tick_has_one_of_is_stored_like_many(void **state)
{
    struct fixture *f = *state;
    for (uint64_t round = 0; round < 2; round++) {
        plan_message(f, 1000 + round, round == 0 ? "" : "body");
        tally_plan_sender_t *sender = TALLY_PUSH(&f->scene.plan->senders);
        sender->sender[15] = 1;
        sender->last = 10 + (int64_t)round;
        tally_plan_lease_t *lease = TALLY_PUSH(&f->scene.plan->leases);
        lease->id = 800 + round;
        lease->tenant = TICK_SCENE_TENANT;
        lease->queue = PLAIN;
        lease->worker = 3;
        lease->visible_ms = 30000;
        lease->count = 2;
        *TALLY_PUSH(&f->scene.plan->ids) = 5;
        *TALLY_PUSH(&f->scene.plan->ids) = 1000 + round;
        tick_scene_commit(&f->scene);
    }
    tick_scene_assert_text(&f->scene, sent_sql, "1000/101/1/f/f///// 1001/101/1/f/f/body////");
    tick_scene_assert_text(
        &f->scene, "select right(id::text, 1) || ':' || last || missing::text from tally.sender",
        "1:11{}");
    tick_scene_assert_text(
        &f->scene,
        "select string_agg(format('%s%s/%s/%s/%s/%s', id, messages, tenant, queue, worker,"
        " round(extract(epoch from deadline - now()))), ' ' order by id)"
        " from tally.lease where id > 600",
        "800{5,1000}/7/101/3/30 801{5,1001}/7/101/3/30");
}

static void
bodies_are_fetched_by_id(void **state)
{
    struct fixture *f = *state;
    static const uint64_t ids[] = {4, 1, 99};
    for (size_t i = 0; i < 3; i++) {
        tally_plan_fetch_t *fetch = TALLY_PUSH(&f->scene.plan->fetches);
        fetch->tenant = TICK_SCENE_TENANT;
        fetch->message = ids[i];
    }
    tick_scene_commit(&f->scene);
    assert_int_equal(f->scene.result->fetched_count, 2);
    size_t first = f->scene.result->fetched[0].message == 4 ? 0 : 1;
    assert_int_equal(f->scene.result->fetched[first].message, 4);
    assert_true(tally_bytes_equal(f->scene.result->fetched[first].body, tally_bytes_of("four")));
    assert_int_equal(f->scene.result->fetched[1 - first].message, 1);
    assert_true(tally_bytes_equal(f->scene.result->fetched[1 - first].body, tally_bytes_of("one")));
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
        SCENE(messages_are_stored_with_all_they_have),
        SCENE(message_with_a_known_dedupe_key_is_not_stored),
        SCENE(dedupe_key_is_free_again_after_its_time_and_elsewhere),
        SCENE(senders_keep_their_last_and_missing_sequences),
        SCENE(inbox_moves_into_messages_in_its_order),
        SCENE(whole_leases_are_settled_as_a_set),
        SCENE(lease_locked_by_another_is_passed_over_and_reported),
        SCENE(each_message_of_a_lease_may_end_in_its_own_way),
        SCENE(message_returned_twice_keeps_its_history_and_is_buried_with_it),
        SCENE(terms_are_granted_one_epoch_on_and_not_otherwise),
        SCENE(term_that_a_worker_holds_in_its_transaction_is_not_granted),
        SCENE(results_are_kept_once),
        SCENE(result_of_a_message_that_is_not_over_is_not_kept),
        SCENE(leases_hold_their_part_of_the_ids),
        SCENE(what_a_tick_has_one_of_is_stored_like_many),
        SCENE(bodies_are_fetched_by_id),
    };
    return cmocka_run_group_tests_name("tick_store", tests, tally_pg_share, tally_pg_unshare);
}
