// SPDX-License-Identifier: MIT
//  The survey pipeline with real processes and a real PostgreSQL: what goes in comes out exactly, once, for each tenant
//  by itself, by whatever way it is counted and exported.

#include <czmq.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "tests/integration/instance.h"
#include "tests/integration/survey_data.h"

#define SURVEYS_MAX 6

static const char *const real_surveys[] = {"steak-risk", "comma", "flying-etiquette",
                                           "food-world-cup", "sleeping-alone"};

struct fixture {
    tally_instance_t *instance;
    survey_data_t surveys[SURVEYS_MAX];
    size_t count;
};

//  A generated survey, and the real ones where they are.
static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    *state = f;
    f->instance = tally_instance_new();
    tally_instance_must(f->instance, "up", NULL);
    survey_data_generate(&f->surveys[f->count++], tally_instance_dir(f->instance), "generated",
                         2000, 7);
    for (size_t i = 0; i < sizeof real_surveys / sizeof real_surveys[0]; i++) {
        f->count += survey_data_read(&f->surveys[f->count], real_surveys[i]);
    }
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        survey_data_free(&f->surveys[i]);
    }
    int rc = tally_instance_destroy(&f->instance);
    free(f);
    return rc;
}

//  ---- steps ------------------------------------------------------------------------------------------------

static void
put_and_submit(struct fixture *f, const survey_data_t *data, const char *tenant)
{
    tally_instance_must(f->instance, "survey", "put", data->definition, "-t", tenant, NULL);
    tally_instance_must(f->instance, "submit", data->responses, "-t", tenant, NULL);
}

static void
refresh(struct fixture *f, const char *tenant)
{
    tally_instance_must(f->instance, "statistics", "refresh", "-t", tenant, "--wait", NULL);
}

static void
shows_exactly(struct fixture *f, const survey_data_t *data, const char *tenant)
{
    json_t *shown = tally_instance_json(f->instance, "statistics", "show", "-t", tenant, "-s",
                                        data->slug, "--json", NULL);
    char *difference = survey_data_difference(data->expected, shown);
    json_decref(shown);
    if (difference != NULL) {
        print_error("tenant %s, survey %s: %s\n", tenant, data->slug, difference);
        free(difference);
        fail();
    }
}

static void
all_show_exactly(struct fixture *f, const char *tenant)
{
    for (size_t i = 0; i < f->count; i++) {
        shows_exactly(f, &f->surveys[i], tenant);
    }
}

//  ---- tests ------------------------------------------------------------------------------------------------

static void
what_was_submitted_is_counted_exactly(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        put_and_submit(f, &f->surveys[i], "acme");
    }
    refresh(f, "acme");
    all_show_exactly(f, "acme");
}

static void
submitting_the_same_file_again_changes_nothing(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        tally_instance_must(f->instance, "submit", f->surveys[i].responses, "-t", "acme", NULL);
    }
    refresh(f, "acme");
    all_show_exactly(f, "acme");
}

//  Two tenants at the same moment, the same surveys, the same response ids; one of them without the first survey's
//  second half.
static void
two_tenants_at_once_do_not_mix(void **state)
{
    struct fixture *f = *state;
    const char *const tenants[] = {"borealis", "cobalt"};
    pid_t pids[2][SURVEYS_MAX];
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < f->count; i++) {
            tally_instance_must(f->instance, "survey", "put", f->surveys[i].definition, "-t",
                                tenants[t], NULL);
        }
    }
    for (size_t i = 0; i < f->count; i++) {
        for (size_t t = 0; t < 2; t++) {
            char *name = tally_format("submit-%zu-%zu", t, i);
            pids[t][i] = tally_instance_spawn(f->instance, name, "submit", f->surveys[i].responses,
                                              "-t", tenants[t], NULL);
            free(name);
        }
    }
    for (size_t i = 0; i < f->count; i++) {
        for (size_t t = 0; t < 2; t++) {
            assert_int_equal(tally_instance_join(f->instance, pids[t][i], 120000), 0);
        }
    }
    for (size_t t = 0; t < 2; t++) {
        refresh(f, tenants[t]);
        all_show_exactly(f, tenants[t]);
    }
}

