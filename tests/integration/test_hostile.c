// SPDX-License-Identifier: MIT
//  Strangers who break every rule, 10 000 times: each request is refused with its code, and while they do it a client
//  and a worker of ours go on as if nobody were there.

#include <assert.h>
#include <czmq.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "clients/tally.h"
#include "lib/clock.h"
#include "lib/wire.h"
#include "tests/integration/instance.h"

#define REQUESTS 10000
#define ANSWER_MS 10000
#define GOOD_EVERY 100    // hostile requests between two sends of the well-behaved client
#ifdef __SANITIZE_ADDRESS__
#define KEPT_FREED_MIB 600    // a quarter of a GiB, and what stands around each piece of it
#else
#define KEPT_FREED_MIB 0
#endif

struct fixture {
    tally_instance_t *instance;
    tally_client_t *good;
    zsock_t *stranger;    // DEALER at the front
    zsock_t *sink;        // PUSH to the sink
    tally_wire_t wire;
    uint64_t random;
    uint64_t sequence;    // of the stranger's sends
};

//  ---- what strangers write ---------------------------------------------------------------------------------

static uint64_t
roll(struct fixture *f, uint64_t below)
{
    f->random = f->random * 6364136223846793005u + 1442695040888963407u;
    return (f->random >> 33) % below;
}

static tally_bytes_t
repeat(char byte, size_t size)
{
    static char text[TALLY_BODY_INLINE_BYTES_MAX + 1];
    assert(size <= sizeof text);
    memset(text, byte, size);
    return (tally_bytes_t){text, size};
}

//  A send of one message, written by hand so that every part of it may be wrong.
static void
write_send(struct fixture *f, tally_bytes_t queue, tally_bytes_t tenant, uint16_t count,
           uint8_t options, tally_bytes_t field, tally_bytes_t body)
{
    tally_wire_start(&f->wire, TALLY_SEND, ++f->sequence);
    tally_wire_put_u16(&f->wire, count);
    tally_wire_put_str8(&f->wire, queue);
    tally_wire_put_str8(&f->wire, tenant);
    tally_wire_put_u8(&f->wire, options);
    tally_wire_put_raw(&f->wire, field);
    tally_wire_put_body(&f->wire, body);
}

static tally_bytes_t
good(const char *text)
{
    return tally_bytes_of(text);
}

static int
bad_magic(struct fixture *f)
{
    tally_wire_start(&f->wire, TALLY_SEND, 1);
    f->wire.data[roll(f, 2)] ^= (uint8_t)(1 + roll(f, 255));
    return TALLY_E_FRAME;
}

static int
short_frame(struct fixture *f)
{
    tally_wire_start(&f->wire, TALLY_HELLO, 1);
    f->wire.size = roll(f, TALLY_WIRE_HEAD_BYTES);
    return TALLY_E_FRAME;
}

static int
unknown_verb(struct fixture *f)
{
    tally_wire_start(&f->wire, TALLY_HELLO, 1);
    f->wire.data[3] = (uint8_t)(0x10 + roll(f, 0x10));
    return TALLY_E_VERB;
}

static int
far_version(struct fixture *f)
{
    const tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                                 .version_min = 1,
                                 .version_max = 1,
                                 .name = good("stranger")};
    tally_hello_write(&f->wire, 1, &hello);
    f->wire.data[TALLY_WIRE_HEAD_BYTES + 1] = 7;
    f->wire.data[TALLY_WIRE_HEAD_BYTES + 2] = 9;
    return TALLY_E_VERSION;
}

static int
cut_send(struct fixture *f)
{
    write_send(f, good("hostile"), good("stranger"), 1, 0, good(""), repeat('b', 100));
    f->wire.size -= 1 + roll(f, 90);
    f->sequence--;
    return TALLY_E_FRAME;
}

static int
trailing_bytes(struct fixture *f)
{
    write_send(f, good("hostile"), good("stranger"), 1, 0, good(""), good("body"));
    tally_wire_put_raw(&f->wire, repeat('x', 1 + roll(f, 50)));
    f->sequence--;
    return TALLY_E_FRAME;
}

