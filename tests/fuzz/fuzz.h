// SPDX-License-Identifier: MIT
//  fuzz - the targets: each takes any bytes, asserts what must hold, and leaves nothing behind.
//
//  The same functions run under libFuzzer (main.c, make fuzz) and over the stored corpora (test_corpora.c, make test).
//  No clock, no random source, no file that stays: the same bytes do the same.

#ifndef FUZZ_H
#define FUZZ_H

#include <assert.h>

#include "lib/bytes.h"
#include "lib/limits.h"

void fuzz_config(tally_bytes_t input);
void fuzz_core(tally_bytes_t input);
void fuzz_greeting(tally_bytes_t input);
void fuzz_json(tally_bytes_t input);
void fuzz_key(tally_bytes_t input);
void fuzz_partial(tally_bytes_t input);
void fuzz_survey(tally_bytes_t input);
void fuzz_wire(tally_bytes_t input);
void fuzz_zap(tally_bytes_t input);

#endif
