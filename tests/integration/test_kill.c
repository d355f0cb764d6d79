// SPDX-License-Identifier: MIT
//  Processes die by kill -9 in the middle of a submit, PostgreSQL stops at once: with no help from a person the end is
//  exactly what it would have been.

#include <czmq.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "tests/integration/instance.h"
#include "tests/integration/survey_data.h"

#define RESPONSES 20000
#define BACK_MS 30000

struct fixture {
    tally_instance_t *instance;
    survey_data_t data;
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    tally_instance_must(f->instance, "up", NULL);
    survey_data_generate(&f->data, tally_instance_dir(f->instance), "generated", RESPONSES, 23);
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    survey_data_free(&f->data);
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

struct progress {
    struct fixture *f;
    const char *tenant;
    json_int_t at_least;
};

//  So many responses of the tenant were sent to the broker: the submit is in its middle.
static bool
sent_enough(void *argument)
{
    const struct progress *p = argument;
    json_t *status = tally_instance_json(p->f->instance, "status", "--json", NULL);
    json_t *tenants = json_object_get(status, "tenants");
    bool enough = false;
    size_t i;
    json_t *tenant;
    json_array_foreach(tenants, i, tenant) {
        if (strcmp(json_string_value(json_object_get(tenant, "name")), p->tenant) == 0) {
            enough = json_integer_value(json_object_get(tenant, "sent")) >= p->at_least;
        }
    }
    json_decref(status);
    return enough;
}

//  Submits for a tenant of its own and kills that process on the way.
static void
survives_the_death_of(struct fixture *f, const char *process, int signal_number)
{
    char *tenant = tally_format("kill-%s-%d", process, signal_number);
    tally_instance_must(f->instance, "survey", "put", f->data.definition, "-t", tenant, NULL);
    pid_t submit = tally_instance_spawn(f->instance, "submit", "submit", f->data.responses, "-t",
                                        tenant, NULL);
    struct progress progress = {f, tenant, RESPONSES / 20};
    assert_true(tally_wait_until(sent_enough, &progress, 60000));
    pid_t before = tally_instance_signal(f->instance, process, signal_number);
    tally_instance_await_another(f->instance, process, before, BACK_MS);
    assert_int_equal(tally_instance_join(f->instance, submit, 120000), 0);
    tally_instance_must(f->instance, "statistics", "refresh", "-t", tenant, "--wait", "--timeout",
                        "90s", NULL);
    json_t *shown = tally_instance_json(f->instance, "statistics", "show", "-t", tenant, "-s",
                                        f->data.slug, "--json", NULL);
    char *difference = survey_data_difference(f->data.expected, shown);
    json_decref(shown);
    free(tenant);
    if (difference != NULL) {
        print_error("after the death of %s: %s\n", process, difference);
        free(difference);
        fail();
    }
}

static void
the_end_is_exact_when_a_responses_worker_is_killed(void **state)
{
    survives_the_death_of(*state, "responses-1", SIGKILL);
}

static void
the_end_is_exact_when_a_statistics_worker_is_killed(void **state)
{
    survives_the_death_of(*state, "statistics-1", SIGKILL);
}

static void
the_end_is_exact_when_the_broker_is_killed(void **state)
{
    survives_the_death_of(*state, "tallyd", SIGKILL);
}

//  SIGQUIT is PostgreSQL's immediate stop: no checkpoint, recovery at the next start.
static void
the_end_is_exact_when_postgresql_stops_immediately(void **state)
{
    survives_the_death_of(*state, "postgres", SIGQUIT);
}

static void
the_end_is_exact_when_postgresql_is_killed(void **state)
{
    struct fixture *f = *state;
    survives_the_death_of(f, "postgres", SIGKILL);
}

static void
nothing_confirmed_is_gone_after_down_and_up(void **state)
{
    struct fixture *f = *state;
    tally_instance_must(f->instance, "survey", "put", f->data.definition, "-t", "again", NULL);
    tally_instance_must(f->instance, "submit", f->data.responses, "-t", "again", NULL);
    tally_instance_must(f->instance, "down", NULL);
    tally_instance_must(f->instance, "up", NULL);
    tally_instance_must(f->instance, "statistics", "refresh", "-t", "again", "--wait", "--timeout",
                        "90s", NULL);
    json_t *shown = tally_instance_json(f->instance, "statistics", "show", "-t", "again", "-s",
                                        f->data.slug, "--json", NULL);
    char *difference = survey_data_difference(f->data.expected, shown);
    json_decref(shown);
    assert_null(difference);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_end_is_exact_when_a_responses_worker_is_killed),
        cmocka_unit_test(the_end_is_exact_when_a_statistics_worker_is_killed),
        cmocka_unit_test(the_end_is_exact_when_the_broker_is_killed),
        cmocka_unit_test(the_end_is_exact_when_postgresql_stops_immediately),
        cmocka_unit_test(the_end_is_exact_when_postgresql_is_killed),
        cmocka_unit_test(nothing_confirmed_is_gone_after_down_and_up),
    };
    return cmocka_run_group_tests_name("kill", tests, setup, teardown);
}
