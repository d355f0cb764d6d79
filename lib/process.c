// SPDX-License-Identifier: MIT
//  process - see process.h.

#include "lib/process.h"

#include <assert.h>
#include <sys/prctl.h>
#include <sys/resource.h>

void
tally_process_seclude(void)
{
    const struct rlimit none = {0, 0};
    int rc = setrlimit(RLIMIT_CORE, &none);
    assert(rc == 0);    // lowering is always allowed
    rc = prctl(PR_SET_DUMPABLE, 0);
    assert(rc == 0);
}
