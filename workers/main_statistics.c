// SPDX-License-Identifier: MIT
#include "workers/statistics_role.h"

int
main(int argc, char **argv)
{
    return tally_worker_main(argc, argv, &tally_statistics_role);
}
