// SPDX-License-Identifier: MIT
//  make_history: histories of a run that never was, to measure the checker and to see what it says.

#include <stdio.h>
#include <stdlib.h>

#include "tests/faults/synthetic.h"

int
main(int argc, char **argv)
{
    char *end = NULL;
    unsigned long long records = argc > 2 ? strtoull(argv[2], &end, 10) : 0;
    tally_plant_t plant = TALLY_PLANT_NOTHING;
    while (argc == 4 && plant < TALLY_PLANT_COUNT
           && strcmp(argv[3], tally_plant_about(plant)->name) != 0) {
        plant++;
    }
    if (argc < 3 || argc > 4 || *end != '\0' || records < TALLY_SYNTHETIC_MIN
        || plant == TALLY_PLANT_COUNT) {
        fprintf(stderr,
                "usage: make_history DIRECTORY RECORDS [PLANT]\n"
                "RECORDS: at least %d.  PLANT: what is wrong in it:\n",
                TALLY_SYNTHETIC_MIN);
        for (plant = TALLY_PLANT_NOTHING; plant < TALLY_PLANT_COUNT; plant++) {
            fprintf(stderr, "  %s\n", tally_plant_about(plant)->name);
        }
        return 64;
    }
    tally_synthetic_write(argv[1], records, plant);
    return 0;
}
