// SPDX-License-Identifier: MIT
//  What peers hold or choose gives no right: tokens of leases, lanes, senders, routing ids, metadata, feeds.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/integration/descriptors.h"
#include "tests/integration/door_fixture.h"
#include "tests/integration/raw_curve.h"
#include "tests/integration/raw_zmtp.h"

//  ---- leases ----------------------------------------------------------------------------------------------

struct working {
    void *front, *lane, *sink;
    uint64_t number, lease, message;
};

//  Says hello, connects, and is given one message of acme.
static struct working
start_work(door_fixture_t *f, const tally_key_pair_t *key, const char *queue)
{
    door_scene_t *s = f->scene;
    const char *server = s->server.public_key;
    struct working w = {.front = door_fixture_keep(f, door_scene_client(s, key))};
    door_answer_t answer = door_scene_hello(s, w.front, queue);
    assert_int_equal(answer.verb, TALLY_WELCOME);
    w.number = answer.welcome.worker;
    w.lane = door_fixture_keep(f, door_scene_connect(s, ZMQ_PULL, answer.lane, key, server));
    w.sink = door_fixture_keep(f, door_scene_connect(s, ZMQ_PUSH, answer.sink, key, server));
    return w;
}

static void
take_lease(door_fixture_t *f, struct working *w, const char *queue)
{
    door_scene_t *s = f->scene;
    void *client = door_fixture_keep(f, door_scene_client(s, &f->acme));
    door_write_send(s, queue, "acme", TALLY_AS_BLOB);
    assert_int_equal(door_scene_ask(s, client, DOOR_ANSWER_MS).verb, TALLY_CONFIRM);
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_ANSWER_MS;
    while (w->lease == 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        door_write_record(s, TALLY_RECORD_BEAT, w->number, 0);
        zmq_send(w->sink, s->wire.data, s->wire.size, ZMQ_DONTWAIT);
        zmq_pollitem_t item = {w->lane, 0, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, 200) <= 0) {
            continue;
        }
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        zmq_msg_recv(&frame, w->lane, 0);
        tally_head_t head;
        tally_cursor_t cursor;
        tally_delivery_t delivery;
        tally_fault_t fault = tally_head_read((tally_bytes_t){zmq_msg_data(&frame),
                                                              zmq_msg_size(&frame)},
                                              &head, &cursor);
        if (fault.code == 0 && head.verb == TALLY_DELIVERY
            && tally_delivery_read(cursor, &delivery).code == 0) {
            tally_delivered_t item_of;
            tally_delivered_read(&delivery.items, &item_of);
            w->lease = delivery.lease;
            w->message = item_of.id;
        }
        zmq_msg_close(&frame);
    }
}

static void
await_none(door_scene_t *s, const char *count)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_ANSWER_MS;
    while (door_scene_number(s, count) > 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        poll(NULL, 0, 5);
    }
}

static void
a_lease_is_its_holders_whoever_else_knows_its_token(void **state)
{
    static const char messages_of_one[] =
        "select count(*) from tally.message m join tally.queue q on q.id = m.queue "
        "where q.name = 'one'";
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    struct working holder = start_work(f, &f->worker, "one");
    take_lease(f, &holder, "one");
    struct working thief = start_work(f, &f->other_worker, "mail");
    int64_t refused = door_fixture_counter(f, "frames_refused");
    static const uint8_t kinds[] = {TALLY_RECORD_SETTLE, TALLY_RECORD_RESULT, TALLY_RECORD_RETURN,
                                    TALLY_RECORD_BURY,   TALLY_RECORD_EXTEND, TALLY_RECORD_NOTE};
    for (size_t i = 0; i < sizeof kinds; i++) {
        //  Under its own number, and under the holder's.
        const uint64_t numbers[] = {thief.number, holder.number};
        for (size_t k = 0; k < 2; k++) {
            door_write_record(s, kinds[i], numbers[k], holder.lease);
            assert_int_not_equal(zmq_send(thief.sink, s->wire.data, s->wire.size, 0), -1);
            door_fixture_await(f, "frames_refused", ++refused);
        }
    }
    door_write_record(s, TALLY_RECORD_BEAT, holder.number, 0);
    assert_int_not_equal(zmq_send(thief.sink, s->wire.data, s->wire.size, 0), -1);
    door_fixture_await(f, "frames_refused", ++refused);
    //  To fetch it is as if it were not there.
    door_write_fetch(s, holder.lease, holder.message);
    door_answer_t theirs = door_scene_ask(s, thief.front, DOOR_ANSWER_MS);
    door_write_fetch(s, DOOR_ABSENT, DOOR_ABSENT);
    door_answer_t nobodys = door_scene_ask(s, thief.front, DOOR_ANSWER_MS);
    assert_int_equal(theirs.code, TALLY_E_STALE);
    assert_int_equal(nobodys.code, TALLY_E_STALE);
    assert_string_equal(theirs.text, nobodys.text);
    //  The holder has it still, and ends it.
    door_write_fetch(s, holder.lease, holder.message);
    door_answer_t own = door_scene_ask(s, holder.front, DOOR_ANSWER_MS);
    assert_string_equal(own.text, "");
    assert_int_equal(own.verb, TALLY_BODY);
    assert_int_equal(door_scene_number(s, messages_of_one), 1);
    door_write_record(s, TALLY_RECORD_SETTLE, holder.number, holder.lease);
    assert_int_not_equal(zmq_send(holder.sink, s->wire.data, s->wire.size, 0), -1);
    await_none(s, messages_of_one);
}

