// SPDX-License-Identifier: MIT
//  endpoints - see endpoints.h.

#include "lib/endpoints.h"

#include <string.h>

#include "lib/alloc.h"

//  The next part that is not empty, and its size; *at goes behind it.  NULL at the end.
static const char *
next_part(const char **at, size_t *size)
{
    while (**at != '\0') {
        const char *part = *at + strspn(*at, " \t");
        size_t length = strcspn(part, ",");
        *at = part + length + (part[length] == ',' ? 1 : 0);
        while (length > 0 && (part[length - 1] == ' ' || part[length - 1] == '\t')) {
            length--;
        }
        if (length > 0) {
            *size = length;
            return part;
        }
    }
    return NULL;
}

size_t
tally_endpoints_count(const char *list)
{
    size_t count = 0;
    size_t size;
    while (next_part(&list, &size) != NULL) {
        count++;
    }
    return count;
}

char *
tally_endpoints_at(const char *list, size_t index)
{
    size_t size = 0;
    const char *part = next_part(&list, &size);
    for (; part != NULL && index > 0; index--) {
        part = next_part(&list, &size);
    }
    return part == NULL ? NULL : tally_strndup(part, size);
}
