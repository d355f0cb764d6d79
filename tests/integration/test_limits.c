// SPDX-License-Identifier: MIT
//  The broker's limits as peers meet them, each at its value and one beyond; those of frames' contents are with the
//  codec (test_wire_messages), of JSON in test_json, of memory in test_gate.

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/limits.h"
#include "tests/integration/broker_scene.h"
#include "tests/integration/descriptors.h"
#include "tests/integration/raw_zmtp.h"

#define SUBSCRIBE_BYTES 1    // before a topic, as ZMTP 3.0 says it
#define END_MS 5000

//  A connection that is in: as a DEALER at the front, or a SUB at the feed.
static int
come_in(broker_scene_t *f, const char *endpoint, const char *type)
{
    int fd = broker_scene_connect(f, endpoint);
    assert_true(raw_zmtp_greet(fd, type, "", 0));
    assert_true(raw_zmtp_hear_greeting(fd));
    return fd;
}

static const char *
feed_of(broker_scene_t *f)
{
    int rc = tally_client_connect(f->good, BROKER_SCENE_MS);
    assert_int_equal(rc, 0);
    return tally_client_feed_endpoint(f->good);
}

//  ---- frames ------------------------------------------------------------------------------------

//  The frame at the limit is answered (nobody knows its magic), the other never taken.
static void
a_frame_is_as_long_as_the_limit_and_no_longer(void **state)
{
    broker_scene_t *f = *state;
    uint8_t *frame = tally_alloc(9 + TALLY_FRAME_BYTES_MAX);
    frame[0] = 2;
    frame[5] = TALLY_FRAME_BYTES_MAX >> 24;
    int fd = come_in(f, tally_instance_endpoint(f->instance), "DEALER");
    bool fine = raw_zmtp_write(fd, frame, 9 + TALLY_FRAME_BYTES_MAX);
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    int answered = poll(&answer, 1, BROKER_SCENE_MS);
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    free(frame);
    assert_true(fine);
    assert_int_equal(answered, 1);
    assert_int_equal(got, 1);
    const uint64_t beyond = TALLY_FRAME_BYTES_MAX + 1;
    uint8_t head[9] = {2};
    for (size_t i = 0; i < 8; i++) {
        head[1 + i] = (uint8_t)(beyond >> (8 * (7 - i)));
    }
    fd = come_in(f, tally_instance_endpoint(f->instance), "DEALER");
    assert_true(raw_zmtp_write(fd, head, sizeof head));
    assert_true(raw_zmtp_ends(fd, END_MS));
}

static void
a_request_of_an_operator_is_as_long_as_the_limit_and_no_longer(void **state)
{
    broker_scene_t *f = *state;
    static const char op[] = "{\"op\":\"limits\"}";
    f->one = broker_scene_stranger(f);
    tally_stranger_hello(f->one);
    for (size_t beyond = 0; beyond < 2; beyond++) {
        char *text = tally_alloc(TALLY_ADMIN_BYTES_MAX + beyond);
        memset(text, ' ', TALLY_ADMIN_BYTES_MAX + beyond);
        memcpy(text, op, sizeof op - 1);
        tally_wire_start(&f->one->wire, TALLY_ADMIN, 7 + beyond);
        tally_wire_put_raw(&f->one->wire, (tally_bytes_t){text, TALLY_ADMIN_BYTES_MAX + beyond});
        free(text);
        tally_stranger_say(f->one);
        tally_heard_t heard;
        assert_true(tally_stranger_hear(f->one, BROKER_SCENE_MS, &heard));
        assert_int_equal(heard.head.verb, TALLY_REPLY);
        const tally_bytes_t reply = {zmq_msg_data(&f->one->frame), zmq_msg_size(&f->one->frame)};
        const char *refusal = memmem(reply.data, reply.size, "\"code\":\"JSON\"", 13);
        assert_int_equal(refusal != NULL, beyond == 1);
    }
}

//  ---- subscriptions -----------------------------------------------------------------------------

//  One to a topic of that many bytes, different for each number.
static bool
subscribe(int fd, uint32_t number, size_t topic_bytes)
{
    uint8_t frame[2 + SUBSCRIBE_BYTES + TALLY_TOPIC_BYTES_MAX + 1];
    memset(frame, 'x', sizeof frame);
    frame[0] = 0;
    frame[1] = (uint8_t)(SUBSCRIBE_BYTES + topic_bytes);
    frame[2] = 1;
    memcpy(frame + 3, &number, sizeof number);
    return raw_zmtp_write(fd, frame, 2 + SUBSCRIBE_BYTES + topic_bytes);
}

static bool
hears(int fd)
{
    char byte;
    struct pollfd item = {.fd = fd, .events = POLLIN};
    return poll(&item, 1, BROKER_SCENE_MS) == 1 && recv(fd, &byte, 1, MSG_PEEK) == 1;
}