//  Said again when it is over, by who had it: nothing more happens, whatever is said.
static void
a_lease_that_is_over_is_of_no_use_to_its_holder_either(void **state)
{
    static const char left[] = "select count(*) from tally.message m join tally.queue q on "
                               "q.id = m.queue where q.name = 'one'";
    static const uint8_t kinds[] = {TALLY_RECORD_SETTLE, TALLY_RECORD_RESULT, TALLY_RECORD_RETURN,
                                    TALLY_RECORD_BURY,   TALLY_RECORD_EXTEND, TALLY_RECORD_NOTE};
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    struct working w = start_work(f, &f->worker, "one");
    take_lease(f, &w, "one");
    door_write_record(s, TALLY_RECORD_SETTLE, w.number, w.lease);
    assert_int_not_equal(zmq_send(w.sink, s->wire.data, s->wire.size, 0), -1);
    await_none(s, left);
    int64_t dead = door_scene_number(s, "select count(*) from tally.dead_letter");
    for (size_t i = 0; i < sizeof kinds; i++) {
        door_write_record(s, kinds[i], w.number, w.lease);
        assert_int_not_equal(zmq_send(w.sink, s->wire.data, s->wire.size, 0), -1);
    }
    door_write_fetch(s, w.lease, w.message);
    assert_int_equal(door_scene_ask(s, w.front, DOOR_ANSWER_MS).code, TALLY_E_STALE);
    //  What was said was heard before what is said now.
    uint64_t over = w.lease;
    w.lease = 0;
    take_lease(f, &w, "one");
    assert_int_not_equal(w.lease, over);
    assert_int_equal(door_scene_number(s, left), 1);
    door_write_record(s, TALLY_RECORD_SETTLE, w.number, over);
    assert_int_not_equal(zmq_send(w.sink, s->wire.data, s->wire.size, 0), -1);
    door_write_record(s, TALLY_RECORD_SETTLE, w.number, w.lease);
    assert_int_not_equal(zmq_send(w.sink, s->wire.data, s->wire.size, 0), -1);
    await_none(s, left);
    assert_int_equal(door_scene_number(s, "select count(*) from tally.dead_letter"), dead);
}

//  A successor knows whose the leases are, although none of its workers has said hello to it.
static void
a_lease_is_its_holders_after_a_restart_too(void **state)
{
    static const char messages_of_four[] =
        "select count(*) from tally.message m join tally.queue q on q.id = m.queue "
        "where q.name = 'four'";
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    struct working holder = start_work(f, &f->worker, "four");
    take_lease(f, &holder, "four");
    door_scene_close(&f->operator);
    kill(s->broker, SIGKILL);
    door_scene_stop(s);
    assert_int_equal(door_scene_start(s, NULL), -1);
    f->operator= door_scene_client(s, &s->operator_key);
    int64_t refused = door_fixture_counter(f, "frames_refused");
    void *thief = door_fixture_keep(f, door_scene_connect(s, ZMQ_PUSH, s->sink, &f->other_worker,
                                                          s->server.public_key));
    door_write_record(s, TALLY_RECORD_SETTLE, holder.number, holder.lease);
    assert_int_not_equal(zmq_send(thief, s->wire.data, s->wire.size, 0), -1);
    door_fixture_await(f, "frames_refused", refused + 1);
    assert_int_equal(door_scene_number(s, messages_of_four), 1);
    void *own = door_fixture_keep(f, door_scene_connect(s, ZMQ_PUSH, s->sink, &f->worker,
                                                        s->server.public_key));
    door_write_record(s, TALLY_RECORD_SETTLE, holder.number, holder.lease);
    assert_int_not_equal(zmq_send(own, s->wire.data, s->wire.size, 0), -1);
    int64_t deadline_at_ms = tally_clock_now_ms() + 2500;    // before it would be returned
    while (door_scene_number(s, messages_of_four) > 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        poll(NULL, 0, 5);
    }
}

