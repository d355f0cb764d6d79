// SPDX-License-Identifier: MIT
//  keys - see keys.h.

#include "lib/keys.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/alloc.h"
#include "lib/endpoints.h"
#include "lib/key_file.h"

struct tally_keys {
    tally_key_pair_t own;
    tally_key_pair_t *servers;    // public
    size_t count;
};

static bool
is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static int
read_servers(tally_keys_t *self, const char *list, char **error)
{
    size_t count = tally_endpoints_count(list);
    self->servers = tally_alloc_array(count, sizeof *self->servers);
    for (size_t i = 0; i < count; i++) {
        char *path = tally_endpoints_at(list, i);
        int rc = tally_key_file_read(path, TALLY_KEY_PUBLIC, &self->servers[i], error);
        free(path);
        if (rc == -1) {
            return -1;
        }
        self->count++;
    }
    return 0;
}

int
tally_keys_new(tally_keys_t **self_p, const char *key, const char *servers, char **error)
{
    *self_p = NULL;
    *error = NULL;
    if (!is_given(key) && !is_given(servers)) {
        return 0;
    }
    if (!is_given(key) || !is_given(servers) || tally_endpoints_count(servers) == 0) {
        *error = tally_strdup("CURVE needs both our key pair (key) and the broker's public key "
                              "(server-key)");
        return -1;
    }
    tally_keys_t *self = tally_alloc(sizeof *self);
    if (tally_key_file_read(key, TALLY_KEY_SECRET, &self->own, error) == -1
        || read_servers(self, servers, error) == -1) {
        tally_keys_destroy(&self);
        return -1;
    }
    *self_p = self;
    return 0;
}

void
tally_keys_destroy(tally_keys_t **self_p)
{
    tally_keys_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    tally_key_pair_forget(&self->own);
    free(self->servers);
    free(self);
    *self_p = NULL;
}

size_t
tally_keys_count(const tally_keys_t *self)
{
    return self == NULL ? 1 : self->count;
}

const tally_socket_curve_t *
tally_keys_curve(const tally_keys_t *self, size_t server, tally_socket_curve_t *curve)
{
    if (self == NULL) {
        return NULL;
    }
    assert(server < self->count);
    *curve = (tally_socket_curve_t){.public_key = self->own.public_key,
                                    .secret_key = self->own.secret_key,
                                    .server_key = self->servers[server].public_key};
    return curve;
}
