// SPDX-License-Identifier: MIT
//  broadcast: feeds for sets of tenants, and that they are bounded.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <czmq.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/broadcast.h"
#include "lib/alloc.h"
#include "lib/limits.h"
#include "tests/integration/descriptors.h"

#define DESCRIPTORS_OF_A_FEED 5    // its socket and listener, and the two ends of its thread's pipe
#define DESCRIPTORS_BESIDE 256

struct fixture {
    tally_door_t *door;
    tally_broadcast_t *feed;
    char dir[32], whole[64], feeds[64];
};

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    snprintf(f->dir, sizeof f->dir, "/tmp/tally-feeds-XXXXXX");
    if (mkdtemp(f->dir) == NULL) {
        return -1;
    }
    snprintf(f->whole, sizeof f->whole, "ipc://%s/feed", f->dir);
    snprintf(f->feeds, sizeof f->feeds, "ipc://%s/feed-%%", f->dir);
    int code = 0;
    f->door = tally_door_new(&(tally_door_options_t){.db = "host=/nowhere"}, &code);
    f->feed = code != 0 ? NULL
                        : tally_broadcast_new(&(tally_broadcast_options_t){.endpoint = f->whole,
                                                                           .feeds = f->feeds,
                                                                           .epoch = 1,
                                                                           .door = f->door});
    return f->feed == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    tally_broadcast_destroy(&f->feed);
    tally_door_destroy(&f->door);
    zdir_t *dir = zdir_new(f->dir, NULL);
    zdir_remove(dir, true);
    zdir_destroy(&dir);
    free(f);
    return 0;
}

//  Where who sees the tenant of that number alone, or of those two, may follow.
static const char *
endpoint_for(struct fixture *f, int one, int other)
{
    char names[2][16];
    tally_bytes_t tenants[2];
    for (int i = 0; i < 2; i++) {
        int size = snprintf(names[i], sizeof names[i], "t%d", i == 0 ? one : other);
        tenants[i] = (tally_bytes_t){names[i], (size_t)size};
    }
    tally_principal_t who = {0};
    tally_scope_set(&who.tenants, tenants, 2);
    tally_principal_seal(&who);
    const char *endpoint = tally_broadcast_endpoint_for(f->feed, &who);
    tally_principal_free(&who);
    return endpoint;
}

static void
a_set_of_tenants_has_one_feed_whoever_asks(void **state)
{
    struct fixture *f = *state;
    const char *first = endpoint_for(f, 1, 2);
    assert_string_not_equal(first, "");
    assert_string_equal(endpoint_for(f, 2, 1), first);
    assert_string_not_equal(endpoint_for(f, 1, 1), first);
}

static void
there_are_as_many_feeds_as_the_limit_and_not_one_more(void **state)
{
    struct fixture *f = *state;
    if (!tally_descriptors_allow(DESCRIPTORS_OF_A_FEED * TALLY_FEEDS_MAX + DESCRIPTORS_BESIDE)) {
        skip();
    }
    for (int i = 1; i <= TALLY_FEEDS_MAX; i++) {
        assert_string_not_equal(endpoint_for(f, i, i), "");
    }
    assert_string_equal(endpoint_for(f, TALLY_FEEDS_MAX + 1, TALLY_FEEDS_MAX + 1), "");
    assert_string_not_equal(endpoint_for(f, TALLY_FEEDS_MAX, TALLY_FEEDS_MAX), "");
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    zsys_set_max_sockets(3 * (TALLY_FEEDS_MAX + 1) + 64);    // before the first
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_set_of_tenants_has_one_feed_whoever_asks, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(there_are_as_many_feeds_as_the_limit_and_not_one_more,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