static void
a_lane_is_its_workers_and_strangers_do_not_close_it(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    void *front = door_fixture_keep(f, door_scene_client(s, &f->worker));
    door_answer_t answer = door_scene_hello(s, front, "two");
    assert_int_equal(answer.verb, TALLY_WELCOME);
    const tally_key_pair_t *strangers[] = {&f->other_worker, &s->operator_key, &f->acme, NULL};
    for (int round = 0; round < 2; round++) {    // before its worker is there, and after
        s->wire.size = 0;
        for (size_t i = 0; i < 4; i++) {
            assert_int_equal(door_scene_knock(s, ZMQ_PULL, answer.lane, strangers[i],
                                              s->server.public_key),
                             DOOR_REFUSED);
        }
        if (round == 0) {
            struct working w = {.front = front, .number = answer.welcome.worker};
            w.lane = door_fixture_keep(f, door_scene_connect(s, ZMQ_PULL, answer.lane, &f->worker,
                                                             s->server.public_key));
            w.sink = door_fixture_keep(f, door_scene_connect(s, ZMQ_PUSH, answer.sink, &f->worker,
                                                             s->server.public_key));
            take_lease(f, &w, "two");
        }
    }
    //  Still its lane: a notice comes.
    zmq_pollitem_t item = {f->sockets[1], 0, ZMQ_POLLIN, 0};
    assert_int_equal(zmq_poll(&item, 1, DOOR_ANSWER_MS), 1);
    assert_int_equal(door_fixture_counter(f, "credit"), 10);
}

static void
a_revoked_worker_loses_its_lane_and_what_it_holds(void **state)
{
    static const char messages_of_three[] =
        "select count(*) from tally.message m join tally.queue q on q.id = m.queue "
        "where q.name = 'three'";
    static const char leases_of_three[] =
        "select count(*) from tally.lease l join tally.queue q on q.id = l.queue "
        "where q.name = 'three'";
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    tally_key_pair_t key = door_scene_key(s, "leaver", "worker", "{*}", "{three}", "{work}");
    void *dealer = door_fixture_client(f, &key);
    (void)dealer;
    struct working w = start_work(f, &key, "three");
    take_lease(f, &w, "three");
    door_scene_sql(s, "update tally.principal set revoked_at = now() where name = 'leaver'");
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_REVOKED_MS;
    while (door_scene_number(s, leases_of_three) > 0) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        door_write_record(s, TALLY_RECORD_BEAT, w.number,
                          0);    // it lives, and that does not help it
        zmq_send(w.sink, s->wire.data, s->wire.size, ZMQ_DONTWAIT);
        poll(NULL, 0, 20);
    }
    assert_int_equal(door_scene_number(s, messages_of_three), 1);
    int64_t refused = door_fixture_counter(f, "frames_refused");
    door_write_record(s, TALLY_RECORD_SETTLE, w.number, w.lease);
    assert_int_not_equal(zmq_send(w.sink, s->wire.data, s->wire.size, 0), -1);
    door_fixture_await(f, "frames_refused", refused + 1);
    assert_int_equal(door_scene_number(s, messages_of_three), 1);
}

//  ---- names that peers choose -----------------------------------------------------------------------------

static void
a_chosen_routing_id_is_not_served_whatever_it_says(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    const tally_socket_curve_t curve = {s->operator_key.public_key, s->operator_key.secret_key,
                                        s->server.public_key, NULL};
    const tally_socket_options_t options = {.send_max = 1000,
                                            .receive_max = 1000,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX,
                                            .curve = &curve};
    void *dealer = door_fixture_keep(f, zmq_socket(s->context, ZMQ_DEALER));
    assert_int_equal(zmq_setsockopt(dealer, ZMQ_ROUTING_ID, "other", 5), 0);
    assert_int_equal(tally_socket_connect(dealer, s->front, &options), 0);
    int64_t before = door_scene_number(s, door_untouched);
    int64_t refused = door_fixture_counter(f, "frames_refused");
    for (size_t i = 0; i < DOOR_VERBS; i++) {
        if (door_verbs[i].type == ZMQ_DEALER) {
            door_verb_write(s, &door_verbs[i], "acme");
            assert_int_equal(door_scene_ask(s, dealer, 20).verb, 0);
            refused++;
        }
    }
    door_fixture_await(f, "frames_refused", refused);
    assert_int_equal(door_scene_number(s, door_untouched), before);
}