static int
long_name(struct fixture *f)
{
    tally_bytes_t name = repeat('a', TALLY_NAME_BYTES_MAX + 1);
    bool queue = roll(f, 2) == 0;
    write_send(f, queue ? name : good("hostile"), queue ? good("stranger") : name, 1, 0, good(""),
               good("body"));
    f->sequence--;
    return TALLY_E_NAME;
}

static int
bad_utf8_name(struct fixture *f)
{
    write_send(f, good("hos\xff\xfe"), good("stranger"), 1, 0, good(""), good("body"));
    f->sequence--;
    return TALLY_E_NAME;
}

static int
unknown_queue(struct fixture *f)
{
    write_send(f, good("nowhere"), good("stranger"), 1, 0, good(""), good("body"));
    f->sequence--;
    return TALLY_E_UNKNOWN;
}

static int
count_too_high(struct fixture *f)
{
    write_send(f, good("hostile"), good("stranger"), TALLY_BATCH_MESSAGES_MAX + 1, 0, good(""),
               good("body"));
    f->sequence--;
    return TALLY_E_LIMIT;
}

static int
long_key(struct fixture *f)
{
    uint8_t field[1 + TALLY_KEY_BYTES_MAX + 1];
    memset(field, 'k', sizeof field);
    field[0] = TALLY_KEY_BYTES_MAX + 1;
    write_send(f, good("hostile"), good("stranger"), 1, TALLY_HAS_KEY,
               (tally_bytes_t){field, sizeof field}, good("body"));
    f->sequence--;
    return TALLY_E_LIMIT;
}

static int
high_priority(struct fixture *f)
{
    uint8_t level = (uint8_t)(TALLY_PRIORITY_LEVELS + roll(f, 100));
    write_send(f, good("hostile"), good("stranger"), 1, TALLY_HAS_PRIORITY,
               (tally_bytes_t){&level, 1}, good("body"));
    f->sequence--;
    return TALLY_E_OPTION;
}

static int
unknown_option(struct fixture *f)
{
    write_send(f, good("hostile"), good("stranger"), 1, 0x80, good(""), good("body"));
    f->sequence--;
    return TALLY_E_OPTION;
}

static int
large_body(struct fixture *f)
{
    write_send(f, good("hostile"), good("stranger"), 1, 0, good(""),
               repeat('b', TALLY_BODY_INLINE_BYTES_MAX + 1));
    f->sequence--;
    return TALLY_E_LIMIT;
}

static int
far_sequence(struct fixture *f)
{
    tally_send_start(&f->wire, f->sequence + TALLY_SEND_WINDOW * 10 + roll(f, 1000000),
                     good("hostile"), good("stranger"));
    const tally_item_t item = {.priority = TALLY_PRIORITY_DEFAULT, .body = good("body")};
    tally_send_add(&f->wire, &item);
    return TALLY_E_SEQUENCE;
}

static int
unknown_lease(struct fixture *f)
{
    const tally_fetch_t fetch = {.lease = roll(f, 1u << 30), .message = roll(f, 1u << 30)};
    tally_fetch_write(&f->wire, 1, &fetch);
    return TALLY_E_STALE;
}

//  JSON that is not: too deep, not UTF-8, cut, with a name twice.  The answer is a REPLY with an error inside.
static int
bad_json(struct fixture *f)
{
    static const char *const texts[] = {"{\"op\":\"sta",
                                        "{\"op\":\"status\",\"op\":\"status\"}",
                                        "{\"op\":\"\xc3\x28\"}",
                                        "[]",
                                        "null",
                                        "{\"op\":7}",
                                        "{\"op\":\"status\"}x"};
    tally_wire_start(&f->wire, TALLY_ADMIN, 1);
    uint64_t kind = roll(f, sizeof texts / sizeof texts[0] + 1);
    if (kind == sizeof texts / sizeof texts[0]) {
        tally_wire_put_raw(&f->wire, good("{\"op\":"));
        tally_wire_put_raw(&f->wire, repeat('[', 10000));
    } else {
        tally_wire_put_raw(&f->wire, good(texts[kind]));
    }
    return TALLY_E_JSON;
}

static int
unknown_op(struct fixture *f)
{
    tally_wire_start(&f->wire, TALLY_ADMIN, 1);
    tally_wire_put_raw(&f->wire, good("{\"op\":\"drop.everything\"}"));
    return TALLY_E_VERB;
}

