// SPDX-License-Identifier: MIT
//  door_fixture - see door_fixture.h.

#include "tests/integration/door_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <poll.h>
#include <stdlib.h>
#include <zmq.h>

#include "lib/alloc.h"
#include "lib/clock.h"

//  A key is let in once the broker has read the principals again.
static void
await_key(door_scene_t *s, const tally_key_pair_t *key)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_REVOKED_MS;
    s->wire.size = 0;
    while (door_scene_knock(s, ZMQ_DEALER, s->front, key, s->server.public_key) != DOOR_IN) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        poll(NULL, 0, 20);    // so many strangers may fail a second
    }
}

int
door_fixture_set_up(void **state)
{
    door_fixture_t *f = tally_alloc(sizeof *f);
    *state = f;
    f->scene = door_scene_new();
    door_scene_t *s = f->scene;
    f->acme = door_scene_key(s, "acme-1", "client", "{acme}", "{*}", "{send,ask,read,admin}");
    f->beta = door_scene_key(s, "beta-1", "client", "{beta}", "{*}", "{send,ask,read,admin}");
    f->monitor = door_scene_key(s, "monitor-1", "monitor", "{*}", "{*}", "{read}");
    f->worker = door_scene_key(s, "worker-1", "worker", "{*}", "{mail,one,two,three,four}",
                               "{work}");
    f->other_worker = door_scene_key(s, "worker-2", "worker", "{*}", "{mail,one,two,three,four}",
                                     "{work}");
    await_key(s, &f->other_worker);    // and with it those before
    f->operator= door_scene_client(s, &s->operator_key);
    return 0;
}

int
door_fixture_tear_down(void **state)
{
    door_fixture_t *f = *state;
    door_scene_close(&f->operator);
    door_scene_destroy(&f->scene);
    free(f);
    return 0;
}

int
door_fixture_close_sockets(void **state)
{
    door_fixture_t *f = *state;
    while (f->socket_count > 0) {
        door_scene_close(&f->sockets[--f->socket_count]);
    }
    return 0;
}

void *
door_fixture_keep(door_fixture_t *f, void *socket)
{
    assert_true(f->socket_count < DOOR_SOCKETS_MAX);
    f->sockets[f->socket_count++] = socket;
    return socket;
}

void *
door_fixture_client(door_fixture_t *f, const tally_key_pair_t *key)
{
    await_key(f->scene, key);
    return door_fixture_keep(f, door_scene_client(f->scene, key));
}

int64_t
door_fixture_counter(door_fixture_t *f, const char *name)
{
    door_write_admin(f->scene, "{\"op\":\"status\"}");
    static char text[1 << 16];
    tally_wire_t *wire = &f->scene->wire;
    zmq_send(f->operator, wire->data, wire->size, 0);
    zmq_pollitem_t item = {f->operator, 0, ZMQ_POLLIN, 0};
    assert_int_equal(zmq_poll(&item, 1, DOOR_ANSWER_MS), 1);
    int size = zmq_recv(f->operator, text, sizeof text - 1, 0);
    assert_in_range(size, 1, sizeof text - 1);
    text[size] = '\0';
    char *member = tally_format("\"%s\":", name);
    const char *at = memmem(text, (size_t)size, member, strlen(member));
    assert_non_null(at);
    int64_t number = strtoll(at + strlen(member), NULL, 10);
    free(member);
    return number;
}

void
door_fixture_await(door_fixture_t *f, const char *name, int64_t least)
{
    int64_t deadline_at_ms = tally_clock_now_ms() + DOOR_ANSWER_MS;
    while (door_fixture_counter(f, name) < least) {
        assert_true(tally_clock_now_ms() < deadline_at_ms);
        poll(NULL, 0, 5);
    }
}

const char door_untouched[] =
    "select (select count(*) from tally.message) + (select count(*) from tally.queue) * 1000"
    " + (select count(*) from tally.tenant) * 1000000 + (select count(*) from tally.audit) * "
    "1000000000 + (select count(*) from tally.sender) * 1000000000000";

//  ---- every verb ------------------------------------------------------------------------------------------

