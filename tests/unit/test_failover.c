// SPDX-License-Identifier: MIT
//  A client with a list of endpoints: it goes where a broker serves, without waiting for silence.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "tests/unit/fake_front.h"

#define WAIT_MS 5000
#define SILENCE_MS 20000    // whoever waits for it fails

struct fixture {
    char dir[64];
    fake_front_t first, second;
    tally_client_t *client;
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/tally-failover-XXXXXX");
    if (mkdtemp(f->dir) == NULL) {
        return -1;
    }
    fake_front_init(&f->first, f->dir, "first");
    fake_front_init(&f->second, f->dir, "second");
    char *both = tally_format("%s,%s", f->first.endpoint, f->second.endpoint);
    f->client = tally_client_new(both);
    free(both);
    tally_client_set_silence(f->client, SILENCE_MS);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    tally_client_destroy(&f->client);
    fake_front_stop(&f->first);
    fake_front_stop(&f->second);
    unlink(f->first.endpoint + strlen("ipc://"));
    unlink(f->second.endpoint + strlen("ipc://"));
    rmdir(f->dir);
    free(f);
    return 0;
}

static const tally_message_t hello = {.body = "hello", .body_bytes = 5};

static void
send_and_wait(struct fixture *f)
{
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &hello, 1, WAIT_MS, NULL),
                     0);
}

static void
endpoint_where_nobody_is_costs_no_silence(void **state)
{
    struct fixture *f = *state;
    fake_front_start(&f->second);
    send_and_wait(f);
    assert_int_equal(atomic_load(&f->second.sends), 1);
}

static void
connection_that_ends_moves_on_and_repeats_what_was_not_confirmed(void **state)
{
    struct fixture *f = *state;
    uint64_t sequences[10];
    fake_front_start(&f->first);
    fake_front_start(&f->second);
    send_and_wait(f);
    atomic_store(&f->first.swallow, 1000);
    for (int i = 0; i < 10; i++) {
        int rc = tally_client_send(f->client, "mail", "acme", &hello, 1, WAIT_MS, &sequences[i]);
        assert_int_equal(rc, 0);
    }
    fake_front_stop(&f->first);
    assert_int_equal(tally_client_flush(f->client, WAIT_MS), 0);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(atomic_load(&f->second.stored[sequences[i]]), 1);
    }
}

//  Nobody serves for a while: the client looks for somebody in rounds, and finds who comes.
static void
broker_that_comes_up_is_found_soon(void **state)
{
    struct fixture *f = *state;
    fake_front_start(&f->first);
    send_and_wait(f);
    fake_front_stop(&f->first);
    assert_int_equal(tally_client_send_wait(f->client, "mail", "acme", &hello, 1, 300, NULL), -1);
    fake_front_start(&f->second);
    int64_t began_ms = tally_clock_now_ms();
    assert_int_equal(tally_client_flush(f->client, WAIT_MS), 0);
    assert_in_range(tally_clock_now_ms() - began_ms, 0, 1000);
}

static void
front_without_its_database_is_left_for_another(void **state)
{
    struct fixture *f = *state;
    fake_front_start(&f->first);
    fake_front_start(&f->second);
    atomic_store(&f->first.refuse_code, TALLY_E_AWAY);
    atomic_store(&f->first.refuse, 1000000);
    send_and_wait(f);
    assert_int_equal(atomic_load(&f->second.sends), 1);
}

//  A standby is no use to somebody whose broker waits for PostgreSQL: he comes back to it.
static void
front_without_its_database_is_come_back_to(void **state)
{
    struct fixture *f = *state;
    fake_front_start(&f->first);
    atomic_store(&f->first.refuse_code, TALLY_E_AWAY);
    atomic_store(&f->first.refuse, 3);
    send_and_wait(f);
    assert_in_range(atomic_load(&f->first.hellos), 2, 5);
}

static void
hello_that_is_refused_for_now_is_said_to_another(void **state)
{
    struct fixture *f = *state;
    fake_front_start(&f->first);
    fake_front_start(&f->second);
    atomic_store(&f->first.refuse_code, TALLY_E_AWAY);
    atomic_store(&f->first.refuse_hellos, 1000000);
    send_and_wait(f);
    assert_int_equal(atomic_load(&f->second.sends), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        TEST(endpoint_where_nobody_is_costs_no_silence),
        TEST(connection_that_ends_moves_on_and_repeats_what_was_not_confirmed),
        TEST(broker_that_comes_up_is_found_soon),
        TEST(front_without_its_database_is_left_for_another),
        TEST(front_without_its_database_is_come_back_to),
        TEST(hello_that_is_refused_for_now_is_said_to_another),
    };
    return cmocka_run_group_tests_name("failover", tests, NULL, NULL);
}
