// SPDX-License-Identifier: MIT
#include "tests/integration/broker_scene.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "tests/integration/raw_zmtp.h"

int
broker_scene_set_up(void **state)
{
    broker_scene_t *self = tally_alloc(sizeof *self);
    *state = self;
    self->instance = tally_instance_new();
    tally_instance_must(self->instance, "up", "--workers", "heartbeat=1", NULL);
    self->good = tally_client_new(tally_instance_endpoint(self->instance));
    self->db = tally_db_new(tally_instance_conninfo(self->instance), "test");
    tally_instance_must(self->instance, "queue", "put", "guards", NULL);
    return tally_db_connect(self->db) == TALLY_DB_DONE ? 0 : -1;
}

int
broker_scene_tear_down(void **state)
{
    broker_scene_t *self = *state;
    tally_client_destroy(&self->good);
    tally_db_destroy(&self->db);
    int rc = tally_instance_destroy(&self->instance);
    free(self);
    return rc;
}

int
broker_scene_undo(void **state)
{
    broker_scene_t *self = *state;
    if (self->stopped != 0) {
        kill(self->stopped, SIGCONT);
        self->stopped = 0;
    }
    tally_stranger_destroy(&self->one);
    tally_stranger_destroy(&self->two);
    tally_db_destroy(&self->idle);
    tally_db_rollback(self->db);
    broker_scene_close_connections(self);
    if (self->limited != 0) {
        (void)prlimit(self->limited, RLIMIT_NOFILE, &self->limit, NULL);
        self->limited = 0;
    }
    return 0;
}

tally_stranger_t *
broker_scene_stranger(broker_scene_t *self)
{
    return tally_stranger_new(tally_instance_endpoint(self->instance));
}

void
broker_scene_send(broker_scene_t *self, const char *queue, int within_ms)
{
    const tally_message_t message = {.body = "good", .body_bytes = 4};
    tally_event_t event;
    int rc = tally_client_send_wait(self->good, queue, "good", &message, 1, within_ms, &event);
    assert_int_equal(rc, 0);
    assert_int_equal(event.kind, TALLY_EVENT_CONFIRMED);
}

void
broker_scene_serves(broker_scene_t *self, int within_ms)
{
    broker_scene_send(self, "guards", within_ms);
}

long
broker_scene_number(broker_scene_t *self, const char *name)
{
    const char *reply = tally_client_admin(self->good, "{\"op\":\"status\"}", BROKER_SCENE_MS);
    assert_non_null(reply);
    char member[60];
    snprintf(member, sizeof member, "\"%s\":", name);
    const char *at = strstr(reply, member);
    assert_non_null(at);
    return strtol(at + strlen(member), NULL, 10);
}

int
broker_scene_connect(broker_scene_t *self, const char *endpoint)
{
    assert_true(self->connection_count < BROKER_SCENE_CONNECTIONS);
    int fd = raw_zmtp_connect(endpoint);
    assert_int_not_equal(fd, -1);
    self->connections[self->connection_count++] = fd;
    return fd;
}

void
broker_scene_connect_silently(broker_scene_t *self, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        broker_scene_connect(self, tally_instance_endpoint(self->instance));
    }
}

void
broker_scene_close_connections(broker_scene_t *self)
{
    while (self->connection_count > 0) {
        close(self->connections[--self->connection_count]);
    }
}
