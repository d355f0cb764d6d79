// SPDX-License-Identifier: MIT
//  alloc - memory that is there or the process ends.
//
//  Nobody checks for NULL: out of memory aborts, so NULL from a constructor can only mean that the outside
//  said no.  Bounds are checked before allocating (lib/limits.h).  All is freed by free().  No pools here.

#ifndef TALLY_ALLOC_H
#define TALLY_ALLOC_H

#include "lib/bytes.h"

//  Zeroed.  `bytes` 0 gives a pointer that may be freed.
void *tally_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
//  count * bytes each; the product is checked.
void *tally_alloc_array(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull));
//  What is gained is not zeroed.
void *tally_realloc(void *old, size_t bytes) __attribute__((returns_nonnull));
void *tally_realloc_array(void *old, size_t count, size_t bytes) __attribute__((returns_nonnull));

char *tally_strdup(const char *text) __attribute__((malloc, returns_nonnull));
//  A copy with a NUL behind it; `bytes` may contain any byte.
char *tally_strndup(const char *text, size_t bytes) __attribute__((malloc, returns_nonnull));
//  A new string as printf would print it.
char *
tally_format(const char *format, ...) TALLY_PRINTF(1, 2) __attribute__((malloc, returns_nonnull));

#endif
