// SPDX-License-Identifier: MIT
//  place - see place.h.

#include "broker/place.h"

#include <inttypes.h>
#include <stdlib.h>

#include "lib/alloc.h"

char *
tally_place_of(const char *pattern, uint64_t number)
{
    const char *mark = strchr(pattern, '%');
    if (mark == NULL) {
        return tally_strdup(pattern);
    }
    return tally_format("%.*s%" PRIu64 "%s", (int)(mark - pattern), pattern, number, mark + 1);
}

char *
tally_place_told(const char *pattern, uint64_t number, const char *bound)
{
    if (pattern == NULL) {
        return tally_strdup(bound);
    }
    char *endpoint = tally_place_of(pattern, number);
    size_t size = strlen(endpoint);
    if (size > 2 && strcmp(endpoint + size - 2, ":*") == 0) {
        char *whole = tally_format("%.*s%s", (int)(size - 1), endpoint, strrchr(bound, ':') + 1);
        free(endpoint);
        return whole;
    }
    return endpoint;
}
