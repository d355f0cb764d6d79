// SPDX-License-Identifier: MIT
#include "lib/nearest.h"

#include "lib/limits.h"

#define EDITS_MAX 2

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

//  Optimal string alignment distance, three rows.
static size_t
distance(tally_bytes_t a, tally_bytes_t b)
{
    const char *from = a.data;
    const char *to = b.data;
    size_t rows[3][TALLY_NAME_BYTES_MAX + 1];

    for (size_t j = 0; j <= b.size; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a.size; i++) {
        size_t *above2 = rows[(i + 1) % 3];
        size_t *above = rows[(i + 2) % 3];
        size_t *row = rows[i % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.size; j++) {
            size_t replaced = above[j - 1] + (from[i - 1] == to[j - 1] ? 0 : 1);
            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1]) {
                row[j] = least(row[j], above2[j - 2] + 1);
            }
        }
    }
    return rows[a.size % 3][b.size];
}

const char *
tally_nearest(tally_bytes_t word, const char *const *words, size_t count)
{
    const char *best = NULL;
    size_t best_edits = EDITS_MAX + 1;

    if (word.size > TALLY_NAME_BYTES_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        tally_bytes_t known = tally_bytes_of(words[i]);
        if (known.size > TALLY_NAME_BYTES_MAX || known.size > word.size + EDITS_MAX
            || word.size > known.size + EDITS_MAX) {
            continue;
        }
        size_t edits = distance(word, known);
        if (edits < best_edits && edits * 2 < known.size) {
            best = words[i];
            best_edits = edits;
        }
    }
    return best;
}
