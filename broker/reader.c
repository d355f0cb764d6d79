// SPDX-License-Identifier: MIT
//  reader - see reader.h.

#include "broker/reader.h"

#include <assert.h>
#include <czmq.h>
#include <inttypes.h>

#include "broker/place_store.h"
#include "broker/recover_store.h"
#include "lib/alloc.h"
#include "lib/clock.h"

#define QUESTIONS_MAX                                                                              \
    900    // below the actor pipe's high-water mark, so neither side can block the other

struct tally_reader {
    zactor_t *actor;
    size_t waiting;    // questions not yet taken back
};

tally_read_t *
tally_read_new(tally_read_kind_t kind)
{
    tally_read_t *self = tally_alloc(sizeof *self);
    self->kind = kind;
    return self;
}

void
tally_read_destroy(tally_read_t **self_p)
{
    tally_read_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    free(self->context);
    free(self->missing);
    free(self->body);
    json_decref(self->json);
    tally_principal_list_free(&self->principals);
    free(self->note.who);
    free(self->note.key);
    free(self->note.action);
    free(self->note.request);
    free(self->note.result);
    free(self);
    *self_p = NULL;
}

//  ---- in the actor ---------------------------------------------------------------------------------------

static void
keep_body(tally_read_t *read, tally_bytes_t body)
{
    read->body = tally_alloc(body.size);
    if (body.size > 0) {
        memcpy(read->body, body.data, body.size);
    }
    read->body_size = body.size;
}

static void
read_sender(tally_recover_store_t *store, tally_read_t *read)
{
    tally_sender_row_t row = {0};
    read->database = tally_recover_store_sender(store, read->sender, &read->found, &row);
    if (read->database != TALLY_DB_DONE || !read->found) {
        return;
    }
    read->last = row.last;
    read->missing_count = row.missing_count;
    read->missing = tally_alloc_array(row.missing_count, sizeof *read->missing);
    if (row.missing_count > 0) {
        memcpy(read->missing, row.missing, row.missing_count * sizeof *read->missing);
    }
}

static void
read_result(tally_recover_store_t *store, tally_read_t *read)
{
    tally_result_t result = {0};
    read->database = tally_recover_store_result(store, &read->asker, &read->found, &result);
    if (read->database == TALLY_DB_DONE && read->found) {
        read->outcome = result.outcome;
        keep_body(read, result.body);
    }
}

static void
read_blob(tally_recover_store_t *store, tally_read_t *read)
{
    tally_bytes_t body = {0};
    read->database = tally_recover_store_blob(store, read->tenant, read->message, &read->found,
                                              &body);
    if (read->database == TALLY_DB_DONE && read->found) {
        keep_body(read, body);
    }
}

static json_t *
json_of(tally_bytes_t text)
{
    json_t *value = json_stringn(text.data == NULL ? "" : text.data, text.size);
    return value != NULL ? value : json_null();    // not UTF-8
}

static void
read_snapshot(tally_recover_store_t *store, tally_read_t *read)
{
    tally_snapshot_holder_t holder;
    read->database = tally_recover_store_oldest_snapshot(store, &holder);
    read->json = holder.pid == 0 ? json_null()
                                 : json_pack("{s:i, s:o, s:I}", "pid", holder.pid, "application",
                                             json_of(tally_bytes_of(holder.application)), "age_ms",
                                             (json_int_t)holder.age_ms);
}

//  A body for people: text when it is text, else its bytes in hexadecimal.
static void
add_body(json_t *object, tally_bytes_t body)
{
    json_t *text = json_stringn(body.data == NULL ? "" : body.data, body.size);
    if (text != NULL) {
        json_object_set_new(object, "body", text);
        return;
    }
    assert(body.data != NULL);    // an empty body is text
    char *hex = tally_alloc(body.size * 2 + 1);
    for (size_t i = 0; i < body.size; i++) {
        snprintf(hex + i * 2, 3, "%02x", ((const uint8_t *)body.data)[i]);
    }
    json_object_set_new(object, "body_hex", json_string(hex));
    free(hex);
}

static void
add_dead(void *context, const tally_dead_row_t *row)
{
    tally_read_t *read = context;
    char id[24];
    snprintf(id, sizeof id, "%" PRIu64, row->id);
    json_t *history = json_loadb(row->history.data, row->history.size, 0, NULL);
    json_t *object = json_pack("{s:s, s:I, s:i, s:b, s:o, s:o, s:o, s:o, s:i, s:i, s:i, s:I}", "id",
                               id, "queue_id", (json_int_t)row->queue, "priority", row->priority,
                               "blob", row->is_blob, "created_at", json_of(row->created_at),
                               "buried_at", json_of(row->buried_at), "reason", json_of(row->reason),
                               "history", history != NULL ? history : json_array(), "deliveries",
                               row->deliveries, "failures", row->failures, "crashes", row->crashes,
                               "bytes", (json_int_t)row->body.size);
    assert(object != NULL);
    if (row->key.data != NULL) {
        json_object_set_new(object, "key", json_of(row->key));
    }
    if (read->with_body) {
        add_body(object, row->body);
    }
    json_array_append_new(read->json, object);
}

static void
add_dead_count(void *context, uint32_t queue, uint64_t count)
{
    tally_read_t *read = context;
    char id[24];
    snprintf(id, sizeof id, "%" PRIu32, queue);
    json_object_set_new(read->json, id, json_integer((json_int_t)count));
}

