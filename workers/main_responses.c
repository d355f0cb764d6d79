// SPDX-License-Identifier: MIT
#include "workers/responses.h"

int
main(int argc, char **argv)
{
    return tally_worker_main(argc, argv, &tally_responses_role);
}
