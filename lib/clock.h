// SPDX-License-Identifier: MIT
//  clock - the monotonic clock, for mains and shells.
//
//  Below them time is an argument.  Never compare these with PostgreSQL's time or with another machine's.

#ifndef TALLY_CLOCK_H
#define TALLY_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t
tally_clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);    // cannot fail for this clock
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline int64_t
tally_clock_now_us(void)
{
    return tally_clock_now_ns() / 1000;
}

static inline int64_t
tally_clock_now_ms(void)
{
    return tally_clock_now_us() / 1000;
}

#endif