static void
a_subscriber_has_as_many_topics_as_the_limit_and_not_one_more(void **state)
{
    broker_scene_t *f = *state;
    static const uint8_t broker[] = {0, 1 + 6, 1, 'b', 'r', 'o', 'k', 'e', 'r'};
    int fd = come_in(f, feed_of(f), "SUB");
    long before = broker_scene_number(f, "connections_ended");
    for (uint32_t i = 0; i < TALLY_SUBSCRIPTIONS_MAX; i++) {
        assert_true(subscribe(fd, i, 8));
    }
    assert_true(raw_zmtp_write(fd, broker, sizeof broker));
    assert_true(hears(fd));    // so all were taken, and it is still there
    assert_int_equal(broker_scene_number(f, "connections_ended"), before);
    assert_true(subscribe(fd, TALLY_SUBSCRIPTIONS_MAX, 8));
    assert_true(raw_zmtp_ends(fd, END_MS));
    assert_int_equal(broker_scene_number(f, "connections_ended"), before + 1);
    broker_scene_serves(f, BROKER_SCENE_MS);
}

//  One of a feed's topics more: it is ended, and those who are there are not.
static void
a_feed_has_as_many_bytes_of_topics_as_the_limit_and_not_one_more(void **state)
{
    enum { TOPIC = 127, OF_EACH = TALLY_SUBSCRIPTION_BYTES_MAX / (TOPIC + SUBSCRIBE_BYTES) };
    broker_scene_t *f = *state;
    static const uint8_t broker[] = {0, 1 + 6, 1, 'b', 'r', 'o', 'k', 'e', 'r'};
    const char *feed = feed_of(f);
    int first = come_in(f, feed, "SUB");
    assert_true(raw_zmtp_write(first, broker, sizeof broker));    // no longer than a PING
    long before = broker_scene_number(f, "connections_ended");
    uint32_t number = 0;
    for (int i = 0; i < TALLY_FEED_BYTES_MAX / TALLY_SUBSCRIPTION_BYTES_MAX; i++) {
        int fd = come_in(f, feed, "SUB");
        for (int k = 0; k < OF_EACH; k++) {
            assert_true(subscribe(fd, number++, TOPIC));
        }
        assert_true(raw_zmtp_write(fd, broker, sizeof broker));
        assert_true(hears(fd));
    }
    assert_int_equal(broker_scene_number(f, "connections_ended"), before);
    int last = come_in(f, feed, "SUB");
    assert_true(subscribe(last, number, 7));
    assert_true(raw_zmtp_ends(last, END_MS));
    assert_int_equal(broker_scene_number(f, "connections_ended"), before + 1);
    assert_true(hears(first));
    //  And who goes makes room.
    broker_scene_close_connections(f);
    int again = come_in(f, feed, "SUB");
    assert_true(subscribe(again, number, 7));
    assert_true(raw_zmtp_write(again, broker, sizeof broker));
    assert_true(hears(again));
}

//  ---- connections -------------------------------------------------------------------------------

static bool
has_no_newcomers(void *argument)
{
    return broker_scene_number(argument, "newcomers") == 0;
}

static void
who_says_nothing_is_ended_when_the_time_is_over(void **state)
{
    broker_scene_t *f = *state;
    int64_t since_ms = tally_clock_now_ms();
    broker_scene_connect_silently(f, 1);
    assert_true(raw_zmtp_ends(f->connections[0], TALLY_HANDSHAKE_MS + END_MS));
    assert_true(tally_clock_now_ms() - since_ms >= TALLY_HANDSHAKE_MS - 100);
    assert_true(tally_wait_until(has_no_newcomers, f, END_MS));
}

//  As many as there may be, then some more: the oldest of them go, and those who are known are served all the time.
static void
silent_connections_are_as_many_as_the_limit_and_no_more(void **state)
{
    broker_scene_t *f = *state;
    if (!tally_descriptors_allow(TALLY_NEWCOMERS_MAX + 200)) {
        skip();
    }
    broker_scene_connect_silently(f, TALLY_NEWCOMERS_MAX + 100);
    for (int i = 0; i < 10; i++) {
        assert_true(broker_scene_number(f, "newcomers") <= TALLY_NEWCOMERS_MAX);
        broker_scene_serves(f, 1000);
    }
    assert_true(tally_wait_until(has_no_newcomers, f, TALLY_HANDSHAKE_MS + END_MS));
}

