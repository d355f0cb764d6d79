// SPDX-License-Identifier: MIT
#include "workers/export_name.h"

#include <sodium.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/wire.h"

#define HASH_BYTES 8
#define HASH_DIGITS (2 * HASH_BYTES)

static void
write_hash(char out[HASH_DIGITS + 1], tally_bytes_t text)
{
    unsigned char hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, text.data, text.size);
    sodium_bin2hex(out, HASH_DIGITS + 1, hash, HASH_BYTES);
}

//  The leading part of `text` that fits and ends between two characters of UTF-8, `~`, and a hash
//  of all of it.
static void
write_hashed(char out[TALLY_IDENTIFIER_BYTES_MAX + 1], tally_bytes_t text)
{
    const unsigned char *data = text.data;
    size_t kept = TALLY_IDENTIFIER_BYTES_MAX - HASH_DIGITS - 1;
    if (text.size <= kept) {
        kept = text.size;
    } else {
        while (kept > 0 && (data[kept] & 0xc0) == 0x80) {
            kept--;
        }
    }
    memcpy(out, data, kept);
    out[kept] = '~';
    write_hash(out + kept + 1, text);
}

char *
tally_export_file_name(const char *tenant, const char *survey, uint64_t id, const char *extension)
{
    char hash[HASH_DIGITS + 1];
    bool plain = tally_name_valid(tally_bytes_of(survey));
    if (!plain) {
        write_hash(hash, tally_bytes_of(survey));
    }
    return tally_format("%s.%s%s.%llu.%s", tenant, plain ? "" : "~", plain ? survey : hash,
                        (unsigned long long)id, extension);
}

void
tally_export_table_name(char out[TALLY_IDENTIFIER_BYTES_MAX + 1], const char *tenant,
                        const char *survey)
{
    char *text = tally_format("%s/%s", tenant, survey);
    size_t size = strlen(text);
    if (size <= TALLY_IDENTIFIER_BYTES_MAX && strchr(survey, '~') == NULL) {
        memcpy(out, text, size + 1);
    } else {
        write_hashed(out, tally_bytes_of(text));
    }
    free(text);
}

void
tally_export_column_name(char out[TALLY_IDENTIFIER_BYTES_MAX + 1], const char *question)
{
    //  the first is ours, the others every table has already
    static const char *const taken[] = {"response_id", "tableoid", "xmin", "cmin",
                                        "xmax",        "cmax",     "ctid"};
    size_t size = strlen(question);
    bool plain = size > 0 && size <= TALLY_IDENTIFIER_BYTES_MAX && strchr(question, '~') == NULL;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0] && plain; i++) {
        plain = strcmp(question, taken[i]) != 0;
    }
    if (plain) {
        memcpy(out, question, size + 1);
    } else {
        write_hashed(out, tally_bytes_of(question));
    }
}
