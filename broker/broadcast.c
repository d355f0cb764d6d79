// SPDX-License-Identifier: MIT
//  broadcast - see broadcast.h.

#include "broker/broadcast.h"

#include <assert.h>
#include <czmq.h>
#include <sodium.h>
#include <time.h>

#include "broker/table.h"
#include "lib/alloc.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/socket.h"

#define FEED_HWM 10000    // per subscriber; beyond, it misses messages and sees so by seq
#define TOPICS_MAX                                                                                 \
    200000    // workers choose topics too; beyond, those of theirs go out without a number

typedef struct {
    tally_bytes_t name;    // points behind the struct
    uint64_t sequence;
} topic_t;

struct tally_broadcast {
    zsock_t *out;
    char *endpoint;
    uint64_t epoch;
    tally_names_t topics;    // owned
};

static bool
topic_is(const void *value, uint64_t group, tally_bytes_t bytes)
{
    (void)group;
    return tally_bytes_equal(((const topic_t *)value)->name, bytes);
}

tally_broadcast_t *
tally_broadcast_new(const char *endpoint, uint64_t epoch)
{
    tally_broadcast_t *self = tally_alloc(sizeof *self);
    self->epoch = epoch;
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    tally_names_init(&self->topics, seed, topic_is);
    self->out = zsock_new(ZMQ_PUB);
    assert(self->out != NULL);
    //  A subscriber says one byte and a topic, shorter than the handshake.
    const tally_socket_options_t options = {.send_max = FEED_HWM,
                                            .receive_max = FEED_HWM,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX};
    if (tally_socket_bind(zsock_resolve(self->out), endpoint, &options) == -1) {
        tally_log_error("could not bind %s: %s", endpoint, zmq_strerror(errno));
        tally_broadcast_destroy(&self);
        return NULL;
    }
    self->endpoint = zsock_last_endpoint(self->out);
    return self;
}

void
tally_broadcast_destroy(tally_broadcast_t **self_p)
{
    tally_broadcast_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    size_t at = 0;
    for (void *topic = tally_table_each(&self->topics.table, &at); topic != NULL;
         topic = tally_table_each(&self->topics.table, &at)) {
        free(topic);
    }
    tally_names_free(&self->topics);
    zsock_destroy(&self->out);
    freen(self->endpoint);
    free(self);
    *self_p = NULL;
}

const char *
tally_broadcast_endpoint(const tally_broadcast_t *self)
{
    return self->endpoint;
}

//  The next number of the topic; 0 when there are too many topics to number.
static uint64_t
next_sequence(tally_broadcast_t *self, tally_bytes_t name)
{
    topic_t *topic = tally_names_find(&self->topics, 0, name);
    if (topic == NULL) {
        if (self->topics.table.count >= TOPICS_MAX) {
            return 0;
        }
        topic = tally_alloc(sizeof *topic + name.size);
        memcpy(topic + 1, name.data, name.size);
        topic->name = (tally_bytes_t){topic + 1, name.size};
        tally_names_put(&self->topics, 0, topic->name, topic);
    }
    return ++topic->sequence;
}

static void
add_time(json_t *object)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);    // for people only; nothing is decided by it
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char text[40];
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + size, sizeof text - size, ".%03ldZ", now.tv_nsec / 1000000);
    json_object_set_new(object, "at", json_string(text));
}

void
tally_broadcast_publish(tally_broadcast_t *self, tally_bytes_t topic, json_t *object)
{
    assert(json_is_object(object));
    assert(topic.size <= TALLY_TOPIC_BYTES_MAX);
    uint64_t sequence = next_sequence(self, topic);
    if (sequence > 0) {
        json_object_set_new(object, "seq", json_integer((json_int_t)sequence));
    }
    json_object_set_new(object, "epoch", json_integer((json_int_t)self->epoch));
    add_time(object);
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    assert(text != NULL);
    void *out = zsock_resolve(self->out);
    if (zmq_send(out, topic.data, topic.size, ZMQ_SNDMORE | ZMQ_DONTWAIT) != -1) {
        int rc = zmq_send(out, text, strlen(text), ZMQ_DONTWAIT);
        assert(rc != -1);    // PUB never waits
    }
    free(text);
}
