// SPDX-License-Identifier: MIT
//  simulation - a short run of the simulator, and that it can be trusted.

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/simulation/world.h"

#define SEEDS 300

static void
every_rule_holds_in_300_seeds_and_every_fault_strikes(void **state)
{
    (void)state;
    uint64_t bites[SIM_FAULTS] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        sim_outcome_t outcome;
        sim_world_run(seed, false, &outcome);    // a broken rule ends the process, with a report
        for (unsigned i = 0; i < SIM_FAULTS; i++) {
            bites[i] += outcome.bites[i];
        }
    }
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        if (bites[i] == 0) {
            fail_msg("never struck: %s", sim_fault_text(i));
        }
    }
}

static void
same_seed_gives_the_same_run(void **state)
{
    (void)state;
    for (uint64_t seed = 1000; seed < 1010; seed++) {
        sim_outcome_t first, second;
        sim_world_run(seed, false, &first);
        sim_world_run(seed, false, &second);
        assert_true(first.hash == second.hash);
        assert_true(first.events == second.events);
        assert_memory_equal(first.bites, second.bites, sizeof first.bites);
    }
}

static void
different_seeds_give_different_runs(void **state)
{
    (void)state;
    sim_outcome_t first, second;
    sim_world_run(1, false, &first);
    sim_world_run(2, false, &second);
    assert_true(first.hash != second.hash);
}

int
main(int argc, char **argv)
{
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_holds_in_300_seeds_and_every_fault_strikes),
        cmocka_unit_test(same_seed_gives_the_same_run),
        cmocka_unit_test(different_seeds_give_different_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
