// SPDX-License-Identifier: MIT
//  key_file - a CURVE key pair, or a public key alone, in a file of czmq's certificate form.
//
//      metadata
//          name = "acme-1"
//      curve
//          public-key = "..."        40 characters of Z85
//          secret-key = "..."        not in a file of a public key
//
//  A file with a secret is written for its owner alone, never over another, and refused when others may read it.
//  Secrets are zeroed by whoever holds a pair; nothing here logs or prints one.

#ifndef TALLY_KEY_FILE_H
#define TALLY_KEY_FILE_H

#include "lib/bytes.h"

#define TALLY_KEY_TEXT_BYTES 40

typedef struct {
    char public_key[TALLY_KEY_TEXT_BYTES + 1];
    char secret_key[TALLY_KEY_TEXT_BYTES + 1];    // "": only the public one is known
} tally_key_pair_t;

//  A new pair; -1 when this libzmq has no CURVE.
int tally_key_pair_make(tally_key_pair_t *pair) TALLY_MUST_CHECK;
void tally_key_pair_forget(tally_key_pair_t *pair);

//  40 characters that decode.
bool tally_key_valid(tally_bytes_t text);

typedef enum { TALLY_KEY_PUBLIC, TALLY_KEY_SECRET } tally_key_kind_t;

//  SECRET: both keys must be there, belong together, and be readable by the file's owner alone.  PUBLIC: the secret is
//  not looked for.  0, or -1 with *error, the caller's.
int tally_key_file_read(const char *path, tally_key_kind_t kind, tally_key_pair_t *pair,
                        char **error) TALLY_MUST_CHECK;
//  SECRET with mode 0400, PUBLIC with 0444.  `name` is the metadata, for people.
int tally_key_file_write(const char *path, tally_key_kind_t kind, const tally_key_pair_t *pair,
                         const char *name, char **error) TALLY_MUST_CHECK;

#endif
