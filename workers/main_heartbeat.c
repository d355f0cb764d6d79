// SPDX-License-Identifier: MIT
#include "workers/heartbeat.h"

int
main(int argc, char **argv)
{
    return tally_worker_main(argc, argv, &tally_heartbeat_role);
}
