// SPDX-License-Identifier: MIT
//  snapshot - the broker as people and monitors see it: JSON for the status reply and for the feed.
//
//  Numbers come from memory; nothing here asks PostgreSQL (dead letters are counted by the reader when they change).
//  Once a second: the broker and every worker; queues and tenants when something changed since the last time.

#include <assert.h>
#include <inttypes.h>

#include "broker/broker.h"
#include "broker/gate.h"
#include "lib/alloc.h"
#include "lib/log.h"
#include "lib/version.h"

#define TOPICS_AT_ONCE 32
#define STANDBYS_MS 2000    // between two looks at who stands by

static json_t *
json_id(uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, id);
    return json_string(text);
}

static json_t *
json_count(uint64_t count)
{
    return json_integer((json_int_t)count);
}

static void
add_stats(json_t *object, const tally_stream_stats_t *stats)
{
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"ready", stats->ready},
        {"held", stats->held},
        {"delayed", stats->delayed},
        {"waiting", stats->waiting},
        {"leased", stats->leased},
        {"bytes", stats->bytes},
        {"oldest_ms", (uint64_t)stats->oldest_ms},
        {"sent", stats->sent},
        {"delivered", stats->delivered},
        {"settled", stats->settled},
        {"returned", stats->returned},
        {"expired", stats->expired},
        {"buried", stats->buried},
        {"duplicates", stats->duplicates},
        {"refused", stats->refused},
        {"stale", stats->stale},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_object_set_new(object, members[i].name, json_count(members[i].value));
    }
}

json_t *
tally_snapshot_queue(tally_broker_t *self, const tally_queue_row_t *row)
{
    tally_stream_stats_t stats = {0};
    tally_core_stats(self->core, row->id, 0, self->now_ms, &stats);
    json_t *queue = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:i, s:b, s:b, s:I, s:I}",
                              "name", row->name, "visibility_ms", row->visibility_ms,
                              "failures_max", row->failures_max, "crashes_max", row->crashes_max,
                              "retry_ms", row->retry_ms, "retry_ms_max", row->retry_ms_max,
                              "batch_max", row->batch_max, "window_ms", (json_int_t)row->window_ms,
                              "window_count", row->window_count, "exclusive", row->exclusive,
                              "keep_blobs", row->keep_blobs, "result_kept_ms",
                              (json_int_t)row->result_kept_ms, "dedupe_kept_ms",
                              (json_int_t)row->dedupe_kept_ms);
    assert(queue != NULL);
    add_stats(queue, &stats);
    char id[24];
    snprintf(id, sizeof id, "%" PRIu32, row->id);
    json_object_set_new(queue, "dead",
                        json_integer(json_integer_value(json_object_get(self->dead_counts, id))));
    return queue;
}

json_t *
tally_snapshot_tenant(tally_broker_t *self, const tally_tenant_row_t *row)
{
    tally_stream_stats_t stats = {0};
    tally_core_stats(self->core, 0, row->id, self->now_ms, &stats);
    json_t *tenant = json_pack("{s:s, s:i, s:I, s:I, s:I, s:i, s:i}", "name", row->name, "weight",
                               row->weight, "messages_max", (json_int_t)row->messages_max,
                               "bytes_max", (json_int_t)row->bytes_max, "leased_max",
                               (json_int_t)row->leased_max, "connections_max", row->connections_max,
                               "requests_max", row->requests_max);
    assert(tenant != NULL);
    add_stats(tenant, &stats);
    return tenant;
}

static json_t *
terms_of(const tally_broker_t *self, uint64_t worker)
{
    json_t *terms = json_array();
    tally_term_row_t term;
    for (size_t i = 0; i < tally_core_term_count(self->core); i++) {
        if (!tally_core_term_at(self->core, i, &term) || term.worker != worker) {
            continue;
        }
        const tally_queue_row_t *queue = tally_core_queue_by_id(self->core, term.queue);
        const tally_tenant_row_t *tenant = tally_core_tenant_by_id(self->core, term.tenant);
        json_array_append_new(terms, json_pack("{s:s, s:s, s:I}", "queue",
                                               queue != NULL ? queue->name : "", "tenant",
                                               tenant != NULL ? tenant->name : "", "epoch",
                                               (json_int_t)term.epoch));
    }
    return terms;
}

static json_t *
snapshot_worker(const tally_broker_t *self, const tally_worker_info_t *info)
{
    json_t *queues = json_array();
    for (uint8_t i = 0; i < info->queue_count; i++) {
        const tally_queue_row_t *queue = tally_core_queue_by_id(self->core, info->queues[i]);
        json_array_append_new(queues, json_string(queue != NULL ? queue->name : ""));
    }
    return json_pack("{s:s, s:o, s:i, s:I, s:I, s:I, s:b, s:o, s:o}", "name", info->name, "number",
                     json_id(info->number), "credit", info->credit, "outstanding",
                     (json_int_t)info->outstanding, "leases", (json_int_t)info->leases, "beat_ms",
                     (json_int_t)info->beat_ms, "draining", info->draining, "queues", queues,
                     "terms", terms_of(self, info->number));
}

