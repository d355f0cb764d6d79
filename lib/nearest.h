// SPDX-License-Identifier: MIT
//  nearest - "did you mean": the known word that a mistyped one is closest to.
//
//  Pure; for error texts only, never to guess what to do.

#ifndef TALLY_NEAREST_H
#define TALLY_NEAREST_H

#include "lib/bytes.h"

//  One of `words` within two edits (insert, delete, replace, swap of neighbours) of `word` and nearer than half
//  its length, or NULL.  Of equally near ones the first.
const char *tally_nearest(tally_bytes_t word, const char *const *words, size_t count);

#endif
