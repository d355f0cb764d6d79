// SPDX-License-Identifier: MIT
//  keyring - see keyring.h.

#include "broker/keyring.h"

#include <assert.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

#include "broker/table.h"
#include "lib/alloc.h"

struct tally_keyring {
    pthread_mutex_t lock;    // against the ZAP thread, which reads; the loop reads without
    tally_principal_t *principals;
    size_t count;
    tally_names_t by_key;
    uint64_t losses;
    int64_t judged_at_ms;    // when losses were counted last
    char probe[TALLY_KEY_TEXT_BYTES + 1];
};

static bool
key_is(const void *value, uint64_t group, tally_bytes_t bytes)
{
    (void)group;
    return tally_bytes_equal(tally_bytes_of(((const tally_principal_t *)value)->key), bytes);
}

static void
start_index(tally_keyring_t *self)
{
    uint64_t seed;
    randombytes_buf(&seed, sizeof seed);
    tally_names_init(&self->by_key, seed, key_is);
}

tally_keyring_t *
tally_keyring_new(void)
{
    tally_keyring_t *self = tally_alloc(sizeof *self);
    int rc = pthread_mutex_init(&self->lock, NULL);
    assert(rc == 0);
    start_index(self);
    return self;
}

static void
clear(tally_keyring_t *self)
{
    for (size_t i = 0; i < self->count; i++) {
        tally_principal_free(&self->principals[i]);
    }
    free(self->principals);
    tally_names_free(&self->by_key);
}

void
tally_keyring_destroy(tally_keyring_t **self_p)
{
    tally_keyring_t *self = *self_p;
    if (self == NULL) {
        return;
    }
    clear(self);
    pthread_mutex_destroy(&self->lock);
    free(self);
    *self_p = NULL;
}

static bool
is_live(const tally_principal_t *principal, int64_t now_ms)
{
    return principal != NULL && now_ms < principal->dies_at_ms;
}

static const tally_principal_t *
find_any(const tally_keyring_t *self, const char *key)
{
    return tally_names_find(&self->by_key, 0, tally_bytes_of(key));
}

//  ---- what is lost --------------------------------------------------------------------------------

static bool
scopes_equal(const tally_scope_t *a, const tally_scope_t *b)
{
    return a->all == b->all && a->count == b->count
           && (a->count == 0 || memcmp(a->names, b->names, a->count * sizeof *a->names) == 0);
}

//  Whether `now` is let in wherever `before` was, and as the same.
static bool
is_as_before(const tally_principal_t *before, const tally_principal_t *now)
{
    return strcmp(before->name, now->name) == 0 && before->role == now->role
           && before->rights == now->rights && scopes_equal(&before->tenants, &now->tenants)
           && scopes_equal(&before->queues, &now->queues);
}

static void
count_losses(tally_keyring_t *self, const tally_keyring_t *next, int64_t now_ms)
{
    for (size_t i = 0; i < self->count; i++) {
        const tally_principal_t *before = &self->principals[i];
        if (!is_live(before, self->judged_at_ms)) {
            continue;    // lost already
        }
        const tally_principal_t *after = find_any(next, before->key);
        if (!is_live(after, now_ms) || !is_as_before(before, after)) {
            self->losses++;
        }
    }
    self->judged_at_ms = now_ms;
}

uint64_t
tally_keyring_losses(tally_keyring_t *self, int64_t now_ms)
{
    count_losses(self, self, now_ms);
    return self->losses;
}

//  ---- replacing and finding -----------------------------------------------------------------------

static void
index_principals(tally_keyring_t *self)
{
    start_index(self);
    for (size_t i = 0; i < self->count; i++) {
        tally_bytes_t key = tally_bytes_of(self->principals[i].key);
        tally_principal_t *other = tally_names_find(&self->by_key, 0, key);
        if (other != NULL) {
            other->dies_at_ms = INT64_MIN;
        } else {
            tally_names_put(&self->by_key, 0, key, &self->principals[i]);
        }
    }
}

void
tally_keyring_replace(tally_keyring_t *self, tally_principal_t *principals, size_t count,
                      int64_t now_ms)
{
    tally_keyring_t next = {.principals = principals, .count = count};
    index_principals(&next);
    count_losses(self, &next, now_ms);
    pthread_mutex_lock(&self->lock);
    clear(self);
    self->principals = next.principals;
    self->count = next.count;
    self->by_key = next.by_key;
    pthread_mutex_unlock(&self->lock);
}

size_t
tally_keyring_count(const tally_keyring_t *self)
{
    return self->count;
}

const tally_principal_t *
tally_keyring_find(const tally_keyring_t *self, const char *key, int64_t now_ms)
{
    const tally_principal_t *principal = find_any(self, key);
    return is_live(principal, now_ms) ? principal : NULL;
}

//  ---- for the ZAP thread --------------------------------------------------------------------------

void
tally_keyring_set_probe(tally_keyring_t *self, const char *key)
{
    pthread_mutex_lock(&self->lock);
    memset(self->probe, 0, sizeof self->probe);
    if (key != NULL) {
        memcpy(self->probe, key, TALLY_KEY_TEXT_BYTES);
    }
    pthread_mutex_unlock(&self->lock);
}

//  What follows `prefix` in the domain; data NULL: it does not begin so.
static tally_bytes_t
behind(tally_bytes_t domain, const char *prefix)
{
    size_t size = strlen(prefix);
    if (domain.size <= size || memcmp(domain.data, prefix, size) != 0) {
        return (tally_bytes_t){0};
    }
    return (tally_bytes_t){(const char *)domain.data + size, domain.size - size};
}

static bool
is_domain(tally_bytes_t domain, const char *name)
{
    return tally_bytes_equal(domain, tally_bytes_of(name));
}

static bool
admits(const tally_principal_t *who, tally_bytes_t domain)
{
    if (is_domain(domain, TALLY_DOMAIN_FRONT)) {
        return true;    // what it may do there is rights.c's
    }
    if (is_domain(domain, TALLY_DOMAIN_SINK)) {
        return (who->rights & TALLY_RIGHT_WORK) != 0;
    }
    if (is_domain(domain, TALLY_DOMAIN_FEED)) {
        return who->tenants.all;
    }
    tally_bytes_t owner = behind(domain, TALLY_DOMAIN_LANE);
    if (owner.data != NULL) {
        return (who->rights & TALLY_RIGHT_WORK) != 0
               && tally_bytes_equal(owner, tally_bytes_of(who->key));
    }
    tally_bytes_t mark = behind(domain, TALLY_DOMAIN_FEEDS);
    return mark.data != NULL && tally_bytes_equal(mark, tally_bytes_of(who->mark));
}

bool
tally_keyring_admits(tally_keyring_t *self, const char *key, tally_bytes_t domain, int64_t now_ms)
{
    pthread_mutex_lock(&self->lock);
    const tally_principal_t *who = find_any(self, key);
    bool admitted = is_live(who, now_ms) && admits(who, domain);
    if (self->probe[0] != '\0' && strcmp(self->probe, key) == 0) {
        admitted = is_domain(domain, TALLY_DOMAIN_FRONT);
    }
    pthread_mutex_unlock(&self->lock);
    return admitted;
}
