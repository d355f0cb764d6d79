// SPDX-License-Identifier: MIT
#include "tests/faults/lookout.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "tests/faults/load.h"

#define SEATS_MAX 2

struct tally_lookout {
    tally_feed_t *feeds[SEATS_MAX];
    unsigned active;    // seat
    uint64_t pending[TALLY_LOAD_QUEUES];
    char holders[TALLY_LOAD_TENANTS + 1][65];
};

tally_lookout_t *
tally_lookout_new(const char *dir, unsigned seats)
{
    assert(seats <= SEATS_MAX);
    tally_lookout_t *self = tally_alloc(sizeof *self);
    for (unsigned i = 0; i < seats; i++) {
        char *feed = tally_format("ipc://%s/feed-%u", dir, i + 1);
        self->feeds[i] = tally_feed_new(feed);
        if (self->feeds[i] == NULL || tally_feed_subscribe(self->feeds[i], "queue.") == -1
            || tally_feed_subscribe(self->feeds[i], "worker.") == -1) {
            fprintf(stderr, "faults: could not follow the feed at %s\n", feed);
            abort();
        }
        free(feed);
    }
    return self;
}

void
tally_lookout_destroy(tally_lookout_t **self_p)
{
    tally_lookout_t *self = *self_p;
    if (self != NULL) {
        for (unsigned i = 0; i < SEATS_MAX; i++) {
            tally_feed_destroy(&self->feeds[i]);
        }
        free(self);
        *self_p = NULL;
    }
}

static void
take_queue(tally_lookout_t *self, const json_t *json, tally_load_queue_t queue)
{
    static const char *const states[] = {"ready", "held", "delayed", "waiting", "leased"};
    self->pending[queue] = 0;
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        self->pending[queue] += (uint64_t)json_integer_value(json_object_get(json, states[i]));
    }
}

static void
take_worker(tally_lookout_t *self, const json_t *json, const char *name)
{
    for (size_t i = 1; i <= TALLY_LOAD_TENANTS; i++) {
        if (strcmp(self->holders[i], name) == 0) {
            self->holders[i][0] = '\0';
        }
    }
    size_t i;
    json_t *term;
    json_array_foreach(json_object_get(json, "terms"), i, term) {
        const char *tenant = json_string_value(json_object_get(term, "tenant"));
        uint16_t number = tenant == NULL ? 0 : tally_load_tenant_number(tenant);
        snprintf(self->holders[number], sizeof self->holders[number], "%s", name);
    }
}

static void
look_at(tally_lookout_t *self, unsigned seat)
{
    tally_publication_t publication;
    while (tally_feed_next(self->feeds[seat - 1], 0, &publication) == 0) {
        self->active = seat;
        json_t *json = json_loadb(publication.json, publication.json_bytes, 0, NULL);
        const char *name = strchr(publication.topic, '.') + 1;    // subscribed to nothing without
        if (json != NULL && publication.topic[0] == 'w') {
            take_worker(self, json, name);
        } else if (json != NULL && tally_load_queue(name) != 0) {
            take_queue(self, json, tally_load_queue(name));
        }
        json_decref(json);
    }
}

void
tally_lookout_look(tally_lookout_t *self)
{
    for (unsigned seat = 1; seat <= SEATS_MAX && self->feeds[seat - 1] != NULL; seat++) {
        look_at(self, seat);
    }
}

unsigned
tally_lookout_active(const tally_lookout_t *self)
{
    return self->active;
}

uint64_t
tally_lookout_pending(const tally_lookout_t *self)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < TALLY_LOAD_QUEUES; i++) {
        sum += self->pending[i];
    }
    return sum;
}

const char *
tally_lookout_holder(const tally_lookout_t *self, uint16_t *tenant)
{
    for (uint16_t i = 1; i <= TALLY_LOAD_TENANTS; i++) {
        if (self->holders[i][0] != '\0') {
            *tenant = i;
            return self->holders[i];
        }
    }
    *tenant = 0;
    return "";
}
