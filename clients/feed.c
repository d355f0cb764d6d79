// SPDX-License-Identifier: MIT
//  feed - follows what the broker publishes, and counts what was missed.
//
//  A SUB socket and, for each topic heard of, the last number seen.  The number is the only member
//  read here; what publications mean is the caller's.  What is not two frames with a numbered
//  object is passed over.

#include "clients/feed.h"

#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/endpoints.h"
#include "lib/json.h"
#include "lib/key_file.h"
#include "lib/limits.h"
#include "lib/socket.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define TOPICS_MAX 65536    // heard of; losses of topics beyond are not counted
#define RECEIVE_HWM 10000

struct topic {
    char *name;
    json_int_t epoch;
    json_int_t seq;
};

struct tally_feed {
    void *context;    // owned, as is the socket
    void *socket;
    char **endpoints;    // connected to; owned
    size_t endpoint_count;
    json_int_t epoch;    // the highest heard of
    bool keyed;          // CURVE, with these
    tally_key_pair_t own, server;
    zmq_msg_t topic, json;    // of the publication lent; initialised always
    char *topic_text;         // their copies with a NUL
    char *json_text;
    struct topic *topics;    // by name
    size_t count;
    size_t room;
};

int
tally_feed_follow(tally_feed_t *self, const char *endpoint)
{
    for (size_t i = 0; i < self->endpoint_count; i++) {
        if (strcmp(self->endpoints[i], endpoint) == 0) {
            return 0;    // twice the same would be heard twice
        }
    }
    const tally_socket_curve_t curve = {.public_key = self->own.public_key,
                                        .secret_key = self->own.secret_key,
                                        .server_key = self->server.public_key};
    const tally_socket_options_t options = {.send_max = 0,    // subscriptions must not get lost
                                            .receive_max = RECEIVE_HWM,
                                            .curve = self->keyed ? &curve : NULL,
                                            .frame_bytes_max = TALLY_FRAME_BYTES_MAX};
    if (tally_socket_connect(self->socket, endpoint, &options) == -1) {
        return -1;
    }
    self->endpoints = tally_realloc_array(self->endpoints, self->endpoint_count + 1,
                                          sizeof *self->endpoints);
    self->endpoints[self->endpoint_count++] = tally_strdup(endpoint);
    return 0;
}

//  Those of a list; what is no list is no endpoint either, and says so.
static int
follow_all(tally_feed_t *self, const char *endpoints)
{
    size_t count = tally_endpoints_count(endpoints);
    int rc = count == 0 ? tally_feed_follow(self, endpoints) : 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        char *endpoint = tally_endpoints_at(endpoints, i);
        rc = tally_feed_follow(self, endpoint);
        free(endpoint);
    }
    return rc;
}

tally_feed_t *
tally_feed_new(const char *endpoints)
{
    return tally_feed_new_keyed(endpoints, NULL);
}

tally_feed_t *
tally_feed_new_keyed(const char *endpoints, const tally_socket_curve_t *curve)
{
    assert(endpoints != NULL);
    void *context = zmq_ctx_new();
    if (context == NULL) {
        return NULL;
    }
    tally_feed_t *self = tally_alloc(sizeof *self);
    self->context = context;
    zmq_msg_init(&self->topic);
    zmq_msg_init(&self->json);
    if (curve != NULL) {
        self->keyed = true;
        memcpy(self->own.public_key, curve->public_key, sizeof self->own.public_key);
        memcpy(self->own.secret_key, curve->secret_key, sizeof self->own.secret_key);
        memcpy(self->server.public_key, curve->server_key, sizeof self->server.public_key);
    }
    self->socket = zmq_socket(self->context, ZMQ_SUB);
    if (self->socket == NULL || follow_all(self, endpoints) == -1) {
        int why = errno;
        tally_feed_destroy(&self);
        errno = why;
        return NULL;
    }
    return self;
}

static void
release(tally_feed_t *self)
{
    free(self->topic_text);
    free(self->json_text);
    self->topic_text = NULL;
    self->json_text = NULL;
}

void
tally_feed_destroy(tally_feed_t **self_p)
{
    assert(self_p != NULL);
    tally_feed_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    release(self);
    zmq_msg_close(&self->topic);
    zmq_msg_close(&self->json);
    if (self->socket != NULL) {
        zmq_close(self->socket);
    }
    while (zmq_ctx_term(self->context) == -1 && errno == EINTR) {
    }
    for (size_t i = 0; i < self->count; i++) {
        free(self->topics[i].name);
    }
    free(self->topics);
    for (size_t i = 0; i < self->endpoint_count; i++) {
        free(self->endpoints[i]);
    }
    free(self->endpoints);
    free(self);
    *self_p = NULL;
}

