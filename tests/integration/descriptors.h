// SPDX-License-Identifier: MIT
//  descriptors - as many as a test needs; an ordinary user's soft limit is 1024.

#ifndef TALLY_TEST_DESCRIPTORS_H
#define TALLY_TEST_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/bytes.h"

//  Lets this process, and those it starts, have as many as the hard limit allows.  False, and it says so, when those
//  are fewer than `wanted`: the test is to be skipped.
bool tally_descriptors_allow(size_t wanted) TALLY_MUST_CHECK;

#endif
