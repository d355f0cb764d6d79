// SPDX-License-Identifier: MIT
//  zap: only a well-formed question about an admitted key is answered with yes; and the start-up test sees open doors.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <czmq.h>
#include <poll.h>

#include "broker/door_test.h"
#include "broker/zap.h"
#include "lib/alloc.h"
#include "lib/socket.h"

struct fixture {
    tally_keyring_t *keyring;
    tally_zap_t *zap;
    zsock_t *asker, *server;
    tally_key_pair_t key, server_key;
    uint8_t bytes[32];    // of the key
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    zsys_handler_set(NULL);
    f->keyring = tally_keyring_new();
    assert_int_equal(tally_key_pair_make(&f->key) | tally_key_pair_make(&f->server_key), 0);
    assert_non_null(zmq_z85_decode(f->bytes, f->key.public_key));
    tally_principal_t *one = tally_alloc(sizeof *one);
    one->rights = TALLY_RIGHT_SEND;
    one->dies_at_ms = INT64_MAX;
    memcpy(one->key, f->key.public_key, sizeof one->key);
    tally_keyring_replace(f->keyring, one, 1, 0);
    //  libzmq gives up the handler's name some time after the socket of the test before.
    for (int i = 0; f->zap == NULL && i < 500; i++) {
        f->zap = tally_zap_new(f->keyring);
        poll(NULL, 0, f->zap == NULL ? 10 : 0);
    }
    assert_non_null(f->zap);
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    zsock_destroy(&f->asker);
    zsock_destroy(&f->server);
    tally_zap_destroy(&f->zap);
    tally_keyring_destroy(&f->keyring);
    free(f);
    return 0;
}

struct question {
    const char *version, *domain, *mechanism;
    size_t key_bytes;
    int parts;
};

//  The status; the User-Id, which must be there with 200 alone.
static int
ask(struct fixture *f, const struct question *question)
{
    if (f->asker == NULL) {
        f->asker = zsock_new_req(">inproc://zeromq.zap.01");
        zsock_set_rcvtimeo(f->asker, 5000);
    }
    zmsg_t *message = zmsg_new();
    const tally_bytes_t parts[] = {
        tally_bytes_of(question->version),
        tally_bytes_of("request-7"),
        tally_bytes_of(question->domain),
        tally_bytes_of("127.0.0.1"),
        tally_bytes_of(""),
        tally_bytes_of(question->mechanism),
        {f->bytes, question->key_bytes},
        tally_bytes_of("more"),
    };
    for (int i = 0; i < question->parts; i++) {
        zmsg_addmem(message, parts[i].data, parts[i].size);
    }
    zmsg_send(&message, f->asker);
    zmsg_t *answer = zmsg_recv(f->asker);
    assert_non_null(answer);
    assert_int_equal(zmsg_size(answer), 6);
    char *texts[6];
    for (int i = 0; i < 6; i++) {
        texts[i] = zmsg_popstr(answer);
    }
    assert_string_equal(texts[0], "1.0");
    if (question->parts > 1) {
        assert_string_equal(texts[1], "request-7");
    }
    int status = (int)strtol(texts[2], NULL, 10);
    assert_string_equal(texts[4], status == 200 ? f->key.public_key : "");
    assert_string_equal(texts[5], "");
    for (int i = 0; i < 6; i++) {
        freen(texts[i]);
    }
    zmsg_destroy(&answer);
    return status;
}

static void
one_kind_of_question_is_answered_with_yes(void **state)
{
    struct fixture *f = *state;
    const struct {
        struct question question;
        int status;
    } rows[] = {
        {{"1.0", "front", "CURVE", 32, 7}, 200},  {{"1.0", "front", "NULL", 0, 6}, 400},
        {{"1.0", "front", "NULL", 32, 7}, 400},   {{"1.0", "front", "PLAIN", 32, 7}, 400},
        {{"1.0", "front", "GSSAPI", 32, 7}, 400}, {{"1.1", "front", "CURVE", 32, 7}, 400},
        {{"1.0", "", "CURVE", 32, 7}, 400},       {{"1.0", "sink", "CURVE", 32, 7}, 400},
        {{"1.0", "feed", "CURVE", 32, 7}, 400},   {{"1.0", "front", "CURVE", 31, 7}, 400},
        {{"1.0", "front", "CURVE", 0, 7}, 400},   {{"1.0", "front", "CURVE", 32, 8}, 400},
        {{"1.0", "front", "CURVE", 32, 6}, 400},  {{"1.0", "front", "CURVE", 32, 1}, 400},
        {{"1.0", "front", "CURVE", 32, 7}, 200},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(ask(f, &rows[i].question), rows[i].status);
    }
    uint64_t admitted, refused;
    tally_zap_count(f->zap, &admitted, &refused);
    assert_int_equal(admitted, 2);
    assert_int_equal(refused, sizeof rows / sizeof rows[0] - 2);
    assert_true(tally_zap_lives(f->zap));
}

