// SPDX-License-Identifier: MIT
//  check: a right history is valid, each planted violation is found by its own name and by no other.

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/alloc.h"
#include "tests/faults/synthetic.h"
#include <jansson.h>

struct fixture {
    char directory[64];
    tally_history_set_t *set;
    tally_check_t *check;
    char *text;    // printed
    size_t text_bytes;
};

static int
setup(void **state)
{
    struct fixture *f = tally_alloc(sizeof *f);
    const char *tmp = getenv("TMPDIR");
    snprintf(f->directory, sizeof f->directory, "%s/tally-check-XXXXXX",
             tmp != NULL ? tmp : "/tmp");
    *state = f;
    return mkdtemp(f->directory) != NULL ? 0 : -1;
}

//  All histories away; ready for others.
static void
clear(struct fixture *f)
{
    tally_check_destroy(&f->check);
    tally_history_set_close(&f->set);
    free(f->text);
    f->text = NULL;
    DIR *listing = opendir(f->directory);
    for (struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        unlinkat(dirfd(listing), entry->d_name, 0);
    }
    closedir(listing);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;
    clear(f);
    rmdir(f->directory);
    free(f);
    return 0;
}

static void
check(struct fixture *f, tally_check_options_t options)
{
    char *why = NULL;
    f->set = tally_history_set_open(f->directory, &why);
    if (f->set == NULL) {
        fail_msg("%s", why);
    }
    f->check = tally_check_new(f->set, &options);
}

static void
print(struct fixture *f, void (*printer)(const tally_check_t *, FILE *))
{
    free(f->text);
    FILE *out = open_memstream(&f->text, &f->text_bytes);
    assert_non_null(out);
    printer(f->check, out);
    fclose(out);
}

static void
assert_found(struct fixture *f, tally_plant_t plant)
{
    const tally_plant_about_t *about = tally_plant_about(plant);
    for (tally_rule_t i = 0; i < TALLY_RULE_COUNT; i++) {
        const tally_check_rule_t *rule = tally_check_rule(f->check, i);
        bool wanted = i == about->rule || i == about->also;
        if (wanted != (rule->violations > 0)) {
            fail_msg("%s: rule %s has %llu violations: %s", about->name, rule->code,
                     (unsigned long long)rule->violations,
                     rule->violations > 0 ? rule->examples[0].text : "none");
        }
    }
    tally_run_verdict_t verdict = about->rule != TALLY_RULE_COUNT ? TALLY_RUN_BROKEN
                                  : plant == TALLY_PLANT_NOTHING  ? TALLY_RUN_VALID
                                                                  : TALLY_RUN_INVALID;
    if (tally_check_verdict(f->check) != verdict) {
        const char *reason = tally_check_reason(f->check, 0);
        fail_msg("%s: verdict %d: %s", about->name, tally_check_verdict(f->check),
                 reason != NULL ? reason : "no reason");
    }
}

static void
each_plant_is_found_by_its_own_rule(void **state)
{
    struct fixture *f = *state;
    for (tally_plant_t plant = TALLY_PLANT_NOTHING; plant < TALLY_PLANT_COUNT; plant++) {
        tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, plant);
        check(f, (tally_check_options_t){0});
        assert_found(f, plant);
        clear(f);
    }
}

static void
every_rule_has_a_plant_and_something_to_check(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_NOTHING);
    check(f, (tally_check_options_t){0});
    for (tally_rule_t i = 0; i < TALLY_RULE_COUNT; i++) {
        bool planted = false;
        for (tally_plant_t plant = 0; plant < TALLY_PLANT_COUNT; plant++) {
            planted = planted || tally_plant_about(plant)->rule == i;
        }
        const tally_check_rule_t *rule = tally_check_rule(f->check, i);
        if (!planted || rule->checked == 0) {
            fail_msg("rule %s: planted %d, checked %llu", rule->code, planted,
                     (unsigned long long)rule->checked);
        }
    }
}

static void
figures_are_those_of_the_run(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_NOTHING);
    check(f, (tally_check_options_t){0});
    const tally_check_figures_t *figures = tally_check_figures(f->check);
    assert_int_equal(figures->sent, figures->messages);
    assert_int_equal(figures->sent, figures->confirmed + figures->refused + figures->unanswered);
    assert_int_equal(figures->effects, figures->settled + figures->unknown_done);
    assert_true(figures->redelivered > 0 && figures->redelivered < figures->delivered);
    assert_true(figures->unknown > figures->unknown_done);
    assert_true(figures->stale > 0 && figures->returned > 0 && figures->buried > 0);
    assert_int_equal(figures->broker_epochs, 3);
}