static void
recomputing_in_blocks_gives_the_same_numbers(void **state)
{
    struct fixture *f = *state;
    const char *const blocks[] = {"1", "3", "64"};
    for (size_t i = 0; i < f->count; i++) {
        for (size_t k = 0; k < sizeof blocks / sizeof blocks[0]; k++) {
            tally_instance_must(f->instance, "statistics", "recompute", "-t", "acme", "-s",
                                f->surveys[i].slug, "--block", blocks[k], "--wait", "--timeout",
                                "120s", NULL);
            shows_exactly(f, &f->surveys[i], "acme");
        }
    }
}

static void
recomputing_while_responses_arrive_misses_and_doubles_none(void **state)
{
    struct fixture *f = *state;
    survey_data_t data;
    survey_data_generate(&data, tally_instance_dir(f->instance), "arriving", 3000, 11);
    tally_instance_must(f->instance, "survey", "put", data.definition, "-t", "acme", NULL);
    pid_t submit = tally_instance_spawn(f->instance, "submit", "submit", data.responses, "-t",
                                        "acme", NULL);
    for (int i = 0; i < 3; i++) {
        tally_instance_must(f->instance, "statistics", "recompute", "-t", "acme", "--block", "64",
                            "--wait", NULL);
    }
    assert_int_equal(tally_instance_join(f->instance, submit, 120000), 0);
    refresh(f, "acme");
    shows_exactly(f, &data, "acme");
    all_show_exactly(f, "acme");
    tally_instance_must(f->instance, "statistics", "recompute", "-t", "acme", "-s", data.slug,
                        "--block", "64", "--wait", NULL);
    shows_exactly(f, &data, "acme");
    survey_data_free(&data);
}

static void
an_export_submitted_to_another_tenant_gives_the_same_statistics(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        json_t *export = tally_instance_json(f->instance, "export", f->surveys[i].slug, "-t",
                                             "acme", "--format", "ndjson", "--wait", "--json",
                                             NULL);
        const char *file = json_string_value(json_object_get(export, "target"));
        assert_non_null(file);
        assert_int_equal(json_integer_value(json_object_get(export, "rows")),
                         (json_int_t)f->surveys[i].count);
        tally_instance_must(f->instance, "survey", "put", f->surveys[i].definition, "-t", "copied",
                            NULL);
        tally_instance_must(f->instance, "submit", file, "-t", "copied", NULL);
        json_decref(export);
    }
    refresh(f, "copied");
    all_show_exactly(f, "copied");
}

static void
a_response_that_does_not_fit_is_buried_and_others_are_not_disturbed(void **state)
{
    struct fixture *f = *state;
    char *path = tally_format("%s/mixed.ndjson", tally_instance_dir(f->instance));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(
        "{\"response_id\":\"a\",\"survey\":\"generated\",\"answers\":{\"score\":5}}\n"
        "{\"response_id\":\"b\",\"survey\":\"generated\",\"answers\":{\"score\":9}}\n"
        "{\"response_id\":\"c\",\"survey\":\"generated\",\"answers\":{\"plan\":\"no such plan\"}}\n"
        "{\"response_id\":\"d\",\"survey\":\"generated\",\"answers\":{\"score\":4}}\n",
        file);
    assert_int_equal(fclose(file), 0);
    tally_instance_must(f->instance, "survey", "put", f->surveys[0].definition, "-t", "mixed",
                        NULL);
    tally_instance_must(f->instance, "submit", path, "-t", "mixed", NULL);
    free(path);
    refresh(f, "mixed");
    json_t *shown = tally_instance_json(f->instance, "statistics", "show", "-t", "mixed", "-s",
                                        "generated", "--json", NULL);
    assert_int_equal(json_integer_value(json_object_get(shown, "responses")), 2);
    json_decref(shown);
    const tally_output_t *dead = tally_instance_must(f->instance, "dead", "ls", "-t", "mixed",
                                                     "--json", NULL);
    assert_non_null(strstr(dead->out, "score"));
    assert_non_null(strstr(dead->out, "plan"));
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_submitted_is_counted_exactly),
        cmocka_unit_test(submitting_the_same_file_again_changes_nothing),
        cmocka_unit_test(two_tenants_at_once_do_not_mix),
        cmocka_unit_test(recomputing_in_blocks_gives_the_same_numbers),
        cmocka_unit_test(recomputing_while_responses_arrive_misses_and_doubles_none),
        cmocka_unit_test(an_export_submitted_to_another_tenant_gives_the_same_statistics),
        cmocka_unit_test(a_response_that_does_not_fit_is_buried_and_others_are_not_disturbed),
    };
    return cmocka_run_group_tests_name("pipeline", tests, setup, teardown);
}
