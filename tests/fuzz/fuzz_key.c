// SPDX-License-Identifier: MIT
//  fuzz_key - any bytes as a key file: what is taken is a key that decodes, a pair that belongs together, and is read
//  again from what is written of it.
//
//  covers: lib/key_file.c

#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "lib/alloc.h"
#include "lib/key_file.h"

static void
read_as(const char *path, tally_key_kind_t kind)
{
    tally_key_pair_t pair;
    char *error;
    if (tally_key_file_read(path, kind, &pair, &error) == -1) {
        assert(error != NULL && pair.public_key[0] == '\0' && pair.secret_key[0] == '\0');
        free(error);
        return;
    }
    assert(error == NULL);
    assert(tally_key_valid(tally_bytes_of(pair.public_key)));
    if (kind == TALLY_KEY_SECRET) {
        char derived[TALLY_KEY_TEXT_BYTES + 1];
        int rc = zmq_curve_public(derived, pair.secret_key);
        assert(rc == 0 && strcmp(derived, pair.public_key) == 0);
    } else {
        assert(pair.secret_key[0] == '\0');
    }
    tally_key_pair_forget(&pair);
}

void
fuzz_key(tally_bytes_t input)
{
    int fd = memfd_create("key", MFD_CLOEXEC);
    assert(fd != -1 && fchmod(fd, 0400) == 0);
    assert(input.size == 0 || write(fd, input.data, input.size) == (ssize_t)input.size);
    char *path = tally_format("/proc/self/fd/%d", fd);
    read_as(path, TALLY_KEY_PUBLIC);
    read_as(path, TALLY_KEY_SECRET);
    free(path);
    close(fd);
}
