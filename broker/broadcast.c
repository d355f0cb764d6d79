// SPDX-License-Identifier: MIT
//  broadcast - see broadcast.h.

#include "broker/broadcast.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#include "broker/outlet.h"
#include "broker/place.h"
#include "broker/plan.h"
#include "broker/table.h"
#include "lib/alloc.h"
#include "lib/limits.h"
#include "lib/log.h"
#include "lib/socket.h"

#define TOPICS_MAX                                                                                 \
    200000    // workers choose topics too; beyond, those of theirs go out without a number

typedef struct {
    tally_bytes_t name;    // points behind the struct
    uint64_t sequence;
} topic_t;

//  The feed of those who see one set of tenants.
typedef struct {
    char mark[TALLY_SCOPE_MARK_BYTES + 1];    // of the set
    tally_outlet_t *outlet;
    char *told;    // where its followers connect to; owned
} share_t;

//  A tenant, and the shares that it goes to.
typedef struct {
    tally_bytes_t name;    // points behind the struct
    TALLY_ARRAY(size_t) shares;
} audience_t;

struct tally_broadcast {
    tally_broadcast_options_t options;
    tally_outlet_t *whole;
    tally_names_t topics;    // owned
    TALLY_ARRAY(share_t) shares;
    tally_names_t audiences;    // owned, by tenant
};

static bool
topic_is(const void *value, uint64_t group, tally_bytes_t bytes)
{
    (void)group;
    return tally_bytes_equal(((const topic_t *)value)->name, bytes);
}

static bool
audience_is(const void *value, uint64_t group, tally_bytes_t bytes)
{
    (void)group;
    return tally_bytes_equal(((const audience_t *)value)->name, bytes);
}

tally_broadcast_t *
tally_broadcast_new(const tally_broadcast_options_t *options)
{
    tally_broadcast_t *self = tally_alloc(sizeof *self);
    self->options = *options;
    uint64_t seed[2];
    randombytes_buf(seed, sizeof seed);
    tally_names_init(&self->topics, seed[0], topic_is);
    tally_names_init(&self->audiences, seed[1], audience_is);
    self->whole = tally_outlet_new(options->endpoint,
                                   tally_door_curve(options->door, TALLY_DOMAIN_FEED, ""));
    if (self->whole == NULL) {
        tally_broadcast_destroy(&self);
    }
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
    at = 0;
    for (audience_t *one = tally_table_each(&self->audiences.table, &at); one != NULL;
         one = tally_table_each(&self->audiences.table, &at)) {
        free(one->shares.items);
        free(one);
    }
    tally_names_free(&self->topics);
    tally_names_free(&self->audiences);
    for (size_t i = 0; i < self->shares.count; i++) {
        tally_outlet_destroy(&self->shares.items[i].outlet);
        free(self->shares.items[i].told);
    }
    free(self->shares.items);
    tally_outlet_destroy(&self->whole);
    free(self);
    *self_p = NULL;
}

const char *
tally_broadcast_endpoint(const tally_broadcast_t *self)
{
    return tally_outlet_endpoint(self->whole);
}

//  ---- shares ---------------------------------------------------------------------------------------------

static void
add_to_audience(tally_broadcast_t *self, const char *tenant, size_t share)
{
    tally_bytes_t name = tally_bytes_of(tenant);
    audience_t *audience = tally_names_find(&self->audiences, 0, name);
    if (audience == NULL) {
        audience = tally_alloc(sizeof *audience + name.size);
        memcpy(audience + 1, name.data, name.size);
        audience->name = (tally_bytes_t){audience + 1, name.size};
        tally_names_put(&self->audiences, 0, audience->name, audience);
    }
    *TALLY_PUSH(&audience->shares) = share;
}

static const char *
open_share(tally_broadcast_t *self, const tally_principal_t *who)
{
    const tally_broadcast_options_t *options = &self->options;
    size_t number = self->shares.count + 1;
    if (options->feeds == NULL || number > TALLY_FEEDS_MAX) {
        return "";
    }
    char *place = tally_place_of(options->feeds, number);
    tally_outlet_t *outlet = tally_outlet_new(place,
                                              tally_door_curve(options->door, TALLY_DOMAIN_FEEDS,
                                                               who->mark));
    free(place);
    if (outlet == NULL) {
        return "";
    }
    share_t *share = TALLY_PUSH(&self->shares);
    memcpy(share->mark, who->mark, sizeof share->mark);
    share->outlet = outlet;
    share->told = tally_place_told(options->advertise_feeds, number, tally_outlet_endpoint(outlet));
    for (size_t i = 0; i < who->tenants.count; i++) {
        add_to_audience(self, who->tenants.names[i], self->shares.count - 1);
    }
    return share->told;
}

const char *
tally_broadcast_endpoint_for(tally_broadcast_t *self, const tally_principal_t *who)
{
    if (who->tenants.all) {
        return self->options.advertise != NULL ? self->options.advertise
                                               : tally_broadcast_endpoint(self);
    }
    for (size_t i = 0; i < self->shares.count; i++) {
        if (strcmp(self->shares.items[i].mark, who->mark) == 0) {
            return self->shares.items[i].told;
        }
    }
    return open_share(self, who);
}

void
tally_broadcast_restart(tally_broadcast_t *self)
{
    tally_outlet_restart(self->whole);
    for (size_t i = 0; i < self->shares.count; i++) {
        tally_outlet_restart(self->shares.items[i].outlet);
    }
}

//  ---- publishing -----------------------------------------------------------------------------------------

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
    json_object_set_new(object, "epoch", json_integer((json_int_t)self->options.epoch));
    add_time(object);
    char *text = json_dumps(object, JSON_COMPACT);
    assert(text != NULL);
    const json_t *tenant = json_object_get(object, "tenant");
    const audience_t *audience = NULL;
    if (json_is_string(tenant)) {
        tally_bytes_t name = {json_string_value(tenant), json_string_length(tenant)};
        audience = tally_names_find(&self->audiences, 0, name);
    }
    json_decref(object);
    tally_outlet_send(self->whole, topic, tally_bytes_of(text));
    for (size_t i = 0; audience != NULL && i < audience->shares.count; i++) {
        tally_outlet_send(self->shares.items[audience->shares.items[i]].outlet, topic,
                          tally_bytes_of(text));
    }
    free(text);
}