typedef int hostile_fn(struct fixture *f);

//  Each writes one frame and returns the code it must be refused with.
static hostile_fn *const at_the_front[] = {
    bad_magic,      short_frame,   unknown_verb,  far_version,    cut_send, trailing_bytes,
    long_name,      bad_utf8_name, unknown_queue, count_too_high, long_key, high_priority,
    unknown_option, large_body,    far_sequence,  unknown_lease,  bad_json, unknown_op,
};
#define FRONT_KINDS (sizeof at_the_front / sizeof at_the_front[0])

//  ---- talking ------------------------------------------------------------------------------------------------

static zsock_t *
connect_stranger(struct fixture *f)
{
    zsock_t *socket = zsock_new(ZMQ_DEALER);
    assert_non_null(socket);
    zsock_set_rcvtimeo(socket, ANSWER_MS);
    zsock_set_linger(socket, 0);
    assert_int_equal(zsock_connect(socket, "%s", tally_instance_endpoint(f->instance)), 0);
    return socket;
}

//  Sends what is in f->wire and waits for the answer to it.
static zframe_t *
request(struct fixture *f)
{
    assert_int_not_equal(zmq_send(zsock_resolve(f->stranger), f->wire.data, f->wire.size, 0), -1);
    zframe_t *answer = zframe_recv(f->stranger);
    assert_non_null(answer);
    return answer;
}

//  The code of an ERROR, or of the error in a REPLY.
static int
code_of(zframe_t *answer)
{
    tally_head_t head;
    tally_cursor_t cursor;
    tally_fault_t fault = tally_head_read((tally_bytes_t){zframe_data(answer), zframe_size(answer)},
                                          &head, &cursor);
    assert_int_equal(fault.code, 0);
    if (head.verb == TALLY_REPLY) {
        tally_bytes_t text = tally_cursor_rest(&cursor);
        for (int code = TALLY_E_FRAME; code <= TALLY_E_INTERNAL; code++) {
            char member[40];
            int size = snprintf(member, sizeof member, "\"code\":\"%s\"", tally_code_name(code));
            if (memmem(text.data, text.size, member, (size_t)size) != NULL
                && tally_code_name(code)[0] != '?') {
                return code;
            }
        }
        return 0;
    }
    assert_int_equal(head.verb, TALLY_ERROR);
    tally_error_t error;
    fault = tally_error_read(cursor, &error);
    assert_int_equal(fault.code, 0);
    assert_true(error.text.size > 0);
    return error.code;
}

static void
say_hello(struct fixture *f)
{
    const tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                                 .version_min = 1,
                                 .version_max = 1,
                                 .name = good("stranger")};
    tally_hello_write(&f->wire, 1, &hello);
    zframe_t *answer = request(f);
    assert_int_equal(zframe_data(answer)[3], TALLY_WELCOME);
    zframe_destroy(&answer);
}

static void
good_client_is_served(struct fixture *f)
{
    const tally_message_t message = {.body = "good", .body_bytes = 4};
    tally_event_t event;
    int rc = tally_client_send_wait(f->good, "hostile", "good", &message, 1, ANSWER_MS, &event);
    assert_int_equal(rc, 0);
    assert_int_equal(event.kind, TALLY_EVENT_CONFIRMED);
}

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->random = 20261121;
    *state = f;
    f->instance = tally_instance_new();
    tally_instance_must(f->instance, "up", "--workers", "heartbeat=1,responses=1", NULL);
    f->good = tally_client_new(tally_instance_endpoint(f->instance));
    const char *reply = tally_client_admin(
        f->good, "{\"op\":\"queue.put\",\"queue\":{\"name\":\"hostile\"}}", ANSWER_MS);
    if (reply == NULL || strstr(reply, "\"ok\":true") == NULL) {
        return -1;
    }
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->good);
    zsock_destroy(&f->stranger);
    zsock_destroy(&f->sink);
    tally_wire_free(&f->wire);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