//  Come and gone without a proof, so often that tokens run out.  Who is known comes in nevertheless.
static void
strangers_who_fail_too_often_are_turned_away(void **state)
{
    broker_scene_t *f = *state;
    if (!tally_descriptors_allow(TALLY_NEWCOMERS_FAILED_BURST + 100)) {
        skip();
    }
    long before = broker_scene_number(f, "connections_refused");
    for (int i = 0; i < 4; i++) {
        broker_scene_connect_silently(f, TALLY_NEWCOMERS_FAILED_BURST);
        broker_scene_close_connections(f);
    }
    assert_true(broker_scene_number(f, "connections_refused") > before);
    broker_scene_serves(f, 1000);
    tally_client_t *newcomer = tally_client_new(tally_instance_endpoint(f->instance));
    int rc = tally_client_connect(newcomer, BROKER_SCENE_MS);
    tally_client_destroy(&newcomer);
    assert_int_equal(rc, 0);
}

//  ---- what is there -----------------------------------------------------------------------------

static void
put(broker_scene_t *f, const char *op, const char *what, unsigned number, uint64_t request)
{
    char text[120];
    snprintf(text, sizeof text, "{\"op\":\"%s\",\"%s\":{\"name\":\"limit-%u\"}}", op, what, number);
    tally_wire_start(&f->one->wire, TALLY_ADMIN, request);
    tally_wire_put_raw(&f->one->wire, tally_bytes_of(text));
    tally_stranger_say(f->one);
}

static bool
is_limit(broker_scene_t *f)
{
    tally_heard_t heard;
    assert_true(tally_stranger_hear(f->one, BROKER_SCENE_MS, &heard));
    const char *reply = zmq_msg_data(&f->one->frame);
    size_t size = zmq_msg_size(&f->one->frame);
    bool limit = memmem(reply, size, "\"LIMIT\"", 7) != NULL;
    if (heard.head.verb != TALLY_REPLY
        || (!limit && memmem(reply, size, "\"ok\":true", 9) == NULL)) {
        fail_msg("%.*s", (int)(size - TALLY_WIRE_HEAD_BYTES), reply + TALLY_WIRE_HEAD_BYTES);
    }
    return limit;
}

static int64_t
count(broker_scene_t *f, const char *sql)
{
    tally_rows_t rows;
    assert_int_equal(tally_db_run(f->db, sql, NULL, &rows), TALLY_DB_DONE);
    return tally_rows_int8(&rows, 0, 0);
}

//  The broker loads what another program has put into the database.
static void
restart_with(broker_scene_t *f, const char *sql)
{
    assert_int_equal(tally_db_script(f->db, sql), TALLY_DB_DONE);
    pid_t broker = tally_instance_signal(f->instance, "tallyd", SIGKILL);
    tally_instance_await_another(f->instance, "tallyd", broker, BROKER_SCENE_MS);
    broker_scene_serves(f, 2 * BROKER_SCENE_MS);
    f->one = broker_scene_stranger(f);
    tally_stranger_hello(f->one);
}

//  Two at once when there is place for one: what is planned counts.
static void
there_are_as_many_queues_as_the_limit_and_not_one_more(void **state)
{
    broker_scene_t *f = *state;
    char *sql = tally_format("insert into tally.queue (name) select 'many-' || i from"
                             " generate_series(1, %d - (select count(*) from tally.queue)) i",
                             TALLY_QUEUES_MAX - 1);
    restart_with(f, sql);
    free(sql);
    assert_int_equal(count(f, "select count(*) from tally.queue"), TALLY_QUEUES_MAX - 1);
    put(f, "queue.put", "queue", 1, 1);
    put(f, "queue.put", "queue", 2, 2);
    bool refused = is_limit(f);    // a refusal waits for nothing, so either may be answered first
    assert_int_equal(is_limit(f), !refused);
    assert_int_equal(count(f, "select count(*) from tally.queue"), TALLY_QUEUES_MAX);
    put(f, "queue.put", "queue", 1, 3);    // to change one is no new one
    assert_false(is_limit(f));
}

static void
there_are_as_many_tenants_as_the_limit_and_not_one_more(void **state)
{
    broker_scene_t *f = *state;
    broker_scene_serves(f, BROKER_SCENE_MS);    // its tenant is one of them
    char
        *sql = tally_format("insert into tally.tenant (id, name) select last + i, 'many-' || i"
                            " from (select max(id) as last, count(*) as there from tally.tenant) t,"
                            " generate_series(1, %d - there) i",
                            TALLY_TENANTS_MAX - 1);
    restart_with(f, sql);
    free(sql);
    assert_int_equal(count(f, "select count(*) from tally.tenant"), TALLY_TENANTS_MAX - 1);
    put(f, "tenant.put", "tenant", 1, 1);
    assert_false(is_limit(f));
    put(f, "tenant.put", "tenant", 2, 2);
    assert_true(is_limit(f));
    tally_stranger_send(f->one, "guards", "limit-2", "a tenant by a send");
    tally_heard_t heard;
    assert_true(tally_stranger_hear(f->one, BROKER_SCENE_MS, &heard));
    assert_int_equal(heard.code, TALLY_E_LIMIT);
    broker_scene_serves(f, BROKER_SCENE_MS);
    assert_int_equal(count(f, "select count(*) from tally.tenant"), TALLY_TENANTS_MAX);
}

