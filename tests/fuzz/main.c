// SPDX-License-Identifier: MIT
//  main - libFuzzer's entry; FUZZ_TARGET is the one that this program runs.

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FUZZ_TARGET((tally_bytes_t){data, size});
    return 0;
}
