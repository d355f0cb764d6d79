// SPDX-License-Identifier: MIT
//  A whole instance whose every connection passes the proxy: client, worker and broker, PostgreSQL.  Whatever is done
//  to the connections while responses come in, the statistics are exact in the end.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "clients/cmd/home.h"
#include "clients/tally.h"
#include "lib/alloc.h"
#include "lib/clock.h"
#include "lib/limits.h"
#include "tests/faults/proxy_child.h"
#include "tests/integration/instance.h"
#include "tests/integration/survey_data.h"

#define RESPONSES 6000
#define FAULTS_MS 8000
#define BETWEEN_MS 120
#define SNAPSHOT_MS 1000    // between two publications of what holds

struct fixture {
    tally_instance_t *instance;
    tally_proxy_child_t *proxy;
    survey_data_t data;
    unsigned random;
    tally_feed_t *feed;
};

//  ---- an instance behind a proxy -----------------------------------------------------------------

static void
write_conf(const char *dir, const tally_home_t *home)
{
    static const char *const workers[] = {"responses", "statistics", "export", "heartbeat"};
    char *path = tally_format("%s/tally.conf", dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "front = ipc://%s/p/front\nsink = %s\nfeed = ipc://%s/p/feed\nlanes = %s\n"
            "db = \"%s\"\n[tallyd]\nfront = %s\nfeed = %s\n"
            "advertise-sink = ipc://%s/p/sink\nadvertise-feed = ipc://%s/p/feed\n"
            "advertise-lanes = ipc://%s/p/lane-%%\ndb = \"host=%s/p dbname=tally user=tally\"\n",
            dir, home->sink, dir, home->lanes, home->db, home->front, home->feed, dir, dir, dir,
            dir);
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        fprintf(file, "[%s]\ndb = \"host=%s/p dbname=tally user=tally\"\n", workers[i], dir);
    }
    assert_int_equal(fclose(file), 0);
    free(path);
}

static void
link_all(struct fixture *f, const char *dir, const tally_home_t *home)
{
    char *folder = tally_format("%s/p", dir);
    assert_int_equal(mkdir(folder, 0700), 0);
    f->proxy = tally_proxy_child_start(5, NULL);
    tally_proxy_child_tell(f->proxy, "link front ipc://%s/front %s", folder, home->front);
    tally_proxy_child_tell(f->proxy, "link sink ipc://%s/sink %s", folder, home->sink);
    tally_proxy_child_tell(f->proxy, "link feed ipc://%s/feed %s", folder, home->feed);
    tally_proxy_child_tell(f->proxy, "link lanes ipc://%s/lane-%% %s", folder, home->lanes);
    tally_proxy_child_tell(f->proxy, "link db ipc://%s/.s.PGSQL.5432 ipc://%s/.s.PGSQL.5432",
                           folder, home->run);
    free(folder);
}

static int
set_up(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    const char *seed = getenv("TALLY_FAULTS_SEED");
    f->random = seed == NULL ? 11 : (unsigned)strtoul(seed, NULL, 10);
    f->instance = tally_instance_new();
    const char *dir = tally_instance_dir(f->instance);
    tally_instance_must(f->instance, "up", NULL);
    tally_instance_must(f->instance, "down", NULL);
    tally_home_t *home = tally_home_open(dir);
    assert_non_null(home);
    link_all(f, dir, home);
    write_conf(dir, home);
    tally_home_destroy(&home);
    tally_instance_must(f->instance, "up", NULL);
    survey_data_generate(&f->data, dir, "generated", RESPONSES, 23);
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;
    survey_data_free(&f->data);
    tally_feed_destroy(&f->feed);
    int rc = tally_instance_destroy(&f->instance);
    rc = tally_proxy_child_stop(&f->proxy) == 0 ? rc : -1;
    free(f);
    return rc;
}

static pid_t
submit(struct fixture *f, const char *tenant)
{
    tally_instance_must(f->instance, "survey", "put", f->data.definition, "-t", tenant, NULL);
    return tally_instance_spawn(f->instance, "submit", "submit", f->data.responses, "-t", tenant,
                                NULL);
}

static void
statistics_are_exact(struct fixture *f, const char *tenant)
{
    tally_instance_must(f->instance, "statistics", "refresh", "-t", tenant, "--wait", "--timeout",
                        "90s", NULL);
    json_t *shown = tally_instance_json(f->instance, "statistics", "show", "-t", tenant, "-s",
                                        f->data.slug, "--json", NULL);
    char *difference = survey_data_difference(f->data.expected, shown);
    json_decref(shown);
    if (difference != NULL) {
        print_error("%s\n", difference);
        free(difference);
        fail();
    }
}