//  What libzmq lets a peer say of itself.
static void
metadata_of_a_peer_is_not_looked_at(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    const tally_socket_curve_t curve = {f->acme.public_key, f->acme.secret_key,
                                        s->server.public_key, NULL};
    const tally_socket_options_t options = {.send_max = 1000,
                                            .receive_max = 1000,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX,
                                            .curve = &curve};
    void *dealer = door_fixture_keep(f, zmq_socket(s->context, ZMQ_DEALER));
    static const char *const names[] = {"X-User-Id", "X-Tenant", "X-Role", "X-Key"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *property = tally_format("%s:%s", names[i], s->operator_key.public_key);
        int rc = zmq_setsockopt(dealer, 95 /* ZMQ_METADATA */, property, strlen(property));
        assert_true(rc == 0 || zmq_errno() == EINVAL);
        free(property);
    }
    assert_int_equal(tally_socket_connect(dealer, s->front, &options), 0);
    assert_int_equal(door_scene_hello(s, dealer, NULL).verb, TALLY_WELCOME);
    door_verb_write(s, door_verb_named("status"), "acme");
    assert_int_equal(door_scene_ask(s, dealer, DOOR_ANSWER_MS).code, TALLY_E_REFUSED);
    door_verb_write(s, door_verb_named("send"), "beta");
    assert_int_equal(door_scene_ask(s, dealer, DOOR_ANSWER_MS).code, TALLY_E_UNKNOWN);
}

//  Byte by byte: a peer proves its own key, and says in its metadata that it is another.
static void
a_user_id_that_a_peer_claims_is_not_its_own(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    const char *const claims[] = {"User-Id", s->operator_key.public_key,
                                  "user-id", s->operator_key.public_key,
                                  "Key",     s->operator_key.public_key,
                                  "Tenant",  "beta",
                                  NULL};
    raw_curve_t raw;
    bool open = raw_curve_open(&raw, s->front + strlen("ipc://"), &f->acme, s->server.public_key,
                               claims);
    //  Of another tenant; what is about all of them; and what its own key allows.
    static const char *const own[] = {"hello", "limits", "goodbye", "tenant.ls"};
    int64_t before = door_scene_number(s, door_untouched);
    int codes[DOOR_VERBS] = {0};
    for (size_t i = 0; open && i < DOOR_VERBS; i++) {
        uint8_t frame[4096];
        if (door_verbs[i].type != ZMQ_DEALER || door_verbs[i].frame == TALLY_GOODBYE) {
            continue;
        }
        door_verb_write(s, &door_verbs[i], "beta");
        bool sent = raw_curve_send(&raw, (tally_bytes_t){s->wire.data, s->wire.size});
        ssize_t size = sent ? raw_curve_receive(&raw, frame, sizeof frame) : -1;
        codes[i] = size == -1 ? -1 : door_scene_read((tally_bytes_t){frame, (size_t)size}).code;
    }
    raw_curve_close(&raw);
    assert_true(open);
    for (size_t i = 0; i < DOOR_VERBS; i++) {
        bool is_own = false;
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++) {
            is_own = is_own || strcmp(door_verbs[i].name, own[k]) == 0;
        }
        bool is_refused = codes[i] == TALLY_E_REFUSED || codes[i] == TALLY_E_UNKNOWN;
        if (door_verbs[i].type == ZMQ_DEALER && is_refused == is_own) {
            fail_msg("%s: %s", door_verbs[i].name, tally_code_name(codes[i]));
        }
    }
    assert_int_equal(door_scene_number(s, door_untouched), before);
    //  Nor does a claim open the sink.
    const char *const workers[] = {"Socket-Type", "PUSH", "User-Id", f->worker.public_key, NULL};
    bool worked = raw_curve_open(&raw, s->sink + strlen("ipc://"), &f->acme, s->server.public_key,
                                 workers);
    bool refused = raw.refused;
    raw_curve_close(&raw);
    assert_false(worked);
    assert_true(refused);
}

