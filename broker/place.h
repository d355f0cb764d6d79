// SPDX-License-Identifier: MIT
//  place - where one of many listeners is bound, and what its peer is told.

#ifndef TALLY_PLACE_H
#define TALLY_PLACE_H

#include <stdint.h>

//  The pattern with its % replaced by the number; owned by the caller.
char *tally_place_of(const char *pattern, uint64_t number);
//  The same, and a last ":*" becomes the port that was bound; `pattern` NULL: as it was bound.
char *tally_place_told(const char *pattern, uint64_t number, const char *bound);

#endif