const door_verb_t door_verbs[DOOR_VERBS] = {
    {"hello", ZMQ_DEALER, NULL, 0, TALLY_HELLO, 0, false},
    {"hello of a worker", ZMQ_DEALER, NULL, 0, TALLY_HELLO, 0, true},
    {"send", ZMQ_DEALER, NULL, 0, TALLY_SEND, 0, false},
    {"ask", ZMQ_DEALER, NULL, 0, TALLY_SEND, TALLY_WANTS_RESULT, false},
    {"release", ZMQ_DEALER, NULL, 0, TALLY_SEND, TALLY_RELEASES, false},
    {"fetch", ZMQ_DEALER, NULL, 0, TALLY_FETCH, 0, false},
    {"goodbye", ZMQ_DEALER, NULL, 0, TALLY_GOODBYE, 0, false},
    {"limits", ZMQ_DEALER, "{\"op\":\"limits\"}", 0, 0, 0, false},
    {"status", ZMQ_DEALER, "{\"op\":\"status\"}", 0, 0, 0, false},
    {"queue.ls", ZMQ_DEALER, "{\"op\":\"queue.ls\"}", 0, 0, 0, false},
    {"queue.put", ZMQ_DEALER, "{\"op\":\"queue.put\",\"queue\":{\"name\":\"forged\"}}", 0, 0, 0,
     false},
    {"queue.release", ZMQ_DEALER, "{\"op\":\"queue.release\",\"queue\":\"mail\",\"tenant\":\"%s\"}",
     0, 0, 0, false},
    {"tenant.ls", ZMQ_DEALER, "{\"op\":\"tenant.ls\"}", 0, 0, 0, false},
    {"tenant.put", ZMQ_DEALER, "{\"op\":\"tenant.put\",\"tenant\":{\"name\":\"forged\"}}", 0, 0, 0,
     false},
    {"worker.ls", ZMQ_DEALER, "{\"op\":\"worker.ls\"}", 0, 0, 0, false},
    {"worker.drain", ZMQ_DEALER, "{\"op\":\"worker.drain\",\"worker\":\"peer\"}", 0, 0, 0, false},
    {"dead.ls", ZMQ_DEALER, "{\"op\":\"dead.ls\",\"tenant\":\"%s\"}", 0, 0, 0, false},
    {"dead.show", ZMQ_DEALER, "{\"op\":\"dead.show\",\"tenant\":\"%s\",\"id\":\"1\"}", 0, 0, 0,
     false},
    {"dead.retry", ZMQ_DEALER, "{\"op\":\"dead.retry\",\"tenant\":\"%s\",\"ids\":[\"1\"]}", 0, 0, 0,
     false},
    {"dead.drop", ZMQ_DEALER, "{\"op\":\"dead.drop\",\"tenant\":\"%s\",\"ids\":[\"1\"]}", 0, 0, 0,
     false},
    {"settle", ZMQ_PUSH, NULL, TALLY_RECORD_SETTLE, 0, 0, false},
    {"result", ZMQ_PUSH, NULL, TALLY_RECORD_RESULT, 0, 0, false},
    {"return", ZMQ_PUSH, NULL, TALLY_RECORD_RETURN, 0, 0, false},
    {"bury", ZMQ_PUSH, NULL, TALLY_RECORD_BURY, 0, 0, false},
    {"extend", ZMQ_PUSH, NULL, TALLY_RECORD_EXTEND, 0, 0, false},
    {"note", ZMQ_PUSH, NULL, TALLY_RECORD_NOTE, 0, 0, false},
    {"beat", ZMQ_PUSH, NULL, TALLY_RECORD_BEAT, 0, 0, false},
    {"publish", ZMQ_PUSH, NULL, TALLY_RECORD_PUBLISH, 0, 0, false},
};

void
door_verb_write(door_scene_t *s, const door_verb_t *verb, const char *tenant)
{
    if (verb->json != NULL) {
        const char *mark = strstr(verb->json, "%s");
        char *json = mark == NULL ? tally_strdup(verb->json)
                                  : tally_format("%.*s%s%s", (int)(mark - verb->json), verb->json,
                                                 tenant, mark + 2);
        door_write_admin(s, json);
        free(json);
    } else if (verb->record != 0) {
        door_write_record(s, verb->record, DOOR_ABSENT, DOOR_ABSENT);
    } else if (verb->frame == TALLY_HELLO) {
        door_write_hello(s, verb->works ? "mail" : NULL, NULL);
    } else if (verb->frame == TALLY_SEND) {
        door_write_send(s, "mail", tenant, verb->options);
    } else if (verb->frame == TALLY_FETCH) {
        door_write_fetch(s, DOOR_ABSENT, DOOR_ABSENT);
    } else {
        tally_wire_start(&s->wire, TALLY_GOODBYE, ++s->request);
    }
}

const door_verb_t *
door_verb_named(const char *name)
{
    for (size_t i = 0; i < DOOR_VERBS; i++) {
        if (strcmp(door_verbs[i].name, name) == 0) {
            return &door_verbs[i];
        }
    }
    fail_msg("no verb %s", name);
    return NULL;
}