static void
a_sender_belongs_to_the_key_that_made_it(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    static const uint8_t sender[TALLY_SENDER_BYTES] = "0123456789abcde";
    void *acme = door_fixture_keep(f, door_scene_connect(s, ZMQ_DEALER, s->front, &f->acme,
                                                         s->server.public_key));
    door_write_hello(s, NULL, sender);
    door_answer_t welcome = door_scene_ask(s, acme, DOOR_ANSWER_MS);
    assert_memory_equal(welcome.welcome.sender, sender, sizeof sender);
    s->request = welcome.welcome.last_sequence;
    door_write_send(s, "mail", "acme", 0);
    uint64_t sequence = s->request;
    assert_int_equal(door_scene_ask(s, acme, DOOR_ANSWER_MS).verb, TALLY_CONFIRM);

    void *beta = door_fixture_keep(f, door_scene_connect(s, ZMQ_DEALER, s->front, &f->beta,
                                                         s->server.public_key));
    door_write_hello(s, NULL, sender);
    welcome = door_scene_ask(s, beta, DOOR_ANSWER_MS);
    assert_int_equal(welcome.verb, TALLY_WELCOME);
    assert_int_equal(welcome.welcome.last_sequence, 0);
    //  And the first one is still served on its connection.
    s->request = sequence;
    door_write_send(s, "mail", "acme", 0);
    assert_int_equal(door_scene_ask(s, acme, DOOR_ANSWER_MS).verb, TALLY_CONFIRM);
}

//  ---- many at once ----------------------------------------------------------------------------------------

//  As after a restart: more than the strangers that may fail, one after the other and all still there.
static void
those_with_keys_come_by_the_thousand_and_none_is_turned_away(void **state)
{
    enum { COMING = TALLY_NEWCOMERS_FAILED_BURST + 200 };
    static const char *const no_claims[] = {NULL};
    static raw_curve_t raws[COMING];
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    if (!tally_descriptors_allow(COMING + 100)) {
        skip();
    }
    int64_t refused = door_fixture_counter(f, "connections_refused");
    size_t in = 0;
    for (size_t i = 0; i < COMING; i++) {
        in += raw_curve_open(&raws[i], s->front + strlen("ipc://"), &f->acme, s->server.public_key,
                             no_claims);
    }
    int64_t newcomers = door_fixture_counter(f, "newcomers");
    int64_t refused_then = door_fixture_counter(f, "connections_refused");
    for (size_t i = 0; i < COMING; i++) {
        raw_curve_close(&raws[i]);
    }
    assert_int_equal(in, COMING);
    assert_int_equal(newcomers, 0);
    assert_int_equal(refused_then, refused);
}

//  ---- the feed --------------------------------------------------------------------------------------------

//  True when a topic that begins so came in time; nothing with `never` in it may come before.
static bool
hears(void *feed, const char *topic, const char *never, int timeout_ms)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + timeout_ms;
    for (;;) {
        int64_t left_ms = deadline_at_ms - tally_clock_now_ms();
        zmq_pollitem_t item = {feed, 0, ZMQ_POLLIN, 0};
        if (left_ms <= 0 || zmq_poll(&item, 1, (long)left_ms) <= 0) {
            return false;
        }
        char name[256] = "", text[8192] = "";
        zmq_recv(feed, name, sizeof name - 1, 0);
        zmq_recv(feed, text, sizeof text - 1, 0);
        assert_true(never == NULL || (strstr(name, never) == NULL && strstr(text, never) == NULL));
        if (strcmp(name, topic) == 0) {
            return true;
        }
    }
}

static void
a_tenants_feed_has_its_own_topics_alone(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    const char *server = s->server.public_key;
    void *dealer = door_fixture_keep(f, door_scene_client(s, &f->acme));
    door_answer_t welcome = door_scene_hello(s, dealer, NULL);
    assert_string_not_equal(welcome.feed, "");
    assert_string_not_equal(welcome.feed, s->feed);
    void *own = door_fixture_keep(f,
                                  door_scene_connect(s, ZMQ_SUB, welcome.feed, &f->acme, server));
    zmq_setsockopt(own, ZMQ_SUBSCRIBE, "", 0);
    assert_true(hears(own, "tenant.acme", "beta", DOOR_ANSWER_MS));
    assert_true(hears(own, "tenant.acme", "beta", DOOR_ANSWER_MS));
    assert_false(hears(own, "queue.mail", "beta", 1200));
    //  Neither the whole feed nor that of others.
    s->wire.size = 0;
    assert_int_equal(door_scene_knock(s, ZMQ_SUB, s->feed, &f->acme, server), DOOR_REFUSED);
    assert_int_equal(door_scene_knock(s, ZMQ_SUB, welcome.feed, &f->beta, server), DOOR_REFUSED);
    assert_int_equal(door_scene_knock(s, ZMQ_SUB, welcome.feed, NULL, NULL), DOOR_REFUSED);
    //  A monitor sees everything.
    void *whole = door_fixture_keep(f,
                                    door_scene_connect(s, ZMQ_SUB, s->feed, &f->monitor, server));
    zmq_setsockopt(whole, ZMQ_SUBSCRIBE, "", 0);
    assert_true(hears(whole, "queue.mail", NULL, DOOR_ANSWER_MS));
    assert_true(hears(whole, "tenant.beta", NULL, DOOR_ANSWER_MS));
}