int
tally_feed_subscribe(tally_feed_t *self, const char *topic)
{
    size_t bytes = strlen(topic);
    if (bytes > TALLY_TOPIC_BYTES_MAX) {
        errno = EINVAL;
        return -1;
    }
    return zmq_setsockopt(self->socket, ZMQ_SUBSCRIBE, topic, bytes);
}

//  The place of `name` among the topics; *found says whether it is there already.
static size_t
place_of(const tally_feed_t *self, const char *name, bool *found)
{
    size_t low = 0;
    size_t high = self->count;
    *found = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(self->topics[middle].name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

//  How many publications of the topic are missing before this one.
static uint64_t
count_lost(tally_feed_t *self, const char *name, json_int_t epoch, json_int_t seq)
{
    bool found;
    size_t at = place_of(self, name, &found);
    if (!found) {
        if (self->count == TOPICS_MAX) {
            return 0;
        }
        if (self->count == self->room) {
            self->room = self->room == 0 ? 16 : self->room * 2;
            self->topics = tally_realloc_array(self->topics, self->room, sizeof *self->topics);
        }
        memmove(self->topics + at + 1, self->topics + at,
                (self->count - at) * sizeof *self->topics);
        self->topics[at] = (struct topic){tally_strdup(name), epoch, seq};
        self->count++;
        return 0;    // what was before we listened is not lost
    }
    struct topic *topic = &self->topics[at];
    json_int_t expected = topic->epoch == epoch ? topic->seq + 1 : 1;
    topic->epoch = epoch;
    topic->seq = seq;
    return seq > expected ? (uint64_t)(seq - expected) : 0;
}

//  False when there is no whole publication.
static bool
receive(tally_feed_t *self)
{
    if (zmq_msg_recv(&self->topic, self->socket, ZMQ_DONTWAIT) == -1) {
        return false;
    }
    bool whole = zmq_msg_more(&self->topic)
                 && zmq_msg_recv(&self->json, self->socket, ZMQ_DONTWAIT) != -1;
    bool more = whole && zmq_msg_more(&self->json);
    while (more) {
        zmq_msg_t rest;
        zmq_msg_init(&rest);
        more = zmq_msg_recv(&rest, self->socket, ZMQ_DONTWAIT) != -1 && zmq_msg_more(&rest);
        zmq_msg_close(&rest);
        whole = false;
    }
    return whole;
}

static bool
read_publication(tally_feed_t *self, tally_publication_t *publication)
{
    tally_bytes_t text = {zmq_msg_data(&self->json), zmq_msg_size(&self->json)};
    json_t *object = tally_json_load(text, TALLY_FRAME_BYTES_MAX, TALLY_JSON_MADE, NULL);
    const json_t *seq = json_object_get(object, "seq");
    const json_t *epoch = json_object_get(object, "epoch");
    bool good = json_is_integer(seq) && json_is_integer(epoch)
                && json_integer_value(epoch) >= self->epoch;    // a broker that was replaced
    if (good) {
        self->epoch = json_integer_value(epoch);
        release(self);
        self->topic_text = tally_strndup(zmq_msg_data(&self->topic), zmq_msg_size(&self->topic));
        self->json_text = tally_strndup(text.data, text.size);
        publication->topic = self->topic_text;
        publication->json = self->json_text;
        publication->json_bytes = text.size;
        publication->lost = count_lost(self, self->topic_text, json_integer_value(epoch),
                                       json_integer_value(seq));
    }
    json_decref(object);
    return good;
}

int
tally_feed_next(tally_feed_t *self, int timeout_ms, tally_publication_t *publication)
{
    int64_t until_ms = timeout_ms < 0 ? INT64_MAX : tally_clock_now_ms() + timeout_ms;
    for (;;) {
        if (receive(self)) {
            if (read_publication(self, publication)) {
                return 0;
            }
            continue;
        }
        int64_t now_ms = tally_clock_now_ms();
        if (now_ms >= until_ms) {
            return -1;
        }
        zmq_pollitem_t item = {.socket = self->socket, .events = ZMQ_POLLIN};
        long wait_ms = timeout_ms < 0 ? -1 : (long)(until_ms - now_ms);
        if (zmq_poll(&item, 1, wait_ms) == -1 && errno == EINTR) {
            return -1;    // a signal: the caller may want to end
        }
    }
}
