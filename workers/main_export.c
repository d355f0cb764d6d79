// SPDX-License-Identifier: MIT
#include "workers/export.h"

int
main(int argc, char **argv)
{
    return tally_worker_main(argc, argv, &tally_export_role);
}
