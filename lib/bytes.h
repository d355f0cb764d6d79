// SPDX-License-Identifier: MIT
//  bytes - a borrowed run of bytes with its length.  Owns nothing; whoever made it says how long it lives.

#ifndef TALLY_BYTES_H
#define TALLY_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TALLY_MUST_CHECK __attribute__((warn_unused_result))
#define TALLY_PRINTF(f, a) __attribute__((format(printf, f, a)))
//  A large array that is written before it is read: the build zeroes every other automatic variable.
#define TALLY_BARE __attribute__((uninitialized))

typedef struct {
    const void *data;    // may be NULL when size is 0
    size_t size;
} tally_bytes_t;

static inline tally_bytes_t
tally_bytes_of(const char *text)
{
    return (tally_bytes_t){text, strlen(text)};
}

static inline bool
tally_bytes_equal(tally_bytes_t a, tally_bytes_t b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