//  ---- tests --------------------------------------------------------------------------------------

static void
every_connection_passes_the_proxy(void **state)
{
    static const char *const links[] = {"front", "sink", "lanes", "db"};
    struct fixture *f = *state;
    pid_t pid = submit(f, "plain");
    assert_int_equal(tally_instance_join(f->instance, pid, 60000), 0);
    statistics_are_exact(f, "plain");
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        assert_true(tally_proxy_child_count(f->proxy, links[i], "up_bytes") > 0);
        assert_true(tally_proxy_child_count(f->proxy, links[i], "down_bytes") > 0);
    }
}

static unsigned
below(struct fixture *f, unsigned bound)
{
    f->random = f->random * 1103515245u + 12345u;
    return (f->random >> 16) % bound;
}

static void
strike(struct fixture *f)
{
    static const char *const links[] = {"front", "sink", "lanes", "db", "db", "*"};
    static const char *const ways[] = {"up", "down", "both"};
    const char *link = links[below(f, 6)];
    const char *way = ways[below(f, 3)];
    switch (below(f, 8)) {
    case 0:
        tally_proxy_child_tell(f->proxy, "cut %s %s %u", link, way, below(f, 20000));
        break;
    case 1:
        tally_proxy_child_tell(f->proxy, "cut %s %s %u reset", link, way, below(f, 3000));
        break;
    case 2:
        tally_proxy_child_tell(f->proxy, "reset %s", link);
        break;
    case 3:
        tally_proxy_child_tell(f->proxy, "stall %s %s", link, way);
        break;
    case 4:
        tally_proxy_child_tell(f->proxy, "swallow %s %s", link, way);
        break;
    case 5:
        tally_proxy_child_tell(f->proxy, "refuse %s", link);
        break;
    case 6:
        tally_proxy_child_tell(f->proxy, "delay %s %s 20 60", link, way);
        break;
    default:
        tally_proxy_child_tell(f->proxy, "heal *");
        break;
    }
}

struct pause {
    int64_t until_ms;
};

static bool
is_over(void *argument)
{
    return tally_clock_now_ms() >= ((struct pause *)argument)->until_ms;
}

static void
statistics_are_exact_whatever_happens_to_connections(void **state)
{
    struct fixture *f = *state;
    pid_t pid = submit(f, "struck");
    int64_t end_ms = tally_clock_now_ms() + FAULTS_MS;
    while (tally_clock_now_ms() < end_ms) {
        struct pause pause = {tally_clock_now_ms() + BETWEEN_MS};
        assert_true(tally_wait_until(is_over, &pause, 10 * BETWEEN_MS));
        strike(f);
    }
    tally_proxy_child_tell(f->proxy, "heal *");
    assert_int_equal(tally_instance_join(f->instance, pid, 60000), 0);
    statistics_are_exact(f, "struck");
    assert_true(tally_proxy_child_count(f->proxy, "*", "cuts") > 0);
    assert_true(tally_proxy_child_count(f->proxy, "*", "resets") > 0);
    assert_true(tally_proxy_child_count(f->proxy, "*", "stalled") > 0);
    assert_true(tally_proxy_child_count(f->proxy, "*", "swallowed_bytes") > 0);
}

//  Its connection is a black hole and stays one: only the heartbeats of libzmq tell.  The next connection is sound.
static void
a_subscriber_in_a_black_hole_connects_again(void **state)
{
    struct fixture *f = *state;
    char *endpoint = tally_format("ipc://%s/p/feed", tally_instance_dir(f->instance));
    f->feed = tally_feed_new(endpoint);
    free(endpoint);
    assert_non_null(f->feed);
    assert_int_equal(tally_feed_subscribe(f->feed, "broker"), 0);
    tally_publication_t publication;
    assert_int_equal(tally_feed_next(f->feed, 10000, &publication), 0);
    tally_proxy_child_tell(f->proxy, "swallow feed/open both");
    while (tally_feed_next(f->feed, 3 * SNAPSHOT_MS, &publication) == 0) {
    }
    assert_int_equal(tally_feed_next(f->feed,
                                     TALLY_HEARTBEAT_MS + TALLY_HEARTBEAT_TIMEOUT_MS + 5000,
                                     &publication),
                     0);
    assert_true(publication.lost > 0);
    tally_proxy_child_tell(f->proxy, "heal *");
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_connection_passes_the_proxy),
        cmocka_unit_test(a_subscriber_in_a_black_hole_connects_again),
        cmocka_unit_test(statistics_are_exact_whatever_happens_to_connections),
    };
    return cmocka_run_group_tests_name("proxied", tests, set_up, tear_down);
}
