// SPDX-License-Identifier: MIT
//  feed: topics, losses by number and epoch, and what is no publication.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zmq.h>

#include "clients/tally.h"
#include "lib/clock.h"

#define WAIT_MS 5000

struct fixture {
    char dir[32];
    char endpoint[64];
    void *context, *publisher;
    tally_feed_t *feed;
};

static int
setup(void **state)
{
    static struct fixture f;
    snprintf(f.dir, sizeof f.dir, "/tmp/tally-feed-XXXXXX");
    if (mkdtemp(f.dir) == NULL) {
        return -1;
    }
    snprintf(f.endpoint, sizeof f.endpoint, "ipc://%s/feed", f.dir);
    f.context = zmq_ctx_new();
    f.publisher = zmq_socket(f.context, ZMQ_XPUB);
    int linger = 0;
    zmq_setsockopt(f.publisher, ZMQ_LINGER, &linger, sizeof linger);
    int wait_ms = WAIT_MS;
    zmq_setsockopt(f.publisher, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    f.feed = NULL;
    *state = &f;
    return zmq_bind(f.publisher, f.endpoint);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_feed_destroy(&f->feed);
    zmq_close(f->publisher);
    zmq_ctx_term(f->context);
    unlink(f->endpoint + strlen("ipc://"));
    rmdir(f->dir);
    return 0;
}

//  Returns when the publisher knows of the subscription.
static void
subscribe(struct fixture *f, const char *topic)
{
    f->feed = tally_feed_new(f->endpoint);
    assert_non_null(f->feed);
    assert_int_equal(tally_feed_subscribe(f->feed, topic), 0);
    char frame[64];
    assert_int_equal(zmq_recv(f->publisher, frame, sizeof frame, 0), 1 + (int)strlen(topic));
}

static void
publish(struct fixture *f, const char *topic, const char *json)
{
    zmq_send(f->publisher, topic, strlen(topic), ZMQ_SNDMORE);
    zmq_send(f->publisher, json, strlen(json), 0);
}

static void
expect(struct fixture *f, const char *topic, uint64_t lost)
{
    tally_publication_t publication;
    assert_int_equal(tally_feed_next(f->feed, WAIT_MS, &publication), 0);
    assert_string_equal(publication.topic, topic);
    assert_int_equal(publication.lost, lost);
    assert_int_equal(publication.json_bytes, strlen(publication.json));
}

static void
publications_of_the_topic_come_and_no_others(void **state)
{
    struct fixture *f = *state;
    subscribe(f, "queue.");
    publish(f, "worker.a", "{\"seq\":1,\"epoch\":1}");
    publish(f, "queue.a", "{\"seq\":1,\"epoch\":1}");
    publish(f, "queue.b", "{\"seq\":1,\"epoch\":1}");
    expect(f, "queue.a", 0);
    expect(f, "queue.b", 0);
}

static void
a_gap_in_the_numbers_of_a_topic_is_lost_publications(void **state)
{
    struct fixture *f = *state;
    subscribe(f, "");
    publish(f, "a", "{\"seq\":5,\"epoch\":1}");
    publish(f, "b", "{\"seq\":9,\"epoch\":1}");
    publish(f, "a", "{\"seq\":6,\"epoch\":1}");
    publish(f, "a", "{\"seq\":10,\"epoch\":1}");
    publish(f, "b", "{\"seq\":11,\"epoch\":1}");
    expect(f, "a", 0);    // what was before we listened is not lost
    expect(f, "b", 0);
    expect(f, "a", 0);
    expect(f, "a", 3);
    expect(f, "b", 1);
}

static void
a_new_epoch_counts_from_one(void **state)
{
    struct fixture *f = *state;
    subscribe(f, "");
    publish(f, "a", "{\"seq\":100,\"epoch\":1}");
    publish(f, "a", "{\"seq\":1,\"epoch\":2}");
    publish(f, "a", "{\"seq\":3,\"epoch\":3}");
    expect(f, "a", 0);
    expect(f, "a", 0);
    expect(f, "a", 2);
}

static void
a_broker_that_was_replaced_is_not_heard(void **state)
{
    struct fixture *f = *state;
    subscribe(f, "");
    publish(f, "a", "{\"seq\":1,\"epoch\":2}");
    publish(f, "a", "{\"seq\":100,\"epoch\":1}");
    publish(f, "b", "{\"seq\":100,\"epoch\":1}");
    publish(f, "a", "{\"seq\":2,\"epoch\":2}");
    expect(f, "a", 0);
    expect(f, "a", 0);
}

//  Nobody is at the one before it, and following it twice is following it once.
static void
feeds_of_several_brokers_are_one(void **state)
{
    struct fixture *f = *state;
    char both[256];
    snprintf(both, sizeof both, "ipc://%s/nobody, %s", f->dir, f->endpoint);
    f->feed = tally_feed_new(both);
    assert_non_null(f->feed);
    assert_int_equal(tally_feed_follow(f->feed, f->endpoint), 0);
    assert_int_equal(tally_feed_follow(f->feed, "nowhere"), -1);
    assert_int_equal(tally_feed_subscribe(f->feed, ""), 0);
    char frame[64];
    assert_int_equal(zmq_recv(f->publisher, frame, sizeof frame, 0), 1);
    publish(f, "a", "{\"seq\":1,\"epoch\":1}");
    publish(f, "b", "{\"seq\":1,\"epoch\":1}");
    expect(f, "a", 0);
    expect(f, "b", 0);
}

static void
what_is_no_publication_is_passed_over(void **state)
{
    struct fixture *f = *state;
    subscribe(f, "");
    publish(f, "a", "not json");
    publish(f, "a", "{\"seq\":\"1\",\"epoch\":1}");
    publish(f, "a", "[]");
    zmq_send(f->publisher, "a", 1, 0);
    zmq_send(f->publisher, "a", 1, ZMQ_SNDMORE);
    zmq_send(f->publisher, "{}", 2, ZMQ_SNDMORE);
    zmq_send(f->publisher, "c", 1, 0);
    publish(f, "a", "{\"seq\":1,\"epoch\":1}");
    expect(f, "a", 0);
    tally_publication_t publication;
    assert_int_equal(tally_feed_next(f->feed, 0, &publication), -1);
}

static void
nothing_in_time_is_minus_one(void **state)
{
    struct fixture *f = *state;
    subscribe(f, "");
    tally_publication_t publication;
    int64_t began_ms = tally_clock_now_ms();
    assert_int_equal(tally_feed_next(f->feed, 50, &publication), -1);
    assert_in_range(tally_clock_now_ms() - began_ms, 50, WAIT_MS);
}

static void
what_is_not_an_endpoint_is_null(void **state)
{
    (void)state;
    assert_null(tally_feed_new("nowhere"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(publications_of_the_topic_come_and_no_others),
        TEST(a_gap_in_the_numbers_of_a_topic_is_lost_publications),
        TEST(a_new_epoch_counts_from_one),
        TEST(a_broker_that_was_replaced_is_not_heard),
        TEST(feeds_of_several_brokers_are_one),
        TEST(what_is_no_publication_is_passed_over),
        TEST(nothing_in_time_is_minus_one),
        TEST(what_is_not_an_endpoint_is_null),
    };
    return cmocka_run_group_tests_name("feed", tests, NULL, NULL);
}