json_t *
tally_snapshot_workers(tally_broker_t *self)
{
    json_t *workers = json_array();
    tally_worker_info_t info;
    for (size_t i = 0; i < tally_core_worker_count(self->core); i++) {
        if (tally_core_worker_at(self->core, i, self->now_ms, &info)) {
            json_array_append_new(workers, snapshot_worker(self, &info));
        }
    }
    return workers;
}

static json_t *
json_us(uint64_t ns)
{
    uint64_t tenths = ns / 100;
    return json_real((double)tenths / 10.0);
}

//  Of each phase: the sum since the start, the quantiles of the last minute.
static json_t *
snapshot_phases(const tally_broker_t *self)
{
    static const char *const names[] = {"collect", "plan", "encode", "database", "publish"};
    json_t *phases = json_object();
    for (tally_meter_series_t phase = TALLY_METER_COLLECT; phase <= TALLY_METER_PUBLISH; phase++) {
        tally_meter_figures_t figures;
        tally_meter_read(self->meter, phase, &figures);
        json_object_set_new(phases, names[phase],
                            json_pack("{s:o, s:o, s:o, s:o}", "sum_us", json_us(figures.sum),
                                      "p50_us", json_us(figures.p50), "p99_us",
                                      json_us(figures.p99), "max_us", json_us(figures.max)));
    }
    return phases;
}

static json_t *
snapshot_sizes(const tally_broker_t *self, tally_meter_series_t series)
{
    tally_meter_figures_t figures;
    tally_meter_read(self->meter, series, &figures);
    return json_pack("{s:o, s:o, s:o}", "p50", json_count(figures.p50), "p99",
                     json_count(figures.p99), "max", json_count(figures.max));
}

static json_t *
snapshot_ticks(const tally_broker_t *self)
{
    tally_meter_figures_t messages, leases;
    tally_meter_read(self->meter, TALLY_METER_MESSAGES, &messages);
    tally_meter_read(self->meter, TALLY_METER_LEASES, &leases);
    json_t *ticks = json_pack("{s:o, s:o, s:o}", "phases", snapshot_phases(self),
                              "messages_per_tick", snapshot_sizes(self, TALLY_METER_MESSAGES),
                              "leases_per_tick", snapshot_sizes(self, TALLY_METER_LEASES));
    const tally_tick_counters_t *c = &self->counters;
    const struct {
        const char *name;
        uint64_t value;
    } members[] = {
        {"count", messages.count},
        {"silent", c->silent},
        {"retried", c->retried},
        {"unknown_found", c->unknown_found},
        {"unknown_lost", c->unknown_lost},
        {"rejected", c->rejected},
        {"messages", messages.sum},
        {"leases", leases.sum},
        {"frames_refused", c->frames_refused},
        {"replies_lost", c->replies_lost},
        {"connections_refused", tally_gate_refused()},
        {"connections_ended", tally_gate_ended()},
        {"newcomers", tally_gate_newcomers()},
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        json_object_set_new(ticks, members[i].name, json_count(members[i].value));
    }
    return ticks;
}

static json_t *
snapshot_broker(const tally_broker_t *self)
{
    return json_pack(
        "{s:s, s:I, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I, s:{s:s, s:s, s:s}, s:O, s:O}",
        "version", TALLY_VERSION, "epoch", (json_int_t)self->epoch, "instance",
        self->options.instance, "uptime_ms", (json_int_t)(self->now_ms - self->started_ms),
        "active_ms", (json_int_t)(self->now_ms - self->active_since_ms), "tick",
        (json_int_t)tally_core_tick(self->core), "state",
        self->state == TALLY_SERVING ? "serving" : "away", "callers",
        (json_int_t)tally_callers_count(self->callers), "body_cache_bytes",
        (json_int_t)tally_core_memory_bytes(self->core), "entry_bytes",
        (json_int_t)tally_core_entry_bytes(self->core), "endpoints", "front", self->front_endpoint,
        "sink", self->sink_endpoint, "feed", tally_broadcast_endpoint(self->feed), "standbys",
        self->standbys, "oldest_snapshot", self->oldest_snapshot);
}