static void
ten_thousand_hostile_requests_are_each_refused_with_their_code(void **state)
{
    struct fixture *f = *state;
    f->stranger = connect_stranger(f);
    write_send(f, good("hostile"), good("stranger"), 1, 0, good(""), good("before hello"));
    zframe_t *answer = request(f);
    assert_int_equal(code_of(answer), TALLY_E_STATE);
    zframe_destroy(&answer);
    f->sequence = 0;
    say_hello(f);
    for (size_t i = 0; i < REQUESTS; i++) {
        size_t kind = i < FRONT_KINDS ? i : roll(f, FRONT_KINDS);
        int expected = at_the_front[kind](f);
        answer = request(f);
        int code = code_of(answer);
        zframe_destroy(&answer);
        if (code != expected) {
            fail_msg("hostile request %zu of kind %zu: refused with %s, not %s", i, kind,
                     tally_code_name(code), tally_code_name(expected));
        }
        if (i % GOOD_EVERY == 0) {
            good_client_is_served(f);
        }
    }
}

static void
a_multipart_request_is_refused_and_the_next_one_served(void **state)
{
    struct fixture *f = *state;
    zsock_destroy(&f->stranger);
    f->stranger = connect_stranger(f);
    void *socket = zsock_resolve(f->stranger);
    for (int i = 0; i < 20; i++) {
        assert_int_not_equal(zmq_send(socket, "part", 4, ZMQ_SNDMORE), -1);
    }
    f->wire.size = 0;
    zframe_t *answer = request(f);
    assert_int_equal(code_of(answer), TALLY_E_FRAME);
    zframe_destroy(&answer);
    say_hello(f);
    good_client_is_served(f);
}

static void
a_peer_that_chose_its_own_identity_is_not_served(void **state)
{
    struct fixture *f = *state;
    zsock_destroy(&f->stranger);
    zsock_t *socket = zsock_new(ZMQ_DEALER);
    zsock_set_identity(socket, "posing-as-another");
    zsock_set_rcvtimeo(socket, 300);
    zsock_set_linger(socket, 0);
    f->stranger = socket;    // freed by the fixture whatever happens
    assert_int_equal(zsock_connect(socket, "%s", tally_instance_endpoint(f->instance)), 0);
    const tally_hello_t hello = {.role = TALLY_ROLE_CLIENT,
                                 .version_min = 1,
                                 .version_max = 1,
                                 .name = good("stranger")};
    tally_hello_write(&f->wire, 1, &hello);
    assert_int_not_equal(zmq_send(zsock_resolve(socket), f->wire.data, f->wire.size, 0), -1);
    good_client_is_served(f);
    zframe_t *answer = zframe_recv(socket);
    assert_null(answer);
}

//  The number of that name in the status reply's "ticks" or anywhere; the first that stands there.
static long
status_number(struct fixture *f, const char *name)
{
    const char *reply = tally_client_admin(f->good, "{\"op\":\"status\"}", ANSWER_MS);
    assert_non_null(reply);
    char member[60];
    snprintf(member, sizeof member, "\"%s\":", name);
    const char *at = strstr(reply, member);
    assert_non_null(at);
    return strtol(at + strlen(member), NULL, 10);
}

static void
garbage_and_unknown_leases_in_the_sink_are_counted_and_harm_nobody(void **state)
{
    struct fixture *f = *state;
    long before = status_number(f, "frames_refused");
    const char *reply = tally_client_admin(f->good, "{\"op\":\"status\"}", ANSWER_MS);
    assert_non_null(reply);
    json_t *status = json_loads(reply, 0, NULL);
    json_t *sink = json_object_get(json_object_get(json_object_get(status, "broker"), "endpoints"),
                                   "sink");
    char endpoint[TALLY_ENDPOINT_BYTES_MAX + 1];
    snprintf(endpoint, sizeof endpoint, "%s", json_string_value(sink));
    json_decref(status);
    f->sink = zsock_new(ZMQ_PUSH);
    zsock_set_linger(f->sink, 0);
    zsock_set_sndtimeo(f->sink, ANSWER_MS);
    assert_int_equal(zsock_connect(f->sink, "%s", endpoint), 0);
    for (int i = 0; i < 1000; i++) {
        tally_records_start(&f->wire, roll(f, 1u << 30));
        const tally_record_t record = {.kind = (uint8_t)(TALLY_RECORD_SETTLE + 2 * (i % 2)),
                                       .lease = 1 + roll(f, 1u << 30)};
        tally_records_add(&f->wire, &record, NULL);
        if (i % 2 == 0) {
            f->wire.size -= 1 + roll(f, 8);    // cut
        }
        assert_int_not_equal(zmq_send(zsock_resolve(f->sink), f->wire.data, f->wire.size, 0), -1);
    }
    int64_t deadline_ms = tally_clock_now_ms() + ANSWER_MS;
    while (status_number(f, "frames_refused") < before + 500) {
        assert_true(tally_clock_now_ms() < deadline_ms);
    }
    good_client_is_served(f);
}

