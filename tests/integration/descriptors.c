// SPDX-License-Identifier: MIT
//  descriptors - see descriptors.h.

#include "tests/integration/descriptors.h"

#include <assert.h>
#include <stdio.h>
#include <sys/resource.h>

bool
tally_descriptors_allow(size_t wanted)
{
    struct rlimit files;
    int rc = getrlimit(RLIMIT_NOFILE, &files);
    assert(rc == 0);
    files.rlim_cur = files.rlim_max;
    rc = setrlimit(RLIMIT_NOFILE, &files);
    assert(rc == 0);
    if (files.rlim_max < wanted) {
        printf("%zu descriptors are needed, the hard limit is %llu\n", wanted,
               (unsigned long long)files.rlim_max);
    }
    return files.rlim_max >= wanted;
}
