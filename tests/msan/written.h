// SPDX-License-Identifier: MIT
//  written - says of what libraries without instrumentation write that it was written; included first by `make msan`.

#ifndef TALLY_MSAN_WRITTEN_H
#define TALLY_MSAN_WRITTEN_H

#include <sanitizer/msan_interface.h>
#include <sodium.h>

__attribute__((unused)) static int
msan_shorthash(unsigned char *out, const unsigned char *in, unsigned long long size,
               const unsigned char *key)
{
    int rc = crypto_shorthash(out, in, size, key);
    __msan_unpoison(out, crypto_shorthash_BYTES);
    return rc;
}
#define crypto_shorthash msan_shorthash

__attribute__((unused)) static void
msan_randombytes(void *out, size_t size)
{
    randombytes_buf(out, size);
    __msan_unpoison(out, size);
}
#define randombytes_buf msan_randombytes

#endif
