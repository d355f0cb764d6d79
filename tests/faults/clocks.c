// SPDX-License-Identifier: MIT
#include "tests/faults/clocks.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/alloc.h"

#define WHERE "/usr/lib/*/faketime/libfaketime.so.1"

struct tally_clocks {
    char *directory;
    char *library;
};

tally_clocks_t *
tally_clocks_new(const char *directory)
{
    glob_t found;
#ifdef __SANITIZE_ADDRESS__
    return NULL;    // it insists on being the first library
#endif
    if (glob(WHERE, 0, NULL, &found) != 0) {
        return NULL;
    }
    tally_clocks_t *self = tally_alloc(sizeof *self);
    self->directory = tally_strdup(directory);
    self->library = tally_strdup(found.gl_pathv[0]);
    globfree(&found);
    static const char *const kinds[] = {"postgres", "tallyd", "worker"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        tally_clocks_set(self, kinds[i], 0);
    }
    return self;
}

void
tally_clocks_destroy(tally_clocks_t **self_p)
{
    tally_clocks_t *self = *self_p;
    if (self != NULL) {
        free(self->directory);
        free(self->library);
        free(self);
        *self_p = NULL;
    }
}

void
tally_clocks_enter(const tally_clocks_t *self, const char *kind)
{
    if (self == NULL) {
        return;
    }
    char *file = tally_format("%s/%s", self->directory, kind);
    setenv("LD_PRELOAD", self->library, 1);
    setenv("FAKETIME_TIMESTAMP_FILE", file, 1);
    setenv("FAKETIME_CACHE_DURATION", "1", 1);
    setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1", 1);
    setenv("FAKETIME_DISABLE_SHM", "1", 1);    // it would outlive who is killed
    free(file);
}

void
tally_clocks_set(const tally_clocks_t *self, const char *kind, double ahead_s)
{
    char *draft = tally_format("%s/%s.new", self->directory, kind);
    char *file = tally_format("%s/%s", self->directory, kind);
    FILE *out = fopen(draft, "we");
    if (out == NULL || fprintf(out, "%+.3f\n", ahead_s) < 0 || fclose(out) == EOF
        || rename(draft, file) == -1) {
        perror(file);
        abort();
    }
    free(draft);
    free(file);
}