static void
times_from_a_kill_to_the_next_settle_are_measured(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_NOTHING);
    check(f, (tally_check_options_t){0});
    for (unsigned kind = 1; kind <= 4; kind++) {
        tally_check_fault_t fault;
        tally_check_fault(f->check, kind, &fault);
        assert_true(fault.began > 0);
        assert_int_equal(fault.began, fault.ended);
        assert_int_equal(fault.idle, 0);
        assert_int_equal(fault.after[TALLY_AFTER_FIRST].samples, fault.began);
        //  In this world a worker's leases are settled 4 or 5 ms later, a broker's next in the next batch.
        double wanted = kind == 1 ? 25.0 : kind == 4 ? 4.0 : 5.0;
        assert_true(fabs(fault.after[TALLY_AFTER_FIRST].p99_ms - wanted) < 0.1);
        assert_true(fault.after[TALLY_AFTER_CONFIRM].samples > 0);
        assert_int_equal(fault.after[TALLY_AFTER_TERM].samples, kind == 3 ? fault.began : 0);
        assert_true(kind != 3 || fabs(fault.after[TALLY_AFTER_TERM].p99_ms - wanted) < 0.1);
    }
}

static void
too_few_confirms_prove_nothing(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_NOTHING);
    check(f, (tally_check_options_t){.confirmed_min = 1000000});
    assert_int_equal(tally_check_verdict(f->check), TALLY_RUN_INVALID);
    assert_non_null(strstr(tally_check_reason(f->check, 0), "confirmed"));
    assert_null(tally_check_reason(f->check, 1));
}

static void
a_strict_check_wants_every_danger_to_have_come_up(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_NOTHING);
    check(f, (tally_check_options_t){.strict = true});
    assert_int_equal(tally_check_verdict(f->check), TALLY_RUN_VALID);
    clear(f);
    tally_history_t *history = tally_history_open(f->directory, "one", 1, TALLY_WRITER_CLIENT);
    tally_history_close(&history);
    check(f, (tally_check_options_t){.strict = true});
    assert_int_equal(tally_check_verdict(f->check), TALLY_RUN_INVALID);
    print(f, tally_check_print);
    assert_non_null(strstr(f->text, "proves nothing: no settle was refused as stale\n"));
    assert_non_null(strstr(f->text, "proves nothing: rule I13 had nothing to check\n"));
}

static void
the_limit_of_the_drain_can_be_set(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_NOTHING);
    check(f, (tally_check_options_t){.drain_ms = 400});
    assert_int_equal(tally_check_rule(f->check, TALLY_RULE_DRAIN)->violations, 1);
}

static void
a_violation_is_shown_with_the_life_of_its_message(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_STALE_SETTLE);
    check(f, (tally_check_options_t){0});
    print(f, tally_check_print);
    const char *at = strstr(f->text, "I6 fence violated: settled under lease");
    static const char *const course[] = {"message ",       "  send  ",    "  confirmed  ",
                                         "  delivered  ",  "stop worker", "  delivered  ",
                                         "  settle  ",     "  settled  ", "row of effects",
                                         "verdict: broken"};
    for (size_t i = 0; i < sizeof course / sizeof *course; i++) {
        assert_non_null(at);
        at = strstr(at, course[i]);
        if (at == NULL) {
            fail_msg("no \"%s\" in its place in: %s", course[i], f->text);
        }
    }
}

static void
json_says_the_same(void **state)
{
    struct fixture *f = *state;
    tally_synthetic_write(f->directory, TALLY_SYNTHETIC_MIN, TALLY_PLANT_LOSS);
    check(f, (tally_check_options_t){0});
    print(f, tally_check_print_json);
    assert_non_null(strstr(f->text, "\"verdict\": \"broken\""));
    json_t *report = json_loads(f->text, 0, NULL);
    assert_non_null(report);
    json_t *loss = json_array_get(json_object_get(report, "rules"), 0);
    assert_string_equal(json_string_value(json_object_get(loss, "rule")), "I1");
    assert_int_equal(json_integer_value(json_object_get(loss, "violations")), 1);
    assert_int_equal(json_array_size(json_object_get(report, "faults")), 5);
    json_decref(report);
}

static void
two_histories_of_one_process_are_refused(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        tally_history_t *history = tally_history_open(f->directory, i == 0 ? "one" : "two", 7,
                                                      TALLY_WRITER_CLIENT);
        tally_history_close(&history);
    }
    char *why = NULL;
    assert_null(tally_history_set_open(f->directory, &why));
    assert_non_null(strstr(why, "process 7 has a history already"));
    free(why);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    alarm(60);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_plant_is_found_by_its_own_rule, setup, teardown),
        cmocka_unit_test_setup_teardown(every_rule_has_a_plant_and_something_to_check, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(figures_are_those_of_the_run, setup, teardown),
        cmocka_unit_test_setup_teardown(times_from_a_kill_to_the_next_settle_are_measured, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(too_few_confirms_prove_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_strict_check_wants_every_danger_to_have_come_up, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_limit_of_the_drain_can_be_set, setup, teardown),
        cmocka_unit_test_setup_teardown(a_violation_is_shown_with_the_life_of_its_message, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(json_says_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(two_histories_of_one_process_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
