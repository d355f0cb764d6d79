// SPDX-License-Identifier: MIT
#include "lib/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void *
require(void *memory)
{
    if (memory == NULL) {
        //  No logging here: it may want memory as well.
        fputs("error  out of memory\n", stderr);
        abort();
    }
    return memory;
}

static size_t
multiply(size_t count, size_t bytes)
{
    size_t product;
    if (__builtin_mul_overflow(count, bytes, &product)) {
        require(NULL);
    }
    return product;
}

void *
tally_alloc(size_t bytes)
{
    return require(calloc(1, bytes == 0 ? 1 : bytes));
}

void *
tally_alloc_array(size_t count, size_t bytes)
{
    return tally_alloc(multiply(count, bytes));
}

void *
tally_realloc(void *old, size_t bytes)
{
    return require(realloc(old, bytes == 0 ? 1 : bytes));
}

void *
tally_realloc_array(void *old, size_t count, size_t bytes)
{
    return tally_realloc(old, multiply(count, bytes));
}

char *
tally_strdup(const char *text)
{
    return tally_strndup(text, strlen(text));
}

char *
tally_strndup(const char *text, size_t bytes)
{
    char *copy = tally_alloc(bytes + 1);
    memcpy(copy, text, bytes);
    return copy;
}

char *
tally_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int printed = vasprintf(&text, format, args);
    va_end(args);
    return require(printed == -1 ? NULL : text);
}