json_t *
tally_snapshot_status(tally_broker_t *self)
{
    json_t *queues = json_array();
    for (size_t i = 0; i < tally_core_queue_count(self->core); i++) {
        json_array_append_new(queues,
                              tally_snapshot_queue(self, tally_core_queue_at(self->core, i)));
    }
    json_t *tenants = json_array();
    for (size_t i = 0; i < tally_core_tenant_count(self->core); i++) {
        json_array_append_new(tenants,
                              tally_snapshot_tenant(self, tally_core_tenant_at(self->core, i)));
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "broker", snapshot_broker(self), "queues", queues,
                     "tenants", tenants, "workers", tally_snapshot_workers(self), "ticks",
                     snapshot_ticks(self));
}

//  Nothing of Tally's slows down by it, but tables grow as long as it is held; somebody should look.
void
tally_snapshot_oldest(tally_broker_t *self, tally_read_t *read)
{
    if (read->database != TALLY_DB_DONE) {
        return;
    }
    json_decref(self->oldest_snapshot);
    self->oldest_snapshot = json_incref(read->json);
    json_int_t age_ms = json_integer_value(json_object_get(read->json, "age_ms"));
    if (age_ms > TALLY_SNAPSHOT_HELD_MS
        && self->now_ms - self->snapshot_told_ms > TALLY_SNAPSHOT_HELD_MS) {
        self->snapshot_told_ms = self->now_ms;
        tally_log_warn("a session holds an old snapshot: vacuum waits for it  pid=%d "
                       "application=%s age_ms=%lld",
                       (int)json_integer_value(json_object_get(read->json, "pid")),
                       json_string_value(json_object_get(read->json, "application")),
                       (long long)age_ms);
    }
}

//  ---- the feed -------------------------------------------------------------------------------------------

static void
publish_named(tally_broker_t *self, const char *kind, const char *name, json_t *object)
{
    char topic[TALLY_TOPIC_BYTES_MAX];
    int size = snprintf(topic, sizeof topic, "%s.%s", kind, name);
    tally_broadcast_publish(self->feed, (tally_bytes_t){topic, (size_t)size}, object);
}

void
tally_snapshot_standbys(tally_broker_t *self, tally_read_t *read)
{
    if (read->database == TALLY_DB_DONE) {
        json_decref(self->standbys);
        self->standbys = json_incref(read->json);
    }
}

static void
publish_tenant(tally_broker_t *self, const tally_tenant_row_t *row)
{
    json_t *tenant = tally_snapshot_tenant(self, row);
    json_object_set_new(tenant, "tenant", json_string(row->name));
    publish_named(self, "tenant", row->name, tenant);
}

//  Queues, then tenants, then workers.  False: there are not so many.
static bool
publish_at(tally_broker_t *self, size_t at)
{
    size_t queues = tally_core_queue_count(self->core);
    size_t tenants = tally_core_tenant_count(self->core);
    tally_worker_info_t info;
    if (at < queues) {
        const tally_queue_row_t *row = tally_core_queue_at(self->core, at);
        publish_named(self, "queue", row->name, tally_snapshot_queue(self, row));
        return true;
    }
    if (at < queues + tenants) {
        publish_tenant(self, tally_core_tenant_at(self->core, at - queues));
        return true;
    }
    if (!tally_core_worker_at(self->core, at - queues - tenants, self->now_ms, &info)) {
        return false;
    }
    publish_named(self, "worker", info.name, snapshot_worker(self, &info));
    return true;
}

static void
ask_reader(tally_broker_t *self)
{
    if (self->now_ms >= self->standbys_at_ms && self->state == TALLY_SERVING) {
        tally_read_t *read = tally_read_new(TALLY_READ_STANDBYS);
        tally_read_t *snapshot = tally_read_new(TALLY_READ_SNAPSHOT);
        if (tally_reader_ask(self->reader, &read) == 0
            && tally_reader_ask(self->reader, &snapshot) == 0) {
            self->standbys_at_ms = self->now_ms + STANDBYS_MS;
        }
        tally_read_destroy(&read);
        tally_read_destroy(&snapshot);
    }
    if (self->dead_changed && self->state == TALLY_SERVING) {
        tally_read_t *read = tally_read_new(TALLY_READ_DEAD_COUNTS);
        self->dead_changed = tally_reader_ask(self->reader, &read) == -1;
        tally_read_destroy(&read);
    }
}

bool
tally_snapshot_publish(tally_broker_t *self)
{
    if (self->snapshot_next == 0) {
        ask_reader(self);
    }
    if (tally_gate_subscribers() == 0) {
        self->snapshot_next = 0;
        return false;
    }
    if (self->snapshot_next == 0) {
        json_t *broker = snapshot_broker(self);
        json_object_set_new(broker, "ticks", snapshot_ticks(self));
        tally_broadcast_publish(self->feed, tally_bytes_of("broker"), broker);
    }
    for (int i = 0; i < TOPICS_AT_ONCE; i++) {
        if (!publish_at(self, self->snapshot_next)) {
            self->snapshot_next = 0;
            return false;
        }
        self->snapshot_next++;
    }
    return true;
}