//  ---- bodies ----------------------------------------------------------------------------------------------

//  The most that the process has had, in MiB.
static long
most_mib(pid_t pid)
{
    char path[40], line[200];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (kib == 0 && fgets(line, sizeof line, file) != NULL) {
        (void)sscanf(line, "VmHWM: %ld kB", &kib);
    }
    fclose(file);
    return kib / 1024;
}

struct buried {
    struct fixture *f;
    size_t count;
};

static bool
are_buried(void *argument)
{
    struct buried *buried = argument;
    json_t *dead = tally_instance_json(buried->f->instance, "dead", "ls", "-t", "bodies", "--limit",
                                       "1000", "--json", NULL);
    size_t count = json_array_size(dead);
    json_decref(dead);
    return count == buried->count;
}

static void
put_survey(struct fixture *f)
{
    char path[256];
    snprintf(path, sizeof path, "%s/open.survey.json", tally_instance_dir(f->instance));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"slug\":\"open\",\"title\":\"Open\",\"questions\":[{\"id\":\"q\",\"type\":\"choice\","
          "\"text\":\"Which?\",\"choices\":[\"A\"]}]}",
          file);
    fclose(file);
    tally_instance_must(f->instance, "survey", "put", path, "-t", "bodies", NULL);
}

//  As many values as a text may have, each the smallest that costs the most: parsed all at once the lease would take
//  BODIES times 13 MB.
static void
a_lease_of_hostile_bodies_takes_a_worker_little_memory(void **state)
{
    enum { BODIES = 128, AT_ONCE = 16, VALUES = TALLY_JSON_VALUES_MAX - 10 };
    struct fixture *f = *state;
    static char body[3 * VALUES + 200];
    put_survey(f);
    size_t size = (size_t)
        snprintf(body, sizeof body,
                 "{\"response_id\":\"1\",\"survey\":\"open\",\"answers\":{\"q\":[0");
    for (size_t i = 0; i < VALUES; i++, size += 3) {
        memcpy(body + size, ",{}", 3);
    }
    memcpy(body + size, "]}}", 3);
    size += 3;
    pid_t worker = tally_instance_signal(f->instance, "responses-1", SIGSTOP);
    long before = most_mib(worker);
    tally_message_t messages[AT_ONCE];
    for (size_t i = 0; i < AT_ONCE; i++) {
        messages[i] = (tally_message_t){.body = body,
                                        .body_bytes = size,
                                        .flags = TALLY_MESSAGE_BLOB};
    }
    int rc = 0;
    for (size_t sent = 0; rc == 0 && sent < BODIES; sent += AT_ONCE) {
        rc = tally_client_send_wait(f->good, "responses", "bodies", messages, AT_ONCE, 60000, NULL);
    }
    assert_int_equal(tally_instance_signal(f->instance, "responses-1", SIGCONT), worker);
    assert_int_equal(rc, 0);
    assert_true(tally_wait_until(are_buried, &(struct buried){f, BODIES}, 60000));
    assert_int_equal(tally_instance_pid(f->instance, "responses-1"), worker);
    long took = most_mib(worker) - before;
    print_message("%zu bodies of %zu bytes took %ld MiB\n", (size_t)BODIES, size, took);
    assert_true(took < 300 + KEPT_FREED_MIB);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    zsys_handler_set(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_hostile_requests_are_each_refused_with_their_code),
        cmocka_unit_test(a_multipart_request_is_refused_and_the_next_one_served),
        cmocka_unit_test(a_peer_that_chose_its_own_identity_is_not_served),
        cmocka_unit_test(garbage_and_unknown_leases_in_the_sink_are_counted_and_harm_nobody),
        cmocka_unit_test(a_lease_of_hostile_bodies_takes_a_worker_little_memory),
    };
    return cmocka_run_group_tests_name("hostile", tests, setup, teardown);
}