static void
a_second_handler_is_not_started(void **state)
{
    struct fixture *f = *state;
    assert_null(tally_zap_new(f->keyring));
    assert_true(tally_zap_lives(f->zap));
}

static void
its_end_is_seen(void **state)
{
    struct fixture *f = *state;
    assert_true(tally_zap_lives(f->zap));
    tally_zap_stop(f->zap);
    struct pollfd item = {tally_zap_fd(f->zap), POLLIN, 0};
    for (int i = 0; tally_zap_lives(f->zap) && i < 100; i++) {
        poll(&item, 1, 50);
    }
    assert_false(tally_zap_lives(f->zap));
}

//  ---- the start-up test -----------------------------------------------------------------------------------

static char *
listen_at(struct fixture *f, const char *domain)
{
    const tally_socket_curve_t curve = {.secret_key = f->server_key.secret_key, .domain = domain};
    const tally_socket_options_t options = {.send_max = 10,
                                            .receive_max = 10,
                                            .frame_bytes_max = TALLY_HANDSHAKE_BYTES_MAX,
                                            .curve = domain != NULL ? &curve : NULL};
    f->server = zsock_new(ZMQ_ROUTER);
    assert_int_equal(tally_socket_bind(zsock_resolve(f->server), "tcp://127.0.0.1:*", &options), 0);
    return zsock_last_endpoint(f->server);
}

static int
test_door(struct fixture *f, const char *domain)
{
    char *endpoint = listen_at(f, domain);
    int code = tally_door_test_run(endpoint, f->server_key.public_key, f->keyring);
    freen(endpoint);
    return code;
}

static void
a_door_that_holds_passes_the_test(void **state)
{
    assert_int_equal(test_door(*state, "front"), 0);
}

static void
a_door_without_curve_does_not_pass(void **state)
{
    assert_int_equal(test_door(*state, NULL), 70);
}

static void
a_door_that_lets_nobody_in_does_not_pass(void **state)
{
    assert_int_equal(test_door(*state, "sink"), 70);
}

//  As libzmq does it by default when no handler is there: whoever has any key at all is let in.
static void
a_door_that_asks_nobody_does_not_pass(void **state)
{
    struct fixture *f = *state;
    tally_zap_destroy(&f->zap);
    f->server = zsock_new(ZMQ_ROUTER);
    zsock_set_curve_server(f->server, 1);
    zsock_set_curve_secretkey(f->server, f->server_key.secret_key);
    assert_int_not_equal(zsock_bind(f->server, "tcp://127.0.0.1:*"), -1);
    char *endpoint = zsock_last_endpoint(f->server);
    assert_int_equal(tally_door_test_run(endpoint, f->server_key.public_key, f->keyring), 70);
    freen(endpoint);
}

//  And as ours do: without the handler nobody gets in, not even who may.
static void
without_its_handler_our_listeners_let_nobody_in(void **state)
{
    struct fixture *f = *state;
    tally_zap_destroy(&f->zap);
    assert_int_equal(test_door(f, "front"), 70);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_kind_of_question_is_answered_with_yes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_second_handler_is_not_started, set_up, tear_down),
        cmocka_unit_test_setup_teardown(its_end_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_door_that_holds_passes_the_test, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_door_without_curve_does_not_pass, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_door_that_lets_nobody_in_does_not_pass, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_door_that_asks_nobody_does_not_pass, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_its_handler_our_listeners_let_nobody_in, set_up,
                                        tear_down),
    };
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