static void
add_standby(void *context, tally_bytes_t instance, int64_t since_ms)
{
    json_array_append_new(((tally_read_t *)context)->json,
                          json_pack("{s:o, s:I}", "instance", json_of(instance), "since_ms",
                                    (json_int_t)since_ms));
}

static void
answer(tally_recover_store_t *store, tally_door_store_t *door, tally_read_t *read)
{
    switch (read->kind) {
    case TALLY_READ_SENDER:
        read_sender(store, read);
        break;
    case TALLY_READ_RESULT:
        read_result(store, read);
        break;
    case TALLY_READ_BLOB:
        read_blob(store, read);
        break;
    case TALLY_READ_DEAD:
        read->json = json_array();
        read->database = tally_recover_store_dead(store, read->tenant, read->queue, read->message,
                                                  read->limit, add_dead, read);
        break;
    case TALLY_READ_DEAD_COUNTS:
        read->json = json_object();
        read->database = tally_recover_store_dead_counts(store, add_dead_count, read);
        break;
    case TALLY_READ_STANDBYS:
        read->json = json_array();
        read->database = tally_recover_store_connect(store);
        if (read->database == TALLY_DB_DONE) {
            tally_db_t *db = tally_recover_store_db(store);
            read->database = tally_place_store_standbys(db, add_standby, read);
        }
        break;
    case TALLY_READ_SNAPSHOT:
        read_snapshot(store, read);
        break;
    case TALLY_READ_PRINCIPALS:
        read->database = tally_door_store_load(door, read->version, &read->principals);
        break;
    case TALLY_READ_WORKER:
        read->database = tally_door_store_add_worker(door, read->worker, read->key);
        break;
    case TALLY_READ_AUDIT: {
        const tally_audit_t audit = {read->note.who, read->note.key, read->note.action,
                                     read->note.request};
        read->database = tally_door_store_audit(door, &audit, &read->audit);
        break;
    }
    case TALLY_READ_AUDIT_RESULT:
        read->database = tally_door_store_audit_result(door, read->audit, read->note.result);
        break;
    }
}

static void
run_reader(zsock_t *pipe, void *args)
{
    tally_recover_store_t *store = tally_recover_store_new(args);    // connect when needed
    tally_door_store_t *door = tally_door_store_new(args);
    zsock_signal(pipe, 0);
    for (;;) {
        zmq_msg_t message;
        zmq_msg_init(&message);
        int size = zmq_msg_recv(&message, zsock_resolve(pipe), 0);
        if (size == -1 && errno == EINTR) {
            continue;
        }
        if (size != (int)sizeof(tally_read_t *)) {    // $TERM of the actor's end, or the context's
            zmq_msg_close(&message);
            break;
        }
        tally_read_t *read;
        memcpy(&read, zmq_msg_data(&message), sizeof read);
        zmq_msg_close(&message);
        answer(store, door, read);
        int rc = zmq_send(zsock_resolve(pipe), &read, sizeof read, 0);
        assert(rc == (int)sizeof read);
    }
    tally_recover_store_destroy(&store);
    tally_door_store_destroy(&door);
}

//  ---- in the loop ----------------------------------------------------------------------------------------

tally_reader_t *
tally_reader_new(const char *conninfo)
{
    tally_reader_t *self = tally_alloc(sizeof *self);
    self->actor = zactor_new(run_reader, (void *)(uintptr_t)conninfo);
    assert(self->actor != NULL);
    return self;
}

bool
tally_reader_rest(tally_reader_t *self, int timeout_ms)
{
    int64_t until_ms = tally_clock_now_ms() + timeout_ms;
    for (int64_t left_ms = timeout_ms; self->waiting > 0 && left_ms > 0;
         left_ms = until_ms - tally_clock_now_ms()) {
        zmq_pollitem_t item = {.socket = zsock_resolve(self->actor), .events = ZMQ_POLLIN};
        (void)zmq_poll(&item, 1, (long)left_ms);    // interrupted: looked at again
        tally_read_t *read = tally_reader_take(self);
        tally_read_destroy(&read);
    }
    return self->waiting == 0;
}

void
tally_reader_destroy(tally_reader_t **self_p)
{
    tally_reader_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    while (!tally_reader_rest(self, 1000)) {
    }
    zactor_destroy(&self->actor);
    free(self);
    *self_p = NULL;
}

int
tally_reader_fd(const tally_reader_t *self)
{
    return (int)zsock_fd(self->actor);
}

int
tally_reader_ask(tally_reader_t *self, tally_read_t **read_p)
{
    if (self->waiting >= QUESTIONS_MAX) {
        return -1;
    }
    int rc = zmq_send(zsock_resolve(self->actor), read_p, sizeof *read_p, ZMQ_DONTWAIT);
    if (rc == -1) {
        return -1;
    }
    self->waiting++;
    *read_p = NULL;
    return 0;
}

bool
tally_reader_asked(const tally_reader_t *self)
{
    return self->waiting > 0;
}

tally_read_t *
tally_reader_take(tally_reader_t *self)
{
    tally_read_t *read;
    int rc = zmq_recv(zsock_resolve(self->actor), &read, sizeof read, ZMQ_DONTWAIT);
    if (rc != (int)sizeof read) {
        return NULL;
    }
    assert(self->waiting > 0);
    self->waiting--;
    return read;
}