//  ---- sends that wait ---------------------------------------------------------------------------

#define FLOOD_SENDS 500
#define FLOOD_BATCH 16
#define FLOOD_BODY_BYTES 16384
#define FLOOD_OTHERS_EVERY 50

//  Takes answers until there are so many, or none for so long; of those sends that were refused, and of all.
static void
take_answers(tally_client_t *client, int timeout_ms, size_t most, size_t *refused, size_t *answered)
{
    tally_event_t event;
    for (; *answered < most && tally_client_next(client, timeout_ms, &event) == 0; ++*answered) {
        if (event.kind == TALLY_EVENT_REFUSED) {
            ++*refused;
            assert_int_equal(event.code, TALLY_CODE_BUSY);
            assert_true(event.retry_after_ms > 0);
        }
    }
}

//  131 MB at once, of which half of 80 may wait, and others beside it or none.  Nothing is stored by half.  Returns how
//  many sends were refused.
static size_t
flood(broker_scene_t *f, const char *tenant, bool with_others)
{
    static const uint8_t body[FLOOD_BODY_BYTES];
    tally_client_t *client = tally_client_new(tally_instance_endpoint(f->instance));
    tally_client_set_retry(client, false);
    tally_message_t messages[FLOOD_BATCH];
    for (size_t i = 0; i < FLOOD_BATCH; i++) {
        messages[i] = (tally_message_t){.body = body, .body_bytes = sizeof body};
    }
    size_t refused = 0, answered = 0;
    for (int i = 0; i < FLOOD_SENDS; i++) {
        int rc = tally_client_send(client, "guards", tenant, messages, FLOOD_BATCH, BROKER_SCENE_MS,
                                   NULL);
        assert_int_equal(rc, 0);
        if (with_others && i % FLOOD_OTHERS_EVERY == 0) {
            broker_scene_serves(f, BROKER_SCENE_MS);
        }
    }
    while (answered < FLOOD_SENDS) {
        size_t before = answered;
        if (with_others) {
            broker_scene_serves(f, BROKER_SCENE_MS);
        }
        take_answers(client, with_others ? 1000 : BROKER_SCENE_MS, FLOOD_SENDS, &refused,
                     &answered);
        assert_true(answered > before);
    }
    tally_client_destroy(&client);
    char *sql = tally_format("select count(*) from tally.message m join tally.tenant t on"
                             " t.id = m.tenant where t.name = '%s'",
                             tenant);
    assert_int_equal(count(f, sql), (FLOOD_SENDS - refused) * FLOOD_BATCH);
    free(sql);
    return refused;
}

static void
a_tenant_may_have_as_much_waiting_as_is_free_besides_while_others_send(void **state)
{
    size_t refused = flood(*state, "flood", true);
    assert_in_range(refused, 1, FLOOD_SENDS - 1);
}

static void
a_tenant_alone_is_held_up_by_its_socket_and_nothing_refused(void **state)
{
    broker_scene_t *f = *state;
    broker_scene_serves(f, BROKER_SCENE_MS);
    poll(NULL, 0, 2 * TALLY_PLAN_COMPANY_MS);    // so long whoever sent before is company
    assert_int_equal(flood(f, "alone", false), 0);
    broker_scene_serves(f, BROKER_SCENE_MS);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    zsys_handler_set(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_frame_is_as_long_as_the_limit_and_no_longer, broker_scene_undo),
        cmocka_unit_test_teardown(a_request_of_an_operator_is_as_long_as_the_limit_and_no_longer,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_subscriber_has_as_many_topics_as_the_limit_and_not_one_more,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(a_feed_has_as_many_bytes_of_topics_as_the_limit_and_not_one_more,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(who_says_nothing_is_ended_when_the_time_is_over,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(silent_connections_are_as_many_as_the_limit_and_no_more,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(strangers_who_fail_too_often_are_turned_away, broker_scene_undo),
        cmocka_unit_test_teardown(
            a_tenant_may_have_as_much_waiting_as_is_free_besides_while_others_send,
            broker_scene_undo),
        cmocka_unit_test_teardown(a_tenant_alone_is_held_up_by_its_socket_and_nothing_refused,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(there_are_as_many_queues_as_the_limit_and_not_one_more,
                                  broker_scene_undo),
        cmocka_unit_test_teardown(there_are_as_many_tenants_as_the_limit_and_not_one_more,
                                  broker_scene_undo),
    };
    return cmocka_run_group_tests(tests, broker_scene_set_up, broker_scene_tear_down);
}