//  What they say before they have proved a key is nobody's topic.
static void
strangers_do_not_use_up_the_topics_of_a_feed(void **state)
{
    enum { SAID = 900, STRANGERS = TALLY_FEED_BYTES_MAX / SAID + 50 };
    static int strangers[STRANGERS];
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    uint8_t hello[64 + SAID] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'C', 'U', 'R', 'V', 'E'};
    for (size_t at = 64; at + 2 + 200 <= sizeof hello; at += 2 + 200) {
        hello[at + 1] = 200;
    }
    size_t said = 0;
    for (size_t i = 0; i < STRANGERS; i++) {
        strangers[i] = raw_zmtp_connect(s->feed);
        said += raw_zmtp_write(strangers[i], hello, sizeof hello);
    }
    void *feed = door_fixture_keep(f, door_scene_connect(s, ZMQ_SUB, s->feed, &f->monitor,
                                                         s->server.public_key));
    zmq_setsockopt(feed, ZMQ_SUBSCRIBE, "queue.mail", strlen("queue.mail"));
    bool heard = hears(feed, "queue.mail", NULL, DOOR_ANSWER_MS);
    for (size_t i = 0; i < STRANGERS; i++) {
        close(strangers[i]);
    }
    assert_int_equal(said, STRANGERS);
    assert_true(heard);
}

static void
a_revoked_monitor_is_thrown_out_of_the_feed_and_others_are_not(void **state)
{
    door_fixture_t *f = *state;
    door_scene_t *s = f->scene;
    tally_key_pair_t key = door_scene_key(s, "watcher", "monitor", "{*}", "{*}", "{read}");
    door_fixture_client(f, &key);
    void *feed = door_fixture_keep(f, door_scene_connect(s, ZMQ_SUB, s->feed, &key,
                                                         s->server.public_key));
    void *stays = door_fixture_keep(f, door_scene_connect(s, ZMQ_SUB, s->feed, &f->monitor,
                                                          s->server.public_key));
    zmq_setsockopt(feed, ZMQ_SUBSCRIBE, "broker", 6);
    zmq_setsockopt(stays, ZMQ_SUBSCRIBE, "broker", 6);
    assert_true(hears(feed, "broker", NULL, DOOR_ANSWER_MS));
    door_scene_sql(s, "update tally.principal set revoked_at = now() where name = 'watcher'");
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_REVOKED_MS + 2000;
    while (hears(feed, "broker", NULL, 2500)) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
    }
    while (hears(stays, "broker", NULL, 0)) {
    }
    assert_true(hears(stays, "broker", NULL, DOOR_ANSWER_MS));
    assert_true(hears(stays, "broker", NULL, DOOR_ANSWER_MS));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_lease_is_its_holders_whoever_else_knows_its_token,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_lease_that_is_over_is_of_no_use_to_its_holder_either,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_lease_is_its_holders_after_a_restart_too,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_lane_is_its_workers_and_strangers_do_not_close_it,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_revoked_worker_loses_its_lane_and_what_it_holds,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_chosen_routing_id_is_not_served_whatever_it_says,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(metadata_of_a_peer_is_not_looked_at, door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_user_id_that_a_peer_claims_is_not_its_own,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_sender_belongs_to_the_key_that_made_it,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(those_with_keys_come_by_the_thousand_and_none_is_turned_away,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_tenants_feed_has_its_own_topics_alone,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(strangers_do_not_use_up_the_topics_of_a_feed,
                                  door_fixture_close_sockets),
        cmocka_unit_test_teardown(a_revoked_monitor_is_thrown_out_of_the_feed_and_others_are_not,
                                  door_fixture_close_sockets),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, door_fixture_set_up, door_fixture_tear_down);
}
