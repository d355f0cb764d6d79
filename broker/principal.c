// SPDX-License-Identifier: MIT
//  principal - see principal.h.

#include "broker/principal.h"

#include <sodium.h>
#include <stdlib.h>

#include "lib/alloc.h"

static const tally_principal_t local = {
    .name = "local",
    .role = TALLY_PRINCIPAL_OPERATOR,
    .rights = TALLY_RIGHTS_ALL,
    .tenants = {.all = true},
    .queues = {.all = true},
    .dies_at_ms = INT64_MAX,
};

const tally_principal_t *
tally_principal_local(void)
{
    return &local;
}

//  ---- scopes --------------------------------------------------------------------------------------

static int
compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int
compare_bytes(tally_bytes_t a, const char *b)
{
    size_t size = strlen(b);
    int order = a.size == 0 ? 0 : memcmp(a.data, b, a.size < size ? a.size : size);
    return order != 0 ? order : (a.size > size) - (a.size < size);
}

bool
tally_scope_has(const tally_scope_t *self, tally_bytes_t name)
{
    size_t low = 0, high = self->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = compare_bytes(name, self->names[middle]);
        if (order == 0) {
            return true;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return self->all;
}

void
tally_scope_set(tally_scope_t *self, const tally_bytes_t *names, size_t count)
{
    tally_scope_free(self);
    self->names = tally_alloc_array(count, sizeof *self->names);
    for (size_t i = 0; i < count; i++) {
        if (names[i].size == 1 && *(const char *)names[i].data == '*') {
            tally_scope_free(self);
            self->all = true;
            return;
        }
        if (names[i].size <= TALLY_NAME_BYTES_MAX) {    // else it names nothing
            memcpy(self->names[self->count++], names[i].data, names[i].size);
        }
    }
    qsort(self->names, self->count, sizeof *self->names, compare);
    size_t kept = 0;
    for (size_t i = 0; i < self->count; i++) {
        if (kept == 0 || strcmp(self->names[i], self->names[kept - 1]) != 0) {
            memmove(self->names[kept++], self->names[i], sizeof *self->names);
        }
    }
    self->count = kept;
}

void
tally_scope_free(tally_scope_t *self)
{
    free(self->names);
    *self = (tally_scope_t){0};
}

//  ---- principals ----------------------------------------------------------------------------------

void
tally_principal_seal(tally_principal_t *self)
{
    crypto_generichash_state state;
    uint8_t hash[TALLY_SCOPE_MARK_BYTES / 2];
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    if (self->tenants.all) {
        crypto_generichash_update(&state, (const uint8_t *)"*", 1);
    }
    for (size_t i = 0; i < self->tenants.count; i++) {    // each with its NUL
        crypto_generichash_update(&state, (const uint8_t *)self->tenants.names[i],
                                  strlen(self->tenants.names[i]) + 1);
    }
    crypto_generichash_final(&state, hash, sizeof hash);
    sodium_bin2hex(self->mark, sizeof self->mark, hash, sizeof hash);
}

void
tally_principal_free(tally_principal_t *self)
{
    tally_scope_free(&self->tenants);
    tally_scope_free(&self->queues);
}

tally_principal_role_t
tally_principal_role(tally_bytes_t word)
{
    static const char *const words[] = {"client", "worker", "operator", "monitor"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (tally_bytes_equal(word, tally_bytes_of(words[i]))) {
            return (tally_principal_role_t)(i + TALLY_PRINCIPAL_CLIENT);
        }
    }
    return 0;
}

unsigned
tally_principal_right(tally_bytes_t word)
{
    static const char *const words[] = {"send", "ask", "work", "read", "admin"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (tally_bytes_equal(word, tally_bytes_of(words[i]))) {
            return 1u << i;
        }
    }
    return 0;
}
